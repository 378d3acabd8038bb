/* pth_builder.h - makes the bytes of a .pth file as torch.save does (zip of data.pkl and one storage a tensor), from
 * lists of float tensors: whole ResNet state dicts are too large to be committed. Ends the program when out of
 * memory. */
#ifndef DCAM_TESTS_PTH_BUILDER_H
#define DCAM_TESTS_PTH_BUILDER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct {
    uint8_t *bytes;
    size_t count, capacity;
} buffer;

static inline void put(buffer *b, const void *bytes, size_t count)
{
    if (b->capacity - b->count < count) {
        b->capacity = 2 * (b->capacity + count);
        b->bytes = realloc(b->bytes, b->capacity);
        if (!b->bytes) abort();
    }
    if (count > 0) memcpy(b->bytes + b->count, bytes, count);
    b->count += count;
}

static inline void put_text(buffer *b, const char *text) { put(b, text, strlen(text)); }

/* Little endian. */
static inline void put_number(buffer *b, uint64_t n, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++, n >>= 8) put(b, &(uint8_t){(uint8_t)n}, 1);
}

/* ---- pickle ------------------------------------------------------------ */

static inline void put_string(buffer *b, const char *text)
{
    put(b, "X", 1);
    put_number(b, strlen(text), 4);
    put_text(b, text);
}

static inline void put_int(buffer *b, size_t n)
{
    put(b, "J", 1);
    put_number(b, n, 4);
}

typedef struct {
    char name[80];
    int rank;
    size_t shape[4];
    const float *values; /* borrowed */
} built_tensor;

static inline size_t built_count(const built_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static inline void put_tensor(buffer *b, const built_tensor *t, size_t key)
{
    char text[24];
    size_t stride = built_count(t);
    put_string(b, t->name);
    put_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(b, "storage");
    put_text(b, "ctorch\nFloatStorage\n");
    snprintf(text, sizeof text, "%zu", key);
    put_string(b, text);
    put_string(b, "cpu");
    put_int(b, stride);
    put_text(b, "tQK");
    put(b, "\0(", 2);
    for (int i = 0; i < t->rank; i++) put_int(b, t->shape[i]);
    put_text(b, "t(");
    for (int i = 0; i < t->rank; i++) put_int(b, stride /= t->shape[i]);
    put_text(b, "t\x89" "ccollections\nOrderedDict\n)RtR");
}

static inline void put_state_dict(buffer *b, const built_tensor *tensors, size_t count)
{
    put_text(b, "\x80\x02" "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < count; i++) put_tensor(b, &tensors[i], i);
    put_text(b, "u.");
}

/* ---- zip --------------------------------------------------------------- */

typedef struct {
    buffer file, directory;
    size_t entries;
} built_zip;

static inline void put_entry(built_zip *z, const char *name, const void *bytes, size_t count)
{
    uint32_t crc = (uint32_t)crc32_z(0, bytes, count);
    size_t at = z->file.count;
    for (int central = 0; central < 2; central++) {
        buffer *b = central ? &z->directory : &z->file;
        put(b, central ? "PK\1\2\0\0" : "PK\3\4", central ? 6 : 4);
        put_number(b, 0, 2);              /* version */
        put_number(b, 0, 4);              /* flags, method: stored */
        put_number(b, 0, 4);              /* time, date */
        put_number(b, crc, 4);
        put_number(b, count, 4);
        put_number(b, count, 4);
        put_number(b, strlen(name), 2);
        put_number(b, 0, 2);              /* extra */
        if (central) {
            put_number(b, 0, 2 + 2 + 2);  /* comment, disk, internal attributes */
            put_number(b, 0, 4);          /* external attributes */
            put_number(b, at, 4);
        }
        put_text(b, name);
    }
    put(&z->file, bytes, count);
    z->entries++;
}

/* The whole archive, to be freed with free(); z is empty afterwards. */
static inline buffer end_zip(built_zip *z)
{
    buffer all = z->file;
    size_t at = all.count;
    put(&all, z->directory.bytes, z->directory.count);
    put_text(&all, "PK\5\6");
    put_number(&all, 0, 4);
    put_number(&all, z->entries, 2);
    put_number(&all, z->entries, 2);
    put_number(&all, z->directory.count, 4);
    put_number(&all, at, 4);
    put_number(&all, 0, 2);
    free(z->directory.bytes);
    memset(z, 0, sizeof *z);
    return all;
}

/* A .pth file with this pickle and one storage a tensor. */
static inline buffer build_pth_of(const buffer *pickle, const built_tensor *tensors, size_t count)
{
    built_zip z = {{0}, {0}, 0};
    char name[40];
    put_entry(&z, "archive/data.pkl", pickle->bytes, pickle->count);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "archive/data/%zu", i);
        put_entry(&z, name, tensors[i].values, built_count(&tensors[i]) * sizeof(float));
    }
    put_entry(&z, "archive/version", "3\n", 2);
    return end_zip(&z);
}

static inline buffer build_pth(const built_tensor *tensors, size_t count)
{
    buffer pickle = {0};
    put_state_dict(&pickle, tensors, count);
    buffer file = build_pth_of(&pickle, tensors, count);
    free(pickle.bytes);
    return file;
}

#endif
