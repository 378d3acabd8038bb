/* model_load.c - reads the model file (model_format.h). The file may come from anyone: every string, number, shape and
 * count is checked before it is used, and tensors that do not belong there are refused by name. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "detect/model_format.h"
#include "net/attention.h"
#include "weights/json_text.h"

typedef struct {
    const dcam_tensors *tensors;
    const char *path;
    dcam_model *model;
    size_t known; /* tensors that are neither teacher's nor student's and were asked for */
} reader;

/* ---- metadata ---- */

static dcam_status need_text(const reader *r, const char *key, const char **out)
{
    *out = dcam_tensors_metadata(r->tensors, key);
    if (*out) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_MODEL, "%s: \"%s\" is missing from the metadata; the file is damaged", r->path, key);
}

static dcam_status need_json(const reader *r, const char *key, json_type type, json_t **out)
{
    const char *text;
    dcam_json_error error;
    DCAM_TRY(need_text(r, key, &text));
    json_t *json = dcam_json_parse(text, strlen(text), &error);
    if (!json && error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to read metadata \"%s\"", r->path, key);
    if (!json) return dcam_fail(DCAM_ERROR_MODEL, "%s: metadata \"%s\" is not JSON: %s", r->path, key, error.reason);
    if (json_typeof(json) != type) {
        json_decref(json);
        return dcam_fail(DCAM_ERROR_MODEL, "%s: metadata \"%s\" is not the JSON %s it should be", r->path, key,
                         type == JSON_ARRAY ? "array" : "object");
    }
    *out = json;
    return DCAM_OK;
}

/* A member that is a number; its range is checked later, with the whole model. */
static dcam_status need_number(const reader *r, const json_t *object, const char *key, double *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        return dcam_fail(DCAM_ERROR_MODEL, "%s: the number \"%s\" is missing from the metadata", r->path, key);
    *out = json_number_value(value);
    return DCAM_OK;
}

/* A double may be finite and yet not fit: the conversion gives infinity, which the check refuses. */
static dcam_status need_float(const reader *r, const json_t *object, const char *key, float *out)
{
    double value = 0;
    DCAM_TRY(need_number(r, object, key, &value));
    *out = fabs(value) <= 3.4e38 ? (float)value : INFINITY;
    return DCAM_OK;
}

static dcam_status need_triple(const reader *r, const json_t *object, const char *key, float out[3])
{
    const json_t *array = json_object_get(object, key);
    if (!json_is_array(array) || json_array_size(array) != 3)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: \"%s\" in the metadata is not an array of 3 numbers", r->path, key);
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(array, i);
        const double v = json_is_number(value) ? json_number_value(value) : (double)NAN;
        out[i] = fabs(v) <= 3.4e38 ? (float)v : INFINITY;
    }
    return DCAM_OK;
}

static dcam_status check_version(const reader *r)
{
    const char *kind = dcam_tensors_metadata(r->tensors, "dcam");
    const char *text = dcam_tensors_metadata(r->tensors, "format_version");
    if (kind && strcmp(kind, "teacher") == 0)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: is a teacher file, not a model; train one from it with `dcam train`", r->path);
    if (!kind || strcmp(kind, "model") != 0 || !text)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: is not a model file of dcam; write one with `dcam train`", r->path);
    char *end;
    const long version = strtol(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end != '\0')
        return dcam_fail(DCAM_ERROR_MODEL, "%s: the format version is not a number; the file is damaged", r->path);
    if (version > DCAM_MODEL_FORMAT)
        return dcam_fail(DCAM_ERROR_MODEL_VERSION, "%s: is of format %.20s, this dcam %s reads up to format %d; update dcam",
                         r->path, text, DCAM_VERSION, DCAM_MODEL_FORMAT);
    return DCAM_OK;
}

