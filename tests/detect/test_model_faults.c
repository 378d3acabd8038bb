/* The model file where anything may fail: memory at every single allocation of writer and reader, jansson's among
 * them, and every entry and tensor that is missing, of another kind or out of range. What is saved of a whole model
 * and comes back: test_model.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/file.h"
#include "data/tree.h"
#include "edited_tensors.h"
#include "json_allocations.h"
#include "outcome.h"
#include "tiny_model.h"

DEFINE_TINY_ARCHITECTURE

static char root[256], good[4096], other[4096];

static int start(void **state)
{
    (void)state;
    tree_create(root);
    tree_path(root, "good", good);
    tree_path(root, "other", other);
    dcam_model *m = tiny_model(DCAM_ATTENTION_CBAM, true);
    OK(dcam_model_save(m, good));
    dcam_model_destroy(m);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tree_remove(root);
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

static void memory_runs_out_while_it_saves(void **state)
{
    (void)state;
    dcam_model *m = tiny_model(DCAM_ATTENTION_CBAM, true);
    EVERY_ALLOCATION(a, dcam_model_save(m, other)) {
        assert_int_equal(dcam_path_exists(other), a.passed);
        remove(other);
    }
    dcam_model_destroy(m);
}

static void memory_runs_out_while_it_loads(void **state)
{
    (void)state;
    dcam_model *m = NULL;
    EVERY_ALLOCATION(a, dcam_model_load(good, &m)) {
        assert_true(a.passed == (m != NULL));
        if (m) assert_int_equal(m->class_count, TINY_CLASSES);
        dcam_model_destroy(m);
        m = NULL;
    }
}

static void refused(const char *says)
{
    dcam_model *m = NULL;
    const size_t held = dcam_memory_held();
    const dcam_status status = dcam_model_load(other, &m);
    assert_refused(status, DCAM_ERROR_MODEL, says, other);
    assert_null(m);
    assert_int_equal(dcam_memory_held(), held);
}

static void edit_refused(const tensor_edit *e, const char *says)
{
    edit_tensors(good, other, e);
    refused(says);
}

static void every_entry_is_needed(void **state)
{
    (void)state;
    static const char *const needed[] = {"architecture", "attention",     "attention_at_detection",
                                         "method",       "preprocessing", "map",
                                         "classes",      "calibration"};
    char says[100];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        snprintf(says, sizeof says, "\"%s\" is missing", needed[i]);
        edit_refused(&(tensor_edit){.key = needed[i]}, says);
    }
    edit_refused(&(tensor_edit){.key = "dcam", .value = "checkpoint"}, "not a model file");
    edit_refused(&(tensor_edit){.key = "format_version", .value = "a"}, "not a number");
    edit_refused(&(tensor_edit){.key = "architecture", .value = "resnet18"}, "does not know");
    edit_refused(&(tensor_edit){.key = "map", .value = "[]"}, "not the JSON object");
    edit_refused(&(tensor_edit){.key = "classes", .value = "{}"}, "not the JSON array");
}

/* A member of a JSON object, or of the last one of an array, gets another value; NULL: it is left out. */
static void member_refused(const char *key, const char *member, const char *value, const char *says)
{
    dcam_tensors *file;
    OK(dcam_tensors_open(good, &file));
    json_t *json = json_loads(dcam_tensors_metadata(file, key), 0, NULL);
    json_t *object = json_is_array(json) ? json_array_get(json, json_array_size(json) - 1) : json;
    dcam_tensors_destroy(file);
    assert_non_null(json_object_get(object, member));
    if (value) json_object_set_new(object, member, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(object, member);
    char *text = json_dumps(json, 0);
    json_decref(json);
    edit_refused(&(tensor_edit){.key = key, .value = text}, says);
    free(text);
}

static void every_number_is_checked(void **state)
{
    (void)state;
    static const char *const numbers[][2] = {
        {"preprocessing", "width"}, {"preprocessing", "height"}, {"map", "kd_weight"}, {"map", "kd_temperature"},
        {"map", "smoothing"}, {"map", "top_percent"}, {"memory", "dimensions"}, {"memory", "weight"},
        {"calibration", "threshold"}, {"calibration", "false_alarm_rate"}, {"calibration", "pixel_median"},
        {"calibration", "pixel_high"}, {"calibration", "map_low"}, {"calibration", "map_high"},
        {"calibration", "memory_mean"}, {"calibration", "memory_deviation"}};
    static const char *const triples[][2] = {{"preprocessing", "mean"},
                                             {"preprocessing", "deviation"},
                                             {"calibration", "stage_mean"},
                                             {"calibration", "stage_deviation"}};
    static const char *const broken[] = {"[1, \"1\", 1]", "[1, 1, 1e39]", "[1, null, 1]"};
    static const char *const sizes[] = {"-32", "0", "31.9", "4097", "1e99"};
    char says[100];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(says, sizeof says, "the number \"%s\" is missing", numbers[i][1]);
        member_refused(numbers[i][0], numbers[i][1], NULL, says);
        member_refused(numbers[i][0], numbers[i][1], "\"1\"", says);
        if (strcmp(numbers[i][1], "threshold") != 0)
            member_refused(numbers[i][0], numbers[i][1], "1e300", ""); /* any is fine */
    }
    for (size_t i = 0; i < sizeof triples / sizeof *triples; i++) {
        snprintf(says, sizeof says, "\"%s\" in the metadata is not an array of 3 numbers", triples[i][1]);
        member_refused(triples[i][0], triples[i][1], NULL, says);
        member_refused(triples[i][0], triples[i][1], "{}", says);
        member_refused(triples[i][0], triples[i][1], "[1, 1]", says);
        for (size_t k = 0; k < sizeof broken / sizeof *broken; k++)
            member_refused(triples[i][0], triples[i][1], broken[k], "");
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        member_refused("preprocessing", "width", sizes[i], "both sides must be 32 to 4096");
        member_refused("preprocessing", "height", sizes[i], "both sides must be 32 to 4096");
    }
    member_refused("memory", "dimensions", "17", "must be 1 to 16");
    member_refused("memory", "dimensions", "2.5", "must be 1 to 16");
    member_refused("memory", "dimensions", "2", "memory.projection");
    member_refused("calibration", "rule", NULL, "unknown threshold rule");
    member_refused("map", "kind", NULL, "unknown kind of map");
}

