/* formula.h - test values that C and numpy compute alike (tests/golden/formula.py): an integer hash turned into
 * floats in [-1, 1) that are exact in f32, so that golden files need to hold results only, no inputs. */
#ifndef DCAM_TESTS_FORMULA_H
#define DCAM_TESTS_FORMULA_H

#include <stddef.h>
#include <stdint.h>

/* Value `index` of series `seed`: a multiple of 2^-23 in [-1, 1). */
static inline float formula_value(uint32_t seed, uint32_t index)
{
    uint32_t h = index * 0x9e3779b1u + seed * 0x85ebca77u + 0xc2b2ae3du;
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return (float)((int32_t)(h >> 8) - (1 << 23)) * (1.0f / (1 << 23));
}

/* out[i] = value(i) * scale + offset, each step rounded to f32. */
static inline void formula_fill(uint32_t seed, float scale, float offset, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        volatile float product = formula_value(seed, (uint32_t)i) * scale; /* volatile: no fused multiply-add */
        out[i] = product + offset;
    }
}

#endif
