/* evaluate.c - the metrics of method.md for each class of a data set and their
 * mean. One class is held at a time. Where it has masks: its maps and masks at
 * the model's input size, 5 bytes a pixel, and 8 for the exact metrics; for a
 * report without masks its maps; else the maps of a batch. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "api/detector.h"
#include "api/evaluation.h"
#include "api/paths.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/places.h"
#include "data/loader.h"
#include "detect/calibration.h"
#include "metrics/metrics.h"

#define EVALUATION_BATCH 8

typedef struct {
    const dcam_evaluate_options *options;
    const dcam_dataset *dataset;
    size_t done, total;
    size_t inferred, inferred_right;
    dcam_intervals *intervals; /* NULL: none are wanted */
    dcam_report *report;       /* the same */
} run;

static void clear_scores(dcam_class_scores *s)
{
    dcam_free(s->maps);
    dcam_free(s->masks);
    dcam_free(s->scores);
    dcam_free(s->labels);
    dcam_free(s->samples);
    dcam_free(s->verdicts);
    *s = (dcam_class_scores){0};
}

/* Of all defective images of a class, and there are some. */
static bool has_masks(const dcam_dataset *dataset, const uint32_t *order, size_t count)
{
    size_t defective = 0;
    for (size_t i = 0; i < count; i++) {
        const dcam_sample *sample = &dataset->samples[order[i]];
        if (!sample->defective) continue;
        if (!sample->mask_path) return false;
        defective++;
    }
    return defective > 0;
}

static size_t maps_held(const dcam_class_scores *s) { return s->keeps_maps ? s->count : EVALUATION_BATCH; }

/* Bytes that the class would hold while its metrics are made. */
static dcam_status plan_bytes(const dcam_class_scores *s, size_t *out)
{
    const size_t a_pixel = sizeof *s->maps + (s->has_masks ? sizeof *s->masks + DCAM_PIXEL_METRICS_BYTES : 0);
    if (!dcam_size_mul(maps_held(s), s->pixels, out) || !dcam_size_mul(*out, a_pixel, out))
        return dcam_fail(DCAM_ERROR_MEMORY, "%zu test images are too many", s->count);
    return DCAM_OK;
}

/* The test images of a class, and how they will be held, which is refused where the machine's memory is less
 * or the metrics would refuse it. */
static dcam_status plan_class(const run *r, const dcam_detector *d, int class_index, uint32_t **order, dcam_class_scores *out)
{
    const double mib = 1024.0 * 1024.0;
    const dcam_preprocessing *p = &d->model->preprocessing;
    const size_t machine = dcam_machine_memory();
    dcam_class_scores s = {.pixels = (size_t)p->width * (size_t)p->height};
    size_t bytes = 0;
    DCAM_TRY(dcam_dataset_select(r->dataset, class_index, DCAM_SPLIT_TEST, false, order, &s.count));
    s.has_masks = has_masks(r->dataset, *order, s.count);
    s.keeps_maps = s.has_masks || r->report;
    s.from_threshold = r->options->infer_class && d->model->class_count > 1;
    dcam_status status = plan_bytes(&s, &bytes);
    if (status == DCAM_OK && s.has_masks && s.count * s.pixels > DCAM_MAX_METRIC_COUNT) /* no overflow: plan_bytes */
        status = dcam_fail(DCAM_ERROR_DATA, "class %s: %zu test images at %d x %d have more pixels than the %zu that a metric takes; "
                           "evaluate fewer images at once", r->dataset->class_names[class_index], s.count, p->width, p->height,
                           DCAM_MAX_METRIC_COUNT);
    if (status == DCAM_OK && machine > 0 && bytes > machine)
        status = dcam_fail(DCAM_ERROR_MEMORY, "class %s: %.0f MiB would be held for the maps of its %zu test images at %d x %d, the "
                           "machine's limit is %.0f MiB; evaluate fewer images at once%s", r->dataset->class_names[class_index],
                           (double)bytes / mib, s.count, p->width, p->height, (double)machine / mib,
                           s.has_masks ? "" : ", or make no report");
    if (status == DCAM_OK) {
        *out = s;
        return DCAM_OK;
    }
    dcam_free(*order);
    *order = NULL;
    return status;
}

