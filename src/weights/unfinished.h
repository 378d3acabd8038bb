/* unfinished.h - a run that begins anew does not write over the checkpoint of one that was stopped: hours would be lost for
 * a forgotten --resume. */
#ifndef DCAM_WEIGHTS_UNFINISHED_H
#define DCAM_WEIGHTS_UNFINISHED_H

#include "base/status.h"

/* DCAM_ERROR_USAGE where path is a safetensors file whose metadata has the two numbers `done` and `all` ("epochs_done",
 * "epochs") and the first is the smaller one. Nothing, or any other file, is none of our business. unit: for the message
 * ("epoch"). */
DCAM_MUST_CHECK dcam_status dcam_refuse_unfinished(const char *path, const char *done, const char *all, const char *unit);

#endif
