/* machine_memory.c - physical memory and the limits of control groups: version 2 (memory.max, of the group and of those
 * above it) and version 1 (memory.limit_in_bytes). Beyond such a limit the system ends the process without a word. */
#include "base/machine_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/control_group.h"
#include "base/memory.h"

static size_t smaller(size_t a, size_t b) { return a == 0 || (b > 0 && b < a) ? b : a; }

/* What version 1 says where there is no limit is about 2^63. */
#define NO_LIMIT ((unsigned long long)1 << 60)

/* "max" means no limit. */
static void look_at(void *context, const char *folder, int version)
{
    size_t *limit = context;
    char text[32];
    if (!dcam_group_text(folder, version == 2 ? "memory.max" : "memory.limit_in_bytes", text, sizeof text)) return;
    const unsigned long long value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : 0;
    if (value < NO_LIMIT && value < SIZE_MAX) *limit = smaller(*limit, (size_t)value);
}

size_t dcam_group_memory(const char *groups, const char *root)
{
    size_t limit = 0;
    dcam_each_group(groups, root, "memory", look_at, &limit);
    return limit;
}

size_t dcam_memory_limit(void) { return dcam_group_memory(DCAM_GROUPS, DCAM_GROUP_ROOT); }

size_t dcam_physical_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t bytes = 0;
    if (pages <= 0 || page <= 0 || !dcam_size_mul((size_t)pages, (size_t)page, &bytes)) return 0;
    return bytes;
}

size_t dcam_machine_memory(void) { return smaller(dcam_physical_memory(), dcam_memory_limit()); }
