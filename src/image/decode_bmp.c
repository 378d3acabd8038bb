/* decode_bmp.c - BMP through stb_image, of which nothing else is compiled in.
 * stb_image reads missing bytes as zero and trusts offsets and palette
 * indices, so that all of those are checked here first; it must never see a
 * header that has not passed. */
#include "image/decode.h"

#include "base/memory.h"
#include "image/codec_memory.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS DCAM_MAX_IMAGE_SIDE
/* An assertion would end the process of whoever uses this library. */
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(size) dcam_codec_malloc(size)
#define STBI_REALLOC(p, size) dcam_codec_realloc(p, size)
#define STBI_FREE(p) dcam_free(p)
/* For the whole file: gcc reports unused functions at its end. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wshadow"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

#define FILE_HEADER 14u
#define OS2_HEADER 12u
#define PLAIN_HEADER 40u /* BITMAPINFOHEADER */
#define V4_HEADER 108u
#define V5_HEADER 124u
#define UNCOMPRESSED 0u
#define BIT_FIELDS 3u

/* The fields that matter, in file order. */
typedef struct {
    uint32_t offset; /* of the first pixel */
    uint32_t header; /* bytes after the file header */
    uint64_t width, height;
    uint32_t bits; /* a pixel */
    uint32_t compression;
    bool alpha;
} bmp_header;

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static dcam_status not_read(const dcam_encoded *file, const char *what)
{
    return dcam_fail(DCAM_ERROR_IMAGE, "%s: a BMP with %s, which is not read; save it as PNG", file->name, what);
}

static dcam_status parse_header(const dcam_encoded *file, bmp_header *h)
{
    const uint8_t *b = file->bytes;
    if (file->count < FILE_HEADER + OS2_HEADER) return dcam_damaged(file, "BMP", "it ends in its header");
    h->offset = u32(b + 10);
    h->header = u32(b + 14);
    if (h->header != OS2_HEADER && h->header != PLAIN_HEADER && h->header != V4_HEADER && h->header != V5_HEADER)
        return not_read(file, "a header of an unusual kind");
    if (file->count < FILE_HEADER + h->header) return dcam_damaged(file, "BMP", "it ends in its header");
    if (h->header == OS2_HEADER) {
        h->width = u16(b + 18);
        h->height = u16(b + 20);
        h->bits = u16(b + 24);
        h->compression = UNCOMPRESSED;
    } else {
        int64_t height = (int32_t)u32(b + 22); /* negative: the first row is on top */
        h->width = u32(b + 18);
        h->height = (uint64_t)(height < 0 ? -height : height);
        h->bits = u16(b + 28);
        h->compression = u32(b + 30);
    }
    h->alpha = h->header >= V4_HEADER && h->compression == BIT_FIELDS && u32(b + 66) != 0;
    return DCAM_OK;
}

static dcam_status check_kind(const dcam_encoded *file, const bmp_header *h)
{
    DCAM_TRY(dcam_check_sides(file, "BMP", h->width, h->height));
    bool palette = h->bits == 1 || h->bits == 4 || h->bits == 8;
    if (!palette && h->bits != 16 && h->bits != 24 && h->bits != 32) return not_read(file, "an unusual bit depth");
    /* stb_image miscounts the palette of this one. */
    if (palette && h->header == OS2_HEADER) return not_read(file, "an OS/2 palette");
    if (h->compression != UNCOMPRESSED && h->compression != BIT_FIELDS) return not_read(file, "compressed pixels");
    if (h->compression == BIT_FIELDS && h->bits != 16 && h->bits != 32)
        return dcam_damaged(file, "BMP", "bit fields at a wrong bit depth");
    return DCAM_OK;
}

/* Every index must name a colour: stb_image would read beyond the palette. */
static dcam_status check_indices(const dcam_encoded *file, const bmp_header *h, size_t colours, size_t stride)
{
    if (colours == 0) return dcam_damaged(file, "BMP", "it has no palette");
    if (colours > 256) return not_read(file, "a gap before its pixels");
    if (colours >= (size_t)1 << h->bits) return DCAM_OK;
    unsigned per_byte = 8 / h->bits;
    for (size_t y = 0; y < h->height; y++) {
        const uint8_t *row = file->bytes + h->offset + y * stride;
        for (size_t x = 0; x < h->width; x++) {
            unsigned shift = (unsigned)(per_byte - 1 - x % per_byte) * h->bits;
            unsigned index = (unsigned)(row[x / per_byte] >> shift) & ((1u << h->bits) - 1);
            if (index >= colours) return dcam_damaged(file, "BMP", "a pixel names a colour beyond the palette");
        }
    }
    return DCAM_OK;
}

static dcam_status check_layout(const dcam_encoded *file, const bmp_header *h)
{
    size_t fixed = FILE_HEADER + h->header;
    if (h->compression == BIT_FIELDS && h->header == PLAIN_HEADER) fixed += 12; /* three masks */
    if (h->offset < fixed) return dcam_damaged(file, "BMP", "its pixels begin inside its header");
    /* At most 32768 * 4 bytes a row and 32768 rows: no overflow in 64 bits. */
    uint64_t stride = (h->width * h->bits + 31) / 32 * 4;
    if (h->offset > file->count || stride * h->height > file->count - h->offset)
        return dcam_damaged(file, "BMP", "it ends early");
    if (h->bits <= 8) return check_indices(file, h, (h->offset - fixed) / 4, (size_t)stride);
    if (h->offset != fixed) return not_read(file, "a gap before its pixels");
    return DCAM_OK;
}

dcam_status dcam_decode_bmp(const dcam_encoded *file, dcam_image *out)
{
    bmp_header h = {0};
    DCAM_TRY(parse_header(file, &h));
    DCAM_TRY(check_kind(file, &h));
    DCAM_TRY(check_layout(file, &h));
    int width, height, found, channels = h.alpha ? 4 : 3;
    dcam_codec_begin();
    uint8_t *pixels = stbi_load_from_memory(file->bytes, (int)file->count, &width, &height, &found, channels);
    if (!pixels) {
        if (dcam_codec_lacked_memory())
            return dcam_no_memory(file);
        const char *reason = stbi_failure_reason();
        return dcam_damaged(file, "BMP", reason ? reason : "unknown fault");
    }
    if ((uint64_t)width != h.width || (uint64_t)height != h.height) {
        dcam_free(pixels);
        return dcam_fail(DCAM_ERROR_INTERNAL, "%s: the BMP decoder gave another size than its header", file->name);
    }
    if (h.alpha) {
        dcam_take_rgba(file, pixels, width, height, out);
        return DCAM_OK;
    }
    *out = (dcam_image){width, height, 3, pixels};
    return DCAM_OK;
}
