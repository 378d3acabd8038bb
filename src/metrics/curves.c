/* curves.c - points of ROC, precision-recall and PRO from counts in bins of score. */
#include "metrics/curves.h"

#include <stdlib.h>

#include "base/memory.h"

void dcam_curves_clear(dcam_curves *c)
{
    dcam_free(c->roc.points);
    dcam_free(c->precision.points);
    dcam_free(c->pro.points);
    *c = (dcam_curves){0};
}

static void append(dcam_curve *c, double x, double y) { c->points[c->count++] = (dcam_curve_point){x, y}; }

dcam_status dcam_curves_of_bins(const double *normal, const double *defect, const double *share, double regions,
                                size_t bins, dcam_curves *out)
{
    dcam_curves c = {0};
    double normals = 0, positives = 0, tp = 0, fp = 0, pro = 0;
    for (size_t k = 0; k < bins; k++) {
        normals += normal[k];
        positives += defect[k];
    }
    if (normals > 0 && positives > 0) {
        dcam_status status = dcam_alloc(bins + 1, sizeof *c.roc.points, &c.roc.points);
        if (status == DCAM_OK) status = dcam_alloc(bins, sizeof *c.precision.points, &c.precision.points);
        if (status == DCAM_OK && share) status = dcam_alloc(bins + 1, sizeof *c.pro.points, &c.pro.points);
        if (status != DCAM_OK) {
            dcam_curves_clear(&c);
            return status;
        }
        append(&c.roc, 0, 0);
        if (share) append(&c.pro, 0, 0);
        for (size_t k = bins; k-- > 0;) {
            fp += normal[k];
            tp += defect[k];
            append(&c.roc, fp / normals, tp / positives);
            if (tp > 0) append(&c.precision, tp / positives, tp / (tp + fp));
            if (!share) continue;
            pro += share[k];
            append(&c.pro, fp / normals, pro / regions);
        }
    }
    *out = c;
    return DCAM_OK;
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

dcam_status dcam_image_curves(const float *scores, const uint8_t *labels, size_t n, dcam_curves *out)
{
    float *sorted = NULL;
    double *bins = NULL;
    dcam_status status = dcam_alloc(n, sizeof *sorted, &sorted);
    if (status == DCAM_OK) status = dcam_alloc_zero(2 * n, sizeof *bins, &bins);
    if (status == DCAM_OK) {
        size_t distinct = 0;
        for (size_t i = 0; i < n; i++) sorted[i] = scores[i];
        if (n > 0) qsort(sorted, n, sizeof *sorted, compare_floats);
        for (size_t i = 0; i < n; i++)
            if (distinct == 0 || sorted[i] > sorted[distinct - 1]) sorted[distinct++] = sorted[i];
        for (size_t i = 0; i < n; i++) {
            const float *at = bsearch(&scores[i], sorted, distinct, sizeof *sorted, compare_floats);
            bins[(labels[i] ? n : 0) + (size_t)(at - sorted)]++;
        }
        status = dcam_curves_of_bins(bins, bins + n, NULL, 0, distinct, out);
    }
    dcam_free(bins);
    dcam_free(sorted);
    return status;
}
