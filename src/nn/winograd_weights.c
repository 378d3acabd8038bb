/* winograd_weights.c - the weights into Winograd's form, and the gradient of the weights: with dM = A dY A',
 *   dU[place] = sum over tiles of V[place]' dM[place],  dg = G' dU G.
 * The threads share the tiles while they transform a block of them, then the places and input channels while they
 * multiply; so dU needs no copies, and the bits do not depend on the number of threads. */
#include <string.h>

#include "base/parallel.h"
#include "nn/kernels.h"
#include "nn/round.h"
#include "nn/winograd.h"

#define LANES 8
#include "nn/winograd_tile.h"

/* ---- weights in and out ---- */

typedef struct {
    float *plain, *u;      /* OIHW; U */
    size_t in, out;        /* of the pass: panels are cut from out */
    bool bf16;             /* U is rounded */
    bool turned;           /* backward data: in and out change places and the kernel is turned by 180 degrees */
} weights_job;

/* Where w[o][i][place] of the pass lies in the plain weights. */
DCAM_INLINE size_t plain_index(const weights_job *job, size_t o, size_t i, size_t place)
{
    return job->turned ? (i * job->out + o) * 9 + 8 - place : (o * job->in + i) * 9 + place;
}

LANES_INLINE void put_rounded(float *u, size_t row, size_t column, const vec *v)
{
    for (size_t k = 0; k < LANES; k++) dcam_put_factor(u, true, row, column + k, (*v)[k]);
}

LANES_INLINE void weights_in_panel(const weights_job *job, size_t panel, size_t i)
{
    const size_t panels = job->out / PANEL;
    float gathered[9][PANEL];
    for (size_t o = 0; o < PANEL; o++)
        for (size_t place = 0; place < 9; place++)
            gathered[place][o] = job->plain[plain_index(job, panel * PANEL + o, i, place)];
    for (size_t k = 0; k < PANEL; k += LANES) {
        vec g[3], u[SPAN], half[SPAN][3];
        for (size_t x = 0; x < 3; x++) {
            for (size_t y = 0; y < 3; y++) load(&g[y], gathered[y * 3 + x] + k);
            transform_weights(g, u);
            for (size_t y = 0; y < SPAN; y++) half[y][x] = u[y];
        }
        for (size_t y = 0; y < SPAN; y++) {
            transform_weights(half[y], u);
            for (size_t x = 0; x < SPAN; x++) {
                const size_t row = ((y * SPAN + x) * panels + panel) * job->in + i;
                if (job->bf16) put_rounded(job->u, row, k, &u[x]);
                else store(job->u + row * PANEL + k, &u[x]);
            }
        }
    }
}

LANES_INLINE void weights_out_panel(const weights_job *job, size_t panel, size_t i)
{
    const size_t panels = job->out / PANEL;
    float gathered[9][PANEL];
    for (size_t k = 0; k < PANEL; k += LANES) {
        vec g[3], u[SPAN], half[3][SPAN];
        for (size_t x = 0; x < SPAN; x++) {
            for (size_t y = 0; y < SPAN; y++)
                load(&u[y], job->u + (((y * SPAN + x) * panels + panel) * job->in + i) * PANEL + k);
            transform_weights_gradient(u, g);
            for (size_t y = 0; y < 3; y++) half[y][x] = g[y];
        }
        for (size_t y = 0; y < 3; y++) {
            transform_weights_gradient(half[y], g);
            for (size_t x = 0; x < 3; x++) store(gathered[y * 3 + x] + k, &g[x]);
        }
    }
    for (size_t o = 0; o < PANEL; o++)
        for (size_t place = 0; place < 9; place++)
            job->plain[plain_index(job, panel * PANEL + o, i, place)] = gathered[place][o];
}

KERNEL static void weights_in(const weights_job *job, size_t begin, size_t end)
{
    for (size_t k = begin; k < end; k++) weights_in_panel(job, k / job->in, k % job->in);
}

KERNEL static void weights_out(const weights_job *job, size_t begin, size_t end)
{
    for (size_t k = begin; k < end; k++) weights_out_panel(job, k / job->in, k % job->in);
}

