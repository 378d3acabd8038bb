/* The pickle alone, in an archive made around the bytes, so that changes need not get past the zip's checksum. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "fuzz.h"
#include "weights/tensors.h"

enum { MAX_PICKLE = 1 << 16, ENTRIES = 3, NAME = 16 };

static size_t put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
    return (size_t)bytes;
}

/* The fields that local header and directory share. */
static size_t put_facts(uint8_t *at, const uint8_t *bytes, size_t count, const char *name)
{
    size_t n = put(at, 20, 2); /* version */
    n += put(at + n, 0, 8);    /* flags, stored, time */
    n += put(at + n, crc32_z(0, bytes, count), 4);
    n += put(at + n, count, 4);
    n += put(at + n, count, 4);
    n += put(at + n, strlen(name), 2);
    return n + put(at + n, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const uint8_t storage[64] = {0, 0, 128, 63};
    static const char *const names[ENTRIES] = {"archive/data.pkl", "archive/data/0", "archive/data/1"};
    static uint8_t archive[MAX_PICKLE + 1024];
    uint8_t directory[512];
    size_t used = 0, listed = 0;
    if (count > MAX_PICKLE) return 0;
    for (int i = 0; i < ENTRIES; i++) {
        const uint8_t *content = i == 0 ? bytes : storage;
        const size_t n = i == 0 ? count : sizeof storage, offset = used;
        used += put(archive + used, 0x04034b50, 4);
        used += put_facts(archive + used, content, n, names[i]);
        memcpy(archive + used, names[i], strlen(names[i]));
        used += strlen(names[i]);
        if (n > 0) memcpy(archive + used, content, n);
        used += n;
        listed += put(directory + listed, 0x02014b50, 4);
        listed += put(directory + listed, 20, 2);
        listed += put_facts(directory + listed, content, n, names[i]);
        listed += put(directory + listed, 0, 10); /* comment, disk, attributes */
        listed -= 2;
        listed += put(directory + listed, 0, 4);
        listed += put(directory + listed, offset, 4);
        memcpy(directory + listed, names[i], strlen(names[i]));
        listed += strlen(names[i]);
    }
    const size_t start = used;
    memcpy(archive + used, directory, listed);
    used += listed;
    used += put(archive + used, 0x06054b50, 4);
    used += put(archive + used, 0, 4);
    used += put(archive + used, ENTRIES, 2);
    used += put(archive + used, ENTRIES, 2);
    used += put(archive + used, listed, 4);
    used += put(archive + used, start, 4);
    used += put(archive + used, 0, 2);
    dcam_tensors *t;
    if (dcam_pth_parse(archive, used, "fuzz", &t) == DCAM_OK) dcam_tensors_destroy(t);
    if (dcam_memory_held() != 0) abort();
    return 0;
}
