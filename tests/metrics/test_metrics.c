/* Ranking, components, AUPRO and rescaled PRO against scikit-learn, scikit-image and brute force
 * (golden/make_metrics.py), and the cases that have no oracle: one class only, bad values, failing memory, all defect. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formula.h"
#include "golden_file.h"
#include "metrics/sorted.h"

static float quantise(float v, float quantum) { return quantum > 0 ? floorf(v * quantum) / quantum : v; }

static void close_to(double found, double wanted, double tolerance, const char *what)
{
    if (isnan(wanted) ? isnan(found) : fabs(found - wanted) <= tolerance) return;
    fail_msg("%s: %.17g, wanted %.17g", what, found, wanted);
}

static const struct ranking_case { uint32_t seed; size_t count; float quantum, gain, share; } ranking_cases[] = {
    {1, 1000, 0, 0.5f, 0.3f}, {2, 1000, 4, 0.5f, 0.3f}, {3, 37, 2, 0.25f, 0.5f},
    {4, 500, 1, 0, 0.5f}, {5, 5000, 64, -0.5f, 0.01f}, {6, 2, 0, 0, 0.5f},
};

static void ranking_is_scikit_learns(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof ranking_cases / sizeof *ranking_cases; k++) {
        const struct ranking_case *c = &ranking_cases[k];
        float *scores = malloc(c->count * sizeof *scores);
        uint8_t *labels = malloc(c->count);
        for (uint32_t i = 0; i < c->count; i++) {
            labels[i] = formula_value(c->seed + 100, i) * 0.5f + 0.5f < c->share;
            if (i == 0) labels[i] = 0;
            if (i == c->count - 1) labels[i] = 7; /* any value but 0 is anomalous */
            scores[i] = quantise(formula_value(c->seed, i) + (labels[i] ? c->gain : 0), c->quantum);
        }
        char name[32];
        snprintf(name, sizeof name, "ranking%u", c->seed);
        double *wanted = golden_read("metrics.bin", name, 3);
        dcam_ranking_metrics m;
        assert_int_equal(dcam_ranking(scores, labels, c->count, &m), DCAM_OK);
        close_to(m.auroc, wanted[0], 1e-9, name);
        close_to(m.ap, wanted[1], 1e-9, name);
        close_to(m.f1max, wanted[2], 1e-9, name);
        /* the threshold gives that F1 */
        double tp = 0, fp = 0, fn = 0;
        for (size_t i = 0; i < c->count; i++) {
            const int positive = (double)scores[i] >= m.f1max_threshold;
            tp += labels[i] && positive;
            fp += !labels[i] && positive;
            fn += labels[i] && !positive;
        }
        close_to(2 * tp / (2 * tp + fp + fn), wanted[2], 1e-9, "F1 at the threshold");
        free(wanted);
        free(labels);
        free(scores);
    }
}

static void ranking_by_hand(void **state)
{
    (void)state;
    dcam_ranking_metrics m;
    /* constant: every pair is a tie */
    assert_int_equal(dcam_ranking((float[]){2, 2, 2, 2}, (uint8_t[]){0, 1, 1, 0}, 4, &m), DCAM_OK);
    assert_true(m.auroc == 0.5 && m.ap == 0.5 && fabs(m.f1max - 2.0 / 3) < 1e-15 && m.f1max_threshold == 2);
    /* -0 and +0 are one score */
    assert_int_equal(dcam_ranking((float[]){0.0f, -0.0f}, (uint8_t[]){0, 1}, 2, &m), DCAM_OK);
    assert_true(m.auroc == 0.5);
    /* negative scores keep their order */
    assert_int_equal(dcam_ranking((float[]){-3, -1, -2, 5}, (uint8_t[]){0, 1, 0, 1}, 4, &m), DCAM_OK);
    assert_true(m.auroc == 1 && m.ap == 1 && m.f1max == 1 && m.f1max_threshold == -1);
    /* one kind only, nothing at all */
    assert_int_equal(dcam_ranking((float[]){1, 2}, (uint8_t[]){1, 1}, 2, &m), DCAM_OK);
    assert_true(isnan(m.auroc) && isnan(m.ap) && isnan(m.f1max) && isnan(m.f1max_threshold));
    assert_int_equal(dcam_ranking((float[]){1, 2}, (uint8_t[]){0, 0}, 2, &m), DCAM_OK);
    assert_true(isnan(m.auroc) && isnan(m.ap) && isnan(m.f1max));
    assert_int_equal(dcam_ranking(NULL, NULL, 0, &m), DCAM_OK);
    assert_true(isnan(m.auroc));
}

