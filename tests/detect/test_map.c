/* Maps against PyTorch and scipy (golden/make_maps.py). */
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
#include "base/parallel.h"
#include "base/random.h"
#include "detect/map.h"
#include "formula.h"
#include "golden_file.h"

enum { HEIGHT = 32, WIDTH = 64 };

static void compare(const char *name, const float *found, size_t count, double tolerance)
{
    double *wanted = golden_read("maps.bin", name, count), largest = 0, scale = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)found[i] - wanted[i]);
        largest = difference > largest || isnan(difference) ? difference : largest;
        scale = fabs(wanted[i]) > scale ? fabs(wanted[i]) : scale;
    }
    if (!(largest <= tolerance * scale)) fail_msg("%s: off by %g of %g", name, largest, scale);
    free(wanted);
}

typedef struct {
    float *teacher[DCAM_STAGES], *student[DCAM_STAGES];
    int positions[DCAM_STAGES], channels[DCAM_STAGES];
    const float *t[DCAM_STAGES], *s[DCAM_STAGES]; /* the same, read only */
} features;

static void make_features(features *f, uint32_t seed)
{
    const dcam_architecture *a = dcam_architecture_find("resnet18");
    for (uint32_t k = 0; k < DCAM_STAGES; k++) {
        f->positions[k] = (HEIGHT >> (k + 2)) * (WIDTH >> (k + 2));
        f->channels[k] = a->stage_channels[k];
        const size_t count = (size_t)(f->positions[k] * f->channels[k]);
        float *noise = malloc(count * sizeof *noise);
        f->t[k] = f->teacher[k] = malloc(count * sizeof(float));
        f->s[k] = f->student[k] = malloc(count * sizeof(float));
        formula_fill(seed + k, 1, 0.25f, f->teacher[k], count);
        formula_fill(seed + 10 + k, 0.5f, 0, noise, count);
        for (size_t i = 0; i < count; i++) f->student[k][i] = f->teacher[k][i] + noise[i];
        free(noise);
    }
}

static void free_features(features *f)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        free(f->teacher[k]);
        free(f->student[k]);
    }
}

static void stages_are_pytorchs(void **state)
{
    (void)state;
    features f;
    make_features(&f, 40);
    for (int k = 0; k < DCAM_STAGES; k++) {
        float map[1024];
        char name[20];
        dcam_cosine_map(f.t[k], f.s[k], f.positions[k], f.channels[k], map);
        snprintf(name, sizeof name, "stage%d", k);
        compare(name, map, (size_t)f.positions[k], 1e-6);
    }
    free_features(&f);
}

static void cosine_of_odd_channels_and_zeros(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(4, 4);
    for (int channels = 1; channels < 40; channels++) {
        float t[3 * 40], s[3 * 40], map[3];
        for (int i = 0; i < 3 * channels; i++) {
            t[i] = (float)dcam_random_normal(&r);
            s[i] = (float)dcam_random_normal(&r);
        }
        for (int c = 0; c < channels; c++) s[channels + c] = 0; /* a dead position: distance 1, not NaN */
        dcam_cosine_map(t, s, 3, channels, map);
        for (int i = 0; i < 3; i++) {
            double dot = 0, tt = 0, ss = 0;
            for (int c = 0; c < channels; c++) {
                const double a = (double)t[i * channels + c], b = (double)s[i * channels + c];
                dot += a * b;
                tt += a * a;
                ss += b * b;
            }
            assert_true(fabs((double)map[i] - (1 - dot / (sqrt(tt * ss) + 1e-6))) < 1e-6);
        }
        assert_true(map[1] == 1);
    }
}

