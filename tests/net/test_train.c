/* test_train.c - the trunk in training: gradient of every weight and the running statistics against PyTorch in double
 * (tests/golden/make_net.py), smaller batches, the same bits again, threads, the plan, NaN that stays, and what a wrong call
 * gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "net/train_case.h"

#define GRADIENT_SAMPLES 100
#define STATISTICS_SAMPLES 16

static double loss_of(const fixture *f, int n)
{
    double loss = 0;
    for (int k = 0; k < DCAM_STAGES; k++)
        for (size_t i = 0; i < (size_t)n * f->counts[k]; i++)
            loss += (double)f->features[k][i] * (double)f->d_features[k][i];
    return loss;
}

static double norm_of(const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

/* Relative error of one gradient: its norm, and its samples relative to their norm. */
static double gradient_error(const fixture *f, const char *name, int convolution, const char *part, const float *value,
                             size_t count)
{
    const size_t samples = count < GRADIENT_SAMPLES ? count : GRADIENT_SAMPLES;
    char key[96];
    double largest;
    snprintf(key, sizeof key, "%s.%d.%s", name, convolution, part);
    double *want = golden_read("net.bin", key, samples + 1);
    const float *got = f->gradients + (value - f->weights->values);
    const double error = case_error(got, count, want + 1, samples, &largest);
    const double norm = fabs(norm_of(got, count) / want[0] - 1);
    free(want);
    return error > norm ? error : norm;
}

static void check_statistics(const char *name, int convolution, const char *part, const float *value, size_t count)
{
    char key[96];
    double largest;
    snprintf(key, sizeof key, "%s.%d.%s", name, convolution, part);
    double *want = golden_read("net.bin", key, STATISTICS_SAMPLES);
    assert_true(case_error(value, count, want, STATISTICS_SAMPLES, &largest) < 1e-5);
    free(want);
}

static void check_gradients(const fixture *f, const char *name, const char *what)
{
    double worst = 0;
    for (int i = 0; i < f->weights->convolution_count; i++) {
        const dcam_convolution_shape *s = &f->weights->shapes[i];
        const dcam_convolution_weights *c = &f->weights->convolutions[i];
        const size_t channels = (size_t)s->out_channels;
        const double errors[] = {gradient_error(f, name, i, "weight", c->weight, s->weight_count),
                                 gradient_error(f, name, i, "gamma", c->gamma, channels),
                                 gradient_error(f, name, i, "beta", c->beta, channels)};
        for (int k = 0; k < 3; k++) {
            if (errors[k] > worst) worst = errors[k];
            if (!(errors[k] < 1e-4)) print_message("%s, part %d: %.2e\n", s->name, k, errors[k]);
            assert_true(errors[k] < 1e-4);
        }
        check_statistics(name, i, "mean", c->running_mean, channels);
        check_statistics(name, i, "variance", c->running_variance, channels);
    }
    print_message("%s %s: worst relative error of a gradient %.2e\n", name, what, worst);
}

static void check_case(int n, int height, int width)
{
    char name[64], key[96];
    snprintf(name, sizeof name, "gradient.%dx%dx%d", n, height, width);
    snprintf(key, sizeof key, "%s.seed_and_loss", name);
    double *seed_and_loss = golden_read("net.bin", key, 2);
    for (int exact = 0; exact < 2; exact++) {
        fixture f;
        open_net(&f, n, height, width, exact);
        fill(&f, (uint32_t)seed_and_loss[0], n);
        both_passes(&f, n);
        assert_true(fabs(loss_of(&f, n) / seed_and_loss[1] - 1) < 1e-4);
        check_gradients(&f, name, exact ? "direct" : "fast");
        close_net(&f);
    }
    free(seed_and_loss);
}

static void test_gradient_2x64x64(void **state)
{
    (void)state;
    check_case(2, 64, 64);
}

static void test_gradient_3x64x96(void **state)
{
    (void)state;
    check_case(3, 64, 96);
}

/* A smaller batch in a larger network is that batch; and the larger one is as before afterwards. */
static void test_smaller_batches(void **state)
{
    (void)state;
    double *seed_and_loss = golden_read("net.bin", "gradient.2x64x64.seed_and_loss", 2);
    fixture f;
    open_net(&f, 5, 64, 64, 0);
    for (int n = 5; n >= 1; n--) {
        fill(&f, 7, n);
        both_passes(&f, n);
    }
    case_weights(f.weights);
    fill(&f, (uint32_t)seed_and_loss[0], 2);
    both_passes(&f, 2);
    check_gradients(&f, "gradient.2x64x64", "in a network of five");
    case_weights(f.weights);
    fill(&f, 7, 5);
    both_passes(&f, 5);
    float *first;
    const size_t count = f.weights->trainable_count;
    OK(dcam_alloc(count, sizeof *first, &first));
    memcpy(first, f.gradients, count * sizeof *first);
    fill(&f, 8, 1);
    both_passes(&f, 1);
    case_weights(f.weights);
    fill(&f, 7, 5);
    both_passes(&f, 5);
    assert_memory_equal(first, f.gradients, count * sizeof *first);
    dcam_free(first);
    free(seed_and_loss);
    close_net(&f);
}

