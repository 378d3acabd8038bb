/* nearest_bf16.c - which of many vectors is the nearest, by products of bf16 factors (AVX512-BF16), see nearest.h. Rows and
 * columns are rounded alike for products and lengths, so what is found is exactly the nearest among rounded vectors; its
 * distance is then worked out from the vectors as they are. 12 rows meet 32 columns at a time: 24 sums in registers. */
#include "detect/nearest.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"

#define COLUMNS 32
#define HALF 16
#define ROWS 12
#define MOST_PAIRS (DCAM_PANEL_MAX_DIMENSIONS / 2)
/* Columns that are not there: further than any that is. */
#define NEVER 1e30f

static size_t panels_of(size_t columns) { return (columns + COLUMNS - 1) / COLUMNS; }

/* To the nearest bf16, ties to even. The vectors are finite. */
static uint32_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static double value_of(uint32_t half)
{
    float x;
    const uint32_t bits = half << 16;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

/* Values 2k and 2k + 1 of a vector as one word; past its end 0. */
static uint32_t pair_at(const float *v, size_t k, size_t dimensions)
{
    return rounded(v[2 * k]) | (2 * k + 1 < dimensions ? rounded(v[2 * k + 1]) << 16 : 0);
}

dcam_status dcam_bf16_panels_reserve(dcam_bf16_panels *p, size_t columns, size_t dimensions)
{
    const size_t pairs = (dimensions + 1) / 2;
    uint32_t *words;
    float *half_squares;
    size_t count;
    if (!dcam_size_mul(panels_of(columns) * COLUMNS, pairs, &count))
        return dcam_fail(DCAM_ERROR_MEMORY, "%zu vectors of %zu values are too many", columns, dimensions);
    DCAM_TRY(dcam_alloc(count, sizeof *words, &words));
    const dcam_status status = dcam_alloc(panels_of(columns) * COLUMNS, sizeof *half_squares, &half_squares);
    if (status != DCAM_OK) {
        dcam_free(words);
        return status;
    }
    dcam_bf16_panels_clear(p);
    *p = (dcam_bf16_panels){.dimensions = dimensions, .words = words, .half_squares = half_squares};
    return DCAM_OK;
}

void dcam_bf16_panels_clear(dcam_bf16_panels *p)
{
    dcam_free(p->half_squares);
    dcam_free(p->words);
    *p = (dcam_bf16_panels){0};
}

void dcam_bf16_panels_fill(dcam_bf16_panels *p, const float *vectors, size_t columns)
{
    const size_t dimensions = p->dimensions, pairs = (dimensions + 1) / 2;
    p->columns = columns;
    p->vectors = vectors;
    for (size_t c = 0; c < panels_of(columns) * COLUMNS; c++) {
        uint32_t *to = p->words + c / COLUMNS * pairs * COLUMNS + c % COLUMNS;
        double sum = 0;
        for (size_t k = 0; k < pairs; k++) {
            const uint32_t word = c < columns ? pair_at(vectors + c * dimensions, k, dimensions) : 0;
            const double a = value_of(word & 0xffff), b = value_of(word >> 16);
            to[k * COLUMNS] = word;
            sum += a * a + b * b;
        }
        p->half_squares[c] = c < columns ? (float)(sum / 2) : NEVER;
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

/* Per lane the largest product less half the square so far, and the first panel that had it. */
typedef struct { __m512 value[ROWS][2]; __m512i panel[ROWS][2]; } best_block;

KERNEL static void meet_panel(const uint32_t rows[ROWS][MOST_PAIRS], const uint32_t *words, const float *half_squares,
                              size_t pairs, int panel, best_block *best)
{
    __m512 sums[ROWS][2];
    for (int r = 0; r < ROWS; r++) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < pairs; k++) {
        const __m512bh a = (__m512bh)_mm512_loadu_si512(words + k * COLUMNS), b = (__m512bh)_mm512_loadu_si512(words + k * COLUMNS + HALF);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int)rows[r][k]);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, a);
            sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, b);
        }
    }
    const __m512i here = _mm512_set1_epi32(panel);
    for (int half = 0; half < 2; half++) {
        const __m512 less = _mm512_loadu_ps(half_squares + half * HALF);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            const __m512 value = _mm512_sub_ps(sums[r][half], less);
            const __mmask16 larger = _mm512_cmp_ps_mask(value, best->value[r][half], _CMP_GT_OQ);
            best->value[r][half] = _mm512_mask_mov_ps(best->value[r][half], larger, value);
            best->panel[r][half] = _mm512_mask_mov_epi32(best->panel[r][half], larger, here);
        }
    }
}