/* Raw features against sums in double. */
static void cosine_of_raw_features(void **state)
{
    (void)state;
    enum { POSITIONS = 5, MOST = 300 };
    dcam_random r = dcam_random_make(5, 5);
    for (int channels = 1; channels <= MOST; channels += channels < 40 ? 1 : 52)
        for (int bytes = 0; bytes < 2; bytes++) {
            const double scale = bytes ? 0.02 * 0.03 : 1;
            static uint16_t th[POSITIONS * MOST], sh[POSITIONS * MOST];
            static uint8_t tb[POSITIONS * MOST], sb[POSITIONS * MOST];
            static double t[POSITIONS * MOST], s[POSITIONS * MOST];
            float map[POSITIONS];
            for (int i = 0; i < POSITIONS * channels; i++) {
                const int dead = i / channels == 1; /* distance 1, not NaN */
                tb[i] = (uint8_t)(dcam_random_uniform(&r) * 255);
                sb[i] = dead ? 0 : (uint8_t)(dcam_random_uniform(&r) * 255);
                const float a = (float)dcam_random_normal(&r), b = dead ? 0 : a + 0.1f * (float)dcam_random_normal(&r);
                uint32_t bits;
                memcpy(&bits, &a, sizeof bits);
                th[i] = (uint16_t)(bits >> 16);
                memcpy(&bits, &b, sizeof bits);
                sh[i] = (uint16_t)(bits >> 16);
                float back;
                bits = (uint32_t)th[i] << 16;
                memcpy(&back, &bits, sizeof back);
                t[i] = bytes ? (double)tb[i] : (double)back;
                bits = (uint32_t)sh[i] << 16;
                memcpy(&back, &bits, sizeof back);
                s[i] = bytes ? (double)sb[i] : (double)back;
            }
            if (bytes) dcam_cosine_map_raw(DCAM_TAP_U8, tb, sb, POSITIONS, channels, scale, map);
            else dcam_cosine_map_raw(DCAM_TAP_BF16, th, sh, POSITIONS, channels, scale, map);
            for (int i = 0; i < POSITIONS; i++) {
                double dot = 0, tt = 0, ss = 0;
                for (int c = i * channels; c < (i + 1) * channels; c++) {
                    dot += t[c] * s[c];
                    tt += t[c] * t[c];
                    ss += s[c] * s[c];
                }
                assert_true(fabs((double)map[i] - (1 - scale * dot / (scale * sqrt(tt * ss) + 1e-6))) < 1e-6);
            }
            assert_true(map[1] == 1);
        }
}

/* The fast path for twice and four times, at sizes that are no multiple of it too, against the formula. */
static void upsampling_is_the_formula(void **state)
{
    (void)state;
    static float in[40 * 40], out[160 * 160];
    dcam_random r = dcam_random_make(6, 6);
    for (int i = 0; i < 40 * 40; i++) in[i] = (float)dcam_random_normal(&r);
    for (int side = 1; side <= 40; side++)
        for (int factor = 1; factor <= 4; factor++) {
            const int large = side * factor;
            dcam_upsample_bilinear(in, side, side, out, large, large);
            for (int y = 0; y < large; y++)
                for (int x = 0; x < large; x++) {
                    const double v = fmin(fmax((y + 0.5) / factor - 0.5, 0), side - 1), u = fmin(fmax((x + 0.5) / factor - 0.5, 0), side - 1);
                    const int y0 = (int)v, x0 = (int)u, y1 = y0 + 1 < side ? y0 + 1 : y0, x1 = x0 + 1 < side ? x0 + 1 : x0;
                    const double a = (double)in[y0 * side + x0], b = (double)in[y0 * side + x1], c = (double)in[y1 * side + x0],
                                 d = (double)in[y1 * side + x1];
                    const double top = a + (u - x0) * (b - a), bottom = c + (u - x0) * (d - c);
                    assert_true(fabs((double)out[y * large + x] - (top + (v - y0) * (bottom - top))) < 1e-6);
                }
        }
}

static void scores_look_everywhere(void **state)
{
    (void)state;
    enum { MOST = 200 };
    const dcam_map_options o = {.kind = DCAM_MAP_SUM};
    float map[MOST];
    for (size_t n = 1; n <= MOST; n += 7)
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) map[k] = -2;
            map[i] = -1;
            assert_true(dcam_image_score(&o, map, n, NULL) == -1);
            assert_true(dcam_map_is_finite(map, n));
            map[i] = i % 2 ? INFINITY : NAN;
            assert_false(dcam_map_is_finite(map, n));
        }
}

