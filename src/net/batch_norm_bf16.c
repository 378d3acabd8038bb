/* batch_norm_bf16.c - batch_norm.h for bf16 maps, channels last, on processors with AVX512-BF16. A map is cut into bands,
 * runs of positions of one image with all channels. A kernel takes a run of positions that the first cache holds, and in
 * it 32 channels, one cache line, at a time. All arithmetic is f32; what is written is rounded to the nearest. */
#include "net/batch_norm_parts.h"

#include <string.h>

#include "base/parallel.h"

/* Positions of a band; its sums are taken in double. */
#define BAND 1024
/* Positions whose sums are taken in f32. */
#define RUN 64
#define LINE 32
#define HALF 16
/* Pooled rows of a band of the stem's pooling. */
#define POOLED_ROWS 8
/* Rows of sums: of g, and of g times y of two normalisations. */
#define SUMS 3

/* ---- maps cut into bands ------------------------------------------------ */

typedef struct {
    size_t images, positions, width, height, channels, bands; /* bands: of one image */
} view;

static view view_of(const dcam_nn_tensor *t)
{
    const size_t positions = (size_t)t->h * (size_t)t->w;
    return (view){(size_t)t->n, positions, (size_t)t->w, (size_t)t->h, (size_t)t->c, (positions + BAND - 1) / BAND};
}

static size_t scratch_of(const dcam_nn_tensor *map)
{
    const view v = view_of(map);
    return v.images * v.bands * v.channels * SUMS;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Of the item-th band: its first position of the whole map, and how many. */
static size_t band_start(const view *v, size_t item)
{
    return item / v->bands * v->positions + item % v->bands * BAND;
}

static size_t band_count(const view *v, size_t item)
{
    const size_t left = v->positions - item % v->bands * BAND;
    return left < BAND ? left : BAND;
}

/* Row `row` of the sums of all bands, added in their order. */
static double total(const view *v, const double *sums, size_t row, size_t channel)
{
    double sum = 0;
    for (size_t i = 0; i < v->images * v->bands; i++) sum += sums[(i * SUMS + row) * v->channels + channel];
    return sum;
}

/* count: of the values that were normalised. */
static void set_backward_of(net_norm *n, const view *v, const double *sums, size_t product_row, double count, float *d_gamma,
                            float *d_beta)
{
    for (size_t c = 0; c < n->channels; c++)
        net_norm_set_backward(n, c, total(v, sums, 0, c), total(v, sums, product_row, c), count, d_gamma, d_beta);
}

static void set_backward(net_norm *n, const view *v, const double *sums, size_t product_row, float *d_gamma, float *d_beta)
{
    set_backward_of(n, v, sums, product_row, (double)v->images * (double)v->positions, d_gamma, d_beta);
}

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define KERNEL_INLINE KERNEL static inline __attribute__((always_inline))

KERNEL_INLINE __m512 widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
KERNEL_INLINE __m512 load(const uint16_t *p) { return widen(_mm256_loadu_si256((const __m256i *)p)); }
KERNEL_INLINE __m256i rounded(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }
KERNEL_INLINE void store(uint16_t *p, __m512 v) { _mm256_storeu_si256((__m256i *)p, rounded(v)); }
/* v where z > 0, else 0. */
KERNEL_INLINE __m512 where_positive(__m512 z, __m512 v)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), v);
}

KERNEL_INLINE void add_run(double *sums, __m512 run)
{
    const __m256 low = _mm512_castps512_ps256(run), high = _mm512_extractf32x8_ps(run, 1);
    _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), _mm512_cvtps_pd(low)));
    _mm512_storeu_pd(sums + 8, _mm512_add_pd(_mm512_loadu_pd(sums + 8), _mm512_cvtps_pd(high)));
}

static size_t run_end(size_t start, size_t positions) { return positions - start < RUN ? positions : start + RUN; }

#define EACH_RUN(start, count) for (size_t start = 0; start < (count); start += RUN)
#define EACH_LINE(c, channels) for (size_t c = 0; c < (channels); c += LINE)

/* ---- statistics --------------------------------------------------------- */

