/* file.c - whole-file reads with a cap and atomic writes. Errors carry the
 * path and the system's reason; a full disk is told apart from other faults. */
#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/number_text.h"
#include "base/random.h"

/* Small writes (headers, CSV rows) are gathered to this size. */
#define WRITER_BUFFER 65536
/* Formatted text up to this length needs no memory of its own. */
#define SHORT_TEXT 256

#define TEMPORARY_LETTERS 6
#define TEMPORARY_TRIES 100

struct dcam_writer {
    char *path;
    char *temporary;
    int descriptor;
    size_t used;
    unsigned char buffer[WRITER_BUFFER];
};

dcam_status dcam_status_of_errno(int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) return DCAM_ERROR_DISK;
    return error == ENOMEM || error == EMFILE || error == ENFILE ? DCAM_ERROR_MEMORY : DCAM_ERROR_IO;
}

dcam_status dcam_system_failure(const char *doing, const char *path)
{
    const int e = errno;
    const dcam_status status = dcam_status_of_errno(e);
    if (e == EFBIG)
        return dcam_fail(status, "%s: cannot %s: larger than a file may be here; raise the limit (ulimit -f) or "
                                 "choose another disk", path, doing);
    if (status == DCAM_ERROR_DISK) return dcam_fail(status, "%s: cannot %s: no space left; free some and try again", path, doing);
    return dcam_fail(status, "%s: cannot %s: %s", path, doing, strerror(e));
}

dcam_status dcam_read_at(int fd, const char *path, uint64_t at, uint8_t *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t n = pread(fd, bytes + done, count - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return dcam_system_failure("read", path);
        if (n == 0) return dcam_fail(DCAM_ERROR_IO, "%s: became shorter while it was read", path);
        done += (size_t)n;
    }
    return DCAM_OK;
}

/* Waits out signals: on network file systems a signal may end an open or a sync early. */
int dcam_open_file(const char *path, int flags)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* A network file system may have done it although the answer was lost: then the second try finds no source. */
int dcam_rename(const char *from, const char *to)
{
    bool interrupted = false;
    int result;
    while ((result = rename(from, to)) != 0 && errno == EINTR) interrupted = true;
    return result != 0 && interrupted && errno == ENOENT && dcam_path_exists(to) ? 0 : result;
}

static int sync_file(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    /* Some file systems cannot sync (EINVAL, EROFS of a folder); what was written stands. */
    return result != 0 && errno != EINVAL && errno != EROFS ? -1 : 0;
}

dcam_status dcam_file_read(const char *path, size_t max_bytes, uint8_t **out, size_t *out_bytes)
{
    uint8_t *bytes = NULL;
    struct stat info;
    dcam_status status = DCAM_OK;
    /* O_NONBLOCK: opening a FIFO must not hang; it is refused below. */
    int fd = dcam_open_file(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return dcam_system_failure("open", path);
    if (fstat(fd, &info) != 0) {
        status = dcam_system_failure("read", path);
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode)) {
        status = dcam_fail(DCAM_ERROR_IO, "%s: is not a regular file", path);
        goto cleanup;
    }
    if ((uint64_t)info.st_size > max_bytes) {
        status = dcam_fail(DCAM_ERROR_IO, "%s: %lld bytes, more than the limit of %zu for such a file", path,
                           (long long)info.st_size, max_bytes);
        goto cleanup;
    }
    size_t count = (size_t)info.st_size;
    if ((status = dcam_alloc(count + 1, 1, &bytes)) != DCAM_OK) goto cleanup;
    if ((status = dcam_read_at(fd, path, 0, bytes, count)) != DCAM_OK) goto cleanup;
    bytes[count] = 0;
    *out = bytes;
    *out_bytes = count;
    bytes = NULL;
cleanup:
    dcam_free(bytes);
    close(fd);
    return status;
}

bool dcam_system_text(const char *path, char *text, size_t capacity)
{
    size_t used = 0;
    ssize_t n = 0;
    const int fd = dcam_open_file(path, O_RDONLY);
    if (fd < 0) return false;
    do {
        n = read(fd, text + used, capacity - 1 - used);
        if (n > 0) used += (size_t)n;
    } while ((n > 0 && used < capacity - 1) || (n < 0 && errno == EINTR));
    text[used] = '\0';
    close(fd);
    return n >= 0;
}

