/* dataset.c - recognises the layout of a data set and hands out lists of its
 * samples: selections, copies, the seeded split, the fingerprint. Decodes nothing. */
#define _GNU_SOURCE
#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/sha256.h"
#include "data/layouts.h"

/* Sets the split apart from other uses of one seed. */
#define SPLIT_STREAM 0x73706c6974000000u
/* A file is hashed in pieces of this size. */
#define HASH_PIECE 65536

/* The folder's own name, "." and links resolved. */
static dcam_status base_name(const char *folder, char **out)
{
    char *full = realpath(folder, NULL);
    if (!full) return dcam_system_failure("open", folder);
    const char *slash = strrchr(full, '/');
    const char *name = slash && slash[1] ? slash + 1 : "images";
    dcam_status status = dcam_copy_string(name, out);
    free(full);
    return status;
}

/* One class in MVTec layout, or a plain folder. */
static dcam_status read_one_class(dcam_builder *b, const char *root, bool mvtec)
{
    char *name;
    DCAM_TRY(base_name(root, &name));
    dcam_status status = mvtec ? dcam_layout_mvtec_class(b, root, name) : dcam_layout_plain(b, root, name);
    dcam_free(name);
    return status;
}

static dcam_status read_folder(dcam_builder *b, const char *root, bool *plain)
{
    char *table;
    bool found;
    DCAM_TRY(dcam_path_join(root, DCAM_VISA_TABLE, &table));
    dcam_path_kind kind;
    const dcam_status status = dcam_path_look(table, &kind);
    dcam_free(table);
    if (status != DCAM_OK) return status;
    if (kind != DCAM_PATH_ABSENT) return dcam_layout_visa(b, root);
    DCAM_TRY(dcam_layout_mvtec_is_class(root, &found));
    if (found) return read_one_class(b, root, true);
    DCAM_TRY(dcam_layout_mvtec_has_classes(root, &found));
    if (found) return dcam_layout_mvtec_root(b, root);
    *plain = true;
    return read_one_class(b, root, false);
}

static bool ends_as_table(const char *path)
{
    size_t n = strlen(path);
    return n >= 4 && (strcmp(path + n - 4, ".csv") == 0 || strcmp(path + n - 4, ".CSV") == 0);
}

static dcam_status read_any(dcam_builder *b, const char *path, bool *plain)
{
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_FOLDER) return read_folder(b, path, plain);
    if (kind == DCAM_PATH_ABSENT) return dcam_fail(DCAM_ERROR_DATA, "%s: no such folder or file", path);
    if (ends_as_table(path)) return dcam_layout_manifest(b, path);
    return dcam_fail(DCAM_ERROR_DATA, "%s: is no data set; a folder or a .csv manifest is wanted", path);
}

/* The folder that a manifest's relative paths start from. */
static dcam_status folder_of(const char *path, char **out)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return dcam_copy_string(".", out);
    return dcam_format_string(out, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

dcam_status dcam_dataset_open(const char *path, const char *only_classes, dcam_dataset **out)
{
    dcam_builder *b = NULL;
    dcam_dataset *d = NULL;
    char *root = NULL;
    bool plain = false;
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    const bool folder = kind == DCAM_PATH_FOLDER;
    dcam_status status = folder ? dcam_copy_string(path, &root) : folder_of(path, &root);
    /* Errors name the path as given; the data set's root is always a folder. */
    if (status == DCAM_OK) status = dcam_builder_create(path, only_classes, &b);
    if (status == DCAM_OK) status = read_any(b, path, &plain);
    /* With only_classes, finish tells better what is wrong. */
    if (status == DCAM_OK && dcam_builder_sample_count(b) == 0 && !only_classes && plain)
        status = dcam_fail(DCAM_ERROR_DATA,
                           "%s: no images found; looked for CLASS/train/good and CLASS/test/* (MVTec), train/good (one "
                           "class), " DCAM_VISA_TABLE " (VisA), and image files at any depth",
                           path);
    else if (status == DCAM_OK && dcam_builder_sample_count(b) == 0 && !folder && !only_classes)
        status = dcam_fail(DCAM_ERROR_DATA, "%s: the table lists no images", path);
    if (status == DCAM_OK) status = dcam_builder_finish(b, &d);
    if (status == DCAM_OK) {
        dcam_free(d->root);
        d->root = root;
        root = NULL;
        *out = d;
    }
    dcam_free(root);
    dcam_builder_destroy(b);
    return status;
}

void dcam_dataset_destroy(dcam_dataset *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->sample_count; i++) {
        dcam_free(d->samples[i].path);
        dcam_free(d->samples[i].mask_path);
        dcam_free(d->samples[i].label);
    }
    dcam_free(d->samples);
    for (size_t i = 0; i < d->class_count; i++) dcam_free(d->class_names[i]);
    dcam_free(d->class_names);
    dcam_free(d->class_has_masks);
    dcam_free(d->root);
    dcam_free(d);
}

