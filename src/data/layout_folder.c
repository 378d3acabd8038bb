/* layout_folder.c - a plain folder: every image at any depth is a normal
 * training photograph of one class. */
#include "data/layouts.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/left_out.h"
#include "data/walk.h"

typedef struct {
    dcam_builder *builder;
    int class_index;
} plain_class;

/* Is there a folder of that name with images at any depth below it? */
static dcam_status holds_images(const char *folder, const char *name, bool *out)
{
    char *path;
    DCAM_TRY(dcam_path_join(folder, name, &path));
    dcam_path_kind kind = DCAM_PATH_ABSENT;
    dcam_image_tally tally = {0, 0};
    dcam_status status = dcam_path_look(path, &kind);
    if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = dcam_count_images(path, &tally);
    dcam_free(path);
    if (status == DCAM_OK) *out = tally.here + tally.below > 0;
    return status;
}

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
        if (reads_as_good(names->names[i])) DCAM_TRY(holds_images(folder, names->names[i], &found));
        if (found) good = names->names[i];
    }
    for (size_t i = 0; i < names->count && good && !other; i++) {
        bool found = false;
        if (!reads_as_good(names->names[i])) DCAM_TRY(holds_images(folder, names->names[i], &found));
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
    if (!is_class) return refuse_labels(folder, names);
    return dcam_fail(DCAM_ERROR_DATA,
                     "%s: looks like a class in MVTec layout (it holds train or test); give the folder right above "
                     "the classes, or this one",
                     folder);
}

static dcam_status add_image(void *user, const char *path)
{
    const plain_class *c = user;
    return dcam_builder_add(c->builder, c->class_index, DCAM_SPLIT_TRAIN, DCAM_LABEL_GOOD, path, NULL);
}

dcam_status dcam_layout_plain(dcam_builder *builder, const char *folder, const char *class_name)
{
    plain_class c = {.builder = builder};
    bool wanted;
    DCAM_TRY(dcam_builder_class(builder, class_name, &c.class_index, &wanted));
    const dcam_walk_calls calls = {.on_folder = refuse_nested, .on_image = add_image, .user = &c};
    return wanted ? dcam_walk_images(folder, &calls) : DCAM_OK;
}
