/* stem.h - the first convolution of a ResNet (7x7, stride 2, padding 3, three channels, f32, channels last) by
 * Winograd. Forward only. Internal to src/nn. Every value is summed in an order that depends on neither the number of
 * threads nor the batch. */
#ifndef DCAM_NN_STEM_H
#define DCAM_NN_STEM_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/nn.h"

typedef struct {
    int n, h, w, out; /* h, w: of the input; out 0: nothing */
    bool bias, relu;
    bool weights_in;  /* only the transform of plain OIHW weights: SRC to DST */
    int threads;
} dcam_stem;

bool dcam_stem_fits(const dcam_nn_convolution *c);
size_t dcam_stem_bytes(const dcam_stem *s, dcam_nn_argument which);
void dcam_stem_run(const dcam_stem *s, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
