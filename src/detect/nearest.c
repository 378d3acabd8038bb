/* nearest.c - see nearest.h. |q - m|^2 = |q|^2 - 2 (q m - |m|^2 / 2): the nearest vector has the largest q m - |m|^2 / 2,
 * so the distances are one matrix product whose results never leave the registers. A tile of 6 rows and 16 columns
 * keeps 12 sums in registers; a block of 4 tiles uses each panel while it is in the first cache. */
#include "detect/nearest.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

#define PANEL 16
#define TILE_ROWS 6
#define BLOCK_ROWS 24
/* Columns that are not there: further than any that is. */
#define NEVER 1e30f

/* As DCAM_KERNEL, with fused multiply-add where AVX2 is (every processor with it has both but the first VIA ones). */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PRODUCT_KERNEL __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define PRODUCT_KERNEL
#endif

static size_t panel_count(size_t columns) { return (columns + PANEL - 1) / PANEL; }

dcam_status dcam_panels_reserve(dcam_panels *p, size_t columns, size_t dimensions)
{
    float *values, *half_squares;
    size_t wide;
    if (!dcam_size_mul(panel_count(columns) * PANEL, dimensions, &wide))
        return dcam_fail(DCAM_ERROR_MEMORY, "%zu vectors of %zu values are too many", columns, dimensions);
    DCAM_TRY(dcam_alloc(wide, sizeof *values, &values));
    const dcam_status status = dcam_alloc(panel_count(columns) * PANEL, sizeof *half_squares, &half_squares);
    if (status != DCAM_OK) {
        dcam_free(values);
        return status;
    }
    dcam_panels_clear(p);
    *p = (dcam_panels){.columns = 0, .dimensions = dimensions, .room = columns, .values = values, .half_squares = half_squares};
    return DCAM_OK;
}

void dcam_panels_clear(dcam_panels *p)
{
    dcam_free(p->half_squares);
    dcam_free(p->values);
    *p = (dcam_panels){0};
}

/* Value d of column c is source[c * column_step + d * dimension_step]. */
static void fill(dcam_panels *p, const float *source, size_t columns, size_t dimensions, size_t column_step,
                 size_t dimension_step)
{
    p->columns = columns;
    p->dimensions = dimensions;
    for (size_t c = 0; c < panel_count(columns) * PANEL; c++) {
        float *to = p->values + c / PANEL * dimensions * PANEL + c % PANEL;
        double sum = 0;
        for (size_t d = 0; d < dimensions; d++) {
            const float v = c < columns ? source[c * column_step + d * dimension_step] : 0;
            to[d * PANEL] = v;
            sum += (double)v * (double)v;
        }
        p->half_squares[c] = c < columns ? (float)(sum / 2) : NEVER;
    }
}

void dcam_panels_fill_rows(dcam_panels *p, const float *vectors, size_t columns, size_t dimensions)
{
    fill(p, vectors, columns, dimensions, dimensions, 1);
}

void dcam_panels_fill_matrix(dcam_panels *p, const float *matrix, size_t dimensions, size_t columns)
{
    fill(p, matrix, columns, dimensions, 1, columns);
}

typedef struct {
    const dcam_panels *panels;
    const float *in;
    size_t rows;
    float *out;     /* of the product, or the distances */
    int32_t *index;
} product_job;

/* sums[r][0..1] = row r of `rows` (stride `dimensions`) times a panel. */
DCAM_INLINE void multiply_tile(const float *rows, size_t dimensions, const float *panel, dcam_f32x8 sums[TILE_ROWS][2])
{
    for (int r = 0; r < TILE_ROWS; r++) sums[r][0] = sums[r][1] = (dcam_f32x8){0};
    for (size_t d = 0; d < dimensions; d++) {
        dcam_f32x8 a, b;
        memcpy(&a, panel + d * PANEL, sizeof a);
        memcpy(&b, panel + d * PANEL + DCAM_LANES, sizeof b);
        for (int r = 0; r < TILE_ROWS; r++) {
            const float x = rows[(size_t)r * dimensions + d];
            sums[r][0] += x * a;
            sums[r][1] += x * b;
        }
    }
}

/* The last rows of all, with copies of the last one for those that are missing of a tile. */
DCAM_INLINE const float *whole_tile(const product_job *job, size_t row, float *spare)
{
    const size_t dimensions = job->panels->dimensions;
    if (row + TILE_ROWS <= job->rows) return job->in + row * dimensions;
    for (size_t r = 0; r < TILE_ROWS; r++) {
        const size_t from = row + r < job->rows ? row + r : job->rows - 1;
        memcpy(spare + r * dimensions, job->in + from * dimensions, dimensions * sizeof *spare);
    }
    return spare;
}

/* ---- product ---- */

