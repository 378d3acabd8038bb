/* layout_mvtec.c - the layout of MVTec AD:
 *   CLASS/train/good/NAME.EXT                 "good" may be called "normal", here and below
 *   CLASS/test/LABEL/NAME.EXT                 LABEL "good" or a kind of defect
 *   CLASS/ground_truth/LABEL/NAME_mask.EXT    or NAME.EXT; the whole folder may be missing
 * Masks of "good" are ignored: a good part has none. A mask that belongs to
 * no photograph, or to two, is an error, because a renamed file would
 * otherwise quietly turn a defect into background. */
#include "data/layouts.h"

#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/left_out.h"

#define MASK_ENDING "_mask"

static dcam_status has_folder(const char *folder, const char *name, bool *out)
{
    char *path;
    DCAM_TRY(dcam_path_join(folder, name, &path));
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    const dcam_status status = dcam_path_look(path, &kind);
    dcam_free(path);
    if (status == DCAM_OK) *out = kind == DCAM_PATH_FOLDER;
    return status;
}

dcam_status dcam_layout_mvtec_is_class(const char *folder, bool *out)
{
    bool train, test;
    DCAM_TRY(has_folder(folder, "train", &train));
    DCAM_TRY(has_folder(folder, "test", &test));
    *out = train || test;
    return DCAM_OK;
}

static bool contains(const dcam_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0) return true;
    return false;
}

dcam_status dcam_layout_mvtec_check_spelling(const char *folder, const dcam_names *names)
{
    static const char *const parts[] = {"train", "test", "ground_truth"};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        for (size_t i = 0; i < names->count; i++) {
            const char *name = names->names[i];
            bool same = false, images = false;
            if (dcam_ascii_casecmp(name, parts[p]) != 0 || strcmp(name, parts[p]) == 0) continue;
            /* A file system that does not tell them apart: it is looked at under the right name. */
            if (!contains(names, parts[p])) DCAM_TRY(has_folder(folder, parts[p], &same));
            if (!same) DCAM_TRY(dcam_holds_images(folder, name, &images));
            if (images)
                return dcam_fail(DCAM_ERROR_DATA, "%s/%s: the folder's name must be spelt %s, in just these letters; rename it",
                                 folder, name, parts[p]);
        }
    return DCAM_OK;
}

/* Bytes of the name before its extension. */
static size_t stem_length(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

/* Names of images only, sorted. A folder that is not there is empty. Folders in it are not looked into: of two images or
 * masks of one name below a label no pairing would be sure. */
static dcam_status list_images(const char *folder, dcam_names *out)
{
    dcam_names names = {NULL, 0};
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(folder, &kind));
    if (kind == DCAM_PATH_FOLDER) DCAM_TRY(dcam_folder_list(folder, &names));
    dcam_status status = DCAM_OK;
    bool deeper = false;
    const size_t all = names.count;
    size_t kept = 0;
    for (size_t i = 0; i < names.count; i++) {
        if (dcam_is_image_name(names.names[i])) {
            names.names[kept++] = names.names[i];
            continue;
        }
        if (status == DCAM_OK && !deeper) status = has_folder(folder, names.names[i], &deeper);
        dcam_free(names.names[i]);
    }
    names.count = kept;
    if (status == DCAM_OK && deeper) status = dcam_note_images_below(folder);
    else if (status == DCAM_OK && kept == 0 && all > 0) /* GIFs, say: all masks of a kind of defect */
        dcam_log(DCAM_LOG_WARNING, "%s: none of its %zu files is called like an image that is read; they are left out", folder, all);
    if (status != DCAM_OK) dcam_names_clear(&names);
    else *out = names;
    return status;
}

static int compare_stem(const char *stem, size_t length, const char *name)
{
    size_t n = stem_length(name);
    int c = memcmp(stem, name, length < n ? length : n);
    if (c != 0) return c;
    return length < n ? -1 : length > n;
}

static int compare_by_stem(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    int c = compare_stem(x, stem_length(x), y);
    return c != 0 ? c : strcmp(x, y);
}

/* First index in names (sorted by stem) with this stem, or names->count. */
static size_t find_stem(const dcam_names *names, const char *stem, size_t length)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_stem(stem, length, names->names[middle]) > 0) low = middle + 1;
        else high = middle;
    }
    return low < names->count && compare_stem(stem, length, names->names[low]) == 0 ? low : names->count;
}

