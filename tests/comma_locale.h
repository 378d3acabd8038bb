/* comma_locale.h - a locale whose decimals have another mark than a point, without one being installed: its LC_NUMERIC is
 * written as glibc reads it (locale/localeinfo.h), into a folder that LOCPATH names. C libraries that have no such files
 * (musl knows the point alone) leave nothing to test: the test is skipped. */
#ifndef DCAM_TESTS_COMMA_LOCALE_H
#define DCAM_TESTS_COMMA_LOCALE_H

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Decimal and thousands marks, grouping, the two marks as wide characters, the character set: each begins at an offset. */
static inline void comma_locale_write(const char *path, const char *mark)
{
    struct {
        uint32_t magic, count, offsets[6];
        char text[12];
        uint32_t wide[2];
        char set[8];
    } file = {0x20031114u, 6, {32, 36, 38, 44, 48, 52}, "\0\0\0\0.\0\3\3", {',', '.'}, "UTF-8"};
    memcpy(file.text, mark, strlen(mark));
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(&file, 1, sizeof file, out), sizeof file);
    assert_int_equal(fclose(out), 0);
}

/* From here to comma_locale_end numbers have this mark ("," or one of at most three bytes) for printf and strtod. */
static inline void comma_locale_begin(const char *mark)
{
    char folder[] = "/tmp/dcam-locale.XXXXXX", inner[64], path[96], number[16];
    assert_non_null(mkdtemp(folder));
    snprintf(inner, sizeof inner, "%s/comma", folder);
    snprintf(path, sizeof path, "%s/LC_NUMERIC", inner);
    assert_int_equal(mkdir(inner, 0700), 0);
    comma_locale_write(path, mark);
    setenv("LOCPATH", folder, 1);
    const char *set = setlocale(LC_NUMERIC, "comma");
    unlink(path);
    rmdir(inner);
    rmdir(folder);
    if (!set) {
        print_message("skipped: this C library does not take a locale of a file of glibc's\n");
        skip();
    }
    /* What this is about is there. */
    snprintf(number, sizeof number, "%.1f", 0.5);
    assert_memory_equal(number + 1, mark, strlen(mark));
}

/* The call before left the locale as it was. */
static inline void comma_locale_end(const char *mark)
{
    char number[16];
    snprintf(number, sizeof number, "%.1f", 0.5);
    setlocale(LC_NUMERIC, "C");
    assert_memory_equal(number + 1, mark, strlen(mark));
}

#endif
