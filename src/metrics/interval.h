/* interval.h - 95 % intervals of metrics that lie between 0 and 1, from the spread of their resamples (bootstrap.h),
 * of rates, and of means of all these.
 *
 * Percentiles of the resamples are not taken for metrics: near 1, where a resample cannot be much better than the images
 * but much worse, they promise too much (docs/numerics.md has the coverages). On the logit scale the distribution is
 * nearly symmetric, and its ends stay within 0..1. */
#ifndef DCAM_METRICS_INTERVAL_H
#define DCAM_METRICS_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>

#define DCAM_CONFIDENCE 0.95

/* Jeffreys' interval of a rate of which `events` of `count` were seen: the central DCAM_CONFIDENCE of
 * Beta(events + 1/2, count - events + 1/2); an end at which the rate was seen is its end (Brown, Cai, DasGupta, "Interval
 * estimation for a binomial proportion", 2001, section 4.1.1). Resampling would promise a rate of exactly 0 where no event
 * was seen. False, and NAN in both, of nothing. */
bool dcam_rate_interval(size_t events, size_t count, double *low, double *high);

/* Interval of a metric in (0, 1): logit(metric) plus and minus t s / (metric (1 - metric)), with s the standard deviation
 * of the n resamples and t the quantile of Student's distribution for `fewest` images, the kind that there are fewest of.
 * False, and NAN in both, where there is no spread, or the metric is 0 or 1, or undefined. */
bool dcam_logit_interval(double metric, const double *resamples, size_t n, size_t fewest, double *low, double *high);

/* Interval of an image AUROC: the wider of dcam_logit_interval and of what its size and the numbers of images say alone,
 * which are the values that it does not contradict, by the variance of Hanley and McNeil (1982) at the end itself (method
 * 5 of Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic", part 2, 2006).
 * The second has ends for a perfect score too, the first allows for uneven scores. n = 0: the second only. */
void dcam_auroc_interval(double auroc, const double *resamples, size_t n, size_t good, size_t defective, double *low,
                         double *high);

/* Interval of the mean of independent metrics from the interval of each (Zou and Donner, "Construction of confidence
 * limits about effect measures", 2008): distances of the ends are added as squares. Classes without a metric are left
 * out. False, and NAN in both, where a class with a metric has no interval (left out, it would count as known for sure
 * and make the mean's narrower), or no class has a metric. */
bool dcam_mean_interval(const double *metric, const double *low, const double *high, size_t n, double *mean_low,
                        double *mean_high);

/* The quantile q in (0.5, 1) of Student's distribution. degrees: at least 1. */
double dcam_student_quantile(double q, size_t degrees);

#endif
