/* batch_norm_pool_bf16.c - the stem's pooling of batch_norm.h for bf16 maps: with ReLU and batch norm, and back. bf16 numbers
 * are compared as integers, 32 at a time. Back, the sums run over pooled values, each of which came from one place. */
#include "net/batch_norm_bf16.h"

#include "base/parallel.h"

#if defined(__x86_64__)
/* Pooled rows of a band of the stem's pooling. */
#define POOLED_ROWS 8

/* ---- forward ------------------------------------------------------------ */

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
    const size_t top = net_window_first(py), bottom = net_window_last(py, m->height), below = m->width * m->channels;
    for (size_t px = 0; px < o->width; px++) {
        const size_t left = net_window_first(px), right = net_window_last(px, m->width);
        EACH_LINE(c, m->channels)
        {
            const __m512 a0 = _mm512_loadu_ps(n->scale + c), a1 = _mm512_loadu_ps(n->scale + c + HALF);
            const __m512 b0 = _mm512_loadu_ps(n->shift + c), b1 = _mm512_loadu_ps(n->shift + c + HALF);
            const uint32_t signs = _mm512_movepi32_mask(_mm512_castps_si512(a0)) |
                                   (uint32_t)_mm512_movepi32_mask(_mm512_castps_si512(a1)) << HALF;
            const __m512i flip = _mm512_slli_epi16(_mm512_movm_epi16(signs), 15);
            const size_t to = px * o->channels + c;
            __m512i best = _mm512_set1_epi16(INT16_MIN), place = _mm512_setzero_si512();
            for (size_t row = top; row <= bottom; row++) {
                const uint16_t *at = y + row * below + left * m->channels + c;
                short here = (short)((row + 1 - 2 * py) * 3 + (left + 1 - 2 * px));
                for (size_t column = left; column <= right; column++, here++, at += m->channels) {
                    const __m512i v = ordered(_mm512_loadu_si512(at), flip);
                    if (row == bottom) _mm_prefetch((const char *)(at + below), _MM_HINT_T0);
                    place = _mm512_mask_mov_epi16(place, _mm512_cmpgt_epi16_mask(v, best), _mm512_set1_epi16(here));
                    best = _mm512_max_epi16(best, v);
                }
            }
            best = disordered(best, flip);
            _mm512_storeu_si512(tops + to, best);
            bf16_store(pooled + to, _mm512_max_ps(zero, _mm512_fmadd_ps(bf16_widen(_mm512_castsi512_si256(best)), a0, b0)));
            bf16_store(pooled + to + HALF, _mm512_max_ps(zero, _mm512_fmadd_ps(bf16_widen(_mm512_extracti64x4_epi64(best, 1)), a1, b1)));
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

void net_norm_relu_pool_bf16(const net_norm *norm, const dcam_nn_tensor *map, const void *y,
                           const dcam_nn_tensor *pooled_map, void *pooled, uint8_t *which, void *top)
{
    pool_work w = {.map = view_of(map), .pooled = view_of(pooled_map), .norm = norm, .y = y, .to = pooled, .tops = top,
                   .which = which};
    w.bands = pool_bands(&w.pooled);
    dcam_parallel_for(w.map.images * w.bands, pool_items, &w);
}

/* ---- backward ----------------------------------------------------------- */

/* Sums over pooled values: each gradient comes to one value of y, which is its top. */
KERNEL_INLINE void pool_sums_of(const uint16_t *tops, const uint16_t *g, size_t start, size_t end, size_t channels, size_t c,
                                const net_norm *n, double *sums, int groups)
{
    __m512 s[8], q[8];
    clear_sums(s, groups);
    clear_sums(q, groups);
    for (size_t p = start; p < end; p++) {
        const size_t at = p * channels + c;
        EACH(k, groups)
        {
            const size_t half = (size_t)k * HALF;
            if (k % 2 == 0) foresee(g + at + half);
            if (k % 2 == 0) foresee(tops + at + half);
            const __m512 d = bf16_load(g + at + half);
            s[k] = _mm512_add_ps(s[k], d);
            q[k] = _mm512_fmadd_ps(d, _mm512_sub_ps(bf16_load(tops + at + half), _mm512_loadu_ps(n->mean + c + half)), q[k]);
        }
    }
    add_runs(sums + c, s, groups);
    add_runs(sums + channels + c, q, groups);
}

KERNEL static void pool_sums(const uint16_t *tops, const uint16_t *g, size_t count, size_t channels, const net_norm *n,
                             double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF * (size_t)groups_of(channels))
        WITH_GROUPS(channels, pool_sums_of, tops, g, start, run_end(start, count), channels, c, n, sums);
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
    return (window){bf16_load(r->g + px * r->step), _mm_loadu_si128((const __m128i *)(r->which + px * r->step))};
}

/* What comes of a window to its column 0, 1 or 2. */
KERNEL_INLINE __m512 share(const window *w, int row, int column)
{
    return _mm512_maskz_mov_ps(_mm_cmpeq_epi8_mask(w->which, _mm_set1_epi8((char)(row + column))), w->g);
}

/* One row of the stem, 16 channels; rows[1] only if two. */
KERNEL_INLINE void pool_gradient_row(const window_row rows[2], bool two, const net_norm *n, size_t c, size_t width, size_t step,
                                     uint16_t *y)
{
    const __m512 scale = _mm512_loadu_ps(n->scale + c), slope = _mm512_loadu_ps(n->slope + c), rest = rest_of(n, c);
    window a = window_at(&rows[0], 0), b = two ? window_at(&rows[1], 0) : a;
    for (size_t px = 0; 2 * px < width; px++) {
        uint16_t *left = y + 2 * px * step;
        _mm_prefetch((const char *)(left + width * step), _MM_HINT_T0); /* the next row */
        _mm_prefetch((const char *)(left + (width + 1) * step), _MM_HINT_T0);
        __m512 d = share(&a, rows[0].row, 1);
        if (two) d = _mm512_add_ps(d, share(&b, rows[1].row, 1));
        bf16_store(left, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(slope, bf16_load(left), rest)));
        if (2 * px + 1 == width) break;
        const window next = window_at(&rows[0], px + 1);
        d = _mm512_add_ps(share(&a, rows[0].row, 2), share(&next, rows[0].row, 0));
        a = next;
        if (two) {
            const window below = window_at(&rows[1], px + 1);
            d = _mm512_add_ps(d, _mm512_add_ps(share(&b, rows[1].row, 2), share(&below, rows[1].row, 0)));
            b = below;
        }
        bf16_store(left + step, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(slope, bf16_load(left + step), rest)));
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

void net_norm_pool_backward_bf16(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map,
                               const void *g, const uint8_t *which, const void *top, void *y, float *d_gamma,
                               float *d_beta, double *scratch)
{
    pool_backward_work w = {view_of(map), view_of(pooled_map), norm, g, top, which, y, scratch};
    dcam_parallel_for(w.pooled.images * w.pooled.bands, pool_sum_items, &w);
    set_backward_of(norm, &w.pooled, scratch, 1, (double)w.map.images * (double)w.map.positions, d_gamma, d_beta);
    dcam_parallel_for(w.map.images * w.map.height, pool_gradient_items, &w);
}
#else
typedef int net_norm_pool_bf16_is_empty;
#endif
