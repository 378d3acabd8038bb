/* train.c - the trunk in training: forward with batch statistics, then backward to the gradient of every weight.
 *
 * A pass is a list of steps, planned once for a batch size: operations of nn.h and kernels of batch_norm.h, each with
 * the values it touches, so that one arena holds all maps and a map's place is free as soon as its last step is done.
 * What is kept for the way back is every convolution's result y and every map that a convolution reads; the gradient
 * of a result is written over the result. Values of y are named by their convolution, as in
 *
 *     z = relu(norm1(y1)), out = relu(norm2(y2) + shortcut),  y1 = conv1(x), y2 = conv2(z),
 *     shortcut = x or norm3(y3), y3 = conv3(x)
 *
 * The last batch of an epoch is smaller: steps for one other count than the largest are kept too. */
#include "net/resnet.h"

#include <assert.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "net/batch_norm.h"
#include "net/plan.h"
#include "net/trunk_shapes.h"

/* Every convolution has at most four steps forward and eight back. */
#define MAX_STEPS (DCAM_MAX_CONVOLUTIONS * 12)
#define MAX_BLOCKS (DCAM_MAX_CONVOLUTIONS / 2)
#define NONE NET_PLAN_OUTSIDE

typedef enum {
    STEP_OPERATION,
    STEP_STATISTICS,    /* y */
    STEP_RELU,          /* y -> out */
    STEP_ADD_RELU,      /* y, shortcut -> out */
    STEP_POOL,          /* y -> out, which */
    STEP_JOIN,          /* parts, out -> g, and the coefficients of the normalisations of y and shortcut */
    STEP_BACKWARD,      /* g, y -> y */
    STEP_RELU_BACKWARD, /* g = dL/dz, y -> y */
    STEP_POOL_BACKWARD  /* g, which, y -> y */
} step_kind;

typedef struct {
    step_kind kind;
    dcam_nn_op *op;
    int norm, shortcut_norm;      /* convolutions whose normalisations it needs, or NONE */
    dcam_nn_tensor map, pooled;
    int y, shortcut, out, g, which, parts[3]; /* values of the plan, or NONE */
} step;

/* The steps for one count of images. */
typedef struct {
    int n;
    step steps[MAX_STEPS];
    int step_count, forward_count;
    net_plan *plan;
    dcam_nn_op *input_readers[3];                         /* of the caller's input; NULL at the end */
    dcam_nn_op *taps[DCAM_STAGES], *tap_gradients[DCAM_STAGES]; /* to and from the caller's features */
    dcam_nn_op *gradients[DCAM_MAX_CONVOLUTIONS];         /* write the caller's gradient of a weight */
} pass;

struct dcam_train_net {
    dcam_train_net_options options;
    const dcam_architecture *architecture;
    dcam_trunk_weights *weights;                /* borrowed; NULL while only planning */
    int convolution_count;
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    net_norm norms[DCAM_MAX_CONVOLUTIONS];
    dcam_nn *nn;
    dcam_nn_layout layout;
    double *scratch;
    size_t scratch_count;
    pass *largest, *other;                      /* other: another count than options.batch, or NULL */
    void *arena;
    size_t arena_bytes;
    int forward_n;                              /* images of the last forward; 0: none */
};

/* ---- building a pass ---------------------------------------------------- */

/* A residual block as the way back needs it. */
typedef struct {
    int stage, first;          /* its first convolution; the others follow */
    bool downsample, last;     /* last of its stage: there is a tap */
    int x, y1, z, y2, y3, out;
    dcam_nn_tensor x_map, map;
} block;

typedef struct {
    dcam_train_net *net;
    pass *p;
    int convolution;           /* the next one */
    dcam_nn_tensor map;
    int value;
    dcam_nn_tensor input, stem;
    int input_value, stem_y, pooled_which;
    block blocks[MAX_BLOCKS];
    int block_count;
} builder;

static dcam_status add_value(builder *b, const dcam_nn_tensor *t, int *out)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(t, &bytes));
    *out = net_plan_value(b->p->plan, bytes);
    return DCAM_OK;
}

