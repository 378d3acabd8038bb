/* test_tile_map_gradient.c - the gradient of a map of stride 2 by AMX tiles against plain C in double (nn/reference.c): rows
 * of less than a strip, of some strips and a rest, an odd count of strips, several bands, threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/bf16.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "nn/nn.h"
#include "nn/reference.h"
#include "nn/round.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define ROUNDING 0x1p-8 /* of the result to bf16 */
#define BOUND 1e-5      /* of the root mean square; products of bf16 are exact in f32, their sums are not */
#define SAMPLES 4000

typedef struct {
    dcam_nn_convolution c;
    float *weights; /* as they are rounded */
    uint16_t *dy, *dx;
    size_t dx_bytes;
} case_of;

static void make_case(case_of *k, int n, int in, int out, int h, int w, int kernel)
{
    dcam_random r = dcam_random_make(1, (uint64_t)(n * in * out * h * w * kernel));
    const size_t weights = (size_t)(in * out * kernel * kernel);
    size_t bytes;
    k->c = (dcam_nn_convolution){.src = {n, in, h, w, DCAM_NN_BF16, DCAM_NN_NHWC}, .out_channels = out, .kernel = kernel,
                                 .stride = 2, .padding = kernel / 2, .dst_type = DCAM_NN_BF16, .dst_layout = DCAM_NN_NHWC,
                                 .training = true};
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(&k->c);
    OK(dcam_nn_tensor_bytes(&dst, &bytes));
    OK(dcam_nn_tensor_bytes(&k->c.src, &k->dx_bytes));
    OK(dcam_alloc(bytes, 1, &k->dy));
    OK(dcam_alloc(k->dx_bytes, 1, &k->dx));
    OK(dcam_alloc(weights, sizeof(float), &k->weights));
    for (size_t i = 0; i < bytes / sizeof *k->dy; i++) k->dy[i] = dcam_round_bf16((float)dcam_random_normal(&r));
    for (size_t i = 0; i < weights; i++) k->weights[i] = dcam_widen_bf16(dcam_round_bf16((float)dcam_random_normal(&r)));
}

static void clear_case(case_of *k)
{
    dcam_free(k->weights);
    dcam_free(k->dx);
    dcam_free(k->dy);
}

static void compute(case_of *k, int threads)
{
    dcam_nn *nn;
    dcam_nn_op *op, *in;
    void *scratchpad, *weights;
    dcam_set_threads(threads);
    OK(dcam_nn_create(&nn));
    EVERY_ALLOCATION(a, dcam_nn_convolution_backward_data(nn, &k->c, &op)) {
        if (a.passed) dcam_nn_op_destroy(op);
    }
    OK(dcam_nn_convolution_backward_data(nn, &k->c, &op));
    assert_string_equal(dcam_nn_op_implementation(op), "own gradient of a map, bf16 tiles");
    assert_int_equal(dcam_nn_op_bytes(op, DCAM_NN_SRC), k->dx_bytes);
    OK(dcam_alloc(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD), 1, &scratchpad));
    OK(dcam_alloc(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS), 1, &weights));
    memset(scratchpad, 0xff, dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD)); /* must not matter: no numbers */
    memset(k->dx, 0xff, k->dx_bytes);
    OK(dcam_nn_weights_in(nn, op, &in));
    OK(dcam_nn_op_bind(in, DCAM_NN_SRC, k->weights));
    OK(dcam_nn_op_bind(in, DCAM_NN_DST, weights));
    OK(dcam_nn_op_run(in));
    OK(dcam_nn_op_bind(op, DCAM_NN_SRC, k->dx));
    OK(dcam_nn_op_bind(op, DCAM_NN_DST, k->dy));
    OK(dcam_nn_op_bind(op, DCAM_NN_WEIGHTS, weights));
    OK(dcam_nn_op_bind(op, DCAM_NN_SCRATCHPAD, scratchpad));
    OK(dcam_nn_op_run(op));
    dcam_nn_op_destroy(in);
    dcam_nn_op_destroy(op);
    dcam_free(scratchpad);
    dcam_free(weights);
    dcam_nn_destroy(nn);
    dcam_set_threads(0);
}

static void compare(const case_of *k)
{
    const dcam_nn_tensor *s = &k->c.src;
    const size_t count = k->dx_bytes / sizeof *k->dx, samples = count < SAMPLES ? count : SAMPLES;
    const double typical = sqrt((double)(k->c.out_channels * k->c.kernel * k->c.kernel) / 4);
    for (size_t j = 0; j < samples; j++) {
        const size_t at = count <= SAMPLES ? j : j * UINT64_C(2654435761) % count, position = at / (size_t)s->c;
        const int x = (int)(position % (size_t)s->w), y = (int)(position / (size_t)s->w % (size_t)s->h);
        const int image = (int)(position / (size_t)(s->w * s->h)), channel = (int)(at % (size_t)s->c);
        const double want = dcam_nn_reference_backward_data(&k->c, k->weights, k->dy, image, channel, y, x);
        assert_true(fabs((double)dcam_widen_bf16(k->dx[at]) - want) <= ROUNDING * fabs(want) + BOUND * typical);
    }
}

static void check_shape(int n, int in, int out, int h, int w, int kernel)
{
    case_of k;
    uint16_t *first;
    make_case(&k, n, in, out, h, w, kernel);
    OK(dcam_alloc(k.dx_bytes, 1, &first));
    for (int threads = 1; threads <= 3; threads++) {
        compute(&k, threads);
        compare(&k);
        if (threads == 1) memcpy(first, k.dx, k.dx_bytes);
        else assert_memory_equal(first, k.dx, k.dx_bytes);
    }
    dcam_free(first);
    clear_case(&k);
}

static void test_shapes(void **state)
{
    (void)state;
    for (int kernel = 1; kernel <= 3; kernel += 2) {
        check_shape(1, 32, 32, 2, 2, kernel);
        check_shape(3, 32, 64, 10, 14, kernel);  /* less than a strip, a band of one row at the end */
        check_shape(2, 64, 32, 32, 32, kernel);
        check_shape(2, 64, 128, 18, 64, kernel); /* two strips */
        check_shape(1, 96, 32, 6, 76, kernel);   /* three, the last one cut */
        check_shape(5, 128, 256, 8, 34, kernel);
    }
}

/* Odd sides, channels that make no group: not ours. */
static void test_others(void **state)
{
    (void)state;
    static const int shapes[][4] = {{32, 32, 7, 8}, {32, 32, 8, 7}, {48, 32, 8, 8}, {32, 16, 8, 8}};
    dcam_nn *nn;
    OK(dcam_nn_create(&nn));
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const dcam_nn_convolution c = {.src = {1, shapes[k][0], shapes[k][2], shapes[k][3], DCAM_NN_BF16, DCAM_NN_NHWC},
                                       .out_channels = shapes[k][1], .kernel = 3, .stride = 2, .padding = 1,
                                       .dst_type = DCAM_NN_BF16, .dst_layout = DCAM_NN_NHWC, .training = true};
        dcam_nn_op *op;
        OK(dcam_nn_convolution_backward_data(nn, &c, &op));
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
