/* decode_jpeg.c - JPEG through TurboJPEG, with the accurate DCT and smooth
 * chroma as Pillow uses them. A file that ends early is refused: libjpeg would
 * fill the rest with grey, which a detector takes for a defect. */
#include "image/decode.h"

#include <string.h>
#include <turbojpeg.h>

/* With Huffman codes an 8x8 block costs at least one bit, so this many pixels at
 * most can come out of a byte. It stops a tiny file that claims to be huge
 * before its memory is asked for. */
#define PIXELS_PER_BYTE 512u

/* libjpeg goes through the coefficients of the whole picture once a scan, and an empty scan of a progressive JPEG costs a
 * handful of bytes: 490 of 4096 x 4096 in 50 kB took 6 s. Cameras and editors write some 10 scans, optimisers up to 30. So
 * many are read whatever the picture's size; more where all scans together stay within a number of pixels, which take
 * about a second. TurboJPEG itself refuses more than 500 (TJFLAG_LIMITSCANS). */
#define USUAL_SCANS 32u
#define MAX_SCAN_PIXELS (1u << 30)

enum { START = 0xd8, END = 0xd9, SCAN = 0xda, TEMPORARY = 0x01, RESTART_0 = 0xd0, RESTART_7 = 0xd7 };

/* Place of the next marker's 0xff, or count. As libjpeg does it skips coded data, restarts among it, and what is no marker
 * at all; of several 0xff the last one counts. */
static size_t find_marker(const uint8_t *b, size_t count, size_t at)
{
    while (at + 1 < count) {
        const uint8_t *found = memchr(b + at, 0xff, count - 1 - at);
        if (!found) break;
        at = (size_t)(found - b);
        const uint8_t code = found[1];
        if (code == 0xff) at++;
        else if (code == 0 || (code >= RESTART_0 && code <= RESTART_7)) at += 2;
        else return at;
    }
    return count;
}

static bool is_frame(uint8_t marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* Up to the end marker: what follows it, such as another picture, is not decoded. Of two frame headers libjpeg refuses the
 * second. */
dcam_jpeg_markers dcam_jpeg_read_markers(const uint8_t *b, size_t count)
{
    dcam_jpeg_markers found = {0};
    bool framed = false;
    for (size_t at = find_marker(b, count, 2), length; at < count; at = find_marker(b, count, at + 2 + length)) {
        const uint8_t marker = b[at + 1];
        length = 0;
        if (marker == END) break;
        if (marker == START || marker == TEMPORARY) continue;
        if (count - at < 4) break;
        length = (size_t)(b[at + 2] << 8 | b[at + 3]);
        if (length < 2) length = 2; /* the field itself, which libjpeg has read by then */
        if (length > count - at - 2) break;
        if (marker == SCAN) found.scans++;
        if (!is_frame(marker) || framed || length < 7) continue;
        framed = true;
        found.huffman = marker < 0xc8;
        found.pixels = (uint64_t)(b[at + 5] << 8 | b[at + 6]) * (uint64_t)(b[at + 7] << 8 | b[at + 8]);
    }
    return found;
}

uint64_t dcam_jpeg_most_scan_pixels(uint64_t pixels)
{
    return pixels * USUAL_SCANS > MAX_SCAN_PIXELS ? pixels * USUAL_SCANS : MAX_SCAN_PIXELS;
}

static dcam_status check_work(const dcam_encoded *file, int width, int height)
{
    const dcam_jpeg_markers found = dcam_jpeg_read_markers(file->bytes, file->count);
    const uint64_t pixels = (uint64_t)width * (uint64_t)height, most = dcam_jpeg_most_scan_pixels(pixels) / pixels;
    if (pixels / PIXELS_PER_BYTE > file->count && found.huffman)
        return dcam_damaged(file, "JPEG", "too short for the size in its header");
    if (found.scans <= most) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_IMAGE,
                     "%s: JPEG of %d x %d pixels in %zu scans, above the limit of %llu for it; save it as a baseline JPEG or PNG",
                     file->name, width, height, found.scans, (unsigned long long)most);
}

static dcam_status library_failure(const dcam_encoded *file, tjhandle handle)
{
    const char *reason = tjGetErrorStr2(handle);
    if (strstr(reason, "nsufficient memory") || strstr(reason, "llocation failure"))
        return dcam_no_memory(file);
    return dcam_damaged(file, "JPEG", reason);
}

/* A warning means that libjpeg made pixels up, but for one: bytes between the
 * last pixel and the end marker, which some cameras write. */
static bool is_harmless(tjhandle handle)
{
    return tjGetErrorCode(handle) == TJERR_WARNING && strstr(tjGetErrorStr2(handle), "before marker 0xd9");
}

/* TurboJPEG has names for the usual ways of subsampling colours only (of 4:1:0, say, none), and calls the header wrong where
 * it has none, after it told what else is in it. Decoding needs no name. */
static bool is_unnamed_subsampling(tjhandle handle, int width, int height)
{
    return width > 0 && height > 0 && strstr(tjGetErrorStr2(handle), "determine subsampling");
}

static dcam_status check_header(const dcam_encoded *file, tjhandle handle, int *width, int *height)
{
    /* Of a file with tables and no picture TurboJPEG says that all is well, and sets none of these. */
    int subsampling = 0, colours = TJCS_RGB;
    *width = *height = 0;
    if (tjDecompressHeader3(handle, file->bytes, (unsigned long)file->count, width, height, &subsampling, &colours) !=
            0 &&
        !is_harmless(handle) && !is_unnamed_subsampling(handle, *width, *height))
        return library_failure(file, handle);
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        return dcam_fail(DCAM_ERROR_IMAGE,
                         "%s: is a CMYK JPEG, whose colours need a printer's profile to become RGB; save it as RGB",
                         file->name);
    DCAM_TRY(dcam_check_sides(file, "JPEG", (uint64_t)*width, (uint64_t)*height));
    return check_work(file, *width, *height);
}

dcam_status dcam_decode_jpeg(const dcam_encoded *file, dcam_image *out)
{
    dcam_image image = {0, 0, 0, NULL};
    int width, height;
    tjhandle handle = tjInitDecompress();
    if (!handle) return dcam_fail(DCAM_ERROR_MEMORY, "%s: cannot start the JPEG decoder", file->name);
    dcam_status status = check_header(file, handle, &width, &height);
    if (status != DCAM_OK) goto cleanup;
    if ((status = dcam_image_make(width, height, 3, &image)) != DCAM_OK) goto cleanup;
    if (tjDecompress2(handle, file->bytes, (unsigned long)file->count, image.pixels, width, 3 * width, height,
                      TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0 &&
        !is_harmless(handle)) {
        status = library_failure(file, handle);
        goto cleanup;
    }
    if (file->lossy) *file->lossy = true;
    *out = image;
    image.pixels = NULL;
cleanup:
    dcam_image_clear(&image);
    tjDestroy(handle);
    return status;
}
