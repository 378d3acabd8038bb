/* zip.c - reads zip archives in memory. Every offset and length is compared with the bytes that are there before it
 * is used, and all entries together with the file; the local headers are only asked where their data begin. */
#include "weights/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "weights/store.h"

#define END_BYTES 22u
#define END64_BYTES 56u
#define LOCATOR_BYTES 20u
#define CENTRAL_BYTES 46u
#define LOCAL_BYTES 30u
/* Deflate cannot do better than 1032 to 1: a larger claim is a lie, found before memory is asked for. */
#define MAX_DEFLATE_RATIO 1032u

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)u16(p) | (uint32_t)u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32; }

static dcam_status damaged(const char *path, const char *what)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive: %s; the file is truncated or damaged, get it again", path, what);
}

/* Where the directory is: its offset, size and number of entries. */
typedef struct {
    uint64_t offset, bytes, count;
} directory;

/* The end record is the last thing in the file but for a comment of up to 65,535 bytes. */
static const uint8_t *find_end(const uint8_t *a, size_t n)
{
    if (n < END_BYTES) return NULL;
    size_t furthest = n - END_BYTES < 65535 ? n - END_BYTES : 65535;
    for (size_t comment = 0; comment <= furthest; comment++) {
        const uint8_t *p = a + n - END_BYTES - comment;
        if (u32(p) == 0x06054b50 && u16(p + 20) == comment) return p;
    }
    return NULL;
}

static dcam_status find_directory(const char *path, const uint8_t *a, size_t n, directory *out)
{
    const uint8_t *end = find_end(a, n);
    if (!end) return damaged(path, "its end record is missing");
    if (u16(end + 4) != 0 || u16(end + 6) != 0)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive in several parts, which is not read", path);
    directory d = {u32(end + 16), u32(end + 12), u16(end + 10)};
    size_t limit = (size_t)(end - a);
    if (limit >= LOCATOR_BYTES && u32(end - LOCATOR_BYTES) == 0x07064b50) {
        uint64_t at = u64(end - LOCATOR_BYTES + 8);
        limit -= LOCATOR_BYTES;
        if (limit < END64_BYTES || at > limit - END64_BYTES || u32(a + at) != 0x06064b50)
            return damaged(path, "its zip64 end record is missing");
        d = (directory){u64(a + at + 48), u64(a + at + 40), u64(a + at + 32)};
        limit = (size_t)at;
    }
    if (d.offset > limit || d.bytes > limit - d.offset) return damaged(path, "its directory lies outside the file");
    if (d.count > DCAM_MAX_ZIP_ENTRIES)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive with %llu entries, more than the limit of %d", path,
                         (unsigned long long)d.count, DCAM_MAX_ZIP_ENTRIES);
    if (d.count > d.bytes / CENTRAL_BYTES) return damaged(path, "its directory is too short for its entries");
    *out = d;
    return DCAM_OK;
}

/* Sizes and offset of 2^32 - 1 stand for 64-bit values in extra field 1, in this order. */
static bool read_zip64_extra(const uint8_t *extra, size_t n, uint64_t *bytes, uint64_t *packed, uint64_t *offset)
{
    uint64_t *wide[3] = {bytes, packed, offset};
    bool any = false;
    for (int i = 0; i < 3; i++) any = any || *wide[i] == UINT32_MAX;
    if (!any) return true;
    while (n >= 4) {
        size_t length = u16(extra + 2);
        if (length > n - 4) return false;
        if (u16(extra) == 1) {
            const uint8_t *p = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX) continue;
                if (length < 8) return false;
                *wide[i] = u64(p);
                p += 8;
                length -= 8;
            }
            return true;
        }
        extra += 4 + length;
        n -= 4 + length;
    }
    return true; /* a size of exactly 2^32 - 1; the bounds decide */
}

