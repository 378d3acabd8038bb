/* reference.c - see reference.h: the sums as the definition of a convolution has them. */
#include "nn/reference.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bf16.h"

static size_t at(int C, int H, int W, int n, int c, int y, int x)
{
    return (((size_t)n * (size_t)C + (size_t)c) * (size_t)H + (size_t)y) * (size_t)W + (size_t)x;
}

size_t dcam_nn_index(const dcam_nn_tensor *t, int n, int c, int y, int x)
{
    switch (t->layout) {
    case DCAM_NN_NHWC: return at(t->h, t->w, t->c, n, y, x, c);
    case DCAM_NN_BLOCKED16: return at((t->c + 15) / 16, t->h, t->w, n, c / 16, y, x) * 16 + (size_t)(c % 16);
    case DCAM_NN_NCHW: break;
    }
    return at(t->c, t->h, t->w, n, c, y, x);
}

double dcam_nn_value(const dcam_nn_tensor *t, const void *memory, int n, int c, int y, int x)
{
    const size_t i = dcam_nn_index(t, n, c, y, x);
    switch (t->type) {
    case DCAM_NN_U8: return (double)((const uint8_t *)memory)[i];
    case DCAM_NN_S8: return (double)((const int8_t *)memory)[i];
    case DCAM_NN_BF16: return (double)dcam_widen_bf16(((const uint16_t *)memory)[i]);
    case DCAM_NN_F32: break;
    }
    return (double)((const float *)memory)[i];
}

/* The row or column of src that a tap of the window reads; false: padding. */
static bool source(int out, int tap, const dcam_nn_convolution *c, int size, int *in)
{
    *in = out * c->stride + tap - c->padding;
    return *in >= 0 && *in < size;
}

/* The row or column of dst that reads src's `in` with that tap; false: none. */
static bool reader(int in, int tap, const dcam_nn_convolution *c, int size, int *out)
{
    const int moved = in + c->padding - tap;
    *out = moved / c->stride;
    return moved >= 0 && moved % c->stride == 0 && *out < size;
}

static size_t weight_at(const dcam_nn_convolution *c, int oc, int ic, int ky, int kx)
{
    return at(c->src.c, c->kernel, c->kernel, oc, ic, ky, kx);
}

double dcam_nn_reference_forward(const dcam_nn_convolution *c, const void *src, const void *weights, const float *bias,
                                 const void *before, int n, int oc, int oy, int ox)
{
    double sum = 0;
    int iy, ix;
    for (int ky = 0; ky < c->kernel; ky++)
        for (int kx = 0; kx < c->kernel; kx++) {
            if (!source(oy, ky, c, c->src.h, &iy) || !source(ox, kx, c, c->src.w, &ix)) continue;
            for (int ic = 0; ic < c->src.c; ic++) {
                const size_t i = weight_at(c, oc, ic, ky, kx);
                const double weight = c->scales ? (double)((const int8_t *)weights)[i] : (double)((const float *)weights)[i];
                sum += weight * dcam_nn_value(&c->src, src, n, ic, iy, ix);
            }
        }
    if (c->scales) sum *= (double)c->scales[oc];
    if (c->bias) sum += (double)bias[oc];
    if (c->sum) {
        dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
        if (c->scales) dst.type = c->before_type;
        const double value = dcam_nn_value(&dst, before, n, oc, oy, ox);
        sum += c->scales ? (double)c->before_scale * value : value;
    }
    return c->relu && sum < 0 ? 0 : sum;
}

double dcam_nn_reference_backward_data(const dcam_nn_convolution *c, const float *weights, const void *d_dst, int n,
                                       int ic, int iy, int ix)
{
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    double sum = 0;
    int oy, ox;
    for (int ky = 0; ky < c->kernel; ky++)
        for (int kx = 0; kx < c->kernel; kx++) {
            if (!reader(iy, ky, c, dst.h, &oy) || !reader(ix, kx, c, dst.w, &ox)) continue;
            for (int oc = 0; oc < dst.c; oc++)
                sum += (double)weights[weight_at(c, oc, ic, ky, kx)] * dcam_nn_value(&dst, d_dst, n, oc, oy, ox);
        }
    return sum;
}

double dcam_nn_reference_backward_weights(const dcam_nn_convolution *c, const void *src, const void *d_dst, int oc,
                                          int ic, int ky, int kx)
{
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    double sum = 0;
    int iy, ix;
    for (int n = 0; n < dst.n; n++)
        for (int oy = 0; oy < dst.h; oy++)
            for (int ox = 0; ox < dst.w; ox++)
                if (source(oy, ky, c, c->src.h, &iy) && source(ox, kx, c, c->src.w, &ix))
                    sum += dcam_nn_value(&dst, d_dst, n, oc, oy, ox) * dcam_nn_value(&c->src, src, n, ic, iy, ix);
    return sum;
}

double dcam_nn_reference_max_pool(const dcam_nn_tensor *src, int kernel, int stride, int padding, const void *memory,
                                  int n, int c, int oy, int ox)
{
    double most = -INFINITY;
    for (int y = oy * stride - padding; y < oy * stride - padding + kernel; y++)
        for (int x = ox * stride - padding; x < ox * stride - padding + kernel; x++)
            if (y >= 0 && x >= 0 && y < src->h && x < src->w) most = fmax(most, dcam_nn_value(src, memory, n, c, y, x));
    return most;
}
