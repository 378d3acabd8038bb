/* overlays.h - overlays drawn and written by threads of their own, so that the detector goes on with the next images
 * meanwhile. Functions that give an int give an exit code: 0, or another after the error line was printed. */
#ifndef DCAM_CLI_OVERLAYS_H
#define DCAM_CLI_OVERLAYS_H

#include <stdbool.h>

#include "dcam.h"

typedef struct cli_overlays cli_overlays;

/* detector: borrowed until the end. */
int cli_overlays_create(const dcam_detector *detector, int threads, cli_overlays **out);
/* Copies what it needs of the detection and waits while too many are under way. Gives the code of an overlay that failed
 * before, if there is one. */
int cli_overlays_add(cli_overlays *overlays, const char *image, const dcam_detection *detection, const char *png);
/* Waits until all are written, ends the threads and frees. silent: the run has ended with an error line already. NULL-safe. */
int cli_overlays_finish(cli_overlays *overlays, bool silent);

#endif
