/* places.h - which files a call reads and writes, and that none is both: a result must not replace what it is made from,
 * nor another result. */
#ifndef DCAM_BASE_PLACES_H
#define DCAM_BASE_PLACES_H

#include <stddef.h>

#include "base/status.h"

/* what: for the message, "model", "checkpoint". path NULL: there is no such file. */
typedef struct {
    const char *what, *path;
} dcam_place;

/* DCAM_ERROR_USAGE, and which two, where a file that is written is the same as one that is read or as another that is
 * written. Files are the same by device and inode, so links count; of one that is not there yet its folder and its name
 * count. Before the work: nothing of it is kept. */
DCAM_MUST_CHECK dcam_status dcam_check_places(const dcam_place *written, size_t written_count, const dcam_place *read,
                                              size_t read_count);

#endif
