/* outcome.h - what a call of the library has to come to: OK, or a status and a message that says what and of which file. */
#ifndef DCAM_TESTS_OUTCOME_H
#define DCAM_TESTS_OUTCOME_H

#include <string.h>

#include "base/status.h"

#define OK(call)                                                                \
    do {                                                                        \
        if ((call) != DCAM_OK) fail_msg("%s: %s", #call, dcam_error_message()); \
    } while (0)

/* The last error's message holds says and the path. */
static inline void assert_refused(dcam_status got, dcam_status wanted, const char *says, const char *path)
{
    if (got != wanted || !strstr(dcam_error_message(), says) || !strstr(dcam_error_message(), path))
        fail_msg("%s \"%s\", wanted %s \"%s\" of %s", dcam_status_name(got), dcam_error_message(), dcam_status_name(wanted),
                 says, path);
}

#endif
