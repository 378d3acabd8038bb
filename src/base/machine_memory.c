/* machine_memory.c - physical memory and the limits of control groups: version 2 (memory.max, of the group and of those
 * above it) and version 1 (memory.limit_in_bytes). Beyond such a limit the system ends the process without a word. */
#include "base/machine_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#define ROOT "/sys/fs/cgroup"
#define PATH_BYTES 4096

static size_t smaller(size_t a, size_t b) { return a == 0 || (b > 0 && b < a) ? b : a; }

/* What version 1 says where there is no limit is about 2^63. */
#define NO_LIMIT ((unsigned long long)1 << 60)

/* The number in a file; 0 where there is none ("max" means no limit). */
static size_t number_in(const char *path)
{
    char text[32] = "";
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const unsigned long long value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : 0;
    return value < NO_LIMIT && value < SIZE_MAX ? (size_t)value : 0;
}

/* The smallest limit of ROOT/FOLDER/GROUP and of every group above it. group is shortened. */
static size_t limit_along(const char *root, const char *folder, char *group, const char *file)
{
    char path[PATH_BYTES];
    size_t limit = 0;
    for (;;) {
        if (snprintf(path, sizeof path, "%s%s%s/%s", root, folder, strcmp(group, "/") == 0 ? "" : group, file) < (int)sizeof path)
            limit = smaller(limit, number_in(path));
        char *slash = strrchr(group, '/');
        if (!slash) return limit;
        *slash = '\0';
    }
}

/* "memory" as one of the names between commas. */
static bool is_memory(const char *controllers)
{
    for (const char *at = controllers; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ','))
        if (strcspn(at, ",") == 6 && strncmp(at, "memory", 6) == 0) return true;
    return false;
}

/* Lines "0::/group" (version 2) and "N:controllers:/group" (version 1). */
size_t dcam_group_memory(const char *groups, const char *root)
{
    char line[PATH_BYTES];
    size_t limit = 0;
    FILE *f = fopen(groups, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        controllers++;
        if (controllers[0] == '\0') limit = smaller(limit, limit_along(root, "", group, "memory.max"));
        else if (is_memory(controllers)) limit = smaller(limit, limit_along(root, "/memory", group, "memory.limit_in_bytes"));
    }
    if (f) fclose(f);
    return limit;
}

size_t dcam_memory_limit(void) { return dcam_group_memory("/proc/self/cgroup", ROOT); }

size_t dcam_physical_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t bytes = 0;
    if (pages <= 0 || page <= 0 || !dcam_size_mul((size_t)pages, (size_t)page, &bytes)) return 0;
    return bytes;
}

size_t dcam_machine_memory(void) { return smaller(dcam_physical_memory(), dcam_memory_limit()); }