/* Room for what plan_class counted. */
static dcam_status create_scores(dcam_class_scores *s)
{
    /* No overflow: plan_bytes. */
    dcam_status status = dcam_alloc(maps_held(s) * s->pixels, sizeof *s->maps, &s->maps);
    if (status == DCAM_OK && s->has_masks) status = dcam_alloc_zero(s->count * s->pixels, 1, &s->masks);
    if (status == DCAM_OK) status = dcam_alloc(s->count, sizeof *s->scores, &s->scores);
    if (status == DCAM_OK) status = dcam_alloc(s->count, 1, &s->labels);
    if (status == DCAM_OK) status = dcam_alloc(s->count, sizeof *s->samples, &s->samples);
    if (status == DCAM_OK) status = dcam_alloc(s->count, sizeof *s->verdicts, &s->verdicts);
    if (status != DCAM_OK) clear_scores(s);
    return status;
}

/* The mask of one defective image at the model's input size. A class may have masks for some images only; then its
 * pixel metrics are not defined, out is NULL, and masks are looked at only so that a bad one is told. */
static dcam_status read_mask(const dcam_sample *sample, int width, int height, int input_width, int input_height, uint8_t *out)
{
    if (!sample->defective || !sample->mask_path) return DCAM_OK;
    dcam_image mask = {0}, resized = {0};
    DCAM_TRY(dcam_mask_load(sample->mask_path, &mask));
    dcam_status status = DCAM_OK;
    if (width > 0 && (mask.width != width || mask.height != height))
        status = dcam_fail(DCAM_ERROR_DATA, "%s: the mask is %d x %d, its photograph %d x %d; they must be of one size",
                           sample->mask_path, mask.width, mask.height, width, height);
    if (status == DCAM_OK && out) status = dcam_image_resize_nearest(&mask, input_width, input_height, &resized);
    if (status == DCAM_OK && out) memcpy(out, resized.pixels, (size_t)input_width * (size_t)input_height);
    dcam_image_clear(&resized);
    dcam_image_clear(&mask);
    return status;
}

float dcam_from_threshold(const dcam_class_calibration *c, double width, double raw)
{
    return (float)fmin(fmax((raw - c->threshold) / width, -(double)FLT_MAX), (double)FLT_MAX);
}

/* c: the class that the image was taken for. map: its map, which may be changed. */
static void keep_verdict(dcam_class_scores *s, const dcam_sample *sample, const dcam_verdict *v,
                         const dcam_class_calibration *c, float *map)
{
    s->scores[s->images] = v->raw;
    if (s->from_threshold) {
        const double width = dcam_calibrated_width(c);
        for (size_t p = 0; p < s->pixels; p++) map[p] = dcam_from_threshold(c, width, (double)map[p]);
        s->scores[s->images] = dcam_from_threshold(c, width, (double)v->raw);
    }
    s->labels[s->images] = sample->defective;
    s->samples[s->images] = sample;
    s->verdicts[s->images] = *v;
    if (sample->defective) {
        s->defective++;
        s->misses += !v->anomalous;
    } else {
        s->normal++;
        s->false_alarms += v->anomalous;
    }
    s->images++;
}

static dcam_status report(run *r, const char *error)
{
    r->done++;
    if (r->options->progress && r->options->progress(r->options->user, r->done, r->total, error))
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after %zu of %zu images", r->done, r->total);
    return DCAM_OK;
}

/* Between what is done after the images. */
static bool stop_now(void *user)
{
    const run *r = user;
    return r->options->progress && r->options->progress(r->options->user, r->done, r->total, NULL);
}

