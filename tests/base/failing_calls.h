/* failing_calls.h - the system's calls of a test program, made to fail on demand, and machines that are made up:
 * processors, a disk, memory. The linker leads the library's calls here (--wrap in CMakeLists.txt). */
#ifndef DCAM_TESTS_BASE_FAILING_CALLS_H
#define DCAM_TESTS_BASE_FAILING_CALLS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { OPEN, READ, WRITE, FSYNC, CLOSE, RENAME, CREATE, STAT, FSTAT, MKDIR, OPENDIR, READDIR, AFFINITY, CALLS };
static const char *const names[CALLS] = {"open", "read",  "write", "fsync",   "close",   "rename",  "create",
                                         "stat", "fstat", "mkdir", "opendir", "readdir", "affinity"};
/* Not errors: half of what was asked for; nothing, as at the end of a file; done, but told to be interrupted. */
enum { SHORT = -1, NOTHING = -2, LOST = -3 };

static struct {
    int call, error;
    long at;   /* which call of that kind; 0: none fails */
    bool from; /* and all after it */
} plan;
static long counts[CALLS], masked;

static void plan_none(void)
{
    plan.at = 0;
    plan.from = false;
    memset(counts, 0, sizeof counts);
}

static void plan_failure(int call, long at, int error)
{
    plan_none();
    plan.call = call;
    plan.at = at;
    plan.error = error;
}

/* 0, SHORT, NOTHING, or an errno, which is set. */
static int next(int call)
{
    const long n = ++counts[call];
    if (call != plan.call || plan.at == 0 || (plan.from ? n < plan.at : n != plan.at)) return 0;
    if (plan.error > 0) errno = plan.error;
    return plan.error;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return next(flags & O_CREAT ? CREATE : OPEN) > 0 ? -1 : __real_open(path, flags, mode);
}

ssize_t __real_pread(int fd, void *to, size_t count, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t count, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t count, off_t at)
{
    const int what = next(READ);
    if (what == NOTHING) return 0;
    return what > 0 ? -1 : __real_pread(fd, to, what == SHORT && count > 1 ? count / 2 : count, at);
}

ssize_t __real_write(int fd, const void *from, size_t count);
ssize_t __wrap_write(int fd, const void *from, size_t count);
ssize_t __wrap_write(int fd, const void *from, size_t count)
{
    const int what = next(WRITE);
    return what > 0 ? -1 : __real_write(fd, from, what == SHORT && count > 1 ? count / 2 : count);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) { return next(FSYNC) > 0 ? -1 : __real_fsync(fd); }

/* As Linux does it: the descriptor is gone whatever close says. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    const int what = next(CLOSE), error = errno, result = __real_close(fd);
    if (what > 0) errno = error;
    return what > 0 ? -1 : result;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    const int what = next(RENAME), result = what > 0 ? -1 : __real_rename(from, to);
    if (what == LOST) errno = EINTR;
    return what == LOST ? -1 : result;
}

/* To read the mask is to change it for the whole process: nothing of ours may. */
mode_t __real_umask(mode_t mask);
mode_t __wrap_umask(mode_t mask);
mode_t __wrap_umask(mode_t mask)
{
    masked++;
    return __real_umask(mask);
}

int __real_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out) { return next(STAT) > 0 ? -1 : __real_stat(path, out); }

int __real_fstat(int fd, struct stat *out);
int __wrap_fstat(int fd, struct stat *out);
int __wrap_fstat(int fd, struct stat *out) { return next(FSTAT) > 0 ? -1 : __real_fstat(fd, out); }

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode) { return next(MKDIR) > 0 ? -1 : __real_mkdir(path, mode); }

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path) { return next(OPENDIR) > 0 ? NULL : __real_opendir(path); }

struct dirent *__real_readdir(DIR *folder);
struct dirent *__wrap_readdir(DIR *folder);
struct dirent *__wrap_readdir(DIR *folder) { return next(READDIR) > 0 ? NULL : __real_readdir(folder); }

static size_t made_processors; /* of a machine; 0: the real one */

int __real_sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *set)
{
    if (made_processors == 0) return next(AFFINITY) > 0 ? -1 : __real_sched_getaffinity(process, bytes, set);
    errno = EINVAL;
    if (8 * bytes < made_processors) return -1;
    memset(set, 0, bytes);
    for (size_t i = 0; i < made_processors; i++) CPU_SET_S(i, bytes, set);
    return 0;
}

static struct {
    bool on, fails;
    struct statvfs facts;
} made_disk;
int __real_statvfs(const char *path, struct statvfs *out);
int __wrap_statvfs(const char *path, struct statvfs *out);
int __wrap_statvfs(const char *path, struct statvfs *out)
{
    if (!made_disk.on) return __real_statvfs(path, out);
    *out = made_disk.facts;
    return made_disk.fails ? -1 : 0;
}

static struct {
    bool on;
    long pages, page;
} made_memory;
long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
    if (made_memory.on && name == _SC_PHYS_PAGES) return made_memory.pages;
    if (made_memory.on && name == _SC_PAGESIZE) return made_memory.page;
    return __real_sysconf(name);
}

#endif
