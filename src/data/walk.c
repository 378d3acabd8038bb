/* walk.c - walks a tree of folders. The set of those walked is a hash table with linear probing, at most half full. To
 * look out for loops alone would not do: 32 folders, each with two links to the next, would be walked 2^31 times. */
#define _GNU_SOURCE
#include "data/walk.h"

#include <sys/stat.h>

#include "base/memory.h"
#include "data/builder.h"

typedef struct {
    dev_t device;
    ino_t inode;
    bool taken;
} place;

typedef struct {
    const dcam_walk_calls *calls;
    place *places;
    size_t count, room; /* room: 0 or a power of two */
} walk;

/* Where it is, or would be. */
static place *find(place *places, size_t room, dev_t device, ino_t inode)
{
    const uint64_t hash = ((uint64_t)inode ^ (uint64_t)device << 32) * UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(hash >> 32) & (room - 1);
    while (places[at].taken && (places[at].device != device || places[at].inode != inode))
        at = (at + 1) & (room - 1);
    return &places[at];
}

static dcam_status make_room(walk *w)
{
    if (2 * w->count < w->room) return DCAM_OK;
    const size_t room = w->room ? 2 * w->room : 64;
    place *places = NULL;
    DCAM_TRY(dcam_alloc_zero(room, sizeof *places, &places));
    for (size_t i = 0; i < w->room; i++) {
        const place *p = &w->places[i];
        if (p->taken) *find(places, room, p->device, p->inode) = *p;
    }
    dcam_free(w->places);
    w->places = places;
    w->room = room;
    return DCAM_OK;
}

/* *is_new: whether the folder was not walked yet; it now counts as walked. */
static dcam_status enter(walk *w, const char *folder, bool *is_new)
{
    struct stat info;
    if (stat(folder, &info) != 0) return dcam_system_failure("look at", folder);
    DCAM_TRY(make_room(w));
    place *p = find(w->places, w->room, info.st_dev, info.st_ino);
    *is_new = !p->taken;
    if (*is_new) w->count++;
    *p = (place){info.st_dev, info.st_ino, true};
    return DCAM_OK;
}

static dcam_status walk_folder(walk *w, const char *folder, int depth)
{
    dcam_names names = {NULL, 0};
    bool is_new = false;
    if (depth == DCAM_MAX_FOLDER_DEPTH)
        return dcam_fail(DCAM_ERROR_DATA, "%s: more than %d folders deep; give a folder nearer to the images", folder,
                         DCAM_MAX_FOLDER_DEPTH);
    DCAM_TRY(enter(w, folder, &is_new));
    if (!is_new) return DCAM_OK;
    DCAM_TRY(dcam_folder_list(folder, &names));
    const dcam_walk_calls *calls = w->calls;
    dcam_status status = calls->on_folder ? calls->on_folder(calls->user, folder, &names) : DCAM_OK;
    for (size_t i = 0; i < names.count && status == DCAM_OK; i++) {
        char *path;
        if ((status = dcam_path_join(folder, names.names[i], &path)) != DCAM_OK) break;
        dcam_path_kind kind = DCAM_PATH_ABSENT;
        status = dcam_path_look(path, &kind);
        if (status == DCAM_OK && kind == DCAM_PATH_FOLDER) status = walk_folder(w, path, depth + 1);
        else if (status == DCAM_OK && dcam_is_image_name(names.names[i])) status = calls->on_image(calls->user, path);
        dcam_free(path);
    }
    dcam_names_clear(&names);
    return status;
}

dcam_status dcam_walk_images(const char *folder, const dcam_walk_calls *calls)
{
    walk w = {.calls = calls};
    const dcam_status status = walk_folder(&w, folder, 0);
    dcam_free(w.places);
    return status;
}
