/* status.c - status names and texts from the one list in dcam.h, the error
 * line of each thread, and the log callback. */
#include "base/status.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Long enough for two paths of 4,096 bytes would be wasteful: a path longer
 * than this is cut, the reason at the end of most messages may be lost. */
#define MESSAGE_BYTES 2048

static _Thread_local char message[MESSAGE_BYTES];

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static dcam_log_callback log_callback;
static void *log_user;

typedef struct {
    const char *name;
    const char *text;
    int exit_code;
} status_row;

static const status_row rows[] = {
#define STATUS_ROW(name, exit_code, text) {#name, text, exit_code},
    DCAM_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static const status_row *row_of(dcam_status status)
{
    if ((int)status < 0 || status >= DCAM_STATUS_COUNT) return &rows[DCAM_ERROR_INTERNAL];
    return &rows[status];
}

const char *dcam_status_name(dcam_status status) { return row_of(status)->name; }
const char *dcam_status_text(dcam_status status) { return row_of(status)->text; }
int dcam_status_exit_code(dcam_status status) { return row_of(status)->exit_code; }
const char *dcam_error_message(void) { return message; }
const char *dcam_version(void) { return DCAM_VERSION; }

void dcam_clear_error(void) { message[0] = '\0'; }

dcam_status dcam_fail(dcam_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return status;
}

dcam_status dcam_fail_prefix(dcam_status status, const char *format, ...)
{
    char old[MESSAGE_BYTES];
    memcpy(old, message, sizeof old);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof message)
        snprintf(message + used, sizeof message - (size_t)used, ": %s", old);
    return status;
}

void dcam_set_log(dcam_log_callback callback, void *user)
{
    pthread_mutex_lock(&log_lock);
    log_callback = callback;
    log_user = user;
    pthread_mutex_unlock(&log_lock);
}

void dcam_log(dcam_log_level level, const char *format, ...)
{
    char line[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&log_lock);
    if (log_callback) log_callback(log_user, level, line);
    pthread_mutex_unlock(&log_lock);
}
