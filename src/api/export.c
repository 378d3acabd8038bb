/* export.c - a model for other run times: opens it, resolves the options, and leaves the rest to src/export. */
#include "base/memory.h"
#include "base/places.h"
#include "base/status.h"
#include "detect/model_format.h"
#include "export/export.h"

static dcam_status write_export(const dcam_export_options *o, const dcam_model *m, const dcam_tensors *file)
{
    dcam_onnx_options onnx = {.rgb = o->rgb_input, .class_index = -1};
    if (m->class_count == 0)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: has no calibrated class; run `dcam calibrate` on it", o->model);
    if (o->class_name) {
        onnx.class_index = dcam_model_class_index(m, o->class_name);
        if (onnx.class_index < 0)
            return dcam_fail(DCAM_ERROR_USAGE, "%s: has no class %s; `dcam info` lists them", o->model, o->class_name);
    }
    if (o->format == DCAM_EXPORT_SAFETENSORS) return dcam_export_safetensors(m, file, o->output);
    return dcam_export_onnx(m, file, &onnx, o->output);
}

dcam_status dcam_export(const dcam_export_options *o)
{
    dcam_model *model = NULL;
    dcam_tensors *file = NULL;
    if (!o || !o->model || !o->output) return dcam_fail(DCAM_ERROR_USAGE, "export: needs a model and an output file");
    if (o->format != DCAM_EXPORT_ONNX && o->format != DCAM_EXPORT_SAFETENSORS)
        return dcam_fail(DCAM_ERROR_USAGE, "export: format %d is not known; use onnx or safetensors", (int)o->format);
    if (o->format == DCAM_EXPORT_SAFETENSORS && (o->rgb_input || o->class_name))
        return dcam_fail(DCAM_ERROR_USAGE, "export: the input and the class are of a graph; safetensors holds tensors alone");
    const dcam_place output = {"exported file", o->output}, source = {"model", o->model};
    DCAM_TRY(dcam_check_places(&output, 1, &source, 1));
    /* Opened once: weights and texts are of one file, whatever takes its name meanwhile. */
    dcam_status status = dcam_tensors_open(o->model, &file);
    if (status == DCAM_ERROR_WEIGHTS) status = DCAM_ERROR_MODEL;
    if (status == DCAM_OK) status = dcam_model_read(file, o->model, &model);
    if (status == DCAM_OK) status = write_export(o, model, file);
    dcam_tensors_destroy(file);
    dcam_model_destroy(model);
    return status;
}
