/* serve_load.c - a load generator for dcam serve and its peers: each client is a thread with one kept-alive connection
 * that sends the same request over and over, as fast as it is answered or, with a rate, at random times (a Poisson
 * process; latency then counts from when the request was due, so that a slow server cannot hide behind slow clients).
 *     serve_load PORT REQUEST-FILE CLIENTS SECONDS [RATE]
 * REQUEST-FILE holds one whole HTTP request. Prints one JSON object. "lost": requests that were sent whole and whose
 * connection then ended without an answer; "given_up": those that this program has waited ANSWER_SECONDS for, which
 * says more about the load of the machine; "refused": connections that the server did not take or cut before a request
 * was sent; "other_status": the least and the greatest of the others, equal where all are the same. Only 127.0.0.1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 1024
#define BUFFER (1 << 16)
#define ANSWER_SECONDS 120

static char *request;
static size_t request_bytes;
static int port, clients;
static double seconds, rate, begun;

typedef struct {
    double *latencies;
    size_t ok, capacity, busy, late, other, lost, given_up, refused;
    int least_other, most_other; /* statuses; 0: none */
    unsigned seed;
} client;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_connection(void)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    const struct timeval limit = {ANSWER_SECONDS, 0};
    if (s < 0) return -1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(s, (const struct sockaddr *)&address, sizeof address) == 0) return s;
    close(s);
    return -1;
}

static bool send_all(int s)
{
    for (size_t done = 0; done < request_bytes;) {
        const ssize_t n = send(s, request + done, request_bytes - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* A process that is stopped and goes on is told EINTR, because the socket has a time limit. */
static ssize_t read_some(int s, char *out, size_t bytes)
{
    ssize_t n;
    do n = recv(s, out, bytes, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Status of the answer, 0 where the connection ended without one, -1 where it did not come in time. *keep: the
 * connection stays open. */
static int receive(int s, bool *keep)
{
    char head[BUFFER];
    size_t used = 0;
    char *end = NULL;
    while (!end) {
        const ssize_t n = read_some(s, head + used, sizeof head - 1 - used);
        if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -1 : 0;
        used += (size_t)n;
        head[used] = '\0';
        end = strstr(head, "\r\n\r\n");
        if (!end && used == sizeof head - 1) return 0;
    }
    const char *length = strcasestr(head, "content-length:"), *close_it = strcasestr(head, "connection: close");
    const size_t body = length && length < end ? strtoul(length + 15, NULL, 10) : 0, head_bytes = (size_t)(end + 4 - head);
    *keep = !(close_it && close_it < end);
    const int status = atoi(head + 9);
    for (size_t left = body - (used - head_bytes); left > 0;) {
        const ssize_t n = read_some(s, head, left < sizeof head ? left : sizeof head);
        if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? -1 : 0;
        left -= (size_t)n;
    }
    return status;
}

static void note_other(client *c, int least, int most)
{
    if (!c->least_other || least < c->least_other) c->least_other = least;
    if (most > c->most_other) c->most_other = most;
}

static void count(client *c, int status, double latency)
{
    if (status == 200) {
        if (c->ok == c->capacity) {
            c->capacity = c->capacity ? 2 * c->capacity : 1024;
            c->latencies = realloc(c->latencies, c->capacity * sizeof *c->latencies);
            if (!c->latencies) abort();
        }
        c->latencies[c->ok++] = latency;
    } else if (status == 503) {
        c->busy++;
    } else if (status == 504) {
        c->late++;
    } else if (status == 0) {
        c->lost++;
    } else if (status < 0) {
        c->given_up++;
    } else {
        c->other++;
        note_other(c, status, status);
    }
}

static void pause_until(double then)
{
    const double left = then - now();
    if (left <= 0) return;
    const struct timespec t = {(time_t)left, (long)(1e9 * fmod(left, 1))};
    nanosleep(&t, NULL);
}

static void *run(void *context)
{
    client *c = context;
    int s = -1;
    double due = begun;
    while (now() - begun < seconds) {
        if (rate > 0) {
            due += -log((rand_r(&c->seed) + 1.0) / (RAND_MAX + 2.0)) * clients / rate;
            pause_until(due);
        } else {
            due = now();
        }
        if (s < 0) s = open_connection();
        if (s < 0) {
            c->refused++;
            pause_until(now() + 0.01);
            continue;
        }
        bool keep = false;
        const bool sent = send_all(s);
        const int status = sent ? receive(s, &keep) : 0;
        /* Often a kept-alive connection that the server has closed in the meantime: HTTP says to try again on a new one. */
        if (!sent) c->refused++;
        else count(c, status, now() - due);
        if (status == 503) pause_until(now() + 0.01);
        if (!keep) {
            close(s);
            s = -1;
        }
    }
    if (s >= 0) close(s);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static client all[MAX_CLIENTS];
    static pthread_t threads[MAX_CLIENTS];
    if (argc < 5 || (clients = atoi(argv[3])) < 1 || clients > MAX_CLIENTS) {
        fputs("serve_load PORT REQUEST-FILE CLIENTS SECONDS [RATE]\n", stderr);
        return 2;
    }
    port = atoi(argv[1]);
    seconds = atof(argv[4]);
    rate = argc > 5 ? atof(argv[5]) : 0;
    FILE *f = fopen(argv[2], "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) return 2;
    request_bytes = (size_t)ftell(f);
    rewind(f);
    request = malloc(request_bytes + 1);
    if (!request || fread(request, 1, request_bytes, f) != request_bytes) return 2;
    fclose(f);
    signal(SIGPIPE, SIG_IGN);
    begun = now();
    for (int i = 0; i < clients; i++) {
        all[i].seed = (unsigned)i + 1;
        if (pthread_create(&threads[i], NULL, run, &all[i]) != 0) return 5;
    }
    client sum = {0};
    for (int i = 0; i < clients; i++) {
        pthread_join(threads[i], NULL);
        sum.busy += all[i].busy;
        sum.late += all[i].late;
        sum.given_up += all[i].given_up;
        sum.other += all[i].other;
        sum.lost += all[i].lost;
        sum.refused += all[i].refused;
        if (all[i].other > 0) note_other(&sum, all[i].least_other, all[i].most_other);
        for (size_t k = 0; k < all[i].ok; k++) count(&sum, 200, all[i].latencies[k]);
    }
    const double took = now() - begun;
    qsort(sum.latencies, sum.ok, sizeof *sum.latencies, ascending);
#define AT(q) (sum.ok ? 1e3 * sum.latencies[(size_t)((q) * (double)(sum.ok - 1))] : 0.0)
    printf("{\"clients\": %d, \"seconds\": %.2f, \"ok\": %zu, \"per_second\": %.2f, \"p50_ms\": %.3f, \"p95_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"busy_503\": %zu, \"late_504\": %zu, \"other\": %zu, \"other_status\": [%d, %d], \"lost\": %zu, \"given_up\": %zu, \"refused\": %zu}\n",
           clients, took, sum.ok, (double)sum.ok / took, AT(0.5), AT(0.95), AT(0.99), AT(1.0), sum.busy, sum.late, sum.other, sum.least_other, sum.most_other,
           sum.lost, sum.given_up, sum.refused);
    return 0;
}
