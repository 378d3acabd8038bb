/* lanes.h - the vectors of one family of kernels. A file kernels_*.c says how wide they are and of what type the
 * products, includes this and then the kernels themselves (*_kernels.h), which are written once for all of them:
 *   LANES          8 or 16
 *   PRODUCTS_BF16  defined: factors are bf16 (sums stay f32); needs 16 lanes
 * A word is what one lane of a factor holds: a float, or two neighbouring channels in bf16. Words are moved as floats
 * and looked into by multiply_add alone. Vectors travel by pointer only (see base/vector.h). */
#ifndef DCAM_NN_LANES_H
#define DCAM_NN_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if LANES == 16
typedef float vec __attribute__((vector_size(64)));
#define LANES_ROWS 12 /* of a product that stay in registers: 24 of 32, two factors, and one of the other side */
#ifdef PRODUCTS_BF16
#define KERNEL __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#else
#define KERNEL __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#endif
#else
typedef float vec __attribute__((vector_size(32)));
typedef int32_t vec_mask __attribute__((vector_size(32)));
#define LANES_ROWS 6 /* 12 of 16, and three factors */
#if defined(__x86_64__)
#define KERNEL __attribute__((target("avx2,fma")))
#else
#define KERNEL
#endif
#endif

/* f(rows, ...) with rows, 1 to LANES_ROWS, as a constant, so that f's sums are registers. */
#define WITH_ROWS_TO_5(f, ...)            \
    case 1: f(1, __VA_ARGS__); break;     \
    case 2: f(2, __VA_ARGS__); break;     \
    case 3: f(3, __VA_ARGS__); break;     \
    case 4: f(4, __VA_ARGS__); break;     \
    case 5: f(5, __VA_ARGS__); break;
#if LANES_ROWS > 6
#define WITH_ROWS_TO_11(f, ...)           \
    WITH_ROWS_TO_5(f, __VA_ARGS__)        \
    case 6: f(6, __VA_ARGS__); break;     \
    case 7: f(7, __VA_ARGS__); break;     \
    case 8: f(8, __VA_ARGS__); break;     \
    case 9: f(9, __VA_ARGS__); break;     \
    case 10: f(10, __VA_ARGS__); break;   \
    case 11: f(11, __VA_ARGS__); break;
#else
#define WITH_ROWS_TO_11 WITH_ROWS_TO_5
#endif
#define WITH_ROWS(f, rows, ...)                   \
    switch (rows) {                               \
    WITH_ROWS_TO_11(f, __VA_ARGS__)               \
    default: f(LANES_ROWS, __VA_ARGS__); break;   \
    }

/* Inlined into a KERNEL, and compiled for the same processor. */
#define LANES_INLINE KERNEL static inline __attribute__((always_inline))

LANES_INLINE void load(vec *v, const float *p) { memcpy(v, p, sizeof *v); }
LANES_INLINE void store(float *p, const vec *v) { memcpy(p, v, sizeof *v); }

/* What is no number stays so, and is found in the map. */
LANES_INLINE void rectify(vec *v)
{
#if LANES == 16
    *v = (vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)*v);
#elif defined(__x86_64__)
    *v = (vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)*v);
#else
    const vec_mask below = *v <= (vec){0};
    *v = (vec)(~below & (vec_mask)*v);
#endif
}

#ifdef PRODUCTS_BF16
#define VALUES_A_WORD 2

LANES_INLINE void multiply_add(vec *sum, float x, const vec *factor)
{
    *sum = (vec)_mm512_dpbf16_ps((__m512)*sum, (__m512bh)_mm512_set1_ps(x), (__m512bh)*factor);
}

/* As words: LANES / VALUES_A_WORD of them. */
LANES_INLINE void store_words(float *p, const vec *v)
{
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)*v);
    memcpy(p, &rounded, sizeof rounded);
}

/* LANES words, each of a value of a and the value of b beside it. */
LANES_INLINE void store_interleaved(float *p, const vec *a, const vec *b)
{
    const __m512bh one_by_one = _mm512_cvtne2ps_pbh((__m512)*b, (__m512)*a);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                           20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i words = _mm512_permutexvar_epi16(order, (__m512i)one_by_one);
    memcpy(p, &words, sizeof words);
}
#else
#define VALUES_A_WORD 1

LANES_INLINE void multiply_add(vec *sum, float x, const vec *factor) { *sum += x * *factor; }
LANES_INLINE void store_words(float *p, const vec *v) { store(p, v); }
#endif

#endif
