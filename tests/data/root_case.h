/* root_case.h - a folder for the data sets of one test program, and one of them opened. */
#ifndef DCAM_TESTS_ROOT_CASE_H
#define DCAM_TESTS_ROOT_CASE_H

#include "base/memory.h"
#include "data/dataset.h"
#include "tree.h"

static char root[256];

static inline int make_root(void **state)
{
    (void)state;
    tree_create(root);
    return 0;
}

static inline int remove_root(void **state)
{
    (void)state;
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1; /* every test leaves nothing allocated */
}

static inline dcam_dataset *open_below(const char *name, const char *only)
{
    char path[4096];
    dcam_dataset *d = NULL;
    tree_path(root, name, path);
    dcam_status status = dcam_dataset_open(path, only, &d);
    if (status != DCAM_OK) fail_msg("%s", dcam_error_message());
    return d;
}

#endif
