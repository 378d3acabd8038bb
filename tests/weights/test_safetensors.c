/* safetensors: what the reference package wrote (golden file), our own round trip, conversions, every refusal, and
 * damage of every kind. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formula.h"
#include "weights/tensors.h"

#define GOLDEN(name) DCAM_TEST_GOLDEN "/weights/" name

static char folder[] = "/tmp/dcam-test-safetensors-XXXXXX";

static char *in_folder(const char *name)
{
    char *path;
    assert_int_equal(dcam_path_join(folder, name, &path), DCAM_OK);
    return path;
}

static void file_of_the_reference_package(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    dcam_tensors *t;
    float got[12], wanted[12];
    assert_int_equal(dcam_tensors_open(GOLDEN("reference.safetensors"), &t), DCAM_OK);
    assert_int_equal(dcam_tensors_count(t), 5);
    assert_int_equal(dcam_tensors_read_f32(t, "conv.weight", 4, (size_t[]){2, 3, 1, 2}, got), DCAM_OK);
    formula_fill(1, 1, 0, wanted, 12);
    assert_memory_equal(got, wanted, sizeof wanted);
    assert_int_equal(dcam_tensors_read_f32(t, "conv.bias", 1, (size_t[]){2}, got), DCAM_OK);
    formula_fill(2, 1, 0, wanted, 2);
    for (int i = 0; i < 2; i++) assert_true(fabsf(got[i] - wanted[i]) <= fabsf(wanted[i]) / 2048);
    assert_int_equal(dcam_tensors_read_f32(t, "empty", 2, (size_t[]){0, 4}, got), DCAM_OK);
    assert_int_equal(dcam_tensors_find(t, "steps")->rank, 0);
    assert_memory_equal(dcam_tensors_find(t, "steps")->data, "\7\0\0\0\0\0\0\0", 8);
    assert_memory_equal(dcam_tensors_find(t, "bytes")->data, "\0\1\2\3\4", 5);
    assert_int_equal(dcam_tensors_metadata_count(t), 2);
    assert_string_equal(dcam_tensors_metadata(t, "text"), "gr\xc3\xbcn \"quoted\"");
    assert_null(dcam_tensors_metadata(t, "other"));
    assert_null(dcam_tensors_find(t, "other"));
    dcam_tensors_destroy(t);
    assert_int_equal(dcam_memory_held(), held);
}

static void write_then_read(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    char *path = in_folder("a.safetensors");
    float weight[6] = {1, -2, 3.5f, 1e-40f, 5, 6}, got[6];
    uint8_t odd[3] = {7, 8, 9};
    int64_t steps = -1;
    dcam_tensor_writer *w;
    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "format", "pt"), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "odd", DCAM_U8, 1, (size_t[]){3}, odd), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "b.weight", DCAM_F32, 2, (size_t[]){2, 3}, weight), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "\xc3\xa4 \"\\\n", "{\"json\": [1]}"), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "a.steps", DCAM_I64, 0, NULL, &steps), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "none", DCAM_F32, 2, (size_t[]){0, 3}, NULL), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "odd", DCAM_U8, 1, (size_t[]){3}, odd), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_metadata(w, "format", "np"), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_metadata(w, "latin", "\xe4"), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_metadata(w, "\xe4", "latin"), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_add(w, "\xe4", DCAM_U8, 1, (size_t[]){3}, odd), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_add(w, "__metadata__", DCAM_U8, 1, (size_t[]){3}, odd), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_add(w, "", DCAM_U8, 1, (size_t[]){3}, odd), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_add(w, "deep", DCAM_U8, DCAM_MAX_RANK + 1, (size_t[DCAM_MAX_RANK + 1]){0}, odd),
                     DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_add(w, "huge", DCAM_F32, 2, (size_t[]){SIZE_MAX / 2, 3}, odd), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_tensor_writer_save(w, path), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, "/nonexistent/folder/a.safetensors"), DCAM_ERROR_IO);
    dcam_tensor_writer_destroy(w);

    uint8_t *bytes;
    size_t count;
    uint64_t header;
    assert_int_equal(dcam_file_read(path, 1 << 20, &bytes, &count), DCAM_OK);
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(count, 8 + header + 3 + 24 + 8);
    dcam_free(bytes);

    dcam_tensors *t;
    assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);
    assert_string_equal(dcam_tensors_path(t), path);
    assert_int_equal(dcam_tensors_count(t), 4);
    assert_string_equal(dcam_tensors_at(t, 0)->name, "odd");
    assert_string_equal(dcam_tensors_at(t, 1)->name, "b.weight");
    assert_int_equal(dcam_tensors_read_f32(t, "b.weight", 2, (size_t[]){2, 3}, got), DCAM_OK);
    assert_memory_equal(got, weight, sizeof weight);
    assert_memory_equal(dcam_tensors_find(t, "a.steps")->data, &steps, 8);
    assert_string_equal(dcam_tensors_metadata_key(t, 1), "\xc3\xa4 \"\\\n");
    assert_string_equal(dcam_tensors_metadata(t, "\xc3\xa4 \"\\\n"), "{\"json\": [1]}");
    dcam_tensors_destroy(t);
    dcam_free(path);
    assert_int_equal(dcam_memory_held(), held);
}

/* Halves (all edges and a sample) against the definition, and bf16 both ways. */
static void small_floats(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}";
    for (unsigned h = 0; h < 65536; h++) {
        unsigned char file[8 + 64 + 2];
        uint64_t header = 64;
        memcpy(file, &header, 8);
        memset(file + 8, ' ', 64);
        memcpy(file + 8, text, sizeof text - 1);
        file[72] = (unsigned char)h;
        file[73] = (unsigned char)(h >> 8);
        if (h % 64 != 1 && (h & 0x3ff) > 8 && (h & 0x3ff) < 0x3f8) continue; /* edges and a sample */
        dcam_tensors *t;
        float got = -1;
        assert_int_equal(dcam_safetensors_parse(file, sizeof file, "x", &t), DCAM_OK);
        dcam_status status = dcam_tensors_read_f32(t, "a", 1, (size_t[]){1}, &got);
        int exponent = (int)(h >> 10 & 31);
        double fraction = h & 1023;
        if (exponent == 31) {
            assert_int_equal(status, DCAM_ERROR_WEIGHTS);
        } else {
            double wanted = exponent ? ldexp(1 + fraction / 1024, exponent - 15) : ldexp(fraction / 1024, -14);
            assert_int_equal(status, DCAM_OK);
            assert_true((double)got == (h & 0x8000 ? -wanted : wanted));
        }
        dcam_tensors_destroy(t);
    }
    assert_int_equal(dcam_bf16_from_f32(1.0f), 0x3f80);
    assert_int_equal(dcam_bf16_from_f32(1.00390625f), 0x3f80);  /* tie: to even, down */
    assert_int_equal(dcam_bf16_from_f32(1.01171875f), 0x3f82);  /* tie: to even, up */
    assert_int_equal(dcam_bf16_from_f32(NAN) & 0x7fc0, 0x7fc0);
    assert_true(dcam_f32_from_bf16(0xc000) == -2.0f);
}

