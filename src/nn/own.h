/* own.h - the operations that are ours and not oneDNN's, behind one set of calls. Internal to src/nn. */
#ifndef DCAM_NN_OWN_H
#define DCAM_NN_OWN_H

#include "nn/direct.h"
#include "nn/gathered.h"
#include "nn/pool.h"
#include "nn/quantise.h"
#include "nn/stem.h"
#include "nn/stem_pool.h"
#include "nn/tile_gradient.h"
#include "nn/tile_map_gradient.h"
#include "nn/winograd.h"

/* One of them, or none. */
typedef struct {
    dcam_winograd winograd;
    dcam_direct direct;
    dcam_gathered gathered;
    dcam_tile_gradient tile_gradient;
    dcam_tile_map_gradient tile_map_gradient;
    dcam_stem stem;
    dcam_stem_pool stem_pool;
    dcam_pool pool;
    dcam_quantise quantise;
} dcam_own;

/* false: *out is untouched. part is that of winograd.h: forward, backward data, backward weights. */
bool dcam_own_convolution(const dcam_nn_convolution *c, dcam_winograd_part part, int threads, dcam_own *out);
bool dcam_own_pool(const dcam_nn_tensor *src, int kernel, int stride, int padding, dcam_own *out);
/* f32 to U8 or back. */
bool dcam_own_quantise(const dcam_nn_tensor *src, float scale, dcam_nn_type to, dcam_own *out);
/* The reorder of the weights of `of`, which is ours, in or out. */
dcam_own dcam_own_weights(const dcam_own *of, bool in);

bool dcam_own_is(const dcam_own *own);
const char *dcam_own_name(const dcam_own *own);
size_t dcam_own_bytes(const dcam_own *own, dcam_nn_argument which);
bool dcam_own_same_weights(const dcam_own *a, const dcam_own *b);
void dcam_own_run(const dcam_own *own, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
