/* process.h - what the fault and crash programs share: running the tool under the shim with a time limit, and looking at
 * what lies in a folder afterwards. */
#ifndef DCAM_TESTS_PROCESS_H
#define DCAM_TESTS_PROCESS_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "weights/trunk.h"

#define PATH_BYTES 4096
/* A run hangs when all of it has slept for so long without computing, or has computed for so long without an end. Time on
 * the wall says nothing: a machine may be loaded, or all of this be stopped for minutes. */
#define ASLEEP_SECONDS 60
#define COMPUTED_SECONDS 600
/* Between two looks at a run. Longer ones (this driver was stopped) do not count as sleep of the run. */
#define LOOK_SECONDS 0.002
#define MAX_ARGUMENTS 40

static const char *tool, *shim;
static char root[PATH_BYTES];
static int failures;
static int most_files __attribute__((unused));         /* descriptors of a run; 0: as many as ours */
static const char *free_disk __attribute__((unused));  /* bytes that the shim says are free */
static const char *gate __attribute__((unused));       /* file that opens and shuts the shim */
static const char *stacks __attribute__((unused));     /* file in which the shim tells the allocations' chains of calls */
static const char *trace __attribute__((unused));      /* file in which it tells the writers' calls */

#define COMPLAIN(...) (failures++, printf("FAILED: " __VA_ARGS__), putchar('\n'), (void)fflush(stdout))

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_seconds(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* ---- files ---- */

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    const long n = ftell(f);
    rewind(f);
    char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (!text || fread(text, 1, (size_t)n, f) != (size_t)n) die(path);
    fclose(f);
    text[n] = '\0';
    *bytes = (size_t)n;
    return text;
}

static inline void write_file(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, count, f) != count || fclose(f) != 0) die(path);
}

/* Eight bytes at a time: models are large and looked at often. Only tells apart. */
static inline uint64_t sum_of(const char *bytes, size_t count)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ count, v = 0;
    for (size_t i = 0; i < count; i += 8, v = 0) {
        memcpy(&v, bytes + i, count - i < 8 ? count - i : 8);
        h = (h ^ v) * UINT64_C(0x100000001b3);
        h ^= h >> 29;
    }
    return h;
}

static inline void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    char below[PATH_BYTES];
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(below, sizeof below, "%.3000s/%s", path, e->d_name);
        remove_tree(below);
    }
    if (d) closedir(d);
    remove(path);
}

static int compare_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Paths of all files below folder, sorted, appended to list; returns how many there are then. */
static size_t list_files(const char *folder, char **list, size_t count, size_t room)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    struct stat facts;
    char below[PATH_BYTES];
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(below, sizeof below, "%.3000s/%s", folder, e->d_name);
        if (lstat(below, &facts) != 0) die(below);
        if (S_ISDIR(facts.st_mode)) count = list_files(below, list, count, room);
        else if (count < room) list[count++] = strdup(below);
        else die("too many files");
    }
    if (d) closedir(d);
    qsort(list, count, sizeof *list, compare_text);
    return count;
}

/* ---- running ---- */

typedef enum {
    ENDED_ITSELF,   /* by exit, or by a signal of its own making such as SIGSEGV */
    ENDED_BY_PLAN,  /* killed here at the time that was asked for, or by the shim at its call */
    ENDED_HUNG,     /* killed here because it hung */
    ENDED_OUTSIDE   /* SIGKILL that neither this driver nor the shim sent: no memory on the machine, or a person */
} ending;

typedef struct {
    int code;   /* exit code, or 128 + the signal that ended it */
    ending how;
    double seconds;   /* on the wall */
    double computed;  /* of processor time */
    long peak_kib;    /* of memory */
} outcome;

/* Splits words at blanks, in place. */
static int split(char *words, char **list)
{
    int n = 0;
    for (char *p = strtok(words, " "); p && n < MAX_ARGUMENTS - 1; p = strtok(NULL, " ")) list[n++] = p;
    list[n] = NULL;
    return n;
}

