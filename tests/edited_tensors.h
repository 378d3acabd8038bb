/* edited_tensors.h - a safetensors file written anew with one thing changed, as whoever damages a file on purpose
 * would do it: its sums are those of what it holds. */
#ifndef DCAM_TESTS_EDITED_TENSORS_H
#define DCAM_TESTS_EDITED_TENSORS_H

#include <string.h>

#include "weights/tensors.h"

typedef struct {
    const char *key, *value;      /* this metadata entry gets another value; NULL: it is left out */
    const char *tensor, *renamed; /* this tensor gets another name; NULL: it is left out, or with data: */
    const void *data;             /* what stands in its place, of: */
    dcam_dtype type;
    int rank;
    size_t shape[4];
} tensor_edit;

static inline void edit_tensors(const char *from, const char *to, const tensor_edit *e)
{
    dcam_tensors *file;
    dcam_tensor_writer *w;
    bool found = false;
    assert_int_equal(dcam_tensors_open(from, &file), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    for (size_t i = 0; i < dcam_tensors_metadata_count(file); i++) {
        const char *key = dcam_tensors_metadata_key(file, i), *value = dcam_tensors_metadata_value(file, i);
        if (e->key && strcmp(key, e->key) == 0) {
            found = true;
            value = e->value;
        }
        if (value) assert_int_equal(dcam_tensor_writer_metadata(w, key, value), DCAM_OK);
    }
    for (size_t i = 0; i < dcam_tensors_count(file); i++) {
        const dcam_tensor *t = dcam_tensors_at(file, i);
        dcam_tensor mine = *t;
        if (e->tensor && strcmp(t->name, e->tensor) == 0) {
            found = true;
            if (!e->renamed && !e->data) continue;
            if (e->renamed) mine.name = e->renamed;
            if (e->data) {
                mine.type = e->type;
                mine.rank = e->rank;
                memcpy(mine.shape, e->shape, sizeof e->shape);
                mine.data = e->data;
            }
        }
        assert_int_equal(dcam_tensor_writer_add(w, mine.name, mine.type, mine.rank, mine.shape, mine.data), DCAM_OK);
    }
    if (!found) fail_msg("%s holds no %s", from, e->key ? e->key : e->tensor);
    if (dcam_tensor_writer_save(w, to) != DCAM_OK) fail_msg("%s", dcam_error_message());
    dcam_tensor_writer_destroy(w);
    dcam_tensors_destroy(file);
}

#endif
