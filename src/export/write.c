/* write.c - the two exports as files: what goes into each, and the reading back before it gets its name. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "detect/model_format.h"
#include "export/export.h"

/* The model's metadata, key by key: method, preprocessing, map, classes, calibration, training, and whatever later
 * versions add. Left out is what says that this is a model file of dcam. */
static bool goes_along(const char *key)
{
    return strcmp(key, "format") != 0 && strcmp(key, "dcam") != 0 && strcmp(key, "format_version") != 0;
}

/* Gives the file its name if reading it back, under its temporary one, showed that it is sound: what failed its check is
 * no export, and an older one stays. */
static dcam_status commit_if_sound(dcam_writer *file, const char *path, dcam_status checked)
{
    if (checked == DCAM_OK) return dcam_writer_commit(file);
    dcam_writer_abort(file);
    return dcam_fail_prefix(checked, "%s: not written", path);
}

/* ---- ONNX ---- */

static const char description[] =
    "Anomaly detector. Outputs: map (batch, height, width), raw anomaly map; score (batch), raw image score; "
    "class (batch), index into the metadata's classes; threshold (batch), of that class: anomalous means "
    "score >= threshold. Metadata: preprocessing and calibration of the detector, as JSON.";

static const char *input_text(bool rgb)
{
    return rgb ? "uint8 RGB (batch, height, width, 3), resized to the preprocessing's width and height with an "
                 "antialiased bilinear filter (Pillow's BILINEAR); normalised within the graph"
               : "float32 RGB (batch, 3, height, width): resized to the preprocessing's width and height with an "
                 "antialiased bilinear filter (Pillow's BILINEAR), then (value / 255 - mean) / deviation";
}

static void add_metadata(onnx_graph *g, const dcam_model *m, const dcam_tensors *file, const dcam_onnx_options *options)
{
    onnx_metadata(g, "input", input_text(options->rgb));
    onnx_metadata(g, "class", options->class_index < 0 ? "" : m->classes[options->class_index].name);
    for (size_t i = 0; i < dcam_tensors_metadata_count(file); i++) {
        const char *key = dcam_tensors_metadata_key(file, i);
        if (goes_along(key)) onnx_metadata(g, key, dcam_tensors_metadata_value(file, i));
    }
}

static dcam_status write_checked(const char *path, const proto_buffer *bytes)
{
    dcam_writer *file;
    const char *temporary;
    DCAM_TRY(dcam_writer_open(path, &file));
    dcam_status status = dcam_writer_write(file, bytes->bytes, bytes->count);
    if (status == DCAM_OK) status = dcam_writer_flush(file, &temporary);
    if (status == DCAM_OK) return commit_if_sound(file, path, dcam_onnx_check(temporary, bytes));
    dcam_writer_abort(file);
    return status;
}

dcam_status dcam_export_onnx(const dcam_model *m, const dcam_tensors *file, const dcam_onnx_options *options,
                             const char *path)
{
    onnx_graph g = {0};
    proto_buffer bytes = {0};
    dcam_trunk_weights *student = NULL;
    DCAM_TRY(dcam_trunk_weights_fold(m->student, &student));
    dcam_status status = dcam_detector_graph(&g, m, student, options);
    if (status == DCAM_OK) {
        add_metadata(&g, m, file, options);
        status = onnx_finish(&g, "dcam", description, &bytes);
    }
    onnx_clear(&g);
    dcam_trunk_weights_destroy(student);
    if (status == DCAM_OK) status = write_checked(path, &bytes);
    proto_clear(&bytes);
    return status;
}

/* ---- safetensors ---- */

/* A folded trunk with batch norm that changes nothing, so that torchvision's modules load it: gamma 1, beta the bias,
 * mean 0, and variance + eps = 1. */
static dcam_status unfold(const dcam_trunk_weights *from, dcam_trunk_weights **out)
{
    if (!from->folded) return dcam_trunk_weights_copy(from, out);
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_trunk_weights_create(from->architecture, false, &w));
    for (int i = 0; i < w->convolution_count; i++) {
        const size_t channels = (size_t)w->shapes[i].out_channels;
        memcpy(w->convolutions[i].weight, from->convolutions[i].weight, w->shapes[i].weight_count * sizeof(float));
        memcpy(w->convolutions[i].beta, from->convolutions[i].bias, channels * sizeof(float));
        for (size_t c = 0; c < channels; c++) {
            w->convolutions[i].gamma[c] = 1;
            w->convolutions[i].running_variance[c] = 1 - DCAM_BATCH_NORM_EPSILON;
        }
    }
    *out = w;
    return DCAM_OK;
}

