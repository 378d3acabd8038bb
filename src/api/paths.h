/* paths.h - which image files a list of paths stands for. */
#ifndef DCAM_API_PATHS_H
#define DCAM_API_PATHS_H

#include "base/file.h"

/* Each file as it is; each folder recursively, files sorted by name, those
 * with an image's extension (any case). Links are followed, but of one folder
 * given each folder below is taken once (data/walk.h). A path that is not there, or a folder
 * without any image, is an error that names it. Clear with dcam_names_clear. */
DCAM_MUST_CHECK dcam_status dcam_paths_expand(const char *const *paths, size_t count, dcam_names *out);

#endif
