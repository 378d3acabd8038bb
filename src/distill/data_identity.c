/* data_identity.c - see data_identity.h. What it reads of a record is what record.c writes. */
#include "distill/data_identity.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "weights/json_text.h"

/* Part of the identity of data with copies alone. */
#define COPIES_COUNT_ONCE "copies count once"

/* The normal training images of a class, and their marks (as many). fingerprint: of all of them, or NULL. */
static dcam_status look_at_class(const dcam_dataset *d, int class_index, char fingerprint[DCAM_SHA256_HEX], uint32_t **images,
                                 size_t *count, dcam_content_mark **marks)
{
    char ignored[DCAM_SHA256_HEX];
    DCAM_TRY(dcam_dataset_select(d, class_index, DCAM_SPLIT_TRAIN, true, images, count));
    dcam_status status = dcam_alloc(*count, sizeof **marks, marks);
    if (status == DCAM_OK) {
        status = dcam_dataset_fingerprint(d, *images, *count, fingerprint ? fingerprint : ignored, *marks);
        if (status != DCAM_OK) dcam_free(*marks);
    }
    if (status != DCAM_OK) dcam_free(*images);
    return status;
}

static dcam_status identify_class(const dcam_dataset *d, size_t class_index, dcam_data_identity *identity)
{
    uint32_t *images;
    size_t count;
    dcam_content_mark *marks;
    DCAM_TRY(look_at_class(d, (int)class_index, identity->classes[class_index], &images, &count, &marks));
    for (size_t i = 0; i < count; i++) memcpy(identity->marks[images[i]], marks[i], sizeof marks[i]);
    dcam_free(marks);
    dcam_free(images);
    return DCAM_OK;
}

static bool has_copies(const dcam_dataset *d, const dcam_copy_kind *kinds)
{
    for (size_t i = 0; i < d->sample_count; i++)
        if (kinds[i] != DCAM_NO_COPY) return true;
    return false;
}

dcam_status dcam_data_identity_of(const dcam_dataset *d, dcam_data_identity *out)
{
    dcam_data_identity identity = {.classes = NULL};
    dcam_sha256 hash;
    dcam_status status = dcam_alloc(d->class_count, sizeof *identity.classes, &identity.classes);
    if (status == DCAM_OK) status = dcam_alloc(d->sample_count, sizeof *identity.marks, &identity.marks);
    if (status == DCAM_OK) status = dcam_alloc(d->sample_count, sizeof *identity.kinds, &identity.kinds);
    dcam_sha256_init(&hash);
    for (size_t c = 0; c < d->class_count && status == DCAM_OK; c++) {
        status = identify_class(d, c, &identity);
        if (status != DCAM_OK) break;
        dcam_sha256_update(&hash, d->class_names[c], strlen(d->class_names[c]) + 1);
        dcam_sha256_update(&hash, identity.classes[c], sizeof identity.classes[c]);
    }
    if (status == DCAM_OK) status = dcam_dataset_find_copies(d, identity.marks, identity.kinds);
    if (status != DCAM_OK) {
        dcam_data_identity_clear(&identity);
        return status;
    }
    /* A checkpoint from when copies were split as any image is not gone on from. */
    if (has_copies(d, identity.kinds)) dcam_sha256_update(&hash, COPIES_COUNT_ONCE, sizeof COPIES_COUNT_ONCE);
    dcam_sha256_final_hex(&hash, identity.all);
    *out = identity;
    return DCAM_OK;
}

void dcam_data_identity_clear(dcam_data_identity *identity)
{
    dcam_free(identity->kinds);
    dcam_free(identity->marks);
    dcam_free(identity->classes);
    *identity = (dcam_data_identity){.marks = NULL};
}

/* ---- from a record ---- */

/* Marks one after the other, in ascending order. */
typedef struct {
    dcam_content_mark *marks;
    size_t count;
} mark_set;

typedef struct { mark_set learned, validated; } training;

static int compare_marks(const void *a, const void *b) { return memcmp(a, b, sizeof(dcam_content_mark)); }

static bool holds(const mark_set *s, const dcam_content_mark mark)
{
    return s->count > 0 && bsearch(mark, s->marks, s->count, sizeof *s->marks, compare_marks);
}

