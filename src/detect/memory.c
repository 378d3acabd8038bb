/* memory.c - descriptors of an image's patches and their distance to a class's prototypes (memory.h). Nothing is
 * allocated per image. */
#include "detect/memory.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "detect/nearest.h"

/* The stages whose features are remembered: the first one's are too local, and the third's alone too coarse. */
enum { FINE = 1, COARSE = 2 };
/* A patch whose features are all 0 stays 0. */
#define LEAST_LENGTH 1e-12f

struct dcam_matcher {
    int height[2], width[2], channels[2];
    size_t dimensions;
    dcam_panels projection[2], prototypes;
    bool rounded;             /* prototypes are in the next instead */
    dcam_bf16_panels rounded_prototypes;
    const float *filled_from; /* the prototypes that are in the panels */
    float *averaged[2];       /* positions x channels */
    float *projected[2];      /* positions x dimensions */
};

static size_t positions_of(const dcam_matcher *m, int part) { return (size_t)m->height[part] * (size_t)m->width[part]; }

static dcam_status create_part(dcam_matcher *m, const dcam_architecture *a, int part, int height, int width)
{
    m->height[part] = height >> (3 + part);
    m->width[part] = width >> (3 + part);
    m->channels[part] = a->stage_channels[FINE + part];
    return dcam_alloc(positions_of(m, part), (size_t)m->channels[part] * sizeof(float), &m->averaged[part]);
}

static dcam_status create_projection(dcam_matcher *m, const float *projection, size_t most_prototypes)
{
    for (int part = 0; part < 2; part++) {
        const size_t channels = (size_t)m->channels[part];
        DCAM_TRY(dcam_panels_reserve(&m->projection[part], m->dimensions, channels));
        dcam_panels_fill_matrix(&m->projection[part], projection, channels, m->dimensions);
        projection += channels * m->dimensions;
        DCAM_TRY(dcam_alloc(positions_of(m, part), m->dimensions * sizeof(float), &m->projected[part]));
    }
    const size_t room = most_prototypes ? most_prototypes : 1;
    return m->rounded ? dcam_bf16_panels_reserve(&m->rounded_prototypes, room, m->dimensions)
                      : dcam_panels_reserve(&m->prototypes, room, m->dimensions);
}

dcam_status dcam_matcher_create(const dcam_architecture *a, int height, int width, const float *projection, int dimensions,
                                size_t most_prototypes, bool rounded, dcam_matcher **out)
{
    dcam_matcher *m;
    if (height < 32 || width < 32 || height % 32 || width % 32)
        return dcam_fail(DCAM_ERROR_USAGE, "an input of %d x %d: both sides must be multiples of 32", width, height);
    DCAM_TRY(dcam_alloc_zero(1, sizeof *m, &m));
    m->dimensions = projection ? (size_t)dimensions : 0;
    m->rounded = rounded && dcam_bf16_panels_here();
    dcam_status status = create_part(m, a, 0, height, width);
    if (status == DCAM_OK) status = create_part(m, a, 1, height, width);
    if (status == DCAM_OK && projection) status = create_projection(m, projection, most_prototypes);
    if (status != DCAM_OK) dcam_matcher_destroy(m);
    else *out = m;
    return status;
}

void dcam_matcher_destroy(dcam_matcher *m)
{
    if (!m) return;
    for (int part = 0; part < 2; part++) {
        dcam_free(m->projected[part]);
        dcam_free(m->averaged[part]);
        dcam_panels_clear(&m->projection[part]);
    }
    dcam_bf16_panels_clear(&m->rounded_prototypes);
    dcam_panels_clear(&m->prototypes);
    dcam_free(m);
}

size_t dcam_matcher_positions(const dcam_matcher *m) { return positions_of(m, 0); }
size_t dcam_matcher_channels(const dcam_matcher *m) { return (size_t)m->channels[0] + (size_t)m->channels[1]; }

/* ---- average over 3x3, unit length ---- */

typedef struct {
    const float *in;
    float *out;
    size_t height, width, channels;
} average_job;

/* The sum stands for the mean, since only the direction is kept; so the edges, with fewer neighbours, need no care. */
DCAM_KERNEL static void average_rows(const average_job *job, size_t begin, size_t end)
{
    const size_t channels = job->channels, width = job->width;
    for (size_t i = begin; i < end; i++) {
        const size_t y = i / width, x = i % width;
        const size_t top = y ? y - 1 : 0, bottom = y + 1 < job->height ? y + 1 : y;
        const size_t left = x ? x - 1 : 0, right = x + 1 < width ? x + 1 : x;
        float *out = job->out + i * channels;
        dcam_f64x8 squares = {0}, wide;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 sum = {0}, value;
            for (size_t v = top; v <= bottom; v++)
                for (size_t u = left; u <= right; u++) {
                    dcam_load8(&value, job->in + (v * width + u) * channels + c, lanes);
                    sum += value;
                }
            dcam_store8(out + c, &sum, lanes);
            dcam_widen8(&wide, &sum);
            dcam_add_product8(&squares, &wide, &wide);
        }
        const float factor = 1 / fmaxf((float)sqrt(dcam_sum8(&squares)), LEAST_LENGTH);
        for (size_t c = 0; c < channels; c++) out[c] *= factor;
    }
}

