/* train.c - the trunk in training: forward with batch statistics, then backward to the gradient of every weight. What a
 * pass does is planned by train_pass.c; here it is run.
 *
 * The last batch of an epoch is smaller: steps for one other count than the largest are kept too. */
#include "net/resnet.h"

#include <assert.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "net/batch_norm.h"
#include "net/train_pass.h"
#include "net/trunk_shapes.h"

#define NONE NET_PLAN_OUTSIDE

struct dcam_train_net {
    net_pass_source from;
    dcam_trunk_weights *weights;                /* borrowed; NULL while only planning */
    net_norm norms[DCAM_MAX_CONVOLUTIONS];
    double *scratch;
    size_t scratch_count;
    net_pass *largest, *other;                  /* other: another count than options.batch, or NULL */
    void *arena;
    size_t arena_bytes;
    int forward_n;                              /* images of the last forward; 0: none */
};

/* ---- running ------------------------------------------------------------ */

static void *address(const dcam_train_net *net, const net_pass *p, int value)
{
    return value == NONE ? NULL : net_plan_address(p->plan, net->arena, value);
}

/* Where the gradients of a normalisation go within the flat array. */
static float *gradient_at(const dcam_train_net *net, float *gradients, const float *value)
{
    return gradients + (value - net->weights->values);
}