/* Scores one batch; images whose mask is bad are left out and reported. */
static dcam_status score_batch(run *r, dcam_detector *d, const dcam_batch *batch, int model_class, dcam_class_scores *s,
                               dcam_class_result *result)
{
    const dcam_preprocessing *p = &d->model->preprocessing;
    int classes[EVALUATION_BATCH];
    dcam_verdict verdicts[EVALUATION_BATCH];
    float *maps = s->maps + (s->keeps_maps ? s->images * s->pixels : 0);
    for (int i = 0; i < batch->count; i++) classes[i] = r->options->infer_class ? -1 : model_class;
    DCAM_TRY(dcam_scorer_run(d->scorer, batch->rgb, batch->count, classes, maps, verdicts));
    for (int i = 0; i < batch->count; i++) {
        const dcam_sample *sample = &r->dataset->samples[batch->samples[i]];
        if (d->model->class_count > 1) {
            r->inferred++;
            r->inferred_right += dcam_scorer_nearest_class(d->scorer, i) == model_class;
        }
        uint8_t *mask = s->has_masks ? s->masks + s->images * s->pixels : NULL;
        dcam_status status = read_mask(sample, batch->original_width[i], batch->original_height[i], p->width, p->height, mask);
        if (status == DCAM_ERROR_MEMORY) return status;
        if (status != DCAM_OK) {
            result->failed++;
            DCAM_TRY(report(r, dcam_error_message()));
            continue;
        }
        float *map = maps + (size_t)i * s->pixels, *place = s->keeps_maps ? s->maps + s->images * s->pixels : map;
        if (place != map) memmove(place, map, s->pixels * sizeof *map);
        keep_verdict(s, sample, &verdicts[i], &d->model->classes[verdicts[i].class_index], place);
        DCAM_TRY(report(r, NULL));
    }
    return DCAM_OK;
}

static dcam_status report_bad(run *r, const dcam_loader *loader, size_t *seen, dcam_class_result *result)
{
    for (; *seen < dcam_loader_bad_count(loader); ++*seen) {
        result->failed++;
        DCAM_TRY(report(r, dcam_loader_bad_message(loader, *seen)));
    }
    return DCAM_OK;
}

static dcam_status score_class(run *r, dcam_detector *d, int model_class, const uint32_t *order, size_t count,
                               dcam_class_scores *s, dcam_class_result *result)
{
    const dcam_loader_options loading = {.width = d->model->preprocessing.width,
                                         .height = d->model->preprocessing.height,
                                         .batch = EVALUATION_BATCH,
                                         .skip_bad = true};
    dcam_loader *loader = NULL;
    dcam_batch batch;
    size_t bad = 0;
    DCAM_TRY(dcam_loader_create(r->dataset, order, count, &loading, &loader));
    dcam_status status = DCAM_OK;
    do {
        status = dcam_loader_next(loader, &batch);
        if (status == DCAM_OK) status = report_bad(r, loader, &bad, result);
        if (status == DCAM_OK && batch.count > 0) status = score_batch(r, d, &batch, model_class, s, result);
    } while (status == DCAM_OK && batch.count > 0);
    dcam_loader_destroy(loader);
    return status;
}

/* pixel: filled where the class has pixel metrics. */
static dcam_status class_metrics(const dcam_preprocessing *p, const dcam_class_scores *s, dcam_pixel_metrics *pixel,
                                 dcam_metrics *out)
{
    dcam_ranking_metrics image;
    dcam_metrics m = dcam_metrics_none();
    DCAM_TRY(dcam_ranking(s->scores, s->labels, s->images, &image));
    m.image_auroc = image.auroc;
    m.image_ap = image.ap;
    m.image_f1max = image.f1max;
    if (s->defective > 0 && s->has_masks) {
        DCAM_TRY(dcam_pixel_evaluate(s->maps, s->masks, (int)s->images, p->height, p->width, pixel));
        m.pixel_auroc = pixel->pixel.auroc;
        m.pixel_ap = pixel->pixel.ap;
        m.pixel_f1max = pixel->pixel.f1max;
        m.aupro = pixel->aupro;
        m.pro_rescaled = pixel->pro_rescaled;
    }
    if (s->normal > 0) m.false_alarm_rate = (double)s->false_alarms / (double)s->normal;
    if (s->defective > 0) m.miss_rate = (double)s->misses / (double)s->defective;
    *out = m;
    return DCAM_OK;
}

