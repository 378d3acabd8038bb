/* attention_spatial.c - DCAM's spatial block on one image, and its gradients:
 * u = (mean, max over channels); w = sigmoid(conv7x7(u)).
 *
 * Where a maximum is reached more than once, its gradient goes to the first (as PyTorch's max(dim) on the
 * CPU). */
#include <string.h>

#include "base/vector.h"
#include "net/attention_internal.h"

/* Rows x * w (w NULL: x) -> mean and maximum over channels, and the first channel that holds it. */
DCAM_KERNEL static void pool_channels(const float *x, const float *w, size_t positions, size_t channels,
                                      float *mean, float *maximum, int32_t *max_channel)
{
    for (size_t i = 0; i < positions; i++) {
        const float *row = x + i * channels;
        dcam_f64x8 total = {0};
        float top = -INFINITY;
        int32_t where = 0;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 v, k;
            dcam_f64x8 wide;
            dcam_load8(&v, row + c, lanes);
            if (w) {
                dcam_load8(&k, w + c, DCAM_LANES);
                v *= k;
            }
            dcam_widen8(&wide, &v);
            dcam_add8(&total, &wide);
            for (size_t l = 0; l < lanes; l++) {
                if (v[l] > top) {
                    top = v[l];
                    where = (int32_t)(c + l);
                }
            }
        }
        mean[i] = (float)(dcam_sum8(&total) / (double)channels);
        maximum[i] = top;
        max_channel[i] = where;
    }
}

/* First and one-past-last kernel offset k so that 0 <= at + k - 3 < size. */
static int kernel_first(int at) { return at < ATTENTION_KERNEL / 2 ? ATTENTION_KERNEL / 2 - at : 0; }
static int kernel_end(int at, int size)
{
    return size - at + ATTENTION_KERNEL / 2 < ATTENTION_KERNEL ? size - at + ATTENTION_KERNEL / 2
                                                               : ATTENTION_KERNEL;
}

void net_attention_spatial_weights(dcam_attention_state *st, const float *kernel, const float *s,
                                   const float *w, size_t b)
{
    const size_t positions = st->positions;
    float *pooled = st->pooled + b * 2 * positions;
    pool_channels(s, w, positions, st->channels, pooled, pooled + positions, st->max_channel + b * positions);
    for (int y = 0; y < st->height; y++) {
        for (int x = 0; x < st->width; x++) {
            double logit = 0;
            for (size_t p = 0; p < 2; p++) {
                for (int ky = kernel_first(y); ky < kernel_end(y, st->height); ky++) {
                    for (int kx = kernel_first(x); kx < kernel_end(x, st->width); kx++) {
                        const size_t at = (size_t)(y + ky - ATTENTION_KERNEL / 2) * (size_t)st->width +
                                          (size_t)(x + kx - ATTENTION_KERNEL / 2);
                        logit += (double)kernel[p * ATTENTION_KERNEL * ATTENTION_KERNEL +
                                                (size_t)(ky * ATTENTION_KERNEL + kx)] *
                                 (double)pooled[p * positions + at];
                    }
                }
            }
            st->spatial_weight[b * positions + (size_t)y * (size_t)st->width + (size_t)x] =
                (float)net_attention_sigmoid(logit);
        }
    }
}

DCAM_KERNEL void net_attention_scale_positions(const float *x, const float *channel, const float *position,
                                               size_t positions, size_t channels, float *out)
{
    for (size_t i = 0; i < positions; i++) {
        const float w = position[i];
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 v, k;
            dcam_load8(&v, x + i * channels + c, lanes);
            if (channel) {
                dcam_load8(&k, channel + c, DCAM_LANES);
                v *= k;
            }
            v *= w;
            dcam_store8(out + i * channels + c, &v, lanes);
        }
    }
}

