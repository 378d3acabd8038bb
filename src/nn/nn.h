/* nn.h - the narrow layer over oneDNN's C API: convolution (forward, both backward parts), max-pooling and
 * reordering as operations that are planned first and run many times. Nothing of oneDNN shows through.
 *
 * An operation is made from a description of its tensors (create), says how many bytes each of its arguments
 * takes (bytes), is given addresses (bind) and then runs; running allocates nothing of ours. Buffers belong to the
 * caller, so that a network can lay all of them out in one arena; the scratchpad too is an argument, and may be
 * shared by operations that run one after another. Weights have a format of the operation's own choosing, reached
 * from plain OIHW by a reorder operation. Not safe from two threads at once on one dcam_nn. */
#ifndef DCAM_NN_NN_H
#define DCAM_NN_NN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* U8 and S8: activations of int8 networks; an integer times a scale, which the tensor's users know, is the value. */
typedef enum { DCAM_NN_F32, DCAM_NN_BF16, DCAM_NN_U8, DCAM_NN_S8 } dcam_nn_type;

/* NCHW and NHWC (channels last) are plain; BLOCKED16 is N, C/16, H, W, 16 with the last block padded by zeros. */
typedef enum { DCAM_NN_NCHW, DCAM_NN_NHWC, DCAM_NN_BLOCKED16 } dcam_nn_layout;

typedef struct {
    int n, c, h, w;
    dcam_nn_type type;
    dcam_nn_layout layout;
} dcam_nn_tensor;

size_t dcam_nn_type_bytes(dcam_nn_type type);
/* Sizes outside 1 .. 2^31-1 bytes an image, or whose total overflows, are DCAM_ERROR_DATA. */
DCAM_MUST_CHECK dcam_status dcam_nn_tensor_bytes(const dcam_nn_tensor *tensor, size_t *out);
/* The layout of activations in which this processor's convolutions of that type are fast. */
dcam_nn_layout dcam_nn_best_layout(dcam_nn_type type);
/* (size + 2 padding - kernel) / stride + 1, as PyTorch rounds. */
int dcam_nn_output_size(int size, int kernel, int stride, int padding);

typedef struct dcam_nn dcam_nn;
/* Remembers the threads of the calling thread (base/parallel.h): operations are cut for that many and must run
 * with as many. */
DCAM_MUST_CHECK dcam_status dcam_nn_create(dcam_nn **out);
/* After all of its operations. NULL-safe. */
void dcam_nn_destroy(dcam_nn *nn);
int dcam_nn_threads(const dcam_nn *nn);
/* "oneDNN 2.6.3, OpenMP, AVX-512 BF16, 2 threads"; returns text. */
const char *dcam_nn_describe(char *text, size_t capacity);
/* The same one by one: "2.6.3" (returns text); "OpenMP"; "AVX-512 BF16". */
const char *dcam_nn_library_version(char *text, size_t capacity);
const char *dcam_nn_library_threading(void);
const char *dcam_nn_library_isa(void);
/* What our own kernels use: "AVX-512"; "none". */
const char *dcam_nn_own_isa(void);
/* Whether this processor computes bf16 products faster than f32 ones. */
bool dcam_nn_fast_bf16(void);
/* Whether bf16 is best done on f32 maps by our own kernels (dcam_nn_convolution.bf16_products): they multiply less, but
 * AMX multiplies so much faster that oneDNN's direct convolutions of bf16 maps win there. */
bool dcam_nn_bf16_products(void);
/* Whether a training in bf16 is best done on bf16 maps: both oneDNN and our own kernels have AMX. */
bool dcam_nn_bf16_maps(void);
/* Largest magnitude of int8 weights. 127; less where the processor adds pairs of products in 16 bits, which larger
 * ones could overflow. */
int dcam_nn_int8_weight_limit(void);

/* Instructions of our own kernels; each includes those before it. NONE: all is oneDNN's. AMX: with bf16 and int8. */
typedef enum {
    DCAM_NN_ISA_NONE,
    DCAM_NN_ISA_AVX2,
    DCAM_NN_ISA_AVX512,
    DCAM_NN_ISA_AVX512_BF16,
    DCAM_NN_ISA_AMX,
    DCAM_NN_ISA_MOST = DCAM_NN_ISA_AMX
} dcam_nn_isa;
/* For tests and measurements: operations made from now on use no others than these. oneDNN goes its own way. */
void dcam_nn_limit_isa(dcam_nn_isa most);
/* For tests: operations whose implementation's name begins with this do nothing when they run. NULL: none. */
void dcam_nn_break(const char *implementation);

/* ---- operations -------------------------------------------------------- */

typedef struct dcam_nn_op dcam_nn_op;

/* Backward operations: SRC and DST keep their forward meaning and hold gradients where the operation is about
 * gradients: backward data reads DST and WEIGHTS and writes SRC (the gradient); backward weights reads the forward
 * SRC and the gradient DST and writes WEIGHTS (the gradient). */
