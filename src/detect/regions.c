/* regions.c - connected parts of a map above a threshold, reported in pixels of the original photograph. */
#include "detect/regions.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "metrics/metrics.h"

typedef struct {
    int left, top, right, bottom; /* map pixels, inclusive */
    int count;
    float peak;
} part;

struct dcam_region_finder {
    int height, width;
    uint8_t *mask;
    int32_t *labels, *parents;
    part *parts; /* as many as labels can be */
};

dcam_status dcam_region_finder_create(int height, int width, dcam_region_finder **out)
{
    if (height <= 0 || width <= 0) return dcam_fail(DCAM_ERROR_INTERNAL, "regions of a map of %d x %d", width, height);
    const size_t pixels = (size_t)height * (size_t)width, parts = dcam_component_parents(height, width);
    dcam_region_finder *f;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *f, &f));
    f->height = height;
    f->width = width;
    dcam_status status;
    if ((status = dcam_alloc(pixels, sizeof *f->mask, &f->mask)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(pixels, sizeof *f->labels, &f->labels)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(parts, sizeof *f->parents, &f->parents)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(parts, sizeof *f->parts, &f->parts)) != DCAM_OK) goto cleanup;
    *out = f;
    f = NULL;
cleanup:
    dcam_region_finder_destroy(f);
    return status;
}

void dcam_region_finder_destroy(dcam_region_finder *f)
{
    if (!f) return;
    dcam_free(f->parts);
    dcam_free(f->parents);
    dcam_free(f->labels);
    dcam_free(f->mask);
    dcam_free(f);
}

static void measure(dcam_region_finder *f, const float *map, int count)
{
    for (int k = 0; k < count; k++) f->parts[k] = (part){f->width, f->height, -1, -1, 0, -INFINITY};
    for (int y = 0; y < f->height; y++) {
        for (int x = 0; x < f->width; x++) {
            const size_t i = (size_t)y * (size_t)f->width + (size_t)x;
            if (!f->labels[i]) continue;
            part *p = &f->parts[f->labels[i] - 1];
            if (x < p->left) p->left = x;
            if (x > p->right) p->right = x;
            if (y < p->top) p->top = y;
            p->bottom = y;
            p->count++;
            if (map[i] > p->peak) p->peak = map[i];
        }
    }
}

/* Strongest first; every tie is broken, so that the order does not hang on the sort. */
static int by_strength(const void *a, const void *b)
{
    const part *p = a, *q = b;
    if (p->peak != q->peak) return p->peak > q->peak ? -1 : 1;
    if (p->count != q->count) return p->count > q->count ? -1 : 1;
    if (p->top != q->top) return p->top < q->top ? -1 : 1;
    if (p->left != q->left) return p->left < q->left ? -1 : 1;
    return 0;
}

/* Map pixels first .. last cover these pixels of an original side, whole or in part; 64 bit: 4096 * 32768 fits. */
static void scale_side(int first, int last, int map_side, int image_side, int *start, int *length)
{
    const int64_t begin = (int64_t)first * image_side / map_side;
    const int64_t end = ((int64_t)(last + 1) * image_side + map_side - 1) / map_side;
    *start = (int)begin;
    *length = (int)(end - begin);
}

size_t dcam_find_regions(dcam_region_finder *f, const float *map, double threshold, int image_width,
                         int image_height, double min_area, dcam_region *out, size_t capacity)
{
    const size_t pixels = (size_t)f->height * (size_t)f->width;
    for (size_t i = 0; i < pixels; i++) f->mask[i] = (double)map[i] >= threshold;
    const int count = dcam_label_components(f->mask, f->height, f->width, f->labels, f->parents);
    measure(f, map, count);
    qsort(f->parts, (size_t)count, sizeof *f->parts, by_strength);

    const double pixel_area = (double)image_width * (double)image_height / (double)pixels;
    size_t written = 0;
    for (int k = 0; k < count && written < capacity; k++) {
        const part *p = &f->parts[k];
        dcam_region r = {.area = p->count * pixel_area, .peak = (double)p->peak};
        if (r.area < min_area) continue;
        scale_side(p->left, p->right, f->width, image_width, &r.x, &r.width);
        scale_side(p->top, p->bottom, f->height, image_height, &r.y, &r.height);
        out[written++] = r;
    }
    return written;
}