KERNEL static void sum_squares(const uint16_t *y, size_t count, size_t channels, const uint16_t *centre, double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) EACH_LINE(c, channels)
    {
        const __m512 c0 = load(centre + c), c1 = load(centre + c + HALF);
        __m512 s0 = _mm512_setzero_ps(), s1 = s0, q0 = s0, q1 = s0;
        for (size_t p = start, end = run_end(start, count); p < end; p++) {
            const __m512 v0 = _mm512_sub_ps(load(y + p * channels + c), c0);
            const __m512 v1 = _mm512_sub_ps(load(y + p * channels + c + HALF), c1);
            s0 = _mm512_add_ps(s0, v0);
            s1 = _mm512_add_ps(s1, v1);
            q0 = _mm512_fmadd_ps(v0, v0, q0);
            q1 = _mm512_fmadd_ps(v1, v1, q1);
        }
        add_run(sums + c, s0);
        add_run(sums + c + HALF, s1);
        add_run(sums + channels + c, q0);
        add_run(sums + channels + c + HALF, q1);
    }
}

typedef struct {
    view map;
    const uint16_t *y;
    double *sums;
} statistics_work;

static void statistics_items(void *context, size_t begin, size_t end)
{
    const statistics_work *w = context;
    const size_t c = w->map.channels;
    for (size_t i = begin; i < end; i++)
        sum_squares(w->y + band_start(&w->map, i) * c, band_count(&w->map, i), c, w->y, w->sums + i * SUMS * c);
}

static void norm_statistics(net_norm *norm, const dcam_nn_tensor *map, const void *y, double *scratch)
{
    statistics_work w = {view_of(map), y, scratch};
    const double count = (double)w.map.images * (double)w.map.positions;
    dcam_parallel_for(w.map.images * w.map.bands, statistics_items, &w);
    for (size_t c = 0; c < norm->channels; c++) {
        const uint32_t bits = (uint32_t)w.y[c] << 16;
        float centre;
        memcpy(&centre, &bits, sizeof centre);
        net_norm_set_statistics(norm, c, (double)centre, total(&w.map, scratch, 0, c), total(&w.map, scratch, 1, c), count);
    }
}

/* ---- forward ------------------------------------------------------------ */

/* One half of a run; what is constant where it is called is not asked in the loop. */
KERNEL_INLINE void normalise_run(const uint16_t *y, size_t start, size_t end, size_t channels, const net_norm *n,
                                 const net_norm *of_shortcut, const uint16_t *shortcut, uint16_t *out, size_t c)
{
    const __m512 a = _mm512_loadu_ps(n->scale + c), zero = _mm512_setzero_ps();
    __m512 b = _mm512_loadu_ps(n->shift + c), k = zero;
    if (of_shortcut) {
        k = _mm512_loadu_ps(of_shortcut->scale + c);
        b = _mm512_add_ps(b, _mm512_loadu_ps(of_shortcut->shift + c));
    }
    for (size_t p = start; p < end; p++) {
        const size_t at = p * channels + c;
        __m512 v = _mm512_fmadd_ps(load(y + at), a, b);
        if (of_shortcut) v = _mm512_fmadd_ps(load(shortcut + at), k, v);
        else if (shortcut) v = _mm512_add_ps(v, load(shortcut + at));
        store(out + at, _mm512_max_ps(zero, v)); /* what is no number stays so */
    }
}

KERNEL static void normalise(const uint16_t *y, size_t count, size_t channels, const net_norm *n,
                             const net_norm *of_shortcut, const uint16_t *shortcut, uint16_t *out)
{
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF)
    {
        const size_t end = run_end(start, count);
        if (of_shortcut) normalise_run(y, start, end, channels, n, of_shortcut, shortcut, out, c);
        else if (shortcut) normalise_run(y, start, end, channels, n, NULL, shortcut, out, c);
        else normalise_run(y, start, end, channels, n, NULL, NULL, out, c);
    }
}

typedef struct {
    view map;
    const net_norm *norm, *of_shortcut;
    const uint16_t *y, *shortcut;
    uint16_t *out;
} normalise_work;

static void normalise_items(void *context, size_t begin, size_t end)
{
    const normalise_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = band_start(&w->map, i) * w->map.channels;
        normalise(w->y + at, band_count(&w->map, i), w->map.channels, w->norm, w->of_shortcut,
                  w->shortcut ? w->shortcut + at : NULL, w->out + at);
    }
}

static void norm_add_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const net_norm *shortcut_norm,
                          const void *shortcut, void *out)
{
    normalise_work w = {view_of(map), norm, shortcut_norm, y, shortcut, out};
    dcam_parallel_for(w.map.images * w.map.bands, normalise_items, &w);
}

/* ---- the stem's pooling ------------------------------------------------- */

typedef struct {
    view map, pooled;
    const net_norm *norm;
    const uint16_t *y;
    uint16_t *to, *tops;
    uint8_t *which;
    size_t bands; /* of an image's pooled rows */
} pool_work;

