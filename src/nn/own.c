/* own.c - see own.h: which operation serves what. */
#include "nn/own.h"

static bool is_winograd(const dcam_own *own) { return own->winograd.part != DCAM_WINOGRAD_NONE; }
static bool is_direct(const dcam_own *own) { return own->direct.out > 0; }
static bool is_gathered(const dcam_own *own) { return own->gathered.out > 0; }
static bool is_tile_gradient(const dcam_own *own) { return own->tile_gradient.out > 0; }
static bool is_tile_map_gradient(const dcam_own *own) { return own->tile_map_gradient.out > 0; }
static bool is_stem(const dcam_own *own) { return own->stem.out > 0; }
static bool is_stem_pool(const dcam_own *own) { return own->stem_pool.out > 0; }
static bool is_pool(const dcam_own *own) { return own->pool.src.c > 0; }
static bool is_quantise(const dcam_own *own) { return own->quantise.count > 0; }

bool dcam_own_is(const dcam_own *own)
{
    return is_winograd(own) || is_direct(own) || is_gathered(own) || is_tile_gradient(own) ||
           is_tile_map_gradient(own) || is_stem(own) || is_stem_pool(own) || is_pool(own) || is_quantise(own);
}

bool dcam_own_convolution(const dcam_nn_convolution *c, dcam_winograd_part part, int threads, dcam_own *out)
{
    const dcam_nn_isa isa = dcam_nn_isa_here();
    const bool forward = part == DCAM_WINOGRAD_FORWARD, bias = forward && c->bias, sum = forward && c->sum,
               relu = forward && c->relu;
    const bool bf16 = c->bf16_products && isa >= DCAM_NN_ISA_AVX512_BF16;
    if (isa == DCAM_NN_ISA_NONE) return false;
    if (c->pool) {
        if (!forward || isa < DCAM_NN_ISA_AMX || !dcam_stem_pool_fits(c)) return false;
        *out = (dcam_own){.stem_pool = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .out = c->out_channels,
                                        .scale = c->dst_type == DCAM_NN_U8 ? c->pool_scale : 0, .threads = threads}};
        return true;
    }
    if (part == DCAM_WINOGRAD_BACKWARD_WEIGHTS && dcam_tile_gradient_fits(c)) {
        *out = (dcam_own){.tile_gradient = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .in = c->src.c,
                                            .out = c->out_channels, .kernel = c->kernel, .stride = c->stride,
                                            .threads = threads}};
        return true;
    }
    if (part == DCAM_WINOGRAD_BACKWARD_DATA && dcam_tile_map_gradient_fits(c)) {
        *out = (dcam_own){.tile_map_gradient = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .in = c->src.c,
                                                .out = c->out_channels, .kernel = c->kernel, .threads = threads}};
        return true;
    }
    if (dcam_winograd_fits(c)) {
        *out = (dcam_own){.winograd = {.part = part, .n = c->src.n, .h = c->src.h, .w = c->src.w, .in = c->src.c,
                                       .out = c->out_channels, .bias = bias, .sum = sum, .relu = relu, .bf16 = bf16,
                                       .threads = threads, .isa = isa}};
        return true;
    }
    if (part == DCAM_WINOGRAD_BACKWARD_WEIGHTS && dcam_gathered_fits(c)) {
        *out = (dcam_own){.gathered = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .in = c->src.c,
                                       .out = c->out_channels, .kernel = c->kernel, .bf16 = bf16, .threads = threads,
                                       .isa = isa}};
        return true;
    }
    if (forward && dcam_direct_fits(c)) {
        *out = (dcam_own){.direct = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .in = c->src.c,
                                     .out = c->out_channels, .kernel = c->kernel, .bias = bias, .sum = sum,
                                     .relu = relu, .bf16 = bf16, .threads = threads, .isa = isa}};
        return true;
    }
    if (forward && dcam_stem_fits(c)) {
        *out = (dcam_own){.stem = {.n = c->src.n, .h = c->src.h, .w = c->src.w, .out = c->out_channels, .bias = bias,
                                   .relu = relu, .planes = c->src.layout == DCAM_NN_NCHW, .bf16 = bf16,
                                   .threads = threads, .isa = isa}};
        return true;
    }
    return false;
}

bool dcam_own_pool(const dcam_nn_tensor *src, int kernel, int stride, int padding, dcam_own *out)
{
    if (!dcam_pool_fits(src)) return false;
    *out = (dcam_own){.pool = {*src, kernel, stride, padding}};
    return true;
}

bool dcam_own_quantise(const dcam_nn_tensor *src, float scale, dcam_nn_type to, dcam_own *out)
{
    size_t bytes;
    const bool back = to == DCAM_NN_F32;
    if (src->layout != DCAM_NN_NHWC || src->type != (back ? DCAM_NN_U8 : DCAM_NN_F32) || !(scale > 0)) return false;
    if (dcam_nn_tensor_bytes(src, &bytes) != DCAM_OK) return false;
    *out = (dcam_own){.quantise = {bytes / dcam_nn_type_bytes(src->type), scale, back}};
    return true;
}

