/* test_nn.c - the operations of the nn layer against plain C over many shapes (odd sizes, channels that are no
 * multiple of 16), in every layout that the networks use, with and without Winograd; and the planning of arenas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "formula.h"
#include "nn/arena.h"
#include "nn/check.h"
#include "nn/nn.h"
#include "nn/reference.h"

#define OK(call) assert_int_equal((call), DCAM_OK)

static size_t plain_count(const dcam_nn_tensor *t)
{
    return (size_t)t->n * (size_t)t->c * (size_t)t->h * (size_t)t->w;
}

/* In NCHW, whatever the layout of t. */
static size_t plain_index(const dcam_nn_tensor *t, int n, int c, int y, int x)
{
    dcam_nn_tensor plain = *t;
    plain.layout = DCAM_NN_NCHW;
    return dcam_nn_index(&plain, n, c, y, x);
}

/* The same convolution on tensors in NCHW, for the reference. */
static dcam_nn_convolution plain_of(const dcam_nn_convolution *c)
{
    dcam_nn_convolution plain = *c;
    plain.src.layout = plain.dst_layout = DCAM_NN_NCHW;
    return plain;
}

#define FOR_EACH(tensor, i, j, k, l)                  \
    for (int i = 0; i < (tensor)->n; i++)             \
        for (int j = 0; j < (tensor)->c; j++)         \
            for (int k = 0; k < (tensor)->h; k++)     \
                for (int l = 0; l < (tensor)->w; l++)

static void *buffer(size_t bytes)
{
    void *p;
    OK(dcam_alloc_zero(bytes ? bytes : 1, 1, &p));
    return p;
}

/* NCHW values into t's layout and back, by the index formula. */
static float *laid_out(const dcam_nn_tensor *t, const float *plain)
{
    size_t bytes;
    OK(dcam_nn_tensor_bytes(t, &bytes));
    float *out = buffer(bytes);
    for (int n = 0; n < t->n; n++)
        for (int c = 0; c < t->c; c++)
            for (int y = 0; y < t->h; y++)
                for (int x = 0; x < t->w; x++)
                    out[dcam_nn_index(t, n, c, y, x)] = plain[plain_index(t, n, c, y, x)];
    return out;
}

static double worst_difference(const dcam_nn_tensor *t, const float *laid, const double *plain)
{
    double worst = 0, largest = 1e-30;
    for (int n = 0; n < t->n; n++)
        for (int c = 0; c < t->c; c++)
            for (int y = 0; y < t->h; y++)
                for (int x = 0; x < t->w; x++) {
                    double want = plain[plain_index(t, n, c, y, x)];
                    double d = fabs((double)laid[dcam_nn_index(t, n, c, y, x)] - want);
                    worst = d > worst ? d : worst;
                    largest = fabs(want) > largest ? fabs(want) : largest;
                }
    return worst / largest;
}

static dcam_nn_op *ready(dcam_nn_op *op, void *src, void *weights, void *bias, void *dst, void **scratchpad)
{
    *scratchpad = buffer(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD));
    OK(dcam_nn_op_prepare(op));
    OK(dcam_nn_op_bind(op, DCAM_NN_SRC, src));
    OK(dcam_nn_op_bind(op, DCAM_NN_WEIGHTS, weights));
    OK(dcam_nn_op_bind(op, DCAM_NN_BIAS, bias));
    OK(dcam_nn_op_bind(op, DCAM_NN_DST, dst));
    OK(dcam_nn_op_bind(op, DCAM_NN_SCRATCHPAD, *scratchpad));
    return op;
}

