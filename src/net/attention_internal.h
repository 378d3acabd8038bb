/* attention_internal.h - what the files of the attention blocks share: the state, and the steps of either
 * block on one image. Internal to src/net; attention.h has the mathematics' names, attention.c says how they
 * are put together. */
#ifndef DCAM_NET_ATTENTION_INTERNAL_H
#define DCAM_NET_ATTENTION_INTERNAL_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/attention.h"

#define ATTENTION_REDUCTION 8
#define ATTENTION_KERNEL 7
#define ATTENTION_KERNEL_VALUES ((size_t)(2 * ATTENTION_KERNEL * ATTENTION_KERNEL))

struct dcam_attention_state {
    dcam_attention_kind kind;
    int batch, height, width;
    size_t positions, channels, hidden;
    size_t padded; /* channels rounded up to whole vectors: the stride of the arrays below */
    /* Channel block, per image. */
    double *mean, *maximum;                   /* B x padded */
    int32_t *max_position;                    /* B x padded */
    double *hidden_mean, *hidden_maximum;     /* B x hidden, after the ReLU */
    float *channel_weight;                    /* B x padded: w */
    double *d_logit;                          /* B x padded: dL/d(argument of the sigmoid) */
    double *d_hidden_mean, *d_hidden_maximum; /* B x hidden, before the ReLU */
    float *d_mean, *d_maximum;                /* B x padded: what reaches every position, and the maximum's */
    double *column;                           /* B x padded: sums over positions */
    /* Spatial block, per image. */
    float *pooled;           /* B x 2 x N: mean, maximum over channels */
    int32_t *max_channel;    /* B x N */
    float *spatial_weight;   /* B x N: w */
    double *d_spatial_logit; /* B x N */
    float *d_pooled;         /* B x 2 x N */
    double *d_kernel;        /* B x ATTENTION_KERNEL_VALUES */
    float *row;              /* B x padded: one row of dL/d(middle map) */
};

static inline double net_attention_sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- channel block (attention_channel.c); values: W1, then W2 ---- */
/* Pools image b of s into mean, maximum and max_position. */
void net_attention_channel_pool(dcam_attention_state *st, const float *s, size_t b);
/* From these to channel_weight. */
void net_attention_channel_weights(dcam_attention_state *st, const float *values, size_t b);
/* out = s * w, positions x channels. */
void net_attention_scale_channels(const float *s, const float *w, size_t positions, size_t channels,
                                  float *out);
/* From column = dL/dw of image b: back through the sigmoid and the two layers to the pooled values. */
void net_attention_channel_backward(dcam_attention_state *st, const float *values, size_t b);
/* Adds the gradients of W1 and W2: sums over n images of outer products of what each image left behind. */
void net_attention_channel_gradient(const dcam_attention_state *st, size_t n, float *d_values);

/* ---- spatial block (attention_spatial.c); w: the channel block's weights of that image, or NULL ---- */
void net_attention_spatial_weights(dcam_attention_state *st, const float *kernel, const float *s,
                                   const float *w, size_t b);
/* out = x * channel weight (NULL: 1) * position weight. */
void net_attention_scale_positions(const float *x, const float *channel, const float *position,
                                   size_t positions, size_t channels, float *out);
/* From d_out of image b: dL/d(pooled) and this image's share of the kernel's gradient. s, d_out: of that
 * image. */
void net_attention_spatial_backward(dcam_attention_state *st, const float *kernel, const float *d_out,
                                    const float *s, const float *w, size_t b);
/* Adds the gradient of the kernel: the sum of the images' shares. */
void net_attention_spatial_gradient(const dcam_attention_state *st, size_t n, float *d_kernel);

#endif
