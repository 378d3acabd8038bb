/* http.c - the only file that speaks to libmicrohttpd: connections with their limits and time-outs, bodies, and the
 * sending of answers. One thread polls all connections; it never computes and never waits for anything but them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ascii.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "base/parallel.h"
#include "serve/internal.h"

/* Request line, headers and one piece of the body; more headers than this are refused with 431. */
#define CONNECTION_MEMORY (64 * 1024)
/* Of the HTTP thread itself two; then a connection, and files that are looked at meanwhile. */
#define SPARE_DESCRIPTORS 6
/* A body starts with this much memory, however large it says it will be. */
#define FIRST_BODY (256 * 1024)
/* An answer that is known before the body: a body up to this is read and dropped, so that the client reads the answer
 * instead of an error; a longer one is cut. One that is only too large may be as much larger than bodies are allowed to be. */
#define MAX_DROPPED (1024 * 1024)
/* All bodies that are being held, beside which a new one is put off. */
#define BODY_MEMORY ((size_t)1 << 30)
#define STOOD_STILL_SECONDS 1.0
/* Seconds a client may take to read its answer. */
#define SEND_SECONDS 60
/* At the end: between two looks at who has connected and waits to be accepted, and how long that may take. */
#define LOOK_MILLISECONDS 10
#define LET_IN_SECONDS 1.0

/* ---- connections ---- */

static void set_wait(serve_request *r, serve_wait wait)
{
    if (!r->link) return;
    pthread_mutex_lock(&r->server->lock);
    r->link->wait = wait;
    r->link->since = dcam_seconds();
    pthread_mutex_unlock(&r->server->lock);
}

static void open_connection(dcam_server *s, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    serve_connection *c = NULL;
    /* Without memory it goes on without a watch; the inactivity limit still holds. */
    if (!info || dcam_alloc_zero(1, sizeof *c, &c) != DCAM_OK) return;
    c->socket = info->connect_fd;
    c->since = dcam_seconds();
    pthread_mutex_lock(&s->lock);
    c->next = s->connections;
    if (c->next) c->next->previous = c;
    s->connections = c;
    s->connection_count++;
    pthread_mutex_unlock(&s->lock);
    *context = c;
}

static void close_connection(dcam_server *s, serve_connection *c)
{
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    if (c->previous) c->previous->next = c->next;
    else s->connections = c->next;
    if (c->next) c->next->previous = c->previous;
    s->connection_count--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    dcam_free(c);
}

/* libmicrohttpd calls this before it closes the socket, so that the watchdog never touches a number that is another
 * connection's already. */
static void on_connection(void *server, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        open_connection(server, connection, context);
    } else {
        close_connection(server, *context);
        *context = NULL;
    }
}

static double allowed_seconds(const dcam_server *s, serve_wait wait)
{
    switch (wait) {
    case WAIT_FIRST: return s->options.header_timeout;
    case WAIT_NEXT: return s->options.idle_timeout;
    case WAIT_BODY: return s->options.body_timeout;
    case WAIT_SENT: return SEND_SECONDS;
    default: return 1e9; /* our turn; the request's deadline holds */
    }
}

/* Whether it is the client that is late. Where bytes of its request lie unread, or it has taken all that was sent of the
 * answer, our own thread is behind, on a machine with too much to do. */
static bool is_client_late(const serve_connection *c)
{
    int bytes = 0;
    if (c->wait == WAIT_FIRST || c->wait == WAIT_BODY) return ioctl(c->socket, FIONREAD, &bytes) != 0 || bytes == 0;
    if (c->wait == WAIT_SENT) return ioctl(c->socket, SIOCOUTQ, &bytes) != 0 || bytes > 0;
    return true;
}

/* libmicrohttpd's own limit is on silence: a byte now and then would hold a connection for ever. stood_still: seconds by
 * which this look comes late. The caller holds the lock. */
