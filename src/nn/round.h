/* round.h - factors as the kernels read them: floats, or bf16 in pairs of neighbouring rows. Internal to src/nn. */
#ifndef DCAM_NN_ROUND_H
#define DCAM_NN_ROUND_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/vector.h"
#include "nn/tiles.h"

/* To the nearest, ties to even; what is no number stays so. */
DCAM_INLINE uint16_t dcam_round_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Row and column of a matrix with 16 columns. */
DCAM_INLINE void dcam_put_factor(float *to, bool bf16, size_t row, size_t column, float value)
{
    if (bf16) {
        const uint16_t rounded = dcam_round_bf16(value);
        memcpy((char *)to + sizeof rounded * (row / 2 * 2 * PANEL + column * 2 + row % 2), &rounded, sizeof rounded);
    } else {
        to[row * PANEL + column] = value;
    }
}

#endif
