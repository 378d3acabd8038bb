/* fetch.c - HTTP by libcurl: resumed by Range, bounded in size, time and redirects. Must never trust what it gets: the
 * caller checks the hash of the whole. */
#define _GNU_SOURCE
#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "output.h"

#define STALL_BYTES_A_SECOND 1024L
/* What libcurl opens at a time beside what it keeps: two for its resolver, and one for what that reads. */
#define FETCH_DESCRIPTORS 3

typedef struct {
    const cli_fetch_job *job;
    CURL *curl;
    int descriptor;
    curl_off_t offset;  /* bytes that were there before this request */
    curl_off_t count;   /* bytes in the file */
    bool started, too_large;
    int write_error;    /* errno, or 0 */
    double start;
} transfer;

static int fail_file(const char *path, int error)
{
    const dcam_status status = dcam_status_of_errno(error);
    const char *mend = error == EFBIG ? "raise the limit (ulimit -f) and run again, it goes on from there"
                       : status == DCAM_ERROR_DISK   ? "free some space and run again, it goes on from there"
                       : status == DCAM_ERROR_MEMORY ? "free some memory and run again, it goes on from there"
                                                     : "check the path and its permissions";
    cli_error("%s: cannot write: %s; %s", path, strerror(error), mend);
    return dcam_status_exit_code(status);
}

static int fail_memory(const char *url)
{
    cli_error("%s: out of memory; free some and run the same command again, it goes on from there", url);
    return dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

/* Opens what was there or a new file; an exit code. Who can write to the folder could have put a link there, and what
 * comes would go into another file of the user's; or a pipe, whose opening would wait. */
static int open_part(const char *path, int *out, curl_off_t *bytes)
{
    struct stat facts;
    const int fd = dcam_open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno != ELOOP && errno != ENXIO) return fail_file(path, errno);
    if (fd >= 0 && fstat(fd, &facts) != 0) {
        const int code = fail_file(path, errno);
        close(fd);
        return code;
    }
    if (fd >= 0 && S_ISREG(facts.st_mode)) {
        *bytes = facts.st_size;
        *out = fd;
        return 0;
    }
    if (fd >= 0) close(fd);
    cli_error("%s: is a link or no plain file; remove it, then run again", path);
    return dcam_status_exit_code(DCAM_ERROR_IO);
}

/* What was there makes way for the whole file. */
static bool empty_part(transfer *t)
{
    int result;
    t->count = t->offset = 0;
    do result = ftruncate(t->descriptor, 0);
    while (result != 0 && errno == EINTR);
    return result == 0 && lseek(t->descriptor, 0, SEEK_SET) == 0;
}

/* The whole file may come although a part was asked for. */
static bool begin(transfer *t, long code)
{
    t->started = true;
    if (code == 206 || t->offset == 0) return true;
    if (empty_part(t)) return true;
    t->write_error = errno;
    return false;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *user)
{
    transfer *t = user;
    const size_t total = size * count;
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206) return total; /* the page of a redirect is not the file */
    if (!t->started && !begin(t, code)) return 0;
    if (t->count + (curl_off_t)total > CLI_FETCH_MOST_BYTES) {
        t->too_large = true;
        return 0;
    }
    for (size_t done = 0; done < total;) {
        const ssize_t n = write(t->descriptor, bytes + done, total - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            t->write_error = errno;
            return 0;
        }
        done += (size_t)n;
    }
    t->count += (curl_off_t)total;
    return total;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    transfer *t = user;
    (void)up_total;
    (void)up_now;
    const double elapsed = cli_seconds() - t->start, all = (double)(t->offset + total), done = (double)(t->offset + now);
    if (cli_has_bar() && total > 0)
        cli_bar(done / all, "%.1f of %.1f MB  %.1f MB/s", done / 1e6, all / 1e6, elapsed > 0 ? (double)now / elapsed / 1e6 : 0);
    return cli_interrupted();
}

