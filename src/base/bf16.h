/* bf16.h - bf16 values as f32: one anywhere; sixteen at a time in a register on processors with AVX512-BF16. A function that
 * uses the latter is a BF16_KERNEL and runs only there; what it calls is BF16_INLINE. */
#ifndef DCAM_BASE_BF16_H
#define DCAM_BASE_BF16_H

#include <stdint.h>
#include <string.h>

/* Exact. */
static inline float dcam_widen_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define BF16_KERNEL __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define BF16_INLINE BF16_KERNEL static inline __attribute__((always_inline))

BF16_INLINE __m512 bf16_widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
BF16_INLINE __m512 bf16_load(const uint16_t *p) { return bf16_widen(_mm256_loadu_si256((const __m256i *)p)); }
/* To the nearest, ties to even. */
BF16_INLINE __m256i bf16_rounded(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }
BF16_INLINE void bf16_store(uint16_t *p, __m512 v) { _mm256_storeu_si256((__m256i *)p, bf16_rounded(v)); }

/* sums[0..15] += run, in double. */
BF16_INLINE void bf16_add_run(double *sums, __m512 run)
{
    const __m256 low = _mm512_castps512_ps256(run), high = _mm512_extractf32x8_ps(run, 1);
    _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), _mm512_cvtps_pd(low)));
    _mm512_storeu_pd(sums + 8, _mm512_add_pd(_mm512_loadu_pd(sums + 8), _mm512_cvtps_pd(high)));
}
#endif

#endif
