/* protobuf.c - writes and reads the wire format; see protobuf.h. A message's length stands before it and is known after
 * it: one byte is left for it, and the content moves where more are needed. */
#include "export/protobuf.h"

#include <string.h>

#include "base/memory.h"

/* 64 bits, 7 at a time. */
#define MAX_VARINT 10

void proto_clear(proto_buffer *b)
{
    dcam_free(b->bytes);
    *b = (proto_buffer){0};
}

/* Room for more bytes; NULL after a failure. */
static uint8_t *extend(proto_buffer *b, size_t more)
{
    if (b->status != DCAM_OK) return NULL;
    if (more > DCAM_MAX_PROTO_BYTES - b->count) {
        b->status = dcam_fail(DCAM_ERROR_USAGE, "the ONNX file would be larger than %zu bytes, the limit of the format",
                              DCAM_MAX_PROTO_BYTES);
        return NULL;
    }
    if (b->count + more > b->capacity) {
        size_t wanted = b->capacity + b->capacity / 2;
        if (wanted < b->count + more) wanted = b->count + more;
        if (wanted < 4096) wanted = 4096;
        b->status = dcam_realloc(wanted, 1, &b->bytes);
        if (b->status != DCAM_OK) return NULL;
        b->capacity = wanted;
    }
    uint8_t *at = b->bytes + b->count;
    b->count += more;
    return at;
}

static size_t encode_varint(uint64_t value, uint8_t out[MAX_VARINT])
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static void put_varint(proto_buffer *b, uint64_t value)
{
    uint8_t bytes[MAX_VARINT];
    const size_t n = encode_varint(value, bytes);
    uint8_t *at = extend(b, n);
    if (at) memcpy(at, bytes, n);
}

static void put_key(proto_buffer *b, uint32_t field, proto_wire wire)
{
    put_varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

void proto_integer(proto_buffer *b, uint32_t field, int64_t value)
{
    put_key(b, field, PROTO_VARINT);
    put_varint(b, (uint64_t)value);
}

void proto_float(proto_buffer *b, uint32_t field, float value)
{
    put_key(b, field, PROTO_FIXED32);
    uint8_t *at = extend(b, sizeof value); /* little endian, as the processors that dcam runs on */
    if (at) memcpy(at, &value, sizeof value);
}

void proto_bytes(proto_buffer *b, uint32_t field, const void *bytes, size_t count)
{
    put_key(b, field, PROTO_BYTES);
    put_varint(b, count);
    uint8_t *at = extend(b, count);
    if (at && count > 0) memcpy(at, bytes, count);
}

void proto_text(proto_buffer *b, uint32_t field, const char *text) { proto_bytes(b, field, text, strlen(text)); }

size_t proto_begin(proto_buffer *b, uint32_t field)
{
    put_key(b, field, PROTO_BYTES);
    (void)extend(b, 1);
    return b->count;
}

void proto_end(proto_buffer *b, size_t begun)
{
    if (b->status != DCAM_OK) return;
    uint8_t length[MAX_VARINT];
    const size_t content = b->count - begun, n = encode_varint(content, length);
    if (n > 1) {
        if (!extend(b, n - 1)) return;
        memmove(b->bytes + begun + n - 1, b->bytes + begun, content);
    }
    memcpy(b->bytes + begun - 1, length, n);
}

static bool take_varint(proto_reader *r, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at >= r->count) return false;
        const uint8_t byte = r->bytes[r->at++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool take_bytes(proto_reader *r, uint64_t count, proto_reader *out)
{
    if (count > r->count - r->at) return false;
    *out = (proto_reader){r->bytes + r->at, (size_t)count, 0};
    r->at += (size_t)count;
    return true;
}

static bool take_field(proto_reader *r, proto_field *out)
{
    uint64_t key, length;
    if (!take_varint(r, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return false;
    *out = (proto_field){.number = (uint32_t)(key >> 3), .wire = (proto_wire)(key & 7)};
    switch (key & 7) {
    case PROTO_VARINT: return take_varint(r, &out->value);
    case PROTO_BYTES: return take_varint(r, &length) && take_bytes(r, length, &out->content);
    case PROTO_FIXED32:
    case PROTO_FIXED64:
        length = (key & 7) == PROTO_FIXED32 ? 4 : 8;
        if (!take_bytes(r, length, &out->content)) return false;
        memcpy(&out->value, out->content.bytes, (size_t)length);
        return true;
    default: return false;
    }
}

bool proto_next(proto_reader *r, proto_field *out, bool *damaged)
{
    *damaged = false;
    if (r->at >= r->count) return false;
    *damaged = !take_field(r, out);
    return !*damaged;
}

bool proto_is_text(const proto_field *f, const char *text)
{
    return f->wire == PROTO_BYTES && f->content.count == strlen(text) &&
           memcmp(f->content.bytes, text, f->content.count) == 0;
}
