/* decode_tiff.c - the first picture of a TIFF through libtiff's RGBA reader,
 * from memory. The orientation tag is not applied. The reader lays alpha over
 * black itself; for 16 bits it is made to keep the high byte, and its messages
 * go into a buffer, never to the terminal (libtiff 4.5 can do so per file). */
#include "image/decode.h"

#include <string.h>
#include <tiffio.h>

#include "base/memory.h"
#include "base/number_text.h"

/* Four samples of 16 bits: no block inside libtiff need be larger than the largest picture of such pixels. */
#define MOST_PIXEL_BYTES 8u
/* Strips and tiles up to this size are read whatever the picture's size: a tile of 2048 x 2048 RGBA. */
#define SMALL_BLOCK ((uint64_t)16 << 20)
/* Sides of tiles are rounded up: the last of a few large ones hardly overlaps the picture. */
#define MOST_TILE_TO_PICTURE 4u
/* How often the bytes of a file may be those of JPEG strips or tiles, and how many may in any case: tiles of one colour
 * are often the same few bytes. */
#define MOST_USES_OF_BYTES 4u
#define SMALL_USE ((uint64_t)64 << 20)

/* What the callbacks of libtiff see. */
typedef struct {
    const dcam_encoded *file;
    uint64_t position;
    char error[200]; /* the first one, or the first warning that is as bad; "" before */
} source;

static tmsize_t read_bytes(thandle_t handle, void *to, tmsize_t count)
{
    source *s = handle;
    if (s->position >= s->file->count || count <= 0) return 0;
    uint64_t left = s->file->count - s->position;
    uint64_t n = (uint64_t)count < left ? (uint64_t)count : left;
    memcpy(to, s->file->bytes + s->position, (size_t)n);
    s->position += n;
    return (tmsize_t)n;
}

static tmsize_t write_nothing(thandle_t handle, void *from, tmsize_t count)
{
    (void)handle, (void)from, (void)count;
    return 0;
}

static toff_t seek_to(thandle_t handle, toff_t offset, int whence)
{
    source *s = handle;
    uint64_t base = whence == SEEK_CUR ? s->position : whence == SEEK_END ? s->file->count : 0;
    s->position = base + offset;
    return s->position;
}

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

/* Mapped, nothing is copied; and libtiff 4.5.0 refuses small uncompressed tiles
 * that are not mapped. It does not write to a map. */
static int map_all(thandle_t handle, void **base, toff_t *size)
{
    const source *s = handle;
    *base = (void *)(uintptr_t)s->file->bytes;
    *size = s->file->count;
    return 1;
}

static void unmap_nothing(thandle_t handle, void *base, toff_t size) { (void)handle, (void)base, (void)size; }

static toff_t size_of(thandle_t handle) { return ((source *)handle)->file->count; }

__attribute__((format(printf, 4, 0))) static int keep_error(TIFF *tiff, void *user, const char *module,
                                                            const char *format, va_list arguments)
{
    (void)tiff, (void)module;
    source *s = user;
    if (!s->error[0]) dcam_vsnprintf(s->error, sizeof s->error, format, arguments);
    return 1;
}

/* Whether a warning says that a decoder made up pixels, or left out data that has no place. libjpeg's is not: bytes between
 * the last pixel and the end marker (decode_jpeg.c); nor that of rows in modified Huffman code, which may end beyond the
 * picture. */
static bool is_damage(const char *module, const char *text)
{
    if (strcmp(module, "JPEGLib") == 0 || strcmp(module, "LibJpeg") == 0) return !strstr(text, "before marker 0xd9");
    return strcmp(module, "PackBitsDecode") == 0 || (strncmp(module, "Fax", 3) == 0 && strcmp(module, "Fax3DecodeRLE") != 0);
}

__attribute__((format(printf, 4, 0))) static int look_at_warning(TIFF *tiff, void *user, const char *module,
                                                                 const char *format, va_list arguments)
{
    (void)tiff;
    source *s = user;
    char text[sizeof s->error];
    dcam_vsnprintf(text, sizeof text, format, arguments);
    if (module && !s->error[0] && is_damage(module, text)) memcpy(s->error, text, sizeof text);
    return 1;
}

static dcam_status library_failure(const source *s)
{
    if (dcam_library_lacked_memory()) return dcam_no_memory(s->file);
    return dcam_damaged(s->file, "TIFF", s->error[0] ? s->error : "unknown fault");
}