static dcam_status read_texts(reader *r)
{
    dcam_model *m = r->model;
    const char *architecture, *attention, *kept, *method;
    DCAM_TRY(need_text(r, "architecture", &architecture));
    DCAM_TRY(need_text(r, "attention", &attention));
    DCAM_TRY(need_text(r, "attention_at_detection", &kept));
    DCAM_TRY(need_text(r, "method", &method));
    m->architecture = dcam_architecture_find(architecture);
    if (!m->architecture)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: an architecture that this dcam does not know", r->path);
    m->attention = -1; /* refused by the check if no name fits */
    for (int kind = DCAM_ATTENTION_NONE; kind <= DCAM_ATTENTION_CBAM; kind++)
        if (strcmp(attention, dcam_attention_name((dcam_attention_kind)kind)) == 0) m->attention = kind;
    if (m->attention < 0) return dcam_fail(DCAM_ERROR_MODEL, "%s: an unknown kind of attention", r->path);
    m->attention_at_detection = strcmp(kept, "keep") == 0;
    if (!m->attention_at_detection && strcmp(kept, "drop") != 0)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: attention_at_detection is neither keep nor drop", r->path);
    DCAM_TRY(dcam_copy_string(method, &m->method));
    const char *teacher = dcam_tensors_metadata(r->tensors, "teacher");
    if (teacher && teacher[0]) DCAM_TRY(dcam_copy_string(teacher, &m->teacher_description));
    const char *training = dcam_tensors_metadata(r->tensors, "training");
    if (training) DCAM_TRY(dcam_copy_string(training, &m->training_record));
    return DCAM_OK;
}

static dcam_status read_preprocessing(reader *r)
{
    json_t *json = NULL;
    double width = 0, height = 0;
    dcam_preprocessing p = {0};
    DCAM_TRY(need_json(r, "preprocessing", JSON_OBJECT, &json));
    dcam_status status = need_number(r, json, "width", &width);
    if (status == DCAM_OK) status = need_number(r, json, "height", &height);
    if (status == DCAM_OK) status = need_triple(r, json, "mean", p.mean);
    if (status == DCAM_OK) status = need_triple(r, json, "deviation", p.deviation);
    json_decref(json);
    if (status != DCAM_OK) return status;
    if (!(width >= 32 && width <= DCAM_MAX_INPUT_SIDE && height >= 32 && height <= DCAM_MAX_INPUT_SIDE))
        return dcam_fail(DCAM_ERROR_MODEL, "%s: an input of %g x %g pixels; both sides must be 32 to %d", r->path, width,
                         height, DCAM_MAX_INPUT_SIDE);
    p.width = (int)width;
    p.height = (int)height;
    r->model->preprocessing = p;
    return DCAM_OK;
}

static dcam_status read_map(reader *r)
{
    json_t *json = NULL;
    dcam_map_options *o = &r->model->map;
    DCAM_TRY(need_json(r, "map", JSON_OBJECT, &json));
    const char *kind = json_string_value(json_object_get(json, "kind"));
    dcam_status status = DCAM_ERROR_MODEL;
    for (int k = DCAM_MAP_SUM; kind && k <= DCAM_MAP_STANDARD; k++)
        if (strcmp(kind, dcam_map_kind_name((dcam_map_kind)k)) == 0) {
            o->kind = (dcam_map_kind)k;
            status = DCAM_OK;
        }
    if (status != DCAM_OK) status = dcam_fail(DCAM_ERROR_MODEL, "%s: an unknown kind of map", r->path);
    if (status == DCAM_OK) status = need_number(r, json, "kd_weight", &o->kd_weight);
    if (status == DCAM_OK) status = need_number(r, json, "kd_temperature", &o->kd_temperature);
    if (status == DCAM_OK) status = need_number(r, json, "smoothing", &o->smoothing);
    if (status == DCAM_OK) status = need_number(r, json, "top_percent", &o->top_percent);
    json_decref(json);
    return status;
}

