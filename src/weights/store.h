/* store.h - what the readers of this folder share: the tensors of one file and the bytes that they point into.
 * Private to src/weights. */
#ifndef DCAM_WEIGHTS_STORE_H
#define DCAM_WEIGHTS_STORE_H

#include <stdbool.h>

#include "weights/tensors.h"

/* Longer names are no module paths; they would only fill messages. */
#define DCAM_MAX_TENSOR_NAME 512

typedef struct {
    char *key, *value;
} dcam_store_pair;

struct dcam_tensors {
    char *path;
    uint8_t *bytes;                  /* the file; tensors point into it or into blocks */
    void **blocks;                   /* inflated entries, gathered views */
    size_t block_count, block_capacity;
    dcam_tensor *items;
    size_t count, capacity;
    const dcam_tensor **sorted;      /* by name, after dcam_store_finish */
    dcam_store_pair *metadata;
    size_t metadata_count, metadata_capacity;
};

/* An empty store. */
DCAM_MUST_CHECK dcam_status dcam_store_create(const char *path, dcam_tensors **out);
/* Adds a tensor; name is copied, data borrowed from bytes or a block. Checks the name and the limits. */
DCAM_MUST_CHECK dcam_status dcam_store_add(dcam_tensors *s, const char *name, size_t name_length,
                                           const dcam_tensor *tensor);
/* Keeps a block from dcam_alloc until the store is destroyed; on failure the block stays the caller's. */
DCAM_MUST_CHECK dcam_status dcam_store_keep(dcam_tensors *s, void *block);
DCAM_MUST_CHECK dcam_status dcam_store_add_metadata(dcam_tensors *s, const char *key, const char *value);
/* Sorts for dcam_tensors_find; a name given twice is an error. */
DCAM_MUST_CHECK dcam_status dcam_store_finish(dcam_tensors *s);

/* Readers that fill an empty store whose bytes hold the whole file. */
DCAM_MUST_CHECK dcam_status dcam_safetensors_fill(dcam_tensors *s, size_t count);
DCAM_MUST_CHECK dcam_status dcam_pth_fill(dcam_tensors *s, size_t count);
/* most_bytes: what inflated storages and gathered views may take together beside the file (and one storage alone);
 * dcam_pth_fill's is DCAM_MAX_WEIGHTS_BYTES. */
DCAM_MUST_CHECK dcam_status dcam_pth_fill_within(dcam_tensors *s, size_t count, size_t most_bytes);

/* Chooses the reader by content. Takes the bytes (from dcam_alloc), also on failure. */
DCAM_MUST_CHECK dcam_status dcam_tensors_take(const char *path, uint8_t *bytes, size_t count, dcam_tensors **out);

/* For messages: at most 80 characters of a name from outside, what is not printable ASCII as '?'. */
typedef struct {
    char text[84];
} dcam_printable;
dcam_printable dcam_printable_name(const void *name, size_t length);
/* "[64,3,7,7]" */
typedef struct {
    char text[DCAM_MAX_RANK * 21 + 3];
} dcam_shape_text;
dcam_shape_text dcam_shape_as_text(int rank, const size_t *shape);
const char *dcam_dtype_name(dcam_dtype type);

/* Product of the shape and of the element size; false on overflow. */
bool dcam_shape_count(int rank, const size_t *shape, size_t *count);

/* Makes room for one more item of `size` bytes in a growing array. */
DCAM_MUST_CHECK dcam_status dcam_grow(void *pointer_to_items, size_t count, size_t *capacity, size_t size);

#endif
