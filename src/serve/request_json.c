/* request_json.c - takes the tensors' numbers out of a request's JSON and reads them. A JSON library would spend some
 * forty bytes a number; here they go straight into the tensor. What is left over is small; json_text.h reads it. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "serve/request.h"

typedef struct {
    const uint8_t *at, *end;
} cursor;

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && is_blank(*c->at)) c->at++;
}

static dcam_status broken(const char *what) { return dcam_fail(DCAM_ERROR_USAGE, "the request is not valid JSON: %s", what); }

/* From an opening quote to behind the closing one. */
static dcam_status skip_string(cursor *c)
{
    for (c->at++; c->at < c->end; c->at++) {
        if (*c->at == '"') {
            c->at++;
            return DCAM_OK;
        }
        if (*c->at == '\\' && ++c->at == c->end) break;
    }
    return broken("a string does not end");
}

/* A whole array, by counting brackets: its inside is read later, by who knows what must be in it. */
static dcam_status skip_array(cursor *c)
{
    int depth = 0;
    while (c->at < c->end) {
        if (*c->at == '"') {
            DCAM_TRY(skip_string(c));
            continue;
        }
        if (*c->at == '[' && ++depth > DCAM_REQUEST_MAX_DEPTH) return broken("too deeply nested");
        if (*c->at == '{' || *c->at == '}') return broken("an object in the data of a tensor");
        if (*c->at++ == ']' && --depth == 0) return DCAM_OK;
    }
    return broken("the data of a tensor do not end");
}

typedef struct {
    cursor in;
    int depth;                          /* brackets that are open */
    char open[DCAM_REQUEST_MAX_DEPTH];  /* which: '{' or '[' */
    bool key_next;                      /* a string here is a key */
    dcam_json_parts parts;
    size_t capacity;
} splitter;

static dcam_status keep(splitter *s, const void *bytes, size_t count)
{
    if (count > DCAM_REQUEST_MAX_JSON - s->parts.skeleton_bytes)
        return dcam_fail(DCAM_ERROR_USAGE, "the request's JSON without its tensors is above the limit of %u bytes",
                         DCAM_REQUEST_MAX_JSON);
    size_t wanted = s->parts.skeleton_bytes + count + 1;
    if (wanted > s->capacity) {
        size_t capacity = wanted < 1024 ? 1024 : 2 * wanted;
        DCAM_TRY(dcam_realloc(capacity, 1, &s->parts.skeleton));
        s->capacity = capacity;
    }
    memcpy(s->parts.skeleton + s->parts.skeleton_bytes, bytes, count);
    s->parts.skeleton_bytes += count;
    s->parts.skeleton[s->parts.skeleton_bytes] = '\0';
    return DCAM_OK;
}

static bool in_input(const splitter *s)
{
    return s->depth == 3 && s->open[0] == '{' && s->open[1] == '[' && s->open[2] == '{';
}

/* Behind the key "data" of an input: the colon, and the array, for which its index stands in the skeleton. */
static dcam_status take_data(splitter *s)
{
    skip_blanks(&s->in);
    if (s->in.at == s->in.end || *s->in.at != ':') return broken("no colon behind \"data\"");
    s->in.at++;
    skip_blanks(&s->in);
    if (s->in.at == s->in.end || *s->in.at != '[') return broken("\"data\" is not an array");
    if (s->parts.data_count == DCAM_REQUEST_MAX_INPUTS)
        return dcam_fail(DCAM_ERROR_USAGE, "more than %d tensors in one request", DCAM_REQUEST_MAX_INPUTS);
    const uint8_t *start = s->in.at;
    DCAM_TRY(skip_array(&s->in));
    const char digit = (char)('0' + s->parts.data_count);
    s->parts.data[s->parts.data_count++] = (dcam_span){start, (size_t)(s->in.at - start)};
    DCAM_TRY(keep(s, ":", 1));
    return keep(s, &digit, 1);
}