/* The photograph of a mask: that of the same stem, else that of the stem
 * without _mask. */
static size_t find_photograph(const dcam_names *images, const char *mask)
{
    size_t length = stem_length(mask), tail = strlen(MASK_ENDING);
    size_t found = find_stem(images, mask, length);
    if (found < images->count) return found;
    if (length <= tail || memcmp(mask + length - tail, MASK_ENDING, tail) != 0) return images->count;
    return find_stem(images, mask, length - tail);
}

/* mask_of[i] = index of the mask of image i, or masks->count. */
static dcam_status pair_masks(const char *image_folder, const dcam_names *images, const char *mask_folder,
                              const dcam_names *masks, size_t *mask_of)
{
    for (size_t i = 0; i < images->count; i++) mask_of[i] = masks->count;
    for (size_t m = 0; m < masks->count; m++) {
        const char *mask = masks->names[m];
        size_t i = find_photograph(images, mask);
        if (i >= images->count)
            return dcam_fail(DCAM_ERROR_DATA,
                             "%s/%s: a mask without its photograph; looked for %s/%.*s.* (with or without " MASK_ENDING
                             " in the mask's name)",
                             mask_folder, mask, image_folder, (int)stem_length(mask), mask);
        if (i + 1 < images->count && compare_stem(images->names[i], stem_length(images->names[i]), images->names[i + 1]) == 0)
            return dcam_fail(DCAM_ERROR_DATA, "%s/%s: the mask could belong to %s or to %s; rename one of them",
                             mask_folder, mask, images->names[i], images->names[i + 1]);
        if (mask_of[i] < masks->count)
            return dcam_fail(DCAM_ERROR_DATA, "%s/%s: the photograph has two masks, %s and %s in %s; remove one",
                             image_folder, images->names[i], masks->names[mask_of[i]], mask, mask_folder);
        mask_of[i] = m;
    }
    return DCAM_OK;
}

/* Adds the images of one label; mask_folder may not exist. label: NULL where the folder's name is none. */
static dcam_status add_label(dcam_builder *builder, int class_index, dcam_split split, const char *label,
                             const char *image_folder, const char *mask_folder)
{
    dcam_names images = {NULL, 0}, masks = {NULL, 0};
    size_t *mask_of = NULL;
    char *path = NULL, *mask = NULL;
    dcam_status status = list_images(image_folder, &images);
    if (status == DCAM_OK && images.count > 0 && !label)
        status = dcam_fail(DCAM_ERROR_DATA, "%s: the folder's name " DCAM_LABEL_UNCLEAR, image_folder);
    if (status == DCAM_OK && mask_folder) status = list_images(mask_folder, &masks);
    if (status == DCAM_OK) status = dcam_alloc(images.count, sizeof *mask_of, &mask_of);
    if (status != DCAM_OK) goto cleanup;
    if (images.count > 0) qsort(images.names, images.count, sizeof *images.names, compare_by_stem);
    if ((status = pair_masks(image_folder, &images, mask_folder, &masks, mask_of)) != DCAM_OK) goto cleanup;
    for (size_t i = 0; i < images.count && status == DCAM_OK; i++) {
        status = dcam_path_join(image_folder, images.names[i], &path);
        if (status == DCAM_OK && mask_of[i] < masks.count)
            status = dcam_path_join(mask_folder, masks.names[mask_of[i]], &mask);
        if (status == DCAM_OK) status = dcam_builder_add(builder, class_index, split, label, path, mask);
        dcam_free(path);
        dcam_free(mask);
        path = mask = NULL;
    }
cleanup:
    dcam_free(mask_of);
    dcam_names_clear(&masks);
    dcam_names_clear(&images);
    return status;
}

/* CLASS/SPLIT/NAME: the images of one label. */
static dcam_status add_label_of(dcam_builder *builder, int class_index, dcam_split split, const char *folder,
                                const char *name)
{
    const char *label = dcam_label_of(name);
    char *images = NULL, *masks = NULL;
    bool test = split == DCAM_SPLIT_TEST;
    dcam_status status = dcam_format_string(&images, "%s/%s/%s", folder, test ? "test" : "train", name);
    if (status == DCAM_OK && test && !(label && strcmp(label, DCAM_LABEL_GOOD) == 0))
        status = dcam_format_string(&masks, "%s/ground_truth/%s", folder, name);
    if (status == DCAM_OK) status = add_label(builder, class_index, split, label, images, masks);
    dcam_free(masks);
    dcam_free(images);
    return status;
}

