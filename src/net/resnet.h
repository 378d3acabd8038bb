/* resnet.h - the trunk on the nn layer: inference (batch norm folded, convolution + ReLU + residual sum fused)
 * and training (forward with batch statistics, backward). Feature maps cross this boundary as f32,
 * N x H x W x C (channels last), whatever layout and precision the inside uses; raw ones as they are, channels last. */
#ifndef DCAM_NET_RESNET_H
#define DCAM_NET_RESNET_H

#include <stddef.h>

#include "base/status.h"
#include "weights/trunk.h"

/* INT8: inference only. Weights with one scale an output channel, activations with one a map; the first convolution
 * stays f32 (with AMX: bf16 factors). Its activations' ranges are measured beforehand (ranges.h). */
typedef enum { DCAM_NET_F32, DCAM_NET_BF16, DCAM_NET_INT8 } dcam_net_precision;

/* Shapes of the three taps at an input of height x width: stride 4, 8, 16. */
typedef struct {
    int channels[DCAM_STAGES], height[DCAM_STAGES], width[DCAM_STAGES];
} dcam_feature_shapes;
dcam_feature_shapes dcam_feature_shapes_at(const dcam_architecture *a, int height, int width);

/* ---- inference ---- */
typedef struct dcam_net dcam_net;
/* What the values of raw features are: BF16 the upper halves of floats; U8 integers, worth scale[k] each. */
typedef enum { DCAM_TAP_F32, DCAM_TAP_BF16, DCAM_TAP_U8 } dcam_tap_type;
typedef struct {
    dcam_tap_type type;
    float scale[DCAM_STAGES]; /* 1 but for U8 */
} dcam_taps;
size_t dcam_tap_bytes(dcam_tap_type type);
/* out[i]: value i as f32. */
void dcam_tap_values(const dcam_taps *taps, int stage, const void *values, size_t count, float *out);
typedef struct {
    int height, width, batch; /* batch: most images a call; smaller calls are fine (primitives per size are kept) */
    dcam_net_precision precision;
    int exact;                /* 1: direct convolutions only (no Winograd), the reference of the f32 tests */
    int raw;                  /* 1: features come as the network keeps its maps (dcam_net_taps): no pass that makes f32 of them */
    const float *ranges;      /* INT8: largest magnitude of each convolution's result, after its sum and ReLU; copied */
} dcam_net_options;
/* weights: folded or not (folded inside); copied, may be destroyed afterwards. */
DCAM_MUST_CHECK dcam_status dcam_net_create(const dcam_trunk_weights *weights, const dcam_net_options *options, dcam_net **out);
/* A second network with the first one's weights, for another thread: it holds activations only, and weights in formats
 * that the first one has not. lender must outlive it and may not run during this call; later it may. It runs with as many threads as the caller has now (base/parallel.h). */
DCAM_MUST_CHECK dcam_status dcam_net_create_borrowing(const dcam_net *lender, int batch, dcam_net **out);
dcam_taps dcam_net_taps(const dcam_net *net);
/* Not of a raw network. input: n x 3 x height x width f32 normalised. features[k]: n x H_k x W_k x C_k f32, caller's buffers.
 * Allocates nothing once that n has been seen. Not safe from two threads at once on one net. */
DCAM_MUST_CHECK dcam_status dcam_net_run(dcam_net *net, const float *input, int n, float *const features[DCAM_STAGES]);
/* Two networks of the same options on the same input. Where the calling thread has two threads and each network was made
 * for one (dcam_nn_threads), they run side by side, a network a thread: no thread waits for the other between layers,
 * and each core's cache holds one network's weights. Features as dcam_net_run, of the type that dcam_net_taps tells. */
DCAM_MUST_CHECK dcam_status dcam_net_run_both(dcam_net *a, dcam_net *b, const float *input, int n,
                                              void *const a_features[DCAM_STAGES], void *const b_features[DCAM_STAGES]);
/* F32 only: runs, and shows the results whose ranges INT8 asks for, each as soon as it is there: of the first
 * convolution what is left of it after pooling. In the network's own layout. */
typedef void dcam_net_observer(void *user, int convolution, const float *values, size_t count);
DCAM_MUST_CHECK dcam_status dcam_net_observe(dcam_net *net, const float *input, int n, float *const features[DCAM_STAGES],
                                             dcam_net_observer *see, void *user);
void dcam_net_destroy(dcam_net *net);
/* Bytes held (weights, arena, scratchpad). */
size_t dcam_net_bytes(const dcam_net *net);

/* ---- training ---- */
typedef struct dcam_train_net dcam_train_net;
typedef struct {
    int height, width, batch;
    /* BF16, with AMX: maps, their gradients and all factors of products are bf16. With AVX512-BF16 alone: the factors on
     * the way back are. Weights, their gradients, sums and what batch norm computes stay f32. Elsewhere refused. */
    dcam_net_precision precision;
    int exact;
    /* Features and their gradients stay bf16 maps in the network's memory (dcam_train_net_raw), where
     * dcam_train_net_raw_here. */
    bool raw;
} dcam_train_net_options;
bool dcam_train_net_raw_here(dcam_net_precision precision);
/* weights: not folded; BORROWED and updated in place (running statistics by forward; trainable values by the
 * optimiser). One arena holds all activations, planned here; its size is dcam_train_net_bytes. */
DCAM_MUST_CHECK dcam_status dcam_train_net_create(dcam_trunk_weights *weights, const dcam_train_net_options *options,
                                                  dcam_train_net **out);
/* Forward with batch statistics (momentum 0.1 into the running ones, unbiased variance as PyTorch). n <= batch
 * (n * H * W of the smallest map must exceed 1). features: NULL of a raw network. */
DCAM_MUST_CHECK dcam_status dcam_train_net_forward(dcam_train_net *net, const float *input, int n,
                                                   float *const features[DCAM_STAGES]);
/* d_features[k]: dLoss/dfeatures[k], same shape. Writes dLoss/dvalue for weights->values[0..trainable_count) into
 * gradients (overwritten). Must follow the forward of the same batch. d_features: NULL of a raw network. */
DCAM_MUST_CHECK dcam_status dcam_train_net_backward(dcam_train_net *net, const float *const d_features[DCAM_STAGES],
                                                    float *gradients);
/* Of a raw network, between forward and backward: a stage's map, n x H x W x C bf16, and where its gradient has to be
 * written before backward. */
typedef struct { const uint16_t *map; uint16_t *gradient; } dcam_raw_features;
dcam_raw_features dcam_train_net_raw(const dcam_train_net *net, int stage);
void dcam_train_net_destroy(dcam_train_net *net);
size_t dcam_train_net_bytes(const dcam_train_net *net);
/* The plan's bytes without creating it (for the memory statement before a run). */
DCAM_MUST_CHECK dcam_status dcam_train_net_plan(const dcam_architecture *a, const dcam_train_net_options *options, size_t *out_bytes);

#endif
