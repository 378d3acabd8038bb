/* filter.c - bilinear up-sampling as PyTorch's interpolate (align_corners = false) and Gaussian smoothing as
 * scipy.ndimage.gaussian_filter (mode reflect, truncate 4), on one map. Neither allocates. */
#include "detect/map.h"

#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"

/* ---- bilinear ---- */

/* Output columns handled together: their source indices and weights are found once for all rows. */
#define COLUMNS 256

typedef struct { int low, high; float weight; } source; /* value = low + weight * (high - low) */

/* Half-pixel centres; before the first and after the last centre the edge value is held. */
static source source_of(int out, int in_size, int out_size)
{
    double at = ((double)out + 0.5) * (double)in_size / (double)out_size - 0.5;
    if (at < 0) at = 0;
    int low = (int)at;
    if (low > in_size - 1) low = in_size - 1;
    const int high = low + 1 < in_size ? low + 1 : low;
    return (source){low, high, (float)(at - (double)low)};
}

typedef struct {
    const float *in;
    float *out;
    int in_h, in_w, out_h, out_w;
} bilinear_job;

static void bilinear_rows(void *context, size_t begin, size_t end)
{
    const bilinear_job *job = context;
    source columns[COLUMNS];
    for (int x0 = 0; x0 < job->out_w; x0 += COLUMNS) {
        const int n = job->out_w - x0 < COLUMNS ? job->out_w - x0 : COLUMNS;
        for (int x = 0; x < n; x++) columns[x] = source_of(x0 + x, job->in_w, job->out_w);
        for (size_t y = begin; y < end; y++) {
            const source row = source_of((int)y, job->in_h, job->out_h);
            const float *a = job->in + (size_t)row.low * (size_t)job->in_w;
            const float *b = job->in + (size_t)row.high * (size_t)job->in_w;
            float *out = job->out + y * (size_t)job->out_w + x0;
            for (int x = 0; x < n; x++) {
                const source c = columns[x];
                const float top = a[c.low] + c.weight * (a[c.high] - a[c.low]);
                const float bottom = b[c.low] + c.weight * (b[c.high] - b[c.low]);
                out[x] = top + row.weight * (bottom - top);
            }
        }
    }
}

/* ---- twice and four times: the maps' own sizes ---- */

/* Eight outputs lie between neighbours of the row below, eight values from the one before it on: which two, and how far
 * between them. Where a row begins and ends it goes on with its edge value. */
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define PICK(v, ...) __builtin_shuffle(v, (dcam_i32x8){__VA_ARGS__})
#endif

/* v: in_w values behind the first edge value, and 8 more that may be read. */
DCAM_INLINE void spread_twice(const float *v, size_t in_w, float *out)
{
    const dcam_f32x8 weight = {0.75f, 0.25f, 0.75f, 0.25f, 0.75f, 0.25f, 0.75f, 0.25f};
    for (size_t i = 0; i < in_w; i += 4) {
        dcam_f32x8 x, y;
        dcam_load8(&x, v + i, DCAM_LANES);
        const dcam_f32x8 low = PICK(x, 0, 1, 1, 2, 2, 3, 3, 4), high = PICK(x, 1, 2, 2, 3, 3, 4, 4, 5);
        y = low + weight * (high - low);
        dcam_store8(out + 2 * i, &y, DCAM_LANES);
    }
}

DCAM_INLINE void spread_four_times(const float *v, size_t in_w, float *out)
{
    const dcam_f32x8 weight = {0.625f, 0.875f, 0.125f, 0.375f, 0.625f, 0.875f, 0.125f, 0.375f};
    for (size_t i = 0; i < in_w; i += 2) {
        dcam_f32x8 x, y;
        dcam_load8(&x, v + i, DCAM_LANES);
        const dcam_f32x8 low = PICK(x, 0, 0, 1, 1, 1, 1, 2, 2), high = PICK(x, 1, 1, 2, 2, 2, 2, 3, 3);
        y = low + weight * (high - low);
        dcam_store8(out + 4 * i, &y, DCAM_LANES);
    }
}

/* Input columns whose row between two rows is kept at a time. */
#define KEPT 512

DCAM_KERNEL static void spread_rows(const bilinear_job *job, size_t begin, size_t end)
{
    const size_t w = (size_t)job->in_w, factor = (size_t)job->out_w / w;
    float between[1 + KEPT + 1 + DCAM_LANES] = {0};
    for (size_t y = begin; y < end; y++) {
        const source row = source_of((int)y, job->in_h, job->out_h);
        const float *a = job->in + (size_t)row.low * w, *b = job->in + (size_t)row.high * w;
        for (size_t i = 0; i < w; i++) between[1 + i] = a[i] + row.weight * (b[i] - a[i]);
        between[0] = between[1];
        between[1 + w] = between[w];
        if (factor == 2) spread_twice(between, w, job->out + y * 2 * w);
        else spread_four_times(between, w, job->out + y * 4 * w);
    }
}

