/* The model file: what is saved comes back bit by bit; every single thing that can be wrong with a file is refused with
 * a line; random damage never gets past the checks in a way that a sanitizer would see. */
#define _GNU_SOURCE /* memmem */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "detect/calibration.h"
#include "formula.h"
#include "net/attention.h"
#include "net/ranges.h"
#include "outcome.h"

static char folder[64], model_path[96], other_path[96];

static dcam_model *make_model(int attention, size_t class_count)
{
    dcam_model *m;
    dcam_trunk_weights *teacher;
    assert_int_equal(dcam_model_create(&m), DCAM_OK);
    m->architecture = dcam_architecture_find(NULL);
    assert_int_equal(dcam_copy_string("dcam", &m->method), DCAM_OK);
    assert_int_equal(dcam_copy_string("random:3", &m->teacher_description), DCAM_OK);
    assert_int_equal(dcam_copy_string("{\"epochs\": 3, \"note\": \"\xc3\xa4\\n\"}", &m->training_record), DCAM_OK);
    m->preprocessing = dcam_preprocessing_default(320, 256);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 3, &teacher), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_fold(teacher, &m->teacher), DCAM_OK);
    dcam_trunk_weights_destroy(teacher);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 4, &m->student), DCAM_OK);
    m->attention = attention;
    m->attention_at_detection = attention != DCAM_ATTENTION_NONE;
    for (uint32_t k = 0; k < DCAM_STAGES; k++) {
        m->attention_count[k] = dcam_attention_value_count((dcam_attention_kind)attention, m->architecture->stage_channels[k]);
        if (m->attention_count[k] == 0) continue;
        assert_int_equal(dcam_alloc(m->attention_count[k], sizeof(float), &m->attention_values[k]), DCAM_OK);
        formula_fill(k, 1, 0, m->attention_values[k], m->attention_count[k]);
    }
    for (int k = 0; k < 2; k++) {
        float **ranges = k ? &m->student_ranges : &m->teacher_ranges;
        const size_t count = (size_t)m->teacher->convolution_count;
        assert_int_equal(dcam_alloc(count, sizeof(float), ranges), DCAM_OK);
        for (size_t i = 0; i < count; i++) (*ranges)[i] = (float)(i + 1) / (float)(k + 3);
    }
    m->map = (dcam_map_options){DCAM_MAP_STANDARD, 0.1, 2, 4, 1.0 / 3};
    if (class_count > 1) { /* those of one class have no memory */
        m->memory = (dcam_memory){.dimensions = 5, .weight = 2.5};
        assert_int_equal(dcam_alloc(384 * 5, sizeof(float), &m->memory.projection), DCAM_OK);
        formula_fill(90, 1, 0, m->memory.projection, 384 * 5);
    }
    assert_int_equal(dcam_alloc_zero(class_count, sizeof *m->classes, &m->classes), DCAM_OK);
    for (; m->class_count < class_count; m->class_count++) {
        dcam_class_calibration *c = &m->classes[m->class_count];
        const uint32_t i = (uint32_t)m->class_count;
        assert_int_equal(dcam_format_string(&c->name, "class \"%u\" \xe6\x9d\xbf", i), DCAM_OK);
        c->score_count = 3 + i;
        assert_int_equal(dcam_alloc(c->score_count, sizeof(float), &c->scores), DCAM_OK);
        for (size_t s = 0; s < c->score_count; s++) c->scores[s] = (float)s / 3;
        assert_int_equal(dcam_alloc(256, sizeof(float), &c->centre), DCAM_OK);
        formula_fill(100 + i, 1, 0, c->centre, 256);
        if (class_count > 1) {
            c->prototype_count = 4 + i;
            assert_int_equal(dcam_alloc(c->prototype_count * 5, sizeof(float), &c->prototypes), DCAM_OK);
            formula_fill(200 + i, 1, 0, c->prototypes, c->prototype_count * 5);
            c->memory_mean = 0.3f;
            c->memory_deviation = 0.2f + (float)i;
        }
        c->pixel_median = 0.1f;
        c->pixel_high = 0.7f;
        dcam_class_set_threshold(c, 2.0 / 3 + i, (dcam_threshold_rule)(i % DCAM_RULES), 0.01);
        for (int k = 0; k < DCAM_STAGES; k++) {
            c->stages.mean[k] = -0.1f * (float)(k + 1);
            c->stages.deviation[k] = 1.0f / (float)(k + 3);
        }
    }
    return m;
}

