/* batch_norm.c - see batch_norm.h. Every function is a loop over items, one image's sixteen channels each; what an
 * item does to its positions is one kernel. */
#include "net/batch_norm.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

#define GROUP 16
/* Positions summed in f32 before the sum moves into a double. */
#define RUN 64
#define MOMENTUM 0.1

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef double f64x16 __attribute__((vector_size(128)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

#define LOAD(v, p) memcpy(&(v), (p), sizeof(v))
#define STORE(p, v) memcpy((p), &(v), sizeof(v))
/* v where mask is -1, else 0. */
#define WHERE(mask, v) ((f32x16)((mask) & (i32x16)(v)))
#define POSITIVE(v) ((v) > 0.0f)

/* ---- maps cut into items ------------------------------------------------ */

typedef struct {
    size_t images, groups, positions, width, height;
    size_t image_step, group_step, position_step; /* values */
} view;

static view view_of(const dcam_nn_tensor *t)
{
    const bool blocked = t->layout == DCAM_NN_BLOCKED16;
    const size_t c = (size_t)t->c, positions = (size_t)t->h * (size_t)t->w;
    return (view){(size_t)t->n, c / GROUP, positions, (size_t)t->w, (size_t)t->h, positions * c,
                  blocked ? positions * GROUP : GROUP, blocked ? GROUP : c};
}

static size_t item_offset(const view *v, size_t item)
{
    return item / v->groups * v->image_step + item % v->groups * v->group_step;
}

static size_t item_channel(const view *v, size_t item) { return item % v->groups * GROUP; }

/* Sums of one item: three rows of sixteen. */
#define SUMS ((size_t)3 * GROUP)

size_t net_norm_scratch(size_t images, size_t channels) { return images * channels / GROUP * SUMS; }

/* Row `row` of all items of a channel's group, added in the order of the images. */
static double total(const view *v, const double *sums, size_t row, size_t channel)
{
    double sum = 0;
    for (size_t i = 0; i < v->images; i++)
        sum += sums[(i * v->groups + channel / GROUP) * SUMS + row * GROUP + channel % GROUP];
    return sum;
}

/* ---- one normalisation -------------------------------------------------- */

dcam_status net_norm_create(const dcam_convolution_shape *shape, const dcam_convolution_weights *weights, net_norm *out)
{
    const size_t c = (size_t)shape->out_channels;
    float *values;
    if (c % GROUP != 0) return dcam_fail(DCAM_ERROR_INTERNAL, "%s: %zu channels are no multiple of 16", shape->name, c);
    DCAM_TRY(dcam_alloc_zero(6 * c, sizeof *values, &values));
    *out = (net_norm){c, weights->gamma, weights->beta, weights->running_mean, weights->running_variance, values,
                      values + c, values + 2 * c, values + 3 * c, values + 4 * c, values + 5 * c};
    return DCAM_OK;
}

void net_norm_clear(net_norm *norm)
{
    dcam_free(norm->mean);
    memset(norm, 0, sizeof *norm);
}

/* ---- statistics --------------------------------------------------------- */

/* Sums of y - centre and of its square: a centre near the mean keeps the variance's difference of squares exact. */
DCAM_KERNEL static void sum_squares(const float *y, size_t positions, size_t step, const float *centre, double *sums)
{
    f32x16 c, v;
    f64x16 sum = {0}, square = {0};
    LOAD(c, centre);
    for (size_t start = 0; start < positions; start += RUN) {
        const size_t end = positions - start < RUN ? positions : start + RUN;
        f32x16 s = {0}, q = {0};
        for (size_t p = start; p < end; p++) {
            LOAD(v, y + p * step);
            v -= c;
            s += v;
            q += v * v;
        }
        sum += __builtin_convertvector(s, f64x16);
        square += __builtin_convertvector(q, f64x16);
    }
    STORE(sums, sum);
    STORE(sums + GROUP, square);
}

typedef struct {
    view map;
    const float *y;
    double *sums;
} statistics_work;

static void statistics_items(void *context, size_t begin, size_t end)
{
    const statistics_work *w = context;
    for (size_t i = begin; i < end; i++)
        sum_squares(w->y + item_offset(&w->map, i), w->map.positions, w->map.position_step,
                    w->y + item_offset(&w->map, i % w->map.groups), w->sums + i * SUMS);
}

void net_norm_statistics(net_norm *norm, const dcam_nn_tensor *map, const float *y, double *scratch)
{
    statistics_work w = {view_of(map), y, scratch};
    const view *v = &w.map;
    const double count = (double)v->images * (double)v->positions;
    dcam_parallel_for(v->images * v->groups, statistics_items, &w);
    for (size_t c = 0; c < norm->channels; c++) {
        const double centre = (double)y[item_offset(v, c / GROUP) + c % GROUP];
        const double mean = total(v, scratch, 0, c) / count;
        const double variance = fmax(total(v, scratch, 1, c) / count - mean * mean, 0);
        const double inverse = 1 / sqrt(variance + (double)DCAM_BATCH_NORM_EPSILON);
        norm->mean[c] = (float)(centre + mean);
        norm->inverse[c] = (float)inverse;
        norm->scale[c] = (float)((double)norm->gamma[c] * inverse);
        norm->shift[c] = (float)((double)norm->beta[c] - (centre + mean) * (double)norm->gamma[c] * inverse);
        norm->running_mean[c] = (float)((1 - MOMENTUM) * (double)norm->running_mean[c] + MOMENTUM * (centre + mean));
        norm->running_variance[c] =
            (float)((1 - MOMENTUM) * (double)norm->running_variance[c] + MOMENTUM * variance * count / (count - 1));
    }
}

/* ---- forward ------------------------------------------------------------ */

/* shortcut NULL: none. */
DCAM_KERNEL static void normalise(const float *y, size_t positions, size_t step, const float *scale, const float *shift,
                                  const float *shortcut, const float *shortcut_scale, const float *shortcut_shift,
                                  float *out)
{
    f32x16 a, b, c = {0}, d = {0}, v, s;
    LOAD(a, scale);
    LOAD(b, shift);
    if (!shortcut) {
        for (size_t p = 0; p < positions; p++) {
            LOAD(v, y + p * step);
            v = v * a + b;
            v = WHERE(POSITIVE(v), v);
            STORE(out + p * step, v);
        }
    } else if (!shortcut_scale) {
        for (size_t p = 0; p < positions; p++) {
            LOAD(v, y + p * step);
            LOAD(s, shortcut + p * step);
            v = v * a + b + s;
            v = WHERE(POSITIVE(v), v);
            STORE(out + p * step, v);
        }
    } else {
        LOAD(c, shortcut_scale);
        LOAD(d, shortcut_shift);
        d += b;
        for (size_t p = 0; p < positions; p++) {
            LOAD(v, y + p * step);
            LOAD(s, shortcut + p * step);
            v = v * a + (s * c + d);
            v = WHERE(POSITIVE(v), v);
            STORE(out + p * step, v);
        }
    }
}

typedef struct {
    view map;
    const net_norm *norm, *shortcut_norm;
    const float *y, *shortcut;
    float *out;
} normalise_work;

static void normalise_items(void *context, size_t begin, size_t end)
{
    const normalise_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = item_offset(&w->map, i), c = item_channel(&w->map, i);
        const net_norm *n = w->norm, *s = w->shortcut_norm;
        normalise(w->y + at, w->map.positions, w->map.position_step, n->scale + c, n->shift + c,
                  w->shortcut ? w->shortcut + at : NULL, s ? s->scale + c : NULL, s ? s->shift + c : NULL, w->out + at);
    }
}

void net_norm_add_relu(const net_norm *norm, const dcam_nn_tensor *map, const float *y, const net_norm *shortcut_norm,
                       const float *shortcut, float *out)
{
    normalise_work w = {view_of(map), norm, shortcut_norm, y, shortcut, out};
    dcam_parallel_for(w.map.images * w.map.groups, normalise_items, &w);
}

void net_norm_relu(const net_norm *norm, const dcam_nn_tensor *map, const float *y, float *out)
{
    net_norm_add_relu(norm, map, y, NULL, NULL, out);
}

/* ---- the stem's pooling ------------------------------------------------- */

typedef struct {
    view map, pooled;
    net_norm *norm;
    float *y, *pooled_values;
    const float *g;
    uint8_t *which;
    double *sums;
} pool_work;

/* The window of pooled row or column p covers 2p - 1 .. 2p + 1, cut to 0 .. size - 1. */
static inline size_t window_first(size_t p) { return p == 0 ? 0 : 2 * p - 1; }
static inline size_t window_last(size_t p, size_t size) { return 2 * p + 1 < size ? 2 * p + 1 : size - 1; }

DCAM_KERNEL static void pool_item(const view *m, const view *o, const float *y, const float *scale, const float *shift,
                                  float *pooled, uint8_t *which)
{
    f32x16 a, b, v;
    LOAD(a, scale);
    LOAD(b, shift);
    for (size_t py = 0; py < o->height; py++)
        for (size_t px = 0; px < o->width; px++) {
            const size_t to = (py * o->width + px) * o->position_step;
            f32x16 best = {0};
            i32x16 place = {0};
            for (size_t r = window_first(py); r <= window_last(py, m->height); r++)
                for (size_t c = window_first(px); c <= window_last(px, m->width); c++) {
                    LOAD(v, y + (r * m->width + c) * m->position_step);
                    v = v * a + b;
                    const int32_t here = (int32_t)((r + 1 - 2 * py) * 3 + (c + 1 - 2 * px));
                    /* best starts at 0, which is the ReLU: where nothing is above it the place does not matter. */
                    const i32x16 more = v > best;
                    best = (f32x16)((more & (i32x16)v) | (~more & (i32x16)best));
                    place = (more & here) | (~more & place);
                }
            const u8x16 bytes = __builtin_convertvector(place, u8x16);
            STORE(pooled + to, best);
            STORE(which + to, bytes);
        }
}

static void pool_items(void *context, size_t begin, size_t end)
{
    const pool_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t to = item_offset(&w->pooled, i), c = item_channel(&w->map, i);
        pool_item(&w->map, &w->pooled, w->y + item_offset(&w->map, i), w->norm->scale + c, w->norm->shift + c,
                  w->pooled_values + to, w->which + to);
    }
}

