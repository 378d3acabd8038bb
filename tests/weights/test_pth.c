/* .pth files: PyTorch's own (golden files), every refusal by name, and damage of every kind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "golden_file.h"
#include "weights/pickle.h"
#include "weights/pth_builder.h"
#include "weights/store.h"
#include "weights/tensors.h"

#define GOLDEN(name) DCAM_TEST_GOLDEN "/weights/" name

static void read_golden(const char *path, uint8_t **bytes, size_t *count)
{
    assert_int_equal(dcam_file_read(path, 1 << 20, bytes, count), DCAM_OK);
}

static void check_float(const dcam_tensors *t, const char *name, int rank, const size_t *shape)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    float got[64];
    double *wanted = golden_read("weights/tiny.bin", name, count);
    assert_int_equal(dcam_tensors_read_f32(t, name, rank, shape, got), DCAM_OK);
    for (size_t i = 0; i < count; i++) assert_true((double)got[i] == (double)(float)wanted[i]);
    free(wanted);
}

static void check_tiny(const char *path)
{
    dcam_tensors *t;
    assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);
    assert_int_equal(dcam_tensors_count(t), 14);
    assert_string_equal(dcam_tensors_at(t, 0)->name, "f32");
    check_float(t, "f32", 2, (size_t[]){2, 3});
    check_float(t, "half", 1, (size_t[]){4});
    check_float(t, "bf16", 2, (size_t[]){3, 2});
    check_float(t, "double", 2, (size_t[]){2, 2});
    check_float(t, "transposed", 2, (size_t[]){4, 3});
    check_float(t, "slice", 2, (size_t[]){2, 3});
    check_float(t, "whole", 2, (size_t[]){4, 6});
    check_float(t, "channels_last", 4, (size_t[]){2, 3, 2, 2});
    check_float(t, "parameter", 1, (size_t[]){5});
    check_float(t, "empty", 2, (size_t[]){0, 3});

    const dcam_tensor *n = dcam_tensors_find(t, "long");
    int64_t wide;
    int32_t narrow[2];
    assert_int_equal(n->type, DCAM_I64);
    assert_int_equal(n->rank, 0);
    memcpy(&wide, n->data, sizeof wide);
    assert_true(wide == -5);
    n = dcam_tensors_find(t, "int");
    assert_int_equal(n->type, DCAM_I32);
    memcpy(narrow, n->data, sizeof narrow);
    assert_true(narrow[0] == 1 && narrow[1] == -2);
    n = dcam_tensors_find(t, "char");
    assert_int_equal(n->type, DCAM_I8);
    assert_memory_equal(n->data, "\x01\xfe\x03", 3);
    n = dcam_tensors_find(t, "byte");
    assert_int_equal(n->type, DCAM_U8);
    assert_memory_equal(n->data, "\xc8\x00", 2);
    dcam_tensors_destroy(t);
}

static void files_of_pytorch(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    check_tiny(GOLDEN("tiny.pth"));
    check_tiny(GOLDEN("tiny_protocol4.pth"));
    check_tiny(GOLDEN("tiny_deflated.pth"));
    assert_int_equal(dcam_memory_held(), held);
}

static void refusals_name_the_reason(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {GOLDEN("evil.pth"), "posix.system"},
        {GOLDEN("module.pth"), "torch.nn.modules.linear.Linear"},
        {GOLDEN("wrapped.pth"), "entry epoch is an integer"},
        {GOLDEN("expanded.pth"), "tensor a: is an expanded view"},
        {GOLDEN("list.pth"), "holds a list"},
        {GOLDEN("complex.pth"), "torch.ComplexFloatStorage"},
        {GOLDEN("script.pth"), "TorchScript"},
        {GOLDEN("tiny_old.pth"), "torch.save"},
    };
    size_t held = dcam_memory_held();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dcam_tensors *t = NULL;
        assert_int_equal(dcam_tensors_open(cases[i][0], &t), DCAM_ERROR_WEIGHTS);
        assert_null(t);
        if (!strstr(dcam_error_message(), cases[i][1]) || !strstr(dcam_error_message(), cases[i][0]))
            fail_msg("%s: the message is: %s", cases[i][0], dcam_error_message());
    }
    assert_int_equal(dcam_memory_held(), held);
}

/* A pickle around `text` with the tail that ends it; the message must hold `wanted`. */
static void refuse_pickle(const char *text, size_t count, const char *wanted)
{
    dcam_pickle_tensor *t = NULL;
    size_t n = 0;
    assert_int_equal(dcam_pickle_read("x.pth", (const uint8_t *)text, count, &t, &n), DCAM_ERROR_WEIGHTS);
    assert_null(t);
    if (!strstr(dcam_error_message(), wanted)) fail_msg("\"%s\" is not in: %s", wanted, dcam_error_message());
}
#define REFUSE(text, wanted) refuse_pickle(text, sizeof text - 1, wanted)

