/* bootstrap_pixels.c - the pixel metrics of each resample. Sorting all pixels a thousand times would take hours, so each
 * image's pixels are counted into bins of score once; a resample is then a weighted sum of a few thousand counts an
 * image, and every metric one walk down the bins. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "metrics/bootstrap.h"
#include "metrics/curves.h"
#include "metrics/sorted.h"

#define FPR_LIMIT 0.3

typedef struct {
    size_t images, defective, good, pixels, bins;
    uint32_t *edges;           /* bins keys, ascending; edges[0] is the least key of all */
    uint32_t *order;           /* images: the good ones, then the defective ones */
    float *normal;             /* images x bins: normal pixels; at most 2^24 an image, so exact */
    float *defect;             /* defective x bins: defect pixels */
    float *share;              /* defective x bins: sum over the image's regions of the share that lies in the bin */
    double *regions;           /* defective: regions of the image */
} histograms;

static void clear_histograms(histograms *h)
{
    dcam_free(h->regions);
    dcam_free(h->share);
    dcam_free(h->defect);
    dcam_free(h->normal);
    dcam_free(h->order);
    dcam_free(h->edges);
}

/* ---- edges ---- */

/* Adds the keys at `wanted` equal steps through keys[n], sorted here, with the least one. Returns how many, 0 of none. */
static size_t take_quantiles(uint32_t *keys, uint32_t *scratch, size_t n, size_t wanted, uint32_t *out)
{
    size_t count = 0;
    if (n == 0) return 0;
    dcam_sort_keys(keys, scratch, n);
    for (size_t i = 0; i < wanted; i++) {
        const uint32_t key = keys[(size_t)((double)i * (double)n / (double)wanted)];
        if (count == 0 || out[count - 1] != key) out[count++] = key;
    }
    return count;
}

/* Half of the edges from the normal pixels, half from the defect ones, merged without repeats. */
static dcam_status choose_edges(histograms *h, const float *maps, const uint8_t *masks)
{
    const size_t total = h->images * h->pixels, half = h->bins / 2;
    uint32_t *keys = NULL, *scratch = NULL, *both = NULL;
    dcam_status status = dcam_alloc(total, sizeof *keys, &keys);
    if (status == DCAM_OK) status = dcam_alloc(total, sizeof *scratch, &scratch);
    if (status == DCAM_OK) status = dcam_alloc(2 * half, sizeof *both, &both);
    if (status == DCAM_OK) status = dcam_alloc(2 * half, sizeof *h->edges, &h->edges);
    if (status == DCAM_OK) {
        size_t defects = 0, normals = 0, count;
        for (size_t i = 0; i < total; i++) {
            if (masks[i]) keys[total - ++defects] = dcam_score_key(maps[i]);
            else keys[normals++] = dcam_score_key(maps[i]);
        }
        count = take_quantiles(keys, scratch, normals, half, both);
        count += take_quantiles(keys + normals, scratch, defects, half, both + count);
        dcam_sort_keys(both, scratch, count);
        h->bins = 0;
        for (size_t i = 0; i < count; i++)
            if (i == 0 || both[i] != both[i - 1]) h->edges[h->bins++] = both[i];
    }
    dcam_free(both);
    dcam_free(scratch);
    dcam_free(keys);
    return status;
}

/* The last edge that is not above the key. */
static size_t bin_of(const histograms *h, uint32_t key)
{
    size_t low = 0, high = h->bins;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (h->edges[middle] <= key) low = middle;
        else high = middle;
    }
    return low;
}

/* ---- counting ---- */

typedef struct {
    histograms *h;
    const float *maps;
    const uint8_t *masks;
} counting;

static void count_normals(void *context, size_t begin, size_t end)
{
    const counting *c = context;
    for (size_t i = begin; i < end; i++) {
        const float *map = c->maps + i * c->h->pixels;
        const uint8_t *mask = c->masks + i * c->h->pixels;
        float *counts = c->h->normal + i * c->h->bins;
        for (size_t p = 0; p < c->h->pixels; p++)
            if (!mask[p]) counts[bin_of(c->h, dcam_score_key(map[p]))]++;
    }
}

/* The defect pixels and regions of the defective image at `slot`. */
static void count_regions(const histograms *h, size_t slot, const float *map, const int32_t *labels, int count, uint32_t *sizes)
{
    memset(sizes, 0, (size_t)count * sizeof *sizes);
    for (size_t p = 0; p < h->pixels; p++)
        if (labels[p]) sizes[labels[p] - 1]++;
    for (size_t p = 0; p < h->pixels; p++) {
        if (!labels[p]) continue;
        const size_t bin = slot * h->bins + bin_of(h, dcam_score_key(map[p]));
        h->defect[bin]++;
        h->share[bin] += 1 / (float)sizes[labels[p] - 1];
    }
    h->regions[slot] = count;
}

