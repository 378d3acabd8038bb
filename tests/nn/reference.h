/* reference.h - plain C convolution, its gradients and max-pooling on NCHW tensors, accumulated in double: the oracle
 * of the nn layer. */
#ifndef DCAM_TESTS_NN_REFERENCE_H
#define DCAM_TESTS_NN_REFERENCE_H

#include <math.h>
#include <stddef.h>

#include "nn/nn.h"

static inline size_t at4(int C, int H, int W, int n, int c, int y, int x)
{
    return (((size_t)n * (size_t)C + (size_t)c) * (size_t)H + (size_t)y) * (size_t)W + (size_t)x;
}

/* Index of n, c, y, x in any of the layer's layouts. */
static inline size_t index_in(const dcam_nn_tensor *t, int n, int c, int y, int x)
{
    int blocks = (t->c + 15) / 16;
    switch (t->layout) {
    case DCAM_NN_NHWC: return at4(t->h, t->w, t->c, n, y, x, c);
    case DCAM_NN_BLOCKED16: return at4(blocks, t->h, t->w, n, c / 16, y, x) * 16 + (size_t)(c % 16);
    default: return at4(t->c, t->h, t->w, n, c, y, x);
    }
}

/* Calls BODY for every pair of an input position and an output position that a weight joins. */
#define FOR_EACH_PRODUCT(a, o, BODY)                                                                        \
    for (int n = 0; n < (a)->src.n; n++)                                                                    \
        for (int oc = 0; oc < (o)->c; oc++)                                                                 \
            for (int oy = 0; oy < (o)->h; oy++)                                                             \
                for (int ox = 0; ox < (o)->w; ox++)                                                         \
                    for (int ic = 0; ic < (a)->src.c; ic++)                                                 \
                        for (int ky = 0; ky < (a)->kernel; ky++)                                            \
                            for (int kx = 0; kx < (a)->kernel; kx++) {                                      \
                                int iy = oy * (a)->stride + ky - (a)->padding;                              \
                                int ix = ox * (a)->stride + kx - (a)->padding;                              \
                                if (iy < 0 || ix < 0 || iy >= (a)->src.h || ix >= (a)->src.w) continue;     \
                                size_t in = at4((a)->src.c, (a)->src.h, (a)->src.w, n, ic, iy, ix);         \
                                size_t to = at4((o)->c, (o)->h, (o)->w, n, oc, oy, ox);                     \
                                size_t weight = at4((a)->src.c, (a)->kernel, (a)->kernel, oc, ic, ky, kx);  \
                                BODY                                                                        \
                            }

#endif
