/* check.c - reads an ONNX file back: that the disk holds what was written, and that its structure is sound. What the
 * graph computes is compared with dcam by tools/onnx_check.py, in a run time. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "export/export.h"

typedef struct {
    const uint8_t *text;
    size_t length;
} known_name;

typedef struct {
    const char *file;
    known_name *names; /* every value that is there so far */
    size_t count, capacity;
} checker;

static dcam_status damaged(const checker *c, const char *what)
{
    return dcam_fail(DCAM_ERROR_IO, "%s: is no sound ONNX file (%s); export it again", c->file, what);
}

static bool is_known(const checker *c, const proto_reader *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->names[i].length == name->count && memcmp(c->names[i].text, name->bytes, name->count) == 0) return true;
    return false;
}

static dcam_status add_name(checker *c, const proto_reader *name)
{
    if (name->count == 0 || is_known(c, name)) return damaged(c, "a value without a name or with one given twice");
    if (c->count == c->capacity) {
        const size_t wanted = c->capacity ? 2 * c->capacity : 256;
        DCAM_TRY(dcam_realloc(wanted, sizeof *c->names, &c->names));
        c->capacity = wanted;
    }
    c->names[c->count++] = (known_name){name->bytes, name->count};
    return DCAM_OK;
}

static dcam_status check_initializer(checker *c, proto_reader tensor)
{
    proto_field f;
    bool broken;
    proto_reader name = {0}, data = {0};
    size_t elements = 1, element = 0;
    while (proto_next(&tensor, &f, &broken)) {
        if (f.number == TENSOR_DIMENSION && !dcam_size_mul(elements, (size_t)f.value, &elements))
            return damaged(c, "the size of a tensor");
        if (f.number == TENSOR_TYPE) element = f.value == ONNX_F32 ? 4 : f.value == ONNX_I64 ? 8 : 0;
        if (f.number == TENSOR_NAME && f.wire == PROTO_BYTES) name = f.content;
        if (f.number == TENSOR_RAW && f.wire == PROTO_BYTES) data = f.content;
    }
    if (broken || element == 0 || !dcam_size_mul(elements, element, &elements) || elements != data.count)
        return damaged(c, "a tensor whose data does not fit its shape");
    return add_name(c, &name);
}

/* Inputs must be there; an empty name stands for one left out. */
static dcam_status check_node(checker *c, proto_reader node)
{
    proto_field f;
    bool broken, has_operator = false;
    size_t outputs = 0;
    while (proto_next(&node, &f, &broken)) {
        if (f.number == NODE_INPUT && f.content.count > 0 && !is_known(c, &f.content))
            return damaged(c, "a node reads what no node before it makes");
        if (f.number == NODE_OPERATOR) has_operator = f.content.count > 0;
        if (f.number == NODE_OUTPUT) {
            DCAM_TRY(add_name(c, &f.content));
            outputs++;
        }
    }
    return broken || !has_operator || outputs == 0 ? damaged(c, "a node without operator or output") : DCAM_OK;
}

static bool name_of(proto_reader value, proto_reader *out)
{
    proto_field f;
    bool broken;
    while (proto_next(&value, &f, &broken))
        if (f.number == VALUE_NAME && f.wire == PROTO_BYTES) {
            *out = f.content;
            return true;
        }
    return false;
}

/* In the order in which names come to be known: inputs, weights, nodes; outputs last. */
static dcam_status check_graph(checker *c, const proto_reader *graph)
{
    static const uint32_t order[] = {GRAPH_INPUT, GRAPH_INITIALIZER, GRAPH_NODE, GRAPH_OUTPUT};
    size_t seen[4] = {0};
    for (size_t k = 0; k < 4; k++) {
        proto_reader r = *graph, name;
        proto_field f;
        bool broken;
        while (proto_next(&r, &f, &broken)) {
            if (f.number != order[k]) continue;
            if (f.wire != PROTO_BYTES) return damaged(c, "a field of the graph of another kind");
            seen[k]++;
            if (f.number == GRAPH_INITIALIZER) DCAM_TRY(check_initializer(c, f.content));
            if (f.number == GRAPH_NODE) DCAM_TRY(check_node(c, f.content));
            if (f.number != GRAPH_INPUT && f.number != GRAPH_OUTPUT) continue;
            if (!name_of(f.content, &name)) return damaged(c, "an input or output without a name");
            if (f.number == GRAPH_INPUT) DCAM_TRY(add_name(c, &name));
            else if (!is_known(c, &name)) return damaged(c, "an output that no node makes");
        }
        if (broken) return damaged(c, "the graph ends early");
        if (seen[k] == 0) return damaged(c, "a graph without inputs, weights, nodes or outputs");
    }
    return DCAM_OK;
}

dcam_status dcam_onnx_check_structure(const char *name, const uint8_t *bytes, size_t count)
{
    checker c = {.file = name};
    proto_reader r = {bytes, count, 0};
    proto_field f;
    bool broken;
    size_t graphs = 0, opsets = 0;
    dcam_status status = DCAM_OK;
    while (status == DCAM_OK && proto_next(&r, &f, &broken)) {
        if (f.number == MODEL_OPSET) opsets++;
        if (f.number != MODEL_GRAPH || f.wire != PROTO_BYTES) continue;
        graphs++;
        status = check_graph(&c, &f.content);
    }
    if (status == DCAM_OK && (broken || graphs != 1 || opsets != 1)) status = damaged(&c, "not one graph and operator set");
    dcam_free(c.names);
    return status;
}

dcam_status dcam_onnx_check(const char *path, const proto_buffer *wanted)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    DCAM_TRY(dcam_file_read(path, DCAM_MAX_PROTO_BYTES, &bytes, &count));
    dcam_status status = DCAM_OK;
    if (count != wanted->count || memcmp(bytes, wanted->bytes, count) != 0)
        status = dcam_fail(DCAM_ERROR_IO, "%s: reads back other bytes than were written; check the disk, then export again", path);
    if (status == DCAM_OK) status = dcam_onnx_check_structure(path, bytes, count);
    dcam_free(bytes);
    return status;
}
