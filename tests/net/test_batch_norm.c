/* test_batch_norm.c - the kernels of bf16 maps against those of f32 maps (which test_train compares with PyTorch), on values
 * that bf16 holds exactly: what is summed must agree as f32 does, what is written within its rounding. Both keep NaN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "allocations.h"
#include "base/bf16.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "net/batch_norm.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define MOST_CHANNELS 256
#define SUMS 1e-5       /* of sums and statistics, relative */
#define ROUNDING 0.0040 /* 2^-8, and a little for the sums */

/* The same values twice. */
typedef struct {
    dcam_nn_tensor maps[2]; /* f32, bf16 */
    size_t count;
    float *exact;
    uint16_t *rough;
} twin;

static uint16_t narrowed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static twin make_twin(int n, int c, int h, int w, double shift, dcam_random *r)
{
    twin t = {.maps = {{n, c, h, w, DCAM_NN_F32, DCAM_NN_NHWC}, {n, c, h, w, DCAM_NN_BF16, DCAM_NN_NHWC}}};
    t.count = (size_t)n * (size_t)c * (size_t)h * (size_t)w;
    OK(dcam_alloc(t.count, sizeof(float), &t.exact));
    OK(dcam_alloc(t.count, sizeof(uint16_t), &t.rough));
    for (size_t i = 0; i < t.count; i++) {
        t.rough[i] = narrowed((float)(dcam_random_normal(r) + shift));
        t.exact[i] = dcam_widen_bf16(t.rough[i]);
    }
    return t;
}

static void free_twin(twin *t)
{
    dcam_free(t->exact);
    dcam_free(t->rough);
}

static void *values(const twin *t, int type) { return type ? (void *)t->rough : (void *)t->exact; }

/* bf16 as it should be rounded from the f32 one: `scale` is how large the terms of a value may be. */
static void must_agree(const twin *t, float scale)
{
    for (size_t i = 0; i < t->count; i++) {
        const float want = t->exact[i], got = dcam_widen_bf16(t->rough[i]);
        if (!(fabsf(got - want) <= (float)ROUNDING * fabsf(want) + (float)SUMS * scale)) {
            print_message("value %zu of %zu: %g, wanted %g\n", i, t->count, (double)got, (double)want);
            fail();
        }
    }
}

typedef struct {
    net_norm norms[2]; /* of f32, of bf16 */
    float parameters[2], gamma[MOST_CHANNELS], beta[MOST_CHANNELS], running[2][2][MOST_CHANNELS];
    float d_gamma[2][MOST_CHANNELS], d_beta[2][MOST_CHANNELS];
} norm_pair;

static void make_norms(norm_pair *p, int channels, dcam_random *r)
{
    dcam_convolution_shape shape = {.name = "test", .out_channels = channels};
    memset(p, 0, sizeof *p);
    for (int c = 0; c < channels; c++) {
        p->gamma[c] = (float)dcam_random_normal(r);
        p->beta[c] = (float)dcam_random_normal(r);
    }
    for (int type = 0; type < 2; type++) {
        const dcam_convolution_weights w = {.gamma = p->gamma, .beta = p->beta, .running_mean = p->running[type][0],
                                            .running_variance = p->running[type][1]};
        EVERY_ALLOCATION(a, net_norm_create(&shape, &w, &p->norms[type])) {
            if (a.passed) net_norm_clear(&p->norms[type]);
        }
        OK(net_norm_create(&shape, &w, &p->norms[type]));
    }
}

static void free_norms(norm_pair *p)
{
    for (int type = 0; type < 2; type++) net_norm_clear(&p->norms[type]);
}

static void channels_agree(const float *exact, const float *rough, size_t channels, double scale)
{
    for (size_t c = 0; c < channels; c++)
        if (!(fabs((double)exact[c] - (double)rough[c]) <= SUMS * (fabs((double)exact[c]) + scale))) {
            print_message("channel %zu: %g, wanted %g\n", c, (double)rough[c], (double)exact[c]);
            fail();
        }
}

