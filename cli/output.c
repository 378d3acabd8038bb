/* output.c - printing: errors, notes, the progress line, JSON, and the flag
 * that Ctrl-C sets. A note and the progress line may come from different
 * threads (the library's log calls from any), hence the lock. */
#define _GNU_SOURCE /* fopencookie */
#include "output.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/utf8.h"
#include "weights/json_text.h"

/* Longer than the library's longest message. */
#define LINE_BYTES 4096
/* Gathered before a write, but on a terminal. */
#define OUTPUT_BYTES 8192
/* Lines wider than this are cut even on wider terminals. */
#define BAR_COLUMNS 160
/* Redrawing more often only costs time. */
#define BAR_INTERVAL 0.1

static pthread_mutex_t print_lock = PTHREAD_MUTEX_INITIALIZER;
static bool be_quiet, be_verbose, on_terminal, bar_is_drawn;
static double bar_time;

/* ---- lines ------------------------------------------------------------ */

void cli_make_printable(char *text)
{
    char *to = text;
    while (*text) {
        bool misleads;
        const size_t taken = dcam_utf8_next(text, &misleads);
        if (misleads) *to = '?';
        else memmove(to, text, taken);
        to += misleads ? 1 : taken;
        text += taken;
    }
    *to = '\0';
}

const char *cli_printable(const char *text)
{
    static _Thread_local char buffers[8][LINE_BYTES];
    static _Thread_local unsigned next;
    char *buffer = buffers[next++ % 8];
    const size_t length = strnlen(text, LINE_BYTES - 1);
    memcpy(buffer, text, length);
    buffer[length] = '\0';
    cli_make_printable(buffer);
    return buffer;
}

void cli_print(const char *text)
{
    while (*text) {
        bool misleads;
        const size_t taken = dcam_utf8_next(text, &misleads);
        fwrite(misleads ? "?" : text, 1, misleads ? 1 : taken, stdout);
        text += taken;
    }
}

/* Without the locale's wcwidth: names are UTF-8 whatever the locale is. Marks of the letter before them, as in the names that
 * macOS writes, take no column; Chinese, Japanese and Korean characters and most pictures take two. */
static int columns_of(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } wide[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f},
                {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
    if (code >= 0x300 && code <= 0x36f) return 0;
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        if (code >= wide[i].first && code <= wide[i].last) return 2;
    return 1;
}

int cli_columns(const char *text)
{
    int columns = 0;
    while (*text) {
        uint32_t code = 0;
        const size_t taken = dcam_utf8_character(text, &code);
        columns += columns_of(code);
        text += taken > 0 ? taken : 1;
    }
    return columns;
}

void cli_print_padded(const char *text, int width)
{
    const char *shown = cli_printable(text);
    const int columns = cli_columns(shown);
    printf("%s%*s", shown, columns < width ? width - columns : 0, "");
}

/* The caller holds the lock. */
static void erase_bar(void)
{
    if (bar_is_drawn) fputs("\r\033[K", stderr);
    bar_is_drawn = false;
}

static void print_line(const char *prefix, const char *line)
{
    pthread_mutex_lock(&print_lock);
    erase_bar();
    fprintf(stderr, "%s%s\n", prefix, cli_printable(line));
    pthread_mutex_unlock(&print_lock);
}

void cli_error(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    print_line("dcam: ", line);
}

void cli_note(const char *format, ...)
{
    if (be_quiet) return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    print_line("", line);
}

int cli_fail(dcam_status status)
{
    const char *message = dcam_error_message();
    cli_error("%s", message[0] != '\0' ? message : dcam_status_text(status));
    return dcam_status_exit_code(status);
}

/* The reason why the first write that failed did: stdio forgets it when more lines follow. */
static int output_error;

/* stdio drops what it has gathered when a write is interrupted, so that nothing could be gone on with: it is kept from it. */
static ssize_t write_output(void *unused, const char *bytes, size_t count)
{
    (void)unused;
    size_t done = 0;
    while (done < count) {
        const ssize_t n = write(STDOUT_FILENO, bytes + done, count - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            /* Another program that shares it has set it not to block: its reader is slow, not gone. */
            (void)poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (n < 0) {
            if (output_error == 0) output_error = errno;
            return 0;
        }
        done += (size_t)n;
    }
    return (ssize_t)count;
}

int cli_output_open(void)
{
    static char gathered[OUTPUT_BYTES];
    stdout = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_output});
    if (stdout && setvbuf(stdout, gathered, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, sizeof gathered) == 0) return 0;
    cli_error("standard output: out of memory; free some and run again");
    return dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