static void values_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    dcam_ranking_metrics m = {1, 2, 3, 4};
    assert_int_equal(dcam_ranking((float[]){1, NAN}, (uint8_t[]){0, 1}, 2, &m), DCAM_ERROR_NUMERIC);
    assert_int_equal(dcam_ranking((float[]){1, -INFINITY}, (uint8_t[]){0, 1}, 2, &m), DCAM_ERROR_NUMERIC);
    assert_true(m.auroc == 1 && m.f1max_threshold == 4);
    dcam_pixel_metrics p = {.regions = 77};
    assert_int_equal(dcam_pixel_evaluate((float[]){1, 2, 3, INFINITY}, (uint8_t[]){0, 1, 0, 0}, 1, 2, 2, &p), DCAM_ERROR_NUMERIC);
    assert_int_equal(p.regions, 77);
    assert_int_equal(dcam_pixel_evaluate(NULL, NULL, 100000, 1000, 1000, &p), DCAM_ERROR_DATA);
    assert_int_equal(p.regions, 77);
}

static const struct pixel_case { uint32_t seed; int images, height, width; float quantum, gain; } pixel_cases[] = {
    {11, 5, 24, 31, 0, 0.5f}, {12, 5, 24, 31, 4, 0.5f}, {13, 3, 17, 16, 1, 0},
    {14, 4, 20, 20, 16, -0.5f}, {15, 6, 16, 24, 64, 2}, {16, 2, 9, 7, 2, 1},
};

static void make_pixels(const struct pixel_case *c, float *maps, uint8_t *masks)
{
    for (int n = 0; n < c->images; n++)
        for (int y = 0; y < c->height; y++)
            for (int x = 0; x < c->width; x++) {
                const uint32_t i = (uint32_t)((n * c->height + y) * c->width + x);
                const uint32_t block = (uint32_t)(n * 10000 + y / 3 * 100 + x / 3);
                masks[i] = n % 3 != 0 && (formula_value(c->seed + 200, block) > 0.6f || formula_value(c->seed + 300, i) > 0.97f);
                maps[i] = quantise(formula_value(c->seed, i) + (masks[i] ? c->gain : 0), c->quantum);
            }
}

