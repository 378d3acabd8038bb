/* multiply_kernel.h - the product of a few rows with one or two vectors of columns, summed in registers: what all of
 * our convolutions spend their time in. */
#ifndef DCAM_NN_MULTIPLY_KERNEL_H
#define DCAM_NN_MULTIPLY_KERNEL_H

#include <stddef.h>

#include "nn/lanes.h"
#include "nn/tiles.h"

/* Columns of two vectors. A panel has 16: with eight lanes the two are one panel, with sixteen they are neighbours. */
#define VECTORS 2
#define SPLIT (PANEL / LANES) /* vectors a panel */

/* Rows are addressed in threes, as an address has room for one or two times a stride. */
#define ROW_GROUPS ((LANES_ROWS + 2) / 3)

/* Words ahead of the product that are fetched into the cache: the factors are read once and come from afar. */
#define AHEAD (48 * PANEL)

typedef struct {
    const float *v;      /* rows x words, v_stride apart */
    size_t v_stride;
    const float *u;      /* words x 16 of the first panel */
    size_t panel_size;   /* to the next panel's */
    size_t words;
    float *m;            /* rows x columns, m_stride apart */
    size_t m_stride;
} product;

/* Where the words of the k-th vector begin. */
LANES_INLINE const float *factor_of(const product *p, size_t k)
{
    return p->u + k / SPLIT * p->panel_size + k % SPLIT * LANES;
}

/* rows and vectors are constants where this is called, so that the sums are registers. */
LANES_INLINE void multiply(size_t rows, size_t vectors, const product *p)
{
    vec sum[LANES_ROWS][VECTORS] = {{{0}}}, b[VECTORS];
    const float *group[ROW_GROUPS], *u[VECTORS];
    const size_t stride = p->v_stride, words = p->words;
    for (size_t g = 0; g < ROW_GROUPS; g++) group[g] = p->v + (3 * g < rows ? 3 * g * stride : 0);
    for (size_t k = 0; k < VECTORS; k++) u[k] = factor_of(p, k < vectors ? k : 0);
    for (size_t c = 0; c < words; c++) {
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; k++) {
            load(&b[k], u[k] + c * PANEL);
            if (k % SPLIT == 0) __builtin_prefetch(u[k] + c * PANEL + AHEAD);
        }
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
            const float x = group[r / 3][r % 3 * stride + c];
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; k++) multiply_add(&sum[r][k], x, &b[k]);
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; k++) store(p->m + r * p->m_stride + k * LANES, &sum[r][k]);
    }
}

KERNEL static void multiply_pair(size_t rows, const product *p) { WITH_ROWS(multiply, rows, 2, p) }
#if SPLIT == 1
KERNEL static void multiply_single(size_t rows, const product *p) { WITH_ROWS(multiply, rows, 1, p) }
#endif

/* Chunks of `rows` that fit the registers, cut evenly so that none is thin. */
static inline size_t row_chunks(size_t rows) { return (rows + LANES_ROWS - 1) / LANES_ROWS; }

/* All rows and `panels` of them. What of the product lies where is as above, for the first row and panel. */
static void multiply_panels(size_t rows, size_t panels, const product *all)
{
    const size_t chunks = row_chunks(rows), step = VECTORS / SPLIT;
    for (size_t panel = 0; panel < panels; panel += step)
        for (size_t k = 0; k < chunks; k++) {
            const size_t row = rows * k / chunks, count = rows * (k + 1) / chunks - row;
            product p = *all;
            p.v += row * p.v_stride;
            p.u += panel * p.panel_size;
            p.m += row * p.m_stride + panel * PANEL;
#if SPLIT == 1
            if (panel + 1 == panels) {
                multiply_single(count, &p);
                continue;
            }
#endif
            multiply_pair(count, &p);
        }
}

#endif