/* bf16 as integers in the same order; in the opposite one where flip has the sign's bit. */
KERNEL_INLINE __m512i ordered(__m512i v, __m512i flip)
{
    const __m512i x = _mm512_xor_si512(v, flip);
    return _mm512_xor_si512(x, _mm512_srli_epi16(_mm512_srai_epi16(x, 15), 1));
}

KERNEL_INLINE __m512i disordered(__m512i v, __m512i flip)
{
    return _mm512_xor_si512(_mm512_xor_si512(v, _mm512_srli_epi16(_mm512_srai_epi16(v, 15), 1)), flip);
}

/* One pooled row: of each window the value with the largest y * scale, the first of equals. */
KERNEL static void pool_row(const view *m, const view *o, size_t py, const uint16_t *y, const net_norm *n,
                            uint16_t *pooled, uint8_t *which, uint16_t *tops)
{
    const __m512 zero = _mm512_setzero_ps();
    const size_t top = net_window_first(py), bottom = net_window_last(py, m->height);
    EACH_LINE(c, m->channels)
    {
        const __m512 a0 = _mm512_loadu_ps(n->scale + c), a1 = _mm512_loadu_ps(n->scale + c + HALF);
        const __m512 b0 = _mm512_loadu_ps(n->shift + c), b1 = _mm512_loadu_ps(n->shift + c + HALF);
        const __m512i falls = _mm512_movm_epi16((__mmask32)(_mm512_movepi32_mask(_mm512_castps_si512(a0)) |
                                                            (uint32_t)_mm512_movepi32_mask(_mm512_castps_si512(a1)) << HALF));
        const __m512i flip = _mm512_slli_epi16(falls, 15);
        for (size_t px = 0; px < o->width; px++) {
            const size_t to = px * o->channels + c, right = net_window_last(px, m->width);
            __m512i best = _mm512_set1_epi16(INT16_MIN), place = _mm512_setzero_si512();
            for (size_t row = top; row <= bottom; row++)
                for (size_t column = net_window_first(px); column <= right; column++) {
                    const __m512i v = ordered(_mm512_loadu_si512(y + (row * m->width + column) * m->channels + c), flip);
                    const short here = (short)((row + 1 - 2 * py) * 3 + (column + 1 - 2 * px));
                    place = _mm512_mask_mov_epi16(place, _mm512_cmpgt_epi16_mask(v, best), _mm512_set1_epi16(here));
                    best = _mm512_max_epi16(best, v);
                }
            best = disordered(best, flip);
            _mm512_storeu_si512(tops + to, best);
            store(pooled + to, _mm512_max_ps(zero, _mm512_fmadd_ps(widen(_mm512_castsi512_si256(best)), a0, b0)));
            store(pooled + to + HALF, _mm512_max_ps(zero, _mm512_fmadd_ps(widen(_mm512_extracti64x4_epi64(best, 1)), a1, b1)));
            _mm256_storeu_si256((__m256i *)(which + to), _mm512_cvtepi16_epi8(place));
        }
    }
}

static size_t pool_bands(const view *pooled) { return (pooled->height + POOLED_ROWS - 1) / POOLED_ROWS; }

static void pool_items(void *context, size_t begin, size_t end)
{
    const pool_work *w = context;
    const view *m = &w->map, *o = &w->pooled;
    for (size_t i = begin; i < end; i++) {
        const size_t image = i / w->bands, first = i % w->bands * POOLED_ROWS;
        for (size_t py = first; py < o->height && py < first + POOLED_ROWS; py++) {
            const size_t to = (image * o->positions + py * o->width) * o->channels;
            pool_row(m, o, py, w->y + image * m->positions * m->channels, w->norm, w->to + to, w->which + to,
                     w->tops + to);
        }
    }
}

static void norm_relu_pool(const net_norm *norm, const dcam_nn_tensor *map, const void *y,
                           const dcam_nn_tensor *pooled_map, void *pooled, uint8_t *which, void *top)
{
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = norm, .y = y, .to = pooled, .tops = top,
                   .which = which};
    w.bands = pool_bands(&w.pooled);
    dcam_parallel_for(w.map.images * w.bands, pool_items, &w);
}