/* Starts the tool in `root`; standard output and error in the files out and err there. fault: DCAM_FAULT, or NULL. */
static pid_t begin(const char *words, const char *fault, bool count)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) return child;
    char copy[2048], *list[MAX_ARGUMENTS];
    list[0] = (char *)(uintptr_t)tool;
    snprintf(copy, sizeof copy, "%s", words);
    split(copy, list + 1);
    if (chdir(root) != 0 || !freopen("/dev/null", "r", stdin) || !freopen("out", "w", stdout) || !freopen("err", "w", stderr)) _exit(96);
    if (fault || count) setenv("LD_PRELOAD", shim, 1);
    if (fault) setenv("DCAM_FAULT", fault, 1);
    if (count) setenv("DCAM_FAULT_COUNT", "/proc/self/fd/3", 1);
    setenv("DCAM_FAULT_UNDER", root, 1);
    if (free_disk) setenv("DCAM_FAULT_DISK", free_disk, 1);
    if (gate) setenv("DCAM_FAULT_GATE", gate, 1);
    if (stacks) setenv("DCAM_FAULT_STACKS", stacks, 1);
    if (trace) setenv("DCAM_FAULT_TRACE", trace, 1);
    if (count) {
        const int fd = open("count", O_CREAT | O_RDWR | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 3) < 0) _exit(96);
        if (fd != 3) close(fd);
    }
    const struct rlimit limit = {(rlim_t)most_files, (rlim_t)most_files};
    if (most_files > 0 && setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(94);
    execv(tool, list);
    _exit(95);
}

/* Seconds of processor time of a process; what waiting for it has not collected yet. */
static double computed(pid_t child)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(child, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of the main thread: S asleep, R wants to run, D waits for a disk, T stopped. */
static char state_of(pid_t child)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)child);
    FILE *f = fopen(path, "r");
    if (!f) return '?';
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *behind = strrchr(text, ')');
    return behind && behind[1] ? behind[2] : '?';
}

typedef struct {
    double computed, asleep;
} life;

/* Looked at once in `passed` seconds. */
static bool hangs(life *l, pid_t child, double passed)
{
    const double so_far = computed(child);
    if (so_far > l->computed || state_of(child) != 'S') l->asleep = 0;
    else l->asleep += passed < 10 * LOOK_SECONDS ? passed : 10 * LOOK_SECONDS;
    l->computed = so_far;
    return l->asleep > ASLEEP_SECONDS || so_far > COMPUTED_SECONDS;
}

static bool take_mark(void)
{
    char path[PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/ended-by-shim", root);
    return remove(path) == 0;
}

/* kill_after: seconds of its processor time, so that it has come as far on a loaded machine. */
static outcome wait_for(pid_t child, double kill_after)
{
    const double start = now();
    double last = start;
    outcome o = {0};
    life l = {0};
    int status;
    pid_t done;
    struct rusage used = {0};
    while ((done = wait4(child, &status, WNOHANG, &used)) == 0) {
        const double at = now();
        const bool hung = hangs(&l, child, at - last);
        last = at;
        if (hung || l.computed >= kill_after) {
            kill(child, SIGKILL);
            if (wait4(child, &status, 0, &used) < 0) die("wait4");
            /* It may have come to its end just before. */
            if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) o.how = hung ? ENDED_HUNG : ENDED_BY_PLAN;
            break;
        }
        pause_seconds(LOOK_SECONDS);
    }
    if (done < 0) die("wait4");
    o.seconds = now() - start;
    o.computed = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    o.peak_kib = used.ru_maxrss;
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    const bool marked = take_mark();
    if (o.code == 128 + SIGKILL && o.how == ENDED_ITSELF) o.how = marked ? ENDED_BY_PLAN : ENDED_OUTSIDE;
    return o;
}

static inline outcome run_tool(const char *words, const char *fault) { return wait_for(begin(words, fault, false), 1e9); }

