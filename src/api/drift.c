/* drift.c - whether the scores of new normal images still fit those that the calibration kept: per class Kolmogorov and
 * Smirnov's test and an exact test of the number of false alarms, corrected for two tests a class (Bonferroni) and for
 * the classes (Holm). Nothing of the model is changed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/detector.h"
#include "api/evaluation.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/loader.h"
#include "detect/calibration.h"
#include "distill/data_identity.h"
#include "metrics/drift.h"

#define DRIFT_BATCH 8
#define DEFAULT_SIGNIFICANCE 0.01
#define TESTS 2

typedef struct {
    const dcam_drift_options *options;
    const dcam_dataset *dataset;
    size_t done, total; /* images; total is at most so many until every class's are chosen */
    double *least; /* a class: the smallest p that its numbers of images can give, not corrected */
} run;

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(const float *sorted, size_t n)
{
    return n ? ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2 : (double)NAN;
}

static dcam_status report(run *r, const char *error)
{
    r->done++;
    if (r->options->progress && r->options->progress(r->options->user, r->done, r->total, error))
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after %zu of %zu images", r->done, r->total);
    return DCAM_OK;
}

/* ---- images ---- */

static size_t count_normal(const dcam_dataset *d, int class_index, dcam_split split)
{
    size_t count = 0;
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        count += s->class_index == class_index && s->split == split && !s->defective;
    }
    return count;
}

/* The good test images; where a class has none its other normal images, as far as the record of the training does not
 * name them: the calibration may have seen those that it names. */
static dcam_split split_of(const dcam_dataset *d, int class_index)
{
    return count_normal(d, class_index, DCAM_SPLIT_TEST) > 0 ? DCAM_SPLIT_TEST : DCAM_SPLIT_TRAIN;
}

static dcam_status choose_images(run *r, const dcam_detector *d, int class_index, uint32_t **out, size_t *count)
{
    /* Of a plain folder, whose name is not the images' class. */
    const char *name = r->options->class_name ? r->options->class_name : r->dataset->class_names[class_index];
    size_t known = 0;
    if (split_of(r->dataset, class_index) == DCAM_SPLIT_TEST)
        return dcam_dataset_select(r->dataset, class_index, DCAM_SPLIT_TEST, true, out, count);
    DCAM_TRY(dcam_new_images(r->dataset, class_index, d->model->training_record, out, count, &known));
    r->total -= known;
    if (*count > 0) return DCAM_OK;
    dcam_free(*out);
    *out = NULL;
    if (known > 0)
        return dcam_fail(DCAM_ERROR_DATA, "%s: class %s has no test/good, and the other images are those of the training; give new normal images",
                         r->dataset->root, name);
    return dcam_fail(DCAM_ERROR_DATA, "%s: class %s has no normal images", r->dataset->root, name);
}

static dcam_status score_images(run *r, dcam_detector *d, int model_class, const uint32_t *order, size_t count, float *scores,
                                dcam_drift_class *out)
{
    const dcam_loader_options loading = {.width = d->model->preprocessing.width, .height = d->model->preprocessing.height,
                                         .batch = DRIFT_BATCH, .skip_bad = true};
    int classes[DRIFT_BATCH];
    dcam_verdict verdicts[DRIFT_BATCH];
    dcam_loader *loader = NULL;
    dcam_batch batch;
    for (int i = 0; i < DRIFT_BATCH; i++) classes[i] = model_class;
    DCAM_TRY(dcam_loader_create(r->dataset, order, count, &loading, &loader));
    dcam_status status;
    do {
        status = dcam_loader_next(loader, &batch);
        for (; status == DCAM_OK && out->failed < dcam_loader_bad_count(loader); out->failed++)
            status = report(r, dcam_loader_bad_message(loader, out->failed));
        if (status == DCAM_OK && batch.count > 0) status = dcam_scorer_run(d->scorer, batch.rgb, batch.count, classes, NULL, verdicts);
        for (int i = 0; status == DCAM_OK && i < batch.count; i++) {
            scores[out->images++] = verdicts[i].raw;
            out->alarms += verdicts[i].anomalous;
            status = report(r, NULL);
        }
    } while (status == DCAM_OK && batch.count > 0);
    dcam_loader_destroy(loader);
    return status;
}