typedef enum {
    DCAM_NN_SRC,
    DCAM_NN_WEIGHTS,
    DCAM_NN_BIAS,
    DCAM_NN_DST,
    DCAM_NN_SCRATCHPAD,
    DCAM_NN_ARGUMENTS
} dcam_nn_argument;

typedef struct {
    dcam_nn_tensor src;
    int out_channels, kernel, stride, padding;
    dcam_nn_type dst_type;
    dcam_nn_layout dst_layout;
    /* Forward only, in this order: dst = relu(conv + bias + dst before). */
    bool bias, sum, relu;
    bool training; /* weights change from call to call: no format that is costly to reorder into */
    bool bf16_products; /* f32 maps; our own kernels, which must be able to, round the factors to bf16 */
    /* Max-pooling 3x3, stride 2, padding 1 after the ReLU, in the same pass: only where dcam_nn_is_own. pool_scale: what a
     * byte of a result in U8 is worth. */
    bool pool;
    float pool_scale;
    bool exact;    /* direct convolution only; else Winograd for 3x3, stride 1, where the processor has it */
    /* src U8, forward only: plain weights are S8, and
     *   dst = relu(scales[channel] * sum of products + bias + before_scale * dst before),
     * rounded and saturated; bias is in units of dst and goes through dcam_nn_bias_in. scales: out_channels, looked at
     * by create alone. before_type: U8 or S8, how dst is read before (with sum). */
    const float *scales;
    float before_scale;
    dcam_nn_type before_type;
} dcam_nn_convolution;

/* The result; without its pooling. */
dcam_nn_tensor dcam_nn_convolved(const dcam_nn_convolution *c);
dcam_nn_tensor dcam_nn_convolution_dst(const dcam_nn_convolution *c);
/* Whether the forward pass of this convolution, in these layouts, is one of our own. */
bool dcam_nn_is_own(const dcam_nn_convolution *c);

DCAM_MUST_CHECK dcam_status dcam_nn_convolution_forward(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_op **out);
/* The bias of the convolution as the operation reads it: out_channels values; may be the same array. */
void dcam_nn_bias_in(const dcam_nn_convolution *c, const float *bias, float *out);
DCAM_MUST_CHECK dcam_status dcam_nn_convolution_backward_data(dcam_nn *nn, const dcam_nn_convolution *c,
                                                              dcam_nn_op **out);
DCAM_MUST_CHECK dcam_status dcam_nn_convolution_backward_weights(dcam_nn *nn, const dcam_nn_convolution *c,
                                                                 dcam_nn_op **out);
DCAM_MUST_CHECK dcam_status dcam_nn_max_pool(dcam_nn *nn, const dcam_nn_tensor *src, int kernel, int stride,
                                             int padding, dcam_nn_op **out);
/* Same shape, other layout or type. */
DCAM_MUST_CHECK dcam_status dcam_nn_reorder(dcam_nn *nn, const dcam_nn_tensor *src, const dcam_nn_tensor *dst,
                                            dcam_nn_op **out);
/* f32 to U8, NHWC: value / scale, rounded and saturated; and back. */
DCAM_MUST_CHECK dcam_status dcam_nn_quantise(dcam_nn *nn, const dcam_nn_tensor *src, float scale, dcam_nn_op **out);
DCAM_MUST_CHECK dcam_status dcam_nn_dequantise(dcam_nn *nn, const dcam_nn_tensor *src, float scale, dcam_nn_op **out);
/* Plain OIHW weights, f32 (S8 of an int8 convolution) (SRC) into the format in which `op` reads them (DST), and the other way for the gradient
 * that a backward-weights operation writes. */
DCAM_MUST_CHECK dcam_status dcam_nn_weights_in(dcam_nn *nn, const dcam_nn_op *op, dcam_nn_op **out);
DCAM_MUST_CHECK dcam_status dcam_nn_weights_out(dcam_nn *nn, const dcam_nn_op *op, dcam_nn_op **out);
/* Whether two operations read their weights in the same format, so that one copy serves both. */
bool dcam_nn_same_weights(const dcam_nn_op *a, const dcam_nn_op *b);

/* 0 if the operation has no such argument. */
size_t dcam_nn_op_bytes(const dcam_nn_op *op, dcam_nn_argument which);
/* Name of the implementation chosen, "jit:avx512_core". */
const char *dcam_nn_op_implementation(const dcam_nn_op *op);
/* Generates the code; before this an operation is a plan only (cheap). Twice is fine. */
DCAM_MUST_CHECK dcam_status dcam_nn_op_prepare(dcam_nn_op *op);
/* After prepare. Memory must be aligned to 64 for arguments in an own format (weights, scratchpad). Binding an
 * argument that the operation does not have does nothing. */
DCAM_MUST_CHECK dcam_status dcam_nn_op_bind(dcam_nn_op *op, dcam_nn_argument which, const void *memory);
/* Where the argument was bound to; NULL before. */
void *dcam_nn_op_address(const dcam_nn_op *op, dcam_nn_argument which);
/* All arguments bound. Returns when the work is done. */
DCAM_MUST_CHECK dcam_status dcam_nn_op_run(dcam_nn_op *op);
void dcam_nn_op_destroy(dcam_nn_op *op);

#endif