static void cut_slow_clients(dcam_server *s, double now, double stood_still)
{
    /* A machine that was asleep, or a process that was stopped: clients are not charged with our time. */
    for (serve_connection *c = s->connections; c && stood_still > STOOD_STILL_SECONDS; c = c->next) c->since += stood_still;
    for (serve_connection *c = s->connections; c; c = c->next)
        if (now - c->since > allowed_seconds(s, c->wait) && is_client_late(c)) {
            if (c->wait == WAIT_FIRST || c->wait == WAIT_BODY) serve_count_rejected(s->metrics, "timeout");
            shutdown(c->socket, SHUT_RDWR);
            c->wait = WAIT_NONE;
        }
}

/* Until the next look, or the next deadline of what waits for a worker. The caller holds the lock. */
static double wait_for_look(dcam_server *s, double now)
{
    const serve_request *first = s->to_prepare.first;
    double end = now + SERVE_WATCH_SECONDS;
    if (first && first->deadline < end) end = first->deadline;
    const struct timespec until = {(time_t)end, (long)(1e9 * fmod(end, 1))};
    pthread_cond_timedwait(&s->timed, &s->lock, &until);
    return end;
}

void *serve_watchdog(void *server)
{
    dcam_server *s = server;
    double due = dcam_seconds();
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        const double now = dcam_seconds();
        cut_slow_clients(s, now, now - due);
        serve_give_up_waiting(s);
        if (!s->ending) due = wait_for_look(s, now);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The request line is there: on a connection that was kept the time for the rest of the headers begins, as it has on a new
 * one. (Until the line ends nobody tells of its bytes; then the time of a silent connection holds.) */
static void *on_request_line(void *server, const char *url, struct MHD_Connection *connection)
{
    dcam_server *s = server;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    serve_connection *c = info ? info->socket_context : NULL;
    (void)url;
    pthread_mutex_lock(&s->lock);
    if (c && c->wait == WAIT_NEXT) {
        c->wait = WAIT_FIRST;
        c->since = dcam_seconds();
    }
    pthread_mutex_unlock(&s->lock);
    return NULL; /* the request's context, which on_request fills */
}

/* ---- requests ---- */

static void write_remote(struct MHD_Connection *connection, char *out, size_t bytes)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char text[INET6_ADDRSTRLEN] = "";
    if (info && info->client_addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, text, sizeof text);
    else if (info && info->client_addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, text, sizeof text);
    snprintf(out, bytes, "%s", text);
}

static const char *header(const serve_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* The client's X-Request-Id if it can stand in a log line and a header as it is, else one of ours. */
static void set_id(serve_request *r)
{
    const char *given = header(r, "X-Request-Id");
    const size_t length = given ? strlen(given) : 0;
    if (length > 0 && length < SERVE_ID_BYTES &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == length)
        memcpy(r->id, given, length + 1);
    else
        snprintf(r->id, sizeof r->id, "%012llx-%llu", (unsigned long long)r->server->id_start,
                 (unsigned long long)atomic_fetch_add(&r->server->next_id, 1) + 1);
}

static serve_request *create_request(dcam_server *s, struct MHD_Connection *connection)
{
    serve_request *r;
    if (dcam_alloc_zero(1, sizeof *r, &r) != DCAM_OK) return NULL;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->server = s;
    r->connection = connection;
    r->link = info ? info->socket_context : NULL;
    r->header_bytes = -1;
    r->times.begun = dcam_seconds();
    r->answer.policy = "default-src 'none'; frame-ancestors 'none'";
    set_id(r);
    write_remote(connection, r->remote, sizeof r->remote);
    pthread_mutex_lock(&s->lock);
    s->open_requests++;
    pthread_mutex_unlock(&s->lock);
    return r;
}

void serve_free_body(serve_request *r)
{
    dcam_server *s = r->server;
    dcam_free(r->body);
    r->body = NULL;
    if (r->body_capacity == 0) return;
    pthread_mutex_lock(&s->lock);
    s->body_memory -= r->body_capacity;
    pthread_mutex_unlock(&s->lock);
    r->body_capacity = 0;
}

static void destroy_request(serve_request *r)
{
    dcam_server *s = r->server;
    serve_request_clear(r);
    serve_free_body(r);
    serve_engine_release(s, r->engine);
    pthread_mutex_lock(&s->lock);
    s->open_requests--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    dcam_free(r);
}

static void on_completed(void *server, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
    serve_request *r = *context;
    (void)server;
    (void)connection;
    if (!r) return;
    *context = NULL;
    /* Refusals count as such, whether the client waited for them or not, and so does what cut_off tells. */
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && r->answer.status < 400) {
        snprintf(r->answer.error, sizeof r->answer.error, "the connection ended before the %s was whole",
                 r->sent ? "answer" : "request");
        r->answer.status = 499; /* as nginx logs a client that went away */
        r->sent = false;
    }
    serve_count_request(r->server->metrics, (int)r->endpoint, r->answer.status);
    serve_log_request(r);
    set_wait(r, WAIT_NEXT);
    destroy_request(r);
}