/* Anything that is not as record.c writes it is as nothing. */
static dcam_status read_marks(const json_t *text, mark_set *out)
{
    const size_t length = json_string_length(text), count = length / DCAM_CONTENT_MARK;
    if (length % DCAM_CONTENT_MARK != 0 || count == 0) return DCAM_OK;
    DCAM_TRY(dcam_alloc(count, sizeof *out->marks, &out->marks));
    memcpy(out->marks, json_string_value(text), length);
    qsort(out->marks, count, sizeof *out->marks, compare_marks);
    out->count = count;
    return DCAM_OK;
}

static void clear_training(training *t)
{
    dcam_free(t->validated.marks);
    dcam_free(t->learned.marks);
}

static dcam_status read_record(const char *text, training *out)
{
    dcam_json_error error = {0};
    json_t *json = text ? dcam_json_parse(text, strlen(text), &error) : NULL;
    if (error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "out of memory to read the training record");
    const json_t *data = json_object_get(json, "data");
    training t = {0};
    dcam_status status = read_marks(json_object_get(data, "learned"), &t.learned);
    if (status == DCAM_OK) status = read_marks(json_object_get(data, "validated"), &t.validated);
    json_decref(json);
    if (status == DCAM_OK) *out = t;
    else clear_training(&t);
    return status;
}

/* Images of a class, and how many there are of what is not among them. */
typedef struct {
    uint32_t *images;
    size_t count, known, copies; /* known: in the record; copies: as dcam_unseen_images */
} chosen;

/* Those of the images that are wanted, in place: new ones; to calibrate with also the validation part, and copies once. */
static dcam_status keep_wanted(const training *t, const dcam_content_mark *marks, bool to_calibrate, chosen *c)
{
    uint32_t *first;
    size_t n = 0;
    DCAM_TRY(dcam_alloc(c->count, sizeof *first, &first));
    const dcam_status status = dcam_first_of_mark(marks, c->count, first);
    for (size_t i = 0; status == DCAM_OK && i < c->count; i++) {
        const bool validated = holds(&t->validated, marks[i]), learned = holds(&t->learned, marks[i]);
        c->known += validated || learned;
        if (learned || (validated && !to_calibrate)) continue;
        if (to_calibrate && first[i] != i) c->copies++;
        else c->images[n++] = c->images[i];
    }
    c->count = n;
    dcam_free(first);
    return status;
}

static dcam_status choose(const training *t, const dcam_dataset *d, int class_index, bool to_calibrate, chosen *out)
{
    chosen c = {0};
    dcam_content_mark *marks;
    /* Nothing to compare with: no file is read for it. */
    if (t->learned.count + t->validated.count == 0) {
        DCAM_TRY(dcam_dataset_select(d, class_index, DCAM_SPLIT_TRAIN, true, &c.images, &c.count));
        *out = c;
        return DCAM_OK;
    }
    DCAM_TRY(look_at_class(d, class_index, NULL, &c.images, &c.count, &marks));
    const dcam_status status = keep_wanted(t, marks, to_calibrate, &c);
    dcam_free(marks);
    if (status == DCAM_OK) *out = c;
    else dcam_free(c.images);
    return status;
}

dcam_status dcam_unseen_images(const dcam_dataset *d, const char *record, uint32_t **out, size_t *out_count, size_t *known,
                               size_t *copies)
{
    uint32_t *all;
    size_t count = 0, classes = 0, repeated = 0;
    training t = {0};
    DCAM_TRY(dcam_alloc(d->sample_count, sizeof *all, &all));
    dcam_status status = read_record(record, &t);
    for (size_t c = 0; c < d->class_count && status == DCAM_OK; c++) {
        chosen some;
        if ((status = choose(&t, d, (int)c, true, &some)) != DCAM_OK) break;
        memcpy(all + count, some.images, some.count * sizeof *all);
        count += some.count;
        classes += some.known > 0;
        repeated += some.copies;
        dcam_free(some.images);
    }
    clear_training(&t);
    if (status != DCAM_OK) {
        dcam_free(all);
        return status;
    }
    *out = all;
    *out_count = count;
    if (known) *known = classes;
    if (copies) *copies = repeated;
    return DCAM_OK;
}

dcam_status dcam_new_images(const dcam_dataset *d, int class_index, const char *record, uint32_t **out, size_t *out_count,
                            size_t *known)
{
    training t = {0};
    chosen c;
    DCAM_TRY(read_record(record, &t));
    const dcam_status status = choose(&t, d, class_index, false, &c);
    clear_training(&t);
    if (status != DCAM_OK) return status;
    *out = c.images;
    *out_count = c.count;
    if (known) *known = c.known;
    return DCAM_OK;
}
