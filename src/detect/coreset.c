/* coreset.c - which of many vectors stand for all of them: greedy k-center (Gonzalez, "Clustering to minimize the maximum
 * intercluster distance", 1985; Sener and Savarese, "Active learning for convolutional neural networks: a core-set
 * approach", ICLR 2018). The largest distance of any vector to its nearest chosen one is at most twice the best
 * possible, so that rare normal looks are kept, which an average over clusters would lose. The chosen ones are outliers of their cells; moved to
 * the cells' means they judge common looks more finely and still stand for the rare ones. */
#include <math.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "detect/memory.h"
#include "detect/nearest.h"

typedef struct {
    const float *vectors, *centre;
    size_t dimensions;
    float *nearest; /* squared distance to the nearest chosen one */
} distance_job;

DCAM_KERNEL static void lower_distances(const distance_job *job, size_t begin, size_t end)
{
    const size_t dimensions = job->dimensions;
    for (size_t i = begin; i < end; i++) {
        const float *v = job->vectors + i * dimensions;
        dcam_f32x8 sum = {0}, a, b;
        for (size_t d = 0; d < dimensions; d += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(d, dimensions);
            dcam_load8(&a, v + d, lanes);
            dcam_load8(&b, job->centre + d, lanes);
            a -= b;
            sum += a * a;
        }
        const float square = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
        if (square < job->nearest[i]) job->nearest[i] = square;
    }
}

static void lower_body(void *job, size_t begin, size_t end) { lower_distances(job, begin, end); }

static size_t farthest(const float *nearest, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (nearest[i] > nearest[best]) best = i;
    return best;
}

static void mean_of(const float *vectors, size_t n, size_t dimensions, float *mean)
{
    for (size_t d = 0; d < dimensions; d++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)vectors[i * dimensions + d];
        mean[d] = (float)(sum / (double)n);
    }
}

dcam_status dcam_choose_coreset(const float *vectors, size_t n, size_t dimensions, size_t *count, size_t *chosen)
{
    float *nearest, *mean = NULL;
    size_t have = 0;
    DCAM_TRY(dcam_alloc(n, sizeof *nearest, &nearest));
    const dcam_status status = dcam_alloc(dimensions, sizeof *mean, &mean);
    if (status == DCAM_OK && n > 0) {
        distance_job job = {vectors, mean, dimensions, nearest};
        mean_of(vectors, n, dimensions, mean);
        for (size_t i = 0; i < n; i++) nearest[i] = INFINITY;
        dcam_parallel_for(n, lower_body, &job);
        size_t next = farthest(nearest, n);
        for (size_t i = 0; i < n; i++) nearest[i] = INFINITY; /* the mean itself is not chosen */
        while (have < *count && have < n && (have == 0 || nearest[next] > 0)) {
            chosen[have++] = next;
            job.centre = vectors + next * dimensions;
            dcam_parallel_for(n, lower_body, &job);
            next = farthest(nearest, n);
        }
        *count = have;
    }
    dcam_free(mean);
    dcam_free(nearest);
    return status;
}

static dcam_status assign(const float *vectors, size_t n, size_t dimensions, const float *prototypes, size_t count,
                          float *distance, int32_t *cell)
{
    dcam_panels panels = {0};
    DCAM_TRY(dcam_panels_reserve(&panels, count, dimensions));
    dcam_panels_fill_rows(&panels, prototypes, count, dimensions);
    dcam_panels_nearest(&panels, vectors, n, distance, cell);
    dcam_panels_clear(&panels);
    return DCAM_OK;
}

dcam_status dcam_average_cells(const float *vectors, size_t n, size_t dimensions, float *prototypes, size_t count)
{
    float *distance = NULL;
    int32_t *cell = NULL;
    double *sums = NULL;
    size_t *members = NULL;
    dcam_status status = dcam_alloc(n, sizeof *distance, &distance);
    if (status == DCAM_OK) status = dcam_alloc(n, sizeof *cell, &cell);
    if (status == DCAM_OK) status = dcam_alloc_zero(count, dimensions * sizeof *sums, &sums);
    if (status == DCAM_OK) status = dcam_alloc_zero(count, sizeof *members, &members);
    if (status == DCAM_OK) status = assign(vectors, n, dimensions, prototypes, count, distance, cell);
    for (size_t i = 0; status == DCAM_OK && i < n; i++) {
        double *sum = sums + (size_t)cell[i] * dimensions;
        for (size_t d = 0; d < dimensions; d++) sum[d] += (double)vectors[i * dimensions + d];
        members[cell[i]]++;
    }
    for (size_t k = 0; status == DCAM_OK && k < count; k++)
        for (size_t d = 0; members[k] > 0 && d < dimensions; d++)
            prototypes[k * dimensions + d] = (float)(sums[k * dimensions + d] / (double)members[k]);
    dcam_free(members);
    dcam_free(sums);
    dcam_free(cell);
    dcam_free(distance);
    return status;
}
