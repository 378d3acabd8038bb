/* html.c - growing text with HTML's escapes, and base64. */
#include "report/html.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/memory.h"
#include "base/number_text.h"
#include "base/utf8.h"

#define FIRST_ROOM 65536
/* Longer than any piece of markup that is formatted. */
#define FORMAT_BYTES 2048

void dcam_html_clear(dcam_html *t)
{
    dcam_free(t->bytes);
    *t = (dcam_html){0};
}

/* Makes room for count bytes and the closing zero. */
static bool reserve(dcam_html *t, size_t count)
{
    size_t needed;
    if (t->status != DCAM_OK) return false;
    if (!dcam_size_add(t->count, count, &needed) || !dcam_size_add(needed, 1, &needed)) {
        t->status = dcam_fail(DCAM_ERROR_MEMORY, "the report is too large");
        return false;
    }
    if (needed <= t->room) return true;
    size_t room = t->room ? t->room : FIRST_ROOM;
    while (room < needed) room = room > SIZE_MAX / 2 ? needed : 2 * room;
    t->status = dcam_realloc(room, 1, &t->bytes);
    if (t->status == DCAM_OK) t->room = room;
    return t->status == DCAM_OK;
}

static void put_bytes(dcam_html *t, const char *bytes, size_t count)
{
    if (!reserve(t, count)) return;
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
    t->bytes[t->count] = '\0';
}

void dcam_html_put(dcam_html *t, const char *markup) { put_bytes(t, markup, strlen(markup)); }

void dcam_html_format(dcam_html *t, const char *format, ...)
{
    char text[FORMAT_BYTES];
    va_list args;
    va_start(args, format);
    const int length = dcam_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text) {
        if (t->status == DCAM_OK) t->status = dcam_fail(DCAM_ERROR_INTERNAL, "a piece of the report is too long");
        return;
    }
    put_bytes(t, text, (size_t)length);
}

/* What misleads, and U+FFFE, U+FFFF. */
static bool is_unfit(uint32_t c)
{
    return dcam_utf8_misleads(c) || (c & 0xfffe) == 0xfffe;
}

void dcam_html_escape(dcam_html *t, const char *text)
{
    for (const char *p = text; *p;) {
        uint32_t code = 0;
        const size_t n = dcam_utf8_character(p, &code);
        const char *entity = code == '&' ? "&amp;" : code == '<' ? "&lt;" : code == '>' ? "&gt;" : code == '"' ? "&quot;" : code == '\'' ? "&#39;" : NULL;
        if (n == 0 || is_unfit(code)) dcam_html_put(t, DCAM_UTF8_REPLACEMENT);
        else if (entity) dcam_html_put(t, entity);
        else put_bytes(t, p, n);
        p += n ? n : 1;
    }
}

void dcam_html_base64(dcam_html *t, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!reserve(t, (count + 2) / 3 * 4)) return;
    char *out = t->bytes + t->count;
    for (size_t i = 0; i < count; i += 3) {
        const size_t left = count - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    *out = '\0';
    t->count = (size_t)(out - t->bytes);
}

void dcam_html_number(dcam_html *t, const char *format, double value)
{
    char text[64];
    /* The formats are our own. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    dcam_snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
    dcam_html_put(t, isnan(value) ? "-" : text);
}
