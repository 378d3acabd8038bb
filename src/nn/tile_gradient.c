/* tile_gradient.c - see tile_gradient.h.
 *
 * A block is some rows of the result of one image, or several small images: its segments. For each block both factors are
 * packed, then each pair of 16 output channels meets each pair of columns, which are 16 values of the input that one row
 * of taps reads:
 *   a: dy turned round, [16 output channels][segment][32 positions][16 channels x 32 positions]
 *   b: pairs of positions side by side, [plane][16 channels][segment][row][pair of positions][16 channels x 2]
 * A plane is what one column of the kernel reads, shifted so that pairs are pairs of output positions; with stride 2 the
 * odd rows and the even ones are planes of their own. So the taps of a column of the kernel read the same plane, from one
 * row on or the next. The stem has one plane, whose rows are pairs of input rows and whose 48 channels are 8 columns of
 * 3 colors of two rows; an eighth row and column are left out in the end. */
#include "nn/tile_gradient.h"

#include <assert.h>
#include <string.h>

#include "base/amx.h"
#include "base/parallel.h"
#include "nn/transpose.h"

/* Positions of a block: a pair of a's stays in the first cache, all in the second. */
#define BLOCK_POSITIONS 512
#define CHUNK 32   /* positions of a tile */
#define WORD 64    /* bytes of 16 channels of a pair of positions */
#define CHANNELS 16
#define GROUP 32   /* channels that are packed together */
#define STEM_KERNEL 7
#define STEM_PADDING 3
#define STEM_COLORS 3
#define STEM_HALF 24 /* values of 8 columns of one row */

typedef struct {
    size_t height, width, positions; /* of the result of an image */
    size_t rows, strips;             /* rows of a segment; segments of an image */
    size_t segments, blocks;         /* segments of a block; blocks of all images */
    size_t chunks;                   /* of a segment */
    size_t planes, slots, channels;  /* channels: of a plane; slots: its rows for a segment */
    size_t taps_y, columns;          /* taps_y: rows of taps of a plane column; columns: tiles of b's side */
    size_t segment_bytes, a_bytes, b_bytes, line_bytes;
} plan;

static size_t half(int size) { return ((size_t)size + 1) / 2; }

static size_t up(size_t n, size_t unit)
{
    assert(unit > 0); /* maps have pixels, and a block's first segment is an image's */
    return (n + unit - 1) / unit;
}

static bool is_stem(const dcam_tile_gradient *g) { return g->kernel == STEM_KERNEL; }

bool dcam_tile_gradient_fits(const dcam_nn_convolution *c)
{
    const dcam_nn_tensor *s = &c->src;
    const bool stem = c->kernel == STEM_KERNEL && c->stride == 2 && s->c == STEM_COLORS;
    const bool other = (c->kernel == 3 || c->kernel == 1) && (c->stride == 1 || c->stride == 2) && s->c % GROUP == 0;
    return dcam_nn_isa_here() >= DCAM_NN_ISA_AMX && (stem || other) && c->padding == c->kernel / 2 &&
           s->type == DCAM_NN_BF16 && c->dst_type == DCAM_NN_BF16 && s->layout == DCAM_NN_NHWC &&
           c->dst_layout == DCAM_NN_NHWC && c->out_channels % GROUP == 0 && dcam_nn_convolution_dst(c).w % 2 == 0;
}

