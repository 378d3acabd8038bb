/* interval.c - see interval.h. Roots are found by bisection: every function here is monotone and cheap. */
#include "metrics/interval.h"

#include <math.h>

/* Halvings after which a double has no further digits to find. */
#define HALVINGS 100
/* Beyond it Student's quantile differs from that of so many degrees in the fourth digit only. */
#define MOST_DEGREES 10000
/* Of the normal distribution, (1 + DCAM_CONFIDENCE) / 2. */
#define NORMAL_QUANTILE 1.959963984540054
#define PI 3.14159265358979323846

/* ---- the beta distribution ---- */

/* Far more terms than a rate of a million images needs: their number goes with the root of the larger parameter. */
#define MOST_TERMS 200000
/* Stands in for a 0 that would be divided by. */
#define TINY 1e-300

static double not_zero(double v) { return fabs(v) < TINY ? TINY : v; }

/* The continued fraction of the incomplete beta function (Abramowitz and Stegun, 26.5.8) by Lentz's method, which goes
 * forward: quick for x below (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), value = d;
    for (int i = 1; i < MOST_TERMS; i++) {
        const double m = i, even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                     odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        value *= d * c;
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        value *= d * c;
        if (fabs(d * c - 1) < 1e-15) break;
    }
    return value;
}

/* P(X <= x) of X from Beta(a, b); x within (0, 1). */
static double beta_below(double x, double a, double b)
{
    const double power = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? power * beta_fraction(x, a, b) / a : 1 - power * beta_fraction(1 - x, b, a) / b;
}

static double beta_quantile(double q, double a, double b)
{
    double low = 0, high = 1;
    for (int i = 0; i < HALVINGS; i++) {
        const double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (beta_below(middle, a, b) < q) low = middle;
        else high = middle;
    }
    return low + (high - low) / 2;
}

bool dcam_rate_interval(size_t events, size_t count, double *low, double *high)
{
    const double a = (double)events + 0.5, b = (double)(count - events) + 0.5;
    *low = *high = NAN;
    if (count == 0) return false;
    *low = events == 0 ? 0 : beta_quantile((1 - DCAM_CONFIDENCE) / 2, a, b);
    *high = events == count ? 1 : beta_quantile((1 + DCAM_CONFIDENCE) / 2, a, b);
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
