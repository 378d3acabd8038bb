/* The points of ROC, precision-recall and PRO against scikit-learn and brute force (golden/make_curves.py), the area under
 * them against the metrics, and what has no oracle: one kind only, ties by hand, failing memory. */
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
#include "formula.h"
#include "golden_file.h"
#include "metrics/curves.h"
#include "metrics/metrics.h"

enum { MOST = 5000 };
static float scores[MOST];
static uint8_t labels[MOST];

static float quantise(float v, float quantum) { return quantum > 0 ? floorf(v * quantum) / quantum : v; }

static void make_images(uint32_t seed, uint32_t count, float quantum, float gain, float share)
{
    for (uint32_t i = 0; i < count; i++) {
        labels[i] = formula_value(seed + 100, i) * 0.5f + 0.5f < share;
        if (i == 0) labels[i] = 0;
        if (i == count - 1) labels[i] = 7; /* any value but 0 is anomalous */
        scores[i] = quantise(formula_value(seed, i) + (labels[i] ? gain : 0), quantum);
    }
}

/* Point by point, and as many as there must be. */
static void equals_golden(const dcam_curve *c, const char *name, double tolerance)
{
    char count[64];
    snprintf(count, sizeof count, "%s.count", name);
    double *n = golden_read("curves.bin", count, 1), *wanted = golden_read("curves.bin", name, 2 * (size_t)n[0]);
    if (c->count != (size_t)n[0]) fail_msg("%s: %zu points, wanted %zu", name, c->count, (size_t)n[0]);
    for (size_t i = 0; i < c->count; i++)
        if (!(fabs(c->points[i].x - wanted[2 * i]) <= tolerance) || !(fabs(c->points[i].y - wanted[2 * i + 1]) <= tolerance))
            fail_msg("%s: point %zu is (%.17g, %.17g), wanted (%.17g, %.17g)", name, i, c->points[i].x, c->points[i].y, wanted[2 * i],
                     wanted[2 * i + 1]);
    free(wanted);
    free(n);
}

static void curves_of_images_are_scikit_learns(void **state)
{
    static const struct { uint32_t seed, count; float quantum, gain, share; } cases[] = {
        {2, 1000, 4, 0.5f, 0.3f}, {3, 37, 2, 0.25f, 0.5f}, {6, 2, 0, 0, 0.5f}, {7, 60, 0, 0.5f, 0.4f}};
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        dcam_curves c;
        char name[64];
        make_images(cases[k].seed, cases[k].count, cases[k].quantum, cases[k].gain, cases[k].share);
        assert_int_equal(dcam_image_curves(scores, labels, cases[k].count, &c), DCAM_OK);
        snprintf(name, sizeof name, "images%u.roc", cases[k].seed);
        equals_golden(&c.roc, name, 1e-12);
        snprintf(name, sizeof name, "images%u.precision", cases[k].seed);
        equals_golden(&c.precision, name, 1e-12);
        assert_true(c.pro.points == NULL && c.pro.count == 0);
        dcam_curves_clear(&c);
        assert_true(c.roc.points == NULL && c.roc.count == 0);
    }
}

static void curves_of_pixels_are_brute_force(void **state)
{
    static const struct { uint32_t seed; int images, height, width; float quantum, gain; } cases[] = {
        {12, 5, 24, 31, 4, 0.5f}, {13, 3, 17, 16, 1, 0}, {16, 2, 9, 7, 2, 1}};
    static uint8_t masks[MOST];
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint8_t kinds[8];
        uint32_t i = 0;
        for (int n = 0; n < cases[k].images; n++) {
            kinds[n] = n % 3 != 0;
            for (int y = 0; y < cases[k].height; y++)
                for (int x = 0; x < cases[k].width; x++, i++) {
                    const uint32_t block = (uint32_t)(n * 10000 + y / 3 * 100 + x / 3);
                    assert_true(i < MOST);
                    masks[i] = kinds[n] && (formula_value(cases[k].seed + 200, block) > 0.6f || formula_value(cases[k].seed + 300, i) > 0.97f);
                    scores[i] = quantise(formula_value(cases[k].seed, i) + (masks[i] ? cases[k].gain : 0), cases[k].quantum);
                }
        }
        dcam_curves c;
        char name[64];
        assert_int_equal(dcam_pixel_curves(scores, masks, kinds, cases[k].images, cases[k].height, cases[k].width, &c), DCAM_OK);
        snprintf(name, sizeof name, "pixels%u.roc", cases[k].seed);
        equals_golden(&c.roc, name, 1e-12);
        snprintf(name, sizeof name, "pixels%u.precision", cases[k].seed);
        equals_golden(&c.precision, name, 1e-12);
        snprintf(name, sizeof name, "pixels%u.pro", cases[k].seed);
        equals_golden(&c.pro, name, 1e-6); /* shares of regions are summed in float */
        dcam_curves_clear(&c);
    }
}

