/* export.h - a model for other run times: as an ONNX graph of the whole detector, or as plain tensors. Both are read
 * back and compared before the file gets its name: on failure an older file of that name is intact. */
#ifndef DCAM_EXPORT_EXPORT_H
#define DCAM_EXPORT_EXPORT_H

#include <stdbool.h>

#include "base/status.h"
#include "detect/model.h"
#include "export/onnx.h"

typedef struct {
    bool rgb;        /* input: batch x height x width x 3 bytes instead of normalised batch x 3 x height x width */
    int class_index; /* every image is of this class; -1: the graph finds it */
} dcam_onnx_options;

/* file: the model's own file, whose metadata goes along as it is. */
DCAM_MUST_CHECK dcam_status dcam_export_onnx(const dcam_model *model, const dcam_tensors *file,
                                             const dcam_onnx_options *options, const char *path);
DCAM_MUST_CHECK dcam_status dcam_export_safetensors(const dcam_model *model, const dcam_tensors *file, const char *path);

/* The detector's graph, for dcam_export_onnx: nodes, weights, input and outputs. student: folded. */
DCAM_MUST_CHECK dcam_status dcam_detector_graph(onnx_graph *g, const dcam_model *model,
                                                const dcam_trunk_weights *student, const dcam_onnx_options *options);

/* The centres of some classes side by side, count x channels (dcam_free). */
DCAM_MUST_CHECK dcam_status dcam_class_centres(const dcam_class_calibration *classes, size_t count, size_t channels,
                                               float **out);

/* Reads an ONNX file and compares it with what was to be written: every byte; then its structure: each node reads what
 * is there before it, names are given once, data has the size of its shape, the outputs are made. */
DCAM_MUST_CHECK dcam_status dcam_onnx_check(const char *path, const proto_buffer *wanted);
/* The structure alone. */
DCAM_MUST_CHECK dcam_status dcam_onnx_check_structure(const char *name, const uint8_t *bytes, size_t count);

#endif