static void *weights_for(dcam_nn *nn, dcam_nn_op *op, float *plain)
{
    dcam_nn_op *reorder;
    void *scratchpad, *out = buffer(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    OK(dcam_nn_weights_in(nn, op, &reorder));
    OK(dcam_nn_op_run(ready(reorder, plain, NULL, NULL, out, &scratchpad)));
    dcam_nn_op_destroy(reorder);
    dcam_free(scratchpad);
    return out;
}

static double forward_error(dcam_nn *nn, const dcam_nn_convolution *c, float *x, float *w, float *bias, float *before)
{
    dcam_nn_tensor o = dcam_nn_convolution_dst(c);
    double *want = buffer(plain_count(&o) * sizeof *want);
    const dcam_nn_convolution plain = plain_of(c);
    FOR_EACH(&o, n, oc, y, v)
        want[plain_index(&o, n, oc, y, v)] = dcam_nn_reference_forward(&plain, x, w, bias, before, n, oc, y, v);
    dcam_nn_op *op;
    OK(dcam_nn_convolution_forward(nn, c, &op));
    void *scratchpad, *src = laid_out(&c->src, x), *dst = laid_out(&o, before), *weights = weights_for(nn, op, w);
    OK(dcam_nn_op_run(ready(op, src, weights, bias, dst, &scratchpad)));
    double error = worst_difference(&o, dst, want);
    dcam_nn_op_destroy(op);
    dcam_free(scratchpad);
    dcam_free(src);
    dcam_free(dst);
    dcam_free(weights);
    dcam_free(want);
    return error;
}

static double backward_data_error(dcam_nn *nn, const dcam_nn_convolution *c, float *w, float *d)
{
    dcam_nn_tensor o = dcam_nn_convolution_dst(c);
    double *want = buffer(plain_count(&c->src) * sizeof *want);
    const dcam_nn_convolution plain = plain_of(c);
    FOR_EACH(&c->src, n, ic, y, v)
        want[plain_index(&c->src, n, ic, y, v)] = dcam_nn_reference_backward_data(&plain, w, d, n, ic, y, v);
    dcam_nn_op *op;
    OK(dcam_nn_convolution_backward_data(nn, c, &op));
    size_t bytes;
    OK(dcam_nn_tensor_bytes(&c->src, &bytes));
    void *scratchpad, *src = buffer(bytes), *dst = laid_out(&o, d), *weights = weights_for(nn, op, w);
    OK(dcam_nn_op_run(ready(op, src, weights, NULL, dst, &scratchpad)));
    double error = worst_difference(&c->src, src, want);
    dcam_nn_op_destroy(op);
    dcam_free(scratchpad);
    dcam_free(src);
    dcam_free(dst);
    dcam_free(weights);
    dcam_free(want);
    return error;
}

static double backward_weights_error(dcam_nn *nn, const dcam_nn_convolution *c, float *x, float *d)
{
    dcam_nn_tensor o = dcam_nn_convolution_dst(c), shape = {o.c, c->src.c, c->kernel, c->kernel, DCAM_NN_F32, DCAM_NN_NCHW};
    double *want = buffer(plain_count(&shape) * sizeof *want);
    const dcam_nn_convolution of = plain_of(c);
    FOR_EACH(&shape, oc, ic, ky, kx)
        want[plain_index(&shape, oc, ic, ky, kx)] = dcam_nn_reference_backward_weights(&of, x, d, oc, ic, ky, kx);
    dcam_nn_op *op, *out;
    OK(dcam_nn_convolution_backward_weights(nn, c, &op));
    OK(dcam_nn_weights_out(nn, op, &out));
    void *scratchpad, *second, *src = laid_out(&c->src, x), *dst = laid_out(&o, d);
    void *weights = buffer(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS)), *plain = buffer(plain_count(&shape) * sizeof(float));
    OK(dcam_nn_op_run(ready(op, src, weights, NULL, dst, &scratchpad)));
    OK(dcam_nn_op_run(ready(out, weights, NULL, NULL, plain, &second)));
    double error = worst_difference(&shape, plain, want);
    dcam_nn_op_destroy(op);
    dcam_nn_op_destroy(out);
    dcam_free(scratchpad);
    dcam_free(second);
    dcam_free(src);
    dcam_free(dst);
    dcam_free(weights);
    dcam_free(plain);
    dcam_free(want);
    return error;
}

/* All three parts of one convolution, with every set of post-ops. Winograd rounds more: up to some 1e-5 of the
 * largest value with the transform of 4x4 tiles, where direct sums stay below 1e-6 for sums this short. */
