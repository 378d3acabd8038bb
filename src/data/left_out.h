/* left_out.h - images that a layout does not look at: counted, so that they are left out with a word. Internal to
 * src/data. */
#ifndef DCAM_DATA_LEFT_OUT_H
#define DCAM_DATA_LEFT_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Images below the folder at any depth (dcam_walk_images); right in it, and in folders below. */
typedef struct {
    size_t here, below;
} dcam_image_tally;
DCAM_MUST_CHECK dcam_status dcam_count_images(const char *folder, dcam_image_tally *out);

/* Is FOLDER/NAME a folder with images at any depth? */
DCAM_MUST_CHECK dcam_status dcam_holds_images(const char *folder, const char *name, bool *out);

/* Warns where there are images in folders below this one, of which those right in it alone are looked at. */
DCAM_MUST_CHECK dcam_status dcam_note_images_below(const char *folder);
/* Warns where there are images below a folder that lies among classes and is none. */
DCAM_MUST_CHECK dcam_status dcam_note_no_class(const char *folder);

#endif