/* Folders in FOLDER/NAME, none if that is not there. Images beside them have no label. */
static dcam_status list_labels(const char *folder, const char *name, dcam_names *out)
{
    char *path;
    dcam_names names = {NULL, 0};
    DCAM_TRY(dcam_path_join(folder, name, &path));
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    dcam_status status = dcam_path_look(path, &kind);
    if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = dcam_folder_list(path, &names);
    size_t kept = 0, loose = 0;
    for (size_t i = 0; i < names.count; i++) {
        bool keep = false;
        if (status == DCAM_OK) status = has_folder(path, names.names[i], &keep);
        if (keep) names.names[kept++] = names.names[i];
        else {
            loose += dcam_is_image_name(names.names[i]);
            dcam_free(names.names[i]);
        }
    }
    names.count = kept;
    if (loose > 0)
        dcam_log(DCAM_LOG_WARNING, "%s: %zu images right in it are left out; move them into a folder in it, good or the "
                 "name of a defect", path, loose);
    dcam_free(path);
    if (status != DCAM_OK) dcam_names_clear(&names);
    else *out = names;
    return status;
}

static dcam_status check_spelling_in(const char *folder)
{
    dcam_names names;
    DCAM_TRY(dcam_folder_list(folder, &names));
    const dcam_status status = dcam_layout_mvtec_check_spelling(folder, &names);
    dcam_names_clear(&names);
    return status;
}

dcam_status dcam_layout_mvtec_class(dcam_builder *builder, const char *folder, const char *name)
{
    dcam_names train = {NULL, 0}, test = {NULL, 0}, masks = {NULL, 0};
    int class_index;
    bool wanted;
    DCAM_TRY(dcam_builder_class(builder, name, &class_index, &wanted));
    if (!wanted) return DCAM_OK;
    DCAM_TRY(check_spelling_in(folder));
    dcam_status status = list_labels(folder, "train", &train);
    if (status == DCAM_OK) status = list_labels(folder, "test", &test);
    if (status == DCAM_OK) status = list_labels(folder, "ground_truth", &masks);
    for (size_t i = 0; i < train.count && status == DCAM_OK; i++)
        status = add_label_of(builder, class_index, DCAM_SPLIT_TRAIN, folder, train.names[i]);
    for (size_t i = 0; i < test.count && status == DCAM_OK; i++)
        status = add_label_of(builder, class_index, DCAM_SPLIT_TEST, folder, test.names[i]);
    /* Masks of a label that has no photographs at all: reported by name too. */
    for (size_t i = 0; i < masks.count && status == DCAM_OK; i++)
        if (!contains(&test, masks.names[i]))
            status = add_label_of(builder, class_index, DCAM_SPLIT_TEST, folder, masks.names[i]);
    dcam_names_clear(&masks);
    dcam_names_clear(&test);
    dcam_names_clear(&train);
    return status;
}

/* Calls dcam_layout_mvtec_class for every class below root, or with builder
 * NULL only says whether there is one. */
static dcam_status visit_classes(dcam_builder *builder, const char *root, bool *found)
{
    dcam_names names;
    *found = false;
    DCAM_TRY(dcam_folder_list(root, &names));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i < names.count && status == DCAM_OK && !(*found && !builder); i++) {
        char *folder;
        if ((status = dcam_path_join(root, names.names[i], &folder)) != DCAM_OK) break;
        bool is_class = false;
        status = dcam_layout_mvtec_is_class(folder, &is_class);
        if (is_class) *found = true;
        bool passed_over = false;
        if (status == DCAM_OK && is_class && builder) status = dcam_layout_mvtec_class(builder, folder, names.names[i]);
        else if (status == DCAM_OK && builder && dcam_builder_wants(builder, names.names[i]))
            status = has_folder(root, names.names[i], &passed_over);
        if (status == DCAM_OK && passed_over) status = dcam_note_no_class(folder);
        dcam_free(folder);
    }
    dcam_names_clear(&names);
    return status;
}

dcam_status dcam_layout_mvtec_has_classes(const char *root, bool *out)
{
    bool found;
    DCAM_TRY(visit_classes(NULL, root, &found));
    *out = found;
    return DCAM_OK;
}

dcam_status dcam_layout_mvtec_root(dcam_builder *builder, const char *root)
{
    bool found;
    return visit_classes(builder, root, &found);
}
