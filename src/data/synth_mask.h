/* synth_mask.h - the ground truth of a synthetic defect from two renderings.
 * Internal to src/data. */
#ifndef DCAM_DATA_SYNTH_MASK_H
#define DCAM_DATA_SYNTH_MASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    int side;
    uint8_t *pixels;   /* side x side, 0 or 255 */
    uint8_t *scratch;
    uint32_t *stack;
} synth_mask;

DCAM_MUST_CHECK dcam_status synth_mask_create(int side, synth_mask *out);
void synth_mask_clear(synth_mask *mask);

/* Marks where two pictures (side x side x 3, 0..255) differ so that one sees
 * it. False if what is marked is too small, too large or too faint for a
 * defect that a person would find. */
bool synth_mask_compare(synth_mask *mask, const float *clean, const float *flawed);

#endif
