/* resize_kernel.c - weighted sums of bytes in fixed point:
 * out = clip((sum of byte * weight + 1/2) >> 22). Integers only, so that the
 * fast loops give the same bits as the plain ones.
 *
 * The multiply-add of SSE2, AVX2 and AVX-512 takes 16-bit numbers, two at a time, so a weight w <= 2^22 is cut as
 * w = high * 2^11 + low and two taps are done together; both partial sums stay below 2^31. A lane of 128 bits holds one
 * pixel of one row: wider registers take two or four rows at once, with the same weights. */
#include "image/resize_kernel.h"

#include <stdbool.h>
#include <string.h>

#define LOW_BITS 11
#define LOW_MASK ((1 << LOW_BITS) - 1)

static uint8_t round_and_clip(int32_t sum)
{
    int32_t value = sum >> DCAM_WEIGHT_BITS;
    return (uint8_t)(value > 255 ? 255 : value);
}

static void weigh_pixel(const uint8_t *row, int channels, const dcam_span *span, uint8_t *out)
{
    const uint8_t *from = row + (size_t)span->first * (size_t)channels;
    for (int c = 0; c < channels; c++) {
        int32_t sum = 1 << (DCAM_WEIGHT_BITS - 1);
        for (int k = 0; k < span->taps; k++) sum += from[k * channels + c] * span->weights[k];
        out[c] = round_and_clip(sum);
    }
}

void dcam_weigh_pixels_plain(const uint8_t *const *rows, int count, int in_width, int channels, const dcam_span *spans,
                             int n, uint8_t *const *out)
{
    (void)in_width;
    for (int r = 0; r < count; r++)
        for (int i = 0; i < n; i++) weigh_pixel(rows[r], channels, &spans[i], out[r] + (size_t)i * (size_t)channels);
}

static void weigh_bytes(const uint8_t *const *rows, const int32_t *weights, int taps, size_t from, size_t to,
                        uint8_t *out)
{
    for (size_t i = from; i < to; i++) {
        int32_t sum = 1 << (DCAM_WEIGHT_BITS - 1);
        for (int k = 0; k < taps; k++) sum += rows[k][i] * weights[k];
        out[i] = round_and_clip(sum);
    }
}

void dcam_weigh_rows_plain(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out)
{
    weigh_bytes(rows, weights, taps, 0, n, out);
}

static int32_t pair(int32_t a, int32_t b) { return a | (int32_t)((uint32_t)b << 16); }

