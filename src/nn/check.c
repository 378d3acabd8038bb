/* check.c - see check.h. Data are drawn by a small generator of its own: the same on every machine, and faster than
 * what is checked. */
#include "nn/check.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "nn/reference.h"
#include "nn/round.h"

/* Largest deviations over the root mean square. Sums of up to 2304 products in f32, and of the thousands of a gradient,
 * stay below 1e-5 here, with Winograd too. Factors rounded to bf16 (2^-9) make up to 0.015 of it, and 0.07 where Winograd
 * transforms them first. A kernel that does something else is off by about 1. */
#define BOUND_F32 1e-4
#define BOUND_BF16 0.15
/* A value at the border of two integers may be rounded to either. */
#define BOUND_BYTES 0.51
/* Of the conversion between f32 and bytes, and of what a byte is worth. */
#define CONVERSION_SCALE 0.0078125f

/* coarse: numbers that bf16 holds, so that only what a kernel rounds itself is seen. */
typedef struct {
    uint32_t state;
    bool coarse;
} generator;

static uint32_t next(generator *g)
{
    g->state = g->state * 1664525u + 1013904223u;
    return g->state >> 8;
}

static int below(generator *g, int n) { return (int)(next(g) % (uint32_t)n); }

/* -1 .. 1 */
static float number(generator *g)
{
    const int bits = (int)next(g) - (1 << 23);
    const int few = bits / (1 << 16); /* whole numbers */
    return g->coarse ? (float)few * 0.0078125f : (float)bits * 0x1p-23f;
}

/* An operation with its memory. */
typedef struct {
    dcam_nn_op *op;
    void *memory[DCAM_NN_ARGUMENTS];
    float *plain;        /* weights, OIHW; S8 of an int8 convolution */
    float *bias, *scales;
    void *before;        /* of dst */
    generator random;
} bench;

static void clear(bench *b)
{
    dcam_nn_op_destroy(b->op);
    for (int i = 0; i < DCAM_NN_ARGUMENTS; i++) dcam_free(b->memory[i]);
    dcam_free(b->plain);
    dcam_free(b->bias);
    dcam_free(b->scales);
    dcam_free(b->before);
}

static void draw(generator *g, dcam_nn_type type, void *memory, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (type == DCAM_NN_F32) ((float *)memory)[i] = number(g);
        else if (type == DCAM_NN_BF16) ((uint16_t *)memory)[i] = dcam_round_bf16(number(g));
        else ((uint8_t *)memory)[i] = (uint8_t)(next(g) >> 16);
    }
}

/* Memory of the tensor, drawn. The channels that fill up a block stay zero. */
static dcam_status draw_tensor(generator *g, const dcam_nn_tensor *t, void **out)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(t, &bytes));
    DCAM_TRY(dcam_alloc_zero(bytes, 1, out));
    if (t->layout != DCAM_NN_BLOCKED16 || t->c % 16 == 0) draw(g, t->type, *out, bytes / dcam_nn_type_bytes(t->type));
    return DCAM_OK;
}

static dcam_status run_op(dcam_nn_op *op, void *const memory[DCAM_NN_ARGUMENTS])
{
    DCAM_TRY(dcam_nn_op_prepare(op));
    for (int i = 0; i < DCAM_NN_ARGUMENTS; i++)
        if (memory[i]) DCAM_TRY(dcam_nn_op_bind(op, (dcam_nn_argument)i, memory[i]));
    return dcam_nn_op_run(op);
}

static dcam_status run(bench *b, dcam_nn_check *out)
{
    DCAM_TRY(dcam_alloc(dcam_nn_op_bytes(b->op, DCAM_NN_SCRATCHPAD), 1, &b->memory[DCAM_NN_SCRATCHPAD]));
    snprintf(out->kernel, sizeof out->kernel, "%s", dcam_nn_op_implementation(b->op));
    DCAM_TRY(dcam_nn_op_prepare(b->op));
    const double start = dcam_seconds();
    DCAM_TRY(run_op(b->op, b->memory));
    out->seconds = dcam_seconds() - start;
    return DCAM_OK;
}