/* ---- bodies ---- */

static bool grow_body(serve_request *r, size_t wanted)
{
    dcam_server *s = r->server;
    const char *length_text = header(r, "Content-Length");
    const long long length = length_text ? dcam_request_digits(length_text) : -1;
    size_t capacity = r->body_capacity ? 2 * r->body_capacity : FIRST_BODY;
    if (length >= 0 && capacity > (size_t)length) capacity = (size_t)length;
    if (capacity < wanted) capacity = wanted;
    const size_t more = capacity - r->body_capacity;
    pthread_mutex_lock(&s->lock);
    const bool fits = s->body_memory + more <= BODY_MEMORY;
    if (fits) s->body_memory += more;
    pthread_mutex_unlock(&s->lock);
    if (!fits) {
        serve_count_rejected(s->metrics, "memory");
        serve_error(r, 503, "too many bodies at a time; try again later");
        r->answer.retry_after = 1;
        return false;
    }
    const size_t before = r->body_capacity;
    const dcam_status status = dcam_realloc(capacity, 1, &r->body);
    if (status == DCAM_OK) {
        r->body_capacity = capacity;
        return true;
    }
    pthread_mutex_lock(&s->lock);
    s->body_memory -= capacity - before;
    pthread_mutex_unlock(&s->lock);
    serve_fail(r, status);
    return false;
}

static void too_large(serve_request *r)
{
    serve_error(r, 413, "the body is above the limit of %zu bytes", r->server->options.max_body_bytes);
}

static void drop_body(serve_request *r)
{
    serve_free_body(r);
    r->drop_body = true;
}

/* One piece of the body. False: the client sends what nobody wants; the connection is cut. */
static bool take_piece(serve_request *r, const char *data, size_t bytes)
{
    if (!r->drop_body && bytes > r->server->options.max_body_bytes - r->body_bytes) {
        too_large(r);
        drop_body(r);
    }
    if (!r->drop_body && r->body_bytes + bytes > r->body_capacity && !grow_body(r, r->body_bytes + bytes)) drop_body(r);
    if (r->drop_body) {
        r->dropped_bytes += bytes;
        return r->dropped_bytes <= MAX_DROPPED + r->server->options.max_body_bytes;
    }
    memcpy(r->body + r->body_bytes, data, bytes);
    r->body_bytes += bytes;
    return true;
}

/* ---- answers ---- */

/* value: NULL for a header that this answer does not have. */
static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
    return !value || MHD_add_response_header(response, name, value) == MHD_YES;
}

/* False: there is no memory for one of them. Without it the answer would say something else: a client cannot tell JSON
 * from tensors, a browser guesses what it got. */
