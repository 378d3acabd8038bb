/* json_text.c - see json_text.h. A recursive descent over the text; every value is made by jansson. */
#include "weights/json_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number_text.h"
#include "base/utf8.h"

/* What we write is 4 deep. Far below what the stack holds. */
#define MAX_DEPTH 128
/* The longest double, written out, has some 330 digits before or after the point. */
#define MAX_NUMBER 512

typedef struct {
    const char *begin, *at, *end;
    dcam_json_error error;
} reader;

static json_t *fault(reader *r, const char *reason)
{
    if (!r->error.reason) r->error = (dcam_json_error){false, reason, (size_t)(r->at - r->begin)};
    return NULL;
}

static json_t *no_memory(reader *r)
{
    fault(r, "out of memory");
    r->error.no_memory = true;
    return NULL;
}

static void skip_blanks(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static bool take(reader *r, char wanted)
{
    if (r->at == r->end || *r->at != wanted) return false;
    r->at++;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    const size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

/* ---- numbers ---- */

static bool take_digits(reader *r)
{
    const char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
    return r->at > start;
}

/* True if it has a fraction or an exponent. */
static bool take_fraction(reader *r, bool *valid)
{
    const char *start = r->at;
    if (take(r, '.') && !take_digits(r)) *valid = false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) take(r, '-');
        if (!take_digits(r)) *valid = false;
    }
    return r->at > start;
}

static json_t *read_number(reader *r)
{
    char text[MAX_NUMBER + 1];
    const char *start = r->at;
    take(r, '-');
    bool valid = take(r, '0') || take_digits(r);
    const bool is_real = take_fraction(r, &valid);
    const size_t n = (size_t)(r->at - start);
    if (!valid) return fault(r, "a value is wanted");
    if (n > MAX_NUMBER) return fault(r, "a number has too many digits");
    memcpy(text, start, n);
    text[n] = '\0';
    errno = 0;
    if (!is_real) {
        const long long whole = strtoll(text, NULL, 10);
        if (errno != 0) return fault(r, "a whole number is out of range");
        json_t *json = json_integer(whole);
        return json ? json : no_memory(r);
    }
    const double value = dcam_strtod(text, NULL);
    if (!isfinite(value)) return fault(r, "a number is out of range");
    json_t *json = json_real(value);
    return json ? json : no_memory(r);
}

/* ---- strings ---- */

static bool take_code_unit(reader *r, unsigned *out)
{
    unsigned value = 0;
    if (r->end - r->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        const char digit = *r->at++, low = (char)(digit | 32);
        const int v = digit >= '0' && digit <= '9' ? digit - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (v < 0) return false;
        value = value * 16 + (unsigned)v;
    }
    *out = value;
    return true;
}

/* After "\u", as UTF-8. Halves of a pair come together; 0 would end a C string. */
static bool take_unicode(reader *r, char *out, size_t *used)
{
    unsigned code, low;
    if (!take_code_unit(r, &code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff)) return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take_word(r, "\\u") || !take_code_unit(r, &low) || low < 0xdc00 || low > 0xdfff) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    const int tail = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[(*used)++] = (char)(lead[tail] | (code >> (6 * tail)));
    for (int i = tail - 1; i >= 0; i--) out[(*used)++] = (char)(0x80 | ((code >> (6 * i)) & 0x3f));
    return true;
}

/* After the opening quote; out has room for all that is left until the closing one. */
static bool unescape(reader *r, char *out, size_t *used)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    while (r->at < r->end && *r->at != '"') {
        const char letter = *r->at;
        if ((unsigned char)letter < 0x20) return false;
        r->at++;
        if (letter != '\\') {
            out[(*used)++] = letter;
            continue;
        }
        if (r->at == r->end) return false;
        const char kind = *r->at++, *known = kind ? strchr(letters, kind) : NULL;
        if (known) out[(*used)++] = meant[known - letters];
        else if (kind != 'u' || !take_unicode(r, out, used)) return false;
    }
    return take(r, '"');
}

/* A string's end: its closing quote, or the text's. Escapes only make it shorter. */
static size_t longest(const reader *r)
{
    const char *p = r->at;
    while (p < r->end && *p != '"') p += *p == '\\' && p + 1 < r->end ? 2 : 1;
    return (size_t)(p - r->at);
}

static json_t *read_string(reader *r)
{
    char *text;
    size_t used = 0;
    if (!take(r, '"')) return fault(r, "a string is wanted");
    if (dcam_alloc(longest(r) + 1, 1, &text) != DCAM_OK) return no_memory(r);
    json_t *json = NULL;
    if (!unescape(r, text, &used)) fault(r, "a string is not closed, or holds what must be escaped");
    else if (text[used] = '\0', !dcam_utf8_is_valid(text)) fault(r, "a string is not UTF-8");
    else if (!(json = json_stringn_nocheck(text, used))) no_memory(r);
    dcam_free(text);
    return json;
}

/* ---- values ---- */

static json_t *read_value(reader *r, int depth);

static bool read_item(reader *r, json_t *array, int depth)
{
    json_t *item = read_value(r, depth);
    if (!item) return false;
    if (json_array_append_new(array, item) == 0) return true;
    no_memory(r);
    return false;
}

