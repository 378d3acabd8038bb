/* normal_images.h - runs the calibration of detect/calibration.h over images of a data set. */
#ifndef DCAM_API_NORMAL_IMAGES_H
#define DCAM_API_NORMAL_IMAGES_H

#include "data/dataset.h"
#include "detect/calibration.h"
#include "detect/memory.h"

/* Bad images are logged as warnings and left out. In all of these, unread (may be NULL) grows by one whenever an image
 * could not be read, however often the same. */

/* Calibrates model from the samples named by indices (all normal, any order of classes). false_alarm_rate 0: the
 * default. */
DCAM_MUST_CHECK dcam_status dcam_calibrate_from(dcam_model *model, const dcam_scorer_options *options,
                                                const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                                                double false_alarm_rate, size_t *unread);
/* Measures the ranges for int8 on some of them and, unless shift is NULL, how far int8 moves their scores. */
DCAM_MUST_CHECK dcam_status dcam_measure_ranges_from(dcam_model *model, const dcam_dataset *dataset,
                                                     const uint32_t *indices, size_t count, dcam_int8_shift *shift,
                                                     size_t *unread);

/* Gives the model a memory of those images (detect/memory.h). */
DCAM_MUST_CHECK dcam_status dcam_remember_from(dcam_model *model, const dcam_memory_options *options,
                                               const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                                               size_t *unread);

#endif
