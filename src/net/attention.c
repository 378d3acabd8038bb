/* attention.c - DCAM's channel, spatial and CBAM blocks, forward and backward, on maps of B x N x C (channels
 * last, N = H*W). The mathematics is method.md's:
 *
 *   channel: a = mean, m = max over positions; w = sigmoid(W2 relu(W1 a) + W2 relu(W1 m)); A(s) = s * w
 *   spatial: u = (mean, max over channels); w = sigmoid(conv7x7(u)); A(s) = s * w
 *   CBAM:    spatial(channel(s))
 *
 * CBAM's middle map s * w_channel is never kept: both passes of backward make its rows again. Images are shared
 * among the threads; what belongs to one image is summed by one thread, and the sums over images are taken in
 * the order of the images, so the bits do not depend on the number of threads.
 *
 * Where a maximum is reached more than once, its gradient goes to the first (as PyTorch's adaptive_max_pool2d
 * and max(dim) on the CPU). */
#include "net/attention.h"

#include <assert.h>
#include <math.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

#define REDUCTION 8
#define KERNEL 7
#define KERNEL_VALUES ((size_t)(2 * KERNEL * KERNEL))
/* Positions handled together, so that a tile's rows are still in the cache when the next channels are read. */
#define TILE 32

struct dcam_attention_state {
    dcam_attention_kind kind;
    int batch, height, width;
    size_t positions, channels, hidden;
    size_t padded; /* channels rounded up to whole vectors: the stride of the arrays below */
    /* Channel block, per image. */
    double *mean, *maximum;               /* B x padded */
    int32_t *max_position;                /* B x padded */
    double *hidden_mean, *hidden_maximum; /* B x hidden, after the ReLU */
    float *channel_weight;                /* B x padded: w */
    double *d_logit;                      /* B x padded: dL/d(argument of the sigmoid) */
    double *d_hidden_mean, *d_hidden_maximum; /* B x hidden, before the ReLU */
    float *d_mean, *d_maximum;            /* B x padded: what reaches every position, and the maximum's */
    double *column;                       /* B x padded: sums over positions */
    /* Spatial block, per image. */
    float *pooled;                        /* B x 2 x N: mean, maximum over channels */
    int32_t *max_channel;                 /* B x N */
    float *spatial_weight;                /* B x N: w */
    double *d_spatial_logit;              /* B x N */
    float *d_pooled;                      /* B x 2 x N */
    double *d_kernel;                     /* B x KERNEL_VALUES */
    float *row;                           /* B x padded: one row of dL/d(middle map) */
};

static bool has_channel(dcam_attention_kind kind)
{
    return kind == DCAM_ATTENTION_CHANNEL || kind == DCAM_ATTENTION_CBAM;
}

static bool has_spatial(dcam_attention_kind kind)
{
    return kind == DCAM_ATTENTION_SPATIAL || kind == DCAM_ATTENTION_CBAM;
}

static size_t hidden_of(size_t channels) { return channels < REDUCTION ? 1 : channels / REDUCTION; }

const char *dcam_attention_name(dcam_attention_kind kind)
{
    switch (kind) {
    case DCAM_ATTENTION_NONE: return "none";
    case DCAM_ATTENTION_CHANNEL: return "channel";
    case DCAM_ATTENTION_SPATIAL: return "spatial";
    case DCAM_ATTENTION_CBAM: return "cbam";
    }
    return "unknown";
}

static size_t channel_value_count(dcam_attention_kind kind, size_t channels)
{
    return has_channel(kind) ? 2 * channels * hidden_of(channels) : 0;
}

size_t dcam_attention_value_count(dcam_attention_kind kind, int channels)
{
    return channel_value_count(kind, (size_t)channels) + (has_spatial(kind) ? KERNEL_VALUES : 0);
}

static void fill_uniform(dcam_random *r, size_t fan_in, float *out, size_t count)
{
    const double bound = 1 / sqrt((double)fan_in);
    for (size_t i = 0; i < count; i++) out[i] = (float)(bound * (2 * dcam_random_uniform(r) - 1));
}

void dcam_attention_init(dcam_attention_kind kind, int channels, dcam_random *r, float *values)
{
    const size_t c = (size_t)channels, h = hidden_of(c);
    if (has_channel(kind)) {
        fill_uniform(r, c, values, h * c);
        fill_uniform(r, h, values + h * c, h * c);
    }
    if (has_spatial(kind)) fill_uniform(r, KERNEL_VALUES, values + channel_value_count(kind, c), KERNEL_VALUES);
}

