/* layouts.h - the readers of the data-set layouts; each fills a builder.
 * Internal to src/data. */
#ifndef DCAM_DATA_LAYOUTS_H
#define DCAM_DATA_LAYOUTS_H

#include "base/file.h"
#include "data/builder.h"

/* MVTec AD: is this folder a class, that is, has it a folder train or test? */
DCAM_MUST_CHECK dcam_status dcam_layout_mvtec_is_class(const char *folder, bool *out);
/* Does any folder in it look like a class? */
DCAM_MUST_CHECK dcam_status dcam_layout_mvtec_has_classes(const char *root, bool *out);
/* Refuses images in a folder called train, test or ground_truth in letters of another case (names: what is in folder): the
 * layout passes over it, so that masks would be missing, and a folder of such ones would be a plain one, whose defects are
 * learnt as normal. */
DCAM_MUST_CHECK dcam_status dcam_layout_mvtec_check_spelling(const char *folder, const dcam_names *names);
/* One class from its folder. */
DCAM_MUST_CHECK dcam_status dcam_layout_mvtec_class(dcam_builder *builder, const char *folder, const char *name);
/* All classes below root. */
DCAM_MUST_CHECK dcam_status dcam_layout_mvtec_root(dcam_builder *builder, const char *root);

/* VisA: root/split_csv/1cls.csv. */
#define DCAM_VISA_TABLE "split_csv/1cls.csv"
DCAM_MUST_CHECK dcam_status dcam_layout_visa(dcam_builder *builder, const char *root);
/* A manifest of the user's own. */
DCAM_MUST_CHECK dcam_status dcam_layout_manifest(dcam_builder *builder, const char *path);

/* Every image below the folder as a normal training image of one class. */
DCAM_MUST_CHECK dcam_status dcam_layout_plain(dcam_builder *builder, const char *folder, const char *class_name);

#endif
