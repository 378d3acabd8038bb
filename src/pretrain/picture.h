/* picture.h - the pictures that the pre-training learns from. Each is a pure function of (seed, class, instance):
 * nothing is read, nothing is photographed. */
#ifndef DCAM_PRETRAIN_PICTURE_H
#define DCAM_PRETRAIN_PICTURE_H

#include <stdint.h>

#include "base/status.h"

/* More would be hours of training before each was seen once. */
#define DCAM_MAX_PICTURE_CLASSES 10000

typedef struct dcam_painter dcam_painter;

/* Draws the recipes of all classes. side: pixels, 32 to 512. */
DCAM_MUST_CHECK dcam_status dcam_painter_create(uint64_t seed, int classes, int side, dcam_painter **out);
/* Bytes that it holds. */
size_t dcam_painter_bytes(int classes, int side);
void dcam_painter_destroy(dcam_painter *painter);
/* rgb: side x side x 3. One thread at a time. */
void dcam_painter_draw(dcam_painter *painter, int class_index, uint64_t instance, uint8_t *rgb);

#endif
