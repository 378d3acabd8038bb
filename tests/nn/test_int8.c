/* test_int8.c - int8 convolutions against exact integer sums in plain C, with every set of post-ops, odd shapes and
 * both readings of what the result is added to; rounding and saturation of the conversions. */
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
#include "nn/nn.h"
#include "nn/reference.h"

#define OK(call) assert_int_equal((call), DCAM_OK)

static void *buffer(size_t bytes)
{
    void *p;
    OK(dcam_alloc_zero(bytes ? bytes : 1, 1, &p));
    return p;
}

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

static void run(dcam_nn_op *op, const void *src, const void *weights, const void *bias, void *dst)
{
    void *scratchpad = buffer(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD));
    OK(dcam_nn_op_prepare(op));
    OK(dcam_nn_op_bind(op, DCAM_NN_SRC, src));
    OK(dcam_nn_op_bind(op, DCAM_NN_WEIGHTS, weights));
    OK(dcam_nn_op_bind(op, DCAM_NN_BIAS, bias));
    OK(dcam_nn_op_bind(op, DCAM_NN_DST, dst));
    OK(dcam_nn_op_bind(op, DCAM_NN_SCRATCHPAD, scratchpad));
    OK(dcam_nn_op_run(op));
    dcam_free(scratchpad);
    dcam_nn_op_destroy(op);
}

/* Drawn input of one convolution, NCHW, and what it gives before rounding. */
typedef struct {
    uint8_t *x, *before;  /* before: bytes of u8 or s8 */
    int8_t *w;
    float *scales, *bias;
    double *want;
} int8_case;

static void draw(const dcam_nn_convolution *c, const dcam_nn_tensor *o, dcam_random *r, int8_case *k)
{
    const int limit = dcam_nn_int8_weight_limit(), taps = c->src.c * c->kernel * c->kernel;
    const size_t weights = (size_t)c->out_channels * (size_t)taps;
    k->x = buffer(plain_count(&c->src));
    k->before = buffer(plain_count(o));
    k->w = buffer(weights);
    k->scales = buffer((size_t)o->c * sizeof(float));
    k->bias = buffer((size_t)o->c * sizeof(float));
    k->want = buffer(plain_count(o) * sizeof(double));
    /* The ends come often: they are where sums of pairs overflow. */
    for (size_t i = 0; i < plain_count(&c->src); i++) k->x[i] = (uint8_t)(i % 3 ? dcam_random_below(r, 256) : 255);
    for (size_t i = 0; i < plain_count(o); i++) k->before[i] = (uint8_t)dcam_random_below(r, 256);
    for (size_t i = 0; i < weights; i++)
        k->w[i] = (int8_t)(i % 3 ? (int)dcam_random_below(r, 2 * (uint32_t)limit + 1) - limit : limit);
    for (int i = 0; i < o->c; i++) {
        k->scales[i] = (float)((0.5 + dcam_random_uniform(r)) / (100.0 * taps));
        k->bias[i] = (float)(60 * dcam_random_uniform(r) - 30);
    }
}

static void clear(int8_case *k)
{
    dcam_free(k->x);
    dcam_free(k->before);
    dcam_free(k->w);
    dcam_free(k->scales);
    dcam_free(k->bias);
    dcam_free(k->want);
}

static void reference(const dcam_nn_convolution *c, const dcam_nn_tensor *o, int8_case *k)
{
    dcam_nn_convolution plain = *c;
    plain.src.layout = plain.dst_layout = DCAM_NN_NCHW;
    for (int n = 0; n < o->n; n++)
        for (int ch = 0; ch < o->c; ch++)
            for (int y = 0; y < o->h; y++)
                for (int x = 0; x < o->w; x++)
                    k->want[plain_index(o, n, ch, y, x)] =
                        dcam_nn_reference_forward(&plain, k->x, k->w, k->bias, k->before, n, ch, y, x);
}

/* Exact sums, so only a value that lies on the border between two integers may round the other way. */
static void compare(const dcam_nn_tensor *o, const uint8_t *got, const int8_case *k)
{
    const double low = o->type == DCAM_NN_S8 ? -128 : 0, high = o->type == DCAM_NN_S8 ? 127 : 255;
    size_t inside = 0;
    for (int n = 0; n < o->n; n++)
        for (int ch = 0; ch < o->c; ch++)
            for (int y = 0; y < o->h; y++)
                for (int x = 0; x < o->w; x++) {
                    const uint8_t byte = got[dcam_nn_index(o, n, ch, y, x)];
                    const double have = o->type == DCAM_NN_S8 ? (double)(int8_t)byte : (double)byte;
                    double want = k->want[plain_index(o, n, ch, y, x)];
                    want = want < low ? low : want > high ? high : want;
                    inside += want > low && want < high;
                    assert_true(fabs(have - want) <= 0.501);
                }
    assert_true(inside > plain_count(o) / 4);
}

