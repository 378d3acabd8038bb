/* json_allocations.h - jansson's allocations are taken from ours, so that allocations.h counts them, refuses them and
 * sees what was not given back. With setup and teardown of each test, as a value that lives across a change would be
 * freed by the wrong side. */
#ifndef DCAM_TESTS_JSON_ALLOCATIONS_H
#define DCAM_TESTS_JSON_ALLOCATIONS_H

#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"

static inline void *json_counted(size_t bytes)
{
    void *block;
    return dcam_alloc(bytes, 1, &block) == DCAM_OK ? block : NULL;
}

static inline int count_json(void **state)
{
    (void)state;
    json_set_alloc_funcs(json_counted, dcam_free);
    return 0;
}

static inline int count_json_no_more(void **state)
{
    (void)state;
    json_set_alloc_funcs(malloc, free);
    return 0;
}

#endif