static uint64_t most_block_bytes(uint64_t pixels)
{
    const uint64_t bytes = pixels * MOST_PIXEL_BYTES;
    return bytes > SMALL_BLOCK ? bytes : SMALL_BLOCK;
}

static dcam_status open_tiff(source *s, TIFF **out)
{
    DCAM_TRY(dcam_library_begin(s->file, DCAM_LIBRARY_TABLES));
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options) return dcam_no_memory(s->file);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)most_block_bytes(dcam_pixel_limit(s->file)));
    TIFFOpenOptionsSetErrorHandlerExtR(options, keep_error, s);
    TIFFOpenOptionsSetWarningHandlerExtR(options, look_at_warning, s);
    TIFF *tiff = TIFFClientOpenExt("it", "r", s, read_bytes, write_nothing, seek_to, close_nothing, size_of, map_all,
                                   unmap_nothing, options);
    TIFFOpenOptionsFree(options);
    if (!tiff) return library_failure(s);
    *out = tiff;
    return DCAM_OK;
}

static uint8_t scale_grey(const TIFFRGBAImage *image, uint16_t value, bool mask)
{
    if (image->photometric == PHOTOMETRIC_MINISWHITE) value = (uint16_t)(65535 - value);
    return dcam_narrow(value, mask);
}

/* Replaces libtiff's routines for 8-bit grey and palettes with more samples beside them, which take alpha for laid over
 * black already (of a palette for nothing), and in tiles that reach beyond the picture go on at the wrong sample. Called for
 * a block of w x h pixels; skips are in pixels. */
static void put_first_sample_8(TIFFRGBAImage *image, uint32_t *to, uint32_t x, uint32_t y, uint32_t w, uint32_t h,
                               int32_t from_skip, int32_t to_skip, unsigned char *from)
{
    (void)x, (void)y;
    const size_t samples = image->samplesperpixel;
    const bool mask = ((const source *)TIFFClientdata(image->tif))->file->mask;
    uint32_t colours[256];
    for (uint32_t v = 0; v < 256; v++)
        colours[v] = image->photometric == PHOTOMETRIC_PALETTE      ? image->PALmap[v][0]
                     : image->photometric == PHOTOMETRIC_MINISWHITE ? (255 - v) * 0x010101u
                                                                    : v * 0x010101u;
    for (; h > 0; h--) {
        for (uint32_t i = 0; i < w; i++, from += samples) {
            const uint32_t colour = colours[from[0]];
            const uint8_t alpha = image->alpha == EXTRASAMPLE_UNASSALPHA ? from[1] : 255;
            uint32_t mixed = 0;
            for (int c = 0; c < 24; c += 8)
                mixed |= (uint32_t)dcam_over_black((uint8_t)(colour >> c), alpha, mask) << c;
            *to++ = mixed;
        }
        to += to_skip;
        from += (ptrdiff_t)from_skip * (ptrdiff_t)samples;
    }
}

/* Replaces libtiff's routine for 16-bit grey, which knows no alpha. The same. */
static void put_grey_16(TIFFRGBAImage *image, uint32_t *to, uint32_t x, uint32_t y, uint32_t w, uint32_t h,
                        int32_t from_skip, int32_t to_skip, unsigned char *from)
{
    (void)x, (void)y;
    size_t samples = image->samplesperpixel;
    bool mask = ((const source *)TIFFClientdata(image->tif))->file->mask;
    for (; h > 0; h--) {
        for (uint32_t i = 0; i < w; i++, from += 2 * samples) {
            uint16_t value, alpha = 65535;
            memcpy(&value, from, 2);
            if (samples == 2 && image->alpha) memcpy(&alpha, from + 2, 2);
            uint8_t grey = scale_grey(image, value, mask);
            if (image->alpha == EXTRASAMPLE_UNASSALPHA) grey = dcam_over_black(grey, dcam_narrow(alpha, mask), mask);
            *to++ = grey * 0x010101u;
        }
        to += to_skip;
        from += (ptrdiff_t)from_skip * (ptrdiff_t)(2 * samples);
    }
}