/* Runs and destroys a reorder of weights. */
static dcam_status reorder_weights(dcam_nn_op *op, void *src, void *dst)
{
    void *memory[DCAM_NN_ARGUMENTS] = {[DCAM_NN_SRC] = src, [DCAM_NN_DST] = dst};
    dcam_status status = dcam_alloc(dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD), 1, &memory[DCAM_NN_SCRATCHPAD]);
    if (status == DCAM_OK) status = run_op(op, memory);
    dcam_nn_op_destroy(op);
    dcam_free(memory[DCAM_NN_SCRATCHPAD]);
    return status;
}

/* ---- sampling and comparing ---------------------------------------------- */

typedef struct {
    double squares, worst;
    size_t count;
    bool bad; /* not finite */
} deviation;

static void compare(deviation *d, double got, double want)
{
    const double off = fabs(got - want);
    if (!isfinite(got)) d->bad = true;
    d->squares += want * want;
    d->count++;
    if (off > d->worst) d->worst = off;
}

static double relative(const deviation *d)
{
    const double rms = d->count ? sqrt(d->squares / (double)d->count) : 0;
    if (d->bad) return INFINITY;
    return rms > 0 ? d->worst / rms : d->worst;
}

/* Place k of so many in a tensor of the given dims. */
static void place(generator *g, const int dims[4], int k, int samples, int at[4])
{
    const size_t all = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2] * (size_t)dims[3];
    if (all <= (size_t)samples) {
        size_t rest = (size_t)k;
        for (int i = 3; i >= 0; i--) {
            at[i] = (int)(rest % (size_t)dims[i]);
            rest /= (size_t)dims[i];
        }
        return;
    }
    for (int i = 0; i < 4; i++) at[i] = below(g, dims[i]);
    /* Kernels go wrong at borders and in the last lanes. */
    if (k % 2 == 0) at[2 + k / 2 % 2] = k / 4 % 2 ? 0 : dims[2 + k / 2 % 2] - 1;
}

static int places(const int dims[4], int samples)
{
    const size_t all = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2] * (size_t)dims[3];
    return all < (size_t)samples ? (int)all : samples;
}

/* ---- convolutions --------------------------------------------------------- */

static dcam_status draw_weights(bench *b, dcam_nn_convolution *c)
{
    const size_t taps = (size_t)c->src.c * (size_t)(c->kernel * c->kernel), outs = (size_t)c->out_channels;
    const int limit = dcam_nn_int8_weight_limit();
    DCAM_TRY(dcam_alloc(taps * outs, sizeof(float), &b->plain));
    DCAM_TRY(dcam_alloc(outs, sizeof(float), &b->bias));
    if (!c->scales) {
        draw(&b->random, DCAM_NN_F32, b->plain, taps * outs);
        draw(&b->random, DCAM_NN_F32, b->bias, outs);
        return DCAM_OK;
    }
    int8_t *bytes = (int8_t *)b->plain;
    DCAM_TRY(dcam_alloc(outs, sizeof(float), &b->scales));
    for (size_t i = 0; i < taps * outs; i++) bytes[i] = (int8_t)(below(&b->random, 2 * limit + 1) - limit);
    for (size_t i = 0; i < outs; i++) {
        /* Sums of taps products of 0 .. 255 and up to the limit: most results fit into a byte. */
        b->scales[i] = (1.0f + 0.5f * number(&b->random)) * 0.6f / (float)(limit * sqrt((double)taps));
        b->bias[i] = 40 * number(&b->random) + 60;
    }
    c->scales = b->scales;
    return DCAM_OK;
}