/* d_logit[i] = (sum over c of d_out * x * channel weight) * w (1 - w). */
DCAM_KERNEL static void position_products(const float *d_out, const float *x, const float *channel,
                                          const float *position, size_t positions, size_t channels,
                                          double *d_logit)
{
    for (size_t i = 0; i < positions; i++) {
        dcam_f64x8 sum = {0};
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 v, k;
            dcam_f64x8 d, wide;
            dcam_load8(&v, x + i * channels + c, lanes);
            if (channel) {
                dcam_load8(&k, channel + c, DCAM_LANES);
                v *= k;
            }
            dcam_load8_widened(&d, d_out + i * channels + c, lanes);
            dcam_widen8(&wide, &v);
            dcam_add_product8(&sum, &d, &wide);
        }
        const double w = (double)position[i];
        d_logit[i] = dcam_sum8(&sum) * w * (1 - w);
    }
}

/* Back through the 7 x 7 convolution: d_kernel of this image and dL/d(pooled). */
static void convolution_backward(dcam_attention_state *st, const float *kernel, size_t b)
{
    const size_t positions = st->positions;
    const float *pooled = st->pooled + b * 2 * positions;
    const double *d_logit = st->d_spatial_logit + b * positions;
    double *d_kernel = st->d_kernel + b * ATTENTION_KERNEL_VALUES;
    for (size_t p = 0; p < 2; p++) {
        for (int ky = 0; ky < ATTENTION_KERNEL; ky++) {
            for (int kx = 0; kx < ATTENTION_KERNEL; kx++) {
                double sum = 0;
                for (int y = 0; y < st->height; y++) {
                    const int from = y + ky - ATTENTION_KERNEL / 2;
                    if (from < 0 || from >= st->height) continue;
                    for (int x = 0; x < st->width; x++) {
                        const int left = x + kx - ATTENTION_KERNEL / 2;
                        if (left < 0 || left >= st->width) continue;
                        sum +=
                            d_logit[(size_t)y * (size_t)st->width + (size_t)x] *
                            (double)pooled[p * positions + (size_t)from * (size_t)st->width + (size_t)left];
                    }
                }
                d_kernel[p * ATTENTION_KERNEL * ATTENTION_KERNEL + (size_t)(ky * ATTENTION_KERNEL + kx)] =
                    sum;
            }
        }
        for (int y = 0; y < st->height; y++) {
            for (int x = 0; x < st->width; x++) {
                double sum = 0;
                for (int ky = 0; ky < ATTENTION_KERNEL; ky++) {
                    const int to = y - ky + ATTENTION_KERNEL / 2;
                    if (to < 0 || to >= st->height) continue;
                    for (int kx = 0; kx < ATTENTION_KERNEL; kx++) {
                        const int left = x - kx + ATTENTION_KERNEL / 2;
                        if (left < 0 || left >= st->width) continue;
                        sum += (double)kernel[p * ATTENTION_KERNEL * ATTENTION_KERNEL +
                                              (size_t)(ky * ATTENTION_KERNEL + kx)] *
                               d_logit[(size_t)to * (size_t)st->width + (size_t)left];
                    }
                }
                st->d_pooled[(b * 2 + p) * positions + (size_t)y * (size_t)st->width + (size_t)x] =
                    (float)sum;
            }
        }
    }
}

void net_attention_spatial_backward(dcam_attention_state *st, const float *kernel, const float *d_out,
                                    const float *s, const float *w, size_t b)
{
    const size_t positions = st->positions;
    position_products(d_out, s, w, st->spatial_weight + b * positions, positions, st->channels,
                      st->d_spatial_logit + b * positions);
    convolution_backward(st, kernel, b);
}

void net_attention_spatial_gradient(const dcam_attention_state *st, size_t n, float *d_kernel)
{
    for (size_t k = 0; k < ATTENTION_KERNEL_VALUES; k++) {
        double sum = 0;
        for (size_t b = 0; b < n; b++) sum += st->d_kernel[b * ATTENTION_KERNEL_VALUES + k];
        d_kernel[k] += (float)sum;
    }
}