/* A file with this header and `data_bytes` bytes of zeros. */
static dcam_status parse(const char *header, size_t data_bytes, dcam_tensors **out)
{
    uint64_t length = strlen(header);
    size_t count = 8 + (size_t)length + data_bytes;
    uint8_t *bytes = calloc(count, 1);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, (size_t)length);
    dcam_status status = dcam_safetensors_parse(bytes, count, "x.safetensors", out);
    free(bytes);
    return status;
}

static void headers_refused_with_the_reason(void **state)
{
    (void)state;
#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *wanted;
    } cases[] = {
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 4, "tensor a ends at byte 8 of the data, but only 4"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 12, "4 bytes at the end"},
        {"{\"a\":" T("F32", "[2]", "[4,12]") "}", 12, "4 bytes before tensor a"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[4,12]") "}", 12, "tensors a and b overlap"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[0,8]") "}", 8, "overlap"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"a\":" T("F32", "[2]", "[8,16]") "}", 16, "duplicate object key"},
        {"{\"a\":" T("F32", "[3]", "[0,8]") "}", 8, "[3] of type F32 does not take the 8 bytes"},
        {"{\"a\":" T("F32", "[2]", "[8,0]") "}", 8, "out of order"},
        {"{\"a\":" T("F32", "[2]", "[-8,0]") "}", 8, "out of order"},
        {"{\"a\":" T("F32", "[2]", "[0]") "}", 8, "data_offsets"},
        {"{\"a\":" T("F32", "[2]", "[0.0,8.0]") "}", 8, "data_offsets"},
        {"{\"a\":" T("F32", "[2]", "[0,8,9]") "}", 8, "data_offsets"},
        {"{\"a\":" T("F32", "[2]", "\"0,8\"") "}", 8, "data_offsets"},
        {"{\"a\":" T("F32", "[-2]", "[0,8]") "}", 8, "whole numbers"},
        {"{\"a\":" T("F32", "[2.0]", "[0,8]") "}", 8, "whole numbers"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", 8, "more than 8 dimensions"},
        {"{\"a\":" T("F32", "2", "[0,8]") "}", 8, "not an array"},
        {"{\"a\":" T("F32", "[9223372036854775807,4]", "[0,8]") "}", 8, "too large"},
        {"{\"a\":" T("F32", "[4611686018427387904]", "[0,0]") "}", 0, "does not take the 0 bytes"},
        {"{\"a\":" T("F32", "[99999999999999999999]", "[0,8]") "}", 8, "no valid JSON"},
        {"{\"a\":" T("F8_E4M3", "[2]", "[0,2]") "}", 2, "dtype F8_E4M3"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "not known"},
        {"{\"a\":[]}", 0, "not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "\"a\" is not a string"},
        {"{\"__metadata__\":[]}", 0, "not an object of strings"},
        {"{\"\":" T("F32", "[0]", "[0,0]") "}", 0, "name is 0 bytes"},
        {"{\"a\\u001b[31m\":" T("F32", "[0]", "[0,0]") "}", 0, "\"a?[31m\" holds a control character"},
        {"{\"a\\u0000\":" T("F32", "[0]", "[0,0]") "}", 0, "no valid JSON"},
        {"{\"a\":", 0, "no valid JSON"},
        {"{} {}", 0, "no valid JSON"},
        {"[]", 0, "neither"},
        {" {}", 0, "neither"},
        {"{\"\xff\":1}", 0, "no valid JSON"},
    };
