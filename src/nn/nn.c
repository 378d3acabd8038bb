/* nn.c - the layer over oneDNN: descriptors, primitives and their arguments. Chooses Winograd (Lavin and Gray 2016,
 * "Fast algorithms for convolutional neural networks") for 3x3 convolutions of stride 1: oneDNN's where it has it, else
 * our own (own.h). It knows nothing of networks and owns no tensor memory. */
#include "nn/nn.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/dnnl_compat.h"
#include "nn/isa.h"
#include "nn/own.h"

struct dcam_nn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
};

struct dcam_nn_op {
    dcam_nn *nn;
    dcam_own own; /* if it is one of our own operations nothing of oneDNN below is set */
    void *addresses[DCAM_NN_ARGUMENTS];
    dnnl_primitive_desc_t descriptor;
    dnnl_primitive_t primitive; /* NULL until prepared */
    int weights_shape[4];       /* OIHW; zeros if there are none */
    compat_md_ref formats[DCAM_NN_ARGUMENTS]; /* owned by descriptor; NULL: no such argument */
    dnnl_exec_arg_t arguments[DCAM_NN_ARGUMENTS + 1];
    int argument_count;
    dnnl_data_type_t plain_weights; /* type of the weights before the reorder */
    float *scales;                  /* of an int8 convolution whose oneDNN takes them at each run, else NULL */
    dnnl_memory_t scales_memory;
    dnnl_memory_t memories[DCAM_NN_ARGUMENTS];
    int roles[DCAM_NN_ARGUMENTS]; /* oneDNN's name of each argument */
};

static dcam_status check(dnnl_status_t status, const char *what)
{
    switch (status) {
    case dnnl_success: return DCAM_OK;
    case dnnl_out_of_memory: return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: oneDNN: %s", what);
    case dnnl_unimplemented:
        return dcam_fail(DCAM_ERROR_DEVICE, "oneDNN has no implementation of this %s for this processor", what);
    default: return dcam_fail(DCAM_ERROR_INTERNAL, "oneDNN: %s: status %d", what, (int)status);
    }
}

/* ---- engine and processor ---------------------------------------------- */

dcam_status dcam_nn_create(dcam_nn **out)
{
    dcam_nn *nn;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *nn, &nn));
    nn->threads = dcam_threads();
    dcam_status status = check(dnnl_engine_create(&nn->engine, dnnl_cpu, 0), "engine");
    if (status == DCAM_OK)
        status = check(dnnl_stream_create(&nn->stream, nn->engine, dnnl_stream_default_flags), "stream");
    if (status != DCAM_OK) {
        dcam_nn_destroy(nn);
        return status;
    }
    *out = nn;
    return DCAM_OK;
}

void dcam_nn_destroy(dcam_nn *nn)
{
    if (!nn) return;
    if (nn->stream) dnnl_stream_destroy(nn->stream);
    if (nn->engine) dnnl_engine_destroy(nn->engine);
    dcam_free(nn);
}

int dcam_nn_threads(const dcam_nn *nn) { return nn->threads; }

/* oneDNN's values are sets of bits: a processor has a set if it has all of its bits. */
static bool has_isa(dnnl_cpu_isa_t set)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)set) == (unsigned)set;
}

bool dcam_nn_fast_bf16(void) { return has_isa(dnnl_cpu_isa_avx512_core_bf16); }

bool dcam_nn_bf16_products(void)
{
    return dcam_nn_isa_here() == DCAM_NN_ISA_AVX512_BF16 && !has_isa(dnnl_cpu_isa_avx512_core_amx);
}

int dcam_nn_int8_weight_limit(void)
{
    /* 2 products of an unsigned byte: 2 * 255 * 64 < 2^15. */
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni) ? 127 : 64;
}

