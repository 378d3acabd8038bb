/* tile_gradient.h - the gradient of a convolution's weights from bf16 maps, channels last, as products of AMX tiles: the
 * positions of the result are what is summed over. oneDNN's kernels take two to ten times as long. Internal to src/nn.
 *
 *     dW[o][i][ky][kx] = sum over positions p of dy[p][o] x[stride p + (ky, kx) - padding][i],   in f32
 *
 * Each thread sums over images of its own; the sums of the threads are added, in their order, when the gradient is brought
 * into plain OIHW. The same number of threads gives the same bits. */
#ifndef DCAM_NN_TILE_GRADIENT_H
#define DCAM_NN_TILE_GRADIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef struct {
    int n, h, w, in, out; /* h, w: of the input; out 0: nothing */
    int kernel, stride;
    bool weights_out;     /* only the sum of the threads' parts, to plain OIHW: SRC to DST */
    int threads;
} dcam_tile_gradient;

bool dcam_tile_gradient_fits(const dcam_nn_convolution *c);
size_t dcam_tile_gradient_bytes(const dcam_tile_gradient *g, dcam_nn_argument which);
void dcam_tile_gradient_run(const dcam_tile_gradient *g, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
