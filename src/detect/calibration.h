/* calibration.h - what turns raw scores into verdicts, from normal images alone (method.md, Calibration): per class
 * a threshold at a wanted false-alarm rate, a score in 0..1 whose 0.5 is the threshold, the fixed colour scale of
 * overlays, the statistics of the stage maps, and the class's centre. */
#ifndef DCAM_DETECT_CALIBRATION_H
#define DCAM_DETECT_CALIBRATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "detect/model.h"
#include "detect/scorer.h"

#define DCAM_DEFAULT_FALSE_ALARM_RATE 0.01

/* Threshold such that a new normal image is called anomalous (score >= threshold) with probability <= rate.
 * sorted: n raw scores of normal images, ascending. Let k = ceil((n + 1)(1 - rate)).
 *   k <= n: the threshold is the float just above the k-th smallest score. If the new score and the n are
 *     exchangeable, P(new > k-th) <= 1 - k/(n + 1) <= rate, whatever the distribution (DCAM_RULE_ORDER).
 *   k > n: no order statistic can promise the rate. The upper tail is taken as exponential: with u the (n - m)-th
 *     smallest, m = min(n - 1, max(10, n / 4)), and S the sum of the m excesses over u, P(new > u) = (m + 1)/(n + 1),
 *     and for an exponential tail P(new > u + c S) is that times (1 + c)^-m, whatever its unknown slope. Solved for
 *     rate: threshold = u + S (((m + 1) / ((n + 1) rate))^(1/m) - 1), at least the float above the largest score
 *     (DCAM_RULE_TAIL). Tails lighter than exponential, such as the normal's, give fewer false alarms; heavier ones more.
 *   n = 1: nothing is known of the spread: the score + a tenth of its magnitude * ln(1 / (2 rate)) (DCAM_RULE_SINGLE).
 * rate: in (0, 1); n = 0 is refused. */
DCAM_MUST_CHECK dcam_status dcam_threshold_from_normal(const float *sorted, size_t n, double rate, double *threshold,
                                                       dcam_threshold_rule *rule);
/* Normal scores of one class, ascending, at least one; and what comes of them. */
typedef struct {
    const float *scores;
    size_t count;
    double threshold;
    dcam_threshold_rule rule;
} dcam_normal_scores;
/* Thresholds of all classes of a model at once. A class of which (n + 1) rate is 10 or more, and a model of one class, has
 * dcam_threshold_from_normal's. Any other has DCAM_RULE_POOLED: with x = log score (score itself, if any score is not
 * above 0), mean m and squared deviations Q of a class, and v the variance within classes (their Q together, over their
 * n - 1 together), a new x strays by s = sqrt((Q + 10 v) / (n - 1 + 10) (1 + 1 / n)). The residuals (x - m) / s of every
 * score, m, Q and v worked out without it, go into one list, and q is dcam_threshold_from_normal's of them:
 * threshold = m + q s, taken back. What it promises: over the classes together the rate, if their residuals are of
 * one distribution, whichever; in one class as far as its tail resembles the others'. Fewer than 10 residuals, or none
 * that differs: as one class. */
DCAM_MUST_CHECK dcam_status dcam_thresholds_from_normal(dcam_normal_scores *classes, size_t count, double rate);
/* Threshold of the best F1: in the middle between the lowest score called anomalous there and the next lower one.
 * labels: 0 normal, else anomalous; both kinds are needed. rate: of false alarms among the normal ones. */
DCAM_MUST_CHECK dcam_status dcam_threshold_from_labels(const float *scores, const uint8_t *labels, size_t n,
                                                       double *threshold, double *rate);
/* One phrase for people: how the threshold came about. */
const char *dcam_threshold_rule_text(dcam_threshold_rule rule);

/* Sets threshold, rule and rate, and from them the colour scale: map_low is the 99.5 % quantile of normal pixels (but
 * at most the threshold), below which the photograph stays as it is; the threshold lies at a third of the scale. */
void dcam_class_set_threshold(dcam_class_calibration *c, double threshold, dcam_threshold_rule rule, double rate);

/* Raw score -> 0..1: logistic, 0.5 exactly at the threshold, 0.1 at the median of the normal validation scores.
 * Monotone, and score >= 0.5 if and only if raw >= threshold. */
double dcam_calibrated_score(const dcam_class_calibration *c, double raw);
/* Of that logistic; above 0. (raw - threshold) / width is what it is taken of: one scale for all classes, without an end. */
double dcam_calibrated_width(const dcam_class_calibration *c);

/* Normal images to calibrate with, already resized to the model's input size. */
typedef struct {
    size_t count;
    const int *classes;              /* count indices into class_names */
    const char *const *class_names;
    size_t class_count;
    double false_alarm_rate;         /* 0: DCAM_DEFAULT_FALSE_ALARM_RATE */
    /* Writes image i (height x width x 3). Called once or, for DCAM_MAP_STANDARD, twice an image, class by class.
     * DCAM_ERROR_IMAGE and DCAM_ERROR_IO leave the image out, of which read itself has to tell; any other status ends
     * the run. */
    dcam_status (*read)(void *user, size_t i, uint8_t *rgb);
    /* After each image read; true: stop (DCAM_ERROR_CANCELLED). May be NULL. */
    bool (*progress)(void *user, size_t done, size_t total);
    void *user;
} dcam_calibration_set;

/* The set's own sense: counts, names, indices. */
DCAM_MUST_CHECK dcam_status dcam_calibration_set_check(const dcam_calibration_set *set);

/* Runs the model over the images and fills model->classes: a class of the set that the model has is replaced, a new
 * one appended, others stay. A class of which no image could be read is an error. failed (may be NULL): images left
 * out. A model with a memory (memory.h) must have every class's prototypes before. Scores that the model already has of other
 * classes help to set the thresholds; their own stay. The model is untouched on failure. options: as for detection
 * later (precision, batch). */
DCAM_MUST_CHECK dcam_status dcam_calibrate_model(dcam_model *model, const dcam_scorer_options *options,
                                                 const dcam_calibration_set *set, size_t *failed);

/* ---- int8 ---- */

/* Ranges come from at most so many images, spread evenly over the set: more change the third digit. */
#define DCAM_RANGE_IMAGES 128

/* Runs both networks in f32 over normal images and sets the model's int8 ranges (thresholds stay as they are). Images
 * that cannot be read are left out; without any it is an error. The model is untouched on failure. */
DCAM_MUST_CHECK dcam_status dcam_measure_ranges(dcam_model *model, const dcam_calibration_set *set);

/* How far int8 moves the raw scores of normal images, in parts of their class's threshold. */
typedef struct {
    size_t images;
    double median, largest; /* of the magnitude */
} dcam_int8_shift;
/* Of the same images; the model must have its ranges and the set's classes. */
DCAM_MUST_CHECK dcam_status dcam_measure_int8_shift(const dcam_model *model, const dcam_calibration_set *set,
                                                    dcam_int8_shift *out);

#endif