static step empty_step(step_kind kind, const dcam_nn_tensor *map)
{
    return (step){.kind = kind, .map = *map, .norm = NONE, .shortcut_norm = NONE, .y = NONE, .shortcut = NONE,
                  .out = NONE, .g = NONE, .which = NONE, .parts = {NONE, NONE, NONE}};
}

static void add_step(builder *b, const step *s)
{
    net_plan *plan = b->p->plan;
    const int values[] = {s->y, s->shortcut, s->out, s->g, s->which, s->parts[0], s->parts[1], s->parts[2]};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) net_plan_use(plan, values[i]);
    assert(b->p->step_count < MAX_STEPS);
    b->p->steps[b->p->step_count++] = *s;
    net_plan_step(plan, s->op);
}

/* The operation is the pass's from here on. */
static void add_op(builder *b, dcam_nn_op *op)
{
    step s = {.kind = STEP_OPERATION, .op = op, .norm = NONE, .shortcut_norm = NONE, .y = NONE, .shortcut = NONE,
              .out = NONE, .g = NONE, .which = NONE, .parts = {NONE, NONE, NONE}};
    add_step(b, &s);
}

/* In bf16 only the way back has rounded factors. A result of the forward pass that is off by a part e of itself turns about
 * e/pi of the ReLUs, and each turned one is a wrong value of the gradient, not a rounded one: the error of the gradients
 * goes with the root of e, and is a third of them where the features are off by two in a hundred. */
static dcam_nn_convolution describe(const builder *b, int convolution, const dcam_nn_tensor *src, bool backward)
{
    const dcam_convolution_shape *s = &b->net->shapes[convolution];
    dcam_nn_convolution c = net_convolution(s, src, b->net->layout, backward && b->net->options.precision == DCAM_NET_BF16,
                                            b->net->options.exact);
    c.training = true;
    return c;
}

static const float *weight_of(const builder *b, int convolution)
{
    return b->net->weights ? b->net->weights->convolutions[convolution].weight : NULL;
}

/* Puts the weights of a convolution into the format of reader, in a value of its own bound to reader. The reader's
 * own step must follow at once. */
static dcam_status add_weights(builder *b, int convolution, dcam_nn_op *reader, int *value)
{
    dcam_nn_op *op;
    *value = net_plan_value(b->p->plan, dcam_nn_op_bytes(reader, DCAM_NN_WEIGHTS));
    DCAM_TRY(dcam_nn_weights_in(b->net->nn, reader, &op));
    net_plan_bind(b->p->plan, op, DCAM_NN_DST, *value);
    add_op(b, op);
    if (!weight_of(b, convolution)) return DCAM_OK;
    DCAM_TRY(dcam_nn_op_prepare(op));
    return dcam_nn_op_bind(op, DCAM_NN_SRC, weight_of(b, convolution));
}

static void add_input_reader(builder *b, dcam_nn_op *op)
{
    for (int i = 0; i < 2; i++)
        if (!b->p->input_readers[i]) {
            b->p->input_readers[i] = op;
            return;
        }
}

/* y = convolution(src), and its statistics. */
static dcam_status add_convolution(builder *b, int convolution, const dcam_nn_tensor *src, int src_value, int *y,
                                   dcam_nn_tensor *y_map)
{
    const dcam_nn_convolution c = describe(b, convolution, src, false);
    dcam_nn_op *op;
    int weights;
    *y_map = dcam_nn_convolution_dst(&c);
    DCAM_TRY(add_value(b, y_map, y));
    DCAM_TRY(dcam_nn_convolution_forward(b->net->nn, &c, &op));
    const dcam_status status = add_weights(b, convolution, op, &weights);
    if (status != DCAM_OK) {
        dcam_nn_op_destroy(op);
        return status;
    }
    if (src_value == NONE) add_input_reader(b, op);
    net_plan_bind(b->p->plan, op, DCAM_NN_SRC, src_value);
    net_plan_bind(b->p->plan, op, DCAM_NN_WEIGHTS, weights);
    net_plan_bind(b->p->plan, op, DCAM_NN_DST, *y);
    add_op(b, op);
    step s = empty_step(STEP_STATISTICS, y_map);
    s.norm = convolution;
    s.y = *y;
    add_step(b, &s);
    return DCAM_OK;
}