/* The trapezoid area under the ROC is the AUROC that dcam_ranking counts in pairs; sums of P dR are AP. */
static void areas_are_the_metrics(void **state)
{
    dcam_curves c;
    dcam_ranking_metrics m;
    double area = 0, ap = 0, before = 0;
    (void)state;
    make_images(31, MOST, 64, 0.5f, 0.2f);
    assert_int_equal(dcam_image_curves(scores, labels, MOST, &c), DCAM_OK);
    assert_int_equal(dcam_ranking(scores, labels, MOST, &m), DCAM_OK);
    for (size_t i = 1; i < c.roc.count; i++)
        area += (c.roc.points[i].x - c.roc.points[i - 1].x) * (c.roc.points[i].y + c.roc.points[i - 1].y) / 2;
    for (size_t i = 0; i < c.precision.count; i++) {
        ap += (c.precision.points[i].x - before) * c.precision.points[i].y;
        before = c.precision.points[i].x;
    }
    assert_true(fabs(area - m.auroc) < 1e-12);
    assert_true(fabs(ap - m.ap) < 1e-12);
    dcam_curves_clear(&c);
}

static void is_point(const dcam_curve *c, size_t i, double x, double y)
{
    assert_true(i < c->count);
    if (c->points[i].x != x || c->points[i].y != y) fail_msg("point %zu: (%g, %g), wanted (%g, %g)", i, c->points[i].x, c->points[i].y, x, y);
}

static void by_hand(void **state)
{
    dcam_curves c;
    (void)state;
    /* From the top: normal 5; both kinds at 3, which is one point; anomalous 1. */
    assert_int_equal(dcam_image_curves((float[]){3, 5, 3, 1}, (uint8_t[]){0, 0, 1, 1}, 4, &c), DCAM_OK);
    assert_int_equal(c.roc.count, 4);
    is_point(&c.roc, 0, 0, 0);
    is_point(&c.roc, 1, 0.5, 0);
    is_point(&c.roc, 2, 1, 0.5);
    is_point(&c.roc, 3, 1, 1);
    assert_int_equal(c.precision.count, 2); /* above 3 nothing anomalous was found: no precision is drawn */
    is_point(&c.precision, 0, 0.5, 1.0 / 3);
    is_point(&c.precision, 1, 1, 0.5);
    dcam_curves_clear(&c);
    /* Bins with weights, two regions of which the first lies in the upper bin with half of itself. */
    assert_int_equal(dcam_curves_of_bins((double[]){3, 1}, (double[]){1, 1}, (double[]){1.5, 0.5}, 2, 2, &c), DCAM_OK);
    assert_int_equal(c.pro.count, 3);
    is_point(&c.pro, 0, 0, 0);
    is_point(&c.pro, 1, 0.25, 0.25);
    is_point(&c.pro, 2, 1, 1);
    is_point(&c.roc, 1, 0.25, 0.5);
    is_point(&c.precision, 0, 0.5, 0.5);
    dcam_curves_clear(&c);
}

static void one_kind_has_no_curve(void **state)
{
    const struct { uint8_t labels[3]; size_t n; } cases[] = {{{0, 0, 0}, 3}, {{1, 1, 1}, 3}, {{0}, 0}};
    const float three[] = {1, 2, 3}, four[] = {1, 2, 3, 4};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        dcam_curves c;
        const size_t held = dcam_memory_held();
        assert_int_equal(dcam_image_curves(three, cases[k].labels, cases[k].n, &c), DCAM_OK);
        assert_true(c.roc.count == 0 && c.precision.count == 0 && c.pro.count == 0 && c.roc.points == NULL);
        assert_int_equal(dcam_memory_held(), held);
    }
    /* A good image beside a defective one without a mask: no defect pixel, no curve. */
    dcam_curves c;
    assert_int_equal(dcam_pixel_curves(four, (uint8_t[]){0, 0, 0, 0}, (uint8_t[]){0, 1}, 2, 1, 2, &c), DCAM_OK);
    assert_true(c.roc.count == 0 && c.pro.points == NULL);
    assert_int_equal(dcam_pixel_curves(four, (uint8_t[]){1, 1, 1, 1}, (uint8_t[]){1, 1}, 2, 1, 2, &c), DCAM_OK);
    assert_true(c.roc.count == 0 && c.pro.points == NULL);
    /* So many pixels that what lies behind their keys is not theirs: the least key of no defects was once read there. */
    static const float many[256];
    static const uint8_t none[256];
    assert_int_equal(dcam_pixel_curves(many, none, (uint8_t[]){0, 1}, 2, 8, 16, &c), DCAM_OK);
    assert_true(c.roc.count == 0 && c.pro.points == NULL);
}

/* Each allocation in turn: the outputs stay as they were, nothing is held. */
static void every_allocation_may_fail(void **state)
{
    const uint8_t masks[8] = {0, 0, 0, 0, 0, 1, 0, 1}, kinds[2] = {0, 1};
    const float maps[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    (void)state;
    for (int pixels = 0; pixels < 2; pixels++) {
        dcam_curves c = {.roc = {NULL, 77}};
        EVERY_ALLOCATION(a, pixels ? dcam_pixel_curves(maps, masks, kinds, 2, 2, 2, &c) : dcam_image_curves(maps, masks, 8, &c)) {
            assert_true(a.passed ? a.n > (pixels ? 12 : 4) : c.roc.count == 77);
            if (a.passed) dcam_curves_clear(&c);
            c.roc.count = 77;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_of_images_are_scikit_learns),
        cmocka_unit_test(curves_of_pixels_are_brute_force),
        cmocka_unit_test(areas_are_the_metrics),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(one_kind_has_no_curve),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
