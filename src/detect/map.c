/* map.c - from features to the anomaly map (method.md, Scoring): the cosine distance of each stage, an optional share
 * of the relative entropy, up-sampling to the first stage's size, combination, up-sampling to the image, smoothing.
 * Loops are shared by rows, so that the bits do not depend on the number of threads. Nothing here allocates but
 * dcam_mapper_create. */
#include "detect/map.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

const char *dcam_map_kind_name(dcam_map_kind kind)
{
    switch (kind) {
    case DCAM_MAP_SUM: return "sum";
    case DCAM_MAP_PRODUCT: return "product";
    case DCAM_MAP_STANDARD: return "standard";
    }
    return "unknown";
}

dcam_status dcam_map_options_check(const dcam_map_options *o)
{
    if (o->kind != DCAM_MAP_SUM && o->kind != DCAM_MAP_PRODUCT && o->kind != DCAM_MAP_STANDARD)
        return dcam_fail(DCAM_ERROR_USAGE, "the kind of map, %d, is none of sum, product, standard", (int)o->kind);
    if (!(o->kd_weight >= 0 && o->kd_weight <= 1e6))
        return dcam_fail(DCAM_ERROR_USAGE, "the weight of the KD term in the map, %g, must be 0 to 1e6", o->kd_weight);
    if (!(o->kd_temperature == 0 || (o->kd_temperature >= 1e-3 && o->kd_temperature <= 1e6)))
        return dcam_fail(DCAM_ERROR_USAGE, "the temperature of the KD term in the map, %g, must be 0.001 to 1e6",
                         o->kd_temperature);
    if (!(o->smoothing >= 0 && o->smoothing <= DCAM_MAX_SMOOTHING))
        return dcam_fail(DCAM_ERROR_USAGE, "the smoothing of the map, %g pixels, must be 0 to %d", o->smoothing,
                         DCAM_MAX_SMOOTHING);
    if (!(o->top_percent >= 0 && o->top_percent <= 100))
        return dcam_fail(DCAM_ERROR_USAGE, "the top %g per cent of pixels: must be 0 to 100", o->top_percent);
    return DCAM_OK;
}

/* ---- relative entropy by position ---- */

typedef struct {
    const float *t, *s;
    size_t positions, channels;
    double inverse_temperature, scale;
    double *t_shift, *s_shift; /* per channel: maximum / T + log of the sum, so that log P = t / T - shift */
    double *t_sum, *s_sum;
    float *map;
} kd_job;

/* out[k] = e^(x[k]/T - shift[k]) for 8 channels, and the exponent into log_out. */
DCAM_INLINE void softmax8(const float *x, const double *shift, double inverse_temperature, size_t lanes,
                          dcam_f64x8 *log_out, dcam_f64x8 *out)
{
    dcam_f64x8 v, sh = {0};
    dcam_f32x8 e;
    dcam_load8_widened(&v, x, lanes);
    if (lanes == DCAM_LANES) memcpy(&sh, shift, sizeof sh);
    else memcpy(&sh, shift, lanes * sizeof *shift);
    v.low = v.low * inverse_temperature - sh.low;
    v.high = v.high * inverse_temperature - sh.high;
    *log_out = v;
    dcam_narrow8(&e, &v);
    const dcam_i32x8 above = e > (dcam_f32x8){0}; /* rounding only: the maximum gives 0 */
    const dcam_f32x8 zero = {0};
    dcam_choose8(&e, &above, &zero, &e);
    dcam_exp8(&e);
    dcam_widen8(out, &e);
}

/* Shift and sum of every channel; whole rows are read, since channels lie side by side. */
DCAM_KERNEL static void kd_sums(const kd_job *job, const float *x, double *shift, double *sum)
{
    const size_t channels = job->channels;
    for (size_t c = 0; c < channels; c++) shift[c] = (double)x[c];
    for (size_t i = 1; i < job->positions; i++)
        for (size_t c = 0; c < channels; c++) {
            const double v = (double)x[i * channels + c];
            shift[c] = v > shift[c] ? v : shift[c];
        }
    for (size_t c = 0; c < channels; c++) {
        shift[c] *= job->inverse_temperature;
        sum[c] = 0;
    }
    for (size_t i = 0; i < job->positions; i++) {
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 log_p, p, total = {0};
            softmax8(x + i * channels + c, shift + c, job->inverse_temperature, lanes, &log_p, &p);
            memcpy(&total, sum + c, lanes * sizeof *sum);
            dcam_add8(&total, &p);
            memcpy(sum + c, &total, lanes * sizeof *sum);
        }
    }
    for (size_t c = 0; c < channels; c++) shift[c] += log(sum[c]);
}