/* ---- tests ---- */

/* The chance of so many alarms, or more, among the new images. */
static double alarms_p(const dcam_class_calibration *c, size_t images, size_t alarms)
{
    size_t below = 0;
    while (below < c->score_count && (double)c->scores[below] < c->threshold) below++;
    /* A threshold of the best F1 was not chosen from these scores; one that is no order statistic of them lies above one, where
     * counting what is above that can only make p larger. Below all of them p is 1. */
    return c->rule == DCAM_RULE_F1 ? dcam_fisher_p(c->score_count, c->score_count - below, images, alarms)
                                   : dcam_exceedance_p(c->score_count, below, images, alarms);
}

static dcam_status compare(const dcam_class_calibration *c, float *scores, dcam_drift_class *d, double *least)
{
    dcam_ks_result ks;
    qsort(scores, d->images, sizeof *scores, compare_floats);
    DCAM_TRY(dcam_ks_test(c->scores, c->score_count, scores, d->images, &ks));
    d->ks_statistic = ks.statistic;
    d->ks_p = ks.p;
    d->ks_exact = ks.exact;
    d->alarms_p = alarms_p(c, d->images, d->alarms);
    d->p = fmin(1, TESTS * fmin(d->ks_p, d->alarms_p));
    d->median = median_of(scores, d->images);
    *least = fmin(dcam_ks_least_p(c->score_count, d->images), alarms_p(c, d->images, d->images));
    return DCAM_OK;
}

static dcam_status check_class(run *r, dcam_detector *d, int class_index, int model_class, dcam_drift_class *out)
{
    const dcam_class_calibration *c = &d->model->classes[model_class];
    uint32_t *order = NULL;
    float *scores = NULL;
    size_t count = 0;
    DCAM_TRY(dcam_copy_string(c->name, &out->name));
    out->calibration_images = c->score_count;
    out->calibration_median = median_of(c->scores, c->score_count);
    out->false_alarm_rate = c->rule == DCAM_RULE_F1 ? (double)NAN : c->false_alarm_rate; /* of F1 what labels gave */
    dcam_status status = choose_images(r, d, class_index, &order, &count);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof *scores, &scores);
    if (status == DCAM_OK) status = score_images(r, d, model_class, order, count, scores, out);
    if (status == DCAM_OK && out->images == 0)
        status = dcam_fail(DCAM_ERROR_DATA, "%s: no image of class %s could be read", r->dataset->root, out->name);
    if (status == DCAM_OK) status = compare(c, scores, out, &r->least[class_index]);
    dcam_free(scores);
    dcam_free(order);
    return status;
}

/* ---- verdicts ---- */

static void judge(dcam_drift *e, const double *least_p, double significance)
{
    for (size_t i = 0; i < e->class_count; i++) {
        dcam_drift_class *c = &e->classes[i];
        const double least = TESTS * (double)e->class_count * least_p[i];
        c->drifted = c->p <= significance;
        c->verdict = c->drifted ? c->median > c->calibration_median ? "drifted, scores higher" : "drifted, scores lower or of another spread"
                     : least > significance ? "too few images to tell"
                                            : "fits";
        e->drifted += c->drifted;
        e->undecided += !c->drifted && least > significance;
    }
}

static dcam_status correct(dcam_drift *e)
{
    double *p = NULL;
    size_t *order = NULL;
    dcam_status status = dcam_alloc(e->class_count, sizeof *p, &p);
    if (status == DCAM_OK) status = dcam_alloc(e->class_count, sizeof *order, &order);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < e->class_count; i++) p[i] = e->classes[i].p;
        dcam_holm(p, order, e->class_count);
        e->p = 1;
        for (size_t i = 0; i < e->class_count; i++) {
            e->classes[i].p = p[i];
            e->p = fmin(e->p, p[i]);
        }
    }
    dcam_free(order);
    dcam_free(p);
    return status;
}

/* ---- the run ---- */

static dcam_status find_class(const run *r, const dcam_detector *d, int class_index, int *out)
{
    const char *asked = r->options->class_name, *name = asked ? asked : r->dataset->class_names[class_index];
    *out = dcam_model_class_index(d->model, name);
    if (*out < 0 && !asked && d->model->class_count == 1 && r->dataset->class_count == 1) *out = 0;
    if (*out >= 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA, "%s: the model was not trained on class %s; name the images' class with --class", d->path, name);
}

