/* test_infer.c - feature maps against PyTorch (tests/golden/make_net.py) at three sizes, alone and in batches, folded
 * and not, direct and Winograd; against the published values of the real teacher; and what a wrong call gets. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "net/net_case.h"
#include "net/resnet.h"
#include "nn/nn.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define FEATURE_SAMPLES 300
/* Factors of bf16 are wrong by up to 2^-9, and Winograd makes four times as much of it as a direct sum. */
#define BF16_BOUND 2e-2

typedef struct {
    dcam_net *net;
    float *input, *features[DCAM_STAGES];
    size_t counts[DCAM_STAGES]; /* values of one image */
} fixture;

static void open_net(fixture *f, const dcam_trunk_weights *w, int height, int width, int batch,
                     dcam_net_precision precision, int exact)
{
    const dcam_net_options options = {height, width, batch, precision, exact, 0, NULL};
    size_t input = (size_t)batch * 3 * (size_t)(height * width);
    dcam_feature_shapes shapes = dcam_feature_shapes_at(w->architecture, height, width);
    OK(dcam_net_create(w, &options, &f->net));
    OK(dcam_alloc(input, sizeof(float), &f->input));
    formula_fill(1, 2, 0, f->input, input);
    for (int k = 0; k < DCAM_STAGES; k++) {
        f->counts[k] = (size_t)(shapes.channels[k] * shapes.height[k] * shapes.width[k]);
        OK(dcam_alloc_zero((size_t)batch * f->counts[k], sizeof(float), &f->features[k]));
    }
}

static void close_net(fixture *f)
{
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(f->features[k]);
    dcam_free(f->input);
    dcam_net_destroy(f->net);
}

static dcam_trunk_weights *formula_weights(bool folded)
{
    dcam_trunk_weights *w, *f;
    OK(dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &w));
    case_weights(w);
    if (!folded) return w;
    OK(dcam_trunk_weights_fold(w, &f));
    dcam_trunk_weights_destroy(w);
    return f;
}

/* Both errors of all stages: over the samples relative to the samples' norm, and the largest relative to the
 * largest value of the map. */
static void compare(const fixture *f, int height, int width, int n, double bound, const char *what)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        char name[64];
        double largest;
        snprintf(name, sizeof name, "features.%dx%d.%d.layer%d", height, width, n, k + 1);
        double *want = golden_read("net.bin", name, FEATURE_SAMPLES + 2);
        double l2 = case_error(f->features[k], (size_t)n * f->counts[k], want + 2, FEATURE_SAMPLES, &largest);
        double sum = 0;
        for (size_t i = 0; i < (size_t)n * f->counts[k]; i++)
            sum += (double)f->features[k][i] * (double)f->features[k][i];
        double rms = sqrt(sum / (double)((size_t)n * f->counts[k]));
        print_message("%s %s: L2 %.2e, maximum %.2e\n", name, what, l2, largest / want[0]);
        assert_true(l2 < bound);
        assert_true(largest / want[0] < bound);
        assert_true(fabs(rms / want[1] - 1) < bound);
        free(want);
    }
}

static void check_size(int height, int width)
{
    for (int exact = 0; exact < 2; exact++)
        for (int n = 1; n <= 8; n += 7) {
            fixture f;
            dcam_trunk_weights *w = formula_weights(exact);
            open_net(&f, w, height, width, n, DCAM_NET_F32, exact);
            dcam_trunk_weights_destroy(w);
            OK(dcam_net_run(f.net, f.input, n, f.features));
            compare(&f, height, width, n, 1e-5, exact ? "direct, folded" : "fast, not folded");
            close_net(&f);
        }
}

/* bf16 in the way that is fast here, and direct: the distance from PyTorch in double. */
static void test_bf16(void **state)
{
    (void)state;
    if (!dcam_nn_fast_bf16()) skip();
    for (int exact = 0; exact < 2; exact++) {
        fixture f;
        dcam_trunk_weights *w = formula_weights(false);
        open_net(&f, w, 256, 256, 1, DCAM_NET_BF16, exact);
        dcam_trunk_weights_destroy(w);
        OK(dcam_net_run(f.net, f.input, 1, f.features));
        compare(&f, 256, 256, 1, BF16_BOUND, exact ? "bf16, direct" : "bf16, fast");
        close_net(&f);
    }
}

