/* status.h - how the library reports failure: a dcam_status and one line kept
 * for the calling thread. The line says what is wrong, with which file, and
 * what would mend it; no trailing full stop or newline. */
#ifndef DCAM_BASE_STATUS_H
#define DCAM_BASE_STATUS_H

#include "dcam.h"

/* Of a line with its end: room for one that is carried to another thread. Long enough for two paths of 4,096 bytes would
 * be wasteful: a path longer than this is cut, the reason at the end of most messages may be lost. */
#define DCAM_MESSAGE_BYTES 2048

/* Keeps the formatted line for this thread and returns status, so that
 * callers write `return dcam_fail(DCAM_ERROR_DATA, "%s: ...", path);`. Control
 * characters (in a file's name, say) are escaped, here and in dcam_log. */
dcam_status dcam_fail(dcam_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* As dcam_fail, after the message already kept: "PREFIX: old message". Used
 * by a caller that knows more (which file, which tensor) than the callee. */
dcam_status dcam_fail_prefix(dcam_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void dcam_clear_error(void);

/* Returns early with the status of a failed call; for functions that own
 * nothing yet. Elsewhere: `if (status != DCAM_OK) goto cleanup;`. */
#define DCAM_TRY(call)                                                        \
    do {                                                                      \
        dcam_status dcam_try_status_ = (call);                                \
        if (dcam_try_status_ != DCAM_OK) return dcam_try_status_;             \
    } while (0)

/* Sends a line to the callback of dcam_set_log, if any. */
void dcam_log(dcam_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
