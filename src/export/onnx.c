/* onnx.c - see onnx.h. Nodes, weights and the graph's ends are collected apart and put together at the end, since a
 * graph is described from its input to its output but stored kind by kind. */
#include "export/onnx.h"

#include <stdarg.h>
#include <string.h>

#include "base/number_text.h"

/* AttributeProto.type */
enum { KIND_INTEGER = 2, KIND_TEXT = 3, KIND_INTEGERS = 7 };

void onnx_clear(onnx_graph *g)
{
    proto_clear(&g->nodes);
    proto_clear(&g->initializers);
    proto_clear(&g->ends);
    proto_clear(&g->metadata);
}

onnx_value onnx_name(const char *format, ...)
{
    onnx_value v = {.text = ""};
    va_list arguments;
    va_start(arguments, format);
    dcam_vsnprintf(v.text, sizeof v.text, format, arguments);
    va_end(arguments);
    return v;
}

static void put_end(onnx_graph *g, uint32_t field, const char *name, onnx_type type, int rank, const int64_t *shape)
{
    proto_buffer *b = &g->ends;
    const size_t value = proto_begin(b, field);
    proto_text(b, VALUE_NAME, name);
    const size_t kind = proto_begin(b, VALUE_TYPE), tensor = proto_begin(b, TYPE_TENSOR);
    proto_integer(b, TENSOR_TYPE_ELEMENT, type);
    const size_t dimensions = proto_begin(b, TENSOR_TYPE_SHAPE);
    for (int i = 0; i < rank; i++) {
        const size_t dimension = proto_begin(b, SHAPE_DIMENSION);
        if (i == 0) proto_text(b, DIMENSION_PARAMETER, "batch");
        else proto_integer(b, DIMENSION_VALUE, shape[i - 1]);
        proto_end(b, dimension);
    }
    proto_end(b, dimensions);
    proto_end(b, tensor);
    proto_end(b, kind);
    proto_end(b, value);
}

onnx_value onnx_input(onnx_graph *g, const char *name, onnx_type type, int rank, const int64_t *shape)
{
    put_end(g, GRAPH_INPUT, name, type, rank, shape);
    return onnx_name("%s", name);
}

void onnx_output(onnx_graph *g, const onnx_value *value, onnx_type type, int rank, const int64_t *shape)
{
    put_end(g, GRAPH_OUTPUT, value->text, type, rank, shape);
}

static onnx_value put_tensor(onnx_graph *g, onnx_value name, onnx_type type, int rank, const int64_t *shape,
                             const void *data, size_t element)
{
    proto_buffer *b = &g->initializers;
    const size_t tensor = proto_begin(b, GRAPH_INITIALIZER);
    size_t count = element;
    for (int i = 0; i < rank; i++) {
        proto_integer(b, TENSOR_DIMENSION, shape[i]);
        count *= (size_t)shape[i]; /* data of this size is in memory */
    }
    proto_integer(b, TENSOR_TYPE, type);
    proto_text(b, TENSOR_NAME, name.text);
    proto_bytes(b, TENSOR_RAW, data, count);
    proto_end(b, tensor);
    return name;
}

onnx_value onnx_floats(onnx_graph *g, onnx_value name, int rank, const int64_t *shape, const float *data)
{
    return put_tensor(g, name, ONNX_F32, rank, shape, data, sizeof *data);
}

onnx_value onnx_integers(onnx_graph *g, onnx_value name, size_t count, const int64_t *data)
{
    const int64_t shape = (int64_t)count;
    return put_tensor(g, name, ONNX_I64, 1, &shape, data, sizeof *data);
}

onnx_value onnx_scalar(onnx_graph *g, onnx_value name, float value) { return onnx_floats(g, name, 0, NULL, &value); }

size_t onnx_begin(onnx_graph *g, const char *operator_name, const onnx_value *name, size_t inputs,
                  const onnx_value *const *input)
{
    const size_t begun = proto_begin(&g->nodes, GRAPH_NODE);
    for (size_t i = 0; i < inputs; i++) proto_text(&g->nodes, NODE_INPUT, input[i]->text);
    proto_text(&g->nodes, NODE_OUTPUT, name->text);
    proto_text(&g->nodes, NODE_NAME, name->text);
    proto_text(&g->nodes, NODE_OPERATOR, operator_name);
    return begun;
}

