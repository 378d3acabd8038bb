/* Evaluation, calibration, file information and benchmark through the public calls. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/evaluation.h"
#include "api_case.h"
#include "detect/calibration.h"
#include "image/image.h"
#include "metrics/metrics.h"
#include "nn/nn.h"

static char names[CASE_CLASSES][64];

static int create(void **state)
{
    dcam_detector *d;
    case_create(state);
    assert_int_equal(dcam_detector_open(case_model, NULL, &d), DCAM_OK);
    for (size_t i = 0; i < CASE_CLASSES; i++) snprintf(names[i], sizeof names[i], "%.63s", dcam_detector_class_name(d, i));
    dcam_detector_close(d);
    return 0;
}

/* ---- evaluation ---- */

typedef struct {
    size_t calls, errors, stop_at, last_total;
    size_t after, stop_after; /* calls that come with no new image: intervals and report */
} progress;

static bool note(void *user, size_t done, size_t total, const char *error)
{
    progress *p = user;
    if (done > 0 && done == p->calls) {
        assert_null(error);
        return ++p->after == p->stop_after;
    }
    p->calls++;
    assert_int_equal(done, p->calls);
    p->last_total = total;
    p->errors += error != NULL;
    return p->calls == p->stop_at;
}

/* Image AUROC of a class from the verdicts on single files. */
static double auroc_by_hand(size_t class_index)
{
    const dcam_detector_options options = {.class_name = names[class_index]};
    float scores[64];
    uint8_t labels[64];
    size_t n = 0;
    dcam_dataset *dataset;
    dcam_detector *d;
    dcam_ranking_metrics m;
    assert_int_equal(dcam_detector_open(case_model, &options, &d), DCAM_OK);
    assert_int_equal(dcam_dataset_open(case_data, names[class_index], &dataset), DCAM_OK);
    for (size_t i = 0; i < dataset->sample_count; i++) {
        dcam_detection out;
        if (dataset->samples[i].split != DCAM_SPLIT_TEST) continue;
        assert_int_equal(dcam_detect_file(d, dataset->samples[i].path, &out), DCAM_OK);
        scores[n] = (float)out.raw;
        labels[n++] = dataset->samples[i].defective;
        dcam_detection_clear(&out);
    }
    assert_int_equal(dcam_ranking(scores, labels, n, &m), DCAM_OK);
    dcam_dataset_destroy(dataset);
    dcam_detector_close(d);
    return m.auroc;
}

static bool is_fraction(double x) { return x >= 0 && x <= 1; }

static void evaluation_is_that_of_the_verdicts(void **state)
{
    progress p = {0};
    dcam_evaluation e;
    double sum = 0;
    const dcam_evaluate_options options = {.dataset = case_data, .model = case_model, .threads = 1, .progress = note, .user = &p};
    (void)state;
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_OK);
    assert_int_equal(e.class_count, CASE_CLASSES);
    assert_int_equal(p.calls, CASE_CLASSES * (CASE_GOOD + CASE_DEFECTIVE));
    assert_int_equal(p.last_total, p.calls);
    assert_int_equal(p.errors, 0);
    assert_int_equal(e.failed, 0);
    assert_true(is_fraction(e.class_inferred_right));
    for (size_t i = 0; i < CASE_CLASSES; i++) {
        const dcam_class_result *r = &e.classes[i];
        assert_string_equal(r->name, names[i]);
        assert_int_equal(r->images, CASE_GOOD + CASE_DEFECTIVE);
        assert_int_equal(r->defective, CASE_DEFECTIVE);
        assert_true(r->metrics.image_auroc == auroc_by_hand(i));
        assert_true(is_fraction(r->metrics.pixel_auroc) && is_fraction(r->metrics.aupro));
        assert_true(is_fraction(r->metrics.miss_rate) && is_fraction(r->metrics.false_alarm_rate));
        sum += r->metrics.aupro;
    }
    assert_true(fabs(e.mean.aupro - sum / CASE_CLASSES) < 1e-12);
    assert_int_equal(e.resamples, 1000);
    dcam_evaluation_clear(&e);
    dcam_evaluation_clear(&e);
}

/* As of the `after`-th allocation that follows the last image of the first class. */
typedef struct {
    size_t calls;
    uint64_t after;
} shortage;

