/* tensors.c - the tensors of a file by name, and their values as f32. Knows no file format: it hands the bytes to
 * the reader that their beginning asks for. */
#include "weights/tensors.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "weights/store.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data are read as they lie in the file");
_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754 single and double");

static const struct {
    const char *name; /* as in safetensors */
    size_t bytes;
} types[] = {
    [DCAM_F32] = {"F32", 4}, [DCAM_F16] = {"F16", 2}, [DCAM_BF16] = {"BF16", 2}, [DCAM_I64] = {"I64", 8},
    [DCAM_I32] = {"I32", 4}, [DCAM_I8] = {"I8", 1},   [DCAM_U8] = {"U8", 1},     [DCAM_F64] = {"F64", 8},
};

size_t dcam_dtype_bytes(dcam_dtype type) { return types[type].bytes; }
const char *dcam_dtype_name(dcam_dtype type) { return types[type].name; }

dcam_printable dcam_printable_name(const void *name, size_t length)
{
    dcam_printable p;
    const unsigned char *c = name;
    size_t n = length <= 80 ? length : 77;
    for (size_t i = 0; i < n; i++) p.text[i] = (char)(c[i] >= 0x20 && c[i] < 0x7f ? c[i] : '?');
    memcpy(p.text + n, length <= 80 ? "" : "...", length <= 80 ? 1 : 4);
    return p;
}

dcam_shape_text dcam_shape_as_text(int rank, const size_t *shape)
{
    dcam_shape_text t;
    size_t used = 0;
    t.text[used++] = '[';
    for (int i = 0; i < rank; i++)
        used += (size_t)snprintf(t.text + used, sizeof t.text - used, i ? ",%zu" : "%zu", shape[i]);
    memcpy(t.text + used, "]", 2);
    return t;
}

bool dcam_shape_count(int rank, const size_t *shape, size_t *count)
{
    /* A zero anywhere makes the product 0, but the other factors must not overflow unseen before it. */
    size_t product = 1;
    for (int i = 0; i < rank; i++)
        if (!dcam_size_mul(product, shape[i], &product)) return false;
    *count = product;
    return true;
}

dcam_status dcam_grow(void *pointer_to_items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return DCAM_OK;
    size_t wanted = *capacity < 16 ? 16 : *capacity + *capacity / 2;
    DCAM_TRY(dcam_realloc(wanted, size, pointer_to_items));
    *capacity = wanted;
    return DCAM_OK;
}

dcam_status dcam_store_create(const char *path, dcam_tensors **out)
{
    dcam_tensors *s = NULL;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *s, &s));
    dcam_status status = dcam_copy_string(path, &s->path);
    if (status != DCAM_OK) {
        dcam_free(s);
        return status;
    }
    *out = s;
    return DCAM_OK;
}

void dcam_tensors_destroy(dcam_tensors *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->count; i++) dcam_free((void *)(uintptr_t)s->items[i].name);
    for (size_t i = 0; i < s->block_count; i++) dcam_free(s->blocks[i]);
    for (size_t i = 0; i < s->metadata_count; i++) {
        dcam_free(s->metadata[i].key);
        dcam_free(s->metadata[i].value);
    }
    dcam_free(s->items);
    dcam_free(s->blocks);
    dcam_free(s->metadata);
    dcam_free(s->sorted);
    dcam_free(s->bytes);
    dcam_free(s->path);
    dcam_free(s);
}

dcam_status dcam_store_add(dcam_tensors *s, const char *name, size_t name_length, const dcam_tensor *tensor)
{
    assert(tensor->rank >= 0 && tensor->rank <= DCAM_MAX_RANK);
    if (s->count >= DCAM_MAX_TENSORS)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: holds more than %d tensors, the limit", s->path, DCAM_MAX_TENSORS);
    if (name_length == 0 || name_length > DCAM_MAX_TENSOR_NAME)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: a tensor's name is %zu bytes long; 1 to %d are allowed", s->path,
                         name_length, DCAM_MAX_TENSOR_NAME);
    for (size_t i = 0; i < name_length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor name \"%s\" holds a control character", s->path,
                             dcam_printable_name(name, name_length).text);
    DCAM_TRY(dcam_grow(&s->items, s->count, &s->capacity, sizeof *s->items));
    char *copy = NULL;
    DCAM_TRY(dcam_alloc(name_length + 1, 1, &copy));
    memcpy(copy, name, name_length);
    copy[name_length] = '\0';
    s->items[s->count] = *tensor;
    s->items[s->count++].name = copy;
    return DCAM_OK;
}

