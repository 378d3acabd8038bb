/* drift.h - whether two sets of scores could be of one kind: p-values without any assumption on the distribution but
 * that the scores are independent. */
#ifndef DCAM_METRICS_DRIFT_H
#define DCAM_METRICS_DRIFT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* n * m up to which Kolmogorov and Smirnov's p-value is counted out; it takes about n * m steps. */
#define DCAM_MOST_EXACT_PAIRS 20000000.0

typedef struct {
    double statistic; /* the largest distance of the two distribution functions */
    double p;         /* two-sided */
    bool exact;       /* else by the limit distribution (n * m is large) */
} dcam_ks_result;

/* Kolmogorov and Smirnov's test of two samples, both sorted ascending, n and m at least 1. Exact where no scores are
 * equal (Hodges, "The significance probability of the Smirnov two-sample test", 1958); equal scores make p too large,
 * never too small. */
DCAM_MUST_CHECK dcam_status dcam_ks_test(const float *a, size_t n, const float *b, size_t m, dcam_ks_result *out);
/* The least p that samples of these sizes can give. */
double dcam_ks_least_p(size_t n, size_t m);

/* P(at least x of m new scores lie above the k-th smallest of n old ones), all of one kind: the beta-binomial
 * distribution with parameters n + 1 - k and k. It allows for the threshold being an estimate itself. */
double dcam_exceedance_p(size_t n, size_t k, size_t m, size_t x);
/* P(at least x of the y + x scores above a fixed threshold are among the m new ones, not the n old ones): Fisher's exact
 * test, one-sided. y: old ones above. */
double dcam_fisher_p(size_t n, size_t y, size_t m, size_t x);

/* Holm's correction in place: p-values such that rejecting those at or below a level keeps the chance of any false
 * rejection at that level, whatever their dependence. order: room for n. */
void dcam_holm(double *p, size_t *order, size_t n);

#endif