static dcam_status set_up_forward(bench *b, dcam_nn *nn, const dcam_nn_convolution *c)
{
    dcam_nn_op *in;
    size_t bytes;
    dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    DCAM_TRY(dcam_nn_tensor_bytes(&dst, &bytes));
    DCAM_TRY(dcam_nn_convolution_forward(nn, c, &b->op));
    DCAM_TRY(draw_tensor(&b->random, &c->src, &b->memory[DCAM_NN_SRC]));
    DCAM_TRY(draw_tensor(&b->random, &dst, &b->before));
    DCAM_TRY(dcam_alloc(bytes, 1, &b->memory[DCAM_NN_DST]));
    memcpy(b->memory[DCAM_NN_DST], b->before, bytes);
    DCAM_TRY(dcam_alloc((size_t)c->out_channels, sizeof(float), &b->memory[DCAM_NN_BIAS]));
    dcam_nn_bias_in(c, b->bias, b->memory[DCAM_NN_BIAS]);
    DCAM_TRY(dcam_alloc_zero(dcam_nn_op_bytes(b->op, DCAM_NN_WEIGHTS), 1, &b->memory[DCAM_NN_WEIGHTS]));
    DCAM_TRY(dcam_nn_weights_in(nn, b->op, &in));
    return reorder_weights(in, b->plain, b->memory[DCAM_NN_WEIGHTS]);
}

/* The value of the forward pass at a place; of one with pooling the largest of its window. */
static double right_value(bench *b, const dcam_nn_convolution *c, const int at[4])
{
    const void *src = b->memory[DCAM_NN_SRC];
    const dcam_nn_tensor convolved = dcam_nn_convolved(c);
    double largest = -INFINITY;
    if (!c->pool) return dcam_nn_reference_forward(c, src, b->plain, b->bias, b->before, at[0], at[1], at[2], at[3]);
    for (int y = 2 * at[2] - 1; y <= 2 * at[2] + 1; y++)
        for (int x = 2 * at[3] - 1; x <= 2 * at[3] + 1; x++)
            if (y >= 0 && x >= 0 && y < convolved.h && x < convolved.w)
                largest = fmax(largest, dcam_nn_reference_forward(c, src, b->plain, b->bias, NULL, at[0], at[1], y, x));
    return c->dst_type == DCAM_NN_U8 ? largest / (double)c->pool_scale : largest;
}

static void compare_forward(bench *b, const dcam_nn_convolution *c, int samples, deviation *d)
{
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    const int dims[4] = {dst.n, dst.c, dst.h, dst.w};
    for (int k = 0; k < places(dims, samples); k++) {
        int at[4];
        place(&b->random, dims, k, samples, at);
        double want = right_value(b, c, at);
        if (dst.type == DCAM_NN_U8) want = fmin(fmax(want, 0), 255);
        if (dst.type == DCAM_NN_S8) want = fmin(fmax(want, -128), 127);
        compare(d, dcam_nn_value(&dst, b->memory[DCAM_NN_DST], at[0], at[1], at[2], at[3]), want);
    }
}

static dcam_status set_up_backward(bench *b, dcam_nn *nn, const dcam_nn_convolution *c, bool data)
{
    dcam_nn_op *in;
    size_t bytes;
    dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    if (data) DCAM_TRY(dcam_nn_convolution_backward_data(nn, c, &b->op));
    else DCAM_TRY(dcam_nn_convolution_backward_weights(nn, c, &b->op));
    DCAM_TRY(draw_tensor(&b->random, &dst, &b->memory[DCAM_NN_DST]));
    DCAM_TRY(dcam_alloc_zero(dcam_nn_op_bytes(b->op, DCAM_NN_WEIGHTS), 1, &b->memory[DCAM_NN_WEIGHTS]));
    if (!data) return draw_tensor(&b->random, &c->src, &b->memory[DCAM_NN_SRC]);
    DCAM_TRY(dcam_nn_tensor_bytes(&c->src, &bytes));
    DCAM_TRY(dcam_alloc_zero(bytes, 1, &b->memory[DCAM_NN_SRC]));
    DCAM_TRY(dcam_nn_weights_in(nn, b->op, &in));
    return reorder_weights(in, b->plain, b->memory[DCAM_NN_WEIGHTS]);
}

