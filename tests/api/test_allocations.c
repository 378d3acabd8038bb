/* The public calls without memory: whichever allocation of a call is refused, it says so, gives back what it held and leaves
 * its outputs as they were; or it does without (the fast decoder of PNG), and its result is the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "api_case.h"
#include "dcam.h"

static void opening(void **state)
{
    dcam_detector *d = NULL;
    (void)state;
    SOME_ALLOCATIONS(a, 200, dcam_detector_open(case_model, &(dcam_detector_options){.threads = 2}, &d)) {
        assert_true(a.passed == (d != NULL));
        dcam_detector_close(d);
        d = NULL;
    }
}

/* The path of a good test image. */
static void find_image(char *out, size_t room)
{
    dcam_dataset *dataset;
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    for (size_t i = 0; i < dataset->sample_count; i++)
        if (dataset->samples[i].split == DCAM_SPLIT_TEST && !dataset->samples[i].defective)
            snprintf(out, room, "%s", dataset->samples[i].path);
    dcam_dataset_destroy(dataset);
}

static void one_image(void **state)
{
    dcam_detector *d;
    dcam_detection out = {.map_width = -1};
    char path[1024];
    (void)state;
    find_image(path, sizeof path);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.threads = 1}, &d), DCAM_OK);
    assert_int_equal(dcam_detect_file(d, path, &out), DCAM_OK);
    const double raw = out.raw;
    dcam_detection_clear(&out);
    out.map_width = -1;
    NEEDED_ALLOCATIONS(a, 1, dcam_detect_file(d, path, &out)) {
        assert_true(a.passed ? out.map_width == CASE_SIDE && out.raw == raw : out.map_width == -1);
        if (a.passed) dcam_detection_clear(&out);
        out.map_width = -1;
    }
    assert_int_equal(dcam_detect_file(d, path, &out), DCAM_OK);
    NEEDED_ALLOCATIONS(a, 1, dcam_overlay_file(d, path, &out, case_path("overlay.png"))) {}
    EVERY_ALLOCATION(a, dcam_map_write_npy(&out, case_path("map.npy"))) {}
    dcam_detection_clear(&out);
    dcam_detector_close(d);
}

typedef struct {
    int errors;
    double sum; /* of raw scores, in their order */
} seen;

static bool note(void *user, const char *path, const dcam_detection *detection, const char *error)
{
    seen *s = user;
    (void)path;
    s->errors += error != NULL;
    s->sum += detection ? detection->raw : 0;
    return false;
}

static dcam_status detect_all(seen *s)
{
    const char *path = case_data;
    dcam_detector *d;
    *s = (seen){0};
    DCAM_TRY(dcam_detector_open(case_model, &(dcam_detector_options){.threads = 2}, &d));
    const dcam_status status = dcam_detect_paths(d, &path, 1, note, s, NULL);
    dcam_detector_close(d);
    return status;
}

/* Want of memory is never taken for a bad image. */
static void many_images(void **state)
{
    seen first, s;
    (void)state;
    assert_int_equal(detect_all(&first), DCAM_OK);
    NEEDED_ALLOCATIONS(a, 250, detect_all(&s)) assert_true(s.errors == 0 && (!a.passed || s.sum == first.sum));
}

/* Nor is a bad image reported without why it is bad. */
static bool note_bad(void *user, const char *path, const dcam_detection *detection, const char *error)
{
    assert_null(detection);
    if (!strstr(error, path) || !strstr(error, "not a")) fail_msg("%s: %s", path, error);
    ++*(int *)user;
    return false;
}

static void bad_images(void **state)
{
    dcam_detector *d;
    (void)state;
    tree_file(case_root, "bad/a.png", "no picture");
    const char *path = case_path("bad");
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.threads = 1}, &d), DCAM_OK);
    for (int files = 1; files <= 2; files++) {
        int bad = 0;
        EVERY_ALLOCATION(a, dcam_detect_paths(d, &path, 1, note_bad, &bad, NULL)) {
            assert_true(!a.passed || bad == files);
            bad = 0;
        }
        tree_file(case_root, "bad/b.png", "no picture either");
    }
    dcam_detector_close(d);
}

static void evaluation(void **state)
{
    dcam_evaluation e = {.class_count = 77};
    const dcam_evaluate_options options = {
        .dataset = case_data, .model = case_model, .threads = 1, .resamples = 40, .report = case_path("page")};
    (void)state;
    assert_int_equal(dcam_evaluate(&options, &e), DCAM_OK);
    const dcam_metrics mean = e.mean;
    dcam_evaluation_clear(&e);
    e.class_count = 77;
    NEEDED_ALLOCATIONS(a, 400, dcam_evaluate(&options, &e)) {
        assert_int_equal(e.class_count, a.passed ? CASE_CLASSES : 77);
        if (a.passed) assert_memory_equal(&e.mean, &mean, sizeof mean);
        if (a.passed) dcam_evaluation_clear(&e);
        e.class_count = 77;
    }
}

static void drift(void **state)
{
    dcam_drift e = {.class_count = 77};
    const dcam_drift_options options = {.dataset = case_data, .model = case_model, .threads = 1};
    (void)state;
    assert_int_equal(dcam_check_drift(&options, &e), DCAM_OK);
    const double median = e.classes[1].median;
    dcam_drift_clear(&e);
    e.class_count = 77;
    NEEDED_ALLOCATIONS(a, 400, dcam_check_drift(&options, &e)) {
        assert_true(a.passed ? e.class_count == CASE_CLASSES && e.classes[1].median == median : e.class_count == 77);
        if (a.passed) dcam_drift_clear(&e);
        e.class_count = 77;
    }
}

static void add_threshold(void *user, const dcam_class_threshold *result) { *(double *)user += result->threshold; }

static void calibration(void **state)
{
    double sum, first;
    dcam_calibrate_options options = {.dataset = case_data, .model = case_model, .output = case_path("calibrated"), .threads = 1};
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        options.f1 = kind == 1;
        options.int8 = kind == 2;
        first = sum = 0;
        assert_int_equal(dcam_calibrate(&options, add_threshold, &first, NULL), DCAM_OK);
        NEEDED_ALLOCATIONS(a, 600, dcam_calibrate(&options, add_threshold, &sum, NULL)) {
            assert_true(!a.passed || sum == first);
            sum = 0;
        }
    }
}

static void training(void **state)
{
    const dcam_train_options options = {.dataset = case_data, .output = case_path("trained"), .teacher = "random:1", .width = 32,
                                        .height = 32, .epochs = 1, .batch = 4, .threads = 1, .memory_prototypes = 5};
    (void)state;
    NEEDED_ALLOCATIONS(a, 900, dcam_train(&options)) assert_true(dcam_path_exists(options.output) || !a.passed);
}

static void facts(void **state)
{
    char *text = NULL, digits[65] = "as it was";
    (void)state;
    SOME_ALLOCATIONS(a, 200, dcam_file_info(case_model, &text)) {
        assert_true(a.passed == (text != NULL));
        dcam_free_text(text);
        text = NULL;
    }
    EVERY_ALLOCATION(a, dcam_file_sha256(case_model, digits)) {
        assert_true(a.passed == (strcmp(digits, "as it was") != 0));
        strcpy(digits, "as it was");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),     cmocka_unit_test(one_image),  cmocka_unit_test(many_images),
        cmocka_unit_test(bad_images),  cmocka_unit_test(evaluation), cmocka_unit_test(drift),
        cmocka_unit_test(calibration), cmocka_unit_test(training),   cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
