/* decode.c - from the bytes of a file to RGB: tells the formats apart by their
 * content, enforces the limits, and lays alpha over black. It knows no format's
 * insides (decode_*.c do) and never trusts a file's name. */
#include "image/decode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

/* Long enough for any decoder's message. */
#define REASON_LENGTH 200

void dcam_image_clear(dcam_image *image)
{
    dcam_free(image->pixels);
    *image = (dcam_image){0, 0, 0, NULL};
}

dcam_status dcam_damaged(const dcam_encoded *file, const char *kind, const char *reason)
{
    /* Messages of this library are one line without a full stop. */
    char line[REASON_LENGTH];
    size_t n = 0;
    for (; n < sizeof line - 1 && reason[n]; n++) line[n] = (unsigned char)reason[n] < ' ' ? ' ' : reason[n];
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '.')) n--;
    line[n] = '\0';
    return dcam_fail(DCAM_ERROR_IMAGE, "%s: damaged or truncated %s (%s); copy or export it again", file->name, kind,
                     line);
}

dcam_status dcam_no_memory(const dcam_encoded *file)
{
    return dcam_fail(DCAM_ERROR_MEMORY, "%s: not enough memory to decode it", file->name);
}

size_t dcam_pixel_limit(const dcam_encoded *file)
{
    return file->max_pixels && file->max_pixels < DCAM_MAX_IMAGE_PIXELS ? file->max_pixels : DCAM_MAX_IMAGE_PIXELS;
}

dcam_status dcam_check_sides(const dcam_encoded *file, const char *kind, uint64_t width, uint64_t height)
{
    if (width == 0 || height == 0) return dcam_damaged(file, kind, "its header says it has no pixels");
    const size_t limit = dcam_pixel_limit(file);
    /* A side of 64 bits from a header must not wrap the product. */
    const bool side = width > DCAM_MAX_IMAGE_SIDE || height > DCAM_MAX_IMAGE_SIDE, area = !side && width * height > limit;
    if (file->above_limit) *file->above_limit = side || area;
    if (side)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: %s of %llu x %llu pixels, above the limit of %d a side; scale or crop it",
                         file->name, kind, (unsigned long long)width, (unsigned long long)height,
                         DCAM_MAX_IMAGE_SIDE);
    if (area)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: %s of %llu x %llu pixels, above the limit of %zu in all; scale or crop it",
                         file->name, kind, (unsigned long long)width, (unsigned long long)height, limit);
    return DCAM_OK;
}

dcam_status dcam_image_make(int width, int height, int channels, dcam_image *out)
{
    uint8_t *pixels;
    DCAM_TRY(dcam_alloc((size_t)width * (size_t)height, (size_t)channels, &pixels));
    *out = (dcam_image){width, height, channels, pixels};
    return DCAM_OK;
}