/* Absent: the model has none. */
static dcam_status read_memory(reader *r)
{
    json_t *json = NULL;
    double dimensions = 0;
    dcam_memory *memory = &r->model->memory;
    const int *channels = r->model->architecture->stage_channels;
    const size_t rows = (size_t)channels[1] + (size_t)channels[2];
    if (!dcam_tensors_metadata(r->tensors, "memory")) return DCAM_OK;
    DCAM_TRY(need_json(r, "memory", JSON_OBJECT, &json));
    dcam_status status = need_number(r, json, "dimensions", &dimensions);
    if (status == DCAM_OK) status = need_number(r, json, "weight", &memory->weight);
    json_decref(json);
    if (status != DCAM_OK) return status;
    if (!(dimensions >= 1 && dimensions <= (double)rows) || dimensions != floor(dimensions))
        return dcam_fail(DCAM_ERROR_MODEL, "%s: a memory of %g dimensions; they must be 1 to %zu", r->path, dimensions, rows);
    const size_t shape[2] = {rows, (size_t)dimensions};
    DCAM_TRY(dcam_alloc(rows, shape[1] * sizeof(float), &memory->projection));
    memory->dimensions = (int)dimensions;
    r->known++;
    return dcam_tensors_read_f32(r->tensors, MODEL_PROJECTION, 2, shape, memory->projection);
}

/* ---- tensors ---- */

static dcam_status read_attention(reader *r)
{
    dcam_model *m = r->model;
    for (int k = 0; k < DCAM_STAGES; k++) {
        model_attention_part parts[3];
        const int n = dcam_model_attention_parts(m->attention, m->architecture, k, parts);
        if (n == 0) continue;
        const size_t count = dcam_attention_value_count((dcam_attention_kind)m->attention, m->architecture->stage_channels[k]);
        DCAM_TRY(dcam_alloc_zero(count, sizeof(float), &m->attention_values[k]));
        m->attention_count[k] = count;
        for (int i = 0; i < n; i++) {
            DCAM_TRY(dcam_tensors_read_f32(r->tensors, parts[i].name, parts[i].rank, parts[i].shape,
                                           m->attention_values[k] + parts[i].offset));
            r->known++;
        }
    }
    return DCAM_OK;
}

static dcam_status read_ranges(reader *r, const char *name, float **out)
{
    const size_t count = (size_t)r->model->teacher->convolution_count;
    if (!dcam_tensors_find(r->tensors, name)) return DCAM_OK;
    DCAM_TRY(dcam_alloc_zero(count, sizeof(float), out));
    r->known++;
    return dcam_tensors_read_f32(r->tensors, name, 1, &count, *out);
}

static dcam_status read_class_numbers(const reader *r, const json_t *json, dcam_class_calibration *c)
{
    static const char *const rules[DCAM_RULES] = {"order", "tail", "single", "f1", "pooled"};
    const char *rule = json_string_value(json_object_get(json, "rule"));
    int found = -1;
    for (int k = 0; rule && k < DCAM_RULES; k++)
        if (strcmp(rule, rules[k]) == 0) found = k;
    if (found < 0) return dcam_fail(DCAM_ERROR_MODEL, "%s: class \"%s\" has an unknown threshold rule", r->path, c->name);
    c->rule = (dcam_threshold_rule)found;
    DCAM_TRY(need_number(r, json, "threshold", &c->threshold));
    DCAM_TRY(need_number(r, json, "false_alarm_rate", &c->false_alarm_rate));
    DCAM_TRY(need_float(r, json, "pixel_median", &c->pixel_median));
    DCAM_TRY(need_float(r, json, "pixel_high", &c->pixel_high));
    DCAM_TRY(need_float(r, json, "map_low", &c->map_low));
    DCAM_TRY(need_float(r, json, "map_high", &c->map_high));
    if (r->model->memory.dimensions > 0) {
        DCAM_TRY(need_float(r, json, "memory_mean", &c->memory_mean));
        DCAM_TRY(need_float(r, json, "memory_deviation", &c->memory_deviation));
    }
    DCAM_TRY(need_triple(r, json, "stage_mean", c->stages.mean));
    return need_triple(r, json, "stage_deviation", c->stages.deviation);
}