static CURLcode set_options(transfer *t, const char *url, char error[CURL_ERROR_SIZE])
{
    CURL *c = t->curl;
    CURLcode code = CURLE_OK;
#define SET(option, value)                                          \
    do {                                                            \
        if (code == CURLE_OK) code = curl_easy_setopt(c, option, value); \
    } while (0)
    SET(CURLOPT_ERRORBUFFER, error);
    SET(CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_FAILONERROR, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    /* "" switches off what the environment says. */
    SET(CURLOPT_PROXY, t->job->proxy ? t->job->proxy : "");
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_CONNECTTIMEOUT, CLI_FETCH_CONNECT_SECONDS);
    SET(CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_A_SECOND);
    SET(CURLOPT_LOW_SPEED_TIME, (long)t->job->stall_seconds);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)CLI_FETCH_MOST_BYTES);
    SET(CURLOPT_RESUME_FROM_LARGE, t->offset);
    SET(CURLOPT_USERAGENT, "dcam/" DCAM_VERSION);
    SET(CURLOPT_WRITEFUNCTION, on_bytes);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
#undef SET
    return code;
}

/* Whether both have scheme, host and port in common. False when libcurl has no memory to tell. */
static bool same_place(const char *a, const char *b, bool *same)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *x = curl_url(), *y = curl_url();
    CURLUcode code = x && y ? curl_url_set(x, CURLUPART_URL, a, 0) : CURLUE_OUT_OF_MEMORY;
    if (code == CURLUE_OK) code = curl_url_set(y, CURLUPART_URL, b, 0);
    *same = true;
    for (size_t i = 0; code == CURLUE_OK && *same && i < sizeof parts / sizeof *parts; i++) {
        char *p = NULL, *q = NULL;
        code = curl_url_get(x, parts[i], &p, CURLU_DEFAULT_PORT);
        if (code == CURLUE_OK) code = curl_url_get(y, parts[i], &q, CURLU_DEFAULT_PORT);
        *same = code == CURLUE_OK && strcmp(p, q) == 0;
        curl_free(p);
        curl_free(q);
    }
    curl_url_cleanup(x);
    curl_url_cleanup(y);
    *same = *same && code == CURLUE_OK;
    return code != CURLUE_OUT_OF_MEMORY;
}

static bool descriptors_are_short(const transfer *t)
{
    int opened[FETCH_DESCRIPTORS], count = 0;
    while (count < FETCH_DESCRIPTORS && (opened[count] = fcntl(t->descriptor, F_DUPFD_CLOEXEC, 0)) >= 0) count++;
    const bool are_short = count < FETCH_DESCRIPTORS && dcam_status_of_errno(errno) == DCAM_ERROR_MEMORY;
    while (count > 0) close(opened[--count]);
    return are_short;
}

/* What libcurl says where it gets no file descriptor: for a socket, the names of hosts, the certificates. */
static bool may_be_of_descriptors(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           code == CURLE_SSL_CACERT_BADFILE || code == CURLE_OUT_OF_MEMORY;
}

static int explain(const transfer *t, const char *url, CURLcode code, const char *error)
{
    const int failed = dcam_status_exit_code(DCAM_ERROR_IO);
    long response = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &response);
    cli_bar_clear();
    if (cli_interrupted()) {
        cli_error("interrupted; %s is kept, the same command goes on from there", t->job->part);
        return cli_interrupt_code();
    }
    if (t->write_error) return fail_file(t->job->part, t->write_error);
    if (may_be_of_descriptors(code) && descriptors_are_short(t)) {
        cli_error("%s: %s; too few file descriptors are free for a fetch: raise their limit (ulimit -n) and run the "
                  "same command again, it goes on from there", url, *error ? error : curl_easy_strerror(code));
        return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    if (code == CURLE_OUT_OF_MEMORY) return fail_memory(url);
    if (t->too_large || code == CURLE_FILESIZE_EXCEEDED)
        cli_error("%s: is larger than the limit of %ld MiB; is it the right file?", url, CLI_FETCH_MOST_BYTES >> 20);
    else if (code == CURLE_HTTP_RETURNED_ERROR)
        cli_error("%s: the server answered %ld; check the address, or name another with --url", url, response);
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        cli_error("%s: is no address of http:// or https://, which alone are fetched; name one with --url", url);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        cli_error("%s: too slow, or no answer (%s); run the same command again, it goes on from there", url, error);
    else
        cli_error("%s: %s; run the same command again, it goes on from there", url, *error ? error : curl_easy_strerror(code));
    return failed;
}

