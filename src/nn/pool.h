/* pool.h - max-pooling of f32 maps, channels last: oneDNN's is several times slower in this layout. Internal to
 * src/nn. */
#ifndef DCAM_NN_POOL_H
#define DCAM_NN_POOL_H

#include <stdbool.h>

#include "nn/nn.h"

typedef struct {
    dcam_nn_tensor src; /* c == 0: no pool */
    int kernel, stride, padding;
} dcam_pool;

bool dcam_pool_fits(const dcam_nn_tensor *src);
dcam_nn_tensor dcam_pool_dst(const dcam_pool *pool);
void dcam_pool_run(const dcam_pool *pool, const float *src, float *dst);

#endif
