/* batch_norm_f32.c - batch_norm.h for f32 maps. Every function is a loop over items, one image's sixteen channels each; what an
 * item does to its positions is one kernel. Sixteen channels are a cache line, eight a register of most processors:
 * so a kernel takes a run of positions, and in it the two halves of the line one after the other. */
#include "net/batch_norm_parts.h"

#include <assert.h>
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"

#define GROUP 16
/* Positions summed in f32 before the sum moves into a double. */
#define RUN 64

typedef uint8_t u8x8 __attribute__((vector_size(8)));

#define LOAD(v, p) memcpy(&(v), (p), sizeof(v))
#define STORE(p, v) memcpy((p), &(v), sizeof(v))
/* v where mask is -1, else 0. */
#define WHERE(mask, v) ((dcam_f32x8)((mask) & (dcam_i32x8)(v)))
#define POSITIVE(v) ((v) > 0.0f)
/* ReLU. NaN stays, so that the loss tells of it. */
#define RECTIFIED(v) WHERE(~((v) <= 0.0f), v)

/* Of a run's two halves. */
#define EACH_HALF(h) for (size_t h = 0; h < GROUP; h += DCAM_LANES) /* NOLINT(bugprone-macro-parentheses): h is declared */

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

/* The sums of one run go into the item's. */
DCAM_INLINE void add_run(double *sums, const dcam_f32x8 *run)
{
    dcam_f64x8 sum, wide;
    LOAD(sum, sums);
    dcam_widen8(&wide, run);
    dcam_add8(&sum, &wide);
    STORE(sums, sum);
}

DCAM_INLINE size_t run_end(size_t start, size_t positions)
{
    return positions - start < RUN ? positions : start + RUN;
}

static size_t scratch_of(const dcam_nn_tensor *map) { return (size_t)map->n * (size_t)map->c / GROUP * SUMS; }

/* Row `row` of all items of a channel's group, added in the order of the images. */
static double total(const view *v, const double *sums, size_t row, size_t channel)
{
    double sum = 0;
    for (size_t i = 0; i < v->images; i++)
        sum += sums[(i * v->groups + channel / GROUP) * SUMS + row * GROUP + channel % GROUP];
    return sum;
}

/* ---- statistics --------------------------------------------------------- */

