/* What an evaluation holds: maps where they are needed only, and no more than the machine has; and what it does without:
 * photographs that are gone when the report is made. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "api/api_case.h"
#include "base/machine_memory.h"
#include "metrics/metrics.h"

enum { GOOD = 30, DEFECTIVE = 10, LARGE_SIDE = 1024 };
static char many[300];

static bool count_calls(void *user, size_t done, size_t total, const char *error)
{
    (void)done, (void)total, (void)error;
    ++*(size_t *)user;
    return false;
}

/* Bytes at the most while it ran. */
static size_t evaluate_many(const char *report, dcam_evaluation *e)
{
    const dcam_evaluate_options o = {.dataset = many, .model = case_model, .threads = 1, .resamples = -1, .report = report};
    const size_t held = dcam_memory_held();
    dcam_memory_reset_peak();
    if (dcam_evaluate(&o, e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    return dcam_memory_peak() - held;
}

/* One mask is missing: no pixel metrics, and no maps are kept for them. A report's pictures want maps all the same. */
static void maps_are_kept_where_needed(void **state)
{
    const size_t pixels = CASE_SIDE * CASE_SIDE, slack = 100000;
    char masks[4096], mask[4200];
    dcam_evaluation with, without;
    dcam_names kinds, files;
    (void)state;
    const size_t most = evaluate_many(NULL, &with);
    assert_true(with.classes[0].metrics.pixel_auroc >= 0);

    snprintf(masks, sizeof masks, "%.290s/%.100s/ground_truth", many, with.classes[0].name);
    assert_int_equal(dcam_folder_list(masks, &kinds), DCAM_OK);
    snprintf(masks, sizeof masks, "%.290s/%.100s/ground_truth/%.100s", many, with.classes[0].name, kinds.names[0]);
    assert_int_equal(dcam_folder_list(masks, &files), DCAM_OK);
    snprintf(mask, sizeof mask, "%.4000s/%.100s", masks, files.names[0]);
    assert_int_equal(remove(mask), 0);
    dcam_names_clear(&files);
    dcam_names_clear(&kinds);

    const size_t least = evaluate_many(NULL, &without);
    assert_int_equal(without.classes[0].images, GOOD + DEFECTIVE);
    assert_true(isnan(without.classes[0].metrics.pixel_auroc) && isnan(without.classes[0].metrics.aupro));
    assert_true(without.classes[0].metrics.image_auroc == with.classes[0].metrics.image_auroc);
    assert_true(most + slack > least + (GOOD + DEFECTIVE - 8) * pixels * 5);
    dcam_evaluation_clear(&without);

    (void)evaluate_many(case_path("page"), &without);
    assert_true(isnan(without.classes[0].metrics.pixel_auroc));
    assert_true(without.classes[0].metrics.image_auroc == with.classes[0].metrics.image_auroc);
    dcam_evaluation_clear(&without);
    dcam_evaluation_clear(&with);
}

/* Evaluates at LARGE_SIDE, with `links` good images more in the last class; the first would be evaluated without them.
 * Refused before the first image of any class. */
static void refuse_many(size_t links, dcam_status wanted, const char *message)
{
    char folder[4096], source[4200], link_path[4200];
    dcam_names classes, images;
    dcam_evaluation e;
    dcam_model *m;
    size_t calls = 0;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    m->preprocessing.width = m->preprocessing.height = LARGE_SIDE;
    assert_int_equal(dcam_model_save(m, case_path("large")), DCAM_OK);
    dcam_model_destroy(m);

    assert_int_equal(dcam_folder_list(case_data, &classes), DCAM_OK);
    snprintf(folder, sizeof folder, "%.290s/%.100s/test/good", case_data, classes.names[classes.count - 1]);
    assert_int_equal(dcam_folder_list(folder, &images), DCAM_OK);
    snprintf(source, sizeof source, "%.4000s/%.100s", folder, images.names[0]);
    for (size_t i = 0; i < links; i++) {
        snprintf(link_path, sizeof link_path, "%.4000s/more%zu.png", folder, i);
        assert_int_equal(link(source, link_path), 0);
    }
    dcam_evaluate_options o = {.dataset = case_data, .model = case_path("large"), .threads = 1, .resamples = -1,
                               .progress = count_calls, .user = &calls};
    assert_int_equal(dcam_evaluate(&o, &e), wanted);
    case_message(message);
    case_message(classes.names[classes.count - 1]);
    assert_int_equal(calls, 0);
    for (size_t i = 0; i < links; i++) {
        snprintf(link_path, sizeof link_path, "%.4000s/more%zu.png", folder, i);
        assert_int_equal(remove(link_path), 0);
    }
    dcam_names_clear(&images);
    dcam_names_clear(&classes);
}

static void more_maps_than_the_machine_has(void **state)
{
    const size_t pixels = (size_t)LARGE_SIDE * LARGE_SIDE;
    const size_t wanted = dcam_machine_memory() / (pixels * (5 + DCAM_PIXEL_METRICS_BYTES)) + 1;
    (void)state;
    if (dcam_machine_memory() == 0 || (wanted + CASE_GOOD + CASE_DEFECTIVE) * pixels > DCAM_MAX_METRIC_COUNT) skip();
    refuse_many(wanted, DCAM_ERROR_MEMORY, "MiB would be held for the maps of its");
}

static void more_pixels_than_a_metric_takes(void **state)
{
    const size_t images = DCAM_MAX_METRIC_COUNT / ((size_t)LARGE_SIDE * LARGE_SIDE) + 1;
    (void)state;
    refuse_many(images - CASE_GOOD - CASE_DEFECTIVE, DCAM_ERROR_DATA, "have more pixels than the");
}

/* After the last image is scored, takes the good ones away. */
static bool take_away(void *user, size_t done, size_t total, const char *error)
{
    char folder[4096], path[4200];
    dcam_names images;
    (void)error;
    if (done < total || *(bool *)user) return false;
    *(bool *)user = true;
    dcam_names classes;
    assert_int_equal(dcam_folder_list(many, &classes), DCAM_OK);
    snprintf(folder, sizeof folder, "%.290s/%.100s/test/good", many, classes.names[0]);
    assert_int_equal(dcam_folder_list(folder, &images), DCAM_OK);
    assert_int_equal(images.count, GOOD);
    for (size_t i = 0; i < images.count; i++) {
        snprintf(path, sizeof path, "%.4000s/%.100s", folder, images.names[i]);
        assert_int_equal(remove(path), 0);
    }
    dcam_names_clear(&images);
    dcam_names_clear(&classes);
    return false;
}

static size_t warned;
static void count_warnings(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    warned += level == DCAM_LOG_WARNING && strncmp(line, "left out of the report: ", 24) == 0;
}

static void photographs_that_are_gone_before_the_report(void **state)
{
    bool gone = false;
    dcam_evaluation e;
    (void)state;
    const dcam_evaluate_options o = {.dataset = many, .model = case_model, .threads = 1, .resamples = -1, .report = case_path("gone"),
                                     .progress = take_away, .user = &gone};
    dcam_set_log(count_warnings, NULL);
    if (dcam_evaluate(&o, &e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    dcam_set_log(NULL, NULL);
    assert_int_equal(e.classes[0].images, GOOD + DEFECTIVE);
    assert_int_equal(e.failed, 0);
    assert_true(warned > 0);
    assert_int_equal(access(case_path("gone/index.html"), R_OK), 0);
    dcam_evaluation_clear(&e);
}

static int create(void **state)
{
    if (case_create(state) != 0) return -1;
    snprintf(many, sizeof many, "%.200s/many", case_root);
    const dcam_synth_options options = {.folder = many, .seed = 3, .size = CASE_SIDE, .classes = 1, .train = 1, .test_good = GOOD,
                                        .test_defective = DEFECTIVE};
    return dcam_synth(&options) == DCAM_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(maps_are_kept_where_needed), cmocka_unit_test(more_maps_than_the_machine_has),
                                       cmocka_unit_test(more_pixels_than_a_metric_takes),
                                       cmocka_unit_test(photographs_that_are_gone_before_the_report)};
    return cmocka_run_group_tests(tests, create, case_remove);
}