static void average_body(void *job, size_t begin, size_t end) { average_rows(job, begin, end); }

static void average(dcam_matcher *m, int part, const float *const teacher[DCAM_STAGES])
{
    average_job job = {teacher[FINE + part], m->averaged[part], (size_t)m->height[part], (size_t)m->width[part],
                       (size_t)m->channels[part]};
    dcam_parallel_for(positions_of(m, part), average_body, &job);
}

/* ---- the coarse grid beside the fine one ---- */

typedef struct {
    const float *coarse;
    float *fine;             /* a row of fine_step values a place */
    size_t height, width;    /* of the coarse grid; the fine one is twice that */
    size_t channels, fine_step;
    bool add;                /* else written */
} upsample_job;

/* Twice as large, half-pixel centres: 3/4 of the nearer neighbour and 1/4 of the other, edges clamped. */
DCAM_INLINE void neighbours(size_t fine, size_t count, size_t *near, size_t *far)
{
    const size_t c = fine / 2;
    *near = c;
    *far = fine % 2 ? (c + 1 < count ? c + 1 : c) : (c ? c - 1 : c);
}

DCAM_KERNEL static void upsample_rows(const upsample_job *job, size_t begin, size_t end)
{
    const size_t channels = job->channels;
    for (size_t i = begin; i < end; i++) {
        size_t y0, y1, x0, x1;
        neighbours(i / (2 * job->width), job->height, &y0, &y1);
        neighbours(i % (2 * job->width), job->width, &x0, &x1);
        const float *a = job->coarse + (y0 * job->width + x0) * channels, *b = job->coarse + (y0 * job->width + x1) * channels;
        const float *c = job->coarse + (y1 * job->width + x0) * channels, *d = job->coarse + (y1 * job->width + x1) * channels;
        float *out = job->fine + i * job->fine_step;
        for (size_t k = 0; k < channels; k++) {
            const float v = 0.75f * (0.75f * a[k] + 0.25f * b[k]) + 0.25f * (0.75f * c[k] + 0.25f * d[k]);
            out[k] = job->add ? out[k] + v : v;
        }
    }
}

static void upsample_body(void *job, size_t begin, size_t end) { upsample_rows(job, begin, end); }

static void upsample(const dcam_matcher *m, upsample_job job)
{
    job.height = (size_t)m->height[1];
    job.width = (size_t)m->width[1];
    dcam_parallel_for(positions_of(m, 0), upsample_body, &job);
}

/* ---- descriptors ---- */

void dcam_matcher_describe(dcam_matcher *m, const float *const teacher[DCAM_STAGES], float *out)
{
    const size_t fine = (size_t)m->channels[0], all = dcam_matcher_channels(m);
    average(m, 0, teacher);
    average(m, 1, teacher);
    for (size_t i = 0; i < positions_of(m, 0); i++) memcpy(out + i * all, m->averaged[0] + i * fine, fine * sizeof *out);
    upsample(m, (upsample_job){.coarse = m->averaged[1], .fine = out + fine, .channels = (size_t)m->channels[1], .fine_step = all});
}

void dcam_matcher_embed(dcam_matcher *m, const float *const teacher[DCAM_STAGES], float *out)
{
    average(m, 0, teacher);
    average(m, 1, teacher);
    dcam_panels_multiply(&m->projection[0], m->averaged[0], positions_of(m, 0), out);
    dcam_panels_multiply(&m->projection[1], m->averaged[1], positions_of(m, 1), m->projected[1]);
    upsample(m, (upsample_job){.coarse = m->projected[1], .fine = out, .channels = m->dimensions, .fine_step = m->dimensions,
                               .add = true});
}

void dcam_matcher_distances(dcam_matcher *m, const float *const teacher[DCAM_STAGES], const float *prototypes, size_t count,
                            float *map)
{
    if (m->filled_from != prototypes) {
        if (m->rounded) dcam_bf16_panels_fill(&m->rounded_prototypes, prototypes, count);
        else dcam_panels_fill_rows(&m->prototypes, prototypes, count, m->dimensions);
    }
    m->filled_from = prototypes;
    dcam_matcher_embed(m, teacher, m->projected[0]);
    if (m->rounded) dcam_bf16_panels_nearest(&m->rounded_prototypes, m->projected[0], positions_of(m, 0), map, NULL);
    else dcam_panels_nearest(&m->prototypes, m->projected[0], positions_of(m, 0), map, NULL);
}
