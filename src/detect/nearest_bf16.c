/* nearest_bf16.c - which of many vectors is the nearest, by products of bf16 factors, see nearest.h. Rows and columns are
 * rounded alike for products and lengths, so what is found is exactly the nearest among rounded vectors; its distance is
 * then worked out from the vectors as they are. 32 rows meet 32 columns at a time in four tiles (AMX), or 12 rows in 24
 * registers (AVX512-BF16). The sums begin at minus half of the column's square. */
#include "detect/nearest.h"

#include <math.h>
#include <string.h>

#include "base/amx.h"
#include "base/bf16.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

#define COLUMNS 32
#define HALF 16
#define ROWS 12
#define TILE_ROWS 32
/* Words of a vector are a multiple of this, filled up with zeros: a tile's rows. */
#define STEP 16
#define MOST_PAIRS (DCAM_PANEL_MAX_DIMENSIONS / 2)
/* Columns that are not there: never larger than what a search begins with, whatever the vectors of a hostile model hold. */
#define NEVER (-INFINITY)

static size_t words_of(size_t dimensions) { return (dimensions + 2 * STEP - 1) / (2 * STEP) * STEP; }
static size_t panels_of(size_t columns) { return (columns + COLUMNS - 1) / COLUMNS; }

/* To the nearest bf16, ties to even. The vectors are finite. */
static uint32_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Values 2k and 2k + 1 of a vector as one word; past its end 0. */
static uint32_t pair_at(const float *v, size_t k, size_t dimensions)
{
    if (2 * k >= dimensions) return 0;
    return rounded(v[2 * k]) | (2 * k + 1 < dimensions ? rounded(v[2 * k + 1]) << 16 : 0);
}

dcam_status dcam_bf16_panels_reserve(dcam_bf16_panels *p, size_t columns, size_t dimensions)
{
    const size_t pairs = words_of(dimensions);
    uint32_t *words;
    float *starts;
    size_t count;
    if (!dcam_size_mul(panels_of(columns) * COLUMNS, pairs, &count))
        return dcam_fail(DCAM_ERROR_MEMORY, "%zu vectors of %zu values are too many", columns, dimensions);
    DCAM_TRY(dcam_alloc(count, sizeof *words, &words));
    const dcam_status status = dcam_alloc(panels_of(columns) * COLUMNS, sizeof *starts, &starts);
    if (status != DCAM_OK) {
        dcam_free(words);
        return status;
    }
    dcam_bf16_panels_clear(p);
    *p = (dcam_bf16_panels){.dimensions = dimensions, .words = words, .starts = starts, .tiles = dcam_amx_here()};
    return DCAM_OK;
}

void dcam_bf16_panels_clear(dcam_bf16_panels *p)
{
    dcam_free(p->starts);
    dcam_free(p->words);
    *p = (dcam_bf16_panels){0};
}

