/* winograd.c - the forward pass (and backward data, which is a forward pass with turned weights), and which
 * convolutions it serves. A thread takes a range of tiles and of output channels and works through it block by block:
 * transform, 36 products, transform back. The threads never wait for each other. */
#include "nn/winograd.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/winograd_tile.h"

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
           c->src.c % PANEL == 0 && c->out_channels % PANEL == 0 && winograd_processor_fits();
}

static size_t map_bytes(const dcam_winograd *w, int channels)
{
    return sizeof(float) * (size_t)w->n * (size_t)w->h * (size_t)w->w * (size_t)channels;
}

size_t dcam_winograd_bytes(const dcam_winograd *w, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * 9 * (size_t)w->in * (size_t)w->out, transformed = plain / 9 * PLACES;
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

typedef struct {
    const dcam_winograd *w;
    tiled_map from;
    float *to;
    const float *u, *bias;
    size_t in, out, tiles, block;      /* in, out: of this pass; block: tiles */
    size_t tile_parts, channel_parts;  /* their product: the threads used */
    size_t v_stride, m_stride;         /* floats from place to place */
    float *scratch;
} forward_job;

static void cut(const dcam_winograd *w, forward_job *job)
{
    const bool backward = w->part == DCAM_WINOGRAD_BACKWARD_DATA;
    job->w = w;
    job->in = (size_t)(backward ? w->out : w->in);
    job->out = (size_t)(backward ? w->in : w->out);
    job->from = tile_map(NULL, NULL, w->h, w->w, (int)job->in);
    job->tiles = (size_t)w->n * job->from.tiles_y * job->from.tiles_x;
    const size_t threads = (size_t)w->threads, panels = job->out / PANEL;
    job->tile_parts = job->tiles / WORTH_OWN_TILES;
    if (job->tile_parts > threads) job->tile_parts = threads;
    if (job->tile_parts < 1) job->tile_parts = 1;
    job->channel_parts = threads / job->tile_parts;
    if (job->channel_parts > panels) job->channel_parts = panels;
    job->block = BLOCK_BYTES / (PLACES * sizeof(float) * (job->in + job->out / job->channel_parts));
    if (job->block < LEAST_BLOCK) job->block = LEAST_BLOCK;
    if (job->block > MOST_BLOCK) job->block = MOST_BLOCK;
    if (job->block > job->tiles) job->block = job->tiles;
    /* Blocks of a part are of one size, but for the last. */
    const size_t part = (job->tiles + job->tile_parts - 1) / job->tile_parts;
    const size_t blocks = (part + job->block - 1) / job->block;
    job->block = (part + blocks - 1) / blocks;
    job->v_stride = job->block * job->in + PLACE_PADDING;
    job->m_stride = job->block * ((panels + job->channel_parts - 1) / job->channel_parts) * PANEL + PLACE_PADDING;
}

static size_t part_scratch(const forward_job *job) { return PLACES * (job->v_stride + job->m_stride); }

size_t dcam_winograd_forward_scratch(const dcam_winograd *w)
{
    forward_job job;
    cut(w, &job);
    return job.in + job.tile_parts * job.channel_parts * part_scratch(&job);
}

/* ---- the products ---- */

/* m (rows x 16, stride m_stride) = v (rows x k, stride v_stride) times u (k x 16). rows is a constant where this is
 * called, so that the sums are registers. */
DCAM_INLINE void multiply(size_t rows, const float *v, size_t v_stride, const float *u, size_t k, float *m, size_t m_stride)
{
    dcam_f32x8 low[MAX_ROWS] = {0}, high[MAX_ROWS] = {0}, a, b;
    for (size_t c = 0; c < k; c++) {
        dcam_load8(&a, u + c * PANEL, DCAM_LANES);
        dcam_load8(&b, u + c * PANEL + DCAM_LANES, DCAM_LANES);
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            const float x = v[r * v_stride + c];
            low[r] += x * a;
            high[r] += x * b;
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        dcam_store8(m + r * m_stride, &low[r], DCAM_LANES);
        dcam_store8(m + r * m_stride + DCAM_LANES, &high[r], DCAM_LANES);
    }
}

WINOGRAD_KERNEL void dcam_winograd_multiply(size_t rows, const float *v, size_t v_stride, const float *u, size_t k,
                                            float *m, size_t m_stride)
{
    switch (rows) {
    case 1: multiply(1, v, v_stride, u, k, m, m_stride); break;
    case 2: multiply(2, v, v_stride, u, k, m, m_stride); break;
    case 3: multiply(3, v, v_stride, u, k, m, m_stride); break;
    case 4: multiply(4, v, v_stride, u, k, m, m_stride); break;
    case 5: multiply(5, v, v_stride, u, k, m, m_stride); break;
    default: multiply(6, v, v_stride, u, k, m, m_stride); break;
    }
}

/* All 36 places of a block of `tiles`, for the panels of one part. */
static void multiply_block(const forward_job *job, size_t tiles, size_t first_panel, size_t panels, const float *v, float *m)
{
    const size_t chunks = row_chunks(tiles), width = panels * PANEL, panel_size = job->in * PANEL;
    for (size_t place = 0; place < PLACES; place++) {
        const float *u = job->u + (place * (job->out / PANEL) + first_panel) * panel_size;
        for (size_t panel = 0; panel < panels; panel++, u += panel_size)
            for (size_t k = 0; k < chunks; k++) {
                const size_t row = tiles * k / chunks, rows = tiles * (k + 1) / chunks - row;
                dcam_winograd_multiply(rows, v + place * job->v_stride + row * job->in, job->in, u, job->in,
                                       m + place * job->m_stride + row * width + panel * PANEL, width);
            }
    }
}

/* ---- back to the map ---- */

/* One tile, the channels from first on: m + place * stride + channel - first. */
DCAM_INLINE void transform_output_tile(const forward_job *job, size_t tile, size_t first, size_t channels,
                                       const float *m, bool sum, bool relu)
{
    const tiled_map *from = &job->from;
    const tile_place at = place_of(from, tile);
    const size_t rows = from->h - at.y < TILE ? from->h - at.y : TILE;
    const size_t columns = from->w - at.x < TILE ? from->w - at.x : TILE;
    float *to = job->to + ((at.image * from->h + at.y) * from->w + at.x) * job->out + first;
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        dcam_f32x8 d[SPAN], y[TILE], half[TILE][SPAN], bias = {0};
        if (job->bias) dcam_load8(&bias, job->bias + first + c, DCAM_LANES);
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) dcam_load8(&d[i], m + (i * SPAN + j) * job->m_stride + c, DCAM_LANES);
            transform_output(d, y);
#pragma GCC unroll 4
            for (size_t i = 0; i < TILE; i++) half[i][j] = y[i];
        }
        for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++) d[j] = half[i][j];
            transform_output(d, y);