typedef int64_t i64x4 __attribute__((vector_size(32)));

/* P log(P/Q) - P + Q = P (d - 1 + e^-d), d = log P - log Q. Where d is small the three nearly cancel and P and Q, whose
 * exponentials are f32, would leave their rounding, which T^2 makes large: there its series, off by 1e-8 at most. */
DCAM_INLINE void kd_share4(const dcam_f64x4 *log_p, const dcam_f64x4 *log_q, const dcam_f64x4 *p, const dcam_f64x4 *q, dcam_f64x4 *out)
{
    const dcam_f64x4 d = *log_p - *log_q, plain = *p * d - *p + *q;
    const dcam_f64x4 series = *p * d * d *
        (1.0 / 2 - d * (1.0 / 6 - d * (1.0 / 24 - d * (1.0 / 120 - d * (1.0 / 720 - d * (1.0 / 5040))))));
    const i64x4 small = (d < 0.25) & (d > -0.25);
    *out = (dcam_f64x4)((small & (i64x4)series) | (~small & (i64x4)plain));
}

DCAM_KERNEL static void kd_rows(const kd_job *job, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        dcam_f64x8 total = {0}, log_p, log_q, p, q, share;
        for (size_t c = 0; c < job->channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, job->channels), at = i * job->channels + c;
            softmax8(job->t + at, job->t_shift + c, job->inverse_temperature, lanes, &log_p, &p);
            softmax8(job->s + at, job->s_shift + c, job->inverse_temperature, lanes, &log_q, &q);
            /* lanes past the end have shift 0 and value 0: P = Q = 1, which adds nothing */
            kd_share4(&log_p.low, &log_q.low, &p.low, &q.low, &share.low);
            kd_share4(&log_p.high, &log_q.high, &p.high, &q.high, &share.high);
            dcam_add8(&total, &share);
        }
        job->map[i] += (float)(job->scale * dcam_sum8(&total));
    }
}

static void kd_body(void *context, size_t begin, size_t end) { kd_rows(context, begin, end); }

void dcam_kd_map_add(const float *t, const float *s, int positions, int channels, double temperature, double weight,
                     double *scratch, float *map)
{
    kd_job job = {.t = t, .s = s, .positions = (size_t)positions, .channels = (size_t)channels,
                  .inverse_temperature = 1 / temperature,
                  .scale = weight * temperature * temperature * (double)positions / (double)channels,
                  .t_shift = scratch, .s_shift = scratch + channels, .t_sum = scratch + 2 * channels,
                  .s_sum = scratch + 3 * channels, .map = map};
    kd_sums(&job, t, job.t_shift, job.t_sum);
    kd_sums(&job, s, job.s_shift, job.s_sum);
    dcam_parallel_for((size_t)positions, kd_body, &job);
}

/* ---- the mapper ---- */

struct dcam_mapper {
    int height, width;
    int stage_height[DCAM_STAGES], stage_width[DCAM_STAGES], channels[DCAM_STAGES];
    float *stage[DCAM_STAGES];
    float *larger, *combined; /* the first stage's size */
    float *smoothing;         /* height x width */
    double *entropy;          /* 4 x most channels */
};

static size_t stage_positions(const dcam_mapper *m, int k)
{
    return (size_t)m->stage_height[k] * (size_t)m->stage_width[k];
}

