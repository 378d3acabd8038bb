/* resize_kernel.c - weighted sums of bytes in fixed point:
 * out = clip((sum of byte * weight + 1/2) >> 22). Integers only, so that the
 * fast loops give the same bits as the plain ones.
 *
 * The fast loops use SSE2, which every x86-64 has. Its multiply-add takes 16-bit
 * numbers, two at a time, so a weight w <= 2^22 is cut as w = high * 2^11 + low
 * and two taps are done together; both partial sums stay below 2^31. */
#include "image/resize_kernel.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#define LOW_BITS 11
#define LOW_MASK ((1 << LOW_BITS) - 1)
#endif

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

void dcam_weigh_pixels_plain(const uint8_t *row, int in_width, int channels, const dcam_span *spans, int n,
                             uint8_t *out)
{
    (void)in_width;
    for (int i = 0; i < n; i++) weigh_pixel(row, channels, &spans[i], out + (size_t)i * (size_t)channels);
}

void dcam_weigh_rows_plain(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        int32_t sum = 1 << (DCAM_WEIGHT_BITS - 1);
        for (int k = 0; k < taps; k++) sum += rows[k][i] * weights[k];
        out[i] = round_and_clip(sum);
    }
}

#if defined(__SSE2__)

/* Two weights as 16-bit pairs, four times over: the high and the low parts. */
static __m128i pair_high(int32_t a, int32_t b)
{
    return _mm_set1_epi32((a >> LOW_BITS) | (int32_t)((uint32_t)(b >> LOW_BITS) << 16));
}

static __m128i pair_low(int32_t a, int32_t b)
{
    return _mm_set1_epi32((a & LOW_MASK) | (int32_t)((uint32_t)(b & LOW_MASK) << 16));
}

static __m128i load_4(const uint8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return _mm_cvtsi32_si128(word);
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
    const int32_t *w = span->weights;
    __m128i high = zero, low = zero;
    int k = 0;
    for (; k + 2 <= span->taps; k += 2, from += 6) {
        __m128i pair = _mm_unpacklo_epi8(_mm_unpacklo_epi8(load_4(from), load_4(from + 3)), zero);
        high = _mm_add_epi32(high, _mm_madd_epi16(pair, pair_high(w[k], w[k + 1])));
        low = _mm_add_epi32(low, _mm_madd_epi16(pair, pair_low(w[k], w[k + 1])));
    }
    if (k < span->taps) {
        __m128i pair = _mm_unpacklo_epi8(_mm_unpacklo_epi8(load_4(from), zero), zero);
        high = _mm_add_epi32(high, _mm_madd_epi16(pair, pair_high(w[k], 0)));
        low = _mm_add_epi32(low, _mm_madd_epi16(pair, pair_low(w[k], 0)));
    }
    __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(join(high, low), zero), zero);
    uint32_t word = (uint32_t)_mm_cvtsi128_si32(bytes);
    out[0] = (uint8_t)word;
    out[1] = (uint8_t)(word >> 8);
    out[2] = (uint8_t)(word >> 16);
}

void dcam_weigh_pixels(const uint8_t *row, int in_width, int channels, const dcam_span *spans, int n, uint8_t *out)
{
    if (channels != 3) {
        dcam_weigh_pixels_plain(row, in_width, channels, spans, n, out);
        return;
    }
    for (int i = 0; i < n; i++, out += 3) {
        bool reads_inside = spans[i].first + spans[i].taps < in_width;
        if (reads_inside) weigh_rgb(row, &spans[i], out);
        else weigh_pixel(row, 3, &spans[i], out);
    }
}

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

void dcam_weigh_rows(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i sums[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
        for (int k = 0; k < taps; k += 2) {
            bool two = k + 1 < taps;
            int32_t a = weights[k], b = two ? weights[k + 1] : 0;
            add_two_rows(rows[k] + i, rows[two ? k + 1 : k] + i, pair_high(a, b), pair_low(a, b), sums);
        }
        __m128i words = _mm_packs_epi32(join(sums[0], sums[1]), join(sums[2], sums[3]));
        _mm_storel_epi64((__m128i *)(void *)(out + i), _mm_packus_epi16(words, words));
    }
    for (; i < n; i++) {
        int32_t sum = 1 << (DCAM_WEIGHT_BITS - 1);
        for (int k = 0; k < taps; k++) sum += rows[k][i] * weights[k];
        out[i] = round_and_clip(sum);
    }
}

#else

void dcam_weigh_pixels(const uint8_t *row, int in_width, int channels, const dcam_span *spans, int n, uint8_t *out)
{
    dcam_weigh_pixels_plain(row, in_width, channels, spans, n, out);
}

void dcam_weigh_rows(const uint8_t *const *rows, const int32_t *weights, int taps, size_t n, uint8_t *out)
{
    dcam_weigh_rows_plain(rows, weights, taps, n, out);
}

#endif
