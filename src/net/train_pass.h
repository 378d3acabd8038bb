/* train_pass.h - internal to src/net: the list of steps of a training pass, as train_pass.c plans it and train.c runs it.
 *
 * A pass is planned once for a batch size: operations of nn.h and kernels of batch_norm.h, each with the values it
 * touches, so that one arena holds all maps and a map's place is free as soon as its last step is done. What is kept for
 * the way back is every convolution's result y and every map that a convolution reads; the gradient of a result is
 * written over the result. Values of y are named by their convolution, as in
 *
 *     z = relu(norm1(y1)), out = relu(norm2(y2) + shortcut),  y1 = conv1(x), y2 = conv2(z),
 *     shortcut = x or norm3(y3), y3 = conv3(x) */
#ifndef DCAM_NET_TRAIN_PASS_H
#define DCAM_NET_TRAIN_PASS_H

#include "net/plan.h"
#include "net/resnet.h"
#include "net/trunk_shapes.h"
#include "nn/nn.h"

/* Every convolution has at most four steps forward and eight back. */
#define NET_PASS_STEPS (DCAM_MAX_CONVOLUTIONS * 12)

typedef enum {
    STEP_OPERATION,
    STEP_STATISTICS,    /* y */
    STEP_RELU,          /* y -> out */
    STEP_ADD_RELU,      /* y, shortcut -> out */
    STEP_POOL,          /* y -> out, which, and top of bf16 maps */
    STEP_JOIN,          /* parts, out -> g, and the coefficients of the normalisations of y and shortcut */
    STEP_BACKWARD,      /* g, y -> y */
    STEP_RELU_BACKWARD, /* g = dL/dz, y -> y */
    STEP_POOL_BACKWARD  /* g, which, top, y -> y */
} net_step_kind;

typedef struct {
    net_step_kind kind;
    dcam_nn_op *op;
    int norm, shortcut_norm;      /* convolutions whose normalisations it needs, or NET_PLAN_OUTSIDE */
    dcam_nn_tensor map, pooled;
    int y, shortcut, out, g, which, top, parts[3]; /* values of the plan, or NET_PLAN_OUTSIDE */
} net_step;

/* What all passes of a network are made from. */
typedef struct {
    dcam_train_net_options options;
    const dcam_architecture *architecture;
    const dcam_trunk_weights *weights;          /* NULL while only planning */
    int convolution_count;
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    dcam_nn *nn;
    net_maps maps;                              /* and their gradients; bf16_products: on the way back */
} net_pass_source;

/* The steps for one count of images. */
typedef struct {
    int n;
    net_step steps[NET_PASS_STEPS];
    int step_count, forward_count;
    net_plan *plan;
    dcam_nn_op *input_readers[3];                         /* of the caller's input; NULL at the end */
    /* To and from the caller's features; or, of a raw network, values of the plan. */
    dcam_nn_op *taps[DCAM_STAGES], *tap_gradients[DCAM_STAGES];
    int raw[DCAM_STAGES], raw_gradients[DCAM_STAGES];
    dcam_nn_op *gradients[DCAM_MAX_CONVOLUTIONS];         /* write the caller's gradient of a weight */
} net_pass;

DCAM_MUST_CHECK dcam_status net_pass_create(const net_pass_source *from, int n, net_pass **out);
/* NULL-safe. */
void net_pass_destroy(net_pass *pass);

#endif