static void more_classes_than_the_limit(void **state)
{
    (void)state;
    enum { MANY = DCAM_MAX_CLASSES + 1 };
    json_t *names = json_array();
    for (int i = 0; i < MANY; i++) json_array_append_new(names, json_sprintf("%d", i));
    char *text = json_dumps(names, 0);
    json_decref(names);
    edit_tensors(good, other, &(tensor_edit){.key = "classes", .value = text});
    refused("4097 classes and the calibration of 2; they must be as many");
    char first[4096];
    tree_path(root, "first", first);
    assert_int_equal(rename(other, first), 0);
    edit_tensors(first, other, &(tensor_edit){.key = "calibration", .value = text});
    refused("4097 classes and the calibration of 4097; they must be as many, and at most 4096");
    free(text);
}

static void every_tensor_is_checked(void **state)
{
    (void)state;
    static const char *const needed[] = {"teacher.conv1.weight", "student.bn1.weight",      "attention.layer1.w1",
                                         "attention.layer2.w2",  "attention.layer3.kernel", "memory.projection",
                                         "calibration.0.scores", "calibration.1.centre",    "memory.1.prototypes"};
    static float zeros[(DCAM_MAX_PROTOTYPES + 1) * TINY_DIMENSIONS];
    static float scores[DCAM_MAX_CLASS_SCORES + 1];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        edit_refused(&(tensor_edit){.tensor = needed[i]}, needed[i]);
        edit_refused(&(tensor_edit){.tensor = needed[i], .data = zeros, .rank = 3, .shape = {1, 2, 1}}, needed[i]);
    }
    edit_refused(&(tensor_edit){.tensor = "ranges.student", .data = zeros, .rank = 1, .shape = {2}}, "ranges.student");
    edit_refused(&(tensor_edit){.tensor = "ranges.student"}, "the teacher or the student alone");
    edit_refused(&(tensor_edit){.tensor = "ranges.student", .renamed = "ranges.\xc3\xa4"},
                 "does not belong into this model");
    static const size_t score_counts[] = {0, DCAM_MAX_CLASS_SCORES + 1},
                        prototype_counts[] = {0, DCAM_MAX_PROTOTYPES + 1};
    for (int i = 0; i < 2; i++) {
        edit_refused(
            &(tensor_edit){.tensor = "calibration.1.scores", .data = scores, .rank = 1, .shape = {score_counts[i]}},
            "calibration.1.scores is missing or is not a list of 1 to 1000000 scores");
        edit_refused(&(tensor_edit){.tensor = "memory.0.prototypes", .data = zeros, .rank = 2,
                                    .shape = {prototype_counts[i], TINY_DIMENSIONS}},
                     "memory.0.prototypes is missing or is not a table of 1 to 65536 prototypes");
    }
    edit_refused(&(tensor_edit){.tensor = "memory.0.prototypes", .data = zeros, .rank = 2, .shape = {4, 2}},
                 "memory.0.prototypes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_saves, count_json, count_json_no_more),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_loads, count_json, count_json_no_more),
        cmocka_unit_test(every_entry_is_needed),
        cmocka_unit_test(every_number_is_checked),
        cmocka_unit_test(more_classes_than_the_limit),
        cmocka_unit_test(every_tensor_is_checked),
    };
    return cmocka_run_group_tests(tests, start, end);
}
