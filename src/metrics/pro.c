/* pro.c - the pixel metrics of one class: ranking over all pixels, AUPRO (Bergmann et al., "The MVTec anomaly
 * detection dataset", IJCV 2021, section 4) exactly, and the rescaled PRO of the DFR family of evaluators.
 *
 * PRO at a threshold = mean over the regions of the share of the region that is at or above it = sum over the defect
 * pixels at or above it of 1 / (size of their region * number of regions). Pixels are sorted once; everything else is
 * a walk downwards through the scores. */
#include <math.h>

#include "base/memory.h"
#include "metrics/sorted.h"

#define FPR_LIMIT 0.3
#define RESCALED_STEPS 4000

typedef struct {
    dcam_sorted_scores sorted; /* payload of a defect: its region, from 0 */
    double *share;             /* per region: 1 / (size * regions) */
    size_t regions;
    float min, max;            /* of all scores */
} pixel_scores;

/* The first pixel that is not finite, or n. One pass that finds the range as well. */
static size_t scan_range(const float *scores, size_t n, float *min, float *max)
{
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!dcam_score_is_finite(scores[i])) return i;
        low = scores[i] < low ? scores[i] : low;
        high = scores[i] > high ? scores[i] : high;
    }
    *min = low;
    *max = high;
    return n;
}

static size_t count_defects(const uint8_t *masks, size_t n)
{
    size_t defects = 0;
    for (size_t i = 0; i < n; i++) defects += masks[i] != 0;
    return defects;
}

/* Sorts the pixels of one image into normal keys and defect items; region_base is the image's first region. */
static void take_image(pixel_scores *p, const float *map, const int32_t *labels, size_t pixels, uint32_t region_base)
{
    uint32_t *normal = p->sorted.normal + p->sorted.normal_count, *normal_start = normal;
    for (size_t i = 0; i < pixels; i++) {
        const uint32_t key = dcam_score_key(map[i]);
        if (labels && labels[i])
            p->sorted.defect[p->sorted.defect_count++] = (uint64_t)key << 32 | (region_base + (uint32_t)labels[i] - 1);
        else *normal++ = key;
    }
    p->sorted.normal_count += (size_t)(normal - normal_start);
}

static dcam_status count_shares(pixel_scores *p)
{
    DCAM_TRY(dcam_alloc_zero(p->regions, sizeof *p->share, &p->share));
    for (size_t i = 0; i < p->sorted.defect_count; i++) p->share[(uint32_t)p->sorted.defect[i]] += 1;
    for (size_t r = 0; r < p->regions; r++) p->share[r] = 1 / (p->share[r] * (double)p->regions);
    return DCAM_OK;
}

static dcam_status gather(pixel_scores *p, const float *maps, const uint8_t *masks, int n, int height, int width)
{
    const size_t pixels = (size_t)height * (size_t)width;
    int32_t *labels = NULL, *parents = NULL;
    dcam_status status = dcam_alloc(pixels, sizeof *labels, &labels);
    if (status != DCAM_OK) goto cleanup;
    status = dcam_alloc(dcam_component_parents(height, width), sizeof *parents, &parents);
    if (status != DCAM_OK) goto cleanup;
    for (int i = 0; i < n; i++) {
        const uint8_t *mask = masks + (size_t)i * pixels;
        const float *map = maps + (size_t)i * pixels;
        if (count_defects(mask, pixels) == 0) {
            take_image(p, map, NULL, pixels, 0);
            continue;
        }
        const int count = dcam_label_components(mask, height, width, labels, parents);
        take_image(p, map, labels, pixels, (uint32_t)p->regions);
        p->regions += (size_t)count;
    }
    status = count_shares(p);
cleanup:
    dcam_free(parents);
    dcam_free(labels);
    return status;
}

/* Area under PRO over FPR 0 .. 0.3, / 0.3. Each group of equal defect scores is a segment from (x0, y0) to (x1, y1),
 * slanted where normal pixels share the score, after a horizontal one. */
