/* intervals.c - the 95 % intervals of an evaluation: image and pixel metrics by resampling the images, the two rates of
 * the verdicts by Jeffreys' interval (metrics/bootstrap.h). */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "api/evaluation.h"
#include "base/memory.h"
#include "metrics/bootstrap.h"

/* Fewer images of a kind than this tell nothing of how they differ. */
#define LEAST_OF_A_KIND 2

struct dcam_intervals {
    dcam_bootstrap options;
    size_t resamples;
    double *values;             /* of the class at hand: DCAM_METRICS x resamples */
    double *sums;               /* over the classes so far: the same */
    size_t classes[DCAM_METRICS]; /* in each sum */
};

dcam_metrics dcam_metrics_none(void)
{
    return (dcam_metrics){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
}

dcam_status dcam_intervals_create(const dcam_evaluate_options *options, dcam_intervals **out)
{
    if (options->resamples > DCAM_MAX_RESAMPLES)
        return dcam_fail(DCAM_ERROR_USAGE, "%d resamples: at most %d are taken", options->resamples, DCAM_MAX_RESAMPLES);
    dcam_intervals *v;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *v, &v));
    v->options.seed = options->seed;
    v->options.resamples = options->resamples > 0 ? options->resamples : DCAM_DEFAULT_RESAMPLES;
    v->resamples = (size_t)v->options.resamples;
    dcam_status status = dcam_alloc(DCAM_METRICS * v->resamples, sizeof *v->values, &v->values);
    if (status == DCAM_OK) status = dcam_alloc_zero(DCAM_METRICS * v->resamples, sizeof *v->sums, &v->sums);
    if (status != DCAM_OK) dcam_intervals_destroy(v);
    else *out = v;
    return status;
}

void dcam_intervals_destroy(dcam_intervals *v)
{
    if (!v) return;
    dcam_free(v->sums);
    dcam_free(v->values);
    dcam_free(v);
}

/* The row of a metric among the values. */
#define ROW(v, member) ((v)->values + offsetof(dcam_metrics, member) / sizeof(double) * (v)->resamples)

/* A class's own stream, from its name (FNV-1a), so that its intervals do not depend on the other classes. */
static uint64_t stream_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) hash = (hash ^ *c) * 0x100000001b3u;
    return hash;
}

/* Where nothing is resampled every draw is the metric itself. */
static void fill_with_metrics(dcam_intervals *v, const dcam_metrics *metrics)
{
    double row[DCAM_METRICS];
    memcpy(row, metrics, sizeof row);
    for (size_t m = 0; m < DCAM_METRICS; m++)
        for (size_t b = 0; b < v->resamples; b++) v->values[m * v->resamples + b] = row[m];
}

static dcam_status draw(dcam_intervals *v, const dcam_preprocessing *p, const dcam_class_scores *s,
                        const dcam_pixel_metrics *pixel, const dcam_metrics *metrics)
{
    double *image_values[] = {ROW(v, image_auroc), ROW(v, image_ap), ROW(v, image_f1max)};
    double *pixel_values[] = {ROW(v, pixel_auroc), ROW(v, pixel_ap), ROW(v, pixel_f1max), ROW(v, aupro), ROW(v, pro_rescaled)};
    fill_with_metrics(v, metrics);
    if (s->normal > 0) dcam_bootstrap_rate(&v->options, 0, s->false_alarms, s->normal, ROW(v, false_alarm_rate));
    if (s->defective > 0) dcam_bootstrap_rate(&v->options, 1, s->misses, s->defective, ROW(v, miss_rate));
    if (s->normal < LEAST_OF_A_KIND || s->defective < LEAST_OF_A_KIND) return DCAM_OK;
    DCAM_TRY(dcam_bootstrap_images(&v->options, s->scores, s->labels, s->images, image_values));
    if (isnan(metrics->pixel_auroc)) return DCAM_OK;
    return dcam_bootstrap_pixels(&v->options, s->maps, s->masks, s->labels, (int)s->images, p->height, p->width, pixel,
                                 pixel_values);
}

/* The end at which a rate was seen is the end of its interval (Brown, Cai, DasGupta 2001, section 4.1.1). */
static void close_rate(double rate, double *low, double *high)
{
    if (rate <= 0) *low = 0;
    if (rate >= 1) *high = 1;
}

static void fill(double *values, size_t resamples, const dcam_metrics *metrics, dcam_metrics *out_low, dcam_metrics *out_high)
{
    double low[DCAM_METRICS], high[DCAM_METRICS];
    for (size_t m = 0; m < DCAM_METRICS; m++) (void)dcam_percentile_interval(values + m * resamples, resamples, &low[m], &high[m]);
    memcpy(out_low, low, sizeof low);
    memcpy(out_high, high, sizeof high);
    close_rate(metrics->false_alarm_rate, &out_low->false_alarm_rate, &out_high->false_alarm_rate);
    close_rate(metrics->miss_rate, &out_low->miss_rate, &out_high->miss_rate);
}

dcam_status dcam_intervals_of_class(dcam_intervals *v, const dcam_preprocessing *p, const dcam_class_scores *s,
                                    const dcam_pixel_metrics *pixel, dcam_class_result *result)
{
    v->options.stream = stream_of(result->name);
    DCAM_TRY(draw(v, p, s, pixel, &result->metrics));
    for (size_t m = 0; m < DCAM_METRICS; m++) {
        if (isnan(v->values[m * v->resamples])) continue;
        v->classes[m]++;
        for (size_t b = 0; b < v->resamples; b++) v->sums[m * v->resamples + b] += v->values[m * v->resamples + b];
    }
    fill(v->values, v->resamples, &result->metrics, &result->low, &result->high);
    return DCAM_OK;
}

void dcam_intervals_of_mean(dcam_intervals *v, dcam_evaluation *e)
{
    for (size_t m = 0; m < DCAM_METRICS; m++)
        for (size_t b = 0; b < v->resamples; b++)
            v->sums[m * v->resamples + b] = v->classes[m] ? v->sums[m * v->resamples + b] / (double)v->classes[m] : NAN;
    fill(v->sums, v->resamples, &e->mean, &e->mean_low, &e->mean_high);
    e->resamples = v->options.resamples;
}
