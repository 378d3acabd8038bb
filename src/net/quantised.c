/* quantised.c - see quantised.h. With x = s_x X, w = s_w W and y = s_y Y (capitals are integers),
 *     Y = relu((s_x s_w / s_y) sum of W X + b / s_y + (s_a / s_y) A)
 * where A is what is added to: no step leaves the integers but the last. */
#include "net/quantised.h"

#include <math.h>

#include "base/memory.h"

/* A channel of weights that are all zero, or so small that their scale would be none, still needs one. */
#define LEAST_WEIGHT_SCALE 1e-20f

struct net_quantised {
    const dcam_trunk_weights *weights;
    float ranges[DCAM_MAX_CONVOLUTIONS];
    int8_t *integers[DCAM_MAX_CONVOLUTIONS];
    float *weight_scales[DCAM_MAX_CONVOLUTIONS]; /* out_channels */
    /* Made with the first part that a network plans, and then only read: borrowers plan theirs in other threads. */
    float *scales[DCAM_MAX_CONVOLUTIONS], *bias[DCAM_MAX_CONVOLUTIONS];
    bool described[DCAM_MAX_CONVOLUTIONS];
};

static void quantise_channel(const float *w, size_t count, int limit, int8_t *out, float *scale)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(w[i]));
    *scale = fmaxf(largest / (float)limit, LEAST_WEIGHT_SCALE);
    for (size_t i = 0; i < count; i++) out[i] = (int8_t)lrintf(w[i] / *scale);
}

static dcam_status quantise_convolution(net_quantised *q, int i)
{
    const dcam_convolution_shape *s = &q->weights->shapes[i];
    const size_t channels = (size_t)s->out_channels, per_channel = s->weight_count / channels;
    const int limit = dcam_nn_int8_weight_limit();
    DCAM_TRY(dcam_alloc(s->weight_count, 1, &q->integers[i]));
    DCAM_TRY(dcam_alloc(channels, sizeof(float), &q->weight_scales[i]));
    DCAM_TRY(dcam_alloc(channels, sizeof(float), &q->scales[i]));
    DCAM_TRY(dcam_alloc(channels, sizeof(float), &q->bias[i]));
    for (size_t c = 0; c < channels; c++)
        quantise_channel(q->weights->convolutions[i].weight + c * per_channel, per_channel, limit,
                         q->integers[i] + c * per_channel, &q->weight_scales[i][c]);
    return DCAM_OK;
}

dcam_status net_quantised_create(const dcam_trunk_weights *weights, const float *ranges, net_quantised **out)
{
    net_quantised *q;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *q, &q));
    q->weights = weights;
    dcam_status status = DCAM_OK;
    for (int i = 0; i < weights->convolution_count; i++) q->ranges[i] = ranges[i];
    for (int i = 1; i < weights->convolution_count && status == DCAM_OK; i++) status = quantise_convolution(q, i);
    if (status != DCAM_OK) {
        net_quantised_destroy(q);
        return status;
    }
    *out = q;
    return DCAM_OK;
}

void net_quantised_destroy(net_quantised *q)
{
    if (!q) return;
    for (int i = 0; i < DCAM_MAX_CONVOLUTIONS; i++) {
        dcam_free(q->integers[i]);
        dcam_free(q->weight_scales[i]);
        dcam_free(q->scales[i]);
        dcam_free(q->bias[i]);
    }
    dcam_free(q);
}

size_t net_quantised_bytes(const net_quantised *q)
{
    size_t bytes = 0;
    for (int i = 1; q && i < q->weights->convolution_count; i++)
        bytes += q->weights->shapes[i].weight_count + 3 * sizeof(float) * (size_t)q->weights->shapes[i].out_channels;
    return bytes;
}

float net_quantised_scale(const net_quantised *q, int convolution, dcam_nn_type type)
{
    return q->ranges[convolution] / (type == DCAM_NN_S8 ? 127.0f : 255.0f);
}

const int8_t *net_quantised_weights(const net_quantised *q, int convolution) { return q->integers[convolution]; }

void net_quantised_describe(net_quantised *q, int convolution, int source, int added, dcam_nn_type added_type,
                            dcam_nn_convolution *c)
{
    const float from = net_quantised_scale(q, source, c->src.type), to = net_quantised_scale(q, convolution, c->dst_type);
    float *scales = q->scales[convolution], *bias = q->bias[convolution];
    c->scales = scales;
    if (c->sum) {
        c->before_type = added_type;
        c->before_scale = net_quantised_scale(q, added, added_type) / to;
    }
    if (q->described[convolution]) return;
    for (int k = 0; k < c->out_channels; k++) {
        scales[k] = from * q->weight_scales[convolution][k] / to;
        bias[k] = q->weights->convolutions[convolution].bias[k] / to;
    }
    dcam_nn_bias_in(c, bias, bias);
    q->described[convolution] = true;
}

const float *net_quantised_bias(const net_quantised *q, int convolution) { return q->bias[convolution]; }