#pragma GCC unroll 4
            for (size_t j = 0; j < TILE; j++)
                if (j < columns) finish_values(&bias, sum, relu, to + (i * from->w + j) * job->out + c, &y[j]);
        }
    }
}

WINOGRAD_KERNEL static void transform_outputs(const forward_job *job, size_t first_tile, size_t tiles, size_t first,
                                              size_t channels, const float *m)
{
    const bool sum = job->w->part == DCAM_WINOGRAD_FORWARD && job->w->sum;
    const bool relu = job->w->part == DCAM_WINOGRAD_FORWARD && job->w->relu;
    for (size_t i = 0; i < tiles; i++) {
        const float *at = m + i * channels;
        if (sum) transform_output_tile(job, first_tile + i, first, channels, at, true, relu);
        else transform_output_tile(job, first_tile + i, first, channels, at, false, relu);
    }
}

WINOGRAD_KERNEL static void transform_inputs(const forward_job *job, size_t first_tile, size_t tiles, float *v)
{
    for (size_t i = 0; i < tiles; i++)
        transform_input_tile(&job->from, first_tile + i, v + i * job->in, job->v_stride);
}

/* ---- the pass ---- */

static void run_part(const forward_job *job, size_t part)
{
    const size_t tile_part = part / job->channel_parts, channel_part = part % job->channel_parts;
    const size_t panels = job->out / PANEL, end = job->tiles * (tile_part + 1) / job->tile_parts;
    const size_t first = panels * channel_part / job->channel_parts;
    const size_t mine = panels * (channel_part + 1) / job->channel_parts - first;
    float *v = job->scratch + part * part_scratch(job), *m = v + PLACES * job->v_stride;
    for (size_t tile = job->tiles * tile_part / job->tile_parts; tile < end; tile += job->block) {
        const size_t tiles = end - tile < job->block ? end - tile : job->block;
        transform_inputs(job, tile, tiles, v);
        multiply_block(job, tiles, first, mine, v, m);
        transform_outputs(job, tile, tiles, first * PANEL, mine * PANEL, m);
    }
}

static void run_parts(void *context, size_t begin, size_t end)
{
    for (size_t part = begin; part < end; part++) run_part(context, part);
}

void dcam_winograd_forward(const dcam_winograd *w, void *const *memory)
{
    const bool backward = w->part == DCAM_WINOGRAD_BACKWARD_DATA;
    forward_job job;
    float *zeros = memory[DCAM_NN_SCRATCHPAD];
    cut(w, &job);
    memset(zeros, 0, job.in * sizeof *zeros);
    job.from.map = memory[backward ? DCAM_NN_DST : DCAM_NN_SRC];
    job.from.zeros = zeros;
    job.to = memory[backward ? DCAM_NN_SRC : DCAM_NN_DST];
    job.u = memory[DCAM_NN_WEIGHTS];
    job.bias = w->bias ? memory[DCAM_NN_BIAS] : NULL;
    job.scratch = zeros + job.in;
    dcam_parallel_for(job.tile_parts * job.channel_parts, run_parts, &job);
}
