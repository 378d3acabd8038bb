/* model_save.c - writes the model file (model_format.h). The model is checked first: nothing is written that the
 * reader would refuse. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "detect/model_format.h"
#include "net/attention.h"
#include "weights/json_text.h"

/* The small blocks of the spatial attention are 7 x 7 kernels over mean and maximum. */
#define SPATIAL_KERNEL 7

int dcam_model_attention_parts(int attention, const dcam_architecture *a, int stage, model_attention_part out[3])
{
    const size_t channels = (size_t)a->stage_channels[stage];
    const size_t channel_values = dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, (int)channels);
    const size_t hidden = channel_values / (2 * channels);
    int n = 0;
    size_t offset = 0;
    if (attention == DCAM_ATTENTION_CHANNEL || attention == DCAM_ATTENTION_CBAM) {
        out[n] = (model_attention_part){.rank = 2, .shape = {hidden, channels}, .offset = 0};
        snprintf(out[n++].name, MODEL_NAME_BYTES, "attention.layer%d.w1", stage + 1);
        out[n] = (model_attention_part){.rank = 2, .shape = {channels, hidden}, .offset = hidden * channels};
        snprintf(out[n++].name, MODEL_NAME_BYTES, "attention.layer%d.w2", stage + 1);
        offset = channel_values;
    }
    if (attention == DCAM_ATTENTION_SPATIAL || attention == DCAM_ATTENTION_CBAM) {
        out[n] = (model_attention_part){.rank = 4, .shape = {1, 2, SPATIAL_KERNEL, SPATIAL_KERNEL}, .offset = offset};
        snprintf(out[n++].name, MODEL_NAME_BYTES, "attention.layer%d.kernel", stage + 1);
    }
    return n;
}

void dcam_model_class_tensor(size_t class_index, const char *what, char out[MODEL_NAME_BYTES])
{
    snprintf(out, MODEL_NAME_BYTES, "calibration.%zu.%s", class_index, what);
}

void dcam_model_prototypes_tensor(size_t class_index, char out[MODEL_NAME_BYTES])
{
    snprintf(out, MODEL_NAME_BYTES, "memory.%zu.prototypes", class_index);
}

dcam_status dcam_model_add_memory(const dcam_model *m, dcam_tensor_writer *w)
{
    const size_t dimensions = (size_t)m->memory.dimensions;
    const size_t projection[2] = {(size_t)m->architecture->stage_channels[1] + (size_t)m->architecture->stage_channels[2], dimensions};
    if (dimensions == 0) return DCAM_OK;
    DCAM_TRY(dcam_tensor_writer_add(w, MODEL_PROJECTION, DCAM_F32, 2, projection, m->memory.projection));
    for (size_t i = 0; i < m->class_count; i++) {
        char name[MODEL_NAME_BYTES];
        const size_t shape[2] = {m->classes[i].prototype_count, dimensions};
        dcam_model_prototypes_tensor(i, name);
        DCAM_TRY(dcam_tensor_writer_add(w, name, DCAM_F32, 2, shape, m->classes[i].prototypes));
    }
    return DCAM_OK;
}

dcam_status dcam_model_add_attention(const dcam_model *m, dcam_tensor_writer *w)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        model_attention_part parts[3];
        const int n = dcam_model_attention_parts(m->attention, m->architecture, k, parts);
        for (int i = 0; i < n; i++)
            DCAM_TRY(dcam_tensor_writer_add(w, parts[i].name, DCAM_F32, parts[i].rank, parts[i].shape,
                                            m->attention_values[k] + parts[i].offset));
    }
    return DCAM_OK;
}

static dcam_status add_tensors(const dcam_model *m, dcam_tensor_writer *w)
{
    char name[MODEL_NAME_BYTES];
    DCAM_TRY(dcam_trunk_weights_add(m->teacher, "teacher.", w));
    DCAM_TRY(dcam_trunk_weights_add(m->student, "student.", w));
    DCAM_TRY(dcam_model_add_attention(m, w));
    const size_t convolutions = (size_t)m->teacher->convolution_count;
    if (m->teacher_ranges) {
        DCAM_TRY(dcam_tensor_writer_add(w, MODEL_TEACHER_RANGES, DCAM_F32, 1, &convolutions, m->teacher_ranges));
        DCAM_TRY(dcam_tensor_writer_add(w, MODEL_STUDENT_RANGES, DCAM_F32, 1, &convolutions, m->student_ranges));
    }
    const size_t centre = (size_t)m->architecture->stage_channels[DCAM_STAGES - 1];
    for (size_t i = 0; i < m->class_count; i++) {
        dcam_model_class_tensor(i, "scores", name);
        DCAM_TRY(dcam_tensor_writer_add(w, name, DCAM_F32, 1, &m->classes[i].score_count, m->classes[i].scores));
        dcam_model_class_tensor(i, "centre", name);
        DCAM_TRY(dcam_tensor_writer_add(w, name, DCAM_F32, 1, &centre, m->classes[i].centre));
    }
    return dcam_model_add_memory(m, w);
}

