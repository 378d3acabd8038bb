/* resize_kernel.h - inside the image layer only: the two inner loops of
 * resizing, as plain C (the oracle) and fast. */
#ifndef DCAM_IMAGE_RESIZE_KERNEL_H
#define DCAM_IMAGE_RESIZE_KERNEL_H

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
    const int32_t *packed; /* the same as dcam_pack_weights has them */
} dcam_span;

/* Weights for the fast loops: for each 4 taps, the last ones filled up with 0, four pairs of 16 bits: high parts of
 * weights 0 and 1, low parts of these, high parts of 2 and 3, low parts of these. Returns how many numbers, which is
 * DCAM_PACKED(taps). */
#define DCAM_PACKED(taps) (((size_t)(taps) + 3) / 4 * 4)
void dcam_pack_weights(const int32_t *weights, int taps, int32_t *packed);

/* What the fast loops may use of the processor, as far as it has it. */
typedef enum { DCAM_RESIZE_PLAIN, DCAM_RESIZE_SSE2, DCAM_RESIZE_AVX2, DCAM_RESIZE_AVX512 } dcam_resize_isa;
dcam_resize_isa dcam_resize_isa_here(void);

/* Rows that are weighed across together. */
enum { DCAM_ROWS_TOGETHER = 4 };

/* rows: `count` (1 to 4) rows of in_width pixels of 1 or 3 channels -> out: for each row a pixel of each of n spans. */
void dcam_weigh_pixels_plain(const uint8_t *const *rows, int count, int in_width, int channels, const dcam_span *spans,
                             int n, uint8_t *const *out);
void dcam_weigh_pixels(dcam_resize_isa isa, const uint8_t *const *rows, int count, int in_width, int channels,
                       const dcam_span *spans, int n, uint8_t *const *out);

/* rows: taps rows of n bytes, weighed byte by byte -> out: n bytes. */
void dcam_weigh_rows_plain(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out);
void dcam_weigh_rows(dcam_resize_isa isa, const uint8_t *const *rows, const dcam_span *span, size_t n, uint8_t *out);

#endif