static dcam_status add_stem(builder *b)
{
    const dcam_train_net_options *o = &b->net->options;
    const dcam_nn_tensor input = net_input(b->p->n, o->height, o->width);
    b->input = net_stem_source(b->p->n, o->height, o->width, DCAM_NN_F32, b->net->layout);
    b->input_value = NONE;
    if (b->input.layout != input.layout || b->input.type != input.type) {
        dcam_nn_op *op;
        DCAM_TRY(add_value(b, &b->input, &b->input_value));
        DCAM_TRY(dcam_nn_reorder(b->net->nn, &input, &b->input, &op));
        add_input_reader(b, op);
        net_plan_bind(b->p->plan, op, DCAM_NN_DST, b->input_value);
        add_op(b, op);
    }
    DCAM_TRY(add_convolution(b, 0, &b->input, b->input_value, &b->stem_y, &b->stem));
    b->map = net_pooled(&b->stem);
    DCAM_TRY(add_value(b, &b->map, &b->value));
    b->pooled_which = net_plan_value(b->p->plan, (size_t)b->map.n * (size_t)b->map.c * (size_t)b->map.h * (size_t)b->map.w);
    step s = empty_step(STEP_POOL, &b->stem);
    s.pooled = b->map;
    s.norm = 0;
    s.y = b->stem_y;
    s.out = b->value;
    s.which = b->pooled_which;
    add_step(b, &s);
    b->convolution = 1;
    return DCAM_OK;
}

static dcam_status add_block(builder *b, int stage, bool downsample, bool last)
{
    block k = {.stage = stage, .first = b->convolution, .downsample = downsample, .last = last, .x = b->value, .y3 = NONE,
               .x_map = b->map};
    DCAM_TRY(add_convolution(b, k.first, &b->map, b->value, &k.y1, &k.map));
    DCAM_TRY(add_value(b, &k.map, &k.z));
    step s = empty_step(STEP_RELU, &k.map);
    s.norm = k.first;
    s.y = k.y1;
    s.out = k.z;
    add_step(b, &s);
    DCAM_TRY(add_convolution(b, k.first + 1, &k.map, k.z, &k.y2, &k.map));
    if (downsample) DCAM_TRY(add_convolution(b, k.first + 2, &b->map, b->value, &k.y3, &k.map));
    DCAM_TRY(add_value(b, &k.map, &k.out));
    s = empty_step(STEP_ADD_RELU, &k.map);
    s.norm = k.first + 1;
    s.shortcut_norm = downsample ? k.first + 2 : NONE;
    s.y = k.y2;
    s.shortcut = downsample ? k.y3 : k.x;
    s.out = k.out;
    add_step(b, &s);
    b->convolution += downsample ? 3 : 2;
    b->map = k.map;
    b->value = k.out;
    b->blocks[b->block_count++] = k;
    return DCAM_OK;
}

static dcam_status add_forward(builder *b)
{
    const dcam_architecture *a = b->net->architecture;
    DCAM_TRY(add_stem(b));
    for (int stage = 0; stage < DCAM_STAGES; stage++) {
        const int count = a->stage_blocks[stage];
        for (int k = 0; k < count; k++)
            DCAM_TRY(add_block(b, stage, k == 0 && (stage > 0 || b->map.c != a->stage_channels[stage]), k == count - 1));
        const dcam_nn_tensor features = net_features(&b->map);
        dcam_nn_op *op;
        DCAM_TRY(dcam_nn_reorder(b->net->nn, &b->map, &features, &op));
        net_plan_bind(b->p->plan, op, DCAM_NN_SRC, b->value);
        b->p->taps[stage] = op;
        add_op(b, op);
    }
    return DCAM_OK;
}

/* ---- the way back ------------------------------------------------------- */

