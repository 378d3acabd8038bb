/* Tests of the exports: the ONNX graph is read field by field and its weights, shapes and operators are compared with
 * the model; damaged files are refused; the plain tensors give the model's trunks again. What the graph computes is
 * compared with dcam by tools/onnx_check.py, which needs a run time. */
#define _GNU_SOURCE /* memmem */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "allocations.h"
#include "api/api_case.h"
#include "base/random.h"
#include "export/export.h"
#include "net/attention.h"

/* ---- the wire format ---- */

static void test_protobuf(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 16383, 16384, 70000};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        proto_buffer b = {0};
        uint8_t *content;
        assert_int_equal(dcam_alloc(lengths[i] + 1, 1, &content), DCAM_OK);
        memset(content, (int)i + 1, lengths[i] + 1);
        const size_t outer = proto_begin(&b, 7), inner = proto_begin(&b, 300);
        proto_bytes(&b, 2, content, lengths[i]);
        proto_end(&b, inner);
        proto_integer(&b, 3, -5);
        proto_float(&b, 4, 1.5f);
        proto_end(&b, outer);
        assert_int_equal(b.status, DCAM_OK);
        proto_reader r = {b.bytes, b.count, 0};
        proto_field f, g, h;
        bool damaged;
        assert_true(proto_next(&r, &f, &damaged));
        assert_int_equal(f.number, 7);
        assert_false(proto_next(&r, &g, &damaged));
        assert_false(damaged);
        assert_true(proto_next(&f.content, &g, &damaged));
        assert_int_equal(g.number, 300);
        assert_true(proto_next(&g.content, &h, &damaged));
        assert_int_equal(h.content.count, lengths[i]);
        assert_true(memcmp(h.content.bytes, content, lengths[i]) == 0);
        assert_true(proto_next(&f.content, &g, &damaged));
        assert_int_equal((int64_t)g.value, -5);
        assert_true(proto_next(&f.content, &g, &damaged));
        assert_int_equal(g.wire, PROTO_FIXED32);
        assert_int_equal(g.value, 0x3fc00000);
        dcam_free(content);
        proto_clear(&b);
    }
    /* Known encodings (protobuf.dev, Encoding): field 1 = 150, field 2 = "testing". */
    proto_buffer b = {0};
    proto_integer(&b, 1, 150);
    proto_text(&b, 2, "testing");
    assert_int_equal(b.count, 12);
    assert_memory_equal(b.bytes, "\x08\x96\x01\x12\x07testing", 12);
    proto_clear(&b);
}

/* ---- ONNX ---- */

typedef struct {
    uint8_t *bytes;
    size_t count;
} file_bytes;