/* One request. *redirect: where it leads instead, valid until the next; NULL. */
static int request(transfer *t, const char *url, char **redirect, bool *range_refused)
{
    char error[CURL_ERROR_SIZE] = "";
    long response = 0;
    *redirect = NULL;
    *range_refused = false;
    t->started = false;
    t->start = cli_seconds();
    CURLcode code = set_options(t, url, error);
    errno = 0;
    if (code == CURLE_OK) code = curl_easy_perform(t->curl);
    /* Without memory for an address libcurl says that there is none. */
    if ((code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY) && errno == ENOMEM) code = CURLE_OUT_OF_MEMORY;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &response);
    if (t->offset > 0 && (response == 416 || code == CURLE_RANGE_ERROR)) {
        *range_refused = true;
        return 0;
    }
    if (code != CURLE_OK) return explain(t, url, code, error);
    cli_bar_clear();
    if (response == 200 || response == 206) return 0;
    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, redirect);
    if (*redirect) return 0;
    cli_error("%s: the server answered %ld, not a file; name another address with --url", url, response);
    return dcam_status_exit_code(DCAM_ERROR_IO);
}

static int start_over(transfer *t)
{
    return empty_part(t) ? 0 : fail_file(t->job->part, errno);
}

static int follow(transfer *t)
{
    char url[4096], *redirect;
    bool refused;
    snprintf(url, sizeof url, "%s", t->job->url);
    for (int hop = 0; hop <= CLI_FETCH_REDIRECTS; hop++) {
        int code = request(t, url, &redirect, &refused);
        if (code == 0 && refused) {
            if ((code = start_over(t)) == 0) code = request(t, url, &redirect, &refused);
        }
        if (code != 0 || !redirect) return code;
        bool same;
        if (!same_place(t->job->url, redirect, &same)) return fail_memory(url);
        if (strlen(redirect) >= sizeof url || !same) {
            cli_error("%s: leads on to %s, another host; if you trust it, name it with --url", url, redirect);
            return dcam_status_exit_code(DCAM_ERROR_IO);
        }
        snprintf(url, sizeof url, "%s", redirect);
    }
    cli_error("%s: more than %d redirects; name the file's own address with --url", t->job->url, CLI_FETCH_REDIRECTS);
    return dcam_status_exit_code(DCAM_ERROR_IO);
}

int cli_fetch(const cli_fetch_job *job)
{
    transfer t = {.job = job};
    int code = open_part(job->part, &t.descriptor, &t.offset);
    if (code != 0) return code;
    t.count = t.offset;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(t.curl = curl_easy_init())) {
        cli_error("%s: libcurl cannot be started", job->url);
        code = dcam_status_exit_code(DCAM_ERROR_MEMORY);
    } else {
        code = follow(&t);
    }
    curl_easy_cleanup(t.curl);
    curl_global_cleanup();
    const bool empty = t.count == 0;
    /* Interrupted, it is closed all the same; its sum will tell whether all of it is there. */
    if (close(t.descriptor) != 0 && errno != EINTR && code == 0) code = fail_file(job->part, errno);
    if (empty) unlink(job->part); /* nothing to go on with */
    return code;
}