static dcam_status check_classes(run *r, dcam_drift *e)
{
    const dcam_drift_options *o = r->options;
    const dcam_detector_options options = {.threads = o->threads, .precision = o->precision, .batch = DRIFT_BATCH};
    dcam_path_kind kind;
    dcam_detector *d = NULL;
    DCAM_TRY(dcam_path_look(o->model, &kind));
    const bool a_model_each = kind == DCAM_PATH_FOLDER;
    dcam_status status = a_model_each ? DCAM_OK : dcam_detector_open(o->model, &options, &d);
    for (size_t i = 0; status == DCAM_OK && i < r->dataset->class_count; i++) {
        char *path = NULL;
        int model_class = 0;
        if (a_model_each) {
            dcam_detector_close(d);
            d = NULL;
            status = dcam_class_model_path(o->model, o->class_name ? o->class_name : r->dataset->class_names[i], &path);
            if (status == DCAM_OK) status = dcam_detector_open(path, &options, &d);
            dcam_free(path);
        }
        if (status == DCAM_OK) status = find_class(r, d, (int)i, &model_class);
        if (status == DCAM_OK) status = check_class(r, d, (int)i, model_class, &e->classes[e->class_count++]);
        e->failed += e->class_count > 0 ? e->classes[e->class_count - 1].failed : 0;
    }
    dcam_detector_close(d);
    return status;
}

static dcam_status check_options(const dcam_drift_options *o, const dcam_drift *out)
{
    if (!o || !o->dataset || !o->model || !out) return dcam_fail(DCAM_ERROR_USAGE, "drift: needs normal images and a model");
    if (!(o->significance >= 0 && o->significance < 1))
        return dcam_fail(DCAM_ERROR_USAGE, "a significance of %g: it must lie between 0 and 1, such as 0.01", o->significance);
    return DCAM_OK;
}

static dcam_status check_drift(const dcam_drift_options *options, dcam_drift *out)
{
    const double start = dcam_seconds();
    dcam_dataset *dataset = NULL;
    dcam_drift e = {.significance = options->significance > 0 ? options->significance : DEFAULT_SIGNIFICANCE};
    DCAM_TRY(dcam_dataset_open(options->dataset, options->classes, &dataset));
    run r = {.options = options, .dataset = dataset};
    for (int i = 0; i < (int)dataset->class_count; i++) r.total += count_normal(dataset, i, split_of(dataset, i));
    dcam_status status = DCAM_OK;
    if (options->class_name && dataset->class_count != 1)
        status = dcam_fail(DCAM_ERROR_USAGE, "%s: has %zu classes; --class is for the images of one", options->dataset, dataset->class_count);
    if (status == DCAM_OK) status = dcam_alloc_zero(dataset->class_count, sizeof *e.classes, &e.classes);
    if (status == DCAM_OK) status = dcam_alloc_zero(dataset->class_count, sizeof *r.least, &r.least);
    if (status == DCAM_OK) status = check_classes(&r, &e);
    if (status == DCAM_OK) status = correct(&e);
    if (status == DCAM_OK) {
        judge(&e, r.least, e.significance);
        e.seconds = dcam_seconds() - start;
        *out = e;
        e = (dcam_drift){0};
    }
    dcam_free(r.least);
    dcam_drift_clear(&e);
    dcam_dataset_destroy(dataset);
    return status;
}

dcam_status dcam_check_drift(const dcam_drift_options *options, dcam_drift *out)
{
    DCAM_TRY(check_options(options, out));
    DCAM_TRY(dcam_check_threads(options->threads));
    const int threads = dcam_swap_threads(options->threads);
    const dcam_status status = check_drift(options, out);
    dcam_set_threads(threads);
    return status;
}

void dcam_drift_clear(dcam_drift *e)
{
    if (!e) return;
    for (size_t i = 0; i < e->class_count; i++) dcam_free(e->classes[i].name);
    dcam_free(e->classes);
    e->classes = NULL;
    e->class_count = 0;
}