static dcam_status allocate_channel(dcam_attention_state *st)
{
    const size_t c = (size_t)st->batch * st->padded, h = (size_t)st->batch * st->hidden;
    DCAM_TRY(dcam_alloc_zero(c, sizeof(double), &st->mean));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(double), &st->maximum));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(int32_t), &st->max_position));
    DCAM_TRY(dcam_alloc_zero(h, sizeof(double), &st->hidden_mean));
    DCAM_TRY(dcam_alloc_zero(h, sizeof(double), &st->hidden_maximum));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(float), &st->channel_weight));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(double), &st->d_logit));
    DCAM_TRY(dcam_alloc_zero(h, sizeof(double), &st->d_hidden_mean));
    DCAM_TRY(dcam_alloc_zero(h, sizeof(double), &st->d_hidden_maximum));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(float), &st->d_mean));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(float), &st->d_maximum));
    DCAM_TRY(dcam_alloc_zero(c, sizeof(double), &st->column));
    return DCAM_OK;
}

static dcam_status allocate_spatial(dcam_attention_state *st)
{
    const size_t n = (size_t)st->batch * st->positions;
    DCAM_TRY(dcam_alloc_zero(2 * n, sizeof(float), &st->pooled));
    DCAM_TRY(dcam_alloc_zero(n, sizeof(int32_t), &st->max_channel));
    DCAM_TRY(dcam_alloc_zero(n, sizeof(float), &st->spatial_weight));
    DCAM_TRY(dcam_alloc_zero(n, sizeof(double), &st->d_spatial_logit));
    DCAM_TRY(dcam_alloc_zero(2 * n, sizeof(float), &st->d_pooled));
    DCAM_TRY(dcam_alloc_zero((size_t)st->batch, KERNEL_VALUES * sizeof(double), &st->d_kernel));
    return DCAM_OK;
}

dcam_status dcam_attention_state_create(dcam_attention_kind kind, int batch, int height, int width, int channels,
                                        dcam_attention_state **out)
{
    assert(batch > 0 && height > 0 && width > 0 && channels > 0);
    dcam_attention_state *st;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *st, &st));
    st->kind = kind;
    st->batch = batch;
    st->height = height;
    st->width = width;
    st->positions = (size_t)height * (size_t)width;
    st->channels = (size_t)channels;
    st->hidden = hidden_of(st->channels);
    st->padded = (st->channels + DCAM_LANES - 1) / DCAM_LANES * DCAM_LANES;
    dcam_status status = dcam_alloc_zero((size_t)batch * st->padded, sizeof(float), &st->row);
    if (status == DCAM_OK && has_channel(kind)) status = allocate_channel(st);
    if (status == DCAM_OK && has_spatial(kind)) status = allocate_spatial(st);
    if (status != DCAM_OK) {
        dcam_attention_state_destroy(st);
        return status;
    }
    *out = st;
    return DCAM_OK;
}

