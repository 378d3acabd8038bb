/* Intervals: Student's quantiles and Newcombe's ends against SciPy's (golden/make_interval.py), the logit interval by
 * hand, the mean's, and the coverage on simulated images. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "golden_file.h"
#include "metrics/bootstrap.h"
#include "metrics/interval.h"

static void close_to(double found, double wanted, double tolerance)
{
    if (fabs(found - wanted) > tolerance) fail_msg("%.17g, wanted %.17g within %g", found, wanted, tolerance);
}

static void student_is_scipys(void **state)
{
    static const size_t degrees[] = {1, 2, 3, 4, 7, 26, 39, 500};
    double *wanted = golden_read("interval.bin", "student", 16);
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        close_to(dcam_student_quantile(0.975, degrees[i]), wanted[2 * i], 1e-9);
        close_to(dcam_student_quantile(0.9, degrees[i]), wanted[2 * i + 1], 1e-9);
    }
    free(wanted);
    close_to(dcam_student_quantile(0.975, SIZE_MAX), 1.96, 1e-3); /* no endless sum */
}

static void auroc_is_newcombes(void **state)
{
    static const struct { double auroc; size_t good, defective; } cases[] = {
        {0.5, 10, 10}, {0.9, 20, 40}, {0.99, 41, 67}, {1, 50, 48}, {0, 5, 9}, {0.02, 30, 12}};
    double *wanted = golden_read("interval.bin", "auroc", 12), low, high;
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        dcam_auroc_interval(cases[i].auroc, NULL, 0, cases[i].good, cases[i].defective, &low, &high);
        close_to(low, wanted[2 * i], 1e-9);
        close_to(high, wanted[2 * i + 1], 1e-9);
    }
    free(wanted);
    /* resamples that differ more than that make it wider, and only then */
    double wide[2], narrow_low, narrow_high, alone_low, alone_high;
    dcam_auroc_interval(0.9, NULL, 0, 20, 40, &alone_low, &alone_high);
    dcam_auroc_interval(0.9, (double[]){0.7, 1}, 2, 20, 40, &wide[0], &wide[1]);
    dcam_auroc_interval(0.9, (double[]){0.899, 0.901}, 2, 20, 40, &narrow_low, &narrow_high);
    assert_true(wide[0] < alone_low && wide[1] > alone_high);
    assert_true(narrow_low == alone_low && narrow_high == alone_high);
    /* Their degrees of freedom are those of the kind with fewer images, whichever that is. */
    double five_low, five_high;
    assert_true(dcam_logit_interval(0.9, (double[]){0.7, 1}, 2, 5, &five_low, &five_high));
    dcam_auroc_interval(0.9, (double[]){0.7, 1}, 2, 5, 40, &wide[0], &wide[1]);
    assert_true(wide[0] == five_low && wide[1] == five_high);
    dcam_auroc_interval(0.9, (double[]){0.7, 1}, 2, 40, 5, &wide[0], &wide[1]);
    assert_true(wide[0] == five_low && wide[1] == five_high);
}

static void logit_by_hand(void **state)
{
    const double resamples[] = {0.7, 0.8, 0.9}; /* deviation 0.1 */
    double low, high;
    (void)state;
    assert_true(dcam_logit_interval(0.8, resamples, 3, 8, &low, &high));
    const double half = dcam_student_quantile(0.975, 7) * 0.1 / 0.16;
    close_to(log(low / (1 - low)), log(4) - half, 1e-12);
    close_to(log(high / (1 - high)), log(4) + half, 1e-12);
    assert_true(low > 0 && high < 1);
    /* no spread, no middle, one image of a kind, undefined */
    assert_false(dcam_logit_interval(0.8, (double[]){0.8, 0.8, 0.8}, 3, 8, &low, &high));
    assert_true(isnan(low) && isnan(high));
    assert_false(dcam_logit_interval(1, resamples, 3, 8, &low, &high));
    assert_false(dcam_logit_interval(0, resamples, 3, 8, &low, &high));
    assert_false(dcam_logit_interval(0.8, resamples, 3, 1, &low, &high));
    assert_false(dcam_logit_interval(0.8, resamples, 1, 8, &low, &high));
    assert_false(dcam_logit_interval((double)NAN, resamples, 3, 8, &low, &high));
    assert_false(dcam_logit_interval(0.8, (double[]){0.7, (double)NAN}, 2, 8, &low, &high));
}