static dcam_status read_raster(source *s, TIFF *tiff, uint32_t *raster)
{
    TIFFRGBAImage reader;
    char reason[1024] = "";
    if (!TIFFRGBAImageBegin(&reader, tiff, 1, reason))
        return s->error[0] || dcam_library_lacked_memory()
                           ? library_failure(s)
                           : dcam_fail(DCAM_ERROR_IMAGE, "%s: a kind of TIFF that is not read (%s); save it as PNG",
                                       s->file->name, reason);
    /* Asking for the orientation that the file has turns nothing. */
    reader.req_orientation = reader.orientation;
    if (reader.Bitdepth16To8)
        for (uint32_t v = 0; v < 65536; v++) reader.Bitdepth16To8[v] = dcam_narrow((uint16_t)v, s->file->mask);
    bool grey = reader.photometric == PHOTOMETRIC_MINISBLACK || reader.photometric == PHOTOMETRIC_MINISWHITE;
    if (grey && reader.bitspersample == 16 && reader.isContig) reader.put.contig = put_grey_16;
    if ((grey || reader.photometric == PHOTOMETRIC_PALETTE) && reader.bitspersample == 8 && reader.isContig &&
        reader.samplesperpixel > 1)
        reader.put.contig = put_first_sample_8;
    /* Decoders of fax go on behind what they call an error. */
    s->error[0] = '\0';
    const bool good = TIFFRGBAImageGet(&reader, raster, reader.width, reader.height) != 0 && !s->error[0];
    TIFFRGBAImageEnd(&reader);
    return good ? DCAM_OK : library_failure(s);
}

/* Of a strip or tile, decoded; 0 if it does not fit 64 bits, or a side is 0. */
static uint64_t block_bytes(TIFF *tiff) { return TIFFIsTiled(tiff) ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff); }

static dcam_status check_header(source *s, TIFF *tiff, uint32_t *width, uint32_t *height)
{
    uint16_t photometric = 0, format = 0, planes = 0, samples = 1;
    if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, width) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, height))
        return dcam_damaged(s->file, "TIFF", "its header says it has no pixels");
    DCAM_TRY(dcam_check_sides(s->file, "TIFF", *width, *height));
    if (TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric) && photometric == PHOTOMETRIC_SEPARATED)
        return dcam_fail(DCAM_ERROR_IMAGE,
                         "%s: is a CMYK TIFF, whose colours need a printer's profile to become RGB; save it as RGB",
                         s->file->name);
    /* Of these libtiff gives the negative. */
    if (photometric == PHOTOMETRIC_MINISWHITE && TIFFGetField(tiff, TIFFTAG_PLANARCONFIG, &planes) &&
        planes == PLANARCONFIG_SEPARATE && TIFFGetField(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples) && samples > 1)
        return dcam_fail(DCAM_ERROR_IMAGE,
                         "%s: a kind of TIFF that is not read (0 is white, in planes of their own); save it as PNG",
                         s->file->name);
    /* libtiff refuses floats, but takes what is just below 0 for white. */
    if (TIFFGetField(tiff, TIFFTAG_SAMPLEFORMAT, &format) && format == SAMPLEFORMAT_INT)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: is a TIFF of numbers with a sign, which is not read; scale it to 0 and more, "
                         "and save it as PNG", s->file->name);
    return DCAM_OK;
}

/* libtiff makes room for a whole strip or tile, and clears it, however small the picture is; only from 100 MB on it first
 * looks whether the bytes in the file could be a thousandth of that. So a picture of one pixel in 2 MB could ask for
 * gigabytes, by the sides of its tile or by thousands of samples a pixel. */
static dcam_status check_block(const source *s, TIFF *tiff, uint32_t width, uint32_t height)
{
    uint32_t w = 0, h = 0;
    const bool tiled = TIFFIsTiled(tiff) != 0;
    /* The decoders of fax lay out rows of their own, many times as large as those of one bit a pixel. */
    if (tiled && TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &w) && TIFFGetField(tiff, TIFFTAG_TILELENGTH, &h) &&
        (w > DCAM_MAX_IMAGE_SIDE || h > DCAM_MAX_IMAGE_SIDE))
        return dcam_fail(DCAM_ERROR_IMAGE,
                         "%s: TIFF in tiles of %u x %u pixels, above the limit of %d a side; save it as PNG",
                         s->file->name, w, h, DCAM_MAX_IMAGE_SIDE);
    const uint64_t bytes = block_bytes(tiff);
    const uint64_t wanted = most_block_bytes((uint64_t)width * height * MOST_TILE_TO_PICTURE);
    const uint64_t limit = most_block_bytes(dcam_pixel_limit(s->file)), most = wanted < limit ? wanted : limit;
    if (bytes == 0) return library_failure(s);
    if (bytes <= most) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_IMAGE,
                     "%s: TIFF of %u x %u pixels in %s of %llu bytes, above the limit of %llu for it; save it as PNG",
                     s->file->name, width, height, tiled ? "tiles" : "strips", (unsigned long long)bytes,
                     (unsigned long long)most);
}