static void check_convolution(dcam_nn *nn, dcam_nn_convolution c)
{
    dcam_nn_tensor o = dcam_nn_convolution_dst(&c);
    size_t weight_count = (size_t)c.out_channels * (size_t)c.src.c * (size_t)(c.kernel * c.kernel);
    float *x = buffer(plain_count(&c.src) * 4), *w = buffer(weight_count * 4), *bias = buffer((size_t)o.c * 4);
    float *d = buffer(plain_count(&o) * 4);
    formula_fill(1, 1, 0, x, plain_count(&c.src));
    formula_fill(2, 1, 0, w, weight_count);
    formula_fill(3, 2, 0, bias, (size_t)o.c);
    formula_fill(4, 3, 0, d, plain_count(&o));
    double bound = c.exact ? 2e-6 : 2e-5;
    for (int k = 0; k < 8; k++) {
        c.bias = k & 1;
        c.sum = k & 2;
        c.relu = k & 4;
        double error = forward_error(nn, &c, x, w, bias, d);
        if (!(error < bound)) print_message("forward, post-ops %d: error %g\n", k, error);
        assert_true(error < bound);
    }
    c.training = true;
    c.bias = c.sum = c.relu = false;
    double forward = forward_error(nn, &c, x, w, bias, d), weights = backward_weights_error(nn, &c, x, d);
    double data = c.src.layout == c.dst_layout ? backward_data_error(nn, &c, w, d) : 0;
    if (!(forward < bound && weights < bound && data < bound))
        print_message("%d->%d channels, kernel %d, stride %d, %dx%d: forward %g, weights %g, data %g\n", c.src.c,
                      c.out_channels, c.kernel, c.stride, c.src.h, c.src.w, forward, weights, data);
    assert_true(forward < bound);
    assert_true(weights < bound);
    assert_true(data < bound);
    dcam_free(x);
    dcam_free(w);
    dcam_free(bias);
    dcam_free(d);
}

static void test_convolution(void **state)
{
    (void)state;
    static const int shapes[][4] = {{3, 64, 7, 2}, {16, 16, 3, 1}, {64, 64, 3, 1}, {32, 48, 3, 2}, {32, 64, 1, 2},
                                    {20, 33, 3, 1}, {5, 7, 3, 2}, {128, 32, 3, 1}};
    dcam_nn *nn;
    dcam_random r = dcam_random_make(5, 5);
    OK(dcam_nn_create(&nn));
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int k = 0; k < 6; k++) {
            int h = 5 + (int)dcam_random_below(&r, 8), w = 5 + (int)dcam_random_below(&r, 8);
            int n = 1 + (int)dcam_random_below(&r, 3);
            dcam_nn_layout layout = k < 2 ? DCAM_NN_BLOCKED16 : k < 4 ? DCAM_NN_NHWC : DCAM_NN_NCHW;
            dcam_nn_convolution c = {.src = {n, shapes[s][0], h, w, DCAM_NN_F32, layout},
                                     .out_channels = shapes[s][1], .kernel = shapes[s][2], .stride = shapes[s][3],
                                     .padding = shapes[s][2] / 2, .dst_type = DCAM_NN_F32, .dst_layout = layout,
                                     .exact = k % 2 == 0};
            /* The stem: three channels go in plain and come out blocked. */
            if (c.src.c == 3) c.src.layout = layout == DCAM_NN_NHWC ? DCAM_NN_NHWC : DCAM_NN_NCHW;
            check_convolution(nn, c);
        }
    dcam_nn_destroy(nn);
}

