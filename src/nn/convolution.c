/* convolution.c - convolutions and their gradients: oneDNN's, or our own (own.h). Chooses Winograd (Lavin and Gray 2016,
 * "Fast algorithms for convolutional neural networks") for 3x3 convolutions of stride 1: oneDNN's where it has it, else
 * our own. */
#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "nn/op.h"

dcam_nn_tensor dcam_nn_convolved(const dcam_nn_convolution *c)
{
    return (dcam_nn_tensor){c->src.n, c->out_channels,
                            dcam_nn_output_size(c->src.h, c->kernel, c->stride, c->padding),
                            dcam_nn_output_size(c->src.w, c->kernel, c->stride, c->padding),
                            c->dst_type, c->dst_layout};
}

dcam_nn_tensor dcam_nn_convolution_dst(const dcam_nn_convolution *c)
{
    dcam_nn_tensor dst = dcam_nn_convolved(c);
    if (c->pool) {
        dst.h = dcam_nn_output_size(dst.h, 3, 2, 1);
        dst.w = dcam_nn_output_size(dst.w, 3, 2, 1);
    }
    return dst;
}

/* What the three parts of a convolution are made from. */
typedef struct {
    compat_md src, dst, weights, gradient, bias; /* gradient: of the weights; f32 whatever the maps are */
    dnnl_dims_t strides, padding;
    dnnl_primitive_attr_t attributes;
} convolution_parts;

static void free_parts(convolution_parts *p)
{
    compat_md_free(&p->src);
    compat_md_free(&p->dst);
    compat_md_free(&p->weights);
    compat_md_free(&p->gradient);
    compat_md_free(&p->bias);
    if (p->attributes) dnnl_primitive_attr_destroy(p->attributes);
}

dcam_status nn_make_attributes(const dcam_nn_convolution *c, dnnl_primitive_attr_t *out)
{
    const bool sum = c && c->sum, relu = c && c->relu, int8 = c && c->scales;
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t ops = NULL;
    DCAM_TRY(nn_status(dnnl_primitive_attr_create(&attributes), "attributes"));
    dnnl_status_t s = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (s == dnnl_success && (sum || relu)) {
        s = dnnl_post_ops_create(&ops);
        if (s == dnnl_success && sum)
            s = compat_append_sum(ops, int8 ? c->before_scale : 1, int8 ? nn_data_type(c->before_type) : dnnl_data_type_undef);
        if (s == dnnl_success && relu) s = compat_append_relu(ops);
        if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attributes, ops);
        if (ops) dnnl_post_ops_destroy(ops);
    }
    if (s == dnnl_success && int8) s = compat_set_scales(attributes, c->out_channels, c->scales);
    if (s != dnnl_success) {
        dnnl_primitive_attr_destroy(attributes);
        return nn_status(s, "attributes");
    }
    *out = attributes;
    return DCAM_OK;
}

/* On failure the parts made so far are in *p, for free_parts. */
static dcam_status make_parts(const dcam_nn_convolution *c, bool forward, convolution_parts *p)
{
    memset(p, 0, sizeof *p);
    if (c->out_channels < 1 || c->src.c < 1 || c->kernel < 1 || c->stride < 1 || c->padding < 0 ||
        c->kernel > 64 || c->padding >= c->kernel || c->src.h > INT_MAX / 2 || c->src.w > INT_MAX / 2 ||
        c->src.h + 2 * c->padding < c->kernel || c->src.w + 2 * c->padding < c->kernel)
        return dcam_fail(DCAM_ERROR_DATA, "a convolution %d x %d, stride %d, padding %d of %d x %d cannot be",
                         c->kernel, c->kernel, c->stride, c->padding, c->src.h, c->src.w);
    const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
    const dnnl_dims_t weights = {c->out_channels, c->src.c, c->kernel, c->kernel}, bias = {c->out_channels};
    DCAM_TRY(nn_describe_tensor(&c->src, &p->src));
    DCAM_TRY(nn_describe_tensor(&dst, &p->dst));
    const dnnl_data_type_t weights_type = c->scales ? dnnl_s8 : nn_data_type(c->src.type);
    DCAM_TRY(nn_status(compat_md_make(&p->weights, 4, weights, weights_type, dnnl_format_tag_any), "weights"));
    DCAM_TRY(nn_status(compat_md_make(&p->gradient, 4, weights, dnnl_f32, dnnl_format_tag_any), "weights"));
    DCAM_TRY(nn_status(compat_md_make(&p->bias, 1, bias, dnnl_f32, dnnl_x), "bias"));
    p->strides[0] = p->strides[1] = c->stride;
    p->padding[0] = p->padding[1] = c->padding;
    return nn_make_attributes(forward ? c : NULL, &p->attributes);
}

static dnnl_status_t make_forward(const dcam_nn *nn, const dcam_nn_convolution *c, const convolution_parts *p,
                                  dnnl_alg_kind_t algorithm, dnnl_primitive_desc_t *out)
{
    return compat_convolution_forward(out, nn->engine, c->training ? dnnl_forward_training : dnnl_forward_inference,
                                      algorithm, compat_md_view(&p->src), compat_md_view(&p->weights),
                                      c->bias ? compat_md_view(&p->bias) : NULL, compat_md_view(&p->dst), p->strides,
                                      p->padding, p->attributes);
}

typedef enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } convolution_part;

