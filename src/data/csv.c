/* csv.c - RFC 4180: fields between commas, rows between CRLF or LF, quoted
 * fields may hold commas, line ends and doubled quotes. A UTF-8 byte order
 * mark is skipped. Fields are unescaped in place, so reading allocates
 * nothing. Anything the RFC does not allow is an error with its line, never a
 * guess: a quote inside a plain field, text after a closing quote, a quote
 * that is not closed, a NUL byte. */
#include "data/csv.h"

#include <string.h>

dcam_status dcam_csv_open(dcam_csv *csv, char *text, size_t count, const char *name)
{
    if (memchr(text, 0, count))
        return dcam_fail(DCAM_ERROR_DATA, "%s: holds a NUL byte; a CSV file (UTF-8 text) is wanted", name);
    size_t skip = count >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    *csv = (dcam_csv){.name = name, .position = text + skip, .end = text + count, .next_line = 1};
    return DCAM_OK;
}

/* Reads a quoted field whose opening quote is at csv->position. */
static dcam_status read_quoted(dcam_csv *csv, char **field)
{
    char *from = csv->position + 1, *to = from;
    *field = from;
    while (from < csv->end) {
        if (*from == '"') {
            if (from[1] != '"') { /* the NUL after the text makes this safe at the end */
                *to = '\0';
                csv->position = from + 1;
                return DCAM_OK;
            }
            from++;
        } else if (*from == '\n') {
            csv->next_line++;
        }
        *to++ = *from++;
    }
    return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: a quote is opened and not closed", csv->name, csv->line);
}

static dcam_status read_plain(dcam_csv *csv, char **field)
{
    *field = csv->position;
    size_t length = strcspn(csv->position, ",\r\n\"");
    if (csv->position[length] == '"')
        return dcam_fail(DCAM_ERROR_DATA,
                         "%s: line %zu: a quote inside a field; put the whole field in quotes and double those inside",
                         csv->name, csv->line);
    csv->position += length;
    return DCAM_OK;
}

/* After a field: ends it, and says whether the row goes on. */
static dcam_status end_field(dcam_csv *csv, bool *row_ends)
{
    char *p = csv->position;
    if (p == csv->end) {
        *row_ends = true;
        return DCAM_OK;
    }
    *row_ends = *p != ',';
    if (*p == '\r' && p[1] == '\n') *p++ = '\0';
    if (*p != ',' && *p != '\n')
        return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: a comma or the end of the line must follow a %s", csv->name,
                         csv->line, *p == '\r' ? "field, not a lone carriage return" : "closing quote");
    if (*p == '\n') csv->next_line++;
    *p = '\0';
    csv->position = p + 1;
    return DCAM_OK;
}

dcam_status dcam_csv_next(dcam_csv *csv, bool *more)
{
    while (csv->position < csv->end && (*csv->position == '\n' || (csv->position[0] == '\r' && csv->position[1] == '\n'))) {
        csv->position += *csv->position == '\r' ? 2 : 1;
        csv->next_line++;
    }
    csv->field_count = 0;
    csv->line = csv->next_line;
    if (csv->position >= csv->end) {
        *more = false;
        return DCAM_OK;
    }
    for (bool row_ends = false; !row_ends;) {
        if (csv->field_count == DCAM_CSV_MAX_FIELDS)
            return dcam_fail(DCAM_ERROR_DATA, "%s: line %zu: more than %d columns", csv->name, csv->line,
                             DCAM_CSV_MAX_FIELDS);
        char **field = &csv->fields[csv->field_count];
        if (csv->position < csv->end && *csv->position == '"') DCAM_TRY(read_quoted(csv, field));
        else DCAM_TRY(read_plain(csv, field));
        csv->field_count++;
        DCAM_TRY(end_field(csv, &row_ends));
    }
    *more = true;
    return DCAM_OK;
}

int dcam_csv_column(const dcam_csv *csv, const char *name)
{
    for (int i = 0; i < csv->field_count; i++)
        if (strcmp(csv->fields[i], name) == 0) return i;
    return -1;
}