void net_norm_relu_pool(const net_norm *norm, const dcam_nn_tensor *map, const float *y, const dcam_nn_tensor *pooled_map,
                        float *pooled, uint8_t *which)
{
    net_norm reads = *norm;
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = &reads, .pooled_values = pooled, .which = which};
    memcpy(&w.y, &y, sizeof y); /* read only here */
    dcam_parallel_for(w.map.images * w.map.groups, pool_items, &w);
}

/* dL/dz at row r, column c of the stem: g of every window (at most four) whose maximum lies there. */
#define GATHER(d, m, o, g, which, r, c)                                                                       \
    do {                                                                                                      \
        (d) = (f32x16){0};                                                                                    \
        for (size_t py = (r) / 2; py <= ((r) + 1) / 2 && py < (o)->height; py++)                              \
            for (size_t px = (c) / 2; px <= ((c) + 1) / 2 && px < (o)->width; px++) {                         \
                const size_t from = (py * (o)->width + px) * (o)->position_step;                              \
                const int32_t here = (int32_t)(((r) + 1 - 2 * py) * 3 + ((c) + 1 - 2 * px));                  \
                u8x16 bytes;                                                                                  \
                f32x16 part;                                                                                  \
                LOAD(bytes, (which) + from);                                                                  \
                LOAD(part, (g) + from);                                                                       \
                const i32x16 hit = __builtin_convertvector(bytes, i32x16) == here;                            \
                (d) += WHERE(hit, part);                                                                      \
            }                                                                                                 \
    } while (0)