static void assert_floats_equal(const float *a, const float *b, size_t count)
{
    assert_memory_equal(a, b, count * sizeof *a);
}

static void assert_models_equal(const dcam_model *a, const dcam_model *b)
{
    assert_ptr_equal(a->architecture, b->architecture);
    assert_string_equal(a->method, b->method);
    assert_string_equal(a->teacher_description, b->teacher_description);
    assert_string_equal(a->training_record, b->training_record);
    assert_memory_equal(&a->preprocessing, &b->preprocessing, sizeof a->preprocessing);
    assert_int_equal(a->teacher->value_count, b->teacher->value_count);
    assert_true(a->teacher->folded && b->teacher->folded && !a->student->folded && !b->student->folded);
    assert_floats_equal(a->teacher->values, b->teacher->values, a->teacher->value_count);
    assert_int_equal(a->student->value_count, b->student->value_count);
    assert_floats_equal(a->student->values, b->student->values, a->student->value_count);
    assert_int_equal(a->attention, b->attention);
    assert_int_equal(a->attention_at_detection, b->attention_at_detection);
    for (int k = 0; k < DCAM_STAGES; k++) {
        assert_int_equal(a->attention_count[k], b->attention_count[k]);
        if (a->attention_count[k]) assert_floats_equal(a->attention_values[k], b->attention_values[k], a->attention_count[k]);
    }
    assert_true(a->map.kind == b->map.kind && a->map.kd_weight == b->map.kd_weight && a->map.smoothing == b->map.smoothing &&
                a->map.kd_temperature == b->map.kd_temperature && a->map.top_percent == b->map.top_percent);
    const size_t convolutions = (size_t)a->teacher->convolution_count;
    assert_floats_equal(a->teacher_ranges, b->teacher_ranges, convolutions);
    assert_floats_equal(a->student_ranges, b->student_ranges, convolutions);
    assert_int_equal(a->class_count, b->class_count);
    assert_int_equal(a->memory.dimensions, b->memory.dimensions);
    assert_true(a->memory.weight == b->memory.weight);
    if (a->memory.dimensions) assert_floats_equal(a->memory.projection, b->memory.projection, 384 * 5);
    for (size_t i = 0; i < a->class_count; i++) {
        const dcam_class_calibration *c = &a->classes[i], *d = &b->classes[i];
        assert_string_equal(c->name, d->name);
        assert_int_equal(c->score_count, d->score_count);
        assert_floats_equal(c->scores, d->scores, c->score_count);
        assert_floats_equal(c->centre, d->centre, 256);
        assert_int_equal(c->prototype_count, d->prototype_count);
        if (c->prototypes) assert_floats_equal(c->prototypes, d->prototypes, c->prototype_count * 5);
        assert_true(c->memory_mean == d->memory_mean && c->memory_deviation == d->memory_deviation);
        assert_true(c->threshold == d->threshold && c->false_alarm_rate == d->false_alarm_rate && c->rule == d->rule);
        assert_true(c->map_low == d->map_low && c->map_high == d->map_high && c->pixel_median == d->pixel_median &&
                    c->pixel_high == d->pixel_high);
        assert_memory_equal(&c->stages, &d->stages, sizeof c->stages);
        assert_int_equal(dcam_model_class_index(b, c->name), (int)i);
    }
    assert_int_equal(dcam_model_class_index(b, "no such class"), -1);
}