static bool add_headers(const serve_request *r, struct MHD_Response *response)
{
    const serve_answer *a = &r->answer;
    char header_bytes[32], retry_after[32];
    snprintf(header_bytes, sizeof header_bytes, "%lld", a->header_bytes);
    snprintf(retry_after, sizeof retry_after, "%d", a->retry_after);
    return add_header(response, "Content-Type", a->content_type) && add_header(response, "X-Request-Id", r->id) &&
           add_header(response, "X-Content-Type-Options", "nosniff") &&
           add_header(response, "Referrer-Policy", "no-referrer") &&
           add_header(response, "Content-Security-Policy", a->policy) &&
           add_header(response, "Cache-Control", r->endpoint == ENDPOINT_PAGE ? "no-cache" : "no-store") &&
           add_header(response, "Inference-Header-Content-Length", a->header_bytes > 0 ? header_bytes : NULL) &&
           add_header(response, "Retry-After", a->retry_after > 0 ? retry_after : NULL) &&
           add_header(response, "Allow", a->allow) &&
           add_header(response, "WWW-Authenticate", a->status == 401 ? "Bearer realm=\"dcam\"" : NULL) &&
           add_header(response, "Connection", r->close ? "close" : NULL);
}

/* There is no memory to send the answer: the connection is cut, and log and metrics do not tell of the status that the
 * answer had. */
static enum MHD_Result cut_off(serve_request *r)
{
    serve_count_rejected(r->server->metrics, "memory");
    serve_error(r, 503, "no memory to send the answer; the connection is cut");
    return MHD_NO;
}

static enum MHD_Result send_answer(serve_request *r)
{
    dcam_server *s = r->server;
    const serve_answer *a = &r->answer;
    /* The bytes stay with the request, which outlives the sending. */
    struct MHD_Response *response = MHD_create_response_from_buffer(a->fixed ? a->fixed_bytes : a->body.used,
                                                                    a->fixed ? (void *)(uintptr_t)a->fixed : a->body.bytes,
                                                                    MHD_RESPMEM_PERSISTENT);
    if (!response) return cut_off(r);
    pthread_mutex_lock(&s->lock);
    if (s->stopping) r->close = true;
    pthread_mutex_unlock(&s->lock);
    if (!add_headers(r, response)) {
        MHD_destroy_response(response);
        return cut_off(r);
    }
    set_wait(r, WAIT_SENT);
    r->sent = true;
    const enum MHD_Result result = MHD_queue_response(r->connection, (unsigned)a->status, response);
    MHD_destroy_response(response);
    if (result != MHD_YES) r->sent = false;
    return result;
}