static void check(dcam_nn *nn, dcam_nn_convolution c, dcam_random *r)
{
    int8_case k;
    c.dst_layout = c.src.layout = DCAM_NN_NHWC;
    const dcam_nn_tensor o = dcam_nn_convolution_dst(&c);
    draw(&c, &o, r, &k);
    c.scales = k.scales;
    c.before_scale = 0.375f;
    reference(&c, &o, &k);
    uint8_t *src = buffer(plain_count(&c.src)), *dst = buffer(plain_count(&o));
    for (int n = 0; n < o.n; n++) {
        for (int ch = 0; ch < c.src.c; ch++)
            for (int y = 0; y < c.src.h; y++)
                for (int x = 0; x < c.src.w; x++)
                    src[dcam_nn_index(&c.src, n, ch, y, x)] = k.x[plain_index(&c.src, n, ch, y, x)];
        for (int ch = 0; ch < o.c; ch++)
            for (int y = 0; y < o.h; y++)
                for (int x = 0; x < o.w; x++)
                    dst[dcam_nn_index(&o, n, ch, y, x)] = k.before[plain_index(&o, n, ch, y, x)];
    }
    dcam_nn_op *op, *reorder;
    EVERY_ALLOCATION(a, dcam_nn_convolution_forward(nn, &c, &op)) {
        if (a.passed) dcam_nn_op_destroy(op);
    }
    OK(dcam_nn_convolution_forward(nn, &c, &op));
    void *weights = buffer(dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    float *bias = buffer((size_t)o.c * sizeof *bias);
    OK(dcam_nn_weights_in(nn, op, &reorder));
    run(reorder, k.w, NULL, NULL, weights);
    dcam_nn_bias_in(&c, k.bias, bias);
    run(op, src, weights, bias, dst);
    compare(&o, dst, &k);
    dcam_free(bias);
    dcam_free(weights);
    dcam_free(src);
    dcam_free(dst);
    clear(&k);
}

static void test_convolution(void **state)
{
    (void)state;
    static const int shapes[][4] = {{64, 64, 3, 1}, {64, 128, 3, 2}, {64, 128, 1, 2}, {16, 16, 3, 1},
                                    {32, 48, 1, 1}, {128, 32, 3, 1}};
    dcam_nn *nn;
    dcam_random r = dcam_random_make(6, 6);
    OK(dcam_nn_create(&nn));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int k = 0; k < 16; k++) {
            const int h = 5 + (int)dcam_random_below(&r, 8), w = 5 + (int)dcam_random_below(&r, 8);
            const dcam_nn_type dst = k & 8 ? DCAM_NN_S8 : DCAM_NN_U8;
            dcam_nn_convolution c = {.src = {1 + k % 3, shapes[s][0], h, w, DCAM_NN_U8, DCAM_NN_NHWC},
                                     .out_channels = shapes[s][1], .kernel = shapes[s][2], .stride = shapes[s][3],
                                     .padding = shapes[s][2] / 2, .dst_type = dst, .bias = k & 1, .sum = k & 2,
                                     .relu = k & 4, .before_type = k & 4 ? DCAM_NN_U8 : DCAM_NN_S8};
            /* A residual sum always ends in a ReLU; what it is added to may be of either sign. */
            if (c.sum) {
                c.relu = true;
                c.dst_type = DCAM_NN_U8;
            }
            check(nn, c, &r);
        }
    dcam_nn_destroy(nn);
}

static void test_conversions(void **state)
{
    (void)state;
    dcam_nn *nn;
    OK(dcam_nn_create(&nn));
    for (int w = 1; w < 40; w += 7) {
        const dcam_nn_tensor f = {2, 3, 5, w * 97, DCAM_NN_F32, DCAM_NN_NHWC};
        const dcam_nn_tensor u = {2, 3, 5, w * 97, DCAM_NN_U8, DCAM_NN_NHWC};
        const size_t count = plain_count(&f);
        const float scale = 0.25f;
        float *x = buffer(count * sizeof *x), *back = buffer(count * sizeof *back);
        uint8_t *bytes = buffer(count);
        for (size_t i = 0; i < count; i++) x[i] = (float)(i % 700) * 0.125f - 5.0625f;
        x[0] = 1e30f;
        x[1] = -1e30f;
        dcam_nn_op *in, *out;
        for (int back_too = 0; back_too < 2; back_too++)
            EVERY_ALLOCATION(a, back_too ? dcam_nn_dequantise(nn, &u, scale, &in) : dcam_nn_quantise(nn, &f, scale, &in)) {
                if (a.passed) dcam_nn_op_destroy(in);
            }
        OK(dcam_nn_quantise(nn, &f, scale, &in));
        OK(dcam_nn_dequantise(nn, &u, scale, &out));
        run(in, x, NULL, NULL, bytes);
        run(out, bytes, NULL, NULL, back);
        for (size_t i = 0; i < count; i++) {
            const double v = (double)x[i] / (double)scale, want = v < 0 ? 0 : v > 255 ? 255 : nearbyint(v);
            assert_true((double)bytes[i] == want);
            assert_true((double)back[i] == want * (double)scale);
        }
        dcam_free(x);
        dcam_free(back);
        dcam_free(bytes);
    }
    const dcam_nn_tensor blocked = {1, 16, 4, 4, DCAM_NN_F32, DCAM_NN_BLOCKED16};
    const dcam_nn_tensor plain = {1, 16, 4, 4, DCAM_NN_F32, DCAM_NN_NHWC};
    dcam_nn_op *op = NULL;
    assert_int_equal(dcam_nn_quantise(nn, &blocked, 1, &op), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_nn_quantise(nn, &plain, 0, &op), DCAM_ERROR_INTERNAL);
    assert_int_equal(dcam_nn_dequantise(nn, &plain, 1, &op), DCAM_ERROR_INTERNAL);
    assert_null(op);
    dcam_nn_destroy(nn);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_conversions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