void dcam_pack_weights(const int32_t *weights, int taps, int32_t *packed)
{
    for (int k = 0; k < taps; k += 2) {
        const int32_t a = weights[k], b = k + 1 < taps ? weights[k + 1] : 0;
        *packed++ = pair(a >> LOW_BITS, b >> LOW_BITS);
        *packed++ = pair(a & LOW_MASK, b & LOW_MASK);
        if (k % 4 == 0 && k + 2 >= taps) *packed++ = 0, *packed++ = 0;
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

dcam_resize_isa dcam_resize_isa_here(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return DCAM_RESIZE_AVX512;
    return __builtin_cpu_supports("avx2") ? DCAM_RESIZE_AVX2 : DCAM_RESIZE_SSE2;
}

/* ---- across ------------------------------------------------------------------------------------------------------ */

static __m128i load_4(const uint8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return _mm_cvtsi32_si128(word);
}

static __m128i load_16(const uint8_t *from) { return _mm_loadu_si128((const __m128i *)(const void *)from); }

static void store_rgb(uint32_t word, uint8_t *out)
{
    out[0] = (uint8_t)word;
    out[1] = (uint8_t)(word >> 8);
    out[2] = (uint8_t)(word >> 16);
}

/* The sums of four lanes, joined and rounded; still 32 bits a lane. */
static __m128i join(__m128i high, __m128i low)
{
    __m128i sum = _mm_add_epi32(_mm_slli_epi32(high, LOW_BITS), low);
    sum = _mm_add_epi32(sum, _mm_set1_epi32(1 << (DCAM_WEIGHT_BITS - 1)));
    return _mm_srai_epi32(sum, DCAM_WEIGHT_BITS);
}

/* Four lanes: red, green, blue and the red of the next pixel, which is dropped.
 * Reads one byte beyond the span's last pixel. */
static void weigh_rgb(const uint8_t *row, const dcam_span *span, uint8_t *out)
{
    const __m128i zero = _mm_setzero_si128();
    const uint8_t *from = row + 3 * (size_t)span->first;
    const int32_t *w = span->packed;
    __m128i high = zero, low = zero;
    for (int k = 0; k < span->taps; k += 2, from += 6, w += 2) {
        const __m128i second = k + 1 < span->taps ? load_4(from + 3) : zero;
        const __m128i pairs = _mm_unpacklo_epi8(_mm_unpacklo_epi8(load_4(from), second), zero);
        high = _mm_add_epi32(high, _mm_madd_epi16(pairs, _mm_set1_epi32(w[0])));
        low = _mm_add_epi32(low, _mm_madd_epi16(pairs, _mm_set1_epi32(w[1])));
    }
    const __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(join(high, low), zero), zero);
    store_rgb((uint32_t)_mm_cvtsi128_si32(bytes), out);
}

/* One row; where a read would pass its end, in plain C. */
static void weigh_rgb_row(const uint8_t *row, int in_width, const dcam_span *spans, int begin, int n, uint8_t *out)
{
    for (int i = begin; i < n; i++) {
        if (spans[i].first + spans[i].taps < in_width) weigh_rgb(row, &spans[i], out + 3 * (size_t)i);
        else weigh_pixel(row, 3, &spans[i], out + 3 * (size_t)i);
    }
}

/* Of 16 bytes the pixels 0 and 1, or 2 and 3, as pairs of 16 bits: both reds, greens, blues, and nothing. */
#define FIRST_PAIR _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1)
#define SECOND_PAIR _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1)

/* Whether the loads of 16 bytes for each 4 taps stay inside the row. */
static bool reads_inside(const dcam_span *span, int in_width)
{
    return 3 * ((int64_t)span->first + (span->taps - 1) / 4 * 4) + 16 <= 3 * (int64_t)in_width;
}

/* Spans begin .. n - 1 of two rows, up to the first one that would read outside; returns it. */
__attribute__((target("avx2"))) static int weigh_rgb_2(const uint8_t *const *rows, int in_width, const dcam_span *spans,
                                                       int n, uint8_t *const *out)
{
    const __m256i first = _mm256_broadcastsi128_si256(FIRST_PAIR), second = _mm256_broadcastsi128_si256(SECOND_PAIR);
    const __m256i half = _mm256_set1_epi32(1 << (DCAM_WEIGHT_BITS - 1));
    int i = 0;
    for (; i < n && reads_inside(&spans[i], in_width); i++) {
        const int32_t *w = spans[i].packed;
        const size_t from = 3 * (size_t)spans[i].first, to = 3 * (size_t)i;
        __m256i high = _mm256_setzero_si256(), low = half;
        for (int k = 0; k < spans[i].taps; k += 4, w += 4) {
            const size_t at = from + 3 * (size_t)k;
            const __m256i bytes =
                _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(rows[0] + at)), load_16(rows[1] + at), 1);
            const __m256i a = _mm256_shuffle_epi8(bytes, first), b = _mm256_shuffle_epi8(bytes, second);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(a, _mm256_set1_epi32(w[0])));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(a, _mm256_set1_epi32(w[1])));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(b, _mm256_set1_epi32(w[2])));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(b, _mm256_set1_epi32(w[3])));
        }
        __m256i sum = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low), DCAM_WEIGHT_BITS);
        sum = _mm256_packs_epi32(sum, sum);
        sum = _mm256_packus_epi16(sum, sum);
        store_rgb((uint32_t)_mm256_cvtsi256_si32(sum), out[0] + to);
        store_rgb((uint32_t)_mm256_extract_epi32(sum, 4), out[1] + to);
    }
    return i;
}

