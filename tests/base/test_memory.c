/* The allocator counts, aligns, refuses overflow and can be made to fail; status
 * rows and error lines. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"

static void counts_and_aligns(void **state)
{
    (void)state;
    size_t before = dcam_memory_held();
    dcam_memory_reset_peak();
    char *a, *b;
    assert_int_equal(dcam_alloc(1000, 3, &a), DCAM_OK);
    assert_int_equal((uintptr_t)a % DCAM_ALIGNMENT, 0);
    assert_int_equal(dcam_memory_held() - before, 3000);
    assert_int_equal(dcam_alloc_zero(1, 77, &b), DCAM_OK);
    for (int i = 0; i < 77; i++) assert_int_equal(b[i], 0);
    dcam_free(a);
    assert_int_equal(dcam_memory_held() - before, 77);
    assert_int_equal(dcam_memory_peak() - before, 3077);
    dcam_free(b);
    dcam_free(NULL);
    assert_int_equal(dcam_memory_held(), before);
}

static void refuses_overflow(void **state)
{
    (void)state;
    void *p = (void *)1;
    assert_int_equal(dcam_alloc(SIZE_MAX / 2, 3, &p), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_alloc(SIZE_MAX, 1, &p), DCAM_ERROR_MEMORY);
    assert_ptr_equal(p, (void *)1);
    size_t r = 5;
    assert_false(dcam_size_mul(SIZE_MAX, 2, &r));
    assert_false(dcam_size_add(SIZE_MAX, 1, &r));
    assert_int_equal(r, 5);
    assert_true(dcam_size_mul(6, 7, &r));
    assert_int_equal(r, 42);
}

static void realloc_keeps_content_and_survives_failure(void **state)
{
    (void)state;
    char *p = NULL;
    assert_int_equal(dcam_realloc(4, 1, &p), DCAM_OK);
    memcpy(p, "abc", 4);
    assert_int_equal(dcam_realloc(400, 1, &p), DCAM_OK);
    assert_string_equal(p, "abc");
    dcam_memory_fail_at(1, false);
    assert_int_equal(dcam_realloc(800, 1, &p), DCAM_ERROR_MEMORY);
    assert_string_equal(p, "abc");
    dcam_free(p);
}

static void fails_when_told(void **state)
{
    (void)state;
    void *p;
    dcam_memory_fail_at(2, false);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_OK);
    dcam_free(p);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_OK);
    dcam_free(p);
    dcam_memory_fail_at(1, true);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_ERROR_MEMORY);
    dcam_memory_fail_at(0, false);
    assert_int_equal(dcam_alloc(1, 1, &p), DCAM_OK);
    dcam_free(p);
}

static void holds_no_more_than_there_is(void **state)
{
    (void)state;
    const size_t before = dcam_memory_held(), peak = dcam_memory_peak();
    void *p, *q;
    /* Linux would promise it: nothing is written to. */
    assert_int_equal(dcam_alloc(1, dcam_machine_memory() - before + 1, &p), DCAM_ERROR_MEMORY);
    assert_non_null(strstr(dcam_error_message(), "out of memory: 1 x "));
    assert_int_equal(dcam_alloc(1, SIZE_MAX / 2, &p), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_memory_held(), before);
    assert_int_equal(dcam_memory_peak(), peak);
    dcam_memory_set_most(before + 100);
    assert_int_equal(dcam_alloc(1, 101, &p), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_alloc(1, 60, &p), DCAM_OK);
    assert_int_equal(dcam_alloc(1, 41, &q), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_alloc(1, 40, &q), DCAM_OK);
    dcam_free(q);
    dcam_free(p);
    dcam_memory_set_most(0);
    assert_int_equal(dcam_alloc(1, 101, &p), DCAM_OK);
    dcam_free(p);
    assert_int_equal(dcam_memory_held(), before);
}

static void error_lines(void **state)
{
    (void)state;
    assert_int_equal(dcam_fail(DCAM_ERROR_DATA, "%s is odd", "x"), DCAM_ERROR_DATA);
    assert_string_equal(dcam_error_message(), "x is odd");
    assert_int_equal(dcam_fail_prefix(DCAM_ERROR_DATA, "file %d", 3), DCAM_ERROR_DATA);
    assert_string_equal(dcam_error_message(), "file 3: x is odd");
    char longer[5000];
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(dcam_fail(DCAM_ERROR_DATA, "%s", longer), DCAM_ERROR_DATA);
    assert_true(strlen(dcam_error_message()) < sizeof longer);
    assert_int_equal(dcam_status_exit_code(DCAM_OK), 0);
    assert_int_equal(dcam_status_exit_code(DCAM_ERROR_USAGE), 2);
    assert_int_equal(dcam_status_exit_code((dcam_status)9999), 70);
    assert_string_equal(dcam_status_name(DCAM_ERROR_MODEL), "DCAM_ERROR_MODEL");
}

static void mark(void *context, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) ((int *)context)[i]++;
}

static void parallel_visits_each_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads += 2) {
        dcam_set_threads(threads);
        int seen[101] = {0};
        dcam_parallel_for(101, mark, seen);
        dcam_parallel_for(0, mark, NULL);
        dcam_parallel_for(1, mark, seen);
        for (int i = 0; i < 101; i++) assert_int_equal(seen[i], 1 + (i == 0));
    }
    dcam_set_threads(0);
    assert_true(dcam_threads() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_aligns),
        cmocka_unit_test(refuses_overflow),
        cmocka_unit_test(realloc_keeps_content_and_survives_failure),
        cmocka_unit_test(fails_when_told),
        cmocka_unit_test(holds_no_more_than_there_is),
        cmocka_unit_test(error_lines),
        cmocka_unit_test(parallel_visits_each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