static bool run_short(void *user, size_t done, size_t total, const char *error)
{
    shortage *s = user;
    (void)total, (void)error;
    s->calls++;
    if (done == CASE_GOOD + CASE_DEFECTIVE) dcam_memory_fail_at(s->after, false);
    return false;
}

/* The scores of a class were given back twice where there was no memory for all of them. */
static void no_memory_for_a_class(void **state)
{
    shortage s = {.after = 1};
    dcam_evaluation e;
    dcam_status status = DCAM_ERROR_MEMORY;
    const dcam_evaluate_options options = {
        .dataset = case_data, .model = case_model, .threads = 1, .resamples = -1, .progress = run_short, .user = &s};
    const size_t held = dcam_memory_held();
    (void)state;
    /* One after the other from the metrics of the first class to the first images of the second. */
    for (; status != DCAM_OK && s.after < 60; s.after++) {
        s.calls = 0;
        status = dcam_evaluate(&options, &e);
        dcam_memory_fail_at(0, false);
        if (status == DCAM_OK) dcam_evaluation_clear(&e);
        else assert_int_equal(status, DCAM_ERROR_MEMORY);
        assert_int_equal(dcam_memory_held(), held);
    }
    assert_true(s.after > 20);
}

static void intervals_hold_their_metrics(void **state)
{
    dcam_evaluation all, one, none;
    dcam_evaluate_options options = {.dataset = case_data, .model = case_model, .resamples = 200, .seed = 4};
    (void)state;
    assert_int_equal(dcam_evaluate(&options, &all), DCAM_OK);
    assert_int_equal(all.resamples, 200);
    assert_true(all.mean_low.aupro < all.mean.aupro && all.mean.aupro < all.mean_high.aupro);
    assert_true(all.mean_low.miss_rate <= all.mean.miss_rate && all.mean.miss_rate <= all.mean_high.miss_rate);
    for (size_t i = 0; i < CASE_CLASSES; i++) {
        const dcam_class_result *r = &all.classes[i];
        assert_true(r->low.aupro < r->metrics.aupro && r->metrics.aupro < r->high.aupro);
        assert_true(r->low.pixel_ap < r->metrics.pixel_ap && r->metrics.pixel_ap < r->high.pixel_ap);
        /* two images say little about a rate */
        assert_true(r->low.false_alarm_rate <= r->metrics.false_alarm_rate && r->metrics.false_alarm_rate <= r->high.false_alarm_rate);
        assert_true(r->high.false_alarm_rate - r->low.false_alarm_rate > 0.5);
    }
    /* a class's intervals do not depend on the others */
    options.classes = names[1];
    assert_int_equal(dcam_evaluate(&options, &one), DCAM_OK);
    assert_true(one.classes[0].low.aupro == all.classes[1].low.aupro && fabs(one.mean_low.aupro - one.classes[0].low.aupro) < 1e-12);
    assert_true(one.classes[0].high.miss_rate == all.classes[1].high.miss_rate);
    options.resamples = -1;
    assert_int_equal(dcam_evaluate(&options, &none), DCAM_OK);
    assert_int_equal(none.resamples, 0);
    assert_true(isnan(none.mean_low.aupro) && isnan(none.classes[0].high.miss_rate));
    assert_true(none.mean.aupro == one.mean.aupro);
    dcam_evaluation_clear(&none);
    dcam_evaluation_clear(&one);
    dcam_evaluation_clear(&all);
    static const int refused[] = {1, 39, 100001};
    for (size_t i = 0; i < 3; i++) {
        options.resamples = refused[i];
        assert_int_equal(dcam_evaluate(&options, &none), DCAM_ERROR_USAGE);
        case_message("need 40 to 100000");
    }
    /* the fewest give both ends of an interval or neither: a rate that was 0 had a low end without a high one */
    options.resamples = 40;
    assert_int_equal(dcam_evaluate(&options, &one), DCAM_OK);
    double low[DCAM_METRICS], high[DCAM_METRICS];
    memcpy(low, &one.classes[0].low, sizeof low);
    memcpy(high, &one.classes[0].high, sizeof high);
    for (size_t m = 0; m < DCAM_METRICS; m++) assert_true(isnan(low[m]) == isnan(high[m]));
    assert_true(is_fraction(one.classes[0].high.false_alarm_rate) && is_fraction(one.classes[0].high.miss_rate));
    dcam_evaluation_clear(&one);
}