/* Statistics of both, which must agree; then the f32 ones serve both, so that no ReLU turns. */
static void statistics_of(norm_pair *p, const twin *y)
{
    const size_t channels = (size_t)y->maps[0].c;
    for (int type = 0; type < 2; type++) {
        double *scratch;
        OK(dcam_alloc(net_norm_scratch(&y->maps[type]), sizeof(double), &scratch));
        net_norm_statistics(&p->norms[type], &y->maps[type], values(y, type), scratch);
        dcam_free(scratch);
    }
    channels_agree(p->norms[0].mean, p->norms[1].mean, channels, 1);
    channels_agree(p->norms[0].inverse, p->norms[1].inverse, channels, 0);
    channels_agree(p->running[0][0], p->running[1][0], channels, 1);
    channels_agree(p->running[0][1], p->running[1][1], channels, 1);
    memcpy(p->norms[1].mean, p->norms[0].mean, 6 * channels * sizeof(float));
}

static void gradients_agree(const norm_pair *p, size_t channels, double values_a_channel)
{
    channels_agree(p->d_gamma[0], p->d_gamma[1], channels, sqrt(values_a_channel));
    channels_agree(p->d_beta[0], p->d_beta[1], channels, sqrt(values_a_channel));
}

/* Forward and backward of a block's parts. */
static void check_block(int n, int c, int h, int w)
{
    dcam_random r = dcam_random_make(1, (uint64_t)(n * c * h * w));
    norm_pair first, second;
    twin y = make_twin(n, c, h, w, 0.5, &r), other = make_twin(n, c, h, w, 3, &r), out = make_twin(n, c, h, w, 0, &r);
    twin parts[3] = {make_twin(n, c, h, w, 0, &r), make_twin(n, c, h, w, 0, &r), make_twin(n, c, h, w, 0, &r)};
    twin g = make_twin(n, c, h, w, 0, &r);
    const double count = (double)n * h * w;
    make_norms(&first, c, &r);
    make_norms(&second, c, &r);
    statistics_of(&first, &y);
    statistics_of(&second, &other);
    for (int type = 0; type < 2; type++)
        net_norm_relu(&first.norms[type], &y.maps[type], values(&y, type), values(&g, type));
    must_agree(&g, 10);
    for (int way = 0; way < 2; way++) {
        for (int type = 0; type < 2; type++)
            net_norm_add_relu(&first.norms[type], &y.maps[type], values(&y, type), way ? &second.norms[type] : NULL,
                              values(&other, type), values(&g, type));
        must_agree(&g, 10);
    }
    for (int norms = 0; norms < 3; norms++)
        for (int some = 7; some > 0; some--) { /* one part comes last: what is used below */
            for (int type = 0; type < 2; type++) {
                const void *from[3] = {NULL, NULL, NULL};
                net_norm *const of[2] = {norms > 0 ? &first.norms[type] : NULL, norms > 1 ? &second.norms[type] : NULL};
                const void *const ys[2] = {values(&y, type), values(&other, type)};
                float *const d_gamma[2] = {first.d_gamma[type], second.d_gamma[type]};
                float *const d_beta[2] = {first.d_beta[type], second.d_beta[type]};
                double *scratch;
                for (int k = 0; k < 3; k++)
                    if (some >> k & 1) from[k] = values(&parts[k], type);
                OK(dcam_alloc(net_norm_scratch(&y.maps[type]), sizeof(double), &scratch));
                net_norm_join(&y.maps[type], from, values(&out, type), values(&g, type), of, ys, d_gamma, d_beta, scratch);
                dcam_free(scratch);
            }
            must_agree(&g, 0);
            /* One part is not rounded again: then the sums are the same. */
            if (norms > 0 && (some & (some - 1)) == 0) gradients_agree(&first, (size_t)c, count);
            if (norms > 1 && (some & (some - 1)) == 0) gradients_agree(&second, (size_t)c, count);
        }
    for (int type = 0; type < 2; type++) {
        double *scratch;
        OK(dcam_alloc(net_norm_scratch(&y.maps[type]), sizeof(double), &scratch));
        net_norm_relu_backward(&first.norms[type], &y.maps[type], values(&parts[0], type), values(&y, type),
                               first.d_gamma[type], first.d_beta[type], scratch);
        dcam_free(scratch);
    }
    gradients_agree(&first, (size_t)c, count);
    must_agree(&y, 10);
    for (int type = 0; type < 2; type++)
        net_norm_backward(&second.norms[type], &other.maps[type], values(&parts[1], type), values(&other, type));
    must_agree(&other, 10);
    free_norms(&first);
    free_norms(&second);
    free_twin(&y);
    free_twin(&other);
    free_twin(&out);
    free_twin(&g);
    for (int k = 0; k < 3; k++) free_twin(&parts[k]);
}