static void spread_body(void *context, size_t begin, size_t end) { spread_rows(context, begin, end); }

static bool can_spread(const bilinear_job *job)
{
    return job->in_w <= KEPT && job->in_w % 4 == 0 && (job->out_w == 2 * job->in_w || job->out_w == 4 * job->in_w);
}

/* Output pixels below which the other cores are left asleep. */
#define WORTH_SHARING 16384

void dcam_upsample_bilinear(const float *in, int in_h, int in_w, float *out, int out_h, int out_w)
{
    bilinear_job job = {in, out, in_h, in_w, out_h, out_w};
    void (*body)(void *, size_t, size_t) = can_spread(&job) ? spread_body : bilinear_rows;
    if (out_h * out_w < WORTH_SHARING) body(&job, 0, (size_t)out_h);
    else dcam_parallel_for((size_t)out_h, body, &job);
}

/* ---- Gaussian ---- */

#define TRUNCATE 4
#define MAX_RADIUS (TRUNCATE * DCAM_MAX_SMOOTHING)

typedef struct {
    const float *in;
    float *out;
    int h, w, radius;
    float weights[2 * MAX_RADIUS + 1];
} gaussian_job;

/* d c b a | a b c d | d c b a, as often as needed */
static int reflect(int i, int n)
{
    const int period = 2 * n;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - 1 - i;
}

DCAM_KERNEL static void smooth_down(const gaussian_job *job, size_t begin, size_t end)
{
    const size_t w = (size_t)job->w;
    for (size_t y = begin; y < end; y++) {
        float *out = job->out + y * w;
        memset(out, 0, w * sizeof *out);
        for (int j = -job->radius; j <= job->radius; j++) {
            const float *in = job->in + (size_t)reflect((int)y + j, job->h) * w;
            const float weight = job->weights[j + job->radius];
            for (size_t x = 0; x < w; x++) out[x] += weight * in[x];
        }
    }
}

DCAM_INLINE float smooth_at(const gaussian_job *job, const float *in, int x)
{
    float sum = 0;
    for (int j = -job->radius; j <= job->radius; j++) sum += job->weights[j + job->radius] * in[reflect(x + j, job->w)];
    return sum;
}

DCAM_KERNEL static void smooth_across(const gaussian_job *job, size_t begin, size_t end)
{
    const int w = job->w, radius = job->radius, inside_end = w - radius;
    for (size_t y = begin; y < end; y++) {
        const float *in = job->in + y * (size_t)w;
        float *out = job->out + y * (size_t)w;
        int x = 0;
        for (; x < w && x < radius; x++) out[x] = smooth_at(job, in, x);
        for (; x + DCAM_LANES <= inside_end; x += DCAM_LANES) {
            dcam_f32x8 sum = {0}, v;
            for (int j = 0; j <= 2 * radius; j++) {
                dcam_load8(&v, in + x - radius + j, DCAM_LANES);
                sum += v * job->weights[j];
            }
            dcam_store8(out + x, &sum, DCAM_LANES);
        }
        for (; x < w; x++) out[x] = smooth_at(job, in, x);
    }
}

static void down_body(void *context, size_t begin, size_t end) { smooth_down(context, begin, end); }
static void across_body(void *context, size_t begin, size_t end) { smooth_across(context, begin, end); }

void dcam_gaussian_smooth(float *map, int h, int w, double sigma, float *scratch)
{
    gaussian_job job = {.in = map, .out = scratch, .h = h, .w = w};
    job.radius = (int)(TRUNCATE * sigma + 0.5);
    if (job.radius > MAX_RADIUS) job.radius = MAX_RADIUS;
    if (job.radius <= 0) return;
    double weights[2 * MAX_RADIUS + 1], sum = 0;
    for (int j = 0; j <= 2 * job.radius; j++) {
        const double x = (double)(j - job.radius) / sigma;
        weights[j] = exp(-0.5 * x * x);
        sum += weights[j];
    }
    for (int j = 0; j <= 2 * job.radius; j++) job.weights[j] = (float)(weights[j] / sum);
    dcam_parallel_for((size_t)h, down_body, &job);
    job.in = scratch;
    job.out = map;
    dcam_parallel_for((size_t)h, across_body, &job);
}