void serve_finish(serve_request *r)
{
    dcam_server *s = r->server;
    struct MHD_Connection *connection = r->connection;
    pthread_mutex_lock(&s->lock);
    r->step = STEP_DONE;
    s->working--;
    s->handing_back++;
    pthread_mutex_unlock(&s->lock);
    /* From here on the request belongs to libmicrohttpd's thread, which may have freed it. */
    MHD_resume_connection(connection);
    pthread_mutex_lock(&s->lock);
    s->handing_back--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the steps of a request ---- */

typedef struct {
    int lengths, codings, hosts;
    bool chunked;
} framing;

static enum MHD_Result look_at_header(void *found, enum MHD_ValueKind kind, const char *name, const char *value)
{
    framing *f = found;
    (void)kind;
    if (dcam_ascii_casecmp(name, "Host") == 0) f->hosts++;
    if (dcam_ascii_casecmp(name, "Content-Length") == 0) f->lengths++;
    if (dcam_ascii_casecmp(name, "Transfer-Encoding") == 0) {
        f->codings++;
        f->chunked = value && dcam_ascii_casecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

/* Where two headers say where the body ends, a proxy may believe the other one, and take what follows for another client's
 * request (RFC 9112, 6.3). So with two that say whom the client asks (3.2). */
static void check_framing(serve_request *r)
{
    framing f = {0};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, look_at_header, &f);
    if (f.hosts <= 1 && f.lengths + f.codings <= 1 && f.chunked == (f.codings == 1)) return;
    if (f.hosts > 1) serve_error(r, 400, "give Host once");
    else if (f.lengths + f.codings > 1) serve_error(r, 400, "give one of Content-Length and Transfer-Encoding, once");
    else serve_error(r, 400, "Transfer-Encoding must be chunked");
    r->close = true;
}

/* The headers are there. */
static enum MHD_Result begin(serve_request *r, const char *url, const char *method)
{
    const char *length_text = header(r, "Content-Length");
    const long long length = length_text ? dcam_request_digits(length_text) : -1;
    const bool chunked = header(r, "Transfer-Encoding") != NULL;
    set_wait(r, WAIT_BODY);
    check_framing(r);
    serve_route(r, url, method);
    const bool large = r->answer.status == 0 && length > 0 && (size_t)length > r->server->options.max_body_bytes;
    if (large) too_large(r);
    if (r->answer.status == 0) return MHD_YES;
    r->drop_body = true;
    /* Who asks before it sends is told at once. */
    const bool dropped = large && !header(r, "Expect") && (size_t)length <= MAX_DROPPED + r->server->options.max_body_bytes;
    if ((length > MAX_DROPPED && !dropped) || chunked || r->close) {
        r->close = true;
        return send_answer(r);
    }
    return MHD_YES;
}

/* The body is there. */
static enum MHD_Result go_on(serve_request *r)
{
    dcam_server *s = r->server;
    r->times.received = dcam_seconds();
    if (r->answer.status != 0) return send_answer(r);
    pthread_mutex_lock(&s->lock);
    const bool over = s->refusing, full = s->working >= s->options.queue;
    if (!full && !over) s->working++;
    pthread_mutex_unlock(&s->lock);
    if (full || over) {
        serve_count_rejected(s->metrics, over ? "end" : "queue");
        if (over) serve_error(r, 503, "the server ends");
        else serve_error(r, 503, "the queue is full (%d requests); try again later", s->options.queue);
        r->answer.retry_after = 1;
        serve_free_body(r);
        return send_answer(r);
    }
    r->deadline = r->times.received + s->options.deadline;
    r->step = STEP_WORKING;
    set_wait(r, WAIT_NONE);
    /* First asleep, then given away: the answer may be there at once. */
    MHD_suspend_connection(r->connection);
    serve_submit(r);
    return MHD_YES;
}

static enum MHD_Result on_request(void *server, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **context)
{
    serve_request *r = *context;
    (void)version;
    if (!r) {
        r = create_request(server, connection);
        *context = r;
        return r ? begin(r, url, method) : MHD_NO;
    }
    if (*bytes > 0) {
        const bool go = take_piece(r, data, *bytes);
        *bytes = 0;
        return go ? MHD_YES : MHD_NO;
    }
    if (r->step == STEP_READING) return go_on(r);
    return r->step == STEP_DONE ? send_answer(r) : MHD_YES;
}

/* libmicrohttpd's own remarks are about clients; they are news only to who looks for them. */
static void on_library_log(void *server, const char *format, va_list args)
{
    char line[512];
    dcam_vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\r\n")] = '\0';
    serve_log_event(server, DCAM_LOG_DEBUG, "http", "%s", line);
}

/* A server that comes up but has no descriptor left for a connection would take none, and say nothing. */
static dcam_status check_descriptors(int listener)
{
    int spare[SPARE_DESCRIPTORS], count = 0;
    while (count < SPARE_DESCRIPTORS && (spare[count] = fcntl(listener, F_DUPFD_CLOEXEC, 0)) >= 0) count++;
    const int error = errno;
    for (int i = 0; i < count; i++) close(spare[i]);
    if (count == SPARE_DESCRIPTORS) return DCAM_OK;
    return dcam_fail(dcam_status_of_errno(error), "the HTTP server does not start: %s", strerror(error));
}

/* libmicrohttpd knows one time for silence, of whatever kind: it is behind all those that the watchdog keeps. */
static unsigned silence_seconds(const dcam_server_options *o)
{
    return 1 + (unsigned)ceil(fmax(fmax(o->header_timeout, o->body_timeout), fmax(o->idle_timeout, SEND_SECONDS)));
}

dcam_status serve_http_start(dcam_server *s, int listener)
{
    const dcam_server_options *o = &s->options;
    DCAM_TRY(check_descriptors(listener));
    const struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_KEY, 0, s->key},
                                         {MHD_OPTION_HTTPS_MEM_CERT, 0, s->certificate},
                                         {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    if (s->key) flags |= MHD_USE_TLS;
    sigset_t before;
    dcam_hold_signals(&before);
    errno = 0;
    s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s,
                                 MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s,
                                 MHD_OPTION_LISTEN_SOCKET, listener,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections,
                                 MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->connections_per_address,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_CONNECTION_TIMEOUT, silence_seconds(o),
                                 MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                 MHD_OPTION_URI_LOG_CALLBACK, on_request_line, s,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                                 MHD_OPTION_ARRAY, s->key ? tls : none, MHD_OPTION_END);
    const int error = errno;
    dcam_restore_signals(&before);
    if (s->daemon) return DCAM_OK;
    /* It gives no reason of its own. */
    if (dcam_status_of_errno(error) == DCAM_ERROR_MEMORY)
        return dcam_fail(DCAM_ERROR_MEMORY, "the HTTP server does not start: %s", strerror(error));
    return dcam_fail(s->key ? DCAM_ERROR_DATA : DCAM_ERROR_IO, "the HTTP server does not start%s",
                     s->key ? "; are certificate and key PEM files that belong together?" : "");
}

/* Whoever has connected already is still served. libmicrohttpd takes them as its limits and the descriptors have room;
 * a request that ends makes some. Looks are counted, not time: a process that stands still does not look. */
static void wait_for_who_waits(const dcam_server *s)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct pollfd listener = {.fd = info ? info->listen_fd : -1, .events = POLLIN};
    int looks = (int)(1e3 / LOOK_MILLISECONDS * fmin(LET_IN_SECONDS, s->options.drain_timeout));
    while (looks-- > 0 && poll(&listener, 1, 0) > 0) poll(NULL, 0, LOOK_MILLISECONDS);
}

