/* stem.h - the first convolution of a ResNet (7x7, stride 2, padding 3, three channels, f32, to channels last) by
 * Winograd. Forward only. Internal to src/nn. Every value is summed in an order that depends on neither the number of
 * threads nor the batch. */
#ifndef DCAM_NN_STEM_H
#define DCAM_NN_STEM_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef struct {
    int n, h, w, out; /* h, w: of the input; out 0: nothing */
    bool bias, relu;
    bool planes;      /* the input's channels are planes of their own (NCHW), else they are last */
    bool bf16;        /* factors are rounded to bf16 */
    bool weights_in;  /* only the transform of plain OIHW weights: SRC to DST */
    int threads;
    dcam_nn_isa isa;
} dcam_stem;

bool dcam_stem_fits(const dcam_nn_convolution *c);
size_t dcam_stem_bytes(const dcam_stem *s, dcam_nn_argument which);
void dcam_stem_run(const dcam_stem *s, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
