/* dcam_check_drift: progress that ends at its total; images of the training are left out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "api_case.h"

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

/* The training images of the second class as a folder, all but one of them in the model's record: one is scored. */
static void images_of_the_training_are_left_out(void **state)
{
    (void)state;
    progress p = {0};
    dcam_dataset *dataset;
    dcam_model *m;
    dcam_drift e;
    uint32_t *images;
    size_t count;
    dcam_content_mark marks[CASE_TRAIN];
    char sum[65], folder[700], text[(CASE_TRAIN - 1) * DCAM_CONTENT_MARK + 1];
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    assert_int_equal(dcam_dataset_select(dataset, 1, DCAM_SPLIT_TRAIN, true, &images, &count), DCAM_OK);
    assert_int_equal(count, CASE_TRAIN);
    assert_int_equal(dcam_dataset_fingerprint(dataset, images, count, sum, marks), DCAM_OK);
    memcpy(text, marks[1], sizeof text - 1); /* all but the first */
    text[sizeof text - 1] = '\0';
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    dcam_free(m->training_record);
    assert_int_equal(dcam_format_string(&m->training_record, "{\"data\": {\"learned\": \"%s\"}}", text), DCAM_OK);
    const char *path = case_path("drift.safetensors");
    assert_int_equal(dcam_model_save(m, path), DCAM_OK);
    dcam_model_destroy(m);
    snprintf(folder, sizeof folder, "%.300s/%.255s/train/good", case_data, dataset->class_names[1]);
    const dcam_drift_options o = {.dataset = folder, .model = path, .class_name = dataset->class_names[1], .progress = note, .user = &p};
    if (dcam_check_drift(&o, &e) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(e.classes[0].images, 1);
    assert_int_equal(p.calls, 1);
    assert_int_equal(p.total, 1);
    dcam_drift_clear(&e);
    dcam_free(images);
    dcam_dataset_destroy(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(progress_ends_at_its_total),
                                       cmocka_unit_test(images_of_the_training_are_left_out)};
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