static file_bytes export_file(const char *path, bool rgb, const char *class_name)
{
    const dcam_export_options options = {.model = case_model, .output = path, .rgb_input = rgb, .class_name = class_name};
    file_bytes f;
    if (dcam_export(&options) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(dcam_file_read(path, DCAM_MAX_PROTO_BYTES, &f.bytes, &f.count), DCAM_OK);
    return f;
}

/* The first field of that number whose own field `key` is the text; false if there is none. text NULL: the first. */
static bool find(proto_reader in, uint32_t number, uint32_t key, const char *text, proto_reader *out)
{
    proto_field f, g;
    bool damaged;
    while (proto_next(&in, &f, &damaged)) {
        if (f.number != number) continue;
        *out = f.content;
        if (!text) return true;
        for (proto_reader r = f.content; proto_next(&r, &g, &damaged);)
            if (g.number == key && proto_is_text(&g, text)) return true;
    }
    return false;
}

static size_t count_operators(proto_reader graph, const char *operator_name)
{
    size_t n = 0;
    proto_field f;
    bool damaged;
    while (proto_next(&graph, &f, &damaged)) {
        if (f.number != GRAPH_NODE) continue;
        for (proto_reader r = f.content; proto_next(&r, &f, &damaged);)
            n += f.number == NODE_OPERATOR && proto_is_text(&f, operator_name);
    }
    return n;
}

static void expect_weight(proto_reader graph, const char *name, const int64_t *shape, int rank, const float *wanted)
{
    proto_reader tensor;
    proto_field f;
    bool damaged;
    int dimensions = 0;
    size_t bytes = sizeof *wanted;
    if (!find(graph, GRAPH_INITIALIZER, TENSOR_NAME, name, &tensor)) fail_msg("no %s", name);
    while (proto_next(&tensor, &f, &damaged)) {
        if (f.number == TENSOR_DIMENSION) {
            assert_true(dimensions < rank);
            assert_int_equal(f.value, shape[dimensions]);
            bytes *= (size_t)shape[dimensions++];
        }
        if (f.number == TENSOR_RAW) {
            assert_int_equal(f.content.count, bytes);
            assert_memory_equal(f.content.bytes, wanted, bytes);
        }
    }
    assert_int_equal(dimensions, rank);
}

static void expect_trunk(proto_reader graph, const char *who, const dcam_trunk_weights *w)
{
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_shape *s = &w->shapes[i];
        const int64_t shape[4] = {s->out_channels, s->in_channels, s->kernel, s->kernel};
        proto_reader node, attribute;
        proto_field f;
        bool damaged;
        expect_weight(graph, onnx_name("%s.%s.weight", who, s->name).text, shape, 4, w->convolutions[i].weight);
        expect_weight(graph, onnx_name("%s.%s.bias", who, s->name).text, shape, 1, w->convolutions[i].bias);
        assert_true(find(graph, GRAPH_NODE, NODE_NAME, onnx_name("%s.%s", who, s->name).text, &node));
        assert_true(find(node, NODE_ATTRIBUTE, ATTRIBUTE_NAME, "strides", &attribute));
        while (proto_next(&attribute, &f, &damaged))
            if (f.number == ATTRIBUTE_INTEGERS) assert_int_equal(f.value, s->stride);
        assert_true(find(node, NODE_ATTRIBUTE, ATTRIBUTE_NAME, "pads", &attribute));
        while (proto_next(&attribute, &f, &damaged))
            if (f.number == ATTRIBUTE_INTEGERS) assert_int_equal(f.value, s->padding);
    }
}

static void test_onnx(void **state)
{
    dcam_model *m;
    dcam_trunk_weights *student;
    proto_reader graph, pair;
    (void)state;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_fold(m->student, &student), DCAM_OK);
    const file_bytes file = export_file(case_path("a.onnx"), false, NULL);
    const proto_reader all = {file.bytes, file.count, 0};
    assert_true(find(all, MODEL_GRAPH, 0, NULL, &graph));
    expect_trunk(graph, "teacher", m->teacher);
    expect_trunk(graph, "student", student);
    /* Two trunks of 17 convolutions and 13 ReLUs; a sum a block, two of stage maps, and the divisors'. */
    assert_int_equal(count_operators(graph, "Conv"), 2 * m->teacher->convolution_count);
    assert_int_equal(count_operators(graph, "Relu"), 2 * (1 + 2 * 6));
    assert_int_equal(count_operators(graph, "Add"), 2 * 6 + 2 + 3);
    assert_int_equal(count_operators(graph, "MaxPool"), 2);
    assert_int_equal(count_operators(graph, "Resize"), 3);
    assert_int_equal(count_operators(graph, "Cast"), 0);
    static const char *const outputs[] = {"map", "score", "class", "threshold"};
    for (int i = 0; i < 4; i++) assert_true(find(graph, GRAPH_OUTPUT, VALUE_NAME, outputs[i], &pair));
    const int64_t classes = CASE_CLASSES;
    float thresholds[CASE_CLASSES];
    for (int i = 0; i < CASE_CLASSES; i++) {
        thresholds[i] = (float)m->classes[i].threshold;
        if ((double)thresholds[i] < m->classes[i].threshold) thresholds[i] = nextafterf(thresholds[i], INFINITY);
    }
    expect_weight(graph, "threshold.all", &classes, 1, thresholds);
    static const char *const keys[] = {"preprocessing", "map", "classes", "calibration", "input", "method"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!find(all, MODEL_METADATA, PAIR_KEY, keys[i], &pair)) fail_msg("no metadata %s", keys[i]);
    dcam_free(file.bytes);
    dcam_trunk_weights_destroy(student);
    dcam_model_destroy(m);
}

