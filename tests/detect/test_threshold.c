/* Thresholds from normal scores (by hand, and the promised rate by simulation), best F1, calibrated scores, colour
 * scale. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "detect/calibration.h"

static double threshold_of(const float *sorted, size_t n, double rate, dcam_threshold_rule wanted)
{
    double threshold;
    dcam_threshold_rule rule;
    assert_int_equal(dcam_threshold_from_normal(sorted, n, rate, &threshold, &rule), DCAM_OK);
    assert_int_equal(rule, wanted);
    return threshold;
}

static void order_statistics_by_hand(void **state)
{
    (void)state;
    float s[199];
    for (int i = 0; i < 199; i++) s[i] = (float)(i + 1);
    /* k = ceil(100 * 0.99) = 99: above the largest of 99 */
    assert_true(threshold_of(s, 99, 0.01, DCAM_RULE_ORDER) == (double)nextafterf(99, INFINITY));
    /* k = ceil(200 * 0.99) = 198 */
    assert_true(threshold_of(s, 199, 0.01, DCAM_RULE_ORDER) == (double)nextafterf(198, INFINITY));
    /* k = ceil(20 * 0.9) = 18, although 20 * 0.9 rounds to a hair above in doubles of other rates */
    assert_true(threshold_of(s, 19, 0.1, DCAM_RULE_ORDER) == (double)nextafterf(18, INFINITY));
    assert_true(threshold_of(s, 9, 0.3, DCAM_RULE_ORDER) == (double)nextafterf(7, INFINITY));
    assert_true(threshold_of(s, 1, 0.5, DCAM_RULE_ORDER) == (double)nextafterf(1, INFINITY));
    assert_true(threshold_of(s, 3, 0.999, DCAM_RULE_ORDER) == (double)nextafterf(1, INFINITY));
}

static void tails_by_hand(void **state)
{
    (void)state;
    float s[98];
    for (int i = 0; i < 98; i++) s[i] = (float)i;
    /* n = 98: m = 24, u = s[73] = 73, sum of excesses 300 */
    assert_true(fabs(threshold_of(s, 98, 0.01, DCAM_RULE_TAIL) - (73 + 300 * (pow(25 / 0.99, 1.0 / 24) - 1))) < 1e-9);
    /* n = 5: m = 4, u = 0, sum of excesses 10 */
    assert_true(fabs(threshold_of(s, 5, 0.01, DCAM_RULE_TAIL) - 10 * (pow(5 / 0.06, 0.25) - 1)) < 1e-9);
    /* equal scores: just above */
    const float same[20] = {0};
    assert_true(threshold_of(same, 20, 0.01, DCAM_RULE_TAIL) == (double)nextafterf(0, INFINITY));
    /* one score: a tenth of it as spread */
    const float one = 2;
    assert_true(fabs(threshold_of(&one, 1, 0.01, DCAM_RULE_SINGLE) - (2 + 0.2 * log(50))) < 1e-6);
    /* never below what was seen: a heavy body and one outlier */
    float outlier[50] = {0};
    outlier[49] = 1000;
    assert_true(threshold_of(outlier, 50, 0.019, DCAM_RULE_TAIL) > 1000);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    const float s[2] = {1, 2};
    double threshold = 5, rate = 6;
    dcam_threshold_rule rule = DCAM_RULE_F1;
    const double rates[] = {0, 1, -0.1, 1.5, NAN};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        assert_int_equal(dcam_threshold_from_normal(s, 2, rates[i], &threshold, &rule), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_threshold_from_normal(s, 0, 0.1, &threshold, &rule), DCAM_ERROR_DATA);
    assert_int_equal(dcam_threshold_from_labels(s, (uint8_t[]){0, 0}, 2, &threshold, &rate), DCAM_ERROR_DATA);
    assert_int_equal(dcam_threshold_from_labels(s, (uint8_t[]){1, 1}, 2, &threshold, &rate), DCAM_ERROR_DATA);
    assert_true(threshold == 5 && rate == 6 && rule == DCAM_RULE_F1);
}

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Mean false-alarm rate over many calibrations with n normal scores. kind 0: normal, 1: exponential, 2: log-normal. */
static double simulated_rate(int n, double rate, int kind)
{
    dcam_random r = dcam_random_make(21, (uint64_t)(n * 10 + kind));
    enum { ROUNDS = 4000 };
    double sum = 0;
    float s[400];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < n; i++) {
            const double z = dcam_random_normal(&r), u = dcam_random_uniform(&r);
            s[i] = (float)(kind == 0 ? z : kind == 1 ? -log(1 - u) : exp(0.5 * z));
        }
        qsort(s, (size_t)n, sizeof *s, rising);
        double t;
        dcam_threshold_rule rule;
        assert_int_equal(dcam_threshold_from_normal(s, (size_t)n, rate, &t, &rule), DCAM_OK);
        sum += kind == 0 ? erfc(t / sqrt(2)) / 2 : kind == 1 ? exp(-t) : t <= 0 ? 1 : erfc(log(t) / 0.5 / sqrt(2)) / 2;
    }
    return sum / ROUNDS;
}

