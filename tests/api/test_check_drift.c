/* dcam_check_drift: a verdict as soon as some outcome could reach the significance, by either test; progress that ends at
 * its total; images of the training are left out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "api_case.h"

enum { OLD = 20, NEW = CASE_GOOD };

/* The model of the case with OLD scores in its first class, from first on by step; the threshold is that of number `above`,
 * so OLD - above of them are no less. */
static void save_with_scores(float first, float step, int above, dcam_threshold_rule rule, const char *path)
{
    dcam_model *m;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    dcam_class_calibration *c = &m->classes[0];
    dcam_free(c->scores);
    c->scores = NULL;
    assert_int_equal(dcam_alloc(OLD, sizeof *c->scores, &c->scores), DCAM_OK);
    c->score_count = OLD;
    for (int i = 0; i < OLD; i++) c->scores[i] = first + step * (float)i;
    dcam_class_set_threshold(c, (double)(first + step * (float)above), rule, 0.01);
    assert_int_equal(dcam_model_save(m, path), DCAM_OK);
    dcam_model_destroy(m);
}

static dcam_drift first_class(const char *model)
{
    dcam_drift e;
    dcam_dataset *dataset;
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    const dcam_drift_options o = {.dataset = case_data, .model = model, .classes = dataset->class_names[0]};
    if (dcam_check_drift(&o, &e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(e.class_count, 1);
    assert_int_equal(e.classes[0].images, NEW);
    dcam_dataset_destroy(dataset);
    return e;
}

/* 20 old scores and 2 new ones, at 0.01: two alarms of two have a chance of 1 / C(22, 2), doubled 0.0087, which is a drift;
 * so without any alarm the images are not too few. Kolmogorov and Smirnov's test alone would not reach it (0.0173). */
static void either_test_can_tell(void **state)
{
    (void)state;
    const dcam_threshold_rule rules[] = {DCAM_RULE_ORDER, DCAM_RULE_POOLED, DCAM_RULE_F1};
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        const char *path = case_path("drift.safetensors");
        save_with_scores(1e-6f, 1e-7f, OLD, rules[k], path);
        dcam_drift e = first_class(path);
        assert_int_equal(e.classes[0].alarms, NEW);
        assert_true(e.classes[0].p > 0.0086 && e.classes[0].p < 0.0087);
        assert_true(e.classes[0].drifted);
        assert_true(rules[k] == DCAM_RULE_F1 ? isnan(e.classes[0].false_alarm_rate) : e.classes[0].false_alarm_rate == 0.01);
        assert_int_equal(e.undecided, 0);
        assert_non_null(strstr(e.classes[0].verdict, "higher"));
        dcam_drift_clear(&e);
        save_with_scores(1e6f, 1e3f, OLD, rules[k], path);
        e = first_class(path);
        assert_int_equal(e.classes[0].alarms, 0);
        assert_true(2 * e.classes[0].ks_p > 0.0173 && 2 * e.classes[0].ks_p < 0.0174);
        assert_false(e.classes[0].drifted);
        assert_int_equal(e.undecided, 0);
        assert_string_equal(e.classes[0].verdict, "fits");
        dcam_drift_clear(&e);
    }
    /* 4 old scores are too few by both. */
    dcam_drift e = first_class(case_model);
    assert_int_equal(e.undecided, 1);
    assert_string_equal(e.classes[0].verdict, "too few images to tell");
    dcam_drift_clear(&e);
}

/* Where the best F1 calls all normal images anomalous, that new ones are too is no news. */
static void a_threshold_below_all(void **state)
{
    (void)state;
    const char *path = case_path("drift.safetensors");
    save_with_scores(1e-6f, 1e-7f, 0, DCAM_RULE_F1, path);
    dcam_drift e = first_class(path);
    assert_int_equal(e.classes[0].alarms, NEW);
    assert_true(e.classes[0].alarms_p > 1 - 1e-9);
    dcam_drift_clear(&e);
}

typedef struct {
    size_t calls, total;
} progress;

static bool note(void *user, size_t done, size_t total, const char *error)
{
    progress *p = user;
    p->calls++;
    p->total = total;
    assert_int_equal(done, p->calls);
    assert_null(error);
    return false;
}

static void progress_ends_at_its_total(void **state)
{
    (void)state;
    progress p = {0};
    const dcam_drift_options o = {.dataset = case_data, .model = case_model, .progress = note, .user = &p};
    dcam_drift e;
    if (dcam_check_drift(&o, &e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(p.calls, CASE_CLASSES * CASE_GOOD);
    assert_int_equal(p.total, p.calls);
    dcam_drift_clear(&e);
}

/* The model with these images in its training's record. */
static void save_with_record(const dcam_content_mark *marks, size_t count, const char *path)
{
    dcam_model *m;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    dcam_free(m->training_record);
    assert_int_equal(dcam_format_string(&m->training_record, "{\"data\": {\"learned\": \"%.*s\"}}", (int)(count * DCAM_CONTENT_MARK),
                                        marks[0]), DCAM_OK);
    assert_int_equal(dcam_model_save(m, path), DCAM_OK);
    dcam_model_destroy(m);
}

/* The training images of the second class as a folder, all but one of them in the model's record: one is scored. Then all
 * of them: the error names their class, not the folder. */
static void images_of_the_training_are_left_out(void **state)
{
    (void)state;
    progress p = {0};
    dcam_dataset *dataset;
    dcam_drift e;
    uint32_t *images;
    size_t count;
    dcam_content_mark marks[CASE_TRAIN];
    char sum[65], folder[700], named[300];
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    assert_int_equal(dcam_dataset_select(dataset, 1, DCAM_SPLIT_TRAIN, true, &images, &count), DCAM_OK);
    assert_int_equal(count, CASE_TRAIN);
    assert_int_equal(dcam_dataset_fingerprint(dataset, images, count, sum, marks), DCAM_OK);
    const char *path = case_path("drift.safetensors");
    save_with_record(marks + 1, count - 1, path); /* all but the first */
    snprintf(folder, sizeof folder, "%.300s/%.255s/train/good", case_data, dataset->class_names[1]);
    const dcam_drift_options o = {.dataset = folder, .model = path, .class_name = dataset->class_names[1], .progress = note, .user = &p};
    if (dcam_check_drift(&o, &e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(e.classes[0].images, 1);
    assert_int_equal(p.calls, 1);
    assert_int_equal(p.total, 1);
    dcam_drift_clear(&e);
    save_with_record(marks, count, path);
    assert_int_equal(dcam_check_drift(&o, &e), DCAM_ERROR_DATA);
    snprintf(named, sizeof named, "class %.255s has no test/good", dataset->class_names[1]);
    case_message(named);
    dcam_free(images);
    dcam_dataset_destroy(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(either_test_can_tell), cmocka_unit_test(a_threshold_below_all), cmocka_unit_test(progress_ends_at_its_total),
                                       cmocka_unit_test(images_of_the_training_are_left_out)};
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