/* A model whose second class has a threshold far from the first one's, and a table of both classes' test images under
 * the first one's name: taken for what they are, they are of two scales. */
static void save_two_scales(const char *model, const char *table)
{
    dcam_dataset *dataset;
    dcam_model *m;
    dcam_writer *w;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    dcam_class_set_threshold(&m->classes[1], 3 * m->classes[1].threshold, DCAM_RULE_ORDER, 0.25);
    assert_int_equal(dcam_model_save(m, model), DCAM_OK);
    dcam_model_destroy(m);
    assert_int_equal(dcam_writer_open(table, &w), DCAM_OK);
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "path,class,split,label,mask\n"), DCAM_OK);
    for (size_t i = 0; i < dataset->sample_count; i++) {
        const dcam_sample *s = &dataset->samples[i];
        if (s->split != DCAM_SPLIT_TEST) continue;
        const char *mask = s->mask_path ? s->mask_path : "";
        assert_int_equal(dcam_writer_printf(w, "%s,%s,test,%s,%s\n", s->path, names[0], s->label, mask), DCAM_OK);
    }
    assert_int_equal(dcam_writer_commit(w), DCAM_OK);
    dcam_dataset_destroy(dataset);
}

/* Image and pixel AUROC by the answers of detect, whose score's logit is the common scale. */
static void ranked_by_hand(const char *model, const char *table, double *image, double *pixel)
{
    enum { MOST = CASE_CLASSES * (CASE_GOOD + CASE_DEFECTIVE), PIXELS = CASE_SIDE * CASE_SIDE };
    static float scores[MOST], pixels[MOST * PIXELS];
    static uint8_t labels[MOST], truth[MOST * PIXELS];
    size_t n = 0, taken[CASE_CLASSES] = {0};
    dcam_dataset *dataset;
    dcam_detector *d;
    dcam_ranking_metrics m;
    memset(truth, 0, sizeof truth);
    assert_int_equal(dcam_detector_open(model, NULL, &d), DCAM_OK);
    assert_int_equal(dcam_dataset_open(table, NULL, &dataset), DCAM_OK);
    for (; n < dataset->sample_count; n++) {
        const dcam_sample *s = &dataset->samples[n];
        dcam_detection out;
        assert_true(n < MOST);
        assert_int_equal(dcam_detect_file(d, s->path, &out), DCAM_OK);
        taken[strcmp(out.class_name, names[0]) != 0]++;
        const double logit = log(out.score / (1 - out.score)), width = (out.raw - out.threshold) / logit;
        scores[n] = (float)logit;
        labels[n] = s->defective;
        for (size_t p = 0; p < PIXELS; p++)
            pixels[n * PIXELS + p] = (float)(((double)out.map[p] - out.threshold) / width);
        dcam_detection_clear(&out);
        if (!s->defective) continue;
        dcam_image mask = {0};
        assert_int_equal(dcam_mask_load(s->mask_path, &mask), DCAM_OK);
        assert_int_equal(mask.width * mask.height, PIXELS);
        memcpy(truth + n * PIXELS, mask.pixels, PIXELS);
        dcam_image_clear(&mask);
    }
    assert_true(taken[0] > 0 && taken[1] > 0);
    assert_int_equal(dcam_ranking(scores, labels, n, &m), DCAM_OK);
    *image = m.auroc;
    assert_int_equal(dcam_ranking(pixels, truth, n * PIXELS, &m), DCAM_OK);
    *pixel = m.auroc;
    dcam_dataset_destroy(dataset);
    dcam_detector_close(d);
}

/* Raw scores of images that were taken for different classes were ranked against each other. */
static void inferred_classes_share_a_scale(void **state)
{
    char model[400], table[400];
    double image, pixel;
    dcam_evaluation e;
    (void)state;
    snprintf(model, sizeof model, "%s/scales", case_root);
    snprintf(table, sizeof table, "%s/scales.csv", case_root);
    save_two_scales(model, table);
    ranked_by_hand(model, table, &image, &pixel);
    const dcam_evaluate_options options = {.dataset = table, .model = model, .infer_class = true,
                                           .report = case_path("page of scales")};
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_OK);
    if (!(fabs(e.mean.image_auroc - image) < 1e-12)) fail_msg("image AUROC %g, by hand %g", e.mean.image_auroc, image);
    if (!(fabs(e.mean.pixel_auroc - pixel) < 1e-5)) fail_msg("pixel AUROC %g, by hand %g", e.mean.pixel_auroc, pixel);
    dcam_evaluation_clear(&e);
}

