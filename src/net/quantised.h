/* quantised.h - internal to src/net: a folded trunk in integers. Weights have one scale an output channel (the largest
 * magnitude becomes dcam_nn_int8_weight_limit), maps one scale each, from the range that was measured: bytes 0..255
 * after a ReLU, -127..127 where there is none. The first convolution is not among them: it stays f32, or has bf16 factors (nn/stem_pool.h). */
#ifndef DCAM_NET_QUANTISED_H
#define DCAM_NET_QUANTISED_H

#include "nn/nn.h"
#include "weights/trunk.h"

typedef struct net_quantised net_quantised;

/* weights are borrowed. ranges: one a convolution. */
DCAM_MUST_CHECK dcam_status net_quantised_create(const dcam_trunk_weights *weights, const float *ranges, net_quantised **out);
void net_quantised_destroy(net_quantised *q);
size_t net_quantised_bytes(const net_quantised *q);

/* What an integer of the convolution's result is worth. type: U8 or S8. */
float net_quantised_scale(const net_quantised *q, int convolution, dcam_nn_type type);
/* Plain OIHW weights, S8. */
const int8_t *net_quantised_weights(const net_quantised *q, int convolution);
/* Sets what c needs of an int8 convolution: its scales, and what it is added to. source, added: the convolutions whose
 * results it reads and is added to (added_type; looked at with c->sum). c keeps pointing into q. A convolution reads and
 * writes the same maps in every plan of a network, so that the first call for its number makes its scales and bias, and a
 * later one only reads q: calls from several threads are safe once each number has been described. */
void net_quantised_describe(net_quantised *q, int convolution, int source, int added, dcam_nn_type added_type,
                            dcam_nn_convolution *c);
/* The bias for the convolution described under this number. */
const float *net_quantised_bias(const net_quantised *q, int convolution);

#endif
