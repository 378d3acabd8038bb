/* data_identity.c - see data_identity.h. What it reads of a record is what record.c writes. */
#include "distill/data_identity.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "weights/json_text.h"

static dcam_status fingerprint_class(const dcam_dataset *d, size_t class_index, char out[DCAM_SHA256_HEX])
{
    uint32_t *images;
    size_t count;
    DCAM_TRY(dcam_dataset_select(d, (int)class_index, DCAM_SPLIT_TRAIN, true, &images, &count));
    const dcam_status status = dcam_dataset_fingerprint(d, images, count, out);
    dcam_free(images);
    return status;
}

dcam_status dcam_data_identity_of(const dcam_dataset *d, dcam_data_identity *out)
{
    dcam_data_identity identity = {.classes = NULL};
    dcam_sha256 hash;
    dcam_status status = dcam_alloc(d->class_count, sizeof *identity.classes, &identity.classes);
    dcam_sha256_init(&hash);
    for (size_t c = 0; c < d->class_count && status == DCAM_OK; c++) {
        status = fingerprint_class(d, c, identity.classes[c]);
        if (status != DCAM_OK) break;
        dcam_sha256_update(&hash, d->class_names[c], strlen(d->class_names[c]) + 1);
        dcam_sha256_update(&hash, identity.classes[c], sizeof identity.classes[c]);
    }
    if (status != DCAM_OK) {
        dcam_data_identity_clear(&identity);
        return status;
    }
    dcam_sha256_final_hex(&hash, identity.all);
    *out = identity;
    return DCAM_OK;
}

void dcam_data_identity_clear(dcam_data_identity *identity)
{
    dcam_free(identity->classes);
    identity->classes = NULL;
}

/* ---- from a record ---- */

typedef struct {
    json_t *json;
    const json_t *classes; /* NULL: nothing is known */
    double fraction;
    uint64_t seed;
} training;

/* Anything that is not as record.c writes it leaves classes NULL. */
static dcam_status read_record(const char *text, training *out)
{
    dcam_json_error error = {0};
    training t = {.json = text ? dcam_json_parse(text, strlen(text), &error) : NULL};
    if (error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "out of memory to read the training record");
    const json_t *options = json_object_get(t.json, "options");
    const char *seed = json_string_value(json_object_get(options, "seed")); /* text: it may be too large for JSON */
    char *end = NULL;
    t.fraction = json_number_value(json_object_get(options, "validation_fraction"));
    *out = t;
    if (!seed || !(t.fraction > 0 && t.fraction < 1)) return DCAM_OK;
    errno = 0;
    t.seed = strtoull(seed, &end, 10);
    if (errno == 0 && end != seed && *end == '\0') {
        t.classes = json_object_get(json_object_get(t.json, "data"), "classes");
    }
    *out = t;
    return DCAM_OK;
}

static dcam_status is_known(const training *t, const dcam_dataset *d, size_t class_index, bool *known)
{
    const json_t *entry = json_object_get(t->classes, d->class_names[class_index]);
    const char *wanted = json_string_value(json_object_get(entry, "fingerprint"));
    char here[DCAM_SHA256_HEX];
    *known = false;
    if (!wanted) return DCAM_OK;
    DCAM_TRY(fingerprint_class(d, class_index, here));
    *known = strcmp(here, wanted) == 0;
    return DCAM_OK;
}

/* The unseen images of one class. */
static dcam_status choose(const training *t, const dcam_dataset *d, size_t class_index, uint32_t **out, size_t *count,
                          size_t *known)
{
    uint32_t *learned;
    size_t learned_count;
    bool same;
    DCAM_TRY(is_known(t, d, class_index, &same));
    if (!same) return dcam_dataset_select(d, (int)class_index, DCAM_SPLIT_TRAIN, true, out, count);
    DCAM_TRY(dcam_dataset_split_class(d, (int)class_index, t->fraction, t->seed, &learned, &learned_count, out, count));
    dcam_free(learned);
    ++*known;
    return DCAM_OK;
}

dcam_status dcam_unseen_images(const dcam_dataset *d, const char *record, uint32_t **out, size_t *out_count, size_t *known)
{
    uint32_t *all;
    size_t count = 0, classes = 0;
    DCAM_TRY(dcam_alloc(d->sample_count, sizeof *all, &all));
    training t = {0};
    dcam_status status = read_record(record, &t);
    for (size_t c = 0; c < d->class_count && status == DCAM_OK; c++) {
        uint32_t *some;
        size_t n;
        if ((status = choose(&t, d, c, &some, &n, &classes)) != DCAM_OK) break;
        memcpy(all + count, some, n * sizeof *some);
        count += n;
        dcam_free(some);
    }
    json_decref(t.json);
    if (status != DCAM_OK) {
        dcam_free(all);
        return status;
    }
    *out = all;
    *out_count = count;
    if (known) *known = classes;
    return DCAM_OK;
}