static plan cut(const dcam_tile_gradient *g)
{
    const size_t kernel = (size_t)g->kernel, stride = (size_t)g->stride;
    plan p = {.height = stride == 2 ? half(g->h) : (size_t)g->h, .width = stride == 2 ? half(g->w) : (size_t)g->w};
    p.positions = p.height * p.width;
    p.rows = BLOCK_POSITIONS / p.width;
    if (is_stem(g)) p.rows *= 2; /* three rows more are packed than used */
    if (p.rows < 1) p.rows = 1;
    if (p.rows > p.height) p.rows = p.height;
    p.strips = up(p.height, p.rows);
    p.segments = p.strips > 1 ? 1 : BLOCK_POSITIONS / p.positions;
    if (p.segments < 1) p.segments = 1;
    if (p.segments > (size_t)g->n) p.segments = (size_t)g->n;
    p.blocks = p.strips > 1 ? (size_t)g->n * p.strips : up((size_t)g->n, p.segments);
    p.chunks = up(p.rows * p.width, CHUNK);
    if (is_stem(g)) {
        p.planes = 1;
        p.taps_y = (kernel + 1) / 2;
        p.channels = 2 * STEM_HALF;
    } else {
        p.planes = kernel * (kernel > 1 ? stride : 1);
        p.taps_y = kernel;
        p.channels = (size_t)g->in;
    }
    p.slots = p.rows + p.taps_y - 1;
    p.columns = p.channels / CHANNELS * p.taps_y * (is_stem(g) ? 1 : kernel);
    /* The last chunk may read behind the last row. */
    p.segment_bytes = (p.slots * p.width / 2 + CHUNK / 2) * WORD;
    p.a_bytes = (size_t)g->out / CHANNELS * p.segments * p.chunks * AMX_BYTES;
    p.b_bytes = p.planes * (p.channels / CHANNELS) * p.segments * p.segment_bytes;
    p.line_bytes = is_stem(g) ? up(2 * sizeof(uint16_t) * STEM_COLORS * ((size_t)g->w + 16), WORD) * WORD : 0;
    return p;
}

static size_t part_values(const plan *p, const dcam_tile_gradient *g)
{
    return p->columns * CHANNELS * (size_t)g->out;
}

/* Threads that have blocks. */
static size_t part_count(const plan *p, const dcam_tile_gradient *g)
{
    return p->blocks < (size_t)g->threads ? p->blocks : (size_t)g->threads;
}

size_t dcam_tile_gradient_bytes(const dcam_tile_gradient *g, dcam_nn_argument which)
{
    const plan p = cut(g);
    const size_t parts = part_count(&p, g), sums = parts * part_values(&p, g) * sizeof(float);
    const size_t plain = (size_t)(g->out * g->in) * (size_t)(g->kernel * g->kernel) * sizeof(float);
    const size_t images = sizeof(uint16_t) * (size_t)g->n;
    if (g->weights_out) return which == DCAM_NN_SRC ? sums : which == DCAM_NN_DST ? plain : 0;
    switch (which) {
    case DCAM_NN_SRC: return images * (size_t)g->h * (size_t)g->w * (size_t)g->in;
    case DCAM_NN_DST: return images * p.positions * (size_t)g->out;
    case DCAM_NN_WEIGHTS: return sums;
    case DCAM_NN_SCRATCHPAD: return parts * (p.a_bytes + p.b_bytes + p.line_bytes);
    default: return 0;
    }
}

/* ---- to plain OIHW ------------------------------------------------------ */

/* Groups of 32 channels are packed as two of 16, as unpacking words within 16 bytes leaves them. */
static size_t packed_place(size_t channel)
{
    const size_t in_group = channel % GROUP;
    return channel / GROUP * GROUP + in_group / 4 % 2 * CHANNELS + in_group / 8 * 4 + in_group % 4;
}

static size_t channel_at(size_t packed)
{
    const size_t in_group = packed % GROUP, within = in_group % CHANNELS;
    return packed / GROUP * GROUP + within / 4 * 8 + in_group / CHANNELS * 4 + within % 4;
}

typedef struct {
    const dcam_tile_gradient *g;
    plan p;
    const float *parts;
    float *plain;
} out_job;

/* Sums of the parts: 16 values of a column. */
static void sum_row(const out_job *job, size_t row, size_t column, float to[CHANNELS])
{
    const size_t part = part_values(&job->p, job->g), parts = part_count(&job->p, job->g);
    const float *from = job->parts + ((row / CHANNELS * job->p.columns + column) * CHANNELS + row % CHANNELS) * CHANNELS;
    memcpy(to, from, CHANNELS * sizeof *to);
    for (size_t k = 1; k < parts; k++)
        for (size_t j = 0; j < CHANNELS; j++) to[j] += from[k * part + j];
}

