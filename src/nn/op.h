/* op.h - what the files that make operations share: the engine, an operation, and the way from oneDNN's statuses to ours.
 * Internal to src/nn; with dnnl_compat.h the only headers that show oneDNN. */
#ifndef DCAM_NN_OP_H
#define DCAM_NN_OP_H

#include "nn/dnnl_compat.h"
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

/* what: the subject of the error line. */
dcam_status nn_status(dnnl_status_t status, const char *what);
dnnl_data_type_t nn_data_type(dcam_nn_type type);
DCAM_MUST_CHECK dcam_status nn_describe_tensor(const dcam_nn_tensor *t, compat_md *md);

/* Moves the descriptor (NULL: an operation of our own) into a fresh operation; frees it on failure. */
DCAM_MUST_CHECK dcam_status nn_make_op(dcam_nn *nn, dnnl_primitive_desc_t descriptor, dcam_nn_op **out);
DCAM_MUST_CHECK dcam_status nn_make_own(dcam_nn *nn, const dcam_own *own, const dcam_nn_tensor *src,
                                        const dcam_nn_tensor *dst, dcam_nn_op **out);
/* role: oneDNN's name of the argument; query: where its format is found. */
void nn_add_argument(dcam_nn_op *op, dcam_nn_argument which, int role, dnnl_query_t query);
/* Attributes: the scratchpad is the caller's; post-ops and scales of the forward pass of c, which may be NULL. */
DCAM_MUST_CHECK dcam_status nn_make_attributes(const dcam_nn_convolution *c, dnnl_primitive_attr_t *out);

#endif
