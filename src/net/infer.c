/* infer.c - the trunk for scoring: batch norm folded into the weights, bias, residual sum and ReLU fused into the
 * convolutions. The second convolution of a block adds into a buffer that already holds the shortcut (the block's
 * input itself, or what the downsampling convolution wrote), so that a block needs two buffers.
 *
 * A call of n images runs in parts of 2^k images, at most MAX_PART; a part's operations and memory are made when its
 * size is first seen and kept. So memory does not grow with the batch, and activations stay in the caches.
 * Allocates nothing otherwise and never writes to the caller's weights. */
#include "net/resnet.h"

#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "net/plan.h"
#include "net/quantised.h"
#include "net/trunk_shapes.h"

/* Larger parts were no faster an image (bench/net_bench.c) and cost memory in proportion. */
#define MAX_PART 8
#define MAX_OPS (DCAM_MAX_CONVOLUTIONS + DCAM_STAGES + 3)

/* Values of a plan that are the caller's features of a stage: bound at each call. */
#define FEATURES(stage) (NET_PLAN_OUTSIDE - 1 - (stage))

/* The operations for parts of n images. */
typedef struct part {
    int n;
    dcam_nn_op *ops[MAX_OPS];
    int op_count;
    dcam_nn_op *first;              /* reads the caller's input */
    struct { dcam_nn_op *op; dcam_nn_argument argument; int stage; } features[2 * MAX_OPS]; /* the caller's */
    int feature_count;
    dcam_nn_op *convolutions[DCAM_MAX_CONVOLUTIONS];
    struct {
        dcam_nn_op *op;             /* that writes what dcam_net_observe shows of a convolution */
        size_t count;
    } results[DCAM_MAX_CONVOLUTIONS];
    void *arena;
    size_t arena_bytes;
    struct part *next;
} part;

/* The weights of one convolution in the format of `reader` and of all that agree with it. */
typedef struct formatted {
    int convolution;
    const dcam_nn_op *reader;
    void *weights;
    size_t bytes;
    struct formatted *next;
} formatted;

struct dcam_net {
    dcam_net_options options;
    bool borrows;                /* weights and ranges are another network's */
    const struct formatted *borrowed; /* its formats, as they were then: it may add to its own list */
    dcam_trunk_weights *weights; /* folded */
    net_quantised *quantised;    /* int8 only */
    dcam_nn *nn;
    net_maps maps;
    formatted *formatted;
    part *parts;
};

/* ---- weights ------------------------------------------------------------ */

static const void *plain_weights(const dcam_net *net, int convolution)
{
    if (net->quantised && convolution > 0) return net_quantised_weights(net->quantised, convolution);
    return net->weights->convolutions[convolution].weight;
}

static void *find_format(const formatted *list, int convolution, const dcam_nn_op *reader)
{
    for (const formatted *f = list; f; f = f->next)
        if (f->convolution == convolution && dcam_nn_same_weights(f->reader, reader)) return f->weights;
    return NULL;
}

static dcam_status format_weights(dcam_net *net, int convolution, const dcam_nn_op *reader, void **out)
{
    *out = find_format(net->formatted, convolution, reader);
    if (!*out) *out = find_format(net->borrowed, convolution, reader);
    if (*out) return DCAM_OK;
    formatted *fresh = NULL;
    dcam_nn_op *reorder = NULL;
    void *scratchpad = NULL;
    dcam_status status = dcam_alloc_zero(1, sizeof *fresh, &fresh);
    if (status != DCAM_OK) return status;
    fresh->convolution = convolution;
    fresh->reader = reader;
    fresh->bytes = dcam_nn_op_bytes(reader, DCAM_NN_WEIGHTS);
    status = dcam_alloc(fresh->bytes, 1, &fresh->weights);
    if (status == DCAM_OK) status = dcam_nn_weights_in(net->nn, reader, &reorder);
    if (status == DCAM_OK) status = dcam_alloc(dcam_nn_op_bytes(reorder, DCAM_NN_SCRATCHPAD), 1, &scratchpad);
    if (status == DCAM_OK) status = dcam_nn_op_prepare(reorder);
    if (status == DCAM_OK) status = dcam_nn_op_bind(reorder, DCAM_NN_SCRATCHPAD, scratchpad);
    if (status == DCAM_OK)
        status = dcam_nn_op_bind(reorder, DCAM_NN_SRC, plain_weights(net, convolution));
    if (status == DCAM_OK) status = dcam_nn_op_bind(reorder, DCAM_NN_DST, fresh->weights);
    if (status == DCAM_OK) status = dcam_nn_op_run(reorder);
    dcam_nn_op_destroy(reorder);
    dcam_free(scratchpad);
    if (status != DCAM_OK) {
        dcam_free(fresh->weights);
        dcam_free(fresh);
        return status;
    }
    fresh->next = net->formatted;
    net->formatted = fresh;
    *out = fresh->weights;
    return DCAM_OK;
}

