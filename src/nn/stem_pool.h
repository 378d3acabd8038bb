/* stem_pool.h - what a ResNet begins with, in one pass by the tiles of AMX: the 7x7 convolution of stride 2 on three
 * planes, bias, ReLU, max-pooling 3x3 of stride 2; the result channels last, bf16 or bytes. Internal to src/nn. */
#ifndef DCAM_NN_STEM_POOL_H
#define DCAM_NN_STEM_POOL_H

#include "nn/nn.h"

typedef struct {
    int n, h, w, out;   /* h, w: of the image */
    float scale;        /* of a byte; 0: bf16 */
    int threads;
    bool weights_in;    /* the reorder of the weights */
} dcam_stem_pool;

/* Shapes, types and layouts alone; dcam_nn_convolution.pool is set. */
bool dcam_stem_pool_fits(const dcam_nn_convolution *c);
size_t dcam_stem_pool_bytes(const dcam_stem_pool *s, dcam_nn_argument which);
/* Only where dcam_nn_isa_here() >= DCAM_NN_ISA_AMX. */
void dcam_stem_pool_run(const dcam_stem_pool *s, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
