/* attention_channel.c - DCAM's channel block on one image, and its gradients:
 * a = mean, m = max over positions; w = sigmoid(W2 relu(W1 a) + W2 relu(W1 m)).
 *
 * Where a maximum is reached more than once, its gradient goes to the first (as PyTorch's adaptive_max_pool2d
 * on the CPU). */
#include <string.h>

#include "base/vector.h"
#include "net/attention_internal.h"

/* Positions handled together, so that a tile's rows are still in the cache when the next channels are read.
 */
#define TILE 32

/* x: N x C -> sum, maximum (doubles, padded) and the first position that holds the maximum. */
DCAM_KERNEL static void pool_positions(const float *x, size_t positions, size_t channels, double *sum,
                                       double *maximum, int32_t *max_position)
{
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f64x8 total = {0};
        memcpy(sum + c, &total, sizeof total);
        dcam_load8_widened(&total, x + c, lanes);
        memcpy(maximum + c, &total, sizeof total);
        memset(max_position + c, 0, sizeof(dcam_i32x8));
    }
    for (size_t begin = 0; begin < positions; begin += TILE) {
        const size_t end = begin + TILE < positions ? begin + TILE : positions;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 total, top_wide, wide;
            dcam_i32x8 where;
            memcpy(&total, sum + c, sizeof total);
            memcpy(&top_wide, maximum + c, sizeof top_wide);
            memcpy(&where, max_position + c, sizeof where);
            dcam_f32x8 top;
            dcam_narrow8(&top, &top_wide);
            for (size_t i = begin; i < end; i++) {
                dcam_f32x8 v;
                dcam_load8(&v, x + i * channels + c, lanes);
                const dcam_i32x8 greater = v > top, here = (dcam_i32x8){0} + (int32_t)i;
                dcam_choose8(&top, &greater, &v, &top);
                where = (greater & here) | (~greater & where);
                dcam_widen8(&wide, &v);
                dcam_add8(&total, &wide);
            }
            dcam_widen8(&top_wide, &top);
            memcpy(sum + c, &total, sizeof total);
            memcpy(maximum + c, &top_wide, sizeof top_wide);
            memcpy(max_position + c, &where, sizeof where);
        }
    }
}

static void squeeze(const float *w1, const double *x, size_t hidden, size_t channels, double *out)
{
    for (size_t h = 0; h < hidden; h++) {
        double sum = 0;
        for (size_t c = 0; c < channels; c++) sum += (double)w1[h * channels + c] * x[c];
        out[h] = sum > 0 ? sum : 0;
    }
}

void net_attention_channel_pool(dcam_attention_state *st, const float *s, size_t b)
{
    double *mean = st->mean + b * st->padded;
    pool_positions(s, st->positions, st->channels, mean, st->maximum + b * st->padded, st->max_position + b * st->padded);
    for (size_t c = 0; c < st->channels; c++) mean[c] /= (double)st->positions;
}

void net_attention_channel_weights(dcam_attention_state *st, const float *values, size_t b)
{
    const size_t channels = st->channels, hidden = st->hidden;
    const float *w1 = values, *w2 = values + hidden * channels;
    const double *mean = st->mean + b * st->padded, *maximum = st->maximum + b * st->padded;
    double *h_mean = st->hidden_mean + b * hidden, *h_maximum = st->hidden_maximum + b * hidden;
    squeeze(w1, mean, hidden, channels, h_mean);
    squeeze(w1, maximum, hidden, channels, h_maximum);
    for (size_t c = 0; c < channels; c++) {
        double logit = 0;
        for (size_t h = 0; h < hidden; h++) logit += (double)w2[c * hidden + h] * (h_mean[h] + h_maximum[h]);
        st->channel_weight[b * st->padded + c] = (float)net_attention_sigmoid(logit);
    }
}

DCAM_KERNEL void net_attention_scale_channels(const float *s, const float *w, size_t positions,
                                              size_t channels, float *out)
{
    for (size_t i = 0; i < positions; i++) {
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 v, k;
            dcam_load8(&v, s + i * channels + c, lanes);
            dcam_load8(&k, w + c, DCAM_LANES);
            v *= k;
            dcam_store8(out + i * channels + c, &v, lanes);
        }
    }
}

void net_attention_channel_backward(dcam_attention_state *st, const float *values, size_t b)
{
    const size_t channels = st->channels, hidden = st->hidden, at = b * st->padded;
    const float *w1 = values, *w2 = values + hidden * channels;
    const double *column = st->column + at;
    double *d_logit = st->d_logit + at, *d_hm = st->d_hidden_mean + b * hidden,
           *d_hx = st->d_hidden_maximum + b * hidden;
    for (size_t c = 0; c < channels; c++) {
        const double w = (double)st->channel_weight[at + c];
        d_logit[c] = column[c] * w * (1 - w);
    }
    for (size_t h = 0; h < hidden; h++) {
        double sum = 0;
        for (size_t c = 0; c < channels; c++) sum += (double)w2[c * hidden + h] * d_logit[c];
        d_hm[h] = st->hidden_mean[b * hidden + h] > 0 ? sum : 0;
        d_hx[h] = st->hidden_maximum[b * hidden + h] > 0 ? sum : 0;
    }
    for (size_t c = 0; c < channels; c++) {
        double mean = 0, maximum = 0;
        for (size_t h = 0; h < hidden; h++) {
            mean += (double)w1[h * channels + c] * d_hm[h];
            maximum += (double)w1[h * channels + c] * d_hx[h];
        }
        st->d_mean[at + c] = (float)(mean / (double)st->positions);
        st->d_maximum[at + c] = (float)maximum;
    }
}

void net_attention_channel_gradient(const dcam_attention_state *st, size_t n, float *d_values)
{
    const size_t channels = st->channels, hidden = st->hidden, padded = st->padded;
    float *d_w1 = d_values, *d_w2 = d_values + hidden * channels;
    for (size_t h = 0; h < hidden; h++) {
        for (size_t c = 0; c < channels; c++) {
            double w1 = 0, w2 = 0;
            for (size_t b = 0; b < n; b++) {
                w1 += st->d_hidden_mean[b * hidden + h] * st->mean[b * padded + c] +
                      st->d_hidden_maximum[b * hidden + h] * st->maximum[b * padded + c];
                w2 += st->d_logit[b * padded + c] *
                      (st->hidden_mean[b * hidden + h] + st->hidden_maximum[b * hidden + h]);
            }
            d_w1[h * channels + c] += (float)w1;
            d_w2[c * hidden + h] += (float)w2;
        }
    }
}
