/* .pth archives as they are written above 4 GiB: 64-bit sizes and places in extra fields and in an end record of their
 * own, here with small contents; and archives that hold two pickles. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/pth_builder.h"
#include "weights/tensors.h"

static char path[] = "/tmp/dcam-test-zip64-XXXXXX";

static const float values[] = {1.5f, -2, 3, 4, 5, 6};
static const built_tensor tensors[] = {{"a", 2, {2, 3}, values}, {"b", 1, {2}, values}};

/* What is wrong with the archive that `widen` makes. */
typedef enum { NOTHING, OTHER_FIELD_FIRST, SHORT_FIELD, LONG_FIELD, NO_FIELD, NO_END_RECORD, END_RECORD_OUTSIDE } fault;

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t n = 0;
    while (bytes-- > 0) n = n << 8 | p[bytes];
    return n;
}

static void put_extra(buffer *b, fault f, uint64_t bytes, uint64_t packed, uint64_t offset)
{
    if (f == OTHER_FIELD_FIRST || f == NO_FIELD) {
        put_number(b, 0x5455, 2);
        put_number(b, 3, 2);
        put_text(b, "abc");
    }
    if (f == NO_FIELD) return;
    put_number(b, 1, 2);
    put_number(b, f == SHORT_FIELD ? 16 : f == LONG_FIELD ? 25 : 24, 2);
    put_number(b, bytes, 8);
    put_number(b, packed, 8);
    if (f != SHORT_FIELD) put_number(b, offset, 8);
}

/* The archive with all its 32-bit sizes and places at their largest value. */
static buffer widen(const buffer *plain, fault f)
{
    const uint8_t *end = plain->bytes + plain->count - 22;
    const size_t entries = number(end + 10, 2), at = number(end + 16, 4);
    const uint8_t *p = plain->bytes + at;
    buffer b = {0};
    put(&b, plain->bytes, at);
    for (size_t i = 0; i < entries; i++) {
        const size_t name = number(p + 28, 2), start = b.count;
        buffer extra = {0};
        put_extra(&extra, f, number(p + 24, 4), number(p + 20, 4), number(p + 42, 4));
        put(&b, p, 46 + name);
        memset(b.bytes + start + 20, 0xff, 8);
        memset(b.bytes + start + 42, 0xff, 4);
        b.bytes[start + 30] = (uint8_t)extra.count;
        put(&b, extra.bytes, extra.count);
        free(extra.bytes);
        p += 46 + name;
    }
    const size_t record = b.count;
    put_text(&b, f == NO_END_RECORD ? "PK\6\5" : "PK\6\6");
    put_number(&b, 44, 8);
    put_number(&b, 0, 2 + 2);
    put_number(&b, 0, 4 + 4);
    put_number(&b, entries, 8);
    put_number(&b, entries, 8);
    put_number(&b, record - at, 8);
    put_number(&b, at, 8);
    put_text(&b, "PK\6\7");
    put_number(&b, 0, 4);
    put_number(&b, f == END_RECORD_OUTSIDE ? UINT64_MAX - 8 : record, 8);
    put_number(&b, 1, 4);
    put_text(&b, "PK\5\6");
    put_number(&b, 0, 4);
    for (int i = 0; i < 12; i++) put_number(&b, 0xff, 1);
    put_number(&b, 0, 2);
    return b;
}

static dcam_status open_bytes(const buffer *b, dcam_tensors **out)
{
    assert_int_equal(dcam_file_write(path, b->bytes, b->count), DCAM_OK);
    return dcam_tensors_open(path, out);
}

static void check_tensors(const buffer *b)
{
    dcam_tensors *t;
    float got[6];
    if (open_bytes(b, &t) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(dcam_tensors_count(t), 2);
    assert_int_equal(dcam_tensors_read_f32(t, "a", 2, (size_t[]){2, 3}, got), DCAM_OK);
    assert_memory_equal(got, values, sizeof values);
    assert_int_equal(dcam_tensors_read_f32(t, "b", 1, (size_t[]){2}, got), DCAM_OK);
    assert_memory_equal(got, values, 2 * sizeof *values);
    dcam_tensors_destroy(t);
}

static void refuse(const buffer *b, const char *wanted)
{
    dcam_tensors *t = NULL;
    assert_int_equal(open_bytes(b, &t), DCAM_ERROR_WEIGHTS);
    assert_null(t);
    if (!strstr(dcam_error_message(), wanted)) fail_msg("\"%s\" is not in: %s", wanted, dcam_error_message());
}

static void wide_archives(void **state)
{
    (void)state;
    static const struct {
        fault fault;
        const char *why; /* NULL: it is read */
    } cases[] = {
        {NOTHING, NULL},
        {OTHER_FIELD_FIRST, NULL},
        {SHORT_FIELD, "the zip64 field of an entry is cut off"},
        {LONG_FIELD, "the zip64 field of an entry is cut off"},
        {NO_FIELD, "an entry lies outside the file"},
        {NO_END_RECORD, "its zip64 end record is missing"},
        {END_RECORD_OUTSIDE, "its zip64 end record is missing"},
    };
    const size_t held = dcam_memory_held();
    buffer plain = build_pth(tensors, 2);
    check_tensors(&plain);
    dcam_tensors *t = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buffer wide = widen(&plain, cases[i].fault);
        if (cases[i].why) refuse(&wide, cases[i].why);
        else check_tensors(&wide);
        if (!cases[i].why)
            EVERY_ALLOCATION(a, dcam_tensors_open(path, &t)) {
                assert_true(a.passed == (t != NULL));
                dcam_tensors_destroy(t);
                t = NULL;
            }
        free(wide.bytes);
    }
    free(plain.bytes);
    assert_int_equal(dcam_memory_held(), held);
}

/* Cut anywhere, a wide archive is refused. */
static void wide_and_cut(void **state)
{
    (void)state;
    buffer plain = build_pth(tensors, 2), wide = widen(&plain, NOTHING);
    for (size_t count = 1; count < wide.count; count += 7) {
        buffer cut = {wide.bytes, count, count};
        refuse(&cut, path);
    }
    free(wide.bytes);
    free(plain.bytes);
}

static void two_pickles(void **state)
{
    (void)state;
    buffer pickle = {0};
    put_state_dict(&pickle, tensors, 0);
    built_zip z = {{0}, {0}, 0};
    put_entry(&z, "one/data.pkl", pickle.bytes, pickle.count);
    put_entry(&z, "two/data.pkl", pickle.bytes, pickle.count);
    buffer file = end_zip(&z);
    refuse(&file, "holds two pickles, one/data.pkl and another");
    free(file.bytes);
    free(pickle.bytes);
}

static int make_path(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_archives),
        cmocka_unit_test(wide_and_cut),
        cmocka_unit_test(two_pickles),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
