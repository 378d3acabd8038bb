/* layout_folder.c - a plain folder: every image at any depth is a normal
 * training photograph of one class. Links are followed; a link that leads
 * back to a folder above it is passed over, and the depth is bounded. */
#define _GNU_SOURCE
#include "data/layouts.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

/* Deeper trees are not photographs of one product. */
#define MAX_DEPTH 32

typedef struct {
    dcam_builder *builder;
    int class_index;
    /* Device and inode of the folders from the root to here: a folder met
     * again among them is a loop. */
    dev_t devices[MAX_DEPTH];
    ino_t inodes[MAX_DEPTH];
} walk;

static bool is_loop(const walk *w, int depth, const struct stat *info)
{
    for (int i = 0; i < depth; i++)
        if (w->devices[i] == info->st_dev && w->inodes[i] == info->st_ino) return true;
    return false;
}

/* A data set one level further down would be learnt with its defects. */
static dcam_status refuse_nested(const char *folder, const dcam_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->names[i], "ground_truth") != 0 && strcmp(names->names[i], "split_csv") != 0) continue;
        return dcam_fail(DCAM_ERROR_DATA,
                         "%s: looks like a part of a data set with defects (it holds %s); give the folder above its "
                         "classes, or one class folder, instead of a folder around them",
                         folder, names->names[i]);
    }
    bool is_class;
    DCAM_TRY(dcam_layout_mvtec_is_class(folder, &is_class));
    if (!is_class) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_DATA,
                     "%s: looks like a class in MVTec layout (it holds train or test); give the folder right above "
                     "the classes, or this one",
                     folder);
}

static dcam_status walk_folder(walk *w, const char *folder, int depth)
{
    struct stat info;
    dcam_names names = {NULL, 0};
    if (depth == MAX_DEPTH)
        return dcam_fail(DCAM_ERROR_DATA, "%s: more than %d folders deep; give a folder nearer to the images", folder,
                         MAX_DEPTH);
    if (stat(folder, &info) != 0) return dcam_system_failure("look at", folder);
    if (is_loop(w, depth, &info)) return DCAM_OK;
    w->devices[depth] = info.st_dev;
    w->inodes[depth] = info.st_ino;
    DCAM_TRY(dcam_folder_list(folder, &names));
    dcam_status status = refuse_nested(folder, &names);
    for (size_t i = 0; i < names.count && status == DCAM_OK; i++) {
        char *path;
        if ((status = dcam_path_join(folder, names.names[i], &path)) != DCAM_OK) break;
        dcam_path_kind kind = DCAM_PATH_ABSENT;
        status = dcam_path_look(path, &kind);
        if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = walk_folder(w, path, depth + 1);
        else if (status == DCAM_OK && dcam_is_image_name(names.names[i]))
            status = dcam_builder_add(w->builder, w->class_index, DCAM_SPLIT_TRAIN, DCAM_LABEL_GOOD, path, NULL);
        dcam_free(path);
    }
    dcam_names_clear(&names);
    return status;
}

dcam_status dcam_layout_plain(dcam_builder *builder, const char *folder, const char *class_name)
{
    walk w = {.builder = builder};
    bool wanted;
    DCAM_TRY(dcam_builder_class(builder, class_name, &w.class_index, &wanted));
    return wanted ? walk_folder(&w, folder, 0) : DCAM_OK;
}
