/* protobuf.h - the wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding), as much of it as
 * ONNX needs: varints, 32-bit values and length-delimited fields. Own code instead of protobuf-c: three kinds of field
 * are less than a generated schema of 30 messages, weights are not copied into a tree of objects first, and building
 * needs no further package. */
#ifndef DCAM_EXPORT_PROTOBUF_H
#define DCAM_EXPORT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* ONNX's own limit: lengths are 31 bits in many readers. */
#define DCAM_MAX_PROTO_BYTES ((size_t)INT32_MAX)

/* ---- writing ---- */

/* Grows as needed. The first failure is kept and makes later calls do nothing: ask `status` at the end. */
typedef struct {
    uint8_t *bytes;
    size_t count, capacity;
    dcam_status status;
} proto_buffer;

void proto_clear(proto_buffer *b);
void proto_integer(proto_buffer *b, uint32_t field, int64_t value);
void proto_float(proto_buffer *b, uint32_t field, float value);
void proto_bytes(proto_buffer *b, uint32_t field, const void *bytes, size_t count);
void proto_text(proto_buffer *b, uint32_t field, const char *text);
/* A message within: what is written between begin and end is its content. */
size_t proto_begin(proto_buffer *b, uint32_t field);
void proto_end(proto_buffer *b, size_t begun);

/* ---- reading ---- */

typedef struct {
    const uint8_t *bytes;
    size_t count, at;
} proto_reader;

typedef enum { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 } proto_wire;

typedef struct {
    uint32_t number;
    proto_wire wire;
    uint64_t value;       /* PROTO_VARINT; the bits of PROTO_FIXED32, PROTO_FIXED64 */
    proto_reader content; /* PROTO_BYTES */
} proto_field;

/* The next field; false at the end, and then, in *damaged, whether it is one. Never reads past count. */
bool proto_next(proto_reader *r, proto_field *out, bool *damaged);
bool proto_is_text(const proto_field *f, const char *text);

#endif