DCAM_KERNEL static void pool_sums(const view *m, const view *o, const float *y, const float *mean, const float *g,
                                  const uint8_t *which, double *sums)
{
    f32x16 centre, v, d;
    f64x16 sum = {0}, product = {0};
    LOAD(centre, mean);
    for (size_t r = 0; r < m->height; r++) {
        f32x16 s = {0}, q = {0};
        for (size_t c = 0; c < m->width; c++) {
            GATHER(d, m, o, g, which, r, c);
            LOAD(v, y + (r * m->width + c) * m->position_step);
            s += d;
            q += d * (v - centre);
        }
        sum += __builtin_convertvector(s, f64x16);
        product += __builtin_convertvector(q, f64x16);
    }
    STORE(sums, sum);
    STORE(sums + GROUP, product);
}

DCAM_KERNEL static void pool_gradient(const view *m, const view *o, float *y, const net_norm *n, size_t channel,
                                      const float *g, const uint8_t *which)
{
    f32x16 mean, scale, slope, offset, v, d;
    LOAD(mean, n->mean + channel);
    LOAD(scale, n->scale + channel);
    LOAD(slope, n->slope + channel);
    LOAD(offset, n->offset + channel);
    for (size_t r = 0; r < m->height; r++)
        for (size_t c = 0; c < m->width; c++) {
            float *at = y + (r * m->width + c) * m->position_step;
            GATHER(d, m, o, g, which, r, c);
            LOAD(v, at);
            v = scale * d - (offset + slope * (v - mean));
            STORE(at, v);
        }
}

