/* cosine.c - the cosine distance of teacher and student, position by position (method.md, Scoring): of f32 features, and of
 * features as a bf16 or an int8 network keeps them. Rows are shared by the threads; each is summed alone. */
#include <math.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "detect/map.h"

/* As in the loss. */
#define COSINE_EPSILON 1e-6
/* Elements below which waking the other cores costs more than it saves. */
#define WORTH_SHARING 65536

/* ---- f32: sums in double, since 1 - cosine loses the leading digits of a small distance ---- */

typedef struct { const float *t, *s; size_t channels; float *out; } cosine_job;

DCAM_KERNEL static void cosine_rows(const cosine_job *job, size_t begin, size_t end)
{
    const size_t channels = job->channels;
    for (size_t i = begin; i < end; i++) {
        const float *t = job->t + i * channels, *s = job->s + i * channels;
        dcam_f64x8 dot = {0}, tt = {0}, ss = {0}, a, b;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_load8_widened(&a, t + c, lanes);
            dcam_load8_widened(&b, s + c, lanes);
            dcam_add_product8(&dot, &a, &b);
            dcam_add_product8(&tt, &a, &a);
            dcam_add_product8(&ss, &b, &b);
        }
        const double length = sqrt(dcam_sum8(&tt)) * sqrt(dcam_sum8(&ss));
        job->out[i] = (float)(1 - dcam_sum8(&dot) / (length + COSINE_EPSILON));
    }
}

static void cosine_body(void *context, size_t begin, size_t end) { cosine_rows(context, begin, end); }

void dcam_cosine_map(const float *t, const float *s, int positions, int channels, float *out)
{
    cosine_job job = {t, s, (size_t)channels, out};
    if ((size_t)positions * (size_t)channels < WORTH_SHARING) cosine_rows(&job, 0, (size_t)positions);
    else dcam_parallel_for((size_t)positions, cosine_body, &job);
}

/* ---- raw: sums in f32. Of bytes they are exact up to 258 channels (255^2 * 258 < 2^24); of bf16 they lose less than the
 * rounding of the factors already has ---- */

typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));

typedef struct {
    const void *t, *s;
    size_t channels;
    double scale;
    float *out;
} raw_job;

/* Eight values as f32; past the end zeros. */
DCAM_INLINE void load_bf16(dcam_f32x8 *v, const void *values, size_t at, size_t lanes)
{
    u16x8 halves = {0};
    if (lanes == DCAM_LANES) memcpy(&halves, (const uint16_t *)values + at, sizeof halves);
    else memcpy(&halves, (const uint16_t *)values + at, lanes * sizeof(uint16_t));
    *v = (dcam_f32x8)(__builtin_convertvector(halves, dcam_i32x8) << 16);
}

DCAM_INLINE void load_bytes(dcam_f32x8 *v, const void *values, size_t at, size_t lanes)
{
    u8x8 bytes = {0};
    if (lanes == DCAM_LANES) memcpy(&bytes, (const uint8_t *)values + at, sizeof bytes);
    else memcpy(&bytes, (const uint8_t *)values + at, lanes);
    *v = __builtin_convertvector(__builtin_convertvector(bytes, dcam_i32x8), dcam_f32x8);
}

DCAM_INLINE void raw_rows(const raw_job *job, size_t begin, size_t end, bool bytes)
{
    const size_t channels = job->channels;
    for (size_t i = begin; i < end; i++) {
        dcam_f32x8 dot = {0}, tt = {0}, ss = {0}, a, b;
        dcam_f64x8 wide;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels), at = i * channels + c;
            if (bytes) {
                load_bytes(&a, job->t, at, lanes);
                load_bytes(&b, job->s, at, lanes);
            } else {
                load_bf16(&a, job->t, at, lanes);
                load_bf16(&b, job->s, at, lanes);
            }
            dot += a * b;
            tt += a * a;
            ss += b * b;
        }
        dcam_widen8(&wide, &tt);
        const double t = dcam_sum8(&wide);
        dcam_widen8(&wide, &ss);
        const double length = sqrt(t * dcam_sum8(&wide)) * job->scale;
        dcam_widen8(&wide, &dot);
        job->out[i] = (float)(1 - dcam_sum8(&wide) * job->scale / (length + COSINE_EPSILON));
    }
}

DCAM_KERNEL static void bf16_rows(const raw_job *job, size_t begin, size_t end) { raw_rows(job, begin, end, false); }
DCAM_KERNEL static void byte_rows(const raw_job *job, size_t begin, size_t end) { raw_rows(job, begin, end, true); }
static void bf16_body(void *context, size_t begin, size_t end) { bf16_rows(context, begin, end); }
static void byte_body(void *context, size_t begin, size_t end) { byte_rows(context, begin, end); }

void dcam_cosine_map_raw(dcam_tap_type type, const void *t, const void *s, int positions, int channels, double scale,
                         float *out)
{
    raw_job job = {t, s, (size_t)channels, scale, out};
    void (*body)(void *, size_t, size_t) = type == DCAM_TAP_U8 ? byte_body : bf16_body;
    if ((size_t)positions * (size_t)channels < WORTH_SHARING) body(&job, 0, (size_t)positions);
    else dcam_parallel_for((size_t)positions, body, &job);
}
