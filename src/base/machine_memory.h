/* machine_memory.h - how much memory this process may use at all. */
#ifndef DCAM_BASE_MACHINE_MEMORY_H
#define DCAM_BASE_MACHINE_MEMORY_H

#include <stddef.h>

/* The machine's, or the limit of the control group (container) that the process is in, where that is less. 0 where the
 * system says neither. */
size_t dcam_machine_memory(void);
/* Each by itself; 0: not known, no limit. */
size_t dcam_physical_memory(void);
size_t dcam_memory_limit(void);

/* The least limit of the groups that a file like /proc/self/cgroup names, looked up below root (/sys/fs/cgroup); 0: none.
 * Apart for the tests. */
size_t dcam_group_memory(const char *groups, const char *root);

#endif
