/* dnnl_compat.h - oneDNN 2.x (Debian 12 ships 2.6.3) and 3.x behind one set of names. Internal to src/nn: nobody
 * else includes oneDNN. What changed between the two: memory descriptors became opaque, the operation descriptors
 * went away (primitive descriptors are created from the parameters directly), and post-ops lost or gained
 * arguments. Everything else that nn uses is the same in both. */
#ifndef DCAM_NN_DNNL_COMPAT_H
#define DCAM_NN_DNNL_COMPAT_H

#include <oneapi/dnnl/dnnl.h>

#include <stddef.h>

/* compat_md: a descriptor that we own; compat_md_ref: one that we look at. */
#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t compat_md;
typedef const_dnnl_memory_desc_t compat_md_ref;

static inline dnnl_status_t compat_md_make(compat_md *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                                           dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(md, rank, dims, type, tag);
}

static inline void compat_md_free(compat_md *md)
{
    if (*md) dnnl_memory_desc_destroy(*md);
    *md = NULL;
}

static inline compat_md_ref compat_md_view(const compat_md *md) { return *md; }

static inline dnnl_status_t compat_convolution_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                       dnnl_prop_kind_t prop, dnnl_alg_kind_t algorithm,
                                                       compat_md_ref src, compat_md_ref weights, compat_md_ref bias,
                                                       compat_md_ref dst, const dnnl_dims_t strides,
                                                       const dnnl_dims_t padding, const_dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t dilates = {0, 0};
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, prop, algorithm, src, weights, bias, dst,
                                                          strides, dilates, padding, padding, attr);
}

static inline dnnl_status_t compat_convolution_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                             dnnl_alg_kind_t algorithm, compat_md_ref diff_src,
                                                             compat_md_ref weights, compat_md_ref diff_dst,
                                                             const dnnl_dims_t strides, const dnnl_dims_t padding,
                                                             const_dnnl_primitive_desc_t forward,
                                                             const_dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t dilates = {0, 0};
    return dnnl_convolution_backward_data_primitive_desc_create(pd, engine, algorithm, diff_src, weights, diff_dst,
                                                                strides, dilates, padding, padding, forward, attr);
}

static inline dnnl_status_t compat_convolution_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                                dnnl_alg_kind_t algorithm, compat_md_ref src,
                                                                compat_md_ref diff_weights, compat_md_ref diff_dst,
                                                                const dnnl_dims_t strides, const dnnl_dims_t padding,
                                                                const_dnnl_primitive_desc_t forward,
                                                                const_dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t dilates = {0, 0};
    return dnnl_convolution_backward_weights_primitive_desc_create(pd, engine, algorithm, src, diff_weights, NULL,
                                                                   diff_dst, strides, dilates, padding, padding,
                                                                   forward, attr);
}

static inline dnnl_status_t compat_max_pooling(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, compat_md_ref src,
                                               compat_md_ref dst, const dnnl_dims_t strides, const dnnl_dims_t kernel,
                                               const dnnl_dims_t padding_before, const dnnl_dims_t padding_after,
                                               const_dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t dilates = {0, 0};
    return dnnl_pooling_forward_primitive_desc_create(pd, engine, dnnl_forward_inference, dnnl_pooling_max, src, dst,
                                                      strides, kernel, dilates, padding_before, padding_after, attr);
}

static inline dnnl_status_t compat_append_sum(dnnl_post_ops_t ops, float scale, dnnl_data_type_t type)
{
    return dnnl_post_ops_append_sum(ops, scale, 0, type);
}

/* Factors of an int8 convolution's sums, one an output channel. Here they are an argument of the run, and the bias is
 * added after the multiplication. */
#define COMPAT_SCALES_ARGUMENT (DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS)
#define COMPAT_BIAS_BEFORE_SCALES 0

static inline dnnl_status_t compat_set_scales(dnnl_primitive_attr_t attributes, int count, const float *scales)
{
    (void)count;
    (void)scales;
    return dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, 1 << 0);
}