/* The statement of memory is what is held, and a step allocates nothing. */
static void test_memory(void **state)
{
    (void)state;
    const dcam_train_net_options options = {64, 96, 4, DCAM_NET_F32, 0, false};
    const dcam_architecture *a = dcam_architecture_find(NULL);
    size_t planned;
    OK(dcam_train_net_plan(a, &options, &planned));
    const size_t before = dcam_memory_held();
    fixture f;
    open_net(&f, 4, 64, 96, 0);
    assert_int_equal(dcam_train_net_bytes(f.net), planned);
    const size_t others = f.weights->value_count * sizeof(float) + f.weights->trainable_count * sizeof(float) +
                          4 * (3 * 64 * 96 + 2 * (f.counts[0] + f.counts[1] + f.counts[2])) * sizeof(float);
    const size_t held = dcam_memory_held() - before;
    print_message("planned %zu, held %zu\n", planned, held - others);
    /* The list of steps and the plan are not counted. */
    assert_true(held - others >= planned && held - others < planned + (1u << 20));
    fill(&f, 3, 4);
    both_passes(&f, 4);
    const size_t now = dcam_memory_held();
    dcam_memory_reset_peak();
    both_passes(&f, 4);
    assert_int_equal(dcam_memory_peak(), now);
    close_net(&f);
    assert_int_equal(dcam_memory_held(), before);
}

static void test_threads_of_the_caller_do_not_matter(void **state)
{
    (void)state;
    fixture f;
    open_net(&f, 2, 64, 64, 0);
    fill(&f, 5, 2);
    both_passes(&f, 2);
    float *first;
    const size_t count = f.weights->trainable_count;
    OK(dcam_alloc(count, sizeof *first, &first));
    memcpy(first, f.gradients, count * sizeof *first);
    case_weights(f.weights);
    dcam_set_threads(1);
    both_passes(&f, 2);
    assert_int_equal(dcam_threads(), 1);
    dcam_set_threads(2);
    assert_memory_equal(first, f.gradients, count * sizeof *first);
    dcam_free(first);
    close_net(&f);
}

/* Wherever it comes from, it must reach the last map, so that the loss tells of it. */
static void test_nan_stays(void **state)
{
    (void)state;
    fixture f;
    open_net(&f, 2, 32, 32, 0);
    fill(&f, 1, 2);
    for (int i = 0; i < f.weights->convolution_count; i++) {
        float *weight = f.weights->convolutions[i].weight, sound = *weight;
        size_t nans = 0;
        *weight = NAN;
        OK(dcam_train_net_forward(f.net, f.input, 2, f.features));
        for (size_t k = 0; k < 2 * f.counts[DCAM_STAGES - 1]; k++) nans += isnan(f.features[DCAM_STAGES - 1][k]) != 0;
        if (nans == 0) fail_msg("%s has a NaN, the last map has none", f.weights->shapes[i].name);
        *weight = sound;
    }
    close_net(&f);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    fixture f;
    dcam_train_net *net = NULL;
    open_net(&f, 2, 32, 32, 0);
    assert_int_equal(dcam_train_net_backward(f.net, (const float *const *)f.d_features, f.gradients), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_train_net_forward(f.net, f.input, 0, f.features), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_train_net_forward(f.net, f.input, 3, f.features), DCAM_ERROR_INTERNAL);
    dcam_trunk_weights *folded;
    OK(dcam_trunk_weights_fold(f.weights, &folded));
    const dcam_train_net_options right = {32, 32, 2, DCAM_NET_F32, 0, false}, wrong = {32, 48, 2, DCAM_NET_F32, 0, false};
    assert_int_equal(dcam_train_net_create(folded, &right, &net), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_train_net_create(f.weights, &wrong, &net), DCAM_ERROR_USAGE);
    assert_null(net);
    dcam_trunk_weights_destroy(folded);
    close_net(&f);
}

/* Each allocation fails in turn: an error, nothing lost, nothing made. */
static void test_out_of_memory(void **state)
{
    (void)state;
    fixture f;
    open_net(&f, 2, 32, 32, 0);
    const dcam_train_net_options options = {32, 32, 2, DCAM_NET_F32, 0, false};
    dcam_train_net *net = NULL;
    EVERY_ALLOCATION(a, dcam_train_net_create(f.weights, &options, &net)) {
        assert_true(a.passed ? a.n > 20 : net == NULL);
        dcam_train_net_destroy(net);
        net = NULL;
    }
    SOME_ALLOCATIONS(a, 9, create_and_run(&f, &options)) {}
    close_net(&f);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_2x64x64),
        cmocka_unit_test(test_gradient_3x64x96),
        cmocka_unit_test(test_smaller_batches),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_threads_of_the_caller_do_not_matter),
        cmocka_unit_test(test_nan_stays),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