static void opcodes_and_globals(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    REFUSE("\x80\x02" "cos\nsystem\n(X\x02\0\0\0lstR.", "os.system");
    REFUSE("\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system");
    REFUSE("c__builtin__\neval\n.", "__builtin__.eval");
    REFUSE("(S'ls'\nios\nsystem\n.", "STRING (0x53)");
    REFUSE("(ios\nsystem\n.", "INST (0x69)");
    REFUSE("ccollections\nOrderedDict\n)\x81.", "NEWOBJ (0x81)");
    REFUSE("\x82\x01.", "EXT1 (0x82)");
    REFUSE("Pkey\n.", "PERSID (0x50)");
    REFUSE("\xff.", "unknown (0xff)");
    REFUSE("\x80\x06}.", "protocol newer than 5");
    /* The eight bytes of a float are no opcodes: as such those would end the pickle here. */
    REFUSE("}X\x01\0\0\0aG0.0.0.0.s.", "entry a is a float");
    REFUSE("}X\x01\0\0\0aG0.0.0.0", "cut off");
    REFUSE("}", "cut off");
    REFUSE("}}.", "does not end with one value");
    REFUSE("(}.", "does not end with one value");
    REFUSE("}.}", "bytes follow");
    REFUSE(".", "does not end with one value");
    REFUSE("0.", "empty stack");
    REFUSE("}(0.", "empty stack");
    REFUSE("t.", "mark is missing");
    REFUSE("K\x01\x86.", "more values than there are");
    REFUSE("h\0.", "memo");
    REFUSE("}r\xff\xff\xff\xff.", "memo of more than");
    REFUSE("q\0.", "empty stack");
    REFUSE("}(K\x01u.", "key without a value");
    REFUSE("}K\x01K\x02s.", "is no text");
    REFUSE("]K\x01K\x02s.", "a list stands where a dictionary is wanted");
    REFUSE("X\xff\xff\xff\xff" "abc.", "cut off");
    REFUSE("\x8a\x09" "123456789.", "more than 64 bits");
    REFUSE("ccollections\nOrderedDict\n}R.", "REDUCE without a tuple");
    REFUSE("ccollections\nOrderedDict\nK\x01\x85R.", "OrderedDict with arguments");
    REFUSE("ctorch\nFloatStorage\n)R.", "storage class is called");
    REFUSE("ctorch._utils\n_rebuild_tensor_v2\n)R.", "described otherwise");
    REFUSE("ctorch._utils\n_rebuild_parameter\n}N}\x87R.", "parameter without a tensor");
    REFUSE("X\x07\0\0\0storage\x85Q.", "five values");
    REFUSE("}Nb.", "BUILD without a dictionary");
    REFUSE("K\x01.", "holds an integer");
    assert_int_equal(dcam_memory_held(), held);
}

