/* interval.c - see interval.h. Roots are found by bisection: every function here is monotone and cheap. */
#include "metrics/interval.h"

#include <math.h>
#include <stdlib.h>

/* Halvings after which a double has no further digits to find. */
#define HALVINGS 100
/* Beyond it Student's quantile differs from that of so many degrees in the fourth digit only. */
#define MOST_DEGREES 10000
/* Of the normal distribution, (1 + DCAM_CONFIDENCE) / 2. */
#define NORMAL_QUANTILE 1.959963984540054
#define PI 3.14159265358979323846

/* ---- percentiles ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
    const double at = q * (double)(n - 1);
    const size_t k = (size_t)at < n - 1 ? (size_t)at : n - 1;
    const double next = sorted[k + 1 < n ? k + 1 : k];
    return sorted[k] + (next - sorted[k]) * (at - (double)k);
}

bool dcam_percentile_interval(double *values, size_t n, double *low, double *high)
{
    *low = *high = NAN;
    if (n == 0) return false;
    for (size_t i = 0; i < n; i++)
        if (isnan(values[i])) return false;
    qsort(values, n, sizeof *values, compare_doubles);
    if (!(values[n - 1] > values[0])) return false;
    *low = quantile(values, n, (1 - DCAM_CONFIDENCE) / 2);
    *high = quantile(values, n, (1 + DCAM_CONFIDENCE) / 2);
    return true;
}

/* ---- Student's distribution ---- */

/* P(|T| <= t), as a finite series in the angle atan(t / sqrt(degrees)) (Abramowitz and Stegun, 26.7.3 and 26.7.4). */
static double student_within(double t, size_t degrees)
{
    const double angle = atan(t / sqrt((double)degrees)), c = cos(angle), square = c * c;
    const bool odd = degrees % 2 == 1;
    double term = odd ? c : 1, sum = 0;
    for (size_t k = odd ? 1 : 0; k + 2 <= degrees; k += 2) {
        sum += term;
        term *= square * (double)(k + 1) / (double)(k + 2);
    }
    return odd ? 2 / PI * (angle + sin(angle) * sum) : sin(angle) * sum;
}

double dcam_student_quantile(double q, size_t degrees)
{
    const size_t n = degrees < MOST_DEGREES ? degrees : MOST_DEGREES;
    double low = 0, high = 1;
    while (student_within(high, n) < 2 * q - 1) high *= 2;
    for (int i = 0; i < HALVINGS; i++) {
        const double middle = low + (high - low) / 2;
        if (student_within(middle, n) < 2 * q - 1) low = middle;
        else high = middle;
    }
    return high;
}

/* ---- one metric ---- */

/* False without spread or with anything undefined. */
static bool deviation(const double *values, size_t n, double *out)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++) mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++) squares += (values[i] - mean) * (values[i] - mean);
    *out = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    return *out > 1e-12; /* what sums of equal values leave is no spread */
}

bool dcam_logit_interval(double metric, const double *resamples, size_t n, size_t fewest, double *low, double *high)
{
    double s;
    *low = *high = NAN;
    if (!(metric > 0 && metric < 1) || fewest < 2 || !deviation(resamples, n, &s)) return false;
    const double half = dcam_student_quantile((1 + DCAM_CONFIDENCE) / 2, fewest - 1) * s / (metric * (1 - metric));
    const double logit = log(metric / (1 - metric));
    *low = 1 / (1 + exp(half - logit));
    *high = 1 / (1 + exp(-half - logit));
    return true;
}

/* The variance that an AUROC of that size has, by Hanley and McNeil with both numbers of images replaced by their mean,
 * as Newcombe found best. */
static double auroc_variance(double auroc, double good, double defective)
{
    const double others = (good + defective) / 2 - 1;
    return auroc * (1 - auroc) * (1 + others * (1 - auroc) / (2 - auroc) + others * auroc / (1 + auroc)) / (good * defective);
}

/* The end between the AUROC and `far` (0 or 1) at which the distance is as large as is just believed. */
static double auroc_end(double auroc, double good, double defective, double far)
{
    const double z = NORMAL_QUANTILE;
    double inside = auroc, outside = far;
    for (int i = 0; i < HALVINGS; i++) {
        const double middle = inside + (outside - inside) / 2, distance = middle - auroc;
        if (distance * distance <= z * z * auroc_variance(middle, good, defective)) inside = middle;
        else outside = middle;
    }
    return inside;
}

void dcam_auroc_interval(double auroc, const double *resamples, size_t n, size_t good, size_t defective, double *low,
                         double *high)
{
    (void)dcam_logit_interval(auroc, resamples, n, good < defective ? good : defective, low, high);
    *low = fmin(*low, auroc_end(auroc, (double)good, (double)defective, 0)); /* of NAN and a number the number */
    *high = fmax(*high, auroc_end(auroc, (double)good, (double)defective, 1));
}

/* ---- the mean ---- */

bool dcam_mean_interval(const double *metric, const double *low, const double *high, size_t n, double *mean_low,
                        double *mean_high)
{
    double sum = 0, below = 0, above = 0;
    size_t classes = 0;
    *mean_low = *mean_high = NAN;
    for (size_t i = 0; i < n; i++) {
        if (isnan(metric[i])) continue;
        sum += metric[i];
        classes++;
        if (isnan(low[i]) || isnan(high[i])) return false; /* not known is not known for sure */
        below += (metric[i] - low[i]) * (metric[i] - low[i]);
        above += (high[i] - metric[i]) * (high[i] - metric[i]);
    }
    if (classes == 0) return false;
    *mean_low = (sum - sqrt(below)) / (double)classes;
    *mean_high = (sum + sqrt(above)) / (double)classes;
    return true;
}
