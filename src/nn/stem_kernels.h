/* stem_kernels.h - a thread's share of the stem (stem.c), by rows of tiles. */
#ifndef DCAM_NN_STEM_KERNELS_H
#define DCAM_NN_STEM_KERNELS_H

#include "nn/kernels.h"
#include "nn/multiply_kernel.h"
#include "nn/stem_shape.h"
#include "nn/winograd_tile.h"

#define ROW_WORDS (STEM_WIDTH / VALUES_A_WORD)
#define WORDS (STEM_DEPTH / VALUES_A_WORD)

/* One row of each phase, from whole pixels: a pixel's colors, and those of its neighbour, lie side by side. */
static void fill_from_pixels(const stem_job *job, size_t image, size_t row, float *to)
{
    const size_t line = job->src_width * COLORS;
    const float *even = job->src + (image * job->src_height + 2 * row) * line, *odd = even + line;
    for (size_t x = 0; x < job->width; x++, to += STEM_WIDTH) {
        memcpy(to, even + x * 2 * COLORS, 2 * COLORS * sizeof *to);
        memcpy(to + 2 * COLORS, odd + x * 2 * COLORS, 2 * COLORS * sizeof *to);
    }
}

/* The same from a plane a color. */
static void fill_from_planes(const stem_job *job, size_t image, size_t row, float *to)
{
    for (size_t color = 0; color < COLORS; color++) {
        const float *even = job->src + ((image * COLORS + color) * job->src_height + 2 * row) * job->src_width;
        const float *odd = even + job->src_width;
        float *at = to + color;
        for (size_t x = 0; x < job->width; x++, at += STEM_WIDTH) {
            at[0] = even[2 * x];
            at[COLORS] = even[2 * x + 1];
            at[2 * COLORS] = odd[2 * x];
            at[3 * COLORS] = odd[2 * x + 1];
        }
    }
}

/* Phase rows first .. first + 5, with what lies outside as zeros: row x columns x 16. */
static void fill_band(const stem_job *job, size_t image, size_t first, float *band)
{
    memset(band, 0, SPAN * job->columns * STEM_WIDTH * sizeof *band);
    for (size_t i = 0; i < SPAN; i++) {
        const size_t row = first + i - BEFORE; /* unsigned: before the first lies outside too */
        if (row >= job->height) continue;
        float *to = band + (i * job->columns + BEFORE) * STEM_WIDTH;
        if (job->planes) fill_from_planes(job, image, row, to);
        else fill_from_pixels(job, image, row, to);
    }
}

/* V of the tile whose first column is band's. */
LANES_INLINE void transform_band_tile(const float *band, size_t columns, float *v, size_t stride)
{
    for (size_t c = 0; c < STEM_WIDTH; c += LANES) {
        vec d[SPAN], part[SPAN][SPAN];
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) load(&d[i], band + (i * columns + j) * STEM_WIDTH + c);
            transform_input(d);
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) part[i][j] = d[i];
        }
        for (size_t i = 0; i < SPAN; i++) {
            transform_input(part[i]);
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++)
                store_words(v + (i * SPAN + j) * stride + c / VALUES_A_WORD, &part[i][j]);
        }
    }
}

/* A' m: 6 to 3. */
LANES_INLINE void transform_three(const vec m[SPAN], vec y[OUTPUTS])
{
    const vec even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = POINT_A * odd_a + POINT_B * odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b + m[5];
}

/* Nine outputs, fewer at the edges, of all channels. */
LANES_INLINE void finish_outputs(const stem_job *job, const float *m, size_t rows, size_t columns, bool relu, float *to)
{
    for (size_t c = 0; c < job->out; c += LANES) {
        vec d[SPAN], y[OUTPUTS], part[OUTPUTS][SPAN], bias = {0};
        if (job->bias) load(&bias, job->bias + c);
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) load(&d[i], m + (i * SPAN + j) * job->m_stride + c);
            transform_three(d, y);
#pragma GCC unroll 3
            for (size_t i = 0; i < OUTPUTS; i++) part[i][j] = y[i];
        }
#pragma GCC unroll 3
        for (size_t i = 0; i < rows; i++) {
            transform_three(part[i], y);
#pragma GCC unroll 3
            for (size_t j = 0; j < OUTPUTS; j++)
                if (j < columns)
                    finish_values(&bias, false, relu, to + (i * job->width + j) * job->out + c, &y[j]);
        }
    }
}

/* Most tiles are whole: for them all is known when this is compiled. */
LANES_INLINE void finish_tile(const stem_job *job, const float *m, size_t rows, size_t columns, float *to)
{
    if (rows < OUTPUTS || columns < OUTPUTS) finish_outputs(job, m, rows, columns, job->relu, to);
    else if (job->relu) finish_outputs(job, m, OUTPUTS, OUTPUTS, true, to);
    else finish_outputs(job, m, OUTPUTS, OUTPUTS, false, to);
}

/* `tiles` of them, the first at column 3 * first of the band. */
KERNEL static void run_block(const stem_job *job, size_t image, size_t tile_y, size_t first, size_t tiles,
                             const float *band, float *v, float *m)
{
    const size_t panels = job->out / PANEL, y = tile_y * OUTPUTS;
    const size_t rows = job->height - y < OUTPUTS ? job->height - y : OUTPUTS;
    product p = {.v_stride = ROW_WORDS, .panel_size = WORDS * PANEL, .words = WORDS, .m_stride = job->out};
    for (size_t t = 0; t < tiles; t++)
        transform_band_tile(band + (first + t) * OUTPUTS * STEM_WIDTH, job->columns, v + t * ROW_WORDS, job->v_stride);
    for (size_t place = 0; place < PLACES; place++) {
        p.v = v + place * job->v_stride;
        p.u = job->u + place * panels * p.panel_size;
        p.m = m + place * job->m_stride;
        multiply_panels(tiles, panels, &p);
    }
    for (size_t t = 0; t < tiles; t++) {
        const size_t x = (first + t) * OUTPUTS, columns = job->width - x < OUTPUTS ? job->width - x : OUTPUTS;
        finish_tile(job, m + t * job->out, rows, columns,
                    job->dst + ((image * job->height + y) * job->width + x) * job->out);
    }
}

static void run_stem(const stem_job *job, size_t part)
{
    const size_t rows = job->n * job->tiles_y, blocks = (job->tiles_x + STEM_BLOCK - 1) / STEM_BLOCK;
    float *band = job->scratch + part * job->part_scratch, *v = band + SPAN * job->columns * STEM_WIDTH;
    float *m = v + PLACES * job->v_stride;
    for (size_t row = rows * part / job->parts; row < rows * (part + 1) / job->parts; row++) {
        const size_t image = row / job->tiles_y, tile_y = row % job->tiles_y;
        fill_band(job, image, tile_y * OUTPUTS, band);
        for (size_t k = 0; k < blocks; k++) {
            const size_t first = job->tiles_x * k / blocks, tiles = job->tiles_x * (k + 1) / blocks - first;
            run_block(job, image, tile_y, first, tiles, band, v, m);
        }
    }
}

#endif
