/* stem.c - see stem.h. Even and odd rows and columns of the input make four images of half the size (phases); on them
 * the 7x7 kernel of stride 2 is a 4x4 kernel of stride 1, whose first row or column is zero where the phase is even.
 * Four phases of three channels are twelve channels, and the convolution is Winograd's F(3x3, 4x4): with the points of
 * winograd_tile.h, 36 products for nine outputs of each channel where 441 / 3 were. */
#include "nn/stem.h"

#include <string.h>

#include "base/parallel.h"
#include "nn/kernels.h"
#include "nn/round.h"
#include "nn/stem_shape.h"

#define KERNEL_SIDE 7

bool dcam_stem_fits(const dcam_nn_convolution *c)
{
    return c->kernel == KERNEL_SIDE && c->stride == 2 && c->padding == 3 && c->src.c == COLORS && !c->sum &&
           c->src.type == DCAM_NN_F32 && c->dst_type == DCAM_NN_F32 && (c->src.layout == DCAM_NN_NHWC || c->src.layout == DCAM_NN_NCHW) &&
           c->dst_layout == DCAM_NN_NHWC && c->src.h % 2 == 0 && c->src.w % 2 == 0 && c->out_channels % PANEL == 0;
}

/* ---- how the work is cut: by rows of tiles ---- */

static stem_job job_of(const dcam_stem *s)
{
    stem_job job = {.n = (size_t)s->n, .src_height = (size_t)s->h, .src_width = (size_t)s->w, .planes = s->planes,
                    .out = (size_t)s->out, .height = (size_t)s->h / 2, .width = (size_t)s->w / 2, .relu = s->relu,
                    .parts = (size_t)s->threads};
    job.tiles_y = (job.height + OUTPUTS - 1) / OUTPUTS;
    job.tiles_x = (job.width + OUTPUTS - 1) / OUTPUTS;
    job.columns = job.tiles_x * OUTPUTS + TAPS - 1;
    job.v_stride = STEM_BLOCK * STEM_WIDTH + PLACE_PADDING;
    job.m_stride = STEM_BLOCK * job.out + PLACE_PADDING;
    job.part_scratch = SPAN * job.columns * STEM_WIDTH + PLACES * (job.v_stride + job.m_stride);
    return job;
}

size_t dcam_stem_bytes(const dcam_stem *s, dcam_nn_argument which)
{
    const size_t plain = sizeof(float) * KERNEL_SIDE * KERNEL_SIDE * COLORS * (size_t)s->out;
    const size_t transformed = sizeof(float) * PLACES * STEM_DEPTH * (size_t)s->out / (s->bf16 ? 2 : 1);
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

/* plain: one channel's 7x7. */
static void transform_kernel(const float *plain, int row_phase, int column_phase, float u[PLACES])
{
    double half[TAPS][SPAN], column[TAPS], out[SPAN];
    for (int y = 0; y < TAPS; y++) {
        double row[TAPS];
        for (int x = 0; x < TAPS; x++) {
            const int ky = kernel_row(y, row_phase), kx = kernel_row(x, column_phase);
            row[x] = ky < 0 || kx < 0 ? 0 : (double)plain[ky * KERNEL_SIDE + kx];
        }
        transform_taps(row, half[y]);
    }
    for (size_t x = 0; x < SPAN; x++) {
        for (int y = 0; y < TAPS; y++) column[y] = half[y][x];
        transform_taps(column, out);
        for (size_t y = 0; y < SPAN; y++) u[y * SPAN + x] = (float)out[y];
    }
}

/* To place x out/16 x 12 x 16. */
static void run_weights_in(const dcam_stem *s, const float *plain, float *u)
{
    const size_t out = (size_t)s->out;
    for (size_t o = 0; o < out; o++)
        for (size_t k = 0; k < STEM_DEPTH; k++) {
            float places[PLACES];
            transform_kernel(plain + (o * COLORS + k % COLORS) * KERNEL_SIDE * KERNEL_SIDE, (int)(k / COLORS / 2),
                             (int)(k / COLORS % 2), places);
            for (size_t place = 0; place < PLACES; place++)
                dcam_put_factor(u, s->bf16, (place * (out / PANEL) + o / PANEL) * STEM_DEPTH + k, o % PANEL,
                                places[place]);
        }
}

/* ---- the pass ---- */

typedef struct {
    const dcam_kernels *kernels;
    stem_job job;
} stem_run;

static void run_parts(void *context, size_t begin, size_t end)
{
    const stem_run *run = context;
    for (size_t part = begin; part < end; part++) run->kernels->stem(&run->job, part);
}

void dcam_stem_run(const dcam_stem *s, void *const memory[DCAM_NN_ARGUMENTS])
{
    if (s->weights_in) {
        run_weights_in(s, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]);
        return;
    }
    stem_run run = {dcam_kernels_for(s->isa, s->bf16), job_of(s)};
    run.job.src = memory[DCAM_NN_SRC];
    run.job.u = memory[DCAM_NN_WEIGHTS];
    run.job.bias = s->bias ? memory[DCAM_NN_BIAS] : NULL;
    run.job.dst = memory[DCAM_NN_DST];
    run.job.scratch = memory[DCAM_NN_SCRATCHPAD];
    dcam_parallel_for(run.job.parts, run_parts, &run);
}
