/* taps.c - values of features in the types in which a network keeps them. */
#include <stdint.h>
#include <string.h>

#include "base/bf16.h"
#include "net/resnet.h"

size_t dcam_tap_bytes(dcam_tap_type type)
{
    static const size_t bytes[] = {4, 2, 1};
    return bytes[type];
}

void dcam_tap_values(const dcam_taps *taps, int stage, const void *values, size_t count, float *out)
{
    if (taps->type == DCAM_TAP_F32) memcpy(out, values, count * sizeof *out);
    else if (taps->type == DCAM_TAP_U8)
        for (size_t i = 0; i < count; i++) out[i] = (float)((const uint8_t *)values)[i] * taps->scale[stage];
    else
        for (size_t i = 0; i < count; i++) out[i] = dcam_widen_bf16(((const uint16_t *)values)[i]);
}