static dcam_status find_class(const dcam_detector *d, const char *name, int *out)
{
    *out = dcam_model_class_index(d->model, name);
    if (*out >= 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA, "%s: the model was not trained on class %s; name others with --classes, or train it",
                     d->path, name);
}

static dcam_status evaluate_class(run *r, dcam_detector *d, int class_index, dcam_class_result *result)
{
    const char *name = r->dataset->class_names[class_index];
    int model_class;
    DCAM_TRY(find_class(d, name, &model_class));
    uint32_t *order = NULL;
    dcam_class_scores s = {0};
    dcam_pixel_metrics pixel;
    DCAM_TRY(dcam_copy_string(name, &result->name));
    result->low = result->high = dcam_metrics_none();
    DCAM_TRY(plan_class(r, d, class_index, &order, &s));
    dcam_status status = create_scores(&s);
    if (status == DCAM_OK) status = score_class(r, d, model_class, order, s.count, &s, result);
    if (status == DCAM_OK) status = class_metrics(&d->model->preprocessing, &s, &pixel, &result->metrics);
    if (status == DCAM_OK && r->intervals)
        status = dcam_intervals_of_class(r->intervals, &d->model->preprocessing, &s, &pixel, result);
    if (status == DCAM_OK && r->report) status = dcam_report_of_class(r->report, d, model_class, r->dataset, name, &s, stop_now, r);
    result->images = s.images;
    result->defective = s.defective;
    clear_scores(&s);
    dcam_free(order);
    return status;
}

/* The mean of each metric over the classes that have it. */
static void average(dcam_evaluation *e)
{
    double mean[DCAM_METRICS];
    for (size_t f = 0; f < DCAM_METRICS; f++) {
        double sum = 0;
        size_t n = 0;
        for (size_t i = 0; i < e->class_count; i++) {
            double row[DCAM_METRICS];
            memcpy(row, &e->classes[i].metrics, sizeof row);
            if (isnan(row[f])) continue;
            sum += row[f];
            n++;
        }
        mean[f] = n > 0 ? sum / (double)n : NAN;
    }
    memcpy(&e->mean, mean, sizeof mean);
}

static dcam_status open_file(const dcam_evaluate_options *o, const char *path, dcam_detector **out)
{
    const dcam_detector_options options = {.threads = o->threads, .precision = o->precision, .batch = EVALUATION_BATCH};
    return dcam_detector_open(path, &options, out);
}

/* The folder of a one-class training holds CLASS.safetensors each. */
dcam_status dcam_class_model_path(const char *folder, const char *class_name, char **out)
{
    return dcam_format_string(out, "%s/%s.safetensors", folder, class_name);
}

static dcam_status open_of_class(const dcam_evaluate_options *o, const char *class_name, dcam_detector **out)
{
    char *path;
    DCAM_TRY(dcam_class_model_path(o->model, class_name, &path));
    const dcam_status status = open_file(o, path, out);
    dcam_free(path);
    return status;
}

/* That there is a model for every class, and memory where one model is for all, before hours go into the first of them.
 * d: the one for all, or NULL. */
static dcam_status check_classes(const run *r, const dcam_detector *d)
{
    for (size_t i = 0; i < r->dataset->class_count; i++) {
        const char *name = r->dataset->class_names[i];
        int ignored;
        char *path;
        if (d) {
            uint32_t *order;
            dcam_class_scores planned;
            DCAM_TRY(find_class(d, name, &ignored));
            DCAM_TRY(plan_class(r, d, (int)i, &order, &planned));
            dcam_free(order);
            continue;
        }
        DCAM_TRY(dcam_class_model_path(r->options->model, name, &path));
        dcam_path_kind kind;
        dcam_status status = dcam_path_look(path, &kind);
        if (status == DCAM_OK && kind == DCAM_PATH_ABSENT)
            status = dcam_fail(DCAM_ERROR_DATA, "%s: is missing, the model of class %s; name others with --classes, or train it",
                               path, name);
        dcam_free(path);
        DCAM_TRY(status);
    }
    return DCAM_OK;
}