static void stem_out(const out_job *job, size_t row, float *to)
{
    float values[2 * STEM_HALF];
    for (size_t ky = 0; ky < STEM_KERNEL; ky++) {
        for (size_t k = 0; k < 2 * STEM_HALF / CHANNELS; k++)
            sum_row(job, row, k * job->p.taps_y + ky / 2, values + k * CHANNELS);
        for (size_t kx = 0; kx < STEM_KERNEL; kx++)
            for (size_t i = 0; i < STEM_COLORS; i++)
                to[(i * STEM_KERNEL + ky) * STEM_KERNEL + kx] = values[ky % 2 * STEM_HALF + kx * STEM_COLORS + i];
    }
}

static void out_body(void *context, size_t begin, size_t end)
{
    const out_job *job = context;
    const size_t in = (size_t)job->g->in, kernel = (size_t)job->g->kernel, taps = kernel * kernel;
    for (size_t o = begin; o < end; o++) {
        const size_t row = packed_place(o);
        float *to = job->plain + o * in * taps;
        if (is_stem(job->g)) {
            stem_out(job, row, to);
            continue;
        }
        for (size_t c = 0; c < in; c += CHANNELS)
            for (size_t kx = 0; kx < kernel; kx++)
                for (size_t ky = 0; ky < kernel; ky++) {
                    float values[CHANNELS];
                    sum_row(job, row, (c / CHANNELS * kernel + kx) * kernel + ky, values);
                    for (size_t k = 0; k < CHANNELS; k++) to[channel_at(c + k) * taps + ky * kernel + kx] = values[k];
                }
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* ---- packing ------------------------------------------------------------ */

typedef struct {
    const dcam_tile_gradient *g;
    plan p;
    const uint16_t *src, *d_dst;
    float *sums;
    char *scratch;
} gradient_job;

/* Positions of a segment; those behind it are zeros. */
AMX_KERNEL static void pack_a(const plan *p, size_t out, const uint16_t *dy, size_t positions, size_t segment, char *a)
{
    const size_t step = p->segments * p->chunks * AMX_BYTES; /* from 16 channels to the next */
    for (size_t chunk = 0; chunk < p->chunks; chunk++)
        for (size_t o = 0; o < out; o += GROUP) {
            char *to = a + o / CHANNELS * step + (segment * p->chunks + chunk) * AMX_BYTES;
            __m512i low[16], high[16];
            for (size_t k = 0; k < 16; k++) {
                const size_t at = chunk * CHUNK + 2 * k;
                const __m512i x = at < positions ? _mm512_loadu_si512(dy + at * out + o) : _mm512_setzero_si512();
                const __m512i y = at + 1 < positions ? _mm512_loadu_si512(dy + (at + 1) * out + o) : _mm512_setzero_si512();
                low[k] = _mm512_unpacklo_epi16(x, y);
                high[k] = _mm512_unpackhi_epi16(x, y);
            }
            transpose_words(low);
            for (size_t k = 0; k < 16; k++) _mm512_store_si512(to + k * AMX_ROW_BYTES, low[k]);
            transpose_words(high);
            for (size_t k = 0; k < 16; k++) _mm512_store_si512(to + step + k * AMX_ROW_BYTES, high[k]);
        }
}

/* One row of a plane: positions first, first + stride, ... of a row of the input, which lie within it or are zeros. step:
 * bytes from 16 channels to the next. row NULL: zeros. */
AMX_KERNEL static void pack_row(const uint16_t *row, size_t width, size_t channels, ptrdiff_t first, size_t stride,
                                size_t count, size_t step, char *to)
{
    for (size_t pair = 0; pair < count / 2; pair++) {
        /* Unsigned: what is left of the row lies outside too. */
        const size_t at = (size_t)(first + (ptrdiff_t)(2 * pair * stride)), next = at + stride;
        for (size_t c = 0; c < channels; c += GROUP) {
            const __m512i x = row && at < width ? _mm512_loadu_si512(row + at * channels + c) : _mm512_setzero_si512();
            const __m512i y = row && next < width ? _mm512_loadu_si512(row + next * channels + c) : _mm512_setzero_si512();
            char *here = to + c / CHANNELS * step + pair * WORD;
            _mm512_store_si512(here, _mm512_unpacklo_epi16(x, y));
            _mm512_store_si512(here + step, _mm512_unpackhi_epi16(x, y));
        }
    }
}

/* The rows of all planes for the output rows from y on. */
static void pack_b(const gradient_job *job, const uint16_t *image, size_t y, size_t segment, char *b)
{
    const plan *p = &job->p;
    const dcam_tile_gradient *g = job->g;
    const size_t in = (size_t)g->in, width = (size_t)g->w, height = (size_t)g->h, stride = (size_t)g->stride;
    const size_t kernel = (size_t)g->kernel, step = p->segments * p->segment_bytes, before = kernel / 2;
    for (size_t plane = 0; plane < p->planes; plane++) {
        const size_t kx = plane % kernel, odd = plane / kernel; /* odd: rows, with stride 2 */
        const size_t slots = stride == 1 ? p->slots : p->rows + odd;
        char *to = b + plane * (in / CHANNELS) * step + segment * p->segment_bytes;
        for (size_t slot = 0; slot < slots; slot++) {
            const size_t from = stride == 1 ? y + slot - before : 2 * (y + slot) - odd;
            pack_row(from < height ? image + from * width * in : NULL, width, in, (ptrdiff_t)kx - (ptrdiff_t)before,
                     stride, p->width, step, to + slot * p->width / 2 * WORD);
        }
    }
}

AMX_INLINE __m512i side_by_side(__m256i x, __m256i y)
{
    return _mm512_or_si512(_mm512_cvtepu16_epi32(x), _mm512_slli_epi32(_mm512_cvtepu16_epi32(y), 16));
}

AMX_INLINE __m256i two(const uint16_t *low, const uint16_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* lines: two padded rows of the input, from column -3 on. */
AMX_KERNEL static void pack_stem_row(const uint16_t *const lines[2], size_t count, size_t step, char *to)
{
    for (size_t pair = 0; pair < count / 2; pair++) {
        const uint16_t *x = lines[0] + pair * 4 * STEM_COLORS, *y = lines[1] + pair * 4 * STEM_COLORS;
        const size_t next = 2 * STEM_COLORS;
        char *here = to + pair * WORD;
        _mm512_store_si512(here, side_by_side(_mm256_loadu_si256((const __m256i *)x),
                                              _mm256_loadu_si256((const __m256i *)(x + next))));
        _mm512_store_si512(here + step, side_by_side(two(x + 16, y), two(x + next + 16, y + next)));
        _mm512_store_si512(here + 2 * step, side_by_side(_mm256_loadu_si256((const __m256i *)(y + 8)),
                                                         _mm256_loadu_si256((const __m256i *)(y + next + 8))));
    }
}

static void pack_stem(const gradient_job *job, const uint16_t *image, size_t y, size_t segment, char *b, uint16_t *lines)
{
    const plan *p = &job->p;
    const size_t height = (size_t)job->g->h, values = (size_t)job->g->w * STEM_COLORS, step = p->segments * p->segment_bytes;
    const size_t line = p->line_bytes / (2 * sizeof *lines), left = STEM_PADDING * STEM_COLORS;
    const uint16_t *const both[2] = {lines, lines + line};
    for (size_t slot = 0; slot < p->slots; slot++) {
        for (size_t k = 0; k < 2; k++) {
            const size_t from = 2 * (y + slot) + k - STEM_PADDING;
            uint16_t *to = lines + k * line;
            memset(to, 0, line * sizeof *to);
            if (from < height) memcpy(to + left, image + from * values, values * sizeof *to);
        }
        pack_stem_row(both, p->width, step, b + segment * p->segment_bytes + slot * p->width / 2 * WORD);
    }
}

/* ---- products ----------------------------------------------------------- */

/* Where the values of a column begin in b. */
static size_t column_offset(const plan *p, const dcam_tile_gradient *g, size_t column)
{
    const size_t step = p->segments * p->segment_bytes, ky = column % p->taps_y, row = p->width / 2 * WORD;
    if (is_stem(g)) return column / p->taps_y * step + ky * row;
    const size_t kernel = (size_t)g->kernel, kx = column / p->taps_y % kernel, channels = column / p->taps_y / kernel;
    size_t plane = kx, slot = ky;
    if (g->stride == 2 && kernel > 1) {
        plane += ky % 2 == 0 ? kernel : 0; /* rows 2 y - 1 and 2 y + 1 are odd ones */
        slot = ky / 2;
    }
    return (plane * (p->channels / CHANNELS) + channels) * step + slot * row;
}

/* What the next block reads, asked for while this one is multiplied: some lines a chunk. */
typedef struct {
    const char *at[2], *end[2]; /* of the input and of dy */
    size_t lines;
} ahead;

AMX_INLINE void look_ahead(ahead *next)
{
    for (size_t k = 0; k < 2; k++)
        for (size_t line = 0; line < next->lines && next->at[k] < next->end[k]; line++, next->at[k] += WORD)
            _mm_prefetch(next->at[k], _MM_HINT_T1);
}

/* Two times 16 output channels and two columns: adds to their four tiles (first: sets them). */
AMX_INLINE void multiply_pair(const plan *p, const char *a, const char *b0, const char *b1, size_t segments, bool first,
                              float *to, size_t row_step, ahead *next)
{
    const size_t tile = CHANNELS * CHANNELS, a_step = p->segments * p->chunks * AMX_BYTES;
    if (first) amx_zero_four();
    else amx_load_four(to, tile, row_step, AMX_ROW_BYTES);
    for (size_t s = 0; s < segments; s++)
        for (size_t k = 0; k < p->chunks; k++) {
            const char *at = a + (s * p->chunks + k) * AMX_BYTES;
            const size_t offset = s * p->segment_bytes + k * AMX_BYTES;
            look_ahead(next);
            amx_multiply_four_bf16(at, at + a_step, AMX_ROW_BYTES, b0 + offset, b1 + offset, WORD);
        }
    amx_store_four(to, tile, row_step, AMX_ROW_BYTES);
}

AMX_KERNEL static void multiply_block(const gradient_job *job, const char *a, const char *b, size_t segments, bool first,
                                      float *sums, ahead next)
{
    const plan *p = &job->p;
    const amx_shapes shapes = amx_whole_tiles();
    const size_t out = (size_t)job->g->out / CHANNELS, row_step = p->columns * CHANNELS * CHANNELS;
    const size_t a_step = p->segments * p->chunks * AMX_BYTES;
    const size_t chunks = out / 2 * (p->columns / 2) * segments * p->chunks;
    for (size_t k = 0; k < 2; k++) {
        const size_t lines = up(up((size_t)(next.end[k] - next.at[k]), WORD), chunks);
        if (lines > next.lines) next.lines = lines;
    }
    amx_configure(&shapes);
    for (size_t o = 0; o < out; o += 2)
        for (size_t column = 0; column < p->columns; column += 2)
            multiply_pair(p, a + o * a_step, b + column_offset(p, job->g, column), b + column_offset(p, job->g, column + 1),
                          segments, first, sums + (o * p->columns + column) * CHANNELS * CHANNELS, row_step, &next);
    amx_release();
}

/* Image and first row of a segment of a block. */
static size_t segment_place(const plan *p, size_t block, size_t segment, size_t *y)
{
    *y = p->strips > 1 ? block % p->strips * p->rows : 0;
    return p->strips > 1 ? block / p->strips : block * p->segments + segment;
}

static ahead next_block(const gradient_job *job, size_t block)
{
    const plan *p = &job->p;
    const dcam_tile_gradient *g = job->g;
    const size_t line = (size_t)g->w * (size_t)g->in, image_values = (size_t)g->h * line, out = (size_t)g->out;
    size_t y, image = segment_place(p, block, 0, &y);
    const size_t images = (size_t)g->n - image < p->segments ? (size_t)g->n - image : p->segments;
    const size_t rows = p->height - y < p->rows ? p->height - y : p->rows, stride = (size_t)g->stride;
    const size_t src_rows = (y + rows) * stride < (size_t)g->h ? rows * stride : (size_t)g->h - y * stride;
    const uint16_t *src = job->src + image * image_values + y * stride * line;
    const uint16_t *dst = job->d_dst + (image * p->positions + y * p->width) * out;
    return (ahead){.at = {(const char *)src, (const char *)dst},
                   .end = {(const char *)(src + ((images - 1) * image_values + src_rows * line)),
                           (const char *)(dst + ((images - 1) * p->positions + rows * p->width) * out)}};
}

static void gradient_part(const gradient_job *job, size_t part, size_t begin, size_t end)
{
    const plan *p = &job->p;
    const dcam_tile_gradient *g = job->g;
    char *a = job->scratch + part * (p->a_bytes + p->b_bytes + p->line_bytes), *b = a + p->a_bytes;
    float *sums = job->sums + part * part_values(p, g);
    const size_t image_values = (size_t)g->h * (size_t)g->w * (size_t)g->in, out = (size_t)g->out;
    memset(b, 0, p->b_bytes); /* what lies behind the segments is multiplied with zeros */
    for (size_t block = begin; block < end; block++) {
        size_t segment = 0;
        for (; segment < p->segments; segment++) {
            size_t y;
            const size_t image = segment_place(p, block, segment, &y);
            const size_t rows = p->height - y < p->rows ? p->height - y : p->rows;
            if (image >= (size_t)g->n) break;
            pack_a(p, out, job->d_dst + (image * p->positions + y * p->width) * out, rows * p->width, segment, a);
            if (is_stem(g)) pack_stem(job, job->src + image * image_values, y, segment, b, (uint16_t *)(b + p->b_bytes));
            else pack_b(job, job->src + image * image_values, y, segment, b);
        }
        multiply_block(job, a, b, segment, block == begin, sums, block + 1 < end ? next_block(job, block + 1) : (ahead){0});
    }
}

typedef struct { const gradient_job *job; size_t parts; } gradient_run;

static void gradient_body(void *context, size_t begin, size_t end)
{
    const gradient_run *run = context;
    const size_t blocks = run->job->p.blocks;
    for (size_t k = begin; k < end; k++) gradient_part(run->job, k, blocks * k / run->parts, blocks * (k + 1) / run->parts);
}

static void run_gradient(const dcam_tile_gradient *g, void *const memory[DCAM_NN_ARGUMENTS])
{
    const gradient_job job = {g, cut(g), memory[DCAM_NN_SRC], memory[DCAM_NN_DST], memory[DCAM_NN_WEIGHTS],
                              memory[DCAM_NN_SCRATCHPAD]};
    gradient_run run = {&job, part_count(&job.p, g)};
    dcam_parallel_for(run.parts, gradient_body, &run);
}
#else
/* Never asked for: dcam_tile_gradient_fits is false. */
static void run_gradient(const dcam_tile_gradient *g, void *const memory[DCAM_NN_ARGUMENTS]) { (void)g, (void)memory; }
#endif

void dcam_tile_gradient_run(const dcam_tile_gradient *g, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (!g->weights_out) {
        run_gradient(g, memory);
        return;
    }
    out_job job = {g, cut(g), memory[DCAM_NN_SRC], memory[DCAM_NN_DST]};
    dcam_parallel_for((size_t)g->out, out_body, &job);
}
