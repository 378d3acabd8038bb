/* test_stem_pool.c - the stem with its pooling by tiles, at every place of small images, against plain C (nn/check.c): whole
 * and half blocks of columns, several images, shares of threads that begin inside an image. Skipped without tiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/parallel.h"
#include "nn/check.h"
#include "nn/isa.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define EVERY_PLACE 100000

static dcam_nn_convolution stem(int n, int h, int w, dcam_nn_type to)
{
    return (dcam_nn_convolution){.src = {n, 3, h, w, DCAM_NN_F32, DCAM_NN_NCHW}, .out_channels = 64, .kernel = 7, .stride = 2,
                                 .padding = 3, .dst_type = to, .dst_layout = DCAM_NN_NHWC, .bias = true, .relu = true,
                                 .pool = true, .pool_scale = 0.0625f};
}

static void check(int n, int h, int w, dcam_nn_type to, double bound)
{
    for (int threads = 1; threads <= 3; threads++) {
        const dcam_nn_convolution c = stem(n, h, w, to);
        dcam_nn_check found;
        dcam_nn *nn;
        dcam_set_threads(threads);
        assert_true(dcam_nn_is_own(&c));
        OK(dcam_nn_create(&nn));
        EVERY_ALLOCATION(a, dcam_nn_check_convolution(nn, &c, DCAM_NN_CHECK_FORWARD, 1, &found)) {}
        OK(dcam_nn_check_convolution(nn, &c, DCAM_NN_CHECK_FORWARD, EVERY_PLACE, &found));
        print_message("%d x %d x %d, %d threads: %.2g\n", n, h, w, threads, found.error);
        assert_true(found.error <= bound);
        dcam_nn_destroy(nn);
    }
    dcam_set_threads(0);
}

/* Inputs and weights are numbers that bf16 holds, so only the result is rounded: its largest values, several times the root
 * mean square, by 2^-9; bytes by half of one. */
static void test_shapes(void **unused)
{
    (void)unused;
    if (dcam_nn_isa_here() < DCAM_NN_ISA_AMX) skip();
    for (int k = 0; k < 2; k++) {
        const dcam_nn_type to = k ? DCAM_NN_U8 : DCAM_NN_BF16;
        const double bound = k ? 0.501 : 0.01;
        check(1, 32, 32, to, bound);
        check(1, 4, 96, to, bound);
        check(3, 20, 64, to, bound);
        check(2, 64, 160, to, bound);
    }
}

static void test_what_is_not_ours(void **unused)
{
    (void)unused;
    dcam_nn_op *op = NULL;
    dcam_nn *nn;
    dcam_nn_convolution c = stem(1, 64, 64, DCAM_NN_F32);
    OK(dcam_nn_create(&nn));
    assert_false(dcam_nn_is_own(&c));
    assert_int_equal(dcam_nn_convolution_forward(nn, &c, &op), DCAM_ERROR_INTERNAL);
    assert_null(op);
    c = stem(1, 64, 64, DCAM_NN_BF16);
    dcam_nn_limit_isa(DCAM_NN_ISA_AVX512_BF16);
    assert_false(dcam_nn_is_own(&c));
    assert_int_equal(dcam_nn_convolution_forward(nn, &c, &op), DCAM_ERROR_INTERNAL);
    dcam_nn_limit_isa(DCAM_NN_ISA_MOST);
    dcam_nn_destroy(nn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_what_is_not_ours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