static void compare_data(bench *b, const dcam_nn_convolution *c, int samples, deviation *d)
{
    const int dims[4] = {c->src.n, c->src.c, c->src.h, c->src.w};
    for (int k = 0; k < places(dims, samples); k++) {
        int at[4];
        place(&b->random, dims, k, samples, at);
        compare(d, dcam_nn_value(&c->src, b->memory[DCAM_NN_SRC], at[0], at[1], at[2], at[3]),
                dcam_nn_reference_backward_data(c, b->plain, b->memory[DCAM_NN_DST], at[0], at[1], at[2], at[3]));
    }
}

/* A gradient of a weight is a sum over the whole map: fewer places take the same time. */
static dcam_status compare_weights(bench *b, dcam_nn *nn, const dcam_nn_convolution *c, int samples, deviation *d)
{
    const int dims[4] = {c->out_channels, c->src.c, c->kernel, c->kernel};
    const dcam_nn_tensor shape = {dims[0], dims[1], dims[2], dims[3], DCAM_NN_F32, DCAM_NN_NCHW};
    dcam_nn_op *out;
    DCAM_TRY(dcam_nn_weights_out(nn, b->op, &out));
    DCAM_TRY(reorder_weights(out, b->memory[DCAM_NN_WEIGHTS], b->plain));
    samples = samples / 4 + 1;
    for (int k = 0; k < places(dims, samples); k++) {
        int at[4];
        place(&b->random, dims, k, samples, at);
        compare(d, dcam_nn_value(&shape, b->plain, at[0], at[1], at[2], at[3]),
                dcam_nn_reference_backward_weights(c, b->memory[DCAM_NN_SRC], b->memory[DCAM_NN_DST], at[0], at[1],
                                                   at[2], at[3]));
    }
    return DCAM_OK;
}

static bool is_f32(const dcam_nn_convolution *c)
{
    return c->src.type == DCAM_NN_F32 && c->dst_type == DCAM_NN_F32 && !c->bf16_products;
}

dcam_status dcam_nn_check_convolution(dcam_nn *nn, const dcam_nn_convolution *asked, dcam_nn_check_part part,
                                      int samples, dcam_nn_check *out)
{
    bench b = {.random = {1, !is_f32(asked)}};
    dcam_nn_convolution c = *asked;
    dcam_nn_check result = {0};
    deviation d = {0};
    const bool int8 = c.scales != NULL || c.dst_type == DCAM_NN_U8;
    dcam_status status = draw_weights(&b, &c);
    if (status == DCAM_OK)
        status = part == DCAM_NN_CHECK_FORWARD ? set_up_forward(&b, nn, &c)
                                               : set_up_backward(&b, nn, &c, part == DCAM_NN_CHECK_BACKWARD_DATA);
    if (status == DCAM_OK) status = run(&b, &result);
    if (status == DCAM_OK) {
        if (part == DCAM_NN_CHECK_FORWARD) compare_forward(&b, &c, samples, &d);
        else if (part == DCAM_NN_CHECK_BACKWARD_DATA) compare_data(&b, &c, samples, &d);
        else status = compare_weights(&b, nn, &c, samples, &d);
    }
    if (status == DCAM_OK) {
        /* Some parts of a training in bf16 stay f32. */
        const bool bf16 = !is_f32(&c) && (c.src.type == DCAM_NN_BF16 || strstr(result.kernel, "bf16"));
        result.error = int8 ? d.worst : relative(&d);
        result.bound = int8 ? BOUND_BYTES : bf16 ? BOUND_BF16 : BOUND_F32;
        *out = result;
    }
    clear(&b);
    return status;
}

/* ---- what has no weights --------------------------------------------------- */

