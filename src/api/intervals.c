/* intervals.c - the 95 % intervals of an evaluation: image and pixel metrics by resampling the images, the two rates of
 * the verdicts by Jeffreys' interval (metrics/bootstrap.h, metrics/interval.h). */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "api/evaluation.h"
#include "base/memory.h"
#include "base/random.h"
#include "metrics/bootstrap.h"
#include "metrics/interval.h"

/* Fewer images of a kind than this tell nothing of how they differ. */
#define LEAST_OF_A_KIND 2

/* All but the two rates, which come last. */
#define RESAMPLED (DCAM_METRICS - 2)
_Static_assert(offsetof(dcam_metrics, false_alarm_rate) == RESAMPLED * sizeof(double) &&
               offsetof(dcam_metrics, miss_rate) == (RESAMPLED + 1) * sizeof(double), "the rates come last");

struct dcam_intervals {
    dcam_bootstrap options;
    size_t resamples;
    double *values;             /* of the class at hand: RESAMPLED x resamples */
};

dcam_metrics dcam_metrics_none(void)
{
    return (dcam_metrics){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
}

dcam_status dcam_intervals_check(const dcam_evaluate_options *options)
{
    const int n = options->resamples;
    if (n <= 0 || (n >= DCAM_MIN_RESAMPLES && n <= DCAM_MAX_RESAMPLES)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "%d resamples: 95 %% intervals need %d to %d", n, DCAM_MIN_RESAMPLES,
                     DCAM_MAX_RESAMPLES);
}

dcam_status dcam_intervals_create(const dcam_evaluate_options *options, bool (*stop)(void *user), void *user, dcam_intervals **out)
{
    dcam_intervals *v;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *v, &v));
    v->options.seed = options->seed;
    v->options.stop = stop;
    v->options.user = user;
    v->options.resamples = options->resamples > 0 ? options->resamples : DCAM_DEFAULT_RESAMPLES;
    v->resamples = (size_t)v->options.resamples;
    const dcam_status status = dcam_alloc(RESAMPLED * v->resamples, sizeof *v->values, &v->values);
    if (status != DCAM_OK) dcam_intervals_destroy(v);
    else *out = v;
    return status;
}

void dcam_intervals_destroy(dcam_intervals *v)
{
    if (!v) return;
    dcam_free(v->values);
    dcam_free(v);
}

/* The row of a metric among the values. */
#define ROW(v, member) ((v)->values + offsetof(dcam_metrics, member) / sizeof(double) * (v)->resamples)

/* Where nothing is resampled every draw is the metric itself. */
static void fill_with_metrics(dcam_intervals *v, const dcam_metrics *metrics)
{
    double row[DCAM_METRICS];
    memcpy(row, metrics, sizeof row);
    for (size_t m = 0; m < RESAMPLED; m++)
        for (size_t b = 0; b < v->resamples; b++) v->values[m * v->resamples + b] = row[m];
}

static dcam_status draw(dcam_intervals *v, const dcam_preprocessing *p, const dcam_class_scores *s,
                        const dcam_pixel_metrics *pixel, const dcam_metrics *metrics)
{
    double *image_values[] = {ROW(v, image_auroc), ROW(v, image_ap), ROW(v, image_f1max)};
    double *pixel_values[] = {ROW(v, pixel_auroc), ROW(v, pixel_ap), ROW(v, pixel_f1max), ROW(v, aupro), ROW(v, pro_rescaled)};
    fill_with_metrics(v, metrics);
    if (s->normal < LEAST_OF_A_KIND || s->defective < LEAST_OF_A_KIND) return DCAM_OK;
    DCAM_TRY(dcam_bootstrap_images(&v->options, s->scores, s->labels, s->images, image_values));
    if (isnan(metrics->pixel_auroc)) return DCAM_OK;
    return dcam_bootstrap_pixels(&v->options, s->maps, s->masks, s->labels, (int)s->images, p->height, p->width, pixel,
                                 pixel_values);
}

static void fill(dcam_intervals *v, const dcam_class_scores *s, dcam_class_result *r)
{
    const size_t fewest = s->normal < s->defective ? s->normal : s->defective;
    double metric[DCAM_METRICS], low[DCAM_METRICS], high[DCAM_METRICS];
    memcpy(metric, &r->metrics, sizeof metric);
    for (size_t m = 0; m < RESAMPLED; m++)
        (void)dcam_logit_interval(metric[m], v->values + m * v->resamples, v->resamples, fewest, &low[m], &high[m]);
    (void)dcam_rate_interval(s->false_alarms, s->normal, &low[RESAMPLED], &high[RESAMPLED]);
    (void)dcam_rate_interval(s->misses, s->defective, &low[RESAMPLED + 1], &high[RESAMPLED + 1]);
    memcpy(&r->low, low, sizeof low);
    memcpy(&r->high, high, sizeof high);
    if (fewest >= LEAST_OF_A_KIND)
        dcam_auroc_interval(r->metrics.image_auroc, ROW(v, image_auroc), v->resamples, s->normal, s->defective,
                            &r->low.image_auroc, &r->high.image_auroc);
}

dcam_status dcam_intervals_of_class(dcam_intervals *v, const dcam_preprocessing *p, const dcam_class_scores *s,
                                    const dcam_pixel_metrics *pixel, dcam_class_result *result)
{
    v->options.stream = dcam_random_stream(result->name);
    DCAM_TRY(draw(v, p, s, pixel, &result->metrics));
    fill(v, s, result);
    return DCAM_OK;
}

/* Metric m of class i, of metrics that are a row of doubles each. */
static double at(const dcam_metrics *metrics, size_t m)
{
    double row[DCAM_METRICS];
    memcpy(row, metrics, sizeof row);
    return row[m];
}

dcam_status dcam_intervals_of_mean(const dcam_intervals *v, dcam_evaluation *e)
{
    double *columns, low[DCAM_METRICS], high[DCAM_METRICS];
    const size_t n = e->class_count;
    DCAM_TRY(dcam_alloc(n, 3 * sizeof *columns, &columns));
    for (size_t m = 0; m < DCAM_METRICS; m++) {
        for (size_t i = 0; i < n; i++) {
            columns[i] = at(&e->classes[i].metrics, m);
            columns[n + i] = at(&e->classes[i].low, m);
            columns[2 * n + i] = at(&e->classes[i].high, m);
        }
        (void)dcam_mean_interval(columns, columns + n, columns + 2 * n, n, &low[m], &high[m]);
    }
    memcpy(&e->mean_low, low, sizeof low);
    memcpy(&e->mean_high, high, sizeof high);
    e->resamples = v->options.resamples;
    dcam_free(columns);
    return DCAM_OK;
}
