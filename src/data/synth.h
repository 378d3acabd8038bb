/* synth.h - a synthetic data set in MVTec layout, drawn from a seed: textures and objects, several kinds of
 * defects, masks. For the demo, the tests, and whoever has no data set at hand. */
#ifndef DCAM_DATA_SYNTH_H
#define DCAM_DATA_SYNTH_H

#include <stdint.h>
#include "base/status.h"

typedef struct {
    const char *folder;   /* must not exist or be empty */
    uint64_t seed;
    int size;             /* pixels; 0: 256 */
    int classes;          /* 0: all (at least 6) */
    int train;            /* normal training images a class; 0: 40 */
    int test_good;        /* 0: 10 */
    int test_defective;   /* 0: 15, spread over the kinds of defects of the class */
} dcam_synth_plan;

DCAM_MUST_CHECK dcam_status dcam_synth_write(const dcam_synth_plan *options);

#endif
