/* Loops of several threads, the children of a process that had them, the signals of its threads, and how many cores there
 * are by the quotas of control groups, from made files. */
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

#include "base/parallel.h"
#include "made_groups.h"

enum { ITEMS = 1000, HANGS = 60 /* seconds */ };

static int counts[ITEMS];

static void count(void *context, size_t begin, size_t end)
{
    (void)context;
    for (size_t i = begin; i < end; i++) counts[i]++;
}

static bool loop_does_each_once(void)
{
    memset(counts, 0, sizeof counts);
    dcam_parallel_for(ITEMS, count, NULL);
    for (size_t i = 0; i < ITEMS; i++)
        if (counts[i] != 1) return false;
    return true;
}

/* What a child returns: 0, or which check failed; it dies of SIGALRM where it hangs. */
static int in_child(int (*body)(void))
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(HANGS);
        _exit(body());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) fail_msg("the child ended by signal %d%s", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    return WEXITSTATUS(status);
}

/* A thread that had no team may have one, in a child as well. */
static int all_is_free(void) { return dcam_check_team(8) != DCAM_OK ? 1 : !loop_does_each_once() ? 2 : 0; }

static void *in_another_thread(void *result)
{
    dcam_set_threads(2);
    *(int *)result = all_is_free();
    return NULL;
}

static int one_thread_is_left(void)
{
    pthread_t thread;
    int other = 9;
    if (dcam_check_team(2) != DCAM_ERROR_USAGE) return 3;
    if (!strstr(dcam_error_message(), "2 threads after a fork")) return 4;
    if (dcam_check_team(0) != (dcam_available_cores() > 1 ? DCAM_ERROR_USAGE : DCAM_OK)) return 5;
    if (dcam_check_team(1) != DCAM_OK) return 6;
    if (dcam_threads() != 2 || !loop_does_each_once()) return 7;
    if (!dcam_start_thread(&thread, in_another_thread, &other) || pthread_join(thread, NULL) != 0) return 8;
    return other;
}

static int in_a_grandchild_too(void) { return in_child(one_thread_is_left); }

/* The order counts: the first child is made before this thread has had a team. */
static void children(void **state)
{
    (void)state;
    dcam_set_threads(2);
#ifndef _OPENMP
    skip();
#endif
    assert_int_equal(in_child(all_is_free), 0);
    assert_true(loop_does_each_once());
    assert_int_equal(in_child(one_thread_is_left), 0);
    assert_int_equal(in_child(in_a_grandchild_too), 0);
    assert_int_equal(all_is_free(), 0);
}

static void *own_mask(void *mask)
{
    pthread_sigmask(SIG_BLOCK, NULL, mask);
    return NULL;
}

static void signals_of_threads(void **state)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    static const int others[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1, SIGPIPE, SIGPROF};
    sigset_t mask, before, after;
    pthread_t thread;
    (void)state;
    own_mask(&before);
    assert_true(dcam_start_thread(&thread, own_mask, &mask));
    assert_int_equal(pthread_join(thread, NULL), 0);
    own_mask(&after);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) assert_int_equal(sigismember(&mask, faults[i]), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(sigismember(&mask, others[i]), 1);
        assert_int_equal(sigismember(&after, others[i]), sigismember(&before, others[i]));
    }
}

/* ---- cores --------------------------------------------------------------- */

static int cores_of(const char *groups)
{
    return dcam_group_cores(put_groups(groups), root);
}

/* Rounded up; the least along the way up counts. */
static void quotas_of_version_2(void **state)
{
    (void)state;
    assert_int_equal(cores_of("0::/a/b\n"), 0);
    put("a/b/cpu.max", "max 100000\n");
    assert_int_equal(cores_of("0::/a/b\n"), 0);
    put("a/b/cpu.max", "400000 100000\n");
    assert_int_equal(cores_of("0::/a/b\n"), 4);
    put("a/b/cpu.max", "400001 100000\n");
    assert_int_equal(cores_of("0::/a/b\n"), 5);
    put("a/cpu.max", "150000 100000\n");
    assert_int_equal(cores_of("0::/a/b\n"), 2);
    put("cpu.max", "1000 50000\n"); /* as a container sees its own group */
    assert_int_equal(cores_of("0::/a/b\n"), 1);
    assert_int_equal(cores_of("0::/\n"), 1);
    put("cpu.max", "max 100000\n");
    assert_int_equal(cores_of("0::/\n"), 0);
}

static void quotas_of_version_1(void **state)
{
    (void)state;
    put("cpu/docker/x/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(cores_of("4:cpu,cpuacct:/docker/x\n"), 0); /* no period */
    put("cpu/docker/x/cpu.cfs_period_us", "100000\n");
    put("cpu/docker/cpu.cfs_quota_us", "-1\n"); /* how version 1 says "none" */
    put("cpu/docker/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cores_of("11:memory:/docker/x\n4:cpuacct,cpu:/docker/x\n0::/\n"), 3);
    assert_int_equal(cores_of("4:cpuacct:/docker/x\n5:cpuset:/docker/x\n"), 0);
    assert_int_equal(cores_of("4:cpu:/docker\n"), 0);
}

static void broken_quotas(void **state)
{
    static const char *const texts[] = {"", "\n", "max", "-1 100000\n", "0 100000\n", "100000\n", "100000 0\n", "100000 -5\n",
                                        "100000 max\n", "99999999999999999999999999 1\n", " 100000 100000\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put("bad/cpu.max", texts[i]);
        if (cores_of("0::/bad\n") != 0) fail_msg("\"%s\" is no quota", texts[i]);
    }
    assert_int_equal(dcam_group_cores("/nowhere/at/all", root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(children), cmocka_unit_test(signals_of_threads),
                                       cmocka_unit_test(quotas_of_version_2), cmocka_unit_test(quotas_of_version_1),
                                       cmocka_unit_test(broken_quotas)};
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
