/* resize_kernel.h - inside the image layer only: the two inner loops of
 * resizing, as plain C (the oracle) and fast. */
#ifndef DCAM_IMAGE_RESIZE_KERNEL_H
#define DCAM_IMAGE_RESIZE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fixed-point bits of a weight: 8 bits of a pixel and 2 of head room are left
 * of 32. A weight of 1 is 1 << 22. */
#define DCAM_WEIGHT_BITS 22

/* For each output position, its inputs first .. first + taps - 1 and where its
 * weights begin. Weights are not negative and sum to about 1 << 22. */
typedef struct {
    int first, taps;
    const int32_t *weights;
} dcam_span;

/* row: in_width pixels of 1 or 3 channels -> out: a pixel for each of n spans. */
void dcam_weigh_pixels_plain(const uint8_t *row, int in_width, int channels, const dcam_span *spans, int n,
                             uint8_t *out);
void dcam_weigh_pixels(const uint8_t *row, int in_width, int channels, const dcam_span *spans, int n, uint8_t *out);

/* rows: taps rows of n bytes, weighed byte by byte -> out: n bytes. */
void dcam_weigh_rows_plain(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out);
void dcam_weigh_rows(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out);

#endif