void dcam_take_rgba(const dcam_encoded *file, uint8_t *pixels, int width, int height, dcam_image *out)
{
    size_t n = (size_t)width * (size_t)height;
    /* Forward and in place: three bytes are written where four were read. */
    for (size_t i = 0; i < n; i++) {
        uint8_t alpha = pixels[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = dcam_over_black(pixels[4 * i + c], alpha, file->mask);
    }
    *out = (dcam_image){width, height, 3, pixels};
}

/* AddressSanitizer ends the process itself where there is no memory, and takes longer for such a block than for a small
 * picture. */
#ifdef __SANITIZE_ADDRESS__
#define ASKS_BEFORE false
#endif
#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined ASKS_BEFORE
#define ASKS_BEFORE false
#endif
#endif
#ifndef ASKS_BEFORE
#define ASKS_BEFORE true
#endif

static bool is_there(uint64_t bytes)
{
    /* Not dcam_alloc: what is held for a moment, and never touched, is no part of the peak. */
    volatile unsigned char *room = bytes <= PTRDIFF_MAX ? malloc((size_t)bytes) : NULL;
    if (!room) return false;
    room[0] = 0; /* what is not used a compiler may leave out */
    free((void *)(uintptr_t)room);
    return true;
}

dcam_status dcam_library_begin(const dcam_encoded *file, uint64_t bytes)
{
    if (ASKS_BEFORE && !is_there(bytes)) return dcam_no_memory(file);
    errno = 0;
    return DCAM_OK;
}

bool dcam_library_lacked_memory(void) { return errno == ENOMEM; }

static bool starts_with(const dcam_encoded *file, size_t at, const char *magic, size_t length)
{
    return file->count >= at + length && memcmp(file->bytes + at, magic, length) == 0;
}

/* Formats we know by sight but do not read, so that the message can name them. */
static const char *name_foreign_format(const dcam_encoded *file)
{
    static const struct {
        size_t at, length;
        const char *magic, *kind;
    } foreign[] = {
        {0, 4, "GIF8", "GIF"},
        {4, 8, "ftypavif", "AVIF"},
        {4, 7, "ftyphei", "HEIC"},
        {4, 7, "ftyphev", "HEIC"},
        {4, 8, "ftypmif1", "HEIF"},
        {0, 8, "\0\0\0\x0cjP  ", "JPEG 2000"},
        {0, 4, "\xff\x4f\xff\x51", "JPEG 2000"},
        {0, 2, "\xff\x0a", "JPEG XL"},
        {0, 8, "\0\0\0\x0cJXL ", "JPEG XL"},
        {0, 4, "8BPS", "Photoshop"},
        {0, 4, "%PDF", "PDF"},
        {0, 4, "PK\3\4", "ZIP"},
        {0, 4, "\x76\x2f\x31\x01", "OpenEXR"},
        {128, 4, "DICM", "DICOM"},
        {0, 4, "<svg", "SVG"},
        {0, 5, "<?xml", "XML or SVG"},
        {0, 9, "<!DOCTYPE", "HTML"},
        {1, 5, "NUMPY", "NumPy"},
        {0, 2, "P7", "PAM"},
        {0, 2, "PF", "PFM"},
        {0, 2, "Pf", "PFM"},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (starts_with(file, foreign[i].at, foreign[i].magic, foreign[i].length)) return foreign[i].kind;
    return NULL;
}

static dcam_status decode(const dcam_encoded *file, dcam_image *out)
{
    if (file->count == 0)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: is empty (0 bytes); copy it again", file->name);
    if (file->count > DCAM_MAX_IMAGE_FILE_BYTES)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: %zu bytes, above the limit of %u for an encoded picture", file->name,
                         file->count, DCAM_MAX_IMAGE_FILE_BYTES);
    if (starts_with(file, 0, "\xff\xd8\xff", 3)) return dcam_decode_jpeg(file, out);
    if (starts_with(file, 0, "\x89PNG\r\n\x1a\n", 8)) return dcam_decode_png(file, out);
    if (starts_with(file, 0, "RIFF", 4) && starts_with(file, 8, "WEBP", 4)) return dcam_decode_webp(file, out);
    if (starts_with(file, 0, "II*\0", 4) || starts_with(file, 0, "MM\0*", 4) || starts_with(file, 0, "II+\0", 4) ||
        starts_with(file, 0, "MM\0+", 4))
        return dcam_decode_tiff(file, out);
    if (starts_with(file, 0, "BM", 2)) return dcam_decode_bmp(file, out);
    if (file->count >= 2 && file->bytes[0] == 'P' && file->bytes[1] >= '1' && file->bytes[1] <= '6')
        return dcam_decode_pnm(file, out);
    const char *kind = name_foreign_format(file);
    if (kind)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: is a %s file, which is not read; save it as PNG", file->name, kind);
    return dcam_fail(DCAM_ERROR_IMAGE,
                     "%s: is not a picture, or too damaged to tell its format; JPEG, PNG, WebP, TIFF, BMP and PNM "
                     "are read",
                     file->name);
}

dcam_status dcam_image_decode(const uint8_t *bytes, size_t count, const char *name, dcam_image *out)
{
    return dcam_image_decode_within(bytes, count, name, 0, NULL, out);
}

dcam_status dcam_image_decode_within(const uint8_t *bytes, size_t count, const char *name, size_t max_pixels,
                                     bool *above_limit, dcam_image *out)
{
    if (above_limit) *above_limit = false;
    return decode(&(dcam_encoded){bytes, count, name, false, max_pixels, above_limit, NULL}, out);
}

static dcam_status load(const char *path, bool mask, bool *lossy, dcam_image *out)
{
    uint8_t *bytes;
    size_t count;
    DCAM_TRY(dcam_file_read(path, DCAM_MAX_IMAGE_FILE_BYTES, &bytes, &count));
    dcam_status status = decode(&(dcam_encoded){bytes, count, path, mask, 0, NULL, lossy}, out);
    dcam_free(bytes);
    return status;
}

dcam_status dcam_image_load(const char *path, dcam_image *out) { return load(path, false, NULL, out); }

/* Of a mask. Near an edge lossy compression leaves values that were 0 above it. */
#define LEAST_DEFECT 1
#define LEAST_LOSSY_DEFECT 128

dcam_status dcam_mask_load(const char *path, dcam_image *out)
{
    dcam_image mask;
    bool lossy = false;
    DCAM_TRY(load(path, true, &lossy, &mask));
    const int least = lossy ? LEAST_LOSSY_DEFECT : LEAST_DEFECT;
    const size_t n = (size_t)mask.width * (size_t)mask.height;
    uint8_t *p = mask.pixels;
    int brightest = 0;
    for (size_t i = 0; i < n; i++) {
        int value = p[3 * i];
        if (p[3 * i + 1] > value) value = p[3 * i + 1];
        if (p[3 * i + 2] > value) value = p[3 * i + 2];
        if (value > brightest) brightest = value;
        p[i] = value >= least ? 255 : 0;
    }
    mask.channels = 1;
    dcam_status status = dcam_realloc(n, 1, &mask.pixels);
    if (status == DCAM_OK && brightest > 0 && brightest < least)
        status = dcam_fail(DCAM_ERROR_IMAGE,
                           "%s: a mask in a lossy format whose brightest value is %d; from %d on it would be defect, and "
                           "what is less may come from the compression: make it again as PNG from its original",
                           path, brightest, least);
    if (status != DCAM_OK) {
        dcam_image_clear(&mask);
        return status;
    }
    *out = mask;
    return DCAM_OK;
}