void dcam_attention_state_destroy(dcam_attention_state *st)
{
    if (!st) return;
    dcam_free(st->mean);
    dcam_free(st->maximum);
    dcam_free(st->max_position);
    dcam_free(st->hidden_mean);
    dcam_free(st->hidden_maximum);
    dcam_free(st->channel_weight);
    dcam_free(st->d_logit);
    dcam_free(st->d_hidden_mean);
    dcam_free(st->d_hidden_maximum);
    dcam_free(st->d_mean);
    dcam_free(st->d_maximum);
    dcam_free(st->column);
    dcam_free(st->pooled);
    dcam_free(st->max_channel);
    dcam_free(st->spatial_weight);
    dcam_free(st->d_spatial_logit);
    dcam_free(st->d_pooled);
    dcam_free(st->d_kernel);
    dcam_free(st->row);
    dcam_free(st);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- channel block, one image ---- */

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

static void channel_weights(dcam_attention_state *st, const float *values, const float *s, size_t b)
{
    const size_t channels = st->channels, hidden = st->hidden;
    const float *w1 = values, *w2 = values + hidden * channels;
    double *mean = st->mean + b * st->padded, *maximum = st->maximum + b * st->padded;
    double *h_mean = st->hidden_mean + b * hidden, *h_maximum = st->hidden_maximum + b * hidden;
    pool_positions(s, st->positions, channels, mean, maximum, st->max_position + b * st->padded);
    for (size_t c = 0; c < channels; c++) mean[c] /= (double)st->positions;
    squeeze(w1, mean, hidden, channels, h_mean);
    squeeze(w1, maximum, hidden, channels, h_maximum);
    for (size_t c = 0; c < channels; c++) {
        double logit = 0;
        for (size_t h = 0; h < hidden; h++) logit += (double)w2[c * hidden + h] * (h_mean[h] + h_maximum[h]);
        st->channel_weight[b * st->padded + c] = (float)sigmoid(logit);
    }
}

DCAM_KERNEL static void scale_channels(const float *s, const float *w, size_t positions, size_t channels, float *out)
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

/* column[c] += d[c] * s[c] for one row. */
DCAM_INLINE void add_products(const float *d, const float *s, size_t channels, double *column)
{
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f64x8 x, y, sum;
        dcam_load8_widened(&x, d + c, lanes);
        dcam_load8_widened(&y, s + c, lanes);
        memcpy(&sum, column + c, sizeof sum);
        dcam_add_product8(&sum, &x, &y);
        memcpy(column + c, &sum, sizeof sum);
    }
}

/* d_s += d * w + everywhere for one row. */
DCAM_INLINE void add_row(float *d_s, const float *d, const float *w, const float *everywhere, size_t channels)
{
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f32x8 sum, x, k, e;
        dcam_load8(&sum, d_s + c, lanes);
        dcam_load8(&x, d + c, lanes);
        dcam_load8(&k, w + c, DCAM_LANES);
        dcam_load8(&e, everywhere + c, DCAM_LANES);
        sum += x * k + e;
        dcam_store8(d_s + c, &sum, lanes);
    }
}

/* From column = dL/dw: back through the sigmoid and the two layers to the pooled values. */
static void channel_weights_backward(dcam_attention_state *st, const float *values, size_t b)
{
    const size_t channels = st->channels, hidden = st->hidden, at = b * st->padded;
    const float *w1 = values, *w2 = values + hidden * channels;
    const double *column = st->column + at;
    double *d_logit = st->d_logit + at, *d_hm = st->d_hidden_mean + b * hidden, *d_hx = st->d_hidden_maximum + b * hidden;
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

/* ---- spatial block, one image ---- */

/* Rows x * w (w NULL: x) -> mean and maximum over channels, and the first channel that holds it. */
DCAM_KERNEL static void pool_channels(const float *x, const float *w, size_t positions, size_t channels, float *mean,
                                      float *maximum, int32_t *max_channel)
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
static int kernel_first(int at) { return at < KERNEL / 2 ? KERNEL / 2 - at : 0; }
static int kernel_end(int at, int size)
{
    return size - at + KERNEL / 2 < KERNEL ? size - at + KERNEL / 2 : KERNEL;
}

static void spatial_weights(dcam_attention_state *st, const float *kernel, const float *s, const float *w, size_t b)
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
                        const size_t at = (size_t)(y + ky - KERNEL / 2) * (size_t)st->width + (size_t)(x + kx - KERNEL / 2);
                        logit += (double)kernel[p * KERNEL * KERNEL + (size_t)(ky * KERNEL + kx)] *
                                 (double)pooled[p * positions + at];
                    }
                }
            }
            st->spatial_weight[b * positions + (size_t)y * (size_t)st->width + (size_t)x] = (float)sigmoid(logit);
        }
    }
}