#undef T
    size_t held = dcam_memory_held();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dcam_tensors *t = NULL;
        assert_int_equal(parse(cases[i].header, cases[i].data_bytes, &t), DCAM_ERROR_WEIGHTS);
        assert_null(t);
        const char *said = dcam_error_message();
        if (!strstr(said, cases[i].wanted) || strncmp(said, "x.safetensors: ", 15) != 0)
            fail_msg("%s: the message is: %s", cases[i].header, said);
    }
    dcam_tensors *t;
    assert_int_equal(parse("{}  ", 0, &t), DCAM_OK);
    assert_int_equal(dcam_tensors_count(t), 0);
    dcam_tensors_destroy(t);
    assert_int_equal(dcam_memory_held(), held);
}

static void deep_and_long_headers(void **state)
{
    (void)state;
    dcam_tensors *t = NULL;
    size_t n = DCAM_MAX_HEADER_BYTES + 1;
    char *header = malloc(n + 1);
    assert_non_null(header);
    memset(header, ' ', n);
    memcpy(header, "{}", 2);
    header[n] = '\0';
    assert_int_equal(parse(header, 0, &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "more than the limit of 16777216"));
    memset(header, '[', 1000000);
    memcpy(header, "{\"a\":", 5);
    header[1000000] = '\0';
    assert_int_equal(parse(header, 0, &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "no valid JSON"));
    free(header);
}

/* Twenty texts are usual. Millions of them are no weights file. */
static void many_texts(void **state)
{
    (void)state;
    const size_t room = 64 + 16 * (DCAM_MAX_METADATA + 1), held = dcam_memory_held();
    char *header = malloc(room);
    assert_non_null(header);
    for (size_t n = DCAM_MAX_METADATA; n <= DCAM_MAX_METADATA + 1; n++) {
        dcam_tensors *t = NULL;
        size_t used = (size_t)snprintf(header, room, "{\"__metadata__\":{");
        for (size_t i = 0; i < n; i++)
            used += (size_t)snprintf(header + used, room - used, "%s\"%zu\":\"%zx\"", i ? "," : "", i, i);
        snprintf(header + used, room - used, "}}");
        const dcam_status status = parse(header, 0, &t);
        if (n > DCAM_MAX_METADATA) {
            assert_int_equal(status, DCAM_ERROR_WEIGHTS);
            assert_non_null(strstr(dcam_error_message(), "holds more than 4096 entries of __metadata__, the limit"));
            continue;
        }
        assert_int_equal(status, DCAM_OK);
        assert_int_equal(dcam_tensors_metadata_count(t), n);
        for (size_t i = 0; i < n; i += 97) {
            const char *key = dcam_tensors_metadata_key(t, i);
            assert_string_equal(dcam_tensors_metadata_value(t, i), dcam_tensors_metadata(t, key));
        }
        assert_string_equal(dcam_tensors_metadata(t, "255"), "ff");
        dcam_tensors_destroy(t);
    }
    free(header);
    assert_int_equal(dcam_memory_held(), held);
}