void onnx_add_output(onnx_graph *g, const onnx_value *name) { proto_text(&g->nodes, NODE_OUTPUT, name->text); }

static size_t begin_attribute(onnx_graph *g, const char *name, int64_t kind)
{
    const size_t begun = proto_begin(&g->nodes, NODE_ATTRIBUTE);
    proto_text(&g->nodes, ATTRIBUTE_NAME, name);
    proto_integer(&g->nodes, ATTRIBUTE_KIND, kind);
    return begun;
}

void onnx_set_integer(onnx_graph *g, const char *attribute, int64_t value)
{
    const size_t begun = begin_attribute(g, attribute, KIND_INTEGER);
    proto_integer(&g->nodes, ATTRIBUTE_INTEGER, value);
    proto_end(&g->nodes, begun);
}

void onnx_set_integers(onnx_graph *g, const char *attribute, size_t count, const int64_t *values)
{
    const size_t begun = begin_attribute(g, attribute, KIND_INTEGERS);
    for (size_t i = 0; i < count; i++) proto_integer(&g->nodes, ATTRIBUTE_INTEGERS, values[i]);
    proto_end(&g->nodes, begun);
}

void onnx_set_text(onnx_graph *g, const char *attribute, const char *text)
{
    const size_t begun = begin_attribute(g, attribute, KIND_TEXT);
    proto_text(&g->nodes, ATTRIBUTE_TEXT, text);
    proto_end(&g->nodes, begun);
}

void onnx_end(onnx_graph *g, size_t begun) { proto_end(&g->nodes, begun); }

onnx_value onnx_unary(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value x)
{
    onnx_end(g, onnx_begin(g, operator_name, &name, 1, (const onnx_value *[]){&x}));
    return name;
}

onnx_value onnx_binary(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value a, onnx_value b)
{
    onnx_end(g, onnx_begin(g, operator_name, &name, 2, (const onnx_value *[]){&a, &b}));
    return name;
}

void onnx_metadata(onnx_graph *g, const char *key, const char *value)
{
    const size_t begun = proto_begin(&g->metadata, MODEL_METADATA);
    proto_text(&g->metadata, PAIR_KEY, key);
    proto_text(&g->metadata, PAIR_VALUE, value);
    proto_end(&g->metadata, begun);
}

/* Appends messages that are encoded already, one at a time: sizes and failures are then accounted for in one place. */
static void append(proto_buffer *out, const proto_buffer *part)
{
    proto_reader r = {part->bytes, part->count, 0};
    proto_field f;
    bool damaged;
    if (part->status != DCAM_OK && out->status == DCAM_OK) out->status = part->status;
    while (proto_next(&r, &f, &damaged)) proto_bytes(out, f.number, f.content.bytes, f.content.count);
}

dcam_status onnx_finish(const onnx_graph *g, const char *graph_name, const char *description, proto_buffer *out)
{
    proto_buffer b = {0};
    size_t begun;
    proto_integer(&b, MODEL_IR_VERSION, ONNX_IR_VERSION);
    proto_text(&b, MODEL_PRODUCER, "dcam");
    proto_text(&b, MODEL_PRODUCER_VERSION, DCAM_VERSION);
    proto_text(&b, MODEL_DOC, description);
    begun = proto_begin(&b, MODEL_GRAPH);
    append(&b, &g->nodes);
    proto_text(&b, GRAPH_NAME, graph_name);
    append(&b, &g->initializers);
    append(&b, &g->ends);
    proto_end(&b, begun);
    begun = proto_begin(&b, MODEL_OPSET);
    proto_integer(&b, OPSET_VERSION, ONNX_OPSET);
    proto_end(&b, begun);
    append(&b, &g->metadata);
    if (b.status != DCAM_OK) {
        const dcam_status status = b.status;
        proto_clear(&b);
        return status;
    }
    *out = b;
    return DCAM_OK;
}