static void what_is_saved_comes_back(void **state)
{
    (void)state;
    const size_t held = dcam_memory_held();
    for (int attention = DCAM_ATTENTION_NONE; attention <= DCAM_ATTENTION_CBAM; attention++) {
        dcam_model *m = make_model(attention, (size_t)attention + 1), *back = NULL;
        assert_int_equal(dcam_model_save(m, model_path), DCAM_OK);
        assert_int_equal(dcam_model_load(model_path, &back), DCAM_OK);
        assert_models_equal(m, back);
        dcam_model_destroy(back);
        dcam_model_destroy(m);
    }
    assert_int_equal(dcam_memory_held(), held);
    dcam_model_destroy(NULL);
}

/* A model before its calibration, without record and description. */
static void a_bare_model_comes_back(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_ATTENTION_NONE, 0), *back = NULL;
    dcam_free(m->training_record);
    dcam_free(m->teacher_description);
    m->training_record = m->teacher_description = NULL;
    dcam_free(m->teacher_ranges);
    dcam_free(m->student_ranges);
    m->teacher_ranges = m->student_ranges = NULL;
    assert_int_equal(dcam_model_save(m, model_path), DCAM_OK);
    assert_int_equal(dcam_model_load(model_path, &back), DCAM_OK);
    assert_null(back->training_record);
    assert_null(back->teacher_description);
    assert_null(back->teacher_ranges);
    assert_null(back->student_ranges);
    assert_int_equal(back->class_count, 0);
    dcam_model_destroy(back);
    dcam_model_destroy(m);
}

static void refused_to_save(dcam_model *m, const char *says)
{
    assert_int_equal(dcam_file_write(other_path, "old", 3), DCAM_OK);
    assert_int_equal(dcam_model_save(m, other_path), DCAM_ERROR_MODEL);
    if (!strstr(dcam_error_message(), says)) fail_msg("\"%s\" does not say \"%s\"", dcam_error_message(), says);
    uint8_t *bytes;
    size_t count;
    assert_int_equal(dcam_file_read(other_path, 100, &bytes, &count), DCAM_OK);
    assert_int_equal(count, 3); /* the older file is intact */
    dcam_free(bytes);
}

static void nothing_unreadable_is_written(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_ATTENTION_CHANNEL, 2);
    dcam_class_calibration *c = &m->classes[1];
