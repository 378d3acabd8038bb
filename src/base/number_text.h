/* number_text.h - numbers printed and read with a point, whatever locale the program has set: a program whose decimals
 * have commas gets the same files, answers and messages as any other. All printing of floating-point numbers in the
 * library, and all printing whose format comes from a caller, goes through here (tests/source/locale.sh looks).
 * The calling thread's locale is another one for the time of the call; no other thread sees that. */
#ifndef DCAM_BASE_NUMBER_TEXT_H
#define DCAM_BASE_NUMBER_TEXT_H

#include <locale.h>
#include <stdarg.h>
#include <stddef.h>

/* vsnprintf, snprintf and strtod of the "C" locale. */
int dcam_vsnprintf(char *out, size_t capacity, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
int dcam_snprintf(char *out, size_t capacity, const char *format, ...) __attribute__((format(printf, 3, 4)));
double dcam_strtod(const char *text, char **end);

/* The same around what another library prints or reads: enter, call it, leave with what enter gave. */
locale_t dcam_plain_locale_enter(void);
void dcam_plain_locale_leave(locale_t before);

#endif