/* The lowest of equally near columns. */
KERNEL static int32_t best_column(const best_block *best, int r)
{
    float value[2 * HALF], largest = -INFINITY;
    int32_t panel[2 * HALF], column = 0;
    for (int half = 0; half < 2; half++) {
        _mm512_storeu_ps(value + half * HALF, best->value[r][half]);
        _mm512_storeu_si512(panel + half * HALF, best->panel[r][half]);
    }
    for (int32_t lane = 0; lane < COLUMNS; lane++) {
        const int32_t at = panel[lane] * COLUMNS + lane;
        if (value[lane] < largest || (value[lane] == largest && at > column)) continue;
        largest = value[lane];
        column = at;
    }
    return column;
}

static float distance_to(const nearest_job *job, size_t row, int32_t column)
{
    const size_t dimensions = job->panels->dimensions;
    const float *q = job->in + row * dimensions, *v = job->panels->vectors + (size_t)column * dimensions;
    double sum = 0;
    for (size_t d = 0; d < dimensions; d++) {
        const double difference = (double)q[d] - (double)v[d];
        sum += difference * difference;
    }
    return (float)sqrt(sum);
}

KERNEL static void nearest_blocks(void *context, size_t begin, size_t end)
{
    const nearest_job *job = context;
    const dcam_bf16_panels *p = job->panels;
    const size_t dimensions = p->dimensions, pairs = (dimensions + 1) / 2;
    uint32_t rows[ROWS][MOST_PAIRS];
    best_block best;
    for (size_t block = begin; block < end; block++) {
        const size_t first = block * ROWS, count = job->rows - first < ROWS ? job->rows - first : ROWS;
        for (size_t r = 0; r < ROWS; r++) { /* those that are missing are copies of the last */
            const float *row = job->in + (first + (r < count ? r : count - 1)) * dimensions;
            for (size_t k = 0; k < pairs; k++) rows[r][k] = pair_at(row, k, dimensions);
            best.value[r][0] = best.value[r][1] = _mm512_set1_ps(-INFINITY);
            best.panel[r][0] = best.panel[r][1] = _mm512_setzero_si512();
        }
        for (size_t panel = 0; panel < panels_of(p->columns); panel++)
            meet_panel(rows, p->words + panel * pairs * COLUMNS, p->half_squares + panel * COLUMNS, pairs, (int)panel, &best);
        for (size_t r = 0; r < count; r++) {
            const int32_t column = best_column(&best, (int)r);
            job->distance[first + r] = distance_to(job, first + r, column);
            if (job->index) job->index[first + r] = column;
        }
    }
}

void dcam_bf16_panels_nearest(const dcam_bf16_panels *p, const float *in, size_t rows, float *distance, int32_t *index)
{
    nearest_job job = {p, in, rows, distance, index};
    dcam_parallel_for((rows + ROWS - 1) / ROWS, nearest_blocks, &job);
}
#else
bool dcam_bf16_panels_here(void) { return false; }

/* Never called. */
void dcam_bf16_panels_nearest(const dcam_bf16_panels *p, const float *in, size_t rows, float *distance, int32_t *index)
{
    (void)p, (void)in, (void)rows, (void)distance, (void)index;
}
#endif