/* dW from src and dy; then, unless d_src is NULL, dL/dsrc into a fresh value. */
static dcam_status add_convolution_backward(builder *b, int convolution, const dcam_nn_tensor *src, int src_value, int dy,
                                            int *d_src)
{
    const dcam_nn_convolution c = describe(b, convolution, src, true);
    net_plan *plan = b->p->plan;
    dcam_nn_op *op, *out;
    int weights;
    DCAM_TRY(dcam_nn_convolution_backward_weights(b->net->nn, &c, &op));
    weights = net_plan_value(plan, dcam_nn_op_bytes(op, DCAM_NN_WEIGHTS));
    if (src_value == NONE) add_input_reader(b, op);
    net_plan_bind(plan, op, DCAM_NN_SRC, src_value);
    net_plan_bind(plan, op, DCAM_NN_DST, dy);
    net_plan_bind(plan, op, DCAM_NN_WEIGHTS, weights);
    add_op(b, op);
    DCAM_TRY(dcam_nn_weights_out(b->net->nn, op, &out));
    net_plan_bind(plan, out, DCAM_NN_SRC, weights);
    b->p->gradients[convolution] = out;
    add_op(b, out);
    if (!d_src) return DCAM_OK;
    DCAM_TRY(add_value(b, src, d_src));
    DCAM_TRY(dcam_nn_convolution_backward_data(b->net->nn, &c, &op));
    const dcam_status status = add_weights(b, convolution, op, &weights);
    if (status != DCAM_OK) {
        dcam_nn_op_destroy(op);
        return status;
    }
    net_plan_bind(plan, op, DCAM_NN_DST, dy);
    net_plan_bind(plan, op, DCAM_NN_WEIGHTS, weights);
    net_plan_bind(plan, op, DCAM_NN_SRC, *d_src);
    add_op(b, op);
    return DCAM_OK;
}

/* parts: the gradients of the block's result that come from the next block; on return those of its x. */
static dcam_status add_block_backward(builder *b, const block *k, int parts[2])
{
    step s = empty_step(STEP_JOIN, &k->map);
    int g, dz;
    s.parts[0] = parts[0];
    s.parts[1] = parts[1];
    if (k->last) {
        const dcam_nn_tensor features = net_features(&k->map);
        dcam_nn_op *op;
        DCAM_TRY(add_value(b, &k->map, &s.parts[2]));
        DCAM_TRY(dcam_nn_reorder(b->net->nn, &features, &k->map, &op));
        net_plan_bind(b->p->plan, op, DCAM_NN_DST, s.parts[2]);
        b->p->tap_gradients[k->stage] = op;
        add_op(b, op);
    }
    DCAM_TRY(add_value(b, &k->map, &g));
    s.norm = k->first + 1;
    s.shortcut_norm = k->downsample ? k->first + 2 : NONE;
    s.y = k->y2;
    s.shortcut = k->y3;
    s.out = k->out;
    s.g = g;
    add_step(b, &s);

    s = empty_step(STEP_BACKWARD, &k->map);
    s.norm = k->first + 1;
    s.y = k->y2;
    s.g = g;
    add_step(b, &s);
    DCAM_TRY(add_convolution_backward(b, k->first + 1, &k->map, k->z, k->y2, &dz));
    parts[1] = g;
    if (k->downsample) {
        s.norm = k->first + 2;
        s.y = k->y3;
        add_step(b, &s);
        DCAM_TRY(add_convolution_backward(b, k->first + 2, &k->x_map, k->x, k->y3, &parts[1]));
    }
    s = empty_step(STEP_RELU_BACKWARD, &k->map);
    s.norm = k->first;
    s.y = k->y1;
    s.g = dz;
    add_step(b, &s);
    return add_convolution_backward(b, k->first, &k->x_map, k->x, k->y1, &parts[0]);
}

