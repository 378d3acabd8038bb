/* eval_drift.h - the part of dcam eval behind --drift. */
#ifndef DCAM_CLI_EVAL_DRIFT_H
#define DCAM_CLI_EVAL_DRIFT_H

#include <stdbool.h>

#include "dcam.h"

/* Checks and prints; gives the exit code. */
int cli_eval_drift(const dcam_drift_options *options, bool json);

#endif
