/* ranges.h - how far each convolution's result reaches, over many images: what an int8 network needs to know
 * beforehand. Values are counted by size, so memory does not grow with the images. */
#ifndef DCAM_NET_RANGES_H
#define DCAM_NET_RANGES_H

#include <stddef.h>

#include "base/status.h"

/* A range outside these is refused: nothing that a trained network computes is that small or that large. */
#define DCAM_LEAST_RANGE 1e-6f
#define DCAM_LARGEST_RANGE 1e6f

/* Where a range ends: at the largest value seen, or where the squared error of the values seen is least, that of
 * rounding within the range and that of saturation beyond it together. */
typedef enum { DCAM_RANGE_LEAST_ERROR, DCAM_RANGE_LARGEST } dcam_range_rule;

typedef struct dcam_range_meter dcam_range_meter;
DCAM_MUST_CHECK dcam_status dcam_range_meter_create(int convolutions, dcam_range_meter **out);
void dcam_range_meter_destroy(dcam_range_meter *meter);
/* A dcam_net_observer (resnet.h); meter: the dcam_range_meter. Values that are not finite are not counted. */
void dcam_range_meter_see(void *meter, int convolution, const float *values, size_t count);
/* Within the limits above. */
float dcam_range_meter_result(const dcam_range_meter *meter, int convolution, dcam_range_rule rule);

#endif
