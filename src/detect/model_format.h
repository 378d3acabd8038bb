/* model_format.h - what reader and writer of the model file share: names, limits, and the check of a whole model.
 *
 * Metadata (all strings): format "pt", dcam "model", format_version, dcam_version, architecture, method, teacher,
 * attention, attention_at_detection "drop" or "keep", and as JSON: preprocessing, map, classes (names),
 * calibration (one object a class), training; memory, where there is one.
 * Tensors (f32): teacher.*, student.* under torchvision's names; attention.layerK.w1 (C/8 x C), .w2 (C x C/8), .kernel
 * (1 x 2 x 7 x 7); ranges.teacher, ranges.student (one a convolution; both or neither); calibration.I.scores (n),
 * calibration.I.centre (C_3), I the index of the class;
 * with a memory: memory.projection (C_2 + C_3 x dimensions), memory.I.prototypes (n x dimensions). */
#ifndef DCAM_DETECT_MODEL_FORMAT_H
#define DCAM_DETECT_MODEL_FORMAT_H

#include "detect/model.h"
#include "weights/tensors.h"

/* Method and teacher's description, in bytes. */
#define MODEL_MAX_TEXT 1024
#define MODEL_NAME_BYTES 64
#define MODEL_TEACHER_RANGES "ranges.teacher"
#define MODEL_STUDENT_RANGES "ranges.student"

/* One tensor of a stage's attention: where it lies in the block's values. */
typedef struct {
    char name[MODEL_NAME_BYTES];
    int rank;
    size_t shape[4];
    size_t offset;
} model_attention_part;
/* Parts of stage k, 0 to 3. */
int dcam_model_attention_parts(int attention, const dcam_architecture *a, int stage, model_attention_part out[3]);
void dcam_model_class_tensor(size_t class_index, const char *what, char out[MODEL_NAME_BYTES]);
void dcam_model_prototypes_tensor(size_t class_index, char out[MODEL_NAME_BYTES]);
#define MODEL_PROJECTION "memory.projection"
/* The attention blocks' tensors, if there are any; borrowed by the writer. */
DCAM_MUST_CHECK dcam_status dcam_model_add_attention(const dcam_model *model, dcam_tensor_writer *w);
/* The memory's tensors, if there is one; borrowed by the writer. */
DCAM_MUST_CHECK dcam_status dcam_model_add_memory(const dcam_model *model, dcam_tensor_writer *w);

/* The model that is in these tensors and their metadata; path is for messages. What dcam_model_load does with a file. */
DCAM_MUST_CHECK dcam_status dcam_model_read(const dcam_tensors *tensors, const char *path, dcam_model **out);

/* UTF-8 without control characters, at most max_bytes. */
bool dcam_model_text_is_plain(const char *text, size_t max_bytes);
/* Everything that can be said about a model without its file; path is for messages. */
DCAM_MUST_CHECK dcam_status dcam_model_check(const dcam_model *model, const char *path);

#endif
