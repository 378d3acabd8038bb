/* builder.h - gathers classes and samples while a layout is read, and makes
 * the sorted dcam_dataset of them. Internal to src/data. */
#ifndef DCAM_DATA_BUILDER_H
#define DCAM_DATA_BUILDER_H

#include "data/dataset.h"
#include "data/label.h"

typedef struct dcam_builder dcam_builder;

/* only_classes: NULL or "a,b". */
DCAM_MUST_CHECK dcam_status dcam_builder_create(const char *root, const char *only_classes, dcam_builder **out);
void dcam_builder_destroy(dcam_builder *builder);

/* The index of the class of that name, added if new; *wanted: false when only_classes leaves it out, in
 * which case its files need not be looked at. */
DCAM_MUST_CHECK dcam_status dcam_builder_class(dcam_builder *builder, const char *name, int *class_index,
                                               bool *wanted);

/* Whether only_classes leaves room for a class of that name; adds none. */
bool dcam_builder_wants(const dcam_builder *builder, const char *name);

/* Takes a sample; mask may be NULL. label: as dcam_label_of gives it. All strings are copied. */
DCAM_MUST_CHECK dcam_status dcam_builder_add(dcam_builder *builder, int class_index, dcam_split split,
                                             const char *label, const char *path, const char *mask);

/* Fails where two samples are the same file, by device and inode: spelt in two ways, or through a link. For tables; in
 * folders links are the user's own. */
DCAM_MUST_CHECK dcam_status dcam_builder_refuse_twice(const dcam_builder *builder);

size_t dcam_builder_sample_count(const dcam_builder *builder);

/* Checks what only the whole can tell (unknown class, class without images) and makes
 * the data set. The builder is empty afterwards and must still be destroyed. */
DCAM_MUST_CHECK dcam_status dcam_builder_finish(dcam_builder *builder, dcam_dataset **out);

/* Whether the name ends as one of the formats that dcam_image_load reads (any case). */
bool dcam_is_image_name(const char *name);

#endif