/* Sums of y - centre and of its square: a centre near the mean keeps the variance's difference of squares exact. */
DCAM_KERNEL static void sum_squares(const float *y, size_t positions, size_t step, const float *centre, double *sums)
{
    memset(sums, 0, SUMS * sizeof *sums);
    for (size_t start = 0; start < positions; start += RUN)
        EACH_HALF(h) {
            dcam_f32x8 s = {0}, q = {0}, c, v;
            LOAD(c, centre + h);
            for (size_t p = start, end = run_end(start, positions); p < end; p++) {
                LOAD(v, y + p * step + h);
                v -= c;
                s += v;
                q += v * v;
            }
            add_run(sums + h, &s);
            add_run(sums + GROUP + h, &q);
        }
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

static void statistics(net_norm *norm, const dcam_nn_tensor *map, const void *y, double *scratch)
{
    const float *first = y;
    statistics_work w = {view_of(map), y, scratch};
    const view *v = &w.map;
    const double count = (double)v->images * (double)v->positions;
    dcam_parallel_for(v->images * v->groups, statistics_items, &w);
    for (size_t c = 0; c < norm->channels; c++)
        net_norm_set_statistics(norm, c, (double)first[item_offset(v, c / GROUP) + c % GROUP], total(v, scratch, 0, c),
                                total(v, scratch, 1, c), count);
}

/* ---- forward ------------------------------------------------------------ */

/* One half of a run. shortcut NULL: none. */
DCAM_INLINE void normalise_run(const float *y, size_t start, size_t end, size_t step, const float *scale,
                               const float *shift, const float *shortcut, const float *shortcut_scale,
                               const float *shortcut_shift, float *out)
{
    dcam_f32x8 a, b, c = {0}, d = {0}, v, s;
    LOAD(a, scale);
    LOAD(b, shift);
    if (!shortcut) {
        for (size_t p = start; p < end; p++) {
            LOAD(v, y + p * step);
            v = v * a + b;
            v = RECTIFIED(v);
            STORE(out + p * step, v);
        }
    } else if (!shortcut_scale) {
        for (size_t p = start; p < end; p++) {
            LOAD(v, y + p * step);
            LOAD(s, shortcut + p * step);
            v = v * a + b + s;
            v = RECTIFIED(v);
            STORE(out + p * step, v);
        }
    } else {
        LOAD(c, shortcut_scale);
        LOAD(d, shortcut_shift);
        d += b;
        for (size_t p = start; p < end; p++) {
            LOAD(v, y + p * step);
            LOAD(s, shortcut + p * step);
            v = v * a + (s * c + d);
            v = RECTIFIED(v);
            STORE(out + p * step, v);
        }
    }
}

DCAM_KERNEL static void normalise(const float *y, size_t positions, size_t step, const float *scale, const float *shift,
                                  const float *shortcut, const float *shortcut_scale, const float *shortcut_shift,
                                  float *out)
{
    for (size_t start = 0; start < positions; start += RUN)
        EACH_HALF(h)
            normalise_run(y + h, start, run_end(start, positions), step, scale + h, shift + h,
                          shortcut ? shortcut + h : NULL, shortcut_scale ? shortcut_scale + h : NULL,
                          shortcut_shift ? shortcut_shift + h : NULL, out + h);
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

static void norm_add_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y,
                          const net_norm *shortcut_norm, const void *shortcut, void *out)
{
    normalise_work w = {view_of(map), norm, shortcut_norm, y, shortcut, out};
    dcam_parallel_for(w.map.images * w.map.groups, normalise_items, &w);
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

/* One half of one pooled row. */
DCAM_INLINE void pool_row(const view *m, const view *o, size_t py, const float *y, const float *scale,
                          const float *shift, float *pooled, uint8_t *which)
{
    dcam_f32x8 a, b, v;
    LOAD(a, scale);
    LOAD(b, shift);
    for (size_t px = 0; px < o->width; px++) {
        const size_t to = (py * o->width + px) * o->position_step;
        dcam_f32x8 best = {0};
        dcam_i32x8 place = {0};
        for (size_t r = net_window_first(py); r <= net_window_last(py, m->height); r++)
            for (size_t c = net_window_first(px); c <= net_window_last(px, m->width); c++) {
                LOAD(v, y + (r * m->width + c) * m->position_step);
                v = v * a + b;
                const int32_t here = (int32_t)((r + 1 - 2 * py) * 3 + (c + 1 - 2 * px));
                /* best starts at 0, which is the ReLU: where nothing is above it the place does not matter. A NaN is taken;
                 * a later number may follow it, but with one NaN in y all of its channel's z are. */
                const dcam_i32x8 more = ~(v <= best);
                best = (dcam_f32x8)((more & (dcam_i32x8)v) | (~more & (dcam_i32x8)best));
                place = (more & here) | (~more & place);
            }
        const u8x8 bytes = __builtin_convertvector(place, u8x8);
        STORE(pooled + to, best);
        STORE(which + to, bytes);
    }
}

DCAM_KERNEL static void pool_item(const view *m, const view *o, const float *y, const float *scale, const float *shift,
                                  float *pooled, uint8_t *which)
{
    for (size_t py = 0; py < o->height; py++)
        EACH_HALF(h) pool_row(m, o, py, y + h, scale + h, shift + h, pooled + h, which + h);
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

static void norm_relu_pool(const net_norm *norm, const dcam_nn_tensor *map, const void *y,
                           const dcam_nn_tensor *pooled_map, void *pooled, uint8_t *which, void *top)
{
    (void)top;
    net_norm reads = *norm;
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = &reads, .pooled_values = pooled, .which = which};
    memcpy(&w.y, &y, sizeof y); /* read only here */
    dcam_parallel_for(w.map.images * w.map.groups, pool_items, &w);
}

/* dL/dz at row r, column c of the stem: g of every window (at most four) whose maximum lies there. */
#define GATHER(d, m, o, g, which, r, c)                                                                       \
    do {                                                                                                      \
        (d) = (dcam_f32x8){0};                                                                                \
        for (size_t py = (r) / 2; py <= ((r) + 1) / 2 && py < (o)->height; py++)                              \
            for (size_t px = (c) / 2; px <= ((c) + 1) / 2 && px < (o)->width; px++) {                         \
                const size_t from = (py * (o)->width + px) * (o)->position_step;                              \
                const int32_t here = (int32_t)(((r) + 1 - 2 * py) * 3 + ((c) + 1 - 2 * px));                  \
                u8x8 bytes;                                                                                   \
                dcam_f32x8 part;                                                                              \
                LOAD(bytes, (which) + from);                                                                  \
                LOAD(part, (g) + from);                                                                       \
                const dcam_i32x8 hit = __builtin_convertvector(bytes, dcam_i32x8) == here;                    \
                (d) += WHERE(hit, part);                                                                      \
            }                                                                                                 \
    } while (0)

DCAM_KERNEL static void pool_sums(const view *m, const view *o, const float *y, const float *mean, const float *g,
                                  const uint8_t *which, double *sums)
{
    memset(sums, 0, SUMS * sizeof *sums);
    for (size_t r = 0; r < m->height; r++)
        EACH_HALF(h) {
            dcam_f32x8 s = {0}, q = {0}, centre, v, d;
            LOAD(centre, mean + h);
            for (size_t c = 0; c < m->width; c++) {
                GATHER(d, m, o, g + h, which + h, r, c);
                LOAD(v, y + (r * m->width + c) * m->position_step + h);
                s += d;
                q += d * (v - centre);
            }
            add_run(sums + h, &s);
            add_run(sums + GROUP + h, &q);
        }
}

DCAM_KERNEL static void pool_gradient(const view *m, const view *o, float *y, const net_norm *n, size_t channel,
                                      const float *g, const uint8_t *which)
{
    for (size_t r = 0; r < m->height; r++)
        EACH_HALF(h) {
            dcam_f32x8 mean, scale, slope, offset, v, d;
            LOAD(mean, n->mean + channel + h);
            LOAD(scale, n->scale + channel + h);
            LOAD(slope, n->slope + channel + h);
            LOAD(offset, n->offset + channel + h);
            for (size_t c = 0; c < m->width; c++) {
                float *at = y + (r * m->width + c) * m->position_step + h;
                GATHER(d, m, o, g + h, which + h, r, c);
                LOAD(v, at);
                v = scale * d - (offset + slope * (v - mean));
                STORE(at, v);
            }
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

/* product_row: of the items' sums, where those of g (y - mean) are. */
static void set_backward(net_norm *n, const view *v, const double *sums, size_t product_row, float *d_gamma, float *d_beta)
{
    const double count = (double)v->images * (double)v->positions;
    for (size_t c = 0; c < n->channels; c++)
        net_norm_set_backward(n, c, total(v, sums, 0, c), total(v, sums, product_row, c), count, d_gamma, d_beta);
}

static void norm_pool_backward(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map,
                               const void *g, const uint8_t *which, const void *top, void *y, float *d_gamma,
                               float *d_beta, double *scratch)
{
    (void)top;
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = norm, .y = y, .g = g, .sums = scratch};
    memcpy(&w.which, &which, sizeof which); /* read only here */
    dcam_parallel_for(w.map.images * w.map.groups, pool_sum_items, &w);
    set_backward(norm, &w.map, scratch, 1, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.groups, pool_gradient_items, &w);
}

typedef struct {
    const float *parts[3], *y[2], *means[2]; /* of one item; those given come first */
    int part_count, norm_count;
} joined;

/* g and the sums. The two counts are constants where this is called, so that the loop asks nothing. */
DCAM_INLINE void join_item(const joined *j, int part_count, int norm_count, size_t positions, size_t step,
                           const float *out, float *g, double *sums)
{
    memset(sums, 0, SUMS * sizeof *sums);
    for (size_t start = 0; start < positions; start += RUN)
        EACH_HALF(h) {
            dcam_f32x8 s = {0}, q0 = {0}, q1 = {0}, centre0 = {0}, centre1 = {0}, d, v, o;
            if (norm_count > 0) LOAD(centre0, j->means[0] + h);
            if (norm_count > 1) LOAD(centre1, j->means[1] + h);
            for (size_t p = start, end = run_end(start, positions); p < end; p++) {
                const size_t at = p * step + h;
                LOAD(d, j->parts[0] + at);
                for (int k = 1; k < part_count; k++) {
                    LOAD(v, j->parts[k] + at);
                    d += v;
                }
                LOAD(o, out + at);
                d = WHERE(POSITIVE(o), d);
                STORE(g + at, d);
                s += d;
                if (norm_count > 0) {
                    LOAD(v, j->y[0] + at);
                    q0 += d * (v - centre0);
                }
                if (norm_count > 1) {
                    LOAD(v, j->y[1] + at);
                    q1 += d * (v - centre1);
                }
            }
            add_run(sums + h, &s);
            add_run(sums + GROUP + h, &q0);
            add_run(sums + 2 * GROUP + h, &q1);
        }
}

DCAM_KERNEL static void join(const joined *j, size_t positions, size_t step, const float *out, float *g, double *sums)
{
    WITH_COUNTS(join_item, j, positions, step, out, g, sums)
}

typedef struct {
    view map;
    const void *const *parts, *const *y;
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
        joined j = {.part_count = 0};
        for (int k = 0; k < 3; k++)
            if (w->parts[k]) j.parts[j.part_count++] = (const float *)w->parts[k] + at;
        for (int k = 0; k < 2 && w->norms[k]; k++) {
            j.y[j.norm_count] = (const float *)w->y[k] + at;
            j.means[j.norm_count++] = w->norms[k]->mean + c;
        }
        assert(j.part_count > 0); /* a gradient comes from somewhere */
        join(&j, w->map.positions, w->map.position_step, w->out + at, w->g + at, w->sums + i * SUMS);
    }
}

static void norm_join(const dcam_nn_tensor *map, const void *const parts[3], const void *out, void *g,
                      net_norm *const norms[2], const void *const y[2], float *const d_gamma[2],
                      float *const d_beta[2], double *scratch)
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
    memset(sums, 0, SUMS * sizeof *sums);
    for (size_t start = 0; start < positions; start += RUN)
        EACH_HALF(h) {
            dcam_f32x8 s = {0}, q = {0}, mean, scale, shift, v, d;
            LOAD(mean, n->mean + channel + h);
            LOAD(scale, n->scale + channel + h);
            LOAD(shift, n->shift + channel + h);
            for (size_t p = start, end = run_end(start, positions); p < end; p++) {
                LOAD(v, y + p * step + h);
                LOAD(d, g + p * step + h);
                const dcam_f32x8 z = v * scale + shift;
                d = WHERE(POSITIVE(z), d);
                s += d;
                q += d * (v - mean);
            }
            add_run(sums + h, &s);
            add_run(sums + GROUP + h, &q);
        }
}

DCAM_KERNEL static void gradient(float *y, const float *g, size_t positions, size_t step, const net_norm *n,
                                 size_t channel, bool relu)
{
    for (size_t start = 0; start < positions; start += RUN)
        EACH_HALF(h) {
            dcam_f32x8 mean, scale, shift, slope, offset, v, d;
            LOAD(mean, n->mean + channel + h);
            LOAD(scale, n->scale + channel + h);
            LOAD(shift, n->shift + channel + h);
            LOAD(slope, n->slope + channel + h);
            LOAD(offset, n->offset + channel + h);
            for (size_t p = start, end = run_end(start, positions); p < end; p++) {
                LOAD(v, y + p * step + h);
                LOAD(d, g + p * step + h);
                if (relu) {
                    const dcam_f32x8 z = v * scale + shift;
                    d = WHERE(POSITIVE(z), d);
                }
                v = scale * d - (offset + slope * (v - mean));
                STORE(y + p * step + h, v);
            }
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

static void norm_backward(const net_norm *norm, const dcam_nn_tensor *map, const void *g, void *y)
{
    gradient_work w = {view_of(map), norm, g, y, false, NULL};
    dcam_parallel_for(w.map.images * w.map.groups, gradient_items, &w);
}

static void norm_relu_backward(net_norm *norm, const dcam_nn_tensor *map, const void *d_z, void *y, float *d_gamma,
                               float *d_beta, double *scratch)
{
    gradient_work w = {view_of(map), norm, d_z, y, true, scratch};
    dcam_parallel_for(w.map.images * w.map.groups, relu_sum_items, &w);
    set_backward(norm, &w.map, scratch, 1, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.groups, gradient_items, &w);
}

const net_norm_functions net_norm_f32 = {scratch_of, statistics, norm_add_relu, norm_relu_pool, norm_join, norm_backward,
                                         norm_relu_backward, norm_pool_backward};