int cli_finish(int code)
{
    /* Called after every line of a long output and at the end: a failure is told once. */
    static int told;
    if (told != 0) return told;
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    const int error = output_error ? output_error : EIO;
    cli_error("standard output: cannot write all results: %s", strerror(error));
    told = dcam_status_exit_code(dcam_status_of_errno(error));
    return told;
}

static void on_log(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    if (level == DCAM_LOG_WARNING)
        print_line("dcam: warning: ", line);
    else if (level == DCAM_LOG_INFO ? !be_quiet : be_verbose)
        print_line("", line);
}

void cli_output_start(bool quiet, bool verbose)
{
    be_quiet = quiet;
    be_verbose = verbose && !quiet;
    on_terminal = isatty(STDERR_FILENO) == 1;
    dcam_set_log(on_log, NULL);
}

/* ---- progress --------------------------------------------------------- */

bool cli_has_bar(void) { return on_terminal && !be_quiet; }

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *cli_clock(double seconds)
{
    char text[32] = "-";
    if (seconds >= 0 && seconds < 1e8) {
        long whole = lround(seconds);
        if (whole >= 3600)
            snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
        else
            snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
    }
    return cli_printable(text);
}

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
    return size.ws_col < BAR_COLUMNS ? size.ws_col : BAR_COLUMNS;
}

void cli_bar(double fraction, const char *format, ...)
{
    double now = cli_seconds();
    if (!cli_has_bar() || (bar_is_drawn && now - bar_time < BAR_INTERVAL)) return;
    bar_time = now;
    enum { cells = 12 };
    char bar[cells + 1], line[LINE_BYTES];
    if (!(fraction >= 0)) fraction = 0;
    if (fraction > 1) fraction = 1;
    for (int i = 0; i < cells; i++) bar[i] = i < (int)(fraction * cells + 0.5) ? '#' : '.';
    bar[cells] = '\0';
    int used = snprintf(line, sizeof line, "[%s] %3.0f %%  ", bar, 100 * fraction);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    va_end(args);
    /* The last column stays free: filling it makes some terminals wrap. */
    size_t columns = terminal_columns() - 1;
    if (strlen(line) > columns) line[columns] = '\0';
    pthread_mutex_lock(&print_lock);
    fprintf(stderr, "\r%s\033[K", cli_printable(line));
    fflush(stderr);
    bar_is_drawn = true;
    pthread_mutex_unlock(&print_lock);
}

void cli_bar_clear(void)
{
    pthread_mutex_lock(&print_lock);
    erase_bar();
    fflush(stderr);
    pthread_mutex_unlock(&print_lock);
}

/* ---- Ctrl-C ----------------------------------------------------------- */

static atomic_int caught_signal; /* the handler may run in any thread */
static const char *interrupt_note;
static size_t interrupt_note_bytes;

static void on_interrupt(int number)
{
    int saved = errno;
    /* Only what a signal handler may call. */
    if (atomic_exchange(&caught_signal, number) != 0) {
        /* The second one, whichever of the two it is, does what it does where nobody handles it, when this ends. */
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    /* A failed write changes nothing. */
    ssize_t written = write(STDERR_FILENO, interrupt_note, interrupt_note_bytes);
    (void)written;
    errno = saved;
}

void cli_catch_interrupts(const char *note)
{
    interrupt_note = note;
    interrupt_note_bytes = strlen(note);
    struct sigaction action = {.sa_handler = on_interrupt};
    static const int signals[] = {SIGINT, SIGTERM};
    /* While one is handled the other waits, so that the first that came is the first that is handled. */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaddset(&action.sa_mask, signals[i]);
    /* No read or write in the library fails only because a signal came. */
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction old;
        /* A shell starts background jobs with SIGINT ignored: its wish stands. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) continue;
        sigaction(signals[i], &action, NULL);
    }
}

bool cli_interrupted(void) { return atomic_load(&caught_signal) != 0; }
int cli_interrupt_code(void) { return 128 + atomic_load(&caught_signal); }

/* ---- JSON ------------------------------------------------------------- */

json_t *cli_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *cli_json_text(const char *text)
{
    if (!text) return json_null();
    return dcam_json_any_text(text);
}

json_t *cli_json_parse(const char *text)
{
    dcam_json_error error;
    return dcam_json_parse(text, strlen(text), &error);
}

bool cli_json_print(json_t *value, bool one_line)
{
    /* 12 digits: more than the metrics are exact to, without the noise of the last bits. */
    size_t flags = JSON_REAL_PRECISION(12) | (one_line ? JSON_COMPACT : JSON_INDENT(2));
    char *text = NULL;
    const dcam_status status = dcam_json_print(value, flags, &text);
    json_decref(value);
    if (status != DCAM_OK) {
        cli_error("out of memory for the JSON output; free some and run again");
        return false;
    }
    puts(text);
    dcam_free_text(text);
    return true;
}