/* Six letters that another call, thread or process hardly has. They need not be secret: O_EXCL refuses what is there
 * already, a link too. */
static void draw_letters(char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static atomic_uint calls;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    dcam_random r = dcam_random_make((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                                     (uint64_t)getpid() << 32 | atomic_fetch_add(&calls, 1));
    for (int i = 0; i < TEMPORARY_LETTERS; i++) out[i] = letters[dcam_random_below(&r, sizeof letters - 1)];
}

int dcam_create_temporary_folder(char *name)
{
    int result, tries = TEMPORARY_TRIES;
    do {
        draw_letters(name + strlen(name) - TEMPORARY_LETTERS);
        result = mkdir(name, 0777);
    } while (result != 0 && (errno == EEXIST || errno == EINTR) && --tries > 0);
    return result;
}

/* Not mkostemp, whose files are private: to give them the usual permissions the umask would have to be known, and it can
 * only be read by changing it for the whole process. */
int dcam_create_temporary(char *name)
{
    int fd, tries = TEMPORARY_TRIES;
    do {
        draw_letters(name + strlen(name) - TEMPORARY_LETTERS);
        fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && (errno == EEXIST || errno == EINTR) && --tries > 0);
    return fd;
}

/* "PATH.XXXXXX"; the end of a name that has no room for the letters is left out. */
static dcam_status name_temporary(const char *path, char **out)
{
    const char *slash = strrchr(path, '/');
    const size_t length = strlen(slash ? slash + 1 : path), most = NAME_MAX - 1 - TEMPORARY_LETTERS;
    const size_t kept = strlen(path) - (length > most ? length - most : 0);
    return dcam_format_string(out, "%.*s.XXXXXX", (int)kept, path);
}

/* *there: whether facts are those of a file that will be replaced. */
static dcam_status look_at_target(const char *path, struct stat *facts, bool *there)
{
    /* A temporary file beside it could be made; only the rename, perhaps hours later, would fail. */
    if (path[0] == '\0') return dcam_fail(DCAM_ERROR_USAGE, "the name of a file to write is empty");
    *there = stat(path, facts) == 0;
    if (*there && S_ISDIR(facts->st_mode)) return dcam_fail(DCAM_ERROR_IO, "%s: is a folder; name the file to write", path);
    if (*there && !S_ISREG(facts->st_mode))
        return dcam_fail(DCAM_ERROR_IO, "%s: is a device, a pipe or the like, which would be replaced; name a file to write", path);
    if (!*there && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) return dcam_system_failure("look at", path);
    return DCAM_OK;
}

/* To give a file away is root's; file systems of others have no owners or permissions, or not that one. */
static bool cannot_be_set(int error)
{
    return error == EPERM || error == EINVAL || error == ENOTSUP || error == ENOSYS;
}

static bool takes_group(int fd, gid_t group)
{
    struct stat facts;
    if (fchown(fd, (uid_t)-1, group) == 0) return true;
    /* It may have it already, where a folder or a file system has one for all. */
    return fstat(fd, &facts) == 0 && facts.st_gid == group;
}

/* Who could read and write the old file can do so with the new one, and nobody else: where the owner cannot stay, the
 * group does, of which this process may be a member; where that cannot either, another group gets no more than everybody. */
static dcam_status take_permissions(int fd, const char *path, const struct stat *old)
{
    mode_t mode = old->st_mode & 0777;
    bool group_stays = fchown(fd, old->st_uid, old->st_gid) == 0;
    if (!group_stays && cannot_be_set(errno)) group_stays = takes_group(fd, old->st_gid);
    else if (!group_stays) return dcam_system_failure("set the owner of", path);
    if (!group_stays) mode = (mode & ~(mode_t)S_IRWXG) | (mode & S_IRWXO) << 3;
    if (fchmod(fd, mode) != 0 && !cannot_be_set(errno))
        return dcam_system_failure("set the permissions of", path);
    return DCAM_OK;
}

static dcam_status create_temporary(dcam_writer *w)
{
    struct stat old;
    bool there;
    DCAM_TRY(look_at_target(w->path, &old, &there));
    w->descriptor = dcam_create_temporary(w->temporary);
    if (w->descriptor < 0) return dcam_system_failure("create", w->path);
    return there ? take_permissions(w->descriptor, w->path, &old) : DCAM_OK;
}

dcam_status dcam_writer_open(const char *path, dcam_writer **out)
{
    dcam_writer *w = NULL;
    DCAM_TRY(dcam_alloc(1, sizeof *w, &w));
    w->descriptor = -1;
    w->used = 0;
    w->path = w->temporary = NULL;
    dcam_status status = dcam_copy_string(path, &w->path);
    if (status == DCAM_OK) status = name_temporary(path, &w->temporary);
    if (status == DCAM_OK) status = create_temporary(w);
    if (status == DCAM_OK) *out = w;
    else dcam_writer_abort(w);
    return status;
}

static dcam_status flush_bytes(dcam_writer *w, const unsigned char *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t n = write(w->descriptor, bytes + done, count - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return dcam_system_failure("write", w->path);
        done += (size_t)n;
    }
    return DCAM_OK;
}

static dcam_status flush_buffer(dcam_writer *w)
{
    DCAM_TRY(flush_bytes(w, w->buffer, w->used));
    w->used = 0;
    return DCAM_OK;
}

dcam_status dcam_writer_write(dcam_writer *w, const void *bytes, size_t count)
{
    if (count > sizeof w->buffer - w->used) DCAM_TRY(flush_buffer(w));
    if (count > sizeof w->buffer) return flush_bytes(w, bytes, count);
    if (count > 0) memcpy(w->buffer + w->used, bytes, count);
    w->used += count;
    return DCAM_OK;
}

dcam_status dcam_writer_flush(dcam_writer *w, const char **temporary)
{
    DCAM_TRY(flush_buffer(w));
    *temporary = w->temporary;
    return DCAM_OK;
}

dcam_status dcam_writer_printf(dcam_writer *w, const char *format, ...)
{
    char line[SHORT_TEXT], *text;
    va_list args;
    va_start(args, format);
    int length = dcam_vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length < 0) return dcam_fail(DCAM_ERROR_INTERNAL, "%s: cannot format text", w->path);
    if ((size_t)length < sizeof line) return dcam_writer_write(w, line, (size_t)length);
    DCAM_TRY(dcam_alloc((size_t)length + 1, 1, &text));
    va_start(args, format);
    dcam_vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    dcam_status status = dcam_writer_write(w, text, (size_t)length);
    dcam_free(text);
    return status;
}