static void test_256x256(void **state)
{
    (void)state;
    check_size(256, 256);
}

static void test_320x192(void **state)
{
    (void)state;
    check_size(320, 192);
}

static void test_512x512(void **state)
{
    (void)state;
    check_size(512, 512);
}

/* Every image of a call of any size is the image alone, and running again gives the same bits. */
static void test_every_count(void **state)
{
    (void)state;
    enum { BATCH = 13 };
    fixture f;
    dcam_trunk_weights *w = formula_weights(false);
    open_net(&f, w, 64, 96, BATCH, DCAM_NET_F32, 0);
    dcam_trunk_weights_destroy(w);
    float *alone[DCAM_STAGES], *again;
    for (int k = 0; k < DCAM_STAGES; k++) OK(dcam_alloc(BATCH * f.counts[k], sizeof(float), &alone[k]));
    for (int i = 0; i < BATCH; i++) {
        float *const to[DCAM_STAGES] = {alone[0] + (size_t)i * f.counts[0], alone[1] + (size_t)i * f.counts[1],
                                        alone[2] + (size_t)i * f.counts[2]};
        OK(dcam_net_run(f.net, f.input + (size_t)i * 3 * 64 * 96, 1, to));
    }
    for (int n = 1; n <= BATCH; n++) {
        memset(f.features[2], 0, BATCH * f.counts[2] * sizeof(float));
        OK(dcam_net_run(f.net, f.input, n, f.features));
        for (int k = 0; k < DCAM_STAGES; k++)
            for (size_t i = 0; i < (size_t)n * f.counts[k]; i++)
                assert_true(fabsf(f.features[k][i] - alone[k][i]) < 1e-4f);
    }
    OK(dcam_alloc(BATCH * f.counts[2], sizeof(float), &again));
    memcpy(again, f.features[2], BATCH * f.counts[2] * sizeof(float));
    size_t held = dcam_memory_held(), bytes = dcam_net_bytes(f.net);
    OK(dcam_net_run(f.net, f.input, BATCH, f.features));
    assert_memory_equal(again, f.features[2], BATCH * f.counts[2] * sizeof(float));
    assert_int_equal(dcam_memory_held(), held);
    assert_int_equal(dcam_net_bytes(f.net), bytes);
    dcam_free(again);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(alone[k]);
    close_net(&f);
}

static void test_threads_of_the_caller_do_not_matter(void **state)
{
    (void)state;
    fixture f;
    dcam_trunk_weights *w = formula_weights(false);
    open_net(&f, w, 64, 64, 1, DCAM_NET_F32, 0);
    dcam_trunk_weights_destroy(w);
    float *first;
    OK(dcam_net_run(f.net, f.input, 1, f.features));
    OK(dcam_alloc(f.counts[2], sizeof(float), &first));
    memcpy(first, f.features[2], f.counts[2] * sizeof(float));
    dcam_set_threads(1);
    OK(dcam_net_run(f.net, f.input, 1, f.features));
    assert_int_equal(dcam_threads(), 1);
    assert_memory_equal(first, f.features[2], f.counts[2] * sizeof(float));
    dcam_set_threads(2);
    dcam_free(first);
    close_net(&f);
}

