/* quantise.h - f32 values to unsigned bytes and back, with one scale for the tensor. Internal to src/nn. */
#ifndef DCAM_NN_QUANTISE_H
#define DCAM_NN_QUANTISE_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/nn.h"

typedef struct {
    size_t count; /* values; 0: nothing */
    float scale;
    bool back;    /* bytes to f32 */
} dcam_quantise;

size_t dcam_quantise_bytes(const dcam_quantise *q, dcam_nn_argument which);
void dcam_quantise_run(const dcam_quantise *q, void *const memory[DCAM_NN_ARGUMENTS]);

#endif
