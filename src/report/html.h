/* html.h - text that grows, for writing HTML and SVG: what comes from outside (names of classes and files, of any
 * bytes) goes through dcam_html_escape, our own markup through the others. A failure is kept and every later call does
 * nothing, so that only the end need be looked at. */
#ifndef DCAM_REPORT_HTML_H
#define DCAM_REPORT_HTML_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
    char *bytes;
    size_t count, room;
    dcam_status status;
} dcam_html;

void dcam_html_clear(dcam_html *t);
void dcam_html_put(dcam_html *t, const char *markup);
void dcam_html_format(dcam_html *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For element content and quoted attributes alike: & < > " ' become entities; bytes that are not UTF-8, control
 * characters and what Unicode calls no character become U+FFFD, for they would break the page or its direction. */
void dcam_html_escape(dcam_html *t, const char *text);
void dcam_html_base64(dcam_html *t, const uint8_t *bytes, size_t count);
/* "-" for NAN. */
void dcam_html_number(dcam_html *t, const char *format, double value);

#endif
