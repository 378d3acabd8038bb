/* winograd_weights.c - the weights into Winograd's form, and the gradient of the weights: with dM = A dY A',
 *   dU[place] = sum over tiles of V[place]' dM[place],  dg = G' dU G.
 * The threads share the tiles while they transform a block of them, then the places and input channels while they
 * multiply; so dU needs no copies, and the bits do not depend on the number of threads. */
#include <string.h>

#include "base/parallel.h"
#include "nn/winograd.h"
#include "nn/winograd_tile.h"

/* ---- weights in and out ---- */

typedef struct {
    float *plain, *u;      /* OIHW; U */
    size_t in, out;        /* of the pass: panels are cut from out */
    bool turned;           /* backward data: in and out change places and the kernel is turned by 180 degrees */
} weights_job;

/* Where w[o][i][place] of the pass lies in the plain weights. */
DCAM_INLINE size_t plain_index(const weights_job *job, size_t o, size_t i, size_t place)
{
    return job->turned ? (i * job->out + o) * 9 + 8 - place : (o * job->in + i) * 9 + place;
}

DCAM_INLINE void weights_in_panel(const weights_job *job, size_t panel, size_t i)
{
    const size_t panels = job->out / PANEL;
    float gathered[9][PANEL];
    for (size_t o = 0; o < PANEL; o++)
        for (size_t place = 0; place < 9; place++)
            gathered[place][o] = job->plain[plain_index(job, panel * PANEL + o, i, place)];
    for (size_t k = 0; k < PANEL; k += DCAM_LANES) {
        dcam_f32x8 g[3], u[SPAN], half[SPAN][3];
        for (size_t x = 0; x < 3; x++) {
            for (size_t y = 0; y < 3; y++) dcam_load8(&g[y], gathered[y * 3 + x] + k, DCAM_LANES);
            transform_weights(g, u);
            for (size_t y = 0; y < SPAN; y++) half[y][x] = u[y];
        }
        for (size_t y = 0; y < SPAN; y++) {
            transform_weights(half[y], u);
            for (size_t x = 0; x < SPAN; x++)
                dcam_store8(job->u + (((y * SPAN + x) * panels + panel) * job->in + i) * PANEL + k, &u[x], DCAM_LANES);
        }
    }
}

DCAM_INLINE void weights_out_panel(const weights_job *job, size_t panel, size_t i)
{
    const size_t panels = job->out / PANEL;
    float gathered[9][PANEL];
    for (size_t k = 0; k < PANEL; k += DCAM_LANES) {
        dcam_f32x8 g[3], u[SPAN], half[3][SPAN];
        for (size_t x = 0; x < SPAN; x++) {
            for (size_t y = 0; y < SPAN; y++)
                dcam_load8(&u[y], job->u + (((y * SPAN + x) * panels + panel) * job->in + i) * PANEL + k, DCAM_LANES);
            transform_weights_gradient(u, g);
            for (size_t y = 0; y < 3; y++) half[y][x] = g[y];
        }
        for (size_t y = 0; y < 3; y++) {
            transform_weights_gradient(half[y], g);
            for (size_t x = 0; x < 3; x++) dcam_store8(gathered[y * 3 + x] + k, &g[x], DCAM_LANES);
        }
    }
    for (size_t o = 0; o < PANEL; o++)
        for (size_t place = 0; place < 9; place++)
            job->plain[plain_index(job, panel * PANEL + o, i, place)] = gathered[place][o];
}

WINOGRAD_KERNEL static void weights_in(const weights_job *job, size_t begin, size_t end)
{
    for (size_t k = begin; k < end; k++) weights_in_panel(job, k / job->in, k % job->in);
}

WINOGRAD_KERNEL static void weights_out(const weights_job *job, size_t begin, size_t end)
{
    for (size_t k = begin; k < end; k++) weights_out_panel(job, k / job->in, k % job->in);
}

static void weights_in_body(void *context, size_t begin, size_t end) { weights_in(context, begin, end); }
static void weights_out_body(void *context, size_t begin, size_t end) { weights_out(context, begin, end); }

static weights_job weights_job_of(const dcam_winograd *w, float *plain, float *u)
{
    const bool turned = w->of == DCAM_WINOGRAD_BACKWARD_DATA;
    return (weights_job){plain, u, (size_t)(turned ? w->out : w->in),
                         (size_t)(turned ? w->in : w->out), turned};
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

typedef struct {
    tiled_map src, d_dst;
    float *v, *dm, *du;    /* V: 36 x tile x in; dM: 36 x out/16 x tile x 16 */
    size_t in, out, tiles, block, v_stride, dm_stride;
    size_t first, now;     /* tiles of the present block */
} gradient_job;

static void cut(const dcam_winograd *w, gradient_job *job)
{
    job->in = (size_t)w->in;
    job->out = (size_t)w->out;
    job->src = tile_map(NULL, NULL, w->h, w->w, w->in);
    job->d_dst = tile_map(NULL, NULL, w->h, w->w, w->out);
    job->tiles = (size_t)w->n * job->src.tiles_y * job->src.tiles_x;
    job->block = GRADIENT_BLOCK_BYTES / (PLACES * sizeof(float) * (job->in + job->out));
    if (job->block < 1) job->block = 1;
    if (job->block > job->tiles) job->block = job->tiles;
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

/* dM of one tile, row `row` of its block. */
DCAM_INLINE void transform_gradient_tile(const gradient_job *job, size_t row)
{
    const tiled_map *m = &job->d_dst;
    const tile_place at = place_of(m, job->first + row);
    const float *from[TILE * TILE];
    for (size_t i = 0; i < TILE; i++)
        for (size_t j = 0; j < TILE; j++) from[i * TILE + j] = channels_at(m, at.image, at.y + i, at.x + j);
    for (size_t c = 0; c < m->c; c += DCAM_LANES) {
        dcam_f32x8 y[TILE], d[SPAN], half[SPAN][TILE];
        float *to = job->dm + (c / PANEL * job->block + row) * PANEL + c % PANEL;
        for (size_t j = 0; j < TILE; j++) {
#pragma GCC unroll 4
            for (size_t i = 0; i < TILE; i++) dcam_load8(&y[i], from[i * TILE + j] + c, DCAM_LANES);
            transform_output_gradient(y, d);
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) half[i][j] = d[i];
        }
        for (size_t i = 0; i < SPAN; i++) {
            transform_output_gradient(half[i], d);
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++) dcam_store8(to + (i * SPAN + j) * job->dm_stride, &d[j], DCAM_LANES);
        }
    }
}