dcam_own dcam_own_weights(const dcam_own *of, bool in)
{
    dcam_own own = *of;
    own.direct.weights_in = own.stem.weights_in = own.stem_pool.weights_in = own.tile_map_gradient.weights_in = true;
    own.gathered.weights_out = own.tile_gradient.weights_out = true;
    own.winograd.of = of->winograd.part;
    if (is_winograd(of)) own.winograd.part = in ? DCAM_WINOGRAD_WEIGHTS_IN : DCAM_WINOGRAD_WEIGHTS_OUT;
    return own;
}

static bool is_bf16(const dcam_own *own)
{
    return own->winograd.bf16 || own->direct.bf16 || own->gathered.bf16 || own->stem.bf16;
}

const char *dcam_own_name(const dcam_own *own)
{
    const bool bf16 = is_bf16(own);
    if (is_quantise(own)) return "own quantise";
    if (is_pool(own)) return "own pool";
    if (is_stem_pool(own)) return "own stem and pool, bf16 tiles";
    if (is_stem(own)) return bf16 ? "own stem, bf16" : "own stem";
    if (is_tile_gradient(own)) return "own gradient, bf16 tiles";
    if (is_tile_map_gradient(own)) return "own gradient of a map, bf16 tiles";
    if (is_direct(own)) return bf16 ? "own direct, bf16" : "own direct";
    if (is_gathered(own)) return bf16 ? "own gathered, bf16" : "own gathered";
    return bf16 ? "own winograd, bf16" : "own winograd";
}

static size_t pool_bytes(const dcam_pool *pool, dcam_nn_argument which)
{
    const dcam_nn_tensor dst = dcam_pool_dst(pool);
    size_t bytes = 0;
    if (which != DCAM_NN_SRC && which != DCAM_NN_DST) return 0;
    return dcam_nn_tensor_bytes(which == DCAM_NN_SRC ? &pool->src : &dst, &bytes) == DCAM_OK ? bytes : 0;
}

size_t dcam_own_bytes(const dcam_own *own, dcam_nn_argument which)
{
    if (is_quantise(own)) return dcam_quantise_bytes(&own->quantise, which);
    if (is_pool(own)) return pool_bytes(&own->pool, which);
    if (is_stem_pool(own)) return dcam_stem_pool_bytes(&own->stem_pool, which);
    if (is_stem(own)) return dcam_stem_bytes(&own->stem, which);
    if (is_tile_gradient(own)) return dcam_tile_gradient_bytes(&own->tile_gradient, which);
    if (is_tile_map_gradient(own)) return dcam_tile_map_gradient_bytes(&own->tile_map_gradient, which);
    if (is_gathered(own)) return dcam_gathered_bytes(&own->gathered, which);
    return is_direct(own) ? dcam_direct_bytes(&own->direct, which) : dcam_winograd_bytes(&own->winograd, which);
}

bool dcam_own_same_weights(const dcam_own *a, const dcam_own *b)
{
    if (is_bf16(a) != is_bf16(b)) return false;
    if (is_direct(a) && is_direct(b))
        return a->direct.in == b->direct.in && a->direct.out == b->direct.out && a->direct.kernel == b->direct.kernel;
    if (is_stem_pool(a) || is_stem_pool(b)) return is_stem_pool(a) && is_stem_pool(b);
    if (is_tile_map_gradient(a) && is_tile_map_gradient(b))
        return a->tile_map_gradient.in == b->tile_map_gradient.in && a->tile_map_gradient.out == b->tile_map_gradient.out &&
               a->tile_map_gradient.kernel == b->tile_map_gradient.kernel;
    if (is_stem(a) && is_stem(b)) return a->stem.out == b->stem.out;
    return is_winograd(a) && a->winograd.part == b->winograd.part && a->winograd.in == b->winograd.in &&
           a->winograd.out == b->winograd.out;
}

void dcam_own_run(const dcam_own *own, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (is_quantise(own)) dcam_quantise_run(&own->quantise, memory);
    else if (is_pool(own)) dcam_pool_run(&own->pool, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
    else if (is_stem_pool(own)) dcam_stem_pool_run(&own->stem_pool, memory);
    else if (is_stem(own)) dcam_stem_run(&own->stem, memory);
    else if (is_tile_gradient(own)) dcam_tile_gradient_run(&own->tile_gradient, memory);
    else if (is_tile_map_gradient(own)) dcam_tile_map_gradient_run(&own->tile_map_gradient, memory);
    else if (is_gathered(own)) dcam_gathered_run(&own->gathered, memory);
    else if (is_direct(own)) dcam_direct_run(&own->direct, memory);
    else dcam_winograd_run(&own->winograd, memory);
}