static void pixels_are_as_brute_force(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof pixel_cases / sizeof *pixel_cases; k++) {
        const struct pixel_case *c = &pixel_cases[k];
        const size_t pixels = (size_t)(c->height * c->width), total = pixels * (size_t)c->images;
        float *maps = malloc(total * sizeof *maps);
        uint8_t *masks = malloc(total);
        int32_t *labels = malloc(pixels * sizeof *labels);
        make_pixels(c, maps, masks);
        char name[32];
        snprintf(name, sizeof name, "pixel%u", c->seed);
        double *wanted = golden_read("metrics.bin", name, 6);
        dcam_pixel_metrics m;
        assert_int_equal(dcam_pixel_evaluate(maps, masks, c->images, c->height, c->width, &m), DCAM_OK);
        close_to(m.pixel.auroc, wanted[0], 1e-9, name);
        close_to(m.pixel.ap, wanted[1], 1e-9, name);
        close_to(m.pixel.f1max, wanted[2], 1e-9, name);
        close_to(m.aupro, wanted[3], 1e-9, name);
        close_to(m.pro_rescaled, wanted[4], 1e-6, name);
        assert_int_equal(m.regions, (int64_t)wanted[5]);

        /* each region: image, first pixel, size; in that order */
        snprintf(name, sizeof name, "components%u", c->seed);
        double *regions = golden_read("metrics.bin", name, 3 * (size_t)wanted[5]), *row = regions;
        for (int n = 0; n < c->images; n++) {
            int count;
            assert_int_equal(dcam_connected_components(masks + (size_t)n * pixels, c->height, c->width, labels, &count), DCAM_OK);
            for (int r = 1; r <= count; r++, row += 3) {
                size_t first = pixels, size = 0;
                for (size_t i = 0; i < pixels; i++) {
                    if (labels[i] != r) continue;
                    if (first == pixels) first = i;
                    size++;
                }
                assert_int_equal(n, (int)row[0]);
                assert_int_equal(first, (size_t)row[1]);
                assert_int_equal(size, (size_t)row[2]);
            }
        }
        assert_ptr_equal(row, regions + 3 * (size_t)wanted[5]);
        free(regions);
        free(wanted);
        free(labels);
        free(masks);
        free(maps);
    }
}

static void pixels_without_one_kind(void **state)
{
    (void)state;
    const float maps[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t masks[8] = {0};
    dcam_pixel_metrics m;
    assert_int_equal(dcam_pixel_evaluate(maps, masks, 2, 2, 2, &m), DCAM_OK);
    assert_true(isnan(m.pixel.auroc) && isnan(m.pixel.ap) && isnan(m.aupro) && isnan(m.pro_rescaled) && m.regions == 0);
    memset(masks, 255, sizeof masks);
    assert_int_equal(dcam_pixel_evaluate(maps, masks, 2, 2, 2, &m), DCAM_OK);
    assert_true(isnan(m.pixel.auroc) && isnan(m.aupro) && isnan(m.pro_rescaled) && m.regions == 2);
    assert_int_equal(dcam_pixel_evaluate(NULL, NULL, 0, 2, 2, &m), DCAM_OK);
    assert_true(isnan(m.aupro));
    /* constant scores: one segment from (0, 0) to (1, 1), so 0.3 / 2; rescaling divides by zero */
    const float same[8] = {3, 3, 3, 3, 3, 3, 3, 3};
    memset(masks, 0, sizeof masks);
    masks[1] = masks[6] = 1;
    assert_int_equal(dcam_pixel_evaluate(same, masks, 2, 2, 2, &m), DCAM_OK);
    close_to(m.aupro, 0.15, 1e-15, "AUPRO of a constant");
    assert_true(m.pixel.auroc == 0.5 && isnan(m.pro_rescaled));
    /* a perfect map */
    const float perfect[8] = {0, 9, 1, 2, 3, 4, 9, 5};
    assert_int_equal(dcam_pixel_evaluate(perfect, masks, 2, 2, 2, &m), DCAM_OK);
    assert_true(m.pixel.auroc == 1 && m.pixel.ap == 1);
    close_to(m.aupro, 1, 1e-15, "AUPRO of a perfect map");
}

/* A picture in text, '#' = defect. */
static int count_in(const char *picture, int height, int width, int32_t *labels)
{
    uint8_t mask[64];
    int count;
    for (int i = 0; i < height * width; i++) mask[i] = picture[i] == '#';
    assert_int_equal(dcam_connected_components(mask, height, width, labels, &count), DCAM_OK);
    return count;
}

static void components_by_hand(void **state)
{
    (void)state;
    int32_t l[64];
    assert_int_equal(count_in("....", 2, 2, l), 0);
    assert_int_equal(count_in("#..#", 2, 2, l), 1);
    assert_int_equal(count_in(".##.", 2, 2, l), 1);
    assert_int_equal(count_in("#.##.#", 1, 6, l), 3);
    assert_int_equal(count_in("#.##.#", 6, 1, l), 3);
    assert_int_equal(count_in("#.#.#"
                              "....."
                              "#.#.#", 3, 5, l), 6);
    /* two arms that meet at the bottom, and one that meets from the right only */
    assert_int_equal(count_in("#...#"
                              "#...#"
                              ".###.", 3, 5, l), 1);
    assert_int_equal(count_in("..#.#.#"
                              ".......", 2, 7, l), 3);
    /* a spiral */
    assert_int_equal(count_in("######"
                              "#....."
                              "#.####"
                              "#....#"
                              "######", 5, 6, l), 1);
    assert_int_equal(count_in("#.#"
                              ".#."
                              "...", 3, 3, l), 1);
    assert_int_equal(l[0], 1);
    assert_int_equal(l[4], 1);
}

/* All pixels of the component of (y, x) get the label: by recursion, which needs no table of parents. */
static void flood(const uint8_t *mask, int height, int width, int y, int x, int32_t label, int32_t *labels)
{
    if (y < 0 || x < 0 || y >= height || x >= width || !mask[y * width + x] || labels[y * width + x]) return;
    labels[y * width + x] = label;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) flood(mask, height, width, y + dy, x + dx, label, labels);
}

