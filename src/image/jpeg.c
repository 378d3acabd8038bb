/* jpeg.c - JPEG encoding through TurboJPEG into a buffer of ours, for pictures that people look at: smaller than PNG by
 * a factor of five or so. Nothing that is measured goes through it. */
#include <turbojpeg.h>

#include "base/memory.h"
#include "image/image.h"

dcam_status dcam_jpeg_encode(const dcam_image *image, int quality, uint8_t **out, size_t *out_bytes)
{
    if (image->width < 1 || image->height < 1 || image->channels != 3)
        return dcam_fail(DCAM_ERROR_USAGE, "cannot write a JPEG of %d x %d pixels with %d channels", image->width,
                         image->height, image->channels);
    const unsigned long room = tjBufSize(image->width, image->height, TJSAMP_420);
    uint8_t *bytes = NULL;
    unsigned long count = room;
    if (room == (unsigned long)-1)
        return dcam_fail(DCAM_ERROR_USAGE, "cannot write a JPEG of %d x %d pixels", image->width, image->height);
    DCAM_TRY(dcam_alloc(room, 1, &bytes));
    tjhandle jpeg = tjInitCompress();
    dcam_status status = DCAM_OK;
    if (!jpeg)
        status = dcam_fail(DCAM_ERROR_MEMORY, "not enough memory to write a JPEG");
    else if (tjCompress2(jpeg, image->pixels, image->width, 0, image->height, TJPF_RGB, &bytes, &count, TJSAMP_420,
                         quality, TJFLAG_NOREALLOC) != 0)
        status = dcam_fail(DCAM_ERROR_INTERNAL, "cannot write a JPEG: %s", tjGetErrorStr2(jpeg));
    if (jpeg) tjDestroy(jpeg);
    if (status == DCAM_OK) {
        *out = bytes;
        *out_bytes = count;
        bytes = NULL;
    }
    dcam_free(bytes);
    return status;
}
