/* tools.c - the public calls that only pass on to one module: teacher import,
 * synthetic data, small writers. */
#include "base/file.h"
#include "base/memory.h"
#include "base/places.h"
#include "base/sha256.h"
#include "base/status.h"
#include "data/synth.h"
#include "image/image.h"
#include "weights/trunk.h"

dcam_status dcam_teacher_import(const char *from, const char *to)
{
    if (!from || !to) return dcam_fail(DCAM_ERROR_USAGE, "teacher import: needs a weights file and an output file");
    const dcam_place output = {"teacher", to}, source = {"weights that it is made from", from};
    DCAM_TRY(dcam_check_places(&output, 1, &source, 1));
    return dcam_teacher_import_file(from, to);
}

#define MOST_HASHED_BYTES ((size_t)1 << 30)

dcam_status dcam_file_sha256(const char *path, char out[65])
{
    uint8_t *bytes;
    size_t count;
    if (!path || !out) return dcam_fail(DCAM_ERROR_USAGE, "sha256: needs a file and a place for the digits");
    DCAM_TRY(dcam_file_read(path, MOST_HASHED_BYTES, &bytes, &count));
    dcam_sha256_of(bytes, count, out);
    dcam_free(bytes);
    return DCAM_OK;
}

dcam_status dcam_synth(const dcam_synth_options *options)
{
    if (!options || !options->folder) return dcam_fail(DCAM_ERROR_USAGE, "synth: needs a folder to write to");
    dcam_synth_plan plan = {.folder = options->folder,
                            .seed = options->seed,
                            .size = options->size,
                            .classes = options->classes,
                            .train = options->train,
                            .test_good = options->test_good,
                            .test_defective = options->test_defective};
    return dcam_synth_write(&plan);
}

void dcam_free_text(char *text) { dcam_free(text); }

dcam_status dcam_map_write_npy(const dcam_detection *detection, const char *npy_path)
{
    if (!detection || !detection->map || !npy_path)
        return dcam_fail(DCAM_ERROR_USAGE, "map: needs a detection with a map and a file name");
    return dcam_npy_write(npy_path, detection->map, detection->map_height, detection->map_width);
}