static void wrong_header_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {0, 1, 3, 5, 100, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t bytes[12] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' '};
        dcam_tensors *t = NULL;
        memcpy(bytes, &lengths[i], 8);
        assert_int_equal(dcam_safetensors_parse(bytes, sizeof bytes, "x.safetensors", &t), DCAM_ERROR_WEIGHTS);
        if (lengths[i] > 4) assert_non_null(strstr(dcam_error_message(), "header length says"));
    }
}

static void values_asked_for(void **state)
{
    (void)state;
    char *path = in_folder("values.safetensors");
    float nan[3] = {1, NAN, 2}, infinite[1] = {-INFINITY}, good[2] = {1, 2}, out[4] = {9, 9, 9, 9};
    double wide[2] = {1, 1e300};
    int32_t whole[2] = {1, 2};
    uint16_t brain[2] = {0x3f80, 0x7f80};
    dcam_tensor_writer *w;
    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "nan", DCAM_F32, 1, (size_t[]){3}, nan), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "inf", DCAM_F32, 1, (size_t[]){1}, infinite), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "wide", DCAM_F64, 1, (size_t[]){2}, wide), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "whole", DCAM_I32, 1, (size_t[]){2}, whole), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "brain", DCAM_BF16, 1, (size_t[]){2}, brain), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "good", DCAM_F32, 1, (size_t[]){2}, good), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, path), DCAM_OK);
    dcam_tensor_writer_destroy(w);
    dcam_tensors *t;
    assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);
    static const struct {
        const char *name;
        size_t n;
        const char *wanted;
    } cases[] = {
        {"nan", 3, "tensor nan holds a value that is not finite (element 1)"},
        {"inf", 1, "tensor inf holds a value that is not finite (element 0)"},
        {"wide", 2, "tensor wide holds a value that is not finite (element 1)"},
        {"brain", 2, "tensor brain holds a value that is not finite (element 1)"},
        {"whole", 2, "tensor whole is of type I32"},
        {"good", 3, "tensor good has the shape [2]; [3] is wanted"},
        {"bad", 3, "tensor bad [3] is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(dcam_tensors_read_f32(t, cases[i].name, 1, &cases[i].n, out), DCAM_ERROR_WEIGHTS);
        if (!strstr(dcam_error_message(), cases[i].wanted) || !strstr(dcam_error_message(), path))
            fail_msg("%s: %s", cases[i].name, dcam_error_message());
        assert_true(out[0] == 9 && out[1] == 9 && out[2] == 9);
    }
    dcam_tensors_destroy(t);
    dcam_free(path);
}

static void files_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        size_t count;
        const char *wanted;
    } cases[] = {
        {"", 0, "is empty"},
        {"a", 1, "1 bytes are no weights file"},
        {"<!DOCTYPE html><html>", 21, "web page"},
        {"{\"a\": 1, \"b\": 2}", 16, "is text"},
        {"\x89HDF\r\n\x1a\n.......", 15, "HDF5"},
        {"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", 16, "old format"},
        {"PK\x03\x04 no archive at all", 22, "end record is missing"},
        {"random bytes that mean nothing", 30, "neither a safetensors file nor a .pth file"},
    };
    char *path = in_folder("none");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dcam_tensors *t = NULL;
        assert_int_equal(dcam_file_write(path, cases[i].content, cases[i].count), DCAM_OK);
        assert_int_equal(dcam_tensors_open(path, &t), DCAM_ERROR_WEIGHTS);
        if (!strstr(dcam_error_message(), cases[i].wanted) || !strstr(dcam_error_message(), path))
            fail_msg("case %zu: %s", i, dcam_error_message());
    }
    dcam_free(path);
    dcam_tensors *t = NULL;
    assert_int_equal(dcam_tensors_open("/nonexistent/file", &t), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), "/nonexistent/file"));
}