/* A file with one tensor of four values whose description the caller writes. */
static dcam_status open_described(const char *storage_elements, const char *offset, const char *sizes, const char *strides)
{
    static const float values[4] = {1, 2, 3, 4};
    built_tensor one = {"a", 1, {4}, values};
    buffer p = {0};
    put_text(&p, "\x80\x02}");
    put_string(&p, "a");
    put_text(&p, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(&p, "storage");
    put_text(&p, "ctorch\nFloatStorage\n");
    put_string(&p, "0");
    put_string(&p, "cpu");
    put_text(&p, storage_elements);
    put_text(&p, "tQ");
    put_text(&p, offset);
    put_text(&p, sizes);
    put_text(&p, strides);
    put_text(&p, "\x89NtRs.");
    buffer file = build_pth_of(&p, &one, 1);
    dcam_tensors *t = NULL;
    dcam_status status = dcam_pth_parse(file.bytes, file.count, "x.pth", &t);
    dcam_tensors_destroy(t);
    free(p.bytes);
    free(file.bytes);
    return status;
}

static void storages_and_views(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    assert_int_equal(open_described("K\x04", "K\x01", "K\x03\x85", "K\x01\x85"), DCAM_OK);
    static const char *const bad[][5] = {
        {"K\x05", "K\x01", "K\x03\x85", "K\x01\x85", "should hold 5 elements"},
        {"J\xff\xff\xff\xff", "K\x01", "K\x03\x85", "K\x01\x85", "described as PyTorch does"},
        {"K\x04", "K\x02", "K\x03\x85", "K\x01\x85", "beyond its storage"},
        {"K\x04", "J\xff\xff\xff\xff", "K\x03\x85", "K\x01\x85", "without storage"},
        {"K\x04", "K\x01", "K\x03\x85", "K\x02\x85", "beyond its storage"},
        {"K\x04", "K\x01", "K\x03\x85", "J\xff\xff\xff\xff\x85", "below 0"},
        {"K\x04", "K\x01", "K\x03\x85", "K\x01K\x01\x86", "more sizes than strides"},
        {"K\x04", "K\x01", "(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", "K\x01\x85", "up to 8"},
        {"K\x04", "K\x01", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04\x86", "K\x01K\x01\x86", "too large"},
        {"K\x04", "K\x01", "K\x02K\x02\x86", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01\x86", "beyond its storage"},
        {"K\x04", "K\x01", "K\x03\x85", "N", "no tuple"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(open_described(bad[i][0], bad[i][1], bad[i][2], bad[i][3]), DCAM_ERROR_WEIGHTS);
        if (!strstr(dcam_error_message(), bad[i][4])) fail_msg("case %zu: %s", i, dcam_error_message());
    }
    assert_int_equal(dcam_memory_held(), held);
}

static void twice_and_missing(void **state)
{
    (void)state;
    static const float values[4] = {1, 2, 3, 4};
    built_tensor two[2] = {{"a", 1, {4}, values}, {"a", 1, {4}, values}};
    dcam_tensors *t = NULL;
    buffer file = build_pth(two, 2), pickle = {0};
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "x.pth: tensor a is there twice"));
    free(file.bytes);
    put_state_dict(&pickle, two, 2);
    file = build_pth_of(&pickle, two, 1); /* without the second storage */
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "storage 1 is not in the archive"));
    free(file.bytes);
    free(pickle.bytes);

    built_zip z = {{0}, {0}, 0};
    put_entry(&z, "archive/other", "x", 1);
    file = end_zip(&z);
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "without data.pkl"));
    free(file.bytes);

    put_entry(&z, "a/data.pkl", "}.", 2);
    put_entry(&z, "a/data.pkl", "}.", 2);
    file = end_zip(&z);
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "a/data.pkl is there twice"));
    free(file.bytes);

    put_entry(&z, "a/data.pkl", "}.", 2);
    put_entry(&z, "a/byteorder", "big", 3);
    file = end_zip(&z);
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "big-endian"));
    free(file.bytes);
}

/* Methods, encryption and false sizes, by changing fields of the directory of a good archive. */
static void zip_fields(void **state)
{
    (void)state;
    static const struct {
        size_t field, bytes;
        uint64_t value;
        const char *wanted;
    } cases[] = {
        {8, 2, 1, "encrypted"},           {10, 2, 12, "method 12"},          {16, 4, 1, "wrong checksum"},
        {20, 4, 1, "two sizes"},          {24, 4, 0x7fffffff, "limit"},      {28, 2, 0, "name is 0 bytes"},
        {28, 2, 0xffff, "cut off"},       {42, 4, 0x7fffffff, "outside"},    {42, 4, 1, "no local header"},
        {10, 2, 8, "cannot be inflated"}, {20, 4, 0xffffffff, "outside"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        built_zip z = {{0}, {0}, 0};
        dcam_tensors *t = NULL;
        put_entry(&z, "a/data.pkl", "}.", 2);
        size_t at = z.file.count;
        buffer file = end_zip(&z);
        assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_OK);
        assert_int_equal(dcam_tensors_count(t), 0);
        dcam_tensors_destroy(t);
        for (size_t k = 0; k < cases[i].bytes; k++)
            file.bytes[at + cases[i].field + k] = (uint8_t)(cases[i].value >> (8 * k));
        assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
        if (!strstr(dcam_error_message(), cases[i].wanted)) fail_msg("case %zu: %s", i, dcam_error_message());
        free(file.bytes);
    }
}

