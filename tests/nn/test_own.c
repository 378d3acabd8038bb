/* test_own.c - the convolutions that are our own where test_nn.c does not reach: many blocks of tiles, several images,
 * any number of threads, every set of instructions that this processor has. The oracle is oneDNN's direct convolution,
 * which test_nn.c compares with plain C. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "formula.h"
#include "nn/isa.h"
#include "nn/nn.h"
#include "nn/round.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
/* Of the largest value. The gradient sums some ten thousand products in f32: there the direct convolution itself is
 * 8e-6 away from a sum in double (Winograd: 6e-6). */
#define BOUND 5e-6
#define GRADIENT_BOUND 2e-5
/* Winograd with factors rounded to bf16 against f32, in the L2 norm. The inputs of the tests are bf16 already, their
 * transforms are not (seen: 1.1e-2; a direct sum of rounded factors: 2.3e-3). */
#define ROUNDED_BOUND 1.6e-2

static float *zeros(size_t bytes)
{
    void *p;
    OK(dcam_alloc_zero(bytes ? bytes : 1, 1, &p));
    return p;
}

static void run(dcam_nn_op *op, void *const memory[DCAM_NN_SCRATCHPAD])
{
    float *scratchpad = zeros(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD));
    /* The scratchpad's content must not matter. */
    memset(scratchpad, 0xff, dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD));
    OK(dcam_nn_op_prepare(op));
    for (int i = 0; i < DCAM_NN_SCRATCHPAD; i++)
        if (memory[i]) OK(dcam_nn_op_bind(op, (dcam_nn_argument)i, memory[i]));
    OK(dcam_nn_op_bind(op, DCAM_NN_SCRATCHPAD, scratchpad));
    OK(dcam_nn_op_run(op));
    dcam_free(scratchpad);
}

static void reorder(dcam_nn_op *op, float *from, float *to)
{
    void *memory[DCAM_NN_SCRATCHPAD] = {[DCAM_NN_SRC] = from, [DCAM_NN_DST] = to};
    run(op, memory);
    dcam_nn_op_destroy(op);
}

typedef struct {
    size_t src_bytes, dst_bytes, weight_bytes;
    float *src, *dst, *weights, *bias;                   /* what is given */
    float *forward, *data, *gradient;                    /* what comes out */
} result;

/* Values that bf16 holds. */
static void round_all(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)dcam_round_bf16(v[i]) << 16;
        memcpy(&v[i], &bits, sizeof bits);
    }
}

