/* bench_metrics.c - the exact pixel metrics of one class: seconds, and memory beyond maps and masks. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench.h"
#include "metrics/metrics.h"

/* Maps of noise that rises inside three boxes; every third image is good. All scores are distinct, nearly: the
 * hardest case for an exact metric. */
static void draw(int maps, float *scores, uint8_t *masks)
{
    dcam_random r = dcam_random_make(3, 1);
    const int pixels = BENCH_SIDE * BENCH_SIDE;
    for (int i = 0; i < maps; i++)
        for (int p = 0; p < pixels; p++) {
            const int y = p / BENCH_SIDE, x = p % BENCH_SIDE;
            const bool defect = i % 3 && y % 85 < 10 + i % 16 && x % 85 < 12;
            const size_t at = (size_t)i * (size_t)pixels + (size_t)p;
            masks[at] = defect;
            scores[at] = (float)(dcam_random_uniform(&r) + (defect ? 0.5 : 0));
        }
}

dcam_status bench_aupro(int maps, double *milliseconds, double *bytes)
{
    const size_t pixels = (size_t)maps * BENCH_SIDE * BENCH_SIDE;
    float *scores = NULL;
    uint8_t *masks = NULL;
    dcam_pixel_metrics metrics;
    dcam_status status = dcam_alloc(pixels, sizeof *scores, &scores);
    if (status == DCAM_OK) status = dcam_alloc(pixels, sizeof *masks, &masks);
    if (status == DCAM_OK) {
        draw(maps, scores, masks);
        const size_t before = dcam_memory_held();
        dcam_memory_reset_peak();
        const double start = dcam_seconds();
        status = dcam_pixel_evaluate(scores, masks, maps, BENCH_SIDE, BENCH_SIDE, &metrics);
        milliseconds[0] = 1e3 * (dcam_seconds() - start);
        *bytes = (double)(dcam_memory_peak() - before);
    }
    dcam_free(masks);
    dcam_free(scores);
    return status;
}