/* A bad image and a bad mask are counted and left out; with a mask gone the pixel metrics are not defined. */
static void bad_images_are_left_out(void **state)
{
    dcam_dataset *dataset;
    dcam_evaluation e;
    progress p = {0};
    char *bad = NULL, *mask = NULL;
    (void)state;
    assert_int_equal(dcam_dataset_open(case_data, names[0], &dataset), DCAM_OK);
    for (size_t i = 0; i < dataset->sample_count; i++) {
        const dcam_sample *s = &dataset->samples[i];
        if (s->split == DCAM_SPLIT_TEST && !s->defective) bad = s->path;
        if (s->mask_path) mask = s->mask_path;
    }
    uint8_t *bad_bytes, *mask_bytes;
    size_t bad_count, mask_count;
    assert_int_equal(dcam_file_read(bad, 1 << 20, &bad_bytes, &bad_count), DCAM_OK);
    assert_int_equal(dcam_file_read(mask, 1 << 20, &mask_bytes, &mask_count), DCAM_OK);
    assert_int_equal(dcam_file_write(bad, bad_bytes, bad_count / 2), DCAM_OK);
    assert_int_equal(dcam_file_write(mask, "none", 4), DCAM_OK);
    const dcam_evaluate_options options = {.dataset = case_data, .model = case_model, .classes = names[0],
                                           .progress = note, .user = &p};
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_OK);
    assert_int_equal(e.class_count, 1);
    assert_int_equal(e.failed, 2);
    assert_int_equal(p.errors, 2);
    assert_int_equal(p.calls, p.last_total);
    assert_int_equal(e.classes[0].images, CASE_GOOD + CASE_DEFECTIVE - 2);
    assert_int_equal(e.classes[0].defective, CASE_DEFECTIVE - 1);
    assert_true(is_fraction(e.mean.pixel_auroc));
    dcam_evaluation_clear(&e);
    assert_int_equal(dcam_file_write(bad, bad_bytes, bad_count), DCAM_OK);
    assert_int_equal(remove(mask), 0);
    p = (progress){0};
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_OK);
    assert_int_equal(e.failed, 0);
    assert_true(is_fraction(e.mean.image_auroc));
    assert_true(isnan(e.mean.pixel_auroc) && isnan(e.mean.aupro) && isnan(e.mean.pro_rescaled));
    dcam_evaluation_clear(&e);
    assert_int_equal(dcam_file_write(mask, mask_bytes, mask_count), DCAM_OK);
    dcam_free(mask_bytes);
    dcam_free(bad_bytes);
    dcam_dataset_destroy(dataset);
}

static void evaluation_refuses(void **state)
{
    dcam_evaluation e, before;
    progress p = {.stop_at = 2};
    dcam_evaluate_options options = {.dataset = case_data, .model = case_model, .threads = 1, .progress = note, .user = &p};
    (void)state;
    memset(&e, 7, sizeof e);
    memcpy(&before, &e, sizeof e);
    assert_int_equal(dcam_evaluate(NULL, &e), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_evaluate(&options, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_CANCELLED);
    assert_int_equal(p.calls, 2);
    p = (progress){0};
    options.threads = -3;
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_USAGE);
    options.threads = 0;
    options.classes = "cloud";
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_DATA);
    options.classes = NULL;
    /* A class that the model lacks is told before the first image, though it is the last. */
    char other[100];
    assert_int_equal(rename(case_path("data"), case_path("aside")), 0);
    snprintf(other, sizeof other, "aside/%s", names[CASE_CLASSES - 1]);
    assert_int_equal(rename(case_path(other), case_path("aside/zebra")), 0);
    options.dataset = case_path("aside");
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_DATA);
    case_message("not trained on class zebra");
    assert_int_equal(p.calls, 0);
    assert_int_equal(rename(case_path("aside/zebra"), case_path(other)), 0);
    assert_int_equal(rename(case_path("aside"), case_path("data")), 0);
    assert_memory_equal(&e, &before, sizeof e);
}