/* The end record is found before a comment of any length that its two bytes can say, and nowhere else. */
static void zip_comments(void **state)
{
    static const size_t lengths[] = {0, 1, 65534, 65535};
    static const uint8_t comment[65536];
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        built_zip z = {{0}, {0}, 0};
        dcam_tensors *t = NULL;
        put_entry(&z, "a/data.pkl", "}.", 2);
        buffer file = end_zip(&z);
        file.count -= 2;
        put_number(&file, lengths[i], 2);
        put(&file, comment, lengths[i]);
        assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_OK);
        dcam_tensors_destroy(t);
        put(&file, comment, 1);
        assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
        assert_non_null(strstr(dcam_error_message(), "end record"));
        free(file.bytes);
    }
}

enum { SIDE = 64, SIDE_BYTES = SIDE * SIDE * 4 };

/* Tensor tKEY: storage KEY of SIDE x SIDE floats, seen with rows and columns exchanged. */
static void put_turned(buffer *b, size_t key)
{
    char name[24];
    snprintf(name, sizeof name, "t%zu", key);
    put_string(b, name);
    put_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(b, "storage");
    put_text(b, "ctorch\nFloatStorage\n");
    put_string(b, name + 1);
    put_string(b, "cpu");
    put_int(b, SIDE * SIDE);
    put_text(b, "tQK");
    put(b, "\0(", 2);
    put_int(b, SIDE);
    put_int(b, SIDE);
    put_text(b, "t(");
    put_int(b, 1);
    put_int(b, SIDE);
    put_text(b, "t\x89NtR");
}

/* A file of `count` such tensors: one storage, and the others another name for it or a copy of it. */
static buffer build_turned(size_t count, bool copies)
{
    static float values[SIDE * SIDE];
    built_zip z = {{0}, {0}, 0};
    buffer pickle = {0};
    char name[40];
    for (size_t i = 0; i < SIDE * SIDE; i++) values[i] = (float)i;
    put_text(&pickle, "\x80\x02}(");
    for (size_t i = 0; i < count; i++) put_turned(&pickle, i);
    put_text(&pickle, "u.");
    put_entry(&z, "archive/data.pkl", pickle.bytes, pickle.count);
    free(pickle.bytes);
    const size_t record = z.directory.count;
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "archive/data/%zu", i);
        if (i == 0 || copies) {
            put_entry(&z, name, values, sizeof values);
            continue;
        }
        uint8_t entry[46];
        memcpy(entry, z.directory.bytes + record, sizeof entry);
        entry[28] = (uint8_t)strlen(name);
        put(&z.directory, entry, sizeof entry);
        put_text(&z.directory, name);
        z.entries++;
    }
    return end_zip(&z);
}

/* Many entries that are one block of the file would each be summed, and each let a view of it be made. */
static void storages_of_the_same_bytes(void **state)
{
    (void)state;
    dcam_tensors *t = NULL;
    buffer file = build_turned(200, false);
    const size_t held = dcam_memory_held();
    dcam_memory_reset_peak();
    assert_int_equal(dcam_pth_parse(file.bytes, file.count, "x.pth", &t), DCAM_ERROR_WEIGHTS);
    assert_non_null(strstr(dcam_error_message(), "x.pth: zip archive: its entries overlap"));
    assert_true(dcam_memory_peak() - held < 20 * SIDE_BYTES);
    assert_int_equal(dcam_memory_held(), held);
    free(file.bytes);
}