/* out = x * channel weight (NULL: 1) * position weight. */
DCAM_KERNEL static void scale_positions(const float *x, const float *channel, const float *position, size_t positions,
                                        size_t channels, float *out)
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
                                          const float *position, size_t positions, size_t channels, double *d_logit)
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
static void spatial_weights_backward(dcam_attention_state *st, const float *kernel, size_t b)
{
    const size_t positions = st->positions;
    const float *pooled = st->pooled + b * 2 * positions;
    const double *d_logit = st->d_spatial_logit + b * positions;
    double *d_kernel = st->d_kernel + b * KERNEL_VALUES;
    for (size_t p = 0; p < 2; p++) {
        for (int ky = 0; ky < KERNEL; ky++) {
            for (int kx = 0; kx < KERNEL; kx++) {
                double sum = 0;
                for (int y = 0; y < st->height; y++) {
                    const int from = y + ky - KERNEL / 2;
                    if (from < 0 || from >= st->height) continue;
                    for (int x = 0; x < st->width; x++) {
                        const int left = x + kx - KERNEL / 2;
                        if (left < 0 || left >= st->width) continue;
                        sum += d_logit[(size_t)y * (size_t)st->width + (size_t)x] *
                               (double)pooled[p * positions + (size_t)from * (size_t)st->width + (size_t)left];
                    }
                }
                d_kernel[p * KERNEL * KERNEL + (size_t)(ky * KERNEL + kx)] = sum;
            }
        }
        for (int y = 0; y < st->height; y++) {
            for (int x = 0; x < st->width; x++) {
                double sum = 0;
                for (int ky = 0; ky < KERNEL; ky++) {
                    const int to = y - ky + KERNEL / 2;
                    if (to < 0 || to >= st->height) continue;
                    for (int kx = 0; kx < KERNEL; kx++) {
                        const int left = x - kx + KERNEL / 2;
                        if (left < 0 || left >= st->width) continue;
                        sum += (double)kernel[p * KERNEL * KERNEL + (size_t)(ky * KERNEL + kx)] *
                               d_logit[(size_t)to * (size_t)st->width + (size_t)left];
                    }
                }
                st->d_pooled[(b * 2 + p) * positions + (size_t)y * (size_t)st->width + (size_t)x] = (float)sum;
            }
        }
    }
}

/* One row of dL/d(input of the spatial block): d_out * w + d_mean / C, and the maximum's share. */
DCAM_INLINE void spatial_row(const float *d_out, float w, float everywhere, float maximum, int32_t max_channel,
                             size_t channels, float *row)
{
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f32x8 v;
        dcam_load8(&v, d_out + c, lanes);
        v = v * w + everywhere;
        dcam_store8(row + c, &v, lanes);
    }
    row[max_channel] += maximum;
}

/* ---- both ---- */

typedef struct {
    dcam_attention_state *state;
    const float *values, *s, *d_out;
    float *out, *d_s;
} job;

static void forward_images(void *context, size_t begin, size_t end)
{
    const job *j = context;
    dcam_attention_state *st = j->state;
    const size_t map = st->positions * st->channels;
    for (size_t b = begin; b < end; b++) {
        const float *s = j->s + b * map, *w = NULL;
        if (has_channel(st->kind)) {
            channel_weights(st, j->values, s, b);
            w = st->channel_weight + b * st->padded;
        }
        if (!has_spatial(st->kind)) {
            scale_channels(s, w, st->positions, st->channels, j->out + b * map);
            continue;
        }
        spatial_weights(st, j->values + channel_value_count(st->kind, st->channels), s, w, b);
        scale_positions(s, w, st->spatial_weight + b * st->positions, st->positions, st->channels, j->out + b * map);
    }
}

void dcam_attention_forward(dcam_attention_state *state, const float *values, const float *s, int n, float *out)
{
    assert(n > 0 && n <= state->batch);
    if (state->kind == DCAM_ATTENTION_NONE) {
        if (out != s) memcpy(out, s, (size_t)n * state->positions * state->channels * sizeof *out);
        return;
    }
    job j = {.state = state, .values = values, .s = s, .out = out};
    dcam_parallel_for((size_t)n, forward_images, &j);
}

/* What backward needs of the spatial block to make one row of dL/d(channel block's output) again. */
typedef struct {
    const float *d_out, *position, *d_mean, *d_maximum;
    const int32_t *max_channel;
    float *row;
} row_maker;

DCAM_INLINE const float *make_row(const row_maker *m, size_t i, size_t channels)
{
    const float *d_out = m->d_out + i * channels;
    if (!m->position) return d_out;
    spatial_row(d_out, m->position[i], m->d_mean[i] / (float)channels, m->d_maximum[i], m->max_channel[i], channels,
                m->row);
    return m->row;
}

DCAM_KERNEL static void sum_rows(const row_maker *m, const float *s, size_t positions, size_t channels, double *column)
{
    for (size_t i = 0; i < positions; i++) add_products(make_row(m, i, channels), s + i * channels, channels, column);
}

