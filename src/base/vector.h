/* vector.h - eight lanes at a time through the vector extensions that gcc and clang share, for the few loops
 * over channels that are the project's own. Loads and stores go through memcpy, which both compilers turn into
 * one unaligned instruction.
 *
 * DCAM_KERNEL before a function makes gcc compile it for AVX-512 and AVX2 as well and pick at load time, so that
 * one binary serves all x86-64 machines. Not with clang (its clones of static functions clash between files) and
 * not with the sanitizers (the picking runs before their run time is up): there the base instructions are used. */
#ifndef DCAM_BASE_VECTOR_H
#define DCAM_BASE_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DCAM_KERNEL __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DCAM_KERNEL
#endif

#define DCAM_LANES 8
#define DCAM_INLINE static inline __attribute__((always_inline))

typedef float dcam_f32x8 __attribute__((vector_size(32)));
typedef int32_t dcam_i32x8 __attribute__((vector_size(32)));
/* Eight doubles in two halves: gcc 12 keeps a vector of 64 bytes in memory where registers have 32. */
typedef float dcam_f32x4 __attribute__((vector_size(16)));
typedef double dcam_f64x4 __attribute__((vector_size(32)));
typedef struct { dcam_f64x4 low, high; } dcam_f64x8;

/* Lanes of a row of n that start at c: 8, or fewer at the end. */
DCAM_INLINE size_t dcam_lanes_at(size_t c, size_t n)
{
    return n - c < DCAM_LANES ? n - c : DCAM_LANES;
}

/* Vectors travel by pointer: by value they would change the ABI with the target. */
DCAM_INLINE void dcam_load8(dcam_f32x8 *v, const float *p, size_t lanes)
{
    if (lanes == DCAM_LANES) {
        memcpy(v, p, sizeof *v);
    } else {
        *v = (dcam_f32x8){0};
        memcpy(v, p, lanes * sizeof *p);
    }
}

DCAM_INLINE void dcam_store8(float *p, const dcam_f32x8 *v, size_t lanes)
{
    if (lanes == DCAM_LANES) memcpy(p, v, sizeof *v);
    else memcpy(p, v, lanes * sizeof *p);
}

DCAM_INLINE void dcam_load8_widened(dcam_f64x8 *v, const float *p, size_t lanes)
{
    dcam_f32x4 low = {0}, high = {0};
    if (lanes == DCAM_LANES) {
        memcpy(&low, p, sizeof low);
        memcpy(&high, p + 4, sizeof high);
    } else {
        memcpy(&low, p, (lanes < 4 ? lanes : 4) * sizeof *p);
        if (lanes > 4) memcpy(&high, p + 4, (lanes - 4) * sizeof *p);
    }
    v->low = __builtin_convertvector(low, dcam_f64x4);
    v->high = __builtin_convertvector(high, dcam_f64x4);
}

DCAM_INLINE void dcam_widen8(dcam_f64x8 *out, const dcam_f32x8 *v)
{
    const dcam_f32x4 low = {(*v)[0], (*v)[1], (*v)[2], (*v)[3]}, high = {(*v)[4], (*v)[5], (*v)[6], (*v)[7]};
    out->low = __builtin_convertvector(low, dcam_f64x4);
    out->high = __builtin_convertvector(high, dcam_f64x4);
}

DCAM_INLINE void dcam_narrow8(dcam_f32x8 *out, const dcam_f64x8 *v)
{
    const dcam_f32x4 a = __builtin_convertvector(v->low, dcam_f32x4), b = __builtin_convertvector(v->high, dcam_f32x4);
    *out = (dcam_f32x8){a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]};
}

DCAM_INLINE void dcam_add8(dcam_f64x8 *sum, const dcam_f64x8 *x)
{
    sum->low += x->low;
    sum->high += x->high;
}

/* sum += x * y */
DCAM_INLINE void dcam_add_product8(dcam_f64x8 *sum, const dcam_f64x8 *x, const dcam_f64x8 *y)
{
    sum->low += x->low * y->low;
    sum->high += x->high * y->high;
}

/* sum += x * k */
DCAM_INLINE void dcam_add_scaled8(dcam_f64x8 *sum, const dcam_f64x8 *x, double k)
{
    sum->low += x->low * k;
    sum->high += x->high * k;
}

/* Sum of the lanes, always in the same order. */
DCAM_INLINE double dcam_sum8(const dcam_f64x8 *v)
{
    const dcam_f64x4 x = v->low + v->high;
    return (x[0] + x[2]) + (x[1] + x[3]);
}

/* mask lanes are 0 or -1: where -1 yes, else no. */
DCAM_INLINE void dcam_choose8(dcam_f32x8 *out, const dcam_i32x8 *mask, const dcam_f32x8 *yes, const dcam_f32x8 *no)
{
    *out = (dcam_f32x8)((*mask & (dcam_i32x8)*yes) | (~*mask & (dcam_i32x8)*no));
}

/* e^x for x <= 0, relative error under 2^-22; below -87.3 (the smallest normal float) it stays at e^-87.3.
 * x = n ln2 + r, |r| <= ln2 / 2, and Taylor's polynomial of degree 7 for e^r. */
DCAM_INLINE void dcam_exp8(dcam_f32x8 *x)
{
    const dcam_f32x8 lowest = {-87.3f, -87.3f, -87.3f, -87.3f, -87.3f, -87.3f, -87.3f, -87.3f};
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer held in the low bits */
    const dcam_i32x8 above = *x > lowest;
    dcam_f32x8 v;
    dcam_choose8(&v, &above, x, &lowest);
    const dcam_f32x8 shifted = v * 1.44269504f + magic;
    const dcam_f32x8 n = shifted - magic;
    const dcam_f32x8 r = (v - n * 0.693359375f) - n * -2.12194440e-4f;
    dcam_f32x8 p = r * (1.0f / 5040) + (1.0f / 720);
    p = p * r + (1.0f / 120);
    p = p * r + (1.0f / 24);
    p = p * r + (1.0f / 6);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    *x = (dcam_f32x8)((dcam_i32x8)p + ((dcam_i32x8)shifted << 23));
}

#endif
