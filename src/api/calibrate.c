/* calibrate.c - new thresholds for a trained model: from normal images alone,
 * or the best F1 where labelled images exist. The networks stay as they are. */

#define _XOPEN_SOURCE 700 /* realpath */
#include <limits.h>
#include <stdlib.h>

#include "api/detector.h"
#include "api/normal_images.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/places.h"
#include "data/loader.h"
#include "distill/data_identity.h"

#define SCORING_BATCH 8

/* What is to be told of one class of the data set. */
typedef struct {
    int model_class;
    double old_threshold;
    size_t images; /* that the new threshold rests on */
} change;

/* Every class is to have a threshold, so each must have an image among those that were chosen. */
static dcam_status check_each_class(const dcam_dataset *dataset, const uint32_t *indices, size_t count)
{
    for (size_t c = 0, i = 0; c < dataset->class_count; c++) {
        uint32_t *all;
        size_t there;
        const size_t first = i; /* both are sorted by class */
        while (i < count && dataset->samples[indices[i]].class_index == (int)c) i++;
        if (i > first) continue;
        DCAM_TRY(dcam_dataset_select(dataset, (int)c, DCAM_SPLIT_TRAIN, true, &all, &there));
        dcam_free(all);
        if (there > 0)
            return dcam_fail(DCAM_ERROR_DATA, "%s: the model has learned from all normal images of class \"%s\", which says nothing of others; "
                             "give photographs that are new to it, or choose other classes with --classes", dataset->root,
                             dataset->class_names[c]);
        return dcam_fail(DCAM_ERROR_DATA, "%s: class \"%s\" has no normal images to calibrate with (CLASS/train/good); add some, or choose other "
                         "classes with --classes", dataset->root, dataset->class_names[c]);
    }
    return DCAM_OK;
}

/* The student has seen the images that it was trained on and scores them too low: they are left out, wherever they lie. */
static dcam_status choose_images(const dcam_model *model, const dcam_dataset *dataset, uint32_t **indices, size_t *count)
{
    size_t known, copies;
    DCAM_TRY(dcam_unseen_images(dataset, model->training_record, indices, count, &known, &copies));
    if (*count == 0) {
        dcam_free(*indices);
        *indices = NULL;
        if (known > 0)
            return dcam_fail(DCAM_ERROR_DATA, "%s: the model has learned from all of its normal images, which says nothing of others; "
                             "give photographs that are new to it", dataset->root);
        return dcam_fail(DCAM_ERROR_DATA, "%s: has no normal images to calibrate with (CLASS/train/good, or a folder of them)",
                         dataset->root);
    }
    if (known > 0)
        dcam_log(DCAM_LOG_INFO, "%zu of %zu classes have images of the training: those that were learned from are left out",
                 known, dataset->class_count);
    if (copies > 0)
        dcam_log(DCAM_LOG_WARNING, "%zu of %zu images are copies of others; each image counts once", copies, *count + copies);
    return DCAM_OK;
}

/* Ranges for int8. Thresholds are raw scores of another precision: how far int8 moves those of normal images is told. */
static dcam_status measure_int8(dcam_model *model, const dcam_dataset *dataset, const uint32_t *indices, size_t count, bool *left_out)
{
    dcam_int8_shift shift;
    const dcam_reading reading = {.left_out = left_out};
    const dcam_status status = dcam_measure_ranges_from(model, dataset, indices, count, &shift, &reading);
    if (status == DCAM_OK)
        dcam_log(DCAM_LOG_INFO,
                 "int8 ranges measured; int8 moves the scores of %zu normal images by %.2f %% of the threshold in the "
                 "median, by %.2f %% at most",
                 shift.images, 100 * shift.median, 100 * shift.largest);
    return status;
}

static dcam_status check_precision(const dcam_model *model, const dcam_calibrate_options *o)
{
    dcam_net_precision precision;
    DCAM_TRY(dcam_resolve_precision(o->precision, &precision));
    return dcam_check_ranges(model, precision, o->model);
}

/* With int8 alone only the ranges are wanted. */
static bool wants_thresholds(const dcam_calibrate_options *o)
{
    return !o->int8 || o->f1 || o->false_alarm_rate > 0 || o->precision != DCAM_PRECISION_AUTO;
}

/* A class whose threshold labels gave has no rate that was asked for. */
static double wanted_rate(const dcam_class_calibration *c)
{
    return c->rule == DCAM_RULE_F1 ? DCAM_DEFAULT_FALSE_ALARM_RATE : c->false_alarm_rate;
}

/* What the classes had been asked for when they were calibrated. Where they differ none is right for all. */
static dcam_status find_rate(const dcam_model *model, const dcam_dataset *dataset, const change *changes,
                             const dcam_calibrate_options *o, double *out)
{
    const dcam_class_calibration *first = &model->classes[changes[0].model_class];
    *out = o->false_alarm_rate > 0 ? o->false_alarm_rate : wanted_rate(first);
    for (size_t i = 1; o->false_alarm_rate == 0 && i < dataset->class_count; i++) {
        const dcam_class_calibration *c = &model->classes[changes[i].model_class];
        if (wanted_rate(c) != wanted_rate(first))
            return dcam_fail(DCAM_ERROR_USAGE, "%s: classes %s and %s were not calibrated at the same false-alarm rate; give one for "
                             "all (--false-alarm-rate), or calibrate those of each rate by themselves (--classes)", o->model,
                             first->name, c->name);
    }
    return DCAM_OK;
}