static void pool_sum_items(void *context, size_t begin, size_t end)
{
    const pool_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t from = item_offset(&w->pooled, i);
        pool_sums(&w->map, &w->pooled, w->y + item_offset(&w->map, i), w->norm->mean + item_channel(&w->map, i), w->g + from,
                  w->which + from, w->sums + i * SUMS);
    }
}

static void pool_gradient_items(void *context, size_t begin, size_t end)
{
    const pool_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t from = item_offset(&w->pooled, i);
        pool_gradient(&w->map, &w->pooled, w->y + item_offset(&w->map, i), w->norm, item_channel(&w->map, i), w->g + from,
                      w->which + from);
    }
}

/* ---- backward ----------------------------------------------------------- */

/* With M values a channel, S = sum of g, P = sum of g (y - mean):
 *   dgamma = P inverse, dbeta = S, dy = gamma inverse (g - S / M - (y - mean) inverse^2 P / M). */
static void set_backward(net_norm *n, const view *v, const double *sums, size_t product_row, float *d_gamma, float *d_beta)
{
    const double count = (double)v->images * (double)v->positions;
    for (size_t c = 0; c < n->channels; c++) {
        const double sum = total(v, sums, 0, c), product = total(v, sums, product_row, c);
        const double inverse = (double)n->inverse[c], scale = (double)n->gamma[c] * inverse;
        d_gamma[c] = (float)(product * inverse);
        d_beta[c] = (float)sum;
        n->offset[c] = (float)(scale * sum / count);
        n->slope[c] = (float)(scale * inverse * inverse * product / count);
    }
}

void net_norm_pool_backward(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map, const float *g,
                            const uint8_t *which, float *y, float *d_gamma, float *d_beta, double *scratch)
{
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = norm, .y = y, .g = g, .sums = scratch};
    memcpy(&w.which, &which, sizeof which); /* read only here */
    dcam_parallel_for(w.map.images * w.map.groups, pool_sum_items, &w);
    set_backward(norm, &w.map, scratch, 1, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.groups, pool_gradient_items, &w);
}

/* parts, y: pointers to this item, or NULL. means: of norms. */
DCAM_KERNEL static void join(size_t positions, size_t step, const float *const parts[3], const float *out, float *g,
                             const float *const y[2], const float *const means[2], double *sums)
{
    f32x16 centre[2] = {{0}}, v, o;
    f64x16 sum = {0}, product[2] = {{0}};
    for (int k = 0; k < 2; k++)
        if (y[k]) LOAD(centre[k], means[k]);
    for (size_t start = 0; start < positions; start += RUN) {
        const size_t end = positions - start < RUN ? positions : start + RUN;
        f32x16 s = {0}, q[2] = {{0}};
        for (size_t p = start; p < end; p++) {
            f32x16 d = {0};
            for (int k = 0; k < 3; k++)
                if (parts[k]) {
                    LOAD(v, parts[k] + p * step);
                    d += v;
                }
            LOAD(o, out + p * step);
            d = WHERE(POSITIVE(o), d);
            STORE(g + p * step, d);
            s += d;
            for (int k = 0; k < 2; k++)
                if (y[k]) {
                    LOAD(v, y[k] + p * step);
                    q[k] += d * (v - centre[k]);
                }
        }
        sum += __builtin_convertvector(s, f64x16);
        for (int k = 0; k < 2; k++) product[k] += __builtin_convertvector(q[k], f64x16);
    }
    STORE(sums, sum);
    STORE(sums + GROUP, product[0]);
    STORE(sums + 2 * GROUP, product[1]);
}

typedef struct {
    view map;
    const float *const *parts, *const *y;
    net_norm *const *norms;
    const float *out;
    float *g;
    double *sums;
} join_work;

