/* svg.h - charts as inline SVG. Colours are classes of the page's style sheet, so that they follow light and dark. */
#ifndef DCAM_REPORT_SVG_H
#define DCAM_REPORT_SVG_H

#include "metrics/curves.h"
#include "report/html.h"

typedef struct {
    const char *name;                 /* in the legend; ours, not from outside */
    const dcam_curve_point *points;
    size_t count;                     /* 0: left out */
} dcam_chart_line;

#define DCAM_CHART_LINES 2

typedef struct {
    const char *title, *x_label, *y_label, *description; /* description: what is to be seen, in words */
    double x_low, x_high, y_low, y_high;
    dcam_chart_line lines[DCAM_CHART_LINES];
    double limit;                     /* a dashed vertical line; NAN: none */
    const char *limit_name;
} dcam_chart;

/* A <figure> with its caption, in which the legend is. */
void dcam_chart_write(dcam_html *t, const dcam_chart *chart);

/* Two histograms above one another over one axis: good images, defective images; the threshold through both. */
void dcam_histograms_write(dcam_html *t, const float *scores, const uint8_t *labels, size_t n, double threshold,
                           const char *axis);

#endif