void dcam_writer_abort(dcam_writer *w)
{
    if (!w) return;
    if (w->descriptor >= 0) {
        close(w->descriptor);
        unlink(w->temporary);
    }
    dcam_free(w->path);
    dcam_free(w->temporary);
    dcam_free(w);
}

/* To be synced after the rename, when nothing may be lacking any more. -1 where files may be put into it, but their names
 * not read: then the system writes it back in its own time. */
static dcam_status open_folder_of(dcam_writer *w, int *out)
{
    char *slash = strrchr(w->temporary, '/');
    const char *name = w->temporary;
    if (!slash) name = ".";
    else if (slash == w->temporary) name = "/";
    else *slash = '\0';
    *out = dcam_open_file(name, O_RDONLY | O_DIRECTORY);
    if (slash) *slash = '/';
    return *out < 0 && errno != EACCES ? dcam_system_failure("open the folder of", w->path) : DCAM_OK;
}

dcam_status dcam_writer_commit(dcam_writer *w)
{
    dcam_status status = flush_buffer(w);
    if (status == DCAM_OK && sync_file(w->descriptor) != 0) status = dcam_system_failure("sync", w->path);
    if (status == DCAM_OK) {
        int fd = w->descriptor, folder = -1;
        w->descriptor = -1;
        /* Interrupted, it is closed all the same; the bytes are on disk since the sync. */
        if (close(fd) != 0 && errno != EINTR) {
            status = dcam_system_failure("close", w->path);
            unlink(w->temporary);
        } else if ((status = open_folder_of(w, &folder)) != DCAM_OK) {
            unlink(w->temporary);
        } else if (dcam_rename(w->temporary, w->path) != 0) {
            status = dcam_system_failure("rename to", w->path);
            unlink(w->temporary);
        } else if (folder >= 0 && sync_file(folder) != 0) {
            status = dcam_system_failure("sync the folder of", w->path);
        }
        if (folder >= 0) close(folder);
    }
    dcam_writer_abort(w);
    return status;
}

