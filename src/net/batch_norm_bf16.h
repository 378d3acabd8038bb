/* batch_norm_bf16.h - internal to batch_norm_bf16.c and batch_norm_pool_bf16.c: bf16 maps, channels last, cut into bands, and
 * how the kernels walk along them on processors with AVX512-BF16.
 *
 * A band is a run of positions of one image with all channels. Maps come from memory, so a kernel walks along them in the
 * order in which they lie there, position by position: twice as fast as channel by channel. Kernels that sum take as many
 * channels as registers have sums for, 128 at most. All arithmetic is f32; what is written is rounded to the nearest. */
#ifndef DCAM_NET_BATCH_NORM_BF16_H
#define DCAM_NET_BATCH_NORM_BF16_H

#include <string.h>

#include "base/bf16.h"
#include "net/batch_norm_parts.h"

/* Positions of a band; its sums are taken in double. */
#define BAND 1024
/* Positions whose sums are taken in f32. */
#define RUN 64
/* Bytes that a walk looks ahead. */
#define AHEAD 1024
#define LINE 32
#define HALF 16
/* Rows of sums: of g, and of g times y of two normalisations. */
#define SUMS 3

typedef struct {
    size_t images, positions, width, height, channels, bands; /* bands: of one image */
} view;

static inline view view_of(const dcam_nn_tensor *t)
{
    const size_t positions = (size_t)t->h * (size_t)t->w;
    return (view){(size_t)t->n, positions, (size_t)t->w, (size_t)t->h, (size_t)t->c, (positions + BAND - 1) / BAND};
}

#if defined(__x86_64__)

/* Of the item-th band: its first position of the whole map, and how many. */
static inline size_t band_start(const view *v, size_t item)
{
    return item / v->bands * v->positions + item % v->bands * BAND;
}

static inline size_t band_count(const view *v, size_t item)
{
    const size_t left = v->positions - item % v->bands * BAND;
    return left < BAND ? left : BAND;
}

/* Row `row` of the sums of all bands, added in their order. */
static inline double total(const view *v, const double *sums, size_t row, size_t channel)
{
    double sum = 0;
    for (size_t i = 0; i < v->images * v->bands; i++) sum += sums[(i * SUMS + row) * v->channels + channel];
    return sum;
}

/* count: of the values that were normalised. */
static inline void set_backward_of(net_norm *n, const view *v, const double *sums, size_t product_row, double count, float *d_gamma,
                            float *d_beta)
{
    for (size_t c = 0; c < n->channels; c++)
        net_norm_set_backward(n, c, total(v, sums, 0, c), total(v, sums, product_row, c), count, d_gamma, d_beta);
}

static inline void set_backward(net_norm *n, const view *v, const double *sums, size_t product_row, float *d_gamma, float *d_beta)
{
    set_backward_of(n, v, sums, product_row, (double)v->images * (double)v->positions, d_gamma, d_beta);
}

#define KERNEL BF16_KERNEL
#define KERNEL_INLINE BF16_INLINE

/* v where z > 0, else 0. */
KERNEL_INLINE __m512 where_positive(__m512 z, __m512 v)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), v);
}

static inline size_t run_end(size_t start, size_t positions) { return positions - start < RUN ? positions : start + RUN; }

/* NOLINTBEGIN(bugprone-macro-parentheses): they declare their first parameter */
#define EACH_RUN(start, count) for (size_t start = 0; start < (count); start += RUN)
#define EACH_LINE(c, channels) for (size_t c = 0; c < (channels); c += LINE)
/* Of some halves of lines; unrolled, so that arrays of sums are registers. */
#define EACH(k, groups) _Pragma("GCC unroll 8") for (int k = 0; k < (groups); k++)
/* NOLINTEND(bugprone-macro-parentheses) */

/* Ahead of a walk along a map, which the processor foresees late. */
KERNEL_INLINE void foresee(const uint16_t *p) { _mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0); }

/* How many halves of lines of that many channels are summed together. */
static inline int groups_of(size_t channels) { return channels % 128 == 0 ? 8 : channels % 64 == 0 ? 4 : 2; }

KERNEL_INLINE void clear_sums(__m512 *sums, int groups)
{
    EACH(k, groups) sums[k] = _mm512_setzero_ps();
}

KERNEL_INLINE void add_runs(double *sums, const __m512 *runs, int groups)
{
    EACH(k, groups) bf16_add_run(sums + k * HALF, runs[k]);
}

/* Calls kernel(..., groups) with groups as a constant. */
#define WITH_GROUPS(channels, kernel, ...)                   \
    do {                                                     \
        switch (groups_of(channels)) {                       \
        case 8: kernel(__VA_ARGS__, 8); break;               \
        case 4: kernel(__VA_ARGS__, 4); break;               \
        default: kernel(__VA_ARGS__, 2); break;              \
        }                                                    \
    } while (0)

/* dy = scale g - offset - slope (y - mean) = scale g - (slope y + rest). */
KERNEL_INLINE __m512 rest_of(const net_norm *n, size_t c)
{
    return _mm512_fnmadd_ps(_mm512_loadu_ps(n->slope + c), _mm512_loadu_ps(n->mean + c), _mm512_loadu_ps(n->offset + c));
}

/* net_norm_functions' of the pooling. */
void net_norm_relu_pool_bf16(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const dcam_nn_tensor *pooled_map,
                             void *pooled, uint8_t *which, void *top);
void net_norm_pool_backward_bf16(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map, const void *g,
                                 const uint8_t *which, const void *top, void *y, float *d_gamma, float *d_beta,
                                 double *scratch);
#endif

#endif