/* Who connected between the last look and the end of listening. No more than there is room for: over one above its
 * limit libmicrohttpd before 1.0 keeps a lock, and its thread waits for itself for ever. That thread may be accepting
 * one at this moment. */
static void take_the_last(const dcam_server *s, int listener)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    int room = info ? s->options.connections - (int)info->num_connections - 1 : 0;
    while (room-- > 0) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        const int fresh = accept(listener, (struct sockaddr *)&address, &length);
        if (fresh < 0 && (errno == EAGAIN || dcam_status_of_errno(errno) == DCAM_ERROR_MEMORY)) return;
        /* One who is gone, or is refused and closed in there, is no reason to leave out the others. */
        if (fresh >= 0) MHD_add_connection(s->daemon, fresh, (const struct sockaddr *)&address, length);
    }
}

void serve_http_stop_listening(dcam_server *s)
{
    wait_for_who_waits(s);
    const int listener = MHD_quiesce_daemon(s->daemon);
    if (listener < 0) return;
    take_the_last(s, listener);
    /* New clients are refused from now on. libmicrohttpd's thread may still be about to let go of the socket, so that its
     * number must not become another file's before that thread has ended. */
    shutdown(listener, SHUT_RDWR);
    s->listener = listener;
}

void serve_http_stop(dcam_server *s)
{
    MHD_stop_daemon(s->daemon);
    if (s->listener >= 0) close(s->listener);
}