static void at_root(char path[PATH_BYTES], const char *name) { snprintf(path, PATH_BYTES, "%.2000s/%.2000s", root, name); }

/* As `--teacher random:1`, which takes a quarter of a small training's time to be drawn. */
static void make_teacher(void)
{
    char path[PATH_BYTES];
    dcam_trunk_weights *w;
    at_root(path, "teacher");
    if (dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), 1, &w) != DCAM_OK ||
        dcam_teacher_save_compact(w, "drawn for a test", "{}", path) != DCAM_OK)
        die(path);
    dcam_trunk_weights_destroy(w);
}

/* Of the last run, as the shim counted: calls of a kind, or "held", blocks of memory at its end. */
static inline long calls_of(const char *kind)
{
    char path[PATH_BYTES], name[32];
    long n, found = -1;
    at_root(path, "count");
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%31s %ld", name, &n) == 2)
        if (strcmp(name, kind) == 0) found = n;
    if (f) fclose(f);
    if (found < 0) COMPLAIN("the shim counted nothing: is it loaded?");
    return found;
}

/* ---- which calls are tried ---- */

/* Of the allocations: each chain of calls that leads to one, the first, the second and the last time. */
#define STACKS (-1L)

/* 0 as without an argument; N: each N-th call; "stacks": STACKS of the allocations, all other calls. */
static inline long step_named(const char *text)
{
    return !text ? 0 : strcmp(text, "stacks") == 0 ? STACKS : strtol(text, NULL, 10);
}

typedef struct {
    uint64_t stack;
    long call;
} asked;

static int compare_asked(const void *left, const void *right)
{
    const asked *a = left, *b = right;
    if (a->stack != b->stack) return a->stack < b->stack ? -1 : 1;
    return a->call < b->call ? -1 : a->call > b->call;
}

static int compare_calls(const void *left, const void *right)
{
    const long a = *(const long *)left, b = *(const long *)right;
    return a < b ? -1 : a > b;
}

/* What the shim wrote into the file `stacks`: the calls to try, in order; their number in count. */
static inline long *calls_of_stacks(size_t *count, size_t *different)
{
    size_t bytes = 0, n = 0;
    uint64_t *hashes = (uint64_t *)(void *)read_file(stacks, &bytes);
    const size_t all = bytes / sizeof *hashes;
    asked *list = malloc((all + 1) * sizeof *list);
    long *chosen = malloc((all + 1) * sizeof *chosen);
    if (!hashes || !list || !chosen) die(stacks);
    for (size_t i = 0; i < all; i++) list[i] = (asked){hashes[i], (long)i + 1};
    qsort(list, all, sizeof *list, compare_asked);
    *different = 0;
    for (size_t i = 0, end; i < all; i = end) {
        for (end = i; end < all && list[end].stack == list[i].stack;) end++;
        ++*different;
        chosen[n++] = list[i].call;
        if (end - i > 1) chosen[n++] = list[i + 1].call;
        if (end - i > 2) chosen[n++] = list[end - 1].call;
    }
    qsort(chosen, n, sizeof *chosen, compare_calls);
    free(list);
    free(hashes);
    *count = n;
    return chosen;
}

/* The folder that all is done in, and in it the teacher. */
static void make_root(const char *argument)
{
    tool = argument;
    snprintf(root, sizeof root, "%.3000s/dcam-fault.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(root)) die(root);
    make_teacher();
}

/* The data, the teacher and the model that the runs start from, in root. */
static inline void make_inputs(const char *argument)
{
    make_root(argument);
    if (run_tool("synth -o data --seed 3 --size 64 --classes 1 --train 4 --test-good 1 --test-defective 2 -q", NULL).code != 0 ||
        run_tool("train data -o model --teacher teacher --size 32 --epochs 1 --batch 3 --threads 1 -q", NULL).code != 0) {
        fprintf(stderr, "the inputs cannot be made in %s\n", root);
        exit(1);
    }
}

#endif