/* After the last image of a class its intervals and its part of the report are made: that can be stopped as well. */
static void stopped_after_the_images(void **state)
{
    enum { SCORED = CASE_GOOD + CASE_DEFECTIVE };
    dcam_names left;
    dcam_evaluation e;
    progress p = {.stop_after = 2};
    dcam_evaluate_options options = {.dataset = case_data, .model = case_model, .threads = 1, .progress = note, .user = &p};
    (void)state;
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_CANCELLED);
    case_message("resamples");
    assert_int_equal(p.calls, SCORED);
    options.resamples = -1;
    options.report = case_path("pages/late");
    for (size_t n = 1; n <= 2 * SCORED + 1; n += SCORED) { /* at the first picture of each class, and before the page's end */
        p = (progress){.stop_after = n};
        assert_int_equal(dcam_evaluate(&options, &e), DCAM_ERROR_CANCELLED);
        case_message(n <= 2 * SCORED ? "report" : "after the last image");
        assert_int_equal(p.calls, n <= SCORED ? SCORED : 2 * SCORED);
        assert_int_equal(dcam_folder_list(case_path("pages/late"), &left), DCAM_OK);
        assert_int_equal(left.count, 0);
        dcam_names_clear(&left);
    }
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

/* The report of a run: sections, the test images as pictures, a record for each of `models`. */
static void check_report(const char *path, size_t models)
{
    static uint8_t *page;
    size_t count;
    assert_int_equal(dcam_file_read(path, 1 << 30, &page, &count), DCAM_OK);
    const char *text = (const char *)page;
    assert_int_equal(count_of(text, "<h2 id=\"class"), CASE_CLASSES);
    assert_int_equal(count_of(text, "<figure class=\"picture\">"), CASE_CLASSES * (CASE_GOOD + CASE_DEFECTIVE));
    assert_int_equal(count_of(text, "true defect outlined\""), CASE_CLASSES * CASE_DEFECTIVE);
    assert_int_equal(count_of(text, "aria-label=\"ROC"), CASE_CLASSES);
    assert_int_equal(count_of(text, "aria-label=\"PRO:"), CASE_CLASSES);
    assert_int_equal(count_of(text, "Record of the model"), models);
    assert_null(strstr(text, "://"));
    dcam_free(page);
}

/* The folder of a one-class training. */
static void a_model_for_each_class(void **state)
{
    uint8_t *bytes;
    size_t count;
    char name[100], folder[300];
    progress p = {0};
    dcam_evaluation e;
    const dcam_evaluate_options one = {.dataset = case_data, .model = case_model};
    (void)state;
    snprintf(folder, sizeof folder, "%s/models", case_root);
    assert_int_equal(dcam_make_folders(folder), DCAM_OK);
    assert_int_equal(dcam_file_read(case_model, 1 << 30, &bytes, &count), DCAM_OK);
    snprintf(name, sizeof name, "models/%s.safetensors", names[0]);
    assert_int_equal(dcam_file_write(case_path(name), bytes, count), DCAM_OK);
    const dcam_evaluate_options each = {.dataset = case_data, .model = folder, .progress = note, .user = &p};
    assert_int_equal(dcam_evaluate(&each, &e), DCAM_ERROR_DATA);
    case_message(names[1]);
    assert_int_equal(p.calls, 0);
    snprintf(name, sizeof name, "models/%s.safetensors", names[1]);
    assert_int_equal(dcam_file_write(case_path(name), bytes, count), DCAM_OK);
    dcam_free(bytes);
    dcam_evaluate_options reported = each;
    reported.report = case_path("pages/each");
    assert_int_equal(dcam_evaluate(&reported, &e), DCAM_OK);
    check_report(case_path("pages/each/index.html"), CASE_CLASSES);
    const double auroc = e.mean.image_auroc;
    dcam_evaluation_clear(&e);
    /* a place that is a file is told before the first image */
    p = (progress){0};
    reported.report = case_path("model.safetensors");
    assert_int_equal(dcam_evaluate(&reported, &e), DCAM_ERROR_IO);
    assert_int_equal(p.calls, 0);
    reported.model = case_model;
    reported.report = case_path("pages/one");
    assert_int_equal(dcam_evaluate(&reported, &e), DCAM_OK);
    check_report(case_path("pages/one/index.html"), 1);
    dcam_evaluation_clear(&e);
    /* stopped: no page, nothing beside it */
    dcam_names left;
    p = (progress){.stop_at = 3};
    reported.report = case_path("pages/stopped");
    assert_int_equal(dcam_evaluate(&reported, &e), DCAM_ERROR_CANCELLED);
    assert_int_equal(dcam_folder_list(case_path("pages/stopped"), &left), DCAM_OK);
    assert_int_equal(left.count, 0);
    dcam_names_clear(&left);
    assert_int_equal(dcam_evaluate(&one, &e), DCAM_OK);
    assert_true(e.mean.image_auroc == auroc);
    dcam_evaluation_clear(&e);
}