static void combinations_are_pytorchs(void **state)
{
    (void)state;
    features f;
    make_features(&f, 40);
    dcam_mapper *mapper;
    assert_int_equal(dcam_mapper_create(dcam_architecture_find(NULL), HEIGHT, WIDTH, &mapper), DCAM_OK);
    float map[HEIGHT * WIDTH], scratch[HEIGHT * WIDTH];
    dcam_map_options o = {.kind = DCAM_MAP_SUM};
    const size_t held = dcam_memory_held();
    dcam_mapper_run(mapper, &o, NULL, f.t, f.s, map);
    compare("sum", map, HEIGHT * WIDTH, 1e-6);

    double *scores = golden_read("maps.bin", "scores", 5);
    const double percents[] = {0, 0.01, 1, 12.5, 100};
    for (int i = 0; i < 5; i++) {
        o.top_percent = percents[i];
        assert_true(fabs((double)dcam_image_score(&o, map, HEIGHT * WIDTH, scratch) - scores[i]) < 1e-6);
    }
    free(scores);

    o = (dcam_map_options){.kind = DCAM_MAP_PRODUCT};
    dcam_mapper_run(mapper, &o, NULL, f.t, f.s, map);
    compare("product", map, HEIGHT * WIDTH, 1e-6);

    o = (dcam_map_options){.kind = DCAM_MAP_STANDARD, .smoothing = 2};
    const dcam_stage_statistics statistics = {{0.05f, 0.0625f, 0.03125f}, {0.25f, 0.125f, 0.5f}};
    dcam_mapper_run(mapper, &o, &statistics, f.t, f.s, map);
    compare("standard", map, HEIGHT * WIDTH, 2e-6);

    o = (dcam_map_options){.kind = DCAM_MAP_SUM, .kd_weight = 0.5, .kd_temperature = 2};
    dcam_mapper_run(mapper, &o, NULL, f.t, f.s, map);
    compare("kd", map, HEIGHT * WIDTH, 2e-6);
    assert_int_equal(dcam_memory_held(), held);
    dcam_mapper_destroy(mapper);
    free_features(&f);
}

/* Logits of 100 and more: the softmax must not overflow, and most shares vanish. */
static void kd_of_large_values(void **state)
{
    (void)state;
    features f;
    make_features(&f, 40);
    const int k = 2, count = f.positions[k] * f.channels[k];
    for (int i = 0; i < count; i++) {
        f.teacher[k][i] *= 100;
        f.student[k][i] *= 100;
    }
    double *scratch = malloc(4 * (size_t)f.channels[k] * sizeof *scratch);
    float map[8] = {0};
    dcam_kd_map_add(f.t[k], f.s[k], f.positions[k], f.channels[k], 1, 1, scratch, map);
    compare("kd_sharp", map, 8, 1e-5);
    free(scratch);
    free_features(&f);
}

/* softmax(x / T) over positions of one channel, as logarithms. */
static void log_shares(const float *x, int positions, int channels, int c, double temperature, double *out)
{
    double sum = 0;
    for (int i = 0; i < positions; i++) sum += exp((double)x[i * channels + c] / temperature);
    for (int i = 0; i < positions; i++) out[i] = (double)x[i * channels + c] / temperature - log(sum);
}

