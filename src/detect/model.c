/* model.c - a model in memory: its life, its classes, and the check that stands before writing and after reading, so
 * that whatever dcam_model_save accepts dcam_model_load reads back. */
#include "detect/model.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "detect/model_format.h"
#include "net/attention.h"
#include "net/ranges.h"
#include "weights/json_text.h"

dcam_status dcam_model_create(dcam_model **out) { return dcam_alloc_zero(1, sizeof **out, out); }

void dcam_class_calibration_clear(dcam_class_calibration *c)
{
    dcam_free(c->name);
    dcam_free(c->scores);
    dcam_free(c->prototypes);
    dcam_free(c->centre);
    *c = (dcam_class_calibration){0};
}

void dcam_model_destroy(dcam_model *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->class_count; i++) dcam_class_calibration_clear(&m->classes[i]);
    dcam_free(m->classes);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(m->attention_values[k]);
    dcam_free(m->teacher_ranges);
    dcam_free(m->student_ranges);
    dcam_free(m->memory.projection);
    dcam_trunk_weights_destroy(m->student);
    dcam_trunk_weights_destroy(m->teacher);
    dcam_free(m->training_record);
    dcam_free(m->teacher_description);
    dcam_free(m->method);
    dcam_free(m);
}

int dcam_model_class_index(const dcam_model *m, const char *name)
{
    for (size_t i = 0; i < m->class_count; i++)
        if (strcmp(m->classes[i].name, name) == 0) return (int)i;
    return -1;
}

int dcam_model_format(const dcam_model *m)
{
    for (size_t i = 0; i < m->class_count; i++)
        if (m->classes[i].rule == DCAM_RULE_POOLED) return DCAM_MODEL_FORMAT;
    return m->memory.dimensions > 0 ? 2 : 1;
}

/* ---- checks ---- */

bool dcam_model_text_is_plain(const char *text, size_t max_bytes)
{
    size_t bytes = 0;
    uint32_t code;
    while (text[bytes]) {
        const size_t length = dcam_utf8_character(text + bytes, &code);
        if (length == 0 || dcam_utf8_is_control(code)) return false;
        bytes += length;
        if (bytes > max_bytes) return false;
    }
    return true;
}

dcam_status dcam_class_name_check(const char *name)
{
    const char *why = NULL;
    if (name[0] == '\0') why = "is empty";
    else if (strlen(name) > DCAM_MAX_CLASS_NAME) why = "is longer than 255 bytes";
    else if (!dcam_model_text_is_plain(name, DCAM_MAX_CLASS_NAME)) why = "is not plain UTF-8 text";
    else if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) why = "cannot name a folder";
    if (!why) return DCAM_OK;
    if (!dcam_model_text_is_plain(name, DCAM_MAX_CLASS_NAME)) name = "?";
    return dcam_fail(DCAM_ERROR_DATA, "class \"%s\": the name %s; give the class another one", name, why);
}

static dcam_status bad(const char *path, const char *what) { return dcam_fail(DCAM_ERROR_MODEL, "%s: %s", path, what); }

/* Others put the record into their own JSON as it is. */
static dcam_status check_record(const char *text, const char *path)
{
    dcam_json_error error;
    json_t *json = dcam_json_parse(text, strlen(text), &error);
    const bool is_object = json_is_object(json);
    json_decref(json);
    if (is_object) return DCAM_OK;
    if (error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to read the training record", path);
    return bad(path, "the training record is not a JSON object");
}

static dcam_status check_preprocessing(const dcam_preprocessing *p, const char *path)
{
    const int sides[2] = {p->width, p->height};
    for (int i = 0; i < 2; i++)
        if (sides[i] < 32 || sides[i] > DCAM_MAX_INPUT_SIDE || sides[i] % 32)
            return dcam_fail(DCAM_ERROR_MODEL, "%s: an input of %d x %d pixels; both sides must be multiples of 32 up to %d",
                             path, p->width, p->height, DCAM_MAX_INPUT_SIDE);
    for (int c = 0; c < 3; c++)
        if (!(fabsf(p->mean[c]) <= 100) || !(p->deviation[c] >= 1e-6f && p->deviation[c] <= 1e6f))
            return bad(path, "the mean or deviation of the preprocessing is out of range");
    return DCAM_OK;
}

static bool all_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

static const char *memory_fault(const dcam_class_calibration *c, const dcam_memory *memory)
{
    if (memory->dimensions == 0) return c->prototypes || c->prototype_count ? "prototypes, but the model has no memory" : NULL;
    if (!c->prototypes || c->prototype_count < 1 || c->prototype_count > DCAM_MAX_PROTOTYPES) return "no prototypes, or too many";
    if (!all_finite(c->prototypes, c->prototype_count * (size_t)memory->dimensions)) return "a prototype that is not finite";
    if (!isfinite(c->memory_mean) || !isfinite(c->memory_deviation) || !(c->memory_deviation > 0))
        return "statistics of the memory out of range";
    return NULL;
}

static dcam_status check_memory(const dcam_model *m, const char *path)
{
    const dcam_memory *memory = &m->memory;
    const int channels = m->architecture->stage_channels[1] + m->architecture->stage_channels[2];
    if (memory->dimensions == 0 && !memory->projection) return DCAM_OK;
    if (memory->dimensions < 1 || memory->dimensions > channels || !memory->projection)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: a memory of %d dimensions; they must be 1 to %d", path, memory->dimensions, channels);
    if (!all_finite(memory->projection, (size_t)channels * (size_t)memory->dimensions))
        return bad(path, "the projection of the memory is not finite");
    if (!(memory->weight > 0 && memory->weight <= DCAM_MAX_MEMORY_WEIGHT))
        return bad(path, "the weight of the memory is out of range");
    if (m->map.kind != DCAM_MAP_STANDARD) return bad(path, "a memory needs the standardised map");
    return DCAM_OK;
}

static dcam_status check_class(const dcam_class_calibration *c, const dcam_memory *memory, size_t channels, const char *path)
{
    const char *why = memory_fault(c, memory);
    for (size_t i = 0; i < c->score_count && !why; i++)
        if (!isfinite(c->scores[i])) why = "a score that is not finite";
        else if (i > 0 && c->scores[i] < c->scores[i - 1]) why = "scores that are not in ascending order";
    for (size_t i = 0; i < channels && !why; i++)
        if (!isfinite(c->centre[i])) why = "a centre that is not finite";
    for (int k = 0; k < DCAM_STAGES && !why; k++)
        if (!isfinite(c->stages.mean[k]) || !isfinite(c->stages.deviation[k]) || !(c->stages.deviation[k] > 0))
            why = "stage statistics out of range";
    if (why) {
    } else if (c->score_count < 1 || c->score_count > DCAM_MAX_CLASS_SCORES) why = "no scores, or too many";
    else if (!isfinite(c->threshold)) why = "a threshold that is not finite";
    else if (!(c->false_alarm_rate >= 0 && c->false_alarm_rate <= 1)) why = "a false-alarm rate that is not 0 to 1";
    else if ((unsigned)c->rule >= DCAM_RULES) why = "an unknown threshold rule";
    else if (!isfinite(c->pixel_median) || !isfinite(c->pixel_high)) why = "pixel quantiles that are not finite";
    else if (!isfinite(c->map_high - c->map_low) || !(c->map_low < c->map_high))
        why = "a colour scale that does not rise, or too far";
    if (!why) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_MODEL, "%s: class \"%s\" has %s; calibrate or train again", path, c->name, why);
}