static dcam_status add_backward(builder *b)
{
    int parts[2] = {NONE, NONE}, g;
    for (int i = b->block_count - 1; i >= 0; i--) DCAM_TRY(add_block_backward(b, &b->blocks[i], parts));
    const block *first = &b->blocks[0];
    DCAM_TRY(add_value(b, &first->x_map, &g));
    step s = empty_step(STEP_JOIN, &first->x_map);
    s.parts[0] = parts[0];
    s.parts[1] = parts[1];
    s.out = first->x;
    s.g = g;
    add_step(b, &s);
    s = empty_step(STEP_POOL_BACKWARD, &b->stem);
    s.pooled = first->x_map;
    s.norm = 0;
    s.y = b->stem_y;
    s.g = g;
    s.which = b->pooled_which;
    add_step(b, &s);
    return add_convolution_backward(b, 0, &b->input, b->input_value, b->stem_y, NULL);
}

static void destroy_pass(pass *p)
{
    if (!p) return;
    for (int i = 0; i < p->step_count; i++) dcam_nn_op_destroy(p->steps[i].op);
    dcam_free(p->plan);
    dcam_free(p);
}

static dcam_status create_pass(dcam_train_net *net, int n, pass **out)
{
    pass *p = NULL;
    builder *b = NULL;
    dcam_status status = dcam_alloc_zero(1, sizeof *p, &p);
    if (status == DCAM_OK) status = dcam_alloc_zero(1, sizeof *p->plan, &p->plan);
    if (status == DCAM_OK) status = dcam_alloc_zero(1, sizeof *b, &b);
    if (status != DCAM_OK) goto cleanup;
    p->n = n;
    b->net = net;
    b->p = p;
    status = add_forward(b);
    p->forward_count = p->step_count;
    if (status == DCAM_OK) status = add_backward(b);
    if (status == DCAM_OK) status = net_plan_layout(p->plan);
    if (status != DCAM_OK) goto cleanup;
    *out = p;
    p = NULL;
cleanup:
    dcam_free(b);
    destroy_pass(p);
    return status;
}

/* ---- running ------------------------------------------------------------ */

static void *address(const dcam_train_net *net, const pass *p, int value)
{
    return value == NONE ? NULL : net_plan_address(p->plan, net->arena, value);
}

/* Where the gradients of a normalisation go within the flat array. */
static float *gradient_at(const dcam_train_net *net, float *gradients, const float *value)
{
    return gradients + (value - net->weights->values);
}

static void run_join(dcam_train_net *net, const pass *p, const step *s, float *gradients)
{
    const int convolutions[2] = {s->norm, s->shortcut_norm};
    const float *parts[3], *y[2] = {address(net, p, s->y), address(net, p, s->shortcut)};
    net_norm *norms[2] = {NULL, NULL};
    float *d_gamma[2] = {NULL, NULL}, *d_beta[2] = {NULL, NULL};
    for (int k = 0; k < 3; k++) parts[k] = address(net, p, s->parts[k]);
    for (int k = 0; k < 2; k++) {
        if (convolutions[k] == NONE) continue;
        norms[k] = &net->norms[convolutions[k]];
        d_gamma[k] = gradient_at(net, gradients, norms[k]->gamma);
        d_beta[k] = gradient_at(net, gradients, norms[k]->beta);
    }
    net_norm_join(&s->map, parts, address(net, p, s->out), address(net, p, s->g), norms, y, d_gamma, d_beta, net->scratch);
}

static dcam_status run_step(dcam_train_net *net, const pass *p, const step *s, float *gradients)
{
    net_norm *norm = s->norm == NONE ? NULL : &net->norms[s->norm];
    const net_norm *shortcut_norm = s->shortcut_norm == NONE ? NULL : &net->norms[s->shortcut_norm];
    float *y = address(net, p, s->y), *out = address(net, p, s->out), *g = address(net, p, s->g);
    switch (s->kind) {
    case STEP_OPERATION: return dcam_nn_op_run(s->op);
    case STEP_STATISTICS: net_norm_statistics(norm, &s->map, y, net->scratch); break;
    case STEP_RELU: net_norm_relu(norm, &s->map, y, out); break;
    case STEP_ADD_RELU:
        net_norm_add_relu(norm, &s->map, y, shortcut_norm, address(net, p, s->shortcut), out);
        break;
    case STEP_POOL: net_norm_relu_pool(norm, &s->map, y, &s->pooled, out, address(net, p, s->which)); break;
    case STEP_JOIN: run_join(net, p, s, gradients); break;
    case STEP_BACKWARD: net_norm_backward(norm, &s->map, g, y); break;
    case STEP_RELU_BACKWARD:
        net_norm_relu_backward(norm, &s->map, g, y, gradient_at(net, gradients, norm->gamma),
                               gradient_at(net, gradients, norm->beta), net->scratch);
        break;
    case STEP_POOL_BACKWARD:
        net_norm_pool_backward(norm, &s->map, &s->pooled, g, address(net, p, s->which), y,
                               gradient_at(net, gradients, norm->gamma), gradient_at(net, gradients, norm->beta),
                               net->scratch);
        break;
    }
    return DCAM_OK;
}