static dcam_status take_string(splitter *s)
{
    const uint8_t *start = s->in.at;
    DCAM_TRY(skip_string(&s->in));
    const size_t length = (size_t)(s->in.at - start);
    const bool key = s->key_next && s->depth > 0 && s->open[s->depth - 1] == '{';
    s->key_next = false;
    /* An escaped spelling of "data" would reach the parser as the real key, with a value of the client's in place of an
     * index of ours. */
    if (key && in_input(s) && memchr(start, '\\', length)) return broken("an escape in a key of a tensor");
    DCAM_TRY(keep(s, start, length));
    if (key && in_input(s) && length == 6 && memcmp(start, "\"data\"", 6) == 0) return take_data(s);
    return DCAM_OK;
}

static dcam_status take_all(splitter *s)
{
    while (s->in.at < s->in.end) {
        const uint8_t c = *s->in.at;
        if (is_blank(c)) {
            s->in.at++;
            continue;
        }
        if (c == 0) return broken("a zero byte");
        if (c == '"') {
            DCAM_TRY(take_string(s));
            continue;
        }
        if (c == '{' || c == '[') {
            if (s->depth == DCAM_REQUEST_MAX_DEPTH) return broken("too deeply nested");
            s->open[s->depth++] = (char)c;
            s->key_next = c == '{';
        } else if (c == '}' || c == ']') {
            if (s->depth == 0) return broken("a bracket closes that was not open");
            s->depth--;
        } else if (c == ',') {
            s->key_next = s->depth > 0 && s->open[s->depth - 1] == '{';
        }
        /* A blank keeps apart what blanks kept apart: "1 2" must not become 12. */
        if (s->in.at + 1 < s->in.end && is_blank(s->in.at[1]) && !strchr("{}[]:,", c)) {
            const char two[2] = {(char)c, ' '};
            DCAM_TRY(keep(s, two, 2));
        } else {
            DCAM_TRY(keep(s, &c, 1));
        }
        s->in.at++;
    }
    return s->depth == 0 && s->parts.skeleton_bytes > 0 ? DCAM_OK : broken("it ends early");
}

dcam_status dcam_json_split(const uint8_t *bytes, size_t count, dcam_json_parts *out)
{
    splitter s = {.in = {bytes, bytes + count}};
    const dcam_status status = take_all(&s);
    if (status == DCAM_OK) *out = s.parts;
    else dcam_json_parts_clear(&s.parts);
    return status;
}

void dcam_json_parts_clear(dcam_json_parts *parts)
{
    dcam_free(parts->skeleton);
    *parts = (dcam_json_parts){0};
}

/* ---- numbers ---- */

static dcam_status wrong_number(size_t index, const char *wanted)
{
    return dcam_fail(DCAM_ERROR_USAGE, "value %zu of the tensor's data is not %s", index, wanted);
}

/* 10^exponent by repeated squaring; exact up to 10^22, beyond that within a few units of the last bit, far below
 * what FP32 keeps. */
static double power_of_ten(int exponent)
{
    double result = 1, base = 10;
    for (int e = exponent < 0 ? -exponent : exponent; e > 0; e >>= 1) {
        if (e & 1) result *= base;
        base *= base;
    }
    return result;
}

