/* The losses against PyTorch in double (losses.bin), against a plain double version over random shapes, and the
 * gradients against finite differences of that plain version. */
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
#include "base/vector.h"
#include "distill/loss.h"
#include "formula.h"
#include "golden_file.h"

enum { B = 2, N = 35, C = 17, COUNT = B * N * C };

static double worst(const float *got, const double *want, size_t n)
{
    double error = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i]));
    }
    return error / scale;
}

static double run(const dcam_loss_options *o, const float *t, const float *s, int b, int n, int c, float *d_s)
{
    dcam_loss_scratch *scratch;
    double total = 0, terms[DCAM_LOSS_KINDS] = {0}, sum = 0;
    assert_int_equal(dcam_loss_scratch_create(o, b, n, c, &scratch), DCAM_OK);
    if (d_s) memset(d_s, 0xff, (size_t)(b * n * c) * sizeof *d_s); /* must be overwritten */
    dcam_loss_stage_f32(o, scratch, t, s, b, n, c, &total, terms, d_s);
    dcam_loss_scratch_destroy(scratch);
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) sum += o->weight[k] * terms[k];
    assert_true(isnan(total) ? isnan(sum) : fabs(sum - total) <= 1e-12 * fabs(total));
    return total;
}

static void against_golden(const char *name, dcam_loss_options o, bool zeros)
{
    static float t[COUNT], s[COUNT], d_s[COUNT];
    char gradient[64];
    formula_fill(1, 2.0f, 0.5f, t, COUNT);
    formula_fill(2, 2.0f, 0.5f, s, COUNT);
    if (zeros) { /* as make_losses.py */
        for (int c = 0; c < C; c++) s[9 * C + c] = 0;
        for (int i = 0; i < N; i++) {
            s[(N + i) * C + 3] = 0;
            t[(N + i) * C + 4] = s[(N + i) * C + 4] = 1;
        }
    }
    snprintf(gradient, sizeof gradient, "%s.d_s", name);
    double *value = golden_read("losses.bin", name, 1), *want = golden_read("losses.bin", gradient, COUNT);
    const double got = run(&o, t, s, B, N, C, d_s), error = worst(d_s, want, COUNT);
    printf("%-10s value %.3g, gradient %.3g (relative error)\n", name, fabs(got / *value - 1), error);
    assert_true(fabs(got / *value - 1) < 1e-6);
    assert_true(error < 1e-6);
    free(value);
    free(want);
}

static void pytorch(void **state)
{
    (void)state;
    against_golden("cd", (dcam_loss_options){.weight = {[DCAM_LOSS_CD] = 1}}, false);
    against_golden("cds", (dcam_loss_options){.weight = {[DCAM_LOSS_CDS] = 1}}, false);
    against_golden("affinity", (dcam_loss_options){.weight = {[DCAM_LOSS_AFFINITY] = 1}}, false);
    against_golden("l2", (dcam_loss_options){.weight = {[DCAM_LOSS_L2] = 1}}, false);
    against_golden("kd_mean", (dcam_loss_options){.weight = {[DCAM_LOSS_KD] = 1}, .kd_temperature = 1}, false);
    against_golden("kd_mean_t", (dcam_loss_options){.weight = {[DCAM_LOSS_KD] = 1}, .kd_temperature = 4}, false);
    against_golden("kd_sum", (dcam_loss_options){.weight = {[DCAM_LOSS_KD] = 1}, .kd_temperature = 2.5, .kd_scale = DCAM_KD_SUM}, false);
    against_golden("mixed", (dcam_loss_options){.weight = {2, 0.5, 3, 0.25, 1}, .kd_temperature = 2}, false);
    against_golden("cd_zeros", (dcam_loss_options){.weight = {[DCAM_LOSS_CD] = 1}}, true);
    against_golden("cds_zeros", (dcam_loss_options){.weight = {[DCAM_LOSS_CDS] = 1}}, true);
}

/* ---- the plain version: one image, straight from method.md, N x N affinities and all ---- */

static double plain_cosine(const double *t, const double *s, int outer, int inner, int outer_step, int inner_step, bool unit)
{
    double sum = 0;
    for (int o = 0; o < outer; o++) {
        double d = 0, a = 0, b = 0, l2 = 0;
        for (int i = 0; i < inner; i++) {
            const double x = t[o * outer_step + i * inner_step], y = s[o * outer_step + i * inner_step];
            d += x * y;
            a += x * x;
            b += y * y;
        }
        for (int i = 0; i < inner; i++) {
            const double e = t[o * outer_step + i * inner_step] / sqrt(a) - s[o * outer_step + i * inner_step] / sqrt(b);
            l2 += 0.5 * e * e;
        }
        sum += unit ? l2 : 1 - d / (sqrt(a) * sqrt(b) + 1e-6);
    }
    return sum / outer;
}

