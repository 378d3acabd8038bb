/* Numbers have a point whatever the program's locale, and the locale is the program's again afterwards: what prints and
 * reads them, and all of this layer that prints. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "comma_locale.h"

static const char *const marks[] = {",", "\xd9\xab"}; /* of German; of Persian, U+066B */

static void prints_and_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char text[64], cut[4], *end, *made;
        comma_locale_begin(marks[i]);
        assert_int_equal(dcam_snprintf(text, sizeof text, "%g %.3f %s %d %.1e", 0.25, 1234567.5, "a,b", 7, 1e-9), 30);
        assert_string_equal(text, "0.25 1234567.500 a,b 7 1.0e-09");
        assert_int_equal(dcam_snprintf(cut, sizeof cut, "%g", 0.125), 5);
        assert_string_equal(cut, "0.1");
        const double value = dcam_strtod("0.1,2", &end);
        assert_true(value == 0.1);
        assert_string_equal(end, ",2");
        assert_int_equal(dcam_format_string(&made, "%g", 0.5), DCAM_OK);
        assert_int_equal(dcam_fail(DCAM_ERROR_DATA, "%s: %g", made, 1.5), DCAM_ERROR_DATA);
        assert_string_equal(dcam_error_message(), "0.5: 1.5");
        assert_int_equal(dcam_fail_prefix(DCAM_ERROR_DATA, "%.2f", 2.25), DCAM_ERROR_DATA);
        assert_string_equal(dcam_error_message(), "2.25: 0.5: 1.5");
        dcam_free(made);
        comma_locale_end(marks[i]);
    }
}

static char logged[64];

static void keep(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

static void log_and_file(void **state)
{
    char path[] = "/tmp/dcam-number.XXXXXX", wanted[700];
    dcam_writer *w;
    uint8_t *bytes;
    size_t count;
    (void)state;
    comma_locale_begin(marks[0]);
    dcam_set_log(keep, NULL);
    dcam_log(DCAM_LOG_INFO, "%.1f MiB", 12.5);
    dcam_set_log(NULL, NULL);
    assert_string_equal(logged, "12.5 MiB");
    const int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    assert_int_equal(dcam_writer_open(path, &w), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "%s,%.12g\n", "image", 0.1), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "%600.2f", 0.5), DCAM_OK); /* longer than what is printed at once */
    assert_int_equal(dcam_writer_commit(w), DCAM_OK);
    comma_locale_end(marks[0]);
    snprintf(wanted, sizeof wanted, "image,0.1\n%600.2f", 0.5);
    assert_int_equal(dcam_file_read(path, 1000, &bytes, &count), DCAM_OK);
    assert_int_equal(count, strlen(wanted));
    assert_memory_equal(bytes, wanted, count);
    dcam_free(bytes);
    unlink(path);
}

/* A thread may have a locale of its own; another thread's stays. */
static void *print_much(void *failed)
{
    for (int i = 0; i < 20000; i++) {
        char text[32];
        dcam_snprintf(text, sizeof text, "%g", 0.5);
        if (strcmp(text, "0.5") != 0) *(int *)failed = 1;
        snprintf(text, sizeof text, "%g", 0.5);
        if (strcmp(text, "0,5") != 0) *(int *)failed = 1;
    }
    return NULL;
}

static void threads(void **state)
{
    pthread_t thread[4];
    int failed[4] = {0};
    char text[32];
    (void)state;
    comma_locale_begin(marks[0]);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, print_much, &failed[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(failed[i], 0);
    const locale_t own = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(own);
    dcam_snprintf(text, sizeof text, "%g", 0.5);
    assert_true(uselocale(before) == own);
    freelocale(own);
    comma_locale_end(marks[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_and_reads),
        cmocka_unit_test(log_and_file),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
