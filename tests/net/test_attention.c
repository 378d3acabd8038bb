/* The attention blocks against PyTorch in double (attention.bin), with ties and zeros, in place, on one and two
 * threads, and on odd channel counts against a plain double version by finite differences. */
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
#include "formula.h"
#include "golden_file.h"
#include "net/attention.h"

enum { B = 2, H = 6, W = 5, N = H * W, C = 24, COUNT = B * N * C, VALUES = 2 * C * (C / 8) + 98 };

static const dcam_attention_kind kinds[] = {DCAM_ATTENTION_CHANNEL, DCAM_ATTENTION_SPATIAL, DCAM_ATTENTION_CBAM};

static double worst(const float *got, const double *want, size_t n)
{
    double error = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i]));
    }
    return error / scale;
}

static void check(dcam_attention_kind kind, bool ties)
{
    static float s[COUNT], g[COUNT], out[COUNT], d_s[COUNT], values[VALUES], d_values[VALUES];
    char name[64], file[] = "attention.bin";
    const size_t count = dcam_attention_value_count(kind, C);
    dcam_attention_state *state;
    formula_fill(3, 2.0f, 0.5f, s, COUNT);
    formula_fill(5, 2.0f, 0.5f, g, COUNT);
    formula_fill(4, 0.4f, 0.05f, values, count);
    if (ties) { /* as make_losses.py */
        for (int i = 0; i < COUNT; i++) {
            const float r = nearbyintf(s[i]);
            s[i] = r < 0 ? 0 : r > 2 ? 2 : r;
        }
        for (int c = 0; c < C; c++) s[(2 * W + 2) * C + c] = 0;
        for (int i = 0; i < N; i++) s[(N + i) * C + 5] = 0;
    }
    memset(d_s, 0, sizeof d_s);
    memset(d_values, 0, sizeof d_values);
    assert_int_equal(dcam_attention_state_create(kind, B + 1, H, W, C, &state), DCAM_OK);
    dcam_attention_forward(state, values, s, B, out);
    dcam_attention_backward(state, values, s, B, g, true, d_s, d_values);
    dcam_attention_state_destroy(state);

    const char *suffix = ties ? "_ties" : "";
    double forward = 0;
    snprintf(name, sizeof name, "%s%s", dcam_attention_name(kind), suffix);
    if (ties) { /* only the first row of the map is kept */
        double *want = golden_read(file, name, B * W * C);
        for (int b = 0; b < B; b++) forward = fmax(forward, worst(out + b * N * C, want + b * W * C, W * C));
        free(want);
    } else {
        double *want = golden_read(file, name, COUNT);
        forward = worst(out, want, COUNT);
        free(want);
    }
    snprintf(name, sizeof name, "%s%s.d_s", dcam_attention_name(kind), suffix);
    double *want_s = golden_read(file, name, COUNT);
    snprintf(name, sizeof name, "%s%s.d_values", dcam_attention_name(kind), suffix);
    double *want_values = golden_read(file, name, count);
    const double to_s = worst(d_s, want_s, COUNT), to_values = worst(d_values, want_values, count);
    printf("%s%s: out %.3g, d_s %.3g, d_values %.3g (relative error)\n", dcam_attention_name(kind), suffix, forward, to_s, to_values);
    assert_true(forward < 1e-6);
    assert_true(to_s < 1e-6);
    assert_true(to_values < 1e-6);
    free(want_s);
    free(want_values);
}

static void pytorch(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) check(kinds[k], false);
}

static void pytorch_with_ties_and_zeros(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) check(kinds[k], true);
}

/* sum(out * g): what the backward pass is the gradient of. */
static double objective(dcam_attention_state *state, const float *values, const float *s, const float *g, float *out, size_t count)
{
    double sum = 0;
    dcam_attention_forward(state, values, s, 1, out);
    for (size_t i = 0; i < count; i++) sum += (double)out[i] * (double)g[i];
    return sum;
}

static void odd_shapes_by_differences(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 8}, {3, 2, 13}, {9, 8, 17}, {2, 40, 64}, {4, 4, 3}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const int h = shapes[k][0], w = shapes[k][1], c = shapes[k][2];
        const size_t count = (size_t)(h * w * c);
        float *s = malloc(count * 4), *g = malloc(count * 4), *out = malloc(count * 4), *d_s = malloc(count * 4);
        formula_fill(40 + (uint32_t)k, 1.0f, 0.3f, s, count);
        formula_fill(50 + (uint32_t)k, 1.0f, 0.2f, g, count);
        for (int kind = 0; kind < 3; kind++) {
            const size_t value_count = dcam_attention_value_count(kinds[kind], c);
            float *values = malloc(value_count * 4), *d_values = calloc(value_count, 4);
            dcam_random r = dcam_random_make(3, k);
            dcam_attention_state *st;
            dcam_attention_init(kinds[kind], c, &r, values);
            memset(d_s, 0, count * 4);
            assert_int_equal(dcam_attention_state_create(kinds[kind], 1, h, w, c, &st), DCAM_OK);
            dcam_attention_forward(st, values, s, 1, out);
            dcam_attention_backward(st, values, s, 1, g, true, d_s, d_values);
            double largest_s = 0, largest_value = 0;
            for (size_t i = 0; i < count; i++) largest_s = fmax(largest_s, fabs((double)d_s[i]));
            for (size_t i = 0; i < value_count; i++) largest_value = fmax(largest_value, fabs((double)d_values[i]));
            for (size_t i = 0; i < value_count; i += 1 + value_count / 9) {
                const float keep = values[i], step = 1e-2f;
                values[i] = keep + step;
                const double above = objective(st, values, s, g, out, count);
                values[i] = keep - step;
                const double slope = (above - objective(st, values, s, g, out, count)) / (2 * (double)step);
                values[i] = keep;
                assert_true(fabs((double)d_values[i] - slope) < 2e-3 * largest_value + 1e-4);
            }
            for (size_t i = 0; i < count; i += 1 + count / 9) {
                const float keep = s[i], step = 1e-3f;
                s[i] = keep + step;
                const double above = objective(st, values, s, g, out, count);
                s[i] = keep - step;
                const double slope = (above - objective(st, values, s, g, out, count)) / (2 * (double)step);
                s[i] = keep;
                assert_true(fabs((double)d_s[i] - slope) < 5e-3 * largest_s + 1e-3);
            }
            dcam_attention_state_destroy(st);
            free(values);
            free(d_values);
        }
        free(s);
        free(g);
        free(out);
        free(d_s);
    }
}