static double plain_entropy(const double *t, const double *s, int n, int c, double temperature)
{
    double kl = 0;
    for (int k = 0; k < c; k++) {
        double zt = 0, zs = 0;
        for (int i = 0; i < n; i++) {
            zt += exp(t[i * c + k] / temperature);
            zs += exp(s[i * c + k] / temperature);
        }
        for (int i = 0; i < n; i++) {
            const double log_p = t[i * c + k] / temperature - log(zt), log_q = s[i * c + k] / temperature - log(zs);
            kl += exp(log_p) * (log_p - log_q);
        }
    }
    return kl;
}

static double plain_affinity(const double *t, const double *s, int n, int c)
{
    double total = 0, *lengths = calloc((size_t)c * 2, sizeof(double));
    for (int k = 0; k < c; k++) {
        for (int i = 0; i < n; i++) {
            lengths[k] += t[i * c + k] * t[i * c + k];
            lengths[c + k] += s[i * c + k] * s[i * c + k];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            double a = 0;
            for (int k = 0; k < c; k++) {
                a += s[i * c + k] * s[j * c + k] / lengths[c + k] - t[i * c + k] * t[j * c + k] / lengths[k];
            }
            total += a * a;
        }
    }
    free(lengths);
    return sqrt(total) / n;
}

static double plain(dcam_loss_kind kind, const double *t, const double *s, int n, int c, double temperature)
{
    switch (kind) {
    case DCAM_LOSS_CD: return plain_cosine(t, s, n, c, c, 1, false);
    case DCAM_LOSS_CDS: return plain_cosine(t, s, c, n, 1, c, false);
    case DCAM_LOSS_KD: return plain_entropy(t, s, n, c, temperature);
    case DCAM_LOSS_AFFINITY: return plain_affinity(t, s, n, c);
    default: return plain_cosine(t, s, n, c, c, 1, true);
    }
}

static void plain_version_and_differences(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 8}, {2, 5, 7}, {4, 9, 16}, {8, 8, 64}, {13, 3, 33}, {33, 2, 9}, {3, 23, 1}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const int n = shapes[k][0] * shapes[k][1], c = shapes[k][2];
        const size_t count = (size_t)(n * c);
        float *t = malloc(count * 4), *s = malloc(count * 4), *d_s = malloc(count * 4);
        double *td = malloc(count * 8), *sd = malloc(count * 8);
        formula_fill(10 + (uint32_t)k, 1.5f, 0.8f, t, count);
        formula_fill(20 + (uint32_t)k, 1.5f, 0.6f, s, count);
        for (size_t i = 0; i < count; i++) {
            td[i] = (double)t[i];
            sd[i] = (double)s[i];
        }
        for (int kind = 0; kind < DCAM_LOSS_KINDS; kind++) {
            dcam_loss_options o = {.kd_temperature = 1.5, .kd_scale = DCAM_KD_SUM};
            o.weight[kind] = 1;
            const double got = run(&o, t, s, 1, n, c, d_s), want = plain((dcam_loss_kind)kind, td, sd, n, c, 1.5);
            assert_true(fabs(got - want) <= 2e-6 * fabs(want) + 1e-7);
            double largest = 0;
            for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)d_s[i]));
            for (size_t i = 0; i < count; i += 1 + count / 11) {
                const double keep = sd[i], h = 1e-5;
                sd[i] = keep + h;
                const double above = plain((dcam_loss_kind)kind, td, sd, n, c, 1.5);
                sd[i] = keep - h;
                const double slope = (above - plain((dcam_loss_kind)kind, td, sd, n, c, 1.5)) / (2 * h);
                sd[i] = keep;
                if (fabs((double)d_s[i] - slope) > 1e-5 * largest + 1e-7) {
                    fail_msg("%s at %d x %d: gradient %g, difference %g", dcam_loss_name((dcam_loss_kind)kind), n, c, (double)d_s[i], slope);
                }
            }
        }
        free(t);
        free(s);
        free(d_s);
        free(td);
        free(sd);
    }
}

static void equal_maps_cost_nothing(void **state)
{
    (void)state;
    static float t[COUNT], d_s[COUNT];
    formula_fill(1, 2.0f, 0.5f, t, COUNT);
    dcam_loss_options o = {.weight = {1, 1, 1, 1, 1}, .kd_temperature = 1};
    assert_true(fabs(run(&o, t, t, B, N, C, d_s)) < 3e-6);
    for (int i = 0; i < COUNT; i++) assert_true(fabs((double)d_s[i]) < 1e-6);
}

