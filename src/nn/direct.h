/* direct.h - convolutions of stride 2, 3x3 with padding 1 or 1x1 without, f32 maps, channels last: a product of
 * gathered rows with the weights, as dense as the processor's registers allow. oneDNN's kernels are slower in this
 * layout. Forward only. Internal to src/nn. Every value is summed in an order that depends on neither the number of
 * threads nor the batch. */
#ifndef DCAM_NN_DIRECT_H
#define DCAM_NN_DIRECT_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef struct {
    int n, h, w, in, out; /* h, w: of the input; out 0: nothing */
    int kernel;
    bool bias, sum, relu;
    bool bf16;            /* factors are rounded to bf16 */
    bool weights_in;      /* only the reorder of plain OIHW weights: SRC to DST */
    int threads;
    dcam_nn_isa isa;
} dcam_direct;

bool dcam_direct_fits(const dcam_nn_convolution *c);
size_t dcam_direct_bytes(const dcam_direct *d, dcam_nn_argument which);
void dcam_direct_run(const dcam_direct *d, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
