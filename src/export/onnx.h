/* onnx.h - builds one ONNX graph (https://onnx.ai/onnx/repo-docs/IR.html): nodes, weights, inputs, outputs, metadata.
 * Values are known by their names; each node's output carries the node's name. Failures are kept in the buffers and
 * told by onnx_finish. */
#ifndef DCAM_EXPORT_ONNX_H
#define DCAM_EXPORT_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "export/protobuf.h"

/* Operators as of opset 13 (2020): every current run time has them, older ones too. */
#define ONNX_OPSET 13
#define ONNX_IR_VERSION 7
#define ONNX_MAX_NAME 96

/* Field numbers of onnx.proto that are written and read back. */
enum {
    MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_PRODUCER_VERSION = 3, MODEL_DOC = 6, MODEL_GRAPH = 7,
    MODEL_OPSET = 8, MODEL_METADATA = 14,
    OPSET_VERSION = 2,
    GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12,
    NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OPERATOR = 4, NODE_ATTRIBUTE = 5,
    ATTRIBUTE_NAME = 1, ATTRIBUTE_INTEGER = 3, ATTRIBUTE_TEXT = 4, ATTRIBUTE_INTEGERS = 8, ATTRIBUTE_KIND = 20,
    TENSOR_DIMENSION = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9,
    VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_TYPE_ELEMENT = 1, TENSOR_TYPE_SHAPE = 2,
    SHAPE_DIMENSION = 1, DIMENSION_VALUE = 1, DIMENSION_PARAMETER = 2,
    PAIR_KEY = 1, PAIR_VALUE = 2
};

typedef enum { ONNX_F32 = 1, ONNX_U8 = 2, ONNX_I64 = 7 } onnx_type;

/* The name of a value. */
typedef struct {
    char text[ONNX_MAX_NAME];
} onnx_value;

typedef struct {
    proto_buffer nodes, initializers, ends, metadata;
} onnx_graph;

void onnx_clear(onnx_graph *g);

/* printf into a name. */
onnx_value onnx_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The first dimension is the batch, whatever it is at run time; shape: the rank - 1 others. */
onnx_value onnx_input(onnx_graph *g, const char *name, onnx_type type, int rank, const int64_t *shape);
void onnx_output(onnx_graph *g, const onnx_value *value, onnx_type type, int rank, const int64_t *shape);
/* Weights and constants; the data is copied. */
onnx_value onnx_floats(onnx_graph *g, onnx_value name, int rank, const int64_t *shape, const float *data);
onnx_value onnx_integers(onnx_graph *g, onnx_value name, size_t count, const int64_t *data);
onnx_value onnx_scalar(onnx_graph *g, onnx_value name, float value);

/* A node in three steps; its attributes in between. The output is called `name`. */
size_t onnx_begin(onnx_graph *g, const char *operator_name, const onnx_value *name, size_t inputs, const onnx_value *const *input);
/* A second output, within the three steps. */
void onnx_add_output(onnx_graph *g, const onnx_value *name);
void onnx_set_integer(onnx_graph *g, const char *attribute, int64_t value);
void onnx_set_integers(onnx_graph *g, const char *attribute, size_t count, const int64_t *values);
void onnx_set_text(onnx_graph *g, const char *attribute, const char *text);
void onnx_end(onnx_graph *g, size_t begun);
/* Nodes without attributes. */
onnx_value onnx_unary(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value x);
onnx_value onnx_binary(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value a, onnx_value b);

void onnx_metadata(onnx_graph *g, const char *key, const char *value);
/* The whole file's bytes into *out (proto_clear), or the first failure. */
DCAM_MUST_CHECK dcam_status onnx_finish(const onnx_graph *g, const char *graph_name, const char *description, proto_buffer *out);

#endif
