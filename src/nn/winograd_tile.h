/* winograd_tile.h - the transforms that the passes of Winograd share, for the vectors of lanes.h.
 *
 * A tile of 4x4 outputs reads 6x6 inputs. With the points 0, +-a, +-b and infinity, a = 1/sqrt(2) and b = sqrt(2),
 *   output = A' [ (G g G') * (B' d B) ] A,
 * where the product in the middle is by element over the 36 places, summed over channels: 36 small matrix products.
 * These points round half as much as the usual 1 and 2, and about twice as much as a direct convolution.
 *
 * Layouts: V and M (transformed inputs and outputs): 36 x tile x channel, U (weights): 36 x out/16 x in x 16. V and U
 * are of words: two neighbouring input channels are one where products are of bf16. */
#ifndef DCAM_NN_WINOGRAD_TILE_H
#define DCAM_NN_WINOGRAD_TILE_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/lanes.h"
#include "nn/tiles.h"

/* B' d: 6 to 6, in place. */
LANES_INLINE void transform_input(vec d[SPAN])
{
    const vec even_a = d[4] - 2.0f * d[2], odd_a = POINT_A * d[3] - POINT_B * d[1];
    const vec even_b = d[4] - 0.5f * d[2], odd_b = POINT_B * d[3] - POINT_A * d[1];
    d[0] += d[4] - 2.5f * d[2];
    d[5] += d[1] - 2.5f * d[3];
    d[1] = even_a + odd_a;
    d[2] = even_a - odd_a;
    d[3] = even_b + odd_b;
    d[4] = even_b - odd_b;
}

/* A' m: 6 to 4. */
LANES_INLINE void transform_output(const vec m[SPAN], vec y[TILE])
{
    const vec even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = POINT_A * odd_a + POINT_B * odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b;
    y[3] = A_CUBED * odd_a + B_CUBED * odd_b + m[5];
}

/* A y: 4 to 6, the transpose of the above. */
LANES_INLINE void transform_output_gradient(const vec y[TILE], vec m[SPAN])
{
    const vec even_a = y[0] + 0.5f * y[2], odd_a = POINT_A * y[1] + A_CUBED * y[3];
    const vec even_b = y[0] + 2.0f * y[2], odd_b = POINT_B * y[1] + B_CUBED * y[3];
    m[0] = y[0];
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[3];
}

/* G g: 3 to 6. */
LANES_INLINE void transform_weights(const vec g[3], vec u[SPAN])
{
    const vec even_a = (-2.0f / 3) * g[0] + (-1.0f / 3) * g[2], odd_a = (-2.0f / 3 * POINT_A) * g[1];
    const vec even_b = (1.0f / 6) * g[0] + (1.0f / 3) * g[2], odd_b = (POINT_B / 6) * g[1];
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
}

/* G' u: 6 to 3, the transpose of the above. */
LANES_INLINE void transform_weights_gradient(const vec u[SPAN], vec g[3])
{
    const vec even_a = u[1] + u[2], even_b = u[3] + u[4];
    g[0] = u[0] + (-2.0f / 3) * even_a + (1.0f / 6) * even_b;
    g[1] = (-2.0f / 3 * POINT_A) * (u[1] - u[2]) + (POINT_B / 6) * (u[3] - u[4]);
    g[2] = u[5] + (-1.0f / 3) * even_a + (1.0f / 3) * even_b;
}

/* The sources of a tile's 36 positions. */
LANES_INLINE void gather_tile(const tiled_map *m, size_t tile, const float *from[PLACES])
{
    const tile_place at = place_of(m, tile);
    for (size_t i = 0; i < SPAN; i++)
        for (size_t j = 0; j < SPAN; j++) from[i * SPAN + j] = channels_at(m, at.image, at.y + i - 1, at.x + j - 1);
}

/* V of the channels from c on, as words or as floats: v + place * stride. */
LANES_INLINE void transform_input_lanes(const float *const from[PLACES], size_t c, bool words, float *v, size_t stride)
{
    vec d[SPAN], half[SPAN][SPAN];
    for (int j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
        for (int i = 0; i < SPAN; i++) load(&d[i], from[i * SPAN + j] + c);
        transform_input(d);
#pragma GCC unroll 6
        for (int i = 0; i < SPAN; i++) half[i][j] = d[i];
    }
    for (size_t i = 0; i < SPAN; i++) {
#pragma GCC unroll 6
        for (size_t j = 0; j < SPAN; j++) d[j] = half[i][j];
        transform_input(d);
#pragma GCC unroll 6
        for (size_t j = 0; j < SPAN; j++) {
            float *to = v + (i * SPAN + j) * stride;
            if (words) store_words(to, &d[j]);
            else store(to, &d[j]);
        }
    }
}

/* V of one tile: v + place * stride + word. */
LANES_INLINE void transform_input_tile(const tiled_map *m, size_t tile, float *v, size_t stride)
{
    const float *from[PLACES];
    gather_tile(m, tile, from);
    for (size_t c = 0; c < m->c; c += LANES) transform_input_lanes(from, c, true, v + c / VALUES_A_WORD, stride);
}

/* y + bias, what was there before, ReLU; into `to`. */
LANES_INLINE void finish_values(const vec *bias, bool sum, bool relu, float *to, vec *y)
{
    *y += *bias;
    if (sum) {
        vec before;
        load(&before, to);
        *y += before;
    }
    if (relu) rectify(y);
    store(to, y);
}

#endif