/* Sums over pooled values: each gradient comes to one value of y, which is its top. */
KERNEL static void pool_sums(const uint16_t *tops, const uint16_t *g, size_t count, size_t channels, const net_norm *n,
                             double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF)
    {
        const __m512 mean = _mm512_loadu_ps(n->mean + c);
        __m512 s = _mm512_setzero_ps(), q = s;
        for (size_t p = start, end = run_end(start, count); p < end; p++) {
            const __m512 d = load(g + p * channels + c);
            s = _mm512_add_ps(s, d);
            q = _mm512_fmadd_ps(d, _mm512_sub_ps(load(tops + p * channels + c), mean), q);
        }
        add_run(sums + c, s);
        add_run(sums + channels + c, q);
    }
}

/* A pooled row's gradients and places, 16 channels from c on, as a row of the stem reads them; row: the stem's row within
 * the windows, times 3. */
typedef struct {
    const uint16_t *g;
    const uint8_t *which;
    size_t width, step;
    int row;
} window_row;

typedef struct { __m512 g; __m128i which; } window;

KERNEL_INLINE window window_at(const window_row *r, size_t px)
{
    if (px >= r->width) return (window){_mm512_setzero_ps(), _mm_setzero_si128()};
    return (window){load(r->g + px * r->step), _mm_loadu_si128((const __m128i *)(r->which + px * r->step))};
}

/* What comes of a window to its column 0, 1 or 2. */
KERNEL_INLINE __m512 share(const window *w, int row, int column)
{
    return _mm512_maskz_mov_ps(_mm_cmpeq_epi8_mask(w->which, _mm_set1_epi8((char)(row + column))), w->g);
}

/* dy = scale g - offset - slope (y - mean) = scale g - (slope y + rest). */
KERNEL_INLINE __m512 rest_of(const net_norm *n, size_t c)
{
    return _mm512_fnmadd_ps(_mm512_loadu_ps(n->slope + c), _mm512_loadu_ps(n->mean + c), _mm512_loadu_ps(n->offset + c));
}

/* One row of the stem, 16 channels; rows[1] only if two. */
KERNEL_INLINE void pool_gradient_row(const window_row rows[2], bool two, const net_norm *n, size_t c, size_t width, size_t step,
                                     uint16_t *y)
{
    const __m512 scale = _mm512_loadu_ps(n->scale + c), slope = _mm512_loadu_ps(n->slope + c), rest = rest_of(n, c);
    window a = window_at(&rows[0], 0), b = two ? window_at(&rows[1], 0) : a;
    for (size_t px = 0; 2 * px < width; px++) {
        uint16_t *left = y + 2 * px * step;
        __m512 d = share(&a, rows[0].row, 1);
        if (two) d = _mm512_add_ps(d, share(&b, rows[1].row, 1));
        store(left, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(slope, load(left), rest)));
        if (2 * px + 1 == width) break;
        const window next = window_at(&rows[0], px + 1);
        d = _mm512_add_ps(share(&a, rows[0].row, 2), share(&next, rows[0].row, 0));
        a = next;
        if (two) {
            const window below = window_at(&rows[1], px + 1);
            d = _mm512_add_ps(d, _mm512_add_ps(share(&b, rows[1].row, 2), share(&below, rows[1].row, 0)));
            b = below;
        }
        store(left + step, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(slope, load(left + step), rest)));
    }
}

typedef struct {
    view map, pooled;
    net_norm *norm;
    const uint16_t *g, *tops;
    const uint8_t *which;
    uint16_t *y;
    double *sums;
} pool_backward_work;

/* The stem's row r of an image, whose pooled values begin at `pooled`. */
KERNEL static void pool_gradient(const pool_backward_work *w, size_t pooled, size_t r, uint16_t *y)
{
    const view *o = &w->pooled;
    const size_t step = o->channels, line = o->width * step, first = r / 2;
    const bool two = r % 2 == 1 && first + 1 < o->height;
    for (size_t c = 0; c < step; c += HALF) {
        const size_t at = pooled + first * line + c, below = two ? at + line : at;
        const window_row rows[2] = {{w->g + at, w->which + at, o->width, step, (int)(r + 1 - 2 * first) * 3},
                                    {w->g + below, w->which + below, o->width, step, 0}};
        if (two) pool_gradient_row(rows, true, w->norm, c, w->map.width, step, y + c);
        else pool_gradient_row(rows, false, w->norm, c, w->map.width, step, y + c);
    }
}

static void pool_sum_items(void *context, size_t begin, size_t end)
{
    const pool_backward_work *w = context;
    const size_t channels = w->pooled.channels;
    for (size_t i = begin; i < end; i++) {
        const size_t at = band_start(&w->pooled, i) * channels;
        pool_sums(w->tops + at, w->g + at, band_count(&w->pooled, i), channels, w->norm, w->sums + i * SUMS * channels);
    }
}

