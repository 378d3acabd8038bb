/* winograd_kernels.h - a thread's share of the forward pass (or of backward data, a forward pass with turned weights):
 * block by block transform, 36 products, transform back. */
#ifndef DCAM_NN_WINOGRAD_KERNELS_H
#define DCAM_NN_WINOGRAD_KERNELS_H

#include "nn/kernels.h"
#include "nn/multiply_kernel.h"
#include "nn/winograd_tile.h"

/* All 36 places of a block of `tiles`, for the panels of one part. */
static void multiply_block(const winograd_job *job, size_t tiles, size_t first_panel, size_t panels, const float *v,
                           float *m)
{
    product p = {.v_stride = job->words, .panel_size = job->words * PANEL, .words = job->words,
                 .m_stride = panels * PANEL};
    for (size_t place = 0; place < PLACES; place++) {
        p.v = v + place * job->v_stride;
        p.u = job->u + (place * (job->out / PANEL) + first_panel) * p.panel_size;
        p.m = m + place * job->m_stride;
        multiply_panels(tiles, panels, &p);
    }
}

/* One tile, the channels from first on: m + place * stride + channel - first. */
LANES_INLINE void transform_output_tile(const winograd_job *job, size_t tile, size_t first, size_t channels,
                                        const float *m, bool sum, bool relu)
{
    const tiled_map *from = &job->from;
    const tile_place at = place_of(from, tile);
    const size_t rows = from->h - at.y < TILE ? from->h - at.y : TILE;
    const size_t columns = from->w - at.x < TILE ? from->w - at.x : TILE;
    float *to = job->to + ((at.image * from->h + at.y) * from->w + at.x) * job->out + first;
    for (size_t c = 0; c < channels; c += LANES) {
        vec d[SPAN], y[TILE], half[TILE][SPAN], bias = {0};
        if (job->bias) load(&bias, job->bias + first + c);
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) load(&d[i], m + (i * SPAN + j) * job->m_stride + c);
            transform_output(d, y);
#pragma GCC unroll 4
            for (size_t i = 0; i < TILE; i++) half[i][j] = y[i];
        }
        for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++) d[j] = half[i][j];
            transform_output(d, y);
#pragma GCC unroll 4
            for (size_t j = 0; j < TILE; j++)
                if (j < columns) finish_values(&bias, sum, relu, to + (i * from->w + j) * job->out + c, &y[j]);
        }
    }
}

KERNEL static void transform_outputs(const winograd_job *job, size_t first_tile, size_t tiles, size_t first,
                                     size_t channels, const float *m)
{
    for (size_t i = 0; i < tiles; i++) {
        const float *at = m + i * channels;
        if (job->sum) transform_output_tile(job, first_tile + i, first, channels, at, true, job->relu);
        else transform_output_tile(job, first_tile + i, first, channels, at, false, job->relu);
    }
}

KERNEL static void transform_inputs(const winograd_job *job, size_t first_tile, size_t tiles, float *v)
{
    for (size_t i = 0; i < tiles; i++)
        transform_input_tile(&job->from, first_tile + i, v + i * job->words, job->v_stride);
}

static void run_winograd(const winograd_job *job, size_t part)
{
    const size_t tile_part = part / job->channel_parts, channel_part = part % job->channel_parts;
    const size_t panels = job->out / PANEL, end = job->tiles * (tile_part + 1) / job->tile_parts;
    const size_t first = panels * channel_part / job->channel_parts;
    const size_t mine = panels * (channel_part + 1) / job->channel_parts - first;
    float *v = job->scratch + part * job->part_scratch, *m = v + PLACES * job->v_stride;
    for (size_t tile = job->tiles * tile_part / job->tile_parts; tile < end; tile += job->block) {
        const size_t tiles = end - tile < job->block ? end - tile : job->block;
        transform_inputs(job, tile, tiles, v);
        multiply_block(job, tiles, first, mine, v, m);
        transform_outputs(job, tile, tiles, first * PANEL, mine * PANEL, m);
    }
}

#endif
