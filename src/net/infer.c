/* infer.c - the trunk for scoring: making a network, and its calls. Batch norm is folded into the weights.
 *
 * A call of n images runs in parts of 2^k images, at most MAX_PART; a part's operations and memory (infer_part.c) are made
 * when its size is first seen and kept. So memory does not grow with the batch, and activations stay in the caches.
 * Allocates nothing otherwise and never writes to the caller's weights. */
#include "net/infer.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"

/* Larger parts were no faster an image (bench/net_bench.c) and cost memory in proportion. */
#define MAX_PART 8

/* The part for as many of the remaining images as one part takes. */
static dcam_status find_part(dcam_net *net, int remaining, net_part **out)
{
    int n = MAX_PART;
    while (n > remaining) n /= 2;
    for (net_part *p = net->parts; p; p = p->next)
        if (p->n == n) {
            *out = p;
            return DCAM_OK;
        }
    return net_part_create(net, n, out);
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
    net_part *first;
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
    net_part *first;
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
    net_forget_formats(net, NULL);
    while (net->parts) {
        net_part *p = net->parts;
        net->parts = p->next;
        net_part_destroy(p);
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

static void show(const net_part *p, const dcam_nn_op *op, const observer *o)
{
    for (int i = 0; i < DCAM_MAX_CONVOLUTIONS; i++)
        if (p->results[i].op == op) o->see(o->user, i, dcam_nn_op_address(op, DCAM_NN_DST), p->results[i].count);
}

static dcam_status run_part(const net_part *p, const float *input, void *const features[DCAM_STAGES], const observer *o)
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
        net_part *p;
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
    net_part *p;
    for (int done = 0; done < n; done += p->n) DCAM_TRY(find_part(net, n - done, &p));
    return DCAM_OK;
}

typedef struct {
    dcam_net *nets[2];
    void *const *features[2];
    const float *input;
    int n;
    dcam_status statuses[2];
    char message[DCAM_MESSAGE_BYTES]; /* of the second, which is kept for a thread that is not the caller's */
} side_by_side;

static void run_one(void *context, size_t begin, size_t end)
{
    side_by_side *run = context;
    for (size_t k = begin; k < end; k++) {
        run->statuses[k] = run_alone(run->nets[k], run->input, run->n, run->features[k]);
        if (k == 1 && run->statuses[k] != DCAM_OK) snprintf(run->message, sizeof run->message, "%s", dcam_error_message());
    }
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
    /* Planned for as many threads as they run with. */
    dcam_set_threads(1);
    dcam_status status = make_parts(a, n);
    if (status == DCAM_OK) status = make_parts(b, n);
    dcam_set_threads(2);
    DCAM_TRY(status);
    dcam_parallel_for(2, run_one, &run);
    DCAM_TRY(run.statuses[0]);
    return run.statuses[1] == DCAM_OK ? DCAM_OK : dcam_fail(run.statuses[1], "%s", run.message);
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
    for (const net_formatted *f = net->formatted; f; f = f->next) bytes += f->bytes;
    for (const net_part *p = net->parts; p; p = p->next) bytes += p->arena_bytes;
    return bytes;
}
