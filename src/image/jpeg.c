/* jpeg.c - JPEG encoding through TurboJPEG into a buffer of ours, for pictures that people look at: smaller than PNG by
 * a factor of five or so. Nothing that is measured goes through it. */
#include <turbojpeg.h>

#include "base/memory.h"
#include "image/image.h"

#define MOST_SIDE 65500 /* JPEG_MAX_DIMENSION of libjpeg's jmorecfg.h */

dcam_status dcam_jpeg_encode(const dcam_image *image, int quality, uint8_t **out, size_t *out_bytes)
{
    if (image->width < 1 || image->width > MOST_SIDE || image->height < 1 || image->height > MOST_SIDE || image->channels != 3)
        return dcam_fail(DCAM_ERROR_USAGE, "cannot write a JPEG of %d x %d pixels with %d channels", image->width,
                         image->height, image->channels);
    if (quality < 1 || quality > 100) return dcam_fail(DCAM_ERROR_USAGE, "a JPEG of quality %d: it must be 1 to 100", quality);
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
        /* TurboJPEG tells reasons apart in words only; with sides, quality and room that fit there is no other than this. */
        status = dcam_fail(DCAM_ERROR_MEMORY, "not enough memory to write a JPEG: %s", tjGetErrorStr2(jpeg));
    if (jpeg) tjDestroy(jpeg);
    if (status == DCAM_OK) {
        *out = bytes;
        *out_bytes = count;
        bytes = NULL;
    }
    dcam_free(bytes);
    return status;
}