#define REFUSED(change, undo, says) change; refused_to_save(m, says); undo
    REFUSED(c->threshold = NAN, c->threshold = 1, "threshold");
    REFUSED(c->false_alarm_rate = 1.5, c->false_alarm_rate = 0.01, "false-alarm rate");
    REFUSED(c->scores[0] = 9, c->scores[0] = 0, "ascending");
    REFUSED(c->scores[3] = INFINITY, c->scores[3] = 5, "not finite");
    REFUSED(c->centre[255] = NAN, c->centre[255] = 0, "centre");
    REFUSED(c->stages.deviation[2] = 0, c->stages.deviation[2] = 1, "stage statistics");
    const float high = c->map_high;
    REFUSED(c->map_low = c->map_high, c->map_low = 0, "colour scale");
    REFUSED((c->map_low = -3e38f, c->map_high = 3e38f), (c->map_low = 0, c->map_high = high), "colour scale");
    REFUSED(c->pixel_high = NAN, c->pixel_high = 0, "pixel quantiles");
    REFUSED(c->rule = (dcam_threshold_rule)9, c->rule = DCAM_RULE_F1, "rule");
    REFUSED(c->memory_deviation = 0, c->memory_deviation = 1, "statistics of the memory");
    REFUSED(c->prototypes[24] = NAN, c->prototypes[24] = 0, "prototype that is not finite");
    REFUSED(c->prototype_count = 0, c->prototype_count = 5, "no prototypes");
    REFUSED(m->memory.weight = 0, m->memory.weight = 1, "weight of the memory");
    REFUSED(m->memory.dimensions = 385, m->memory.dimensions = 5, "385 dimensions");
    REFUSED(m->memory.projection[3] = INFINITY, m->memory.projection[3] = 0, "projection of the memory");
    REFUSED(m->map.kind = DCAM_MAP_SUM, m->map.kind = DCAM_MAP_STANDARD, "standardised map");
    char *name = c->name;
    REFUSED(c->name = m->classes[0].name, c->name = name, "twice");
    REFUSED(c->name = (char[]){"a/b"}, c->name = name, "folder");
    REFUSED(c->name = (char[]){".."}, c->name = name, "folder");
    REFUSED(c->name = (char[]){""}, c->name = name, "empty");
    REFUSED(c->name = (char[]){"a\nb"}, c->name = name, "plain");
    REFUSED(c->name = (char[]){"\xff\xfe"}, c->name = name, "plain");
    REFUSED(c->name = (char[]){"\xc0\xaf"}, c->name = name, "plain"); /* overlong */
    char long_name[300];
    memset(long_name, 'n', 299);
    long_name[299] = 0;
    REFUSED(c->name = long_name, c->name = name, "255");
    REFUSED(m->preprocessing.width = 100, m->preprocessing.width = 320, "multiples of 32");
    REFUSED(m->preprocessing.deviation[1] = 0, m->preprocessing.deviation[1] = 1, "deviation");
    REFUSED(m->map.smoothing = -1, m->map.smoothing = 0, "smoothing");
    REFUSED(m->attention = 7, m->attention = DCAM_ATTENTION_CHANNEL, "attention");
    REFUSED(m->attention = DCAM_ATTENTION_CBAM, m->attention = DCAM_ATTENTION_CHANNEL, "attention");
    REFUSED(m->attention = DCAM_ATTENTION_NONE, m->attention = DCAM_ATTENTION_CHANNEL, "attention");
    float *ranges = m->student_ranges;
    REFUSED(m->student_ranges = NULL, m->student_ranges = ranges, "teacher or the student alone");
    REFUSED(ranges[2] = NAN, ranges[2] = 1, "int8 range");
    REFUSED(ranges[13] = 0, ranges[13] = 1, "int8 range");
    REFUSED(ranges[0] = -1, ranges[0] = 1, "int8 range");
    REFUSED(ranges[1] = INFINITY, ranges[1] = 1, "int8 range");
    char *record = m->training_record;
    REFUSED(m->training_record = (char[]){"[1]"}, m->training_record = record, "training record");
    REFUSED(m->training_record = (char[]){"{"}, m->training_record = record, "training record");
    dcam_trunk_weights *student = m->student;
    REFUSED(m->student = m->teacher, m->student = student, "folded");
    REFUSED(m->student = NULL, m->student = student, "missing");
#undef REFUSED
    assert_int_equal(dcam_model_save(m, other_path), DCAM_OK);
    dcam_model_destroy(m);
}

/* ---- files that someone else wrote ---- */

static uint8_t *file_bytes;
static size_t file_count, data_at;

static void load_fails(dcam_status wanted, const char *says)
{
    dcam_model *out = (dcam_model *)1;
    const size_t held = dcam_memory_held();
    const dcam_status status = dcam_model_load(other_path, &out);
    assert_refused(status, wanted, says, other_path);
    assert_ptr_equal(out, (dcam_model *)1);
    assert_int_equal(dcam_memory_held(), held);
}

static json_t *header_of_file(void)
{
    uint64_t length;
    memcpy(&length, file_bytes, 8);
    json_t *header = json_loadb((const char *)file_bytes + 8, (size_t)length, 0, NULL);
    assert_non_null(header);
    /* Whoever changes a file takes its sums out. */
    json_object_del(json_object_get(header, "__metadata__"), "sha256");
    data_at = 8 + (size_t)length;
    return header;
}

/* Takes header over. */
static void write_with_header(json_t *header)
{
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t length = strlen(text);
    dcam_writer *w;
    assert_int_equal(dcam_writer_open(other_path, &w), DCAM_OK);
    assert_int_equal(dcam_writer_write(w, &length, 8), DCAM_OK);
    assert_int_equal(dcam_writer_write(w, text, (size_t)length), DCAM_OK);
    assert_int_equal(dcam_writer_write(w, file_bytes + data_at, file_count - data_at), DCAM_OK);
    assert_int_equal(dcam_writer_commit(w), DCAM_OK);
    free(text);
    json_decref(header);
}