/* Bytes as input, one class given: its own threshold alone. */
static void test_onnx_options(void **state)
{
    dcam_model *m;
    proto_reader graph;
    const int64_t one = 1;
    (void)state;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    const file_bytes file = export_file(case_path("b.onnx"), true, m->classes[1].name);
    assert_true(find((proto_reader){file.bytes, file.count, 0}, MODEL_GRAPH, 0, NULL, &graph));
    assert_int_equal(count_operators(graph, "Cast"), 1);
    expect_weight(graph, "input.mean", (int64_t[]){1, 3, 1, 1}, 4, m->preprocessing.mean);
    float threshold = (float)m->classes[1].threshold;
    if ((double)threshold < m->classes[1].threshold) threshold = nextafterf(threshold, INFINITY);
    expect_weight(graph, "threshold.all", &one, 1, &threshold);
    dcam_free(file.bytes);
    dcam_model_destroy(m);
}

/* A model of one epoch, as a graph; with every allocation refused on the way there. */
static file_bytes export_trained(dcam_train_options *o, dcam_model **m, proto_reader *graph)
{
    const dcam_export_options options = {.model = case_path("trained"), .output = case_path("trained.onnx")};
    file_bytes file;
    o->dataset = case_data;
    o->output = options.model;
    o->teacher = "random:1";
    o->width = o->height = 32;
    o->epochs = o->threads = 1;
    if (dcam_train(o) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(dcam_model_load(options.model, m), DCAM_OK);
    SOME_ALLOCATIONS(a, 400, dcam_export(&options)) {}
    assert_int_equal(dcam_file_read(options.output, DCAM_MAX_PROTO_BYTES, &file.bytes, &file.count), DCAM_OK);
    assert_true(find((proto_reader){file.bytes, file.count, 0}, MODEL_GRAPH, 0, NULL, graph));
    return file;
}

/* Attention, entropy, smoothing and the mean of the largest values: each is in the graph, with the model's numbers. */
static void test_onnx_of_every_part(void **state)
{
    dcam_train_options o = {.method = DCAM_METHOD_DCAM, .attention = "cbam", .attention_at_detection = "keep", .map = "product",
                            .map_kd_weight = 0.25, .kd_temperature = 2, .smoothing = 1.5, .top_percent = 2};
    dcam_model *m;
    proto_reader graph;
    (void)state;
    const file_bytes file = export_trained(&o, &m, &graph);
    const size_t of_channels = dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, 128);
    const int64_t hidden = (int64_t)of_channels / 256;
    expect_weight(graph, "attention.layer2.w1", (int64_t[]){hidden, 128, 1, 1}, 4, m->attention_values[1]);
    expect_weight(graph, "attention.layer2.kernel", (int64_t[]){1, 2, 7, 7}, 4, m->attention_values[1] + of_channels);
    assert_int_equal(count_operators(graph, "GlobalMaxPool"), DCAM_STAGES);
    assert_int_equal(count_operators(graph, "Reciprocal"), 2 * DCAM_STAGES);
    assert_int_equal(count_operators(graph, "LogSoftmax"), 2 * DCAM_STAGES);
    assert_int_equal(count_operators(graph, "MatMul"), 2);
    assert_int_equal(count_operators(graph, "TopK"), 1);
    dcam_free(file.bytes);
    dcam_model_destroy(m);
}

static void test_onnx_of_a_memory(void **state)
{
    enum { PROTOTYPES = 5, DIMENSIONS = 64 };
    static float wanted[CASE_CLASSES][DIMENSIONS][PROTOTYPES];
    dcam_train_options o = {.memory_prototypes = PROTOTYPES};
    dcam_model *m;
    proto_reader graph;
    (void)state;
    const file_bytes file = export_trained(&o, &m, &graph);
    for (int i = 0; i < CASE_CLASSES; i++) {
        assert_int_equal(m->classes[i].prototype_count, PROTOTYPES);
        for (int p = 0; p < PROTOTYPES; p++)
            for (int d = 0; d < DIMENSIONS; d++) wanted[i][d][p] = m->classes[i].prototypes[p * DIMENSIONS + d];
    }
    expect_weight(graph, "memory.prototypes.all", (int64_t[]){CASE_CLASSES, DIMENSIONS, PROTOTYPES}, 3, &wanted[0][0][0]);
    assert_int_equal(count_operators(graph, "AveragePool"), 2);
    assert_int_equal(count_operators(graph, "MatMul"), m->map.smoothing > 0 ? 3 : 1);
    assert_int_equal(count_operators(graph, "Sqrt"), 1);
    dcam_free(file.bytes);
    dcam_model_destroy(m);
}

