/* cores.h - how many processor cores this process may use at all. */
#ifndef DCAM_BASE_CORES_H
#define DCAM_BASE_CORES_H

/* Those of the affinity mask (not of the machine), or the quota of the control group (container) where that is less; at
 * least 1. */
int dcam_available_cores(void);

/* The least quota, in cores and rounded up, of the groups that a file like /proc/self/cgroup names, looked up below root;
 * 0: none. Apart for the tests. */
int dcam_group_cores(const char *groups, const char *root);

#endif