const char *dcam_nn_describe(char *text, size_t capacity)
{
    const char *isa = has_isa(dnnl_cpu_isa_avx512_core_amx)    ? "AMX"
                      : has_isa(dnnl_cpu_isa_avx512_core_bf16) ? "AVX-512 BF16"
                      : has_isa(dnnl_cpu_isa_avx512_core_vnni) ? "AVX-512 VNNI"
                      : has_isa(dnnl_cpu_isa_avx512_core)      ? "AVX-512"
                      : has_isa(dnnl_cpu_isa_avx2)             ? "AVX2"
                      : has_isa(dnnl_cpu_isa_sse41)            ? "SSE4.1"
                                                               : "generic";
    const dnnl_version_t *v = dnnl_version();
    const char *runtime = v->cpu_runtime == DNNL_RUNTIME_OMP   ? "OpenMP"
                          : v->cpu_runtime == DNNL_RUNTIME_TBB ? "TBB"
                          : v->cpu_runtime == DNNL_RUNTIME_SEQ ? "sequential"
                                                               : "thread pool";
    snprintf(text, capacity, "oneDNN %d.%d.%d, %s, %s, %d thread%s", v->major, v->minor, v->patch, runtime, isa,
             dcam_threads(), dcam_threads() == 1 ? "" : "s");
    return text;
}

/* ---- tensors ------------------------------------------------------------ */

size_t dcam_nn_type_bytes(dcam_nn_type type)
{
    static const size_t bytes[] = {4, 2, 1, 1};
    return bytes[type];
}

dcam_nn_layout dcam_nn_best_layout(dcam_nn_type type)
{
    /* Our own kernels want channels last. oneDNN's Winograd exists in the blocked layout only; its bf16 kernels and all
     * others are at least as fast channels last. */
    return type == DCAM_NN_F32 && dcam_nn_isa_here() == DCAM_NN_ISA_NONE && has_isa(dnnl_cpu_isa_avx512_core)
               ? DCAM_NN_BLOCKED16
               : DCAM_NN_NHWC;
}

int dcam_nn_output_size(int size, int kernel, int stride, int padding)
{
    return (size + 2 * padding - kernel) / stride + 1;
}

dcam_status dcam_nn_tensor_bytes(const dcam_nn_tensor *t, size_t *out)
{
    size_t bytes = dcam_nn_type_bytes(t->type), channels = (size_t)t->c;
    if (t->n < 1 || t->c < 1 || t->h < 1 || t->w < 1 || t->c > INT_MAX - 15)
        return dcam_fail(DCAM_ERROR_DATA, "a tensor of %d x %d x %d x %d cannot be", t->n, t->c, t->h, t->w);
    if (t->layout == DCAM_NN_BLOCKED16) channels = (channels + 15) / 16 * 16;
    if (!dcam_size_mul(bytes, channels, &bytes) || !dcam_size_mul(bytes, (size_t)t->h, &bytes) ||
        !dcam_size_mul(bytes, (size_t)t->w, &bytes) || bytes > INT_MAX ||
        !dcam_size_mul(bytes, (size_t)t->n, &bytes))
        return dcam_fail(DCAM_ERROR_DATA, "a tensor of %d x %d x %d x %d is too large", t->n, t->c, t->h, t->w);
    *out = bytes;
    return DCAM_OK;
}

static dnnl_data_type_t data_type(dcam_nn_type type)
{
    static const dnnl_data_type_t types[] = {dnnl_f32, dnnl_bf16, dnnl_u8, dnnl_s8};
    return types[type];
}

static dcam_status describe_tensor(const dcam_nn_tensor *t, compat_md *md)
{
    static const dnnl_format_tag_t tags[] = {dnnl_nchw, dnnl_nhwc, dnnl_nChw16c};
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(t, &bytes));
    const dnnl_dims_t dims = {t->n, t->c, t->h, t->w};
    return check(compat_md_make(md, 4, dims, data_type(t->type), tags[t->layout]), "tensor");
}

/* ---- operations --------------------------------------------------------- */

/* Moves the descriptor (NULL: an operation of our own) into a fresh operation; frees it on failure. */
static dcam_status make_op(dcam_nn *nn, dnnl_primitive_desc_t descriptor, dcam_nn_op **out)
{
    dcam_nn_op *op;
    dcam_status status = dcam_alloc_zero(1, sizeof *op, &op);
    if (status != DCAM_OK) {
        if (descriptor) dnnl_primitive_desc_destroy(descriptor);
        return status;
    }
    op->nn = nn;
    op->descriptor = descriptor;
    *out = op;
    return DCAM_OK;
}

