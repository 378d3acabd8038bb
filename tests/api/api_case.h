/* api_case.h - what the tests of the public calls share: a folder with a small synthetic data set and a model of random
 * networks calibrated on it. Whether it detects anything is not asked. */
#ifndef DCAM_TESTS_API_CASE_H
#define DCAM_TESTS_API_CASE_H

#include "api/normal_images.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/tree.h"
#include "detect/model.h"

enum { CASE_SIDE = 64, CASE_CLASSES = 2, CASE_TRAIN = 4, CASE_GOOD = 2, CASE_DEFECTIVE = 3 };

static char case_root[256], case_data[300], case_model[300];
/* Of this thread; no call may leave another number behind. */
static int case_threads;

/* ROOT/NAME; two of them live at a time. */
static inline const char *case_path(const char *name)
{
    static char paths[2][600];
    static int next;
    next = !next;
    snprintf(paths[next], sizeof paths[next], "%s/%s", case_root, name);
    return paths[next];
}

static inline void case_save_model(const dcam_dataset *dataset)
{
    dcam_model *m;
    uint32_t *indices;
    size_t count;
    bool left_out[CASE_CLASSES * (CASE_TRAIN + CASE_GOOD + CASE_DEFECTIVE)] = {false};
    const dcam_scorer_options options = {.batch = 4};
    const dcam_reading reading = {.left_out = left_out};
    assert_int_equal(dcam_model_create(&m), DCAM_OK);
    m->architecture = dcam_architecture_find(NULL);
    assert_int_equal(dcam_copy_string("dcam", &m->method), DCAM_OK);
    m->preprocessing = dcam_preprocessing_default(CASE_SIDE, CASE_SIDE);
    assert_int_equal(dcam_trunk_weights_random_teacher(m->architecture, 1, &m->teacher), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 2, &m->student), DCAM_OK);
    assert_int_equal(dcam_dataset_select(dataset, -1, DCAM_SPLIT_TRAIN, true, &indices, &count), DCAM_OK);
    assert_int_equal(count, CASE_CLASSES * CASE_TRAIN);
    assert_int_equal(dataset->sample_count, sizeof left_out);
    assert_int_equal(dcam_calibrate_from(m, &options, dataset, indices, count, 0.25, &reading), DCAM_OK);
    assert_int_equal(dcam_left_out_count(dataset, left_out), 0);
    assert_int_equal(dcam_model_save(m, case_model), DCAM_OK);
    dcam_free(indices);
    dcam_model_destroy(m);
}

static inline int case_create(void **state)
{
    dcam_dataset *dataset;
    (void)state;
    tree_create(case_root);
    snprintf(case_data, sizeof case_data, "%s/data", case_root);
    snprintf(case_model, sizeof case_model, "%s/model.safetensors", case_root);
    const dcam_synth_options options = {.folder = case_data, .seed = 3, .size = CASE_SIDE, .classes = CASE_CLASSES,
                                        .train = CASE_TRAIN, .test_good = CASE_GOOD, .test_defective = CASE_DEFECTIVE};
    assert_int_equal(dcam_synth(&options), DCAM_OK);
    assert_int_equal(dcam_dataset_open(case_data, NULL, &dataset), DCAM_OK);
    assert_int_equal(dataset->class_count, CASE_CLASSES);
    case_save_model(dataset);
    dcam_dataset_destroy(dataset);
    dcam_set_threads(3);
    case_threads = dcam_threads();
    return 0;
}

static inline int case_remove(void **state)
{
    (void)state;
    tree_remove(case_root);
    assert_int_equal(dcam_memory_held(), 0);
    assert_int_equal(dcam_threads(), case_threads);
    return 0;
}

static inline void case_message(const char *part)
{
    if (!strstr(dcam_error_message(), part)) fail_msg("\"%s\" is not in \"%s\"", part, dcam_error_message());
}

#endif