void dcam_bf16_panels_fill(dcam_bf16_panels *p, const float *vectors, size_t columns)
{
    const size_t dimensions = p->dimensions, pairs = words_of(dimensions);
    p->columns = columns;
    p->vectors = vectors;
    for (size_t c = 0; c < panels_of(columns) * COLUMNS; c++) {
        uint32_t *to = p->words + c / COLUMNS * pairs * COLUMNS + c % COLUMNS;
        double sum = 0;
        for (size_t k = 0; k < pairs; k++) {
            const uint32_t word = c < columns ? pair_at(vectors + c * dimensions, k, dimensions) : 0;
            const double a = (double)dcam_widen_bf16(word & 0xffff), b = (double)dcam_widen_bf16((uint16_t)(word >> 16));
            to[k * COLUMNS] = word;
            sum += a * a + b * b;
        }
        p->starts[c] = c < columns ? (float)(-sum / 2) : NEVER;
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

#define KERNEL __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

bool dcam_bf16_panels_here(void) { return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl"); }

typedef struct {
    const dcam_bf16_panels *panels;
    const float *in;
    size_t rows;
    float *distance;
    int32_t *index;
} nearest_job;

/* Of a row, lane by lane, the largest sum so far, and the first panel that had it. */
typedef struct { __m512 value[2]; __m512i panel[2]; } best_columns;

KERNEL static void nothing_yet(best_columns *best)
{
    for (int half = 0; half < 2; half++) {
        best->value[half] = _mm512_set1_ps(-INFINITY);
        best->panel[half] = _mm512_setzero_si512();
    }
}

/* The lowest of equally near columns; 0 where nothing is a number. */
KERNEL static int32_t best_column(const best_columns *best)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(best->value[0], best->value[1])));
    int32_t lowest = INT32_MAX;
    for (int half = 0; half < 2; half++) {
        const __mmask16 equal = _mm512_cmp_ps_mask(best->value[half], largest, _CMP_EQ_OQ);
        const __m512i column = _mm512_add_epi32(_mm512_slli_epi32(best->panel[half], 5), _mm512_add_epi32(lane, _mm512_set1_epi32(half * HALF)));
        const int32_t here = equal ? _mm512_mask_reduce_min_epi32(equal, column) : INT32_MAX;
        lowest = here < lowest ? here : lowest;
    }
    return lowest;
}

/* A row's words. */
KERNEL static void round_row(const float *row, size_t dimensions, uint32_t *words)
{
    size_t k = 0;
    for (; 2 * (k + STEP) <= dimensions; k += STEP)
        _mm512_storeu_si512(words + k, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + 2 * k + 16), _mm512_loadu_ps(row + 2 * k)));
    for (; k < words_of(dimensions); k++) words[k] = pair_at(row, k, dimensions);
}

/* ---- AVX512-BF16 ---- */

KERNEL static void meet_panel(const uint32_t *rows, size_t stride, const uint32_t *words, const float *starts, size_t pairs,
                              int panel, best_columns best[ROWS])
{
    __m512 sums[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int half = 0; half < 2; half++) sums[r][half] = _mm512_loadu_ps(starts + half * HALF);
    for (size_t k = 0; k < pairs; k++) {
        const __m512bh a = (__m512bh)_mm512_loadu_si512(words + k * COLUMNS), b = (__m512bh)_mm512_loadu_si512(words + k * COLUMNS + HALF);
#pragma GCC unroll 12
        for (size_t r = 0; r < ROWS; r++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int)rows[r * stride + k]);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, a);
            sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, b);
        }
    }
    const __m512i here = _mm512_set1_epi32(panel);
    for (int half = 0; half < 2; half++) {
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const __mmask16 larger = _mm512_cmp_ps_mask(sums[r][half], best[r].value[half], _CMP_GT_OQ);
            best[r].value[half] = _mm512_mask_mov_ps(best[r].value[half], larger, sums[r][half]);
            best[r].panel[half] = _mm512_mask_mov_epi32(best[r].panel[half], larger, here);
        }
    }
}

KERNEL static void meet_in_registers(const dcam_bf16_panels *p, const uint32_t *rows, best_columns *best)
{
    const size_t stride = words_of(p->dimensions);
    for (size_t panel = 0; panel < panels_of(p->columns); panel++)
        meet_panel(rows, stride, p->words + panel * stride * COLUMNS, p->starts + panel * COLUMNS, (p->dimensions + 1) / 2,
                   (int)panel, best);
}

/* ---- AMX ---- */

/* Sums of 32 rows and the panel's columns. */
AMX_KERNEL static void meet_in_four_tiles(const uint32_t *rows, const uint32_t *words, const float *starts, size_t depth, float *sums)
{
    const long row_bytes = (long)(depth * sizeof *rows), column_bytes = COLUMNS * (long)sizeof *words;
    amx_load_four(starts, HALF, 0, 0); /* the same for every row */
    for (size_t k = 0; k < depth; k += STEP)
        amx_multiply_four_bf16(rows + k, rows + 16 * depth + k, row_bytes, words + k * COLUMNS, words + k * COLUMNS + HALF,
                               column_bytes);
    amx_store_four(sums, HALF, 16 * COLUMNS, column_bytes);
}

