/* places.c - see places.h. */
#include "base/places.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

/* What there is of a path, and the names below it of what is not there yet ("" where all of it is; NULL: nothing to
 * compare with). */
typedef struct {
    dev_t device;
    ino_t inode;
    char *rest;
} identity;

static bool means_absent(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG; }

/* Cuts the last name off path, which becomes the folder that it is in; "." is no name. False where there is none. */
static bool cut_name(char *path, const char **name)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0 || n == 0) return false;
    char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    return true;
}

/* path is changed: what is there of it stays. */
static dcam_status identify_parts(char *path, identity *out)
{
    struct stat info;
    identity found = {.rest = NULL};
    DCAM_TRY(dcam_copy_string("", &found.rest));
    for (;;) {
        const char *name;
        char *longer;
        if (stat(path, &info) == 0) break;
        if (!means_absent(errno) || !cut_name(path, &name)) {
            const dcam_status status = dcam_system_failure("look at", path);
            dcam_free(found.rest);
            return status;
        }
        if (strcmp(name, ".") != 0) {
            const dcam_status status = dcam_format_string(&longer, "/%s%s", name, found.rest);
            dcam_free(found.rest);
            if (status != DCAM_OK) return status;
            found.rest = longer;
        }
        if (name == path) strcpy(path, ".");
        else if (name == path + 1) path[1] = '\0';
        else path[name - path - 1] = '\0';
    }
    if (S_ISDIR(info.st_mode) && found.rest[0] == '\0') { /* no file takes the place of a folder: told elsewhere */
        dcam_free(found.rest);
        found.rest = NULL;
    }
    found.device = info.st_dev;
    found.inode = info.st_ino;
    *out = found;
    return DCAM_OK;
}

static dcam_status identify(const char *path, identity *out)
{
    char *copy;
    /* Room for ".", which may take the place of a shorter name: there is none. */
    DCAM_TRY(dcam_copy_string(path[0] ? path : ".", &copy));
    const dcam_status status = identify_parts(copy, out);
    dcam_free(copy);
    return status;
}

static bool same(const identity *a, const identity *b)
{
    return a->device == b->device && a->inode == b->inode && strcmp(a->rest, b->rest) == 0;
}

static dcam_status refuse(const dcam_place *written, const dcam_place *other)
{
    if (strcmp(written->path, other->path) == 0)
        return dcam_fail(DCAM_ERROR_USAGE, "%s: the %s would replace the %s; name another file", written->path, written->what,
                         other->what);
    return dcam_fail(DCAM_ERROR_USAGE, "%s: the %s would replace the %s, for %s is the same file; name another one", written->path,
                     written->what, other->what, other->path);
}

/* known[0 .. count - 1]: of the places that are written. */
static dcam_status compare(const dcam_place *written, const identity *known, size_t count, const dcam_place *other,
                           const identity *id)
{
    for (size_t i = 0; i < count; i++)
        if (known[i].rest && same(&known[i], id)) return refuse(&written[i], other);
    return DCAM_OK;
}

static dcam_status compare_read(const dcam_place *written, const identity *known, size_t count, const dcam_place *read)
{
    struct stat info;
    if (!read->path) return DCAM_OK;
    if (stat(read->path, &info) != 0) /* what is not there cannot be replaced */
        return means_absent(errno) ? DCAM_OK : dcam_system_failure("look at", read->path);
    char all_there[] = "";
    const identity id = {info.st_dev, info.st_ino, all_there};
    return compare(written, known, count, read, &id);
}

dcam_status dcam_check_places(const dcam_place *written, size_t written_count, const dcam_place *read, size_t read_count)
{
    identity *known;
    DCAM_TRY(dcam_alloc_zero(written_count, sizeof *known, &known));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i < written_count && status == DCAM_OK; i++) {
        if (!written[i].path) continue;
        status = identify(written[i].path, &known[i]);
        if (status == DCAM_OK && known[i].rest) status = compare(written, known, i, &written[i], &known[i]);
    }
    for (size_t i = 0; i < read_count && status == DCAM_OK; i++)
        status = compare_read(written, known, written_count, &read[i]);
    for (size_t i = 0; i < written_count; i++) dcam_free(known[i].rest);
    dcam_free(known);
    return status;
}
