/* arena.h - where tensors lie in one block of memory: two tensors share bytes if their lives do not overlap. */
#ifndef DCAM_NN_ARENA_H
#define DCAM_NN_ARENA_H

#include <stddef.h>

#include "base/status.h"

typedef struct {
    size_t bytes;
    int first, last; /* steps of the plan between which it is alive, both included */
    size_t offset;   /* out: a multiple of 64 */
} dcam_arena_item;

/* Sets the offsets and gives the bytes of the whole. */
DCAM_MUST_CHECK dcam_status dcam_arena_plan(dcam_arena_item *items, size_t count, size_t *out_bytes);

#endif