/* value NULL: the key is taken out. */
static void with_metadata(const char *key, const char *value, dcam_status wanted, const char *says)
{
    json_t *header = header_of_file(), *metadata = json_object_get(header, "__metadata__");
    assert_non_null(json_object_get(metadata, key));
    if (value) json_object_set_new(metadata, key, json_string(value));
    else json_object_del(metadata, key);
    write_with_header(header);
    load_fails(wanted, says);
}

/* One number of the first class, or of another JSON value, replaced. */
static void with_member(const char *key, const char *member, const char *value, const char *says)
{
    json_t *header = header_of_file(), *metadata = json_object_get(header, "__metadata__");
    json_t *json = json_loads(json_string_value(json_object_get(metadata, key)), 0, NULL);
    json_t *object = json_is_array(json) ? json_array_get(json, 0) : json;
    assert_non_null(json_object_get(object, member));
    if (value) json_object_set_new(object, member, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(object, member);
    char *text = json_dumps(json, JSON_COMPACT);
    json_object_set_new(metadata, key, json_string(text));
    free(text);
    json_decref(json);
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, says);
}

static void with_tensor_renamed(const char *from, const char *to, const char *says)
{
    json_t *header = header_of_file(), *entry = json_object_get(header, from);
    assert_non_null(entry);
    json_object_set(header, to, entry);
    json_object_del(header, from);
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, says);
}

static void with_value(const char *tensor, size_t element, float value, const char *says)
{
    json_t *header = header_of_file();
    const json_t *offsets = json_object_get(json_object_get(header, tensor), "data_offsets");
    uint8_t *at = file_bytes + data_at + (size_t)json_integer_value(json_array_get(offsets, 0)) + 4 * element, old[4];
    memcpy(old, at, 4);
    memcpy(at, &value, 4);
    write_with_header(header);
    memcpy(at, old, 4);
    load_fails(DCAM_ERROR_MODEL, says);
}

static int open_model_file(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_ATTENTION_CBAM, 2);
    assert_int_equal(dcam_model_save(m, model_path), DCAM_OK);
    dcam_model_destroy(m);
    assert_int_equal(dcam_file_read(model_path, DCAM_MAX_WEIGHTS_BYTES, &file_bytes, &file_count), DCAM_OK);
    /* Without its sums, which would find every damage before the readers behind them do. */
    char *sums = memmem(file_bytes, file_count, "\"sha256\":\"", 10);
    assert_non_null(sums);
    sums[6] = 'x';
    return 0;
}

static int close_model_file(void **state)
{
    (void)state;
    dcam_free(file_bytes);
    return 0;
}

static void versions_and_kinds(void **state)
{
    (void)state;
    with_metadata("format_version", "4", DCAM_ERROR_MODEL_VERSION, "update dcam");
    with_metadata("format_version", "99999999999999999999999999", DCAM_ERROR_MODEL_VERSION, "update dcam");
    with_metadata("format_version", "0", DCAM_ERROR_MODEL, "damaged");
    with_metadata("format_version", "1x", DCAM_ERROR_MODEL, "damaged");
    with_metadata("format_version", "", DCAM_ERROR_MODEL, "damaged");
    with_metadata("format_version", NULL, DCAM_ERROR_MODEL, "not a model file");
    with_metadata("dcam", NULL, DCAM_ERROR_MODEL, "not a model file");
    with_metadata("dcam", "teacher", DCAM_ERROR_MODEL, "teacher file");
    with_metadata("architecture", "resnet999", DCAM_ERROR_MODEL, "architecture");
    with_metadata("attention", "both", DCAM_ERROR_MODEL, "attention");
    with_metadata("attention", "none", DCAM_ERROR_MODEL, "does not belong");
    with_metadata("attention_at_detection", "maybe", DCAM_ERROR_MODEL, "keep nor drop");
    with_metadata("method", "\x07", DCAM_ERROR_MODEL, "method");
    with_metadata("method", NULL, DCAM_ERROR_MODEL, "method");
    with_metadata("teacher", "line\nbreak", DCAM_ERROR_MODEL, "teacher");
    with_metadata("training", "not json", DCAM_ERROR_MODEL, "training record");
    with_metadata("training", "[]", DCAM_ERROR_MODEL, "training record");
}

