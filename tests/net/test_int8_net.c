/* test_int8_net.c - the int8 trunk against the f32 one on the same images (its single convolutions have an exact
 * reference in nn/test_int8), the measuring of ranges, and what a wrong call gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "net/infer.h"
#include "net/net_case.h"
#include "net/ranges.h"
#include "net/resnet.h"
#include "nn/nn.h"

#define OK(call) assert_int_equal((call), DCAM_OK)

enum { HEIGHT = 64, WIDTH = 96, BATCH = 5 };

typedef struct {
    dcam_trunk_weights *weights;
    float *input, *exact[DCAM_STAGES], *features[DCAM_STAGES];
    size_t counts[DCAM_STAGES]; /* values of one image */
    float ranges[DCAM_MAX_CONVOLUTIONS];
} fixture;

static dcam_net *make_raw_net(const fixture *f, dcam_net_precision precision, int raw)
{
    const dcam_net_options options = {HEIGHT, WIDTH, BATCH, precision, 0, raw, f->ranges};
    dcam_net *net;
    OK(dcam_net_create(f->weights, &options, &net));
    return net;
}

static dcam_net *make_net(const fixture *f, dcam_net_precision precision) { return make_raw_net(f, precision, 0); }

/* Images with structure at several scales: drawn pixels alone look like one flat grey to the deeper layers. */
static void draw_images(float *input)
{
    for (int n = 0; n < BATCH; n++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < HEIGHT; y++)
                for (int x = 0; x < WIDTH; x++)
                    input[((n * 3 + c) * HEIGHT + y) * WIDTH + x] =
                        (float)(1.2 * sin(0.11 * x * (n + 1) + c) + 0.8 * cos(0.23 * y - 0.05 * x * c) +
                                ((x / 13 + y / 7) % 2 ? 0.5 : -0.5));
}

static void open_fixture(fixture *f, dcam_range_rule rule)
{
    const dcam_architecture *a = dcam_architecture_find(NULL);
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, HEIGHT, WIDTH);
    dcam_range_meter *meter;
    memset(f, 0, sizeof *f);
    OK(dcam_trunk_weights_random_teacher(a, 1, &f->weights));
    OK(dcam_alloc(BATCH * 3 * HEIGHT * WIDTH, sizeof(float), &f->input));
    draw_images(f->input);
    for (int k = 0; k < DCAM_STAGES; k++) {
        f->counts[k] = (size_t)(shapes.channels[k] * shapes.height[k] * shapes.width[k]);
        OK(dcam_alloc_zero(BATCH * f->counts[k], sizeof(float), &f->exact[k]));
        OK(dcam_alloc_zero(BATCH * f->counts[k], sizeof(float), &f->features[k]));
    }
    dcam_net *net = make_net(f, DCAM_NET_F32);
    OK(dcam_range_meter_create(f->weights->convolution_count, &meter));
    OK(dcam_net_observe(net, f->input, BATCH, f->exact, dcam_range_meter_see, meter));
    for (int i = 0; i < f->weights->convolution_count; i++) f->ranges[i] = dcam_range_meter_result(meter, i, rule);
    dcam_range_meter_destroy(meter);
    dcam_net_destroy(net);
}

static void close_fixture(fixture *f)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_free(f->exact[k]);
        dcam_free(f->features[k]);
    }
    dcam_free(f->input);
    dcam_trunk_weights_destroy(f->weights);
}

/* Relative in the L2 norm. */
static double error_of(const float *got, const float *want, size_t count)
{
    double difference = 0, square = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = (double)got[i] - (double)want[i];
        difference += d * d;
        square += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / square);
}

static void test_features(void **state)
{
    (void)state;
    /* Rounding errors of a convolution behind another add up; weights of 64 steps have twice the error of 127. */
    static const double bounds[DCAM_STAGES] = {0.05, 0.09, 0.13};
    for (int rule = DCAM_RANGE_LEAST_ERROR; rule <= DCAM_RANGE_LARGEST; rule++) {
        fixture f;
        open_fixture(&f, (dcam_range_rule)rule);
        dcam_net *net = make_net(&f, DCAM_NET_INT8);
        OK(dcam_net_run(net, f.input, BATCH, f.features));
        for (int k = 0; k < DCAM_STAGES; k++) {
            const double error = error_of(f.features[k], f.exact[k], BATCH * f.counts[k]);
            print_message("rule %d, layer%d: L2 %.4f\n", rule, k + 1, error);
            assert_true(error < bounds[k]);
        }
        /* Each image alone: the f32 stem may sum in another order, which moves a byte now and then. */
        for (int i = 0; i < BATCH; i++) {
            float *alone[DCAM_STAGES];
            for (int k = 0; k < DCAM_STAGES; k++) OK(dcam_alloc(f.counts[k], sizeof(float), &alone[k]));
            OK(dcam_net_run(net, f.input + (size_t)i * 3 * HEIGHT * WIDTH, 1, alone));
            for (int k = 0; k < DCAM_STAGES; k++) {
                assert_true(error_of(alone[k], f.features[k] + (size_t)i * f.counts[k], f.counts[k]) < 1e-3);
                dcam_free(alone[k]);
            }
        }
        dcam_net_destroy(net);
        close_fixture(&f);
    }
}

