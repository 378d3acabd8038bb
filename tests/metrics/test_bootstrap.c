/* Resampling: intervals against SciPy's (golden/make_bootstrap.py), pixel metrics of a resample against the exact metrics
 * of the images copied as often as they were drawn, and failing memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "formula.h"
#include "golden_file.h"
#include "metrics/bootstrap.h"
#include "metrics/interval.h"

static void close_to(double found, double wanted, double tolerance, const char *what)
{
    if (isnan(wanted) ? isnan(found) : fabs(found - wanted) <= tolerance) return;
    fail_msg("%s: %.17g, wanted %.17g within %g", what, found, wanted, tolerance);
}

static const struct image_case { uint32_t seed, good, defective; float gain; } image_cases[] = {{1, 40, 30, 0.5f}, {2, 25, 50, 1}};
enum { MANY = 20000, MOST = 80 };

/* Two runs of 20,000 resamples each differ by chance: a percentile's standard error is below 0.0015 here, so the
 * difference of two is below 0.007 but once in a thousand such tests. */
#define CHANCE 0.007

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* As numpy.quantile of the values, which are sorted here. */
static double quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof *values, compare_doubles);
    const double at = q * (double)(n - 1);
    const size_t k = (size_t)at;
    return values[k] + (k + 1 < n ? (values[k + 1] - values[k]) * (at - (double)k) : 0);
}

static void image_intervals_are_scipys(void **state)
{
    static double rows[DCAM_BOOT_IMAGE_METRICS][MANY];
    double *values[] = {rows[0], rows[1], rows[2]};
    (void)state;
    for (size_t k = 0; k < sizeof image_cases / sizeof *image_cases; k++) {
        const struct image_case *c = &image_cases[k];
        const dcam_bootstrap options = {.seed = 5, .stream = c->seed, .resamples = MANY};
        float scores[MOST];
        uint8_t labels[MOST];
        char name[32];
        for (uint32_t i = 0; i < c->good + c->defective; i++) {
            labels[i] = i >= c->good;
            scores[i] = formula_value(c->seed, i) + (labels[i] ? c->gain : 0);
        }
        assert_int_equal(dcam_bootstrap_images(&options, scores, labels, c->good + c->defective, values), DCAM_OK);
        snprintf(name, sizeof name, "images%u", c->seed);
        double *wanted = golden_read("bootstrap.bin", name, 6);
        for (size_t m = 0; m < DCAM_BOOT_IMAGE_METRICS; m++) {
            close_to(quantile(rows[m], MANY, 0.025), wanted[2 * m], CHANCE, name);
            close_to(quantile(rows[m], MANY, 0.975), wanted[2 * m + 1], CHANCE, name);
        }
        free(wanted);
    }
}

static void rates_are_jeffreys(void **state)
{
    static const size_t cases[][2] = {{0, 20}, {3, 50}, {50, 50}, {1, 8}};
    double *wanted = golden_read("bootstrap.bin", "rates", 8), low, high, last = 0;
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        const size_t events = cases[k][0], count = cases[k][1];
        assert_true(dcam_rate_interval(events, count, &low, &high));
        close_to(low, events == 0 ? 0 : wanted[2 * k], 1e-12, "rate");
        close_to(high, events == count ? 1 : wanted[2 * k + 1], 1e-12, "rate");
    }
    free(wanted);
    /* The same both ways round, and rising with the events, whichever of the two fractions is taken. */
    for (size_t events = 0; events <= 1000; events++) {
        double other_low = 0, other_high = 0;
        assert_true(dcam_rate_interval(events, 1000, &low, &high) && dcam_rate_interval(1000 - events, 1000, &other_low, &other_high));
        close_to(low, 1 - other_high, 1e-12, "turned round");
        assert_true(low >= last && low <= (double)events / 1000 && high >= (double)events / 1000);
        last = low;
    }
    /* Near the normal distribution's where there are many. */
    assert_true(dcam_rate_interval(250000, 1000000, &low, &high));
    close_to(high - low, 2 * 1.959963984540054 * sqrt(0.25 * 0.75 / 1e6), 1e-8, "many");
    assert_false(dcam_rate_interval(0, 0, &low, &high));
    assert_true(isnan(low) && isnan(high));
}

static void the_quantile_of_this_file_is_numpys(void **state)
{
    double values[37], *wanted = golden_read("bootstrap.bin", "quantiles", 2);
    (void)state;
    for (uint32_t i = 0; i < 37; i++) values[i] = (double)formula_value(9, i);
    close_to(quantile(values, 37, 0.025), wanted[0], 1e-12, "low");
    close_to(quantile(values, 37, 0.975), wanted[1], 1e-12, "high");
    free(wanted);
}

/* ---- pixels ---- */