static void bad_numbers_and_names(void **state)
{
    (void)state;
    with_metadata("preprocessing", NULL, DCAM_ERROR_MODEL, "preprocessing");
    with_metadata("preprocessing", "{", DCAM_ERROR_MODEL, "not JSON");
    with_metadata("preprocessing", "[1]", DCAM_ERROR_MODEL, "object");
    with_member("preprocessing", "width", "100", "multiples of 32");
    with_member("preprocessing", "width", "1e300", "32 to");
    with_member("preprocessing", "height", "-32", "32 to");
    with_member("preprocessing", "height", "\"256\"", "height");
    with_member("preprocessing", "mean", "[0, 0]", "mean");
    with_member("preprocessing", "mean", "[0, 0, 1e300]", "out of range");
    with_member("preprocessing", "deviation", "[1, 1, 0]", "out of range");
    with_member("preprocessing", "deviation", "[1, 1, \"1\"]", "out of range");
    with_metadata("memory", NULL, DCAM_ERROR_MODEL, "memory.");
    with_metadata("memory", "[]", DCAM_ERROR_MODEL, "object");
    with_member("memory", "dimensions", "0", "1 to 384");
    with_member("memory", "dimensions", "5.5", "1 to 384");
    with_member("memory", "dimensions", "6", "memory.projection");
    with_member("memory", "weight", "-1", "weight of the memory");
    with_member("memory", "weight", NULL, "weight");
    with_member("calibration", "memory_mean", NULL, "memory_mean");
    with_member("calibration", "memory_deviation", "0", "statistics of the memory");
    with_member("map", "kind", "\"median\"", "kind of map");
    with_member("map", "kind", "3", "kind of map");
    with_member("map", "smoothing", "1e9", "smoothing");
    with_member("map", "top_percent", "-1", "per cent");
    with_member("map", "kd_weight", NULL, "kd_weight");
    with_member("calibration", "threshold", NULL, "threshold");
    with_member("calibration", "threshold", "true", "threshold");
    with_member("calibration", "false_alarm_rate", "-1", "false-alarm rate");
    with_member("calibration", "rule", "\"whim\"", "rule");
    with_member("calibration", "map_low", "1e39", "colour scale");
    with_member("calibration", "map_high", "-7", "colour scale");
    with_member("calibration", "pixel_high", "1e300", "pixel quantiles");
    with_member("calibration", "stage_mean", "[0, 1e39, 0]", "stage statistics");
    with_member("calibration", "stage_deviation", "[1, -1, 1]", "stage statistics");
    with_member("calibration", "stage_deviation", "[1, 1, 1, 1]", "3 numbers");
    with_metadata("calibration", "[]", DCAM_ERROR_MODEL, "as many");
    with_metadata("calibration", "[1, 2]", DCAM_ERROR_MODEL, "rule");
    with_metadata("classes", "{}", DCAM_ERROR_MODEL, "array");
    with_metadata("classes", "[\"a\", 5]", DCAM_ERROR_MODEL, "not text");
    with_metadata("classes", "[\"a\", \"a\"]", DCAM_ERROR_MODEL, "twice");
    with_metadata("classes", "[\"a\", \"../b\"]", DCAM_ERROR_MODEL, "folder");
    with_metadata("classes", "[\"a\", \"\\u001b[2J\"]", DCAM_ERROR_MODEL, "plain");
    with_metadata("classes", "[\"a\"]", DCAM_ERROR_MODEL, "as many");
    char *many = malloc(5 * 5000 + 3);
    many[0] = '[';
    for (size_t i = 0; i < 5000; i++) memcpy(many + 1 + 3 * i, "0, ", 3);
    memcpy(many + 1 + 3 * 5000, "0]", 3);
    with_metadata("classes", many, DCAM_ERROR_MODEL, "at most");
    free(many);
}