dcam_status dcam_dataset_select(const dcam_dataset *d, int class_index, dcam_split split, bool normal_only,
                                uint32_t **out, size_t *out_count)
{
    uint32_t *list;
    size_t count = 0;
    if (class_index < -1 || (class_index >= 0 && (size_t)class_index >= d->class_count))
        return dcam_fail(DCAM_ERROR_INTERNAL, "class %d of %zu was asked for", class_index, d->class_count);
    DCAM_TRY(dcam_alloc(d->sample_count, sizeof *list, &list));
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        if (class_index >= 0 && s->class_index != class_index) continue;
        if (s->split != split || (normal_only && s->defective)) continue;
        list[count++] = (uint32_t)i;
    }
    *out = list;
    *out_count = count;
    return DCAM_OK;
}

static int compare_indices(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* How many of a class's n images are held out; n >= 2. */
static size_t held_out_of(size_t n, double fraction)
{
    size_t held_out = (size_t)llround(fraction * (double)n);
    if (held_out < 1) return 1;
    return held_out > n - 1 ? n - 1 : held_out;
}

/* ---- copies ---- */

typedef struct {
    dcam_content_mark mark;
    uint32_t place;
} marked_place;

static int compare_marked(const void *a, const void *b)
{
    const marked_place *x = a, *y = b;
    const int order = memcmp(x->mark, y->mark, sizeof x->mark);
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

dcam_status dcam_first_of_mark(const dcam_content_mark *marks, size_t count, uint32_t *first)
{
    marked_place *sorted;
    DCAM_TRY(dcam_alloc(count, sizeof *sorted, &sorted));
    for (size_t i = 0; i < count; i++) {
        memcpy(sorted[i].mark, marks[i], sizeof marks[i]);
        sorted[i].place = (uint32_t)i;
    }
    if (count > 0) qsort(sorted, count, sizeof *sorted, compare_marked);
    for (size_t i = 0, start = 0; i < count; i++) {
        if (memcmp(sorted[i].mark, sorted[start].mark, sizeof sorted[i].mark) != 0) start = i;
        first[sorted[i].place] = sorted[start].place;
    }
    dcam_free(sorted);
    return DCAM_OK;
}

/* images: count of them, sorted by class; first: as dcam_first_of_mark. last_class: count, of a first image the class in which
 * its content was met last; shared: count, all false. */
static void tell_copies(const dcam_dataset *d, const uint32_t *images, const uint32_t *first, size_t count, int *last_class,
                        bool *shared, dcam_copy_kind *kinds)
{
    for (size_t i = 0; i < count; i++) {
        const int class_index = d->samples[images[i]].class_index;
        const bool met = first[i] != i;
        kinds[images[i]] = met && last_class[first[i]] == class_index ? DCAM_COPY_OF_ITS_CLASS : DCAM_NO_COPY;
        shared[first[i]] = shared[first[i]] || (met && last_class[first[i]] != class_index);
        last_class[first[i]] = class_index;
    }
    for (size_t i = 0; i < count; i++)
        if (shared[first[i]] && kinds[images[i]] == DCAM_NO_COPY) kinds[images[i]] = DCAM_IN_ANOTHER_CLASS;
}

dcam_status dcam_dataset_find_copies(const dcam_dataset *d, const dcam_content_mark *marks, dcam_copy_kind *kinds)
{
    uint32_t *images, *first = NULL;
    dcam_content_mark *of_images = NULL;
    int *last_class = NULL;
    bool *shared = NULL;
    size_t count;
    DCAM_TRY(dcam_dataset_select(d, -1, DCAM_SPLIT_TRAIN, true, &images, &count));
    dcam_status status = dcam_alloc(count, sizeof *first, &first);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof *of_images, &of_images);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof *last_class, &last_class);
    if (status == DCAM_OK) status = dcam_alloc_zero(count, sizeof *shared, &shared);
    for (size_t i = 0; status == DCAM_OK && i < count; i++) memcpy(of_images[i], marks[images[i]], sizeof of_images[i]);
    if (status == DCAM_OK) status = dcam_first_of_mark(of_images, count, first);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < d->sample_count; i++) kinds[i] = DCAM_NO_COPY;
        tell_copies(d, images, first, count, last_class, shared, kinds);
    }
    dcam_free(shared);
    dcam_free(last_class);
    dcam_free(of_images);
    dcam_free(first);
    dcam_free(images);
    return status;
}