/* JSON's grammar of numbers; moves behind it. False: not a number. Independent of the locale, unlike strtod. */
static bool read_number(cursor *c, double *out)
{
    const uint8_t *at = c->at, *end = c->end;
    const bool negative = at < end && *at == '-';
    if (negative) at++;
    if (at == end || *at < '0' || *at > '9') return false;
    if (*at == '0' && at + 1 < end && at[1] >= '0' && at[1] <= '9') return false;
    uint64_t digits = 0;
    long exponent = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (digits < UINT64_C(1000000000000000000)) digits = digits * 10 + (uint64_t)(*at - '0');
        else exponent++;
    }
    if (at < end && *at == '.') {
        at++;
        if (at == end || *at < '0' || *at > '9') return false;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (digits < UINT64_C(1000000000000000000)) {
                digits = digits * 10 + (uint64_t)(*at - '0');
                exponent--;
            }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        const bool down = at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        if (at == end || *at < '0' || *at > '9') return false;
        long power = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (power < 100000) power = power * 10 + (*at - '0');
        exponent += down ? -power : power;
    }
    c->at = at;
    double value = (double)digits;
    if (digits != 0 && exponent > 0) value = exponent > 400 ? HUGE_VAL : value * power_of_ten((int)exponent);
    /* In two steps below 1e-300, where 10^-exponent itself has no double. */
    for (; digits != 0 && exponent < 0 && value > 0; exponent += 300)
        value /= power_of_ten(exponent < -300 ? 300 : (int)-exponent);
    *out = negative ? -value : value;
    return true;
}

static bool read_u8(cursor *c, uint8_t *out)
{
    unsigned value = 0;
    const uint8_t *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - start < 4; c->at++) value = 10 * value + (unsigned)(*c->at - '0');
    if (c->at == start || value > 255 || (*start == '0' && c->at - start > 1)) return false;
    if (c->at < c->end && *c->at != ',' && *c->at != ']' && !is_blank(*c->at)) return false;
    *out = (uint8_t)value;
    return true;
}

/* u8 or f32 is given, or none: then the values are only looked at. Brackets may nest anyhow as long as the commas are right: the count decides. */
static dcam_status read_numbers(dcam_span json, size_t count, uint8_t *u8, float *f32)
{
    cursor c = {json.bytes, json.bytes + json.count};
    size_t used = 0;
    int depth = 0;
    bool value_next = true, may_close = false;
    for (skip_blanks(&c); c.at < c.end; skip_blanks(&c)) {
        if (*c.at == '[' && value_next && (used == 0 || depth > 0)) {
            if (++depth > DCAM_REQUEST_MAX_DEPTH) return broken("too deeply nested");
            c.at++;
            may_close = true;
            continue;
        }
        if (*c.at == ']' && depth > 0 && (!value_next || may_close)) {
            depth--;
            c.at++;
            value_next = may_close = false;
            if (depth == 0) break;
            continue;
        }
        if (*c.at == ',' && !value_next && depth > 0) {
            c.at++;
            value_next = true;
            may_close = false;
            continue;
        }
        if (!value_next || depth == 0) return broken("brackets and commas of a tensor's data");
        if (used == count)
            return dcam_fail(DCAM_ERROR_USAGE, "more values in the tensor's data than its shape has (%zu)", count);
        if (u8 && !read_u8(&c, &u8[used])) return wrong_number(used, "a whole number from 0 to 255");
        if (!u8) {
            double value;
            if (!read_number(&c, &value)) return wrong_number(used, "a number");
            if (!isfinite((float)value)) return wrong_number(used, "within the range of FP32");
            if (f32) f32[used] = (float)value;
        }
        used++;
        value_next = may_close = false;
    }
    skip_blanks(&c);
    if (depth != 0 || c.at != c.end) return broken("brackets of a tensor's data");
    if (used != count)
        return dcam_fail(DCAM_ERROR_USAGE, "%zu values in the tensor's data, its shape has %zu", used, count);
    return DCAM_OK;
}

dcam_status dcam_json_numbers_fit(dcam_span json, size_t count)
{
    /* Each value is a digit and a comma or the last bracket, behind the first bracket. */
    if (json.count / 2 >= count) return DCAM_OK;
    return read_numbers(json, count, NULL, NULL);
}

dcam_status dcam_json_numbers_u8(dcam_span json, size_t count, uint8_t *out) { return read_numbers(json, count, out, NULL); }

dcam_status dcam_json_numbers_f32(dcam_span json, size_t count, float *out) { return read_numbers(json, count, NULL, out); }
