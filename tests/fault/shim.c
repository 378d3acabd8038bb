/* shim.c - preloaded (LD_PRELOAD) into the tool by the fault tests: the n-th call of a kind fails, is cut short, or ends
 * the process. The library knows nothing of it. Told what to do by
 *   DCAM_FAULT=KIND:N:WHAT[:from]  KIND as in `kinds` below; WHAT an error's name, "short", "kill" (before the call) or
 *                                  "kill-after"; with ":from" every later call too
 *   DCAM_FAULT_DISK=BYTES          so much is free on every disk, as the system tells it
 *   DCAM_FAULT_COUNT=FILE          how many calls of each kind there were, written at the end
 *   DCAM_FAULT_STACKS=FILE         a number of eight bytes for each allocation that was counted, written at the end: the same
 *                                  for those that were asked for by the same chain of calls
 *   DCAM_FAULT_TRACE=FILE          the writers' calls in their order, a line "KIND N" each, written at the end
 *   DCAM_FAULT_GATE=FILE           calls are counted, and fail, only while its first byte is not 0
 * Only calls on files that matter are counted: relative paths, absolute ones below DCAM_FAULT_UNDER, and what is written to
 * standard output by the tool itself (the inside of stdio calls no function that could be replaced). Allocations are
 * counted when the tool or a library that parses or writes for it asks; those of oneDNN, OpenMP, OpenSSL and the loader are
 * not: OpenMP ends the process by itself when it has no memory, OpenSSL goes on and loses what it holds. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN, READ, WRITE, PRINT, FSYNC, RENAME, CLOSE, CREATE, MKDIR, STAT, OPENDIR, READDIR, TRUNCATE, MMAP, ALLOC, SHUT, KINDS };
/* print: write to standard output. shut: close of a file that was created here. What else is closed hangs on threads that
 * read, so that the n-th close is now this one and now that one. */
static const char *const kinds[KINDS] = {"open", "read",    "write",   "print",    "fsync", "rename", "close", "create", "mkdir",
                                         "stat", "opendir", "readdir", "truncate", "mmap",  "alloc",  "shut"};

enum { FAIL = 1, SHORT, KILL, KILL_AFTER };

static struct {
    int kind, what, error;
    long at;
    bool from, armed;
} plan;

static atomic_long calls[KINDS];
static atomic_bool watched[4096], created[4096];
static char under[4096];
static bool ready;
/* Shared with the driver, who opens and shuts it while the process runs; NULL: always open. */
static const volatile char *gate;

/* Of the first MOST_STACKS allocations; NULL: not asked for. */
#define MOST_STACKS ((size_t)1 << 18)
#define MOST_FRAMES 64
static uint64_t *stacks;

/* Of the writers' first calls. */
#define MOST_TRACED 65536
static struct {
    int kind;
    long n;
} traced[MOST_TRACED];
static atomic_size_t traced_count;

/* ---- which code is asking ---- */

#define RANGES 64
static struct {
    uintptr_t begin, end;
} passed_over[RANGES];
static int range_count;

static int note_object(struct dl_phdr_info *info, size_t size, void *user)
{
    static const char *const names[] = {"libgomp", "libomp", "libdnnl", "libstdc++", "libgcc", "ld-linux", "libOpenCL",
                                        "libtbb",  "shim",  "libasan", "libubsan",  "libssl", "libcrypto"};
    (void)size, (void)user;
    bool out = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) out = out || strstr(info->dlpi_name, names[i]);
    for (int i = 0; out && i < info->dlpi_phnum && range_count < RANGES; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        passed_over[range_count].begin = info->dlpi_addr + p->p_vaddr;
        passed_over[range_count++].end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
    }
    return 0;
}

static bool is_passed_over(const void *caller)
{
    for (int i = 0; i < range_count; i++)
        if ((uintptr_t)caller >= passed_over[i].begin && (uintptr_t)caller < passed_over[i].end) return true;
    return false;
}

/* ---- the plan ---- */

static int error_named(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"ENOMEM", ENOMEM},
                  {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"EROFS", EROFS}};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (strcmp(name, errors[i].name) == 0) return errors[i].error;
    fprintf(stderr, "shim: no error is called %s\n", name);
    _exit(97);
}

