/* checksums.c - see checksums.h. The tensors are summed in parallel. */
#include "weights/checksums.h"

#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "weights/json_text.h"

void checksums_add_text(checksums_of_text *text, const char *key, const char *value)
{
    uint8_t one[DCAM_SHA256_BYTES];
    dcam_sha256 hash;
    dcam_sha256_init(&hash);
    dcam_sha256_update(&hash, key, strlen(key) + 1);
    dcam_sha256_update(&hash, value, strlen(value) + 1);
    dcam_sha256_final(&hash, one);
    for (int i = 0; i < DCAM_SHA256_BYTES; i++) text->sum[i] ^= one[i];
}

void checksums_finish_text(const checksums_of_text *text, char out[DCAM_SHA256_HEX])
{
    dcam_sha256_of(text->sum, sizeof text->sum, out);
}

typedef struct {
    const dcam_tensors *store;
    const json_t *sums;
    _Atomic size_t wrong; /* index + 1 of the first tensor that differs */
} comparison;

static bool is_sum_of(const comparison *c, const char *name, const char *found)
{
    const char *wanted = json_string_value(json_object_get(c->sums, name));
    return wanted && strcmp(wanted, found) == 0;
}

static void compare_tensors(void *user, size_t begin, size_t end)
{
    comparison *c = user;
    char sum[DCAM_SHA256_HEX];
    for (size_t i = begin; i < end; i++) {
        const dcam_tensor *t = &c->store->items[i];
        dcam_sha256_of(t->data, t->count * dcam_dtype_bytes(t->type), sum);
        if (is_sum_of(c, t->name, sum)) continue;
        size_t known = atomic_load(&c->wrong);
        while ((known == 0 || i + 1 < known) && !atomic_compare_exchange_weak(&c->wrong, &known, i + 1)) {}
    }
}

static bool text_is_right(const comparison *c, const dcam_tensors *s)
{
    checksums_of_text text = {{0}};
    char sum[DCAM_SHA256_HEX];
    for (size_t i = 0; i < s->metadata_count; i++)
        if (strcmp(s->metadata[i].key, CHECKSUMS_KEY) != 0) checksums_add_text(&text, s->metadata[i].key, s->metadata[i].value);
    checksums_finish_text(&text, sum);
    return s->metadata_count < 2 || is_sum_of(c, CHECKSUMS_TEXT, sum);
}

static dcam_status compare(const dcam_tensors *s, const json_t *sums)
{
    comparison c = {.store = s, .sums = sums};
    if (!json_is_object(sums)) return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: its checksums are damaged; get the file again", s->path);
    dcam_parallel_for(s->count, compare_tensors, &c);
    const size_t wrong = atomic_load(&c.wrong);
    if (wrong > 0)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: tensor %s is not what was written (SHA-256); the file is damaged, get it again",
                         s->path, s->items[wrong - 1].name);
    if (text_is_right(&c, s)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: its metadata is not what was written (SHA-256); the file is damaged, get it again", s->path);
}

dcam_status checksums_verify(dcam_tensors *s)
{
    size_t at = 0;
    dcam_json_error error;
    while (at < s->metadata_count && strcmp(s->metadata[at].key, CHECKSUMS_KEY) != 0) at++;
    if (at == s->metadata_count) return DCAM_OK;
    json_t *sums = dcam_json_parse(s->metadata[at].value, strlen(s->metadata[at].value), &error);
    if (!sums && error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "%s: out of memory to read its checksums", s->path);
    const dcam_status status = compare(s, sums);
    json_decref(sums);
    dcam_free(s->metadata[at].key);
    dcam_free(s->metadata[at].value);
    s->metadata[at] = s->metadata[--s->metadata_count];
    return status;
}
