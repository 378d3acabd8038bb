/* disk.c - free space as the system tells it to one who is not root. It may change at any time: a check of this kind only
 * saves hours that would end at a full disk. Whoever writes must still meet one. */
#include "base/disk.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/memory.h"

typedef struct {
    dev_t device;
    bool known;
    uint64_t free;
} disk;

static dcam_status disk_of(const char *path, disk *out)
{
    struct stat facts;
    struct statvfs space;
    char *folder;
    const char *slash = strrchr(path, '/');
    DCAM_TRY(dcam_copy_string(!slash ? "." : slash == path ? "/" : path, &folder));
    if (slash && slash != path) folder[slash - path] = '\0';
    *out = (disk){0};
    if (stat(folder, &facts) == 0 && statvfs(folder, &space) == 0 && space.f_blocks > 0) {
        const uint64_t block = space.f_frsize ? space.f_frsize : space.f_bsize;
        out->device = facts.st_dev;
        out->known = true;
        out->free = space.f_bavail > UINT64_MAX / (block ? block : 1) ? UINT64_MAX : space.f_bavail * block;
    }
    dcam_free(folder);
    return DCAM_OK;
}

dcam_status dcam_disk_check(const dcam_disk_need *needs, size_t count)
{
    const double mib = 1024.0 * 1024.0;
    for (size_t i = 0; i < count; i++) {
        disk d;
        uint64_t needed = 0;
        DCAM_TRY(disk_of(needs[i].path, &d));
        for (size_t k = 0; k < count && d.known; k++) {
            disk other;
            DCAM_TRY(disk_of(needs[k].path, &other));
            if (other.known && other.device == d.device) needed += needs[k].bytes;
        }
        if (d.known && needed > d.free)
            return dcam_fail(DCAM_ERROR_DISK, "%s: %.1f MiB are free on its disk, %.1f MiB will be needed; free some, or write "
                             "to another disk", needs[i].path, (double)d.free / mib, (double)needed / mib);
    }
    return DCAM_OK;
}
