/* stem_pool.c - see stem_pool.h. Even and odd rows of the image are rows of phases: entry x of phase row j holds the
 * pixels of rows 2j, 2j + 1 and columns 2x, 2x + 1, twelve values or six words (a word: two neighbouring columns, bf16).
 * Output row y of the convolution reads phase rows y - 2 .. y + 1 and output column x the entries x - 2 .. x + 1; what of
 * that is outside of the 7x7 kernel has weights of zero. Phase rows j and j + 1 are kept side by side, twelve words an
 * entry, so that the four entries of an output lie in a row of 48 words, and those of the next output begin 12 words
 * further: the rows of a tile overlap in memory, and nothing is gathered but by the transposition of the planes.
 *
 * 32 outputs of 64 channels at a time are summed in tiles and pooled along the row at once; pooled rows are kept in
 * f32 until the third row of a window has come. Bias and ReLU come after the maximum, which they do not change. */
#include "nn/stem_pool.h"

#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/amx.h"
#include "nn/round.h"
#include "nn/transpose.h"

#define COLORS 3
#define SIDE 7
#define ENTRY 12              /* words of two phase rows */
#define TAPS 4                /* entries of an output */
#define BEFORE 2              /* entries before the output's own */
#define PAIRS 2               /* pairs of phase rows of an output */
#define TILES 6               /* PAIRS * TAPS * ENTRY / 16 */
#define DEPTH (TILES * 32)    /* values of an output */
#define BLOCK 32              /* outputs of a row */
#define CHANNELS 64
#define SLOTS 3               /* pairs that are kept: those of rows y - 2, y - 1 and y */

bool dcam_stem_pool_fits(const dcam_nn_convolution *c)
{
    return c->pool && c->kernel == SIDE && c->stride == 2 && c->padding == 3 && c->src.c == COLORS && c->bias && c->relu &&
           !c->sum && c->src.type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NCHW && c->dst_layout == DCAM_NN_NHWC &&
           (c->dst_type == DCAM_NN_BF16 || (c->dst_type == DCAM_NN_U8 && c->pool_scale > 0)) && c->src.h % 4 == 0 &&
           c->src.w % 32 == 0 && c->out_channels == CHANNELS;
}

/* ---- memory: in 32-bit words ---- */

static size_t entries(const dcam_stem_pool *s) { return (size_t)s->w / 2 + TAPS - 1 + BLOCK; }
/* A transposition writes whole vectors, which reach beyond the last entry. */
static size_t pair_words(const dcam_stem_pool *s) { return (entries(s) * ENTRY + 16 + 15) / 16 * 16; }
static size_t pooled_width(const dcam_stem_pool *s) { return (size_t)s->w / 4; }
static size_t part_words(const dcam_stem_pool *s)
{
    return SLOTS * pair_words(s) + (BLOCK + 1) * CHANNELS + pooled_width(s) * CHANNELS + (size_t)s->w;
}

size_t dcam_stem_pool_bytes(const dcam_stem_pool *s, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * SIDE * SIDE * COLORS * CHANNELS, own = sizeof(uint16_t) * DEPTH * CHANNELS;
    const size_t pixels = (size_t)s->n * (size_t)s->h * (size_t)s->w;
    if (s->weights_in) return which == DCAM_NN_SRC ? plain : which == DCAM_NN_DST ? own : 0;
    switch (which) {
    case DCAM_NN_SRC: return sizeof(float) * COLORS * pixels;
    case DCAM_NN_DST: return pixels / 16 * CHANNELS * (s->scale > 0 ? 1 : sizeof(uint16_t));
    case DCAM_NN_WEIGHTS: return own;
    case DCAM_NN_BIAS: return sizeof(float) * CHANNELS;
    case DCAM_NN_SCRATCHPAD: return sizeof(float) * (size_t)s->threads * part_words(s);
    default: return 0;
    }
}

/* Value k of an output's row: pair of phase rows, entry, row of the pair, row and color of the phase, column. */
static float weight_at(const float *channel, size_t k)
{
    const size_t column = k % 2, color = k / 2 % 3, row = k / 6 % 2, phase = k / 12 % 2, tap = k / 24 % TAPS,
                 pair = k / (24 * TAPS);
    const int y = (int)(2 * (2 * pair + phase) + row) - 1, x = (int)(2 * tap + column) - 1;
    return y < 0 || x < 0 ? 0 : channel[(color * SIDE + (size_t)y) * SIDE + (size_t)x];
}

/* To out/16 x 192 x 16. */
static void run_weights_in(const float *plain, float *to)
{
    for (size_t o = 0; o < CHANNELS; o++)
        for (size_t k = 0; k < DEPTH; k++)
            dcam_put_factor(to, true, o / PANEL * DEPTH + k, o % PANEL, weight_at(plain + o * COLORS * SIDE * SIDE, k));
}

