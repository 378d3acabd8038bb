/* server.c - the public server: options and their limits, the start, and the end that loses nothing. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "api/detector.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "serve/internal.h"

#define DEFAULT_LISTEN "127.0.0.1:8080"
/* A token that can be guessed is none. */
#define MIN_TOKEN 16
#define MAX_TOKEN 4096
#define MAX_PEM (1024 * 1024)
/* How long kept-alive connections may stay silent once the end has begun: time for a request that is on its way. */
#define LINGER_SECONDS 1.0
/* How long one that has just been accepted may take to be seen, when there is no other. */
#define ARRIVAL_SECONDS 0.1
/* Beyond drain_timeout: for the last answers, that the server ends, to leave it. */
#define FAREWELL_SECONDS 0.1

static dcam_status int_option(int *value, int otherwise, int low, int high, const char *name)
{
    if (*value == 0) *value = otherwise;
    if (*value >= low && *value <= high) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "server: %s %d is not in %d..%d", name, *value, low, high);
}

static dcam_status seconds_option(double *value, double otherwise, double high, const char *name)
{
    if (*value == 0) *value = otherwise;
    if (*value >= 0 && *value <= high) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "server: %s of %g seconds is not in 0..%g", name, *value, high);
}

static dcam_status fill_options(dcam_server *s)
{
    dcam_server_options *o = &s->options;
    dcam_net_precision precision;
    const int cores = dcam_available_cores();
    DCAM_TRY(dcam_resolve_precision(o->precision, &precision));
    if (!o->listen) o->listen = DEFAULT_LISTEN;
    DCAM_TRY(int_option(&o->threads, cores, 1, 1024, "threads"));
    DCAM_TRY(dcam_check_threads(o->threads));
    DCAM_TRY(int_option(&o->workers, cores, 1, 256, "workers"));
    s->find_batch = o->batch == 0;
    DCAM_TRY(int_option(&o->batch, 8, 1, 1024, "batch"));
    DCAM_TRY(int_option(&o->queue, 128, 1, 100000, "queue"));
    DCAM_TRY(int_option(&o->connections, 512, 1, 100000, "connections"));
    DCAM_TRY(int_option(&o->connections_per_address, 256, 1, 100000, "connections_per_address"));
    DCAM_TRY(seconds_option(&o->batch_delay, 0, 10, "batch_delay"));
    DCAM_TRY(seconds_option(&o->deadline, 10, 3600, "deadline"));
    DCAM_TRY(seconds_option(&o->header_timeout, 10, 3600, "header_timeout"));
    DCAM_TRY(seconds_option(&o->body_timeout, 30, 3600, "body_timeout"));
    DCAM_TRY(seconds_option(&o->idle_timeout, 60, 3600, "idle_timeout"));
    DCAM_TRY(seconds_option(&o->drain_delay, 0, 600, "drain_delay"));
    DCAM_TRY(seconds_option(&o->drain_timeout, 30, 3600, "drain_timeout"));
    if (o->max_body_bytes == 0) o->max_body_bytes = (size_t)64 << 20;
    if (o->max_pixels == 0) o->max_pixels = (size_t)64 << 20;
    if (o->max_body_bytes > DCAM_MAX_IMAGE_FILE_BYTES)
        return dcam_fail(DCAM_ERROR_USAGE, "server: bodies of %zu bytes are above the limit of %u", o->max_body_bytes, DCAM_MAX_IMAGE_FILE_BYTES);
    if (o->max_pixels > DCAM_MAX_IMAGE_PIXELS)
        return dcam_fail(DCAM_ERROR_USAGE, "server: %zu pixels are above the limit of %u", o->max_pixels, DCAM_MAX_IMAGE_PIXELS);
    if (!o->tls_certificate != !o->tls_key) return dcam_fail(DCAM_ERROR_USAGE, "server: TLS needs both a certificate and a key");
    if (o->token_file && o->no_auth) return dcam_fail(DCAM_ERROR_USAGE, "server: a token file and no_auth contradict each other");
    return DCAM_OK;
}

