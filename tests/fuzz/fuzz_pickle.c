/* The pickle alone, in an archive made around the bytes, so that changes need not get past the zip's checksum. The bytes:
 * how many storages there are (one byte), how large each is (two bytes, the low one first), then the pickle. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "fuzz.h"
#include "weights/tensors.h"

enum { MAX_PICKLE = 1 << 16, MAX_STORAGES = 15, MAX_STORAGE = 4096 };

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

typedef struct {
    uint8_t *bytes;
    size_t count;
} part;

static void put_entry(part *archive, part *directory, const char *name, const uint8_t *content, size_t count)
{
    const size_t offset = archive->count, name_length = strlen(name);
    uint8_t *at = archive->bytes + offset;
    size_t n = put(at, 0x04034b50, 4);
    n += put_facts(at + n, content, count, name);
    memcpy(at + n, name, name_length);
    n += name_length;
    if (count > 0) memcpy(at + n, content, count);
    archive->count += n + count;

    at = directory->bytes + directory->count;
    n = put(at, 0x02014b50, 4);
    n += put(at + n, 20, 2);
    n += put_facts(at + n, content, count, name);
    n += put(at + n, 0, 10); /* comment, disk, attributes */
    n += put(at + n, offset, 4);
    memcpy(at + n, name, name_length);
    directory->count += n + name_length;
}

static void put_end(part *archive, const part *directory, int entries)
{
    const size_t start = archive->count;
    uint8_t *at = archive->bytes + start;
    memcpy(at, directory->bytes, directory->count);
    size_t n = directory->count;
    n += put(at + n, 0x06054b50, 4);
    n += put(at + n, 0, 4);
    n += put(at + n, (uint64_t)entries, 2);
    n += put(at + n, (uint64_t)entries, 2);
    n += put(at + n, directory->count, 4);
    n += put(at + n, start, 4);
    archive->count += n + put(at + n, 0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const uint8_t storage[MAX_STORAGE] = {0, 0, 128, 63};
    static uint8_t archive_bytes[MAX_PICKLE + MAX_STORAGES * (MAX_STORAGE + 128) + 4096], directory_bytes[4096];
    part archive = {archive_bytes, 0}, directory = {directory_bytes, 0};
    const int storages = count > 0 ? bytes[0] % (MAX_STORAGES + 1) : 0;
    const size_t head = 1 + 2 * (size_t)storages;
    dcam_tensors *t;
    if (count < head || count - head > MAX_PICKLE) return 0;
    put_entry(&archive, &directory, "archive/data.pkl", bytes + head, count - head);
    for (int i = 0; i < storages; i++) {
        char name[32];
        const size_t size = bytes[1 + 2 * i] + 256u * bytes[2 + 2 * i];
        snprintf(name, sizeof name, "archive/data/%d", i);
        put_entry(&archive, &directory, name, storage, size % (MAX_STORAGE + 1));
    }
    put_end(&archive, &directory, 1 + storages);
    if (dcam_pth_parse(archive.bytes, archive.count, "fuzz", &t) == DCAM_OK) {
        fuzz_accepted++;
        dcam_tensors_destroy(t);
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
