/* paths.c - expands files and folders into image files. */
#include "api/paths.h"

#include "base/memory.h"
#include "data/walk.h" /* what training takes for the images of a folder, detection does too */

typedef struct {
    dcam_names list;
    size_t room;
} growing;

static dcam_status append(void *user, const char *path)
{
    growing *g = user;
    if (g->list.count == g->room) {
        size_t room = g->room ? 2 * g->room : 64;
        DCAM_TRY(dcam_realloc(room, sizeof *g->list.names, &g->list.names));
        g->room = room;
    }
    DCAM_TRY(dcam_copy_string(path, &g->list.names[g->list.count]));
    g->list.count++;
    return DCAM_OK;
}

static dcam_status expand_one(growing *g, const char *path)
{
    if (!path) return dcam_fail(DCAM_ERROR_USAGE, "a path is missing");
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_ABSENT) return dcam_fail(DCAM_ERROR_DATA, "%s: no such file or folder", path);
    if (kind == DCAM_PATH_FOLDER) {
        size_t before = g->list.count;
        const dcam_walk_calls calls = {.on_image = append, .user = g};
        DCAM_TRY(dcam_walk_images(path, &calls));
        if (g->list.count == before)
            return dcam_fail(DCAM_ERROR_DATA, "%s: holds no image (JPEG, PNG, WebP, TIFF, BMP or PNM by its extension)",
                             path);
        return DCAM_OK;
    }
    return append(g, path);
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