dcam_status dcam_store_keep(dcam_tensors *s, void *block)
{
    DCAM_TRY(dcam_grow(&s->blocks, s->block_count, &s->block_capacity, sizeof *s->blocks));
    s->blocks[s->block_count++] = block;
    return DCAM_OK;
}

dcam_status dcam_store_add_metadata(dcam_tensors *s, const char *key, const char *value)
{
    if (s->metadata_count >= DCAM_MAX_METADATA)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: holds more than %d entries of __metadata__, the limit", s->path,
                         DCAM_MAX_METADATA);
    DCAM_TRY(dcam_grow(&s->metadata, s->metadata_count, &s->metadata_capacity, sizeof *s->metadata));
    dcam_store_pair pair = {NULL, NULL};
    DCAM_TRY(dcam_copy_string(key, &pair.key));
    dcam_status status = dcam_copy_string(value, &pair.value);
    if (status != DCAM_OK) {
        dcam_free(pair.key);
        return status;
    }
    s->metadata[s->metadata_count++] = pair;
    return DCAM_OK;
}

static int compare_names(const void *a, const void *b)
{
    const dcam_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

dcam_status dcam_store_finish(dcam_tensors *s)
{
    DCAM_TRY(dcam_alloc(s->count, sizeof *s->sorted, &s->sorted));
    for (size_t i = 0; i < s->count; i++) s->sorted[i] = &s->items[i];
    if (s->count > 0) qsort(s->sorted, s->count, sizeof *s->sorted, compare_names);
    for (size_t i = 1; i < s->count; i++)
        if (strcmp(s->sorted[i - 1]->name, s->sorted[i]->name) == 0)
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s is there twice", s->path, s->sorted[i]->name);
    return DCAM_OK;
}

/* Formats that are no weights file of ours but that people have, with what to do about them. */
static const char *advice(const uint8_t *bytes, size_t count)
{
    if (count >= 2 && bytes[0] == 0x80 && bytes[1] <= 5)
        return "is a .pth file in PyTorch's old format (before 1.6, a bare pickle), which is not read; load it in "
               "Python with torch.load and save it again with torch.save";
    if (count >= 262 && memcmp(bytes + 257, "ustar", 5) == 0)
        return "is a .pth file in PyTorch's oldest format (tar), which is not read; load it in Python with "
               "torch.load and save it again with torch.save";
    if (count >= 1 && (bytes[0] == '<' || bytes[0] == '{'))
        return "is text, not a weights file; the download may have saved a web page";
    if (count >= 8 && memcmp(bytes, "\x89HDF\r\n\x1a\n", 8) == 0)
        return "is an HDF5 file; a safetensors file or a .pth file is wanted";
    return NULL;
}

dcam_status dcam_tensors_take(const char *path, uint8_t *bytes, size_t count, dcam_tensors **out)
{
    dcam_tensors *s = NULL;
    dcam_status status = dcam_store_create(path, &s);
    if (status != DCAM_OK) {
        dcam_free(bytes);
        return status;
    }
    s->bytes = bytes;
    const char *reason;
    if (count == 0)
        status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: is empty; get the weights file again", path);
    else if (count >= 4 && memcmp(bytes, "PK\x03\x04", 4) == 0)
        status = dcam_pth_fill(s, count);
    /* A safetensors file has '{' as its 9th byte; its first eight are a small number, so look there first. */
    else if (!(count >= 9 && bytes[8] == '{' && bytes[7] == 0) && (reason = advice(bytes, count)) != NULL)
        status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: %s", path, reason);
    else
        status = dcam_safetensors_fill(s, count);
    if (status == DCAM_OK) status = dcam_store_finish(s);
    if (status != DCAM_OK) {
        dcam_tensors_destroy(s);
        return status;
    }
    *out = s;
    return DCAM_OK;
}

dcam_status dcam_tensors_open(const char *path, dcam_tensors **out)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    DCAM_TRY(dcam_file_read(path, DCAM_MAX_WEIGHTS_BYTES, &bytes, &count));
    return dcam_tensors_take(path, bytes, count, out);
}

