/* tile_map_gradient.c - see tile_map_gradient.h. Some rows of dy are copied into a band with zeros behind each row and below
 * the last, so that sixteen positions of one row, with all their channels, are rows of tiles as they lie there, from any
 * position on. Two such strips meet 32 channels of x; each parity of rows and columns has taps of its own. */
#include "nn/tile_map_gradient.h"

#include <string.h>

#include "base/amx.h"
#include "base/parallel.h"
#include "nn/round.h"

#define STRIP 16 /* positions of a tile */
#define GROUP 32 /* channels of x that are summed together, and channels of dy of a tile */
#define TILE_VALUES (GROUP * PANEL)

typedef struct {
    size_t height, width;  /* of dy */
    size_t strips, line;   /* of a row; positions of a row of the band: one more than the strips have */
    size_t rows, bands;    /* of dy that a band has beside the next one; of an image */
    size_t taps, band_bytes;
} plan;

static size_t up(size_t n, size_t unit) { return (n + unit - 1) / unit; }

bool dcam_tile_map_gradient_fits(const dcam_nn_convolution *c)
{
    const dcam_nn_tensor *s = &c->src;
    return dcam_nn_isa_here() >= DCAM_NN_ISA_AMX && (c->kernel == 3 || c->kernel == 1) && c->stride == 2 &&
           c->padding == c->kernel / 2 && s->type == DCAM_NN_BF16 && c->dst_type == DCAM_NN_BF16 &&
           s->layout == DCAM_NN_NHWC && c->dst_layout == DCAM_NN_NHWC && s->c % GROUP == 0 && c->out_channels % GROUP == 0 &&
           s->h % 2 == 0 && s->w % 2 == 0;
}

static plan cut(const dcam_tile_map_gradient *g)
{
    plan p = {.height = (size_t)g->h / 2, .width = (size_t)g->w / 2, .taps = (size_t)(g->kernel * g->kernel)};
    p.strips = up(p.width, STRIP);
    p.line = p.strips * STRIP + 1;
    p.rows = p.strips == 1 ? 2 : 1;
    p.bands = up(p.height, p.rows);
    p.band_bytes = (p.rows + 1) * p.line * (size_t)g->out * sizeof(uint16_t);
    return p;
}

size_t dcam_tile_map_gradient_bytes(const dcam_tile_map_gradient *g, dcam_nn_argument which)
{
    const plan p = cut(g);
    const size_t weights = p.taps * (size_t)g->in * (size_t)g->out, values = (size_t)g->n * p.height * p.width;
    if (g->weights_in)
        return which == DCAM_NN_SRC ? weights * sizeof(float) : which == DCAM_NN_DST ? weights * sizeof(uint16_t) : 0;
    switch (which) {
    case DCAM_NN_SRC: return 4 * values * (size_t)g->in * sizeof(uint16_t);
    case DCAM_NN_DST: return values * (size_t)g->out * sizeof(uint16_t);
    case DCAM_NN_WEIGHTS: return weights * sizeof(uint16_t);
    case DCAM_NN_SCRATCHPAD: return (size_t)g->threads * p.band_bytes;
    default: return 0;
    }
}

/* ---- weights ------------------------------------------------------------ */

/* The tile of sixteen channels of x and 32 of dy: [tap][32 of x][32 of dy][16 of x][pair of dy][channel of x x 2]. */
static size_t tile_at(const dcam_tile_map_gradient *g, size_t tap, size_t i, size_t o)
{
    const size_t in = (size_t)g->in, out = (size_t)g->out;
    return (((tap * (in / GROUP) + i / GROUP) * (out / GROUP) + o / GROUP) * 2 + i / PANEL % 2) * TILE_VALUES;
}

typedef struct {
    const dcam_tile_map_gradient *g;
    const float *plain;
    uint16_t *packed;
} weights_job;

static void pack_channels(void *context, size_t begin, size_t end)
{
    const weights_job *job = context;
    const size_t in = (size_t)job->g->in, side = (size_t)job->g->kernel, taps = side * side;
    for (size_t o = begin; o < end; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t tap = 0; tap < taps; tap++)
                job->packed[tile_at(job->g, tap, i, o) + o % GROUP / 2 * 2 * PANEL + i % PANEL * 2 + o % 2] =
                    dcam_round_bf16(job->plain[(o * in + i) * taps + tap]);
}

#if defined(__x86_64__)
#include <immintrin.h>

/* ---- products ----------------------------------------------------------- */

typedef struct {
    const dcam_tile_map_gradient *g;
    plan p;
    const uint16_t *dy, *weights;
    uint16_t *dx;
    char *scratch;
} gradient_job;

/* Rows y .. of an image's dy, and the one below them. */
static void fill_band(const gradient_job *job, const uint16_t *image, size_t y, uint16_t *band)
{
    const plan *p = &job->p;
    const size_t out = (size_t)job->g->out, used = p->width * out, line = p->line * out;
    for (size_t k = 0; k <= p->rows; k++, band += line) {
        const size_t there = y + k < p->height ? used : 0;
        memcpy(band, image + (y + k) * used, there * sizeof *band);
        memset(band + there, 0, (line - there) * sizeof *band);
    }
}

/* What of a strip's sums belongs to x: its first position in dx, and how many positions, two apart. */
typedef struct { uint16_t *to; size_t count; } target;

AMX_INLINE void store_strip(const float *sums, const target *t, size_t step)
{
    for (size_t k = 0; k < t->count; k++, sums += GROUP)
        _mm512_storeu_si512(t->to + k * step, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(sums + PANEL), _mm512_loadu_ps(sums)));
}