enum { IMAGES = 9, HEIGHT = 20, WIDTH = 24, PIXELS = HEIGHT * WIDTH, RESAMPLES = 24 };
typedef struct {
    float maps[IMAGES * PIXELS];
    uint8_t masks[IMAGES * PIXELS], labels[IMAGES];
    dcam_pixel_metrics exact;
    double values[DCAM_BOOT_PIXEL_METRICS][RESAMPLES];
} pixel_case;

/* quantum > 0: as many values as that a unit. Images 2 and 5 are good. */
static void make_pixels(pixel_case *c, float quantum)
{
    for (uint32_t i = 0; i < IMAGES * PIXELS; i++) {
        const uint32_t image = i / PIXELS, y = i / WIDTH % HEIGHT, x = i % WIDTH;
        c->labels[image] = image != 2 && image != 5;
        c->masks[i] = c->labels[image] && formula_value(71, image * 1000 + y / 4 * 10 + x / 4) > 0.6f;
        c->maps[i] = formula_value(72, i) + formula_value(73, image) * 0.3f + (c->masks[i] ? 0.7f : 0);
        if (quantum > 0) c->maps[i] = floorf(c->maps[i] * quantum) / quantum;
    }
    assert_int_equal(dcam_pixel_evaluate(c->maps, c->masks, IMAGES, HEIGHT, WIDTH, &c->exact), DCAM_OK);
}

static dcam_status run_pixels(pixel_case *c, const dcam_bootstrap *o)
{
    double *values[DCAM_BOOT_PIXEL_METRICS];
    for (int m = 0; m < DCAM_BOOT_PIXEL_METRICS; m++) values[m] = c->values[m];
    return dcam_bootstrap_pixels(o, c->maps, c->masks, c->labels, IMAGES, HEIGHT, WIDTH, &c->exact, values);
}

/* The exact metrics of the images of resample b, each copied as often as it was drawn. */
static dcam_pixel_metrics copied(const pixel_case *c, const dcam_bootstrap *o, int b)
{
    static float maps[IMAGES * PIXELS];
    static uint8_t masks[IMAGES * PIXELS];
    uint32_t good[IMAGES], defective[IMAGES], weights[IMAGES];
    size_t good_count = 0, defective_count = 0, n = 0;
    dcam_pixel_metrics m;
    for (uint32_t i = 0; i < IMAGES; i++) {
        if (c->labels[i]) defective[defective_count++] = i;
        else good[good_count++] = i;
    }
    dcam_bootstrap_weights(o, b, good, good_count, defective, defective_count, weights);
    for (size_t i = 0; i < IMAGES; i++)
        for (uint32_t k = 0; k < weights[i]; k++, n++) {
            memcpy(maps + n * PIXELS, c->maps + i * PIXELS, PIXELS * sizeof *maps);
            memcpy(masks + n * PIXELS, c->masks + i * PIXELS, PIXELS);
        }
    assert_int_equal(n, IMAGES); /* as many of each kind as there are */
    assert_int_equal(dcam_pixel_evaluate(maps, masks, IMAGES, HEIGHT, WIDTH, &m), DCAM_OK);
    return m;
}

static void compare_pixels(float quantum, double tolerance)
{
    static pixel_case c;
    const dcam_bootstrap options = {.seed = 1, .stream = 99, .resamples = RESAMPLES};
    double least = 1, most = 0;
    make_pixels(&c, quantum);
    assert_int_equal(run_pixels(&c, &options), DCAM_OK);
    for (int b = 0; b < RESAMPLES; b++) {
        const dcam_pixel_metrics m = copied(&c, &options, b);
        close_to(c.values[DCAM_BOOT_AUROC][b], m.pixel.auroc, tolerance, "AUROC");
        close_to(c.values[DCAM_BOOT_AP][b], m.pixel.ap, tolerance, "AP");
        close_to(c.values[DCAM_BOOT_F1MAX][b], m.pixel.f1max, tolerance, "F1-max");
        close_to(c.values[DCAM_BOOT_AUPRO][b], m.aupro, tolerance, "AUPRO");
        close_to(c.values[DCAM_BOOT_PRO_RESCALED][b], m.pro_rescaled, quantum > 0 ? 1e-3 : 4e-3, "rescaled PRO");
        least = fmin(least, m.aupro);
        most = fmax(most, m.aupro);
    }
    assert_true(most - least > 0.05); /* the resamples differ by far more than the tolerance */
}

static void pixels_of_a_resample_are_those_of_copies(void **state)
{
    (void)state;
    compare_pixels(8, 1e-6);   /* few distinct scores: exact but for shares in float */
    compare_pixels(0, 2e-3);   /* every score distinct */
}