static dcam_status from_normal(dcam_model *model, const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                               const dcam_calibrate_options *o, double rate, change *changes, bool *left_out)
{
    const dcam_reading reading = {.left_out = left_out};
    dcam_scorer_options scorer = {.batch = SCORING_BATCH};
    dcam_status status = dcam_resolve_precision(o->precision, &scorer.precision);
    if (status == DCAM_OK) status = dcam_calibrate_from(model, &scorer, dataset, indices, count, rate, &reading);
    for (size_t i = 0; status == DCAM_OK && i < dataset->class_count; i++)
        changes[i].images = model->classes[changes[i].model_class].score_count;
    return status;
}

static void warn_of_bad(const dcam_loader *loader, size_t *seen)
{
    for (; *seen < dcam_loader_bad_count(loader); ++*seen)
        dcam_log(DCAM_LOG_WARNING, "left out of the calibration: %s", dcam_loader_bad_message(loader, *seen));
}

/* Raw scores and labels of *scored of one class's test images, which order names; others could not be read. */
static dcam_status score_labelled(dcam_scorer *scorer, const dcam_model *model, const dcam_dataset *dataset,
                                  int model_class, const uint32_t *order, size_t count, float *scores, uint8_t *labels,
                                  size_t *scored)
{
    const dcam_loader_options loading = {.width = model->preprocessing.width, .height = model->preprocessing.height,
                                         .batch = SCORING_BATCH, .skip_bad = true};
    dcam_loader *loader = NULL;
    dcam_batch batch;
    int classes[SCORING_BATCH];
    dcam_verdict verdicts[SCORING_BATCH];
    size_t done = 0, bad = 0;
    for (int i = 0; i < SCORING_BATCH; i++) classes[i] = model_class;
    DCAM_TRY(dcam_loader_create(dataset, order, count, &loading, &loader));
    dcam_status status;
    do {
        status = dcam_loader_next(loader, &batch);
        warn_of_bad(loader, &bad);
        if (status == DCAM_OK && batch.count > 0)
            status = dcam_scorer_run(scorer, batch.rgb, batch.count, classes, NULL, verdicts);
        for (int i = 0; status == DCAM_OK && i < batch.count; i++, done++) {
            scores[done] = verdicts[i].raw;
            labels[done] = dataset->samples[batch.samples[i]].defective;
        }
    } while (status == DCAM_OK && batch.count > 0);
    dcam_loader_destroy(loader);
    *scored = done;
    return status;
}

static dcam_status class_from_labels(dcam_model *model, dcam_scorer *scorer, const dcam_dataset *dataset, int class_index,
                                     change *changed, size_t *failed)
{
    const int model_class = changed->model_class;
    uint32_t *order = NULL;
    size_t count = 0, scored = 0;
    float *scores = NULL;
    uint8_t *labels = NULL;
    double threshold, rate;
    DCAM_TRY(dcam_dataset_select(dataset, class_index, DCAM_SPLIT_TEST, false, &order, &count));
    dcam_status status = dcam_alloc(count, sizeof *scores, &scores);
    if (status == DCAM_OK) status = dcam_alloc(count, 1, &labels);
    if (status == DCAM_OK)
        status = score_labelled(scorer, model, dataset, model_class, order, count, scores, labels, &scored);
    if (status == DCAM_OK) {
        status = dcam_threshold_from_labels(scores, labels, scored, &threshold, &rate);
        if (status != DCAM_OK) status = dcam_fail_prefix(status, "%s: class %s", dataset->root, dataset->class_names[class_index]);
    }
    if (status == DCAM_OK) {
        dcam_class_set_threshold(&model->classes[model_class], threshold, DCAM_RULE_F1, rate);
        changed->images = scored;
        *failed += count - scored;
    }
    dcam_free(labels);
    dcam_free(scores);
    dcam_free(order);
    return status;
}

static dcam_status from_labels(dcam_model *model, const dcam_dataset *dataset, const dcam_calibrate_options *o, change *changes,
                               size_t *failed)
{
    dcam_scorer *scorer = NULL;
    dcam_scorer_options options = {.batch = SCORING_BATCH};
    DCAM_TRY(dcam_resolve_precision(o->precision, &options.precision));
    DCAM_TRY(dcam_scorer_create(model, &options, &scorer));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; status == DCAM_OK && i < dataset->class_count; i++)
        status = class_from_labels(model, scorer, dataset, (int)i, &changes[i], failed);
    dcam_scorer_destroy(scorer);
    return status;
}

