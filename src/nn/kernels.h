/* kernels.h - the inner loops of our own operations and what they are told. Each kind of processor has a table of them
 * (kernels_*.c), made from the same text (*_kernels.h) with other vectors (lanes.h). Internal to src/nn. */
#ifndef DCAM_NN_KERNELS_H
#define DCAM_NN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"
#include "nn/tiles.h"

/* Winograd, forward and backward data: a thread's range of tiles and of output channels, block by block. */
typedef struct {
    tiled_map from;
    float *to;
    const float *u, *bias;             /* bias: or NULL */
    size_t in, out, tiles, block;      /* in, out: of this pass; block: tiles */
    size_t words;                      /* of `in` channels in V and U */
    size_t tile_parts, channel_parts;  /* their product: the threads used */
    size_t v_stride, m_stride;         /* floats from place to place */
    size_t part_scratch;               /* floats */
    float *scratch;
    bool sum, relu;
} winograd_job;

/* The gradient of the weights. V: 36 x row x in; dM: 36 x out/16 x row x 16; a row is one tile, or two in bf16. */
typedef struct {
    tiled_map src, d_dst;
    float *v, *dm, *du;
    size_t in, out, tiles, rows, block, v_stride, dm_stride;
    size_t first, now;                 /* rows of the present block */
} gradient_job;

/* The same for a convolution of stride 2; `in` of `all` are the columns of V, `tiles` the output positions. */
#define GATHERED_MOST 4096             /* columns */
typedef struct {
    gradient_job all;
    size_t kernel, height, width, depth; /* height, width: of the output; depth: columns without those added */
    const float *d_dst;
} gathered_job;

/* Convolutions of stride 2, each output position a row of gathered inputs. */
typedef struct {
    tiled_map from;
    size_t kernel, in, out, height, width, positions; /* height, width: of the output; positions: of all images */
    size_t block, depth;               /* positions gathered together; words of a gathered row */
    const float *weights, *bias;
    float *to, *scratch;
    size_t part_scratch, parts;
    bool sum, relu;
} direct_job;

/* The stem. */
typedef struct {
    size_t n, src_height, src_width;
    bool planes;                       /* the source's colors lie in planes of their own (NCHW) */
    size_t out, height, width;         /* of the output, which is a phase's size too */
    size_t tiles_y, tiles_x, columns;  /* columns: of a band of phase rows, with what lies outside */
    size_t v_stride, m_stride, part_scratch, parts; /* floats */
    const float *src, *u, *bias;
    float *dst, *scratch;
    bool relu;
} stem_job;

typedef struct {
    void (*winograd)(const winograd_job *job, size_t part);
    void (*stem)(const stem_job *job, size_t part);
    void (*direct)(const direct_job *job, size_t part);
    /* The gradient in two steps: rows of the present block, then (place, input channels begin .. end). */
    void (*gradient_transform)(const gradient_job *job, size_t begin, size_t end);
    void (*gradient_multiply)(const gradient_job *job, size_t place, size_t begin, size_t end);
    void (*gather)(const gathered_job *job, size_t begin, size_t end); /* rows of the present block */
} dcam_kernels;

extern const dcam_kernels dcam_kernels_avx2, dcam_kernels_avx512, dcam_kernels_bf16;

/* Those for a set of instructions that is not NONE; bf16: for AVX512_BF16. */
const dcam_kernels *dcam_kernels_for(dcam_nn_isa isa, bool bf16);

#endif
