/* cores.c - the affinity mask, and the quotas of control groups: version 2 (cpu.max, of the group and of those above it)
 * and version 1 (cpu.cfs_quota_us, cpu.cfs_period_us). A group that has used up its quota stands still until the next
 * period, whatever its threads are doing: more threads than that wait for one another. */
#define _GNU_SOURCE
#include "base/cores.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include "base/control_group.h"
#include "base/memory.h"

/* The system refuses a set that is too small for its processors (EINVAL); no system has as many. */
#define MOST_PROCESSORS (1 << 20)

static int cores_beyond_1024(void)
{
    for (size_t processors = 2 * CPU_SETSIZE; processors <= MOST_PROCESSORS; processors *= 2) {
        const size_t bytes = CPU_ALLOC_SIZE(processors);
        cpu_set_t *set;
        if (dcam_alloc_zero(bytes, 1, &set) != DCAM_OK) return 1;
        const int error = sched_getaffinity(0, bytes, set) == 0 ? 0 : errno, n = CPU_COUNT_S(bytes, set);
        dcam_free(set);
        if (error != EINVAL) return error == 0 && n > 0 ? n : 1;
    }
    return 1;
}

static int affinity_cores(void)
{
    cpu_set_t set; /* of 1024 */
    if (sched_getaffinity(0, sizeof set, &set) != 0) return errno == EINVAL ? cores_beyond_1024() : 1;
    const int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

/* A whole number from *at on, which is moved behind it; 0: none ("max" and "-1" mean no quota). */
static unsigned long long number(const char **at)
{
    char *end;
    if (**at < '0' || **at > '9') return 0;
    const unsigned long long value = strtoull(*at, &end, 10);
    *at = *end == ' ' ? end + 1 : end;
    return value;
}

static void look_at(void *context, const char *folder, int version)
{
    int *least = context;
    char text[64], period_text[32] = "";
    const char *at = text, *period_at = period_text;
    if (!dcam_group_text(folder, version == 2 ? "cpu.max" : "cpu.cfs_quota_us", text, sizeof text)) return;
    if (version == 1 && !dcam_group_text(folder, "cpu.cfs_period_us", period_text, sizeof period_text)) return;
    const unsigned long long quota = number(&at), period = number(version == 2 ? &at : &period_at);
    if (quota == 0 || period == 0) return;
    const unsigned long long cores = quota / period + (quota % period != 0);
    if (cores < INT_MAX && (*least == 0 || (int)cores < *least)) *least = (int)cores;
}

int dcam_group_cores(const char *groups, const char *root)
{
    int least = 0;
    dcam_each_group(groups, root, "cpu", look_at, &least);
    return least;
}

int dcam_available_cores(void)
{
    const int cores = affinity_cores(), quota = dcam_group_cores(DCAM_GROUPS, DCAM_GROUP_ROOT);
    return quota > 0 && quota < cores ? quota : cores;
}