/* Softmax of values hundreds apart, the largest in any place: exp of a difference to anything else would not be finite. */
static void far_values_do_not_overflow(void **state)
{
    enum { POSITIONS = 40, CHANNELS = 9, ALL = POSITIONS * CHANNELS };
    static float t[ALL], s[ALL], d_s[ALL];
    static double td[ALL], sd[ALL];
    const dcam_loss_options o = {.weight = {[DCAM_LOSS_KD] = 1}, .kd_temperature = 1, .kd_scale = DCAM_KD_SUM};
    (void)state;
    formula_fill(31, 300, 0, t, ALL);
    formula_fill(32, 300, 0, s, ALL);
    for (int k = 0; k < CHANNELS; k++) t[(k * 5 + 39) % POSITIONS * CHANNELS + k] = s[k * 4 * CHANNELS + k] = 301;
    for (int i = 0; i < ALL; i++) {
        td[i] = (double)t[i];
        sd[i] = (double)s[i];
    }
    const double wanted = plain_entropy(td, sd, POSITIONS, CHANNELS, 1), got = run(&o, t, s, 1, POSITIONS, CHANNELS, d_s);
    assert_true(wanted > 100 && fabs(got - wanted) <= 2e-6 * wanted);
    for (int k = 0; k < CHANNELS; k++) {
        double of_t = 0, of_s = 0;
        for (int i = k; i < ALL; i += CHANNELS) {
            of_t += exp(td[i]);
            of_s += exp(sd[i]);
        }
        for (int i = k; i < ALL; i += CHANNELS)
            assert_true(fabs((double)d_s[i] - (exp(sd[i]) / of_s - exp(td[i]) / of_t)) < 1e-6);
    }
}

/* Zeros and constants give finite numbers, and the values that the formulas state. */
static void degenerate_maps(void **state)
{
    (void)state;
    static float zero[COUNT], one[COUNT], t[COUNT], d_s[COUNT];
    formula_fill(1, 2.0f, 0.5f, t, COUNT);
    for (int i = 0; i < COUNT; i++) one[i] = 1;
    const float *maps[] = {zero, one, t};
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++) {
            dcam_loss_options o = {.weight = {1, 1, 1, 1, 1}, .kd_temperature = 1};
            assert_true(isfinite(run(&o, maps[a], maps[b], B, N, C, d_s)));
            for (int i = 0; i < COUNT; i++) assert_true(isfinite(d_s[i]));
        }
    }
    dcam_loss_options cd = {.weight = {[DCAM_LOSS_CD] = 1}}, l2 = {.weight = {[DCAM_LOSS_L2] = 1}};
    dcam_loss_options kd = {.weight = {[DCAM_LOSS_KD] = 1}, .kd_temperature = 1};
    dcam_loss_options affinity = {.weight = {[DCAM_LOSS_AFFINITY] = 1}};
    assert_true(run(&cd, t, zero, B, N, C, NULL) == 1);
    assert_true(run(&l2, t, zero, B, N, C, d_s) == 0.5);
    for (int i = 0; i < COUNT; i++) assert_true(d_s[i] == 0);
    assert_true(run(&l2, zero, zero, B, N, C, NULL) == 0);
    /* Constant maps are the same uniform distribution whatever the constant. */
    assert_true(fabs(run(&kd, zero, one, B, N, C, NULL)) < 1e-9);
    /* All of C channels at unit length and constant: A = C / N everywhere, |A| = C; of zeros: A = 0. */
    assert_true(fabs(run(&affinity, one, zero, B, N, C, NULL) - (double)C / N) < 1e-12);
}

static void not_a_number_is_not_hidden(void **state)
{
    (void)state;
    static float t[COUNT], s[COUNT];
    formula_fill(1, 2.0f, 0.5f, t, COUNT);
    formula_fill(2, 2.0f, 0.5f, s, COUNT);
    s[700] = NAN;
    for (int kind = 0; kind < DCAM_LOSS_KINDS; kind++) {
        dcam_loss_options o = {.kd_temperature = 1};
        o.weight[kind] = 1;
        assert_true(isnan(run(&o, t, s, B, N, C, NULL)));
    }
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { IMAGES = 5, POSITIONS = 24, CHANNELS = 32, ALL = IMAGES * POSITIONS * CHANNELS };
    static float t[ALL], s[ALL], one[ALL], two[ALL];
    formula_fill(5, 2.0f, 0.5f, t, ALL);
    formula_fill(6, 2.0f, 0.5f, s, ALL);
    dcam_loss_options o = {.weight = {1, 2, 3, 4, 5}, .kd_temperature = 2};
    dcam_set_threads(1);
    const double a = run(&o, t, s, IMAGES, POSITIONS, CHANNELS, one);
    dcam_set_threads(2);
    const double b = run(&o, t, s, IMAGES, POSITIONS, CHANNELS, two);
    assert_true(a == b);
    assert_memory_equal(one, two, sizeof one);
}

