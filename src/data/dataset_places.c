/* dataset_places.c - that what is written replaces no file of a data set: its table, its images, its masks. */
#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/layouts.h"

static dcam_status check_against(const char *path, const char *table, const dcam_dataset *d, const dcam_place *written, size_t count)
{
    dcam_place *read;
    size_t n = 0;
    DCAM_TRY(dcam_alloc(2 * d->sample_count + 2, sizeof *read, &read));
    read[n++] = (dcam_place){"data set", path};
    read[n++] = (dcam_place){"table of the data set", table};
    for (size_t i = 0; i < d->sample_count; i++) {
        read[n++] = (dcam_place){"image of the data set", d->samples[i].path};
        if (d->samples[i].mask_path) read[n++] = (dcam_place){"mask of the data set", d->samples[i].mask_path};
    }
    const dcam_status status = dcam_check_places(written, count, read, n);
    dcam_free(read);
    return status;
}

/* Of written those that are there: nothing else can be a file of the data set. */
static dcam_status find_present(const dcam_place *written, size_t count, dcam_place *out, size_t *present)
{
    for (size_t i = 0; i < count; i++) {
        dcam_path_kind kind = DCAM_PATH_ABSENT;
        if (written[i].path) DCAM_TRY(dcam_path_look(written[i].path, &kind));
        if (kind != DCAM_PATH_ABSENT) out[(*present)++] = written[i];
    }
    return DCAM_OK;
}

dcam_status dcam_dataset_check_places(const dcam_dataset *d, const char *path, const dcam_place *written, size_t count)
{
    dcam_place *there;
    char *table = NULL;
    size_t present = 0;
    DCAM_TRY(dcam_alloc(count, sizeof *there, &there));
    dcam_status status = find_present(written, count, there, &present);
    if (status == DCAM_OK && present > 0) status = dcam_path_join(d->root, DCAM_VISA_TABLE, &table);
    if (status == DCAM_OK && present > 0) status = check_against(path, table, d, there, present);
    dcam_free(table);
    dcam_free(there);
    return status;
}
