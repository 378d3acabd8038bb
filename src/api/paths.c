/* paths.c - expands files and folders into image files. Loops of links are
 * passed over, and the depth is bounded. */
#define _GNU_SOURCE
#include "api/paths.h"

#include <sys/stat.h>

#include "base/memory.h"
#include "data/builder.h" /* dcam_is_image_name: what training takes for an image, detection does too */

typedef struct {
    dcam_names list;
    size_t room;
    /* The folders from the given one to here: one of them met again is a loop. */
    dev_t devices[DCAM_MAX_FOLDER_DEPTH];
    ino_t inodes[DCAM_MAX_FOLDER_DEPTH];
} growing;

/* Takes path in every case. */
static dcam_status append(growing *g, char *path)
{
    if (g->list.count == g->room) {
        size_t room = g->room ? 2 * g->room : 64;
        dcam_status status = dcam_realloc(room, sizeof *g->list.names, &g->list.names);
        if (status != DCAM_OK) {
            dcam_free(path);
            return status;
        }
        g->room = room;
    }
    g->list.names[g->list.count++] = path;
    return DCAM_OK;
}

/* Notes the folder; false if it is one of those above it. */
static bool enter(growing *g, const char *folder, int depth)
{
    struct stat info;
    if (stat(folder, &info) != 0) return true; /* reading it will tell */
    for (int i = 0; i < depth; i++)
        if (g->devices[i] == info.st_dev && g->inodes[i] == info.st_ino) return false;
    g->devices[depth] = info.st_dev;
    g->inodes[depth] = info.st_ino;
    return true;
}

static dcam_status expand_folder(growing *g, const char *folder, int depth)
{
    if (depth == DCAM_MAX_FOLDER_DEPTH)
        return dcam_fail(DCAM_ERROR_DATA, "%s: more than %d folders deep; give a folder nearer to the images", folder,
                         DCAM_MAX_FOLDER_DEPTH);
    if (!enter(g, folder, depth)) return DCAM_OK;
    dcam_names names;
    DCAM_TRY(dcam_folder_list(folder, &names));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; status == DCAM_OK && i < names.count; i++) {
        char *path;
        if ((status = dcam_path_join(folder, names.names[i], &path)) != DCAM_OK) break;
        dcam_path_kind kind = DCAM_PATH_ABSENT;
        status = dcam_path_look(path, &kind);
        if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) {
            status = expand_folder(g, path, depth + 1);
            dcam_free(path);
        } else if (status == DCAM_OK && dcam_is_image_name(path)) {
            status = append(g, path);
        } else {
            dcam_free(path);
        }
    }
    dcam_names_clear(&names);
    return status;
}

static dcam_status expand_one(growing *g, const char *path)
{
    if (!path) return dcam_fail(DCAM_ERROR_USAGE, "a path is missing");
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_ABSENT) return dcam_fail(DCAM_ERROR_DATA, "%s: no such file or folder", path);
    if (kind == DCAM_PATH_FOLDER) {
        size_t before = g->list.count;
        DCAM_TRY(expand_folder(g, path, 0));
        if (g->list.count == before)
            return dcam_fail(DCAM_ERROR_DATA, "%s: holds no image (JPEG, PNG, WebP, TIFF, BMP or PNM by its extension)",
                             path);
        return DCAM_OK;
    }
    char *copy;
    DCAM_TRY(dcam_copy_string(path, &copy));
    return append(g, copy);
}

dcam_status dcam_paths_expand(const char *const *paths, size_t count, dcam_names *out)
{
    growing g = {0};
    for (size_t i = 0; i < count; i++) {
        dcam_status status = expand_one(&g, paths[i]);
        if (status != DCAM_OK) {
            dcam_names_clear(&g.list);
            return status;
        }
    }
    *out = g.list;
    return DCAM_OK;
}
