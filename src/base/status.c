/* status.c - status names and texts from the one list in dcam.h, the error
 * line of each thread, and the log callback. */
#include "base/status.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "base/number_text.h"
#include "base/utf8.h"

static _Thread_local char message[DCAM_MESSAGE_BYTES];

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

static size_t escape(unsigned char c, char out[4])
{
    static const char digits[] = "0123456789abcdef";
    const char *letter = c == '\n' ? "n" : c == '\r' ? "r" : c == '\t' ? "t" : NULL;
    const char hex[] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
    memcpy(out, hex, sizeof hex);
    if (!letter) return sizeof hex;
    out[1] = *letter;
    return 2;
}

/* Appends text to the line of `used` bytes, what misleads (utf8.h), which a file's name may hold and which would break the
 * line or reach a terminal, escaped (\n, \x1b). Returns the new length. A text that was escaped before stays as it is. */
static size_t append_plain(char line[DCAM_MESSAGE_BYTES], size_t used, const char *text)
{
    while (*text) {
        bool misleads;
        char piece[16]; /* what misleads has three bytes at most */
        const size_t taken = dcam_utf8_next(text, &misleads);
        size_t n = misleads ? 0 : taken;
        memcpy(piece, text, n);
        for (size_t i = 0; misleads && i < taken; i++) n += escape((unsigned char)text[i], piece + n);
        if (used + n >= DCAM_MESSAGE_BYTES) break;
        memcpy(line + used, piece, n);
        used += n;
        text += taken;
    }
    line[used] = '\0';
    return used;
}

/* The text is made aside: an argument may be the message itself. */
dcam_status dcam_fail(dcam_status status, const char *format, ...)
{
    char text[DCAM_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    dcam_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    append_plain(message, 0, text);
    return status;
}

dcam_status dcam_fail_prefix(dcam_status status, const char *format, ...)
{
    char old[DCAM_MESSAGE_BYTES], text[DCAM_MESSAGE_BYTES];
    memcpy(old, message, sizeof old);
    va_list args;
    va_start(args, format);
    dcam_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const size_t used = append_plain(message, append_plain(message, 0, text), ": ");
    append_plain(message, used, old);
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
    char text[DCAM_MESSAGE_BYTES], line[DCAM_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    dcam_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    append_plain(line, 0, text);
    pthread_mutex_lock(&log_lock);
    if (log_callback) log_callback(log_user, level, line);
    pthread_mutex_unlock(&log_lock);
}