/* At a high temperature P and Q are nearly equal: what is left of P log(P/Q) - P + Q is far below P, and T^2 makes it large. */
static void kd_of_high_temperatures(void **state)
{
    (void)state;
    enum { POSITIONS = 64, CHANNELS = 33 };
    const struct { double temperature, bound; } cases[] = {{0.05, 1e-6}, {1, 1e-6}, {3, 3e-6}, {10, 3e-6}, {100, 1e-5}, {1000, 3e-5}};
    static float t[POSITIONS * CHANNELS], s[POSITIONS * CHANNELS];
    double scratch[4 * CHANNELS], log_p[POSITIONS], log_q[POSITIONS];
    formula_fill(1, 2.0f, 0.5f, t, POSITIONS * CHANNELS);
    formula_fill(2, 2.0f, 0.5f, s, POSITIONS * CHANNELS);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const double temperature = cases[k].temperature;
        float map[POSITIONS] = {0};
        double want[POSITIONS] = {0}, largest = 0;
        dcam_kd_map_add(t, s, POSITIONS, CHANNELS, temperature, 1, scratch, map);
        for (int c = 0; c < CHANNELS; c++) {
            log_shares(t, POSITIONS, CHANNELS, c, temperature, log_p);
            log_shares(s, POSITIONS, CHANNELS, c, temperature, log_q);
            for (int i = 0; i < POSITIONS; i++)
                want[i] += exp(log_p[i]) * (log_p[i] - log_q[i] + expm1(log_q[i] - log_p[i])) * temperature * temperature * POSITIONS / CHANNELS;
        }
        for (int i = 0; i < POSITIONS; i++) largest = fmax(largest, want[i]);
        for (int i = 0; i < POSITIONS; i++)
            if (!(fabs((double)map[i] - want[i]) <= cases[k].bound * largest))
                fail_msg("T = %g, position %d: %g, not %g", temperature, i, (double)map[i], want[i]);
    }
}

static void upsampling_is_pytorchs(void **state)
{
    (void)state;
    static const int cases[][4] = {{8, 16, 8, 16}, {8, 16, 32, 64}, {3, 5, 7, 300}, {1, 1, 4, 3}, {2, 4, 8, 16}, {6, 7, 9, 8}};
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int *c = cases[i];
        float in[128], out[4096];
        formula_fill(60 + i, 1, 0, in, (size_t)(c[0] * c[1]));
        dcam_upsample_bilinear(in, c[0], c[1], out, c[2], c[3]);
        char name[20];
        snprintf(name, sizeof name, "upsample%u", i);
        compare(name, out, (size_t)(c[2] * c[3]), 1e-6);
    }
}

static void smoothing_is_scipys(void **state)
{
    (void)state;
    static const struct { int h, w; double sigma; } cases[] = {{32, 40, 1}, {32, 40, 4}, {16, 24, 2.3},
                                                               {5, 3, 4}, {20, 20, 0.1}, {9, 300, 0.6}};
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float map[4096], scratch[4096];
        const size_t count = (size_t)(cases[i].h * cases[i].w);
        formula_fill(70 + i, 1, 0, map, count);
        dcam_gaussian_smooth(map, cases[i].h, cases[i].w, cases[i].sigma, scratch);
        char name[20];
        snprintf(name, sizeof name, "gaussian%u", i);
        compare(name, map, count, 1e-6);
    }
    /* the widest kernel keeps a constant a constant */
    float map[64 * 8], scratch[64 * 8];
    for (int i = 0; i < 64 * 8; i++) map[i] = 3;
    dcam_gaussian_smooth(map, 64, 8, DCAM_MAX_SMOOTHING, scratch);
    for (int i = 0; i < 64 * 8; i++) assert_true(fabsf(map[i] - 3) < 1e-5f);
}

