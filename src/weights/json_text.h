/* json_text.h - JSON from outside, into jansson's values. Not jansson's own parser: that one does not look whether memory
 * for a string was there (2.14 then reads past its end), and gives a lack of memory and a damaged text the same answer;
 * a good model must not be called damaged because the machine was short of memory. */
#ifndef DCAM_WEIGHTS_JSON_TEXT_H
#define DCAM_WEIGHTS_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    bool no_memory;
    const char *reason; /* a constant text, of the first fault */
    size_t position;    /* in bytes */
} dcam_json_error;

/* Any value; RFC 8259, strictly: valid UTF-8, no key twice, no zero byte in a string, numbers within range. NULL on
 * failure, *error then says why. */
json_t *dcam_json_parse(const char *text, size_t count, dcam_json_error *error);

#endif