PRODUCT_KERNEL static void multiply_tiles(const product_job *job, size_t begin, size_t end)
{
    const dcam_panels *p = job->panels;
    float spare[TILE_ROWS * DCAM_PANEL_MAX_DIMENSIONS];
    for (size_t tile = begin; tile < end; tile++) {
        const size_t row = tile * TILE_ROWS, rows = job->rows - row < TILE_ROWS ? job->rows - row : TILE_ROWS;
        const float *in = whole_tile(job, row, spare);
        for (size_t c = 0; c < p->columns; c += PANEL) {
            dcam_f32x8 sums[TILE_ROWS][2];
            multiply_tile(in, p->dimensions, p->values + c * p->dimensions, sums);
            for (size_t r = 0; r < rows; r++)
                for (size_t half = 0; half < 2 && c + half * DCAM_LANES < p->columns; half++) {
                    const size_t column = c + half * DCAM_LANES;
                    dcam_store8(job->out + (row + r) * p->columns + column, &sums[r][half], dcam_lanes_at(column, p->columns));
                }
        }
    }
}

static void multiply_body(void *job, size_t begin, size_t end) { multiply_tiles(job, begin, end); }

void dcam_panels_multiply(const dcam_panels *p, const float *in, size_t rows, float *out)
{
    product_job job = {.panels = p, .in = in, .rows = rows, .out = out};
    dcam_parallel_for((rows + TILE_ROWS - 1) / TILE_ROWS, multiply_body, &job);
}

/* ---- nearest ---- */

/* Per lane the largest value so far and the first panel that had it; a lane stands for columns 8 apart. */
typedef struct {
    dcam_f32x8 value[2];
    dcam_i32x8 panel[2];
} best_row;

DCAM_INLINE void keep_larger(best_row *best, const dcam_f32x8 sums[2], const float *half_squares, int32_t panel)
{
    const dcam_i32x8 here = {panel, panel, panel, panel, panel, panel, panel, panel};
    for (int half = 0; half < 2; half++) {
        dcam_f32x8 value;
        memcpy(&value, half_squares + half * DCAM_LANES, sizeof value);
        value = sums[half] - value;
        const dcam_i32x8 larger = value > best->value[half];
        dcam_choose8(&best->value[half], &larger, &value, &best->value[half]);
        best->panel[half] = (larger & here) | (~larger & best->panel[half]);
    }
}

static void finish_row(const product_job *job, size_t row, const best_row *best)
{
    const size_t dimensions = job->panels->dimensions;
    const float *q = job->in + row * dimensions;
    float largest = -INFINITY;
    int32_t index = 0;
    double square = 0;
    for (int half = 0; half < 2; half++)
        for (int lane = 0; lane < DCAM_LANES; lane++) {
            const float value = best->value[half][lane];
            const int32_t column = best->panel[half][lane] * PANEL + half * DCAM_LANES + lane;
            if (value < largest || (value == largest && column > index)) continue;
            largest = value;
            index = column;
        }
    for (size_t d = 0; d < dimensions; d++) square += (double)q[d] * (double)q[d];
    job->out[row] = (float)sqrt(fmax(0, square - 2 * (double)largest));
    if (job->index) job->index[row] = index;
}

PRODUCT_KERNEL static void nearest_blocks(const product_job *job, size_t begin, size_t end)
{
    const dcam_panels *p = job->panels;
    float spare[TILE_ROWS * DCAM_PANEL_MAX_DIMENSIONS];
    for (size_t block = begin; block < end; block++) {
        best_row best[BLOCK_ROWS];
        const size_t first = block * BLOCK_ROWS, rows = job->rows - first < BLOCK_ROWS ? job->rows - first : BLOCK_ROWS;
        const float *tiles[BLOCK_ROWS / TILE_ROWS];
        for (size_t r = 0; r < rows; r += TILE_ROWS) tiles[r / TILE_ROWS] = whole_tile(job, first + r, spare);
        const float low = -INFINITY;
        for (size_t r = 0; r < BLOCK_ROWS; r++)
            for (int half = 0; half < 2; half++) {
                best[r].value[half] = (dcam_f32x8){low, low, low, low, low, low, low, low};
                best[r].panel[half] = (dcam_i32x8){0};
            }
        for (size_t c = 0; c < p->columns; c += PANEL)
            for (size_t r = 0; r < rows; r += TILE_ROWS) {
                dcam_f32x8 sums[TILE_ROWS][2];
                multiply_tile(tiles[r / TILE_ROWS], p->dimensions, p->values + c * p->dimensions, sums);
                for (int k = 0; k < TILE_ROWS; k++)
                    keep_larger(&best[r + (size_t)k], sums[k], p->half_squares + c, (int32_t)(c / PANEL));
            }
        for (size_t r = 0; r < rows; r++) finish_row(job, first + r, &best[r]);
    }
}

static void nearest_body(void *job, size_t begin, size_t end) { nearest_blocks(job, begin, end); }

void dcam_panels_nearest(const dcam_panels *p, const float *in, size_t rows, float *distance, int32_t *index)
{
    product_job job = {.panels = p, .in = in, .rows = rows, .out = distance, .index = index};
    dcam_parallel_for((rows + BLOCK_ROWS - 1) / BLOCK_ROWS, nearest_body, &job);
}
