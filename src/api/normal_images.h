/* normal_images.h - runs the calibration of detect/calibration.h over images of a data set. */
#ifndef DCAM_API_NORMAL_IMAGES_H
#define DCAM_API_NORMAL_IMAGES_H

#include "data/dataset.h"
#include "detect/calibration.h"
#include "detect/memory.h"

/* How the images are gone through. Bad ones are left out, and each is logged as a warning once: left_out has an entry for
 * each of dataset's samples, which is set then, and an image whose entry is set is not tried. */
typedef struct {
    bool *left_out;
    /* Asked after each image; true: DCAM_ERROR_CANCELLED, the model is as it was. May be NULL. */
    bool (*stop)(void *user, size_t done, size_t total);
    void *user;
} dcam_reading;

/* Calibrates model from the samples named by indices (all normal, any order of classes). false_alarm_rate 0: the
 * default. */
DCAM_MUST_CHECK dcam_status dcam_calibrate_from(dcam_model *model, const dcam_scorer_options *options,
                                                const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                                                double false_alarm_rate, const dcam_reading *reading);
/* Measures the ranges for int8 on some of them and, unless shift is NULL, how far int8 moves their scores. */
DCAM_MUST_CHECK dcam_status dcam_measure_ranges_from(dcam_model *model, const dcam_dataset *dataset,
                                                     const uint32_t *indices, size_t count, dcam_int8_shift *shift,
                                                     const dcam_reading *reading);

/* Gives the model a memory of those images (detect/memory.h). */
DCAM_MUST_CHECK dcam_status dcam_remember_from(dcam_model *model, const dcam_memory_options *options,
                                               const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                                               const dcam_reading *reading);

size_t dcam_left_out_count(const dcam_dataset *dataset, const bool *left_out);

#endif