/* One limit for what is inflated and what is gathered. */
static void memory_beside_the_file(void **state)
{
    (void)state;
    enum { COUNT = 3 };
    buffer file = build_turned(COUNT, true);
    const size_t held = dcam_memory_held();
    for (size_t limit = COUNT * SIDE_BYTES - 1; limit <= COUNT * SIDE_BYTES; limit++) {
        dcam_tensors *t = NULL;
        assert_int_equal(dcam_store_create("x.pth", &t), DCAM_OK);
        assert_int_equal(dcam_alloc(file.count, 1, &t->bytes), DCAM_OK);
        memcpy(t->bytes, file.bytes, file.count);
        const dcam_status status = dcam_pth_fill_within(t, file.count, limit);
        if (limit < COUNT * SIDE_BYTES) {
            assert_int_equal(status, DCAM_ERROR_WEIGHTS);
            assert_non_null(strstr(dcam_error_message(), "rearranged views take more than 49151 bytes, the limit"));
        } else {
            float first[2];
            assert_int_equal(status, DCAM_OK);
            memcpy(first, dcam_tensors_at(t, COUNT - 1)->data, sizeof first);
            assert_true(first[0] == 0 && first[1] == SIDE);
        }
        dcam_tensors_destroy(t);
    }
    assert_int_equal(dcam_memory_held(), held);
    free(file.bytes);

    /* What was inflated counts as well: these fit each by itself. */
    uint8_t *bytes;
    size_t count, inflated = 0;
    read_golden(GOLDEN("tiny_deflated.pth"), &bytes, &count);
    dcam_status status = DCAM_ERROR_WEIGHTS;
    for (; status != DCAM_OK; inflated++) {
        dcam_tensors *t = NULL;
        assert_int_equal(dcam_store_create("x.pth", &t), DCAM_OK);
        assert_int_equal(dcam_alloc(count, 1, &t->bytes), DCAM_OK);
        memcpy(t->bytes, bytes, count);
        status = dcam_pth_fill_within(t, count, inflated);
        size_t blocks = 0; /* at least what it has beside its file */
        for (size_t i = 0; status == DCAM_OK && i < dcam_tensors_count(t); i++) {
            const dcam_tensor *x = dcam_tensors_at(t, i);
            const uint8_t *data = x->data;
            if (data < t->bytes || data >= t->bytes + count) blocks += x->count * dcam_dtype_bytes(x->type);
        }
        assert_true(blocks <= inflated || status != DCAM_OK);
        if (status != DCAM_OK) assert_non_null(strstr(dcam_error_message(), "limit"));
        dcam_tensors_destroy(t);
        assert_true(inflated < 1 << 16);
    }
    dcam_free(bytes);
}

static volatile unsigned touched; /* keeps the reads */

/* Whatever a reader accepts must be readable to its last byte. */
static void touch_all(const dcam_tensors *t)
{
    for (size_t i = 0; i < dcam_tensors_count(t); i++) {
        const dcam_tensor *x = dcam_tensors_at(t, i);
        for (size_t k = 0; k < x->count * dcam_dtype_bytes(x->type); k++) touched += ((const uint8_t *)x->data)[k];
    }
}

static void try_file(const uint8_t *bytes, size_t count, dcam_status *out)
{
    dcam_tensors *t = NULL;
    *out = dcam_pth_parse(bytes, count, "x.pth", &t);
    assert_true(*out == DCAM_OK || *out == DCAM_ERROR_WEIGHTS);
    if (*out == DCAM_OK) touch_all(t);
    dcam_tensors_destroy(t);
}

static void truncated_at_every_length(void **state)
{
    (void)state;
    uint8_t *bytes;
    size_t count, held;
    dcam_status status;
    read_golden(GOLDEN("tiny.pth"), &bytes, &count);
    held = dcam_memory_held();
    for (size_t n = 0; n < count; n++) {
        try_file(bytes, n, &status);
        assert_int_equal(status, DCAM_ERROR_WEIGHTS);
    }
    assert_int_equal(dcam_memory_held(), held);
    dcam_free(bytes);
}