static json_t *triple(const float v[3])
{
    return json_pack("[f, f, f]", (double)v[0], (double)v[1], (double)v[2]);
}

static json_t *preprocessing_json(const dcam_preprocessing *p)
{
    return json_pack("{s:i, s:i, s:o, s:o}", "width", p->width, "height", p->height, "mean", triple(p->mean),
                     "deviation", triple(p->deviation));
}

static json_t *map_json(const dcam_map_options *o)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:f}", "kind", dcam_map_kind_name(o->kind), "kd_weight", o->kd_weight,
                     "kd_temperature", o->kd_temperature, "smoothing", o->smoothing, "top_percent", o->top_percent);
}

static json_t *names_json(const dcam_model *m)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < m->class_count; i++)
        if (json_array_append_new(names, json_string(m->classes[i].name)) != 0) {
            json_decref(names);
            return NULL;
        }
    return names;
}

static json_t *memory_json(const dcam_memory *memory)
{
    return json_pack("{s:i, s:f}", "dimensions", memory->dimensions, "weight", memory->weight);
}

static json_t *class_json(const dcam_class_calibration *c, const dcam_memory *memory)
{
    static const char *const rules[DCAM_RULES] = {"order", "tail", "single", "f1", "pooled"};
    json_t *json = json_pack("{s:f, s:f, s:s, s:f, s:f, s:f, s:f, s:o, s:o}", "threshold", c->threshold, "false_alarm_rate",
                     c->false_alarm_rate, "rule", rules[c->rule], "pixel_median", (double)c->pixel_median,
                     "pixel_high", (double)c->pixel_high, "map_low", (double)c->map_low, "map_high",
                     (double)c->map_high, "stage_mean", triple(c->stages.mean), "stage_deviation",
                     triple(c->stages.deviation));
    if (!json || memory->dimensions == 0) return json;
    if (json_object_set_new(json, "memory_mean", json_real((double)c->memory_mean)) == 0 &&
        json_object_set_new(json, "memory_deviation", json_real((double)c->memory_deviation)) == 0)
        return json;
    json_decref(json);
    return NULL;
}

static json_t *calibration_json(const dcam_model *m)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < m->class_count; i++)
        if (json_array_append_new(all, class_json(&m->classes[i], &m->memory)) != 0) {
            json_decref(all);
            return NULL;
        }
    return all;
}

/* Takes json over; NULL means that building it failed. */
static dcam_status add_json(dcam_tensor_writer *w, const char *key, json_t *json)
{
    char *text = NULL;
    dcam_status status = dcam_json_text(json, key, &text);
    if (status == DCAM_OK) status = dcam_tensor_writer_metadata(w, key, text);
    dcam_free(text);
    return status;
}

static dcam_status add_metadata(const dcam_model *m, dcam_tensor_writer *w)
{
    char version[16];
    snprintf(version, sizeof version, "%d", dcam_model_format(m));
    const char *const texts[][2] = {
        {"format", "pt"},
        {"dcam", "model"},
        {"format_version", version},
        {"dcam_version", DCAM_VERSION},
        {"architecture", m->architecture->name},
        {"method", m->method},
        {"teacher", m->teacher_description ? m->teacher_description : ""},
        {"attention", dcam_attention_name((dcam_attention_kind)m->attention)},
        {"attention_at_detection", m->attention_at_detection ? "keep" : "drop"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        DCAM_TRY(dcam_tensor_writer_metadata(w, texts[i][0], texts[i][1]));
    DCAM_TRY(add_json(w, "preprocessing", preprocessing_json(&m->preprocessing)));
    DCAM_TRY(add_json(w, "map", map_json(&m->map)));
    DCAM_TRY(add_json(w, "classes", names_json(m)));
    DCAM_TRY(add_json(w, "calibration", calibration_json(m)));
    if (m->memory.dimensions > 0) DCAM_TRY(add_json(w, "memory", memory_json(&m->memory)));
    if (m->training_record) DCAM_TRY(dcam_tensor_writer_metadata(w, "training", m->training_record));
    return DCAM_OK;
}

dcam_status dcam_model_save(const dcam_model *m, const char *path)
{
    dcam_tensor_writer *w = NULL;
    DCAM_TRY(dcam_model_check(m, path));
    dcam_status status = dcam_tensor_writer_create(&w);
    if (status == DCAM_OK) status = add_metadata(m, w);
    if (status == DCAM_OK) status = add_tensors(m, w);
    if (status == DCAM_OK) status = dcam_tensor_writer_save(w, path);
    dcam_tensor_writer_destroy(w);
    return status;
}
