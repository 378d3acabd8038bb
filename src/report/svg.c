/* svg.c - line charts and histograms. Points nearer than half a pixel to the one before are left out, so that a curve
 * of two thousand points stays small. */
#include "report/svg.h"

#include <math.h>

#include "base/number_text.h"

#define WIDTH 320
#define HEIGHT 230
#define LEFT 44
#define RIGHT 10
#define TOP 10
#define BOTTOM 40
#define TICKS 4
#define BINS 24
/* In pixels of the drawing. */
#define LEAST_STEP 0.5

typedef struct {
    double left, top, width, height;
    double x_low, x_high, y_low, y_high;
} frame;

static double across(const frame *f, double x) { return f->left + (x - f->x_low) / (f->x_high - f->x_low) * f->width; }
static double down(const frame *f, double y) { return f->top + f->height - (y - f->y_low) / (f->y_high - f->y_low) * f->height; }

static void axis_labels(dcam_html *t, const frame *f, const char *x_label, const char *y_label)
{
    for (int i = 0; i <= TICKS; i++) {
        const double part = (double)i / TICKS, x = f->x_low + part * (f->x_high - f->x_low);
        dcam_html_format(t, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3g</text>", across(f, x),
                         f->top + f->height + 14, x);
    }
    for (int i = 0; y_label && i <= TICKS; i++) {
        const double y = f->y_low + (double)i / TICKS * (f->y_high - f->y_low);
        dcam_html_format(t, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>",
                         f->left, down(f, y), f->width, f->left - 4, down(f, y) + 3.5, y);
    }
    dcam_html_format(t, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", f->left + f->width / 2,
                     f->top + f->height + 30, x_label);
    if (y_label)
        dcam_html_format(t, "<text class=\"axis\" transform=\"translate(11 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>",
                         f->top + f->height / 2, y_label);
}

static void polyline(dcam_html *t, const frame *f, const dcam_chart_line *line, int number)
{
    double last_x = -INFINITY, last_y = -INFINITY;
    dcam_html_format(t, "<polyline class=\"line%d\" points=\"", number);
    for (size_t i = 0; i < line->count; i++) {
        const double x = across(f, fmin(fmax(line->points[i].x, f->x_low), f->x_high));
        const double y = down(f, fmin(fmax(line->points[i].y, f->y_low), f->y_high));
        if (i > 0 && i + 1 < line->count && fabs(x - last_x) + fabs(y - last_y) < LEAST_STEP) continue;
        dcam_html_format(t, "%.1f,%.1f ", x, y);
        last_x = x;
        last_y = y;
    }
    dcam_html_put(t, "\"/>");
}

static void open_figure(dcam_html *t, const char *title, const char *description)
{
    dcam_html_format(t, "<figure class=\"chart\"><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s: %s\">", WIDTH, HEIGHT,
                     title, description);
}

void dcam_chart_write(dcam_html *t, const dcam_chart *c)
{
    const frame f = {LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, c->x_low, c->x_high, c->y_low, c->y_high};
    open_figure(t, c->title, c->description);
    axis_labels(t, &f, c->x_label, c->y_label);
    dcam_html_format(t, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", f.left, f.top, f.width, f.height);
    if (!isnan(c->limit)) dcam_html_format(t, "<path class=\"limit\" d=\"M%.1f %.1fv%.1f\"/>", across(&f, c->limit), f.top, f.height);
    for (int i = 0; i < DCAM_CHART_LINES; i++)
        if (c->lines[i].count > 0) polyline(t, &f, &c->lines[i], i);
    dcam_html_format(t, "</svg><figcaption>%s", c->title);
    for (int i = 0; i < DCAM_CHART_LINES; i++)
        if (c->lines[i].count > 0) dcam_html_format(t, " <span class=\"key key%d\">%s</span>", i, c->lines[i].name);
    if (!isnan(c->limit)) dcam_html_format(t, " <span class=\"key keylimit\">%s</span>", c->limit_name);
    dcam_html_put(t, "</figcaption></figure>");
}

/* ---- histograms ---- */

static double count_bins(const float *scores, const uint8_t *labels, size_t n, int kind, double low, double high, double counts[BINS])
{
    double most = 1;
    for (int k = 0; k < BINS; k++) counts[k] = 0;
    for (size_t i = 0; i < n; i++) {
        if ((labels[i] != 0) != kind) continue;
        const double at = ((double)scores[i] - low) / (high - low) * BINS;
        const int k = !(at > 0) ? 0 : at >= BINS ? BINS - 1 : (int)at;
        most = fmax(most, ++counts[k]);
    }
    return most;
}

static void bars(dcam_html *t, const frame *f, const double counts[BINS], double most, int kind)
{
    const double step = f->width / BINS;
    for (int k = 0; k < BINS; k++) {
        const double height = counts[k] / most * (f->height - 12);
        if (counts[k] > 0)
            dcam_html_format(t, "<rect class=\"bar%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", kind,
                             f->left + k * step + 0.5, f->top + f->height - height, step - 1, height);
    }
    dcam_html_format(t, "<path class=\"base\" d=\"M%.1f %.1fh%.1f\"/>", f->left, f->top + f->height, f->width);
}

void dcam_histograms_write(dcam_html *t, const float *scores, const uint8_t *labels, size_t n, double threshold,
                           const char *axis)
{
    double low = threshold, high = threshold, counts[BINS];
    char description[160];
    size_t good = 0, above[2] = {0, 0};
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, (double)scores[i]);
        high = fmax(high, (double)scores[i]);
        good += labels[i] == 0;
        above[labels[i] != 0] += (double)scores[i] >= threshold;
    }
    const double margin = high > low ? 0.04 * (high - low) : fmax(fabs(high), 1) * 0.04;
    low -= margin;
    high += margin;
    const double half = (HEIGHT - TOP - BOTTOM - 8) / 2.0;
    const frame upper = {LEFT - 20, TOP, WIDTH - LEFT + 20 - RIGHT, half, low, high, 0, 1};
    frame lower = upper;
    lower.top = TOP + half + 8;
    dcam_snprintf(description, sizeof description, "%zu of %zu good and %zu of %zu defective images at or above the threshold %.4g",
             above[0], good, above[1], n - good, threshold);
    open_figure(t, "Scores", description);
    double most[2];
    for (int kind = 0; kind < 2; kind++) {
        most[kind] = count_bins(scores, labels, n, kind, low, high, counts);
        bars(t, kind ? &lower : &upper, counts, most[kind], kind);
    }
    axis_labels(t, &lower, axis, NULL);
    dcam_html_format(t, "<path class=\"limit\" d=\"M%.1f %.1fv%.1f\"/>", across(&upper, threshold), upper.top,
                     lower.top + half - upper.top);
    for (int kind = 0; kind < 2; kind++) /* last, so that the threshold's line does not cross them */
        dcam_html_format(t, "<text class=\"tick halo\" x=\"%.1f\" y=\"%.1f\">%s, at most %.0f in a bar</text>", upper.left + 2,
                         (kind ? lower.top : upper.top) + 8, kind ? "defective" : "good", most[kind]);
    dcam_html_put(t, "</svg><figcaption>Scores <span class=\"key key0\">good</span> <span class=\"key key1\">defective</span> "
                     "<span class=\"key keylimit\">threshold</span></figcaption></figure>");
}