/* ---- the split ---- */

/* What a split chooses from: a class's distinct images. */
typedef struct {
    uint32_t *items;
    size_t count, own; /* own: in no other class */
    size_t files;      /* copies too */
} choice;

static dcam_status find_choice(const dcam_dataset *d, int class_index, const dcam_copy_kind *kinds, choice *out)
{
    choice c = {0};
    DCAM_TRY(dcam_dataset_select(d, class_index, DCAM_SPLIT_TRAIN, true, &c.items, &c.files));
    for (size_t i = 0; i < c.files; i++) {
        const dcam_copy_kind kind = kinds ? kinds[c.items[i]] : DCAM_NO_COPY;
        if (kind == DCAM_COPY_OF_ITS_CLASS) continue;
        c.own += kind == DCAM_NO_COPY;
        c.items[c.count++] = c.items[i];
    }
    *out = c;
    return DCAM_OK;
}

static dcam_status too_few(const dcam_dataset *d, const char *name, const choice *c)
{
    static const char wanted[] = "at least 2 are needed (one to learn from, one to calibrate with): add images to its train/good, "
                                 "or leave the class out";
    if (c->count >= 2)
        return dcam_fail(DCAM_ERROR_DATA, "%s: each normal training image of class \"%s\" is a copy of one of another class, so "
                                          "that none is left to calibrate with: add images of its own to its train/good, or leave "
                                          "the class out", d->root, name);
    if (c->files >= 2)
        return dcam_fail(DCAM_ERROR_DATA, "%s: the %zu normal training images of class \"%s\" are copies of one, which counts once; %s",
                         d->root, c->files, name, wanted);
    return dcam_fail(DCAM_ERROR_DATA, "%s: class \"%s\" has %s normal training image%s; %s", d->root, name,
                     c->files ? "only 1" : "no", c->files ? "" : "s", wanted);
}

static dcam_status split_class(const dcam_dataset *d, int class_index, const dcam_copy_kind *kinds, double validation_fraction,
                               uint64_t seed, uint32_t **train, size_t *train_count, uint32_t **validation,
                               size_t *validation_count)
{
    const char *name = d->class_names[class_index];
    choice c;
    uint32_t *held_out;
    size_t wanted = 0, kept = 0, held = 0;
    DCAM_TRY(find_choice(d, class_index, kinds, &c));
    dcam_status status = c.count < 2 || c.own == 0 ? too_few(d, name, &c) : DCAM_OK;
    if (status == DCAM_OK) {
        wanted = held_out_of(c.count, validation_fraction);
        status = dcam_alloc(wanted, sizeof *held_out, &held_out);
    }
    if (status != DCAM_OK) {
        dcam_free(c.items);
        return status;
    }
    dcam_random r = dcam_random_make(seed, SPLIT_STREAM ^ dcam_random_stream(name));
    dcam_random_shuffle(&r, c.items, c.count);
    for (size_t i = 0; i < c.count; i++) {
        const uint32_t item = c.items[i];
        if (held < wanted && (!kinds || kinds[item] == DCAM_NO_COPY)) held_out[held++] = item;
        else c.items[kept++] = item;
    }
    qsort(c.items, kept, sizeof *c.items, compare_indices);
    qsort(held_out, held, sizeof *held_out, compare_indices);
    *train = c.items;
    *train_count = kept;
    *validation = held_out;
    *validation_count = held;
    return DCAM_OK;
}

