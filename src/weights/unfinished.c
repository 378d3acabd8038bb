/* unfinished.c - see unfinished.h. */
#include "weights/unfinished.h"

#include <math.h>

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

/* By kind: the two numbers of its metadata, and what they count. */
static const struct { const char *name, *done, *all, *unit; } runs[] = {
    [DCAM_RUN_TRAINING] = {"training", "epochs_done", "epochs", "epoch"},
    [DCAM_RUN_PRETRAINING] = {"pre-training", "steps_done", "steps", "step"},
};

static dcam_status refuse(const dcam_tensors *file, dcam_run_kind found, dcam_run_kind kind)
{
    const double n = number(file, runs[found].done), of = number(file, runs[found].all);
    if (!(n >= 0 && n < of)) return DCAM_OK;
    if (found != kind)
        return dcam_fail(DCAM_ERROR_USAGE, "%s: is the checkpoint of a %s that was stopped after %s %.0f of %.0f; name another file for "
                         "that of this %s", dcam_tensors_path(file), runs[found].name, runs[found].unit, n, of, runs[kind].name);
    return dcam_fail(DCAM_ERROR_USAGE, "%s: is the checkpoint of a run that was stopped after %s %.0f of %.0f; go on from it with "
                     "--resume, or remove it to start anew", dcam_tensors_path(file), runs[found].unit, n, of);
}

/* *out stays NULL where nothing could be gone on with: no file, a damaged one, something else. */
static dcam_status open_there(const char *path, dcam_tensors **out)
{
    dcam_path_kind what;
    DCAM_TRY(dcam_path_look(path, &what));
    if (what == DCAM_PATH_ABSENT) return DCAM_OK;
    const dcam_status status = dcam_tensors_open(path, out);
    return status == DCAM_ERROR_WEIGHTS ? DCAM_OK : status;
}

dcam_status dcam_refuse_unfinished(const char *path, dcam_run_kind kind)
{
    dcam_tensors *file = NULL;
    DCAM_TRY(open_there(path, &file));
    if (!file) return DCAM_OK;
    dcam_status status = refuse(file, DCAM_RUN_TRAINING, kind);
    if (status == DCAM_OK) status = refuse(file, DCAM_RUN_PRETRAINING, kind);
    dcam_tensors_destroy(file);
    return status;
}

dcam_status dcam_refuse_gone_on(const char *path)
{
    dcam_tensors *file = NULL;
    DCAM_TRY(open_there(path, &file));
    if (!file) return DCAM_OK;
    dcam_status status = refuse(file, DCAM_RUN_TRAINING, DCAM_RUN_PRETRAINING);
    const double n = number(file, "steps_done"), of = number(file, "steps"), falling = number(file, "falling");
    if (status == DCAM_OK && n >= 0 && n < of && n != of - floor(falling * of))
        status = dcam_fail(DCAM_ERROR_USAGE, "%s: holds a longer run, stopped after step %.0f of %.0f, where this one would keep the end of its "
                           "plateau; name another --checkpoint, or remove it", path, n, of);
    dcam_tensors_destroy(file);
    return status;
}