static dcam_status parse_copy(const uint8_t *bytes, size_t count, const char *name,
                              dcam_status (*fill)(dcam_tensors *, size_t), dcam_tensors **out)
{
    dcam_tensors *s = NULL;
    DCAM_TRY(dcam_store_create(name, &s));
    dcam_status status = dcam_alloc(count, 1, &s->bytes);
    if (status == DCAM_OK) {
        if (count > 0) memcpy(s->bytes, bytes, count);
        status = fill(s, count);
    }
    if (status == DCAM_OK) status = dcam_store_finish(s);
    if (status != DCAM_OK) {
        dcam_tensors_destroy(s);
        return status;
    }
    *out = s;
    return DCAM_OK;
}

dcam_status dcam_safetensors_parse(const uint8_t *bytes, size_t count, const char *name, dcam_tensors **out)
{
    return parse_copy(bytes, count, name, dcam_safetensors_fill, out);
}

dcam_status dcam_pth_parse(const uint8_t *bytes, size_t count, const char *name, dcam_tensors **out)
{
    return parse_copy(bytes, count, name, dcam_pth_fill, out);
}

size_t dcam_tensors_count(const dcam_tensors *s) { return s->count; }

const dcam_tensor *dcam_tensors_at(const dcam_tensors *s, size_t i)
{
    assert(i < s->count);
    return &s->items[i];
}

const dcam_tensor *dcam_tensors_find(const dcam_tensors *s, const char *name)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, s->sorted[middle]->name);
        if (order == 0) return s->sorted[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

const char *dcam_tensors_metadata(const dcam_tensors *s, const char *key)
{
    for (size_t i = 0; i < s->metadata_count; i++)
        if (strcmp(s->metadata[i].key, key) == 0) return s->metadata[i].value;
    return NULL;
}

size_t dcam_tensors_metadata_count(const dcam_tensors *s) { return s->metadata_count; }

const char *dcam_tensors_metadata_key(const dcam_tensors *s, size_t i)
{
    assert(i < s->metadata_count);
    return s->metadata[i].key;
}

const char *dcam_tensors_metadata_value(const dcam_tensors *s, size_t i)
{
    assert(i < s->metadata_count);
    return s->metadata[i].value;
}

const char *dcam_tensors_path(const dcam_tensors *s) { return s->path; }

/* IEEE 754 half: 1 sign, 5 exponent, 10 fraction bits. */
static float f32_from_f16(uint16_t h)
{
    int exponent = (h >> 10) & 31, fraction = h & 1023;
    float magnitude;
    if (exponent == 31) magnitude = fraction ? NAN : INFINITY;
    else if (exponent == 0) magnitude = ldexpf((float)fraction, -24);
    else magnitude = ldexpf((float)(fraction + 1024), exponent - 25);
    return h & 0x8000 ? -magnitude : magnitude;
}

static float element_as_f32(const dcam_tensor *t, size_t i)
{
    const unsigned char *at = (const unsigned char *)t->data + i * types[t->type].bytes;
    uint16_t small;
    double wide;
    float value;
    switch (t->type) {
    case DCAM_F16: memcpy(&small, at, sizeof small); return f32_from_f16(small);
    case DCAM_BF16: memcpy(&small, at, sizeof small); return dcam_f32_from_bf16(small);
    case DCAM_F64:
        memcpy(&wide, at, sizeof wide);
        /* Beyond float's range the conversion is not defined in C. */
        return fabs(wide) <= 3.4028234663852886e38 ? (float)wide : (wide != wide ? NAN : INFINITY);
    default: memcpy(&value, at, sizeof value); return value;
    }
}

dcam_status dcam_tensors_read_f32(const dcam_tensors *s, const char *name, int rank, const size_t *shape, float *out)
{
    const dcam_tensor *t = dcam_tensors_find(s, name);
    if (!t)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s %s is missing", s->path, name,
                         dcam_shape_as_text(rank, shape).text);
    if (t->rank != rank || memcmp(t->shape, shape, (size_t)rank * sizeof *shape) != 0)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s has the shape %s; %s is wanted", s->path, name,
                         dcam_shape_as_text(t->rank, t->shape).text, dcam_shape_as_text(rank, shape).text);
    if (t->type != DCAM_F32 && t->type != DCAM_F16 && t->type != DCAM_BF16 && t->type != DCAM_F64)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s is of type %s; F32, F16, BF16 or F64 is wanted", s->path,
                         name, types[t->type].name);
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(element_as_f32(t, i)))
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s holds a value that is not finite (element %zu)",
                             s->path, name, i);
    for (size_t i = 0; i < t->count; i++) out[i] = element_as_f32(t, i);
    return DCAM_OK;
}
