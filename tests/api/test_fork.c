/* Children of a process that has detected with two threads: GNU OpenMP's threads stay behind, and a detection that waited
 * for them would never end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_case.h"

enum { HANGS = 240 /* seconds */, PICTURE = 64 };

static dcam_detector *one, *two;
static uint8_t picture[PICTURE * PICTURE * 3];
static const dcam_detector_options one_thread = {.threads = 1}, two_threads = {.threads = 2};

static dcam_status detect(dcam_detector *d)
{
    dcam_detection result;
    const dcam_status status = dcam_detect_rgb(d, picture, PICTURE, PICTURE, 0, &result);
    if (status == DCAM_OK) dcam_detection_clear(&result);
    return status;
}

static bool refused(dcam_status status)
{
    return status == DCAM_ERROR_USAGE && strstr(dcam_error_message(), "2 threads after a fork") != NULL;
}

static bool ignore(void *user, const char *path, const dcam_detection *detection, const char *error)
{
    (void)user;
    (void)path;
    (void)error;
    return detection == NULL;
}

static void *with_two_threads(void *result)
{
    dcam_detector *d;
    *(bool *)result = dcam_detector_open(case_model, &two_threads, &d) == DCAM_OK && detect(d) == DCAM_OK;
    if (*(bool *)result) dcam_detector_close(d);
    return NULL;
}

/* 0, or which check failed. */
static int child(void)
{
    dcam_detector *d;
    const char *const folder = case_data;
    const dcam_evaluate_options evaluation = {.dataset = case_data, .model = case_model, .threads = 2, .resamples = -1};
    dcam_evaluation facts;
    const dcam_train_options training = {.dataset = case_data, .output = case_path("trained"), .teacher = "random:1", .epochs = 1,
                                         .width = CASE_SIDE, .height = CASE_SIDE, .threads = 2};
    const dcam_synth_options drawing = {.folder = case_path("drawn"), .size = CASE_SIDE, .classes = 1, .train = 2, .test_good = 1,
                                        .test_defective = 1};
    bool fine = false;
    pthread_t thread;
    if (!refused(detect(two))) return 1;
    if (!refused(dcam_detect_paths(two, &folder, 1, ignore, NULL, NULL))) return 2;
    if (!refused(dcam_detector_open(case_model, &two_threads, &d))) return 3;
    if (!refused(dcam_evaluate(&evaluation, &facts))) return 4;
    if (!refused(dcam_train(&training))) return 5;
    if (detect(one) != DCAM_OK) return 6;
    if (dcam_detector_open(case_model, &one_thread, &d) != DCAM_OK || detect(d) != DCAM_OK) return 7;
    if (dcam_detect_paths(d, &folder, 1, ignore, NULL, NULL) != DCAM_OK) return 8;
    dcam_detector_close(d);
    if (dcam_synth(&drawing) != DCAM_OK) return 9; /* has no number of threads of its own */
    if (pthread_create(&thread, NULL, with_two_threads, &fine) != 0 || pthread_join(thread, NULL) != 0 || !fine) return 10;
    return 0;
}

static void a_child_is_refused(void **state)
{
    int status;
    (void)state;
#ifndef _OPENMP
    skip();
#endif
    for (size_t i = 0; i < sizeof picture; i++) picture[i] = (uint8_t)(i * 7 % 251);
    assert_int_equal(dcam_detector_open(case_model, &one_thread, &one), DCAM_OK);
    assert_int_equal(dcam_detector_open(case_model, &two_threads, &two), DCAM_OK);
    assert_int_equal(detect(one), DCAM_OK);
    assert_int_equal(detect(two), DCAM_OK);
    fflush(NULL);
    const pid_t forked = fork();
    assert_true(forked >= 0);
    if (forked == 0) {
        alarm(HANGS);
        _exit(child());
    }
    assert_int_equal(waitpid(forked, &status, 0), forked);
    if (WIFSIGNALED(status)) fail_msg("the child ended by signal %d%s", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(detect(two), DCAM_OK);
    dcam_detector_close(two);
    dcam_detector_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_child_is_refused)};
    return cmocka_run_group_tests(tests, case_create, case_remove);
}