static dcam_status run_steps(dcam_train_net *net, const pass *p, int begin, int end, float *gradients)
{
    const int threads = dcam_threads(), own = dcam_nn_threads(net->nn);
    dcam_status status = DCAM_OK;
    if (threads != own) dcam_set_threads(own);
    for (int i = begin; i < end && status == DCAM_OK; i++) status = run_step(net, p, &p->steps[i], gradients);
    if (threads != own) dcam_set_threads(threads);
    return status;
}

/* ---- the calls ---------------------------------------------------------- */

static size_t most_scratch(const dcam_train_net *net)
{
    size_t most = 0;
    for (int i = 0; i < net->convolution_count; i++) {
        const size_t count = net_norm_scratch((size_t)net->options.batch, (size_t)net->shapes[i].out_channels);
        if (count > most) most = count;
    }
    return most;
}

/* What planning and running share. */
static dcam_status open_net(const dcam_architecture *a, const dcam_train_net_options *options, dcam_trunk_weights *weights,
                            dcam_train_net **out)
{
    dcam_train_net *net;
    DCAM_TRY(net_check_options(options->height, options->width, options->batch, options->precision));
    if (options->precision == DCAM_NET_INT8) return dcam_fail(DCAM_ERROR_INTERNAL, "int8 networks are not trained");
    if (options->precision == DCAM_NET_BF16 && !dcam_nn_bf16_products())
        return dcam_fail(DCAM_ERROR_DEVICE, "training in bf16 needs AVX512-BF16, without AMX; use --precision f32");
    DCAM_TRY(dcam_alloc_zero(1, sizeof *net, &net));
    net->options = *options;
    net->architecture = a;
    net->weights = weights;
    net->layout = dcam_nn_best_layout(DCAM_NN_F32);
    net->convolution_count = dcam_architecture_convolutions(a, net->shapes);
    net->scratch_count = most_scratch(net);
    dcam_status status = dcam_nn_create(&net->nn);
    if (status == DCAM_OK) status = create_pass(net, options->batch, &net->largest);
    if (status != DCAM_OK) {
        dcam_train_net_destroy(net);
        return status;
    }
    *out = net;
    return DCAM_OK;
}

static dcam_status allocate(dcam_train_net *net)
{
    for (int i = 0; i < net->convolution_count; i++)
        DCAM_TRY(net_norm_create(&net->shapes[i], &net->weights->convolutions[i], &net->norms[i]));
    DCAM_TRY(dcam_alloc(net->scratch_count, sizeof(double), &net->scratch));
    DCAM_TRY(dcam_alloc(net->largest->plan->arena_bytes, 1, &net->arena));
    net->arena_bytes = net->largest->plan->arena_bytes;
    return net_plan_attach(net->largest->plan, net->arena);
}

dcam_status dcam_train_net_create(dcam_trunk_weights *weights, const dcam_train_net_options *options, dcam_train_net **out)
{
    dcam_train_net *net;
    if (weights->folded) return dcam_fail(DCAM_ERROR_INTERNAL, "folded weights cannot be trained");
    DCAM_TRY(open_net(weights->architecture, options, weights, &net));
    const dcam_status status = allocate(net);
    if (status != DCAM_OK) {
        dcam_train_net_destroy(net);
        return status;
    }
    *out = net;
    return DCAM_OK;
}

