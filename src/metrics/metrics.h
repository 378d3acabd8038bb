/* metrics.h - AUROC, AP, F1-max, AUPRO (exact) and the authors' rescaled PRO, as method.md defines them. Ties are
 * handled exactly; counts are 64-bit integers. NAN where a metric is not defined (one class only, no masks). */
#ifndef DCAM_METRICS_METRICS_H
#define DCAM_METRICS_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Scores or pixels of one call: 2 * positives * negatives stays below 2^64. */
#define DCAM_MAX_METRIC_COUNT ((size_t)UINT32_MAX)

typedef struct { double auroc, ap, f1max, f1max_threshold; } dcam_ranking_metrics;

/* scores[n], labels[n] (0 normal, else anomalous). Equal to scikit-learn's roc_auc_score, average_precision_score
 * and the best F1 over every threshold (score >= threshold is positive; the highest such threshold). With one kind of
 * label only, all four are NAN. Scores that are not finite are refused, as scikit-learn does. */
DCAM_MUST_CHECK dcam_status dcam_ranking(const float *scores, const uint8_t *labels, size_t n, dcam_ranking_metrics *out);

/* 8-connected regions of mask (height x width, > 0 is defect): labels[i] = 0 or region 1..count, numbered by their
 * first pixel in reading order. */
DCAM_MUST_CHECK dcam_status dcam_connected_components(const uint8_t *mask, int height, int width, int32_t *labels, int *count);
/* The same without allocation. parents: dcam_component_parents(height, width) elements. Returns the count. */
size_t dcam_component_parents(int height, int width);
int dcam_label_components(const uint8_t *mask, int height, int width, int32_t *labels, int32_t *parents);

/* Pixel metrics of one class. maps: n x height x width; masks: the same, any value > 0 is defect (good images: all 0).
 *
 * aupro: exact, every distinct score a threshold, mean over all regions, integrated from (0, 0) to FPR 0.3 with linear
 * interpolation at the limit, / 0.3; FPR over all normal pixels of all images.
 *
 * pro_rescaled: as the evaluators that go back to DFR do it, the authors' evaluate.py among them: thresholds
 * max - k (max - min) / 4000 for k = 0 .. 3999, a pixel is positive where score > threshold, points with FPR <= 0.3
 * kept, FPR and PRO each min-max rescaled to 0..1, trapezoid area. NAN where the rescaling would divide by zero.
 *
 * Extra memory: DCAM_PIXEL_METRICS_BYTES a pixel plus one image. NAN in all of them without defect or without normal pixels. */
#define DCAM_PIXEL_METRICS_BYTES 8
typedef struct { dcam_ranking_metrics pixel; double aupro, pro_rescaled; int64_t regions; } dcam_pixel_metrics;
DCAM_MUST_CHECK dcam_status dcam_pixel_evaluate(const float *maps, const uint8_t *masks, int n, int height, int width,
                                                dcam_pixel_metrics *out);

#endif
