/* The system refuses the matrix tiles to a process with a signal stack that is too small for them: this is said, once. */
#define _DEFAULT_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/amx.h"
#include "base/status.h"

static int warnings;
static char last[2048];

static void keep(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    if (level == DCAM_LOG_WARNING) warnings++;
    snprintf(last, sizeof last, "%s", line);
}

/* Each child asks for the first time. Returns 0, or which check failed. */
static int in_child(int (*body)(void))
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dcam_set_log(keep, NULL);
        _exit(body());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int given(void)
{
    if (!dcam_amx_here()) return 1;
    return warnings != 0 || dcam_amx_refusal() != NULL ? 2 : 0;
}

static int refused(void)
{
    const stack_t small = {.ss_sp = malloc(4096), .ss_size = 4096};
    if (sigaltstack(&small, NULL) != 0) return 1;
    if (dcam_amx_here() || dcam_amx_here()) return 2;
    if (warnings != 1) return 3;
    if (!strstr(last, "AMX") || !strstr(last, "sigaltstack")) return 4;
    if (!dcam_amx_refusal() || !strstr(last, dcam_amx_refusal())) return 5;
    return 0;
}

static void a_small_signal_stack(void **state)
{
    (void)state;
    if (in_child(given) == 1) {
        print_message("skipped: this machine has no AMX, or the system gives it to no process\n");
        skip();
    }
    assert_int_equal(in_child(given), 0);
    assert_int_equal(in_child(refused), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_small_signal_stack)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