static void bad_tensors(void **state)
{
    (void)state;
    with_tensor_renamed("teacher.conv1.weight", "teacher.conv9.weight", "conv");
    with_tensor_renamed("student.layer3.1.bn2.running_var", "student.x", "student.");
    with_tensor_renamed("attention.layer2.w1", "attention.layer2.w9", "attention.layer2.w1");
    with_tensor_renamed("calibration.1.scores", "calibration.2.scores", "calibration.1.scores");
    with_tensor_renamed("calibration.0.scores", "calibration.00.scores", "calibration.0.scores");
    with_tensor_renamed("calibration.0.centre", "calibration.0.center", "calibration.0.centre");
    with_tensor_renamed("memory.projection", "memory.projections", "memory.projection");
    with_tensor_renamed("memory.1.prototypes", "memory.2.prototypes", "memory.1.prototypes");
    with_value("memory.projection", 7, NAN, "memory.projection");
    with_value("memory.1.prototypes", 11, INFINITY, "memory.1.prototypes");
    with_value("calibration.0.scores", 1, -5, "ascending");
    with_value("calibration.0.scores", 1, NAN, "calibration.0.scores");
    with_value("calibration.1.centre", 17, INFINITY, "calibration.1.centre");
    with_value("teacher.layer2.0.conv1.weight", 3, NAN, "teacher.layer2.0.conv1.weight");
    with_value("student.bn1.weight", 3, INFINITY, "student.bn1.weight");
    with_value("attention.layer3.kernel", 97, NAN, "attention.layer3.kernel");
    with_value("ranges.teacher", 3, NAN, "ranges.teacher");
    with_value("ranges.teacher", 3, 0, "int8 range");
    with_value("ranges.student", 0, 2 * DCAM_LARGEST_RANGE, "int8 range");
    with_tensor_renamed("ranges.student", "ranges.pupil", "ranges.pupil does not belong");

    /* an extra one: the shape of the last but of no class */
    json_t *header = header_of_file();
    json_t *entry = json_pack("{s:s, s:[i], s:[I,I]}", "dtype", "F32", "shape", 0, "data_offsets",
                              (json_int_t)(file_count - data_at), (json_int_t)(file_count - data_at));
    json_object_set_new(header, "calibration.2.scores", entry);
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, "calibration.2.scores does not belong");

    /* shapes that do not fit */
    header = header_of_file();
    json_object_set_new(json_object_get(header, "ranges.teacher"), "shape", json_pack("[i,i]", 1, 15));
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, "ranges.teacher");
    header = header_of_file();
    entry = json_object_get(header, "attention.layer1.w1");
    json_object_set_new(entry, "shape", json_pack("[i,i]", 64, 8));
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, "attention.layer1.w1");
    header = header_of_file();
    entry = json_object_get(header, "calibration.0.scores");
    json_object_set_new(entry, "shape", json_pack("[i,i]", 3, 1));
    write_with_header(header);
    load_fails(DCAM_ERROR_MODEL, "calibration.0.scores");
}

static void write_other(const uint8_t *bytes, size_t count)
{
    assert_int_equal(dcam_file_write(other_path, bytes, count), DCAM_OK);
}

static void truncated_and_foreign_files(void **state)
{
    (void)state;
    const size_t lengths[] = {0, 1, 8, 9, 500, data_at - 1, data_at, data_at + 4, file_count / 2, file_count - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_other(file_bytes, lengths[i]);
        load_fails(DCAM_ERROR_MODEL, "");
    }
    static const char picture[] = "\x89PNG\r\n\x1a\n not a model at all";
    write_other((const uint8_t *)picture, sizeof picture);
    load_fails(DCAM_ERROR_MODEL, "");
    assert_int_equal(unlink(other_path), 0);
    load_fails(DCAM_ERROR_IO, "");
}