static void weights_in_body(void *context, size_t begin, size_t end) { weights_in(context, begin, end); }
static void weights_out_body(void *context, size_t begin, size_t end) { weights_out(context, begin, end); }

static weights_job weights_job_of(const dcam_winograd *w, float *plain, float *u)
{
    const bool turned = w->of == DCAM_WINOGRAD_BACKWARD_DATA;
    return (weights_job){plain, u, (size_t)(turned ? w->out : w->in),
                         (size_t)(turned ? w->in : w->out), w->bf16, turned};
}

void dcam_winograd_weights_in(const dcam_winograd *w, void *const *memory)
{
    weights_job job = weights_job_of(w, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
    dcam_parallel_for(job.out / PANEL * job.in, weights_in_body, &job);
}

void dcam_winograd_weights_out(const dcam_winograd *w, void *const *memory)
{
    weights_job job = weights_job_of(w, memory[DCAM_NN_DST], memory[DCAM_NN_SRC]);
    dcam_parallel_for(job.out / PANEL * job.in, weights_out_body, &job);
}

/* ---- the gradient ---- */

/* V and dM of a block together: within the last cache, and many enough tiles that reading and writing dU once a block
 * costs little. */
#define GRADIENT_BLOCK_BYTES ((size_t)8 << 20)
/* Input channels that one unit of the products covers. */
#define GRADIENT_CHANNELS 32

static void cut(const dcam_winograd *w, gradient_job *job)
{
    job->in = (size_t)w->in;
    job->out = (size_t)w->out;
    job->src = tile_map(NULL, NULL, w->h, w->w, w->in);
    job->d_dst = tile_map(NULL, NULL, w->h, w->w, w->out);
    job->tiles = (size_t)w->n * job->src.tiles_y * job->src.tiles_x;
    job->rows = w->bf16 ? (job->tiles + 1) / 2 : job->tiles;
    job->block = GRADIENT_BLOCK_BYTES / (PLACES * sizeof(float) * (job->in + job->out));
    if (job->block < 1) job->block = 1;
    if (job->block > job->rows) job->block = job->rows;
    job->v_stride = job->block * job->in + PLACE_PADDING;
    job->dm_stride = job->block * job->out + PLACE_PADDING;
}

static size_t zero_count(const dcam_winograd *w) { return (size_t)(w->in > w->out ? w->in : w->out); }

size_t dcam_winograd_gradient_scratch(const dcam_winograd *w)
{
    gradient_job job;
    cut(w, &job);
    return zero_count(w) + PLACES * (job.v_stride + job.dm_stride);
}

typedef struct {
    const dcam_kernels *kernels;
    gradient_job job;
} gradient_run;

static size_t units_a_place(const gradient_job *job) { return (job->in + GRADIENT_CHANNELS - 1) / GRADIENT_CHANNELS; }

static void transform_body(void *context, size_t begin, size_t end)
{
    const gradient_run *run = context;
    run->kernels->gradient_transform(&run->job, begin, end);
}

static void multiply_body(void *context, size_t begin, size_t end)
{
    const gradient_run *run = context;
    const size_t in = run->job.in, units = units_a_place(&run->job);
    for (size_t k = begin; k < end; k++)
        run->kernels->gradient_multiply(&run->job, k / units, in * (k % units) / units, in * (k % units + 1) / units);
}

void dcam_winograd_gradient(const dcam_winograd *w, void *const *memory)
{
    gradient_run run = {.kernels = dcam_kernels_for(w->isa, w->bf16)};
    gradient_job *job = &run.job;
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    cut(w, job);
    memset(zeros, 0, zero_count(w) * sizeof *zeros);
    job->src.map = memory[DCAM_NN_SRC];
    job->d_dst.map = memory[DCAM_NN_DST];
    job->src.zeros = job->d_dst.zeros = zeros;
    job->v = zeros + zero_count(w);
    job->dm = job->v + PLACES * job->v_stride;
    job->du = memory[DCAM_NN_WEIGHTS];
    for (job->first = 0; job->first < job->rows; job->first += job->block) {
        job->now = job->rows - job->first < job->block ? job->rows - job->first : job->block;
        dcam_parallel_for(job->now, transform_body, &run);
        dcam_parallel_for(PLACES * units_a_place(job), multiply_body, &run);
    }
}