static void test_pooling_and_reorder(void **state)
{
    (void)state;
    dcam_nn *nn;
    OK(dcam_nn_create(&nn));
    for (int k = 0; k < 12; k++) {
        dcam_nn_tensor t = {1 + k % 3, k % 2 ? 64 : 24, 6 + k, 5 + 2 * k, DCAM_NN_F32,
                            k % 4 < 2 ? DCAM_NN_BLOCKED16 : DCAM_NN_NHWC};
        dcam_nn_tensor o = t, plain = t;
        o.h = dcam_nn_output_size(t.h, 3, 2, 1);
        o.w = dcam_nn_output_size(t.w, 3, 2, 1);
        plain.layout = DCAM_NN_NHWC;
        float *x = buffer(plain_count(&t) * 4);
        double *want = buffer(plain_count(&o) * sizeof *want), *same = buffer(plain_count(&t) * sizeof *same);
        formula_fill(7, 1, 0, x, plain_count(&t));
        for (size_t i = 0; i < plain_count(&t); i++) same[i] = (double)x[i];
        dcam_nn_tensor nchw = t;
        nchw.layout = DCAM_NN_NCHW;
        FOR_EACH(&o, n, c, y, v)
            want[plain_index(&o, n, c, y, v)] = dcam_nn_reference_max_pool(&nchw, 3, 2, 1, x, n, c, y, v);
        dcam_nn_op *pool, *reorder;
        size_t bytes;
        OK(dcam_nn_max_pool(nn, &t, 3, 2, 1, &pool));
        OK(dcam_nn_reorder(nn, &t, &plain, &reorder));
        OK(dcam_nn_tensor_bytes(&o, &bytes));
        void *scratchpad, *second, *src = laid_out(&t, x), *dst = buffer(bytes), *back = buffer(plain_count(&t) * 4);
        OK(dcam_nn_op_run(ready(pool, src, NULL, NULL, dst, &scratchpad)));
        OK(dcam_nn_op_run(ready(reorder, src, NULL, NULL, back, &second)));
        assert_true(worst_difference(&o, dst, want) == 0);
        assert_true(worst_difference(&plain, back, same) == 0);
        dcam_nn_op_destroy(pool);
        dcam_nn_op_destroy(reorder);
        dcam_free(scratchpad);
        dcam_free(second);
        dcam_free(src);
        dcam_free(dst);
        dcam_free(back);
        dcam_free(x);
        dcam_free(want);
        dcam_free(same);
    }
    dcam_nn_destroy(nn);
}

static void test_impossible_shapes_are_refused(void **state)
{
    (void)state;
    dcam_nn *nn;
    dcam_nn_op *op = NULL;
    size_t bytes = 7;
    OK(dcam_nn_create(&nn));
    dcam_nn_convolution c = {.src = {1, 3, 2, 2, DCAM_NN_F32, DCAM_NN_NHWC}, .out_channels = 16, .kernel = 7,
                             .stride = 1, .padding = 1, .dst_layout = DCAM_NN_NHWC};
    assert_int_equal(dcam_nn_convolution_forward(nn, &c, &op), DCAM_ERROR_DATA);
    c.src.n = 0;
    c.padding = 3;
    assert_int_equal(dcam_nn_convolution_forward(nn, &c, &op), DCAM_ERROR_DATA);
    dcam_nn_tensor huge = {1, 1 << 20, 1 << 20, 1 << 20, DCAM_NN_F32, DCAM_NN_NHWC};
    assert_int_equal(dcam_nn_tensor_bytes(&huge, &bytes), DCAM_ERROR_DATA);
    assert_int_equal(dcam_nn_max_pool(nn, &huge, 3, 2, 1, &op), DCAM_ERROR_DATA);
    assert_null(op);
    assert_int_equal(bytes, 7);
    dcam_nn_destroy(nn);
}