static inline dnnl_status_t compat_scales_memory(dnnl_memory_t *memory, dnnl_engine_t engine, int count, float *scales)
{
    const dnnl_dims_t dims = {count};
    dnnl_memory_desc_t md;
    dnnl_status_t s = dnnl_memory_desc_create_with_tag(&md, 1, dims, dnnl_f32, dnnl_x);
    if (s != dnnl_success) return s;
    s = dnnl_memory_create(memory, md, engine, scales);
    dnnl_memory_desc_destroy(md);
    return s;
}

static inline dnnl_status_t compat_append_relu(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
}

#else

typedef dnnl_memory_desc_t compat_md;
typedef const dnnl_memory_desc_t *compat_md_ref;

static inline dnnl_status_t compat_md_make(compat_md *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                                           dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(md, rank, dims, type, tag);
}

static inline void compat_md_free(compat_md *md) { (void)md; }

static inline compat_md_ref compat_md_view(const compat_md *md) { return md; }

static inline dnnl_status_t compat_convolution_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                       dnnl_prop_kind_t prop, dnnl_alg_kind_t algorithm,
                                                       compat_md_ref src, compat_md_ref weights, compat_md_ref bias,
                                                       compat_md_ref dst, const dnnl_dims_t strides,
                                                       const dnnl_dims_t padding, const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t d;
    dnnl_status_t s = dnnl_convolution_forward_desc_init(&d, prop, algorithm, src, weights, bias, dst, strides,
                                                         padding, padding);
    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

static inline dnnl_status_t compat_convolution_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                             dnnl_alg_kind_t algorithm, compat_md_ref diff_src,
                                                             compat_md_ref weights, compat_md_ref diff_dst,
                                                             const dnnl_dims_t strides, const dnnl_dims_t padding,
                                                             const_dnnl_primitive_desc_t forward,
                                                             const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t d;
    dnnl_status_t s = dnnl_convolution_backward_data_desc_init(&d, algorithm, diff_src, weights, diff_dst, strides,
                                                               padding, padding);
    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, forward);
}

static inline dnnl_status_t compat_convolution_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                                dnnl_alg_kind_t algorithm, compat_md_ref src,
                                                                compat_md_ref diff_weights, compat_md_ref diff_dst,
                                                                const dnnl_dims_t strides, const dnnl_dims_t padding,
                                                                const_dnnl_primitive_desc_t forward,
                                                                const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t d;
    dnnl_status_t s = dnnl_convolution_backward_weights_desc_init(&d, algorithm, src, diff_weights, NULL, diff_dst,
                                                                  strides, padding, padding);
    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, forward);
}

static inline dnnl_status_t compat_max_pooling(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, compat_md_ref src,
                                               compat_md_ref dst, const dnnl_dims_t strides, const dnnl_dims_t kernel,
                                               const dnnl_dims_t padding_before, const dnnl_dims_t padding_after,
                                               const_dnnl_primitive_attr_t attr)
{
    dnnl_pooling_desc_t d;
    dnnl_status_t s = dnnl_pooling_forward_desc_init(&d, dnnl_forward_inference, dnnl_pooling_max, src, dst, strides,
                                                     kernel, padding_before, padding_after);
    return s != dnnl_success ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

static inline dnnl_status_t compat_append_sum(dnnl_post_ops_t ops, float scale, dnnl_data_type_t type)
{
    return dnnl_post_ops_append_sum_v2(ops, scale, type);
}

/* Here they belong to the operation, and the bias is added to the integer sum. */
#define COMPAT_SCALES_ARGUMENT 0
#define COMPAT_BIAS_BEFORE_SCALES 1

static inline dnnl_status_t compat_set_scales(dnnl_primitive_attr_t attributes, int count, const float *scales)
{
    return dnnl_primitive_attr_set_output_scales(attributes, count, 1 << 1, scales);
}

static inline dnnl_status_t compat_scales_memory(dnnl_memory_t *memory, dnnl_engine_t engine, int count, float *scales)
{
    (void)memory, (void)engine, (void)count, (void)scales;
    return dnnl_success;
}

static inline dnnl_status_t compat_append_relu(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
}

#endif

static inline compat_md_ref compat_query_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

#endif
