/* pickle.h - what a restricted reading of a state dict's pickle gives: names and descriptions of tensors. Nothing is
 * executed and nothing is imported: a fixed list of opcodes and of globals builds these values and no others.
 * Private to src/weights. */
#ifndef DCAM_WEIGHTS_PICKLE_H
#define DCAM_WEIGHTS_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "weights/tensors.h"

/* Storage of a tensor: the key of its zip entry and its length. */
typedef struct {
    dcam_dtype type;
    const char *key;      /* not terminated */
    size_t key_length;
    size_t elements;
} dcam_pickle_storage;

typedef struct {
    const char *name;     /* not terminated */
    size_t name_length;
    dcam_pickle_storage storage;
    size_t offset;        /* elements */
    int rank;
    size_t shape[DCAM_MAX_RANK];
    size_t stride[DCAM_MAX_RANK];
} dcam_pickle_tensor;

/* The entries of the state dict in their order, from dcam_alloc; names and keys point into bytes. path is for
 * messages. */
DCAM_MUST_CHECK dcam_status dcam_pickle_read(const char *path, const uint8_t *bytes, size_t count,
                                             dcam_pickle_tensor **out, size_t *out_count);

#endif
