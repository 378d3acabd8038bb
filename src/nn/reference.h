/* reference.h - plain C convolution, its gradients and max-pooling, one value at a time and accumulated in double: what
 * the fast kernels are compared with, by the tests and, on a user's machine, by check.c. Nothing here is fast. Internal
 * to src/nn and its tests. */
#ifndef DCAM_NN_REFERENCE_H
#define DCAM_NN_REFERENCE_H

#include <stddef.h>

#include "nn/nn.h"

/* Where element (n, c, y, x) of a tensor lies, in elements; what is there, as a number (integers without their scale). */
size_t dcam_nn_index(const dcam_nn_tensor *t, int n, int c, int y, int x);
double dcam_nn_value(const dcam_nn_tensor *t, const void *memory, int n, int c, int y, int x);

/* Value (n, oc, oy, ox) of the forward pass. src: as c->src says; weights: OIHW, f32 (S8 of an int8 convolution); bias:
 * plain; before: what dst holds before, as c->dst_type (int8: c->before_type) and c->dst_layout say. An int8 result is
 * neither rounded nor saturated. */
double dcam_nn_reference_forward(const dcam_nn_convolution *c, const void *src, const void *weights, const float *bias,
                                 const void *before, int n, int oc, int oy, int ox);
/* Value (n, ic, iy, ix) of the gradient of src; (oc, ic, ky, kx) of the gradient of the weights. weights: OIHW, f32. */
double dcam_nn_reference_backward_data(const dcam_nn_convolution *c, const float *weights, const void *d_dst, int n,
                                       int ic, int iy, int ix);
double dcam_nn_reference_backward_weights(const dcam_nn_convolution *c, const void *src, const void *d_dst, int oc,
                                          int ic, int ky, int kx);
double dcam_nn_reference_max_pool(const dcam_nn_tensor *src, int kernel, int stride, int padding, const void *memory,
                                  int n, int c, int oy, int ox);

#endif
