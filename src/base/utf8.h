/* utf8.h - what of a text of any bytes (a file's name, what a client sent) is UTF-8, and what of it a terminal would
 * take for a command. */
#ifndef DCAM_BASE_UTF8_H
#define DCAM_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* U+FFFD, which stands for each byte that is not UTF-8. */
#define DCAM_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Bytes of the character at text, 1 to 4, and its value in *code; 0, *code untouched, if it is none: a byte alone, an
 * overlong form, a surrogate, past U+10FFFF. Looks no further than a zero byte, a character of one byte itself. */
size_t dcam_utf8_character(const char *text, uint32_t *code);

/* All of text, which ends with a zero byte. */
bool dcam_utf8_is_valid(const char *text);

/* U+0000 to U+001F, and U+007F to U+009F: of these U+009B begins a terminal's command as ESC [ does. */
static inline bool dcam_utf8_is_control(uint32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

/* Controls, and the marks that turn the direction of what follows (U+202A to U+202E, U+2066 to U+2069), with which a
 * file's name shows its end in the middle ("Trojan Source", CVE-2021-42574). */
static inline bool dcam_utf8_misleads(uint32_t code)
{
    return dcam_utf8_is_control(code) || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* Such a character as JSON writes it: \uXXXX, without a zero byte. The digits as jansson's. */
#define DCAM_UTF8_ESCAPE_BYTES 6
void dcam_utf8_escape(uint32_t code, char out[DCAM_UTF8_ESCAPE_BYTES]);

/* For text that a terminal shows: bytes of what stands there, a character or one byte that is none, and whether it
 * misleads. A byte 0x80 to 0x9f that is no part of UTF-8 does: a terminal of 8-bit characters takes it for a control. */
size_t dcam_utf8_next(const char *text, bool *misleads);

#endif
