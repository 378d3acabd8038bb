/* safetensors_writer.c - writes the safetensors format: metadata and tensors are collected, then the file appears in one
 * atomic go, with the SHA-256 of each tensor in its metadata (checksums.h). The header is padded with spaces so that the
 * data start at a multiple of 8. */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "weights/checksums.h"
#include "weights/json_text.h"
#include "weights/store.h"

typedef struct {
    const void *data;
    size_t bytes;
} piece;

struct dcam_tensor_writer {
    json_t *header;   /* name -> entry, in the order added */
    json_t *metadata; /* borrowed from header once there is an entry, else NULL */
    piece *pieces;
    size_t count, capacity;
    size_t data_bytes;
};

dcam_status dcam_tensor_writer_create(dcam_tensor_writer **out)
{
    dcam_tensor_writer *w = NULL;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *w, &w));
    w->header = json_object();
    if (!w->header) {
        dcam_free(w);
        return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: the header of a weights file");
    }
    *out = w;
    return DCAM_OK;
}

void dcam_tensor_writer_destroy(dcam_tensor_writer *w)
{
    if (!w) return;
    json_decref(w->header);
    dcam_free(w->pieces);
    dcam_free(w);
}

static dcam_status no_memory_for(const char *name)
{
    return dcam_fail(DCAM_ERROR_MEMORY, "out of memory for \"%s\" in the header of a weights file",
                     dcam_printable_name(name, strlen(name)).text);
}

dcam_status dcam_tensor_writer_add(dcam_tensor_writer *w, const char *name, dcam_dtype type, int rank,
                                   const size_t *shape, const void *data)
{
    size_t count, bytes, end;
    if (rank < 0 || rank > DCAM_MAX_RANK || name[0] == '\0' || strlen(name) > DCAM_MAX_TENSOR_NAME ||
        strcmp(name, "__metadata__") == 0 || !dcam_utf8_is_valid(name))
        return dcam_fail(DCAM_ERROR_USAGE, "tensor \"%s\" of rank %d cannot be written",
                         dcam_printable_name(name, strlen(name)).text, rank);
    if (!dcam_shape_count(rank, shape, &count) || !dcam_size_mul(count, dcam_dtype_bytes(type), &bytes) ||
        !dcam_size_add(w->data_bytes, bytes, &end) || end > DCAM_MAX_WEIGHTS_BYTES)
        return dcam_fail(DCAM_ERROR_USAGE, "tensor %s: the file would be larger than %zu bytes, the limit", name,
                         DCAM_MAX_WEIGHTS_BYTES);
    if (w->count >= DCAM_MAX_TENSORS)
        return dcam_fail(DCAM_ERROR_USAGE, "tensor %s: more than %d tensors, the limit", name, DCAM_MAX_TENSORS);
    if (json_object_get(w->header, name))
        return dcam_fail(DCAM_ERROR_USAGE, "tensor %s was added to the file before", name);
    DCAM_TRY(dcam_grow(&w->pieces, w->count, &w->capacity, sizeof *w->pieces));

    json_t *dimensions = json_array();
    bool built = dimensions != NULL;
    for (int i = 0; i < rank && built; i++)
        built = json_array_append_new(dimensions, json_integer((json_int_t)shape[i])) == 0;
    /* "o" takes the array over, also when it fails. */
    json_t *entry = built ? json_pack("{s:s, s:o, s:[I,I]}", "dtype", dcam_dtype_name(type), "shape", dimensions,
                                      "data_offsets", (json_int_t)w->data_bytes, (json_int_t)end)
                          : NULL;
    if (!built) json_decref(dimensions);
    if (!entry || json_object_set_new(w->header, name, entry) != 0) return no_memory_for(name);
    w->pieces[w->count++] = (piece){data, bytes};
    w->data_bytes = end;
    return DCAM_OK;
}

