/* trainer_case.h - what the tests of whole trainings share: a synthetic data set of two classes, a teacher, a run that takes
 * a second, and when two results are the same. */
#ifndef DCAM_TESTS_TRAINER_CASE_H
#define DCAM_TESTS_TRAINER_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/synth.h"
#include "data/tree.h"
#include "distill/data_identity.h"
#include "distill/trainer.h"
#include "nn/nn.h"
#include "outcome.h"

static char root[256], checkpoint[4096];
static dcam_dataset *dataset;
static dcam_trunk_weights *teacher;

static inline double relative(double got, double want) { return fabs(got / want - 1); }

/* What the callback saw, and when it is to stop. */
typedef struct {
    int stop_epoch, stop_step; /* at this step's news; step 0: at the epoch's end; epoch 0: never */
    int calls, epochs_done;
    double last_left;
    bool saw_best;
} watcher;

static inline bool watch(void *user, const dcam_trainer_progress *p)
{
    watcher *w = user;
    w->calls++;
    assert_in_range(p->epoch, 1, p->epochs);
    assert_in_range(p->step, 1, p->steps);
    assert_true(isfinite(p->loss) && p->loss > 0);
    assert_true(p->images_per_second > 0);
    assert_true(p->seconds_left >= 0);
    assert_int_equal(isnan(p->validation), p->epoch == 1 && !p->epoch_done);
    w->epochs_done += p->epoch_done;
    w->saw_best = w->saw_best || p->best;
    w->last_left = p->seconds_left;
    if (p->epoch != w->stop_epoch) return false;
    return w->stop_step == 0 ? p->epoch_done : !p->epoch_done && p->step == w->stop_step;
}

/* 7 + 7 images to learn from, 1 + 1 to validate: batches of 4, 4, 4, 2. */
static inline dcam_trainer_options small_run(void)
{
    dcam_trainer_options o;
    OK(dcam_trainer_preset("dcam", &o));
    o.width = o.height = 32;
    o.batch = 4;
    o.epochs = 3;
    o.learning_rate = 0.05;
    o.validation_fraction = 0.1;
    o.schedule = DCAM_SCHEDULE_COSINE;
    o.seed = 11;
    o.threads = 1;
    return o;
}

static inline dcam_training_result train(const dcam_trainer_options *o)
{
    dcam_training_result result = {0};
    OK(dcam_trainer_run(dataset, teacher, "random:1", o, &result));
    return result;
}

static inline void assert_same(const dcam_training_result *a, const dcam_training_result *b)
{
    assert_int_equal(a->best_epoch, b->best_epoch);
    assert_memory_equal(&a->best_validation, &b->best_validation, sizeof a->best_validation);
    assert_memory_equal(a->student->values, b->student->values, a->student->value_count * sizeof(float));
    for (int k = 0; k < DCAM_STAGES; k++) {
        assert_int_equal(a->attention_count[k], b->attention_count[k]);
        assert_memory_equal(a->attention_values[k], b->attention_values[k], a->attention_count[k] * sizeof(float));
    }
}

static inline json_t *parse(const char *record)
{
    json_t *json = json_loads(record, 0, NULL);
    assert_non_null(json);
    return json;
}

static inline double epoch_number(const json_t *record, size_t epoch, const char *key)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(record, "epochs"), epoch), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static inline void refuse(const dcam_trainer_options *o, dcam_status status, const char *part)
{
    dcam_training_result r = {0};
    const size_t held = dcam_memory_held();
    const dcam_status got = dcam_trainer_run(dataset, teacher, "random:1", o, &r);
    if (got != status || !strstr(dcam_error_message(), part))
        fail_msg("%s with '%s' was wanted; %s: %s", dcam_status_name(status), part, dcam_status_name(got), dcam_error_message());
    assert_null(r.student);
    assert_int_equal(dcam_memory_held(), held);
}

static inline int start(void **state)
{
    (void)state;
    char path[4096];
    tree_create(root);
    tree_path(root, "data", path);
    tree_path(root, "state", checkpoint);
    const dcam_synth_plan plan = {.folder = path, .seed = 2, .size = 64, .classes = 2, .train = 8, .test_good = 1,
                                  .test_defective = 1};
    if (dcam_synth_write(&plan) != DCAM_OK || dcam_dataset_open(path, NULL, &dataset) != DCAM_OK) return -1;
    dcam_set_threads(0);
    return dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), 1, &teacher) == DCAM_OK ? 0 : -1;
}

static inline int end(void **state)
{
    (void)state;
    dcam_trunk_weights_destroy(teacher);
    dcam_dataset_destroy(dataset);
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1;
}

#endif