static const float *bias_of(const dcam_net *net, int convolution)
{
    if (net->quantised && convolution > 0) return net_quantised_bias(net->quantised, convolution);
    return net->weights->convolutions[convolution].bias;
}

/* ---- planning a part ---------------------------------------------------- */

/* A map on its way: its shape, where it is, and whose result it is. */
typedef struct {
    dcam_nn_tensor shape;
    int value, convolution;
} map;

typedef struct {
    dcam_net *net;
    part *part;
    net_plan *plan;
    map map; /* the present one */
} builder;

static dcam_status add_value(builder *b, const dcam_nn_tensor *t, int *out)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(t, &bytes));
    *out = net_plan_value(b->plan, bytes);
    return DCAM_OK;
}

static void bind_value(builder *b, dcam_nn_op *op, dcam_nn_argument argument, int value)
{
    part *p = b->part;
    if (value < NET_PLAN_OUTSIDE) {
        p->features[p->feature_count].op = op;
        p->features[p->feature_count].argument = argument;
        p->features[p->feature_count++].stage = FEATURES(0) - value;
    } else {
        net_plan_bind(b->plan, op, argument, value);
    }
}

static void add_op(builder *b, dcam_nn_op *op, int src, int dst)
{
    b->part->ops[b->part->op_count++] = op;
    bind_value(b, op, DCAM_NN_SRC, src);
    bind_value(b, op, DCAM_NN_DST, dst);
    net_plan_step(b->plan, op);
}

/* op writes what is shown of the convolution. */
static dcam_status add_result(builder *b, int convolution, dcam_nn_op *op, const dcam_nn_tensor *shape)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(shape, &bytes));
    b->part->results[convolution].op = op;
    b->part->results[convolution].count = bytes / dcam_nn_type_bytes(shape->type);
    return DCAM_OK;
}

/* What a convolution does at its end: dst = relu(result + dst). */
typedef struct { bool sum, relu; } ending;

/* Convolution i of the table from src into out->value; NET_PLAN_OUTSIDE: a fresh value. What is added to is *out as it
 * comes. Without a ReLU a result in bytes needs its sign. */
static dcam_status add_convolution(builder *b, int i, const map *src, ending end, map *out)
{
    const dcam_net *net = b->net;
    const dcam_convolution_shape *s = &net->weights->shapes[i];
    const bool int8 = src->shape.type == DCAM_NN_U8;
    dcam_nn_convolution c = net_convolution(s, &src->shape, net->maps.layout, net->maps.bf16_products, net->options.exact);
    c.bias = true;
    c.sum = end.sum;
    c.relu = end.relu;
    if (int8 && !end.relu) c.dst_type = DCAM_NN_S8;
    dcam_nn_op *op;
    if (int8) net_quantised_describe(net->quantised, i, src->convolution, out->convolution, out->shape.type, &c);
    out->shape = dcam_nn_convolution_dst(&c);
    out->convolution = i;
    if (out->value == NET_PLAN_OUTSIDE) DCAM_TRY(add_value(b, &out->shape, &out->value));
    DCAM_TRY(dcam_nn_convolution_forward(net->nn, &c, &op));
    b->part->convolutions[i] = op;
    add_op(b, op, src->value, out->value);
    return add_result(b, i, op, &out->shape);
}

/* Whether the maps are what the caller wants as features: then the trunk works in the caller's buffers. */
static bool maps_are_features(const dcam_net *net)
{
    return net->options.raw || (net->maps.type == DCAM_NN_F32 && net->maps.layout == DCAM_NN_NHWC && !net->quantised);
}