static double exact_aupro(const pixel_scores *p)
{
    const double normals = (double)p->sorted.normal_count;
    double area = 0, x = 0, y = 0;
    dcam_score_group g = dcam_groups_start(&p->sorted);
    while (x < FPR_LIMIT && dcam_groups_next(&p->sorted, &g)) {
        const double x0 = (double)g.normal_above / normals, x1 = (double)g.normal_at_least / normals;
        area += (fmin(x0, FPR_LIMIT) - x) * y;
        x = fmin(x0, FPR_LIMIT);
        if (x0 >= FPR_LIMIT) break;
        double rise = 0;
        for (size_t i = g.first; i < g.end; i++) rise += p->share[(uint32_t)p->sorted.defect[i]];
        const double end = fmin(x1, FPR_LIMIT);
        const double y_end = x1 > x0 ? y + rise * (end - x0) / (x1 - x0) : y + rise;
        area += (end - x0) * (y + y_end) / 2;
        x = end;
        y = y_end;
    }
    if (x < FPR_LIMIT) area += (FPR_LIMIT - x) * y; /* below the lowest defect score all regions are covered */
    return area / FPR_LIMIT;
}

static double rescaled_pro(const pixel_scores *p)
{
    const dcam_sorted_scores *s = &p->sorted;
    const double delta = ((double)p->max - (double)p->min) / RESCALED_STEPS;
    size_t normal_left = s->normal_count, defect_left = s->defect_count;
    double pro = 0, first_x = 0, first_y = 0, last_x = 0, last_y = 0, area = 0;
    for (int k = 0; k < RESCALED_STEPS; k++) {
        const double threshold = (double)p->max - k * delta;
        while (normal_left > 0 && (double)dcam_score_of_key(s->normal[normal_left - 1]) > threshold) normal_left--;
        for (; defect_left > 0 && (double)dcam_score_of_key((uint32_t)(s->defect[defect_left - 1] >> 32)) > threshold;
             defect_left--)
            pro += p->share[(uint32_t)s->defect[defect_left - 1]];
        const double fpr = (double)(s->normal_count - normal_left) / (double)s->normal_count;
        if (fpr > FPR_LIMIT) break; /* FPR only grows */
        if (k == 0) {
            first_x = fpr;
            first_y = pro;
        } else {
            area += (fpr - last_x) * ((last_y - first_y) + (pro - first_y)) / 2;
        }
        last_x = fpr;
        last_y = pro;
    }
    if (!(last_x > first_x) || !(last_y > first_y)) return NAN;
    return area / ((last_x - first_x) * (last_y - first_y));
}

dcam_status dcam_pixel_evaluate(const float *maps, const uint8_t *masks, int n, int height, int width,
                                dcam_pixel_metrics *out)
{
    pixel_scores p = {0};
    uint32_t *scratch = NULL;
    size_t total, bad, defects;
    dcam_status status = DCAM_OK;
    if (n < 0 || height <= 0 || width <= 0)
        return dcam_fail(DCAM_ERROR_INTERNAL, "pixel metrics of %d maps of %d x %d", n, width, height);
    if (!dcam_size_mul((size_t)n, (size_t)height * (size_t)width, &total) || total > DCAM_MAX_METRIC_COUNT)
        return dcam_fail(DCAM_ERROR_DATA, "%d maps of %d x %d have more pixels than the %zu that a metric takes", n,
                         width, height, DCAM_MAX_METRIC_COUNT);
    bad = scan_range(maps, total, &p.min, &p.max);
    if (bad < total)
        return dcam_fail(DCAM_ERROR_NUMERIC, "anomaly map %zu of %d is not finite; the model that gave it is broken",
                         bad / ((size_t)height * (size_t)width), n);
    defects = count_defects(masks, total);
    const size_t normals = total - defects;
    dcam_pixel_metrics m = {{NAN, NAN, NAN, NAN}, NAN, NAN, 0};

    if ((status = dcam_alloc(normals, sizeof *p.sorted.normal, &p.sorted.normal)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(defects, sizeof *p.sorted.defect, &p.sorted.defect)) != DCAM_OK) goto cleanup;
    if ((status = gather(&p, maps, masks, n, height, width)) != DCAM_OK) goto cleanup;
    m.regions = (int64_t)p.regions;
    if (normals > 0 && defects > 0) {
        if ((status = dcam_alloc(normals, sizeof *scratch, &scratch)) != DCAM_OK) goto cleanup;
        dcam_sort_keys(p.sorted.normal, scratch, normals);
        dcam_sort_packed(p.sorted.defect, defects);
        m.pixel = dcam_ranking_of_sorted(&p.sorted);
        m.aupro = exact_aupro(&p);
        m.pro_rescaled = rescaled_pro(&p);
    }
    *out = m;
cleanup:
    dcam_free(scratch);
    dcam_free(p.share);
    dcam_free(p.sorted.defect);
    dcam_free(p.sorted.normal);
    return status;
}
