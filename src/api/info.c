/* info.c - what a model file, a teacher file or a checkpoint holds, as JSON. */
#include <jansson.h>
#include <string.h>

#include "api/detector.h"
#include "base/memory.h"
#include "detect/calibration.h"
#include "net/attention.h"
#include "weights/json_text.h"

/* How the formats of the checkpoints of training and pre-training begin. */
#define CHECKPOINT "dcam-checkpoint-"
#define PRETRAINING "dcam-pretraining-"

static json_t *class_info(const dcam_class_calibration *c)
{
    return json_pack("{s:s, s:f, s:s, s:f, s:I, s:[f,f]}", "name", c->name, "threshold", c->threshold, "rule",
                     dcam_threshold_rule_text(c->rule), "false_alarm_rate", c->false_alarm_rate, "calibration_images",
                     (json_int_t)c->score_count, "map_scale", (double)c->map_low, (double)c->map_high);
}

static json_t *classes_info(const dcam_model *m)
{
    json_t *classes = json_array();
    for (size_t i = 0; classes && i < m->class_count; i++)
        if (json_array_append_new(classes, class_info(&m->classes[i])) != 0) {
            json_decref(classes);
            return NULL;
        }
    return classes;
}

static json_t *map_info(const dcam_map_options *o)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:f}", "kind", dcam_map_kind_name(o->kind), "kd_weight", o->kd_weight,
                     "kd_temperature", o->kd_temperature, "smoothing", o->smoothing, "top_percent", o->top_percent);
}

/* null where the model has none. */
static json_t *memory_info(const dcam_model *m)
{
    size_t prototypes = 0;
    for (size_t i = 0; i < m->class_count; i++) prototypes += m->classes[i].prototype_count;
    if (m->memory.dimensions == 0) return json_null();
    return json_pack("{s:i, s:I, s:f}", "dimensions", m->memory.dimensions, "prototypes", (json_int_t)prototypes, "weight",
                     m->memory.weight);
}

static json_t *model_info(const char *path, const dcam_model *m)
{
    size_t attention = 0;
    for (int k = 0; k < DCAM_STAGES; k++) attention += m->attention_count[k];
    json_t *parameters = json_pack("{s:I, s:I, s:I}", "teacher", (json_int_t)m->teacher->trainable_count, "student",
                                   (json_int_t)m->student->trainable_count, "attention", (json_int_t)attention);
    /* The reader has checked that the record is JSON. */
    dcam_json_error error;
    json_t *record = m->training_record ? dcam_json_parse(m->training_record, strlen(m->training_record), &error) : json_null();
    /* Long, and of use to calibrate alone. */
    json_object_del(json_object_get(record, "data"), "learned");
    json_object_del(json_object_get(record, "data"), "validated");
    return json_pack("{s:o, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:[i,i], s:o, s:o, s:o, s:o, s:o}", "file", dcam_json_any_text(path),
                     "kind", "model", "format_version", dcam_model_format(m), "method", m->method, "architecture",
                     m->architecture->name, "teacher", m->teacher_description ? m->teacher_description : "unknown",
                     "attention", dcam_attention_name((dcam_attention_kind)m->attention), "attention_at_detection",
                     m->attention_at_detection ? "keep" : "drop", "input_size", m->preprocessing.width,
                     m->preprocessing.height, "map", map_info(&m->map), "memory", memory_info(m), "parameters", parameters, "classes",
                     classes_info(m), "training", record);
}

static json_t *metadata_json(const dcam_tensors *tensors)
{
    json_t *metadata = json_object();
    for (size_t i = 0; metadata && i < dcam_tensors_metadata_count(tensors); i++) {
        const char *key = dcam_tensors_metadata_key(tensors, i);
        if (json_object_set_new(metadata, key, json_string(dcam_tensors_metadata_value(tensors, i))) != 0) {
            json_decref(metadata);
            return NULL;
        }
    }
    return metadata;
}

/* A teacher file of dcam, or published weights that would do as a teacher. */
static json_t *teacher_info(const char *path, const dcam_tensors *tensors, const dcam_trunk_weights *w)
{
    const char *said = dcam_tensors_metadata(tensors, "dcam");
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "file", dcam_json_any_text(path), "kind",
                     said && strcmp(said, "teacher") == 0 ? "teacher" : "weights", "architecture", w->architecture->name,
                     "batch_norm", w->folded ? "folded" : "separate", "tensors", (json_int_t)dcam_tensors_count(tensors),
                     "parameters", (json_int_t)w->trainable_count, "metadata", metadata_json(tensors));
}

/* Place and options of a run as its metadata says them; only `train --resume` checks them. */
static json_t *checkpoint_info(const char *path, const dcam_tensors *tensors)
{
    return json_pack("{s:o, s:s, s:I, s:o}", "file", dcam_json_any_text(path), "kind", "checkpoint", "tensors",
                     (json_int_t)dcam_tensors_count(tensors), "metadata", metadata_json(tensors));
}

static dcam_status describe_model(const char *path, json_t **out)
{
    dcam_model *model = NULL;
    DCAM_TRY(dcam_model_load(path, &model));
    *out = model_info(path, model);
    dcam_model_destroy(model);
    return DCAM_OK;
}

static dcam_status describe_weights(const char *path, const dcam_tensors *tensors, json_t **out)
{
    dcam_trunk_weights *weights = NULL;
    DCAM_TRY(dcam_trunk_weights_read(tensors, "", dcam_architecture_find(NULL), &weights));
    *out = teacher_info(path, tensors, weights);
    dcam_trunk_weights_destroy(weights);
    return DCAM_OK;
}

/* Models and checkpoints say so in their metadata; anything else is tried as a teacher. */
static dcam_status describe(const char *path, json_t **out)
{
    dcam_tensors *tensors = NULL;
    json_t *info = NULL;
    dcam_status status = dcam_tensors_open(path, &tensors);
    if (status != DCAM_OK) return status;
    const char *kind = dcam_tensors_metadata(tensors, "dcam"), *format = dcam_tensors_metadata(tensors, "format");
    if (format && (strncmp(format, CHECKPOINT, strlen(CHECKPOINT)) == 0 || strncmp(format, PRETRAINING, strlen(PRETRAINING)) == 0)) {
        info = checkpoint_info(path, tensors);
    } else if ((kind && strcmp(kind, "model") == 0) || dcam_tensors_find(tensors, "student.conv1.weight")) {
        dcam_tensors_destroy(tensors); /* the model reader opens the file itself: never two copies at once */
        tensors = NULL;
        status = describe_model(path, &info);
    } else {
        status = describe_weights(path, tensors, &info);
    }
    if (status == DCAM_OK && !info) status = dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory while it was described", path);
    if (status == DCAM_OK) *out = info;
    dcam_tensors_destroy(tensors);
    return status;
}

dcam_status dcam_file_info(const char *path, char **json)
{
    if (!path || !json) return dcam_fail(DCAM_ERROR_USAGE, "info: needs a file");
    json_t *info = NULL;
    DCAM_TRY(describe(path, &info));
    const dcam_status status = dcam_json_print(info, JSON_INDENT(2) | JSON_REAL_PRECISION(12), json);
    json_decref(info);
    return status;
}