/* The value for the present map, which the first stage begins with: its blocks work in place. */
static dcam_status add_first_map(builder *b)
{
    const dcam_net *net = b->net;
    if (maps_are_features(net) && b->map.shape.c == net->weights->architecture->stage_channels[0]) {
        b->map.value = FEATURES(0);
        return DCAM_OK;
    }
    return add_value(b, &b->map.shape, &b->map.value);
}

/* The present map, the first of the stages, in bytes. */
static dcam_status add_quantise(builder *b)
{
    const float scale = net_quantised_scale(b->net->quantised, b->map.convolution, DCAM_NN_U8);
    const int from = b->map.value;
    dcam_nn_op *op;
    DCAM_TRY(dcam_nn_quantise(b->net->nn, &b->map.shape, scale, &op));
    b->map.shape.type = DCAM_NN_U8;
    const dcam_status status = add_first_map(b);
    add_op(b, op, from, b->map.value);
    return status;
}

/* The stem and the pooling as one operation. */
static dcam_status add_stem_with_pool(builder *b, const dcam_nn_convolution *c)
{
    dcam_nn_op *op;
    b->map = (map){dcam_nn_convolution_dst(c), NET_PLAN_OUTSIDE, 0};
    DCAM_TRY(add_first_map(b));
    DCAM_TRY(dcam_nn_convolution_forward(b->net->nn, c, &op));
    b->part->convolutions[0] = b->part->first = op;
    add_op(b, op, NET_PLAN_OUTSIDE, b->map.value);
    return add_result(b, 0, op, &b->map.shape);
}

static dcam_status add_stem(builder *b)
{
    const dcam_net *net = b->net;
    map source = {net_input(b->part->n, net->options.height, net->options.width), NET_PLAN_OUTSIDE, -1};
    map stem = {.value = NET_PLAN_OUTSIDE};
    const dcam_nn_tensor input = source.shape;
    dcam_nn_convolution whole;
    dcam_nn_op *op;
    if (net_stem_with_pool(&net->weights->shapes[0], &input, net->options.precision, net->options.exact,
                           net->quantised ? net_quantised_scale(net->quantised, 0, DCAM_NN_U8) : 0, &whole))
        return add_stem_with_pool(b, &whole);
    source.shape = net_inference_stem_source(&net->weights->shapes[0], &input, net->maps, net->options.exact);
    if (source.shape.layout != input.layout || source.shape.type != input.type) {
        DCAM_TRY(add_value(b, &source.shape, &source.value));
        DCAM_TRY(dcam_nn_reorder(net->nn, &input, &source.shape, &op));
        add_op(b, op, NET_PLAN_OUTSIDE, source.value);
    }
    DCAM_TRY(add_convolution(b, 0, &source, (ending){.relu = true}, &stem));
    b->part->first = b->part->ops[0];
    b->map.shape = net_pooled(&stem.shape);
    b->map.convolution = 0;
    if (net->quantised) DCAM_TRY(add_value(b, &b->map.shape, &b->map.value));
    else DCAM_TRY(add_first_map(b));
    DCAM_TRY(dcam_nn_max_pool(net->nn, &stem.shape, NET_POOL_KERNEL, NET_POOL_STRIDE, NET_POOL_PADDING, &op));
    add_op(b, op, stem.value, b->map.value);
    DCAM_TRY(add_result(b, 0, op, &b->map.shape));
    return net->quantised ? add_quantise(b) : DCAM_OK;
}

/* relu(conv2(relu(conv1(x))) + shortcut(x)), first: the number of conv1; torchvision's table puts the downsampling last. */
static dcam_status add_block(builder *b, int stage, int first, bool downsample)
{
    map middle = {.value = NET_PLAN_OUTSIDE}, out = b->map;
    DCAM_TRY(add_convolution(b, first, &b->map, (ending){.relu = true}, &middle));
    if (downsample) {
        out.value = maps_are_features(b->net) ? FEATURES(stage) : NET_PLAN_OUTSIDE;
        DCAM_TRY(add_convolution(b, first + 2, &b->map, (ending){0}, &out));
    }
    DCAM_TRY(add_convolution(b, first + 1, &middle, (ending){.sum = true, .relu = true}, &out));
    b->map = out;
    return DCAM_OK;
}