static void add_argument(dcam_nn_op *op, dcam_nn_argument which, int role, dnnl_query_t query)
{
    compat_md_ref md = compat_query_md(op->descriptor, query);
    if (!md || dnnl_memory_desc_get_size(md) == 0) return;
    op->formats[which] = md;
    op->roles[which] = role;
}

void dcam_nn_op_destroy(dcam_nn_op *op)
{
    if (!op) return;
    for (int i = 0; i < DCAM_NN_ARGUMENTS; i++)
        if (op->memories[i]) dnnl_memory_destroy(op->memories[i]);
    if (op->scales_memory) dnnl_memory_destroy(op->scales_memory);
    dcam_free(op->scales);
    if (op->primitive) dnnl_primitive_destroy(op->primitive);
    if (op->descriptor) dnnl_primitive_desc_destroy(op->descriptor);
    dcam_free(op);
}

size_t dcam_nn_op_bytes(const dcam_nn_op *op, dcam_nn_argument which)
{
    if (dcam_own_is(&op->own)) return dcam_own_bytes(&op->own, which);
    return op->formats[which] ? dnnl_memory_desc_get_size(op->formats[which]) : 0;
}

const char *dcam_nn_op_implementation(const dcam_nn_op *op)
{
    const char *name = NULL;
    if (dcam_own_is(&op->own)) return dcam_own_name(&op->own);
    if (dnnl_primitive_desc_query(op->descriptor, dnnl_query_impl_info_str, 0, (void *)&name) != dnnl_success || !name)
        return "unknown";
    return name;
}

dcam_status dcam_nn_op_prepare(dcam_nn_op *op)
{
    if (op->primitive || dcam_own_is(&op->own)) return DCAM_OK;
    return check(dnnl_primitive_create(&op->primitive, op->descriptor), "primitive");
}

dcam_status dcam_nn_op_bind(dcam_nn_op *op, dcam_nn_argument which, const void *memory)
{
    /* oneDNN's handles are not const; arguments that are read only are not written through them. */
    void *handle;
    memcpy(&handle, &memory, sizeof handle);
    op->addresses[which] = handle;
    if (!op->formats[which]) return DCAM_OK;
    if (op->memories[which]) return check(dnnl_memory_set_data_handle(op->memories[which], handle), "memory");
    dnnl_memory_t made;
    DCAM_TRY(check(dnnl_memory_create(&made, op->formats[which], op->nn->engine, handle), "memory"));
    op->memories[which] = made;
    op->arguments[op->argument_count].arg = op->roles[which];
    op->arguments[op->argument_count++].memory = made;
    return DCAM_OK;
}

void *dcam_nn_op_address(const dcam_nn_op *op, dcam_nn_argument which) { return op->addresses[which]; }

dcam_status dcam_nn_op_run(dcam_nn_op *op)
{
    if (dcam_own_is(&op->own)) {
        dcam_own_run(&op->own, op->addresses);
        return DCAM_OK;
    }
    DCAM_TRY(check(dnnl_primitive_execute(op->primitive, op->nn->stream, op->argument_count, op->arguments), "run"));
    return check(dnnl_stream_wait(op->nn->stream), "wait");
}

/* ---- convolution -------------------------------------------------------- */

dcam_nn_tensor dcam_nn_convolution_dst(const dcam_nn_convolution *c)
{
    return (dcam_nn_tensor){c->src.n, c->out_channels,
                            dcam_nn_output_size(c->src.h, c->kernel, c->stride, c->padding),
                            dcam_nn_output_size(c->src.w, c->kernel, c->stride, c->padding),
                            c->dst_type, c->dst_layout};
}

/* What the three parts of a convolution are made from. */
typedef struct {
    compat_md src, dst, weights, bias;
    dnnl_dims_t strides, padding;
    dnnl_primitive_attr_t attributes;
} convolution_parts;

