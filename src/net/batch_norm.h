/* batch_norm.h - internal to src/net: batch norm in training mode (Ioffe and Szegedy 2015) with what stands next to it
 * in a residual trunk fused in: ReLU, the residual sum, the stem's max-pooling, and the joining of gradients. Each
 * function reads a map once and writes one at most, for a map of a whole batch does not fit into any cache.
 *
 * Maps, and the gradients of maps, are f32 in one of the layouts of nn.h whose channels lie together in sixteens
 * (BLOCKED16 or NHWC), cut by image and by sixteen channels (batch_norm.c); or bf16 in NHWC, cut by image and by positions
 * (batch_norm_bf16.c). Sums over a batch are taken in the order of these parts, in double, so that the bits do not depend
 * on the number of threads. Everything but maps and their gradients is f32. */
#ifndef DCAM_NET_BATCH_NORM_H
#define DCAM_NET_BATCH_NORM_H

#include <stdint.h>

#include "base/status.h"
#include "nn/nn.h"
#include "weights/trunk.h"

/* One normalisation: where its values are, and what the present batch made of them. */
typedef struct {
    size_t channels;                      /* a multiple of 16 */
    const float *gamma, *beta;            /* borrowed from the weights, as the two below */
    float *running_mean, *running_variance;
    /* Of the batch: */
    float *mean, *inverse;                /* inverse = 1 / sqrt(variance + epsilon) */
    float *scale, *shift;                 /* gamma * inverse, beta - mean * scale: z = y * scale + shift */
    float *slope, *offset;                /* backward: dy = scale * g - offset - slope * (y - mean) */
} net_norm;

DCAM_MUST_CHECK dcam_status net_norm_create(const dcam_convolution_shape *shape, const dcam_convolution_weights *weights,
                                            net_norm *out);
void net_norm_clear(net_norm *norm);

/* Doubles of scratch for such a map. */
size_t net_norm_scratch(const dcam_nn_tensor *map);

/* ---- forward ---- */

/* Mean and variance of y over images and positions; running statistics move by 0.1 (unbiased variance, as PyTorch). */
void net_norm_statistics(net_norm *norm, const dcam_nn_tensor *map, const void *y, double *scratch);
/* out = relu(norm(y)). */
void net_norm_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y, void *out);
/* out = relu(norm(y) + shortcut), where the shortcut is normalised too if shortcut_norm is not NULL. */
void net_norm_add_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const net_norm *shortcut_norm,
                       const void *shortcut, void *out);
/* pooled = max-pooling, 3x3, stride 2, padding 1, of relu(norm(y)); which: the place of the maximum in its window
 * (0..8, the first of equals), one byte a value in pooled's order. top: y there, as pooled; of bf16 maps only. */
void net_norm_relu_pool(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const dcam_nn_tensor *pooled_map,
                        void *pooled, uint8_t *which, void *top);

/* ---- backward ---- */

/* g = (the sum of those of parts[3] that are not NULL, one at least) where out > 0, else 0: the gradient before the
 * ReLU. For each of norms[2] that is not NULL (the second only with the first), with its y: the coefficients of
 * net_norm_backward, and the gradients of gamma and beta, overwritten. */
void net_norm_join(const dcam_nn_tensor *map, const void *const parts[3], const void *out, void *g,
                   net_norm *const norms[2], const void *const y[2], float *const d_gamma[2], float *const d_beta[2],
                   double *scratch);
/* y becomes dL/dy, from g = dL/d(norm(y)). */
void net_norm_backward(const net_norm *norm, const dcam_nn_tensor *map, const void *g, void *y);
/* Both of the above for z = relu(norm(y)) from d_z; y becomes dL/dy. */
void net_norm_relu_backward(net_norm *norm, const dcam_nn_tensor *map, const void *d_z, void *y, float *d_gamma,
                            float *d_beta, double *scratch);
/* The same for net_norm_relu_pool, from g = dL/dpooled where pooled > 0, else 0. */
void net_norm_pool_backward(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map, const void *g,
                            const uint8_t *which, const void *top, void *y, float *d_gamma, float *d_beta, double *scratch);

#endif
