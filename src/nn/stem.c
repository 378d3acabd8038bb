/* stem.c - see stem.h. Even and odd rows and columns of the input make four images of half the size (phases); on them
 * the 7x7 kernel of stride 2 is a 4x4 kernel of stride 1, whose first row or column is zero where the phase is even.
 * Four phases of three channels are twelve channels, and the convolution is Winograd's F(3x3, 4x4): with the points of
 * winograd_tile.h, 36 products for nine outputs of each channel where 441 / 3 were. */
#include "nn/stem.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/winograd.h"
#include "nn/winograd_tile.h"

#define KERNEL 7
#define COLORS 3
#define TAPS 4        /* of a phase, along one side */
#define OUTPUTS 3     /* of a tile, along one side: OUTPUTS + TAPS - 1 = SPAN */
#define DEPTH 12      /* channels of the phases: (row phase * 2 + column phase) * 3 + color */
#define WIDTH 16      /* and with zeros to whole vectors */
#define BEFORE 2      /* phase rows and columns that a tile reads before its first output */
#define BLOCK 24      /* tiles; V and M of a block stay in a core's cache */

bool dcam_stem_fits(const dcam_nn_convolution *c)
{
    return c->kernel == KERNEL && c->stride == 2 && c->padding == 3 && c->src.c == COLORS && !c->sum &&
           c->src.type == DCAM_NN_F32 && c->dst_type == DCAM_NN_F32 && c->src.layout == DCAM_NN_NHWC &&
           c->dst_layout == DCAM_NN_NHWC && c->src.h % 2 == 0 && c->src.w % 2 == 0 && c->out_channels % PANEL == 0 &&
           winograd_processor_fits();
}

/* ---- how the work is cut: by rows of tiles ---- */

typedef struct {
    const dcam_stem *s;
    size_t out, height, width;         /* of the output, which is a phase's size too */
    size_t tiles_y, tiles_x, columns;  /* columns: of a band of phase rows, with what lies outside */
    size_t m_stride, part_scratch;     /* floats */
    const float *src, *u, *bias;
    float *dst, *scratch;
} stem_job;

static stem_job job_of(const dcam_stem *s)
{
    stem_job job = {.s = s, .out = (size_t)s->out, .height = (size_t)s->h / 2, .width = (size_t)s->w / 2};
    job.tiles_y = (job.height + OUTPUTS - 1) / OUTPUTS;
    job.tiles_x = (job.width + OUTPUTS - 1) / OUTPUTS;
    job.columns = job.tiles_x * OUTPUTS + TAPS - 1;
    job.m_stride = BLOCK * job.out + PLACE_PADDING;
    job.part_scratch = SPAN * job.columns * WIDTH + PLACES * (BLOCK * WIDTH + PLACE_PADDING + job.m_stride);
    return job;
}

size_t dcam_stem_bytes(const dcam_stem *s, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * KERNEL * KERNEL * COLORS * (size_t)s->out;
    const size_t transformed = sizeof(float) * PLACES * DEPTH * (size_t)s->out;
    const size_t pixels = sizeof(float) * (size_t)s->n * (size_t)s->h * (size_t)s->w;
    if (s->weights_in) return which == DCAM_NN_SRC ? plain : which == DCAM_NN_DST ? transformed : 0;
    switch (which) {
    case DCAM_NN_SRC: return pixels * COLORS;
    case DCAM_NN_DST: return pixels / 4 * (size_t)s->out;
    case DCAM_NN_WEIGHTS: return transformed;
    case DCAM_NN_BIAS: return s->bias ? sizeof(float) * (size_t)s->out : 0;
    case DCAM_NN_SCRATCHPAD: return sizeof(float) * (size_t)s->threads * job_of(s).part_scratch;
    default: return 0;
    }
}

/* ---- weights ---- */

/* G g: 4 to 6. Row of a point p: (1, p, p^2, p^3) over the product of its differences from the other points. */
DCAM_INLINE void transform_taps(const double g[TAPS], double u[SPAN])
{
    const double a = (double)POINT_A, b = (double)POINT_B;
    const double even_a = (g[0] + 0.5 * g[2]) / -1.5, odd_a = a * (g[1] + 0.5 * g[3]) / -1.5;
    const double even_b = (g[0] + 2 * g[2]) / 6, odd_b = b * (g[1] + 2 * g[3]) / 6;
    u[0] = g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[3];
}

