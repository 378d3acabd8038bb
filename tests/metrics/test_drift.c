/* Two-sample tests against SciPy's (golden/make_drift.py), sizes that are too large to count out, and how often the tests
 * cry wolf in simulation. */
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
#include "formula.h"
#include "golden_file.h"
#include "metrics/drift.h"

static void close_to(double found, double wanted, double tolerance, const char *what)
{
    if (fabs(found - wanted) <= tolerance) return;
    fail_msg("%s: %.17g, wanted %.17g within %g", what, found, wanted, tolerance);
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

enum { MOST = 5000 };

static void fill_sorted(uint32_t seed, float shift, size_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++) out[i] = formula_value(seed, i) + shift;
    qsort(out, n, sizeof *out, compare_floats);
}

static void ks_is_scipys(void **state)
{
    static const struct { uint32_t seed; size_t n, m; float shift; } cases[] = {
        {1, 8, 20, 0}, {2, 28, 50, 0.6f}, {3, 40, 40, 0.3f}, {4, 30, 12, 1.9f}, {5, 100, 300, 0.25f}, {6, 1, 1, 5}};
    double *wanted = golden_read("drift.bin", "ks", 12);
    (void)state;
    for (size_t k = 0; k < 6; k++) {
        float old[MOST], new[MOST];
        dcam_ks_result r;
        fill_sorted(cases[k].seed, 0, cases[k].n, old);
        fill_sorted(cases[k].seed + 50, cases[k].shift, cases[k].m, new);
        assert_int_equal(dcam_ks_test(old, cases[k].n, new, cases[k].m, &r), DCAM_OK);
        assert_true(r.exact);
        close_to(r.statistic, wanted[2 * k], 1e-12, "statistic");
        close_to(r.p, wanted[2 * k + 1], 1e-9 * wanted[2 * k + 1] + 1e-15, "p");
        if (r.statistic >= 1) close_to(dcam_ks_least_p(cases[k].n, cases[k].m), r.p, 1e-9, "least p");
    }
    free(wanted);
}

static void counts_are_scipys(void **state)
{
    static const size_t above[][4] = {{100, 99, 50, 0}, {100, 99, 50, 3}, {28, 28, 40, 2}, {20, 10, 7, 7}, {1000, 950, 200, 25}};
    static const size_t fisher[][4] = {{40, 2, 60, 12}, {8, 0, 20, 1}, {100, 30, 10, 3}};
    double *wanted = golden_read("drift.bin", "exceedance", 5), *wanted_fisher = golden_read("drift.bin", "fisher", 3);
    (void)state;
    for (size_t k = 0; k < 5; k++)
        close_to(dcam_exceedance_p(above[k][0], above[k][1], above[k][2], above[k][3]), wanted[k], 1e-9, "exceedance");
    for (size_t k = 0; k < 3; k++)
        close_to(dcam_fisher_p(fisher[k][0], fisher[k][1], fisher[k][2], fisher[k][3]), wanted_fisher[k], 1e-9, "Fisher");
    assert_true(dcam_exceedance_p(10, 0, 5, 3) == 1);
    free(wanted_fisher);
    free(wanted);
}

static void large_samples_and_ties(void **state)
{
    static float old[MOST], new[MOST];
    double *wanted = golden_read("drift.bin", "limit", 1);
    dcam_ks_result r;
    (void)state;
    /* 5,000 and 5,000 with a distance of 0.021: 105 of the new ones moved above all */
    for (size_t i = 0; i < MOST; i++) old[i] = new[i] = (float)i;
    for (size_t i = 0; i < 105; i++) new[i] = (float)(MOST + i);
    qsort(new, MOST, sizeof *new, compare_floats);
    assert_int_equal(dcam_ks_test(old, MOST, new, MOST, &r), DCAM_OK);
    assert_false(r.exact);
    close_to(r.statistic, 0.021, 1e-12, "statistic");
    close_to(r.p, wanted[0], 1e-9, "limit");
    free(wanted);
    /* all alike: no distance, no evidence */
    assert_int_equal(dcam_ks_test((float[]){2, 2, 2}, 3, (float[]){2, 2}, 2, &r), DCAM_OK);
    assert_true(r.statistic == 0 && r.p == 1);
    /* wholly apart */
    assert_int_equal(dcam_ks_test((float[]){1, 2, 3}, 3, (float[]){4, 5, 6}, 3, &r), DCAM_OK);
    close_to(r.p, 0.1, 1e-12, "p");
}

static void holm_by_hand(void **state)
{
    double p[] = {0.01, 0.04, 0.03, 0.9};
    size_t order[4];
    (void)state;
    dcam_holm(p, order, 4);
    close_to(p[0], 0.04, 1e-15, "smallest");
    close_to(p[1], 0.09, 1e-15, "not below the one before");
    close_to(p[2], 0.09, 1e-15, "second");
    close_to(p[3], 0.9, 1e-15, "largest");
}

/* Scores of one kind: at level 0.05 each test must reject at most 5 % of 2,000 sets (and the number of false alarms not
 * much less); scores moved by a deviation must be found mostly. */
static void levels_are_kept(void **state)
{
    enum { SETS = 2000, OLD = 28, NEW = 40 };
    dcam_random r = dcam_random_make(8, 0);
    int ks_false = 0, count_false = 0, ks_right = 0;
    (void)state;
    for (int set = 0; set < SETS; set++) {
        float old[OLD], new[NEW], moved[NEW];
        dcam_ks_result result;
        size_t above = 0;
        for (int i = 0; i < OLD; i++) old[i] = (float)dcam_random_normal(&r);
        for (int i = 0; i < NEW; i++) {
            new[i] = (float)dcam_random_normal(&r);
            moved[i] = new[i] + 1;
        }
        qsort(old, OLD, sizeof *old, compare_floats);
        qsort(new, NEW, sizeof *new, compare_floats);
        qsort(moved, NEW, sizeof *moved, compare_floats);
        assert_int_equal(dcam_ks_test(old, OLD, new, NEW, &result), DCAM_OK);
        ks_false += result.p <= 0.05;
        assert_int_equal(dcam_ks_test(old, OLD, moved, NEW, &result), DCAM_OK);
        ks_right += result.p <= 0.05;
        for (int i = 0; i < NEW; i++) above += new[i] > old[OLD - 3];
        count_false += dcam_exceedance_p(OLD, OLD - 2, NEW, above) <= 0.05;
    }
    print_message("false: KS %.4f, count %.4f; found: %.3f\n", ks_false / 2000.0, count_false / 2000.0, ks_right / 2000.0);
    /* three deviations of a share of 2,000 */
    assert_true(ks_false <= 2000 * (0.05 + 0.015) && ks_false >= 2000 * 0.02);
    assert_true(count_false <= 2000 * (0.05 + 0.015) && count_false >= 2000 * 0.01);
    assert_true(ks_right >= 2000 * 0.85);
}

static void memory_may_fail(void **state)
{
    dcam_ks_result r = {.p = 7};
    (void)state;
    EVERY_ALLOCATION(a, dcam_ks_test((float[]){1}, 1, (float[]){2}, 1, &r)) {
        assert_true((r.p == 7) == !a.passed);
        r.p = 7;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ks_is_scipys),      cmocka_unit_test(counts_are_scipys), cmocka_unit_test(large_samples_and_ties),
        cmocka_unit_test(holm_by_hand),      cmocka_unit_test(levels_are_kept),   cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