/* One record at p of at most n bytes; *used is what it took. */
static dcam_status read_central(const char *path, size_t archive_bytes, const uint8_t *p, size_t n,
                                dcam_zip_entry *out, size_t *used)
{
    if (n < CENTRAL_BYTES || u32(p) != 0x02014b50) return damaged(path, "an entry of its directory is missing");
    size_t name = u16(p + 28), extra = u16(p + 30), comment = u16(p + 32);
    size_t total = CENTRAL_BYTES + name + extra + comment;
    if (total > n) return damaged(path, "an entry of its directory is cut off");
    if (name == 0 || name > DCAM_MAX_ZIP_NAME)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive: an entry's name is %zu bytes long; 1 to %d are allowed",
                         path, name, DCAM_MAX_ZIP_NAME);
    uint64_t packed = u32(p + 20), bytes = u32(p + 24), offset = u32(p + 42);
    if (!read_zip64_extra(p + CENTRAL_BYTES + name, extra, &bytes, &packed, &offset))
        return damaged(path, "the zip64 field of an entry is cut off");
    if (packed > archive_bytes || offset > archive_bytes) return damaged(path, "an entry lies outside the file");
    *out = (dcam_zip_entry){.name = (const char *)p + CENTRAL_BYTES, .name_length = name,
                            .packed_bytes = (size_t)packed, .bytes = (size_t)bytes, .local_offset = (size_t)offset,
                            .crc = u32(p + 16), .method = u16(p + 10), .flags = u16(p + 8)};
    *used = total;
    return DCAM_OK;
}

static int compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_entries(const void *a, const void *b)
{
    const dcam_zip_entry *x = a, *y = b;
    return compare(x->name, x->name_length, y->name, y->name_length);
}

/* Entries that lie one in the other let a small file stand for a large one, and its bytes be summed again for each:
 * together they must find room in the file. What they hold was compared with the file one by one before, so that the
 * sum of 70,000 of them does not overflow. */
static dcam_status check_room(const char *path, size_t archive_bytes, const dcam_zip_entry *entries, size_t count)
{
    uint64_t needed = 0;
    for (size_t i = 0; i < count; i++) needed += LOCAL_BYTES + entries[i].name_length + entries[i].packed_bytes;
    if (needed <= archive_bytes) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive: its entries overlap: they take %llu bytes of a file of %zu; "
                                         "get the file again, from a source that you trust",
                     path, (unsigned long long)needed, archive_bytes);
}

dcam_status dcam_zip_open(const char *path, const uint8_t *archive, size_t archive_bytes, dcam_zip *out)
{
    directory d = {0, 0, 0};
    DCAM_TRY(find_directory(path, archive, archive_bytes, &d));
    dcam_zip_entry *entries = NULL;
    DCAM_TRY(dcam_alloc((size_t)d.count, sizeof *entries, &entries));
    dcam_status status = DCAM_OK;
    const uint8_t *p = archive + d.offset;
    size_t left = (size_t)d.bytes, used = 0, count = (size_t)d.count;
    for (size_t i = 0; i < count && status == DCAM_OK; i++) {
        status = read_central(path, archive_bytes, p, left, &entries[i], &used);
        if (status != DCAM_OK) break;
        p += used;
        left -= used;
    }
    if (status == DCAM_OK) status = check_room(path, archive_bytes, entries, count);
    if (status == DCAM_OK && count > 0) qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 1; i < count && status == DCAM_OK; i++)
        if (compare_entries(&entries[i - 1], &entries[i]) == 0)
            status = dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip archive: entry %s is there twice", path,
                               dcam_printable_name(entries[i].name, entries[i].name_length).text);
    if (status != DCAM_OK) {
        dcam_free(entries);
        return status;
    }
    *out = (dcam_zip){path, archive, archive_bytes, entries, count};
    return DCAM_OK;
}

void dcam_zip_clear(dcam_zip *zip)
{
    dcam_free(zip->entries);
    zip->entries = NULL;
    zip->count = 0;
}