/* The present map is the features of the stage. */
static dcam_status add_tap(builder *b, int stage)
{
    const dcam_net *net = b->net;
    const dcam_nn_tensor features = net_features(&b->map.shape);
    dcam_nn_op *op;
    if (b->map.value == FEATURES(stage)) return DCAM_OK;
    if (net->quantised)
        DCAM_TRY(dcam_nn_dequantise(net->nn, &b->map.shape,
                                    net_quantised_scale(net->quantised, b->map.convolution, DCAM_NN_U8), &op));
    else
        DCAM_TRY(dcam_nn_reorder(net->nn, &b->map.shape, &features, &op));
    add_op(b, op, b->map.value, FEATURES(stage));
    return DCAM_OK;
}

static dcam_status add_trunk(builder *b)
{
    const dcam_architecture *a = b->net->weights->architecture;
    int next = 1;
    DCAM_TRY(add_stem(b));
    for (int stage = 0; stage < DCAM_STAGES; stage++) {
        for (int k = 0; k < a->stage_blocks[stage]; k++) {
            const bool downsample = k == 0 && (stage > 0 || b->map.shape.c != a->stage_channels[stage]);
            DCAM_TRY(add_block(b, stage, next, downsample));
            next += downsample ? 3 : 2;
        }
        DCAM_TRY(add_tap(b, stage));
    }
    return DCAM_OK;
}

static void destroy_part(part *p)
{
    if (!p) return;
    for (int i = 0; i < p->op_count; i++) dcam_nn_op_destroy(p->ops[i]);
    dcam_free(p->arena);
    dcam_free(p);
}

static dcam_status attach_part(dcam_net *net, part *p, const net_plan *plan)
{
    DCAM_TRY(dcam_alloc(plan->arena_bytes, 1, &p->arena));
    p->arena_bytes = plan->arena_bytes;
    DCAM_TRY(net_plan_attach(plan, p->arena));
    for (int i = 0; i < net->weights->convolution_count; i++) {
        void *weights;
        DCAM_TRY(format_weights(net, i, p->convolutions[i], &weights));
        DCAM_TRY(dcam_nn_op_bind(p->convolutions[i], DCAM_NN_WEIGHTS, weights));
        DCAM_TRY(dcam_nn_op_bind(p->convolutions[i], DCAM_NN_BIAS, bias_of(net, i)));
    }
    return DCAM_OK;
}

/* Formats made for a part that failed name its operations: they go with it. */
static void forget_formats(dcam_net *net, const formatted *until)
{
    while (net->formatted != until) {
        formatted *f = net->formatted;
        net->formatted = f->next;
        dcam_free(f->weights);
        dcam_free(f);
    }
}

static dcam_status create_part(dcam_net *net, int n, part **out)
{
    part *p = NULL;
    net_plan *plan = NULL;
    const formatted *before = net->formatted;
    dcam_status status = dcam_alloc_zero(1, sizeof *p, &p);
    if (status == DCAM_OK) status = dcam_alloc_zero(1, sizeof *plan, &plan);
    if (status != DCAM_OK) goto cleanup;
    p->n = n;
    builder b = {.net = net, .part = p, .plan = plan};
    status = add_trunk(&b);
    if (status == DCAM_OK) status = net_plan_layout(plan);
    if (status == DCAM_OK) status = attach_part(net, p, plan);
    if (status != DCAM_OK) goto cleanup;
    p->next = net->parts;
    net->parts = p;
    *out = p;
    p = NULL;
cleanup:
    if (status != DCAM_OK) forget_formats(net, before);
    destroy_part(p);
    dcam_free(plan);
    return status;
}

/* The part for as many of the remaining images as one part takes. */
static dcam_status find_part(dcam_net *net, int remaining, part **out)
{
    int n = MAX_PART;
    while (n > remaining) n /= 2;
    for (part *p = net->parts; p; p = p->next)
        if (p->n == n) {
            *out = p;
            return DCAM_OK;
        }
    return create_part(net, n, out);
}

/* ---- features ----------------------------------------------------------- */

dcam_taps dcam_net_taps(const dcam_net *net)
{
    dcam_taps taps = {DCAM_TAP_F32, {1, 1, 1}};
    if (!net->options.raw) return taps;
    if (net->quantised) taps.type = DCAM_TAP_U8;
    else if (net->maps.type == DCAM_NN_BF16) taps.type = DCAM_TAP_BF16;
    for (int k = 0; k < DCAM_STAGES && net->quantised; k++)
        taps.scale[k] = net_quantised_scale(net->quantised, net_last_of_stage(net->weights, k), DCAM_NN_U8);
    return taps;
}

