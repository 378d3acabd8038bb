/* layout_folder.c - a plain folder: every image at any depth is a normal
 * training photograph of one class. */
#include "data/layouts.h"

#include <string.h>

#include "base/file.h"
#include "data/left_out.h"
#include "data/walk.h"

typedef struct {
    dcam_builder *builder;
    int class_index;
    size_t root_length;    /* of the folder's path, its last slash included */
    size_t images, deeper; /* deeper: in folders below it */
} plain_class;

static bool reads_as_good(const char *name)
{
    const char *label = dcam_label_of(name);
    return !label || strcmp(label, DCAM_LABEL_GOOD) == 0;
}

/* Test images by label: "good" (in any spelling) beside another folder of images, which are defects then. */
static dcam_status refuse_labels(const char *folder, const dcam_names *names)
{
    const char *good = NULL, *other = NULL;
    for (size_t i = 0; i < names->count && !good; i++) {
        bool found = false;
        if (reads_as_good(names->names[i])) DCAM_TRY(dcam_holds_images(folder, names->names[i], &found));
        if (found) good = names->names[i];
    }
    for (size_t i = 0; i < names->count && good && !other; i++) {
        bool found = false;
        if (!reads_as_good(names->names[i])) DCAM_TRY(dcam_holds_images(folder, names->names[i], &found));
        if (found) other = names->names[i];
    }
    if (!other) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA,
                     "%s: holds images in %s beside images in %s, and in a plain folder all count as normal; give %s/%s "
                     "for the normal ones alone, or lay them out as CLASS/train/good, CLASS/test/good and CLASS/test/%s",
                     folder, good, other, folder, good, other);
}

/* A data set one level further down would be learnt with its defects. */
static dcam_status refuse_nested(void *user, const char *folder, const dcam_names *names)
{
    (void)user;
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->names[i], "ground_truth") != 0 && strcmp(names->names[i], "split_csv") != 0) continue;
        return dcam_fail(DCAM_ERROR_DATA,
                         "%s: looks like a part of a data set with defects (it holds %s); give the folder above its "
                         "classes, or one class folder, instead of a folder around them",
                         folder, names->names[i]);
    }
    bool is_class;
    DCAM_TRY(dcam_layout_mvtec_is_class(folder, &is_class));
    if (!is_class) {
        DCAM_TRY(dcam_layout_mvtec_check_spelling(folder, names));
        return refuse_labels(folder, names);
    }
    return dcam_fail(DCAM_ERROR_DATA,
                     "%s: looks like a class in MVTec layout (it holds train or test); give the folder right above "
                     "the classes, or this one",
                     folder);
}

static dcam_status add_image(void *user, const char *path)
{
    plain_class *c = user;
    c->images++;
    c->deeper += strchr(path + c->root_length, '/') != NULL;
    return dcam_builder_add(c->builder, c->class_index, DCAM_SPLIT_TRAIN, DCAM_LABEL_GOOD, path, NULL);
}

dcam_status dcam_layout_plain(dcam_builder *builder, const char *folder, const char *class_name)
{
    const size_t length = strlen(folder);
    plain_class c = {.builder = builder, .root_length = length > 0 && folder[length - 1] == '/' ? length : length + 1};
    bool wanted;
    DCAM_TRY(dcam_builder_class(builder, class_name, &c.class_index, &wanted));
    const dcam_walk_calls calls = {.on_folder = refuse_nested, .on_image = add_image, .user = &c};
    if (wanted) DCAM_TRY(dcam_walk_images(folder, &calls));
    /* Whoever has a folder for each product, or one for defects, sees here what became of them. */
    if (c.deeper > 0)
        dcam_log(DCAM_LOG_INFO, "%s: a plain folder: all %zu images in it and in the folders below it are taken for normal ones "
                 "of one class, %s", folder, c.images, class_name);
    return DCAM_OK;
}
