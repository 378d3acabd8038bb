/* bootstrap.c - which images a resample holds, and the image metrics of each resample. The pixel metrics are
 * in bootstrap_pixels.c. */
#include "metrics/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "metrics/sorted.h"

/* Streams of neighbouring resamples must not meet those of another class, whose stream is a hash: an odd constant
 * (the golden ratio's) spreads them over 64 bits. */
#define SPREAD 0x9e3779b97f4a7c15u

static dcam_random stream_of(const dcam_bootstrap *o, uint64_t number)
{
    return dcam_random_make(o->seed, o->stream + SPREAD * (number + 1));
}

static void draw(dcam_random *r, const uint32_t *images, size_t count, uint32_t *weights)
{
    for (size_t i = 0; i < count; i++) weights[images[i]] = 0;
    for (size_t i = 0; i < count; i++) weights[images[dcam_random_below(r, count)]]++;
}

void dcam_bootstrap_weights(const dcam_bootstrap *o, int b, const uint32_t *good, size_t good_count,
                            const uint32_t *defective, size_t defective_count, uint32_t *weights)
{
    dcam_random r = stream_of(o, (uint64_t)b);
    draw(&r, good, good_count, weights);
    draw(&r, defective, defective_count, weights);
}

dcam_status dcam_bootstrap_ask(const dcam_bootstrap *o, size_t done)
{
    if (!o->stop || !o->stop(o->user)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after %zu of %d resamples", done, o->resamples);
}

dcam_ranking_metrics dcam_ranking_of_bins(const double *normal, const double *defect, size_t bins)
{
    dcam_ranking_metrics m = {NAN, NAN, NAN, NAN};
    double normals = 0, positives = 0;
    for (size_t k = 0; k < bins; k++) {
        normals += normal[k];
        positives += defect[k];
    }
    if (!(normals > 0) || !(positives > 0)) return m;
    double tp = 0, fp = 0, pairs = 0, ap = 0, f1 = 0;
    for (size_t k = bins; k-- > 0;) {
        fp += normal[k];
        if (!(defect[k] > 0)) continue;
        tp += defect[k];
        pairs += defect[k] * (normals - fp + normal[k] / 2);
        ap += defect[k] / positives * (tp / (tp + fp));
        f1 = fmax(f1, 2 * tp / (tp + fp + positives));
    }
    m.auroc = pairs / (positives * normals);
    m.ap = ap;
    m.f1max = f1;
    return m;
}

/* ---- image metrics ---- */

typedef struct {
    float score;
    uint32_t image;
} scored;

static int compare_scored(const void *a, const void *b)
{
    const float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

/* rank[i]: the position of image i's score among the distinct ones. Returns how many there are. */
static size_t rank_images(const float *scores, size_t n, scored *sorted, uint32_t *rank)
{
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) sorted[i] = (scored){scores[i], (uint32_t)i};
    qsort(sorted, n, sizeof *sorted, compare_scored);
    for (size_t i = 0; i < n; i++) {
        distinct += i == 0 || sorted[i].score > sorted[i - 1].score;
        rank[sorted[i].image] = (uint32_t)distinct - 1;
    }
    return distinct;
}

dcam_status dcam_bootstrap_images(const dcam_bootstrap *o, const float *scores, const uint8_t *labels, size_t n,
                                  double *values[DCAM_BOOT_IMAGE_METRICS])
{
    scored *sorted = NULL;
    uint32_t *numbers = NULL; /* ranks, images good then defective, weights */
    double *bins = NULL;      /* normal, defect */
    dcam_status status = dcam_alloc(n, sizeof *sorted, &sorted);
    if (status == DCAM_OK) status = dcam_alloc(n, 3 * sizeof *numbers, &numbers);
    if (status == DCAM_OK) status = dcam_alloc(n, 2 * sizeof *bins, &bins);
    if (status == DCAM_OK) {
        uint32_t *const rank = numbers, *const images = numbers + n, *const weights = numbers + 2 * n;
        const size_t distinct = rank_images(scores, n, sorted, rank);
        size_t good = 0, at = 0;
        for (size_t i = 0; i < n; i++)
            if (!labels[i]) images[good++] = (uint32_t)i;
        for (size_t i = 0; i < n; i++)
            if (labels[i]) images[good + at++] = (uint32_t)i;
        for (int b = 0; b < o->resamples; b++) {
            if (b % DCAM_BOOTSTRAP_CHUNK == 0 && (status = dcam_bootstrap_ask(o, (size_t)b)) != DCAM_OK) break;
            dcam_bootstrap_weights(o, b, images, good, images + good, at, weights);
            memset(bins, 0, 2 * distinct * sizeof *bins);
            for (size_t i = 0; i < n; i++) bins[(labels[i] ? distinct : 0) + rank[i]] += weights[i];
            const dcam_ranking_metrics m = dcam_ranking_of_bins(bins, bins + distinct, distinct);
            values[DCAM_BOOT_AUROC][b] = m.auroc;
            values[DCAM_BOOT_AP][b] = m.ap;
            values[DCAM_BOOT_F1MAX][b] = m.f1max;
        }
    }
    dcam_free(bins);
    dcam_free(numbers);
    dcam_free(sorted);
    return status;
}