static dcam_status report_model(const run *r, const char *path, const char *class_name)
{
    char *info;
    if (!r->report) return DCAM_OK;
    DCAM_TRY(dcam_file_info(path, &info));
    const dcam_status status = dcam_report_model(r->report, class_name, info);
    dcam_free_text(info);
    return status;
}

/* One model for all classes, or where the option names a folder one for each. */
static dcam_status evaluate_classes(run *r, dcam_evaluation *e)
{
    const dcam_evaluate_options *o = r->options;
    dcam_path_kind kind;
    dcam_detector *d = NULL;
    DCAM_TRY(dcam_path_look(o->model, &kind));
    const bool a_model_each = kind == DCAM_PATH_FOLDER;
    dcam_status status = a_model_each ? DCAM_OK : open_file(o, o->model, &d);
    if (status == DCAM_OK) status = check_classes(r, d);
    for (size_t i = 0; status == DCAM_OK && i < r->dataset->class_count; i++) {
        if (a_model_each) status = open_of_class(o, r->dataset->class_names[i], &d);
        if (status != DCAM_OK) break;
        status = evaluate_class(r, d, (int)i, &e->classes[e->class_count++]);
        e->failed += e->classes[i].failed;
        if (!a_model_each) continue;
        if (status == DCAM_OK) status = report_model(r, d->path, r->dataset->class_names[i]);
        dcam_detector_close(d);
        d = NULL;
    }
    if (status == DCAM_OK && d) status = report_model(r, d->path, NULL); /* the one for all */
    dcam_detector_close(d);
    return status;
}

static dcam_status count_images(run *r)
{
    for (size_t i = 0; i < r->dataset->sample_count; i++) r->total += r->dataset->samples[i].split == DCAM_SPLIT_TEST;
    if (r->total == 0)
        return dcam_fail(DCAM_ERROR_DATA, "%s: has no test images; eval needs CLASS/test/good and CLASS/test/DEFECT",
                         r->options->dataset);
    return DCAM_OK;
}

/* What the result of an evaluation must not replace; *count models, and room for class_count of them. */
static dcam_status list_models(const dcam_dataset *dataset, const char *model, dcam_place *models, char **paths, size_t *count)
{
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(model, &kind));
    if (kind != DCAM_PATH_FOLDER) {
        models[(*count)++] = (dcam_place){"model", model};
        return DCAM_OK;
    }
    for (size_t i = 0; i < dataset->class_count; i++) {
        DCAM_TRY(dcam_class_model_path(model, dataset->class_names[i], &paths[i]));
        models[(*count)++] = (dcam_place){"model", paths[i]};
    }
    return DCAM_OK;
}

static dcam_status check_places(const dcam_dataset *dataset, const dcam_evaluate_options *o, const dcam_place *written, size_t count)
{
    const size_t n = dataset->class_count;
    dcam_place *models = NULL;
    char **paths;
    size_t model_count = 0;
    DCAM_TRY(dcam_alloc_zero(n, sizeof *paths, &paths));
    dcam_status status = dcam_alloc_zero(n, sizeof *models, &models);
    if (status == DCAM_OK) status = list_models(dataset, o->model, models, paths, &model_count);
    if (status == DCAM_OK) status = dcam_check_places(written, count, models, model_count);
    if (status == DCAM_OK) status = dcam_dataset_check_places(dataset, o->dataset, written, count);
    for (size_t i = 0; i < n; i++) dcam_free(paths[i]);
    dcam_free(models);
    dcam_free(paths);
    return status;
}

static dcam_status check_report(const dcam_dataset *dataset, const dcam_evaluate_options *o)
{
    char *page;
    if (!o->report) return DCAM_OK;
    DCAM_TRY(dcam_path_join(o->report, DCAM_REPORT_PAGE, &page));
    const dcam_place written = {"report", page};
    const dcam_status status = check_places(dataset, o, &written, 1);
    dcam_free(page);
    return status;
}