/* Branches that meet late, in every order: what few pictures by hand do not have. */
static void components_are_as_flood_fill(void **state)
{
    enum { MASKS = 3000, SIDE = 16 };
    dcam_random r = dcam_random_make(11, 3);
    (void)state;
    for (int n = 0; n < MASKS; n++) {
        uint8_t mask[SIDE * SIDE];
        int32_t wanted[SIDE * SIDE] = {0}, labels[SIDE * SIDE];
        const int height = 1 + (int)(dcam_random_u32(&r) % SIDE), width = 1 + (int)(dcam_random_u32(&r) % SIDE);
        const uint32_t share = 20 + dcam_random_u32(&r) % 50;
        int count = 0, found;
        for (int i = 0; i < height * width; i++) mask[i] = dcam_random_u32(&r) % 100 < share;
        for (int i = 0; i < height * width; i++)
            if (mask[i] && !wanted[i]) flood(mask, height, width, i / width, i % width, ++count, wanted);
        assert_int_equal(dcam_connected_components(mask, height, width, labels, &found), DCAM_OK);
        assert_int_equal(found, count);
        assert_memory_equal(labels, wanted, (size_t)(height * width) * sizeof *labels);
    }
}

/* As many components as a picture can have: each takes a place of its own in the table of parents, and 0 has one. */
static void the_most_components_have_parents(void **state)
{
    (void)state;
    for (int height = 1; height <= 8; height++)
        for (int width = 1; width <= 8; width++) {
            char picture[64];
            int32_t labels[64];
            for (int i = 0; i < height * width; i++) picture[i] = i / width % 2 || i % width % 2 ? '.' : '#';
            const int count = count_in(picture, height, width, labels);
            assert_int_equal(dcam_component_parents(height, width), count + 1);
        }
}

static int by_key(const void *a, const void *b)
{
    const uint32_t x = (uint32_t)(*(const uint64_t *)a >> 32), y = (uint32_t)(*(const uint64_t *)b >> 32);
    return (x > y) - (x < y);
}