static void the_rate_is_kept(void **state)
{
    (void)state;
    const int sizes[] = {99, 150, 400};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 3; kind++) {
            const double rate = simulated_rate(sizes[i], 0.01, kind);
            print_message("n %d, distribution %d: %.4f of 0.01\n", sizes[i], kind, rate);
            assert_true(rate < 0.0105 && rate > 0.005); /* guaranteed, up to the simulation's own spread */
        }
    const int small[] = {5, 10, 20, 40, 80};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        for (int kind = 0; kind < 3; kind++) {
            const double rate = simulated_rate(small[i], 0.01, kind);
            print_message("n %d, distribution %d: %.4f of 0.01 (extrapolated)\n", small[i], kind, rate);
            /* The normal's tail is lighter, so at most; the exponential is what is assumed (somewhat less where the
             * largest score bounds the threshold); the log-normal's is heavier, still far better than the largest
             * score as the threshold, which gives 1 / (n + 1). */
            if (kind == 1) assert_true(rate > 0.0075 && rate < 0.0105);
            else assert_true(rate < (kind == 0 ? 0.01 : 0.02) && rate > 0);
        }
}

static void best_f1_lies_between(void **state)
{
    (void)state;
    double threshold, rate;
    const float s[] = {1, 2, 3, 4, 10, 11};
    assert_int_equal(dcam_threshold_from_labels(s, (uint8_t[]){0, 0, 0, 0, 1, 1}, 6, &threshold, &rate), DCAM_OK);
    assert_true(threshold == 7 && rate == 0);
    assert_int_equal(dcam_threshold_from_labels(s, (uint8_t[]){0, 0, 1, 0, 1, 1}, 6, &threshold, &rate), DCAM_OK);
    assert_true(threshold == 2.5 && rate == 1.0 / 3);
    assert_int_equal(dcam_threshold_from_labels(s, (uint8_t[]){1, 1, 1, 1, 1, 0}, 6, &threshold, &rate), DCAM_OK);
    assert_true(threshold == 1 && rate == 1); /* nothing lies below */
}

static void scores_are_monotone_around_a_half(void **state)
{
    (void)state;
    float s[] = {1, 2, 3, 4, 5};
    dcam_class_calibration c = {.scores = s, .score_count = 5};
    const double thresholds[] = {8, 3, 2, 1e-30, 0, -5, 3.0000001};
    for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds; i++) {
        c.threshold = thresholds[i];
        const double t = c.threshold;
        assert_true(dcam_calibrated_score(&c, t) == 0.5);
        assert_true(dcam_calibrated_score(&c, nextafter(t, -INFINITY)) < 0.5);
        assert_true(dcam_calibrated_score(&c, nextafter(t, INFINITY)) >= 0.5);
        assert_true(dcam_calibrated_score(&c, 1e30) == 1 && dcam_calibrated_score(&c, -1e30) == 0);
        double last = -1;
        for (double raw = -20; raw < 20; raw += 0.01) {
            const double score = dcam_calibrated_score(&c, raw);
            assert_true(score >= last && score >= 0 && score <= 1 && (score >= 0.5) == (raw >= t));
            last = score;
        }
    }
    c.threshold = 8;
    assert_true(fabs(dcam_calibrated_score(&c, 3) - 0.1) < 1e-12); /* the median */
    assert_true(fabs(dcam_calibrated_score(&c, 13) - 0.9) < 1e-12);
    float same[] = {2, 2};
    c = (dcam_class_calibration){.scores = same, .score_count = 2, .threshold = 2};
    assert_true(dcam_calibrated_score(&c, 2) == 0.5 && dcam_calibrated_score(&c, 1) < 0.1);
}

static void colour_scale_rises(void **state)
{
    (void)state;
    const struct { float median, high; double threshold; float low, top; } cases[] = {
        {0.25f, 0.5f, 1, 0.5f, 2},          /* the threshold at a third */
        {0, 2, 1, 1, 1.2f},                 /* quantile above the threshold: low = threshold, a tenth of the way */
        {1, 1, 1, 1, 1.2f},                 /* all alike */
        {0, 0, 0, 0, 2e-12f},               /* all zero */
        {-3, -1, 2, -1, 8},                 /* standardised maps go below zero */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_class_calibration c = {.pixel_median = cases[i].median, .pixel_high = cases[i].high};
        dcam_class_set_threshold(&c, cases[i].threshold, DCAM_RULE_ORDER, 0.25);
        assert_true(c.threshold == cases[i].threshold && c.rule == DCAM_RULE_ORDER && c.false_alarm_rate == 0.25);
        assert_true(c.map_low == cases[i].low && fabsf(c.map_high - cases[i].top) <= 1e-6f * fabsf(cases[i].top));
        assert_true(c.map_low < c.map_high && (double)c.map_low <= c.threshold);
    }
}

static void rules_have_words(void **state)
{
    (void)state;
    for (int i = 0; i < DCAM_RULES; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(dcam_threshold_rule_text((dcam_threshold_rule)i), dcam_threshold_rule_text((dcam_threshold_rule)k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_statistics_by_hand),
        cmocka_unit_test(tails_by_hand),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(the_rate_is_kept),
        cmocka_unit_test(best_f1_lies_between),
        cmocka_unit_test(scores_are_monotone_around_a_half),
        cmocka_unit_test(colour_scale_rises),
        cmocka_unit_test(rules_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
