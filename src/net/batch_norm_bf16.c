/* batch_norm_bf16.c - batch_norm.h for bf16 maps, but for the stem's pooling (batch_norm_pool_bf16.c); see batch_norm_bf16.h. */
#include "net/batch_norm_bf16.h"

#include <assert.h>

#include "base/parallel.h"

static size_t scratch_of(const dcam_nn_tensor *map)
{
    const view v = view_of(map);
    return v.images * v.bands * v.channels * SUMS;
}

#if defined(__x86_64__)
/* ---- statistics --------------------------------------------------------- */

KERNEL_INLINE void sum_squares_of(const uint16_t *y, size_t start, size_t end, size_t channels, size_t c,
                                  const uint16_t *centre, double *sums, int groups)
{
    __m512 s[8], q[8];
    clear_sums(s, groups);
    clear_sums(q, groups);
    for (size_t p = start; p < end; p++) {
        const uint16_t *at = y + p * channels + c;
        EACH(k, groups)
        {
            if (k % 2 == 0) foresee(at + k * HALF);
            const __m512 v = _mm512_sub_ps(bf16_load(at + k * HALF), bf16_load(centre + c + k * HALF));
            s[k] = _mm512_add_ps(s[k], v);
            q[k] = _mm512_fmadd_ps(v, v, q[k]);
        }
    }
    add_runs(sums + c, s, groups);
    add_runs(sums + channels + c, q, groups);
}

KERNEL static void sum_squares(const uint16_t *y, size_t count, size_t channels, const uint16_t *centre, double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF * (size_t)groups_of(channels))
        WITH_GROUPS(channels, sum_squares_of, y, start, run_end(start, count), channels, c, centre, sums);
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
        const double centre = (double)dcam_widen_bf16(w.y[c]);
        net_norm_set_statistics(norm, c, centre, total(&w.map, scratch, 0, c), total(&w.map, scratch, 1, c), count);
    }
}

/* ---- forward ------------------------------------------------------------ */

/* One position; what is constant where it is called is not asked in the loop. */
KERNEL_INLINE void normalise_position(const uint16_t *y, size_t channels, const net_norm *n, const net_norm *of_shortcut,
                                      const uint16_t *shortcut, uint16_t *out)
{
    for (size_t c = 0; c < channels; c += HALF) {
        if (c % LINE == 0) foresee(y + c);
        if (c % LINE == 0 && shortcut) foresee(shortcut + c);
        __m512 v = _mm512_fmadd_ps(bf16_load(y + c), _mm512_loadu_ps(n->scale + c), _mm512_loadu_ps(n->shift + c));
        if (of_shortcut)
            v = _mm512_add_ps(v, _mm512_fmadd_ps(bf16_load(shortcut + c), _mm512_loadu_ps(of_shortcut->scale + c),
                                                 _mm512_loadu_ps(of_shortcut->shift + c)));
        else if (shortcut)
            v = _mm512_add_ps(v, bf16_load(shortcut + c));
        bf16_store(out + c, _mm512_max_ps(_mm512_setzero_ps(), v)); /* what is no number stays so */
    }
}

KERNEL static void normalise(const uint16_t *y, size_t count, size_t channels, const net_norm *n,
                             const net_norm *of_shortcut, const uint16_t *shortcut, uint16_t *out)
{
    const size_t values = count * channels;
    if (of_shortcut)
        for (size_t at = 0; at < values; at += channels)
            normalise_position(y + at, channels, n, of_shortcut, shortcut + at, out + at);
    else if (shortcut)
        for (size_t at = 0; at < values; at += channels)
            normalise_position(y + at, channels, n, NULL, shortcut + at, out + at);
    else
        for (size_t at = 0; at < values; at += channels) normalise_position(y + at, channels, n, NULL, NULL, out + at);
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
        assert(w->shortcut || !w->of_shortcut);
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

/* ---- backward ----------------------------------------------------------- */

typedef struct {
    const uint16_t *parts[3], *y[2]; /* of one band; those given come first */
    const float *means[2];
    int part_count, norm_count;
} joined;

/* g, and the sums over it as it is rounded. The counts are constants where this is called. */
KERNEL_INLINE void join_run(const joined *j, int part_count, int norm_count, size_t start, size_t end, size_t channels,
                            size_t c, const uint16_t *out, uint16_t *g, double *sums, int groups)
{
    __m512 s[8], q0[8], q1[8];
    clear_sums(s, groups);
    clear_sums(q0, groups);
    clear_sums(q1, groups);
    for (size_t p = start; p < end; p++)
        EACH(group, groups)
        {
            const size_t half = c + (size_t)group * HALF, at = p * channels + half;
            if (group % 2 == 0) {
                for (int k = 0; k < part_count; k++) foresee(j->parts[k] + at);
                for (int k = 0; k < norm_count; k++) foresee(j->y[k] + at);
                foresee(out + at);
            }
            __m512 d = bf16_load(j->parts[0] + at);
            for (int k = 1; k < part_count; k++) d = _mm512_add_ps(d, bf16_load(j->parts[k] + at));
            const __m256i r = bf16_rounded(where_positive(bf16_load(out + at), d));
            _mm256_storeu_si256((__m256i *)(g + at), r);
            d = bf16_widen(r);
            s[group] = _mm512_add_ps(s[group], d);
            if (norm_count > 0)
                q0[group] = _mm512_fmadd_ps(d, _mm512_sub_ps(bf16_load(j->y[0] + at), _mm512_loadu_ps(j->means[0] + half)),
                                            q0[group]);
            if (norm_count > 1)
                q1[group] = _mm512_fmadd_ps(d, _mm512_sub_ps(bf16_load(j->y[1] + at), _mm512_loadu_ps(j->means[1] + half)),
                                            q1[group]);
        }
    add_runs(sums + c, s, groups);
    if (norm_count > 0) add_runs(sums + channels + c, q0, groups);
    if (norm_count > 1) add_runs(sums + 2 * channels + c, q1, groups);
}

KERNEL_INLINE void join_band(const joined *j, int part_count, int norm_count, size_t count, size_t channels,
                             const uint16_t *out, uint16_t *g, double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF * (size_t)groups_of(channels))
        WITH_GROUPS(channels, join_run, j, part_count, norm_count, start, run_end(start, count), channels, c, out, g, sums);
}

