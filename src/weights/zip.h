/* zip.h - the entries of a zip archive in memory, through its central directory (PKWARE APPNOTE 6.3): stored or
 * deflated, zip64 allowed, everything else refused by name. Private to src/weights. */
#ifndef DCAM_WEIGHTS_ZIP_H
#define DCAM_WEIGHTS_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* One storage an entry, at most DCAM_MAX_TENSORS of them, and a handful of others. */
#define DCAM_MAX_ZIP_ENTRIES 70000
#define DCAM_MAX_ZIP_NAME 1024

typedef struct {
    const char *name;       /* points into the archive, not terminated */
    size_t name_length;
    size_t packed_bytes, bytes;
    size_t local_offset;
    uint32_t crc;
    uint16_t method, flags;
} dcam_zip_entry;

typedef struct {
    const char *path;       /* for messages, borrowed */
    const uint8_t *archive; /* borrowed */
    size_t archive_bytes;
    dcam_zip_entry *entries; /* sorted by name */
    size_t count;
} dcam_zip;

/* Reads the directory; archive and path are borrowed until dcam_zip_clear. */
DCAM_MUST_CHECK dcam_status dcam_zip_open(const char *path, const uint8_t *archive, size_t archive_bytes, dcam_zip *out);
void dcam_zip_clear(dcam_zip *zip);

/* NULL if absent. */
const dcam_zip_entry *dcam_zip_find(const dcam_zip *zip, const char *name);

/* The content, CRC checked: a stored entry as it lies in the archive (*block NULL), a deflated one in a block from
 * dcam_alloc. An entry of more than max_bytes is refused before anything is allocated. */
DCAM_MUST_CHECK dcam_status dcam_zip_read(const dcam_zip *zip, const dcam_zip_entry *entry, size_t max_bytes,
                                          const uint8_t **content, void **block);

#endif
