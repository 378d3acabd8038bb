/* trunk_shapes.h - internal to src/net: what inference and training share about the trunk's tensors. */
#ifndef DCAM_NET_TRUNK_SHAPES_H
#define DCAM_NET_TRUNK_SHAPES_H

#include "net/resnet.h"
#include "nn/nn.h"

/* Wrong sizes and precisions are refused with a line. */
DCAM_MUST_CHECK dcam_status net_check_options(int height, int width, int batch, dcam_net_precision precision);
dcam_nn_type net_type(dcam_net_precision precision);
/* The stem's max-pooling: 3x3, stride 2, padding 1. */
enum { NET_POOL_KERNEL = 3, NET_POOL_STRIDE = 2, NET_POOL_PADDING = 1 };
dcam_nn_tensor net_pooled(const dcam_nn_tensor *stem);
/* The caller's tensors: n x 3 x height x width f32; features n x H x W x C f32 of a map. */
dcam_nn_tensor net_input(int n, int height, int width);
dcam_nn_tensor net_features(const dcam_nn_tensor *map);
/* In what layout and type the stem reads: the one that keeps it off oneDNN's slow reference code. */
dcam_nn_tensor net_stem_source(int n, int height, int width, dcam_nn_type type, dcam_nn_layout layout);

/* The convolution whose result is the features of the stage, by the table's order (torchvision's). */
int net_last_of_stage(const dcam_trunk_weights *w, int stage);
/* How a network of that precision keeps its maps. int8: as its first convolution, which is f32, keeps them. */
typedef struct {
    dcam_nn_type type;
    dcam_nn_layout layout;
    bool bf16_products; /* of f32 maps */
} net_maps;
/* The stem with its pooling in one pass, from the caller's input to the first map of the stages: where there are tiles
 * (AMX) and maps are bf16 or bytes. scale: what a byte of an int8 network's map is worth. false: there is no such pass;
 * *out is untouched. */
bool net_stem_with_pool(const dcam_convolution_shape *stem, const dcam_nn_tensor *input, dcam_net_precision precision,
                        bool exact, float scale, dcam_nn_convolution *out);
net_maps net_inference_maps(dcam_net_precision precision, bool exact);
/* bf16_products: on the way back alone. DCAM_ERROR_DEVICE where a training in bf16 would be slower than in f32. */
DCAM_MUST_CHECK dcam_status net_training_maps(dcam_net_precision precision, net_maps *out);
/* Row s of the trunk's table, from src to a map of the same type. Without what fuses at its end. */
dcam_nn_convolution net_convolution(const dcam_convolution_shape *s, const dcam_nn_tensor *src, dcam_nn_layout layout,
                                    bool bf16_products, bool exact);
/* What the stem of inference reads: the caller's input itself, if the convolution can. */
dcam_nn_tensor net_inference_stem_source(const dcam_convolution_shape *stem, const dcam_nn_tensor *input, net_maps maps,
                                         bool exact);

#endif