static dnnl_status_t make_descriptor(const dcam_nn *nn, const dcam_nn_convolution *c, const convolution_parts *p,
                                     convolution_part part, dnnl_alg_kind_t algorithm, dnnl_primitive_desc_t *out)
{
    dnnl_primitive_desc_t forward;
    dnnl_status_t s = make_forward(nn, c, p, algorithm, &forward);
    if (s != dnnl_success) return s;
    if (part == FORWARD) {
        *out = forward;
        return dnnl_success;
    }
    compat_md_ref src = compat_md_view(&p->src), dst = compat_md_view(&p->dst), weights = compat_md_view(&p->weights);
    if (part == BACKWARD_DATA)
        s = compat_convolution_backward_data(out, nn->engine, algorithm, src, weights, dst, p->strides, p->padding,
                                             forward, p->attributes);
    else
        s = compat_convolution_backward_weights(out, nn->engine, algorithm, src, compat_md_view(&p->gradient), dst,
                                                p->strides, p->padding, forward, p->attributes);
    dnnl_primitive_desc_destroy(forward);
    return s;
}

static void add_convolution_arguments(dcam_nn_op *op, convolution_part part, bool bias)
{
    if (part == FORWARD) {
        nn_add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
        nn_add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_WEIGHTS, dnnl_query_weights_md);
        if (bias) {
            op->formats[DCAM_NN_BIAS] = dnnl_primitive_desc_query_md(op->descriptor, dnnl_query_weights_md, 1);
            op->roles[DCAM_NN_BIAS] = DNNL_ARG_BIAS;
        }
        nn_add_argument(op, DCAM_NN_DST, DNNL_ARG_DST, dnnl_query_dst_md);
    } else if (part == BACKWARD_DATA) {
        nn_add_argument(op, DCAM_NN_SRC, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md);
        nn_add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_WEIGHTS, dnnl_query_weights_md);
        nn_add_argument(op, DCAM_NN_DST, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md);
    } else {
        nn_add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
        nn_add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md);
        nn_add_argument(op, DCAM_NN_DST, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md);
    }
    nn_add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
}

/* The scales of an int8 convolution, where they are an argument of the run. */
static dcam_status add_scales(dcam_nn_op *op, const dcam_nn_convolution *c)
{
    if (!c->scales || COMPAT_SCALES_ARGUMENT == 0) return DCAM_OK;
    const size_t count = (size_t)c->out_channels;
    DCAM_TRY(dcam_alloc(count, sizeof *op->scales, &op->scales));
    memcpy(op->scales, c->scales, count * sizeof *op->scales);
    DCAM_TRY(nn_status(compat_scales_memory(&op->scales_memory, op->nn->engine, c->out_channels, op->scales), "scales"));
    op->arguments[op->argument_count].arg = COMPAT_SCALES_ARGUMENT;
    op->arguments[op->argument_count++].memory = op->scales_memory;
    return DCAM_OK;
}

void dcam_nn_bias_in(const dcam_nn_convolution *c, const float *bias, float *out)
{
    for (int i = 0; i < c->out_channels; i++)
        out[i] = c->scales && COMPAT_BIAS_BEFORE_SCALES ? bias[i] / c->scales[i] : bias[i];
}

bool dcam_nn_is_own(const dcam_nn_convolution *c)
{
    dcam_own own;
    return !c->exact && dcam_own_convolution(c, DCAM_WINOGRAD_FORWARD, 1, &own);
}

static dcam_status make_convolution(dcam_nn *nn, const dcam_nn_convolution *c, convolution_part part, dcam_nn_op **out)
{
    static const dcam_winograd_part own_parts[] = {DCAM_WINOGRAD_FORWARD, DCAM_WINOGRAD_BACKWARD_DATA,
                                                   DCAM_WINOGRAD_BACKWARD_WEIGHTS};
    dcam_own own;
    if (!c->exact && dcam_own_convolution(c, own_parts[part], nn->threads, &own)) {
        const dcam_nn_tensor dst = dcam_nn_convolution_dst(c);
        return nn_make_own(nn, &own, &c->src, &dst, out);
    }
    if (c->pool) return dcam_fail(DCAM_ERROR_INTERNAL, "a convolution with pooling that is not one of our own");
    convolution_parts parts;
    dnnl_primitive_desc_t descriptor = NULL;
    dcam_nn_op *op;
    dcam_nn_convolution plain = *c;
    if (part != FORWARD) {
        plain.training = true;
        plain.bias = plain.sum = plain.relu = false;
    }
    dcam_status status = make_parts(&plain, part == FORWARD, &parts);
    if (status != DCAM_OK) goto cleanup;
    dnnl_status_t made = dnnl_unimplemented;
    /* oneDNN's int8 Winograd loses bits in its transforms. */
    if (!c->exact && !c->scales && c->kernel == 3 && c->stride == 1)
        made = make_descriptor(nn, &plain, &parts, part, dnnl_convolution_winograd, &descriptor);
    if (made != dnnl_success)
        made = make_descriptor(nn, &plain, &parts, part, dnnl_convolution_direct, &descriptor);
    status = nn_status(made, "convolution");
    if (status != DCAM_OK) goto cleanup;
    status = nn_make_op(nn, descriptor, &op);
    if (status != DCAM_OK) goto cleanup;
    const int shape[4] = {c->out_channels, c->src.c, c->kernel, c->kernel};
    memcpy(op->weights_shape, shape, sizeof shape);
    op->plain_weights = c->scales ? dnnl_s8 : dnnl_f32;
    add_convolution_arguments(op, part, plain.bias);
    status = add_scales(op, c);
    if (status == DCAM_OK) *out = op;
    else dcam_nn_op_destroy(op);
cleanup:
    free_parts(&parts);
    return status;
}

dcam_status dcam_nn_convolution_forward(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_op **out)
{
    return make_convolution(nn, c, FORWARD, out);
}

dcam_status dcam_nn_convolution_backward_data(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_op **out)
{
    return make_convolution(nn, c, BACKWARD_DATA, out);
}

dcam_status dcam_nn_convolution_backward_weights(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_op **out)
{
    return make_convolution(nn, c, BACKWARD_WEIGHTS, out);
}
