/* dataset_largest.c - which photograph of a data set takes most memory. */
#include "data/dataset.h"
#include "image/image.h"

dcam_status dcam_dataset_find_largest(const dcam_dataset *d, const uint32_t *indices, size_t count,
                                      dcam_photograph *largest)
{
    dcam_photograph found = *largest;
    for (size_t i = 0; i < count; i++) {
        const char *path = d->samples[indices[i]].path;
        dcam_image_size size;
        DCAM_TRY(dcam_image_look(path, &size));
        if (size.bytes > found.bytes) found = (dcam_photograph){path, size.width, size.height, size.bytes};
    }
    *largest = found;
    return DCAM_OK;
}
