/* components.c - 8-connected components in two passes with union-find (Rosenfeld and Pfaltz, 1966). Roots are the
 * smallest provisional label, so that the final numbers follow the first pixel of each region in reading order. */
#include "base/memory.h"
#include "metrics/metrics.h"

static int32_t find_root(int32_t *parents, int32_t label)
{
    while (parents[label] != label) {
        parents[label] = parents[parents[label]]; /* halves the path */
        label = parents[label];
    }
    return label;
}

static int32_t unite(int32_t *parents, int32_t a, int32_t b)
{
    a = find_root(parents, a);
    b = find_root(parents, b);
    if (a < b) return parents[b] = a;
    return parents[a] = b;
}

/* A new provisional label needs a pixel without labelled neighbours before it: at most one in each 2 x 2 block. */
size_t dcam_component_parents(int height, int width)
{
    return ((size_t)height + 1) / 2 * (((size_t)width + 1) / 2) + 1;
}

/* The label of pixel (y, x) from its four neighbours that come before it, 0 if none of them has one. If the one above
 * is set, it has met the other three already; else only the left side and the upper right may still differ. */
static int32_t label_before(const int32_t *labels, int32_t *parents, int y, int x, int width)
{
    const int32_t *here = labels + (size_t)y * (size_t)width + x;
    const int32_t *above = y > 0 ? here - width : NULL;
    if (above && above[0]) return above[0];
    const int32_t right = above && x + 1 < width ? above[1] : 0;
    int32_t left = x > 0 ? here[-1] : 0;
    if (!left && above && x > 0) left = above[-1];
    if (left && right) return unite(parents, left, right);
    return left ? left : right;
}

int dcam_label_components(const uint8_t *mask, int height, int width, int32_t *labels, int32_t *parents)
{
    int32_t used = 0;
    parents[0] = 0;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            const size_t i = (size_t)y * (size_t)width + (size_t)x;
            labels[i] = 0;
            if (!mask[i]) continue;
            int32_t label = label_before(labels, parents, y, x, width);
            if (!label) {
                label = ++used;
                parents[label] = label;
            }
            labels[i] = label;
        }
    }
    /* Parents never exceed their label, so one pass upwards numbers all. */
    int32_t count = 0;
    for (int32_t label = 1; label <= used; label++)
        parents[label] = parents[label] == label ? ++count : parents[parents[label]];
    const size_t pixels = (size_t)height * (size_t)width;
    for (size_t i = 0; i < pixels; i++) labels[i] = parents[labels[i]];
    return count;
}

dcam_status dcam_connected_components(const uint8_t *mask, int height, int width, int32_t *labels, int *count)
{
    int32_t *parents;
    DCAM_TRY(dcam_alloc(dcam_component_parents(height, width), sizeof *parents, &parents));
    *count = dcam_label_components(mask, height, width, labels, parents);
    dcam_free(parents);
    return DCAM_OK;
}