static void fast_exponential(void **state)
{
    (void)state;
    double error = 0;
    for (int i = 0; i <= 2000000; i++) {
        dcam_f32x8 v = {0};
        const float x = -87.0f * (float)i / 2000000.0f;
        v += x;
        dcam_exp8(&v);
        error = fmax(error, fabs((double)v[3] / exp((double)x) - 1));
    }
    printf("exponential: relative error %.3g\n", error);
    assert_true(error < 0x1p-22);
    dcam_f32x8 far = {-1000, -88, -INFINITY, 0};
    dcam_exp8(&far);
    assert_true(far[0] >= 0 && far[0] < 1e-37f && far[1] < 1e-37f && far[2] < 1e-37f && far[3] == 1);
}

static void names(void **state)
{
    (void)state;
    double w[DCAM_LOSS_KINDS];
    assert_int_equal(dcam_loss_parse("cd=1,kd=0.5", w), DCAM_OK);
    assert_true(w[DCAM_LOSS_CD] == 1 && w[DCAM_LOSS_KD] == 0.5 && w[DCAM_LOSS_CDS] == 0 && w[DCAM_LOSS_L2] == 0);
    assert_int_equal(dcam_loss_parse("l2,affinity=2e-1", w), DCAM_OK);
    assert_true(w[DCAM_LOSS_L2] == 1 && w[DCAM_LOSS_AFFINITY] == 0.2 && w[DCAM_LOSS_CD] == 0);
    static const char *const bad[] = {"", "cd=", "cd=-1", "cd=nan", "cd=inf", "mse=1", "cd=1,", "cd=1,cd=2", "cd=0", "cd=1x", "=1", "c=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        w[0] = 42;
        assert_int_equal(dcam_loss_parse(bad[i], w), DCAM_ERROR_USAGE);
        assert_true(w[0] == 42);
        assert_true(strlen(dcam_error_message()) > 0);
    }
    dcam_clear_error();
    assert_int_equal(dcam_loss_parse("mse=1", w), DCAM_ERROR_USAGE);
    assert_non_null(strstr(dcam_error_message(), "cd, cds, kd, affinity, l2"));
}

static void memory_failures(void **state)
{
    (void)state;
    dcam_loss_options o = {.weight = {1, 1, 1, 1, 1}, .kd_temperature = 1};
    dcam_loss_scratch *scratch = NULL;
    EVERY_ALLOCATION(a, dcam_loss_scratch_create(&o, 2, 4, 8, &scratch)) {
        assert_true(a.passed ? a.n > 5 : scratch == NULL);
        dcam_loss_scratch_destroy(scratch);
        scratch = NULL;
    }
}

/* A teacher in bf16, with other values between its images, is the same teacher widened. */
static void rounded_teacher(void **state)
{
    (void)state;
    enum { STEP = N * C + 5 };
    static float t[COUNT], s[COUNT], d_one[COUNT], d_two[COUNT];
    static uint16_t rounded[B * STEP];
    const dcam_loss_options o = {.weight = {2, 0.5, 3, 0.25, 1}, .kd_temperature = 2};
    dcam_loss_scratch *scratch;
    double one = 0, two = 0;
    formula_fill(1, 2.0f, 0.5f, t, COUNT);
    formula_fill(2, 2.0f, 0.5f, s, COUNT);
    memset(rounded, 0xff, sizeof rounded);
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits;
        memcpy(&bits, &t[i], sizeof bits);
        rounded[i / (N * C) * STEP + i % (N * C)] = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        memcpy(&t[i], &bits, sizeof bits);
    }
    assert_int_equal(dcam_loss_scratch_create(&o, B, N, C, &scratch), DCAM_OK);
    dcam_loss_stage(&o, scratch, rounded, STEP, s, B, N, C, &one, NULL, d_one);
    dcam_loss_stage_f32(&o, scratch, t, s, B, N, C, &two, NULL, d_two);
    dcam_loss_scratch_destroy(scratch);
    assert_true(one == two);
    assert_memory_equal(d_one, d_two, sizeof d_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorch),
        cmocka_unit_test(plain_version_and_differences),
        cmocka_unit_test(equal_maps_cost_nothing),
        cmocka_unit_test(far_values_do_not_overflow),
        cmocka_unit_test(degenerate_maps),
        cmocka_unit_test(not_a_number_is_not_hidden),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(fast_exponential),
        cmocka_unit_test(names),
        cmocka_unit_test(memory_failures), cmocka_unit_test(rounded_teacher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
