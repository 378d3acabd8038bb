/* test_train_bf16.c - training in bf16, either way. With bf16 maps (AMX): against PyTorch with the same rounding
 * (tests/golden/make_net_bf16.py) and against f32. With products of bf16 factors on the way back: against f32. Skipped
 * where a processor has neither, but for the line that says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/parallel.h"
#include "net/train_case.h"
#include "nn/nn.h"
#include "weights/tensors.h"

#define HEIGHT 64
#define WIDTH 96
#define BATCH 4
#define SAMPLES 1000
#define BF16_PRODUCTS 0.044 /* cosine above 0.999 */
/* PyTorch's own twice rounded step, its weights disturbed by 1e-8, is off from itself by 0.0016, 0.0071, 0.0125 in the
 * features and 0.08 to 0.15 in the gradients: which way a value is rounded, and then which ReLU is open, is chance. */
#define GRADIENT_FROM_PYTORCH 0.25
#define GRADIENT_FROM_F32 0.35
static const double features_from_pytorch[DCAM_STAGES] = {0.004, 0.014, 0.025}, features_from_f32[DCAM_STAGES] = {0.015, 0.03, 0.05};

static void must_repeat(fixture *f)
{
    float *first;
    const size_t count = f->weights->trainable_count;
    OK(dcam_alloc(count, sizeof(float), &first));
    memcpy(first, f->gradients, count * sizeof(float));
    both_passes(f, BATCH);
    assert_memory_equal(first, f->gradients, count * sizeof(float));
    dcam_free(first);
}

/* Worst L2 difference of a convolution's gradient. */
static double worst_gradient(const fixture *rough, const fixture *exact)
{
    double worst = 0;
    for (int i = 0; i < exact->weights->convolution_count; i++) {
        const size_t at = (size_t)(exact->weights->convolutions[i].weight - exact->weights->values);
        const size_t count = exact->weights->shapes[i].weight_count;
        worst = fmax(worst, difference(rough->gradients + at, exact->gradients + at, count));
    }
    return worst;
}

/* The same weights, images and gradients in f32 and in bf16, through both passes. */
static void run_both(fixture *exact, fixture *rough)
{
    open_net(exact, BATCH, HEIGHT, WIDTH, 0);
    open_net_in(rough, BATCH, HEIGHT, WIDTH, 0, DCAM_NET_BF16);
    fill(exact, 1, BATCH);
    fill(rough, 1, BATCH);
    both_passes(exact, BATCH);
    both_passes(rough, BATCH);
}

/* The features are f32's own bits: were the forward pass rounded, other ReLUs would be open. */
static void test_products(void **state)
{
    (void)state;
    fixture exact, rough;
    if (!dcam_nn_bf16_products()) skip();
    run_both(&exact, &rough);
    const double worst = worst_gradient(&rough, &exact);
    for (int k = 0; k < DCAM_STAGES; k++)
        assert_memory_equal(rough.features[k], exact.features[k], BATCH * exact.counts[k] * sizeof(float));
    print_message("bf16 products, worst gradient of a convolution: L2 %.2e\n", worst);
    assert_true(worst > 1e-4 && worst < BF16_PRODUCTS);
    must_repeat(&rough);
    close_net(&exact);
    close_net(&rough);
}

/* L2 difference of samples of `got` from `want`. */
static double sample_difference(const float *got, size_t count, const double *want, size_t samples)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < samples; i++) {
        const double d = (double)got[i * UINT64_C(2654435761) % count] - want[i];
        sum += d * d;
        square += want[i] * want[i];
    }
    return sqrt(sum / square);
}

static double golden_gradient(const fixture *f, int convolution, const char *part, const float *value, size_t count)
{
    const size_t samples = count < SAMPLES ? count : SAMPLES;
    char key[96];
    snprintf(key, sizeof key, "bf16.%d.%s", convolution, part);
    double *want = golden_read("net_bf16.bin", key, samples + 1);
    const double error = sample_difference(f->gradients + (value - f->weights->values), count, want + 1, samples);
    free(want);
    return error;
}

static double golden_features(const fixture *f, int stage)
{
    char key[96];
    snprintf(key, sizeof key, "bf16.%d.features", stage);
    double *want = golden_read("net_bf16.bin", key, SAMPLES);
    const double error = sample_difference(f->features[stage], BATCH * f->counts[stage], want, SAMPLES);
    free(want);
    return error;
}

static void test_maps(void **state)
{
    (void)state;
    fixture exact, rough;
    if (!dcam_nn_bf16_maps()) skip();
    run_both(&exact, &rough);
    for (int k = 0; k < DCAM_STAGES; k++) {
        const double golden = golden_features(&rough, k);
        const double f32 = difference(rough.features[k], exact.features[k], BATCH * exact.counts[k]);
        print_message("features %d: L2 from PyTorch, rounded alike, %.2e; from f32 %.2e\n", k, golden, f32);
        assert_true(golden < features_from_pytorch[k] && f32 < features_from_f32[k] && f32 > 1e-3);
    }
    for (int i = 0; i < rough.weights->convolution_count; i++) {
        const dcam_convolution_shape *s = &rough.weights->shapes[i];
        const dcam_convolution_weights *c = &rough.weights->convolutions[i];
        const size_t at = (size_t)(exact.weights->convolutions[i].weight - exact.weights->values);
        const double golden[] = {golden_gradient(&rough, i, "weight", c->weight, s->weight_count),
                                 golden_gradient(&rough, i, "gamma", c->gamma, (size_t)s->out_channels),
                                 golden_gradient(&rough, i, "beta", c->beta, (size_t)s->out_channels)};
        const double f32 = difference(rough.gradients + at, exact.gradients + at, s->weight_count);
        print_message("%s: gradient from PyTorch %.2e, gamma %.2e, beta %.2e; from f32 %.2e\n", s->name, golden[0], golden[1],
                      golden[2], f32);
        for (int k = 0; k < 3; k++) assert_true(golden[k] < GRADIENT_FROM_PYTORCH);
        assert_true(f32 < GRADIENT_FROM_F32 && f32 > 1e-3);
    }
    must_repeat(&rough);
    close_net(&exact);
    close_net(&rough);
}