/* ---- the calls ---------------------------------------------------------- */

dcam_status dcam_net_create(const dcam_trunk_weights *weights, const dcam_net_options *options, dcam_net **out)
{
    const bool int8 = options->precision == DCAM_NET_INT8;
    DCAM_TRY(net_check_options(options->height, options->width, options->batch, options->precision));
    if (int8 && !options->ranges) return dcam_fail(DCAM_ERROR_INTERNAL, "an int8 network without the ranges of its activations");
    dcam_net *net;
    part *first;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *net, &net));
    net->options = *options;
    net->options.ranges = NULL;
    net->maps = net_inference_maps(options->precision, options->exact);
    if (net->maps.layout != DCAM_NN_NHWC) net->options.raw = 0; /* what others read is channels last */
    dcam_status status = dcam_trunk_weights_fold(weights, &net->weights);
    if (status == DCAM_OK && int8) status = net_quantised_create(net->weights, options->ranges, &net->quantised);
    if (status == DCAM_OK) status = dcam_nn_create(&net->nn);
    if (status == DCAM_OK) status = find_part(net, options->batch, &first);
    if (status != DCAM_OK) {
        dcam_net_destroy(net);
        return status;
    }
    *out = net;
    return DCAM_OK;
}

dcam_status dcam_net_create_borrowing(const dcam_net *lender, int batch, dcam_net **out)
{
    dcam_net *net;
    part *first;
    DCAM_TRY(net_check_options(lender->options.height, lender->options.width, batch, lender->options.precision));
    DCAM_TRY(dcam_alloc_zero(1, sizeof *net, &net));
    net->options = lender->options;
    net->options.batch = batch;
    net->borrows = true;
    net->borrowed = lender->formatted;
    net->weights = lender->weights;
    net->quantised = lender->quantised;
    net->maps = lender->maps;
    dcam_status status = dcam_nn_create(&net->nn);
    if (status == DCAM_OK) status = find_part(net, batch, &first);
    if (status != DCAM_OK) {
        dcam_net_destroy(net);
        return status;
    }
    *out = net;
    return DCAM_OK;
}

void dcam_net_destroy(dcam_net *net)
{
    if (!net) return;
    forget_formats(net, NULL);
    while (net->parts) {
        part *p = net->parts;
        net->parts = p->next;
        destroy_part(p);
    }
    dcam_nn_destroy(net->nn);
    if (!net->borrows) {
        net_quantised_destroy(net->quantised);
        dcam_trunk_weights_destroy(net->weights);
    }
    dcam_free(net);
}

typedef struct {
    dcam_net_observer *see; /* or NULL */
    void *user;
} observer;

static void show(const part *p, const dcam_nn_op *op, const observer *o)
{
    for (int i = 0; i < DCAM_MAX_CONVOLUTIONS; i++)
        if (p->results[i].op == op) o->see(o->user, i, dcam_nn_op_address(op, DCAM_NN_DST), p->results[i].count);
}

static dcam_status run_part(const part *p, const float *input, void *const features[DCAM_STAGES], const observer *o)
{
    DCAM_TRY(dcam_nn_op_bind(p->first, DCAM_NN_SRC, input));
    for (int i = 0; i < p->feature_count; i++)
        DCAM_TRY(dcam_nn_op_bind(p->features[i].op, p->features[i].argument, features[p->features[i].stage]));
    for (int i = 0; i < p->op_count; i++) {
        DCAM_TRY(dcam_nn_op_run(p->ops[i]));
        if (o->see) show(p, p->ops[i], o);
    }
    return DCAM_OK;
}

static dcam_status check_count(const dcam_net *net, int n)
{
    if (n >= 1 && n <= net->options.batch) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_INTERNAL, "%d images for a network of at most %d", n, net->options.batch);
}