static void read_plan(const char *text)
{
    char kind[32], what[32], later[8] = "";
    if (sscanf(text, "%31[^:]:%ld:%31[^:]:%7s", kind, &plan.at, what, later) < 3) _exit(97);
    for (plan.kind = 0; plan.kind < KINDS && strcmp(kinds[plan.kind], kind) != 0;) plan.kind++;
    if (plan.kind == KINDS) _exit(97);
    plan.from = strcmp(later, "from") == 0;
    plan.what = strcmp(what, "short") == 0        ? SHORT
                : strcmp(what, "kill") == 0       ? KILL
                : strcmp(what, "kill-after") == 0 ? KILL_AFTER
                                                  : FAIL;
    if (plan.what == FAIL) plan.error = error_named(what);
    plan.armed = true;
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("DCAM_FAULT"), *folder = getenv("DCAM_FAULT_UNDER");
    if (folder) snprintf(under, sizeof under, "%s", folder);
    dl_iterate_phdr(note_object, NULL);
    if (getenv("DCAM_FAULT_GATE")) {
        const int fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("DCAM_FAULT_GATE"), O_RDONLY | O_CLOEXEC);
        const void *byte = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
        syscall(SYS_close, fd);
        if (byte == MAP_FAILED) _exit(97);
        gate = byte;
    }
    if (getenv("DCAM_FAULT_STACKS")) {
        void *frames[MOST_FRAMES];
        stacks = mmap(NULL, MOST_STACKS * sizeof *stacks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stacks == MAP_FAILED) _exit(97);
        (void)backtrace(frames, MOST_FRAMES); /* loads what it needs, which allocates */
    }
    if (text) read_plan(text);
    atomic_store(&watched[STDOUT_FILENO], true);
    ready = true;
}

static size_t blocks_held(void);

static void write_trace(const char *path)
{
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    const size_t count = atomic_load(&traced_count);
    for (size_t i = 0; i < count && i < MOST_TRACED; i++) fprintf(f, "%s %ld\n", kinds[traced[i].kind], traced[i].n);
    fclose(f);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("DCAM_FAULT_COUNT");
    /* After a library that could not be loaded (oneDNN looks for a profiler), libc keeps a block until a call as this one
     * finds what it wants. */
    (void)dlsym(RTLD_NEXT, "free");
    const size_t left = blocks_held();
    ready = false;
    write_trace(getenv("DCAM_FAULT_TRACE"));
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    for (int i = 0; i < KINDS; i++) fprintf(f, "%s %ld\n", kinds[i], atomic_load(&calls[i]));
    fprintf(f, "held %zu\n", left);
    fclose(f);
    f = stacks ? fopen(getenv("DCAM_FAULT_STACKS"), "wb") : NULL;
    if (!f) return;
    const size_t count = (size_t)atomic_load(&calls[ALLOC]);
    fwrite(stacks, sizeof *stacks, count < MOST_STACKS ? count : MOST_STACKS, f);
    fclose(f);
}

