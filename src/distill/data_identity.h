/* data_identity.h - which images a model was trained on, so that a later calibration finds those that its student has not
 * learned from, wherever they lie and whatever is beside them. */
#ifndef DCAM_DISTILL_DATA_IDENTITY_H
#define DCAM_DISTILL_DATA_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "base/sha256.h"
#include "data/dataset.h"

/* Fingerprints of the normal training images, before the split. A class's own depends on no other class. */
typedef struct {
    char all[DCAM_SHA256_HEX];        /* names and fingerprints of the classes; whether copies are left out of the split */
    char (*classes)[DCAM_SHA256_HEX]; /* dataset->class_count */
    dcam_content_mark *marks;         /* dataset->sample_count, of normal training images; of others undefined */
    dcam_copy_kind *kinds;            /* dataset->sample_count: which are copies, for the split */
} dcam_data_identity;

DCAM_MUST_CHECK dcam_status dcam_data_identity_of(const dcam_dataset *dataset, dcam_data_identity *out);
void dcam_data_identity_clear(dcam_data_identity *identity);

/* The normal training images of dataset that the student of a training record (trainer.h; NULL: none) has not learned from:
 * new ones, and the validation part of the training. They are known by their content; one that the record has in both parts
 * (before copies were told apart) was learned from. Of copies in a class the first alone is given. *known (may be NULL):
 * classes with images of the training. *copies (may be NULL): images not given for being copies of one that is. A record
 * that says nothing of its images is as none; then no file is read, and copies are given too. */
DCAM_MUST_CHECK dcam_status dcam_unseen_images(const dcam_dataset *dataset, const char *record, uint32_t **out,
                                               size_t *out_count, size_t *known, size_t *copies);
/* Of one class those that are new: neither learned from nor in the validation part. *known (may be NULL): how many others. */
DCAM_MUST_CHECK dcam_status dcam_new_images(const dcam_dataset *dataset, int class_index, const char *record, uint32_t **out,
                                            size_t *out_count, size_t *known);

#endif
