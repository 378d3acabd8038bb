/* The wire format and the check of an ONNX file's structure, on graphs of a few nodes, byte by byte: the smallest
 * sound one, every single thing that can be wrong with it, and fields that are cut off, too long or of a wrong kind.
 * */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/tree.h"
#include "export/export.h"

/* ---- the wire format ---- */

static bool reads(const void *bytes, size_t count, proto_field *out)
{
    bool damaged;
    proto_reader r = {bytes, count, 0};
    const bool found = proto_next(&r, out, &damaged);
    assert_int_equal(damaged, !found);
    assert_true(r.at <= count);
    return found;
}

#define READS(text, out) reads(text, sizeof text - 1, out)

static void fields_are_read(void **state)
{
    (void)state;
    proto_field f;
    float number;
    double wide;
    bool damaged = true;
    proto_reader none = {(const uint8_t *)"", 0, 0};
    assert_false(proto_next(&none, &f, &damaged));
    assert_false(damaged);
    assert_true(READS("\x08\x96\x01", &f)); /* protobuf.dev, Encoding: field 1 = 150 */
    assert_true(f.number == 1 && f.wire == PROTO_VARINT && f.value == 150);
    assert_true(READS("\x12\x07testing", &f));
    assert_true(f.number == 2 && f.wire == PROTO_BYTES && f.content.count == 7);
    assert_true(proto_is_text(&f, "testing"));
    assert_false(proto_is_text(&f, "testinG"));
    assert_false(proto_is_text(&f, "test"));
    assert_true(READS("\x1d\0\0\xc0\x3f", &f));
    memcpy(&number, &f.value, sizeof number);
    assert_true(f.number == 3 && f.wire == PROTO_FIXED32 && number == 1.5f);
    assert_false(proto_is_text(&f, ""));
    assert_true(READS("\x21\0\0\0\0\0\0\xf8\x3f", &f));
    memcpy(&wide, &f.value, sizeof wide);
    assert_true(f.number == 4 && f.wire == PROTO_FIXED64 && wide == 1.5);
    assert_true(READS("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &f)); /* -1, the longest there is */
    assert_true(f.value == UINT64_MAX);
    assert_true(READS("\xf8\xff\xff\xff\x7f\x01", &f)); /* beyond protobuf's own limit of 2^29 */
    assert_true(f.number == UINT32_MAX && f.value == 1);
}

static void damaged_fields_are_told(void **state)
{
    (void)state;
    proto_field f;
    assert_false(READS("\x08", &f));                         /* no value */
    assert_false(READS("\x08\x96", &f));                     /* half of one */
    assert_false(READS("\x88", &f));                         /* half a key */
    assert_false(READS("\0\x01", &f));                       /* number 0 */
    assert_false(READS("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &f)); /* a varint of 11 bytes */
    assert_false(READS("\x80\x80\x80\x80\x80\x80\x01\x01", &f)); /* number 2^39 */
    assert_false(READS("\x12", &f));                         /* no length */
    assert_false(READS("\x12\x05test", &f));                 /* too little content */
    assert_false(READS("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01t", &f)); /* 2^64 - 1 bytes of it */
    assert_false(READS("\x1d\0\0\xc0", &f));                 /* 3 of 4 bytes */
    assert_false(READS("\x21\0\0\0\0\0\0\xf8", &f));         /* 7 of 8 */
    assert_false(READS("\x0b\x01", &f));                     /* groups, and kinds that there are not */
    assert_false(READS("\x0c\x01", &f));
    assert_false(READS("\x0e\x01", &f));
    assert_false(READS("\x0f\x01", &f));
}

/* The first failure is kept, whatever is written after it, and nothing more is. */
static void expect_failed(proto_buffer *b, dcam_status wanted, size_t count)
{
    assert_int_equal(b->status, wanted);
    proto_integer(b, 1, 5);
    proto_float(b, 2, 5);
    proto_text(b, 3, "text");
    proto_end(b, proto_begin(b, 4));
    assert_int_equal(b->status, wanted);
    assert_int_equal(b->count, count);
    proto_clear(b);
    assert_int_equal(dcam_memory_held(), 0);
}

static void a_full_buffer_is_told(void **state)
{
    (void)state;
    uint8_t *bytes;
    proto_buffer b = {0};
    proto_text(&b, 1, "some");
    (void)proto_begin(&b, 7);
    const size_t count = b.count;
    proto_bytes(&b, 1, "", DCAM_MAX_PROTO_BYTES); /* which is not looked at */
    assert_non_null(strstr(dcam_error_message(), "the limit of the format"));
    assert_in_range(b.count, count, count + 16); /* its length is there */
    expect_failed(&b, DCAM_ERROR_USAGE, b.count);
    /* A message that has no room for its length of more than one byte. */
    assert_int_equal(dcam_alloc(4096, 1, &bytes), DCAM_OK);
    memset(bytes, 0, 4096);
    b = (proto_buffer){.bytes = bytes, .count = 4096, .capacity = 4096};
    dcam_memory_fail_at(1, true);
    proto_end(&b, 1000);
    dcam_memory_fail_at(0, false);
    assert_int_equal(bytes[999], 0);
    expect_failed(&b, DCAM_ERROR_MEMORY, 4096);
}

/* Room ends within a key, a number, a length and a text. */
static void room_may_end_anywhere(void **state)
{
    (void)state;
    for (size_t room = 0; room < 40; room++) {
        proto_buffer b = {0};
        assert_int_equal(dcam_alloc(64, 1, &b.bytes), DCAM_OK);
        b.capacity = room;
        dcam_memory_fail_at(1, true);
        const size_t outer = proto_begin(&b, 1);
        proto_integer(&b, 1, 300);
        proto_float(&b, 2, 1.5f);
        proto_text(&b, 3, "some text");
        proto_end(&b, outer);
        dcam_memory_fail_at(0, false);
        assert_int_equal(b.status, room < 21 ? DCAM_ERROR_MEMORY : DCAM_OK);
        assert_in_range(b.count, 0, room);
        if (b.status == DCAM_OK)
            assert_memory_equal(b.bytes, "\x0a\x13\x08\xac\x02\x15\0\0\xc0\x3f\x1a\x09some text", 21);
        proto_clear(&b);
    }
}

/* ---- the structure ---- */

/* What differs from the sound graph, which is y = Relu(x), z = Add(y, w), and how it is told. */
#define EACH_FAULT(F) \
    F(NO_INPUT, "without inputs") \
    F(NO_WEIGHT, "without inputs, weights") \
    F(NO_NODE, "without inputs, weights, nodes") \
    F(NO_OUTPUT, "nodes or outputs") \
    F(INPUT_UNNAMED, "an input or output without a name") \
    F(INPUT_NUMBER, "an input or output without a name") \
    F(INPUT_TWICE, "given twice") \
    F(OUTPUT_UNNAMED, "an input or output without a name") \
    F(OUTPUT_UNMADE, "an output that no node makes") \
    F(WEIGHT_UNNAMED, "a value without a name") \
    F(WEIGHT_NAMED_X, "given twice") \
    F(WEIGHT_OTHER_TYPE, "does not fit its shape") \
    F(WEIGHT_NO_TYPE, "does not fit its shape") \
    F(WEIGHT_SHORT, "does not fit its shape") \
    F(WEIGHT_NO_DATA, "does not fit its shape") \
    F(WEIGHT_DATA_NUMBER, "does not fit its shape") \
    F(WEIGHT_NAME_NUMBER, "a value without a name") \
    F(WEIGHT_HUGE, "the size of a tensor") \
    F(WEIGHT_HUGE_BYTES, "does not fit its shape") \
    F(WEIGHT_CUT, "does not fit its shape") \
    F(NODE_READS_LATER, "no node before it makes") \
    F(NODE_NO_OPERATOR, "a node without operator or output") \
    F(NODE_OPERATOR_EMPTY, "a node without operator or output") \
    F(NODE_NO_OUTPUT, "a node without operator or output") \
    F(NODE_OUTPUT_EMPTY, "a value without a name") \
    F(NODE_OUTPUT_TWICE, "given twice") \
    F(NODE_CUT, "a node without operator or output") \
    F(NODE_IS_NUMBER, "a field of the graph of another kind") \
    F(GRAPH_CUT, "the graph ends early") \
    F(TWO_GRAPHS, "given twice") \
    F(NO_GRAPH, "not one graph") \
    F(GRAPH_NUMBER, "not one graph") \
    F(TWO_OPSETS, "not one graph") \
    F(NO_OPSET, "not one graph") \
    F(MODEL_CUT, "not one graph")
#define NAME(name, text) name,
#define TEXT(name, text) [name] = text,
/* The first two are sound. */
typedef enum { SOUND, MANY_NODES, EACH_FAULT(NAME) FAULTS } fault;
static const char *const told[FAULTS] = {EACH_FAULT(TEXT)};

static void put_value(proto_buffer *b, uint32_t field, const char *name, bool number)
{
    const size_t value = proto_begin(b, field);
    proto_integer(b, VALUE_TYPE, 1); /* before the name: passed over */
    if (number) proto_integer(b, VALUE_NAME, 5);
    else if (name) proto_text(b, VALUE_NAME, name);
    proto_end(b, value);
}

static void put_weight(proto_buffer *b, fault f)
{
    static const uint8_t data[16];
    const size_t tensor = proto_begin(b, GRAPH_INITIALIZER);
    proto_integer(b, TENSOR_DIMENSION, f == WEIGHT_HUGE ? INT64_MAX : f == WEIGHT_HUGE_BYTES ? INT64_MAX / 2 : 2);
    proto_integer(b, TENSOR_DIMENSION, f == WEIGHT_HUGE ? 3 : 2);
    if (f != WEIGHT_NO_TYPE) proto_integer(b, TENSOR_TYPE, f == WEIGHT_OTHER_TYPE ? ONNX_U8 : ONNX_F32);
    if (f == WEIGHT_NAME_NUMBER) proto_integer(b, TENSOR_NAME, 5);
    else if (f != WEIGHT_UNNAMED) proto_text(b, TENSOR_NAME, f == WEIGHT_NAMED_X ? "x" : "w");
    if (f == WEIGHT_DATA_NUMBER) proto_integer(b, TENSOR_RAW, 16);
    else if (f != WEIGHT_NO_DATA) proto_bytes(b, TENSOR_RAW, data, f == WEIGHT_SHORT ? 15 : 16);
    if (f == WEIGHT_CUT) proto_bytes(b, 15, "\xff", 1), b->count -= 1;
    proto_end(b, tensor);
}

static void put_whole_numbers(proto_buffer *b)
{
    static const int64_t axes[2] = {1, 2};
    const size_t tensor = proto_begin(b, GRAPH_INITIALIZER);
    proto_integer(b, TENSOR_DIMENSION, 2);
    proto_integer(b, TENSOR_TYPE, ONNX_I64);
    proto_text(b, TENSOR_NAME, "axes");
    proto_bytes(b, TENSOR_RAW, axes, sizeof axes);
    proto_end(b, tensor);
}

static void put_node(proto_buffer *b, const char *operator_name, const char *left, const char *right,
                     const char *output)
{
    const size_t node = proto_begin(b, GRAPH_NODE);
    proto_text(b, NODE_INPUT, left);
    proto_text(b, NODE_INPUT, right); /* "": one that is left out */
    if (operator_name) proto_text(b, NODE_OPERATOR, operator_name);
    if (output) proto_text(b, NODE_OUTPUT, output);
    proto_end(b, node);
}

/* More names than there is room for at first. */
enum { MANY = 300 };
static void put_many_nodes(proto_buffer *b)
{
    char name[20];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "n%d", i);
        put_node(b, "Relu", "x", "", name);
    }
}

static void put_graph(proto_buffer *b, fault f)
{
    const char *operator_name = f == NODE_NO_OPERATOR ? NULL : f == NODE_OPERATOR_EMPTY ? "" : "Relu";
    const char *output = f == NODE_NO_OUTPUT ? NULL : f == NODE_OUTPUT_EMPTY ? "" : "y";
    const char *end = f == OUTPUT_UNNAMED ? NULL : f == OUTPUT_UNMADE ? "Z" : f == NO_NODE ? "w" : "z";
    const size_t graph = proto_begin(b, MODEL_GRAPH);
    /* Not in the order in which they are needed: it does not count. */
    if (f == NODE_IS_NUMBER) proto_integer(b, GRAPH_NODE, 5);
    if (f == NODE_READS_LATER) put_node(b, "Relu", "z", "", "y");
    else if (f != NO_NODE) put_node(b, operator_name, "x", "", output);
    if (f == MANY_NODES) put_many_nodes(b);
    if (f != NO_NODE) put_node(b, "Add", "y", "w", f == NODE_OUTPUT_TWICE ? "y" : "z");
    if (f == NODE_CUT) {
        const size_t node = proto_begin(b, GRAPH_NODE);
        proto_text(b, NODE_OPERATOR, "Relu");
        proto_text(b, NODE_OUTPUT, "v");
        proto_bytes(b, 15, "\xff", 1), b->count -= 1;
        proto_end(b, node);
    }
    if (f != NO_OUTPUT) put_value(b, GRAPH_OUTPUT, end, false);
    if (f != NO_WEIGHT) {
        put_weight(b, f);
        put_whole_numbers(b);
    }
    if (f != NO_INPUT) put_value(b, GRAPH_INPUT, f == INPUT_UNNAMED ? NULL : "x", f == INPUT_NUMBER);
    if (f == INPUT_TWICE) put_value(b, GRAPH_INPUT, "x", false);
    proto_text(b, GRAPH_NAME, "of a test");
    if (f == GRAPH_CUT) b->count -= 1;
    proto_end(b, graph);
}

static proto_buffer make_file(fault f)
{
    proto_buffer b = {0};
    proto_integer(&b, MODEL_IR_VERSION, ONNX_IR_VERSION);
    if (f == GRAPH_NUMBER) proto_integer(&b, MODEL_GRAPH, 5);
    else if (f != NO_GRAPH) put_graph(&b, f);
    if (f == TWO_GRAPHS) put_graph(&b, f);
    for (int i = f == NO_OPSET; i < 1 + (f == TWO_OPSETS); i++) {
        const size_t opset = proto_begin(&b, MODEL_OPSET);
        proto_integer(&b, OPSET_VERSION, ONNX_OPSET);
        proto_end(&b, opset);
    }
    proto_text(&b, MODEL_PRODUCER, "dcam");
    if (f == MODEL_CUT) b.count -= 1;
    assert_int_equal(b.status, DCAM_OK);
    return b;
}

static void every_fault_is_told(void **state)
{
    (void)state;
    char name[40];
    for (int f = SOUND; f < FAULTS; f++) {
        proto_buffer b = make_file((fault)f);
        snprintf(name, sizeof name, "file %d", f);
        const dcam_status status = dcam_onnx_check_structure(name, b.bytes, b.count);
        if (status != (told[f] ? DCAM_ERROR_IO : DCAM_OK)) fail_msg("fault %d: %s", f, dcam_status_name(status));
        if (told[f] && (!strstr(dcam_error_message(), told[f]) || !strstr(dcam_error_message(), name)))
            fail_msg("fault %d, \"%s\", is told as \"%s\"", f, told[f], dcam_error_message());
        proto_clear(&b);
    }
}

/* The sound file is refused wherever it ends, but where only texts are missing that say nothing of the graph. */
static void every_end_is_seen(void **state)
{
    (void)state;
    proto_buffer b = make_file(SOUND);
    const size_t needed = b.count - 2 - strlen("dcam");
    for (size_t count = 0; count < b.count; count++)
        assert_int_equal(dcam_onnx_check_structure("short", b.bytes, count), count == needed ? DCAM_OK : DCAM_ERROR_IO);
    proto_clear(&b);
}

static void memory_runs_out(void **state)
{
    (void)state;
    proto_buffer b = make_file(MANY_NODES);
    EVERY_ALLOCATION(a, dcam_onnx_check_structure("file", b.bytes, b.count)) assert_int_equal(a.passed, a.n == 3);
    proto_clear(&b);
}

static void a_file_is_compared_with_what_was_written(void **state)
{
    (void)state;
    char root[256], path[4096];
    proto_buffer b = make_file(SOUND), broken = make_file(NO_OPSET);
    tree_create(root);
    tree_path(root, "file", path);
    assert_int_equal(dcam_onnx_check(path, &b), DCAM_ERROR_IO); /* none yet */
    assert_int_equal(dcam_file_write(path, b.bytes, b.count), DCAM_OK);
    EVERY_ALLOCATION(a, dcam_onnx_check(path, &b)) {}
    b.bytes[b.count - 1] ^= 1;
    assert_int_equal(dcam_onnx_check(path, &b), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), "reads back other bytes"));
    b.bytes[b.count - 1] ^= 1;
    b.count--;
    assert_int_equal(dcam_onnx_check(path, &b), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), "reads back other bytes"));
    assert_int_equal(dcam_file_write(path, broken.bytes, broken.count), DCAM_OK);
    assert_int_equal(dcam_onnx_check(path, &broken), DCAM_ERROR_IO); /* as it was written, and yet unsound */
    assert_non_null(strstr(dcam_error_message(), "not one graph"));
    tree_remove(root);
    proto_clear(&broken);
    proto_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),       cmocka_unit_test(damaged_fields_are_told),
        cmocka_unit_test(a_full_buffer_is_told), cmocka_unit_test(room_may_end_anywhere),
        cmocka_unit_test(every_fault_is_told),   cmocka_unit_test(every_end_is_seen),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(a_file_is_compared_with_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
