/* codec_memory.c - malloc, calloc and realloc for the codec libraries on top of
 * base/memory.h. */
#include "image/codec_memory.h"

#include "base/memory.h"

static _Thread_local bool lacked_memory;

void dcam_codec_begin(void) { lacked_memory = false; }

bool dcam_codec_lacked_memory(void) { return lacked_memory; }

void *dcam_codec_malloc(size_t size)
{
    void *p = NULL;
    if (dcam_alloc(size, 1, &p) != DCAM_OK) lacked_memory = true;
    return p;
}

void *dcam_codec_calloc(size_t count, size_t size)
{
    void *p = NULL;
    if (dcam_alloc_zero(count, size, &p) != DCAM_OK) lacked_memory = true;
    return p;
}

void *dcam_codec_realloc(void *p, size_t size)
{
    if (dcam_realloc(size, 1, &p) == DCAM_OK) return p;
    lacked_memory = true;
    return NULL;
}