static dcam_status count_defects(histograms *h, const float *maps, const uint8_t *masks, int height, int width)
{
    int32_t *labels = NULL, *parents = NULL;
    uint32_t *sizes = NULL;
    const size_t most = dcam_component_parents(height, width);
    dcam_status status = dcam_alloc(h->pixels, sizeof *labels, &labels);
    if (status == DCAM_OK) status = dcam_alloc(most, sizeof *parents, &parents);
    if (status == DCAM_OK) status = dcam_alloc(most, sizeof *sizes, &sizes);
    for (size_t slot = 0; status == DCAM_OK && slot < h->defective; slot++) {
        const size_t image = h->order[h->good + slot];
        const int count = dcam_label_components(masks + image * h->pixels, height, width, labels, parents);
        count_regions(h, slot, maps + image * h->pixels, labels, count, sizes);
    }
    dcam_free(sizes);
    dcam_free(parents);
    dcam_free(labels);
    return status;
}

static dcam_status fill_histograms(histograms *h, const float *maps, const uint8_t *masks, const uint8_t *labels,
                                   int height, int width)
{
    size_t at = 0;
    DCAM_TRY(dcam_alloc(h->images, sizeof *h->order, &h->order));
    for (size_t i = 0; i < h->images; i++)
        if (!labels[i]) h->order[h->good++] = (uint32_t)i;
    for (size_t i = 0; i < h->images; i++)
        if (labels[i]) h->order[h->good + at++] = (uint32_t)i;
    h->defective = at;
    DCAM_TRY(choose_edges(h, maps, masks));
    DCAM_TRY(dcam_alloc_zero(h->images * h->bins, sizeof *h->normal, &h->normal));
    DCAM_TRY(dcam_alloc_zero(h->defective * h->bins, sizeof *h->defect, &h->defect));
    DCAM_TRY(dcam_alloc_zero(h->defective * h->bins, sizeof *h->share, &h->share));
    DCAM_TRY(dcam_alloc_zero(h->defective, sizeof *h->regions, &h->regions));
    counting c = {h, maps, masks};
    dcam_parallel_for(h->images, count_normals, &c);
    return count_defects(h, maps, masks, height, width);
}

/* ---- one resample ---- */

DCAM_KERNEL
static void add_weighted(double *sum, const float *counts, size_t bins, double weight)
{
    for (size_t k = 0; k < bins; k++) sum[k] += weight * (double)counts[k];
}

/* AUPRO, straight within a bin, and the rescaled PRO, whose last point is the last bin that ends within FPR 0.3. */
static double area_to_limit(const double *normal, const double *share, size_t bins, double regions, double *rescaled)
{
    double normals = 0, area = 0, x = 0, y = 0;
    *rescaled = NAN;
    for (size_t k = 0; k < bins; k++) normals += normal[k];
    for (size_t k = bins; k-- > 0;) {
        const double x1 = x + normal[k] / normals, y1 = y + share[k] / regions;
        if (x1 > FPR_LIMIT) {
            const double y_end = y + (y1 - y) * (FPR_LIMIT - x) / (x1 - x);
            if (x > 0 && y > 0) *rescaled = area / (x * y);
            return (area + (FPR_LIMIT - x) * (y + y_end) / 2) / FPR_LIMIT;
        }
        area += (x1 - x) * (y + y1) / 2;
        x = x1;
        y = y1;
    }
    return area / FPR_LIMIT; /* not reached: at the lowest bin x is 1 */
}

/* sums: 3 x bins, of normal and defect pixels and of shares. weights: one an image. Returns the regions. */
static double sum_up(const histograms *h, const uint32_t *weights, double *sums)
{
    double *normal = sums, *defect = sums + h->bins, *share = sums + 2 * h->bins, regions = 0;
    memset(sums, 0, 3 * h->bins * sizeof *sums);
    for (size_t i = 0; i < h->images; i++)
        if (weights[i]) add_weighted(normal, h->normal + i * h->bins, h->bins, weights[i]);
    for (size_t slot = 0; slot < h->defective; slot++) {
        const uint32_t weight = weights[h->order[h->good + slot]];
        if (!weight) continue;
        add_weighted(defect, h->defect + slot * h->bins, h->bins, weight);
        add_weighted(share, h->share + slot * h->bins, h->bins, weight);
        regions += weight * h->regions[slot];
    }
    return regions;
}

static void measure(const histograms *h, const uint32_t *weights, double *sums, double out[DCAM_BOOT_PIXEL_METRICS])
{
    const double regions = sum_up(h, weights, sums);
    const double *normal = sums, *defect = sums + h->bins, *share = sums + 2 * h->bins;
    const dcam_ranking_metrics m = dcam_ranking_of_bins(normal, defect, h->bins);
    out[DCAM_BOOT_AUROC] = m.auroc;
    out[DCAM_BOOT_AP] = m.ap;
    out[DCAM_BOOT_F1MAX] = m.f1max;
    out[DCAM_BOOT_AUPRO] = out[DCAM_BOOT_PRO_RESCALED] = NAN;
    if (isnan(m.auroc)) return; /* only defective images without a defect pixel were drawn */
    out[DCAM_BOOT_AUPRO] = area_to_limit(normal, share, h->bins, regions, &out[DCAM_BOOT_PRO_RESCALED]);
}