/* The first line of the file. */
static dcam_status read_token(const char *path, char **out)
{
    uint8_t *bytes;
    size_t count;
    DCAM_TRY(dcam_file_read(path, MAX_TOKEN, &bytes, &count));
    size_t length = strcspn((const char *)bytes, "\r\n");
    dcam_status status = DCAM_OK;
    if (length < MIN_TOKEN)
        status = dcam_fail(DCAM_ERROR_DATA, "%s: a token of at least %d characters is needed; make one with: openssl rand -hex 32",
                           path, MIN_TOKEN);
    for (size_t i = 0; status == DCAM_OK && i < length; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            status = dcam_fail(DCAM_ERROR_DATA, "%s: a token is made of visible ASCII characters without blanks", path);
    if (status == DCAM_OK) status = dcam_format_string(out, "%.*s", (int)length, (const char *)bytes);
    dcam_free(bytes);
    return status;
}

static dcam_status read_secrets(dcam_server *s)
{
    const dcam_server_options *o = &s->options;
    size_t count;
    if (o->token_file) DCAM_TRY(read_token(o->token_file, &s->token));
    if (!o->tls_key) return DCAM_OK;
    DCAM_TRY(dcam_file_read(o->tls_certificate, MAX_PEM, &s->certificate, &count));
    return dcam_file_read(o->tls_key, MAX_PEM, &s->key, &count);
}

static dcam_status open_all(dcam_server *s)
{
    int listener = -1;
    DCAM_TRY(fill_options(s));
    DCAM_TRY(read_secrets(s));
    /* Before the models, so that a port that is taken is told at once. */
    DCAM_TRY(serve_listen(s->options.listen, &listener, &s->loopback, s->url, sizeof s->url, s->key != NULL, &s->port));
    dcam_net_precision precision;
    dcam_status status = dcam_resolve_precision(s->options.precision, &precision);
    const int threads = dcam_swap_threads(s->options.threads);
    if (status == DCAM_OK) status = dcam_check_kernels(precision);
    dcam_set_threads(threads);
    if (status == DCAM_OK && !s->loopback && !s->token && !s->options.no_auth)
        status = dcam_fail(DCAM_ERROR_USAGE, "%s is reachable from other machines: give a token file, or say that no token is wanted",
                           s->options.listen);
    if (status == DCAM_OK) status = serve_models_open(s);
    if (status == DCAM_OK) status = serve_pool_start(s);
    s->ready = true;
    if (status == DCAM_OK) status = serve_http_start(s, listener);
    if (status != DCAM_OK) close(listener);
    return status;
}

static void close_all(dcam_server *s)
{
    serve_pool_stop(s);
    serve_models_close(s);
    serve_metrics_destroy(s->metrics);
    dcam_free(s->key);
    dcam_free(s->certificate);
    dcam_free(s->token);
    pthread_cond_destroy(&s->timed);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    dcam_free(s);
}

dcam_status dcam_server_start(const dcam_server_options *options, dcam_server **out)
{
    dcam_server *s;
    if (!options || !out) return dcam_fail(DCAM_ERROR_USAGE, "a server needs options and a place for its handle");
    if (options->model_count > 0 && !options->models) return dcam_fail(DCAM_ERROR_USAGE, "a server needs models");
    DCAM_TRY(dcam_alloc_zero(1, sizeof *s, &s));
    s->options = *options;
    s->listener = -1;
    s->started = dcam_seconds();
    if (getrandom(&s->id_start, sizeof s->id_start, 0) != sizeof s->id_start) s->id_start = (uint64_t)time(NULL);
    s->id_start &= UINT64_C(0xffffffffffff);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, &monotonic);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_cond_init(&s->timed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    dcam_status status = serve_metrics_create(&s->metrics);
    if (status == DCAM_OK) status = open_all(s);
    if (status != DCAM_OK) {
        close_all(s);
        return status;
    }
    for (size_t i = 0; i < s->model_count; i++) serve_log_model(s, &s->models[i]);
    serve_log_event(s, DCAM_LOG_INFO, "start", "listening on %s", s->url);
    *out = s;
    return DCAM_OK;
}

const char *dcam_server_url(const dcam_server *s) { return s->url; }

void dcam_server_reload(dcam_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->reload_wanted = true;
    pthread_cond_broadcast(&s->timed);
    pthread_mutex_unlock(&s->lock);
}

static void sleep_seconds(double seconds)
{
    struct timespec pause = {(time_t)seconds, (long)(1e9 * fmod(seconds, 1))};
    /* The caller's thread: a signal of the program, a timer's say, must not shorten it. */
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {}
}

/* Until no request is read, worked on or sent, or some seconds are over. The caller holds the lock. */
static void wait_for_requests(dcam_server *s, double seconds)
{
    const double end = dcam_seconds() + seconds;
    const struct timespec until = {(time_t)end, (long)(1e9 * fmod(end, 1))};
    while (s->open_requests > 0 && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0) {}
}

/* Until every request that was begun is answered and every connection has had its chance, or time is up. */
static bool drain(dcam_server *s)
{
    const double begun = dcam_seconds();
    bool clean = false, over = false;
    while (!clean && !over) {
        pthread_mutex_lock(&s->lock);
        const double since = dcam_seconds() - begun;
        const bool nobody = s->connection_count == 0;
        over = since > s->options.drain_timeout;
        clean = s->open_requests == 0 && (over || since > (nobody ? ARRIVAL_SECONDS : LINGER_SECONDS));
        pthread_mutex_unlock(&s->lock);
        if (!clean && !over) sleep_seconds(0.01);
    }
    /* libmicrohttpd must not be stopped under a request that is being worked on. What waits for a worker or for the network
     * is given up; what a worker has begun to decode it ends, and what is in the network takes the time of one batch. */
    pthread_mutex_lock(&s->lock);
    s->refusing = true;
    const int lost = s->working;
    serve_lanes_wake(s); /* they may be waiting for company */
    serve_give_up_waiting(s);
    while (s->working > 0 || s->handing_back > 0) pthread_cond_wait(&s->changed, &s->lock);
    if (!clean) wait_for_requests(s, FAREWELL_SECONDS);
    pthread_mutex_unlock(&s->lock);
    if (lost > 0) serve_log_event(s, DCAM_LOG_WARNING, "stop", "%d requests were not finished in %g seconds", lost, s->options.drain_timeout);
    return clean;
}

bool dcam_server_stop(dcam_server *s)
{
    if (!s) return true;
    pthread_mutex_lock(&s->lock);
    s->ready = false;
    pthread_mutex_unlock(&s->lock);
    serve_log_event(s, DCAM_LOG_INFO, "stop", "not ready any more; draining");
    if (s->options.drain_delay > 0) sleep_seconds(s->options.drain_delay);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->timed);
    pthread_mutex_unlock(&s->lock);
    serve_http_stop_listening(s);
    const bool clean = drain(s);
    serve_http_stop(s);
    if (clean) serve_log_event(s, DCAM_LOG_INFO, "stop", "all requests answered");
    else serve_log_event(s, DCAM_LOG_WARNING, "stop", "the drain time of %g seconds is over: what was not done was cut off", s->options.drain_timeout);
    close_all(s);
    return clean;
}