/* ---- calibration ---- */

typedef struct {
    size_t calls, images[CASE_CLASSES];
    double before[CASE_CLASSES], after[CASE_CLASSES];
    char rule[200];
} changes;

static void note_change(void *user, const dcam_class_threshold *t)
{
    changes *c = user;
    assert_string_equal(t->class_name, names[c->calls]);
    c->images[c->calls] = t->images;
    c->before[c->calls] = t->old_threshold;
    c->after[c->calls++] = t->threshold;
    snprintf(c->rule, sizeof c->rule, "%s", t->rule);
}

static void thresholds_are_set_anew(void **state)
{
    char output[300];
    changes stricter = {0}, again = {0}, labelled = {0};
    size_t failed = 99;
    (void)state;
    snprintf(output, sizeof output, "%s", case_path("calibrated"));
    dcam_calibrate_options options = {.dataset = case_data, .model = case_model, .output = output, .false_alarm_rate = 0.001};
    assert_int_equal(dcam_calibrate(&options, note_change, &stricter, &failed), DCAM_OK);
    assert_int_equal(failed, 0);
    assert_int_equal(stricter.calls, CASE_CLASSES);
    /* As training calibrated. */
    options = (dcam_calibrate_options){.dataset = case_data, .model = output, .false_alarm_rate = 0.25,
                                       .precision = DCAM_PRECISION_F32};
    assert_int_equal(dcam_calibrate(&options, note_change, &again, NULL), DCAM_OK);
    for (size_t i = 0; i < CASE_CLASSES; i++) {
        assert_int_equal(stricter.images[i], CASE_TRAIN);
        assert_true(stricter.after[i] > stricter.before[i]);
        assert_true(again.before[i] == stricter.after[i]);
        assert_true(fabs(again.after[i] - stricter.before[i]) <= 1e-5 * fabs(again.after[i]));
    }
    options.f1 = true;
    assert_int_equal(dcam_calibrate(&options, note_change, &labelled, NULL), DCAM_OK);
    assert_int_equal(labelled.calls, CASE_CLASSES);
    assert_int_equal(labelled.images[0], CASE_GOOD + CASE_DEFECTIVE);
    assert_true(labelled.before[0] == again.after[0]);
    assert_string_not_equal(labelled.rule, again.rule);
    const double wrong[] = {1, 1e-300, (double)NAN};
    for (int i = 0; i < 3; i++) {
        options.false_alarm_rate = wrong[i];
        assert_int_equal(dcam_calibrate(&options, NULL, NULL, NULL), DCAM_ERROR_USAGE);
    }
    options.false_alarm_rate = 0;
    options.threads = 100000;
    assert_int_equal(dcam_calibrate(&options, NULL, NULL, NULL), DCAM_ERROR_USAGE);
    options = (dcam_calibrate_options){.dataset = case_data, .model = case_model, .output = case_path("nowhere/c"), .precision = DCAM_PRECISION_INT8};
    assert_int_equal(dcam_calibrate(&options, NULL, NULL, NULL), DCAM_ERROR_IO); /* before it is found to have no ranges */
}

/* ---- facts about files ---- */

static void check_info(const char *path, const char *const *parts)
{
    char *text;
    assert_int_equal(dcam_file_info(path, &text), DCAM_OK);
    for (; *parts; parts++)
        if (!strstr(text, *parts)) fail_msg("%s is not in %s", *parts, text);
    dcam_free_text(text);
}