#define WIDE __attribute__((target("avx512f,avx512bw,avx2")))

/* The same of four rows. */
WIDE static int weigh_rgb_4(const uint8_t *const *rows, int in_width, const dcam_span *spans, int n,
                            uint8_t *const *out)
{
    const __m512i first = _mm512_broadcast_i32x4(FIRST_PAIR), second = _mm512_broadcast_i32x4(SECOND_PAIR);
    const __m512i half = _mm512_set1_epi32(1 << (DCAM_WEIGHT_BITS - 1));
    int i = 0;
    for (; i < n && reads_inside(&spans[i], in_width); i++) {
        const int32_t *w = spans[i].packed;
        const size_t from = 3 * (size_t)spans[i].first, to = 3 * (size_t)i;
        __m512i high = _mm512_setzero_si512(), low = half;
        for (int k = 0; k < spans[i].taps; k += 4, w += 4) {
            const size_t at = from + 3 * (size_t)k;
            __m512i bytes = _mm512_castsi128_si512(load_16(rows[0] + at));
            bytes = _mm512_inserti32x4(bytes, load_16(rows[1] + at), 1);
            bytes = _mm512_inserti32x4(bytes, load_16(rows[2] + at), 2);
            bytes = _mm512_inserti32x4(bytes, load_16(rows[3] + at), 3);
            const __m512i a = _mm512_shuffle_epi8(bytes, first), b = _mm512_shuffle_epi8(bytes, second);
            high = _mm512_add_epi32(high, _mm512_madd_epi16(a, _mm512_set1_epi32(w[0])));
            low = _mm512_add_epi32(low, _mm512_madd_epi16(a, _mm512_set1_epi32(w[1])));
            high = _mm512_add_epi32(high, _mm512_madd_epi16(b, _mm512_set1_epi32(w[2])));
            low = _mm512_add_epi32(low, _mm512_madd_epi16(b, _mm512_set1_epi32(w[3])));
        }
        __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high, LOW_BITS), low);
        sum = _mm512_srai_epi32(sum, DCAM_WEIGHT_BITS);
        uint32_t words[4];
        /* not negative: the unsigned conversion clips at 255 */
        _mm_storeu_si128((__m128i *)(void *)words, _mm512_cvtusepi32_epi8(sum));
        for (int r = 0; r < 4; r++) store_rgb(words[r], out[r] + to);
    }
    return i;
}

void dcam_weigh_pixels(dcam_resize_isa isa, const uint8_t *const *rows, int count, int in_width, int channels,
                       const dcam_span *spans, int n, uint8_t *const *out)
{
    if (channels != 3 || isa == DCAM_RESIZE_PLAIN) {
        dcam_weigh_pixels_plain(rows, count, in_width, channels, spans, n, out);
        return;
    }
    for (int r = 0; r < count;) {
        const int left = count - r;
        const int together = isa == DCAM_RESIZE_AVX512 && left >= 4 ? 4 : isa >= DCAM_RESIZE_AVX2 && left >= 2 ? 2 : 1;
        const int done = together == 4   ? weigh_rgb_4(rows + r, in_width, spans, n, out + r)
                         : together == 2 ? weigh_rgb_2(rows + r, in_width, spans, n, out + r)
                                         : 0;
        for (int i = 0; i < together; i++, r++) weigh_rgb_row(rows[r], in_width, spans, done, n, out[r]);
    }
}

/* ---- down -------------------------------------------------------------------------------------------------------- */

/* Eight bytes of two rows (b may be a itself, at weight 0). */
static void add_two_rows(const uint8_t *a, const uint8_t *b, __m128i w_high, __m128i w_low, __m128i sums[4])
{
    const __m128i zero = _mm_setzero_si128();
    __m128i pairs = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)a),
                                      _mm_loadl_epi64((const __m128i *)(const void *)b));
    __m128i first = _mm_unpacklo_epi8(pairs, zero), second = _mm_unpackhi_epi8(pairs, zero);
    sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(first, w_high));
    sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(first, w_low));
    sums[2] = _mm_add_epi32(sums[2], _mm_madd_epi16(second, w_high));
    sums[3] = _mm_add_epi32(sums[3], _mm_madd_epi16(second, w_low));
}