static void sorts_sort(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(5, 0);
    enum { N = 20000 };
    uint32_t *keys = malloc(N * sizeof *keys), *scratch = malloc(N * sizeof *scratch);
    uint64_t *items = malloc(N * sizeof *items), *wanted = malloc(N * sizeof *wanted);
    const uint32_t masks[] = {0xffffffffu, 0x0000000fu, 0xff000000u, 0x00ffff00u, 0};
    for (size_t k = 0; k < sizeof masks / sizeof *masks; k++) {
        uint64_t sum = 0, sorted_sum = 0;
        for (uint32_t i = 0; i < N; i++) {
            keys[i] = dcam_random_u32(&r) & masks[k];
            wanted[i] = items[i] = (uint64_t)keys[i] << 32 | i;
            sum += i;
        }
        qsort(wanted, N, sizeof *wanted, by_key);
        dcam_sort_keys(keys, scratch, N);
        dcam_sort_packed(items, N);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(keys[i], wanted[i] >> 32);
            assert_int_equal(items[i] >> 32, wanted[i] >> 32);
            sorted_sum += (uint32_t)items[i];
        }
        assert_int_equal(sum, sorted_sum); /* no payload lost */
    }
    for (int i = -300; i < 300; i++) assert_true(dcam_score_of_key(dcam_score_key((float)i / 7)) == (float)i / 7);
    free(wanted);
    free(items);
    free(scratch);
    free(keys);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const struct pixel_case *c = &pixel_cases[0];
    const size_t total = (size_t)(c->images * c->height * c->width);
    float *maps = malloc(total * sizeof *maps);
    uint8_t *masks = malloc(total);
    make_pixels(c, maps, masks);
    dcam_pixel_metrics pixel = {.regions = -5};
    EVERY_ALLOCATION(a, dcam_pixel_evaluate(maps, masks, c->images, c->height, c->width, &pixel)) {
        assert_true(a.passed ? a.n == 7 : pixel.regions == -5);
        pixel.regions = -5;
    }
    dcam_ranking_metrics ranking = {.auroc = -5};
    EVERY_ALLOCATION(a, dcam_ranking(maps, masks, total, &ranking)) {
        assert_true(a.passed ? a.n > 3 : ranking.auroc == -5);
        ranking.auroc = -5;
    }
    free(masks);
    free(maps);
}

/* One class of 115 maps of 256 x 256: the memory bound holds at every share of defects; the time is printed. */
static void memory_stays_under_16_bytes_a_pixel(void **state)
{
    (void)state;
    enum { IMAGES = 115, SIDE = 256 };
    const size_t total = (size_t)IMAGES * SIDE * SIDE;
    float *maps = malloc(total * sizeof *maps);
    uint8_t *masks = malloc(total);
    const uint32_t shares[] = {3, 50, 100};
    for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
        dcam_random r = dcam_random_make(9, k);
        for (size_t i = 0; i < total; i++) {
            const size_t y = i / SIDE % SIDE;
            const uint32_t u = dcam_random_u32(&r);
            masks[i] = i > 0 && y * 100 < shares[k] * SIDE;
            maps[i] = (float)(u >> 8) * 0x1p-24f * (masks[i] ? 1.2f : 1.0f);
        }
        dcam_pixel_metrics m;
        const size_t held = dcam_memory_held();
        dcam_memory_reset_peak();
        const double start = dcam_seconds();
        assert_int_equal(dcam_pixel_evaluate(maps, masks, IMAGES, SIDE, SIDE, &m), DCAM_OK);
        const double seconds = dcam_seconds() - start, bytes = (double)(dcam_memory_peak() - held) / (double)total;
        print_message("%u%% defect pixels: %.3f s, %.2f bytes a pixel, AUPRO %.4f\n", shares[k], seconds, bytes, m.aupro);
        assert_true(bytes < 9);
        assert_true(m.pixel.auroc > 0.5);
    }
    free(masks);
    free(maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranking_is_scikit_learns),
        cmocka_unit_test(ranking_by_hand),
        cmocka_unit_test(values_that_are_not_finite_are_refused),
        cmocka_unit_test(pixels_are_as_brute_force),
        cmocka_unit_test(pixels_without_one_kind),
        cmocka_unit_test(components_by_hand),
        cmocka_unit_test(components_are_as_flood_fill),
        cmocka_unit_test(the_most_components_have_parents),
        cmocka_unit_test(sorts_sort),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(memory_stays_under_16_bytes_a_pixel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