dcam_status dcam_tensor_writer_metadata(dcam_tensor_writer *w, const char *key, const char *value)
{
    if (!w->metadata) {
        json_t *metadata = json_object();
        if (!metadata || json_object_set_new(w->header, "__metadata__", metadata) != 0) return no_memory_for(key);
        w->metadata = metadata;
    }
    if (json_object_get(w->metadata, key))
        return dcam_fail(DCAM_ERROR_USAGE, "metadata \"%s\" was added to the file before", key);
    /* jansson would refuse them as it refuses those that it has no memory for. */
    if (!dcam_utf8_is_valid(key) || !dcam_utf8_is_valid(value))
        return dcam_fail(DCAM_ERROR_USAGE, "metadata \"%s\": its text must be UTF-8",
                         dcam_printable_name(key, strlen(key)).text);
    if (json_object_set_new(w->metadata, key, json_string(value)) != 0) return no_memory_for(key);
    return DCAM_OK;
}

/* The entry that the reader compares with. The header's members are the tensors in the order of the pieces, and the
 * metadata somewhere between. */
static dcam_status add_checksums(dcam_tensor_writer *w)
{
    char sum[DCAM_SHA256_HEX];
    const char *name;
    json_t *entry, *sums = json_object();
    size_t at = 0;
    bool whole = sums != NULL;
    if (w->metadata) json_object_del(w->metadata, CHECKSUMS_KEY);
    json_object_foreach(w->header, name, entry) {
        if (entry == w->metadata) continue;
        dcam_sha256_of(w->pieces[at].data, w->pieces[at].bytes, sum);
        at++;
        whole &= json_object_set_new(sums, name, json_string(sum)) == 0;
    }
    if (w->metadata) {
        checksums_of_text text = {{0}};
        json_object_foreach(w->metadata, name, entry) checksums_add_text(&text, name, json_string_value(entry));
        checksums_finish_text(&text, sum);
        whole &= json_object_set_new(sums, CHECKSUMS_TEXT, json_string(sum)) == 0;
    }
    char *text = NULL;
    dcam_status status = dcam_json_print(whole ? sums : NULL, JSON_COMPACT, &text);
    json_decref(sums);
    if (status == DCAM_OK) status = dcam_tensor_writer_metadata(w, CHECKSUMS_KEY, text);
    dcam_free(text);
    return status;
}

static dcam_status no_memory_to_print(const char *path)
{
    return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory: the header", path);
}

/* *out: the length word, the JSON text and the padding, from dcam_alloc. */
static dcam_status dump_header(const dcam_tensor_writer *w, const char *path, uint8_t **out, size_t *out_bytes)
{
    size_t length = dcam_json_dump(w->header, NULL, 0, JSON_COMPACT);
    if (length == 0) return no_memory_to_print(path);
    if (length > DCAM_MAX_HEADER_BYTES - 8)
        return dcam_fail(DCAM_ERROR_USAGE, "%s: the header would have %zu bytes, more than the limit of %zu", path,
                         length, DCAM_MAX_HEADER_BYTES);
    uint64_t padded = (length + 7) / 8 * 8;
    uint8_t *bytes = NULL;
    DCAM_TRY(dcam_alloc((size_t)padded + 8, 1, &bytes));
    memcpy(bytes, &padded, 8);
    memset(bytes + 8, ' ', (size_t)padded);
    if (dcam_json_dump(w->header, (char *)bytes + 8, length, JSON_COMPACT) != length) {
        dcam_free(bytes);
        return no_memory_to_print(path);
    }
    *out = bytes;
    *out_bytes = (size_t)padded + 8;
    return DCAM_OK;
}

dcam_status dcam_tensor_writer_put(dcam_tensor_writer *w, const char *path, dcam_writer *file)
{
    uint8_t *header = NULL;
    size_t header_bytes = 0;
    DCAM_TRY(add_checksums(w));
    DCAM_TRY(dump_header(w, path, &header, &header_bytes));
    dcam_status status = dcam_writer_write(file, header, header_bytes);
    for (size_t i = 0; i < w->count && status == DCAM_OK; i++)
        status = dcam_writer_write(file, w->pieces[i].data, w->pieces[i].bytes);
    dcam_free(header);
    return status;
}

dcam_status dcam_tensor_writer_save(dcam_tensor_writer *w, const char *path)
{
    dcam_writer *file;
    DCAM_TRY(dcam_writer_open(path, &file));
    const dcam_status status = dcam_tensor_writer_put(w, path, file);
    if (status == DCAM_OK) return dcam_writer_commit(file);
    dcam_writer_abort(file);
    return status;
}
