/* image.h - photographs in memory: decoding, Pillow-equal resizing, the one
 * preprocessing of the whole project, and PNG encoding. */
#ifndef DCAM_IMAGE_IMAGE_H
#define DCAM_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Refused above these, before any pixel memory is allocated. */
#define DCAM_MAX_IMAGE_SIDE 32768
#define DCAM_MAX_IMAGE_PIXELS (256u * 1024u * 1024u)
#define DCAM_MAX_IMAGE_FILE_BYTES (1024u * 1024u * 1024u)

/* channels 3: RGB; 1: grey (masks). pixels: height x width x channels, no
 * padding, from dcam_alloc. */
typedef struct {
    int width, height, channels;
    uint8_t *pixels;
} dcam_image;

void dcam_image_clear(dcam_image *image);

/* Decodes by content, not by file name: JPEG (grey, colour; CMYK refused with a reason),
 * PNG (1 to 16 bit, palette, alpha over black), WebP, TIFF, BMP, PNM. Always 3 channels
 * (grey repeated); 16 bit keeps the high byte; EXIF orientation is not applied. Of a TIFF the first page; animated
 * WebP, CMYK, ASCII PNM and TIFFs of floats or of numbers with a sign are refused, and so is a TIFF whose strips or
 * tiles take more than 16 MiB and far more than its picture, and a JPEG (or a TIFF of such) of more than 32 scans that
 * together have more than 1 Gi pixels. A file that ends early is refused in every format.
 * name is for messages only. */
DCAM_MUST_CHECK dcam_status dcam_image_decode(const uint8_t *bytes, size_t count, const char *name, dcam_image *out);
/* The same with a lower limit on the pixels, for bytes from strangers; 0: DCAM_MAX_IMAGE_PIXELS. above_limit, if not
 * NULL, says whether a failure was only that: the picture may be sound, it has too many pixels. */
DCAM_MUST_CHECK dcam_status dcam_image_decode_within(const uint8_t *bytes, size_t count, const char *name,
                                                     size_t max_pixels, bool *above_limit, dcam_image *out);
DCAM_MUST_CHECK dcam_status dcam_image_load(const char *path, dcam_image *out);
/* A ground-truth mask: one channel, 0 or 255. Any value > 0 in any channel is defect; of a lossy format (JPEG, also inside
 * a TIFF; lossy WebP) any value >= 128, for compression leaves small values beside the edges, and such a mask with smaller
 * values alone is DCAM_ERROR_IMAGE. */
DCAM_MUST_CHECK dcam_status dcam_mask_load(const char *path, dcam_image *out);

/* Of a picture, from its header alone: its sides, and the most that dcam_image_load holds of it, the file and what the
 * decoder has beside the pixels included. All 0 where the header says nothing that would be decoded: reading tells why.
 * A file that the system does not open or read is an error: taken for nothing, a plan of memory would lack it. */
typedef struct {
    int width, height;
    size_t bytes;
} dcam_image_size;
DCAM_MUST_CHECK dcam_status dcam_image_look(const char *path, dcam_image_size *out);

/* Pillow's Image.resize((width, height), BILINEAR) (antialiased) for 8-bit images, bit-equal
 * where possible (within one grey level in any case). */
DCAM_MUST_CHECK dcam_status dcam_image_resize(const dcam_image *image, int width, int height, dcam_image *out);
/* Pillow's NEAREST. */
DCAM_MUST_CHECK dcam_status dcam_image_resize_nearest(const dcam_image *image, int width, int height, dcam_image *out);

/* How pixels become the network's input; kept in the model file. */
typedef struct {
    int width, height;  /* multiples of 32 */
    float mean[3];      /* of RGB / 255 */
    float deviation[3];
} dcam_preprocessing;

/* ImageNet's mean and deviation at the given size. */
dcam_preprocessing dcam_preprocessing_default(int width, int height);

/* rgb: n x height x width x 3 uint8 (already resized) -> out: n x 3 x height x width f32:
 * (v / 255 - mean) / deviation. */
void dcam_normalise(const dcam_preprocessing *p, const uint8_t *rgb, int n, float *out);

/* PNG (8-bit grey or RGB), written atomically. */
DCAM_MUST_CHECK dcam_status dcam_png_write(const char *path, const dcam_image *image);
/* The same into memory (dcam_free). */
DCAM_MUST_CHECK dcam_status dcam_png_encode(const dcam_image *image, uint8_t **out, size_t *out_bytes);

/* Baseline JPEG (RGB) into memory (dcam_free). quality: 1 to 100. */
DCAM_MUST_CHECK dcam_status dcam_jpeg_encode(const dcam_image *image, int quality, uint8_t **out, size_t *out_bytes);

/* Heat-map overlay: photo (RGB, w x h) mixed with the coloured map. map: map_height x map_width f32,
 * bilinearly resized to the photo (half-pixel centres); value <= low is transparent (the photo stays
 * as it is), >= high is the top of the colour map. low and high come from the calibration, never from
 * this image. */
DCAM_MUST_CHECK dcam_status dcam_overlay(const dcam_image *photo, const float *map, int map_width, int map_height,
                                         float low, float high, dcam_image *out);
/* Draws a rectangle outline inside the given bounds (clipped), in place. Its line is 1 pixel wide, and
 * one more for every 400 pixels of the photo's shorter side. */
void dcam_draw_box(dcam_image *image, int x, int y, int width, int height, const uint8_t rgb[3]);

/* Float32 .npy (height x width, C order, little endian), written atomically. */
DCAM_MUST_CHECK dcam_status dcam_npy_write(const char *path, const float *values, int height, int width);

/* The codecs: "libtiff", "4.5.0". At most capacity of them; returns how many. */
typedef struct {
    const char *name;
    char version[48];
} dcam_image_library;
int dcam_image_libraries(dcam_image_library *out, int capacity);

#endif
