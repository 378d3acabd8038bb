/* The public calls of the server, as a program that is built with the library makes them: what it owns is not needed after
 * the start, the end keeps its times while the program has a timer, and what cannot be served is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "api/api_case.h"

static char model[300];

static dcam_server_options options_of(const dcam_server_model *models)
{
    return (dcam_server_options){.models = models, .model_count = 1, .listen = "127.0.0.1:0", .threads = 1, .workers = 1, .batch = 1};
}

/* The status code of GET path. */
static int get(const char *url, const char *path)
{
    char request[200], answer[16] = "";
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(connection, (const struct sockaddr *)&address, sizeof address), 0);
    const int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(write(connection, request, (size_t)length), length);
    assert_int_equal(recv(connection, answer, sizeof answer - 1, MSG_WAITALL), sizeof answer - 1);
    close(connection);
    return atoi(answer + strlen("HTTP/1.1 "));
}

static void options_are_not_needed_after_the_start(void **state)
{
    (void)state;
    char path[sizeof model], name[] = "bolts", place[] = "127.0.0.1:0";
    dcam_server *server = NULL;
    memcpy(path, model, sizeof path);
    dcam_server_model models = {.name = name, .path = path};
    dcam_server_options options = options_of(&models);
    options.listen = place;
    assert_int_equal(dcam_server_start(&options, &server), DCAM_OK);
    memset(path, '!', sizeof path);
    memset(name, '!', sizeof name);
    memset(place, '!', sizeof place);
    memset(&models, 0x55, sizeof models);
    memset(&options, 0x55, sizeof options);
    assert_int_equal(get(dcam_server_url(server), "/v2/health/ready"), 200);
    dcam_server_reload(server);
    assert_int_equal(get(dcam_server_url(server), "/v2/models/bolts"), 200);
    assert_int_equal(get(dcam_server_url(server), "/v2/models/nuts"), 404);
    assert_true(dcam_server_stop(server));
}

static void on_alarm(int signal) { (void)signal; }

static void a_timer_does_not_shorten_the_end(void **state)
{
    (void)state;
    const struct sigaction ours = {.sa_handler = on_alarm};
    const struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
    const dcam_server_model models = {.path = model};
    dcam_server_options options = options_of(&models);
    dcam_server *server = NULL;
    options.drain_delay = 0.3;
    assert_int_equal(dcam_server_start(&options, &server), DCAM_OK);
    assert_int_equal(sigaction(SIGALRM, &ours, NULL), 0);
    const double begun = dcam_seconds();
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    const bool clean = dcam_server_stop(server);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_true(clean);
    assert_true(dcam_seconds() - begun >= options.drain_delay);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    dcam_server *server = NULL;
    const dcam_server_model nameless = {.path = NULL}, absent = {.path = "nowhere"};
    dcam_server_options options = options_of(&nameless);
    assert_int_equal(dcam_server_start(NULL, &server), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_server_start(&options, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_server_start(&options, &server), DCAM_ERROR_USAGE);
    options.models = &absent;
    assert_int_equal(dcam_server_start(&options, &server), DCAM_ERROR_IO);
    options.listen = "0.0.0.0:0"; /* open to others, without a token */
    assert_int_equal(dcam_server_start(&options, &server), DCAM_ERROR_USAGE);
    options = options_of(&absent);
    options.drain_delay = -1;
    assert_int_equal(dcam_server_start(&options, &server), DCAM_ERROR_USAGE);
    assert_null(server);
    assert_true(dcam_server_stop(NULL));
}

static int create(void **state)
{
    const int result = case_create(state);
    memcpy(model, case_model, sizeof model);
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(options_are_not_needed_after_the_start),
                                       cmocka_unit_test(a_timer_does_not_shorten_the_end), cmocka_unit_test(wrong_options_are_refused)};
    return cmocka_run_group_tests(tests, create, case_remove);
}
