/* winograd_tile.h - what the passes of winograd*.c share: the transforms and the geometry of tiles (direct.c uses some
 * of it too).
 *
 * A tile of 4x4 outputs reads 6x6 inputs. With the points 0, +-a, +-b and infinity, a = 1/sqrt(2) and b = sqrt(2),
 *   output = A' [ (G g G') * (B' d B) ] A,
 * where the product in the middle is by element over the 36 places, summed over channels: 36 small matrix products.
 * These points round half as much as the usual 1 and 2, and about twice as much as a direct convolution.
 *
 * Layouts: V and M (transformed inputs and outputs): 36 x tile x channel, U (weights): 36 x out/16 x in x 16.
 * Vectors travel by pointer only (see base/vector.h). */
#ifndef DCAM_NN_WINOGRAD_TILE_H
#define DCAM_NN_WINOGRAD_TILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/vector.h"

/* Kernels are compiled for this; whether the processor has it is asked before. */
#if defined(__x86_64__)
#define WINOGRAD_KERNEL __attribute__((target("avx2,fma")))
#else
#define WINOGRAD_KERNEL
#endif

static inline bool winograd_processor_fits(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

#define TILE 4
#define SPAN 6             /* TILE + 3 - 1 */
#define PLACES (SPAN * SPAN)
#define PANEL 16           /* output channels that lie side by side in U: two vectors */
#define MAX_ROWS 6         /* rows of a product that stay in registers: 12 of 16, and one factor of each side */
/* Keeps the 36 matrices off each other's cache sets. */
#define PLACE_PADDING 16

#define POINT_A 0.70710678118654752f
#define POINT_B 1.41421356237309505f
#define A_CUBED 0.35355339059327376f
#define B_CUBED 2.82842712474619010f

/* B' d: 6 to 6, in place. */
DCAM_INLINE void transform_input(dcam_f32x8 d[SPAN])
{
    const dcam_f32x8 even_a = d[4] - 2.0f * d[2], odd_a = POINT_A * d[3] - POINT_B * d[1];
    const dcam_f32x8 even_b = d[4] - 0.5f * d[2], odd_b = POINT_B * d[3] - POINT_A * d[1];
    d[0] += d[4] - 2.5f * d[2];
    d[5] += d[1] - 2.5f * d[3];
    d[1] = even_a + odd_a;
    d[2] = even_a - odd_a;
    d[3] = even_b + odd_b;
    d[4] = even_b - odd_b;
}

/* A' m: 6 to 4. */
DCAM_INLINE void transform_output(const dcam_f32x8 m[SPAN], dcam_f32x8 y[TILE])
{
    const dcam_f32x8 even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = POINT_A * odd_a + POINT_B * odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b;
    y[3] = A_CUBED * odd_a + B_CUBED * odd_b + m[5];
}

/* A y: 4 to 6, the transpose of the above. */
DCAM_INLINE void transform_output_gradient(const dcam_f32x8 y[TILE], dcam_f32x8 m[SPAN])
{
    const dcam_f32x8 even_a = y[0] + 0.5f * y[2], odd_a = POINT_A * y[1] + A_CUBED * y[3];
    const dcam_f32x8 even_b = y[0] + 2.0f * y[2], odd_b = POINT_B * y[1] + B_CUBED * y[3];
    m[0] = y[0];
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[3];
}

/* G g: 3 to 6. */
DCAM_INLINE void transform_weights(const dcam_f32x8 g[3], dcam_f32x8 u[SPAN])
{
    const dcam_f32x8 even_a = (-2.0f / 3) * g[0] + (-1.0f / 3) * g[2], odd_a = (-2.0f / 3 * POINT_A) * g[1];
    const dcam_f32x8 even_b = (1.0f / 6) * g[0] + (1.0f / 3) * g[2], odd_b = (POINT_B / 6) * g[1];
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
}

/* G' u: 6 to 3, the transpose of the above. */
DCAM_INLINE void transform_weights_gradient(const dcam_f32x8 u[SPAN], dcam_f32x8 g[3])
{
    const dcam_f32x8 even_a = u[1] + u[2], even_b = u[3] + u[4];
    g[0] = u[0] + (-2.0f / 3) * even_a + (1.0f / 6) * even_b;
    g[1] = (-2.0f / 3 * POINT_A) * (u[1] - u[2]) + (POINT_B / 6) * (u[3] - u[4]);
    g[2] = u[5] + (-1.0f / 3) * even_a + (1.0f / 3) * even_b;
}

/* A map of n images, h x w x c, cut into tiles. */
typedef struct {
    const float *map;
    const float *zeros;    /* c of them: what lies outside */
    size_t h, w, c, tiles_y, tiles_x;
} tiled_map;

DCAM_INLINE tiled_map tile_map(const float *map, const float *zeros, int h, int w, int c)
{
    return (tiled_map){map, zeros, (size_t)h, (size_t)w, (size_t)c, ((size_t)h + TILE - 1) / TILE,
                       ((size_t)w + TILE - 1) / TILE};
}

/* First row and column of a tile's outputs, and its image. */
typedef struct { size_t image, y, x; } tile_place;

DCAM_INLINE tile_place place_of(const tiled_map *m, size_t tile)
{
    const size_t a_map = m->tiles_y * m->tiles_x, inside = tile % a_map;
    return (tile_place){tile / a_map, inside / m->tiles_x * TILE, inside % m->tiles_x * TILE};
}

/* Channels of position (y, x) of a tile's image; unsigned, so that -1 lies outside too. */
DCAM_INLINE const float *channels_at(const tiled_map *m, size_t image, size_t y, size_t x)
{
    return y < m->h && x < m->w ? m->map + ((image * m->h + y) * m->w + x) * m->c : m->zeros;
}

/* V of one tile: v + place * stride + channel. */
DCAM_INLINE void transform_input_tile(const tiled_map *m, size_t tile, float *v, size_t stride)
{
    const tile_place at = place_of(m, tile);
    const float *from[PLACES];
    for (size_t i = 0; i < SPAN; i++)
        for (size_t j = 0; j < SPAN; j++) from[i * SPAN + j] = channels_at(m, at.image, at.y + i - 1, at.x + j - 1);
    for (size_t c = 0; c < m->c; c += DCAM_LANES) {
        dcam_f32x8 d[SPAN], half[SPAN][SPAN];
        for (int j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (int i = 0; i < SPAN; i++) dcam_load8(&d[i], from[i * SPAN + j] + c, DCAM_LANES);
            transform_input(d);
#pragma GCC unroll 6
            for (int i = 0; i < SPAN; i++) half[i][j] = d[i];
        }
        for (size_t i = 0; i < SPAN; i++) {
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++) d[j] = half[i][j];
            transform_input(d);
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++) dcam_store8(v + (i * SPAN + j) * stride + c, &d[j], DCAM_LANES);
        }
    }
}

/* y + bias, what was there before, ReLU; into `to`. */
DCAM_INLINE void finish_values(const dcam_f32x8 *bias, bool sum, bool relu, float *to, dcam_f32x8 *y)
{
    *y += *bias;
    if (sum) {
        dcam_f32x8 before;
        dcam_load8(&before, to, DCAM_LANES);
        *y += before;
    }
    if (relu) {
        const dcam_f32x8 zero = {0};
        const dcam_i32x8 below = *y <= zero; /* what is no number stays so, and is found in the map */
        dcam_choose8(y, &below, &zero, y);
    }
    dcam_store8(to, y, DCAM_LANES);
}

/* Rows are cut evenly, so that no chunk is thin: `count` chunks of at most MAX_ROWS. */
DCAM_INLINE size_t row_chunks(size_t rows) { return (rows + MAX_ROWS - 1) / MAX_ROWS; }

#endif
