/* decode_jpeg.c - JPEG through TurboJPEG, with the accurate DCT and smooth
 * chroma as Pillow uses them. A file that ends early is refused: libjpeg would
 * fill the rest with grey, which a detector takes for a defect. */
#include "image/decode.h"

#include <string.h>
#include <turbojpeg.h>

/* With Huffman codes an 8x8 block costs at least one bit, so this many pixels at
 * most can come out of a byte. It stops a tiny file that claims to be huge
 * before its memory is asked for. */
#define PIXELS_PER_BYTE 512u

/* The frame header tells Huffman (SOF0 to SOF7) from arithmetic coding, which
 * has no such bound. */
static bool uses_huffman(const dcam_encoded *file)
{
    const uint8_t *b = file->bytes;
    size_t at = 2;
    while (file->count >= 4 && at <= file->count - 4 && b[at] == 0xff) {
        uint8_t marker = b[at + 1];
        if (marker == 0xff) {
            at++;
            continue;
        }
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc)
            return marker < 0xc8;
        at += 2 + (size_t)(b[at + 2] << 8 | b[at + 3]);
    }
    return false;
}

static dcam_status library_failure(const dcam_encoded *file, tjhandle handle)
{
    const char *reason = tjGetErrorStr2(handle);
    if (strstr(reason, "nsufficient memory") || strstr(reason, "llocation failure"))
        return dcam_fail(DCAM_ERROR_MEMORY, "%s: not enough memory to decode it", file->name);
    return dcam_damaged(file, "JPEG", reason);
}

/* A warning means that libjpeg made pixels up, but for one: bytes between the
 * last pixel and the end marker, which some cameras write. */
static bool is_harmless(tjhandle handle)
{
    return tjGetErrorCode(handle) == TJERR_WARNING && strstr(tjGetErrorStr2(handle), "before marker 0xd9");
}

static dcam_status check_header(const dcam_encoded *file, tjhandle handle, int *width, int *height)
{
    /* Of a file with tables and no picture TurboJPEG says that all is well, and sets none of these. */
    int subsampling = 0, colours = TJCS_RGB;
    *width = *height = 0;
    if (tjDecompressHeader3(handle, file->bytes, (unsigned long)file->count, width, height, &subsampling, &colours) !=
            0 &&
        !is_harmless(handle))
        return library_failure(file, handle);
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        return dcam_fail(DCAM_ERROR_IMAGE,
                         "%s: is a CMYK JPEG, whose colours need a printer's profile to become RGB; save it as RGB",
                         file->name);
    DCAM_TRY(dcam_check_sides(file, "JPEG", (uint64_t)*width, (uint64_t)*height));
    if ((uint64_t)*width * (uint64_t)*height / PIXELS_PER_BYTE > file->count && uses_huffman(file))
        return dcam_damaged(file, "JPEG", "too short for the size in its header");
    return DCAM_OK;
}

dcam_status dcam_decode_jpeg(const dcam_encoded *file, dcam_image *out)
{
    dcam_image image = {0, 0, 0, NULL};
    int width, height;
    tjhandle handle = tjInitDecompress();
    if (!handle) return dcam_fail(DCAM_ERROR_MEMORY, "%s: cannot start the JPEG decoder", file->name);
    dcam_status status = check_header(file, handle, &width, &height);
    if (status != DCAM_OK) goto cleanup;
    if ((status = dcam_image_make(width, height, 3, &image)) != DCAM_OK) goto cleanup;
    if (tjDecompress2(handle, file->bytes, (unsigned long)file->count, image.pixels, width, 3 * width, height,
                      TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0 &&
        !is_harmless(handle)) {
        status = library_failure(file, handle);
        goto cleanup;
    }
    *out = image;
    image.pixels = NULL;
cleanup:
    dcam_image_clear(&image);
    tjDestroy(handle);
    return status;
}