static void free_parts(convolution_parts *p)
{
    compat_md_free(&p->src);
    compat_md_free(&p->dst);
    compat_md_free(&p->weights);
    compat_md_free(&p->bias);
    if (p->attributes) dnnl_primitive_attr_destroy(p->attributes);
}

/* Attributes: the scratchpad is the caller's; post-ops and scales of the forward pass of c, which may be NULL. */
static dcam_status make_attributes(const dcam_nn_convolution *c, dnnl_primitive_attr_t *out)
{
    const bool sum = c && c->sum, relu = c && c->relu, int8 = c && c->scales;
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t ops = NULL;
    DCAM_TRY(check(dnnl_primitive_attr_create(&attributes), "attributes"));
    dnnl_status_t s = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    if (s == dnnl_success && (sum || relu)) {
        s = dnnl_post_ops_create(&ops);
        if (s == dnnl_success && sum)
            s = compat_append_sum(ops, int8 ? c->before_scale : 1, int8 ? data_type(c->before_type) : dnnl_data_type_undef);
        if (s == dnnl_success && relu) s = compat_append_relu(ops);
        if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attributes, ops);
        if (ops) dnnl_post_ops_destroy(ops);
    }
    if (s == dnnl_success && int8) s = compat_set_scales(attributes, c->out_channels, c->scales);
    if (s != dnnl_success) {
        dnnl_primitive_attr_destroy(attributes);
        return check(s, "attributes");
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
    DCAM_TRY(describe_tensor(&c->src, &p->src));
    DCAM_TRY(describe_tensor(&dst, &p->dst));
    const dnnl_data_type_t weights_type = c->scales ? dnnl_s8 : data_type(c->src.type);
    DCAM_TRY(check(compat_md_make(&p->weights, 4, weights, weights_type, dnnl_format_tag_any), "weights"));
    DCAM_TRY(check(compat_md_make(&p->bias, 1, bias, dnnl_f32, dnnl_x), "bias"));
    p->strides[0] = p->strides[1] = c->stride;
    p->padding[0] = p->padding[1] = c->padding;
    return make_attributes(forward ? c : NULL, &p->attributes);
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
        s = compat_convolution_backward_weights(out, nn->engine, algorithm, src, weights, dst, p->strides, p->padding,
                                                forward, p->attributes);
    dnnl_primitive_desc_destroy(forward);
    return s;
}

static void add_convolution_arguments(dcam_nn_op *op, convolution_part part, bool bias)
{
    if (part == FORWARD) {
        add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
        add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_WEIGHTS, dnnl_query_weights_md);
        if (bias) {
            op->formats[DCAM_NN_BIAS] = dnnl_primitive_desc_query_md(op->descriptor, dnnl_query_weights_md, 1);
            op->roles[DCAM_NN_BIAS] = DNNL_ARG_BIAS;
        }
        add_argument(op, DCAM_NN_DST, DNNL_ARG_DST, dnnl_query_dst_md);
    } else if (part == BACKWARD_DATA) {
        add_argument(op, DCAM_NN_SRC, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md);
        add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_WEIGHTS, dnnl_query_weights_md);
        add_argument(op, DCAM_NN_DST, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md);
    } else {
        add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
        add_argument(op, DCAM_NN_WEIGHTS, DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md);
        add_argument(op, DCAM_NN_DST, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md);
    }
    add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
}

/* The scales of an int8 convolution, where they are an argument of the run. */
static dcam_status add_scales(dcam_nn_op *op, const dcam_nn_convolution *c)
{
    if (!c->scales || COMPAT_SCALES_ARGUMENT == 0) return DCAM_OK;
    const size_t count = (size_t)c->out_channels;
    DCAM_TRY(dcam_alloc(count, sizeof *op->scales, &op->scales));
    memcpy(op->scales, c->scales, count * sizeof *op->scales);
    DCAM_TRY(check(compat_scales_memory(&op->scales_memory, op->nn->engine, c->out_channels, op->scales), "scales"));
    op->arguments[op->argument_count].arg = COMPAT_SCALES_ARGUMENT;
    op->arguments[op->argument_count++].memory = op->scales_memory;
    return DCAM_OK;
}

