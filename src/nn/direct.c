/* direct.c - see direct.h: what it serves, its weights, and how the positions are shared by the threads. */
#include "nn/direct.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/kernels.h"
#include "nn/round.h"

/* Bytes of the gathered rows of a block: half of a core's cache, the weights pass through the rest. */
#define BLOCK_BYTES (384 * 1024)
#define LEAST_BLOCK 24
#define MOST_BLOCK 96

bool dcam_direct_fits(const dcam_nn_convolution *c)
{
    return ((c->kernel == 3 && c->padding == 1) || (c->kernel == 1 && c->padding == 0)) && c->stride == 2 &&
           c->src.type == DCAM_NN_F32 && c->dst_type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NHWC &&
           c->dst_layout == DCAM_NN_NHWC && c->src.c % PANEL == 0 && c->out_channels % PANEL == 0;
}

static size_t half(int size) { return ((size_t)size + 1) / 2; }
static size_t taps(const dcam_direct *d) { return (size_t)d->kernel * (size_t)d->kernel; }
/* Floats that hold the values of one gathered row. */
static size_t depth(const dcam_direct *d) { return taps(d) * (size_t)d->in / (d->bf16 ? 2 : 1); }

static size_t block_of(const dcam_direct *d)
{
    const size_t block = BLOCK_BYTES / (sizeof(float) * depth(d));
    return block < LEAST_BLOCK ? LEAST_BLOCK : block > MOST_BLOCK ? MOST_BLOCK : block;
}

static size_t part_scratch(const dcam_direct *d) { return block_of(d) * (depth(d) + (size_t)d->out); }

size_t dcam_direct_bytes(const dcam_direct *d, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * taps(d) * (size_t)d->in * (size_t)d->out, own = d->bf16 ? plain / 2 : plain;
    const size_t images = sizeof(float) * (size_t)d->n;
    if (d->weights_in) return which == DCAM_NN_SRC ? plain : which == DCAM_NN_DST ? own : 0;
    switch (which) {
    case DCAM_NN_SRC: return images * (size_t)d->h * (size_t)d->w * (size_t)d->in;
    case DCAM_NN_DST: return images * half(d->h) * half(d->w) * (size_t)d->out;
    case DCAM_NN_WEIGHTS: return own;
    case DCAM_NN_BIAS: return d->bias ? sizeof(float) * (size_t)d->out : 0;
    /* zeros: what lies outside */
    case DCAM_NN_SCRATCHPAD: return sizeof(float) * ((size_t)d->in + (size_t)d->threads * part_scratch(d));
    default: return 0;
    }
}

/* OIHW to panel x tap x in x 16. */
static void run_weights_in(const dcam_direct *d, const float *plain, float *out)
{
    const size_t in = (size_t)d->in, channels = (size_t)d->out, count = taps(d);
    for (size_t o = 0; o < channels; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < count; tap++)
                dcam_put_factor(out, d->bf16, (o / PANEL * count + tap) * in + i, o % PANEL,
                                plain[(o * in + i) * count + tap]);
}

typedef struct {
    const dcam_kernels *kernels;
    direct_job job;
} direct_run;

static void run_parts(void *context, size_t begin, size_t end)
{
    const direct_run *run = context;
    for (size_t part = begin; part < end; part++) run->kernels->direct(&run->job, part);
}

void dcam_direct_run(const dcam_direct *d, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (d->weights_in) {
        run_weights_in(d, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    memset(zeros, 0, sizeof(float) * (size_t)d->in);
    direct_run run = {dcam_kernels_for(d->isa, d->bf16),
                      {.from = tile_map(memory[DCAM_NN_SRC], zeros, d->h, d->w, d->in), .kernel = (size_t)d->kernel,
                       .in = (size_t)d->in, .out = (size_t)d->out, .height = half(d->h), .width = half(d->w),
                       .block = block_of(d), .depth = depth(d), .weights = memory[DCAM_NN_WEIGHTS],
                       .bias = d->bias ? memory[DCAM_NN_BIAS] : NULL, .to = memory[DCAM_NN_DST],
                       .scratch = zeros + d->in, .part_scratch = part_scratch(d), .parts = (size_t)d->threads,
                       .sum = d->sum, .relu = d->relu}};
    run.job.positions = (size_t)d->n * run.job.height * run.job.width;
    dcam_parallel_for(run.job.parts, run_parts, &run);
}
