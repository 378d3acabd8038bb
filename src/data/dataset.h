/* dataset.h - what images there are: MVTec AD layout, VisA (split_csv/1cls.csv),
 * a CSV manifest (path,class,split,label,mask), or a plain folder of normal
 * images (one class). Nothing is decoded here. */
#ifndef DCAM_DATA_DATASET_H
#define DCAM_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/places.h"
#include "base/status.h"

typedef enum { DCAM_SPLIT_TRAIN, DCAM_SPLIT_TEST } dcam_split;

typedef struct {
    char *path;       /* of the image */
    char *mask_path;  /* or NULL */
    char *label;      /* "good" or the defect's name */
    int class_index;  /* into dcam_dataset.class_names */
    dcam_split split;
    bool defective;
} dcam_sample;

typedef struct {
    char *root;         /* a folder; of a manifest, the one it lies in */
    char **class_names; /* sorted by bytes */
    bool *class_has_masks; /* some defective test image of the class has a mask */
    size_t class_count;
    dcam_sample *samples; /* sorted by class, split, label, path */
    size_t sample_count;
} dcam_dataset;

/* path: the data set's folder, or a .csv manifest. only_classes: NULL or "a,b"; other classes are not looked
 * at. Recognised in this order:
 *   FOLDER/split_csv/1cls.csv              VisA: object,split,label,image,mask; paths must stay in FOLDER
 *   FOLDER/train, FOLDER/test              one class in MVTec layout, named after FOLDER
 *   FOLDER/CLASS/train, FOLDER/CLASS/test  MVTec AD: train/good, test/LABEL, ground_truth/LABEL/NAME_mask.EXT or
 *                                          NAME.EXT; a class without ground_truth is fine
 *   FOLDER                                 images at any depth, all normal, one class named after FOLDER
 *   FILE.csv                               manifest: path,class,split,label[,mask]; relative paths start at its
 *                                          folder; absolute ones and ".." are allowed, for it is the user's own
 * Normal images are called "good" or "normal", train/normal and test/normal included; "Good" or "OK" is an error.
 * Images in places that a layout does not look at are counted in a warning. A plain folder with "good" beside another
 * folder of images is an error, and so are images in Train, Test or Ground_Truth. What a plain folder with images in
 * folders below it is taken for is logged.
 * Files whose names do not end as an image are passed over; links are followed. Errors name what was looked for
 * and not found; an unknown class in only_classes is named with the list of those there; a mask without its
 * photograph is an error naming it. A class may lack normal images here (it can still be evaluated);
 * dcam_dataset_split refuses it. */
DCAM_MUST_CHECK dcam_status dcam_dataset_open(const char *path, const char *only_classes, dcam_dataset **out);
void dcam_dataset_destroy(dcam_dataset *dataset);

/* dcam_check_places against the files of a data set that was opened from path: its table, images and masks. */
DCAM_MUST_CHECK dcam_status dcam_dataset_check_places(const dcam_dataset *dataset, const char *path, const dcam_place *written,
                                                      size_t written_count);

/* Indices of a class's (or, class_index -1, all classes') samples of a split; normal_only skips defective
 * ones. *out from dcam_alloc. */
DCAM_MUST_CHECK dcam_status dcam_dataset_select(const dcam_dataset *dataset, int class_index, dcam_split split,
                                                bool normal_only, uint32_t **out, size_t *out_count);

/* A picture and what decoding it takes, by its header alone. path is borrowed from the data set; NULL: none. */
typedef struct {
    const char *path;
    int width, height;
    size_t bytes; /* image.h, dcam_image_size */
} dcam_photograph;
/* Puts the picture that takes most memory into *largest, unless what is there takes as much. A header that says nothing
 * that would be decoded counts nothing; a file that cannot be opened or read is an error. */
DCAM_MUST_CHECK dcam_status dcam_dataset_find_largest(const dcam_dataset *dataset, const uint32_t *indices,
                                                      size_t count, dcam_photograph *largest);

/* What tells a file's content from any other's: the first hex digits of its SHA-256, without a NUL. */
#define DCAM_CONTENT_MARK 12
typedef char dcam_content_mark[DCAM_CONTENT_MARK];

/* first[i]: the lowest place of the same mark; i itself where there is none before it. */
DCAM_MUST_CHECK dcam_status dcam_first_of_mark(const dcam_content_mark *marks, size_t count, uint32_t *first);

/* Whether a normal training image is one of its kind. Of those of a class with the same content the first is no copy. */
typedef enum { DCAM_NO_COPY, DCAM_COPY_OF_ITS_CLASS, DCAM_IN_ANOTHER_CLASS } dcam_copy_kind;
/* marks, kinds: sample_count; marks of normal training images are read, the kind of any other is DCAM_NO_COPY. */
DCAM_MUST_CHECK dcam_status dcam_dataset_find_copies(const dcam_dataset *dataset, const dcam_content_mark *marks,
                                                     dcam_copy_kind *kinds);

/* Splits the normal training images of every class, seeded, into training and validation part: per class
 * round(fraction * n) validation images, at least 1 and at most n - 1; a class with fewer than 2 is an error
 * that names it. Stratified by class so that every class can be calibrated; a class's own split does not depend
 * on the other classes. Sorted index lists.
 * kinds: of dcam_dataset_find_copies; NULL: none is a copy. No content is in both parts, where it would be scored as normal
 * because it was learned. Copies in a class are in neither list: the split is that of the class without them. An image that
 * another class has too is always learned from; a class of such images alone is an error. */
DCAM_MUST_CHECK dcam_status dcam_dataset_split(const dcam_dataset *dataset, const dcam_copy_kind *kinds,
                                               double validation_fraction, uint64_t seed, uint32_t **train,
                                               size_t *train_count, uint32_t **validation, size_t *validation_count);

/* A fingerprint of the selected files for the training record: SHA-256 over path (relative to
 * root where it lies below), size and content of each in the order given, as 64 hex digits + NUL.
 * marks: count, of the files in this order; may be NULL. */
DCAM_MUST_CHECK dcam_status dcam_dataset_fingerprint(const dcam_dataset *dataset, const uint32_t *indices, size_t count,
                                                     char out[65], dcam_content_mark *marks);

#endif