static int falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Against sorting, with ties, sorted and constant input. */
static void top_mean_is_the_sorted_one(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(8, 8);
    enum { N = 3000 };
    float *map = malloc(N * sizeof *map), *scratch = malloc(N * sizeof *scratch), *sorted = malloc(N * sizeof *sorted);
    for (int round = 0; round < 60; round++) {
        const uint64_t kinds = 1 + dcam_random_below(&r, round % 3 == 0 ? 3 : 100000);
        for (int i = 0; i < N; i++) map[i] = (float)dcam_random_below(&r, kinds) - 50;
        memcpy(sorted, map, N * sizeof *map);
        qsort(sorted, N, sizeof *sorted, falling);
        if (round % 5 == 0) memcpy(map, sorted, N * sizeof *map);
        const dcam_map_options o = {.top_percent = 100 * dcam_random_uniform(&r)};
        size_t k = (size_t)(o.top_percent / 100 * N);
        if (k < 1) k = 1;
        double sum = 0;
        for (size_t i = 0; i < k; i++) sum += (double)sorted[i];
        const float wanted = (float)(sum / (double)k);
        assert_true(fabsf(dcam_image_score(&o, map, N, scratch) - wanted) <= 1e-6f * fabsf(wanted));
    }
    free(sorted);
    free(scratch);
    free(map);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    enum { SIDE = 256 };
    dcam_mapper *mapper;
    assert_int_equal(dcam_mapper_create(dcam_architecture_find(NULL), SIDE, SIDE, &mapper), DCAM_OK);
    float *t[DCAM_STAGES], *s[DCAM_STAGES], *maps[2];
    const float *tc[DCAM_STAGES], *sc[DCAM_STAGES];
    for (uint32_t k = 0; k < DCAM_STAGES; k++) {
        const size_t count = (size_t)(SIDE >> (k + 2)) * (SIDE >> (k + 2)) * (64u << k);
        tc[k] = t[k] = malloc(count * sizeof(float));
        sc[k] = s[k] = malloc(count * sizeof(float));
        formula_fill(80 + k, 1, 0.25f, t[k], count);
        formula_fill(90 + k, 1, 0.25f, s[k], count);
    }
    const dcam_map_options o = {.kd_weight = 1, .smoothing = 4};
    for (int i = 0; i < 2; i++) {
        maps[i] = malloc(SIDE * SIDE * sizeof(float));
        dcam_set_threads(1 + 2 * i);
        dcam_mapper_run(mapper, &o, NULL, tc, sc, maps[i]);
    }
    dcam_set_threads(0);
    assert_memory_equal(maps[0], maps[1], SIDE * SIDE * sizeof(float));
    for (int k = 0; k < DCAM_STAGES; k++) {
        free(t[k]);
        free(s[k]);
    }
    free(maps[0]);
    free(maps[1]);
    dcam_mapper_destroy(mapper);
}

static void options_have_ranges(void **state)
{
    (void)state;
    const dcam_map_options good[] = {{0}, {.kind = DCAM_MAP_STANDARD, .kd_weight = 1, .kd_temperature = 4, .smoothing = 32, .top_percent = 100}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(dcam_map_options_check(&good[i]), DCAM_OK);
    const dcam_map_options bad[] = {{.kind = (dcam_map_kind)3}, {.kd_weight = -1}, {.kd_weight = NAN}, {.kd_temperature = -1},
                                    {.kd_temperature = 1e-9}, {.smoothing = 33}, {.smoothing = NAN}, {.top_percent = 101}, {.top_percent = -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(dcam_map_options_check(&bad[i]), DCAM_ERROR_USAGE);
    dcam_mapper *mapper = NULL;
    assert_int_equal(dcam_mapper_create(dcam_architecture_find(NULL), 48, 64, &mapper), DCAM_ERROR_USAGE);
    EVERY_ALLOCATION(a, dcam_mapper_create(dcam_architecture_find(NULL), 64, 64, &mapper)) {
        assert_true(a.passed ? a.n > 7 : mapper == NULL);
        dcam_mapper_destroy(mapper);
        mapper = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_pytorchs),
        cmocka_unit_test(cosine_of_odd_channels_and_zeros),
        cmocka_unit_test(cosine_of_raw_features),
        cmocka_unit_test(upsampling_is_the_formula),
        cmocka_unit_test(scores_look_everywhere),
        cmocka_unit_test(combinations_are_pytorchs),
        cmocka_unit_test(kd_of_large_values),
        cmocka_unit_test(kd_of_high_temperatures),
        cmocka_unit_test(upsampling_is_pytorchs),
        cmocka_unit_test(smoothing_is_scipys),
        cmocka_unit_test(top_mean_is_the_sorted_one),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(options_have_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