static dcam_status read_class_tensors(reader *r, size_t i, dcam_class_calibration *c)
{
    char name[MODEL_NAME_BYTES];
    dcam_model_class_tensor(i, "scores", name);
    const dcam_tensor *scores = dcam_tensors_find(r->tensors, name);
    if (!scores || scores->rank != 1 || scores->count < 1 || scores->count > DCAM_MAX_CLASS_SCORES)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: tensor %s is missing or is not a list of 1 to %d scores", r->path, name,
                         DCAM_MAX_CLASS_SCORES);
    DCAM_TRY(dcam_alloc(scores->count, sizeof(float), &c->scores));
    c->score_count = scores->count;
    DCAM_TRY(dcam_tensors_read_f32(r->tensors, name, 1, &c->score_count, c->scores));
    const size_t channels = (size_t)r->model->architecture->stage_channels[DCAM_STAGES - 1];
    DCAM_TRY(dcam_alloc(channels, sizeof(float), &c->centre));
    dcam_model_class_tensor(i, "centre", name);
    DCAM_TRY(dcam_tensors_read_f32(r->tensors, name, 1, &channels, c->centre));
    r->known += 2;
    return DCAM_OK;
}

static dcam_status read_prototypes(reader *r, size_t i, dcam_class_calibration *c)
{
    char name[MODEL_NAME_BYTES];
    const size_t dimensions = (size_t)r->model->memory.dimensions;
    if (dimensions == 0) return DCAM_OK;
    dcam_model_prototypes_tensor(i, name);
    const dcam_tensor *tensor = dcam_tensors_find(r->tensors, name);
    if (!tensor || tensor->rank != 2 || tensor->shape[0] < 1 || tensor->shape[0] > DCAM_MAX_PROTOTYPES)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: tensor %s is missing or is not a table of 1 to %d prototypes", r->path, name,
                         DCAM_MAX_PROTOTYPES);
    const size_t shape[2] = {tensor->shape[0], dimensions};
    DCAM_TRY(dcam_alloc(shape[0], dimensions * sizeof(float), &c->prototypes));
    c->prototype_count = shape[0];
    r->known++;
    return dcam_tensors_read_f32(r->tensors, name, 2, shape, c->prototypes);
}

static dcam_status read_classes(reader *r)
{
    json_t *names = NULL, *numbers = NULL;
    dcam_model *m = r->model;
    dcam_status status = need_json(r, "classes", JSON_ARRAY, &names);
    if (status == DCAM_OK) status = need_json(r, "calibration", JSON_ARRAY, &numbers);
    if (status != DCAM_OK) goto cleanup;
    const size_t count = json_array_size(names);
    if (count != json_array_size(numbers) || count > DCAM_MAX_CLASSES) {
        status = dcam_fail(DCAM_ERROR_MODEL, "%s: %zu classes and the calibration of %zu; they must be as many, and at most %d",
                           r->path, count, json_array_size(numbers), DCAM_MAX_CLASSES);
        goto cleanup;
    }
    if ((status = dcam_alloc_zero(count, sizeof *m->classes, &m->classes)) != DCAM_OK) goto cleanup;
    for (; m->class_count < count; m->class_count++) {
        dcam_class_calibration c = {0};
        const char *name = json_string_value(json_array_get(names, m->class_count));
        if (name) status = dcam_copy_string(name, &c.name);
        else status = dcam_fail(DCAM_ERROR_MODEL, "%s: a class whose name is not text", r->path);
        if (status == DCAM_OK) status = dcam_class_name_check(name);
        if (status == DCAM_ERROR_DATA) status = dcam_fail_prefix(DCAM_ERROR_MODEL, "%s", r->path);
        if (status == DCAM_OK) status = read_class_numbers(r, json_array_get(numbers, m->class_count), &c);
        if (status == DCAM_OK) status = read_class_tensors(r, m->class_count, &c);
        if (status == DCAM_OK) status = read_prototypes(r, m->class_count, &c);
        if (status != DCAM_OK) {
            dcam_class_calibration_clear(&c);
            goto cleanup;
        }
        m->classes[m->class_count] = c;
    }
cleanup:
    json_decref(numbers);
    json_decref(names);
    return status;
}

