/* libraries.c - which codecs decode and encode, for reports: as they say themselves at run time, and where they cannot
 * (libjpeg-turbo, libdeflate) what dcam was built with. */
#include <spng.h>
#include <stdio.h>
#include <string.h>
#include <tiffio.h>
#include <webp/decode.h>
#ifdef DCAM_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "image/image.h"

/* "LIBTIFF, Version 4.5.0\nCopyright ..." */
static void tiff_version(char *out, size_t capacity)
{
    const char *text = TIFFGetVersion(), *number = strstr(text, "Version ");
    number = number ? number + strlen("Version ") : text;
    snprintf(out, capacity, "%.*s", (int)strcspn(number, "\n"), number);
}

int dcam_image_libraries(dcam_image_library *out, int capacity)
{
    dcam_image_library all[5];
    int n = 0;
    all[n].name = "libjpeg-turbo";
    snprintf(all[n++].version, sizeof all[0].version, "%s", DCAM_JPEG_VERSION);
    all[n].name = "libspng";
    snprintf(all[n++].version, sizeof all[0].version, "%s", spng_version_string());
#ifdef DCAM_LIBDEFLATE
    all[n].name = "libdeflate";
    snprintf(all[n++].version, sizeof all[0].version, "%s", LIBDEFLATE_VERSION_STRING);
#endif
    const int webp = WebPGetDecoderVersion();
    all[n].name = "libwebp";
    snprintf(all[n++].version, sizeof all[0].version, "%d.%d.%d", webp >> 16, webp >> 8 & 255, webp & 255);
    all[n].name = "libtiff";
    tiff_version(all[n++].version, sizeof all[0].version);
    if (n > capacity) n = capacity;
    memcpy(out, all, (size_t)n * sizeof *all);
    return n;
}
