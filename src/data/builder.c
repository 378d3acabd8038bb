/* builder.c - gathers what a layout finds, then sorts it by class, split,
 * label and path, so that a data set is the same whatever order the file
 * system or a table gives. Decodes nothing, opens nothing. */
#include "data/builder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ascii.h"
#include "base/file.h"
#include "base/memory.h"

/* Every class keeps a calibration of its own in the model file; more than
 * this is a table whose class column holds something else. */
#define MAX_CLASSES 4096
/* Indices of samples are 32 bits wide. */
#define MAX_SAMPLES 0x7fffffffu
/* Of the classes named in an error. */
#define MAX_LISTED 32

typedef struct {
    char *name;
    bool wanted;
} class_entry;

struct dcam_builder {
    char *root;
    char *only;            /* the list as it was given, or NULL */
    class_entry *classes;
    size_t class_count, class_room;
    size_t last_class;     /* tables come sorted by class: look there first */
    dcam_sample *samples;
    size_t sample_count, sample_room;
};

/* JPEG's first. */
static const char *const endings[] = {"jpg",  "jpeg", "jpe", "jfif", "png", "webp", "tif",
                                      "tiff", "bmp",  "dib", "pnm",  "ppm", "pgm",  "pbm"};
#define JPEG_ENDINGS 4

static bool has_ending(const char *name, size_t first_endings)
{
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name) return false;
    for (size_t i = 0; i < first_endings; i++)
        if (dcam_ascii_casecmp(dot + 1, endings[i]) == 0) return true;
    return false;
}

bool dcam_is_image_name(const char *name) { return has_ending(name, sizeof endings / sizeof endings[0]); }

static dcam_status parse_only(dcam_builder *b, const char *only)
{
    if (only[strspn(only, ",")] == '\0')
        return dcam_fail(DCAM_ERROR_USAGE, "the list of classes is empty; give names separated by commas, or leave it out");
    return dcam_copy_string(only, &b->only);
}

dcam_status dcam_builder_create(const char *root, const char *only_classes, dcam_builder **out)
{
    dcam_builder *b;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *b, &b));
    dcam_status status = dcam_copy_string(root, &b->root);
    if (status == DCAM_OK && only_classes) status = parse_only(b, only_classes);
    if (status != DCAM_OK) {
        dcam_builder_destroy(b);
        return status;
    }
    *out = b;
    return DCAM_OK;
}

static void clear_sample(dcam_sample *s)
{
    dcam_free(s->path);
    dcam_free(s->mask_path);
    dcam_free(s->label);
}

void dcam_builder_destroy(dcam_builder *b)
{
    if (!b) return;
    for (size_t i = 0; i < b->class_count; i++) dcam_free(b->classes[i].name);
    for (size_t i = 0; i < b->sample_count; i++) clear_sample(&b->samples[i]);
    dcam_free(b->classes);
    dcam_free(b->samples);
    dcam_free(b->root);
    dcam_free(b->only);
    dcam_free(b);
}

/* The first place at `from` or behind it where the name stands in the list as one or several of its parts: a class may be
 * called "screw 3,5x40". NULL: none. */
static const char *find_listed(const char *list, const char *from, const char *name)
{
    const size_t length = strlen(name);
    for (const char *p = from; length > 0 && (p = strstr(p, name)) != NULL; p++)
        if ((p == list || p[-1] == ',') && (p[length] == ',' || p[length] == '\0')) return p;
    return NULL;
}

bool dcam_builder_wants(const dcam_builder *b, const char *name)
{
    return !b->only || find_listed(b->only, b->only, name);
}

static bool find_class(const dcam_builder *b, const char *name, size_t *index)
{
    if (b->last_class < b->class_count && strcmp(b->classes[b->last_class].name, name) == 0) {
        *index = b->last_class;
        return true;
    }
    for (size_t i = 0; i < b->class_count; i++) {
        if (strcmp(b->classes[i].name, name) != 0) continue;
        *index = i;
        return true;
    }
    return false;
}

dcam_status dcam_builder_class(dcam_builder *b, const char *name, int *class_index, bool *wanted)
{
    size_t index;
    if (!find_class(b, name, &index)) {
        if (b->class_count == MAX_CLASSES)
            return dcam_fail(DCAM_ERROR_DATA, "%s: more than %d classes; is the class column the right one?", b->root,
                             MAX_CLASSES);
        if (b->class_count == b->class_room) {
            size_t room = b->class_room ? 2 * b->class_room : 16;
            DCAM_TRY(dcam_realloc(room, sizeof *b->classes, &b->classes));
            b->class_room = room;
        }
        index = b->class_count;
        DCAM_TRY(dcam_copy_string(name, &b->classes[index].name));
        b->classes[index].wanted = dcam_builder_wants(b, name);
        b->class_count++;
    }
    b->last_class = index;
    *class_index = (int)index;
    *wanted = b->classes[index].wanted;
    return DCAM_OK;
}