static bool read_member(reader *r, json_t *object, int depth)
{
    skip_blanks(r);
    json_t *key = read_string(r);
    if (!key) return false;
    bool done = false;
    skip_blanks(r);
    if (json_object_get(object, json_string_value(key))) fault(r, "duplicate object key");
    else if (!take(r, ':')) fault(r, "a colon is wanted");
    else {
        json_t *value = read_value(r, depth);
        done = value && json_object_set_new(object, json_string_value(key), value) == 0;
        if (value && !done) no_memory(r);
    }
    json_decref(key);
    return done;
}

/* After the opening bracket. */
static json_t *read_many(reader *r, bool is_object, int depth)
{
    json_t *json = is_object ? json_object() : json_array();
    if (!json) return no_memory(r);
    const char closing = is_object ? '}' : ']';
    skip_blanks(r);
    if (take(r, closing)) return json;
    bool more = true;
    while (more) {
        if (is_object ? !read_member(r, json, depth + 1) : !read_item(r, json, depth + 1)) break;
        skip_blanks(r);
        more = take(r, ',');
    }
    if (!more && take(r, closing)) return json;
    fault(r, "a comma or a closing bracket is wanted");
    json_decref(json);
    return NULL;
}

static json_t *read_value(reader *r, int depth)
{
    skip_blanks(r);
    if (depth > MAX_DEPTH) return fault(r, "values lie too deep in one another");
    if (take(r, '{')) return read_many(r, true, depth);
    if (take(r, '[')) return read_many(r, false, depth);
    if (r->at < r->end && *r->at == '"') return read_string(r);
    if (take_word(r, "true")) return json_true();
    if (take_word(r, "false")) return json_false();
    if (take_word(r, "null")) return json_null();
    return read_number(r);
}

json_t *dcam_json_parse(const char *text, size_t count, dcam_json_error *error)
{
    reader r = {.begin = text, .at = text, .end = text + count};
    json_t *json = read_value(&r, 1);
    skip_blanks(&r);
    if (json && r.at != r.end) {
        fault(&r, "something follows the value");
        json_decref(json);
        json = NULL;
    }
    *error = r.error;
    return json;
}

size_t dcam_json_dump(const json_t *value, char *out, size_t capacity, size_t flags)
{
    const locale_t before = dcam_plain_locale_enter();
    const size_t bytes = json_dumpb(value, out, capacity, flags);
    dcam_plain_locale_leave(before);
    return bytes;
}

json_t *dcam_json_any_text(const char *text)
{
    size_t used = 0;
    uint32_t code;
    char *fixed = NULL;
    if (dcam_utf8_is_valid(text)) return json_string_nocheck(text);
    if (dcam_alloc(strlen(text) + 1, sizeof DCAM_UTF8_REPLACEMENT - 1, &fixed) != DCAM_OK) return NULL;
    while (*text) {
        const size_t n = dcam_utf8_character(text, &code), replaced = sizeof DCAM_UTF8_REPLACEMENT - 1;
        if (n > 0) memcpy(fixed + used, text, n);
        else memcpy(fixed + used, DCAM_UTF8_REPLACEMENT, replaced);
        used += n > 0 ? n : replaced;
        text += n > 0 ? n : 1;
    }
    json_t *json = json_stringn_nocheck(fixed, used);
    dcam_free(fixed);
    return json;
}

/* The character at p if it is to be escaped, else 0; *taken: its bytes. jansson has escaped ASCII's controls in
 * strings: those that are left are the line ends of an indented text. */
static uint32_t misleading(const char *p, size_t *taken)
{
    uint32_t code = 0;
    const size_t n = dcam_utf8_character(p, &code);
    *taken = n > 0 ? n : 1;
    return code >= 0x20 && dcam_utf8_misleads(code) ? code : 0;
}

/* *text, of so many bytes and a zero, is replaced by one in which what misleads, in strings alone, is escaped. */
static dcam_status escape_misleading(char **text, size_t bytes)
{
    size_t found = 0, used = 0, taken;
    char *longer;
    for (const char *p = *text; *p; p += taken) found += misleading(p, &taken) != 0;
    if (found == 0) return DCAM_OK;
    DCAM_TRY(dcam_alloc(bytes + (DCAM_UTF8_ESCAPE_BYTES - 1) * found + 1, 1, &longer));
    for (const char *p = *text; *p; p += taken) {
        const uint32_t code = misleading(p, &taken);
        if (code != 0) dcam_utf8_escape(code, longer + used);
        else memcpy(longer + used, p, taken);
        used += code != 0 ? DCAM_UTF8_ESCAPE_BYTES : taken;
    }
    longer[used] = '\0';
    dcam_free(*text);
    *text = longer;
    return DCAM_OK;
}

dcam_status dcam_json_print(const json_t *value, size_t flags, char **out)
{
    /* Into a block that is large enough nothing has to grow; what else it lacks memory for gives 0. */
    const size_t bytes = value ? dcam_json_dump(value, NULL, 0, flags) : 0;
    char *text = NULL;
    if (bytes > 0) DCAM_TRY(dcam_alloc(bytes + 1, 1, &text));
    const bool whole = bytes > 0 && dcam_json_dump(value, text, bytes, flags) == bytes;
    if (whole) text[bytes] = '\0';
    if (!whole || escape_misleading(&text, bytes) != DCAM_OK) {
        dcam_free(text);
        return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: a text in JSON");
    }
    *out = text;
    return DCAM_OK;
}

dcam_status dcam_json_text(json_t *json, const char *what, char **out)
{
    const dcam_status status = dcam_json_print(json, JSON_COMPACT, out);
    json_decref(json);
    return status == DCAM_OK ? status : dcam_fail(status, "out of memory: %s cannot be written", what);
}