static volatile unsigned touched; /* keeps the reads */

/* Whatever the reader accepts must be readable to its last byte. */
static void try_file(const uint8_t *bytes, size_t count, dcam_status *out)
{
    dcam_tensors *t = NULL;
    *out = dcam_safetensors_parse(bytes, count, "x", &t);
    assert_true(*out == DCAM_OK || *out == DCAM_ERROR_WEIGHTS);
    for (size_t i = 0; *out == DCAM_OK && i < dcam_tensors_count(t); i++) {
        const dcam_tensor *x = dcam_tensors_at(t, i);
        for (size_t k = 0; k < x->count * dcam_dtype_bytes(x->type); k++) touched += ((const uint8_t *)x->data)[k];
    }
    dcam_tensors_destroy(t);
}

static void damaged(void **state)
{
    (void)state;
    uint8_t *bytes, *copy;
    size_t count;
    dcam_status status;
    assert_int_equal(dcam_file_read(GOLDEN("reference.safetensors"), 1 << 20, &bytes, &count), DCAM_OK);
    size_t held = dcam_memory_held();
    for (size_t n = 0; n < count; n++) {
        try_file(bytes, n, &status);
        assert_int_equal(status, DCAM_ERROR_WEIGHTS);
    }
    for (size_t bit = 0; bit < 8 * count; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        try_file(bytes, count, &status);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    dcam_random r = dcam_random_make(2, 0);
    copy = malloc(count);
    assert_non_null(copy);
    for (int i = 0; i < 10000; i++) {
        memcpy(copy, bytes, count);
        for (uint64_t k = 1 + dcam_random_below(&r, 6); k > 0; k--)
            /* Digits and punctuation in the header make other offsets and shapes rather than broken JSON. */
            copy[8 + dcam_random_below(&r, count - 8)] = (uint8_t)"0123456789,[]{}\":"[dcam_random_below(&r, 17)];
        try_file(copy, count, &status);
    }
    assert_int_equal(dcam_memory_held(), held);
    free(copy);
    dcam_free(bytes);
}

static dcam_status write_small(const char *path)
{
    dcam_tensor_writer *w = NULL;
    const float value = 1;
    dcam_status status = dcam_tensor_writer_create(&w);
    if (status == DCAM_OK) status = dcam_tensor_writer_add(w, "a", DCAM_F32, 0, NULL, &value);
    if (status == DCAM_OK) status = dcam_tensor_writer_metadata(w, "b", "c");
    if (status == DCAM_OK) status = dcam_tensor_writer_save(w, path);
    dcam_tensor_writer_destroy(w);
    return status;
}

static void every_allocation_fails(void **state)
{
    (void)state;
    dcam_tensors *t = NULL;
    EVERY_ALLOCATION(a, dcam_tensors_open(GOLDEN("reference.safetensors"), &t)) {
        assert_true(a.passed ? a.n > 10 : t == NULL);
        dcam_tensors_destroy(t);
        t = NULL;
    }
    char *path = in_folder("b.safetensors");
    EVERY_ALLOCATION(a, write_small(path)) assert_true(a.n > 3 || !a.passed);
    dcam_free(path);
}

static long until_refused;
static bool once;

/* jansson's memory: refused after so many, once or from then on. */
static void *refuse(size_t bytes)
{
    const long left = until_refused--;
    return left == 0 || (left < 0 && !once) ? NULL : malloc(bytes);
}

/* Thirty tensors, so that texts grow. jansson's blocks are refused while they are gathered and written. */
static dcam_status write_short_of_memory(const char *path, long n)
{
    static const float value = 1;
    char name[32];
    dcam_tensor_writer *w = NULL;
    until_refused = n;
    json_set_alloc_funcs(refuse, free);
    dcam_status status = dcam_tensor_writer_create(&w);
    for (int i = 0; status == DCAM_OK && i < 30; i++) {
        snprintf(name, sizeof name, "layer1.%d.conv1.weight", i);
        status = dcam_tensor_writer_add(w, name, DCAM_F32, 4, (size_t[]){1, 1, 1, 1}, &value);
    }
    if (status == DCAM_OK) status = dcam_tensor_writer_metadata(w, "b", "c");
    if (status == DCAM_OK) status = dcam_tensor_writer_save(w, path);
    json_set_alloc_funcs(malloc, free);
    dcam_tensor_writer_destroy(w);
    return status;
}

/* A file with sums that had a gap was written, and "the header changed while it was written" was said. */
static void header_is_whole_or_no_file(void **state)
{
    (void)state;
    char *path = in_folder("b.safetensors");
    uint8_t *wanted, *bytes;
    size_t wanted_bytes, count;
    const size_t held = dcam_memory_held();
    assert_int_equal(write_short_of_memory(path, 1000000), DCAM_OK);
    assert_int_equal(dcam_file_read(path, 1 << 20, &wanted, &wanted_bytes), DCAM_OK);
    for (int k = 0; k < 2; k++) {
        once = k == 0;
        for (long n = 0;; n++) {
            unlink(path);
            const dcam_status status = write_short_of_memory(path, n);
            if (status != DCAM_OK) {
                assert_int_equal(status, DCAM_ERROR_MEMORY);
                assert_int_not_equal(access(path, F_OK), 0);
                continue;
            }
            assert_int_equal(dcam_file_read(path, 1 << 20, &bytes, &count), DCAM_OK);
            assert_int_equal(count, wanted_bytes);
            assert_memory_equal(bytes, wanted, count);
            dcam_free(bytes);
            if (until_refused < 0) continue; /* what it lacked, it could do without */
            assert_true(n > 300);
            break;
        }
    }
    dcam_free(wanted);
    assert_int_equal(dcam_memory_held(), held);
    dcam_free(path);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"a.safetensors", "b.safetensors", "values.safetensors", "none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = in_folder(names[i]);
        unlink(path);
        dcam_free(path);
    }
    return rmdir(folder); /* fails if a temporary file was left */
}