static void info_knows_every_kind(void **state)
{
    dcam_trunk_weights *student;
    dcam_tensor_writer *w;
    char *text;
    (void)state;
    char class_name[100];
    snprintf(class_name, sizeof class_name, "\"name\": \"%s\"", names[1]);
    check_info(case_model, (const char *[]){"\"kind\": \"model\"", "\"format_version\": 1", "\"teacher\": \"unknown\"", "\"training\": null", class_name, NULL});

    assert_int_equal(dcam_trunk_weights_random(dcam_architecture_find(NULL), 1, &student), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_add(student, "", w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, case_path("weights")), DCAM_OK);
    dcam_tensor_writer_destroy(w);
    check_info(case_path("weights"), (const char *[]){"\"kind\": \"weights\"", "\"batch_norm\": \"separate\"", NULL});
    assert_int_equal(dcam_teacher_import(case_path("weights"), case_path("teacher")), DCAM_OK);
    check_info(case_path("teacher"), (const char *[]){"\"kind\": \"teacher\"", "\"batch_norm\": \"folded\"", "weights sha256:", NULL});

    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "format", "dcam-checkpoint-1"), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "epochs_done", "5"), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_add(student, "student.", w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, case_path("caf\xe9")), DCAM_OK); /* no UTF-8 */
    dcam_tensor_writer_destroy(w);
    dcam_trunk_weights_destroy(student);
    check_info(case_path("caf\xe9"), (const char *[]){"\"kind\": \"checkpoint\"", "\"epochs_done\": \"5\"", "caf\xef\xbf\xbd\"", NULL});

    tree_file(case_root, "text", "neither");
    assert_int_equal(dcam_file_info(case_path("text"), &text), DCAM_ERROR_WEIGHTS);
    assert_int_equal(dcam_file_info(case_path("nothing"), &text), DCAM_ERROR_IO);
    assert_int_equal(dcam_file_info(NULL, &text), DCAM_ERROR_USAGE);
}

/* ---- benchmark ---- */

static void note_result(void *user, const dcam_bench_result *r)
{
    int *calls = user;
    ++*calls;
    assert_true(r->p50 > 0 && r->p50 <= r->p95 && r->p95 <= r->p99);
    assert_true(r->images >= 5 && r->images_per_second > 0);
    assert_string_equal(r->precision, dcam_nn_fast_bf16() ? "bf16" : "f32");
}

static void bench_measures_every_stage(void **state)
{
    int calls = 0;
    char *machine;
    const dcam_bench_options options = {.model = case_model, .seconds = 0.01};
    (void)state;
    assert_int_equal(dcam_bench(&options, note_result, &calls, &machine), DCAM_OK);
    assert_int_equal(calls, 6);
    assert_non_null(strstr(machine, "oneDNN"));
    dcam_free_text(machine);
    assert_int_equal(dcam_bench(&(dcam_bench_options){.model = case_model, .batch = -1}, note_result, &calls, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_bench(NULL, note_result, &calls, NULL), DCAM_ERROR_USAGE);
    const double no_seconds[] = {NAN, -1, INFINITY, 3601};
    for (size_t i = 0; i < sizeof no_seconds / sizeof *no_seconds; i++) {
        const dcam_bench_options bad = {.model = case_model, .seconds = no_seconds[i]};
        assert_int_equal(dcam_bench(&bad, note_result, &calls, NULL), DCAM_ERROR_USAGE);
        case_message("seconds a stage; 0 to 3600");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluation_is_that_of_the_verdicts),
        cmocka_unit_test(no_memory_for_a_class), cmocka_unit_test(intervals_hold_their_metrics),
        cmocka_unit_test(inferred_classes_share_a_scale), cmocka_unit_test(bad_images_are_left_out),
        cmocka_unit_test(evaluation_refuses), cmocka_unit_test(stopped_after_the_images), cmocka_unit_test(a_model_for_each_class),
        cmocka_unit_test(thresholds_are_set_anew), cmocka_unit_test(info_knows_every_kind),
        cmocka_unit_test(bench_measures_every_stage),
    };
    return cmocka_run_group_tests(tests, create, case_remove);
}