KERNEL static void join(const joined *j, size_t count, size_t channels, const uint16_t *out, uint16_t *g, double *sums)
{
    WITH_COUNTS(join_band, j, count, channels, out, g, sums)
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
        assert(j.part_count > 0); /* a gradient comes from somewhere */
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
KERNEL_INLINE void relu_sums_of(const uint16_t *y, const uint16_t *g, size_t start, size_t end, size_t channels, size_t c,
                                const net_norm *n, double *sums, int groups)
{
    __m512 s[8], q[8];
    clear_sums(s, groups);
    clear_sums(q, groups);
    for (size_t p = start; p < end; p++)
        EACH(k, groups)
        {
            const size_t half = c + (size_t)k * HALF, at = p * channels + half;
            if (k % 2 == 0) foresee(y + at);
            if (k % 2 == 0) foresee(g + at);
            const __m512 v = bf16_load(y + at);
            const __m512 z = _mm512_fmadd_ps(v, _mm512_loadu_ps(n->scale + half), _mm512_loadu_ps(n->shift + half));
            const __m512 d = where_positive(z, bf16_load(g + at));
            s[k] = _mm512_add_ps(s[k], d);
            q[k] = _mm512_fmadd_ps(d, _mm512_sub_ps(v, _mm512_loadu_ps(n->mean + half)), q[k]);
        }
    add_runs(sums + c, s, groups);
    add_runs(sums + channels + c, q, groups);
}

KERNEL static void relu_sums(const uint16_t *y, const uint16_t *g, size_t count, size_t channels, const net_norm *n,
                             double *sums)
{
    memset(sums, 0, SUMS * channels * sizeof *sums);
    EACH_RUN(start, count) for (size_t c = 0; c < channels; c += HALF * (size_t)groups_of(channels))
        WITH_GROUPS(channels, relu_sums_of, y, g, start, run_end(start, count), channels, c, n, sums);
}

KERNEL_INLINE void gradient_position(uint16_t *y, const uint16_t *g, size_t channels, const net_norm *n, const float *rest,
                                     bool relu)
{
    for (size_t c = 0; c < channels; c += HALF) {
        if (c % LINE == 0) foresee(y + c);
        if (c % LINE == 0) foresee(g + c);
        const __m512 v = bf16_load(y + c), scale = _mm512_loadu_ps(n->scale + c);
        __m512 d = bf16_load(g + c);
        if (relu) d = where_positive(_mm512_fmadd_ps(v, scale, _mm512_loadu_ps(n->shift + c)), d);
        bf16_store(y + c, _mm512_fmsub_ps(scale, d, _mm512_fmadd_ps(_mm512_loadu_ps(n->slope + c), v, _mm512_loadu_ps(rest + c))));
    }
}

KERNEL static void gradient(uint16_t *y, const uint16_t *g, size_t count, size_t channels, const net_norm *n, bool relu)
{
    const size_t values = count * channels;
    float rest[NET_NORM_CHANNELS];
    for (size_t c = 0; c < channels; c += HALF) _mm512_storeu_ps(rest + c, rest_of(n, c));
    if (relu)
        for (size_t at = 0; at < values; at += channels) gradient_position(y + at, g + at, channels, n, rest, true);
    else
        for (size_t at = 0; at < values; at += channels) gradient_position(y + at, g + at, channels, n, rest, false);
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

const net_norm_functions net_norm_bf16 = {scratch_of, norm_statistics, norm_add_relu, net_norm_relu_pool_bf16, norm_join,
                                          norm_backward, norm_relu_backward, net_norm_pool_backward_bf16};
#else
const net_norm_functions net_norm_bf16 = {.scratch = scratch_of}; /* such maps are made on x86-64 alone (dcam_nn_bf16_maps) */
#endif
