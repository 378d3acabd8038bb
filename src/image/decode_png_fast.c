/* decode_png_fast.c - the commonest PNG (8-bit RGB, not interlaced, without transparency) by libdeflate, which inflates
 * two to three times as fast as zlib. It answers only for files in which everything is as expected, checksums included;
 * all others, damaged ones too, are left to libspng, whose verdict and message count. */
#include "image/decode.h"

#if defined(DCAM_LIBDEFLATE)

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SIGNATURE 8
#define AROUND_DATA 12 /* length, name, checksum */
#define PIXEL ((size_t)3)
/* libspng inflates row by row; here all packed and all filtered rows are in memory. */
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

#if defined(__x86_64__)
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

/* Four rows at once. A pixel needs the one before it, the row above's and that one's left neighbour: so row k runs k
 * pixels behind row 0, and what it needs of the row above is what that one had a step before. Rows by "left" and
 * "above" take part: their distances are set so that the nearest is always the left or the upper pixel. */
enum { TOGETHER = 4 };

static bool runs_together(uint8_t filter) { return filter == 1 || filter == 2 || filter == 4; }

#define AVX2 __attribute__((target("avx2")))

/* One number for each row's four lanes of 16 bits. */
AVX2 static __m256i by_row(const uint8_t *rows, size_t stride, uint8_t filter, int16_t with, int16_t without)
{
    int16_t v[TOGETHER];
    for (size_t k = 0; k < TOGETHER; k++) v[k] = rows[k * stride] == filter ? with : without;
    return _mm256_setr_epi16(v[0], v[0], v[0], v[0], v[1], v[1], v[1], v[1], v[2], v[2], v[2], v[2], v[3], v[3], v[3],
                             v[3]);
}

typedef struct {
    __m256i keep_left, far_left, keep_above; /* from the rows' filters */
    __m256i left, corner;
} four_rows;

/* The pixels of four rows from their filtered bytes; top: of the row above the first. Four bytes a pixel, of which the
 * fourth is as it came. */
AVX2 static inline __attribute__((always_inline)) __m128i add_pixels(four_rows *f, __m128i filtered, int32_t top)
{
    const __m128i colours = _mm_set1_epi32(0xffffff);
    const __m256i over = _mm256_blend_epi32(_mm256_permute4x64_epi64(f->left, _MM_SHUFFLE(2, 1, 0, 0)),
                                            _mm256_castsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(top))), 3);
    const __m256i rise = _mm256_sub_epi16(over, f->corner), run = _mm256_sub_epi16(f->left, f->corner);
    const __m256i to_corner = _mm256_abs_epi16(_mm256_add_epi16(rise, run));
    const __m256i to_left = _mm256_or_si256(_mm256_and_si256(_mm256_abs_epi16(rise), f->keep_left), f->far_left);
    const __m256i to_above = _mm256_and_si256(_mm256_abs_epi16(run), f->keep_above);
    const __m256i least = _mm256_min_epi16(_mm256_min_epi16(to_left, to_above), to_corner);
    const __m256i other = _mm256_blendv_epi8(f->corner, over, _mm256_cmpeq_epi16(least, to_above));
    const __m256i nearest = _mm256_blendv_epi8(other, f->left, _mm256_cmpeq_epi16(least, to_left));
    f->left = _mm256_and_si256(_mm256_add_epi16(_mm256_cvtepu8_epi16(filtered), nearest), _mm256_set1_epi16(255));
    f->corner = over;
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(f->left, f->left), _MM_SHUFFLE(3, 1, 2, 0));
    return _mm_or_si128(_mm_and_si128(colours, _mm256_castsi256_si128(packed)), _mm_andnot_si128(colours, filtered));
}