/* ---- all of them ---- */

typedef struct {
    const dcam_bootstrap *options;
    const histograms *h;
    const double *shift;       /* what is added to each metric */
    double **values;
    size_t workers;
    size_t begin, end;         /* the resamples of this chunk */
    double *sums;              /* workers x 3 x bins */
    uint32_t *weights;         /* workers x images */
} resampling;

static double within_one(double v) { return isnan(v) ? v : fmin(fmax(v, 0), 1); }

static void resample(void *context, size_t begin, size_t end)
{
    const resampling *r = context;
    const histograms *h = r->h;
    for (size_t worker = begin; worker < end; worker++) {
        uint32_t *weights = r->weights + worker * h->images;
        for (size_t b = r->begin + worker; b < r->end; b += r->workers) {
            double out[DCAM_BOOT_PIXEL_METRICS];
            dcam_bootstrap_weights(r->options, (int)b, h->order, h->good, h->order + h->good, h->defective, weights);
            measure(h, weights, r->sums + worker * 3 * h->bins, out);
            for (int m = 0; m < DCAM_BOOT_PIXEL_METRICS; m++) r->values[m][b] = within_one(out[m] + r->shift[m]);
        }
    }
}

/* All resamples, a chunk at a time. What a worker keeps between two of them is room alone. */
static dcam_status resample_all(resampling *r)
{
    const size_t all = (size_t)r->options->resamples;
    /* As many for each worker whatever their number. */
    const size_t chunk = DCAM_BOOTSTRAP_CHUNK * r->workers;
    for (r->begin = 0; r->begin < all; r->begin = r->end) {
        r->end = all - r->begin < chunk ? all : r->begin + chunk;
        DCAM_TRY(dcam_bootstrap_ask(r->options, r->begin));
        dcam_parallel_for(r->workers, resample, r);
    }
    return DCAM_OK;
}

static dcam_status run(const dcam_bootstrap *o, const histograms *h, const double exact[DCAM_BOOT_PIXEL_METRICS], double **values)
{
    double shift[DCAM_BOOT_PIXEL_METRICS];
    resampling r = {.options = o, .h = h, .shift = shift, .values = values, .workers = (size_t)dcam_threads()};
    dcam_status status = dcam_alloc(r.workers * 3 * h->bins, sizeof *r.sums, &r.sums);
    if (status == DCAM_OK) status = dcam_alloc(r.workers * h->images, sizeof *r.weights, &r.weights);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < h->images; i++) r.weights[i] = 1;
        measure(h, r.weights, r.sums, shift);
        for (int m = 0; m < DCAM_BOOT_PIXEL_METRICS; m++) shift[m] = exact[m] - shift[m];
        status = resample_all(&r);
    }
    dcam_free(r.weights);
    dcam_free(r.sums);
    return status;
}

static histograms empty_histograms(int n, int height, int width)
{
    histograms h = {.images = (size_t)n, .pixels = (size_t)height * (size_t)width, .bins = DCAM_BOOTSTRAP_BINS};
    while (h.bins > DCAM_BOOTSTRAP_LEAST_BINS && h.bins * h.images > DCAM_BOOTSTRAP_MOST_CELLS) h.bins /= 2;
    return h;
}

dcam_status dcam_bootstrap_pixels(const dcam_bootstrap *o, const float *maps, const uint8_t *masks, const uint8_t *labels,
                                  int n, int height, int width, const dcam_pixel_metrics *exact,
                                  double *values[DCAM_BOOT_PIXEL_METRICS])
{
    const double wanted[DCAM_BOOT_PIXEL_METRICS] = {exact->pixel.auroc, exact->pixel.ap, exact->pixel.f1max,
                                                    exact->aupro, exact->pro_rescaled};
    histograms h = empty_histograms(n, height, width);
    dcam_status status = fill_histograms(&h, maps, masks, labels, height, width);
    if (status == DCAM_OK) status = run(o, &h, wanted, values);
    clear_histograms(&h);
    return status;
}

dcam_status dcam_pixel_curves(const float *maps, const uint8_t *masks, const uint8_t *labels, int n, int height, int width,
                              dcam_curves *out)
{
    histograms h = empty_histograms(n, height, width);
    uint32_t *weights = NULL;
    double *sums = NULL;
    dcam_status status = fill_histograms(&h, maps, masks, labels, height, width);
    if (status == DCAM_OK) status = dcam_alloc(h.images, sizeof *weights, &weights);
    if (status == DCAM_OK) status = dcam_alloc(3 * h.bins, sizeof *sums, &sums);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < h.images; i++) weights[i] = 1;
        const double regions = sum_up(&h, weights, sums);
        status = dcam_curves_of_bins(sums, sums + h.bins, sums + 2 * h.bins, regions, h.bins, out);
    }
    dcam_free(sums);
    dcam_free(weights);
    clear_histograms(&h);
    return status;
}
