/* codec_memory.h - inside the image layer only: gives libspng and stb_image
 * memory of this library; what frees it is dcam_free itself. They report a
 * failed allocation in many ways (libspng as damaged data, where it happens
 * inside zlib), so that it is remembered here. */
#ifndef DCAM_IMAGE_CODEC_MEMORY_H
#define DCAM_IMAGE_CODEC_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Before a codec is used. */
void dcam_codec_begin(void);
/* Whether an allocation of this thread's codec has failed since. */
bool dcam_codec_lacked_memory(void);

void *dcam_codec_malloc(size_t size);
void *dcam_codec_calloc(size_t count, size_t size);
void *dcam_codec_realloc(void *p, size_t size);

#endif
