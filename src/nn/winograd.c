/* winograd.c - which convolutions Winograd serves, and how the threads share the forward pass (and backward data, which
 * is a forward pass with turned weights): each takes a range of tiles and of output channels (winograd_kernels.h). The
 * threads never wait for each other. */
#include "nn/winograd.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/kernels.h"

/* Tiles of a block: few, so that V and M stay in a core's cache; but not fewer than keep the weights from being read
 * from memory all the time. */
#define BLOCK_BYTES (768 * 1024)
#define LEAST_BLOCK 24
#define MOST_BLOCK 96

/* Tiles a thread must have before the tiles are shared and not the output channels. */
#define WORTH_OWN_TILES 24

bool dcam_winograd_fits(const dcam_nn_convolution *c)
{
    return c->kernel == 3 && c->stride == 1 && c->padding == 1 && c->src.type == DCAM_NN_F32 &&
           c->dst_type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NHWC && c->dst_layout == DCAM_NN_NHWC &&
           c->src.c % PANEL == 0 && c->out_channels % PANEL == 0;
}

static size_t map_bytes(const dcam_winograd *w, int channels)
{
    return sizeof(float) * (size_t)w->n * (size_t)w->h * (size_t)w->w * (size_t)channels;
}

size_t dcam_winograd_bytes(const dcam_winograd *w, dcam_nn_argument which)
{
    /* A gradient is a sum, and stays f32. */
    const bool gradient = w->part == DCAM_WINOGRAD_BACKWARD_WEIGHTS || w->part == DCAM_WINOGRAD_WEIGHTS_OUT;
    const size_t plain = sizeof(float) * 9 * (size_t)w->in * (size_t)w->out;
    const size_t transformed = plain / 9 * PLACES / (w->bf16 && !gradient ? 2 : 1);
    if (w->part == DCAM_WINOGRAD_WEIGHTS_IN || w->part == DCAM_WINOGRAD_WEIGHTS_OUT) {
        const bool in = w->part == DCAM_WINOGRAD_WEIGHTS_IN;
        if (which == DCAM_NN_SRC) return in ? plain : transformed;
        if (which == DCAM_NN_DST) return in ? transformed : plain;
        return 0;
    }
    switch (which) {
    case DCAM_NN_SRC: return map_bytes(w, w->in);
    case DCAM_NN_DST: return map_bytes(w, w->out);
    case DCAM_NN_WEIGHTS: return transformed;
    case DCAM_NN_BIAS: return w->bias ? sizeof(float) * (size_t)w->out : 0;
    case DCAM_NN_SCRATCHPAD:
        return sizeof(float) * (w->part == DCAM_WINOGRAD_BACKWARD_WEIGHTS ? dcam_winograd_gradient_scratch(w)
                                                                          : dcam_winograd_forward_scratch(w));
    default: return 0;
    }
}

void dcam_winograd_run(const dcam_winograd *w, void *const memory[DCAM_NN_ARGUMENTS])
{
    switch (w->part) {
    case DCAM_WINOGRAD_FORWARD:
    case DCAM_WINOGRAD_BACKWARD_DATA: dcam_winograd_forward(w, memory); break;
    case DCAM_WINOGRAD_BACKWARD_WEIGHTS: dcam_winograd_gradient(w, memory); break;
    case DCAM_WINOGRAD_WEIGHTS_IN: dcam_winograd_weights_in(w, memory); break;
    case DCAM_WINOGRAD_WEIGHTS_OUT: dcam_winograd_weights_out(w, memory); break;
    case DCAM_WINOGRAD_NONE: break;
    }
}

/* ---- how the work is cut ---- */

static void cut(const dcam_winograd *w, winograd_job *job)
{
    const bool backward = w->part == DCAM_WINOGRAD_BACKWARD_DATA;
    *job = (winograd_job){.sum = !backward && w->sum, .relu = !backward && w->relu};
    job->in = (size_t)(backward ? w->out : w->in);
    job->out = (size_t)(backward ? w->in : w->out);
    job->words = job->in / (w->bf16 ? 2 : 1);
    job->from = tile_map(NULL, NULL, w->h, w->w, (int)job->in);
    job->tiles = (size_t)w->n * job->from.tiles_y * job->from.tiles_x;
    const size_t threads = (size_t)w->threads, panels = job->out / PANEL;
    job->tile_parts = job->tiles / WORTH_OWN_TILES;
    if (job->tile_parts > threads) job->tile_parts = threads;
    if (job->tile_parts < 1) job->tile_parts = 1;
    job->channel_parts = threads / job->tile_parts;
    if (job->channel_parts > panels) job->channel_parts = panels;
    job->block = BLOCK_BYTES / (PLACES * sizeof(float) * (job->words + job->out / job->channel_parts));
    if (job->block < LEAST_BLOCK) job->block = LEAST_BLOCK;
    if (job->block > MOST_BLOCK) job->block = MOST_BLOCK;
    if (job->block > job->tiles) job->block = job->tiles;
    /* Blocks of a part are of one size, but for the last. */
    const size_t part = (job->tiles + job->tile_parts - 1) / job->tile_parts;
    const size_t blocks = (part + job->block - 1) / job->block;
    job->block = (part + blocks - 1) / blocks;
    job->v_stride = job->block * job->words + PLACE_PADDING;
    job->m_stride = job->block * ((panels + job->channel_parts - 1) / job->channel_parts) * PANEL + PLACE_PADDING;
    job->part_scratch = PLACES * (job->v_stride + job->m_stride);
}

size_t dcam_winograd_forward_scratch(const dcam_winograd *w)
{
    winograd_job job;
    cut(w, &job);
    return job.in + job.tile_parts * job.channel_parts * job.part_scratch;
}

/* ---- the pass ---- */

typedef struct {
    const dcam_kernels *kernels;
    winograd_job job;
} forward_run;

static void run_parts(void *context, size_t begin, size_t end)
{
    const forward_run *run = context;
    for (size_t part = begin; part < end; part++) run->kernels->winograd(&run->job, part);
}

void dcam_winograd_forward(const dcam_winograd *w, void *const *memory)
{
    const bool backward = w->part == DCAM_WINOGRAD_BACKWARD_DATA;
    forward_run run = {.kernels = dcam_kernels_for(w->isa, w->bf16)};
    winograd_job *job = &run.job;
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    cut(w, job);
    memset(zeros, 0, job->in * sizeof *zeros);
    job->from.map = memory[backward ? DCAM_NN_DST : DCAM_NN_SRC];
    job->from.zeros = zeros;
    job->to = memory[backward ? DCAM_NN_SRC : DCAM_NN_DST];
    job->u = memory[DCAM_NN_WEIGHTS];
    job->bias = w->bias ? memory[DCAM_NN_BIAS] : NULL;
    job->scratch = zeros + job->in;
    dcam_parallel_for(job->tile_parts * job->channel_parts, run_parts, &run);
}
