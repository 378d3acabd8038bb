/* png.c - PNG encoding through libspng, into memory and then, atomically, into
 * a file. Grey or RGB, 8 bits, no metadata: the same pixels give the same file. */
#include "image/image.h"

#include <spng.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/codec_memory.h"

/* Measured on overlays of photographs of 320 x 320 pixels: level 3 with the one
 * filter "up" took 6 ms and 97 kB, the library's defaults (level 6, every filter
 * tried) 34 ms and 100 kB. */
#define COMPRESSION_LEVEL 3
#define FILTERS SPNG_FILTER_CHOICE_UP

static dcam_status library_failure(int code)
{
    if (dcam_codec_lacked_memory())
        return dcam_fail(DCAM_ERROR_MEMORY, "not enough memory to write a PNG");
    return dcam_fail(DCAM_ERROR_INTERNAL, "cannot write a PNG: %s", spng_strerror(code));
}

dcam_status dcam_png_encode(const dcam_image *image, uint8_t **out, size_t *out_bytes)
{
    if (image->width < 1 || image->height < 1 || (image->channels != 1 && image->channels != 3))
        return dcam_fail(DCAM_ERROR_USAGE, "cannot write a PNG of %d x %d pixels with %d channels", image->width,
                         image->height, image->channels);
    dcam_status status = DCAM_OK;
    dcam_codec_begin();
    struct spng_ihdr header = {
        .width = (uint32_t)image->width,
        .height = (uint32_t)image->height,
        .bit_depth = 8,
        .color_type = image->channels == 1 ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_TRUECOLOR,
    };
    size_t bytes = (size_t)image->width * (size_t)image->height * (size_t)image->channels, length = 0;
    spng_ctx *png = spng_ctx_new2(&(struct spng_alloc){dcam_codec_malloc, dcam_codec_realloc, dcam_codec_calloc,
                                                       dcam_free},
                                  SPNG_CTX_ENCODER);
    if (!png) return library_failure(SPNG_EMEM);
    int code = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (!code) code = spng_set_option(png, SPNG_IMG_COMPRESSION_LEVEL, COMPRESSION_LEVEL);
    if (!code) code = spng_set_option(png, SPNG_FILTER_CHOICE, FILTERS);
    if (!code) code = spng_set_ihdr(png, &header);
    if (!code) code = spng_encode_image(png, image->pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    uint8_t *encoded = NULL;
    /* Ours from here on. */
    if (!code) encoded = spng_get_png_buffer(png, &length, &code);
    if (code || !encoded) {
        status = library_failure(code ? code : SPNG_EMEM);
    } else {
        *out = encoded;
        *out_bytes = length;
    }
    spng_ctx_free(png);
    return status;
}

dcam_status dcam_png_write(const char *path, const dcam_image *image)
{
    uint8_t *bytes;
    size_t count;
    dcam_status status = dcam_png_encode(image, &bytes, &count);
    if (status != DCAM_OK) return dcam_fail_prefix(status, "%s", path);
    status = dcam_file_write(path, bytes, count);
    dcam_free(bytes);
    return status;
}