dcam_status dcam_dataset_split(const dcam_dataset *d, const dcam_copy_kind *kinds, double validation_fraction, uint64_t seed,
                               uint32_t **train, size_t *train_count, uint32_t **validation, size_t *validation_count)
{
    uint32_t *parts[2] = {NULL, NULL};
    size_t counts[2] = {0, 0};
    if (!(validation_fraction > 0 && validation_fraction < 1))
        return dcam_fail(DCAM_ERROR_USAGE, "the validation part must be between 0 and 1, not %g", validation_fraction);
    dcam_status status = DCAM_OK;
    for (int p = 0; p < 2 && status == DCAM_OK; p++) status = dcam_alloc(d->sample_count, sizeof *parts[p], &parts[p]);
    for (size_t c = 0; c < d->class_count && status == DCAM_OK; c++) {
        uint32_t *of_class[2];
        size_t n[2];
        status = split_class(d, (int)c, kinds, validation_fraction, seed, &of_class[0], &n[0], &of_class[1], &n[1]);
        for (int p = 0; p < 2 && status == DCAM_OK; p++) {
            /* Samples are sorted by class, so the lists stay sorted. */
            memcpy(parts[p] + counts[p], of_class[p], n[p] * sizeof *of_class[p]);
            counts[p] += n[p];
            dcam_free(of_class[p]);
        }
    }
    if (status != DCAM_OK) {
        dcam_free(parts[1]);
        dcam_free(parts[0]);
        return status;
    }
    *train = parts[0];
    *train_count = counts[0];
    *validation = parts[1];
    *validation_count = counts[1];
    return DCAM_OK;
}

/* The part of path below root; all of it where it lies elsewhere. */
static const char *relative_path(const char *root, const char *path)
{
    size_t n = strlen(root);
    while (n > 0 && root[n - 1] == '/') n--;
    if (strncmp(path, root, n) != 0 || path[n] != '/') return path;
    path += n;
    while (*path == '/') path++;
    return path;
}

static void hash_number(dcam_sha256 *hash, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(v >> (8 * i));
    dcam_sha256_update(hash, bytes, sizeof bytes);
}

/* The SHA-256 of the content, and how long it is: the size of the moment of opening; a file that changes while it is read is
 * an error. */
static dcam_status hash_content(const char *path, uint8_t *piece, char out[DCAM_SHA256_HEX], uint64_t *size)
{
    struct stat info;
    dcam_sha256 hash;
    uint64_t done = 0;
    int fd = dcam_open_file(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return dcam_system_failure("open", path);
    dcam_status status = DCAM_OK;
    if (fstat(fd, &info) != 0) status = dcam_system_failure("read", path);
    else if (!S_ISREG(info.st_mode)) status = dcam_fail(DCAM_ERROR_IO, "%s: is not a regular file", path);
    dcam_sha256_init(&hash);
    ssize_t n = 0;
    while (status == DCAM_OK && (n = read(fd, piece, HASH_PIECE)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = dcam_system_failure("read", path);
        } else {
            dcam_sha256_update(&hash, piece, (size_t)n);
            done += (uint64_t)n;
        }
    }
    close(fd);
    if (status != DCAM_OK) return status;
    if (done != (uint64_t)info.st_size) return dcam_fail(DCAM_ERROR_IO, "%s: changed while it was read", path);
    dcam_sha256_final_hex(&hash, out);
    *size = done;
    return DCAM_OK;
}

dcam_status dcam_dataset_fingerprint(const dcam_dataset *d, const uint32_t *indices, size_t count, char out[65],
                                     dcam_content_mark *marks)
{
    dcam_sha256 hash;
    char content[DCAM_SHA256_HEX];
    uint64_t size;
    uint8_t *piece;
    dcam_status status = DCAM_OK;
    DCAM_TRY(dcam_alloc(HASH_PIECE, 1, &piece));
    dcam_sha256_init(&hash);
    for (size_t i = 0; i < count && status == DCAM_OK; i++) {
        if (indices[i] >= d->sample_count) {
            status = dcam_fail(DCAM_ERROR_INTERNAL, "sample %u of %zu was asked for", indices[i], d->sample_count);
            break;
        }
        const char *path = d->samples[indices[i]].path;
        const char *relative = relative_path(d->root, path);
        hash_number(&hash, strlen(relative)); /* lengths first: no two lists of files give the same bytes */
        dcam_sha256_update(&hash, relative, strlen(relative));
        if ((status = hash_content(path, piece, content, &size)) != DCAM_OK) break;
        hash_number(&hash, size);
        dcam_sha256_update(&hash, content, strlen(content));
        if (marks) memcpy(marks[i], content, sizeof marks[i]);
    }
    if (status == DCAM_OK) dcam_sha256_final_hex(&hash, out);
    dcam_free(piece);
    return status;
}
