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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096
/* A run takes well under a second; what takes this long hangs. Generous for sanitizers on a loaded machine. */
#define HANG_SECONDS 120
#define MAX_ARGUMENTS 40

static const char *tool, *shim;
static char root[PATH_BYTES];
static int failures;

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
static uint64_t sum_of(const char *bytes, size_t count)
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

typedef struct {
    int code;   /* exit code, or 128 + the signal that ended it */
    bool hung;
    double seconds;
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
    if (count) {
        const int fd = open("count", O_CREAT | O_RDWR | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 3) < 0) _exit(96);
        if (fd != 3) close(fd);
    }
    execv(tool, list);
    _exit(95);
}

static outcome wait_for(pid_t child, double kill_after)
{
    const double start = now();
    outcome o = {0};
    int status;
    pid_t done;
    while ((done = waitpid(child, &status, WNOHANG)) == 0) {
        const double spent = now() - start;
        if (spent >= kill_after || spent > HANG_SECONDS) {
            o.hung = spent > HANG_SECONDS;
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            break;
        }
        pause_seconds(0.002);
    }
    if (done < 0) die("waitpid");
    o.seconds = now() - start;
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return o;
}

static inline outcome run_tool(const char *words, const char *fault) { return wait_for(begin(words, fault, false), 1e9); }

/* The data, the model and the weights that the runs start from, in root. */
static void make_inputs(const char *argument)
{
    char template[] = "/tmp/dcam-fault.XXXXXX";
    tool = argument;
    if (!mkdtemp(template)) die("mkdtemp");
    snprintf(root, sizeof root, "%s", template);
    if (run_tool("synth -o data --seed 3 --size 64 --classes 1 --train 4 --test-good 1 --test-defective 2 -q", NULL).code != 0 ||
        run_tool("train data -o model --teacher random:1 --size 32 --epochs 1 --batch 3 --threads 1 -q", NULL).code != 0) {
        fprintf(stderr, "the inputs cannot be made in %s\n", root);
        exit(1);
    }
}

static void at_root(char path[PATH_BYTES], const char *name) { snprintf(path, PATH_BYTES, "%.2000s/%.2000s", root, name); }

#endif
