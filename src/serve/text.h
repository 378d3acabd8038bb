/* text.h - text and bytes that grow: answers, metrics and log lines are built in one. A lack of memory is remembered
 * and asked about once at the end, so that the lines in between stay readable. */
#ifndef DCAM_SERVE_TEXT_H
#define DCAM_SERVE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Zeroed is empty. A zero byte always follows bytes[0 .. used), not counted. */
typedef struct {
    char *bytes;
    size_t used, capacity;
    bool failed;
} dcam_text;

void dcam_text_clear(dcam_text *text);
/* Room for exactly so many bytes more, for what is large: else it doubles. And gives back the room that is left over. */
void dcam_text_reserve(dcam_text *text, size_t more);
void dcam_text_trim(dcam_text *text);
void dcam_text_bytes(dcam_text *text, const void *bytes, size_t count);
void dcam_text_add(dcam_text *text, const char *string);
void dcam_text_format(dcam_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD, what misleads on a terminal (base/utf8.h),
 * where a log is read, is escaped. NULL: null. */
void dcam_text_json(dcam_text *text, const char *string);
/* A JSON number; null for what is not finite. digits: significant ones. */
void dcam_text_number(dcam_text *text, double value, int digits);
void dcam_text_base64(dcam_text *text, const void *bytes, size_t count);
/* DCAM_ERROR_MEMORY if anything could not be added. */
DCAM_MUST_CHECK dcam_status dcam_text_check(const dcam_text *text);

#endif