dcam_status dcam_mapper_create(const dcam_architecture *a, int height, int width, dcam_mapper **out)
{
    if (height < 32 || width < 32 || height % 32 || width % 32)
        return dcam_fail(DCAM_ERROR_USAGE, "an input of %d x %d: both sides must be multiples of 32", width, height);
    dcam_mapper *m;
    int most_channels = 0;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *m, &m));
    m->height = height;
    m->width = width;
    dcam_status status = DCAM_OK;
    for (int k = 0; k < DCAM_STAGES; k++) { /* strides 4, 8, 16 */
        m->stage_height[k] = height >> (k + 2);
        m->stage_width[k] = width >> (k + 2);
        m->channels[k] = a->stage_channels[k];
        if (m->channels[k] > most_channels) most_channels = m->channels[k];
        if ((status = dcam_alloc(stage_positions(m, k), sizeof(float), &m->stage[k])) != DCAM_OK) goto cleanup;
    }
    if ((status = dcam_alloc(stage_positions(m, 0), sizeof(float), &m->larger)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(stage_positions(m, 0), sizeof(float), &m->combined)) != DCAM_OK) goto cleanup;
    status = dcam_alloc((size_t)height * (size_t)width, sizeof(float), &m->smoothing);
    if (status != DCAM_OK) goto cleanup;
    status = dcam_alloc(4 * (size_t)most_channels, sizeof(double), &m->entropy);
    if (status != DCAM_OK) goto cleanup;
    *out = m;
    m = NULL;
cleanup:
    dcam_mapper_destroy(m);
    return status;
}

void dcam_mapper_destroy(dcam_mapper *m)
{
    if (!m) return;
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(m->stage[k]);
    dcam_free(m->larger);
    dcam_free(m->combined);
    dcam_free(m->smoothing);
    dcam_free(m->entropy);
    dcam_free(m);
}

void dcam_mapper_stages(dcam_mapper *m, const dcam_map_options *options, const dcam_map_source *teacher,
                        const dcam_map_source *student, float *const stage_maps[DCAM_STAGES])
{
    const double temperature = options->kd_temperature > 0 ? options->kd_temperature : 1;
    for (int k = 0; k < DCAM_STAGES; k++) {
        const int positions = (int)stage_positions(m, k);
        const double scale = (double)teacher->taps.scale[k] * (double)student->taps.scale[k];
        if (teacher->taps.type != DCAM_TAP_F32) {
            dcam_cosine_map_raw(teacher->taps.type, teacher->at[k], student->at[k], positions, m->channels[k], scale, stage_maps[k]);
            continue;
        }
        dcam_cosine_map(teacher->at[k], student->at[k], positions, m->channels[k], stage_maps[k]);
        if (options->kd_weight > 0)
            dcam_kd_map_add(teacher->at[k], student->at[k], positions, m->channels[k], temperature, options->kd_weight,
                            m->entropy, stage_maps[k]);
    }
}

static void add_map(dcam_mapper *m, const dcam_added_map *added)
{
    dcam_upsample_bilinear(added->map, added->height, added->width, m->larger, m->stage_height[0], m->stage_width[0]);
    for (size_t i = 0; i < stage_positions(m, 0); i++) m->combined[i] += (m->larger[i] - added->mean) * added->factor;
}

void dcam_mapper_run_with(dcam_mapper *m, const dcam_map_options *options, const dcam_stage_statistics *statistics,
                          const dcam_map_source *teacher, const dcam_map_source *student, const dcam_added_map *added,
                          float *map)
{
    const int h = m->stage_height[0], w = m->stage_width[0];
    const size_t positions = stage_positions(m, 0);
    dcam_mapper_stages(m, options, teacher, student, m->stage);
    for (int k = 0; k < DCAM_STAGES; k++) {
        float *stage = m->stage[k];
        if (options->kind == DCAM_MAP_STANDARD && statistics) {
            const float mean = statistics->mean[k], factor = 1 / statistics->deviation[k];
            for (size_t i = 0; i < stage_positions(m, k); i++) stage[i] = (stage[i] - mean) * factor;
        }
        if (k == 0) {
            memcpy(m->combined, stage, positions * sizeof *stage);
            continue;
        }
        dcam_upsample_bilinear(stage, m->stage_height[k], m->stage_width[k], m->larger, h, w);
        if (options->kind == DCAM_MAP_PRODUCT)
            for (size_t i = 0; i < positions; i++) m->combined[i] *= m->larger[i];
        else
            for (size_t i = 0; i < positions; i++) m->combined[i] += m->larger[i];
    }
    if (added) add_map(m, added);
    dcam_upsample_bilinear(m->combined, h, w, map, m->height, m->width);
    if (options->smoothing > 0) dcam_gaussian_smooth(map, m->height, m->width, options->smoothing, m->smoothing);
}