static int32_t load_word(const uint8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

AVX2 static inline __attribute__((always_inline)) __m128i load_four(const uint8_t *from, size_t step)
{
    const __m128i two = _mm_insert_epi32(_mm_cvtsi32_si128(load_word(from)), load_word(from + step), 1);
    return _mm_insert_epi32(_mm_insert_epi32(two, load_word(from + 2 * step), 2), load_word(from + 3 * step), 3);
}

/* Where not all four rows are inside. */
AVX2 static void add_edge(four_rows *f, uint8_t *rows, const uint8_t *above, size_t n, size_t x)
{
    const size_t width = n / PIXEL;
    int32_t word[TOGETHER] = {0};
    for (size_t k = 0; k < TOGETHER; k++)
        if (x >= k && x - k < width) word[k] = load_word(rows + k * (n + 1) + 1 + PIXEL * (x - k));
    const __m128i pixels = add_pixels(f, _mm_setr_epi32(word[0], word[1], word[2], word[3]),
                                      x < width ? load_word(above + PIXEL * x) : 0);
    _mm_storeu_si128((__m128i *)(void *)word, pixels);
    for (size_t k = 0; k < TOGETHER; k++)
        if (x >= k && x - k < width) memcpy(rows + k * (n + 1) + 1 + PIXEL * (x - k), &word[k], sizeof word[k]);
}

/* rows: four filtered rows of 1 + n bytes, changed in place; above: n bytes of the row before. A pixel is read and
 * written with the byte after it, which stays as it is: above and the rows must have one byte more. */
AVX2 static void add_four(uint8_t *rows, const uint8_t *above, size_t n)
{
    const size_t stride = n + 1, width = n / PIXEL, step = stride - PIXEL;
    const __m256i zero = _mm256_setzero_si256();
    four_rows f = {by_row(rows, stride, 1, 0, -1), by_row(rows, stride, 2, INT16_MAX, 0),
                   by_row(rows, stride, 2, 0, -1), zero, zero};
    size_t x = 0;
    for (; x < TOGETHER - 1; x++) add_edge(&f, rows, above, n, x);
    __m128i filtered = load_four(rows + 1 + PIXEL * x, step);
    for (; x < width; x++) {
        uint8_t *at = rows + 1 + PIXEL * x;
        const __m128i pixels = add_pixels(&f, filtered, load_word(above + PIXEL * x));
        /* Before the store, or it would wait for the byte that both have. At a row's end this reads into the next. */
        filtered = load_four(at + PIXEL, step);
        const int32_t word[TOGETHER] = {_mm_cvtsi128_si32(pixels), _mm_extract_epi32(pixels, 1),
                                        _mm_extract_epi32(pixels, 2), _mm_extract_epi32(pixels, 3)};
        for (size_t k = 0; k < TOGETHER; k++) memcpy(at + k * step, &word[k], sizeof word[k]);
    }
    for (; x < width + TOGETHER - 1; x++) add_edge(&f, rows, above, n, x);
}

static bool can_add_four(void) { return __builtin_cpu_supports("avx2"); }
#else
enum { TOGETHER = 4 };
static bool runs_together(uint8_t filter) { return filter > 4; }
static bool can_add_four(void) { return false; }
static void add_four(uint8_t *rows, const uint8_t *above, size_t n)
{
    (void)rows;
    (void)above;
    (void)n;
}
static void add_paeth(uint8_t *row, const uint8_t *above, size_t n) { add_paeth_plain(row, above, 0, n); }
#endif

static bool unfilter_row(uint8_t filter, uint8_t *row, const uint8_t *above, size_t n)
{
    switch (filter) {
    case 0: return true;
    case 1: add_left(row, n); return true;
    case 2: add_above(row, above, n); return true;
    case 3: add_average(row, above, n); return true;
    case 4: add_paeth(row, above, n); return true;
    default: return false;
    }
}

/* How many rows from here on can run together: 4, or 1. */
static size_t count_together(const uint8_t *rows, size_t left, size_t n)
{
    size_t slow = 0;
    if (left < TOGETHER || n < PIXEL * TOGETHER) return 1;
    for (size_t k = 0; k < TOGETHER; k++) {
        const uint8_t filter = rows[k * (n + 1)];
        if (!runs_together(filter)) return 1;
        slow += filter == 4;
    }
    /* The others are faster alone. */
    return slow > 1 ? TOGETHER : 1;
}

/* rows: height x (1 + n) bytes and one more, the first of each row names its filter -> height x n bytes at the same
 * place. The first row is filtered against zeros: n of them and one more. */
static bool unfilter(uint8_t *rows, size_t height, size_t n, const uint8_t *zeros)
{
    const bool four = can_add_four();
    const uint8_t *above = zeros, *from = rows;
    uint8_t *to = rows;
    for (size_t y = 0; y < height;) {
        uint8_t *group = rows + y * (n + 1);
        const size_t together = four ? count_together(group, height - y, n) : 1;
        if (together > 1) add_four(group, above, n);
        else if (!unfilter_row(group[0], group + 1, above, n)) return false;
        /* to is never after from: the rows move up over the names of filters. */
        for (size_t k = 0; k < together; k++, y++, from += n + 1, to += n) memmove(to, from + 1, n);
        above = to - n;
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
    bool done = false;
    if (bytes > MOST_BYTES || file->count < SIGNATURE + AROUND_DATA) return false;
    if (dcam_alloc(file->count, 1, &p.packed) != DCAM_OK) return false;
    if (!collect(file, &p) || p.width != width || p.height != height) goto cleanup;
    if (dcam_alloc(bytes + 1, 1, &rows) != DCAM_OK || dcam_alloc_zero(n + 1, 1, &zeros) != DCAM_OK) goto cleanup;
    if (!inflate_rows(&p, rows, bytes)) goto cleanup;
    rows[bytes] = 0;
    if (!unfilter(rows, height, n, zeros)) goto cleanup;
    *out = (dcam_image){(int)width, (int)height, (int)PIXEL, rows};
    rows = NULL;
    done = true;
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