static size_t weigh_rows_8(const uint8_t *const *rows, const dcam_span *span, size_t i, size_t n, uint8_t *out)
{
    for (; i + 8 <= n; i += 8) {
        __m128i sums[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        const int32_t *w = span->packed;
        for (int k = 0; k < span->taps; k += 2, w += 2)
            add_two_rows(rows[k] + i, rows[k + 1 < span->taps ? k + 1 : k] + i, _mm_set1_epi32(w[0]),
                         _mm_set1_epi32(w[1]), sums);
        __m128i words = _mm_packs_epi32(join(sums[0], sums[1]), join(sums[2], sums[3]));
        _mm_storel_epi64((__m128i *)(void *)(out + i), _mm_packus_epi16(words, words));
    }
    return i;
}

/* Two rows of 32 bytes: their bytes beside each other in 16 bits, and from those the pairs; the order of the packing at
 * the end undoes that of the unpacking. */
__attribute__((target("avx2"))) static size_t weigh_rows_32(const uint8_t *const *rows, const dcam_span *span, size_t n,
                                                            uint8_t *out)
{
    const __m256i zero = _mm256_setzero_si256(), half = _mm256_set1_epi32(1 << (DCAM_WEIGHT_BITS - 1));
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i high[4] = {zero, zero, zero, zero}, low[4] = {half, half, half, half};
        const int32_t *w = span->packed;
        for (int k = 0; k < span->taps; k += 2, w += 2) {
            const uint8_t *second = rows[k + 1 < span->taps ? k + 1 : k];
            const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(rows[k] + i));
            const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(second + i));
            const __m256i near = _mm256_unpacklo_epi8(a, b), far = _mm256_unpackhi_epi8(a, b);
            const __m256i pairs[4] = {_mm256_unpacklo_epi8(near, zero), _mm256_unpackhi_epi8(near, zero),
                                      _mm256_unpacklo_epi8(far, zero), _mm256_unpackhi_epi8(far, zero)};
            for (int j = 0; j < 4; j++) {
                high[j] = _mm256_add_epi32(high[j], _mm256_madd_epi16(pairs[j], _mm256_set1_epi32(w[0])));
                low[j] = _mm256_add_epi32(low[j], _mm256_madd_epi16(pairs[j], _mm256_set1_epi32(w[1])));
            }
        }
        for (int j = 0; j < 4; j++)
            high[j] = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(high[j], LOW_BITS), low[j]),
                                        DCAM_WEIGHT_BITS);
        const __m256i near = _mm256_packs_epi32(high[0], high[1]), far = _mm256_packs_epi32(high[2], high[3]);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), _mm256_packus_epi16(near, far));
    }
    return i;
}

void dcam_weigh_rows(dcam_resize_isa isa, const uint8_t *const *rows, const dcam_span *span, size_t n, uint8_t *out)
{
    size_t done = isa >= DCAM_RESIZE_AVX2 ? weigh_rows_32(rows, span, n, out) : 0;
    if (isa != DCAM_RESIZE_PLAIN) done = weigh_rows_8(rows, span, done, n, out);
    weigh_bytes(rows, span->weights, span->taps, done, n, out);
}

#else

dcam_resize_isa dcam_resize_isa_here(void) { return DCAM_RESIZE_PLAIN; }

void dcam_weigh_pixels(dcam_resize_isa isa, const uint8_t *const *rows, int count, int in_width, int channels,
                       const dcam_span *spans, int n, uint8_t *const *out)
{
    (void)isa;
    dcam_weigh_pixels_plain(rows, count, in_width, channels, spans, n, out);
}

void dcam_weigh_rows(dcam_resize_isa isa, const uint8_t *const *rows, const dcam_span *span, size_t n, uint8_t *out)
{
    (void)isa;
    dcam_weigh_rows_plain(rows, span->weights, span->taps, n, out);
}

#endif
