/* curves.h - the curves behind the ranking metrics, for people to look at. Points in the order of falling thresholds. */
#ifndef DCAM_METRICS_CURVES_H
#define DCAM_METRICS_CURVES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct { double x, y; } dcam_curve_point;
typedef struct { dcam_curve_point *points; size_t count; } dcam_curve;

/* roc: false positive rate, true positive rate. precision: recall, precision. pro: false positive rate over all normal
 * pixels, mean share of the regions. */
typedef struct { dcam_curve roc, precision, pro; } dcam_curves;
void dcam_curves_clear(dcam_curves *curves);

/* Of images: every distinct score is a point. No points where one kind is missing. */
DCAM_MUST_CHECK dcam_status dcam_image_curves(const float *scores, const uint8_t *labels, size_t n, dcam_curves *out);
/* Of pixels, at the edges of the bins of bootstrap.h; the arguments are as there. */
DCAM_MUST_CHECK dcam_status dcam_pixel_curves(const float *maps, const uint8_t *masks, const uint8_t *labels, int n,
                                              int height, int width, dcam_curves *out);

/* Inside this layer: from weights in bins of ascending score; share NULL: no pro. */
DCAM_MUST_CHECK dcam_status dcam_curves_of_bins(const double *normal, const double *defect, const double *share,
                                                double regions, size_t bins, dcam_curves *out);

#endif