/* Two networks, a thread each, give what each gives alone; so they do one after the other. */
static void test_both(void **state)
{
    (void)state;
    enum { BATCH = 3 };
    fixture a, b;
    float *alone[2][DCAM_STAGES];
    dcam_trunk_weights *w = formula_weights(false);
    dcam_set_threads(1);
    open_net(&a, w, 64, 96, BATCH, DCAM_NET_F32, 0);
    w->values[0] += 1;
    open_net(&b, w, 64, 96, BATCH, DCAM_NET_F32, 0);
    dcam_trunk_weights_destroy(w);
    for (int i = 0; i < 2; i++) {
        const fixture *f = i ? &b : &a;
        OK(dcam_net_run(f->net, a.input, BATCH, f->features));
        for (int k = 0; k < DCAM_STAGES; k++) {
            OK(dcam_alloc(BATCH * f->counts[k], sizeof(float), &alone[i][k]));
            memcpy(alone[i][k], f->features[k], BATCH * f->counts[k] * sizeof(float));
        }
    }
    void *const to_a[DCAM_STAGES] = {a.features[0], a.features[1], a.features[2]};
    void *const to_b[DCAM_STAGES] = {b.features[0], b.features[1], b.features[2]};
    assert_memory_not_equal(alone[0][0], alone[1][0], BATCH * a.counts[0] * sizeof(float));
    for (int threads = 1; threads <= 2; threads++) {
        dcam_set_threads(threads);
        for (int k = 0; k < DCAM_STAGES; k++) memset(a.features[k], 0, BATCH * a.counts[k] * sizeof(float));
        for (int k = 0; k < DCAM_STAGES; k++) memset(b.features[k], 0, BATCH * b.counts[k] * sizeof(float));
        OK(dcam_net_run_both(a.net, b.net, a.input, BATCH, to_a, to_b));
        assert_int_equal(dcam_threads(), threads);
        for (int k = 0; k < DCAM_STAGES; k++) {
            assert_memory_equal(a.features[k], alone[0][k], BATCH * a.counts[k] * sizeof(float));
            assert_memory_equal(b.features[k], alone[1][k], BATCH * b.counts[k] * sizeof(float));
        }
        assert_int_equal(dcam_net_run_both(a.net, b.net, a.input, BATCH + 1, to_a, to_b), DCAM_ERROR_INTERNAL);
    }
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_free(alone[0][k]);
        dcam_free(alone[1][k]);
    }
    close_net(&a);
    close_net(&b);
}

/* An operation that fails on one thread. */
static const char *failing; /* what it then says; NULL: none does */
static pthread_t spared;

dcam_status __real_dcam_nn_op_run(dcam_nn_op *op);
dcam_status __wrap_dcam_nn_op_run(dcam_nn_op *op);
dcam_status __wrap_dcam_nn_op_run(dcam_nn_op *op)
{
    if (failing && !pthread_equal(spared, pthread_self())) return dcam_fail(DCAM_ERROR_INTERNAL, "%s", failing);
    return __real_dcam_nn_op_run(op);
}

/* The second network runs on a thread of its own, which keeps its message; the caller gets it all the same. */
static void test_both_say_what_failed(void **state)
{
    (void)state;
    fixture a, b;
    dcam_trunk_weights *w = formula_weights(false);
    dcam_set_threads(1);
    open_net(&a, w, 32, 32, 1, DCAM_NET_F32, 0);
    open_net(&b, w, 32, 32, 1, DCAM_NET_F32, 0);
    dcam_trunk_weights_destroy(w);
    void *const to_a[DCAM_STAGES] = {a.features[0], a.features[1], a.features[2]};
    void *const to_b[DCAM_STAGES] = {b.features[0], b.features[1], b.features[2]};
    dcam_set_threads(2);
    spared = pthread_self();
    failing = "a primitive that oneDNN refuses";
    assert_int_equal(dcam_net_run_both(a.net, b.net, a.input, 1, to_a, to_b), DCAM_ERROR_INTERNAL);
    assert_string_equal(dcam_error_message(), failing);
    failing = NULL;
    OK(dcam_net_run_both(a.net, b.net, a.input, 1, to_a, to_b));
    close_net(&a);
    close_net(&b);
}

