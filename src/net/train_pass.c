/* train_pass.c - see train_pass.h: from the trunk's table of convolutions to a list of steps, forward and back. */
#include "net/train_pass.h"

#include <assert.h>

#include "base/memory.h"

#define MAX_BLOCKS (DCAM_MAX_CONVOLUTIONS / 2)
#define NONE NET_PLAN_OUTSIDE

/* A residual block as the way back needs it. */
typedef struct {
    int stage, first;          /* its first convolution; the others follow */
    bool downsample, last;     /* last of its stage: there is a tap */
    int x, y1, z, y2, y3, out;
    dcam_nn_tensor x_map, map;
} block;

typedef struct {
    const net_pass_source *net;
    net_pass *p;
    int convolution;           /* the next one */
    dcam_nn_tensor map;
    int value;
    dcam_nn_tensor input, stem;
    int input_value, stem_y, pooled_which, pooled_top;
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

static net_step empty_step(net_step_kind kind, const dcam_nn_tensor *map)
{
    return (net_step){.kind = kind, .map = *map, .norm = NONE, .shortcut_norm = NONE, .y = NONE, .shortcut = NONE,
                  .out = NONE, .g = NONE, .which = NONE, .top = NONE, .parts = {NONE, NONE, NONE}};
}

static void add_step(builder *b, const net_step *s)
{
    net_plan *plan = b->p->plan;
    const int values[] = {s->y, s->shortcut, s->out, s->g, s->which, s->top, s->parts[0], s->parts[1], s->parts[2]};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) net_plan_use(plan, values[i]);
    assert(b->p->step_count < NET_PASS_STEPS);
    b->p->steps[b->p->step_count++] = *s;
    net_plan_step(plan, s->op);
}

/* The operation is the pass's from here on. */
static void add_op(builder *b, dcam_nn_op *op)
{
    net_step s = {.kind = STEP_OPERATION, .op = op, .norm = NONE, .shortcut_norm = NONE, .y = NONE, .shortcut = NONE,
              .out = NONE, .g = NONE, .which = NONE, .top = NONE, .parts = {NONE, NONE, NONE}};
    add_step(b, &s);
}

/* With f32 maps only the way back has factors rounded to bf16. A result of the forward pass that is off by a part e of
 * itself turns about e/pi of the ReLUs, and each turned one is a wrong value of the gradient, not a rounded one: the error
 * of the gradients goes with the root of e, and is a third of them where the features are off by two in a hundred. With
 * bf16 maps all of it is rounded: what reading and writing half as much, and AMX, give is worth that. */
static dcam_nn_convolution describe(const builder *b, int convolution, const dcam_nn_tensor *src, bool backward)
{
    const net_pass_source *net = b->net;
    dcam_nn_convolution c = net_convolution(&net->shapes[convolution], src, net->maps.layout,
                                            backward && net->maps.bf16_products, net->options.exact);
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
    net_step s = empty_step(STEP_STATISTICS, y_map);
    s.norm = convolution;
    s.y = *y;
    add_step(b, &s);
    return DCAM_OK;
}

static dcam_status add_stem(builder *b)
{
    const dcam_train_net_options *o = &b->net->options;
    const dcam_nn_tensor input = net_input(b->p->n, o->height, o->width);
    b->input = net_stem_source(b->p->n, o->height, o->width, b->net->maps.type, b->net->maps.layout);
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
    b->pooled_top = NONE;
    if (b->map.type == DCAM_NN_BF16) DCAM_TRY(add_value(b, &b->map, &b->pooled_top));
    net_step s = empty_step(STEP_POOL, &b->stem);
    s.pooled = b->map;
    s.norm = 0;
    s.y = b->stem_y;
    s.out = b->value;
    s.which = b->pooled_which;
    s.top = b->pooled_top;
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
    net_step s = empty_step(STEP_RELU, &k.map);
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
        b->p->raw[stage] = b->value;
        if (b->net->options.raw) continue;
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
    net_step s = empty_step(STEP_JOIN, &k->map);
    int g, dz;
    s.parts[0] = parts[0];
    s.parts[1] = parts[1];
    if (k->last && b->net->options.raw) {
        s.parts[2] = b->p->raw_gradients[k->stage];
    } else if (k->last) {
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

/* The gradients that the caller writes before the way back begins. */
static dcam_status add_raw_gradients(builder *b)
{
    for (int i = 0; i < b->block_count; i++) {
        const block *k = &b->blocks[i];
        if (!k->last) continue;
        DCAM_TRY(add_value(b, &k->map, &b->p->raw_gradients[k->stage]));
        net_plan_use(b->p->plan, b->p->raw_gradients[k->stage]);
    }
    return DCAM_OK;
}

static dcam_status add_backward(builder *b)
{
    int parts[2] = {NONE, NONE}, g;
    if (b->net->options.raw) DCAM_TRY(add_raw_gradients(b));
    for (int i = b->block_count - 1; i >= 0; i--) DCAM_TRY(add_block_backward(b, &b->blocks[i], parts));
    const block *first = &b->blocks[0];
    DCAM_TRY(add_value(b, &first->x_map, &g));
    net_step s = empty_step(STEP_JOIN, &first->x_map);
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
    s.top = b->pooled_top;
    add_step(b, &s);
    return add_convolution_backward(b, 0, &b->input, b->input_value, b->stem_y, NULL);
}

void net_pass_destroy(net_pass *p)
{
    if (!p) return;
    for (int i = 0; i < p->step_count; i++) dcam_nn_op_destroy(p->steps[i].op);
    dcam_free(p->plan);
    dcam_free(p);
}

dcam_status net_pass_create(const net_pass_source *from, int n, net_pass **out)
{
    net_pass *p = NULL;
    builder *b = NULL;
    dcam_status status = dcam_alloc_zero(1, sizeof *p, &p);
    if (status == DCAM_OK) status = dcam_alloc_zero(1, sizeof *p->plan, &p->plan);
    if (status == DCAM_OK) status = dcam_alloc_zero(1, sizeof *b, &b);
    if (status != DCAM_OK) goto cleanup;
    p->n = n;
    b->net = from;
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
    net_pass_destroy(p);
    return status;
}
