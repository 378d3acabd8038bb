/* checksums.h - sums that our safetensors files carry, so that a bit that a disk or a network turned is found when the file
 * is read. One metadata entry, "sha256": a JSON object with the SHA-256 of each tensor's bytes by its name, and under
 * "__metadata__" one sum over the other metadata. Files without the entry are read as they are: those of others, and
 * older ones. Whoever changes a file with other tools removes the entry. */
#ifndef DCAM_WEIGHTS_CHECKSUMS_H
#define DCAM_WEIGHTS_CHECKSUMS_H

#include "base/sha256.h"
#include "weights/store.h"

#define CHECKSUMS_KEY "sha256"
#define CHECKSUMS_TEXT "__metadata__"

/* Exclusive or of the SHA-256 of KEY NUL VALUE NUL: does not depend on the order, which other tools change. */
typedef struct {
    uint8_t sum[DCAM_SHA256_BYTES];
} checksums_of_text;
void checksums_add_text(checksums_of_text *text, const char *key, const char *value);
void checksums_finish_text(const checksums_of_text *text, char out[DCAM_SHA256_HEX]);

/* Compares what the file holds with what its entry says, and takes the entry out of the metadata. */
DCAM_MUST_CHECK dcam_status checksums_verify(dcam_tensors *s);

#endif
