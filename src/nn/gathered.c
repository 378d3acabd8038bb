/* gathered.c - see gathered.h: what it serves, and how the threads share it: the rows of a block while they gather, then
 * columns of the rows while they multiply. */
#include "nn/gathered.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/kernels.h"

/* Of the rows of a block and their gradients: what one unit of the products reads of them stays in a core's cache. */
#define BLOCK_BYTES ((size_t)1 << 20)
/* Columns of the rows that one unit of the products covers: twice the rows that fit the registers of AVX-512. */
#define UNIT_COLUMNS 24

bool dcam_gathered_fits(const dcam_nn_convolution *c)
{
    const size_t depth = (size_t)(c->kernel * c->kernel) * (size_t)c->src.c;
    return c->stride == 2 && c->padding == c->kernel / 2 && c->kernel % 2 == 1 && c->src.type == DCAM_NN_F32 &&
           c->dst_type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NHWC && c->dst_layout == DCAM_NN_NHWC &&
           c->out_channels % PANEL == 0 && depth + PANEL <= GATHERED_MOST;
}

static size_t half(int size) { return ((size_t)size + 1) / 2; }
/* Values of a gathered row, and with zeros behind them to whole vectors. */
static size_t depth(const dcam_gathered *g) { return (size_t)(g->kernel * g->kernel) * (size_t)g->in; }
static size_t padded(const dcam_gathered *g) { return (depth(g) + PANEL - 1) / PANEL * PANEL; }
static size_t zero_count(const dcam_gathered *g) { return (size_t)g->kernel * (size_t)g->in; }

static gathered_job cut(const dcam_gathered *g)
{
    gathered_job job = {.kernel = (size_t)g->kernel, .height = half(g->h), .width = half(g->w), .depth = depth(g)};
    gradient_job *all = &job.all;
    all->in = padded(g);
    all->out = (size_t)g->out;
    all->src = tile_map(NULL, NULL, g->h, g->w, g->in);
    all->tiles = (size_t)g->n * job.height * job.width;
    all->rows = g->bf16 ? (all->tiles + 1) / 2 : all->tiles;
    all->block = BLOCK_BYTES / (sizeof(float) * (all->in + all->out));
    if (all->block < 1) all->block = 1;
    if (all->block > all->rows) all->block = all->rows;
    return job;
}

size_t dcam_gathered_bytes(const dcam_gathered *g, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * depth(g) * (size_t)g->out, own = sizeof(float) * padded(g) * (size_t)g->out;
    const size_t images = sizeof(float) * (size_t)g->n;
    if (g->weights_out) return which == DCAM_NN_SRC ? own : which == DCAM_NN_DST ? plain : 0;
    const gathered_job job = cut(g);
    switch (which) {
    case DCAM_NN_SRC: return images * (size_t)g->h * (size_t)g->w * (size_t)g->in;
    case DCAM_NN_DST: return images * job.height * job.width * (size_t)g->out;
    case DCAM_NN_WEIGHTS: return own;
    case DCAM_NN_SCRATCHPAD: return sizeof(float) * (zero_count(g) + job.all.block * (job.all.in + job.all.out));
    default: return 0;
    }
}

/* Panel x tap x in x 16 to OIHW. */
static void run_weights_out(const dcam_gathered *g, const float *own, float *plain)
{
    const size_t in = (size_t)g->in, channels = (size_t)g->out, taps = depth(g) / in, rows = padded(g);
    for (size_t o = 0; o < channels; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < taps; tap++)
                plain[(o * in + i) * taps + tap] = own[(o / PANEL * rows + tap * in + i) * PANEL + o % PANEL];
}

typedef struct {
    const dcam_kernels *kernels;
    gathered_job job;
    size_t units;
} gathered_run;

static void gather_body(void *context, size_t begin, size_t end)
{
    const gathered_run *run = context;
    run->kernels->gather(&run->job, begin, end);
}

static void multiply_body(void *context, size_t begin, size_t end)
{
    const gathered_run *run = context;
    const size_t columns = run->job.depth;
    for (size_t k = begin; k < end; k++)
        run->kernels->gradient_multiply(&run->job.all, 0, columns * k / run->units, columns * (k + 1) / run->units);
}

void dcam_gathered_run(const dcam_gathered *g, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (g->weights_out) {
        run_weights_out(g, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    gathered_run run = {dcam_kernels_for(g->isa, g->bf16), cut(g), (depth(g) + UNIT_COLUMNS - 1) / UNIT_COLUMNS};
    gradient_job *all = &run.job.all;
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    memset(zeros, 0, zero_count(g) * sizeof *zeros);
    all->src.map = memory[DCAM_NN_SRC];
    all->src.zeros = zeros;
    run.job.d_dst = memory[DCAM_NN_DST];
    all->v = zeros + zero_count(g);
    all->dm = all->v + all->block * all->in;
    all->du = memory[DCAM_NN_WEIGHTS];
    for (all->first = 0; all->first < all->rows; all->first += all->block) {
        all->now = all->rows - all->first < all->block ? all->rows - all->first : all->block;
        dcam_parallel_for(all->now, gather_body, &run);
        dcam_parallel_for(run.units, multiply_body, &run);
    }
}