static bool is_known(const reader *r, const char *name)
{
    char wanted[MODEL_NAME_BYTES];
    for (int k = 0; k < DCAM_STAGES; k++) {
        model_attention_part parts[3];
        const int n = dcam_model_attention_parts(r->model->attention, r->model->architecture, k, parts);
        for (int i = 0; i < n; i++)
            if (strcmp(name, parts[i].name) == 0) return true;
    }
    if (strcmp(name, MODEL_TEACHER_RANGES) == 0 || strcmp(name, MODEL_STUDENT_RANGES) == 0) return true;
    const bool has_memory = r->model->memory.dimensions > 0;
    if (has_memory && strcmp(name, MODEL_PROJECTION) == 0) return true;
    for (size_t i = 0; i < r->model->class_count; i++) {
        dcam_model_prototypes_tensor(i, wanted);
        if (has_memory && strcmp(name, wanted) == 0) return true;
        dcam_model_class_tensor(i, "scores", wanted);
        if (strcmp(name, wanted) == 0) return true;
        dcam_model_class_tensor(i, "centre", wanted);
        if (strcmp(name, wanted) == 0) return true;
    }
    return false;
}

/* Those of teacher and student were checked when they were read. Names are unique, so a count tells whether there is
 * one too many; only then is it looked for. */
static dcam_status refuse_extra(const reader *r)
{
    size_t others = 0;
    const size_t count = dcam_tensors_count(r->tensors);
    for (size_t i = 0; i < count; i++) {
        const char *name = dcam_tensors_at(r->tensors, i)->name;
        others += strncmp(name, "teacher.", 8) != 0 && strncmp(name, "student.", 8) != 0;
    }
    if (others == r->known) return DCAM_OK;
    for (size_t i = 0; i < count; i++) {
        const char *name = dcam_tensors_at(r->tensors, i)->name;
        if (strncmp(name, "teacher.", 8) != 0 && strncmp(name, "student.", 8) != 0 && !is_known(r, name))
            return dcam_fail(DCAM_ERROR_MODEL, "%s: tensor %.80s does not belong into this model", r->path,
                             dcam_model_text_is_plain(name, 255) ? name : "of an unprintable name");
    }
    return dcam_fail(DCAM_ERROR_MODEL, "%s: a tensor is there twice", r->path);
}

static dcam_status read_model(reader *r)
{
    DCAM_TRY(check_version(r));
    DCAM_TRY(read_texts(r));
    DCAM_TRY(read_preprocessing(r));
    DCAM_TRY(read_map(r));
    DCAM_TRY(dcam_trunk_weights_read(r->tensors, "teacher.", r->model->architecture, &r->model->teacher));
    DCAM_TRY(dcam_trunk_weights_read(r->tensors, "student.", r->model->architecture, &r->model->student));
    DCAM_TRY(read_attention(r));
    DCAM_TRY(read_ranges(r, MODEL_TEACHER_RANGES, &r->model->teacher_ranges));
    DCAM_TRY(read_ranges(r, MODEL_STUDENT_RANGES, &r->model->student_ranges));
    DCAM_TRY(read_memory(r));
    DCAM_TRY(read_classes(r));
    DCAM_TRY(refuse_extra(r));
    return dcam_model_check(r->model, r->path);
}

dcam_status dcam_model_read(const dcam_tensors *tensors, const char *path, dcam_model **out)
{
    reader r = {.tensors = tensors, .path = path};
    DCAM_TRY(dcam_model_create(&r.model));
    const dcam_status status = read_model(&r);
    if (status == DCAM_OK) {
        *out = r.model;
        return DCAM_OK;
    }
    dcam_model_destroy(r.model);
    /* What is wrong with the weights of a model is wrong with the model. The line already kept stays. */
    return status == DCAM_ERROR_WEIGHTS ? DCAM_ERROR_MODEL : status;
}

dcam_status dcam_model_load(const char *path, dcam_model **out)
{
    dcam_tensors *tensors;
    dcam_status status = dcam_tensors_open(path, &tensors);
    if (status != DCAM_OK) return status == DCAM_ERROR_WEIGHTS ? DCAM_ERROR_MODEL : status;
    status = dcam_model_read(tensors, path, out);
    dcam_tensors_destroy(tensors);
    return status;
}
