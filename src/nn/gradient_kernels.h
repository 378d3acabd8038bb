/* gradient_kernels.h - the gradient of the weights: the tiles of a block into V and dM, and the products of some input
 * channels over all tiles of the block. A row of V and dM is a tile, or two where products are of bf16. */
#ifndef DCAM_NN_GRADIENT_KERNELS_H
#define DCAM_NN_GRADIENT_KERNELS_H

#include "nn/kernels.h"
#include "nn/multiply_kernel.h"
#include "nn/winograd_tile.h"

/* dM of the channels from c on of one tile: dm + place * stride. */
LANES_INLINE void transform_gradient_lanes(const float *const from[TILE * TILE], size_t c, float *dm, size_t stride)
{
    vec y[TILE], d[SPAN], half[SPAN][TILE];
    for (size_t j = 0; j < TILE; j++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < TILE; i++) load(&y[i], from[i * TILE + j] + c);
        transform_output_gradient(y, d);
#pragma GCC unroll 6
        for (size_t i = 0; i < SPAN; i++) half[i][j] = d[i];
    }
    for (size_t i = 0; i < SPAN; i++) {
        transform_output_gradient(half[i], d);
#pragma GCC unroll 6
        for (size_t j = 0; j < SPAN; j++) store(dm + (i * SPAN + j) * stride, &d[j]);
    }
}

LANES_INLINE void gather_outputs(const tiled_map *m, size_t tile, const float *from[TILE * TILE])
{
    const tile_place at = place_of(m, tile);
    for (size_t i = 0; i < TILE; i++)
        for (size_t j = 0; j < TILE; j++) from[i * TILE + j] = channels_at(m, at.image, at.y + i, at.x + j);
}

LANES_INLINE float *dm_of(const gradient_job *job, size_t row, size_t c)
{
    return job->dm + (c / PANEL * job->block + row) * PANEL + c % PANEL;
}

#ifdef PRODUCTS_BF16
/* The sums run over the tiles, so a word holds the values of two of them, side by side. */
LANES_INLINE void store_pairs(const float *pair, float *to, size_t stride)
{
    for (size_t place = 0; place < PLACES; place++) {
        vec first, second;
        load(&first, pair + place * LANES);
        load(&second, pair + (PLACES + place) * LANES);
        store_interleaved(to + place * stride, &first, &second);
    }
}

/* A last tile without a partner has zeros beside it. */
KERNEL static void transform_gradient(const gradient_job *job, size_t begin, size_t end)
{
    const float *from[2][PLACES], *outputs[2][TILE * TILE];
    float pair[2 * PLACES * LANES];
    for (size_t row = begin; row < end; row++) {
        const size_t tile = 2 * (job->first + row), tiles = tile + 1 < job->tiles ? 2 : 1;
        memset(pair, 0, sizeof pair);
        for (size_t k = 0; k < tiles; k++) {
            gather_tile(&job->src, tile + k, from[k]);
            gather_outputs(&job->d_dst, tile + k, outputs[k]);
        }
        for (size_t c = 0; c < job->in; c += LANES) {
            for (size_t k = 0; k < tiles; k++)
                transform_input_lanes(from[k], c, false, pair + k * PLACES * LANES, LANES);
            store_pairs(pair, job->v + row * job->in + c, job->v_stride);
        }
        for (size_t c = 0; c < job->out; c += LANES) {
            for (size_t k = 0; k < tiles; k++)
                transform_gradient_lanes(outputs[k], c, pair + k * PLACES * LANES, LANES);
            store_pairs(pair, dm_of(job, row, c), job->dm_stride);
        }
    }
}
#else
KERNEL static void transform_gradient(const gradient_job *job, size_t begin, size_t end)
{
    const float *outputs[TILE * TILE];
    for (size_t row = begin; row < end; row++) {
        transform_input_tile(&job->src, job->first + row, job->v + row * job->in, job->v_stride);
        gather_outputs(&job->d_dst, job->first + row, outputs);
        for (size_t c = 0; c < job->out; c += LANES) transform_gradient_lanes(outputs, c, dm_of(job, row, c), job->dm_stride);
    }
}
#endif

/* Up to LANES_ROWS input channels times one or two vectors of output channels. */
typedef struct {
    const float *v;         /* tile_rows x in */
    size_t v_stride;
    const float *dm;        /* tile_rows x 16 of the first panel */
    size_t dm_panel;        /* to the next panel's */
    size_t tile_rows;
    float *du;              /* rows x 16 of the first panel */
    size_t du_panel;
    bool add;               /* to what is there */
} gradient_product;

LANES_INLINE void sum_tiles(size_t rows, size_t vectors, const gradient_product *p)
{
    vec sum[LANES_ROWS][VECTORS] = {{{0}}}, b[VECTORS];
    const float *dm[VECTORS];
    float *du[VECTORS];
    for (size_t k = 0; k < vectors; k++) {
        dm[k] = p->dm + k / SPLIT * p->dm_panel + k % SPLIT * LANES;
        du[k] = p->du + k / SPLIT * p->du_panel + k % SPLIT * LANES;
    }
    if (p->add) {
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; k++) load(&sum[r][k], du[k] + r * PANEL);
        }
    }
    for (size_t t = 0; t < p->tile_rows; t++) {
        const float *v = p->v + t * p->v_stride;
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; k++) load(&b[k], dm[k] + t * PANEL);
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
            const float x = v[r];
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; k++) multiply_add(&sum[r][k], x, &b[k]);
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; k++) store(du[k] + r * PANEL, &sum[r][k]);
    }
}

KERNEL static void sum_pair(size_t rows, const gradient_product *p) { WITH_ROWS(sum_tiles, rows, 2, p) }
#if SPLIT == 1
KERNEL static void sum_single(size_t rows, const gradient_product *p) { WITH_ROWS(sum_tiles, rows, 1, p) }
#endif

/* One unit: some input channels of one place, all output channels. */
static void multiply_gradient(const gradient_job *job, size_t place, size_t begin, size_t end)
{
    const size_t chunks = row_chunks(end - begin), panels = job->out / PANEL, step = VECTORS / SPLIT;
    gradient_product p = {.v_stride = job->in, .dm_panel = job->block * PANEL, .tile_rows = job->now,
                          .du_panel = job->in * PANEL, .add = job->first > 0};
    for (size_t panel = 0; panel < panels; panel += step)
        for (size_t k = 0; k < chunks; k++) {
            const size_t row = begin + (end - begin) * k / chunks;
            const size_t rows = begin + (end - begin) * (k + 1) / chunks - row;
            p.v = job->v + place * job->v_stride + row;
            p.dm = job->dm + place * job->dm_stride + panel * p.dm_panel;
            p.du = job->du + (place * panels + panel) * p.du_panel + row * PANEL;
#if SPLIT == 1
            if (panel + 1 == panels) {
                sum_single(rows, &p);
                continue;
            }
#endif
            sum_pair(rows, &p);
        }
}

#endif