static void test_blocks(void **state)
{
    (void)state;
    check_block(1, 32, 1, 2);
    check_block(3, 64, 5, 7);
    check_block(2, 64, 34, 38); /* more than one band, and an odd rest */
    check_block(2, 256, 8, 8);
}

static void check_pool(int n, int c, int h, int w)
{
    dcam_random r = dcam_random_make(2, (uint64_t)(n * c * h * w));
    norm_pair p;
    twin y = make_twin(n, c, h, w, 0.5, &r), pooled = make_twin(n, c, (h + 1) / 2, (w + 1) / 2, 0, &r);
    twin g = make_twin(n, c, (h + 1) / 2, (w + 1) / 2, 0, &r), top = make_twin(n, c, (h + 1) / 2, (w + 1) / 2, 0, &r);
    uint8_t *which[2];
    make_norms(&p, c, &r);
    statistics_of(&p, &y);
    for (int type = 0; type < 2; type++) {
        OK(dcam_alloc(pooled.count, 1, &which[type]));
        net_norm_relu_pool(&p.norms[type], &y.maps[type], values(&y, type), &pooled.maps[type], values(&pooled, type), which[type],
                           top.rough);
    }
    must_agree(&pooled, 10);
    /* Where all is below 0 the place does not matter, for no gradient goes there. */
    for (size_t i = 0; i < pooled.count; i++)
        if (pooled.exact[i] > 0) assert_int_equal(which[0][i], which[1][i]);
        else g.exact[i] = 0, g.rough[i] = 0;
    for (int type = 0; type < 2; type++) {
        double *scratch;
        OK(dcam_alloc(net_norm_scratch(&y.maps[type]), sizeof(double), &scratch));
        net_norm_pool_backward(&p.norms[type], &y.maps[type], &pooled.maps[type], values(&g, type), which[0], top.rough, values(&y, type),
                               p.d_gamma[type], p.d_beta[type], scratch);
        dcam_free(scratch);
    }
    gradients_agree(&p, (size_t)c, (double)n * h * w);
    must_agree(&y, 10);
    for (int type = 0; type < 2; type++) dcam_free(which[type]);
    free_norms(&p);
    free_twin(&y);
    free_twin(&pooled);
    free_twin(&top);
    free_twin(&g);
}

static void test_pooling(void **state)
{
    (void)state;
    check_pool(1, 32, 2, 2);
    check_pool(3, 64, 16, 22);
    check_pool(2, 64, 34, 48);
    check_pool(2, 32, 7, 9);
}

/* The sums' order does not depend on the threads. */
static void test_threads(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(3, 1);
    twin y = make_twin(3, 64, 40, 40, 1, &r);
    norm_pair p;
    float first[64];
    make_norms(&p, 64, &r);
    for (int threads = 1; threads <= 3; threads++) {
        double *scratch;
        dcam_set_threads(threads);
        OK(dcam_alloc(net_norm_scratch(&y.maps[1]), sizeof(double), &scratch));
        net_norm_statistics(&p.norms[1], &y.maps[1], y.rough, scratch);
        dcam_free(scratch);
        if (threads == 1) memcpy(first, p.norms[1].scale, sizeof first);
        assert_memory_equal(first, p.norms[1].scale, sizeof first);
    }
    dcam_set_threads(2);
    free_norms(&p);
    free_twin(&y);
}