/* Tap k of a phase reads row 2 (y + k - 2) + phase, which is row 2 y - 3 + this of the kernel; -1: there is none. */
static int kernel_row(int tap, int phase) { return 2 * tap - 1 + phase; }

/* plain: one channel's 7x7; u: one value a place, `step` apart. */
static void transform_kernel(const float *plain, int row_phase, int column_phase, float *u, size_t step)
{
    double half[TAPS][SPAN], column[TAPS], out[SPAN];
    for (int y = 0; y < TAPS; y++) {
        double row[TAPS];
        for (int x = 0; x < TAPS; x++) {
            const int ky = kernel_row(y, row_phase), kx = kernel_row(x, column_phase);
            row[x] = ky < 0 || kx < 0 ? 0 : (double)plain[ky * KERNEL + kx];
        }
        transform_taps(row, half[y]);
    }
    for (size_t x = 0; x < SPAN; x++) {
        for (int y = 0; y < TAPS; y++) column[y] = half[y][x];
        transform_taps(column, out);
        for (size_t y = 0; y < SPAN; y++) u[(y * SPAN + x) * step] = (float)out[y];
    }
}

/* To place x out/16 x 12 x 16. */
static void run_weights_in(const dcam_stem *s, const float *plain, float *u)
{
    const size_t out = (size_t)s->out;
    for (size_t o = 0; o < out; o++)
        for (size_t k = 0; k < DEPTH; k++)
            transform_kernel(plain + (o * COLORS + k % COLORS) * KERNEL * KERNEL, (int)(k / COLORS / 2),
                             (int)(k / COLORS % 2), u + (o / PANEL * DEPTH + k) * PANEL + o % PANEL, out * DEPTH);
}

/* ---- one row of tiles ---- */

/* Phase rows first .. first + 5, with what lies outside as zeros: row x columns x 16. */
static void fill_band(const stem_job *job, size_t image, size_t first, float *band)
{
    const size_t line = (size_t)job->s->w * COLORS;
    memset(band, 0, SPAN * job->columns * WIDTH * sizeof *band);
    for (size_t i = 0; i < SPAN; i++) {
        const size_t row = first + i - BEFORE; /* unsigned: before the first lies outside too */
        if (row >= job->height) continue;
        const float *even = job->src + (image * (size_t)job->s->h + 2 * row) * line, *odd = even + line;
        float *to = band + (i * job->columns + BEFORE) * WIDTH;
        for (size_t x = 0; x < job->width; x++) {
            memcpy(to + x * WIDTH, even + x * 2 * COLORS, 2 * COLORS * sizeof *to);
            memcpy(to + x * WIDTH + 2 * COLORS, odd + x * 2 * COLORS, 2 * COLORS * sizeof *to);
        }
    }
}

/* V of the tile whose first column is band's. */
DCAM_INLINE void transform_band_tile(const float *band, size_t columns, float *v, size_t stride)
{
    for (size_t c = 0; c < WIDTH; c += DCAM_LANES) {
        dcam_f32x8 d[SPAN], part[SPAN][SPAN];
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) dcam_load8(&d[i], band + (i * columns + j) * WIDTH + c, DCAM_LANES);
            transform_input(d);
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) part[i][j] = d[i];
        }
        for (size_t i = 0; i < SPAN; i++) {
            transform_input(part[i]);
#pragma GCC unroll 6
            for (size_t j = 0; j < SPAN; j++)
                dcam_store8(v + (i * SPAN + j) * stride + c, &part[i][j], DCAM_LANES);
        }
    }
}

/* A' m: 6 to 3. */
DCAM_INLINE void transform_three(const dcam_f32x8 m[SPAN], dcam_f32x8 y[OUTPUTS])
{
    const dcam_f32x8 even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = POINT_A * odd_a + POINT_B * odd_b;
    y[2] = 0.5f * even_a + 2.0f * even_b + m[5];
}

