/* request_form.c - multipart/form-data (RFC 7578) as browsers and curl -F send it: one photograph, and two words of
 * text. Nothing is copied but the words; file names are not even looked at. */
#include <string.h>

#include "base/ascii.h"
#include "serve/request.h"

/* Of the header lines of one part. */
#define MAX_PART_HEADER 4096

#define refuse(...) dcam_fail(DCAM_ERROR_USAGE, __VA_ARGS__)

static bool is_boundary_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("'()+_,-./:=? ", c));
}

bool dcam_form_boundary(const char *content_type, char boundary[DCAM_REQUEST_MAX_BOUNDARY + 1])
{
    const char *at = strchr(content_type, ';');
    while (at) {
        at += 1 + strspn(at + 1, " \t");
        if (dcam_ascii_ncasecmp(at, "boundary=", 9) == 0) break;
        at = strchr(at, ';');
    }
    if (!at) return false;
    at += 9;
    const bool quoted = *at == '"';
    if (quoted) at++;
    const size_t length = quoted ? strcspn(at, "\"") : strcspn(at, "; \t");
    if (length == 0 || length > DCAM_REQUEST_MAX_BOUNDARY || (quoted && at[length] != '"')) return false;
    for (size_t i = 0; i < length; i++)
        if (!is_boundary_char(at[i])) return false;
    memcpy(boundary, at, length);
    boundary[length] = '\0';
    return true;
}

/* Where needle begins in the span, or its end. */
static size_t find(dcam_span in, size_t from, const char *needle, size_t length)
{
    for (size_t i = from; i + length <= in.count; i++) {
        const uint8_t *hit = memchr(in.bytes + i, (unsigned char)needle[0], in.count - length + 1 - i);
        if (!hit) break;
        i = (size_t)(hit - in.bytes);
        if (memcmp(hit, needle, length) == 0) return i;
    }
    return in.count;
}

/* The value of name="..." or filename="..." in a Content-Disposition line; false where it is not there. */
static bool attribute(const char *line, const char *name, char *out, size_t capacity)
{
    const size_t length = strlen(name);
    for (const char *at = strchr(line, ';'); at; at = strchr(at, ';')) {
        at += 1 + strspn(at + 1, " \t");
        if (dcam_ascii_ncasecmp(at, name, length) != 0 || at[length] != '=') continue;
        at += length + 1;
        const bool quoted = *at == '"';
        if (quoted) at++;
        const size_t size = strcspn(at, quoted ? "\"" : "; \t");
        if (size >= capacity) return false;
        memcpy(out, at, size);
        out[size] = '\0';
        return true;
    }
    return false;
}

/* Those that leave the bytes as they are (RFC 2045, 6.2). */
static bool is_plain_encoding(const char *value)
{
    static const char *const plain[] = {"7bit", "8bit", "binary"};
    value += strspn(value, " \t");
    const size_t length = strcspn(value, " \t;(");
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strlen(plain[i]) == length && dcam_ascii_ncasecmp(value, plain[i], length) == 0) return true;
    return false;
}

typedef struct {
    char name[64];
    bool has_file;
} part_header;

static dcam_status read_part_header(dcam_span lines, part_header *out)
{
    char text[MAX_PART_HEADER + 1], ignored[MAX_PART_HEADER];
    if (lines.count > MAX_PART_HEADER) return refuse("form: the header of a part is above the limit of %d bytes", MAX_PART_HEADER);
    if (lines.count > 0) memcpy(text, lines.bytes, lines.count);
    text[lines.count] = '\0';
    *out = (part_header){{0}, false};
    for (char *line = text, *next; line && *line; line = next) {
        next = strstr(line, "\r\n");
        if (next) {
            *next = '\0';
            next += 2;
        }
        if (dcam_ascii_ncasecmp(line, "content-disposition:", 20) == 0) {
            if (!attribute(line, "name", out->name, sizeof out->name)) out->name[0] = '\0';
            out->has_file = attribute(line, "filename", ignored, sizeof ignored);
        } else if (dcam_ascii_ncasecmp(line, "content-transfer-encoding:", 26) == 0 && !is_plain_encoding(line + 26)) {
            return refuse("form: a part is encoded; send its bytes as they are");
        }
    }
    return DCAM_OK;
}

static dcam_status copy_word(dcam_span content, const char *what, char *out, size_t capacity)
{
    if (content.count >= capacity) return refuse("form: %s is longer than %zu bytes", what, capacity - 1);
    if (content.count > 0 && memchr(content.bytes, 0, content.count)) return refuse("form: a zero byte in %s", what);
    if (content.count > 0) memcpy(out, content.bytes, content.count);
    out[content.count] = '\0';
    return DCAM_OK;
}

static dcam_status take_part(dcam_form *form, bool *has_image, const part_header *header, dcam_span content)
{
    if (strcmp(header->name, "class") == 0) return copy_word(content, "class", form->class_name, sizeof form->class_name);
    if (strcmp(header->name, "model") == 0) return copy_word(content, "model", form->model, sizeof form->model);
    if (!header->has_file && strcmp(header->name, "image") != 0 && strcmp(header->name, "file") != 0) return DCAM_OK;
    if (*has_image) return refuse("form: more than one photograph; send one a request");
    form->image = content;
    *has_image = true;
    return DCAM_OK;
}

dcam_status dcam_form_parse(const uint8_t *body, size_t count, const char *boundary, dcam_form *out)
{
    const dcam_span all = {body, count};
    char delimiter[DCAM_REQUEST_MAX_BOUNDARY + 5] = "\r\n--";
    strncat(delimiter, boundary, DCAM_REQUEST_MAX_BOUNDARY);
    const size_t length = strlen(delimiter);
    dcam_form form = {.image = {NULL, 0}};
    bool has_image = false;
    /* The first delimiter may stand at the very beginning, without the line end before it. */
    size_t at;
    if (count >= length - 2 && memcmp(body, delimiter + 2, length - 2) == 0) at = length - 2;
    else at = find(all, 0, delimiter, length) + length;
    for (int parts = 0;; parts++) {
        if (at > count || count - at < 2) return refuse("form: it ends early, or the boundary is not the one of Content-Type");
        if (memcmp(body + at, "--", 2) == 0) break;
        if (parts == DCAM_REQUEST_MAX_PARTS) return refuse("form: more than %d parts", DCAM_REQUEST_MAX_PARTS);
        if (memcmp(body + at, "\r\n", 2) != 0) return refuse("form: no line end behind a boundary");
        /* From the line end before the header's first line, so that a part without header lines is found too. */
        const size_t head_end = find(all, at, "\r\n\r\n", 4);
        if (head_end == count) return refuse("form: the header of a part does not end");
        part_header header;
        const size_t head = at + 2 <= head_end ? at + 2 : head_end;
        DCAM_TRY(read_part_header((dcam_span){body + head, head_end - head}, &header));
        const size_t start = head_end + 4, end = find(all, start - 2, delimiter, length);
        if (end == count) return refuse("form: a part does not end");
        const size_t stop = end < start ? start : end;
        DCAM_TRY(take_part(&form, &has_image, &header, (dcam_span){body + start, stop - start}));
        at = end + length;
    }
    *out = form;
    return DCAM_OK;
}
