/* disk.h - whether files that will be written later fit on their disks. */
#ifndef DCAM_BASE_DISK_H
#define DCAM_BASE_DISK_H

#include <stddef.h>

#include "base/status.h"

/* bytes will be written to path, whose folder is there. */
typedef struct {
    const char *path;
    size_t bytes;
} dcam_disk_need;

/* Files on one disk are added up. DCAM_ERROR_DISK with what is needed and what is free; a disk that does not tell (some
 * network file systems) is taken to be large enough. */
DCAM_MUST_CHECK dcam_status dcam_disk_check(const dcam_disk_need *needs, size_t count);

#endif