void dcam_nn_bias_in(const dcam_nn_convolution *c, const float *bias, float *out)
{
    for (int i = 0; i < c->out_channels; i++)
        out[i] = c->scales && COMPAT_BIAS_BEFORE_SCALES ? bias[i] / c->scales[i] : bias[i];
}

static dcam_status make_own(dcam_nn *nn, const dcam_own *own, const dcam_nn_tensor *src, const dcam_nn_tensor *dst,
                            dcam_nn_op **out)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(src, &bytes));
    DCAM_TRY(dcam_nn_tensor_bytes(dst, &bytes));
    DCAM_TRY(make_op(nn, NULL, out));
    (*out)->own = *own;
    return DCAM_OK;
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
        return make_own(nn, &own, &c->src, &dst, out);
    }
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
    status = check(made, "convolution");
    if (status != DCAM_OK) goto cleanup;
    status = make_op(nn, descriptor, &op);
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

/* ---- pooling and reordering --------------------------------------------- */

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
    dnnl_primitive_desc_t descriptor;
    dcam_nn_op *op;
    if (kernel < 1 || stride < 1 || padding < 0 || padding >= kernel || src->h + 2 * padding < kernel ||
        src->w + 2 * padding < kernel)
        return dcam_fail(DCAM_ERROR_DATA, "pooling %d x %d of %d x %d cannot be", kernel, kernel, src->h, src->w);
    dcam_nn_tensor dst = *src;
    dst.h = dcam_nn_output_size(src->h, kernel, stride, padding);
    dst.w = dcam_nn_output_size(src->w, kernel, stride, padding);
    if (dcam_own_pool(src, kernel, stride, padding, &own)) return make_own(nn, &own, src, &dst, out);
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    dcam_status status = describe_tensor(src, &from);
    if (status == DCAM_OK) status = describe_tensor(&dst, &to);
    if (status == DCAM_OK) status = make_attributes(NULL, &attributes);
    if (status != DCAM_OK) goto cleanup;
    const dnnl_dims_t strides = {stride, stride}, window = {kernel, kernel}, before = {padding, padding};
    const dnnl_dims_t after = {padding_after(src->h, dst.h, kernel, stride, padding),
                               padding_after(src->w, dst.w, kernel, stride, padding)};
    status = check(compat_max_pooling(&descriptor, nn->engine, compat_md_view(&from), compat_md_view(&to), strides,
                                      window, before, after, attributes), "pooling");
    if (status == DCAM_OK) status = make_op(nn, descriptor, &op);
    if (status != DCAM_OK) goto cleanup;
    add_argument(op, DCAM_NN_SRC, DNNL_ARG_SRC, dnnl_query_src_md);
    add_argument(op, DCAM_NN_DST, DNNL_ARG_DST, dnnl_query_dst_md);
    add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
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
    DCAM_TRY(make_attributes(NULL, &attributes));
    dnnl_status_t made = dnnl_reorder_primitive_desc_create(&descriptor, from, nn->engine, to, nn->engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    DCAM_TRY(check(made, "reorder"));
    DCAM_TRY(make_op(nn, descriptor, &op));
    add_argument(op, DCAM_NN_SRC, DNNL_ARG_FROM, dnnl_query_src_md);
    add_argument(op, DCAM_NN_DST, DNNL_ARG_TO, dnnl_query_dst_md);
    add_argument(op, DCAM_NN_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md);
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
    dcam_status status = describe_tensor(src, &from);
    if (status == DCAM_OK) status = describe_tensor(dst, &to);
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
    return make_own(nn, &own, src, &dst, out);
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
        DCAM_TRY(make_op(nn, NULL, out));
        (*out)->own = dcam_own_weights(&op->own, in);
        return DCAM_OK;
    }
    if (!op->formats[DCAM_NN_WEIGHTS]) return dcam_fail(DCAM_ERROR_INTERNAL, "an operation without weights");
    const int *shape = op->weights_shape;
    const dnnl_dims_t dims = {shape[0], shape[1], shape[2], shape[3]};
    dcam_status status = check(compat_md_make(&plain, 4, dims, op->plain_weights, dnnl_oihw), "weights");
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
