/* Who has connected when the end begins, but has not been accepted yet, is still answered: although somebody before him
 * is refused or gone, although descriptors are short for a moment. And the end comes, although more wait than may
 * connect. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/api_case.h"

/* For a machine with much else to do. */
#define PATIENCE_SECONDS 60

static void wait_a_moment(void) { nanosleep(&(struct timespec){0, 10000000}, NULL); }

/* ---- between the server and the system ---- */

static atomic_int aborted; /* so many connections more are gone when they are accepted */
static atomic_int looks;   /* at who waits */
static atomic_bool deaf;   /* it does not listen any more */

int __real_accept(int listener, struct sockaddr *address, socklen_t *length);
int __wrap_accept(int listener, struct sockaddr *address, socklen_t *length);
int __wrap_accept(int listener, struct sockaddr *address, socklen_t *length)
{
    if (atomic_load(&aborted) == 0) return __real_accept(listener, address, length);
    atomic_fetch_sub(&aborted, 1);
    errno = ECONNABORTED;
    return -1;
}

int __real_poll(struct pollfd *list, nfds_t count, int milliseconds);
int __wrap_poll(struct pollfd *list, nfds_t count, int milliseconds);
int __wrap_poll(struct pollfd *list, nfds_t count, int milliseconds)
{
    atomic_fetch_add(&looks, 1);
    return __real_poll(list, count, milliseconds);
}

int __real_shutdown(int socket, int how);
int __wrap_shutdown(int socket, int how);
int __wrap_shutdown(int socket, int how)
{
    const int result = __real_shutdown(socket, how);
    atomic_store(&deaf, true);
    return result;
}

/* ---- a server whose HTTP thread stands still ---- */

typedef enum { RUNS, STOPS_AT_NEXT, STANDS } http_thread;
static atomic_int thread;

/* The line of a request comes from the HTTP thread, when the answer has been sent. */
static void stand_still(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    (void)level;
    int expected = STOPS_AT_NEXT;
    if (!strstr(line, "\"event\":\"request\"") || !atomic_compare_exchange_strong(&thread, &expected, STANDS)) return;
    while (atomic_load(&thread) == STANDS) wait_a_moment();
}

static dcam_server *start(int connections, int per_address)
{
    const dcam_server_model models = {.path = case_model};
    const dcam_server_options options = {.models = &models, .model_count = 1, .listen = "127.0.0.1:0", .threads = 1,
                                         .workers = 1, .batch = 1, .connections = connections,
                                         .connections_per_address = per_address, .log = stand_still};
    dcam_server *server = NULL;
    atomic_store(&thread, RUNS);
    atomic_store(&looks, 0);
    atomic_store(&deaf, false);
    assert_int_equal(dcam_server_start(&options, &server), DCAM_OK);
    return server;
}

typedef struct {
    dcam_server *server;
    pthread_t thread;
    atomic_bool over;
    bool clean;
} ending;

static void *stop(void *context)
{
    ending *e = context;
    e->clean = dcam_server_stop(e->server);
    atomic_store(&e->over, true);
    return NULL;
}

static void begin_end(ending *e) { assert_int_equal(pthread_create(&e->thread, NULL, stop, e), 0); }

static void await_end(ending *e)
{
    const double end = dcam_seconds() + PATIENCE_SECONDS;
    while (!atomic_load(&e->over) && dcam_seconds() < end) wait_a_moment();
    if (!atomic_load(&e->over)) fail_msg("the end does not come");
    assert_int_equal(pthread_join(e->thread, NULL), 0);
    assert_true(e->clean);
}

/* ---- clients ---- */

static int make_client(const char *from)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(client >= 0);
    assert_int_equal(inet_pton(AF_INET, from, &address.sin_addr), 1);
    assert_int_equal(bind(client, (const struct sockaddr *)&address, sizeof address), 0);
    return client;
}

static void ask(int client, int port)
{
    static const char request[] = "GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(client, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(write(client, request, sizeof request - 1), sizeof request - 1);
}

/* The status, or 0 where the connection was cut. */
static int take(int client)
{
    char answer[16] = "";
    const ssize_t n = recv(client, answer, sizeof answer - 1, MSG_WAITALL);
    close(client);
    return n == sizeof answer - 1 ? atoi(answer + strlen("HTTP/1.1 ")) : 0;
}

