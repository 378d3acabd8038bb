/* replay.c - a target without libFuzzer: goes through the seeds, then through changes of each that depend on nothing but
 * their number, so that every run is the same.
 *   TARGET FOLDER CHANGES    CHANGES of every seed
 * What breaks is found again by the seed's name and the number, which are printed before it is tried (only on a crash does
 * that matter, so they are kept, not printed, until an abort). */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

enum { MAX_SEED = 1 << 20 };

static char doing[512];

static void on_crash(int number)
{
    ssize_t written = write(STDERR_FILENO, doing, strlen(doing));
    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

static uint64_t next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* One to four of: a byte set, a bit turned, a 32-bit extreme, a cut, a piece doubled. Returns the new size. */
static size_t change(uint8_t *bytes, size_t count, uint64_t *state)
{
    static const uint32_t extremes[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000, 0xffff};
    const int times = 1 + (int)(next(state) % 4);
    for (int i = 0; i < times && count > 0; i++) {
        const size_t at = next(state) % count;
        const uint64_t value = next(state);
        switch (next(state) % 8) {
        case 0: case 1: bytes[at] = (uint8_t)value; break;
        case 2: case 3: case 4: bytes[at] ^= (uint8_t)(1u << (value % 8)); break;
        case 5:
            if (count - at >= 4) memcpy(bytes + at, &extremes[value % 7], 4);
            break;
        case 6: count = at; break;
        default: {
            const size_t n = value % 64 < count - at ? value % 64 : count - at;
            if (count + n > MAX_SEED) break;
            memmove(bytes + at + n, bytes + at, count - at);
            count += n;
        }
        }
    }
    return count;
}

int main(int count, char **arguments)
{
    static uint8_t seed[MAX_SEED], bytes[MAX_SEED];
    long runs = 0, seeds = 0;
    if (count != 3) return 2;
    const long changes = strtol(arguments[2], NULL, 10);
    static const int fatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) signal(fatal[i], on_crash);
    DIR *folder = opendir(arguments[1]);
    struct dirent *e;
    while (folder && (e = readdir(folder))) {
        char path[1024];
        snprintf(path, sizeof path, "%.700s/%.255s", arguments[1], e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f) continue;
        const size_t n = fread(seed, 1, sizeof seed, f);
        fclose(f);
        seeds++;
        for (long k = 0; k <= changes; k++, runs++) {
            uint64_t state = (uint64_t)k * UINT64_C(0x2545f4914f6cdd1d) + n;
            memcpy(bytes, seed, n);
            snprintf(doing, sizeof doing, "crashed at change %ld of %.400s\n", k, e->d_name);
            const size_t size = k == 0 ? n : change(bytes, n, &state);
            /* A block of exactly this size: what is read beyond it is seen by sanitizers and valgrind. */
            uint8_t *exact = malloc(size ? size : 1);
            if (!exact) return 1;
            memcpy(exact, bytes, size);
            LLVMFuzzerTestOneInput(exact, size);
            free(exact);
        }
    }
    if (folder) closedir(folder);
    printf("%ld seeds, %ld inputs\n", seeds, runs);
    return seeds > 0 ? 0 : 1;
}