static dcam_status run_parts(dcam_net *net, const float *input, int n, void *const features[DCAM_STAGES], const observer *o)
{
    const int height = net->options.height, width = net->options.width;
    dcam_feature_shapes shapes = dcam_feature_shapes_at(net->weights->architecture, height, width);
    const size_t bytes = dcam_tap_bytes(dcam_net_taps(net).type);
    void *to[DCAM_STAGES];
    memcpy(to, features, sizeof to);
    dcam_status status = DCAM_OK;
    int threads = dcam_threads();
    if (threads != dcam_nn_threads(net->nn)) dcam_set_threads(dcam_nn_threads(net->nn));
    for (int done = 0; done < n && status == DCAM_OK;) {
        part *p;
        status = find_part(net, n - done, &p);
        if (status == DCAM_OK) status = run_part(p, input, to, o);
        if (status != DCAM_OK) break;
        done += p->n;
        input += (size_t)p->n * 3 * (size_t)height * (size_t)width;
        for (int k = 0; k < DCAM_STAGES; k++)
            to[k] = (char *)to[k] + bytes * (size_t)p->n * (size_t)shapes.channels[k] * (size_t)shapes.height[k] * (size_t)shapes.width[k];
    }
    if (threads != dcam_nn_threads(net->nn)) dcam_set_threads(threads);
    return status;
}

static dcam_status run_alone(dcam_net *net, const float *input, int n, void *const features[DCAM_STAGES])
{
    const observer nobody = {NULL, NULL};
    return run_parts(net, input, n, features, &nobody);
}

dcam_status dcam_net_run(dcam_net *net, const float *input, int n, float *const features[DCAM_STAGES])
{
    DCAM_TRY(check_count(net, n));
    if (net->options.raw) return dcam_fail(DCAM_ERROR_INTERNAL, "a network with raw features does not make f32 of them");
    return run_alone(net, input, n, (void *const[DCAM_STAGES]){features[0], features[1], features[2]});
}

/* ---- two networks side by side ---- */

/* What a run would make on its way, so that it cannot fail for lack of memory. */
static dcam_status make_parts(dcam_net *net, int n)
{
    part *p;
    for (int done = 0; done < n; done += p->n) DCAM_TRY(find_part(net, n - done, &p));
    return DCAM_OK;
}

typedef struct {
    dcam_net *nets[2];
    void *const *features[2];
    const float *input;
    int n;
    dcam_status statuses[2];
} side_by_side;

static void run_one(void *context, size_t begin, size_t end)
{
    side_by_side *run = context;
    for (size_t k = begin; k < end; k++)
        run->statuses[k] = run_alone(run->nets[k], run->input, run->n, run->features[k]);
}

dcam_status dcam_net_run_both(dcam_net *a, dcam_net *b, const float *input, int n, void *const a_features[DCAM_STAGES],
                              void *const b_features[DCAM_STAGES])
{
    side_by_side run = {.nets = {a, b}, .features = {a_features, b_features}, .input = input, .n = n};
    DCAM_TRY(check_count(a, n));
    DCAM_TRY(check_count(b, n));
    if (a == b || dcam_threads() != 2 || dcam_nn_threads(a->nn) != 1 || dcam_nn_threads(b->nn) != 1) {
        DCAM_TRY(run_alone(a, input, n, a_features));
        return run_alone(b, input, n, b_features);
    }
    DCAM_TRY(make_parts(a, n));
    DCAM_TRY(make_parts(b, n));
    dcam_parallel_for(2, run_one, &run);
    /* The first ran on this thread, which so has its message; the message of the second is on another. */
    DCAM_TRY(run.statuses[0]);
    return run.statuses[1] == DCAM_OK ? DCAM_OK : dcam_fail(run.statuses[1], "the second of two networks failed");
}

dcam_status dcam_net_observe(dcam_net *net, const float *input, int n, float *const features[DCAM_STAGES],
                             dcam_net_observer *see, void *user)
{
    const observer o = {see, user};
    DCAM_TRY(check_count(net, n));
    if (net->options.precision != DCAM_NET_F32) return dcam_fail(DCAM_ERROR_INTERNAL, "only an f32 network can be observed");
    return run_parts(net, input, n, (void *const[DCAM_STAGES]){features[0], features[1], features[2]}, &o);
}

size_t dcam_net_bytes(const dcam_net *net)
{
    size_t bytes = net->borrows ? 0 : net->weights->value_count * sizeof(float) + net_quantised_bytes(net->quantised);
    for (const formatted *f = net->formatted; f; f = f->next) bytes += f->bytes;
    for (const part *p = net->parts; p; p = p->next) bytes += p->arena_bytes;
    return bytes;
}
