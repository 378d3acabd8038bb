/* file.h - files: reading whole with a stated cap, and writing so that a
 * partial file never appears under its final name (temporary file beside it,
 * fsync, rename, fsync of the folder). */
#ifndef DCAM_BASE_FILE_H
#define DCAM_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Reads all of a regular file of at most max_bytes. *out from dcam_alloc, the
 * caller frees it; one zero byte follows the content (not counted). */
DCAM_MUST_CHECK dcam_status dcam_file_read(const char *path, size_t max_bytes, uint8_t **out, size_t *out_bytes);

/* What the system tells of itself (/proc, /sys) in files that have no size: as much as fits, ended by a zero byte. Asks for
 * no memory. False: it cannot be read. */
bool dcam_system_text(const char *path, char *text, size_t capacity);
/* count bytes of an open regular file, from place `at` on, whatever signals and short reads come between. A file that
 * ends before them is DCAM_ERROR_IO: it became shorter. path is for messages. */
DCAM_MUST_CHECK dcam_status dcam_read_at(int fd, const char *path, uint64_t at, uint8_t *bytes, size_t count);

/* open(2) with close-on-exec, again where a signal interrupted it. A new file has the permissions that the umask leaves. */
int dcam_open_file(const char *path, int flags);
/* Creates a file, readable and writable, whose name ends in six letters that are replaced, with the permissions that the
 * umask leaves. Its descriptor (close-on-exec), or -1 and errno. */
int dcam_create_temporary(char *name);
/* The same for a folder. 0, or -1 and errno. */
int dcam_create_temporary_folder(char *name);
/* rename(2), again where a signal interrupted it. */
int dcam_rename(const char *from, const char *to);
/* What an errno is to the caller: out of disk (past a limit on file sizes too), out of memory (file descriptors too),
 * or another fault of the system. */
dcam_status dcam_status_of_errno(int error);
/* "PATH: cannot DOING: reason" from errno, with its dcam_status_of_errno. */
dcam_status dcam_system_failure(const char *doing, const char *path);

/* A file being written under a temporary name in the same folder. */
typedef struct dcam_writer dcam_writer;

/* What is there and is no regular file (a folder, a device, a pipe) is refused; a link of that name will be replaced. The
 * new file has the permissions and, where the system allows it, the owner of the one that it replaces. */
DCAM_MUST_CHECK dcam_status dcam_writer_open(const char *path, dcam_writer **out);
DCAM_MUST_CHECK dcam_status dcam_writer_write(dcam_writer *writer, const void *bytes, size_t count);
/* Hands all that was written so far to the system, so that it can be read back before the commit: *temporary is the name
 * under which it lies, the writer's own. */
DCAM_MUST_CHECK dcam_status dcam_writer_flush(dcam_writer *writer, const char **temporary);
DCAM_MUST_CHECK dcam_status dcam_writer_printf(dcam_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* fsync, rename to the final name, fsync of the folder (unless it may not be read). Frees the writer in every case; on
 * failure nothing is left behind and an older file of that name is intact, but for a failure of the very last step, which
 * says that it could not sync the folder: then the new file is there, whole. */
DCAM_MUST_CHECK dcam_status dcam_writer_commit(dcam_writer *writer);
/* Removes the temporary file. NULL-safe. */
void dcam_writer_abort(dcam_writer *writer);

/* Whether a file could be written there: tries it (permission bits do not tell: root, read-only disks) and leaves nothing. */
DCAM_MUST_CHECK dcam_status dcam_check_writable(const char *path);

/* The whole of it in one call. */
DCAM_MUST_CHECK dcam_status dcam_file_write(const char *path, const void *bytes, size_t count);

/* What a path is. Absent: nothing of that name, a link that leads nowhere or round in a circle. Any other reason why the
 * system cannot tell (permissions, a failing disk) is an error: taken for absence it would change what a folder means. */
bool dcam_means_absent(int error); /* an errno */
typedef enum { DCAM_PATH_ABSENT, DCAM_PATH_FILE, DCAM_PATH_FOLDER } dcam_path_kind;
DCAM_MUST_CHECK dcam_status dcam_path_look(const char *path, dcam_path_kind *out);

/* For messages and for what is created anyway. */
bool dcam_path_exists(const char *path);
bool dcam_path_is_folder(const char *path);
/* Creates the folder and its parents; fine if it is there already. */
DCAM_MUST_CHECK dcam_status dcam_make_folders(const char *path);
/* FOLDER/NAME in a fresh string (dcam_free). */
DCAM_MUST_CHECK dcam_status dcam_path_join(const char *folder, const char *name, char **out);

/* Names in a folder, sorted by bytes, without "." and ".." and without hidden
 * ones (a leading dot). */
typedef struct {
    char **names;
    size_t count;
} dcam_names;
DCAM_MUST_CHECK dcam_status dcam_folder_list(const char *path, dcam_names *out);
void dcam_names_clear(dcam_names *names);

/* Seconds on a clock that never goes back. */
double dcam_seconds(void);

#endif