static void test_damage(void **state)
{
    (void)state;
    const file_bytes file = export_file(case_path("c.onnx"), false, NULL);
    assert_int_equal(dcam_onnx_check_structure("whole", file.bytes, file.count), DCAM_OK);
    for (size_t part = 0; part < 40; part++) {
        const size_t count = file.count / 40 * part;
        assert_int_equal(dcam_onnx_check_structure("short", file.bytes, count), DCAM_ERROR_IO);
    }
    /* A node that reads what is not there: the first mention of the pooled stem. */
    uint8_t *at = memmem(file.bytes, file.count, "teacher.maxpool", 15);
    assert_non_null(at);
    at[0] = 'T';
    assert_int_equal(dcam_onnx_check_structure("renamed", file.bytes, file.count), DCAM_ERROR_IO);
    case_message("reads what no node before it makes");
    at[0] = 't';
    assert_int_equal(dcam_onnx_check_structure("mended", file.bytes, file.count), DCAM_OK);
    /* Bytes around it changed at random: read or refused, and nothing else. */
    dcam_random r = dcam_random_make(7, 7);
    int refused = 0;
    enum { CHANGES = 150, NEAR = 400 };
    for (int i = 0; i < CHANGES; i++) {
        uint8_t *place = at - NEAR + dcam_random_below(&r, 2 * NEAR), old = *place;
        *place = (uint8_t)dcam_random_u32(&r);
        const dcam_status status = dcam_onnx_check_structure("changed", file.bytes, file.count);
        assert_true(status == DCAM_OK || status == DCAM_ERROR_IO);
        refused += status != DCAM_OK;
        *place = old;
    }
    assert_true(refused > CHANGES / 3);
    for (int i = 0; i < 20000; i++) {
        uint8_t noise[24];
        const size_t count = 1 + (size_t)dcam_random_below(&r, sizeof noise);
        for (size_t k = 0; k < count; k++) noise[k] = (uint8_t)dcam_random_below(&r, k % 2 ? 256 : 64);
        assert_int_equal(dcam_onnx_check_structure("noise", noise, count), DCAM_ERROR_IO);
    }
    proto_buffer other = {.bytes = file.bytes, .count = file.count - 1};
    assert_int_equal(dcam_onnx_check(case_path("c.onnx"), &other), DCAM_ERROR_IO);
    dcam_free(file.bytes);
}

/* ---- a model that another command writes meanwhile ---- */

static const char *other_model; /* takes the model's name once that is open; NULL: none does */

dcam_status __real_dcam_tensors_open(const char *path, dcam_tensors **out);
dcam_status __wrap_dcam_tensors_open(const char *path, dcam_tensors **out);
dcam_status __wrap_dcam_tensors_open(const char *path, dcam_tensors **out)
{
    const dcam_status status = __real_dcam_tensors_open(path, out);
    if (other_model) assert_int_equal(rename(other_model, path), 0);
    other_model = NULL;
    return status;
}

/* Weights, thresholds and texts are those of one file. */
static void test_one_model_alone(void **state)
{
    const dcam_export_options options = {.model = case_path("changing"), .output = case_path("changing.onnx")};
    char other[600];
    dcam_model *m;
    file_bytes files[2];
    (void)state;
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    assert_int_equal(dcam_model_save(m, options.model), DCAM_OK);
    for (size_t i = 0; i < m->class_count; i++) m->classes[i].threshold *= 2;
    snprintf(other, sizeof other, "%s/calibrated", case_root);
    assert_int_equal(dcam_model_save(m, other), DCAM_OK);
    dcam_model_destroy(m);
    for (int i = 0; i < 2; i++) {
        other_model = i ? other : NULL;
        assert_int_equal(dcam_export(&options), DCAM_OK);
        assert_null(other_model);
        assert_int_equal(dcam_file_read(options.output, DCAM_MAX_PROTO_BYTES, &files[i].bytes, &files[i].count), DCAM_OK);
    }
    assert_int_equal(files[1].count, files[0].count);
    assert_true(memcmp(files[1].bytes, files[0].bytes, files[0].count) == 0);
    dcam_free(files[0].bytes);
    dcam_free(files[1].bytes);
}