dcam_status dcam_evaluate_check_table(const dcam_evaluate_options *o, const char *table)
{
    dcam_dataset *dataset = NULL;
    char *page = NULL;
    dcam_path_kind kind;
    if (o->report) DCAM_TRY(dcam_path_join(o->report, DCAM_REPORT_PAGE, &page));
    const dcam_place written[] = {{"table of the results", table}, {"report", page}};
    dcam_status status = dcam_check_places(written, 2, NULL, 0);
    if (status == DCAM_OK) status = dcam_path_look(table, &kind);
    /* What is not there yet is no file of the data set, which need not be listed for it. */
    if (status == DCAM_OK && kind != DCAM_PATH_ABSENT) {
        status = dcam_dataset_open(o->dataset, o->classes, &dataset);
        if (status == DCAM_OK) status = check_places(dataset, o, written, 1);
    }
    dcam_dataset_destroy(dataset);
    dcam_free(page);
    return status;
}

static dcam_status evaluate(const dcam_evaluate_options *options, dcam_evaluation *out)
{
    double start = dcam_seconds();
    dcam_dataset *dataset = NULL;
    dcam_evaluation e = {.class_inferred_right = NAN};
    run r = {.options = options};
    dcam_status status = dcam_dataset_open(options->dataset, options->classes, &dataset);
    if (status != DCAM_OK) goto cleanup;
    r.dataset = dataset;
    if ((status = count_images(&r)) != DCAM_OK) goto cleanup;
    if ((status = check_report(dataset, options)) != DCAM_OK) goto cleanup;
    if (options->report && (status = dcam_report_create(options->report, &r.report)) != DCAM_OK) goto cleanup;
    if (options->resamples >= 0 && (status = dcam_intervals_create(options, stop_now, &r, &r.intervals)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc_zero(dataset->class_count, sizeof *e.classes, &e.classes)) != DCAM_OK) goto cleanup;
    if ((status = evaluate_classes(&r, &e)) != DCAM_OK) goto cleanup;
    if (stop_now(&r)) {
        status = dcam_fail(DCAM_ERROR_CANCELLED, "stopped after the last image");
        goto cleanup;
    }
    average(&e);
    e.mean_low = e.mean_high = dcam_metrics_none();
    if (r.intervals && (status = dcam_intervals_of_mean(r.intervals, &e)) != DCAM_OK) goto cleanup;
    if (r.inferred > 0) e.class_inferred_right = (double)r.inferred_right / (double)r.inferred;
    e.seconds = dcam_seconds() - start;
    const dcam_report_summary summary = {options->model, options->dataset, &e, options->infer_class};
    if (r.report && (status = dcam_report_finish(r.report, &summary)) != DCAM_OK) goto cleanup;
    *out = e;
    e = (dcam_evaluation){0};
cleanup:
    dcam_evaluation_clear(&e);
    dcam_intervals_destroy(r.intervals);
    dcam_report_destroy(r.report);
    dcam_dataset_destroy(dataset);
    return status;
}

dcam_status dcam_evaluate(const dcam_evaluate_options *options, dcam_evaluation *out)
{
    if (!options || !options->dataset || !options->model || !out)
        return dcam_fail(DCAM_ERROR_USAGE, "eval: needs a data set and a model");
    DCAM_TRY(dcam_check_threads(options->threads));
    DCAM_TRY(dcam_intervals_check(options));
    const int threads = dcam_swap_threads(options->threads);
    const dcam_status status = evaluate(options, out);
    dcam_set_threads(threads);
    return status;
}

void dcam_evaluation_clear(dcam_evaluation *e)
{
    if (!e) return;
    for (size_t i = 0; i < e->class_count; i++) dcam_free(e->classes[i].name);
    dcam_free(e->classes);
    e->classes = NULL;
    e->class_count = 0;
}