static dcam_status check_ranges(const dcam_model *m, const char *path)
{
    const float *const ranges[2] = {m->teacher_ranges, m->student_ranges};
    if (!ranges[0] != !ranges[1]) return bad(path, "int8 ranges of the teacher or the student alone; run `dcam calibrate --int8`");
    for (int net = 0; net < 2 && ranges[net]; net++)
        for (int i = 0; i < m->teacher->convolution_count; i++)
            if (!(ranges[net][i] >= DCAM_LEAST_RANGE && ranges[net][i] <= DCAM_LARGEST_RANGE))
                return bad(path, "an int8 range that is not a number between 1e-6 and 1e6; run `dcam calibrate --int8`");
    return DCAM_OK;
}

dcam_status dcam_model_check(const dcam_model *m, const char *path)
{
    if (!m->architecture || !m->teacher || !m->student) return bad(path, "the teacher or the student is missing");
    if (m->teacher->architecture != m->architecture || m->student->architecture != m->architecture)
        return bad(path, "teacher and student are of different architectures");
    if (!m->teacher->folded || m->student->folded)
        return bad(path, "the teacher must have its batch norm folded and the student must not");
    if (!m->method || !m->method[0] || !dcam_model_text_is_plain(m->method, MODEL_MAX_TEXT))
        return bad(path, "the name of the method is missing or no plain text");
    if (m->teacher_description && !dcam_model_text_is_plain(m->teacher_description, MODEL_MAX_TEXT))
        return bad(path, "the description of the teacher is no plain text");
    if (m->training_record) DCAM_TRY(check_record(m->training_record, path));
    DCAM_TRY(check_preprocessing(&m->preprocessing, path));
    if (dcam_map_options_check(&m->map) != DCAM_OK) return dcam_fail_prefix(DCAM_ERROR_MODEL, "%s", path);
    DCAM_TRY(check_memory(m, path));
    if (m->attention < DCAM_ATTENTION_NONE || m->attention > DCAM_ATTENTION_CBAM)
        return bad(path, "an unknown kind of attention");
    if (m->attention_at_detection && m->attention == DCAM_ATTENTION_NONE)
        return bad(path, "attention is kept at detection, but there is none");
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t wanted = dcam_attention_value_count((dcam_attention_kind)m->attention, m->architecture->stage_channels[k]);
        if (m->attention_count[k] != wanted || (wanted && !m->attention_values[k]))
            return bad(path, "the attention weights do not fit the kind of attention");
    }
    DCAM_TRY(check_ranges(m, path));
    if (m->class_count > DCAM_MAX_CLASSES)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: %zu classes, more than the limit of %d", path, m->class_count, DCAM_MAX_CLASSES);
    for (size_t i = 0; i < m->class_count; i++) {
        const dcam_class_calibration *c = &m->classes[i];
        if (dcam_class_name_check(c->name) != DCAM_OK) return dcam_fail_prefix(DCAM_ERROR_MODEL, "%s", path);
        if (dcam_model_class_index(m, c->name) != (int)i)
            return dcam_fail(DCAM_ERROR_MODEL, "%s: class \"%s\" is there twice", path, c->name);
        DCAM_TRY(check_class(c, &m->memory, (size_t)m->architecture->stage_channels[DCAM_STAGES - 1], path));
    }
    return DCAM_OK;
}
