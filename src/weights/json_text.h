/* json_text.h - JSON from outside, into jansson's values, and back. Not jansson's own parser: that one does not look
 * whether memory for a string was there (2.14 then reads past its end), and gives a lack of memory and a damaged text
 * the same answer; a good model must not be called damaged because the machine was short of memory. */
#ifndef DCAM_WEIGHTS_JSON_TEXT_H
#define DCAM_WEIGHTS_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct {
    bool no_memory;
    const char *reason; /* a constant text, of the first fault */
    size_t position;    /* in bytes */
} dcam_json_error;

/* Any value; RFC 8259, strictly: valid UTF-8, no key twice, no zero byte in a string, numbers within range. NULL on
 * failure, *error then says why. */
json_t *dcam_json_parse(const char *text, size_t count, dcam_json_error *error);

/* json_dumpb, with the point of numbers as JSON wants it: jansson 2.14 mends a locale's of one byte only. */
size_t dcam_json_dump(const json_t *value, char *out, size_t capacity, size_t flags);

/* A string of text of any bytes, such as a file's name: each that is not UTF-8 becomes U+FFFD. NULL: out of memory. */
json_t *dcam_json_any_text(const char *text);

/* value with jansson's flags, ended by a zero byte, in *out from dcam_alloc; value NULL: it could not be built. All of it
 * or DCAM_ERROR_MEMORY. What misleads on a terminal (base/utf8.h) is escaped; jansson leaves U+007F to U+009F and the
 * marks of direction as they are. Not json_dumps: that one (2.14) goes on where its buffer cannot grow, and a piece is
 * missing. */
DCAM_MUST_CHECK dcam_status dcam_json_print(const json_t *value, size_t flags, char **out);

/* The same, compact, and json is taken over. what: what the text is, for the message. */
DCAM_MUST_CHECK dcam_status dcam_json_text(json_t *json, const char *what, char **out);

#endif