static void run_join(dcam_train_net *net, const net_pass *p, const net_step *s, float *gradients)
{
    const int convolutions[2] = {s->norm, s->shortcut_norm};
    const void *parts[3], *y[2] = {address(net, p, s->y), address(net, p, s->shortcut)};
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

static dcam_status run_step(dcam_train_net *net, const net_pass *p, const net_step *s, float *gradients)
{
    net_norm *norm = s->norm == NONE ? NULL : &net->norms[s->norm];
    const net_norm *shortcut_norm = s->shortcut_norm == NONE ? NULL : &net->norms[s->shortcut_norm];
    void *y = address(net, p, s->y), *out = address(net, p, s->out), *g = address(net, p, s->g);
    assert(norm || s->kind == STEP_OPERATION || s->kind == STEP_JOIN);
    switch (s->kind) {
    case STEP_OPERATION: return dcam_nn_op_run(s->op);
    case STEP_STATISTICS: net_norm_statistics(norm, &s->map, y, net->scratch); break;
    case STEP_RELU: net_norm_relu(norm, &s->map, y, out); break;
    case STEP_ADD_RELU:
        net_norm_add_relu(norm, &s->map, y, shortcut_norm, address(net, p, s->shortcut), out);
        break;
    case STEP_POOL:
        net_norm_relu_pool(norm, &s->map, y, &s->pooled, out, address(net, p, s->which), address(net, p, s->top));
        break;
    case STEP_JOIN: run_join(net, p, s, gradients); break;
    case STEP_BACKWARD: net_norm_backward(norm, &s->map, g, y); break;
    case STEP_RELU_BACKWARD:
        net_norm_relu_backward(norm, &s->map, g, y, gradient_at(net, gradients, norm->gamma),
                               gradient_at(net, gradients, norm->beta), net->scratch);
        break;
    case STEP_POOL_BACKWARD:
        net_norm_pool_backward(norm, &s->map, &s->pooled, g, address(net, p, s->which), address(net, p, s->top), y,
                               gradient_at(net, gradients, norm->gamma), gradient_at(net, gradients, norm->beta),
                               net->scratch);
        break;
    }
    return DCAM_OK;
}

static dcam_status run_steps(dcam_train_net *net, const net_pass *p, int begin, int end, float *gradients)
{
    const int threads = dcam_threads(), own = dcam_nn_threads(net->from.nn);
    dcam_status status = DCAM_OK;
    if (threads != own) dcam_set_threads(own);
    for (int i = begin; i < end && status == DCAM_OK; i++) status = run_step(net, p, &p->steps[i], gradients);
    if (threads != own) dcam_set_threads(threads);
    return status;
}

/* ---- the calls ---------------------------------------------------------- */

static size_t most_scratch(const net_pass *p)
{
    size_t most = 0;
    for (int i = 0; i < p->step_count; i++) {
        const size_t count = p->steps[i].kind == STEP_OPERATION ? 0 : net_norm_scratch(&p->steps[i].map);
        if (count > most) most = count;
    }
    return most;
}

bool dcam_train_net_raw_here(dcam_net_precision precision)
{
    return precision == DCAM_NET_BF16 && dcam_nn_bf16_maps();
}

/* What planning and running share. */
static dcam_status open_net(const dcam_architecture *a, const dcam_train_net_options *options, dcam_trunk_weights *weights,
                            dcam_train_net **out)
{
    dcam_train_net *net;
    DCAM_TRY(net_check_options(options->height, options->width, options->batch, options->precision));
    DCAM_TRY(dcam_alloc_zero(1, sizeof *net, &net));
    net->from.options = *options;
    net->from.architecture = a;
    net->from.weights = net->weights = weights;
    net->from.convolution_count = dcam_architecture_convolutions(a, net->from.shapes);
    dcam_status status = net_training_maps(options->precision, &net->from.maps);
    if (status == DCAM_OK && options->raw && net->from.maps.type != DCAM_NN_BF16)
        status = dcam_fail(DCAM_ERROR_INTERNAL, "raw features of a network without bf16 maps");
    if (status == DCAM_OK) status = dcam_nn_create(&net->from.nn);
    if (status == DCAM_OK) status = net_pass_create(&net->from, options->batch, &net->largest);
    if (status == DCAM_OK) net->scratch_count = most_scratch(net->largest);
    if (status != DCAM_OK) {
        dcam_train_net_destroy(net);
        return status;
    }
    *out = net;
    return DCAM_OK;
}

static dcam_status allocate(dcam_train_net *net)
{
    for (int i = 0; i < net->from.convolution_count; i++)
        DCAM_TRY(net_norm_create(&net->from.shapes[i], &net->weights->convolutions[i], &net->norms[i]));
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
    net_pass_destroy(net->other);
    net_pass_destroy(net->largest);
    dcam_nn_destroy(net->from.nn);
    for (int i = 0; i < net->from.convolution_count; i++) net_norm_clear(&net->norms[i]);
    dcam_free(net->scratch);
    dcam_free(net->arena);
    dcam_free(net);
}

size_t dcam_train_net_bytes(const dcam_train_net *net)
{
    size_t bytes = net->largest->plan->arena_bytes + net->scratch_count * sizeof(double);
    for (int i = 0; i < net->from.convolution_count; i++) bytes += 6 * sizeof(float) * (size_t)net->from.shapes[i].out_channels;
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
    assert(net->other);
    const size_t bytes = net->other->plan->arena_bytes;
    if (bytes > net->arena_bytes) {
        DCAM_TRY(dcam_realloc(bytes, 1, &net->arena));
        net->arena_bytes = bytes;
        DCAM_TRY(net_plan_attach(net->largest->plan, net->arena));
    }
    return net_plan_attach(net->other->plan, net->arena);
}

static dcam_status find_pass(dcam_train_net *net, int n, net_pass **out)
{
    if (n == net->from.options.batch) {
        *out = net->largest;
        return DCAM_OK;
    }
    if (!net->other || net->other->n != n) {
        net_pass_destroy(net->other);
        net->other = NULL;
        DCAM_TRY(net_pass_create(&net->from, n, &net->other));
        const dcam_status status = attach_other(net);
        if (status != DCAM_OK) {
            net_pass_destroy(net->other);
            net->other = NULL;
            return status;
        }
    }
    *out = net->other;
    return DCAM_OK;
}

dcam_status dcam_train_net_forward(dcam_train_net *net, const float *input, int n, float *const features[DCAM_STAGES])
{
    net_pass *p;
    if (n < 1 || n > net->from.options.batch)
        return dcam_fail(DCAM_ERROR_INTERNAL, "%d images for a network of at most %d", n, net->from.options.batch);
    if ((size_t)n * (size_t)(net->from.options.height / 16) * (size_t)(net->from.options.width / 16) < 2)
        return dcam_fail(DCAM_ERROR_INTERNAL, "a batch of one value a channel has no variance");
    net->forward_n = 0;
    DCAM_TRY(find_pass(net, n, &p));
    for (int i = 0; p->input_readers[i]; i++) DCAM_TRY(dcam_nn_op_bind(p->input_readers[i], DCAM_NN_SRC, input));
    for (int k = 0; k < DCAM_STAGES && !net->from.options.raw; k++)
        DCAM_TRY(dcam_nn_op_bind(p->taps[k], DCAM_NN_DST, features[k]));
    DCAM_TRY(run_steps(net, p, 0, p->forward_count, NULL));
    net->forward_n = n;
    return DCAM_OK;
}

dcam_raw_features dcam_train_net_raw(const dcam_train_net *net, int stage)
{
    const net_pass *p = net->forward_n == net->from.options.batch ? net->largest : net->other;
    assert(net->from.options.raw && net->forward_n > 0);
    return (dcam_raw_features){address(net, p, p->raw[stage]), address(net, p, p->raw_gradients[stage])};
}

dcam_status dcam_train_net_backward(dcam_train_net *net, const float *const d_features[DCAM_STAGES], float *gradients)
{
    net_pass *p;
    if (net->forward_n == 0) return dcam_fail(DCAM_ERROR_INTERNAL, "a backward pass without its forward pass");
    DCAM_TRY(find_pass(net, net->forward_n, &p));
    net->forward_n = 0;
    for (int k = 0; k < DCAM_STAGES && !net->from.options.raw; k++)
        DCAM_TRY(dcam_nn_op_bind(p->tap_gradients[k], DCAM_NN_SRC, d_features[k]));
    for (int i = 0; i < net->from.convolution_count; i++)
        DCAM_TRY(dcam_nn_op_bind(p->gradients[i], DCAM_NN_DST,
                                 gradient_at(net, gradients, net->weights->convolutions[i].weight)));
    return run_steps(net, p, p->forward_count, p->step_count, gradients);
}