/* What is observed is what the ranges are about: the last result of a stage is its tap, bit by bit its maximum. */
static void test_observed(void **state)
{
    (void)state;
    static const int last[DCAM_STAGES] = {4, 9, 14}; /* the second convolution of the second block in the table */
    fixture f;
    open_fixture(&f, DCAM_RANGE_LARGEST);
    for (int k = 0; k < DCAM_STAGES; k++) {
        const char *name = f.weights->shapes[last[k]].name;
        float largest = 0;
        assert_non_null(strstr(name, "1.conv2"));
        for (size_t i = 0; i < BATCH * f.counts[k]; i++) largest = fmaxf(largest, f.exact[k][i]);
        assert_true(f.ranges[last[k]] == largest);
    }
    for (int i = 0; i < f.weights->convolution_count; i++) assert_true(f.ranges[i] > 0.01f);
    close_fixture(&f);
}

static void test_rules(void **state)
{
    (void)state;
    enum { COUNT = 2000000 };
    float *values;
    dcam_range_meter *meter;
    OK(dcam_range_meter_create(4, &meter));
    /* Nothing seen, or nothing but zeros: the least range. */
    assert_true(dcam_range_meter_result(meter, 0, DCAM_RANGE_LARGEST) == DCAM_LEAST_RANGE);
    assert_true(dcam_range_meter_result(meter, 0, DCAM_RANGE_LEAST_ERROR) == DCAM_LEAST_RANGE);
    OK(dcam_alloc_zero(COUNT, sizeof(float), &values));
    dcam_range_meter_see(meter, 0, values, COUNT);
    assert_true(dcam_range_meter_result(meter, 0, DCAM_RANGE_LEAST_ERROR) == DCAM_LEAST_RANGE);
    /* Evenly up to 1, with signs: nothing is gained by cutting. */
    for (int i = 0; i < COUNT; i++) values[i] = (i % 2 ? 1.0f : -1.0f) * (float)i / COUNT;
    values[7] = NAN;
    values[8] = INFINITY;
    dcam_range_meter_see(meter, 0, values, COUNT);
    assert_true(dcam_range_meter_result(meter, 0, DCAM_RANGE_LEAST_ERROR) > 0.97f);
    /* One value far out: the largest rule follows it, the other does not. */
    values[7] = values[8] = 0;
    values[9] = -3;
    dcam_range_meter_see(meter, 1, values, COUNT);
    assert_true(dcam_range_meter_result(meter, 1, DCAM_RANGE_LARGEST) == 3);
    assert_true(dcam_range_meter_result(meter, 1, DCAM_RANGE_LEAST_ERROR) < 1.5f);
    values[9] = 3e38f;
    dcam_range_meter_see(meter, 1, values, COUNT);
    assert_true(dcam_range_meter_result(meter, 1, DCAM_RANGE_LARGEST) == DCAM_LARGEST_RANGE);
    /* The same magnitudes with signs have half the steps: more is gained by cutting. */
    for (int i = 0; i < COUNT; i++) values[i] = -logf(((float)i + 0.5f) / COUNT);
    dcam_range_meter_see(meter, 2, values, COUNT);
    for (int i = 0; i < COUNT; i += 2) values[i] = -values[i];
    dcam_range_meter_see(meter, 3, values, COUNT);
    const float with_sign = dcam_range_meter_result(meter, 3, DCAM_RANGE_LEAST_ERROR);
    assert_true(with_sign > 4 && with_sign < 0.95f * dcam_range_meter_result(meter, 2, DCAM_RANGE_LEAST_ERROR));
    dcam_range_meter_destroy(meter);
    dcam_range_meter_destroy(NULL);
    dcam_free(values);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    fixture f;
    dcam_net *net = NULL;
    open_fixture(&f, DCAM_RANGE_LARGEST);
    const dcam_net_options without = {HEIGHT, WIDTH, 1, DCAM_NET_INT8, 0, 0, NULL};
    assert_int_equal(dcam_net_create(f.weights, &without, &net), DCAM_ERROR_INTERNAL);
    assert_null(net);
    net = make_net(&f, DCAM_NET_INT8);
    assert_int_equal(dcam_net_observe(net, f.input, 1, f.features, dcam_range_meter_see, NULL), DCAM_ERROR_INTERNAL);
    dcam_net_destroy(net);
    close_fixture(&f);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, DCAM_RANGE_LARGEST);
    const dcam_net_options options = {32, 32, 1, DCAM_NET_INT8, 0, 0, f.ranges};
    dcam_net *net = NULL;
    EVERY_ALLOCATION(a, dcam_net_create(f.weights, &options, &net)) {
        assert_true(a.passed ? a.n > 60 : net == NULL);
        dcam_net_destroy(net);
        net = NULL;
    }
    dcam_range_meter *meter = NULL;
    EVERY_ALLOCATION(a, dcam_range_meter_create(20, &meter)) {
        assert_true(a.passed == (meter != NULL));
        dcam_range_meter_destroy(meter);
        meter = NULL;
    }
    close_fixture(&f);
}

