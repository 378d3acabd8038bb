/* decode.h - inside the image layer only: what the decoders of the single
 * formats share. */
#ifndef DCAM_IMAGE_DECODE_H
#define DCAM_IMAGE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

/* An encoded file in memory, borrowed. */
typedef struct {
    const uint8_t *bytes;
    size_t count;
    const char *name; /* for messages */
    bool mask;        /* a value that is not 0 must not become 0 */
    size_t max_pixels; /* 0: DCAM_MAX_IMAGE_PIXELS */
    bool *above_limit; /* NULL, or where to say that it was a limit on sides or pixels that was passed */
    bool *lossy; /* NULL, or where a decoder says that the values are not those that were encoded; false before */
} dcam_encoded;

/* Each gives 3 channels and leaves *out untouched on failure. */
DCAM_MUST_CHECK dcam_status dcam_decode_jpeg(const dcam_encoded *file, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_decode_png(const dcam_encoded *file, dcam_image *out);
/* True where the file is one of the plain kind and sound; else nothing was done. width, height: as its header says, within
 * the limits. */
bool dcam_decode_png_fast(const dcam_encoded *file, uint32_t width, uint32_t height, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_decode_webp(const dcam_encoded *file, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_decode_tiff(const dcam_encoded *file, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_decode_bmp(const dcam_encoded *file, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_decode_pnm(const dcam_encoded *file, dcam_image *out);

/* "NAME: damaged or truncated KIND (reason); ..." for what a decoder library says. */
dcam_status dcam_damaged(const dcam_encoded *file, const char *kind, const char *reason);

/* libtiff and libwebp take no memory of ours, call the want of it damage, and in places (libtiff 4.5.0, libwebp 1.2.4) end
 * the process for it. So they are asked only after as much as they will need was there: begin asks for bytes, gives them
 * back, and clears errno, which only malloc sets in there. A failure is then memory's or the file's. */
DCAM_MUST_CHECK dcam_status dcam_library_begin(const dcam_encoded *file, uint64_t bytes);
/* Whether they lacked memory since. */
bool dcam_library_lacked_memory(void);
/* "NAME: not enough memory to decode it". */
dcam_status dcam_no_memory(const dcam_encoded *file);
/* What they hold of tables and the like, whatever the picture. */
#define DCAM_LIBRARY_TABLES ((uint64_t)1 << 20)

/* What the markers of a JPEG say, whether or not it is sound; nothing is decoded. huffman: as its frame header says (SOF0
 * to SOF7); arithmetic coding has no bound of pixels a byte. pixels: of the frame; each scan goes through all of them. */
typedef struct {
    bool huffman;
    size_t scans;
    uint64_t pixels;
} dcam_jpeg_markers;
dcam_jpeg_markers dcam_jpeg_read_markers(const uint8_t *bytes, size_t count);
/* The most scans times pixels that a picture of so many pixels may cost. */
uint64_t dcam_jpeg_most_scan_pixels(uint64_t pixels);

/* The most pixels that a picture may have: the file's own limit, never above that of image.h. */
size_t dcam_pixel_limit(const dcam_encoded *file);

/* Fails where a side is 0 or a limit of image.h is passed. */
DCAM_MUST_CHECK dcam_status dcam_check_sides(const dcam_encoded *file, const char *kind, uint64_t width,
                                             uint64_t height);

/* Room for width x height x channels; the sides have been checked. */
DCAM_MUST_CHECK dcam_status dcam_image_make(int width, int height, int channels, dcam_image *out);

/* Of a 16-bit value its high byte; for a mask, 1 where that would lose a defect. */
static inline uint8_t dcam_narrow(uint16_t value, bool mask)
{
    uint8_t high = (uint8_t)(value >> 8);
    return mask && high == 0 && value != 0 ? 1 : high;
}

/* value * alpha / 255, rounded. */
static inline uint8_t dcam_over_black(uint8_t value, uint8_t alpha, bool mask)
{
    uint8_t mixed = (uint8_t)((value * alpha + 127) / 255);
    return mask && mixed == 0 && value != 0 && alpha != 0 ? 1 : mixed;
}

/* pixels: width x height RGBA from dcam_alloc, taken; over black. The block stays as large as it is: a smaller one would have
 * to be held beside it for a moment, and that moment is what decoding needs most memory for. */
void dcam_take_rgba(const dcam_encoded *file, uint8_t *pixels, int width, int height, dcam_image *out);

#endif