/* Each kind of operation, and the checks of kernels with all that they make. */
static dcam_status make(dcam_nn *nn, int kind, const dcam_nn_convolution *c, dcam_nn_op *op, dcam_nn_op **out)
{
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    dcam_nn_check found;
    dcam_nn_tensor other = c->src;
    other.layout = DCAM_NN_NCHW;
    switch (kind) {
    case 0: return dcam_nn_convolution_forward(nn, c, out);
    case 1: return dcam_nn_convolution_backward_data(nn, c, out);
    case 2: return dcam_nn_convolution_backward_weights(nn, c, out);
    case 3: return dcam_nn_max_pool(nn, &dst, 3, 2, 1, out);
    case 4: return dcam_nn_reorder(nn, &c->src, &other, out);
    case 5: return dcam_nn_weights_in(nn, op, out);
    case 6: return dcam_nn_check_convolution(nn, c, DCAM_NN_CHECK_FORWARD, 9, &found);
    case 7: return dcam_nn_check_convolution(nn, c, DCAM_NN_CHECK_BACKWARD_DATA, 9, &found);
    case 8: return dcam_nn_check_convolution(nn, c, DCAM_NN_CHECK_BACKWARD_WEIGHTS, 9, &found);
    case 9: return dcam_nn_check_max_pool(nn, &dst, 3, 2, 1, 9, &found);
    case 10: return dcam_nn_check_reorder(nn, &c->src, &other, 9, &found);
    default: return dcam_nn_check_conversion(nn, &dst, kind == 11, 9, &found);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    dcam_nn *nn = NULL;
    EVERY_ALLOCATION(a, dcam_nn_create(&nn)) {
        assert_true(a.passed == (nn != NULL));
        dcam_nn_destroy(nn);
        nn = NULL;
    }
    OK(dcam_nn_create(&nn));
    for (int exact = 0; exact < 2; exact++) {
        const dcam_nn_convolution c = {.src = {1, 16, 9, 9, DCAM_NN_F32, DCAM_NN_NHWC}, .out_channels = 16, .kernel = 3, .stride = 1,
                                       .padding = 1, .dst_type = DCAM_NN_F32, .dst_layout = DCAM_NN_NHWC, .exact = exact == 1};
        dcam_nn_op *forward, *gradient, *op = NULL;
        OK(dcam_nn_convolution_forward(nn, &c, &forward));
        OK(dcam_nn_convolution_backward_weights(nn, &c, &gradient));
        for (int kind = 0; kind < 13; kind++)
            EVERY_ALLOCATION(a, make(nn, kind, &c, forward, &op)) {
                assert_true(kind > 5 || a.passed == (op != NULL));
                dcam_nn_op_destroy(op);
                op = NULL;
            }
        EVERY_ALLOCATION(a, dcam_nn_weights_out(nn, gradient, &op)) {
            assert_true(a.passed == (op != NULL));
            dcam_nn_op_destroy(op);
            op = NULL;
        }
        dcam_nn_op_destroy(gradient);
        dcam_nn_op_destroy(forward);
    }
    dcam_nn_destroy(nn);
}

static void test_describe(void **state)
{
    (void)state;
    char text[128];
    assert_non_null(strstr(dcam_nn_describe(text, sizeof text), "oneDNN "));
    print_message("%s\n", text);
}

static void test_arena(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(9, 9);
    for (int round = 0; round < 50; round++) {
        dcam_arena_item items[40];
        size_t total, peak = 0, sum = 0;
        for (int i = 0; i < 40; i++) {
            int first = (int)dcam_random_below(&r, 30);
            items[i] = (dcam_arena_item){dcam_random_below(&r, 5000), first, first + (int)dcam_random_below(&r, 9), 1};
        }
        OK(dcam_arena_plan(items, 40, &total));
        for (int i = 0; i < 40; i++) {
            assert_int_equal(items[i].offset % 64, 0);
            assert_true(items[i].offset + items[i].bytes <= total);
            for (int k = 0; k < i; k++)
                if (items[i].first <= items[k].last && items[k].first <= items[i].last)
                    assert_true(items[i].offset + items[i].bytes <= items[k].offset ||
                                items[k].offset + items[k].bytes <= items[i].offset);
        }
        for (int step = 0; step < 40; step++) {
            size_t alive = 0;
            for (int i = 0; i < 40; i++)
                if (items[i].first <= step && step <= items[i].last) alive += items[i].bytes;
            peak = alive > peak ? alive : peak;
        }
        for (int i = 0; i < 40; i++) sum += items[i].bytes;
        assert_true(total >= peak && total < sum && (double)total < 1.5 * (double)peak);
    }
    dcam_arena_item item = {100, 0, 1, 1};
    size_t total = 3;
    EVERY_ALLOCATION(a, dcam_arena_plan(&item, 1, &total)) {
        assert_true(a.passed == (total != 3));
        total = 3;
    }
    dcam_arena_item huge[2] = {{SIZE_MAX / 2, 0, 1, 0}, {SIZE_MAX / 2 + 100, 0, 1, 0}};
    assert_int_equal(dcam_arena_plan(huge, 2, &total), DCAM_ERROR_MEMORY);
    assert_int_equal(total, 3);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_pooling_and_reorder),
        cmocka_unit_test(test_impossible_shapes_are_refused),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