/* Raw features, turned into f32, are the bits that a network gives that makes f32 of them itself. */
static void test_raw_features(void **state)
{
    (void)state;
    static const dcam_net_precision precisions[] = {DCAM_NET_F32, DCAM_NET_BF16, DCAM_NET_INT8};
    fixture f;
    open_fixture(&f, DCAM_RANGE_LARGEST);
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        if (precisions[i] == DCAM_NET_BF16 && !dcam_nn_fast_bf16()) continue;
        dcam_net *plain = make_net(&f, precisions[i]), *raw = make_raw_net(&f, precisions[i], 1);
        const dcam_taps taps = dcam_net_taps(raw);
        void *found[DCAM_STAGES];
        if (precisions[i] == DCAM_NET_INT8) assert_true(taps.type == DCAM_TAP_U8 || taps.type == DCAM_TAP_F32);
        assert_int_equal(dcam_net_taps(plain).type, DCAM_TAP_F32);
        for (int k = 0; k < DCAM_STAGES; k++) OK(dcam_alloc(BATCH * f.counts[k], dcam_tap_bytes(taps.type), &found[k]));
        OK(dcam_net_run(plain, f.input, BATCH, f.features));
        OK(dcam_net_run_both(raw, raw, f.input, BATCH, found, found));
        for (int k = 0; k < DCAM_STAGES; k++) {
            float *values;
            OK(dcam_alloc(BATCH * f.counts[k], sizeof(float), &values));
            dcam_tap_values(&taps, k, found[k], BATCH * f.counts[k], values);
            assert_memory_equal(values, f.features[k], BATCH * f.counts[k] * sizeof(float));
            dcam_free(values);
        }
        if (taps.type != DCAM_TAP_F32) assert_int_equal(dcam_net_run(raw, f.input, BATCH, f.features), DCAM_ERROR_INTERNAL);
        for (int k = 0; k < DCAM_STAGES; k++) dcam_free(found[k]);
        dcam_net_destroy(plain);
        dcam_net_destroy(raw);
    }
    close_fixture(&f);
}

/* Borrowers are made in several threads, beside a lender at work: they, and a later part of the lender, write nothing that
 * they share. A number put into the lender's bias would be written over. */
static void test_borrowers_only_read(void **state)
{
    (void)state;
    enum { CONVOLUTION = 1 };
    fixture f;
    open_fixture(&f, DCAM_RANGE_LEAST_ERROR);
    dcam_net *net = make_net(&f, DCAM_NET_INT8), *borrower;
    float *const bias = (float *)(uintptr_t)net_quantised_bias(net->quantised, CONVOLUTION);
    bias[0] = 12345.0f;
    OK(dcam_net_create_borrowing(net, 2, &borrower));
    assert_true(bias[0] == 12345.0f);
    OK(dcam_net_run(net, f.input, 1, f.features)); /* a part for one image: it was made for four */
    assert_true(bias[0] == 12345.0f);
    dcam_net_destroy(borrower);
    dcam_net_destroy(net);
    close_fixture(&f);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features), cmocka_unit_test(test_observed),      cmocka_unit_test(test_rules),
        cmocka_unit_test(test_wrong_calls), cmocka_unit_test(test_raw_features), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_borrowers_only_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
