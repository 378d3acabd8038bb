/* test_tile_gradient.c - the gradient of weights by AMX tiles against plain C in double (nn/reference.c): every kernel and
 * stride, segments that end within a tile of positions, several blocks an image and several images a block, threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "nn/nn.h"
#include "nn/reference.h"
#include "nn/round.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define BOUND 1e-5 /* of the root mean square; products of bf16 are exact in f32, their sums are not */
#define SAMPLES 2000

typedef struct {
    dcam_nn_convolution c;
    uint16_t *src, *dst;
    float *gradient;
    size_t count;
} case_of;

static uint16_t *drawn(const dcam_nn_tensor *t, dcam_random *r)
{
    uint16_t *values;
    size_t bytes;
    OK(dcam_nn_tensor_bytes(t, &bytes));
    OK(dcam_alloc(bytes, 1, &values));
    for (size_t i = 0; i < bytes / sizeof *values; i++) values[i] = dcam_round_bf16((float)dcam_random_normal(r));
    return values;
}

static void make_case(case_of *k, int n, int in, int out, int h, int w, int kernel, int stride)
{
    dcam_random r = dcam_random_make(1, (uint64_t)(n * in * out * h * w * kernel));
    k->c = (dcam_nn_convolution){.src = {n, in, h, w, DCAM_NN_BF16, DCAM_NN_NHWC}, .out_channels = out, .kernel = kernel,
                                 .stride = stride, .padding = kernel / 2, .dst_type = DCAM_NN_BF16,
                                 .dst_layout = DCAM_NN_NHWC, .training = true};
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(&k->c);
    k->src = drawn(&k->c.src, &r);
    k->dst = drawn(&dst, &r);
    k->count = (size_t)(out * in * kernel * kernel);
    OK(dcam_alloc(k->count, sizeof(float), &k->gradient));
}

static void clear_case(case_of *k)
{
    dcam_free(k->src);
    dcam_free(k->dst);
    dcam_free(k->gradient);
}

static void compute(case_of *k, int threads)
{
    dcam_nn *nn;
    dcam_nn_op *op, *out;
    void *scratchpad, *weights;
    dcam_set_threads(threads);
    OK(dcam_nn_create(&nn));
    EVERY_ALLOCATION(a, dcam_nn_convolution_backward_weights(nn, &k->c, &op)) {
        if (a.passed) dcam_nn_op_destroy(op);
    }
    OK(dcam_nn_convolution_backward_weights(nn, &k->c, &op));
    assert_string_equal(dcam_nn_op_implementation(op), "own gradient, bf16 tiles");
    OK(dcam_alloc(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD), 1, &scratchpad));
    OK(dcam_alloc(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS), 1, &weights));
    memset(scratchpad, 0xff, dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD)); /* must not matter: no numbers */
    memset(weights, 0xff, dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    OK(dcam_nn_op_bind(op, DCAM_NN_SRC, k->src));
    OK(dcam_nn_op_bind(op, DCAM_NN_DST, k->dst));
    OK(dcam_nn_op_bind(op, DCAM_NN_WEIGHTS, weights));
    OK(dcam_nn_op_bind(op, DCAM_NN_SCRATCHPAD, scratchpad));
    OK(dcam_nn_op_run(op));
    OK(dcam_nn_weights_out(nn, op, &out));
    OK(dcam_nn_op_bind(out, DCAM_NN_SRC, weights));
    OK(dcam_nn_op_bind(out, DCAM_NN_DST, k->gradient));
    OK(dcam_nn_op_run(out));
    dcam_nn_op_destroy(out);
    dcam_nn_op_destroy(op);
    dcam_free(scratchpad);
    dcam_free(weights);
    dcam_nn_destroy(nn);
    dcam_set_threads(0);
}

