/* control_group.c - see control_group.h. Version 2 has one tree for all controllers, version 1 a tree for each. */
#define _DEFAULT_SOURCE /* strsep */
#include "base/control_group.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define PATH_BYTES 4096
/* Of a list of groups: version 1 has about 13, with one path or another. */
#define LIST_BYTES 16384

typedef struct {
    const char *root, *tree; /* tree: "" or "/memory" */
    int version;
    void (*visit)(void *, const char *, int);
    void *context;
} walk;

/* The group, then those above it. group is shortened. */
static void visit_along(const walk *w, char *group)
{
    char folder[PATH_BYTES];
    for (;;) {
        if (snprintf(folder, sizeof folder, "%s%s%s", w->root, w->tree, strcmp(group, "/") == 0 ? "" : group) < (int)sizeof folder)
            w->visit(w->context, folder, w->version);
        char *slash = strrchr(group, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

/* The name as one of those between commas. */
static bool has_name(const char *names, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = names; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ','))
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0) return true;
    return false;
}

/* Lines "0::/group" (version 2) and "N:controllers:/group" (version 1). */
void dcam_each_group(const char *groups, const char *root, const char *controller,
                     void (*visit)(void *context, const char *folder, int version), void *context)
{
    char list[LIST_BYTES], tree[64], *rest = list, *line;
    if (!dcam_system_text(groups, list, sizeof list)) return;
    snprintf(tree, sizeof tree, "/%s", controller);
    while ((line = strsep(&rest, "\n"))) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        controllers++;
        const bool second = controllers[0] == '\0';
        if (!second && !has_name(controllers, controller)) continue;
        visit_along(&(walk){root, second ? "" : tree, second ? 2 : 1, visit, context}, group);
    }
}

bool dcam_group_text(const char *folder, const char *file, char *text, size_t capacity)
{
    char path[PATH_BYTES + 64];
    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) return false;
    return dcam_system_text(path, text, capacity);
}