static void every_bit_flipped(void **state)
{
    (void)state;
    static const char *const files[] = {GOLDEN("tiny.pth"), GOLDEN("tiny_deflated.pth")};
    for (size_t f = 0; f < 2; f++) {
        uint8_t *bytes;
        size_t count;
        dcam_status status;
        read_golden(files[f], &bytes, &count);
        size_t held = dcam_memory_held();
        for (size_t bit = 0; bit < 8 * count; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            try_file(bytes, count, &status);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(dcam_memory_held(), held);
        dcam_free(bytes);
    }
}

/* The pickle alone, because the archive's checksum would keep damage away from the interpreter. */
static void damaged_pickles(void **state)
{
    (void)state;
    static const float values[6] = {0};
    built_tensor tensors[3] = {{"conv1.weight", 2, {2, 3}, values}, {"b", 1, {6}, values}, {"c", 0, {0}, values}};
    buffer p = {0};
    put_state_dict(&p, tensors, 3);
    size_t held = dcam_memory_held();
    dcam_random r = dcam_random_make(1, 0);
    uint8_t *copy = malloc(p.count);
    assert_non_null(copy);
    for (size_t i = 0; i < 8 * p.count + 20000; i++) {
        memcpy(copy, p.bytes, p.count);
        size_t count = p.count;
        if (i < 8 * p.count) {
            copy[i / 8] ^= (uint8_t)(1 << i % 8);
        } else {
            for (uint64_t k = 1 + dcam_random_below(&r, 8); k > 0; k--)
                copy[dcam_random_below(&r, count)] = (uint8_t)dcam_random_u32(&r);
            /* Opcodes of this very file in other places: deeper than random bytes get. */
            size_t from = (size_t)dcam_random_below(&r, count), to = (size_t)dcam_random_below(&r, count);
            size_t n = (size_t)dcam_random_below(&r, 1 + count - (from > to ? from : to));
            memmove(copy + to, p.bytes + from, n);
        }
        dcam_pickle_tensor *t = NULL;
        size_t n = 0;
        dcam_status status = dcam_pickle_read("x.pth", copy, count, &t, &n);
        assert_true(status == DCAM_OK || status == DCAM_ERROR_WEIGHTS);
        dcam_free(t);
    }
    assert_int_equal(dcam_memory_held(), held);
    free(copy);
    free(p.bytes);
}

/* A pickle that asks for the same value again and again, or only opens lists, meets a limit. */
static void limits(void **state)
{
    (void)state;
    enum { N = 3 * 1024 * 1024 };
    uint8_t *bytes = malloc(N);
    assert_non_null(bytes);
    memset(bytes, 'N', N);
    refuse_pickle((const char *)bytes, N, "the limit");
    for (size_t i = 0; i < N; i += 2) memcpy(bytes + i, "N0", 2);
    refuse_pickle((const char *)bytes, N, "cut off");
    memset(bytes, ']', N);
    refuse_pickle((const char *)bytes, N, "the limit");
    memset(bytes, 0x85, N); /* tuples in tuples: no recursion, so no limit but the number of values */
    bytes[0] = '}';
    refuse_pickle((const char *)bytes, N, "2,097,152 values");
    free(bytes);

    /* One tensor under more names than a file may have tensors, and more tensors of one description: refused before
     * there is room for their descriptions. */
    static const char one[] = "\x80\x02}(ctorch._utils\n_rebuild_tensor_v2\nq\x01((X\x07\0\0\0storagectorch\n"
                              "FloatStorage\nX\x01\0\0\0" "0X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85\x89Ntq\x02Rq\x03"
                              "0X\x01\0\0\0aq\x04" "0";
    const size_t held = dcam_memory_held();
    for (int described = 0; described < 2; described++)
        for (size_t n = DCAM_MAX_TENSORS; n <= DCAM_MAX_TENSORS + 1; n++) {
            buffer p = {0};
            dcam_pickle_tensor *t = NULL;
            size_t found = 0;
            put(&p, one, sizeof one - 1);
            /* The first description is there already. */
            for (size_t i = 0; i < n; i++) put_text(&p, described && i > 0 ? "h\4h\1h\2R" : "h\4h\3");
            put_text(&p, "u.");
            const dcam_status status = dcam_pickle_read("x.pth", p.bytes, p.count, &t, &found);
            if (n == DCAM_MAX_TENSORS) {
                assert_int_equal(status, DCAM_OK);
                assert_int_equal(found, n);
                assert_int_equal(t[n - 1].storage.elements, 4);
            } else {
                assert_int_equal(status, DCAM_ERROR_WEIGHTS);
                assert_non_null(strstr(dcam_error_message(), "x.pth: holds more than 65536 tensors, the limit"));
            }
            dcam_free(t);
            free(p.bytes);
        }
    assert_int_equal(dcam_memory_held(), held);
}

static void every_allocation_fails(void **state)
{
    (void)state;
    static const char *const files[] = {GOLDEN("tiny.pth"), GOLDEN("tiny_deflated.pth")};
    for (size_t f = 0; f < 2; f++) {
        dcam_tensors *t = NULL;
        EVERY_ALLOCATION(a, dcam_tensors_open(files[f], &t)) {
            assert_true(a.passed ? a.n > 10 : t == NULL);
            dcam_tensors_destroy(t);
            t = NULL;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_pytorch),    cmocka_unit_test(refusals_name_the_reason),
        cmocka_unit_test(opcodes_and_globals), cmocka_unit_test(storages_and_views),
        cmocka_unit_test(twice_and_missing),   cmocka_unit_test(zip_fields),
        cmocka_unit_test(zip_comments),
        cmocka_unit_test(storages_of_the_same_bytes), cmocka_unit_test(memory_beside_the_file),
        cmocka_unit_test(truncated_at_every_length), cmocka_unit_test(every_bit_flipped),
        cmocka_unit_test(damaged_pickles),     cmocka_unit_test(limits),
        cmocka_unit_test(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