#if defined(__x86_64__)
#include <immintrin.h>

typedef struct {
    const dcam_stem_pool *shape;
    const float *src, *bias, *weights;
    void *dst;
    float *scratch;
} stem_pool_job;

/* A thread's memory, and where it is. */
typedef struct {
    float *pairs[SLOTS];  /* entries x 12 words */
    float *sums;          /* the output before the block, then 32 of 64 channels */
    float *largest;       /* pooled width x 64: the largest so far of the present pooled row */
    float *zeros;         /* a line of the image */
} part_memory;

/* 16 entries: words[k] has word k of each. Each is written with four words more than it has; the next one follows. */
AMX_INLINE void store_entries(__m512i words[16], float *to)
{
    transpose_words(words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) _mm512_storeu_si512(to + k * ENTRY, words[k]);
}

/* Phase rows j and j + 1 of the image; outside of it all is zero. */
AMX_KERNEL static void fill_pair(const stem_pool_job *job, size_t image, int j, const float *zeros, float *pair)
{
    const dcam_stem_pool *s = job->shape;
    const size_t width = (size_t)s->w, plane = (size_t)s->h * width;
    const float *lines[ENTRY];
    for (int k = 0; k < ENTRY; k++) {
        const int row = 2 * j + k / COLORS;
        lines[k] = row < 0 || row >= s->h ? zeros : job->src + (image * COLORS + (size_t)k % COLORS) * plane + (size_t)row * width;
    }
    for (size_t x = 0; x < width; x += 32) {
        __m512i words[16];
#pragma GCC unroll 12
        for (int k = 0; k < ENTRY; k++)
            words[k] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(lines[k] + x + 16), _mm512_loadu_ps(lines[k] + x));
#pragma GCC unroll 4
        for (int k = ENTRY; k < 16; k++) words[k] = _mm512_setzero_si512();
        store_entries(words, pair + (BEFORE + x / 2) * ENTRY);
    }
    memset(pair + (BEFORE + width / 2) * ENTRY, 0, 16 * sizeof *pair);
}

/* 32 outputs of all channels, from column x on. */
AMX_KERNEL static void sum_block(const float *weights, const float *above, const float *below, float *sums)
{
    for (size_t c = 0; c < CHANNELS / PANEL; c += 2) {
        const float *u = weights + c * DEPTH * PANEL / 2, *v = u + DEPTH * PANEL / 2;
        amx_zero_four();
#pragma GCC unroll 6
        for (size_t k = 0; k < TILES; k++) {
            const float *from = (k < TILES / 2 ? above : below) + k % (TILES / 2) * 16;
            amx_multiply_four_bf16(from, from + 16 * ENTRY, ENTRY * sizeof(float), u + k * 16 * PANEL, v + k * 16 * PANEL,
                                   AMX_ROW_BYTES);
        }
        amx_store_four(sums + c * PANEL, PANEL, 16 * CHANNELS, CHANNELS * sizeof(float));
    }
}

/* Where a pooled row goes: first value of its first column, or nowhere yet. */
typedef struct { uint16_t *halves; uint8_t *bytes; float inverse; } pooled_row;

AMX_INLINE void finish(const pooled_row *to, size_t at, __m512 v, __m512 bias)
{
    v = _mm512_add_ps(v, bias);
    if (to->halves) {
        _mm256_storeu_si256((__m256i *)(to->halves + at), (__m256i)_mm512_cvtneps_pbh(_mm512_max_ps(_mm512_setzero_ps(), v)));
    } else { /* what is no number becomes 0 */
        v = _mm512_mul_ps(_mm512_max_ps(v, _mm512_setzero_ps()), _mm512_set1_ps(to->inverse));
        v = _mm512_min_ps(v, _mm512_set1_ps(255));
        _mm_storeu_si128((__m128i *)(to->bytes + at), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(v)));
    }
}

/* Pools `columns` outputs (sums has them behind the one before) along the row and into the rows so far. to: where the
 * pooled row is complete with this one; then the next begins with it. fresh: the first row of a window. */
AMX_KERNEL static void pool_block(const float *sums, size_t columns, bool fresh, const pooled_row *to, const float *bias,
                                  float *largest, size_t first)
{
    for (size_t c = 0; c < CHANNELS; c += 16) {
        const __m512 b = _mm512_loadu_ps(bias + c);
        __m512 before = _mm512_loadu_ps(sums + c);
        for (size_t x = 0; x < columns / 2; x++) {
            const float *at = sums + (1 + 2 * x) * CHANNELS + c;
            float *kept = largest + (first + x) * CHANNELS + c;
            const __m512 after = _mm512_loadu_ps(at + CHANNELS);
            const __m512 here = _mm512_max_ps(_mm512_max_ps(before, _mm512_loadu_ps(at)), after);
            const __m512 all = fresh ? here : _mm512_max_ps(_mm512_loadu_ps(kept), here);
            if (to) finish(to, (first + x) * CHANNELS + c, all, b);
            _mm512_storeu_ps(kept, to ? here : all);
            before = after;
        }
    }
}

