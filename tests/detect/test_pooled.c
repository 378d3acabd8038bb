/* Thresholds of many classes at once: against NumPy (golden/make_pooled.py), the promised rate by simulation, and where
 * each class is left to itself. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/random.h"
#include "detect/calibration.h"
#include "formula.h"
#include "golden_file.h"

enum { MOST_CLASSES = 8, MOST_SCORES = 128 };
static const double rates[] = {0.01, 0.05, 0.1};

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void make_classes(const size_t *sizes, size_t count, uint32_t seed, float scale, float offset,
                         float scores[MOST_CLASSES][MOST_SCORES], dcam_normal_scores *out)
{
    for (size_t k = 0; k < count; k++) {
        for (uint32_t i = 0; i < sizes[k]; i++) scores[k][i] = formula_value(seed + (uint32_t)k, i) * (scale + (float)k) + offset;
        qsort(scores[k], sizes[k], sizeof(float), rising);
        out[k] = (dcam_normal_scores){.scores = scores[k], .count = sizes[k]};
    }
}

static void thresholds_are_numpys(void **state)
{
    static const struct { const char *name; size_t sizes[MOST_CLASSES], count; uint32_t seed; float scale, offset; } sets[] = {
        {"many", {8, 25, 28, 7, 26, 17, 28, 24}, 8, 100, 3, 2},
        {"few", {1, 2, 9}, 3, 200, 1, 0.5f},
        {"linear", {12, 15}, 2, 300, 2, -0.7f},
        {"own", {120, 20, 30}, 3, 400, 1, 1},
    };
    static float scores[MOST_CLASSES][MOST_SCORES];
    dcam_normal_scores classes[MOST_CLASSES];
    (void)state;
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        double *wanted = golden_read("pooled.bin", sets[s].name, 3 * sets[s].count);
        make_classes(sets[s].sizes, sets[s].count, sets[s].seed, sets[s].scale, sets[s].offset, scores, classes);
        for (size_t r = 0; r < 3; r++) {
            assert_int_equal(dcam_thresholds_from_normal(classes, sets[s].count, rates[r]), DCAM_OK);
            for (size_t k = 0; k < sets[s].count; k++) {
                const double t = wanted[r * sets[s].count + k];
                if (fabs(classes[k].threshold - t) > 1e-5 * fabs(t))
                    fail_msg("%s, class %zu at %g: %.9g, wanted %.9g", sets[s].name, k, rates[r], classes[k].threshold, t);
                assert_int_equal(classes[k].rule, sets[s].sizes[k] == 120 && r == 2 ? DCAM_RULE_ORDER : DCAM_RULE_POOLED);
            }
        }
        free(wanted);
    }
}

/* ---- the promise ---- */

/* One score of class k. Locations differ by class, and deviations by up to a factor of 3. */
static double draw(dcam_random *r, int kind, size_t k)
{
    const double location = 5 + (double)(k * k % 7), deviation = 0.12 * (1 + (double)(k % 5) / 2);
    const double z = dcam_random_normal(r), u = dcam_random_uniform(r);
    switch (kind == 3 ? (int)(k % 3) : kind) {
    case 0: return location * exp(deviation * z);
    case 1: return location * (1 - deviation * log(1 - u));
    default: return location * fmax(0.01, 1 + deviation * z);
    }
}

/* The share of new scores above their class's threshold, over many calibrations of eight small classes. */
static double simulated_rate(int kind, double rate)
{
    static const size_t sizes[] = {8, 25, 28, 7, 26, 17, 28, 24};
    enum { ROUNDS = 300, NEW = 50 };
    dcam_random r = dcam_random_make(31, (uint64_t)kind);
    static float scores[MOST_CLASSES][MOST_SCORES];
    dcam_normal_scores classes[MOST_CLASSES];
    size_t above = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < MOST_CLASSES; k++) {
            for (size_t i = 0; i < sizes[k]; i++) scores[k][i] = (float)draw(&r, kind, k);
            qsort(scores[k], sizes[k], sizeof(float), rising);
            classes[k] = (dcam_normal_scores){.scores = scores[k], .count = sizes[k]};
        }
        assert_int_equal(dcam_thresholds_from_normal(classes, MOST_CLASSES, rate), DCAM_OK);
        for (size_t k = 0; k < MOST_CLASSES; k++)
            for (int i = 0; i < NEW; i++) above += draw(&r, kind, k) >= classes[k].threshold;
    }
    return (double)above / (ROUNDS * NEW * MOST_CLASSES);
}

