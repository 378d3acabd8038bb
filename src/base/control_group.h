/* control_group.h - the control groups (containers, services) that a process is in, whose files say what it may use. */
#ifndef DCAM_BASE_CONTROL_GROUP_H
#define DCAM_BASE_CONTROL_GROUP_H

#include <stdbool.h>
#include <stddef.h>

/* What a process says of itself, and where the groups are. */
#define DCAM_GROUPS "/proc/self/cgroup"
#define DCAM_GROUP_ROOT "/sys/fs/cgroup"

/* Calls visit(context, folder, version) for each group that has a word to say about the controller ("memory", "cpu"): those
 * that a file like DCAM_GROUPS names, and all above them, as folders below root. version: 1 or 2. */
void dcam_each_group(const char *groups, const char *root, const char *controller,
                     void (*visit)(void *context, const char *folder, int version), void *context);

/* The first bytes of FOLDER/FILE as text. False: it cannot be read. */
bool dcam_group_text(const char *folder, const char *file, char *text, size_t capacity);

#endif
