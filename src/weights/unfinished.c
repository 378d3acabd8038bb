/* unfinished.c - see unfinished.h. */
#include "weights/unfinished.h"

#include "base/file.h"
#include "base/number_text.h"
#include "weights/tensors.h"

/* -1: not there, or no number. Options are written as %g does: 1e+05. */
static double number(const dcam_tensors *file, const char *key)
{
    const char *text = dcam_tensors_metadata(file, key);
    char *end = NULL;
    const double value = text ? dcam_strtod(text, &end) : -1;
    return text && end != text && *end == '\0' ? value : -1;
}

dcam_status dcam_refuse_unfinished(const char *path, const char *done, const char *all, const char *unit)
{
    dcam_path_kind kind;
    dcam_tensors *file = NULL;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_ABSENT) return DCAM_OK;
    dcam_status status = dcam_tensors_open(path, &file);
    if (status == DCAM_ERROR_WEIGHTS) return DCAM_OK; /* damaged, or something else: nothing could be gone on with */
    DCAM_TRY(status);
    const double n = number(file, done), of = number(file, all);
    if (n >= 0 && n < of)
        status = dcam_fail(DCAM_ERROR_USAGE, "%s: is the checkpoint of a run that was stopped after %s %.0f of %.0f; go on from it with "
                           "--resume, or remove it to start anew", path, unit, n, of);
    dcam_tensors_destroy(file);
    return status;
}