WINOGRAD_KERNEL static void transform_rows(const gradient_job *job, size_t begin, size_t end)
{
    for (size_t row = begin; row < end; row++) {
        transform_input_tile(&job->src, job->first + row, job->v + row * job->in, job->v_stride);
        transform_gradient_tile(job, row);
    }
}

/* du (rows x 16) += v (tiles x in, rows of it)' dm (tiles x 16). */
DCAM_INLINE void multiply(size_t rows, const float *v, size_t v_stride, const float *dm, size_t tiles, bool add, float *du)
{
    dcam_f32x8 low[MAX_ROWS] = {0}, high[MAX_ROWS] = {0}, a, b;
    if (add) {
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            dcam_load8(&low[r], du + r * PANEL, DCAM_LANES);
            dcam_load8(&high[r], du + r * PANEL + DCAM_LANES, DCAM_LANES);
        }
    }
    for (size_t t = 0; t < tiles; t++) {
        dcam_load8(&a, dm + t * PANEL, DCAM_LANES);
        dcam_load8(&b, dm + t * PANEL + DCAM_LANES, DCAM_LANES);
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            const float x = v[t * v_stride + r];
            low[r] += x * a;
            high[r] += x * b;
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        dcam_store8(du + r * PANEL, &low[r], DCAM_LANES);
        dcam_store8(du + r * PANEL + DCAM_LANES, &high[r], DCAM_LANES);
    }
}

WINOGRAD_KERNEL static void multiply_rows(size_t rows, const float *v, size_t v_stride, const float *dm, size_t tiles,
                                          bool add, float *du)
{
    switch (rows) {
    case 1: multiply(1, v, v_stride, dm, tiles, add, du); break;
    case 2: multiply(2, v, v_stride, dm, tiles, add, du); break;
    case 3: multiply(3, v, v_stride, dm, tiles, add, du); break;
    case 4: multiply(4, v, v_stride, dm, tiles, add, du); break;
    case 5: multiply(5, v, v_stride, dm, tiles, add, du); break;
    default: multiply(6, v, v_stride, dm, tiles, add, du); break;
    }
}

/* One unit: some input channels of one place, all output channels. */
static void multiply_unit(const gradient_job *job, size_t place, size_t begin, size_t end)
{
    const size_t chunks = row_chunks(end - begin), panels = job->out / PANEL;
    const float *v = job->v + place * job->v_stride;
    for (size_t panel = 0; panel < panels; panel++) {
        const float *dm = job->dm + place * job->dm_stride + panel * job->block * PANEL;
        float *du = job->du + (place * panels + panel) * job->in * PANEL;
        for (size_t k = 0; k < chunks; k++) {
            const size_t row = begin + (end - begin) * k / chunks;
            multiply_rows(begin + (end - begin) * (k + 1) / chunks - row, v + row, job->in, dm, job->now,
                          job->first > 0, du + row * PANEL);
        }
    }
}

static size_t units_a_place(const gradient_job *job) { return (job->in + GRADIENT_CHANNELS - 1) / GRADIENT_CHANNELS; }

static void transform_body(void *context, size_t begin, size_t end) { transform_rows(context, begin, end); }

static void multiply_body(void *context, size_t begin, size_t end)
{
    const gradient_job *job = context;
    const size_t units = units_a_place(job);
    for (size_t k = begin; k < end; k++)
        multiply_unit(job, k / units, job->in * (k % units) / units, job->in * (k % units + 1) / units);
}

void dcam_winograd_gradient(const dcam_winograd *w, void *const *memory)
{
    gradient_job job;
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    cut(w, &job);
    memset(zeros, 0, zero_count(w) * sizeof *zeros);
    job.src.map = memory[DCAM_NN_SRC];
    job.d_dst.map = memory[DCAM_NN_DST];
    job.src.zeros = job.d_dst.zeros = zeros;
    job.v = zeros + zero_count(w);
    job.dm = job.v + PLACES * job.v_stride;
    job.du = memory[DCAM_NN_WEIGHTS];
    for (job.first = 0; job.first < job.tiles; job.first += job.block) {
        job.now = job.tiles - job.first < job.block ? job.tiles - job.first : job.block;
        dcam_parallel_for(job.now, transform_body, &job);
        dcam_parallel_for(PLACES * units_a_place(&job), multiply_body, &job);
    }
}