/* Nine outputs, fewer at the edges, of all channels. */
DCAM_INLINE void finish_outputs(const stem_job *job, const float *m, size_t rows, size_t columns, bool relu, float *to)
{
    for (size_t c = 0; c < job->out; c += DCAM_LANES) {
        dcam_f32x8 d[SPAN], y[OUTPUTS], part[OUTPUTS][SPAN], bias = {0};
        if (job->bias) dcam_load8(&bias, job->bias + c, DCAM_LANES);
        for (size_t j = 0; j < SPAN; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < SPAN; i++) dcam_load8(&d[i], m + (i * SPAN + j) * job->m_stride + c, DCAM_LANES);
            transform_three(d, y);
#pragma GCC unroll 3
            for (size_t i = 0; i < OUTPUTS; i++) part[i][j] = y[i];
        }
#pragma GCC unroll 3
        for (size_t i = 0; i < rows; i++) {
            transform_three(part[i], y);
#pragma GCC unroll 3
            for (size_t j = 0; j < OUTPUTS; j++)
                if (j < columns)
                    finish_values(&bias, false, relu, to + (i * job->width + j) * job->out + c, &y[j]);
        }
    }
}

/* Most tiles are whole: for them all is known when this is compiled. */
DCAM_INLINE void finish_tile(const stem_job *job, const float *m, size_t rows, size_t columns, float *to)
{
    if (rows < OUTPUTS || columns < OUTPUTS) finish_outputs(job, m, rows, columns, job->s->relu, to);
    else if (job->s->relu) finish_outputs(job, m, OUTPUTS, OUTPUTS, true, to);
    else finish_outputs(job, m, OUTPUTS, OUTPUTS, false, to);
}

/* `tiles` of them, the first at column 3 * first of the band. */
WINOGRAD_KERNEL static void run_block(const stem_job *job, size_t image, size_t tile_y, size_t first, size_t tiles,
                                      const float *band, float *v, float *m)
{
    const size_t v_stride = BLOCK * WIDTH + PLACE_PADDING, chunks = row_chunks(tiles), panels = job->out / PANEL;
    const size_t y = tile_y * OUTPUTS, rows = job->height - y < OUTPUTS ? job->height - y : OUTPUTS;
    for (size_t t = 0; t < tiles; t++)
        transform_band_tile(band + (first + t) * OUTPUTS * WIDTH, job->columns, v + t * WIDTH, v_stride);
    for (size_t place = 0; place < PLACES; place++)
        for (size_t panel = 0; panel < panels; panel++)
            for (size_t k = 0; k < chunks; k++) {
                const size_t row = tiles * k / chunks, count = tiles * (k + 1) / chunks - row;
                dcam_winograd_multiply(count, v + place * v_stride + row * WIDTH, WIDTH,
                                       job->u + (place * panels + panel) * DEPTH * PANEL, DEPTH,
                                       m + place * job->m_stride + row * job->out + panel * PANEL, job->out);
            }
    for (size_t t = 0; t < tiles; t++) {
        const size_t x = (first + t) * OUTPUTS, columns = job->width - x < OUTPUTS ? job->width - x : OUTPUTS;
        finish_tile(job, m + t * job->out, rows, columns,
                    job->dst + ((image * job->height + y) * job->width + x) * job->out);
    }
}

/* ---- the pass ---- */

static void run_part(const stem_job *job, size_t part, size_t parts)
{
    const size_t rows = (size_t)job->s->n * job->tiles_y, blocks = (job->tiles_x + BLOCK - 1) / BLOCK;
    float *band = job->scratch + part * job->part_scratch, *v = band + SPAN * job->columns * WIDTH;
    float *m = v + PLACES * (BLOCK * WIDTH + PLACE_PADDING);
    for (size_t row = rows * part / parts; row < rows * (part + 1) / parts; row++) {
        const size_t image = row / job->tiles_y, tile_y = row % job->tiles_y;
        fill_band(job, image, tile_y * OUTPUTS, band);
        for (size_t k = 0; k < blocks; k++) {
            const size_t first = job->tiles_x * k / blocks, tiles = job->tiles_x * (k + 1) / blocks - first;
            run_block(job, image, tile_y, first, tiles, band, v, m);
        }
    }
}

static void run_parts(void *context, size_t begin, size_t end)
{
    const stem_job *job = context;
    for (size_t part = begin; part < end; part++) run_part(job, part, (size_t)job->s->threads);
}

void dcam_stem_run(const dcam_stem *s, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (s->weights_in) {
        run_weights_in(s, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    stem_job job = job_of(s);
    job.src = memory[DCAM_NN_SRC];
    job.u = memory[DCAM_NN_WEIGHTS];
    job.bias = s->bias ? memory[DCAM_NN_BIAS] : NULL;
    job.dst = memory[DCAM_NN_DST];
    job.scratch = memory[DCAM_NN_SCRATCHPAD];
    dcam_parallel_for((size_t)s->threads, run_parts, &job);
}
