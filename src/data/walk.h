/* walk.h - the images below a folder, at any depth: what a plain folder means to training and detection alike. */
#ifndef DCAM_DATA_WALK_H
#define DCAM_DATA_WALK_H

#include "base/file.h"

/* Deeper trees are not photographs of one product. */
#define DCAM_MAX_FOLDER_DEPTH 32

/* Either ends the walk by a status that is not DCAM_OK. */
typedef struct {
    /* Of each folder, before what is in it; NULL: not asked for. */
    dcam_status (*on_folder)(void *user, const char *path, const dcam_names *names);
    /* Of each name with an image's ending (any case) that is no folder, links that lead nowhere among them. */
    dcam_status (*on_image)(void *user, const char *path);
    void *user;
} dcam_walk_calls;

/* Entries in the order of their names' bytes. Links are followed, but each folder is walked once, however many of them
 * lead to it: under the first name that is met. So no loop and no web of links makes the walk longer than the tree.
 * More than DCAM_MAX_FOLDER_DEPTH folders deep: DCAM_ERROR_DATA. */
DCAM_MUST_CHECK dcam_status dcam_walk_images(const char *folder, const dcam_walk_calls *calls);

#endif
