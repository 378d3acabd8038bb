/* golden_file.h - reads the committed golden files (tests/golden/golden_file.py writes them): per tensor a text
 * line "name count\n" and then count little-endian float64. */
#ifndef DCAM_TESTS_GOLDEN_FILE_H
#define DCAM_TESTS_GOLDEN_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensor `name` of DCAM_TEST_GOLDEN/file with exactly `count` values, from malloc; ends the test program with
 * a line if it is not there. */
static inline double *golden_read(const char *file, const char *name, size_t count)
{
    char path[4096], found[256];
    unsigned long long n;
    snprintf(path, sizeof path, "%s/%s", DCAM_TEST_GOLDEN, file);
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        exit(1);
    }
    while (fscanf(f, "%255s %llu", found, &n) == 2 && fgetc(f) == '\n') {
        if (strcmp(found, name) == 0) {
            double *values = malloc((size_t)n * sizeof *values + 1);
            if (n != count || !values || fread(values, sizeof *values, (size_t)n, f) != n) {
                fprintf(stderr, "%s: %s: %zu values were wanted, %llu are there\n", path, name, count, n);
                exit(1);
            }
            fclose(f);
            return values;
        }
        if (fseek(f, (long)(n * sizeof(double)), SEEK_CUR) != 0) break;
    }
    fprintf(stderr, "%s: no tensor %s\n", path, name);
    exit(1);
}

#endif