AMX_KERNEL static void meet_in_tiles(const dcam_bf16_panels *p, const uint32_t *rows, best_columns *best)
{
    const amx_shapes shapes = amx_whole_tiles();
    const size_t depth = words_of(p->dimensions);
    float sums[TILE_ROWS * COLUMNS];
    amx_configure(&shapes);
    for (size_t panel = 0; panel < panels_of(p->columns); panel++) {
        const __m512i here = _mm512_set1_epi32((int)panel);
        meet_in_four_tiles(rows, p->words + panel * depth * COLUMNS, p->starts + panel * COLUMNS, depth, sums);
        for (int r = 0; r < TILE_ROWS; r++)
            for (int half = 0; half < 2; half++) {
                const __m512 value = _mm512_loadu_ps(sums + r * COLUMNS + half * HALF);
                const __mmask16 larger = _mm512_cmp_ps_mask(value, best[r].value[half], _CMP_GT_OQ);
                if (!larger) continue; /* mostly */
                best[r].value[half] = _mm512_mask_mov_ps(best[r].value[half], larger, value);
                best[r].panel[half] = _mm512_mask_mov_epi32(best[r].panel[half], larger, here);
            }
    }
    amx_release();
}

/* ---- both ---- */

DCAM_KERNEL static float distance_to(const nearest_job *job, size_t row, int32_t column)
{
    const size_t dimensions = job->panels->dimensions;
    const float *q = job->in + row * dimensions, *v = job->panels->vectors + (size_t)column * dimensions;
    dcam_f64x8 sum = {0}, a, b;
    for (size_t d = 0; d < dimensions; d += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(d, dimensions);
        dcam_load8_widened(&a, q + d, lanes);
        dcam_load8_widened(&b, v + d, lanes);
        a.low -= b.low;
        a.high -= b.high;
        dcam_add_product8(&sum, &a, &a);
    }
    return (float)sqrt(dcam_sum8(&sum));
}

static size_t block_rows(const dcam_bf16_panels *p) { return p->tiles ? TILE_ROWS : ROWS; }

KERNEL static void nearest_blocks(void *context, size_t begin, size_t end)
{
    const nearest_job *job = context;
    const dcam_bf16_panels *p = job->panels;
    const size_t dimensions = p->dimensions, depth = words_of(dimensions), all = block_rows(p);
    _Alignas(64) uint32_t rows[TILE_ROWS * MOST_PAIRS];
    best_columns best[TILE_ROWS];
    for (size_t block = begin; block < end; block++) {
        const size_t first = block * all, count = job->rows - first < all ? job->rows - first : all;
        for (size_t r = 0; r < all; r++) { /* those that are missing are copies of the last */
            round_row(job->in + (first + (r < count ? r : count - 1)) * dimensions, dimensions, rows + r * depth);
            nothing_yet(&best[r]);
        }
        if (p->tiles) meet_in_tiles(p, rows, best);
        else meet_in_registers(p, rows, best);
        for (size_t r = 0; r < count; r++) {
            const int32_t column = best_column(&best[r]);
            job->distance[first + r] = distance_to(job, first + r, column);
            if (job->index) job->index[first + r] = column;
        }
    }
}

void dcam_bf16_panels_nearest(const dcam_bf16_panels *p, const float *in, size_t rows, float *distance, int32_t *index)
{
    nearest_job job = {p, in, rows, distance, index};
    const size_t all = block_rows(p);
    dcam_parallel_for((rows + all - 1) / all, nearest_blocks, &job);
}
#else
bool dcam_bf16_panels_here(void) { return false; }

/* Never called. */
void dcam_bf16_panels_nearest(const dcam_bf16_panels *p, const float *in, size_t rows, float *distance, int32_t *index)
{
    (void)p, (void)in, (void)rows, (void)distance, (void)index;
}
#endif
