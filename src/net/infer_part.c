/* infer_part.c - the operations of the trunk for scoring, for one count of images: planned from the trunk's table, laid out in
 * one arena, bound to it and to the weights. Bias, residual sum and ReLU are fused into the convolutions. The second
 * convolution of a block adds into a buffer that already holds the shortcut (the block's input itself, or what the
 * downsampling convolution wrote), so that a block needs two buffers. */
#include "net/infer.h"

#include "base/memory.h"

/* Values of a plan that are the caller's features of a stage: bound at each call. */
#define FEATURES(stage) (NET_PLAN_OUTSIDE - 1 - (stage))

static const float *bias_of(const dcam_net *net, int convolution)
{
    if (net->quantised && convolution > 0) return net_quantised_bias(net->quantised, convolution);
    return net->weights->convolutions[convolution].bias;
}

/* A map on its way: its shape, where it is, and whose result it is. */
typedef struct {
    dcam_nn_tensor shape;
    int value, convolution;
} map;

typedef struct {
    dcam_net *net;
    net_part *part;
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
    net_part *p = b->part;
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

void net_part_destroy(net_part *p)
{
    if (!p) return;
    for (int i = 0; i < p->op_count; i++) dcam_nn_op_destroy(p->ops[i]);
    dcam_free(p->arena);
    dcam_free(p);
}

static dcam_status attach_part(dcam_net *net, net_part *p, const net_plan *plan)
{
    DCAM_TRY(dcam_alloc(plan->arena_bytes, 1, &p->arena));
    p->arena_bytes = plan->arena_bytes;
    DCAM_TRY(net_plan_attach(plan, p->arena));
    for (int i = 0; i < net->weights->convolution_count; i++) {
        void *weights;
        DCAM_TRY(net_format_weights(net, i, p->convolutions[i], &weights));
        DCAM_TRY(dcam_nn_op_bind(p->convolutions[i], DCAM_NN_WEIGHTS, weights));
        DCAM_TRY(dcam_nn_op_bind(p->convolutions[i], DCAM_NN_BIAS, bias_of(net, i)));
    }
    return DCAM_OK;
}

dcam_status net_part_create(dcam_net *net, int n, net_part **out)
{
    net_part *p = NULL;
    net_plan *plan = NULL;
    const net_formatted *before = net->formatted;
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
    if (status != DCAM_OK) net_forget_formats(net, before);
    net_part_destroy(p);
    dcam_free(plan);
    return status;
}