dcam_status dcam_builder_add(dcam_builder *b, int class_index, dcam_split split, const char *label, const char *path,
                             const char *mask)
{
    if (b->sample_count == MAX_SAMPLES)
        return dcam_fail(DCAM_ERROR_DATA, "%s: more than %u images", b->root, MAX_SAMPLES);
    if (b->sample_count == b->sample_room) {
        size_t room = b->sample_room ? 2 * b->sample_room : 256;
        DCAM_TRY(dcam_realloc(room, sizeof *b->samples, &b->samples));
        b->sample_room = room;
    }
    dcam_sample s = {.class_index = class_index, .split = split, .defective = strcmp(label, DCAM_LABEL_GOOD) != 0};
    dcam_status status = dcam_copy_string(path, &s.path);
    if (status == DCAM_OK) status = dcam_copy_string(label, &s.label);
    if (status == DCAM_OK && mask) status = dcam_copy_string(mask, &s.mask_path);
    if (status != DCAM_OK) {
        clear_sample(&s);
        return status;
    }
    b->samples[b->sample_count++] = s;
    return DCAM_OK;
}

size_t dcam_builder_sample_count(const dcam_builder *b) { return b->sample_count; }

static int compare_classes(const void *x, const void *y)
{
    return strcmp(((const class_entry *)x)->name, ((const class_entry *)y)->name);
}

static int compare_samples(const void *x, const void *y)
{
    const dcam_sample *a = x, *b = y;
    if (a->class_index != b->class_index) return a->class_index < b->class_index ? -1 : 1;
    if (a->split != b->split) return a->split < b->split ? -1 : 1;
    int labels = strcmp(a->label, b->label);
    return labels != 0 ? labels : strcmp(a->path, b->path);
}

/* "a, b, c and 4 more" of the classes there; b->classes is sorted. */
static dcam_status list_classes(const dcam_builder *b, char **out)
{
    char *text = NULL;
    DCAM_TRY(dcam_copy_string("", &text));
    for (size_t i = 0; i < b->class_count && i < MAX_LISTED; i++) {
        char *longer;
        dcam_status status = dcam_format_string(&longer, "%s%s%s", text, i ? ", " : "", b->classes[i].name);
        dcam_free(text);
        if (status != DCAM_OK) return status;
        text = longer;
    }
    if (b->class_count > MAX_LISTED) {
        char *longer;
        dcam_status status = dcam_format_string(&longer, "%s and %zu more", text, b->class_count - MAX_LISTED);
        dcam_free(text);
        if (status != DCAM_OK) return status;
        text = longer;
    }
    *out = text;
    return DCAM_OK;
}

/* Whether the part of the list that begins there belongs to the name of a class. */
static bool is_of_class(const dcam_builder *b, const char *part)
{
    for (size_t c = 0; c < b->class_count; c++) {
        const char *name = b->classes[c].name, *at = b->only;
        for (; (at = find_listed(b->only, at, name)) != NULL && at <= part; at++)
            if (part < at + strlen(name)) return true;
    }
    return false;
}

static dcam_status check_only(const dcam_builder *b)
{
    for (const char *p = b->only; p && *p;) {
        const size_t length = strcspn(p, ",");
        if (length > 0 && !is_of_class(b, p)) {
            char *there;
            DCAM_TRY(list_classes(b, &there));
            dcam_status status = dcam_fail(DCAM_ERROR_DATA, "%s: no class \"%.*s\"; there are: %s", b->root, (int)length, p, there);
            dcam_free(there);
            return status;
        }
        p += length + (p[length] == ',');
    }
    return DCAM_OK;
}

typedef struct {
    dev_t device;
    ino_t inode;
    const char *path;
} file_place;

static bool same_file(const file_place *a, const file_place *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static int compare_places(const void *x, const void *y)
{
    const file_place *a = x, *b = y;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
    return strcmp(a->path, b->path);
}

static dcam_status refuse_twice(const file_place *a, const file_place *b)
{
    if (strcmp(a->path, b->path) == 0)
        return dcam_fail(DCAM_ERROR_DATA, "%s: the image is listed twice; remove one of the rows", a->path);
    return dcam_fail(DCAM_ERROR_DATA, "%s: the image is listed twice, as %s too; remove one of the rows", a->path, b->path);
}

/* One photograph in two places would be learnt and then tested on. */
dcam_status dcam_builder_refuse_twice(const dcam_builder *b)
{
    file_place *places;
    DCAM_TRY(dcam_alloc(b->sample_count, sizeof *places, &places));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i < b->sample_count && status == DCAM_OK; i++) {
        struct stat info;
        const char *path = b->samples[i].path;
        if (stat(path, &info) != 0) status = dcam_system_failure("look at", path);
        else places[i] = (file_place){info.st_dev, info.st_ino, path};
    }
    if (status == DCAM_OK && b->sample_count > 0) qsort(places, b->sample_count, sizeof *places, compare_places);
    for (size_t i = 1; i < b->sample_count && status == DCAM_OK; i++)
        if (same_file(&places[i - 1], &places[i])) status = refuse_twice(&places[i - 1], &places[i]);
    dcam_free(places);
    return status;
}

