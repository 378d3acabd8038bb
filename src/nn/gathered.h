/* gathered.h - the gradient of the weights of convolutions of stride 2 (3x3, 1x1, and the 7x7 stem), f32 maps, channels
 * last: the inputs that an output position reads are gathered into a row, and the rows are multiplied with the gradients
 * of the outputs. oneDNN's kernels are slower in this layout. Internal to src/nn. Every value is summed in an order that
 * does not depend on the number of threads. */
#ifndef DCAM_NN_GATHERED_H
#define DCAM_NN_GATHERED_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef struct {
    int n, h, w, in, out; /* h, w: of the input; out 0: nothing */
    int kernel;
    bool bf16;            /* factors are rounded to bf16 */
    bool weights_out;     /* only the reorder of the gradient to plain OIHW: SRC to DST */
    int threads;
    dcam_nn_isa isa;
} dcam_gathered;

bool dcam_gathered_fits(const dcam_nn_convolution *c);
size_t dcam_gathered_bytes(const dcam_gathered *g, dcam_nn_argument which);
void dcam_gathered_run(const dcam_gathered *g, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
