/* regions.h - the connected parts of an anomaly map at or above a threshold, in pixels of the original photograph. */
#ifndef DCAM_DETECT_REGIONS_H
#define DCAM_DETECT_REGIONS_H

#include <stddef.h>

#include "base/status.h"
#include "dcam.h"

/* More marks than this on one photograph tell nobody anything; the strongest are kept. */
#define DCAM_MAX_REGIONS 256

typedef struct dcam_region_finder dcam_region_finder;
DCAM_MUST_CHECK dcam_status dcam_region_finder_create(int height, int width, dcam_region_finder **out);
void dcam_region_finder_destroy(dcam_region_finder *finder);

/* 8-connected parts of map (height x width) with value >= threshold. Boxes cover every original pixel that a part
 * touches; area is in original pixels; peak is the largest raw map value. Parts of less than min_area original pixels
 * (0: none) are left out. The strongest first (peak, then area, then top left); at most capacity of them.
 * Returns how many were written. Allocates nothing. */
size_t dcam_find_regions(dcam_region_finder *finder, const float *map, double threshold, int image_width,
                         int image_height, double min_area, dcam_region *out, size_t capacity);

#endif
