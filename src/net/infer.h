/* infer.h - internal to src/net: what the files of the trunk for scoring share. A network (infer.c) runs a call in parts; a
 * part is the operations for one count of images (infer_part.c), which read weights in formats of their own
 * (infer_weights.c). */
#ifndef DCAM_NET_INFER_H
#define DCAM_NET_INFER_H

#include "net/plan.h"
#include "net/quantised.h"
#include "net/resnet.h"
#include "net/trunk_shapes.h"

#define NET_PART_OPS (DCAM_MAX_CONVOLUTIONS + DCAM_STAGES + 3)

/* The operations for parts of n images. */
typedef struct net_part {
    int n;
    dcam_nn_op *ops[NET_PART_OPS];
    int op_count;
    dcam_nn_op *first;              /* reads the caller's input */
    struct { dcam_nn_op *op; dcam_nn_argument argument; int stage; } features[2 * NET_PART_OPS]; /* the caller's */
    int feature_count;
    dcam_nn_op *convolutions[DCAM_MAX_CONVOLUTIONS];
    struct {
        dcam_nn_op *op;             /* that writes what dcam_net_observe shows of a convolution */
        size_t count;
    } results[DCAM_MAX_CONVOLUTIONS];
    void *arena;
    size_t arena_bytes;
    struct net_part *next;
} net_part;

/* The weights of one convolution in the format of `reader` and of all that agree with it. */
typedef struct net_formatted {
    int convolution;
    const dcam_nn_op *reader;
    void *weights;
    size_t bytes;
    struct net_formatted *next;
} net_formatted;

struct dcam_net {
    dcam_net_options options;
    bool borrows;                  /* weights and ranges are another network's */
    const net_formatted *borrowed; /* its formats, as they were then: it may add to its own list */
    dcam_trunk_weights *weights;   /* folded */
    net_quantised *quantised;      /* int8 only */
    dcam_nn *nn;
    net_maps maps;
    net_formatted *formatted;
    net_part *parts;
};

/* The operations for parts of n images, planned and bound, at the head of net->parts. Formats of weights that were not there
 * yet are made. *out is borrowed. */
DCAM_MUST_CHECK dcam_status net_part_create(dcam_net *net, int n, net_part **out);
/* NULL-safe. */
void net_part_destroy(net_part *part);

/* The weights of a convolution as reader wants them: found, or made and kept at the head of net->formatted. */
DCAM_MUST_CHECK dcam_status net_format_weights(dcam_net *net, int convolution, const dcam_nn_op *reader, void **out);
/* Those in front of `until` (NULL: all) are freed. They name their reader, so they go before or with it. */
void net_forget_formats(dcam_net *net, const net_formatted *until);

#endif
