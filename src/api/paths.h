/* paths.h - which image files a list of paths stands for; and that the table of an evaluation replaces none of its inputs. */
#ifndef DCAM_API_PATHS_H
#define DCAM_API_PATHS_H

#include "base/file.h"

/* Each file as it is; each folder recursively, files sorted by name, those
 * with an image's extension (any case). Links are followed, but of one folder
 * given each folder below is taken once (data/walk.h). A path that is not there, or a folder
 * without any image, is an error that names it. Clear with dcam_names_clear. */
DCAM_MUST_CHECK dcam_status dcam_paths_expand(const char *const *paths, size_t count, dcam_names *out);

/* Before dcam_evaluate, for the file that a caller will write of its result: DCAM_ERROR_USAGE where that is the data set's
 * table, an image or mask of it, a model, or the report (base/places.h). */
DCAM_MUST_CHECK dcam_status dcam_evaluate_check_table(const dcam_evaluate_options *options, const char *table);

#endif
