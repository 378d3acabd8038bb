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
 * Where a maximum is reached more than once, its gradient goes to the first. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "net/attention_internal.h"

static bool has_channel(dcam_attention_kind kind)
{
    return kind == DCAM_ATTENTION_CHANNEL || kind == DCAM_ATTENTION_CBAM;
}

static bool has_spatial(dcam_attention_kind kind)
{
    return kind == DCAM_ATTENTION_SPATIAL || kind == DCAM_ATTENTION_CBAM;
}

static size_t hidden_of(size_t channels) { return channels < ATTENTION_REDUCTION ? 1 : channels / ATTENTION_REDUCTION; }

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
    return channel_value_count(kind, (size_t)channels) + (has_spatial(kind) ? ATTENTION_KERNEL_VALUES : 0);
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
    if (has_spatial(kind))
        fill_uniform(r, ATTENTION_KERNEL_VALUES, values + channel_value_count(kind, c), ATTENTION_KERNEL_VALUES);
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
    DCAM_TRY(dcam_alloc_zero((size_t)st->batch, ATTENTION_KERNEL_VALUES * sizeof(double), &st->d_kernel));
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

/* ---- rows of gradients ---- */

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

/* d_s += d * w + everywhere for one row (add; else =). */
DCAM_INLINE void add_row(float *d_s, const float *d, const float *w, const float *everywhere, size_t channels, bool add)
{
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f32x8 sum = {0}, x, k, e;
        if (add) dcam_load8(&sum, d_s + c, lanes);
        dcam_load8(&x, d + c, lanes);
        dcam_load8(&k, w + c, DCAM_LANES);
        dcam_load8(&e, everywhere + c, DCAM_LANES);
        sum += x * k + e;
        dcam_store8(d_s + c, &sum, lanes);
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
    bool add;
} job;

static void forward_images(void *context, size_t begin, size_t end)
{
    const job *j = context;
    dcam_attention_state *st = j->state;
    const size_t map = st->positions * st->channels;
    for (size_t b = begin; b < end; b++) {
        const float *s = j->s + b * map, *w = NULL;
        if (has_channel(st->kind)) {
            net_attention_channel_pool(st, s, b);
            net_attention_channel_weights(st, j->values, b);
            w = st->channel_weight + b * st->padded;
        }
        if (!has_spatial(st->kind)) {
            net_attention_scale_channels(s, w, st->positions, st->channels, j->out + b * map);
            continue;
        }
        net_attention_spatial_weights(st, j->values + channel_value_count(st->kind, st->channels), s, w, b);
        net_attention_scale_positions(s, w, st->spatial_weight + b * st->positions, st->positions, st->channels,
                                      j->out + b * map);
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
                                 size_t channels, bool add, float *d_s)
{
    for (size_t i = 0; i < positions; i++) {
        const float *row = make_row(m, i, channels);
        if (add) add_row(d_s + i * channels, row, w, everywhere, channels, true);
        else add_row(d_s + i * channels, row, w, everywhere, channels, false);
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
        net_attention_spatial_backward(st, j->values + channel_value_count(st->kind, channels), rows.d_out, s, w, b);
    }
    if (!w) {
        if (!j->add) memset(d_s, 0, map * sizeof *d_s);
        add_spatial_rows(&rows, positions, channels, d_s);
        return;
    }
    memset(st->column + at, 0, st->padded * sizeof *st->column);
    sum_rows(&rows, s, positions, channels, st->column + at);
    net_attention_channel_backward(st, j->values, b);
    add_rows(&rows, w, st->d_mean + at, positions, channels, j->add, d_s);
    for (size_t c = 0; c < channels; c++) {
        d_s[(size_t)st->max_position[at + c] * channels + c] += st->d_maximum[at + c];
    }
}

static void backward_images(void *context, size_t begin, size_t end)
{
    for (size_t b = begin; b < end; b++) backward_image(context, b);
}

void dcam_attention_backward(dcam_attention_state *state, const float *values, const float *s, int n,
                             const float *d_out, bool add, float *d_s, float *d_values)
{
    assert(n > 0 && n <= state->batch);
    if (state->kind == DCAM_ATTENTION_NONE) {
        const size_t count = (size_t)n * state->positions * state->channels;
        for (size_t i = 0; i < count; i++) d_s[i] = add ? d_s[i] + d_out[i] : d_out[i];
        return;
    }
    job j = {.state = state, .values = values, .s = s, .d_out = d_out, .d_s = d_s, .add = add};
    dcam_parallel_for((size_t)n, backward_images, &j);
    if (has_channel(state->kind)) net_attention_channel_gradient(state, (size_t)n, d_values);
    if (has_spatial(state->kind))
        net_attention_spatial_gradient(state, (size_t)n, d_values + channel_value_count(state->kind, state->channels));
}

/* ---- image by image ---- */

dcam_attention_image dcam_attention_image_at(const dcam_attention_state *st, size_t image)
{
    const size_t at = image * st->padded;
    assert(st->kind == DCAM_ATTENTION_CHANNEL && image < (size_t)st->batch);
    return (dcam_attention_image){st->mean + at, st->maximum + at, st->max_position + at, st->channel_weight + at,
                                  st->column + at, st->d_mean + at, st->d_maximum + at};
}

void dcam_attention_image_weights(dcam_attention_state *st, const float *values, size_t image)
{
    net_attention_channel_weights(st, values, image);
}

void dcam_attention_image_back(dcam_attention_state *st, const float *values, size_t image)
{
    net_attention_channel_backward(st, values, image);
}

void dcam_attention_images_gradient(const dcam_attention_state *st, int n, float *d_values)
{
    net_attention_channel_gradient(st, (size_t)n, d_values);
}