/* rounded: source, weights and the result's gradient are values that bf16 holds. */
static result compute_of(dcam_nn_convolution c, int threads, bool rounded)
{
    result r;
    dcam_nn *nn;
    dcam_nn_op *op, *in;
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(&c);
    dcam_set_threads(threads);
    OK(dcam_nn_create(&nn));
    OK(dcam_nn_tensor_bytes(&c.src, &r.src_bytes));
    OK(dcam_nn_tensor_bytes(&dst, &r.dst_bytes));
    r.weight_bytes = sizeof(float) * (size_t)(c.kernel * c.kernel * c.src.c * c.out_channels);
    r.src = zeros(r.src_bytes);
    r.dst = zeros(r.dst_bytes);
    r.weights = zeros(r.weight_bytes);
    r.bias = zeros(sizeof(float) * (size_t)c.out_channels);
    formula_fill(1, 1, 0, r.src, r.src_bytes / sizeof(float));
    formula_fill(2, 1, 0, r.dst, r.dst_bytes / sizeof(float));
    formula_fill(3, 1, 0, r.weights, r.weight_bytes / sizeof(float));
    formula_fill(4, 1, 0, r.bias, (size_t)c.out_channels);
    if (rounded) {
        round_all(r.src, r.src_bytes / sizeof(float));
        round_all(r.dst, r.dst_bytes / sizeof(float));
        round_all(r.weights, r.weight_bytes / sizeof(float));
    }
    r.forward = zeros(r.dst_bytes);
    memcpy(r.forward, r.dst, r.dst_bytes);
    r.data = zeros(r.src_bytes);
    r.gradient = zeros(r.weight_bytes);

    OK(dcam_nn_convolution_forward(nn, &c, &op));
    assert_true(c.exact == (strncmp(dcam_nn_op_implementation(op), "own", 3) != 0));
    assert_true(c.bf16_products == (strstr(dcam_nn_op_implementation(op), "bf16") != NULL));
    float *u = zeros(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    OK(dcam_nn_weights_in(nn, op, &in));
    reorder(in, r.weights, u);
    run(op, (void *[DCAM_NN_SCRATCHPAD]){r.src, u, r.bias, r.forward});
    dcam_nn_op_destroy(op);
    dcam_free(u);

    if (c.src.c > 3) { /* the stem's input has no gradient */
        OK(dcam_nn_convolution_backward_data(nn, &c, &op));
        u = zeros(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
        OK(dcam_nn_weights_in(nn, op, &in));
        reorder(in, r.weights, u);
        run(op, (void *[DCAM_NN_SCRATCHPAD]){r.data, u, NULL, r.dst});
        dcam_nn_op_destroy(op);
        dcam_free(u);
    }

    OK(dcam_nn_convolution_backward_weights(nn, &c, &op));
    if (c.src.layout == DCAM_NN_NHWC) {
        assert_true(c.exact == (strncmp(dcam_nn_op_implementation(op), "own", 3) != 0));
        assert_true(c.bf16_products == (strstr(dcam_nn_op_implementation(op), "bf16") != NULL));
    }
    u = zeros(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    run(op, (void *[DCAM_NN_SCRATCHPAD]){r.src, u, NULL, r.dst});
    OK(dcam_nn_weights_out(nn, op, &in));
    reorder(in, u, r.gradient);
    dcam_nn_op_destroy(op);
    dcam_free(u);
    dcam_nn_destroy(nn);
    dcam_set_threads(0);
    return r;
}

static result compute(dcam_nn_convolution c, int threads) { return compute_of(c, threads, false); }

static void clear(result *r)
{
    float *all[] = {r->src, r->dst, r->weights, r->bias, r->forward, r->data, r->gradient};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) dcam_free(all[i]);
}

static void check_close(const char *what, const float *a, const float *b, size_t bytes, double bound)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < bytes / sizeof *a; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    print_message("%s: %.1e of the largest\n", what, worst / largest);
    assert_true(worst < bound * largest);
}

/* The most that this processor has. */
static dcam_nn_isa here(void)
{
    dcam_nn_limit_isa(DCAM_NN_ISA_MOST);
    return dcam_nn_isa_here();
}

static double relative_l2(const float *a, const float *b, size_t bytes)
{
    double difference = 0, all = 0;
    for (size_t i = 0; i < bytes / sizeof *a; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / all);
}

static void check_rounded(const char *what, const float *a, const float *b, size_t bytes)
{
    const double error = relative_l2(a, b, bytes);
    print_message("bf16, %s: %.1e\n", what, error);
    assert_true(error > 1e-4 && error < ROUNDED_BOUND);
}

static void check_bf16(int n, int in, int out, int h, int w, int kernel, int stride, dcam_nn_layout layout)
{
    dcam_nn_convolution c = {.src = {n, in, h, w, DCAM_NN_F32, layout}, .out_channels = out, .kernel = kernel,
                             .stride = stride, .padding = kernel / 2, .dst_type = DCAM_NN_F32,
                             .dst_layout = DCAM_NN_NHWC, .bias = true, .sum = in > 3, .exact = true};
    result direct = compute_of(c, 1, true);
    c.exact = false;
    c.bf16_products = true;
    result one = compute_of(c, 1, true), more = compute_of(c, 3, true);
    assert_memory_equal(more.forward, one.forward, one.dst_bytes);
    assert_memory_equal(more.data, one.data, one.src_bytes);
    assert_memory_equal(more.gradient, one.gradient, one.weight_bytes);
    if (kernel == 7 || stride == 1) {
        check_rounded("forward", one.forward, direct.forward, one.dst_bytes);
    } else {
        check_close("bf16, gathered", one.forward, direct.forward, one.dst_bytes, BOUND);
        check_close("bf16, backward data", one.data, direct.data, one.src_bytes, BOUND);
    }
    if (stride == 1) {
        check_rounded("backward data", one.data, direct.data, one.src_bytes);
        check_rounded("gradient", one.gradient, direct.gradient, one.weight_bytes);
    } else {
        check_close("bf16, gradient", one.gradient, direct.gradient, one.weight_bytes, GRADIENT_BOUND);
    }
    clear(&more);
    clear(&one);
    clear(&direct);
}

static void check_shape_here(int n, int in, int out, int h, int w, int kernel, int stride)
{
    dcam_nn_convolution c = {.src = {n, in, h, w, DCAM_NN_F32, DCAM_NN_NHWC}, .out_channels = out, .kernel = kernel,
                             .stride = stride, .padding = kernel / 2, .dst_type = DCAM_NN_F32,
                             .dst_layout = DCAM_NN_NHWC, .bias = true, .sum = in > 3, .relu = true, .exact = true};
    result direct = compute(c, 1);
    c.exact = false;
    result one = compute(c, 1);
    check_close("forward", one.forward, direct.forward, one.dst_bytes, BOUND);
    if (in > 3) check_close("backward data", one.data, direct.data, one.src_bytes, BOUND);
    check_close("backward weights", one.gradient, direct.gradient, one.weight_bytes, GRADIENT_BOUND);
    for (int threads = 2; threads <= 5; threads += threads == 3 ? 2 : 1) {
        result more = compute(c, threads);
        assert_memory_equal(more.forward, one.forward, one.dst_bytes);
        assert_memory_equal(more.gradient, one.gradient, one.weight_bytes);
        if (stride == 1) /* the others' is oneDNN's, whose bits depend on the threads */
            assert_memory_equal(more.data, one.data, one.src_bytes);
        clear(&more);
    }
    clear(&one);
    clear(&direct);
}

/* With each set of instructions. */
static void check_shape(int n, int in, int out, int h, int w, int kernel, int stride)
{
    for (dcam_nn_isa isa = DCAM_NN_ISA_AVX2; isa <= here(); isa++) {
        dcam_nn_limit_isa(isa);
        print_message("instructions %d: %d x %d x %d x %d to %d, kernel %d, stride %d\n", (int)isa, n, in, h, w, out,
                      kernel, stride);
        check_shape_here(n, in, out, h, w, kernel, stride);
    }
    dcam_nn_limit_isa(DCAM_NN_ISA_MOST);
}

/* More tiles than a block of the forward pass (96) and of the gradient's (some 1800 of 16 channels) hold. */
static void test_many_tiles(void **state)
{
    (void)state;
    if (here() == DCAM_NN_ISA_NONE) skip();
    check_shape(3, 16, 16, 110, 106, 3, 1);
    check_shape(2, 64, 32, 33, 64, 3, 1);
}

/* Fewer tiles than threads would share, so that the threads share the channels. */
static void test_few_tiles(void **state)
{
    (void)state;
    if (here() == DCAM_NN_ISA_NONE) skip();
    check_shape(1, 64, 128, 9, 7, 3, 1);
    check_shape(1, 128, 48, 4, 4, 3, 1);
    check_shape(1, 16, 16, 1, 1, 3, 1);
}

static void test_stride_two(void **state)
{
    (void)state;
    if (here() == DCAM_NN_ISA_NONE) skip();
    check_shape(2, 64, 128, 33, 40, 3, 2);
    check_shape(1, 16, 16, 1, 2, 3, 2);
    check_shape(2, 64, 48, 33, 40, 1, 2);
    check_shape(1, 16, 16, 1, 1, 1, 2);
}

/* More tiles in a row than a block holds (24), and sides that are no multiple of a tile (3). */
static void test_stem(void **state)
{
    (void)state;
    if (here() == DCAM_NN_ISA_NONE) skip();
    check_shape(2, 3, 64, 64, 160, 7, 2);
    check_shape(1, 3, 16, 2, 4, 7, 2);
}

/* The source's colors in planes of their own. */
static void test_stem_planes(void **state)
{
    (void)state;
    if (here() == DCAM_NN_ISA_NONE) skip();
    for (dcam_nn_isa isa = DCAM_NN_ISA_AVX2; isa <= here(); isa++) {
        dcam_nn_limit_isa(isa);
        dcam_nn_convolution c = {.src = {2, 3, 64, 160, DCAM_NN_F32, DCAM_NN_NCHW}, .out_channels = 64, .kernel = 7,
                                 .stride = 2, .padding = 3, .dst_type = DCAM_NN_F32, .dst_layout = DCAM_NN_NHWC,
                                 .bias = true, .relu = true};
        assert_true(dcam_nn_is_own(&c));
        result own = compute(c, 2);
        c.exact = true;
        result direct = compute(c, 1);
        check_close("planes", own.forward, direct.forward, own.dst_bytes, BOUND);
        clear(&direct);
        clear(&own);
    }
}

static void test_bf16_products(void **state)
{
    (void)state;
    if (here() < DCAM_NN_ISA_AVX512_BF16) skip();
    check_bf16(3, 16, 16, 110, 106, 3, 1, DCAM_NN_NHWC);
    check_bf16(1, 64, 48, 9, 7, 3, 1, DCAM_NN_NHWC);
    check_bf16(1, 256, 256, 16, 16, 3, 1, DCAM_NN_NHWC);
    check_bf16(2, 64, 48, 33, 40, 3, 2, DCAM_NN_NHWC);
    check_bf16(2, 32, 16, 5, 3, 1, 2, DCAM_NN_NHWC);
    check_bf16(2, 3, 64, 64, 160, 7, 2, DCAM_NN_NHWC);
    check_bf16(1, 3, 16, 2, 4, 7, 2, DCAM_NN_NCHW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_tiles), cmocka_unit_test(test_few_tiles),
                                       cmocka_unit_test(test_stride_two), cmocka_unit_test(test_stem),
                                       cmocka_unit_test(test_stem_planes), cmocka_unit_test(test_bf16_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
