/* direct.c - see direct.h. A block of output positions is small enough for its inputs to stay in a core's cache; for
 * each panel of 16 output channels all positions of the block are worked through, six at a time in registers. */
#include "nn/direct.h"

#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "nn/winograd_tile.h"

#define TAPS 9
/* Positions of a block: their 9 tables of addresses lie on the stack. */
#define BLOCK 96

bool dcam_direct_fits(const dcam_nn_convolution *c)
{
    return c->kernel == 3 && c->stride == 2 && c->padding == 1 && c->src.type == DCAM_NN_F32 &&
           c->dst_type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NHWC && c->dst_layout == DCAM_NN_NHWC &&
           c->src.c % PANEL == 0 && c->out_channels % PANEL == 0 && winograd_processor_fits();
}

static int half(int size) { return (size + 1) / 2; }

size_t dcam_direct_bytes(const dcam_direct *d, dcam_nn_argument which)
{
    const size_t weights = sizeof(float) * TAPS * (size_t)d->in * (size_t)d->out;
    const size_t images = sizeof(float) * (size_t)d->n;
    if (d->weights_in) return which == DCAM_NN_SRC || which == DCAM_NN_DST ? weights : 0;
    switch (which) {
    case DCAM_NN_SRC: return images * (size_t)d->h * (size_t)d->w * (size_t)d->in;
    case DCAM_NN_DST: return images * (size_t)half(d->h) * (size_t)half(d->w) * (size_t)d->out;
    case DCAM_NN_WEIGHTS: return weights;
    case DCAM_NN_BIAS: return d->bias ? sizeof(float) * (size_t)d->out : 0;
    case DCAM_NN_SCRATCHPAD: return sizeof(float) * (size_t)d->in; /* zeros: what lies outside */
    default: return 0;
    }
}

/* OIHW to panel x tap x in x 16. */
static void run_weights_in(const dcam_direct *d, const float *plain, float *out)
{
    const size_t in = (size_t)d->in, channels = (size_t)d->out;
    for (size_t o = 0; o < channels; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < TAPS; tap++)
                out[((o / PANEL * TAPS + tap) * in + i) * PANEL + o % PANEL] = plain[(o * in + i) * TAPS + tap];
}

typedef struct {
    const dcam_direct *d;
    tiled_map from;
    size_t in, out, height, width, positions; /* of the output; positions: over all images */
    const float *weights, *bias;
    float *to;
} direct_job;

/* Rows of one product: outputs that lie one after the other. from: tap x BLOCK addresses of their input channels. */
DCAM_INLINE void multiply(const direct_job *job, size_t rows, const float *const (*from)[BLOCK], size_t first,
                          const float *w, const float *bias, float *to)
{
    dcam_f32x8 low[MAX_ROWS] = {0}, high[MAX_ROWS] = {0}, a, b;
    for (size_t tap = 0; tap < TAPS; tap++) {
        const float *x[MAX_ROWS];
        for (size_t r = 0; r < rows; r++) x[r] = from[tap][first + r];
        for (size_t c = 0; c < job->in; c++, w += PANEL) {
            dcam_load8(&a, w, DCAM_LANES);
            dcam_load8(&b, w + DCAM_LANES, DCAM_LANES);
#pragma GCC unroll 6
            for (size_t r = 0; r < rows; r++) {
                low[r] += x[r][c] * a;
                high[r] += x[r][c] * b;
            }
        }
    }
    dcam_load8(&a, bias, DCAM_LANES);
    dcam_load8(&b, bias + DCAM_LANES, DCAM_LANES);
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++) {
        float *at = to + (first + r) * job->out;
        finish_values(&a, job->d->sum, job->d->relu, at, &low[r]);
        finish_values(&b, job->d->sum, job->d->relu, at + DCAM_LANES, &high[r]);
    }
}

/* One panel of a block. */
WINOGRAD_KERNEL static void multiply_panel(const direct_job *job, const float *const (*from)[BLOCK], size_t count,
                                           const float *w, const float *bias, float *to)
{
    const size_t chunks = row_chunks(count);
    for (size_t k = 0; k < chunks; k++) {
        const size_t first = count * k / chunks, rows = count * (k + 1) / chunks - first;
        switch (rows) {
        case 1: multiply(job, 1, from, first, w, bias, to); break;
        case 2: multiply(job, 2, from, first, w, bias, to); break;
        case 3: multiply(job, 3, from, first, w, bias, to); break;
        case 4: multiply(job, 4, from, first, w, bias, to); break;
        case 5: multiply(job, 5, from, first, w, bias, to); break;
        default: multiply(job, 6, from, first, w, bias, to); break;
        }
    }
}

static void find_inputs(const direct_job *job, size_t first, size_t count, const float *(*from)[BLOCK])
{
    for (size_t p = 0; p < count; p++) {
        const size_t position = first + p, image = position / (job->height * job->width);
        const size_t y = position / job->width % job->height * 2, x = position % job->width * 2;
        for (size_t tap = 0; tap < TAPS; tap++)
            from[tap][p] = channels_at(&job->from, image, y + tap / 3 - 1, x + tap % 3 - 1);
    }
}

static void run_positions(void *context, size_t begin, size_t end)
{
    static const float no_bias[PANEL] = {0};
    const direct_job *job = context;
    const float *from[TAPS][BLOCK];
    const size_t blocks = (end - begin + BLOCK - 1) / BLOCK;
    for (size_t k = 0; k < blocks; k++) {
        const size_t first = begin + (end - begin) * k / blocks, count = begin + (end - begin) * (k + 1) / blocks - first;
        find_inputs(job, first, count, from);
        for (size_t o = 0; o < job->out; o += PANEL)
            multiply_panel(job, (const float *const (*)[BLOCK])from, count, job->weights + o * TAPS * job->in,
                           job->bias ? job->bias + o : no_bias, job->to + first * job->out + o);
    }
}

void dcam_direct_run(const dcam_direct *d, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (d->weights_in) {
        run_weights_in(d, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    memset(memory[DCAM_NN_SCRATCHPAD], 0, sizeof(float) * (size_t)d->in);
    direct_job job = {.d = d, .from = tile_map(memory[DCAM_NN_SRC], memory[DCAM_NN_SCRATCHPAD], d->h, d->w, d->in),
                      .in = (size_t)d->in, .out = (size_t)d->out, .height = (size_t)half(d->h),
                      .width = (size_t)half(d->w), .weights = memory[DCAM_NN_WEIGHTS],
                      .bias = d->bias ? memory[DCAM_NN_BIAS] : NULL, .to = memory[DCAM_NN_DST]};
    job.positions = (size_t)d->n * job.height * job.width;
    dcam_parallel_for(job.positions, run_positions, &job);
}