/* ---- NaN ---- */

/* In the one channel that has it all values are NaN, in the others none: what has a NaN can be told by its loss. */
static void one_channel_is_nan(const twin *t, int type, int channel)
{
    for (size_t i = 0; i < t->count; i++) {
        const float v = type ? dcam_widen_bf16(t->rough[i]) : t->exact[i];
        const int c = (int)(i % (size_t)t->maps[0].c);
        if (isnan(v) != (c == channel)) fail_msg("type %d, value %zu of channel %d: %g", type, i, c, (double)v);
    }
}

static void nan_at(const twin *t, size_t i)
{
    t->exact[i] = NAN;
    t->rough[i] = narrowed(NAN);
}

static void check_nan(int type)
{
    enum { CHANNELS = 64, BAD = 37 };
    dcam_random r = dcam_random_make(4, 1);
    norm_pair bad, good;
    twin y = make_twin(2, CHANNELS, 6, 10, 0.5, &r), out = make_twin(2, CHANNELS, 6, 10, 0, &r);
    twin shortcut = make_twin(2, CHANNELS, 6, 10, 0, &r), pooled = make_twin(2, CHANNELS, 3, 5, 0, &r), top = make_twin(2, CHANNELS, 3, 5, 0, &r);
    uint8_t *which;
    double *scratch;
    OK(dcam_alloc(pooled.count, 1, &which));
    OK(dcam_alloc(net_norm_scratch(&y.maps[type]), sizeof(double), &scratch));
    make_norms(&bad, CHANNELS, &r);
    make_norms(&good, CHANNELS, &r);
    net_norm_statistics(&good.norms[type], &y.maps[type], values(&y, type), scratch);
    nan_at(&y, 23 * CHANNELS + BAD); /* of the first image */
    net_norm_statistics(&bad.norms[type], &y.maps[type], values(&y, type), scratch);
    for (int c = 0; c < CHANNELS; c++) {
        const float of_channel[] = {bad.norms[type].mean[c], bad.norms[type].inverse[c], bad.norms[type].scale[c],
                                    bad.norms[type].shift[c], bad.running[type][0][c], bad.running[type][1][c]};
        for (int k = 0; k < 6; k++) assert_int_equal(isnan(of_channel[k]) != 0, c == BAD);
    }
    net_norm_relu(&bad.norms[type], &y.maps[type], values(&y, type), values(&out, type));
    one_channel_is_nan(&out, type, BAD);
    net_norm_relu_pool(&bad.norms[type], &y.maps[type], values(&y, type), &pooled.maps[type], values(&pooled, type), which, top.rough);
    one_channel_is_nan(&pooled, type, BAD);
    for (int way = 0; way < 2; way++) {
        const net_norm *of = way ? &good.norms[type] : NULL;
        net_norm_add_relu(&bad.norms[type], &y.maps[type], values(&y, type), of, values(&shortcut, type), values(&out, type));
        one_channel_is_nan(&out, type, BAD);
    }
    dcam_free(scratch);
    dcam_free(which);
    free_norms(&bad);
    free_norms(&good);
    free_twin(&y);
    free_twin(&out);
    free_twin(&shortcut);
    free_twin(&pooled);
    free_twin(&top);
}

static void test_nan_f32(void **state)
{
    (void)state;
    check_nan(0);
}

static void test_nan_bf16(void **state)
{
    (void)state;
    check_nan(1);
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nan_f32), cmocka_unit_test(test_nan_bf16), cmocka_unit_test(test_blocks),
                                       cmocka_unit_test(test_pooling), cmocka_unit_test(test_threads)};
    if (dcam_nn_bf16_maps()) return cmocka_run_group_tests(tests, NULL, NULL);
    print_message("no bf16 maps on this processor\n");
    const struct CMUnitTest of_f32[] = {cmocka_unit_test(test_nan_f32)};
    return cmocka_run_group_tests(of_f32, NULL, NULL);
}