void dcam_mapper_run(dcam_mapper *m, const dcam_map_options *options, const dcam_stage_statistics *statistics,
                     const float *const teacher[DCAM_STAGES], const float *const student[DCAM_STAGES], float *map)
{
    const dcam_map_source t = {{DCAM_TAP_F32, {1, 1, 1}}, {teacher[0], teacher[1], teacher[2]}};
    const dcam_map_source s = {{DCAM_TAP_F32, {1, 1, 1}}, {student[0], student[1], student[2]}};
    dcam_mapper_run_with(m, options, statistics, &t, &s, NULL, map);
}

/* ---- the image score ---- */

/* Puts the k largest of v[n] first (three-way quickselect, so that equal values cost nothing). */
static void select_largest(float *v, size_t n, size_t k)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        const float a = v[low], b = v[low + (high - low) / 2], c = v[high - 1];
        const float pivot = fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
        size_t more = low, i = low, less = high;
        while (i < less) {
            const float x = v[i];
            if (x > pivot) {
                v[i++] = v[more];
                v[more++] = x;
            } else if (x < pivot) {
                v[i] = v[--less];
                v[less] = x;
            } else {
                i++;
            }
        }
        if (k <= more) high = more;
        else if (k >= less) low = less;
        else return;
        if (k == low || k == high) return;
    }
}

/* Eight at a time: one after the other each would wait for the one before. */
DCAM_KERNEL static float largest_of(const float *v, size_t count)
{
    enum { SUMS = 4 };
    dcam_f32x8 top[SUMS], x;
    float all = v[0];
    size_t i = 0;
    for (int k = 0; k < SUMS; k++) top[k] = (dcam_f32x8){0} + all;
    for (; i + SUMS * DCAM_LANES <= count; i += SUMS * DCAM_LANES) {
        for (size_t k = 0; k < SUMS; k++) {
            dcam_load8(&x, v + i + k * DCAM_LANES, DCAM_LANES);
            const dcam_i32x8 greater = x > top[k];
            dcam_choose8(&top[k], &greater, &x, &top[k]);
        }
    }
    for (int k = 0; k < SUMS; k++)
        for (int lane = 0; lane < DCAM_LANES; lane++) all = top[k][lane] > all ? top[k][lane] : all;
    for (; i < count; i++) all = v[i] > all ? v[i] : all;
    return all;
}

/* 0 * x is 0 for finite x only. Static: gcc exports the clones of a kernel that is not, hidden or not. */
DCAM_KERNEL static bool all_finite(const float *v, size_t count)
{
    enum { SUMS = 4 };
    dcam_f32x8 sum[SUMS] = {{0}}, x;
    float all = 0;
    size_t i = 0;
    for (; i + SUMS * DCAM_LANES <= count; i += SUMS * DCAM_LANES) {
        for (size_t k = 0; k < SUMS; k++) {
            dcam_load8(&x, v + i + k * DCAM_LANES, DCAM_LANES);
            sum[k] += 0 * x;
        }
    }
    for (int k = 0; k < SUMS; k++)
        for (int lane = 0; lane < DCAM_LANES; lane++) all += sum[k][lane];
    for (; i < count; i++) all += 0 * v[i];
    return all == 0;
}

bool dcam_map_is_finite(const float *v, size_t count) { return all_finite(v, count); }

float dcam_image_score(const dcam_map_options *options, const float *map, size_t count, float *scratch)
{
    if (options->top_percent <= 0) return largest_of(map, count);
    size_t k = (size_t)(options->top_percent / 100 * (double)count);
    if (k < 1) k = 1;
    if (k > count) k = count;
    memcpy(scratch, map, count * sizeof *map);
    select_largest(scratch, count, k);
    double sum = 0;
    for (size_t i = 0; i < k; i++) sum += (double)scratch[i];
    return (float)(sum / (double)k);
}
