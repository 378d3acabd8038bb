/* evaluation.h - what the parts of an evaluation share: one class's test images as they were scored, and the intervals
 * of its metrics. */
#ifndef DCAM_API_EVALUATION_H
#define DCAM_API_EVALUATION_H

#include "api/detector.h"
#include "data/dataset.h"
#include "image/image.h"
#include "metrics/metrics.h"
#include "report/report.h"

/* dcam_metrics is a row of doubles, so that what is done to each of them is written once; a new field cannot be
 * forgotten. */
#define DCAM_METRICS 10
_Static_assert(sizeof(dcam_metrics) == DCAM_METRICS * sizeof(double), "dcam_metrics holds DCAM_METRICS doubles only");

dcam_metrics dcam_metrics_none(void); /* NAN in all of them */

/* What is known of one class's test images while they are scored. */
typedef struct {
    size_t count, images;  /* room for; scored */
    size_t pixels;
    bool from_threshold;   /* maps and scores are dcam_from_threshold of their class, not raw */
    float *maps;           /* count x pixels; of one batch where keeps_maps is not set */
    uint8_t *masks;        /* count x pixels; NULL without has_masks */
    float *scores;
    uint8_t *labels;
    const dcam_sample **samples; /* of the data set */
    dcam_verdict *verdicts;
    size_t false_alarms, misses, normal, defective;
    bool has_masks;        /* there are defective images, and every one has a mask: pixel metrics are made */
    bool keeps_maps;       /* for pixel metrics, or for the pictures of a report */
} dcam_class_scores;

/* A raw value of an image taken for class c, counted from its threshold in widths of its score: raw values of several
 * classes are of several scales. width: dcam_calibrated_width of c. */
float dcam_from_threshold(const dcam_class_calibration *c, double width, double raw);

/* Makes the intervals of each class and of the mean: classes are resampled on their own. */
typedef struct dcam_intervals dcam_intervals;
/* Whether their number can be had: DCAM_ERROR_USAGE. */
DCAM_MUST_CHECK dcam_status dcam_intervals_check(const dcam_evaluate_options *options);
/* stop: asked between resamples; true: DCAM_ERROR_CANCELLED. */
DCAM_MUST_CHECK dcam_status dcam_intervals_create(const dcam_evaluate_options *options, bool (*stop)(void *user), void *user,
                                                  dcam_intervals **out);
void dcam_intervals_destroy(dcam_intervals *intervals); /* NULL-safe */
/* Fills result->low and high; name, metrics and (where there are pixel metrics) pixel must be there. */
DCAM_MUST_CHECK dcam_status dcam_intervals_of_class(dcam_intervals *intervals, const dcam_preprocessing *p,
                                                    const dcam_class_scores *s, const dcam_pixel_metrics *pixel,
                                                    dcam_class_result *result);
/* Fills mean_low, mean_high and resamples, after all classes. */
DCAM_MUST_CHECK dcam_status dcam_intervals_of_mean(const dcam_intervals *intervals, dcam_evaluation *e);

/* Adds the section of a class to the report: histogram, curves, pictures. stop: asked before each picture. */
DCAM_MUST_CHECK dcam_status dcam_report_of_class(dcam_report *report, const dcam_detector *d, int model_class,
                                                 const dcam_dataset *dataset, const char *name, const dcam_class_scores *s,
                                                 bool (*stop)(void *user), void *user);

/* The file of a class in the folder of a one-class training. */
DCAM_MUST_CHECK dcam_status dcam_class_model_path(const char *folder, const char *class_name, char **out);

#endif
