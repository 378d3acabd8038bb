/* trunk_shapes.c - shapes of the trunk's inputs, maps and taps, and the check of the options. */
#include "net/trunk_shapes.h"

dcam_feature_shapes dcam_feature_shapes_at(const dcam_architecture *a, int height, int width)
{
    dcam_feature_shapes shapes;
    for (int k = 0; k < DCAM_STAGES; k++) {
        shapes.channels[k] = a->stage_channels[k];
        shapes.height[k] = height >> (k + 2);
        shapes.width[k] = width >> (k + 2);
    }
    return shapes;
}

dcam_status net_check_options(int height, int width, int batch, dcam_net_precision precision)
{
    if (height < 32 || width < 32 || height % 32 != 0 || width % 32 != 0)
        return dcam_fail(DCAM_ERROR_USAGE, "an input of %d x %d: height and width must be multiples of 32", width,
                         height);
    if (batch < 1) return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d: it must be at least 1", batch);
    if (precision != DCAM_NET_F32 && precision != DCAM_NET_BF16 && precision != DCAM_NET_INT8)
        return dcam_fail(DCAM_ERROR_INTERNAL, "precision %d is none", (int)precision);
    return DCAM_OK;
}

dcam_nn_type net_type(dcam_net_precision precision)
{
    return precision == DCAM_NET_BF16 ? DCAM_NN_BF16 : DCAM_NN_F32;
}

dcam_nn_tensor net_pooled(const dcam_nn_tensor *stem)
{
    dcam_nn_tensor pooled = *stem;
    pooled.h = dcam_nn_output_size(stem->h, NET_POOL_KERNEL, NET_POOL_STRIDE, NET_POOL_PADDING);
    pooled.w = dcam_nn_output_size(stem->w, NET_POOL_KERNEL, NET_POOL_STRIDE, NET_POOL_PADDING);
    return pooled;
}

dcam_nn_tensor net_input(int n, int height, int width)
{
    return (dcam_nn_tensor){n, 3, height, width, DCAM_NN_F32, DCAM_NN_NCHW};
}

dcam_nn_tensor net_features(const dcam_nn_tensor *map)
{
    dcam_nn_tensor features = *map;
    features.type = DCAM_NN_F32;
    features.layout = DCAM_NN_NHWC;
    return features;
}

dcam_nn_tensor net_stem_source(int n, int height, int width, dcam_nn_type type, dcam_nn_layout layout)
{
    dcam_nn_tensor source = net_input(n, height, width);
    source.type = type;
    if (layout == DCAM_NN_NHWC) source.layout = DCAM_NN_NHWC;
    return source;
}

net_maps net_inference_maps(dcam_net_precision precision, bool exact)
{
    net_maps maps = {.bf16_products = precision == DCAM_NET_BF16 && !exact && dcam_nn_bf16_products()};
    maps.type = maps.bf16_products ? DCAM_NN_F32 : net_type(precision);
    maps.layout = precision == DCAM_NET_INT8 ? DCAM_NN_NHWC : dcam_nn_best_layout(maps.type);
    return maps;
}

dcam_status net_training_maps(dcam_net_precision precision, net_maps *out)
{
    const bool bf16 = precision == DCAM_NET_BF16;
    net_maps maps = {.type = DCAM_NN_F32, .bf16_products = bf16 && dcam_nn_bf16_products()};
    if (precision == DCAM_NET_INT8) return dcam_fail(DCAM_ERROR_INTERNAL, "int8 networks are not trained");
    if (bf16 && !maps.bf16_products) {
        if (!dcam_nn_bf16_maps())
            return dcam_fail(DCAM_ERROR_DEVICE, "training in bf16 needs AMX or AVX512-BF16; use --precision f32");
        maps.type = DCAM_NN_BF16;
    }
    maps.layout = dcam_nn_best_layout(maps.type);
    *out = maps;
    return DCAM_OK;
}

dcam_nn_convolution net_convolution(const dcam_convolution_shape *s, const dcam_nn_tensor *src, dcam_nn_layout layout,
                                    bool bf16_products, bool exact)
{
    return (dcam_nn_convolution){.src = *src, .out_channels = s->out_channels, .kernel = s->kernel, .stride = s->stride,
                                 .padding = s->padding, .dst_type = src->type, .dst_layout = layout,
                                 .bf16_products = bf16_products, .exact = exact};
}

dcam_nn_tensor net_inference_stem_source(const dcam_convolution_shape *stem, const dcam_nn_tensor *input, net_maps maps,
                                         bool exact)
{
    dcam_nn_convolution c = net_convolution(stem, input, maps.layout, false, exact);
    c.dst_type = maps.type;
    return dcam_nn_is_own(&c) ? *input : net_stem_source(input->n, input->h, input->w, maps.type, maps.layout);
}

bool net_stem_with_pool(const dcam_convolution_shape *stem, const dcam_nn_tensor *input, dcam_net_precision precision,
                        bool exact, float scale, dcam_nn_convolution *out)
{
    const net_maps maps = net_inference_maps(precision, exact);
    dcam_nn_convolution c = net_convolution(stem, input, DCAM_NN_NHWC, false, exact);
    if (precision == DCAM_NET_F32 || maps.bf16_products || maps.layout != DCAM_NN_NHWC) return false;
    c.dst_type = precision == DCAM_NET_INT8 ? DCAM_NN_U8 : DCAM_NN_BF16;
    c.bias = c.relu = c.pool = true;
    c.pool_scale = scale;
    if (!dcam_nn_is_own(&c)) return false;
    *out = c;
    return true;
}

int net_last_of_stage(const dcam_trunk_weights *w, int stage)
{
    int last = 0, next = 1;
    for (int k = 0; k <= stage; k++)
        for (int block = 0; block < w->architecture->stage_blocks[k]; block++) {
            const dcam_convolution_shape *first = &w->shapes[next];
            last = next + 1;
            next += first->stride != 1 || first->in_channels != first->out_channels ? 3 : 2;
        }
    return last;
}
