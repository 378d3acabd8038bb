/* drift.c - two-sample tests with exact p-values, and their correction for many classes. */
#include "metrics/drift.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

/* max over all scores of |i m - j n|, i and j how many of a and b are at or below it: the statistic times n m, exactly. */
static int64_t largest_distance(const float *a, size_t n, const float *b, size_t m)
{
    size_t i = 0, j = 0;
    int64_t most = 0;
    while (i < n && j < m) {
        const float score = a[i] < b[j] ? a[i] : b[j];
        while (i < n && a[i] <= score) i++;
        while (j < m && b[j] <= score) j++;
        const int64_t distance = llabs((int64_t)i * (int64_t)m - (int64_t)j * (int64_t)n);
        if (distance > most) most = distance;
    }
    return most;
}

/* The chance that a walk from (0, 0) to (n, m), every order of the scores being as likely, meets |i m - j n| >= limit:
 * the mass that leaves is added up, so that small p keep their digits. inside[j]: mass at (i, j) that never left. */
static dcam_status count_paths(size_t n, size_t m, int64_t limit, double *out)
{
    double *inside, left = 0;
    DCAM_TRY(dcam_alloc_zero(m + 1, sizeof *inside, &inside));
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            const double steps = (double)(n + m - i - j + 1);
            double mass = i == 0 && j == 0 ? 1 : 0;
            if (i > 0) mass += inside[j] * (double)(n - i + 1) / steps;
            if (j > 0) mass += inside[j - 1] * (double)(m - j + 1) / steps;
            if (llabs((int64_t)i * (int64_t)m - (int64_t)j * (int64_t)n) >= limit) {
                left += mass;
                mass = 0;
            }
            inside[j] = mass;
        }
    dcam_free(inside);
    *out = fmin(left, 1);
    return DCAM_OK;
}

/* Kolmogorov's limit distribution. */
static double limit_p(double statistic, double n, double m)
{
    const double lambda = statistic * sqrt(n * m / (n + m));
    double p = 0;
    if (lambda < 0.2) return 1; /* the series needs many terms there; p is 1 to 12 digits */
    for (int k = 1; k <= 100; k++) p += (k % 2 ? 2 : -2) * exp(-2.0 * k * k * lambda * lambda);
    return fmin(fmax(p, 0), 1);
}

dcam_status dcam_ks_test(const float *a, size_t n, const float *b, size_t m, dcam_ks_result *out)
{
    const int64_t distance = largest_distance(a, n, b, m);
    dcam_ks_result r = {(double)distance / ((double)n * (double)m), 1, (double)n * (double)m <= DCAM_MOST_EXACT_PAIRS};
    if (distance > 0 && r.exact) DCAM_TRY(count_paths(n, m, distance, &r.p));
    if (distance > 0 && !r.exact) r.p = limit_p(r.statistic, (double)n, (double)m);
    *out = r;
    return DCAM_OK;
}

static double log_choose(double n, double k) { return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1); }

double dcam_ks_least_p(size_t n, size_t m) { return fmin(1, 2 * exp(-log_choose((double)(n + m), (double)n))); }

static double log_beta(double a, double b) { return lgamma(a) + lgamma(b) - lgamma(a + b); }

double dcam_exceedance_p(size_t n, size_t k, size_t m, size_t x)
{
    if (x == 0 || k == 0) return 1; /* every score is above the smallest of none */
    const double a = (double)(n + 1 - k), b = (double)k;
    double p = 0;
    for (size_t j = x; j <= m; j++)
        p += exp(log_choose((double)m, (double)j) + log_beta((double)j + a, (double)(m - j) + b) - log_beta(a, b));
    return fmin(p, 1);
}

double dcam_fisher_p(size_t n, size_t y, size_t m, size_t x)
{
    const size_t above = x + y;
    double p = 0;
    for (size_t j = x; j <= m && j <= above; j++)
        if (above - j <= n)
            p += exp(log_choose((double)m, (double)j) + log_choose((double)n, (double)(above - j)) - log_choose((double)(n + m), (double)above));
    return fmin(p, 1);
}

void dcam_holm(double *p, size_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i; /* insertion: classes are few */
        for (; at > 0 && p[order[at - 1]] > p[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fmin(1, p[order[i]] * (double)(n - i)));
        p[order[i]] = most;
    }
}
