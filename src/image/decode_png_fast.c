/* decode_png_fast.c - the commonest PNG (8-bit RGB, not interlaced, without transparency) by libdeflate, which inflates
 * two to three times as fast as zlib. It answers only for files in which everything is as expected, checksums included;
 * all others, damaged ones too, are left to libspng, whose verdict and message count. */
#include "image/decode.h"

#if defined(DCAM_LIBDEFLATE)

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define SIGNATURE 8
#define AROUND_DATA 12 /* length, name, checksum */
#define PIXEL ((size_t)3)
/* libspng inflates row by row; here all filtered rows are in memory beside the picture. */
#define MOST_BYTES ((size_t)64 << 20)

typedef struct {
    uint32_t width, height;
    uint8_t *packed; /* all IDAT chunks together */
    size_t packed_bytes;
} png_parts;

static uint32_t read_32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool is_plain_rgb(const uint8_t *header) { return memcmp(header + 8, "\x08\x02\0\0\0", 5) == 0; }

/* What may stand beside the picture without changing its pixels here. */
static bool is_harmless(const uint8_t *name) { return (name[0] & 0x20) != 0 && memcmp(name, "tRNS", 4) != 0; }

/* Walks over all chunks up to IEND; false where anything is unusual. */
static bool collect(const dcam_encoded *file, png_parts *p)
{
    const uint8_t *b = file->bytes;
    size_t at = SIGNATURE;
    int last_data = 0;
    for (int chunk = 0; at <= file->count && file->count - at >= AROUND_DATA; chunk++) {
        const size_t length = read_32(b + at);
        const uint8_t *name = b + at + 4, *data = b + at + 8;
        if (length > file->count - at - AROUND_DATA) return false;
        if (libdeflate_crc32(0, name, length + 4) != read_32(data + length)) return false;
        at += AROUND_DATA + length;
        if ((chunk == 0) != (memcmp(name, "IHDR", 4) == 0)) return false;
        if (chunk == 0) {
            if (length != 13 || !is_plain_rgb(data)) return false;
            p->width = read_32(data);
            p->height = read_32(data + 4);
        } else if (memcmp(name, "IDAT", 4) == 0) {
            if (p->packed_bytes > 0 && last_data != chunk - 1) return false;
            last_data = chunk;
            memcpy(p->packed + p->packed_bytes, data, length);
            p->packed_bytes += length;
        } else if (memcmp(name, "IEND", 4) == 0) {
            return length == 0 && p->packed_bytes > 0;
        } else if (!is_harmless(name)) {
            return false;
        }
    }
    return false;
}

/* ---- filters (PNG specification, 9): row is filtered in place, above is the row before it, already whole ---- */

static void add_left(uint8_t *row, size_t n)
{
    for (size_t i = PIXEL; i < n; i++) row[i] = (uint8_t)(row[i] + row[i - PIXEL]);
}

static void add_above(uint8_t *row, const uint8_t *above, size_t n)
{
    for (size_t i = 0; i < n; i++) row[i] = (uint8_t)(row[i] + above[i]);
}

static void add_average(uint8_t *row, const uint8_t *above, size_t n)
{
    for (size_t i = 0; i < PIXEL; i++) row[i] = (uint8_t)(row[i] + above[i] / 2);
    for (size_t i = PIXEL; i < n; i++) row[i] = (uint8_t)(row[i] + (row[i - PIXEL] + above[i]) / 2);
}

static uint8_t paeth(int left, int above, int corner)
{
    const int to_left = abs(above - corner), to_above = abs(left - corner), to_corner = abs(left + above - 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) return (uint8_t)left;
    return (uint8_t)(to_above <= to_corner ? above : corner);
}

static void add_paeth_plain(uint8_t *row, const uint8_t *above, size_t from, size_t n)
{
    for (size_t i = from; i < n; i++)
        row[i] = (uint8_t)(row[i] + (i < PIXEL ? above[i] : paeth(row[i - PIXEL], above[i], above[i - PIXEL])));
}

#if defined(__SSE2__)
static __m128i load_pixel(const uint8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word); /* the fourth byte is not used */
    return _mm_unpacklo_epi8(_mm_cvtsi32_si128(word), _mm_setzero_si128());
}

