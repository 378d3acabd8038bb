/* bootstrap.h - how far a metric of one class would move with other test images of the same kind: its values over
 * resamples of the images (Efron and Tibshirani, "An introduction to the bootstrap", 1993). interval.h makes intervals of
 * them.
 *
 * Stratified: a resample draws as many good images from the good ones, and as many defective from the defective ones,
 * as there are, with replacement. Pixels and regions follow their image, for pixels of one image are not independent.
 * Every draw is a function of (seed, stream, number of the resample): the same on any number of threads. */
#ifndef DCAM_METRICS_BOOTSTRAP_H
#define DCAM_METRICS_BOOTSTRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"

#define DCAM_DEFAULT_RESAMPLES 1000
/* Intervals gain nothing from more; 10 metrics of that many are kept. */
#define DCAM_MAX_RESAMPLES 100000
/* Of fewer, the ends of the central 95 % lie beyond the outermost draws. */
#define DCAM_MIN_RESAMPLES 40
/* Bins of the pixel scores. Memory is 12 bytes a bin and image: images x bins is kept below the second number. */
#define DCAM_BOOTSTRAP_BINS 2048
#define DCAM_BOOTSTRAP_LEAST_BINS 128
#define DCAM_BOOTSTRAP_MOST_CELLS ((size_t)1 << 24)

typedef struct {
    uint64_t seed, stream; /* stream: one a class */
    int resamples;         /* 1 to DCAM_MAX_RESAMPLES */
    /* Asked by the calling thread again and again; true: DCAM_ERROR_CANCELLED. May be NULL. */
    bool (*stop)(void *user);
    void *user;
} dcam_bootstrap;

/* Resamples between two questions. */
#define DCAM_BOOTSTRAP_CHUNK 64

/* How often each of n images is in resample b. good, then defective: the indices of the images of each kind. */
void dcam_bootstrap_weights(const dcam_bootstrap *o, int b, const uint32_t *good, size_t good_count,
                            const uint32_t *defective, size_t defective_count, uint32_t *weights);

typedef enum { DCAM_BOOT_AUROC, DCAM_BOOT_AP, DCAM_BOOT_F1MAX, DCAM_BOOT_AUPRO, DCAM_BOOT_PRO_RESCALED } dcam_boot_metric;
#define DCAM_BOOT_IMAGE_METRICS 3
#define DCAM_BOOT_PIXEL_METRICS 5

/* The metrics of each resample, exact: values[m] has room for o->resamples. labels[n]: 0 good. Both kinds are needed. */
DCAM_MUST_CHECK dcam_status dcam_bootstrap_images(const dcam_bootstrap *o, const float *scores, const uint8_t *labels,
                                                  size_t n, double *values[DCAM_BOOT_IMAGE_METRICS]);

/* The pixel metrics of each resample, as dcam_pixel_evaluate defines them, with scores in bins: half of the edges are
 * quantiles of the defect pixels, half of the normal ones, and within a bin all scores count as equal. Each value is
 * moved by what the bins change of `exact`, the metrics of all images. Where every distinct score is shared by one in
 * 1,024 pixels of a kind, as with quantised maps, nothing is lost.
 * labels[n]: the kind of each image; masks as for dcam_pixel_evaluate. Both kinds of pixels and images are needed. */
DCAM_MUST_CHECK dcam_status dcam_bootstrap_pixels(const dcam_bootstrap *o, const float *maps, const uint8_t *masks,
                                                  const uint8_t *labels, int n, int height, int width,
                                                  const dcam_pixel_metrics *exact,
                                                  double *values[DCAM_BOOT_PIXEL_METRICS]);

/* Inside this layer: asks, after `done` resamples. */
DCAM_MUST_CHECK dcam_status dcam_bootstrap_ask(const dcam_bootstrap *o, size_t done);

/* Inside this layer: ranking metrics of weights in bins of ascending score; NAN without both kinds. */
dcam_ranking_metrics dcam_ranking_of_bins(const double *normal, const double *defect, size_t bins);

#endif
