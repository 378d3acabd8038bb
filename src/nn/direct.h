/* direct.h - 3x3 convolutions of stride 2 and padding 1, f32, channels last: a product of gathered rows with the
 * weights, as dense as the processor's registers allow. oneDNN's kernels are at half of that speed in this layout.
 * Forward only. Internal to src/nn. Every value is summed in an order that depends on neither the number of threads
 * nor the batch. */
#ifndef DCAM_NN_DIRECT_H
#define DCAM_NN_DIRECT_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/nn.h"

typedef struct {
    int n, h, w, in, out; /* h, w: of the input; out 0: nothing */
    bool bias, sum, relu;
    bool weights_in;      /* only the reorder of plain OIHW weights: SRC to DST */
    int threads;
} dcam_direct;

bool dcam_direct_fits(const dcam_nn_convolution *c);
size_t dcam_direct_bytes(const dcam_direct *d, dcam_nn_argument which);
void dcam_direct_run(const dcam_direct *d, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
