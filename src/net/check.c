/* check.c - see check.h: walks the trunk's table as infer_part.c and train_pass.c do and checks each operation that differs from
 * those before it. */
#include "net/check.h"

#include <stdio.h>
#include <string.h>

#include "base/number_text.h"
#include "net/trunk_shapes.h"
#include "nn/check.h"

#define TRAINING_BATCH 2
/* The least input whose last stage still has whole tiles and their remainders. */
#define QUICK_SIDE 96
#define QUICK_SAMPLES 64

typedef struct {
    net_check *check;
    dcam_nn *nn;
    const char *pass, *precision;
    dcam_nn_convolution done[DCAM_MAX_CONVOLUTIONS];
    int done_count;
} walk;

static void report(walk *w, const char *part, const char *shape, const dcam_nn_check *found)
{
    net_check *check = w->check;
    net_check_result r = {.pass = w->pass, .precision = w->precision, .part = part, .error = found->error,
                          .bound = found->bound, .seconds = found->seconds, .right = found->error <= found->bound};
    snprintf(r.shape, sizeof r.shape, "%s", shape);
    snprintf(r.kernel, sizeof r.kernel, "%s", found->kernel);
    check->checks++;
    if (!r.right && check->wrong++ == 0)
        dcam_snprintf(check->first_wrong, sizeof check->first_wrong, "%s of %s in %s, %s: error %.2g, %.2g is allowed", part,
                 shape, w->precision, r.kernel, r.error, r.bound);
    if (check->see) check->see(check->user, &r);
}

static void describe(const dcam_nn_convolution *c, char *text, size_t capacity)
{
    snprintf(text, capacity, "%d -> %d, %d x %d / %d, %d x %d%s%s", c->src.c, c->out_channels, c->kernel, c->kernel,
             c->stride, c->src.w, c->src.h, c->sum ? ", sum" : "", c->relu ? ", relu" : "");
}

/* Whether the like of c was checked before; remembers it. */
static bool seen(walk *w, const dcam_nn_convolution *c)
{
    for (int i = 0; i < w->done_count; i++) {
        const dcam_nn_convolution *d = &w->done[i];
        if (d->src.c == c->src.c && d->src.h == c->src.h && d->out_channels == c->out_channels && d->kernel == c->kernel &&
            d->stride == c->stride && d->sum == c->sum && d->relu == c->relu && d->before_type == c->before_type)
            return true;
    }
    w->done[w->done_count++] = *c;
    return false;
}

static dcam_status check_forward(walk *w, const dcam_nn_convolution *c)
{
    char shape[64];
    dcam_nn_check found;
    if (seen(w, c)) return DCAM_OK;
    describe(c, shape, sizeof shape);
    DCAM_TRY(dcam_nn_check_convolution(w->nn, c, DCAM_NN_CHECK_FORWARD, w->check->samples, &found));
    report(w, "forward", shape, &found);
    return DCAM_OK;
}

static void describe_map(const dcam_nn_tensor *t, char *text, size_t capacity)
{
    snprintf(text, capacity, "%d, %d x %d", t->c, t->w, t->h);
}

static dcam_status check_pool(walk *w, dcam_nn_tensor *map)
{
    char shape[64];
    dcam_nn_check found;
    describe_map(map, shape, sizeof shape);
    DCAM_TRY(dcam_nn_check_max_pool(w->nn, map, NET_POOL_KERNEL, NET_POOL_STRIDE, NET_POOL_PADDING, w->check->samples, &found));
    report(w, "pooling", shape, &found);
    *map = net_pooled(map);
    return DCAM_OK;
}

static dcam_status check_conversion(walk *w, const dcam_nn_tensor *map, bool to_bytes)
{
    char shape[64];
    dcam_nn_check found;
    describe_map(map, shape, sizeof shape);
    DCAM_TRY(dcam_nn_check_conversion(w->nn, map, to_bytes, w->check->samples, &found));
    report(w, to_bytes ? "to bytes" : "from bytes", shape, &found);
    return DCAM_OK;
}

