/* pth.c - PyTorch's .pth files since 1.6: a zip archive with data.pkl (what is there) and one entry per storage (the
 * values). A tensor that lies in C order is read where it is; another view is gathered into a block of its own.
 * Executes nothing (see pickle.c). */
#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "weights/pickle.h"
#include "weights/store.h"
#include "weights/zip.h"

typedef struct {
    dcam_tensors *store;
    dcam_zip zip;
    char folder[DCAM_MAX_ZIP_NAME + 1]; /* "archive/" */
    const uint8_t **data;               /* per zip entry: its content once read */
    size_t storage_bytes;               /* of the entries read */
    size_t inflated, gathered;          /* memory beside the file, together at most */
    size_t most_bytes;                  /* this */
} archive;

/* The one entry FOLDER/data.pkl tells the folder's name. */
static dcam_status find_pickle(archive *a, const dcam_zip_entry **out)
{
    static const char suffix[] = "data.pkl";
    const dcam_zip_entry *found = NULL;
    for (size_t i = 0; i < a->zip.count; i++) {
        const dcam_zip_entry *e = &a->zip.entries[i];
        size_t n = sizeof suffix - 1;
        if (e->name_length <= n || memcmp(e->name + e->name_length - n, suffix, n) != 0 ||
            e->name[e->name_length - n - 1] != '/' || memchr(e->name, '/', e->name_length - n - 1))
            continue;
        if (found)
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: holds two pickles, %s and another", a->zip.path,
                             dcam_printable_name(found->name, found->name_length).text);
        found = e;
        memcpy(a->folder, e->name, e->name_length - n);
        a->folder[e->name_length - n] = '\0';
    }
    if (!found)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: is a zip archive without data.pkl, so no .pth file of PyTorch",
                         a->zip.path);
    *out = found;
    return DCAM_OK;
}

static const dcam_zip_entry *find_entry(const archive *a, const char *part, const char *key, size_t key_length)
{
    char name[DCAM_MAX_ZIP_NAME + 1];
    size_t folder = strlen(a->folder), part_length = strlen(part);
    if (key_length > sizeof name || folder + part_length + key_length >= sizeof name || memchr(key, '\0', key_length))
        return NULL;
    memcpy(name, a->folder, folder);
    memcpy(name + folder, part, part_length);
    memcpy(name + folder + part_length, key, key_length);
    name[folder + part_length + key_length] = '\0';
    return dcam_zip_find(&a->zip, name);
}

static size_t bytes_left(const archive *a) { return a->most_bytes - a->inflated - a->gathered; }

/* Reads an entry once; later calls get the same bytes. */
static dcam_status read_once(archive *a, const dcam_zip_entry *e, size_t limit, const uint8_t **out)
{
    size_t index = (size_t)(e - a->zip.entries);
    if (!a->data[index]) {
        void *block = NULL;
        const uint8_t *content = NULL;
        if (e->method != 0 && limit > bytes_left(a)) limit = bytes_left(a);
        DCAM_TRY(dcam_zip_read(&a->zip, e, limit, &content, &block));
        if (block) {
            dcam_status status = dcam_store_keep(a->store, block);
            if (status != DCAM_OK) {
                dcam_free(block);
                return status;
            }
            a->inflated += e->bytes;
        }
        a->data[index] = content;
        a->storage_bytes += e->bytes;
    }
    *out = a->data[index];
    return DCAM_OK;
}

static dcam_status tensor_fault(const archive *a, const dcam_pickle_tensor *p, const char *what)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: %s", a->zip.path,
                     dcam_printable_name(p->name, p->name_length).text, what);
}

/* True if the elements lie in C order without holes. */
static bool is_contiguous(const dcam_pickle_tensor *p)
{
    size_t wanted = 1;
    for (int i = p->rank; i-- > 0;) {
        if (p->shape[i] != 1 && p->stride[i] != wanted) return false;
        wanted *= p->shape[i]; /* the whole product was checked */
    }
    return true;
}

/* The highest element, offset + sum (shape - 1) stride, must be in the storage. */
static bool lies_inside(const dcam_pickle_tensor *p)
{
    size_t last = p->offset;
    for (int i = 0; i < p->rank; i++) {
        size_t step;
        if (!dcam_size_mul(p->shape[i] - 1, p->stride[i], &step) || !dcam_size_add(last, step, &last)) return false;
    }
    return last < p->storage.elements;
}

static void gather(const dcam_pickle_tensor *p, const uint8_t *storage, size_t element, uint8_t *out, size_t count)
{
    size_t at[DCAM_MAX_RANK] = {0}, place = p->offset;
    for (size_t i = 0; i < count; i++) {
        memcpy(out + i * element, storage + place * element, element);
        for (int d = p->rank; d-- > 0;) {
            place += p->stride[d];
            if (++at[d] < p->shape[d]) break;
            place -= p->shape[d] * p->stride[d];
            at[d] = 0;
        }
    }
}

