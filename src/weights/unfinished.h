/* unfinished.h - a run that begins anew does not write over the checkpoint of one that was stopped: hours would be lost for
 * a forgotten --resume, or for the name of another run's checkpoint. */
#ifndef DCAM_WEIGHTS_UNFINISHED_H
#define DCAM_WEIGHTS_UNFINISHED_H

#include "base/status.h"

/* What to do where a checkpoint cannot be gone on from: without the first, the second would be refused. */
#define DCAM_START_ANEW "to start anew, remove it and leave out --resume"

typedef enum { DCAM_RUN_TRAINING, DCAM_RUN_PRETRAINING } dcam_run_kind;
/* DCAM_ERROR_USAGE where path is the checkpoint of a training or of a pre-training that is not done. Nothing, or any other
 * file, is none of our business. kind: of the run that would write there, for the message. */
DCAM_MUST_CHECK dcam_status dcam_refuse_unfinished(const char *path, dcam_run_kind kind);
/* The same of the place where a pre-training keeps the state of its plateau's end; but what another one left there may be
 * replaced, unless a longer run has gone on from it. */
DCAM_MUST_CHECK dcam_status dcam_refuse_gone_on(const char *path);

#endif