/* From here on who connects is not accepted by the HTTP thread; returns the port. */
static int make_thread_stand(dcam_server *server)
{
    const int port = atoi(strrchr(dcam_server_url(server), ':') + 1), first = make_client("127.0.0.1");
    atomic_store(&thread, STOPS_AT_NEXT);
    ask(first, port);
    while (atomic_load(&thread) != STANDS) wait_a_moment();
    assert_int_equal(take(first), 200);
    return port;
}

static void let_thread_run_when_nobody_listens(void)
{
    while (!atomic_load(&deaf)) wait_a_moment();
    atomic_store(&thread, RUNS);
}

/* ---- tests ---- */

static void one_who_is_refused_does_not_end_it_for_others(void **state)
{
    (void)state;
    ending e = {.server = start(8, 1)};
    const int port = make_thread_stand(e.server), refused = make_client("127.0.0.1"), served = make_client("127.0.0.2");
    ask(refused, port);
    ask(served, port);
    begin_end(&e);
    let_thread_run_when_nobody_listens();
    assert_int_equal(take(served), 200);
    assert_int_equal(take(refused), 0);
    await_end(&e);
}

static void one_who_is_gone_does_not_end_it_for_others(void **state)
{
    (void)state;
    ending e = {.server = start(8, 8)};
    const int port = make_thread_stand(e.server), served = make_client("127.0.0.1");
    ask(served, port);
    atomic_store(&aborted, 1);
    begin_end(&e);
    let_thread_run_when_nobody_listens();
    assert_int_equal(take(served), 200);
    assert_int_equal(atomic_load(&aborted), 0);
    await_end(&e);
}

static void who_waits_for_a_descriptor_is_served(void **state)
{
    (void)state;
    struct rlimit limit;
    ending e = {.server = start(8, 8)};
    const int port = atoi(strrchr(dcam_server_url(e.server), ':') + 1), served = make_client("127.0.0.1");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, limit.rlim_max}), 0);
    ask(served, port);
    begin_end(&e);
    /* Without looks it has given up; that is seen below. */
    for (int i = 0; i < 100 && atomic_load(&looks) < 4; i++) wait_a_moment();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(take(served), 200);
    await_end(&e);
}

/* libmicrohttpd 0.9.75 to 0.9.77 lock themselves up over a connection above the limit that is given to them. */
static void more_than_may_connect_do_not_keep_the_end_away(void **state)
{
    enum { CLIENTS = 6 };
    (void)state;
    int clients[CLIENTS], count = 0;
    ending e = {.server = start(4, 100)};
    const int port = make_thread_stand(e.server);
    for (int i = 0; i < CLIENTS; i++) ask(clients[i] = make_client("127.0.0.1"), port);
    begin_end(&e);
    let_thread_run_when_nobody_listens();
    await_end(&e);
    for (int i = 0; i < CLIENTS; i++) count += take(clients[i]) == 200;
    assert_in_range(count, 1, CLIENTS);
}

/* A connection that says nothing is no request that was cut off. */
static void silence_is_no_fault_of_a_short_end(void **state)
{
    (void)state;
    const dcam_server_model models = {.path = case_model};
    const dcam_server_options options = {.models = &models, .model_count = 1, .listen = "127.0.0.1:0", .threads = 1,
                                         .drain_timeout = 0.3, .log = stand_still};
    dcam_server *server = NULL;
    assert_int_equal(dcam_server_start(&options, &server), DCAM_OK);
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                        .sin_port = htons((uint16_t)atoi(strrchr(dcam_server_url(server), ':') + 1))};
    const int silent = make_client("127.0.0.1"), served = make_client("127.0.0.1");
    assert_int_equal(connect(silent, (const struct sockaddr *)&address, sizeof address), 0);
    ask(served, ntohs(address.sin_port)); /* who came before has been seen */
    assert_int_equal(take(served), 200);
    assert_true(dcam_server_stop(server));
    close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_who_is_refused_does_not_end_it_for_others),
                                       cmocka_unit_test(one_who_is_gone_does_not_end_it_for_others),
                                       cmocka_unit_test(who_waits_for_a_descriptor_is_served),
                                       cmocka_unit_test(more_than_may_connect_do_not_keep_the_end_away),
                                       cmocka_unit_test(silence_is_no_fault_of_a_short_end)};
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