static void means(void **state)
{
    const double none = (double)NAN;
    double low, high;
    (void)state;
    /* the third class has no metric */
    assert_true(dcam_mean_interval((double[]){0.8, 0.6, none}, (double[]){0.5, 0.2, none}, (double[]){0.86, 0.68, none}, 3,
                                   &low, &high));
    close_to(low, (1.4 - 0.5) / 2, 1e-12);
    close_to(high, (1.4 + 0.1) / 2, 1e-12);
    /* A class of the mean without an interval, be it a perfect one, counted as known for sure: the mean's became narrower. */
    assert_false(dcam_mean_interval((double[]){0.8, 0.6, 1}, (double[]){0.5, 0.2, none}, (double[]){0.86, 0.68, none}, 3, &low, &high));
    assert_true(isnan(low) && isnan(high));
    assert_false(dcam_mean_interval((double[]){0.8, 0.6}, (double[]){0.5, 0.2}, (double[]){0.86, none}, 2, &low, &high));
    assert_true(isnan(low) && isnan(high));
    assert_false(dcam_mean_interval((double[]){none, none}, (double[]){none, none}, (double[]){none, none}, 2, &low, &high));
    assert_false(dcam_mean_interval((double[]){1, 1}, (double[]){none, none}, (double[]){none, none}, 2, &low, &high));
    assert_true(isnan(low) && isnan(high));
}

/* ---- coverage ---- */

enum { SETS = 400, EACH = 40, DRAWS = 200 };

/* How often the interval of `SETS` sets of 40 good and 40 defective images with normal scores holds the AUROC. The binomial
 * deviation of the share is 0.011; percentiles of the resamples hold 0.99 in 0.82 of them only. */
static void cover(double distance, double least)
{
    static double rows[DCAM_BOOT_IMAGE_METRICS][DRAWS];
    double *values[] = {rows[0], rows[1], rows[2]};
    const double truth = 0.5 * erfc(-distance / 2);
    dcam_random r = dcam_random_make(77, (uint64_t)(distance * 1000));
    int held = 0;
    for (int set = 0; set < SETS; set++) {
        const dcam_bootstrap options = {.seed = 6, .stream = (uint64_t)set, .resamples = DRAWS};
        float scores[2 * EACH];
        uint8_t labels[2 * EACH];
        double low, high, wins = 0;
        for (int i = 0; i < 2 * EACH; i++) {
            labels[i] = i >= EACH;
            scores[i] = (float)(dcam_random_normal(&r) + (labels[i] ? distance : 0));
        }
        for (int i = 0; i < EACH; i++)
            for (int k = EACH; k < 2 * EACH; k++) wins += scores[k] > scores[i];
        assert_int_equal(dcam_bootstrap_images(&options, scores, labels, 2 * EACH, values), DCAM_OK);
        dcam_auroc_interval(wins / (EACH * EACH), rows[DCAM_BOOT_AUROC], DRAWS, EACH, EACH, &low, &high);
        held += low <= truth && truth <= high;
    }
    print_message("coverage of an image AUROC of %.3f: %.3f\n", truth, (double)held / SETS);
    assert_true(held >= least * SETS);
    assert_true(held <= 0.995 * SETS);
}

static void intervals_hold_the_truth(void **state)
{
    (void)state;
    cover(1.1902, 0.93); /* 0.8 */
    cover(2.3262, 0.93); /* 0.95 */
    cover(3.29, 0.93);   /* 0.99 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(student_is_scipys), cmocka_unit_test(auroc_is_newcombes),
        cmocka_unit_test(logit_by_hand),     cmocka_unit_test(means),
        cmocka_unit_test(intervals_hold_the_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
