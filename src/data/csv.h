/* csv.h - comma-separated values as in RFC 4180, from memory. Internal to src/data. */
#ifndef DCAM_DATA_CSV_H
#define DCAM_DATA_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* No layout has more than a handful of columns; more is a file of another kind. */
#define DCAM_CSV_MAX_FIELDS 64

typedef struct {
    const char *name; /* for messages; borrowed */
    char *position, *end;
    size_t next_line;
    size_t line;      /* where the last row began, from 1 */
    int field_count;
    char *fields[DCAM_CSV_MAX_FIELDS]; /* NUL-terminated, quotes removed, inside the text */
} dcam_csv;

/* text: count bytes followed by a NUL, changed in place while it is read. */
DCAM_MUST_CHECK dcam_status dcam_csv_open(dcam_csv *csv, char *text, size_t count, const char *name);
/* The next row that is not empty; *more false at the end. */
DCAM_MUST_CHECK dcam_status dcam_csv_next(dcam_csv *csv, bool *more);
/* The column of that name in the row just read (the header), or -1. */
int dcam_csv_column(const dcam_csv *csv, const char *name);

#endif