/* Of the calls that lead to the n-th allocation. */
static void note_stack(long n)
{
    void *frames[MOST_FRAMES];
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    if ((size_t)n > MOST_STACKS) return;
    const int count = backtrace(frames, MOST_FRAMES);
    for (int i = 0; i < count; i++) {
        h = (h ^ (uint64_t)(uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
        h ^= h >> 29;
    }
    stacks[n - 1] = h;
}

/* Leaves a mark first, so that the driver can tell this end from one that came from outside. */
static void end_here(void)
{
    char path[sizeof under + 16];
    snprintf(path, sizeof path, "%s/ended-by-shim", under);
    syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 0600);
    raise(SIGKILL);
}

static void trace(int kind, long n)
{
    if (kind != CREATE && kind != WRITE && kind != FSYNC && kind != SHUT && kind != RENAME) return;
    const size_t i = atomic_fetch_add(&traced_count, 1);
    if (i >= MOST_TRACED) return;
    traced[i].kind = kind;
    traced[i].n = n;
}

/* Counts a call; what must become of it, or 0. */
static int next(int kind)
{
    if (gate && !*gate) return 0;
    const long n = atomic_fetch_add(&calls[kind], 1) + 1;
    if (stacks && kind == ALLOC) note_stack(n);
    trace(kind, n);
    if (!plan.armed || kind != plan.kind || (plan.from ? n < plan.at : n != plan.at)) return 0;
    if (plan.what == KILL) end_here();
    if (plan.what == FAIL) errno = plan.error;
    return plan.what;
}

static bool counts_path(const char *path)
{
    return ready && (path[0] != '/' || (under[0] && strncmp(path, under, strlen(under)) == 0));
}

static bool counts_file(int fd)
{
    return ready && fd >= 0 && fd < (int)(sizeof watched / sizeof watched[0]) && atomic_load(&watched[fd]);
}

static int watch(int fd, int what, bool made)
{
    if (fd >= 0 && fd < (int)(sizeof watched / sizeof watched[0])) {
        atomic_store(&watched[fd], true);
        atomic_store(&created[fd], made);
    }
    if (what == KILL_AFTER) end_here();
    return fd;
}

static int after(int result, int what)
{
    if (what == KILL_AFTER) end_here();
    return result;
}

#define REAL(name, type) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

/* ---- files ---- */

static int open_with(const char *name, const char *path, int flags, mode_t mode)
{
    int (*real)(const char *, int, ...) = REAL(name, int (*)(const char *, int, ...));
    if (!counts_path(path)) return real(path, flags, mode);
    const int what = next(flags & O_CREAT ? CREATE : OPEN);
    return what == FAIL ? -1 : watch(real(path, flags, mode), what, flags & O_CREAT);
}

static mode_t mode_of(int flags, va_list args) { return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0; }

#define OPEN_LIKE(name)                                                                              \
    int name(const char *path, int flags, ...)                                                       \
    {                                                                                                \
        va_list args;                                                                                \
        va_start(args, flags);                                                                       \
        const mode_t mode = mode_of(flags, args);                                                    \
        va_end(args);                                                                                \
        return open_with(#name, path, flags, mode);                                                  \
    }
OPEN_LIKE(open)
OPEN_LIKE(open64)

/* what is SHORT: half of it. */
static size_t part(size_t count, int what) { return what == SHORT && count > 1 ? count / 2 : count; }

ssize_t read(int fd, void *to, size_t count)
{
    ssize_t (*real)(int, void *, size_t) = REAL("read", ssize_t (*)(int, void *, size_t));
    if (!counts_file(fd)) return real(fd, to, count);
    const int what = next(READ);
    return what == FAIL ? -1 : real(fd, to, part(count, what));
}

ssize_t pread(int fd, void *to, size_t count, off_t at)
{
    ssize_t (*real)(int, void *, size_t, off_t) = REAL("pread", ssize_t (*)(int, void *, size_t, off_t));
    if (!counts_file(fd)) return real(fd, to, count, at);
    const int what = next(READ);
    return what == FAIL ? -1 : real(fd, to, part(count, what), at);
}

ssize_t write(int fd, const void *from, size_t count)
{
    ssize_t (*real)(int, const void *, size_t) = REAL("write", ssize_t (*)(int, const void *, size_t));
    if (!counts_file(fd)) return real(fd, from, count);
    const int what = next(fd == STDOUT_FILENO ? PRINT : WRITE);
    const ssize_t n = what == FAIL ? -1 : real(fd, from, part(count, what));
    return after((int)(n > 0), what), n;
}

#define FILE_CALL(name, kind)                                                                        \
    int name(int fd)                                                                                 \
    {                                                                                                \
        int (*real)(int) = REAL(#name, int (*)(int));                                                \
        const int what = counts_file(fd) ? next(kind) : 0;                                           \
        return what == FAIL ? -1 : after(real(fd), what);                                            \
    }
FILE_CALL(fsync, FSYNC)
FILE_CALL(fdatasync, FSYNC)

/* As Linux does it: the descriptor is gone whatever close says. */
int close(int fd)
{
    int (*real)(int) = REAL("close", int (*)(int));
    if (!counts_file(fd)) return real(fd);
    atomic_store(&watched[fd], false);
    int what = next(CLOSE);
    if (atomic_load(&created[fd]) && what == 0) what = next(SHUT);
    const int error = errno, result = real(fd);
    if (what == FAIL) errno = error;
    return what == FAIL ? -1 : after(result, what);
}

int ftruncate(int fd, off_t length)
{
    int (*real)(int, off_t) = REAL("ftruncate", int (*)(int, off_t));
    const int what = counts_file(fd) ? next(TRUNCATE) : 0;
    return what == FAIL ? -1 : after(real(fd, length), what);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t at)
{
    void *(*real)(void *, size_t, int, int, int, off_t) = REAL("mmap", void *(*)(void *, size_t, int, int, int, off_t));
    const int what = counts_file(fd) ? next(MMAP) : 0;
    return what == FAIL ? MAP_FAILED : real(address, bytes, protection, flags, fd, at);
}

int statvfs(const char *restrict path, struct statvfs *restrict out)
{
    int (*real)(const char *, struct statvfs *) = REAL("statvfs", int (*)(const char *, struct statvfs *));
    const int result = real(path, out);
    const char *bytes = getenv("DCAM_FAULT_DISK");
    if (result == 0 && bytes) {
        out->f_frsize = 1;
        out->f_bavail = strtoull(bytes, NULL, 10);
    }
    return result;
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = REAL("rename", int (*)(const char *, const char *));
    const int what = counts_path(to) ? next(RENAME) : 0;
    return what == FAIL ? -1 : after(real(from, to), what);
}

int mkdir(const char *path, mode_t mode)
{
    int (*real)(const char *, mode_t) = REAL("mkdir", int (*)(const char *, mode_t));
    const int what = counts_path(path) ? next(MKDIR) : 0;
    return what == FAIL ? -1 : after(real(path, mode), what);
}

#define STAT_LIKE(name)                                                                              \
    int name(const char *restrict path, struct stat *restrict out)                                   \
    {                                                                                                \
        int (*real)(const char *, struct stat *) = REAL(#name, int (*)(const char *, struct stat *)); \
        return counts_path(path) && next(STAT) == FAIL ? -1 : real(path, out);                       \
    }
STAT_LIKE(stat)
STAT_LIKE(lstat)

int fstat(int fd, struct stat *out)
{
    int (*real)(int, struct stat *) = REAL("fstat", int (*)(int, struct stat *));
    return counts_file(fd) && next(STAT) == FAIL ? -1 : real(fd, out);
}

DIR *opendir(const char *path)
{
    DIR *(*real)(const char *) = REAL("opendir", DIR * (*)(const char *));
    return counts_path(path) && next(OPENDIR) == FAIL ? NULL : real(path);
}

struct dirent *readdir(DIR *folder)
{
    struct dirent *(*real)(DIR *) = REAL("readdir", struct dirent * (*)(DIR *));
    return !is_passed_over(__builtin_return_address(0)) && ready && next(READDIR) == FAIL ? NULL : real(folder);
}

/* ---- streams ---- */

int fclose(FILE *stream)
{
    int (*real)(FILE *) = REAL("fclose", int (*)(FILE *));
    const int what = ready ? next(CLOSE) : 0, error = errno, result = real(stream);
    if (what == FAIL) errno = error;
    return what == FAIL ? EOF : after(result, what);
}

/* ---- memory ---- */
#ifndef SHIM_WITHOUT_MEMORY
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

#define REFUSED() (ready && !is_passed_over(__builtin_return_address(0)) && next(ALLOC) == FAIL)
#define KEEP(p) keep(p, __builtin_return_address(0))

/* Blocks that are held, of the callers that are counted: at the end of a run none may be left that an undisturbed run gives
 * back. Open addressing; a removed block leaves a hole that searches go over. */
#define TABLE ((size_t)1 << 20)
#define HOLE ((void *)1)
static void *held[TABLE];
static size_t held_count;
static atomic_flag table_lock = ATOMIC_FLAG_INIT;

static size_t place_of(const void *p) { return ((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 44; }

static void *keep(void *p, const void *caller)
{
    if (!p || !ready || is_passed_over(caller)) return p;
    while (atomic_flag_test_and_set(&table_lock)) {}
    if (held_count < TABLE / 2) {
        size_t i = place_of(p);
        while (held[i] && held[i] != HOLE) i = (i + 1) % TABLE;
        held[i] = p;
        held_count++;
    }
    atomic_flag_clear(&table_lock);
    return p;
}

static void forget(const void *p)
{
    if (!p || !ready) return;
    while (atomic_flag_test_and_set(&table_lock)) {}
    size_t i = place_of(p);
    while (held[i] && held[i] != p) i = (i + 1) % TABLE;
    if (held[i]) {
        held[i] = HOLE;
        held_count--;
    }
    atomic_flag_clear(&table_lock);
}

void *malloc(size_t bytes) { return REFUSED() ? NULL : KEEP(__libc_malloc(bytes)); }
void *calloc(size_t count, size_t bytes) { return REFUSED() ? NULL : KEEP(__libc_calloc(count, bytes)); }
void *aligned_alloc(size_t alignment, size_t bytes) { return REFUSED() ? NULL : KEEP(__libc_memalign(alignment, bytes)); }

void *realloc(void *old, size_t bytes)
{
    if (REFUSED()) return NULL;
    forget(old);
    void *p = __libc_realloc(old, bytes);
    return KEEP(p ? p : bytes ? old : NULL), p;
}

void free(void *p)
{
    forget(p);
    __libc_free(p);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    void *p = REFUSED() ? NULL : __libc_memalign(alignment, bytes);
    if (!p) return ENOMEM;
    *out = KEEP(p);
    return 0;
}
static size_t blocks_held(void) { return held_count; }
#else
static size_t blocks_held(void) { return 0; }
#endif