/* Adds to the four sums of two strips and 32 channels of x what a tap has of them. a: the strips' first positions. */
AMX_INLINE void add_tap(const gradient_job *job, const uint16_t *const a[2], size_t tap, size_t i)
{
    const size_t out = (size_t)job->g->out;
    const uint16_t *b = job->weights + tile_at(job->g, tap, i, 0);
    for (size_t o = 0; o < out; o += GROUP, b += 2 * TILE_VALUES)
        amx_multiply_four_bf16(a[0] + o, a[1] + o, (long)(out * sizeof *b), b, b + TILE_VALUES, AMX_ROW_BYTES);
}

/* Two strips, all channels of x and all four parities. at: where they begin in the band; to: their first positions in dx. */
AMX_INLINE void multiply_strips(const gradient_job *job, const uint16_t *const at[2], const target to[2], float *sums)
{
    const size_t in = (size_t)job->g->in, out = (size_t)job->g->out, side = (size_t)job->g->kernel;
    const size_t below = job->p.line * out, right = out, row = (size_t)job->g->w * in;
    for (size_t i = 0; i < in; i += GROUP)
        for (size_t parity = 0; parity < 4; parity++) {
            const size_t odd_row = parity / 2, odd_column = parity % 2;
            amx_zero_four();
            if (side == 1 && parity == 0) add_tap(job, at, 0, i);
            for (size_t y = 0; y <= odd_row && side == 3; y++)
                for (size_t x = 0; x <= odd_column; x++) { /* of two taps the first reads on the spot, the other one further */
                    const size_t ky = odd_row ? 2 - 2 * y : 1, kx = odd_column ? 2 - 2 * x : 1;
                    const uint16_t *const a[2] = {at[0] + y * below + x * right, at[1] + y * below + x * right};
                    add_tap(job, a, ky * side + kx, i);
                }
            amx_store_four(sums, PANEL, STRIP * GROUP, GROUP * sizeof *sums);
            for (size_t k = 0; k < 2; k++) {
                const target t = {to[k].to + odd_row * row + odd_column * in + i, to[k].count};
                store_strip(sums + k * STRIP * GROUP, &t, 2 * in);
            }
        }
}

/* Where strip k of a band begins, in the band and in dx. Behind the last one: the last one again. */
static target strip_of(const gradient_job *job, const uint16_t *band, uint16_t *image, size_t y, size_t k, const uint16_t **at)
{
    const plan *p = &job->p;
    const size_t rows = p->height - y < p->rows ? p->height - y : p->rows, last = rows * p->strips - 1;
    const size_t strip = k < last ? k : last, row = strip / p->strips, column = strip % p->strips * STRIP;
    const size_t in = (size_t)job->g->in, count = p->width - column < STRIP ? p->width - column : STRIP;
    *at = band + (row * p->line + column) * (size_t)job->g->out;
    return (target){image + (2 * (y + row) * (size_t)job->g->w + 2 * column) * in, count};
}

AMX_KERNEL static void run_part(const gradient_job *job, size_t part, size_t begin, size_t end)
{
    const plan *p = &job->p;
    const amx_shapes shapes = amx_whole_tiles();
    const size_t dy_values = p->height * p->width * (size_t)job->g->out, dx_values = 4 * p->height * p->width * (size_t)job->g->in;
    uint16_t *band = (uint16_t *)(job->scratch + part * p->band_bytes);
    _Alignas(64) float sums[2 * STRIP * GROUP];
    amx_configure(&shapes);
    for (size_t item = begin; item < end; item++) {
        const size_t image = item / p->bands, y = item % p->bands * p->rows;
        const size_t rows = p->height - y < p->rows ? p->height - y : p->rows;
        fill_band(job, job->dy + image * dy_values, y, band);
        for (size_t k = 0; k < rows * p->strips; k += 2) {
            const uint16_t *at[2];
            target to[2];
            for (size_t j = 0; j < 2; j++) to[j] = strip_of(job, band, job->dx + image * dx_values, y, k + j, &at[j]);
            multiply_strips(job, at, to, sums);
        }
    }
    amx_release();
}

static void run_parts(void *context, size_t begin, size_t end)
{
    const gradient_job *job = context;
    const size_t items = (size_t)job->g->n * job->p.bands, parts = (size_t)job->g->threads;
    for (size_t k = begin; k < end; k++) run_part(job, k, items * k / parts, items * (k + 1) / parts);
}

static void run_gradient(const dcam_tile_map_gradient *g, void *const memory[DCAM_NN_ARGUMENTS])
{
    gradient_job job = {g, cut(g), memory[DCAM_NN_DST], memory[DCAM_NN_WEIGHTS], memory[DCAM_NN_SRC],
                        memory[DCAM_NN_SCRATCHPAD]};
    dcam_parallel_for((size_t)g->threads, run_parts, &job);
}
#else
/* Never asked for: dcam_tile_map_gradient_fits is false. */
static void run_gradient(const dcam_tile_map_gradient *g, void *const memory[DCAM_NN_ARGUMENTS]) { (void)g, (void)memory; }
#endif

void dcam_tile_map_gradient_run(const dcam_tile_map_gradient *g, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (!g->weights_in) {
        run_gradient(g, memory);
        return;
    }
    weights_job job = {g, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]};
    dcam_parallel_for((size_t)g->out, pack_channels, &job);
}