static void compare(const case_of *k)
{
    const dcam_nn_convolution *c = &k->c;
    const size_t taps = (size_t)(c->kernel * c->kernel), samples = k->count < SAMPLES ? k->count : SAMPLES;
    double worst = 0, square = 0;
    for (size_t s = 0; s < samples; s++) {
        const size_t at = k->count <= SAMPLES ? s : s * UINT64_C(2654435761) % k->count, tap = at % taps;
        const int i = (int)(at / taps % (size_t)c->src.c), o = (int)(at / taps / (size_t)c->src.c);
        const double want = dcam_nn_reference_backward_weights(c, k->src, k->dst, o, i, (int)tap / c->kernel,
                                                               (int)tap % c->kernel);
        worst = fmax(worst, fabs((double)k->gradient[at] - want));
        square += want * want;
        assert_true(isfinite(k->gradient[at]));
    }
    worst /= sqrt(square / (double)samples);
    print_message("%d x %d x %d x %d to %d, kernel %d, stride %d: %.1e\n", c->src.n, c->src.c, c->src.h, c->src.w,
                  c->out_channels, c->kernel, c->stride, worst);
    assert_true(worst < BOUND);
}

static void check_shape(int n, int in, int out, int h, int w, int kernel, int stride)
{
    case_of k;
    float *first;
    make_case(&k, n, in, out, h, w, kernel, stride);
    OK(dcam_alloc(k.count, sizeof *first, &first));
    for (int threads = 1; threads <= 3; threads++) {
        compute(&k, threads);
        compare(&k);
        memcpy(first, k.gradient, k.count * sizeof *first);
        compute(&k, threads);
        assert_memory_equal(first, k.gradient, k.count * sizeof *first);
    }
    dcam_free(first);
    clear_case(&k);
}

static void test_stride_one(void **state)
{
    (void)state;
    check_shape(1, 32, 32, 1, 2, 3, 1);
    check_shape(3, 64, 32, 9, 6, 3, 1);   /* several images a block, a rest of positions */
    check_shape(2, 32, 64, 37, 34, 3, 1); /* several blocks an image, the last one smaller */
    check_shape(5, 128, 96, 16, 16, 3, 1);
    check_shape(2, 64, 64, 7, 10, 1, 1);
}

static void test_stride_two(void **state)
{
    (void)state;
    check_shape(1, 32, 32, 2, 4, 3, 2);
    check_shape(3, 64, 128, 33, 40, 3, 2);
    check_shape(2, 32, 32, 80, 96, 3, 2);
    check_shape(3, 64, 128, 33, 40, 1, 2);
    check_shape(2, 32, 32, 80, 96, 1, 2);
}

static void test_stem(void **state)
{
    (void)state;
    check_shape(1, 3, 32, 2, 4, 7, 2);
    check_shape(3, 3, 64, 32, 32, 7, 2); /* two images a block */
    check_shape(7, 3, 32, 16, 20, 7, 2);
    check_shape(2, 3, 64, 33, 40, 7, 2);
    check_shape(2, 3, 64, 96, 160, 7, 2);
}

/* An odd width of the result, channels that make no pair: not ours. */
static void test_others(void **state)
{
    (void)state;
    static const int shapes[][3] = {{32, 32, 7}, {48, 32, 8}, {32, 16, 8}};
    dcam_nn *nn;
    OK(dcam_nn_create(&nn));
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const dcam_nn_convolution c = {.src = {1, shapes[k][0], 8, shapes[k][2], DCAM_NN_BF16, DCAM_NN_NHWC},
                                       .out_channels = shapes[k][1], .kernel = 3, .stride = 1, .padding = 1,
                                       .dst_type = DCAM_NN_BF16, .dst_layout = DCAM_NN_NHWC, .training = true};
        dcam_nn_op *op;
        OK(dcam_nn_convolution_backward_weights(nn, &c, &op));
        assert_null(strstr(dcam_nn_op_implementation(op), "own"));
        dcam_nn_op_destroy(op);
    }
    dcam_nn_destroy(nn);
}

int main(void)
{
    if (!dcam_nn_bf16_maps()) {
        print_message("no AMX on this processor\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stride_one), cmocka_unit_test(test_stride_two),
                                       cmocka_unit_test(test_stem), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