/* Bytes of the header changed at random: whatever comes out, it is a whole model or an error with a line. */
static void random_damage(void **state)
{
    (void)state;
    json_decref(header_of_file());
    dcam_random r = dcam_random_make(12, 34);
    int refused = 0, loaded = 0;
    enum { ROUNDS = 150 };
    for (int round = 0; round < ROUNDS; round++) {
        size_t at[3];
        uint8_t old[3];
        const size_t changes = 1 + (size_t)dcam_random_below(&r, 3);
        for (size_t k = 0; k < changes; k++) {
            at[k] = (size_t)dcam_random_below(&r, data_at);
            old[k] = file_bytes[at[k]];
            file_bytes[at[k]] = round % 2 ? (uint8_t)dcam_random_u32(&r) : (uint8_t)("0123456789-e.,[]{}\"\\n"[dcam_random_below(&r, 21)]);
        }
        write_other(file_bytes, file_count);
        dcam_model *m = NULL;
        const size_t held = dcam_memory_held();
        const dcam_status status = dcam_model_load(other_path, &m);
        if (status == DCAM_OK) {
            loaded++;
            assert_int_equal(dcam_model_save(m, other_path), DCAM_OK); /* what loads can be saved */
            dcam_model_destroy(m);
        } else {
            refused++;
            assert_true(status == DCAM_ERROR_MODEL || status == DCAM_ERROR_MODEL_VERSION || status == DCAM_ERROR_MEMORY);
            assert_true(strlen(dcam_error_message()) > 10);
        }
        assert_int_equal(dcam_memory_held(), held);
        for (size_t k = changes; k-- > 0;) file_bytes[at[k]] = old[k];
    }
    print_message("%d of %d damaged files refused\n", refused, ROUNDS);
    assert_true(refused > ROUNDS / 4 && loaded > 0);
}

static void allocations_may_fail(void **state)
{
    (void)state;
    dcam_model *m = NULL;
    /* Most of its allocations are names of tensors, one like another. */
    SOME_ALLOCATIONS(a, 120, dcam_model_load(model_path, &m)) {
        assert_true(a.passed ? a.n > 10 : m == NULL);
        dcam_model_destroy(m);
        m = NULL;
    }
    assert_int_equal(dcam_model_load(model_path, &m), DCAM_OK);
    SOME_ALLOCATIONS(a, 7, dcam_model_save(m, other_path)) {}
    dcam_model_destroy(m);
}

static void a_folder_that_is_not_there(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_ATTENTION_NONE, 1);
    assert_int_equal(dcam_model_save(m, "/nonexistent/folder/model"), DCAM_ERROR_IO);
    dcam_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_comes_back),
        cmocka_unit_test(a_bare_model_comes_back),
        cmocka_unit_test(nothing_unreadable_is_written),
        cmocka_unit_test_setup_teardown(versions_and_kinds, open_model_file, close_model_file),
        cmocka_unit_test_setup_teardown(bad_numbers_and_names, open_model_file, close_model_file),
        cmocka_unit_test_setup_teardown(bad_tensors, open_model_file, close_model_file),
        cmocka_unit_test_setup_teardown(truncated_and_foreign_files, open_model_file, close_model_file),
        cmocka_unit_test_setup_teardown(random_damage, open_model_file, close_model_file),
        cmocka_unit_test_setup_teardown(allocations_may_fail, open_model_file, close_model_file),
        cmocka_unit_test(a_folder_that_is_not_there),
    };
    snprintf(folder, sizeof folder, "/tmp/dcam-model-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(model_path, sizeof model_path, "%s/model", folder);
    snprintf(other_path, sizeof other_path, "%s/other", folder);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(model_path);
    unlink(other_path);
    rmdir(folder);
    return failed;
}