static dcam_status check_reorder(walk *w, const dcam_nn_tensor *src, const dcam_nn_tensor *dst)
{
    char shape[64];
    dcam_nn_check found;
    if (src->layout == dst->layout && src->type == dst->type) return DCAM_OK;
    describe_map(src, shape, sizeof shape);
    DCAM_TRY(dcam_nn_check_reorder(w->nn, src, dst, w->check->samples, &found));
    report(w, "reorder", shape, &found);
    return DCAM_OK;
}

/* Convolution s from *src, which ends as infer_part.c's do; *dst: its result. added: what it is added to, or NULL. */
static dcam_status check_inference(walk *w, const dcam_convolution_shape *s, const dcam_nn_tensor *src, net_maps maps,
                                   bool relu, const dcam_nn_tensor *added, dcam_nn_tensor *dst)
{
    static const float any_scales[] = {1}; /* nn/check.c draws its own */
    dcam_nn_convolution c = net_convolution(s, src, maps.layout, maps.bf16_products, false);
    c.bias = true;
    c.relu = relu;
    c.sum = added != NULL;
    if (src->type == DCAM_NN_U8) {
        c.scales = any_scales;
        c.before_scale = 0.375f;
        c.before_type = added ? added->type : DCAM_NN_U8;
        if (!relu) c.dst_type = DCAM_NN_S8;
    }
    *dst = dcam_nn_convolution_dst(&c);
    return check_forward(w, &c);
}

/* The stem and the pooling after it: the map that the stages start from. */
static dcam_status check_stem(walk *w, const dcam_convolution_shape *stem, net_maps maps, bool int8, dcam_nn_tensor *map)
{
    const dcam_nn_tensor input = net_input(1, w->check->height, w->check->width);
    dcam_nn_convolution whole;
    if (net_stem_with_pool(stem, &input, int8 ? DCAM_NET_INT8 : maps.type == DCAM_NN_BF16 ? DCAM_NET_BF16 : DCAM_NET_F32, false,
                           0.0625f, &whole)) {
        *map = dcam_nn_convolution_dst(&whole);
        return check_forward(w, &whole);
    }
    const dcam_nn_tensor source = net_inference_stem_source(stem, &input, maps, false);
    DCAM_TRY(check_reorder(w, &input, &source));
    DCAM_TRY(check_inference(w, stem, &source, maps, true, NULL, map));
    DCAM_TRY(check_pool(w, map));
    if (!int8) return DCAM_OK;
    DCAM_TRY(check_conversion(w, map, true));
    map->type = DCAM_NN_U8;
    return DCAM_OK;
}

/* Whether the block that begins with this convolution has a third one, for its shortcut. */
static bool has_downsampling(const dcam_convolution_shape *first)
{
    return first->stride != 1 || first->in_channels != first->out_channels;
}

static dcam_status check_stages(walk *w, const dcam_architecture *a, const dcam_convolution_shape *shapes, net_maps maps,
                                dcam_nn_tensor map)
{
    int i = 1;
    for (int stage = 0; stage < DCAM_STAGES; stage++) {
        for (int block = 0; block < a->stage_blocks[stage]; block++) {
            const bool downsample = has_downsampling(&shapes[i]);
            dcam_nn_tensor middle, shortcut = map, out;
            DCAM_TRY(check_inference(w, &shapes[i], &map, maps, true, NULL, &middle));
            if (downsample) DCAM_TRY(check_inference(w, &shapes[i + 2], &map, maps, false, NULL, &shortcut));
            DCAM_TRY(check_inference(w, &shapes[i + 1], &middle, maps, true, &shortcut, &out));
            map = out;
            i += downsample ? 3 : 2;
        }
        const dcam_nn_tensor features = net_features(&map);
        if (map.type == DCAM_NN_U8) DCAM_TRY(check_conversion(w, &map, false));
        else DCAM_TRY(check_reorder(w, &map, &features));
    }
    return DCAM_OK;
}

static const char *name_of(dcam_net_precision precision)
{
    return precision == DCAM_NET_INT8 ? "int8" : precision == DCAM_NET_BF16 ? "bf16" : "f32";
}

