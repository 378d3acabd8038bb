/* Statuses, the one line of each failure, and the log. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include "base/status.h"

static void every_status_has_its_row(void **state)
{
    (void)state;
    assert_string_equal(dcam_version(), DCAM_VERSION);
    assert_string_equal(dcam_status_name(DCAM_ERROR_DATA), "DCAM_ERROR_DATA");
    assert_string_equal(dcam_status_text(DCAM_ERROR_MEMORY), "out of memory");
    assert_int_equal(dcam_status_exit_code(DCAM_OK), 0);
    assert_int_equal(dcam_status_exit_code(DCAM_ERROR_USAGE), 2);
    assert_int_equal(dcam_status_exit_code(DCAM_ERROR_MODEL_VERSION), 4);
    assert_int_equal(dcam_status_exit_code(DCAM_ERROR_CANCELLED), 130);
    for (int s = 0; s < DCAM_STATUS_COUNT; s++) assert_true(strlen(dcam_status_text((dcam_status)s)) > 3);
    assert_string_equal(dcam_status_name((dcam_status)-1), "DCAM_ERROR_INTERNAL");
    assert_int_equal(dcam_status_exit_code(DCAM_STATUS_COUNT), 70);
}

static void a_failure_is_one_line(void **state)
{
    (void)state;
    assert_int_equal(dcam_fail(DCAM_ERROR_IO, "%s: no", "a\nb\tc\r\x1b[2J\x7f"), DCAM_ERROR_IO);
    assert_string_equal(dcam_error_message(), "a\\nb\\tc\\r\\x1b[2J\\x7f: no");
    (void)dcam_fail(DCAM_ERROR_IO, "%s: no", "part\xe2\x80\xaegnp.exe");
    assert_string_equal(dcam_error_message(), "part\\xe2\\x80\\xaegnp.exe: no");
    /* Latin-1's control characters in UTF-8; other letters, and bytes that are no UTF-8, stay. */
    (void)dcam_fail(DCAM_ERROR_IO, "%s", "\xc2\x9bm caf\xc3\xa9 \xc2\xa0 \xff \xc2");
    assert_string_equal(dcam_error_message(), "\\xc2\\x9bm caf\xc3\xa9 \xc2\xa0 \xff \xc2");
    /* But 0x80 to 0x9f alone, which are commands to a terminal of 8-bit characters. */
    (void)dcam_fail(DCAM_ERROR_IO, "%s", "\x9b" "2J \xe2\x82\xac \xe9");
    assert_string_equal(dcam_error_message(), "\\x9b2J \xe2\x82\xac \xe9");
    dcam_clear_error();
    assert_string_equal(dcam_error_message(), "");
}

static void a_message_may_be_its_own_argument(void **state)
{
    (void)state;
    (void)dcam_fail(DCAM_ERROR_IO, "one\n");
    (void)dcam_fail(DCAM_ERROR_DATA, "again: %s", dcam_error_message());
    assert_string_equal(dcam_error_message(), "again: one\\n");
    (void)dcam_fail_prefix(DCAM_ERROR_DATA, "%s\n", dcam_error_message());
    assert_string_equal(dcam_error_message(), "again: one\\n\\n: again: one\\n");
}

static void a_prefix_goes_before(void **state)
{
    (void)state;
    (void)dcam_fail(DCAM_ERROR_DATA, "too small");
    assert_int_equal(dcam_fail_prefix(DCAM_ERROR_MODEL, "%s: class %d", "m", 3), DCAM_ERROR_MODEL);
    assert_string_equal(dcam_error_message(), "m: class 3: too small");
}

/* Cut, never beyond the buffer, and an escape stays whole. */
static void a_long_message_is_cut(void **state)
{
    char text[5000];
    size_t length;
    (void)state;
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)dcam_fail(DCAM_ERROR_DATA, "%s", text);
    length = strlen(dcam_error_message());
    assert_in_range(length, 2040, 2047);
    assert_int_equal(length % 2, 0);
    (void)dcam_fail_prefix(DCAM_ERROR_DATA, "%s", text);
    assert_in_range(strlen(dcam_error_message()), 2040, 2047);
    (void)dcam_fail_prefix(DCAM_ERROR_DATA, "here");
    assert_memory_equal(dcam_error_message(), "here: \\n\\n", 10);
    assert_in_range(strlen(dcam_error_message()), 2040, 2047);
}

static void *fail_elsewhere(void *seen)
{
    *(bool *)seen = dcam_error_message()[0] == '\0' && dcam_fail(DCAM_ERROR_DATA, "theirs") == DCAM_ERROR_DATA;
    return NULL;
}

static void each_thread_has_its_line(void **state)
{
    pthread_t thread;
    bool empty_at_first = false;
    (void)state;
    (void)dcam_fail(DCAM_ERROR_DATA, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &empty_at_first), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(empty_at_first);
    assert_string_equal(dcam_error_message(), "mine");
}

static void keep_line(void *user, dcam_log_level level, const char *line)
{
    assert_int_equal(level, DCAM_LOG_WARNING);
    strncpy(user, line, 63);
}

static void the_log_takes_one_line(void **state)
{
    char line[64] = "";
    (void)state;
    dcam_set_log(keep_line, line);
    dcam_log(DCAM_LOG_WARNING, "%s: left out", "x\ny");
    dcam_set_log(NULL, NULL);
    dcam_log(DCAM_LOG_WARNING, "nobody hears");
    assert_string_equal(line, "x\\ny: left out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_row), cmocka_unit_test(a_failure_is_one_line),
        cmocka_unit_test(a_message_may_be_its_own_argument), cmocka_unit_test(a_prefix_goes_before),
        cmocka_unit_test(a_long_message_is_cut), cmocka_unit_test(each_thread_has_its_line),
        cmocka_unit_test(the_log_takes_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
