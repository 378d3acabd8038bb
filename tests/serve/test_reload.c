/* A model file that is replaced while the server runs, and cannot be loaded: what may pass is tried again, at times
 * that lie ever wider apart, and in the end the new file is loaded; a file that is bad is not read again until it
 * changes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/api_case.h"

enum { MOST_LINES = 64 };

/* In these seconds a first, a second and a third try would come. */
#define SILENCE_SECONDS 3.5
/* For a machine with much else to do. */
#define PATIENCE_SECONDS 60

/* ---- files that cannot be opened ---- */

static char model[600], fresh[600];
static uint8_t *good; /* bytes of a model */
static size_t good_bytes;
static atomic_int fault; /* what open says of the model; 0: it opens */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;
    va_end(args);
    const int error = strcmp(path, model) == 0 ? atomic_load(&fault) : 0;
    if (error == 0) return __real_open(path, flags, mode);
    errno = error;
    return -1;
}

/* By renaming, as dcam train does it; each time it is another file. */
static void replace_model(const void *bytes, size_t count)
{
    assert_int_equal(dcam_file_write(fresh, bytes, count), DCAM_OK);
    assert_int_equal(rename(fresh, model), 0);
}

/* ---- what the log says ---- */

typedef struct {
    pthread_mutex_t lock;
    double failed[MOST_LINES]; /* when; on dcam_seconds() */
    int failures, loads;
    char last[1024];
} told;

static void listen_to(void *user, dcam_log_level level, const char *line)
{
    told *t = user;
    (void)level;
    pthread_mutex_lock(&t->lock);
    if (strstr(line, "\"event\":\"model\"")) t->loads++;
    if (strstr(line, "\"event\":\"reload\"")) {
        assert_true(t->failures < MOST_LINES);
        t->failed[t->failures++] = dcam_seconds();
        snprintf(t->last, sizeof t->last, "%s", line);
    }
    pthread_mutex_unlock(&t->lock);
}

static void wait_a_moment(void) { nanosleep(&(struct timespec){0, 10000000}, NULL); }

static int count_of(told *t, const int *count)
{
    pthread_mutex_lock(&t->lock);
    const int n = *count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

static void await_count(told *t, const int *count, int wanted, const char *what)
{
    const double end = dcam_seconds() + PATIENCE_SECONDS;
    while (count_of(t, count) < wanted && dcam_seconds() < end) wait_a_moment();
    if (count_of(t, count) != wanted)
        fail_msg("%s: %d times instead of %d; %s", what, count_of(t, count), wanted, t->last);
}

static void stay_silent(void)
{
    const double end = dcam_seconds() + SILENCE_SECONDS;
    while (dcam_seconds() < end) wait_a_moment();
}

static dcam_server *start(told *t, bool no_watch)
{
    const dcam_server_model models = {.path = model};
    const dcam_server_options options = {.models = &models, .model_count = 1, .listen = "127.0.0.1:0", .threads = 1,
                                         .workers = 1, .batch = 1, .no_watch = no_watch, .log = listen_to, .user = t};
    dcam_server *server = NULL;
    atomic_store(&fault, 0);
    assert_int_equal(dcam_server_start(&options, &server), DCAM_OK);
    assert_int_equal(count_of(t, &t->loads), 1);
    return server;
}

/* ---- tests ---- */

static void what_may_pass_is_tried_again(void **state)
{
    static const int faults[] = {EMFILE, EIO};
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        told t = {.lock = PTHREAD_MUTEX_INITIALIZER};
        const int tries = i == 0 ? 3 : 1;
        dcam_server *server = start(&t, false);
        atomic_store(&fault, faults[i]);
        replace_model(good, good_bytes);
        await_count(&t, &t.failures, tries, "failures");
        atomic_store(&fault, 0);
        await_count(&t, &t.loads, 2, "loads");
        assert_int_equal(t.failures, tries);
        for (int k = 1; k < tries; k++)
            if (t.failed[k] - t.failed[k - 1] < k) /* 1 and 2 seconds */
                fail_msg("try %d after %.3f s", k + 1, t.failed[k] - t.failed[k - 1]);
        assert_true(dcam_server_stop(server));
    }
}

static void what_is_bad_is_not_read_again(void **state)
{
    told t = {.lock = PTHREAD_MUTEX_INITIALIZER}, asked = {.lock = PTHREAD_MUTEX_INITIALIZER};
    (void)state;
    dcam_server *server = start(&t, false), *other = start(&asked, true);
    replace_model("no model", strlen("no model"));
    await_count(&t, &t.failures, 1, "failures");
    /* Who loads only when told to is not surprised by a load at another time. */
    atomic_store(&fault, EMFILE);
    dcam_server_reload(other);
    await_count(&asked, &asked.failures, 1, "failures of who was told to");
    atomic_store(&fault, 0);
    stay_silent();
    assert_int_equal(count_of(&t, &t.failures), 1);
    assert_int_equal(count_of(&asked, &asked.failures), 1);
    assert_true(dcam_server_stop(other));
    replace_model(good, good_bytes);
    await_count(&t, &t.loads, 2, "loads");
    /* One that is not there is waited for in silence, and loaded although it is the same that was there. */
    assert_int_equal(rename(model, fresh), 0);
    dcam_server_reload(server);
    await_count(&t, &t.failures, 2, "failures");
    stay_silent();
    assert_int_equal(count_of(&t, &t.failures), 2);
    assert_int_equal(rename(fresh, model), 0);
    await_count(&t, &t.loads, 3, "loads");
    assert_int_equal(t.failures, 2);
    assert_true(dcam_server_stop(server));
}

static int create(void **state)
{
    const int result = case_create(state);
    snprintf(model, sizeof model, "%s", case_path("served"));
    snprintf(fresh, sizeof fresh, "%s", case_path("fresh"));
    assert_int_equal(dcam_file_read(case_model, SIZE_MAX / 2, &good, &good_bytes), DCAM_OK);
    replace_model(good, good_bytes);
    return result;
}

static int destroy(void **state)
{
    dcam_free(good);
    return case_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_may_pass_is_tried_again),
                                       cmocka_unit_test(what_is_bad_is_not_read_again)};
    return cmocka_run_group_tests(tests, create, destroy);
}