static __m128i absolute(__m128i v) { return _mm_max_epi16(v, _mm_sub_epi16(_mm_setzero_si128(), v)); }
static __m128i choose(__m128i when, __m128i a, __m128i b)
{
    return _mm_or_si128(_mm_and_si128(when, a), _mm_andnot_si128(when, b));
}

/* The three colours side by side; the pixels of a row depend on each other. */
static void add_paeth(uint8_t *row, const uint8_t *above, size_t n)
{
    const __m128i bytes = _mm_set1_epi16(255);
    __m128i left = _mm_setzero_si128(), corner = left;
    size_t i = 0;
    for (; i + 4 <= n; i += PIXEL) {
        const __m128i over = load_pixel(above + i);
        __m128i to_left = _mm_sub_epi16(over, corner), to_above = _mm_sub_epi16(left, corner);
        const __m128i to_corner = absolute(_mm_add_epi16(to_left, to_above));
        to_left = absolute(to_left);
        to_above = absolute(to_above);
        const __m128i least = _mm_min_epi16(_mm_min_epi16(to_left, to_above), to_corner);
        const __m128i nearest = choose(_mm_cmpeq_epi16(least, to_left), left,
                                       choose(_mm_cmpeq_epi16(least, to_above), over, corner));
        left = _mm_and_si128(_mm_add_epi16(load_pixel(row + i), nearest), bytes);
        corner = over;
        const int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(left, left));
        memcpy(row + i, &word, PIXEL);
    }
    add_paeth_plain(row, above, i, n);
}
#else
static void add_paeth(uint8_t *row, const uint8_t *above, size_t n) { add_paeth_plain(row, above, 0, n); }
#endif

/* rows: height x (1 + n) bytes, the first of each names its filter. pixels: height x n. The first row is filtered against
 * zeros. */
static bool unfilter(const uint8_t *rows, size_t height, size_t n, const uint8_t *zeros, uint8_t *pixels)
{
    const uint8_t *above = zeros;
    for (size_t y = 0; y < height; y++, rows += 1 + n, pixels += n) {
        memcpy(pixels, rows + 1, n);
        switch (rows[0]) {
        case 0: break;
        case 1: add_left(pixels, n); break;
        case 2: add_above(pixels, above, n); break;
        case 3: add_average(pixels, above, n); break;
        case 4: add_paeth(pixels, above, n); break;
        default: return false;
        }
        above = pixels;
    }
    return true;
}

static bool inflate_rows(const png_parts *p, uint8_t *rows, size_t bytes)
{
    size_t got = 0;
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (!d) return false;
    const enum libdeflate_result result = libdeflate_zlib_decompress(d, p->packed, p->packed_bytes, rows, bytes, &got);
    libdeflate_free_decompressor(d);
    return result == LIBDEFLATE_SUCCESS && got == bytes;
}

bool dcam_decode_png_fast(const dcam_encoded *file, uint32_t width, uint32_t height, dcam_image *out)
{
    const size_t n = PIXEL * width, bytes = (n + 1) * height;
    png_parts p = {0};
    uint8_t *rows = NULL, *zeros = NULL;
    dcam_image image = {0, 0, 0, NULL};
    bool done = false;
    if (bytes > MOST_BYTES || file->count < SIGNATURE + AROUND_DATA) return false;
    if (dcam_alloc(file->count, 1, &p.packed) != DCAM_OK) return false;
    if (!collect(file, &p) || p.width != width || p.height != height) goto cleanup;
    if (dcam_alloc(bytes, 1, &rows) != DCAM_OK || dcam_alloc_zero(n, 1, &zeros) != DCAM_OK) goto cleanup;
    if (!inflate_rows(&p, rows, bytes)) goto cleanup;
    dcam_free(p.packed);
    p.packed = NULL;
    if (dcam_image_make((int)width, (int)height, (int)PIXEL, &image) != DCAM_OK) goto cleanup;
    done = unfilter(rows, height, n, zeros, image.pixels);
    if (done) *out = image;
    else dcam_image_clear(&image);
cleanup:
    dcam_free(zeros);
    dcam_free(rows);
    dcam_free(p.packed);
    return done;
}

#else

bool dcam_decode_png_fast(const dcam_encoded *file, uint32_t width, uint32_t height, dcam_image *out)
{
    (void)file;
    (void)width;
    (void)height;
    (void)out;
    return false;
}

#endif
