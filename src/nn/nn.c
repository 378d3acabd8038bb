/* nn.c - the layer over oneDNN: engine, tensors, and the life of an operation; convolution.c and plain_ops.c make them.
 * It knows nothing of networks and owns no tensor memory. */
#include "nn/nn.h"

#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "nn/op.h"

static const char *broken; /* dcam_nn_break */

dcam_status nn_status(dnnl_status_t status, const char *what)
{
    switch (status) {
    case dnnl_success: return DCAM_OK;
    case dnnl_out_of_memory: return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: oneDNN: %s", what);
    case dnnl_unimplemented:
        return dcam_fail(DCAM_ERROR_DEVICE, "oneDNN has no implementation of this %s for this processor", what);
    default: return dcam_fail(DCAM_ERROR_INTERNAL, "oneDNN: %s: status %d", what, (int)status);
    }
}

/* ---- engine ---------------------------------------------------------- */

dcam_status dcam_nn_create(dcam_nn **out)
{
    dcam_nn *nn;
    DCAM_TRY(dcam_check_team(dcam_threads()));
    DCAM_TRY(dcam_alloc_zero(1, sizeof *nn, &nn));
    nn->threads = dcam_threads();
    dcam_status status = nn_status(dnnl_engine_create(&nn->engine, dnnl_cpu, 0), "engine");
    if (status == DCAM_OK)
        status = nn_status(dnnl_stream_create(&nn->stream, nn->engine, dnnl_stream_default_flags), "stream");
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

/* ---- tensors ------------------------------------------------------------ */

size_t dcam_nn_type_bytes(dcam_nn_type type)
{
    static const size_t bytes[] = {4, 2, 1, 1};
    return bytes[type];
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

dnnl_data_type_t nn_data_type(dcam_nn_type type)
{
    static const dnnl_data_type_t types[] = {dnnl_f32, dnnl_bf16, dnnl_u8, dnnl_s8};
    return types[type];
}

dcam_status nn_describe_tensor(const dcam_nn_tensor *t, compat_md *md)
{
    static const dnnl_format_tag_t tags[] = {dnnl_nchw, dnnl_nhwc, dnnl_nChw16c};
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(t, &bytes));
    const dnnl_dims_t dims = {t->n, t->c, t->h, t->w};
    return nn_status(compat_md_make(md, 4, dims, nn_data_type(t->type), tags[t->layout]), "tensor");
}

/* ---- operations --------------------------------------------------------- */

dcam_status nn_make_op(dcam_nn *nn, dnnl_primitive_desc_t descriptor, dcam_nn_op **out)
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

dcam_status nn_make_own(dcam_nn *nn, const dcam_own *own, const dcam_nn_tensor *src, const dcam_nn_tensor *dst,
                            dcam_nn_op **out)
{
    size_t bytes;
    DCAM_TRY(dcam_nn_tensor_bytes(src, &bytes));
    DCAM_TRY(dcam_nn_tensor_bytes(dst, &bytes));
    DCAM_TRY(nn_make_op(nn, NULL, out));
    (*out)->own = *own;
    return DCAM_OK;
}

void nn_add_argument(dcam_nn_op *op, dcam_nn_argument which, int role, dnnl_query_t query)
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
    return nn_status(dnnl_primitive_create(&op->primitive, op->descriptor), "primitive");
}

dcam_status dcam_nn_op_bind(dcam_nn_op *op, dcam_nn_argument which, const void *memory)
{
    /* oneDNN's handles are not const; arguments that are read only are not written through them. */
    void *handle;
    memcpy(&handle, &memory, sizeof handle);
    op->addresses[which] = handle;
    if (!op->formats[which]) return DCAM_OK;
    if (op->memories[which]) return nn_status(dnnl_memory_set_data_handle(op->memories[which], handle), "memory");
    dnnl_memory_t made;
    DCAM_TRY(nn_status(dnnl_memory_create(&made, op->formats[which], op->nn->engine, handle), "memory"));
    op->memories[which] = made;
    op->arguments[op->argument_count].arg = op->roles[which];
    op->arguments[op->argument_count++].memory = made;
    return DCAM_OK;
}

void *dcam_nn_op_address(const dcam_nn_op *op, dcam_nn_argument which) { return op->addresses[which]; }

void dcam_nn_break(const char *implementation) { broken = implementation; }

static bool is_broken(const dcam_nn_op *op)
{
    return broken && strncmp(dcam_nn_op_implementation(op), broken, strlen(broken)) == 0;
}

dcam_status dcam_nn_op_run(dcam_nn_op *op)
{
    if (is_broken(op)) return DCAM_OK;
    if (dcam_own_is(&op->own)) {
        dcam_own_run(&op->own, op->addresses);
        return DCAM_OK;
    }
    DCAM_TRY(nn_status(dnnl_primitive_execute(op->primitive, op->nn->stream, op->argument_count, op->arguments), "run"));
    return nn_status(dnnl_stream_wait(op->nn->stream), "wait");
}

