/* output.h - everything the tool prints: results to standard output; errors,
 * notes and progress to standard error. Also the flag that Ctrl-C sets. */
#ifndef DCAM_CLI_OUTPUT_H
#define DCAM_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "dcam.h"

#define CLI_EXIT_ANOMALY 1
#define CLI_EXIT_USAGE 2
#define CLI_EXIT_DATA 3

/* Before anything is printed. Gives an exit code. */
int cli_output_open(void);
/* Says once, before anything else, how much to print; sends the library's log to standard error. */
void cli_output_start(bool quiet, bool verbose);

/* "dcam: ..." on standard error, one line whatever the arguments hold. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line on standard error that --quiet leaves out. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The library's line for the last failed call; gives the exit code of status. */
int cli_fail(dcam_status status);

/* Writes out what standard output still holds. Gives `code`, or the exit code for a
 * full disk or a broken output after saying so. */
int cli_finish(int code);

/* What misleads on a terminal (base/utf8.h) becomes '?', in place; the text may get shorter. */
void cli_make_printable(char *text);
/* text with what misleads as '?': a file name must not break a line or steer the terminal. Of a text that is
 * longer than any path the beginning. The result lives until the eighth call after this one. */
const char *cli_printable(const char *text);

/* All of text, of any length, on standard output in that way. */
void cli_print(const char *text);

/* Columns of a terminal that printable text takes. */
int cli_columns(const char *text);
/* On standard output, printable, with blanks up to width columns. */
void cli_print_padded(const char *text, int width);

/* ---- progress --------------------------------------------------------- */

/* True when standard error is a terminal and --quiet was not given: a bar may be drawn. */
bool cli_has_bar(void);
/* Redraws the one progress line, at most ten times a second. */
void cli_bar(double fraction, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_bar_clear(void);
/* Seconds on a clock that never goes back. */
double cli_seconds(void);
/* "1:02:03" or "2:03" in a buffer like that of cli_printable; "-" for what is not a duration. */
const char *cli_clock(double seconds);

/* ---- Ctrl-C ----------------------------------------------------------- */

/* From now on the first SIGINT or SIGTERM only sets a flag and prints note; the second one ends the
 * program at once. */
void cli_catch_interrupts(const char *note);
bool cli_interrupted(void);
/* 130 after SIGINT, 143 after SIGTERM, as a shell reports them. */
int cli_interrupt_code(void);

/* ---- JSON ------------------------------------------------------------- */

/* null for what is not finite. */
json_t *cli_json_number(double value);
/* A string; bytes that are not UTF-8 become U+FFFD. null for NULL. */
json_t *cli_json_text(const char *text);
/* The library's JSON. NULL: out of memory. */
json_t *cli_json_parse(const char *text);
/* Prints value on standard output, on one line or indented, and releases it. False: out of memory, said. */
bool cli_json_print(json_t *value, bool one_line);

#endif
