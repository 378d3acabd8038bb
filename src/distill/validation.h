/* validation.h - how well the student of now does: the mean of the anomaly map over the validation images, which
 * are normal, so that lower is better (method.md, Training). */
#ifndef DCAM_DISTILL_VALIDATION_H
#define DCAM_DISTILL_VALIDATION_H

#include "distill/learner.h"
#include "image/image.h"

typedef struct {
    const dcam_dataset *dataset;
    const uint32_t *indices;
    size_t count;
    dcam_cache *images;        /* or NULL */
    dcam_teacher_maps *teacher;
    dcam_preprocessing preprocessing;
} dcam_validation_data;

typedef struct dcam_validation dcam_validation;
/* data, options and what they point to are borrowed. */
DCAM_MUST_CHECK dcam_status dcam_validation_create(const dcam_validation_data *data, const dcam_trainer_options *options,
                                                   const dcam_architecture *architecture, dcam_validation **out);
void dcam_validation_destroy(dcam_validation *validation);
/* The student in evaluation mode, one image at a time. */
DCAM_MUST_CHECK dcam_status dcam_validation_run(dcam_validation *validation, const dcam_learner *learner, double *out);
/* Bytes that it and its run hold, beside the network of one image. */
size_t dcam_validation_plan_bytes(const dcam_architecture *architecture, const dcam_trainer_options *options);

#endif