/* Items: rows of all images. */
static void pool_gradient_items(void *context, size_t begin, size_t end)
{
    const pool_backward_work *w = context;
    const size_t channels = w->pooled.channels;
    for (size_t i = begin; i < end; i++)
        pool_gradient(w, i / w->map.height * w->pooled.positions * channels, i % w->map.height,
                      w->y + i * w->map.width * channels);
}

static void norm_pool_backward(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map,
                               const void *g, const uint8_t *which, const void *top, void *y, float *d_gamma,
                               float *d_beta, double *scratch)
{
    pool_backward_work w = {view_of(map), view_of(pooled_map), norm, g, top, which, y, scratch};
    dcam_parallel_for(w.pooled.images * w.pooled.bands, pool_sum_items, &w);
    set_backward_of(norm, &w.pooled, scratch, 1, (double)w.map.images * (double)w.map.positions, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.height, pool_gradient_items, &w);
}

/* ---- backward ----------------------------------------------------------- */

typedef struct {
    const uint16_t *parts[3], *y[2]; /* of one band; those given come first */
    const float *means[2];
    int part_count, norm_count;
} joined;

/* g, and the sums over it as it is rounded. The counts are constants where this is called. */
KERNEL_INLINE void join_band(const joined *j, int part_count, int norm_count, size_t count, size_t channels,
                             const uint16_t *out, uint16_t *g, double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF)
    {
        __m512 s = _mm512_setzero_ps(), q0 = s, q1 = s, mean0 = s, mean1 = s;
        if (norm_count > 0) mean0 = _mm512_loadu_ps(j->means[0] + c);
        if (norm_count > 1) mean1 = _mm512_loadu_ps(j->means[1] + c);
        for (size_t p = start, end = run_end(start, count); p < end; p++) {
            const size_t at = p * channels + c;
            __m512 d = load(j->parts[0] + at);
            for (int k = 1; k < part_count; k++) d = _mm512_add_ps(d, load(j->parts[k] + at));
            const __m256i r = rounded(where_positive(load(out + at), d));
            _mm256_storeu_si256((__m256i *)(g + at), r);
            d = widen(r);
            s = _mm512_add_ps(s, d);
            if (norm_count > 0) q0 = _mm512_fmadd_ps(d, _mm512_sub_ps(load(j->y[0] + at), mean0), q0);
            if (norm_count > 1) q1 = _mm512_fmadd_ps(d, _mm512_sub_ps(load(j->y[1] + at), mean1), q1);
        }
        add_run(sums + c, s);
        if (norm_count > 0) add_run(sums + channels + c, q0);
        if (norm_count > 1) add_run(sums + 2 * channels + c, q1);
    }
}

KERNEL static void join(const joined *j, size_t count, size_t channels, const uint16_t *out, uint16_t *g, double *sums)
{
    switch (j->norm_count * 3 + j->part_count - 1) {
    case 0: join_band(j, 1, 0, count, channels, out, g, sums); break;
    case 1: join_band(j, 2, 0, count, channels, out, g, sums); break;
    case 2: join_band(j, 3, 0, count, channels, out, g, sums); break;
    case 3: join_band(j, 1, 1, count, channels, out, g, sums); break;
    case 4: join_band(j, 2, 1, count, channels, out, g, sums); break;
    case 5: join_band(j, 3, 1, count, channels, out, g, sums); break;
    case 6: join_band(j, 1, 2, count, channels, out, g, sums); break;
    case 7: join_band(j, 2, 2, count, channels, out, g, sums); break;
    default: join_band(j, 3, 2, count, channels, out, g, sums); break;
    }
}

typedef struct {
    view map;
    const void *const *parts, *const *y;
    net_norm *const *norms;
    const uint16_t *out;
    uint16_t *g;
    double *sums;
} join_work;

static void join_items(void *context, size_t begin, size_t end)
{
    const join_work *w = context;
    const size_t channels = w->map.channels;
    for (size_t i = begin; i < end; i++) {
        const size_t at = band_start(&w->map, i) * channels;
        joined j = {.part_count = 0};
        for (int k = 0; k < 3; k++)
            if (w->parts[k]) j.parts[j.part_count++] = (const uint16_t *)w->parts[k] + at;
        for (int k = 0; k < 2 && w->norms[k]; k++) {
            j.y[j.norm_count] = (const uint16_t *)w->y[k] + at;
            j.means[j.norm_count++] = w->norms[k]->mean;
        }
        join(&j, band_count(&w->map, i), channels, w->out + at, w->g + at, w->sums + i * SUMS * channels);
    }
}

