/* safetensors.c - reads the safetensors format (https://huggingface.co/docs/safetensors): an 8-byte little-endian
 * header length, a JSON header, the data. Strict: the data must be covered by the tensors without overlap or gap,
 * so that a file has one meaning and a damaged one is found. Copies no tensor data. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "weights/checksums.h"
#include "weights/json_text.h"
#include "weights/store.h"

#define PREFIX_BYTES ((size_t)8)

static dcam_status read_metadata(dcam_tensors *s, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: __metadata__ is not an object of strings", s->path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: __metadata__ entry \"%s\" is not a string", s->path,
                             dcam_printable_name(key, strlen(key)).text);
        DCAM_TRY(dcam_store_add_metadata(s, key, json_string_value(value)));
    }
    return DCAM_OK;
}

static dcam_status fault(const dcam_tensors *s, const char *name, const char *what)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: %s", s->path,
                     dcam_printable_name(name, strlen(name)).text, what);
}

static dcam_status read_type(const dcam_tensors *s, const char *name, const json_t *value, dcam_dtype *out)
{
    const char *text = json_string_value(value);
    if (!text) return fault(s, name, "dtype is missing or not a string");
    for (int t = DCAM_F32; t <= DCAM_F64; t++) {
        if (strcmp(text, dcam_dtype_name((dcam_dtype)t)) == 0) {
            *out = (dcam_dtype)t;
            return DCAM_OK;
        }
    }
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: dtype %s is not known", s->path,
                     dcam_printable_name(name, strlen(name)).text, dcam_printable_name(text, strlen(text)).text);
}

static dcam_status read_shape(const dcam_tensors *s, const char *name, const json_t *value, dcam_tensor *t)
{
    if (!json_is_array(value)) return fault(s, name, "shape is missing or not an array");
    size_t rank = json_array_size(value);
    if (rank > DCAM_MAX_RANK) return fault(s, name, "shape has more than 8 dimensions, the limit");
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *n = json_array_get(value, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0)
            return fault(s, name, "shape holds something other than whole numbers from 0 on");
        t->shape[i] = (size_t)json_integer_value(n);
    }
    if (!dcam_shape_count(t->rank, t->shape, &t->count)) return fault(s, name, "shape is too large");
    return DCAM_OK;
}

/* Offsets are checked against the data that are there before anything is believed. */
static dcam_status read_offsets(const dcam_tensors *s, const char *name, const json_t *value, size_t data_bytes,
                                const uint8_t *data, dcam_tensor *t)
{
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fault(s, name, "data_offsets is missing or not two whole numbers");
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b) return fault(s, name, "data_offsets are out of order");
    if ((uint64_t)e > data_bytes)
        return dcam_fail(DCAM_ERROR_WEIGHTS,
                         "%s: tensor %s ends at byte %lld of the data, but only %zu are there; the file is "
                         "truncated, get it again",
                         s->path, dcam_printable_name(name, strlen(name)).text, (long long)e, data_bytes);
    size_t bytes;
    if (!dcam_size_mul(t->count, dcam_dtype_bytes(t->type), &bytes) || bytes != (size_t)(e - b))
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: %s of type %s does not take the %lld bytes that "
                                             "data_offsets give it",
                         s->path, dcam_printable_name(name, strlen(name)).text,
                         dcam_shape_as_text(t->rank, t->shape).text, dcam_dtype_name(t->type), (long long)(e - b));
    t->data = data + b;
    return DCAM_OK;
}

static dcam_status read_tensor(dcam_tensors *s, const char *name, const json_t *entry, const uint8_t *data,
                               size_t data_bytes)
{
    dcam_tensor t;
    memset(&t, 0, sizeof t);
    if (!json_is_object(entry)) return fault(s, name, "its entry in the header is not an object");
    DCAM_TRY(read_type(s, name, json_object_get(entry, "dtype"), &t.type));
    DCAM_TRY(read_shape(s, name, json_object_get(entry, "shape"), &t));
    DCAM_TRY(read_offsets(s, name, json_object_get(entry, "data_offsets"), data_bytes, data, &t));
    if (json_object_size(entry) != 3) return fault(s, name, "its entry has a field that is not known");
    return dcam_store_add(s, name, strlen(name), &t);
}

static size_t bytes_of(const dcam_tensor *t) { return t->count * dcam_dtype_bytes(t->type); }

static int compare_places(const void *a, const void *b)
{
    const dcam_tensor *x = *(const dcam_tensor *const *)a, *y = *(const dcam_tensor *const *)b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    /* Empty ones first, so that they do not look like a step back. */
    return (bytes_of(x) > bytes_of(y)) - (bytes_of(x) < bytes_of(y));
}

static dcam_status check_cover(const dcam_tensors *s, const uint8_t *data, size_t data_bytes)
{
    const dcam_tensor **order = NULL;
    dcam_status status = DCAM_OK;
    DCAM_TRY(dcam_alloc(s->count, sizeof *order, &order));
    for (size_t i = 0; i < s->count; i++) order[i] = &s->items[i];
    if (s->count > 0) qsort(order, s->count, sizeof *order, compare_places);
    size_t covered = 0;
    for (size_t i = 0; i < s->count && status == DCAM_OK; i++) {
        size_t begin = (size_t)((const uint8_t *)order[i]->data - data);
        if (begin < covered && i > 0)
            status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensors %s and %s overlap", s->path, order[i - 1]->name,
                               order[i]->name);
        else if (begin > covered)
            status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: %zu bytes before tensor %s belong to no tensor", s->path,
                               begin - covered, order[i]->name);
        covered = begin + bytes_of(order[i]);
    }
    if (status == DCAM_OK && covered != data_bytes)
        status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: %zu bytes at the end belong to no tensor", s->path,
                           data_bytes - covered);
    dcam_free(order);
    return status;
}

dcam_status dcam_safetensors_fill(dcam_tensors *s, size_t count)
{
    if (count < PREFIX_BYTES + 2)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: %zu bytes are no weights file (safetensors or .pth)", s->path, count);
    uint64_t length;
    memcpy(&length, s->bytes, sizeof length);
    const uint8_t *header = s->bytes + PREFIX_BYTES;
    if (header[0] != '{')
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: is neither a safetensors file nor a .pth file", s->path);
    if (length > count - PREFIX_BYTES)
        return dcam_fail(DCAM_ERROR_WEIGHTS,
                         "%s: the header length says %llu bytes, but %zu follow; the file is truncated or damaged, "
                         "get it again",
                         s->path, (unsigned long long)length, count - PREFIX_BYTES);
    if (length > DCAM_MAX_HEADER_BYTES)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: the header has %llu bytes, more than the limit of %zu", s->path,
                         (unsigned long long)length, DCAM_MAX_HEADER_BYTES);
    const uint8_t *data = header + length;
    size_t data_bytes = count - PREFIX_BYTES - (size_t)length;
    dcam_json_error error;
    json_t *root = dcam_json_parse((const char *)header, (size_t)length, &error);
    if (!root && error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to read the header", s->path);
    if (!root)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: the header is no valid JSON: %s (byte %zu)", s->path,
                         error.reason, error.position);
    dcam_status status = DCAM_OK;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        status = strcmp(key, "__metadata__") == 0 ? read_metadata(s, value)
                                                  : read_tensor(s, key, value, data, data_bytes);
        if (status != DCAM_OK) break;
    }
    if (status == DCAM_OK) status = check_cover(s, data, data_bytes);
    if (status == DCAM_OK) status = checksums_verify(s);
    json_decref(root);
    return status;
}
