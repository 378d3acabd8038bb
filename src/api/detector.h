/* detector.h - the inside of the public dcam_detector, shared by the files of this layer. */
#ifndef DCAM_API_DETECTOR_H
#define DCAM_API_DETECTOR_H

#include "detect/scorer.h"

struct dcam_detector {
    dcam_model *model;
    dcam_scorer *scorer;
    char *path;
    int class_index; /* given for every image, or -1 */
    int threads;
};

/* The precision in which the network scores for what the caller asked. */
DCAM_MUST_CHECK dcam_status dcam_resolve_precision(dcam_precision asked, dcam_net_precision *out);
/* The same of training: auto is bf16 with AMX, where a step takes a third of the time and its effect is measured
 * (docs/accuracy.md), else f32. */
DCAM_MUST_CHECK dcam_status dcam_resolve_training_precision(dcam_precision asked, dcam_net_precision *out);
/* DCAM_ERROR_KERNEL if a kernel of detection in this precision computes wrongly; takes some milliseconds (net/check.h). */
DCAM_MUST_CHECK dcam_status dcam_check_kernels(dcam_net_precision precision);
const char *dcam_net_precision_name(dcam_net_precision precision);
/* Whether the model has what the precision needs; says what to do where it has not. */
DCAM_MUST_CHECK dcam_status dcam_check_ranges(const dcam_model *model, dcam_net_precision precision, const char *path);

/* Whether a caller's number of threads (0: all cores) is one to run with. */
DCAM_MUST_CHECK dcam_status dcam_check_threads(int threads);

/* Whether a caller's wanted false-alarm rate (0: the default) is one that thresholds can be set with: of a rate that is
 * hardly above 0 they would be no finite numbers, which the model file, written after the training, does not take. */
DCAM_MUST_CHECK dcam_status dcam_check_false_alarm_rate(double rate);

/* Fills *out from a verdict of scorer, one of the detector's model, on an image of width x height; map (model's input
 * size) is copied. The detector is only read. */
DCAM_MUST_CHECK dcam_status dcam_detection_fill(const dcam_detector *detector, dcam_scorer *scorer, const dcam_verdict *verdict,
                                                const float *map, int width, int height, double milliseconds,
                                                dcam_detection *out);

/* The photograph with the map over it, in the class's fixed colours, and the regions outlined. */
DCAM_MUST_CHECK dcam_status dcam_overlay_draw(const dcam_class_calibration *c, const dcam_image *photo, const float *map,
                                              int map_width, int map_height, const dcam_region *regions,
                                              size_t region_count, dcam_image *out);

#endif