static void join_items(void *context, size_t begin, size_t end)
{
    const join_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = item_offset(&w->map, i), c = item_channel(&w->map, i);
        const float *parts[3], *y[2], *means[2] = {NULL, NULL};
        for (int k = 0; k < 3; k++) parts[k] = w->parts[k] ? w->parts[k] + at : NULL;
        for (int k = 0; k < 2; k++) {
            y[k] = w->norms[k] ? w->y[k] + at : NULL;
            if (y[k]) means[k] = w->norms[k]->mean + c;
        }
        join(w->map.positions, w->map.position_step, parts, w->out + at, w->g + at, y, means, w->sums + i * SUMS);
    }
}

void net_norm_join(const dcam_nn_tensor *map, const float *const parts[3], const float *out, float *g,
                   net_norm *const norms[2], const float *const y[2], float *const d_gamma[2], float *const d_beta[2],
                   double *scratch)
{
    join_work w = {view_of(map), parts, y, norms, out, g, scratch};
    dcam_parallel_for(w.map.images * w.map.groups, join_items, &w);
    for (int k = 0; k < 2; k++)
        if (norms[k]) set_backward(norms[k], &w.map, scratch, (size_t)k + 1, d_gamma[k], d_beta[k]);
}

/* relu: g counts only where y * scale + shift > 0, computed as the forward pass computes it. */
DCAM_KERNEL static void relu_sums(const float *y, const float *g, size_t positions, size_t step, const net_norm *n,
                                  size_t channel, double *sums)
{
    f32x16 mean, scale, shift, v, d;
    f64x16 sum = {0}, product = {0};
    LOAD(mean, n->mean + channel);
    LOAD(scale, n->scale + channel);
    LOAD(shift, n->shift + channel);
    for (size_t start = 0; start < positions; start += RUN) {
        const size_t end = positions - start < RUN ? positions : start + RUN;
        f32x16 s = {0}, q = {0};
        for (size_t p = start; p < end; p++) {
            LOAD(v, y + p * step);
            LOAD(d, g + p * step);
            const f32x16 z = v * scale + shift;
            d = WHERE(POSITIVE(z), d);
            s += d;
            q += d * (v - mean);
        }
        sum += __builtin_convertvector(s, f64x16);
        product += __builtin_convertvector(q, f64x16);
    }
    STORE(sums, sum);
    STORE(sums + GROUP, product);
}

DCAM_KERNEL static void gradient(float *y, const float *g, size_t positions, size_t step, const net_norm *n,
                                 size_t channel, bool relu)
{
    f32x16 mean, scale, shift, slope, offset, v, d;
    LOAD(mean, n->mean + channel);
    LOAD(scale, n->scale + channel);
    LOAD(shift, n->shift + channel);
    LOAD(slope, n->slope + channel);
    LOAD(offset, n->offset + channel);
    for (size_t p = 0; p < positions; p++) {
        LOAD(v, y + p * step);
        LOAD(d, g + p * step);
        if (relu) {
            const f32x16 z = v * scale + shift;
            d = WHERE(POSITIVE(z), d);
        }
        v = scale * d - (offset + slope * (v - mean));
        STORE(y + p * step, v);
    }
}

typedef struct {
    view map;
    const net_norm *norm;
    const float *g;
    float *y;
    bool relu;
    double *sums;
} gradient_work;

static void relu_sum_items(void *context, size_t begin, size_t end)
{
    const gradient_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = item_offset(&w->map, i);
        relu_sums(w->y + at, w->g + at, w->map.positions, w->map.position_step, w->norm, item_channel(&w->map, i),
                  w->sums + i * SUMS);
    }
}

static void gradient_items(void *context, size_t begin, size_t end)
{
    const gradient_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = item_offset(&w->map, i);
        gradient(w->y + at, w->g + at, w->map.positions, w->map.position_step, w->norm, item_channel(&w->map, i), w->relu);
    }
}

void net_norm_backward(const net_norm *norm, const dcam_nn_tensor *map, const float *g, float *y)
{
    gradient_work w = {view_of(map), norm, g, y, false, NULL};
    dcam_parallel_for(w.map.images * w.map.groups, gradient_items, &w);
}

void net_norm_relu_backward(net_norm *norm, const dcam_nn_tensor *map, const float *d_z, float *y, float *d_gamma,
                            float *d_beta, double *scratch)
{
    gradient_work w = {view_of(map), norm, d_z, y, true, scratch};
    dcam_parallel_for(w.map.images * w.map.groups, relu_sum_items, &w);
    set_backward(norm, &w.map, scratch, 1, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.groups, gradient_items, &w);
}
