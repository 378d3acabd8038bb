/* replay.c - a target without libFuzzer: goes through the seeds, then through changes of each that depend on nothing but
 * the seeds' names and the change's number, so that every run is the same.
 *   TARGET FOLDER INPUTS    INPUTS in all, as many of each seed
 * It fails where not one input was accepted.
 * What breaks is found again by the seed's name and the number, which are printed before it is tried (only on a crash does
 * that matter, so they are kept, not printed, until an abort). */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

enum { MAX_SEED = 1 << 20, MAX_SEEDS = 8192 };

typedef struct {
    char name[256];
    uint8_t *bytes;
    size_t count;
} seed;

static seed seeds[MAX_SEEDS];
static size_t seed_count;
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

/* One to four of: a byte set, a bit turned, a 32-bit extreme, a cut, a piece doubled, a piece of another seed put in.
 * Returns the new size. */
static size_t change(uint8_t *bytes, size_t count, uint64_t *state)
{
    static const uint32_t extremes[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000, 0xffff};
    const int times = 1 + (int)(next(state) % 4);
    for (int i = 0; i < times && count > 0; i++) {
        const size_t at = next(state) % count;
        const uint64_t value = next(state);
        switch (next(state) % 9) {
        case 0: case 1: bytes[at] = (uint8_t)value; break;
        case 2: case 3: case 4: bytes[at] ^= (uint8_t)(1u << (value % 8)); break;
        case 5:
            if (count - at >= 4) memcpy(bytes + at, &extremes[value % 7], 4);
            break;
        case 6: count = at; break;
        case 7: {
            const size_t n = value % 64 < count - at ? value % 64 : count - at;
            if (count + n > MAX_SEED) break;
            memmove(bytes + at + n, bytes + at, count - at);
            count += n;
            break;
        }
        default: {
            const seed *other = &seeds[value % seed_count];
            if (other->count == 0) break;
            const size_t from = next(state) % other->count;
            size_t n = 1 + next(state) % 64;
            if (n > other->count - from) n = other->count - from;
            if (count + n > MAX_SEED) break;
            memmove(bytes + at + n, bytes + at, count - at);
            memcpy(bytes + at, other->bytes + from, n);
            count += n;
        }
        }
    }
    return count;
}

static int by_name(const void *a, const void *b) { return strcmp(((const seed *)a)->name, ((const seed *)b)->name); }

/* In the order of their names, whatever that of the folder is. */
static bool read_seeds(const char *path_of_folder)
{
    static uint8_t bytes[MAX_SEED];
    DIR *folder = opendir(path_of_folder);
    struct dirent *e;
    while (folder && (e = readdir(folder)) && seed_count < MAX_SEEDS) {
        char path[1024];
        seed *s = &seeds[seed_count];
        snprintf(path, sizeof path, "%.700s/%.255s", path_of_folder, e->d_name);
        snprintf(s->name, sizeof s->name, "%.255s", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f) continue;
        s->count = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        s->bytes = malloc(s->count ? s->count : 1);
        if (!s->bytes) return false;
        memcpy(s->bytes, bytes, s->count);
        seed_count++;
    }
    if (folder) closedir(folder);
    qsort(seeds, seed_count, sizeof seeds[0], by_name);
    return seed_count > 0;
}

/* FNV-1a of the name, and the number. */
static uint64_t first_state(const char *name, long number)
{
    uint64_t state = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++) state = (state ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return state + (uint64_t)number * UINT64_C(0x2545f4914f6cdd1d);
}

/* In a block of exactly its size: what is read beyond it is seen by sanitizers and valgrind. */
static bool try_input(const uint8_t *bytes, size_t count)
{
    uint8_t *exact = malloc(count ? count : 1);
    if (!exact) return false;
    memcpy(exact, bytes, count);
    LLVMFuzzerTestOneInput(exact, count);
    free(exact);
    return true;
}

int main(int count, char **arguments)
{
    static uint8_t bytes[MAX_SEED];
    static const int fatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    long runs = 0;
    if (count != 3 || !read_seeds(arguments[1])) return 2;
    const long each = strtol(arguments[2], NULL, 10) / (long)seed_count;
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) signal(fatal[i], on_crash);
    for (size_t i = 0; i < seed_count; i++) {
        const seed *s = &seeds[i];
        for (long k = 0; k <= each; k++, runs++) {
            uint64_t state = first_state(s->name, k);
            memcpy(bytes, s->bytes, s->count);
            snprintf(doing, sizeof doing, "crashed at change %ld of %.400s\n", k, s->name);
            if (!try_input(bytes, k == 0 ? s->count : change(bytes, s->count, &state))) return 1;
        }
    }
    for (size_t i = 0; i < seed_count; i++) free(seeds[i].bytes);
    printf("%zu seeds, %ld inputs, %ld accepted\n", seed_count, runs, fuzz_accepted);
    return fuzz_accepted > 0 ? 0 : 1;
}