/* Sorts the classes, keeps the wanted ones, and gives the samples (all of
 * wanted classes) the new indices. */
static dcam_status sort_classes(dcam_builder *b)
{
    class_entry *sorted;
    int *new_index;
    DCAM_TRY(dcam_alloc(b->class_count + 1, sizeof *sorted, &sorted));
    dcam_status status = dcam_alloc(b->class_count + 1, sizeof *new_index, &new_index);
    if (status != DCAM_OK) {
        dcam_free(sorted);
        return status;
    }
    if (b->class_count) memcpy(sorted, b->classes, b->class_count * sizeof *sorted);
    qsort(sorted, b->class_count, sizeof *sorted, compare_classes);
    size_t kept = 0;
    for (size_t i = 0; i < b->class_count; i++) {
        if (!sorted[i].wanted) continue;
        for (size_t old = 0; old < b->class_count; old++)
            if (b->classes[old].name == sorted[i].name) new_index[old] = (int)kept;
        kept++;
    }
    for (size_t i = 0; i < b->sample_count; i++) b->samples[i].class_index = new_index[b->samples[i].class_index];
    dcam_free(new_index);
    dcam_free(b->classes);
    b->classes = sorted;
    return DCAM_OK;
}

/* Classes are sorted and there may be unwanted ones between. */
static dcam_status make_dataset(dcam_builder *b, dcam_dataset **out)
{
    dcam_dataset *d;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *d, &d));
    dcam_status status = dcam_alloc_zero(b->class_count, sizeof *d->class_names, &d->class_names);
    if (status == DCAM_OK) status = dcam_alloc_zero(b->class_count, sizeof *d->class_has_masks, &d->class_has_masks);
    if (status != DCAM_OK) {
        dcam_dataset_destroy(d);
        return status;
    }
    for (size_t i = 0; i < b->class_count; i++) {
        if (b->classes[i].wanted) d->class_names[d->class_count++] = b->classes[i].name;
        else dcam_free(b->classes[i].name);
    }
    b->class_count = 0;
    d->samples = b->samples;
    d->sample_count = b->sample_count;
    d->root = b->root;
    b->samples = NULL;
    b->root = NULL;
    b->sample_count = b->sample_room = 0;
    *out = d;
    return DCAM_OK;
}

/* Once for all of them, by their names: the files are not opened here. */
static void note_lossy_masks(const dcam_dataset *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->sample_count; i++)
        count += d->samples[i].mask_path && has_ending(d->samples[i].mask_path, JPEG_ENDINGS);
    if (count > 0)
        dcam_log(DCAM_LOG_WARNING, "%s: %zu masks are JPEG files; of these, values of 128 and more are defect, and their "
                 "edges are not exact", d->root, count);
}

/* Says which classes have pixel metrics, and which only in part; and what hints at good images that are not called so. */
static void note_labels(dcam_dataset *d)
{
    for (size_t c = 0, i = 0; c < d->class_count; c++) {
        size_t with = 0, without = 0, good = 0, passed_over = 0;
        for (; i < d->sample_count && d->samples[i].class_index == (int)c; i++) {
            const dcam_sample *s = &d->samples[i];
            const bool test = s->split == DCAM_SPLIT_TEST;
            if (!s->defective) good += test;
            else if (!test) passed_over++;
            else if (s->mask_path) with++;
            else without++;
        }
        d->class_has_masks[c] = with > 0;
        if (with > 0 && without > 0)
            dcam_log(DCAM_LOG_WARNING, "class \"%s\": %zu of %zu defective photographs have no mask",
                     d->class_names[c], without, with + without);
        if (passed_over > 0)
            dcam_log(DCAM_LOG_WARNING, "class \"%s\": %zu images of its training split are labelled as defects and not "
                     "learnt; normal ones are labelled good", d->class_names[c], passed_over);
        if (with + without > 0 && good == 0)
            dcam_log(DCAM_LOG_WARNING, "class \"%s\": its test split has %zu defective images and no good one",
                     d->class_names[c], with + without);
    }
}

dcam_status dcam_builder_finish(dcam_builder *b, dcam_dataset **out)
{
    dcam_dataset *d;
    DCAM_TRY(sort_classes(b));
    DCAM_TRY(check_only(b));
    if (b->sample_count > 0) qsort(b->samples, b->sample_count, sizeof *b->samples, compare_samples);
    DCAM_TRY(make_dataset(b, &d));
    for (size_t c = 0, i = 0; c < d->class_count; c++) {
        size_t begin = i;
        while (i < d->sample_count && d->samples[i].class_index == (int)c) i++;
        if (i > begin) continue;
        dcam_status status = dcam_fail(DCAM_ERROR_DATA,
                                       "%s: class \"%s\" holds no images; looked for %s/train/good, %s/test/*",
                                       d->root, d->class_names[c], d->class_names[c], d->class_names[c]);
        dcam_dataset_destroy(d);
        return status;
    }
    note_labels(d);
    note_lossy_masks(d);
    *out = d;
    return DCAM_OK;
}