static dcam_status add_texts(const dcam_tensors *file, dcam_tensor_writer *w)
{
    DCAM_TRY(dcam_tensor_writer_metadata(w, "format", "pt"));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "writer", "dcam export " DCAM_VERSION));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "tensors", "teacher.* and student.*: torchvision's ResNet names, conv1 to "
                                                       "layer3, batch norm in evaluation mode"));
    for (size_t i = 0; i < dcam_tensors_metadata_count(file); i++) {
        const char *key = dcam_tensors_metadata_key(file, i);
        if (goes_along(key)) DCAM_TRY(dcam_tensor_writer_metadata(w, key, dcam_tensors_metadata_value(file, i)));
    }
    return DCAM_OK;
}

static dcam_status compare_trunk(const dcam_tensors *read, const char *prefix, const dcam_trunk_weights *wanted)
{
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_trunk_weights_read(read, prefix, wanted->architecture, &w));
    const bool same = w->value_count == wanted->value_count &&
                      memcmp(w->values, wanted->values, w->value_count * sizeof *w->values) == 0;
    dcam_trunk_weights_destroy(w);
    if (same) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_IO, "%s: reads back other values of %s* than were written; check the disk, then export again",
                     dcam_tensors_path(read), prefix);
}

static dcam_status check_tensors(const char *path, const dcam_trunk_weights *teacher, const dcam_trunk_weights *student)
{
    dcam_tensors *read = NULL;
    DCAM_TRY(dcam_tensors_open(path, &read));
    dcam_status status = compare_trunk(read, "teacher.", teacher);
    if (status == DCAM_OK) status = compare_trunk(read, "student.", student);
    dcam_tensors_destroy(read);
    return status;
}

static dcam_status save_checked(dcam_tensor_writer *w, const char *path, const dcam_trunk_weights *teacher,
                                const dcam_trunk_weights *student)
{
    dcam_writer *file;
    const char *temporary;
    DCAM_TRY(dcam_writer_open(path, &file));
    dcam_status status = dcam_tensor_writer_put(w, path, file);
    if (status == DCAM_OK) status = dcam_writer_flush(file, &temporary);
    if (status == DCAM_OK) return commit_if_sound(file, path, check_tensors(temporary, teacher, student));
    dcam_writer_abort(file);
    return status;
}

dcam_status dcam_export_safetensors(const dcam_model *m, const dcam_tensors *file, const char *path)
{
    dcam_trunk_weights *teacher = NULL, *student = NULL;
    dcam_tensor_writer *w = NULL;
    float *centres = NULL;
    const size_t channels = (size_t)m->architecture->stage_channels[DCAM_STAGES - 1];
    dcam_status status = unfold(m->teacher, &teacher);
    if (status == DCAM_OK) status = unfold(m->student, &student);
    if (status == DCAM_OK) status = dcam_tensor_writer_create(&w);
    if (status == DCAM_OK) status = add_texts(file, w);
    if (status == DCAM_OK) status = dcam_trunk_weights_add(teacher, "teacher.", w);
    if (status == DCAM_OK) status = dcam_trunk_weights_add(student, "student.", w);
    if (status == DCAM_OK) status = dcam_model_add_attention(m, w);
    if (status == DCAM_OK) status = dcam_model_add_memory(m, w);
    if (status == DCAM_OK) status = dcam_class_centres(m->classes, m->class_count, channels, &centres);
    if (status == DCAM_OK)
        status = dcam_tensor_writer_add(w, "centres", DCAM_F32, 2, (size_t[]){m->class_count, channels}, centres);
    if (status == DCAM_OK) status = save_checked(w, path, teacher, student);
    dcam_tensor_writer_destroy(w);
    dcam_free(centres);
    dcam_trunk_weights_destroy(student);
    dcam_trunk_weights_destroy(teacher);
    return status;
}