/* What we write carries the sum of each tensor and of the metadata: any bit that turned is found. */
static void turned_bits_are_found(void **state)
{
    (void)state;
    char path[] = "/tmp/dcam-test-sums-XXXXXX";
    const float values[5] = {1, 2, 3, 4, 5};
    const size_t shape = 5;
    dcam_tensor_writer *w;
    dcam_tensors *t;
    uint8_t *bytes;
    size_t count;
    close(mkstemp(path));
    assert_int_equal(dcam_tensor_writer_create(&w), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "threshold", "0.125"), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_metadata(w, "kind", "test"), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "a", DCAM_F32, 1, &shape, values), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_add(w, "b", DCAM_F32, 1, &shape, values), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, path), DCAM_OK);
    assert_int_equal(dcam_tensor_writer_save(w, path), DCAM_OK); /* twice gives the same */
    dcam_tensor_writer_destroy(w);
    assert_int_equal(dcam_file_read(path, 1 << 20, &bytes, &count), DCAM_OK);
    assert_int_equal(dcam_safetensors_parse(bytes, count, "x", &t), DCAM_OK);
    assert_int_equal(dcam_tensors_metadata_count(t), 2); /* the sums are not shown */
    dcam_tensors_destroy(t);
    for (size_t at = 8; at < count; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            dcam_status status = dcam_safetensors_parse(bytes, count, "x", &t);
            /* Padding, a blank that is another blank, and "sha256" renamed: then there are no sums. */
            if (status == DCAM_OK) {
                const bool values_stand = memcmp(dcam_tensors_at(t, 0)->data, values, sizeof values) == 0 &&
                                          memcmp(dcam_tensors_at(t, 1)->data, values, sizeof values) == 0;
                if (!values_stand || (dcam_tensors_metadata_count(t) == 2 && strcmp(dcam_tensors_metadata(t, "threshold"), "0.125") != 0))
                    fail_msg("bit %d of byte %zu was not missed", bit, at);
                dcam_tensors_destroy(t);
            } else {
                assert_int_equal(status, DCAM_ERROR_WEIGHTS);
            }
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    bytes[count - 1] ^= 1;
    assert_int_equal(dcam_safetensors_parse(bytes, count, "x", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "x: tensor b is not what was written (SHA-256)"));
    dcam_free(bytes);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_of_the_reference_package),
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(small_floats),
        cmocka_unit_test(headers_refused_with_the_reason),
        cmocka_unit_test(deep_and_long_headers),
        cmocka_unit_test(many_texts),
        cmocka_unit_test(wrong_header_lengths),
        cmocka_unit_test(values_asked_for),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(damaged),
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(header_is_whole_or_no_file),
        cmocka_unit_test(turned_bits_are_found),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
