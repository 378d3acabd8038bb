/* info.c - what a model file or a teacher file holds, as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "api/detector.h"
#include "base/file.h"
#include "base/memory.h"
#include "detect/calibration.h"
#include "net/attention.h"

static json_t *class_info(const dcam_class_calibration *c)
{
    return json_pack("{s:s, s:f, s:s, s:f, s:I, s:[f,f]}", "name", c->name, "threshold", c->threshold, "rule",
                     dcam_threshold_rule_text(c->rule), "false_alarm_rate", c->false_alarm_rate, "calibration_images",
                     (json_int_t)c->score_count, "map_scale", (double)c->map_low, (double)c->map_high);
}

static json_t *model_info(const char *path, const dcam_model *m)
{
    json_t *classes = json_array();
    for (size_t i = 0; classes && i < m->class_count; i++) json_array_append_new(classes, class_info(&m->classes[i]));
    json_t *record = m->training_record ? json_loads(m->training_record, 0, NULL) : NULL;
    size_t attention = 0;
    for (int k = 0; k < DCAM_STAGES; k++) attention += m->attention_count[k];
    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:[i,i], s:{s:s, s:f, s:f, s:f}, s:{s:I, s:I, s:I}, s:o, s:o}",
                     "file", path, "kind", "model", "format", DCAM_MODEL_FORMAT, "method", m->method, "architecture",
                     m->architecture->name, "teacher", m->teacher_description ? m->teacher_description : "unknown",
                     "attention", dcam_attention_name((dcam_attention_kind)m->attention), "attention_at_detection",
                     m->attention_at_detection ? "keep" : "drop", "input_size", m->preprocessing.width,
                     m->preprocessing.height, "map", "kind", dcam_map_kind_name(m->map.kind), "kd_weight", m->map.kd_weight,
                     "smoothing", m->map.smoothing, "top_percent", m->map.top_percent, "parameters", "teacher",
                     (json_int_t)m->teacher->trainable_count, "student", (json_int_t)m->student->trainable_count,
                     "attention", (json_int_t)attention, "classes", classes, "training",
                     record ? record : json_null());
}

static json_t *teacher_info(const char *path, const dcam_tensors *tensors, const dcam_trunk_weights *w)
{
    json_t *metadata = json_object();
    for (size_t i = 0; metadata && i < dcam_tensors_metadata_count(tensors); i++) {
        const char *key = dcam_tensors_metadata_key(tensors, i);
        json_object_set_new(metadata, key, json_string(dcam_tensors_metadata(tensors, key)));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "file", path, "kind", "teacher", "architecture",
                     w->architecture->name, "batch_norm", w->folded ? "folded" : "separate", "tensors",
                     (json_int_t)dcam_tensors_count(tensors), "parameters", (json_int_t)w->trainable_count, "metadata",
                     metadata);
}

/* A model file says so in its metadata; anything else is tried as a teacher. */
static dcam_status describe(const char *path, json_t **out)
{
    dcam_tensors *tensors = NULL;
    dcam_model *model = NULL;
    dcam_trunk_weights *teacher = NULL;
    json_t *info = NULL;
    dcam_status status = dcam_tensors_open(path, &tensors);
    if (status != DCAM_OK) return status;
    if (dcam_tensors_metadata(tensors, "dcam.format") || dcam_tensors_find(tensors, "student.conv1.weight")) {
        dcam_tensors_destroy(tensors); /* the model reader opens the file itself: never two copies at once */
        tensors = NULL;
        status = dcam_model_load(path, &model);
        if (status == DCAM_OK) info = model_info(path, model);
    } else {
        status = dcam_trunk_weights_read(tensors, "", dcam_architecture_find(NULL), &teacher);
        if (status == DCAM_OK) info = teacher_info(path, tensors, teacher);
    }
    if (status == DCAM_OK && !info) status = dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory while it was described", path);
    if (status == DCAM_OK) *out = info;
    dcam_trunk_weights_destroy(teacher);
    dcam_model_destroy(model);
    dcam_tensors_destroy(tensors);
    return status;
}

dcam_status dcam_file_info(const char *path, char **json)
{
    if (!path || !json) return dcam_fail(DCAM_ERROR_USAGE, "info: needs a file");
    json_t *info = NULL;
    DCAM_TRY(describe(path, &info));
    size_t bytes = json_dumpb(info, NULL, 0, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    char *text = NULL;
    dcam_status status = dcam_alloc(bytes + 1, 1, &text);
    if (status == DCAM_OK) {
        json_dumpb(info, text, bytes, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        text[bytes] = '\0';
        *json = text;
    }
    json_decref(info);
    return status;
}