static void norm_join(const dcam_nn_tensor *map, const void *const parts[3], const void *out, void *g,
                      net_norm *const norms[2], const void *const y[2], float *const d_gamma[2],
                      float *const d_beta[2], double *scratch)
{
    join_work w = {view_of(map), parts, y, norms, out, g, scratch};
    dcam_parallel_for(w.map.images * w.map.bands, join_items, &w);
    for (int k = 0; k < 2; k++)
        if (norms[k]) set_backward(norms[k], &w.map, scratch, (size_t)k + 1, d_gamma[k], d_beta[k]);
}

/* g counts only where y * scale + shift > 0, computed as the forward pass computes it. */
KERNEL static void relu_sums(const uint16_t *y, const uint16_t *g, size_t count, size_t channels, const net_norm *n,
                             double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF)
    {
        const __m512 mean = _mm512_loadu_ps(n->mean + c), scale = _mm512_loadu_ps(n->scale + c);
        const __m512 shift = _mm512_loadu_ps(n->shift + c);
        __m512 s = _mm512_setzero_ps(), q = s;
        for (size_t p = start, end = run_end(start, count); p < end; p++) {
            const __m512 v = load(y + p * channels + c);
            const __m512 d = where_positive(_mm512_fmadd_ps(v, scale, shift), load(g + p * channels + c));
            s = _mm512_add_ps(s, d);
            q = _mm512_fmadd_ps(d, _mm512_sub_ps(v, mean), q);
        }
        add_run(sums + c, s);
        add_run(sums + channels + c, q);
    }
}

KERNEL static void gradient(uint16_t *y, const uint16_t *g, size_t count, size_t channels, const net_norm *n, bool relu)
{
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF)
    {
        const __m512 scale = _mm512_loadu_ps(n->scale + c), shift = _mm512_loadu_ps(n->shift + c);
        const __m512 slope = _mm512_loadu_ps(n->slope + c), rest = rest_of(n, c);
        for (size_t p = start, end = run_end(start, count); p < end; p++) {
            const __m512 v = load(y + p * channels + c);
            __m512 d = load(g + p * channels + c);
            if (relu) d = where_positive(_mm512_fmadd_ps(v, scale, shift), d);
            store(y + p * channels + c, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(slope, v, rest)));
        }
    }
}

typedef struct {
    view map;
    const net_norm *norm;
    const uint16_t *g;
    uint16_t *y;
    bool relu;
    double *sums;
} gradient_work;

static void relu_sum_items(void *context, size_t begin, size_t end)
{
    const gradient_work *w = context;
    const size_t c = w->map.channels;
    for (size_t i = begin; i < end; i++) {
        const size_t at = band_start(&w->map, i) * c;
        relu_sums(w->y + at, w->g + at, band_count(&w->map, i), c, w->norm, w->sums + i * SUMS * c);
    }
}

static void gradient_items(void *context, size_t begin, size_t end)
{
    const gradient_work *w = context;
    for (size_t i = begin; i < end; i++) {
        const size_t at = band_start(&w->map, i) * w->map.channels;
        gradient(w->y + at, w->g + at, band_count(&w->map, i), w->map.channels, w->norm, w->relu);
    }
}

static void norm_backward(const net_norm *norm, const dcam_nn_tensor *map, const void *g, void *y)
{
    gradient_work w = {view_of(map), norm, g, y, false, NULL};
    dcam_parallel_for(w.map.images * w.map.bands, gradient_items, &w);
}

static void norm_relu_backward(net_norm *norm, const dcam_nn_tensor *map, const void *d_z, void *y, float *d_gamma,
                               float *d_beta, double *scratch)
{
    gradient_work w = {view_of(map), norm, d_z, y, true, scratch};
    dcam_parallel_for(w.map.images * w.map.bands, relu_sum_items, &w);
    set_backward(norm, &w.map, scratch, 1, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.bands, gradient_items, &w);
}

const net_norm_functions net_norm_bf16 = {scratch_of, norm_statistics, norm_add_relu, norm_relu_pool, norm_join,
                                          norm_backward, norm_relu_backward, norm_pool_backward};
#else
const net_norm_functions net_norm_bf16 = {.scratch = scratch_of}; /* such maps are made on x86-64 alone (dcam_nn_bf16_maps) */
#endif