const dcam_zip_entry *dcam_zip_find(const dcam_zip *zip, const char *name)
{
    size_t low = 0, high = zip->count, length = strlen(name);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const dcam_zip_entry *e = &zip->entries[middle];
        int order = compare(name, length, e->name, e->name_length);
        if (order == 0) return e;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

static dcam_status entry_fault(const dcam_zip *zip, const dcam_zip_entry *e, const char *what)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip entry %s %s", zip->path,
                     dcam_printable_name(e->name, e->name_length).text, what);
}

/* zlib's own state; kept within the library's counted and bounded memory. */
static voidpf zlib_alloc(voidpf opaque, uInt items, uInt size)
{
    void *p;
    (void)opaque;
    return dcam_alloc_zero(items, size, &p) == DCAM_OK ? p : NULL;
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    dcam_free(p);
}

/* Exactly out_bytes must come out and all of the input must be used: Z_OK, else zlib's reason. avail_* are 32 bits
 * wide; DCAM_MAX_WEIGHTS_BYTES is below that. */
static int inflate_all(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    z.zalloc = zlib_alloc;
    z.zfree = zlib_free;
    if (in_bytes > UINT32_MAX || out_bytes > UINT32_MAX) return Z_DATA_ERROR;
    int result = inflateInit2(&z, -15);
    if (result != Z_OK) return result;
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)in_bytes;
    z.next_out = out;
    z.avail_out = (uInt)out_bytes;
    result = inflate(&z, Z_FINISH);
    bool whole = result == Z_STREAM_END && z.avail_out == 0 && z.avail_in == 0;
    inflateEnd(&z);
    if (whole) return Z_OK;
    return result == Z_MEM_ERROR ? Z_MEM_ERROR : Z_DATA_ERROR;
}

dcam_status dcam_zip_read(const dcam_zip *zip, const dcam_zip_entry *e, size_t max_bytes, const uint8_t **content,
                          void **block)
{
    const uint8_t *a = zip->archive;
    uint8_t *inflated = NULL;
    if (e->flags & 1) return entry_fault(zip, e, "is encrypted, which is not read");
    if (e->method != 0 && e->method != 8)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip entry %s is packed with method %u; only stored (0) and deflated "
                                             "(8) entries are read",
                         zip->path, dcam_printable_name(e->name, e->name_length).text, e->method);
    if (e->bytes > max_bytes)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: zip entry %s has %zu bytes, more than the limit of %zu", zip->path,
                         dcam_printable_name(e->name, e->name_length).text, e->bytes, max_bytes);
    if (zip->archive_bytes < LOCAL_BYTES || e->local_offset > zip->archive_bytes - LOCAL_BYTES ||
        u32(a + e->local_offset) != 0x04034b50)
        return entry_fault(zip, e, "has no local header; the file is damaged, get it again");
    size_t begin = e->local_offset + LOCAL_BYTES + u16(a + e->local_offset + 26) + u16(a + e->local_offset + 28);
    if (begin > zip->archive_bytes || e->packed_bytes > zip->archive_bytes - begin)
        return entry_fault(zip, e, "lies outside the file; the file is truncated, get it again");
    const uint8_t *data = a + begin;
    if (e->method == 0) {
        if (e->packed_bytes != e->bytes) return entry_fault(zip, e, "has two sizes; the file is damaged, get it again");
    } else {
        if (e->bytes / MAX_DEFLATE_RATIO > e->packed_bytes)
            return entry_fault(zip, e, "claims more bytes than deflate can hold; the file is damaged, get it again");
        DCAM_TRY(dcam_alloc(e->bytes, 1, &inflated));
        int result = inflate_all(data, e->packed_bytes, inflated, e->bytes);
        if (result != Z_OK) {
            dcam_free(inflated);
            if (result == Z_MEM_ERROR)
                return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to inflate a zip entry", zip->path);
            return entry_fault(zip, e, "cannot be inflated; the file is damaged, get it again");
        }
        data = inflated;
    }
    if (crc32_z(0, data, e->bytes) != e->crc) {
        dcam_free(inflated);
        return entry_fault(zip, e, "has a wrong checksum; the file is damaged, get it again");
    }
    *content = data;
    *block = inflated;
    return DCAM_OK;
}