static void the_rate_is_kept(void **state)
{
    static const char *const kinds[] = {"log-normal", "exponential", "normal", "one of these a class"};
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (size_t r = 0; r < 3; r++) {
            const double found = simulated_rate(kind, rates[r]);
            print_message("%s: %.4f of %g\n", kinds[kind], found, rates[r]);
            /* At 0.01 the threshold is above the largest of 163 residuals: 1/164 is what is to be expected. */
            assert_true(found <= rates[r] * 1.05);
            assert_true(found >= (r == 0 ? 0.004 : rates[r] * 0.8));
        }
}

/* ---- left to itself ---- */

static void alone(void **state)
{
    static float scores[MOST_CLASSES][MOST_SCORES];
    dcam_normal_scores classes[MOST_CLASSES];
    double threshold;
    dcam_threshold_rule rule;
    (void)state;
    /* one class; few residuals; nothing that differs */
    make_classes((const size_t[]){20}, 1, 1, 1, 2, scores, classes);
    assert_int_equal(dcam_thresholds_from_normal(classes, 1, 0.01), DCAM_OK);
    assert_int_equal(dcam_threshold_from_normal(scores[0], 20, 0.01, &threshold, &rule), DCAM_OK);
    assert_true(classes[0].rule == DCAM_RULE_TAIL && rule == DCAM_RULE_TAIL && classes[0].threshold == threshold);
    make_classes((const size_t[]){4, 5, 1}, 3, 1, 1, 2, scores, classes);
    assert_int_equal(dcam_thresholds_from_normal(classes, 3, 0.01), DCAM_OK);
    assert_true(classes[0].rule == DCAM_RULE_TAIL && classes[2].rule == DCAM_RULE_SINGLE);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 10; i++) scores[k][i] = (float)(k + 1);
    classes[0] = (dcam_normal_scores){.scores = scores[0], .count = 10};
    classes[1] = (dcam_normal_scores){.scores = scores[1], .count = 10};
    assert_int_equal(dcam_thresholds_from_normal(classes, 2, 0.01), DCAM_OK);
    assert_true(classes[0].rule == DCAM_RULE_TAIL && classes[0].threshold == (double)nextafterf(1, INFINITY));
    /* a single score has the deviation of the others, and more room than they */
    make_classes((const size_t[]){1, 30}, 2, 1, 1, 2, scores, classes);
    assert_int_equal(dcam_thresholds_from_normal(classes, 2, 0.05), DCAM_OK);
    assert_true(classes[0].rule == DCAM_RULE_POOLED && classes[0].threshold > (double)scores[0][0]);
    /* no threshold that a float can't hold */
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 10; i++) scores[k][i] = i < 5 ? 1e-30f : 1e30f;
    assert_int_equal(dcam_thresholds_from_normal(classes, 2, 0.01), DCAM_OK);
    assert_true(isfinite(classes[1].threshold) && isfinite((float)classes[1].threshold));
}

static void bad_requests_and_failing_memory(void **state)
{
    static float scores[MOST_CLASSES][MOST_SCORES];
    dcam_normal_scores classes[MOST_CLASSES];
    (void)state;
    make_classes((const size_t[]){20, 20}, 2, 1, 1, 2, scores, classes);
    assert_int_equal(dcam_thresholds_from_normal(classes, 2, 0), DCAM_ERROR_USAGE);
    EVERY_ALLOCATION(a, dcam_thresholds_from_normal(classes, 2, 0.01)) assert_true(a.n == 3 || !a.passed);
    classes[1].count = 0;
    assert_int_equal(dcam_thresholds_from_normal(classes, 2, 0.01), DCAM_ERROR_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_numpys), cmocka_unit_test(the_rate_is_kept), cmocka_unit_test(alone),
        cmocka_unit_test(bad_requests_and_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
