/* plain_ops.c - operations without weights: max-pooling, reorders between layouts, types and the formats of weights,
 * conversions between f32 and bytes. */
#include <string.h>

#include "nn/op.h"

/* oneDNN wants the padding behind to fit the output size exactly. */
static int padding_after(int size, int out, int kernel, int stride, int padding)
{
    int needed = (out - 1) * stride + kernel - size - padding;
    return needed > 0 ? needed : 0;
}

dcam_status dcam_nn_max_pool(dcam_nn *nn, const dcam_nn_tensor *src, int kernel, int stride, int padding,
                             dcam_nn_op **out)
{
    dcam_own own;
    compat_md from, to;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t descriptor = NULL;
    dcam_nn_op *op;
    if (kernel < 1 || stride < 1 || padding < 0 || padding >= kernel || src->h + 2 * padding < kernel ||
        src->w + 2 * padding < kernel)
        return dcam_fail(DCAM_ERROR_DATA, "pooling %d x %d of %d x %d cannot be", kernel, kernel, src->h, src->w);
    dcam_nn_tensor dst = *src;
    dst.h = dcam_nn_output_size(src->h, kernel, stride, padding);
    dst.w = dcam_nn_output_size(src->w, kernel, stride, padding);
    if (dcam_own_pool(src, kernel, stride, padding, &own)) return nn_make_own(nn, &own, src, &dst, out);
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    dcam_status status = nn_describe_tensor(src, &from);
    if (status == DCAM_OK) status = nn_describe_tensor(&dst, &to);
    if (status == DCAM_OK) status = nn_make_attributes(NULL, &attributes);
    if (status != DCAM_OK) goto cleanup;
    const dnnl_dims_t strides = {stride, stride}, window = {kernel, kernel}, before = {padding, padding};
    const dnnl_dims_t after = {padding_after(src->h, dst.h, kernel, stride, padding),
                               padding_after(src->w, dst.w, kernel, stride, padding)};
    status = nn_status(compat_max_pooling(&descriptor, nn->engine, compat_md_view(&from), compat_md_view(&to), strides,
                                      window, before, after, attributes), "pooling");
    if (status == DCAM_OK) status = nn_make_op(nn, descriptor, &op);
    if (status != DCAM_OK) goto cleanup;
    nn_add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
    nn_add_argument(op, DCAM_NN_DST, DNNL_ARG_DST, dnnl_query_dst_md);
    nn_add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
    *out = op;
cleanup:
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    compat_md_free(&to);
    compat_md_free(&from);
    return status;
}

static dcam_status make_reorder(dcam_nn *nn, compat_md_ref from, compat_md_ref to, dcam_nn_op **out)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t descriptor;
    dcam_nn_op *op;
    DCAM_TRY(nn_make_attributes(NULL, &attributes));
    dnnl_status_t made = dnnl_reorder_primitive_desc_create(&descriptor, from, nn->engine, to, nn->engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    DCAM_TRY(nn_status(made, "reorder"));
    DCAM_TRY(nn_make_op(nn, descriptor, &op));
    nn_add_argument(op, DCAM_NN_SRC, DNNL_ARG_FROM, dnnl_query_src_md);
    nn_add_argument(op, DCAM_NN_DST, DNNL_ARG_TO, dnnl_query_dst_md);
    nn_add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
    *out = op;
    return DCAM_OK;
}

dcam_status dcam_nn_reorder(dcam_nn *nn, const dcam_nn_tensor *src, const dcam_nn_tensor *dst, dcam_nn_op **out)
{
    compat_md from, to;
    if (src->n != dst->n || src->c != dst->c || src->h != dst->h || src->w != dst->w)
        return dcam_fail(DCAM_ERROR_INTERNAL, "a reorder cannot change a tensor's shape");
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    dcam_status status = nn_describe_tensor(src, &from);
    if (status == DCAM_OK) status = nn_describe_tensor(dst, &to);
    if (status == DCAM_OK) status = make_reorder(nn, compat_md_view(&from), compat_md_view(&to), out);
    compat_md_free(&to);
    compat_md_free(&from);
    return status;
}

static dcam_status make_conversion(dcam_nn *nn, const dcam_nn_tensor *src, float scale, dcam_nn_type to, dcam_nn_op **out)
{
    dcam_own own;
    dcam_nn_tensor dst = *src;
    dst.type = to;
    if (!dcam_own_quantise(src, scale, to, &own))
        return dcam_fail(DCAM_ERROR_INTERNAL, "a conversion between int8 and f32 that is none");
    return nn_make_own(nn, &own, src, &dst, out);
}

dcam_status dcam_nn_quantise(dcam_nn *nn, const dcam_nn_tensor *src, float scale, dcam_nn_op **out)
{
    return make_conversion(nn, src, scale, DCAM_NN_U8, out);
}

dcam_status dcam_nn_dequantise(dcam_nn *nn, const dcam_nn_tensor *src, float scale, dcam_nn_op **out)
{
    return make_conversion(nn, src, scale, DCAM_NN_F32, out);
}

static dcam_status reorder_weights(dcam_nn *nn, const dcam_nn_op *op, bool in, dcam_nn_op **out)
{
    compat_md plain;
    memset(&plain, 0, sizeof plain);
    if (dcam_own_is(&op->own)) {
        DCAM_TRY(nn_make_op(nn, NULL, out));
        (*out)->own = dcam_own_weights(&op->own, in);
        return DCAM_OK;
    }
    if (!op->formats[DCAM_NN_WEIGHTS]) return dcam_fail(DCAM_ERROR_INTERNAL, "an operation without weights");
    const int *shape = op->weights_shape;
    const dnnl_dims_t dims = {shape[0], shape[1], shape[2], shape[3]};
    dcam_status status = nn_status(compat_md_make(&plain, 4, dims, op->plain_weights, dnnl_oihw), "weights");
    if (status == DCAM_OK)
        status = in ? make_reorder(nn, compat_md_view(&plain), op->formats[DCAM_NN_WEIGHTS], out)
                    : make_reorder(nn, op->formats[DCAM_NN_WEIGHTS], compat_md_view(&plain), out);
    compat_md_free(&plain);
    return status;
}

dcam_status dcam_nn_weights_in(dcam_nn *nn, const dcam_nn_op *op, dcam_nn_op **out)
{
    return reorder_weights(nn, op, true, out);
}

dcam_status dcam_nn_weights_out(dcam_nn *nn, const dcam_nn_op *op, dcam_nn_op **out)
{
    return reorder_weights(nn, op, false, out);
}

bool dcam_nn_same_weights(const dcam_nn_op *a, const dcam_nn_op *b)
{
    if (dcam_own_is(&a->own)) return dcam_own_same_weights(&a->own, &b->own);
    return a->formats[DCAM_NN_WEIGHTS] && b->formats[DCAM_NN_WEIGHTS] &&
           dnnl_memory_desc_equal(a->formats[DCAM_NN_WEIGHTS], b->formats[DCAM_NN_WEIGHTS]);
}