void dcam_train_net_destroy(dcam_train_net *net)
{
    if (!net) return;
    destroy_pass(net->other);
    destroy_pass(net->largest);
    dcam_nn_destroy(net->nn);
    for (int i = 0; i < net->convolution_count; i++) net_norm_clear(&net->norms[i]);
    dcam_free(net->scratch);
    dcam_free(net->arena);
    dcam_free(net);
}

size_t dcam_train_net_bytes(const dcam_train_net *net)
{
    size_t bytes = net->largest->plan->arena_bytes + net->scratch_count * sizeof(double);
    for (int i = 0; i < net->convolution_count; i++) bytes += 6 * sizeof(float) * (size_t)net->shapes[i].out_channels;
    return bytes;
}

dcam_status dcam_train_net_plan(const dcam_architecture *a, const dcam_train_net_options *options, size_t *out_bytes)
{
    dcam_train_net *net;
    DCAM_TRY(open_net(a, options, NULL, &net));
    *out_bytes = dcam_train_net_bytes(net);
    dcam_train_net_destroy(net);
    return DCAM_OK;
}

/* A smaller batch takes less, but its scratchpads are oneDNN's choice: should it take more, the arena grows. */
static dcam_status attach_other(dcam_train_net *net)
{
    const size_t bytes = net->other->plan->arena_bytes;
    if (bytes > net->arena_bytes) {
        DCAM_TRY(dcam_realloc(bytes, 1, &net->arena));
        net->arena_bytes = bytes;
        DCAM_TRY(net_plan_attach(net->largest->plan, net->arena));
    }
    return net_plan_attach(net->other->plan, net->arena);
}

static dcam_status find_pass(dcam_train_net *net, int n, pass **out)
{
    if (n == net->options.batch) {
        *out = net->largest;
        return DCAM_OK;
    }
    if (!net->other || net->other->n != n) {
        destroy_pass(net->other);
        net->other = NULL;
        DCAM_TRY(create_pass(net, n, &net->other));
        const dcam_status status = attach_other(net);
        if (status != DCAM_OK) {
            destroy_pass(net->other);
            net->other = NULL;
            return status;
        }
    }
    *out = net->other;
    return DCAM_OK;
}

dcam_status dcam_train_net_forward(dcam_train_net *net, const float *input, int n, float *const features[DCAM_STAGES])
{
    pass *p;
    if (n < 1 || n > net->options.batch)
        return dcam_fail(DCAM_ERROR_INTERNAL, "%d images for a network of at most %d", n, net->options.batch);
    if ((size_t)n * (size_t)(net->options.height / 16) * (size_t)(net->options.width / 16) < 2)
        return dcam_fail(DCAM_ERROR_INTERNAL, "a batch of one value a channel has no variance");
    net->forward_n = 0;
    DCAM_TRY(find_pass(net, n, &p));
    for (int i = 0; p->input_readers[i]; i++) DCAM_TRY(dcam_nn_op_bind(p->input_readers[i], DCAM_NN_SRC, input));
    for (int k = 0; k < DCAM_STAGES; k++) DCAM_TRY(dcam_nn_op_bind(p->taps[k], DCAM_NN_DST, features[k]));
    DCAM_TRY(run_steps(net, p, 0, p->forward_count, NULL));
    net->forward_n = n;
    return DCAM_OK;
}

dcam_status dcam_train_net_backward(dcam_train_net *net, const float *const d_features[DCAM_STAGES], float *gradients)
{
    pass *p;
    if (net->forward_n == 0) return dcam_fail(DCAM_ERROR_INTERNAL, "a backward pass without its forward pass");
    DCAM_TRY(find_pass(net, net->forward_n, &p));
    net->forward_n = 0;
    for (int k = 0; k < DCAM_STAGES; k++) DCAM_TRY(dcam_nn_op_bind(p->tap_gradients[k], DCAM_NN_SRC, d_features[k]));
    for (int i = 0; i < net->convolution_count; i++)
        DCAM_TRY(dcam_nn_op_bind(p->gradients[i], DCAM_NN_DST,
                                 gradient_at(net, gradients, net->weights->convolutions[i].weight)));
    return run_steps(net, p, p->forward_count, p->step_count, gradients);
}