/* Of a strip or tile that is a progressive JPEG libtiff reads up to a hundred scans. They are bounded as those of a JPEG
 * file are, all strips or tiles together. */
static dcam_status check_scans(const source *s, TIFF *tiff, uint32_t width, uint32_t height)
{
    uint16_t compression = 0;
    if (!TIFFGetField(tiff, TIFFTAG_COMPRESSION, &compression) || compression != COMPRESSION_JPEG) return DCAM_OK;
    const uint32_t blocks = TIFFIsTiled(tiff) ? TIFFNumberOfTiles(tiff) : TIFFNumberOfStrips(tiff);
    const uint64_t count = s->file->count, most = dcam_jpeg_most_scan_pixels((uint64_t)width * height);
    uint64_t scan_pixels = 0, used = 0;
    for (uint32_t i = 0; i < blocks; i++) {
        const uint64_t offset = TIFFGetStrileOffset(tiff, i);
        uint64_t bytes = TIFFGetStrileByteCount(tiff, i);
        if (offset >= count) continue; /* libtiff will say so */
        if (bytes > count - offset) bytes = count - offset;
        if ((used += bytes) > MOST_USES_OF_BYTES * count + SMALL_USE)
            return dcam_damaged(s->file, "TIFF", "too many of its strips or tiles are the same bytes");
        const dcam_jpeg_markers found = dcam_jpeg_read_markers(s->file->bytes + offset, (size_t)bytes);
        if ((scan_pixels += found.scans * found.pixels) > most)
            return dcam_fail(DCAM_ERROR_IMAGE,
                             "%s: TIFF of %u x %u pixels in JPEG scans of together more than %llu, the limit for it; save it as PNG",
                             s->file->name, width, height, (unsigned long long)most);
    }
    return DCAM_OK;
}

static void note_lossy(const dcam_encoded *file, TIFF *tiff)
{
    uint16_t compression = 0;
    if (!file->lossy || !TIFFGetField(tiff, TIFFTAG_COMPRESSION, &compression)) return;
    *file->lossy = compression == COMPRESSION_JPEG || compression == COMPRESSION_OJPEG;
}

dcam_status dcam_decode_tiff(const dcam_encoded *file, dcam_image *out)
{
    source s = {file, 0, ""};
    TIFF *tiff = NULL;
    uint32_t *raster = NULL;
    uint32_t width = 0, height = 0;
    dcam_status status = open_tiff(&s, &tiff);
    if (status != DCAM_OK) goto cleanup;
    if ((status = check_header(&s, tiff, &width, &height)) != DCAM_OK) goto cleanup;
    if ((status = check_block(&s, tiff, width, height)) != DCAM_OK) goto cleanup;
    if ((status = check_scans(&s, tiff, width, height)) != DCAM_OK) goto cleanup;
    note_lossy(file, tiff);
    /* A tag that there was no memory for is only warned of, and missing below. */
    if (dcam_library_lacked_memory()) {
        status = dcam_no_memory(file);
        goto cleanup;
    }
    size_t n = (size_t)width * height;
    if ((status = dcam_alloc(n, sizeof *raster, &raster)) != DCAM_OK) goto cleanup;
    /* The block, and where it is a JPEG's of several scans its coefficients, of two bytes each. */
    if ((status = dcam_library_begin(file, 4 * block_bytes(tiff) + DCAM_LIBRARY_TABLES)) != DCAM_OK) goto cleanup;
    if ((status = read_raster(&s, tiff, raster)) != DCAM_OK) goto cleanup;
    /* In place: red is the lowest byte of each word, alpha is done with. */
    uint8_t *bytes = (uint8_t *)raster;
    for (size_t i = 0; i < n; i++) {
        uint32_t v = raster[i];
        bytes[3 * i] = (uint8_t)v;
        bytes[3 * i + 1] = (uint8_t)(v >> 8);
        bytes[3 * i + 2] = (uint8_t)(v >> 16);
    }
    *out = (dcam_image){(int)width, (int)height, 3, bytes}; /* the block is left as large as it is: decode.h */
    raster = NULL;
cleanup:
    dcam_free(raster);
    if (tiff) TIFFClose(tiff);
    return status;
}