/* The statement of memory is what is held, half of f32's nearly, and a step allocates nothing. */
static void test_memory(void **state)
{
    (void)state;
    const dcam_train_net_options options = {HEIGHT, WIDTH, BATCH, DCAM_NET_BF16, 0, false};
    dcam_train_net_options f32 = options;
    size_t planned, planned_f32;
    fixture f;
    if (!dcam_nn_bf16_maps()) skip();
    f32.precision = DCAM_NET_F32;
    OK(dcam_train_net_plan(dcam_architecture_find(NULL), &options, &planned));
    OK(dcam_train_net_plan(dcam_architecture_find(NULL), &f32, &planned_f32));
    open_net_in(&f, BATCH, HEIGHT, WIDTH, 0, DCAM_NET_BF16);
    assert_int_equal(dcam_train_net_bytes(f.net), planned);
    print_message("bf16 %zu bytes, f32 %zu\n", planned, planned_f32);
    fill(&f, 3, BATCH);
    both_passes(&f, BATCH);
    const size_t now = dcam_memory_held();
    dcam_memory_reset_peak();
    both_passes(&f, BATCH);
    assert_int_equal(dcam_memory_peak(), now);
    close_net(&f);
}

/* Without the copies in f32 on their way in and out: the same features, and gradients of the same bits. */
static void test_raw(void **state)
{
    (void)state;
    fixture plain, raw;
    if (!dcam_nn_bf16_maps()) skip();
    assert_true(dcam_train_net_raw_here(DCAM_NET_BF16) && !dcam_train_net_raw_here(DCAM_NET_F32));
    open_net_in(&plain, BATCH, HEIGHT, WIDTH, 0, DCAM_NET_BF16);
    open_net_in(&raw, BATCH, HEIGHT, WIDTH, 0, DCAM_NET_BF16);
    dcam_train_net_destroy(raw.net);
    const dcam_train_net_options options = {HEIGHT, WIDTH, BATCH, DCAM_NET_BF16, 0, true};
    OK(dcam_train_net_create(raw.weights, &options, &raw.net));
    size_t planned;
    OK(dcam_train_net_plan(dcam_architecture_find(NULL), &options, &planned));
    assert_int_equal(dcam_train_net_bytes(raw.net), planned);
    for (int n = BATCH; n >= BATCH - 1; n--) { /* a smaller batch has a plan of its own */
        fill(&plain, 5, n);
        fill(&raw, 5, n);
        both_passes(&plain, n);
        OK(dcam_train_net_forward(raw.net, raw.input, n, NULL));
        for (int k = 0; k < DCAM_STAGES; k++) {
            const dcam_raw_features at = dcam_train_net_raw(raw.net, k);
            for (size_t i = 0; i < (size_t)n * raw.counts[k]; i++) {
                assert_true(dcam_f32_from_bf16(at.map[i]) == plain.features[k][i]);
                at.gradient[i] = dcam_bf16_from_f32(raw.d_features[k][i]);
            }
        }
        OK(dcam_train_net_backward(raw.net, NULL, raw.gradients));
        assert_memory_equal(raw.gradients, plain.gradients, plain.weights->trainable_count * sizeof(float));
    }
    close_net(&plain);
    close_net(&raw);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    if (!dcam_nn_bf16_maps()) skip();
    const dcam_train_net_options options = {HEIGHT, WIDTH, BATCH, DCAM_NET_BF16, 0, true};
    fixture f;
    open_net_in(&f, BATCH, HEIGHT, WIDTH, 0, DCAM_NET_BF16);
    SOME_ALLOCATIONS(a, 9, create_and_run(&f, &options)) {}
    close_net(&f);
}

static void test_refused(void **state)
{
    (void)state;
    const dcam_train_net_options options = {HEIGHT, WIDTH, BATCH, DCAM_NET_BF16, 0, false};
    dcam_trunk_weights *w;
    dcam_train_net *net = NULL;
    OK(dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &w));
    dcam_nn_limit_isa(DCAM_NN_ISA_AVX512);
    assert_int_equal(dcam_train_net_create(w, &options, &net), DCAM_ERROR_DEVICE);
    assert_null(net);
    dcam_nn_limit_isa(DCAM_NN_ISA_MOST);
    const dcam_train_net_options raw_f32 = {HEIGHT, WIDTH, BATCH, DCAM_NET_F32, 0, true};
    assert_int_equal(dcam_train_net_create(w, &raw_f32, &net), DCAM_ERROR_INTERNAL);
    assert_null(net);
    dcam_trunk_weights_destroy(w);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_raw),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
