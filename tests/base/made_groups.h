/* made_groups.h - control groups of made files, in a folder of the tests' own. */
#ifndef DCAM_TESTS_MADE_GROUPS_H
#define DCAM_TESTS_MADE_GROUPS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static char root[] = "/tmp/dcam-groups.XXXXXX";

static inline int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

/* A file of the root; its folders are made. */
static inline void put(const char *name, const char *text)
{
    char path[512], *slash;
    snprintf(path, sizeof path, "%s/%s", root, name);
    slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(dcam_make_folders(path), DCAM_OK);
    *slash = '/';
    assert_int_equal(dcam_file_write(path, text, strlen(text)), DCAM_OK);
}

/* What /proc/self/cgroup would say, as a file whose path is given back. */
static inline const char *put_groups(const char *groups)
{
    static char path[512];
    put("groups", groups);
    snprintf(path, sizeof path, "%s/groups", root);
    return path;
}

#endif