static void none_is_the_identity(void **state)
{
    (void)state;
    static float s[COUNT], out[COUNT], d_s[COUNT];
    dcam_attention_state *st;
    formula_fill(3, 2.0f, 0.5f, s, COUNT);
    assert_int_equal(dcam_attention_value_count(DCAM_ATTENTION_NONE, C), 0);
    assert_int_equal(dcam_attention_state_create(DCAM_ATTENTION_NONE, B, H, W, C, &st), DCAM_OK);
    dcam_attention_forward(st, NULL, s, B, out);
    assert_memory_equal(out, s, sizeof s);
    memcpy(d_s, s, sizeof s);
    dcam_attention_backward(st, NULL, s, B, s, true, d_s, NULL);
    for (int i = 0; i < COUNT; i++) assert_true(d_s[i] == 2 * s[i]);
    dcam_attention_state_destroy(st);
}

static void in_place_and_threads(void **state)
{
    (void)state;
    static float s[COUNT], out[COUNT], once[COUNT], d_one[COUNT], d_two[COUNT];
    static float values[VALUES], one_values[VALUES], two_values[VALUES];
    for (int k = 0; k < 3; k++) {
        dcam_attention_state *st;
        dcam_random r = dcam_random_make(1, 2);
        formula_fill(3, 2.0f, 0.5f, s, COUNT);
        dcam_attention_init(kinds[k], C, &r, values);
        assert_int_equal(dcam_attention_state_create(kinds[k], B, H, W, C, &st), DCAM_OK);
        memset(d_one, 0, sizeof d_one);
        memset(d_two, 0, sizeof d_two);
        memset(one_values, 0, sizeof one_values);
        memset(two_values, 0, sizeof two_values);
        dcam_set_threads(1);
        dcam_attention_forward(st, values, s, B, once);
        dcam_attention_backward(st, values, s, B, s, true, d_one, one_values);
        dcam_set_threads(2);
        dcam_attention_forward(st, values, s, B, out);
        dcam_attention_backward(st, values, s, B, s, true, d_two, two_values);
        assert_memory_equal(out, once, sizeof out);
        assert_memory_equal(d_one, d_two, sizeof d_one);
        assert_memory_equal(one_values, two_values, sizeof one_values);
        dcam_attention_forward(st, values, s, B, s);
        assert_memory_equal(out, s, sizeof out);
        dcam_attention_state_destroy(st);
    }
}

static void start_values(void **state)
{
    (void)state;
    enum { CHANNELS = 256, ALL = 2 * CHANNELS * CHANNELS / 8 + 98 };
    static float values[ALL];
    dcam_random r = dcam_random_make(9, 0);
    assert_int_equal(dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, CHANNELS), 16384);
    assert_int_equal(dcam_attention_value_count(DCAM_ATTENTION_CBAM, CHANNELS), ALL);
    dcam_attention_init(DCAM_ATTENTION_CBAM, CHANNELS, &r, values);
    const size_t ends[] = {8192, 16384, ALL}, fan_in[] = {256, 32, 98};
    for (size_t k = 0, i = 0; k < 3; k++) {
        const double bound = 1 / sqrt((double)fan_in[k]);
        double largest = 0;
        for (; i < ends[k]; i++) largest = fmax(largest, fabs((double)values[i]));
        assert_true(largest <= bound && largest > 0.9 * bound);
    }
}

static void memory_failures(void **state)
{
    (void)state;
    dcam_attention_state *st = NULL;
    EVERY_ALLOCATION(a, dcam_attention_state_create(DCAM_ATTENTION_CBAM, 2, 3, 4, 8, &st)) {
        assert_true(a.passed ? a.n > 20 : st == NULL);
        dcam_attention_state_destroy(st);
        st = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorch),
        cmocka_unit_test(pytorch_with_ties_and_zeros),
        cmocka_unit_test(odd_shapes_by_differences),
        cmocka_unit_test(none_is_the_identity),
        cmocka_unit_test(in_place_and_threads),
        cmocka_unit_test(start_values),
        cmocka_unit_test(memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