/* ---- safetensors ---- */

static void test_safetensors(void **state)
{
    const dcam_export_options options = {.model = case_model, .output = case_path("plain.safetensors"),
                                         .format = DCAM_EXPORT_SAFETENSORS};
    dcam_model *m;
    dcam_tensors *t;
    dcam_trunk_weights *teacher, *folded, *student;
    float centres[CASE_CLASSES * 256];
    (void)state;
    assert_int_equal(dcam_export(&options), DCAM_OK);
    assert_int_equal(dcam_model_load(case_model, &m), DCAM_OK);
    assert_int_equal(dcam_tensors_open(options.output, &t), DCAM_OK);
    assert_non_null(dcam_tensors_find(t, "teacher.layer2.0.downsample.1.running_var"));
    assert_int_equal(dcam_trunk_weights_read(t, "student.", m->architecture, &student), DCAM_OK);
    assert_memory_equal(student->values, m->student->values, student->value_count * sizeof(float));
    /* The teacher is kept folded: with batch norm put beside it, it computes the same. */
    assert_int_equal(dcam_trunk_weights_read(t, "teacher.", m->architecture, &teacher), DCAM_OK);
    assert_false(teacher->folded);
    assert_int_equal(dcam_trunk_weights_fold(teacher, &folded), DCAM_OK);
    for (size_t i = 0; i < folded->value_count; i++)
        assert_true(fabsf(folded->values[i] - m->teacher->values[i]) <= 1e-6f * fabsf(m->teacher->values[i]));
    assert_int_equal(dcam_tensors_read_f32(t, "centres", 2, (size_t[]){CASE_CLASSES, 256}, centres), DCAM_OK);
    assert_memory_equal(centres + 256, m->classes[1].centre, 256 * sizeof(float));
    assert_non_null(dcam_tensors_metadata(t, "preprocessing"));
    assert_non_null(dcam_tensors_metadata(t, "calibration"));
    dcam_trunk_weights_destroy(folded);
    dcam_trunk_weights_destroy(teacher);
    dcam_trunk_weights_destroy(student);
    dcam_tensors_destroy(t);
    dcam_model_destroy(m);
}

static void test_refusals(void **state)
{
    dcam_export_options options = {.model = case_model, .output = case_model};
    (void)state;
    assert_int_equal(dcam_export(&options), DCAM_ERROR_USAGE);
    case_message("would replace the model");
    options.output = case_path("no.onnx");
    options.class_name = "no such class";
    assert_int_equal(dcam_export(&options), DCAM_ERROR_USAGE);
    case_message("has no class no such class");
    options.class_name = NULL;
    options.format = DCAM_EXPORT_SAFETENSORS;
    options.rgb_input = true;
    assert_int_equal(dcam_export(&options), DCAM_ERROR_USAGE);
    assert_false(dcam_path_exists(options.output));
}

/* Wherever memory ends, the line says so, nothing is left behind and nothing is lost. */
static void test_memory(void **state)
{
    dcam_export_options options = {.model = case_model, .output = case_path("never.onnx")};
    (void)state;
    for (int format = 0; format < 2; format++) {
        options.format = (dcam_export_format)format;
        SOME_ALLOCATIONS(a, 300, dcam_export(&options)) {
            assert_true(dcam_path_exists(options.output) == a.passed);
            remove(options.output);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protobuf),  cmocka_unit_test(test_onnx),     cmocka_unit_test(test_onnx_options),
        cmocka_unit_test(test_damage),    cmocka_unit_test(test_safetensors), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_onnx_of_every_part), cmocka_unit_test(test_onnx_of_a_memory),
        cmocka_unit_test(test_one_model_alone),
    };
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