static void bins_of_one_kind_have_no_ranking(void **state)
{
    const double none[] = {0, 0}, some[] = {1, 2};
    (void)state;
    for (int k = 0; k < 3; k++) {
        const dcam_ranking_metrics m = dcam_ranking_of_bins(k == 1 ? some : none, k == 2 ? some : none, 2);
        assert_true(isnan(m.auroc) && isnan(m.ap) && isnan(m.f1max));
    }
    /* One good and two defective above two good and one defective: of 9 pairs 4 are right and 4 are ties. */
    const dcam_ranking_metrics m = dcam_ranking_of_bins((double[]){2, 1}, (double[]){1, 2}, 2);
    close_to(m.auroc, (2 * (2 + 0.5) + 1 * 1.0) / 9, 1e-15, "AUROC of bins");
    close_to(m.ap, (2 * (2.0 / 3) + 1 * (3.0 / 6)) / 3, 1e-15, "AP of bins");
    close_to(m.f1max, 2 * 2 / (3.0 + 3), 1e-15, "F1 of bins");
}

static void threads_do_not_matter(void **state)
{
    static pixel_case one, two;
    const dcam_bootstrap options = {.seed = 4, .resamples = RESAMPLES};
    (void)state;
    make_pixels(&one, 0);
    make_pixels(&two, 0);
    dcam_set_threads(1);
    assert_int_equal(run_pixels(&one, &options), DCAM_OK);
    dcam_set_threads(2);
    assert_int_equal(run_pixels(&two, &options), DCAM_OK);
    dcam_set_threads(0);
    assert_memory_equal(one.values, two.values, sizeof one.values);
    const dcam_bootstrap other = {.seed = 5, .resamples = RESAMPLES};
    assert_int_equal(run_pixels(&two, &other), DCAM_OK);
    assert_memory_not_equal(one.values, two.values, sizeof one.values);
}

static bool at_the_second(void *user) { return ++*(int *)user == 2; }

/* Asked before each chunk; what was drawn until then is as ever. */
static void stopped_between_chunks(void **state)
{
    enum { MANY_CHUNKS = 10 * DCAM_BOOTSTRAP_CHUNK };
    static pixel_case c;
    static double rows[DCAM_BOOT_PIXEL_METRICS][MANY_CHUNKS], whole[DCAM_BOOT_PIXEL_METRICS][MANY_CHUNKS];
    double *values[DCAM_BOOT_PIXEL_METRICS], *all[DCAM_BOOT_PIXEL_METRICS];
    int asked = 0;
    dcam_bootstrap options = {.seed = 4, .resamples = MANY_CHUNKS};
    const float scores[] = {1, 3, 2, 4};
    const uint8_t labels[] = {0, 0, 1, 1};
    (void)state;
    make_pixels(&c, 0);
    for (int m = 0; m < DCAM_BOOT_PIXEL_METRICS; m++) {
        values[m] = rows[m];
        all[m] = whole[m];
        for (int b = 0; b < MANY_CHUNKS; b++) rows[m][b] = -1;
    }
    dcam_set_threads(2);
    assert_int_equal(dcam_bootstrap_pixels(&options, c.maps, c.masks, c.labels, IMAGES, HEIGHT, WIDTH, &c.exact, all), DCAM_OK);
    options.stop = at_the_second;
    options.user = &asked;
    assert_int_equal(dcam_bootstrap_pixels(&options, c.maps, c.masks, c.labels, IMAGES, HEIGHT, WIDTH, &c.exact, values),
                     DCAM_ERROR_CANCELLED);
    dcam_set_threads(0);
    assert_int_equal(asked, 2);
    for (int b = 0; b < 2 * DCAM_BOOTSTRAP_CHUNK; b++) assert_true(rows[0][b] == whole[0][b]);
    assert_true(rows[0][2 * DCAM_BOOTSTRAP_CHUNK] == -1);
    asked = 0;
    assert_int_equal(dcam_bootstrap_images(&options, scores, labels, 4, values), DCAM_ERROR_CANCELLED);
    assert_int_equal(asked, 2);
}

static void memory_may_fail(void **state)
{
    static pixel_case c;
    static double rows[DCAM_BOOT_IMAGE_METRICS][4];
    double *values[] = {rows[0], rows[1], rows[2]};
    const dcam_bootstrap options = {.resamples = 4};
    (void)state;
    make_pixels(&c, 0);
    EVERY_ALLOCATION(a, run_pixels(&c, &options)) assert_true(a.n > 10 || !a.passed);
    EVERY_ALLOCATION(a, dcam_bootstrap_images(&options, (float[]){1, 2, 3, 4}, (uint8_t[]){0, 0, 1, 1}, 4, values))
        assert_true(a.n > 2 || !a.passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_intervals_are_scipys),
        cmocka_unit_test(rates_are_jeffreys),
        cmocka_unit_test(the_quantile_of_this_file_is_numpys),
        cmocka_unit_test(pixels_of_a_resample_are_those_of_copies),
        cmocka_unit_test(bins_of_one_kind_have_no_ranking),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(stopped_between_chunks),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