/* Of the operation in b, which is ready, from src to dst: want(b, place) is the right value. */
static dcam_status check_plain(bench *b, const dcam_nn_tensor *src, const dcam_nn_tensor *dst, int samples,
                               double (*want)(const bench *b, const int at[4], const void *context), const void *context,
                               dcam_nn_check *out)
{
    const int dims[4] = {dst->n, dst->c, dst->h, dst->w};
    dcam_nn_check result = {0};
    deviation d = {0};
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(dst, &bytes));
    DCAM_TRY(draw_tensor(&b->random, src, &b->memory[DCAM_NN_SRC]));
    DCAM_TRY(dcam_alloc_zero(bytes, 1, &b->memory[DCAM_NN_DST]));
    DCAM_TRY(run(b, &result));
    for (int k = 0; k < places(dims, samples); k++) {
        int at[4];
        place(&b->random, dims, k, samples, at);
        compare(&d, dcam_nn_value(dst, b->memory[DCAM_NN_DST], at[0], at[1], at[2], at[3]), want(b, at, context));
    }
    /* Numbers that bf16 holds: nothing is rounded but what becomes a byte. */
    result.error = dst->type == DCAM_NN_U8 ? d.worst : relative(&d);
    result.bound = dst->type == DCAM_NN_U8 ? BOUND_BYTES : BOUND_F32;
    *out = result;
    return DCAM_OK;
}

typedef struct {
    const dcam_nn_tensor *src;
    int kernel, stride, padding;
} pooling;

static double pooled(const bench *b, const int at[4], const void *context)
{
    const pooling *p = context;
    return dcam_nn_reference_max_pool(p->src, p->kernel, p->stride, p->padding, b->memory[DCAM_NN_SRC], at[0], at[1],
                                      at[2], at[3]);
}

dcam_status dcam_nn_check_max_pool(dcam_nn *nn, const dcam_nn_tensor *src, int kernel, int stride, int padding,
                                   int samples, dcam_nn_check *out)
{
    bench b = {.random = {2, true}};
    const pooling p = {src, kernel, stride, padding};
    dcam_nn_tensor dst = *src;
    dst.h = dcam_nn_output_size(src->h, kernel, stride, padding);
    dst.w = dcam_nn_output_size(src->w, kernel, stride, padding);
    dcam_status status = dcam_nn_max_pool(nn, src, kernel, stride, padding, &b.op);
    if (status == DCAM_OK) status = check_plain(&b, src, &dst, samples, pooled, &p, out);
    clear(&b);
    return status;
}

static double same(const bench *b, const int at[4], const void *context)
{
    return dcam_nn_value(context, b->memory[DCAM_NN_SRC], at[0], at[1], at[2], at[3]);
}

static double in_bytes(const bench *b, const int at[4], const void *context)
{
    return fmin(fmax(same(b, at, context) / (double)CONVERSION_SCALE, 0), 255);
}

static double from_bytes(const bench *b, const int at[4], const void *context)
{
    return same(b, at, context) * (double)CONVERSION_SCALE;
}

dcam_status dcam_nn_check_conversion(dcam_nn *nn, const dcam_nn_tensor *shape, bool to_bytes, int samples,
                                     dcam_nn_check *out)
{
    bench b = {.random = {3, true}};
    dcam_nn_tensor src = *shape, dst = *shape;
    src.type = to_bytes ? DCAM_NN_F32 : DCAM_NN_U8;
    dst.type = to_bytes ? DCAM_NN_U8 : DCAM_NN_F32;
    dcam_status status = to_bytes ? dcam_nn_quantise(nn, &src, CONVERSION_SCALE, &b.op)
                                  : dcam_nn_dequantise(nn, &src, CONVERSION_SCALE, &b.op);
    if (status == DCAM_OK) status = check_plain(&b, &src, &dst, samples, to_bytes ? in_bytes : from_bytes, &src, out);
    clear(&b);
    return status;
}

dcam_status dcam_nn_check_reorder(dcam_nn *nn, const dcam_nn_tensor *src, const dcam_nn_tensor *dst, int samples,
                                  dcam_nn_check *out)
{
    bench b = {.random = {4, true}};
    dcam_status status = dcam_nn_reorder(nn, src, dst, &b.op);
    if (status == DCAM_OK) status = check_plain(&b, src, dst, samples, same, src, out);
    clear(&b);
    return status;
}