dcam_status net_check_detection(net_check *check, dcam_net_precision precision)
{
    walk w = {.check = check, .pass = "detection", .precision = name_of(precision)};
    const dcam_architecture *a = dcam_architecture_find(NULL);
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    dcam_nn_tensor map;
    dcam_architecture_convolutions(a, shapes);
    DCAM_TRY(net_check_options(check->height, check->width, 1, precision));
    const net_maps maps = net_inference_maps(precision, false);
    DCAM_TRY(dcam_nn_create(&w.nn));
    dcam_status status = check_stem(&w, &shapes[0], maps, precision == DCAM_NET_INT8, &map);
    if (status == DCAM_OK) status = check_stages(&w, a, shapes, maps, map);
    dcam_nn_destroy(w.nn);
    return status;
}

/* ---- training ----------------------------------------------------------- */

/* The three parts of convolution s on src; nobody wants the gradient of the input. *dst: its result. */
static dcam_status check_trained(walk *w, const dcam_convolution_shape *s, const dcam_nn_tensor *src, net_maps maps,
                                 dcam_nn_tensor *dst)
{
    static const char *const parts[] = {"forward", "backward data", "backward weights"};
    dcam_nn_convolution c = net_convolution(s, src, maps.layout, maps.bf16_products, false);
    char shape[64];
    c.training = true;
    *dst = dcam_nn_convolution_dst(&c);
    if (seen(w, &c)) return DCAM_OK;
    describe(&c, shape, sizeof shape);
    for (int part = 0; part < 3; part++) {
        dcam_nn_check found;
        if (part == DCAM_NN_CHECK_BACKWARD_DATA && src->c == 3) continue;
        c.bf16_products = maps.bf16_products && part != DCAM_NN_CHECK_FORWARD; /* as train_pass.c has it */
        DCAM_TRY(dcam_nn_check_convolution(w->nn, &c, (dcam_nn_check_part)part, w->check->samples, &found));
        report(w, parts[part], shape, &found);
    }
    return DCAM_OK;
}

dcam_status net_check_training(net_check *check, dcam_net_precision precision)
{
    walk w = {.check = check, .pass = "training", .precision = name_of(precision)};
    net_maps maps;
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    const int count = dcam_architecture_convolutions(dcam_architecture_find(NULL), shapes);
    DCAM_TRY(net_check_options(check->height, check->width, TRAINING_BATCH, precision));
    DCAM_TRY(net_training_maps(precision, &maps));
    DCAM_TRY(dcam_nn_create(&w.nn));
    const dcam_nn_tensor input = net_input(TRAINING_BATCH, check->height, check->width);
    dcam_nn_tensor src = net_stem_source(TRAINING_BATCH, check->height, check->width, maps.type, maps.layout);
    dcam_status status = check_reorder(&w, &input, &src);
    dcam_nn_tensor map = src;
    if (status == DCAM_OK) status = check_trained(&w, &shapes[0], &src, maps, &map);
    if (status == DCAM_OK) map = net_pooled(&map);
    for (int i = 1; i < count && status == DCAM_OK; i += has_downsampling(&shapes[i]) ? 3 : 2) {
        dcam_nn_tensor middle, out;
        status = check_trained(&w, &shapes[i], &map, maps, &middle);
        if (status == DCAM_OK && has_downsampling(&shapes[i])) status = check_trained(&w, &shapes[i + 2], &map, maps, &out);
        if (status == DCAM_OK) status = check_trained(&w, &shapes[i + 1], &middle, maps, &out);
        map = out;
    }
    dcam_nn_destroy(w.nn);
    return status;
}

/* ---- before work that may run for years ----------------------------------- */

static dcam_status quick(dcam_status (*check)(net_check *check, dcam_net_precision precision), dcam_net_precision precision)
{
    net_check c = {.height = QUICK_SIDE, .width = QUICK_SIDE, .samples = QUICK_SAMPLES};
    DCAM_TRY(check(&c, precision));
    if (c.wrong == 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_KERNEL, "this machine computes wrongly: %s; `dcam doctor` shows all", c.first_wrong);
}

dcam_status net_check_before_detection(dcam_net_precision precision) { return quick(net_check_detection, precision); }
dcam_status net_check_before_training(dcam_net_precision precision) { return quick(net_check_training, precision); }
