/* pooled.c - thresholds of many classes at once: how far normal scores stray is learned from all of them together, where
 * each has too few to tell alone (calibration.h has the rule). A class's share of a residual is worked out without the
 * score at hand, so the residuals carry the error of the class's own mean and deviation, and their quantile allows for it
 * (cross-conformal prediction: Vovk, "Cross-conformal predictors", 2015; Barber et al., "Predictive inference with the
 * jackknife+", 2021). Deviations are drawn together as in the analysis of variance with a prior of PRIOR images. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "detect/calibration.h"

/* A class's deviation counts as if so many of its images had told what all classes together tell. */
#define PRIOR 10.0
/* Fewer residuals than this say less than the tail rule assumes. */
#define LEAST_RESIDUALS 10
/* So many of a class's own images expected above the threshold tell it better than other classes can. */
#define OWN_ALARMS 10

/* Of one class's scores, on the scale at hand. */
typedef struct { double n, mean, squares; } moments;

typedef struct {
    dcam_normal_scores *classes;
    size_t count;
    bool logarithms;
    moments *of;
    double degrees, squares; /* of all classes */
    float *residuals;
    size_t residual_count;
} pool;

static double scaled(const pool *p, float score) { return p->logarithms ? log((double)score) : (double)score; }

static moments moments_of(const pool *p, const dcam_normal_scores *c)
{
    moments m = {.n = (double)c->count};
    for (size_t i = 0; i < c->count; i++) m.mean += scaled(p, c->scores[i]) / m.n;
    for (size_t i = 0; i < c->count; i++) {
        const double d = scaled(p, c->scores[i]) - m.mean;
        m.squares += d * d;
    }
    return m;
}

/* The same without one of its scores. */
static moments without(const moments *m, double score)
{
    const double d = score - m->mean, n = m->n - 1;
    return (moments){.n = n, .mean = m->mean - d / n, .squares = fmax(0, m->squares - d * d * m->n / n)};
}

/* By how much a new score of a class strays from its mean: the deviation, and what the mean itself may be off by. */
static double spread(const moments *m, double degrees, double squares)
{
    const double variance = (m->squares + PRIOR * squares / degrees) / (m->n - 1 + PRIOR);
    return sqrt(variance * (1 + 1 / m->n));
}

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void gather(pool *p)
{
    for (size_t c = 0; c < p->count; c++) {
        p->of[c] = moments_of(p, &p->classes[c]);
        p->degrees += p->of[c].n - 1;
        p->squares += p->of[c].squares;
    }
    for (size_t c = 0; c < p->count; c++)
        for (size_t i = 0; p->classes[c].count > 1 && i < p->classes[c].count; i++) {
            const double score = scaled(p, p->classes[c].scores[i]);
            const moments rest = without(&p->of[c], score);
            const double s = spread(&rest, p->degrees - 1, p->squares - p->of[c].squares + rest.squares);
            p->residuals[p->residual_count++] = s > 0 ? (float)((score - rest.mean) / s) : 0;
        }
    qsort(p->residuals, p->residual_count, sizeof *p->residuals, rising);
}

/* False where the pool has nothing to say: the class's own rule must do. */
static bool pooled_threshold(const pool *p, size_t c, double quantile, double *out)
{
    const double at = p->of[c].mean + quantile * spread(&p->of[c], p->degrees, p->squares);
    const double threshold = p->logarithms ? exp(at) : at;
    if (!(fabs(threshold) < (double)FLT_MAX / 16)) return false; /* its colour scale must be a float too */
    *out = threshold;
    return true;
}

static dcam_status pool_classes(pool *p, double rate)
{
    double quantile;
    dcam_threshold_rule ignored;
    gather(p);
    if (!(p->squares > 0)) return DCAM_OK; /* every class's scores are equal */
    DCAM_TRY(dcam_threshold_from_normal(p->residuals, p->residual_count, rate, &quantile, &ignored));
    for (size_t c = 0; c < p->count; c++)
        if ((double)(p->classes[c].count + 1) * rate < OWN_ALARMS && pooled_threshold(p, c, quantile, &p->classes[c].threshold))
            p->classes[c].rule = DCAM_RULE_POOLED;
    return DCAM_OK;
}

dcam_status dcam_thresholds_from_normal(dcam_normal_scores *classes, size_t count, double rate)
{
    pool p = {.classes = classes, .count = count, .logarithms = true};
    size_t residuals = 0;
    for (size_t c = 0; c < count; c++) {
        DCAM_TRY(dcam_threshold_from_normal(classes[c].scores, classes[c].count, rate, &classes[c].threshold, &classes[c].rule));
        residuals += classes[c].count > 1 ? classes[c].count : 0;
        p.logarithms = p.logarithms && classes[c].scores[0] > 0; /* the least */
    }
    if (count < 2 || residuals < LEAST_RESIDUALS) return DCAM_OK;
    DCAM_TRY(dcam_alloc(count, sizeof *p.of, &p.of));
    dcam_status status = dcam_alloc(residuals, sizeof *p.residuals, &p.residuals);
    if (status == DCAM_OK) status = pool_classes(&p, rate);
    dcam_free(p.residuals);
    dcam_free(p.of);
    return status;
}
