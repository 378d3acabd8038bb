/* decode_png.c - PNG through libspng: every bit depth and colour type,
 * interlaced or not. The whole file is read up to its end chunk, so that a
 * truncated one is found. Gamma and colour profiles are not applied. */
#include "image/decode.h"

#include <spng.h>

#include "base/memory.h"
#include "image/codec_memory.h"

/* Text, profiles and the like: more than any camera writes, little enough to
 * hold in memory. One chunk, and all of them. */
#define MAX_EXTRA_CHUNK (16u << 20)
#define MAX_EXTRA_CHUNKS (64u << 20)

/* Deflate makes at most 1032 bytes of one. A file that claims more is refused
 * before its memory is asked for. */
#define MAX_DEFLATE_RATIO 1032u

static dcam_status library_failure(const dcam_encoded *file, int code)
{
    if (dcam_codec_lacked_memory()) return dcam_no_memory(file);
    return dcam_damaged(file, "PNG", spng_strerror(code));
}

static dcam_status check_header(const dcam_encoded *file, spng_ctx *png, struct spng_ihdr *header)
{
    static const unsigned samples[7] = {1, 0, 3, 1, 2, 0, 4};
    int code = spng_get_ihdr(png, header);
    if (code) return library_failure(file, code);
    DCAM_TRY(dcam_check_sides(file, "PNG", header->width, header->height));
    uint64_t row = ((uint64_t)header->width * samples[header->color_type % 7] * header->bit_depth + 7) / 8;
    if (row * header->height / MAX_DEFLATE_RATIO > file->count)
        return dcam_damaged(file, "PNG", "too short for the size in its header");
    return DCAM_OK;
}

/* A mask of 16 bits: the low bytes matter, so decode them too. */
static dcam_status decode_16_bit_mask(const dcam_encoded *file, spng_ctx *png, int width, int height, dcam_image *out)
{
    uint16_t *wide;
    size_t n = (size_t)width * (size_t)height;
    DCAM_TRY(dcam_alloc(n, 8, &wide));
    int code = spng_decode_image(png, wide, 8 * n, SPNG_FMT_RGBA16, SPNG_DECODE_TRNS);
    dcam_status status = code ? library_failure(file, code) : dcam_image_make(width, height, 3, out);
    if (status == DCAM_OK)
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < 3; c++)
                out->pixels[3 * i + c] = dcam_over_black(dcam_narrow(wide[4 * i + c], true),
                                                         dcam_narrow(wide[4 * i + 3], true), true);
    dcam_free(wide);
    return status;
}

static dcam_status decode_pixels(const dcam_encoded *file, spng_ctx *png, const struct spng_ihdr *header,
                                 dcam_image *out)
{
    int width = (int)header->width, height = (int)header->height;
    struct spng_trns transparency;
    int code = spng_get_trns(png, &transparency);
    if (code && code != SPNG_ECHUNKAVAIL) return library_failure(file, code);
    bool alpha = code == 0 || header->color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ||
                 header->color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA;
    if (file->mask && header->bit_depth == 16) return decode_16_bit_mask(file, png, width, height, out);

    dcam_image image;
    DCAM_TRY(dcam_image_make(width, height, alpha ? 4 : 3, &image));
    size_t bytes = (size_t)width * (size_t)height * (size_t)image.channels;
    code = alpha ? spng_decode_image(png, image.pixels, bytes, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS)
                 : spng_decode_image(png, image.pixels, bytes, SPNG_FMT_RGB8, 0);
    if (code) {
        dcam_image_clear(&image);
        return library_failure(file, code);
    }
    if (alpha) {
        dcam_take_rgba(file, image.pixels, width, height, out);
        return DCAM_OK;
    }
    *out = image;
    return DCAM_OK;
}

dcam_status dcam_decode_png(const dcam_encoded *file, dcam_image *out)
{
    dcam_image image = {0, 0, 0, NULL};
    struct spng_ihdr header;
    dcam_status status = DCAM_OK;
    dcam_codec_begin();
    spng_ctx *png = spng_ctx_new2(&(struct spng_alloc){dcam_codec_malloc, dcam_codec_realloc, dcam_codec_calloc,
                                                       dcam_free},
                                  0);
    if (!png) return dcam_no_memory(file);
    int code = spng_set_chunk_limits(png, MAX_EXTRA_CHUNK, MAX_EXTRA_CHUNKS);
    if (!code) code = spng_set_png_buffer(png, file->bytes, file->count);
    if (code) {
        status = library_failure(file, code);
        goto cleanup;
    }
    if ((status = check_header(file, png, &header)) != DCAM_OK) goto cleanup;
    if (dcam_decode_png_fast(file, header.width, header.height, out)) goto cleanup;
    if ((status = decode_pixels(file, png, &header, &image)) != DCAM_OK) goto cleanup;
    if ((code = spng_decode_chunks(png)) != 0) {
        status = library_failure(file, code);
        goto cleanup;
    }
    *out = image;
    image.pixels = NULL;
cleanup:
    dcam_image_clear(&image);
    spng_ctx_free(png);
    return status;
}