/* The table at the end of the weights' provenance note: a numpy forward pass, to 1e-4. */
static void test_real_teacher(void **state)
{
    (void)state;
    static const struct {
        double mean, max, first, inner, last;
    } want[DCAM_STAGES] = {{0.416117, 3.709383, 0.895820, 0.454746, 1.488954},
                           {0.160685, 4.690680, 0.218613, 0, 0},
                           {0.117003, 1.938185, 0.216768, 0.354781, 0.135345}};
    const char *path = DCAM_TEST_DATA "/resnet18-imagenet.safetensors";
    if (!dcam_path_exists(path)) {
        print_message("%s is not there\n", path);
        skip();
    }
    dcam_trunk_weights *w;
    char description[256];
    fixture f;
    OK(dcam_teacher_open(path, &w, description));
    open_net(&f, w, 256, 256, 1, DCAM_NET_F32, 0);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 256; y++)
            for (int x = 0; x < 256; x++)
                f.input[(c * 256 + y) * 256 + x] = (float)((c * 7919 + y * 31 + x * 17) % 255) / 127.5f - 1;
    OK(dcam_net_run(f.net, f.input, 1, f.features));
    for (int k = 0; k < DCAM_STAGES; k++) {
        size_t channels = (size_t)w->architecture->stage_channels[k], side = 64u >> k;
        double sum = 0, max = 0;
        for (size_t i = 0; i < f.counts[k]; i++) {
            sum += (double)f.features[k][i];
            if ((double)f.features[k][i] > max) max = (double)f.features[k][i];
        }
        assert_true(fabs(sum / (double)f.counts[k] - want[k].mean) < 1e-4);
        assert_true(fabs(max - want[k].max) < 1e-4);
        assert_true(fabs((double)f.features[k][0] - want[k].first) < 1e-4);
        assert_true(fabs((double)f.features[k][(7 * side + 9) * channels + 5] - want[k].inner) < 1e-4);
        assert_true(fabs((double)f.features[k][f.counts[k] - 1] - want[k].last) < 1e-4);
    }
    close_net(&f);
    dcam_trunk_weights_destroy(w);
}

static void test_wrong_options(void **state)
{
    (void)state;
    dcam_trunk_weights *w = formula_weights(true);
    dcam_net *net = NULL;
    static const dcam_net_options wrong[] = {{250, 256, 1, DCAM_NET_F32, 0, 0, NULL}, {256, 0, 1, DCAM_NET_F32, 0, 0, NULL},
                                             {256, -32, 1, DCAM_NET_F32, 0, 0, NULL}, {64, 64, 0, DCAM_NET_F32, 0, 0, NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(dcam_net_create(w, &wrong[i], &net), DCAM_ERROR_USAGE);
    const dcam_net_options huge = {1 << 20, 1 << 20, 1, DCAM_NET_F32, 0, 0, NULL};
    assert_int_equal(dcam_net_create(w, &huge, &net), DCAM_ERROR_DATA);
    assert_null(net);
    const dcam_net_options right = {64, 64, 2, DCAM_NET_F32, 0, 0, NULL};
    OK(dcam_net_create(w, &right, &net));
    assert_int_equal(dcam_net_run(net, NULL, 3, NULL), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_net_run(net, NULL, 0, NULL), DCAM_ERROR_INTERNAL);
    dcam_net_destroy(net);
    dcam_trunk_weights_destroy(w);
}

/* A second network with the weights of the first, and a batch smaller than it was made for. */
static dcam_status borrow_and_run(const dcam_net *lender, const float *input, float *const features[DCAM_STAGES])
{
    dcam_net *net;
    DCAM_TRY(dcam_net_create_borrowing(lender, 2, &net));
    const dcam_status status = dcam_net_run(net, input, 1, features);
    dcam_net_destroy(net);
    return status;
}

/* Each allocation fails in turn: an error, nothing lost, nothing made. */
static void test_out_of_memory(void **state)
{
    (void)state;
    dcam_trunk_weights *w = formula_weights(false);
    const dcam_net_options options = {32, 32, 1, DCAM_NET_F32, 0, 0, NULL};
    static float input[3 * 32 * 32], maps[DCAM_STAGES][64 * 8 * 8];
    dcam_net *net = NULL;
    EVERY_ALLOCATION(a, dcam_net_create(w, &options, &net)) {
        assert_true(a.passed ? a.n > 20 : net == NULL);
        dcam_net_destroy(net);
        net = NULL;
    }
    OK(dcam_net_create(w, &options, &net));
    EVERY_ALLOCATION(a, borrow_and_run(net, input, (float *[DCAM_STAGES]){maps[0], maps[1], maps[2]})) {}
    dcam_net_destroy(net);
    dcam_trunk_weights_destroy(w);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_256x256), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_320x192),
        cmocka_unit_test(test_512x512),
        cmocka_unit_test(test_every_count),
        cmocka_unit_test(test_threads_of_the_caller_do_not_matter),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_both_say_what_failed),
        cmocka_unit_test(test_real_teacher),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
