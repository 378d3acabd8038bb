/* tile_map_gradient.h - the gradient of the map that a convolution of stride 2 (3x3 or 1x1) has read, bf16, channels last, as
 * products of AMX tiles. oneDNN's kernels take two to three times as long. Internal to src/nn.
 *
 *     dx[2 r + p][2 s + q][i] = sum over taps (ky, kx) of that parity, and o, of dy[r + (ky = 0)][s + (kx = 0)][o] W[o][i][ky][kx]
 *
 * A row and column of x that are even meet the middle tap alone; odd ones the two beside it. Every value is summed in an order
 * that does not depend on the number of threads. */
#ifndef DCAM_NN_TILE_MAP_GRADIENT_H
#define DCAM_NN_TILE_MAP_GRADIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef struct {
    int n, h, w, in, out; /* h, w: of x, even; out 0: nothing */
    int kernel;
    bool weights_in;      /* only the reorder of plain OIHW weights: SRC to DST */
    int threads;
} dcam_tile_map_gradient;

bool dcam_tile_map_gradient_fits(const dcam_nn_convolution *c);
size_t dcam_tile_map_gradient_bytes(const dcam_tile_map_gradient *g, dcam_nn_argument which);
void dcam_tile_map_gradient_run(const dcam_tile_map_gradient *g, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