DCAM_KERNEL static void add_rows(const row_maker *m, const float *w, const float *everywhere, size_t positions,
                                 size_t channels, float *d_s)
{
    for (size_t i = 0; i < positions; i++) {
        add_row(d_s + i * channels, make_row(m, i, channels), w, everywhere, channels);
    }
}

DCAM_KERNEL static void add_spatial_rows(const row_maker *m, size_t positions, size_t channels, float *d_s)
{
    for (size_t i = 0; i < positions; i++) {
        const float *row = make_row(m, i, channels);
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 sum, v;
            dcam_load8(&sum, d_s + i * channels + c, lanes);
            dcam_load8(&v, row + c, lanes);
            sum += v;
            dcam_store8(d_s + i * channels + c, &sum, lanes);
        }
    }
}

static void backward_image(const job *j, size_t b)
{
    dcam_attention_state *st = j->state;
    const size_t positions = st->positions, channels = st->channels, map = positions * channels, at = b * st->padded;
    const float *s = j->s + b * map, *w = has_channel(st->kind) ? st->channel_weight + at : NULL;
    float *d_s = j->d_s + b * map;
    row_maker rows = {.d_out = j->d_out + b * map, .row = st->row + at};
    if (has_spatial(st->kind)) {
        rows.position = st->spatial_weight + b * positions;
        rows.d_mean = st->d_pooled + b * 2 * positions;
        rows.d_maximum = rows.d_mean + positions;
        rows.max_channel = st->max_channel + b * positions;
        position_products(rows.d_out, s, w, rows.position, positions, channels, st->d_spatial_logit + b * positions);
        spatial_weights_backward(st, j->values + channel_value_count(st->kind, channels), b);
    }
    if (!w) {
        add_spatial_rows(&rows, positions, channels, d_s);
        return;
    }
    memset(st->column + at, 0, st->padded * sizeof *st->column);
    sum_rows(&rows, s, positions, channels, st->column + at);
    channel_weights_backward(st, j->values, b);
    add_rows(&rows, w, st->d_mean + at, positions, channels, d_s);
    for (size_t c = 0; c < channels; c++) {
        d_s[(size_t)st->max_position[at + c] * channels + c] += st->d_maximum[at + c];
    }
}

static void backward_images(void *context, size_t begin, size_t end)
{
    for (size_t b = begin; b < end; b++) backward_image(context, b);
}

/* The gradients of W1, W2 are sums over images of outer products of what each image left behind. */
static void add_channel_gradient(const dcam_attention_state *st, size_t n, float *d_values)
{
    const size_t channels = st->channels, hidden = st->hidden, padded = st->padded;
    float *d_w1 = d_values, *d_w2 = d_values + hidden * channels;
    for (size_t h = 0; h < hidden; h++) {
        for (size_t c = 0; c < channels; c++) {
            double w1 = 0, w2 = 0;
            for (size_t b = 0; b < n; b++) {
                w1 += st->d_hidden_mean[b * hidden + h] * st->mean[b * padded + c] +
                      st->d_hidden_maximum[b * hidden + h] * st->maximum[b * padded + c];
                w2 += st->d_logit[b * padded + c] * (st->hidden_mean[b * hidden + h] + st->hidden_maximum[b * hidden + h]);
            }
            d_w1[h * channels + c] += (float)w1;
            d_w2[c * hidden + h] += (float)w2;
        }
    }
}

void dcam_attention_backward(dcam_attention_state *state, const float *values, const float *s, int n,
                             const float *d_out, float *d_s, float *d_values)
{
    assert(n > 0 && n <= state->batch);
    if (state->kind == DCAM_ATTENTION_NONE) {
        const size_t count = (size_t)n * state->positions * state->channels;
        for (size_t i = 0; i < count; i++) d_s[i] += d_out[i];
        return;
    }
    job j = {.state = state, .values = values, .s = s, .d_out = d_out, .d_s = d_s};
    dcam_parallel_for((size_t)n, backward_images, &j);
    if (has_channel(state->kind)) add_channel_gradient(state, (size_t)n, d_values);
    if (has_spatial(state->kind)) {
        float *d_kernel = d_values + channel_value_count(state->kind, state->channels);
        for (size_t k = 0; k < KERNEL_VALUES; k++) {
            double sum = 0;
            for (size_t b = 0; b < (size_t)n; b++) sum += state->d_kernel[b * KERNEL_VALUES + k];
            d_kernel[k] += (float)sum;
        }
    }
}