/* A view with holes or in another order, made contiguous. The views of a file together may take as much as its
 * storages, so that a small file cannot ask for much memory. */
static dcam_status gather_block(archive *a, const dcam_pickle_tensor *p, const uint8_t *storage, size_t count,
                                const void **out)
{
    size_t element = dcam_dtype_bytes(p->storage.type), bytes;
    if (!dcam_size_mul(count, element, &bytes) || bytes > a->storage_bytes - a->gathered)
        return tensor_fault(a, p, "is an expanded view, larger than what it views; save a contiguous copy of it");
    if (bytes > bytes_left(a))
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: its compressed storages and rearranged views take more than %zu "
                                             "bytes, the limit; save contiguous tensors, not compressed",
                         a->zip.path, a->most_bytes);
    uint8_t *block = NULL;
    DCAM_TRY(dcam_alloc(count, element, &block));
    dcam_status status = dcam_store_keep(a->store, block);
    if (status != DCAM_OK) {
        dcam_free(block);
        return status;
    }
    gather(p, storage, element, block, count);
    a->gathered += bytes;
    *out = block;
    return DCAM_OK;
}

static dcam_status add_tensor(archive *a, const dcam_pickle_tensor *p)
{
    dcam_tensor t;
    memset(&t, 0, sizeof t);
    t.type = p->storage.type;
    t.rank = p->rank;
    memcpy(t.shape, p->shape, sizeof t.shape);
    size_t element = dcam_dtype_bytes(t.type), bytes;
    if (!dcam_shape_count(t.rank, t.shape, &t.count)) return tensor_fault(a, p, "its shape is too large");
    const dcam_zip_entry *entry = find_entry(a, "data/", p->storage.key, p->storage.key_length);
    if (!entry)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: its storage %s is not in the archive", a->zip.path,
                         dcam_printable_name(p->name, p->name_length).text,
                         dcam_printable_name(p->storage.key, p->storage.key_length).text);
    if (!dcam_size_mul(p->storage.elements, element, &bytes) || bytes != entry->bytes)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s: its storage should hold %zu elements of %zu bytes, but "
                                             "has %zu bytes",
                         a->zip.path, dcam_printable_name(p->name, p->name_length).text, p->storage.elements, element,
                         entry->bytes);
    const uint8_t *storage = NULL;
    DCAM_TRY(read_once(a, entry, a->most_bytes, &storage));
    t.data = storage;
    if (t.count > 0) {
        if (!lies_inside(p)) return tensor_fault(a, p, "reaches beyond its storage");
        if (is_contiguous(p)) t.data = storage + p->offset * element;
        else DCAM_TRY(gather_block(a, p, storage, t.count, &t.data));
    }
    return dcam_store_add(a->store, p->name, p->name_length, &t);
}

/* What else the archive says about itself. */
static dcam_status check_kind(archive *a)
{
    const dcam_zip_entry *order = find_entry(a, "", "byteorder", 9);
    if (find_entry(a, "", "constants.pkl", 13))
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: is a TorchScript program, not a state dict; save its state_dict() "
                                             "with torch.save",
                         a->zip.path);
    if (order) {
        const uint8_t *content = NULL;
        DCAM_TRY(read_once(a, order, 64, &content));
        assert(content);
        if (order->bytes != 6 || memcmp(content, "little", 6) != 0)
            return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: was saved on a big-endian machine, which is not read", a->zip.path);
    }
    return DCAM_OK;
}

dcam_status dcam_pth_fill(dcam_tensors *s, size_t count)
{
    return dcam_pth_fill_within(s, count, DCAM_MAX_WEIGHTS_BYTES);
}

dcam_status dcam_pth_fill_within(dcam_tensors *s, size_t count, size_t most_bytes)
{
    archive a;
    memset(&a, 0, sizeof a);
    a.store = s;
    a.most_bytes = most_bytes;
    const dcam_zip_entry *pickle = NULL;
    const uint8_t *text = NULL;
    dcam_pickle_tensor *tensors = NULL;
    size_t tensor_count = 0;
    DCAM_TRY(dcam_zip_open(s->path, s->bytes, count, &a.zip));
    dcam_status status = dcam_alloc_zero(a.zip.count, sizeof *a.data, &a.data);
    if (status == DCAM_OK) status = find_pickle(&a, &pickle);
    if (status == DCAM_OK) status = check_kind(&a);
    if (status == DCAM_OK) status = read_once(&a, pickle, DCAM_MAX_HEADER_BYTES, &text);
    if (status == DCAM_OK) status = dcam_pickle_read(s->path, text, pickle->bytes, &tensors, &tensor_count);
    for (size_t i = 0; i < tensor_count && status == DCAM_OK; i++) status = add_tensor(&a, &tensors[i]);
    dcam_free(tensors);
    dcam_free(a.data);
    dcam_zip_clear(&a.zip);
    return status;
}