/* Row y of the convolution. */
AMX_KERNEL static void run_row(const stem_pool_job *job, const part_memory *m, int y, bool fresh, const pooled_row *to)
{
    const dcam_stem_pool *s = job->shape;
    const size_t width = (size_t)s->w / 2;
    const float *above = m->pairs[(y + 1) % SLOTS], *below = m->pairs[y % SLOTS]; /* y - 2 + SLOTS */
    float *const block = m->sums + CHANNELS;
    for (size_t c = 0; c < CHANNELS; c++) m->sums[c] = -INFINITY;
    for (size_t x = 0; x < width; x += BLOCK) {
        const size_t columns = width - x < BLOCK ? width - x : BLOCK;
        sum_block(job->weights, above + x * ENTRY, below + x * ENTRY, block);
        pool_block(m->sums, columns, fresh, to, job->bias, m->largest, x / 2);
        memcpy(m->sums, block + (columns - 1) * CHANNELS, CHANNELS * sizeof(float));
    }
}

/* Pooled rows begin .. end - 1 of one image: of the convolution 2 begin - 1 .. 2 end - 1. */
AMX_KERNEL static void run_rows(const stem_pool_job *job, const part_memory *m, size_t image, int begin, int end)
{
    const dcam_stem_pool *s = job->shape;
    const size_t line = pooled_width(s) * CHANNELS;
    const int first = begin > 0 ? 2 * begin - 1 : 0;
    fill_pair(job, image, first - 2, m->zeros, m->pairs[(first + 1) % SLOTS]);
    fill_pair(job, image, first - 1, m->zeros, m->pairs[(first + 2) % SLOTS]);
    for (int y = first; y < 2 * end; y++) {
        fill_pair(job, image, y, m->zeros, m->pairs[y % SLOTS]);
        pooled_row to = {.inverse = s->scale > 0 ? 1 / s->scale : 0};
        const size_t at = (image * (size_t)s->h / 4 + (size_t)y / 2) * line;
        if (s->scale > 0) to.bytes = (uint8_t *)job->dst + at;
        else to.halves = (uint16_t *)job->dst + at;
        run_row(job, m, y, y == first, y % 2 && y > 2 * begin - 1 ? &to : NULL);
    }
}

AMX_KERNEL static void run_part(const stem_pool_job *job, size_t part)
{
    const dcam_stem_pool *s = job->shape;
    const size_t height = (size_t)s->h / 4, rows = (size_t)s->n * height, parts = (size_t)s->threads;
    const size_t last = rows * (part + 1) / parts;
    float *memory = job->scratch + part * part_words(s);
    const amx_shapes shapes = amx_whole_tiles();
    part_memory m;
    memset(memory, 0, part_words(s) * sizeof *memory); /* what is never written is read with weights of 0, or pooled by nobody */
    for (int k = 0; k < SLOTS; k++, memory += pair_words(s)) m.pairs[k] = memory;
    m.sums = memory;
    m.largest = m.sums + (BLOCK + 1) * CHANNELS;
    m.zeros = m.largest + pooled_width(s) * CHANNELS;
    amx_configure(&shapes);
    for (size_t row = rows * part / parts; row < last;) {
        const size_t image = row / height, begin = row % height;
        const size_t end = height - begin < last - row ? height : begin + last - row;
        run_rows(job, &m, image, (int)begin, (int)end);
        row += end - begin;
    }
    amx_release();
}

static void run_parts(void *context, size_t begin, size_t end)
{
    for (size_t part = begin; part < end; part++) run_part(context, part);
}

void dcam_stem_pool_run(const dcam_stem_pool *s, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (s->weights_in) {
        run_weights_in(memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    stem_pool_job job = {s, memory[DCAM_NN_SRC], memory[DCAM_NN_BIAS], memory[DCAM_NN_WEIGHTS], memory[DCAM_NN_DST],
                         memory[DCAM_NN_SCRATCHPAD]};
    dcam_parallel_for((size_t)s->threads, run_parts, &job);
}
#else
/* Nobody has tiles there: only the weights' reorder can be asked for, and is not. */
void dcam_stem_pool_run(const dcam_stem_pool *s, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (s->weights_in) run_weights_in(memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
}
#endif