/* The student answers for the classes that it has seen; of others every part looks like a defect to it. */
static dcam_status find_classes(const dcam_model *model, const dcam_dataset *dataset, change *changes)
{
    for (size_t i = 0; i < dataset->class_count; i++) {
        const int k = dcam_model_class_index(model, dataset->class_names[i]);
        if (k < 0)
            return dcam_fail(DCAM_ERROR_DATA, "%s: the model was not trained on class %s; choose others with --classes",
                             dataset->root, dataset->class_names[i]);
        changes[i] = (change){.model_class = k, .old_threshold = model->classes[k].threshold};
    }
    return DCAM_OK;
}

static dcam_status check_options(const dcam_calibrate_options *o)
{
    if (!o || !o->dataset || !o->model) return dcam_fail(DCAM_ERROR_USAGE, "calibrate: needs a data set and a model");
    DCAM_TRY(dcam_check_false_alarm_rate(o->false_alarm_rate));
    return dcam_check_threads(o->threads);
}

static void report(const dcam_model *model, const change *changes, size_t count,
                   void (*on_class)(void *, const dcam_class_threshold *), void *user)
{
    for (size_t i = 0; i < count; i++) {
        const dcam_class_calibration *c = &model->classes[changes[i].model_class];
        const dcam_class_threshold result = {.class_name = c->name,
                                             .old_threshold = changes[i].old_threshold,
                                             .threshold = c->threshold,
                                             .images = changes[i].images,
                                             .rule = dcam_threshold_rule_text(c->rule)};
        on_class(user, &result);
    }
}

/* The file to write: in place behind a link too, such as one that names the model in use. */
static dcam_status find_place(const dcam_calibrate_options *o, char room[PATH_MAX], const char **out)
{
    if (!o->output && !realpath(o->model, room)) return dcam_system_failure("find", o->model);
    *out = o->output ? o->output : room;
    return DCAM_OK;
}

static dcam_status save(const dcam_model *model, const dcam_calibrate_options *o)
{
    char room[PATH_MAX];
    const char *place;
    DCAM_TRY(find_place(o, room, &place));
    return dcam_model_save(model, place);
}

/* Before the images are scored. The model itself may be replaced. */
static dcam_status check_output(const dcam_dataset *dataset, const dcam_calibrate_options *o)
{
    char room[PATH_MAX];
    const char *place;
    const dcam_place output = {"calibrated model", o->output ? o->output : o->model};
    DCAM_TRY(dcam_dataset_check_places(dataset, o->dataset, &output, 1));
    DCAM_TRY(find_place(o, room, &place));
    return dcam_check_writable(place);
}

static dcam_status calibrate(const dcam_calibrate_options *options,
                             void (*on_class)(void *, const dcam_class_threshold *), void *user, size_t *failed)
{
    dcam_model *model = NULL;
    dcam_dataset *dataset = NULL;
    change *changes = NULL;
    bool *left_out = NULL;
    uint32_t *indices = NULL;
    size_t count = 0;
    double rate = 0;
    dcam_status status = dcam_model_load(options->model, &model);
    if (status == DCAM_OK) status = dcam_dataset_open(options->dataset, options->classes, &dataset);
    if (status == DCAM_OK) status = check_output(dataset, options);
    if (status == DCAM_OK) status = dcam_alloc(dataset->class_count, sizeof *changes, &changes);
    if (status == DCAM_OK) status = dcam_alloc_zero(dataset->sample_count, sizeof *left_out, &left_out);
    if (status == DCAM_OK) status = find_classes(model, dataset, changes);
    if (status == DCAM_OK && wants_thresholds(options) && !options->f1) status = find_rate(model, dataset, changes, options, &rate);
    if (status == DCAM_OK && (options->int8 || !options->f1)) status = choose_images(model, dataset, &indices, &count);
    if (status == DCAM_OK && wants_thresholds(options) && !options->f1) status = check_each_class(dataset, indices, count);
    if (status == DCAM_OK && options->int8) status = measure_int8(model, dataset, indices, count, left_out);
    if (status == DCAM_OK) status = check_precision(model, options);
    if (status == DCAM_OK && wants_thresholds(options))
        status = options->f1 ? from_labels(model, dataset, options, changes, failed)
                             : from_normal(model, dataset, indices, count, options, rate, changes, left_out);
    if (status == DCAM_OK) *failed += dcam_left_out_count(dataset, left_out);
    if (status == DCAM_OK) status = save(model, options);
    if (status == DCAM_OK && on_class && wants_thresholds(options)) report(model, changes, dataset->class_count, on_class, user);
    dcam_free(indices);
    dcam_free(left_out);
    dcam_free(changes);
    dcam_dataset_destroy(dataset);
    dcam_model_destroy(model);
    return status;
}

dcam_status dcam_calibrate(const dcam_calibrate_options *options,
                           void (*on_class)(void *, const dcam_class_threshold *), void *user, size_t *failed)
{
    size_t count = 0;
    DCAM_TRY(check_options(options));
    const int threads = dcam_swap_threads(options->threads);
    const dcam_status status = calibrate(options, on_class, user, &count);
    dcam_set_threads(threads);
    if (status == DCAM_OK && failed) *failed = count;
    return status;
}
