/* text.c - growing text, JSON strings and numbers, base64. */
#include "serve/text.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/memory.h"
#include "base/number_text.h"
#include "base/utf8.h"

#define FIRST_CAPACITY 512

void dcam_text_clear(dcam_text *text)
{
    dcam_free(text->bytes);
    *text = (dcam_text){0};
}

/* Room for `more` bytes and the zero behind them. */
static bool reserve(dcam_text *text, size_t more, bool exactly)
{
    size_t wanted;
    if (text->failed) return false;
    if (!dcam_size_add(text->used, more, &wanted) || !dcam_size_add(wanted, 1, &wanted)) {
        text->failed = true;
        return false;
    }
    if (wanted <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : FIRST_CAPACITY;
    while (capacity < wanted && capacity <= SIZE_MAX / 2) capacity *= 2;
    if (capacity < wanted || exactly) capacity = wanted;
    if (dcam_realloc(capacity, 1, &text->bytes) != DCAM_OK) {
        text->failed = true;
        return false;
    }
    text->capacity = capacity;
    return true;
}

void dcam_text_reserve(dcam_text *text, size_t more) { reserve(text, more, true); }

void dcam_text_trim(dcam_text *text)
{
    /* Without the memory to move it stays as it is. */
    if (text->used < text->capacity - text->capacity / 8 && dcam_realloc(text->used + 1, 1, &text->bytes) == DCAM_OK)
        text->capacity = text->used + 1;
}

void dcam_text_bytes(dcam_text *text, const void *bytes, size_t count)
{
    if (!reserve(text, count, false)) return;
    if (count > 0) memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
    text->bytes[text->used] = '\0';
}

void dcam_text_add(dcam_text *text, const char *string) { dcam_text_bytes(text, string, strlen(string)); }

void dcam_text_format(dcam_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = dcam_vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)length, false)) {
        dcam_vsnprintf(text->bytes + text->used, (size_t)length + 1, format, again);
        text->used += (size_t)length;
    }
    va_end(again);
}

static void add_escape(dcam_text *text, uint32_t code)
{
    char escape[DCAM_UTF8_ESCAPE_BYTES];
    dcam_utf8_escape(code, escape);
    dcam_text_bytes(text, escape, sizeof escape);
}

void dcam_text_json(dcam_text *text, const char *string)
{
    if (!string) {
        dcam_text_add(text, "null");
        return;
    }
    dcam_text_add(text, "\"");
    for (const char *s = string; *s;) {
        uint32_t code;
        const size_t length = dcam_utf8_character(s, &code);
        if (*s == '"' || *s == '\\') dcam_text_format(text, "\\%c", *s);
        else if (length == 0) dcam_text_add(text, DCAM_UTF8_REPLACEMENT);
        else if (dcam_utf8_misleads(code)) add_escape(text, code);
        else dcam_text_bytes(text, s, length);
        s += length ? length : 1;
    }
    dcam_text_add(text, "\"");
}

void dcam_text_number(dcam_text *text, double value, int digits)
{
    char number[64]; /* at once: maps have a million of them, and dcam_text_format prints twice */
    if (isfinite(value)) dcam_text_bytes(text, number, (size_t)dcam_snprintf(number, sizeof number, "%.*g", digits, value));
    else dcam_text_add(text, "null");
}

void dcam_text_base64(dcam_text *text, const void *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    if (count > SIZE_MAX / 2) {
        text->failed = true;
        return;
    }
    if (!reserve(text, (count + 2) / 3 * 4, false)) return;
    char *out = text->bytes + text->used;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[v & 63] : '=';
    }
    text->used = (size_t)(out - text->bytes);
    text->bytes[text->used] = '\0';
}

dcam_status dcam_text_check(const dcam_text *text)
{
    return text->failed ? dcam_fail(DCAM_ERROR_MEMORY, "not enough memory for an answer") : DCAM_OK;
}
