/* threshold.c - thresholds, calibrated scores and colour scales of one class from its normal scores; the rules and
 * their reasons are in calibration.h. The guarantee of the order statistic is that of split conformal prediction
 * (Vovk, Gammerman, Shafer, "Algorithmic learning in a random world", 2005, chapter 2). */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "detect/calibration.h"
#include "metrics/metrics.h"

/* A smaller tail has too few scores to tell its slope. */
#define TAIL_MIN 10
/* One score says nothing about spread; maps of good images have been seen to differ by a tenth. */
#define SINGLE_SPREAD 0.1
/* The median normal image gets this score. */
#define MEDIAN_SCORE 0.1
/* The threshold lies at a third of the colour scale. */
#define SCALE_ABOVE 2.0
/* Least part of the way from the median pixel to the threshold that the lower third of the scale spans: without it a
 * quantile just under the threshold would make the scale a cliff. */
#define SCALE_LEAST 0.1

static double just_above(float score) { return (double)nextafterf(score, INFINITY); }

/* The predictive quantile of an exponential tail, at least just above the largest score. */
static double tail_threshold(const float *sorted, size_t n, double rate, size_t m)
{
    const double u = (double)sorted[n - 1 - m];
    double excess = 0;
    for (size_t i = n - m; i < n; i++) excess += (double)sorted[i] - u;
    const double c = pow((double)(m + 1) / ((double)(n + 1) * rate), 1 / (double)m) - 1;
    return fmax(u + excess * c, just_above(sorted[n - 1]));
}

dcam_status dcam_threshold_from_normal(const float *sorted, size_t n, double rate, double *threshold,
                                       dcam_threshold_rule *rule)
{
    if (!(rate > 0 && rate < 1))
        return dcam_fail(DCAM_ERROR_USAGE, "a false-alarm rate of %g: it must lie between 0 and 1, such as 0.01", rate);
    if (n == 0) return dcam_fail(DCAM_ERROR_DATA, "no normal image to set a threshold with; give at least one");
    /* A hair is taken off so that (n + 1)(1 - rate) = 99 * (1 + 1e-16) does not count as 100. */
    const double order = ceil((double)(n + 1) * (1 - rate) * (1 - 1e-12));
    if (order <= (double)n) {
        const size_t k = order < 1 ? 1 : (size_t)order;
        *threshold = just_above(sorted[k - 1]);
        *rule = DCAM_RULE_ORDER;
    } else if (n == 1) {
        const double spread = SINGLE_SPREAD * fabs((double)sorted[0]);
        *threshold = fmax((double)sorted[0] + spread * log(1 / (2 * rate)), just_above(sorted[0]));
        *rule = DCAM_RULE_SINGLE;
    } else {
        size_t m = n / 4 > TAIL_MIN ? n / 4 : TAIL_MIN;
        if (m > n - 1) m = n - 1;
        *threshold = tail_threshold(sorted, n, rate, m);
        *rule = DCAM_RULE_TAIL;
    }
    return DCAM_OK;
}

dcam_status dcam_threshold_from_labels(const float *scores, const uint8_t *labels, size_t n, double *threshold,
                                       double *rate)
{
    dcam_ranking_metrics m;
    DCAM_TRY(dcam_ranking(scores, labels, n, &m));
    if (isnan(m.f1max_threshold))
        return dcam_fail(DCAM_ERROR_DATA, "the best F1 needs labelled images of both kinds, normal and anomalous; "
                                          "without them calibrate by false-alarm rate");
    double below = -INFINITY;
    size_t normals = 0, alarms = 0;
    for (size_t i = 0; i < n; i++) {
        const double score = (double)scores[i];
        if (score < m.f1max_threshold && score > below) below = score;
        normals += labels[i] == 0;
        alarms += labels[i] == 0 && score >= m.f1max_threshold;
    }
    *threshold = isinf(below) ? m.f1max_threshold : below + (m.f1max_threshold - below) / 2;
    *rate = (double)alarms / (double)normals;
    return DCAM_OK;
}

const char *dcam_threshold_rule_text(dcam_threshold_rule rule)
{
    switch (rule) {
    case DCAM_RULE_ORDER: return "order statistic of the normal scores";
    case DCAM_RULE_TAIL: return "exponential tail, too few normal images for the rate";
    case DCAM_RULE_SINGLE: return "guess from a single normal image";
    case DCAM_RULE_F1: return "best F1 on labelled images";
    case DCAM_RULE_POOLED: return "normal scores of all classes together";
    }
    return "unknown";
}

void dcam_class_set_threshold(dcam_class_calibration *c, double threshold, dcam_threshold_rule rule, double rate)
{
    c->threshold = threshold;
    c->rule = rule;
    c->false_alarm_rate = rate;
    const double low = fmin((double)c->pixel_high, threshold);
    double span = fmax(threshold - low, SCALE_LEAST * (threshold - (double)c->pixel_median));
    /* all pixels alike: any scale above them will do, as long as it is one */
    if (!(span > 0)) span = fmax(SINGLE_SPREAD * fabs(threshold), 1e-12);
    c->map_low = (float)low;
    c->map_high = (float)(threshold + SCALE_ABOVE * span);
    if (!(c->map_high > c->map_low)) c->map_high = nextafterf(c->map_low, INFINITY);
}

static double median_of(const float *sorted, size_t n)
{
    return ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2;
}

/* For which the median scores MEDIAN_SCORE; where the threshold is not above the median (an F1 threshold may be
 * anywhere) a tenth of its magnitude stands in. */
double dcam_calibrated_width(const dcam_class_calibration *c)
{
    const double width = (c->threshold - median_of(c->scores, c->score_count)) / log((1 - MEDIAN_SCORE) / MEDIAN_SCORE);
    return width > 0 ? width : fmax(SINGLE_SPREAD * fabs(c->threshold), 1e-12);
}

double dcam_calibrated_score(const dcam_class_calibration *c, double raw)
{
    const double score = 1 / (1 + exp(-(raw - c->threshold) / dcam_calibrated_width(c)));
    if (raw < c->threshold && score >= 0.5) return nextafter(0.5, 0); /* rounding must not turn the verdict */
    return score;
}
