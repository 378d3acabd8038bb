/* dataset_largest.c - which photograph of a data set takes most memory. */
#include "data/dataset.h"
#include "image/image.h"

dcam_photograph dcam_photograph_larger(dcam_photograph a, dcam_photograph b) { return a.bytes >= b.bytes ? a : b; }

dcam_photograph dcam_dataset_largest(const dcam_dataset *d, const uint32_t *indices, size_t count)
{
    dcam_photograph largest = {.path = NULL};
    for (size_t i = 0; i < count; i++) {
        const char *path = d->samples[indices[i]].path;
        dcam_image_size size;
        if (dcam_image_look(path, &size))
            largest = dcam_photograph_larger(largest, (dcam_photograph){path, size.width, size.height, size.bytes});
    }
    return largest;
}
