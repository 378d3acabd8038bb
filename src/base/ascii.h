/* ascii.h - texts compared without regard to case, of ASCII's letters alone: strcasecmp follows the program's locale, and
 * the "I" of a Turkish one of 8 bits is no "i", so that ".TIF" would be no image and a header of HTTP another one. */
#ifndef DCAM_BASE_ASCII_H
#define DCAM_BASE_ASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* 0 if the same, else not 0. Of at most the first count bytes. */
static inline int dcam_ascii_ncasecmp(const char *a, const char *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int x = a[i] >= 'A' && a[i] <= 'Z' ? a[i] | 0x20 : a[i];
        const int y = b[i] >= 'A' && b[i] <= 'Z' ? b[i] | 0x20 : b[i];
        if (x != y) return 1;
        if (x == 0) return 0;
    }
    return 0;
}

static inline int dcam_ascii_casecmp(const char *a, const char *b) { return dcam_ascii_ncasecmp(a, b, (size_t)-1); }

/* Whether text is the word but for case and blanks around it. */
static inline bool dcam_ascii_reads_as(const char *text, const char *word)
{
    const char *first = text + strspn(text, " \t"), *last = first + strlen(word);
    return dcam_ascii_ncasecmp(first, word, strlen(word)) == 0 && last[strspn(last, " \t")] == '\0';
}

#endif