dcam_status dcam_check_writable(const char *path)
{
    dcam_writer *w;
    DCAM_TRY(dcam_writer_open(path, &w));
    dcam_writer_abort(w);
    return DCAM_OK;
}

dcam_status dcam_file_write(const char *path, const void *bytes, size_t count)
{
    dcam_writer *w;
    DCAM_TRY(dcam_writer_open(path, &w));
    dcam_status status = dcam_writer_write(w, bytes, count);
    if (status != DCAM_OK) {
        dcam_writer_abort(w);
        return status;
    }
    return dcam_writer_commit(w);
}

bool dcam_means_absent(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG;
}

dcam_status dcam_path_look(const char *path, dcam_path_kind *out)
{
    struct stat info;
    if (stat(path, &info) == 0) {
        *out = S_ISDIR(info.st_mode) ? DCAM_PATH_FOLDER : DCAM_PATH_FILE;
        return DCAM_OK;
    }
    if (!dcam_means_absent(errno)) return dcam_system_failure("look at", path);
    *out = DCAM_PATH_ABSENT;
    return DCAM_OK;
}

bool dcam_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool dcam_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

dcam_status dcam_make_folders(const char *path)
{
    char *copy;
    /* With a file's name joined to it, it would be the root. */
    if (path[0] == '\0') return dcam_fail(DCAM_ERROR_USAGE, "the name of a folder to write to is empty");
    DCAM_TRY(dcam_copy_string(path, &copy));
    dcam_status status = DCAM_OK;
    for (char *p = copy + (copy[0] == '/'); status == DCAM_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        char saved = *p;
        *p = '\0';
        if (copy[0] && mkdir(copy, 0777) != 0) {
            const int reason = errno; /* asking for the folder changes it */
            dcam_path_kind kind = DCAM_PATH_ABSENT;
            if (reason == EEXIST) status = dcam_path_look(copy, &kind);
            else if (dcam_path_is_folder(copy)) kind = DCAM_PATH_FOLDER; /* on a read-only disk, say */
            if (status == DCAM_OK && kind != DCAM_PATH_FOLDER) {
                errno = reason;
                status = dcam_system_failure("create the folder", copy);
            }
        }
        *p = saved;
        if (saved == '\0') break;
    }
    dcam_free(copy);
    return status;
}

dcam_status dcam_path_join(const char *folder, const char *name, char **out)
{
    size_t n = strlen(folder);
    const char *slash = n > 0 && folder[n - 1] == '/' ? "" : "/";
    return dcam_format_string(out, "%s%s%s", folder, slash, name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

dcam_status dcam_folder_list(const char *path, dcam_names *out)
{
    dcam_names list = {NULL, 0};
    size_t room = 0;
    dcam_status status = DCAM_OK;
    DIR *folder = opendir(path);
    if (!folder) return dcam_system_failure("open the folder", path);
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno != 0) status = dcam_system_failure("list the folder", path);
            break;
        }
        if (entry->d_name[0] == '.') continue;
        if (list.count == room) {
            room = room ? 2 * room : 64;
            if ((status = dcam_realloc(room, sizeof *list.names, &list.names)) != DCAM_OK) break;
        }
        if ((status = dcam_copy_string(entry->d_name, &list.names[list.count])) != DCAM_OK) break;
        list.count++;
    }
    closedir(folder);
    if (status != DCAM_OK) {
        dcam_names_clear(&list);
        return status;
    }
    if (list.count > 0) qsort(list.names, list.count, sizeof *list.names, compare_names);
    *out = list;
    return DCAM_OK;
}

void dcam_names_clear(dcam_names *names)
{
    for (size_t i = 0; i < names->count; i++) dcam_free(names->names[i]);
    dcam_free(names->names);
    names->names = NULL;
    names->count = 0;
}

double dcam_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
