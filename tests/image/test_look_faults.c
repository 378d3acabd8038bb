/* A header is read past signals and short reads; what the system does not open or read is not taken for a picture that
 * counts nothing, in every format and at every call. The linker leads the library's calls through failing_calls.h. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/failing_calls.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/image.h"

static const dcam_image_size before = {77, 77, 77};

static bool same(const dcam_image_size *a, const dcam_image_size *b)
{
    return a->width == b->width && a->height == b->height && a->bytes == b->bytes;
}

/* Each call of a kind, each error. Returns how many were tried. */
static size_t fail_each(const char *path, int call, const int *errors)
{
    dcam_image_size right, size;
    size_t tried = 0;
    plan_none();
    assert_int_equal(dcam_image_look(path, &right), DCAM_OK);
    const long calls = counts[call];
    for (long at = 1; at <= calls; at++)
        for (const int *e = errors; *e; e++, tried++) {
            const bool harmless = *e == EINTR || *e == SHORT;
            size = before;
            plan_failure(call, at, *e);
            const dcam_status status = dcam_image_look(path, &size);
            const long left_open = counts[OPEN] - counts[CLOSE] - (call == OPEN);
            plan_none();
            const bool scarce = *e == EMFILE || *e == ENOMEM;
            const dcam_status wanted = harmless ? DCAM_OK : scarce ? DCAM_ERROR_MEMORY : DCAM_ERROR_IO;
            if (status != wanted || !same(&size, harmless ? &right : &before))
                fail_msg("%s: %s %ld, error %d: %s, %d x %d, %zu bytes", path, names[call], at, *e,
                         dcam_status_name(status), size.width, size.height, size.bytes);
            if (!harmless) assert_non_null(strstr(dcam_error_message(), path));
            assert_int_equal(left_open, 0);
        }
    return tried;
}

static void every_call_fails(void **state)
{
    static const int opening[] = {EIO, EACCES, ENOENT, EMFILE, ENOMEM, EINTR, 0}, sizing[] = {EIO, ENOMEM, 0},
                     reading[] = {EIO, ENOMEM, NOTHING, EINTR, SHORT, 0};
    dcam_names files;
    size_t opens = 0, reads = 0;
    (void)state;
    assert_int_equal(dcam_folder_list(DCAM_TEST_GOLDEN "/image", &files), DCAM_OK);
    for (size_t i = 0; i < files.count; i++) {
        char *path;
        assert_int_equal(dcam_path_join(DCAM_TEST_GOLDEN "/image", files.names[i], &path), DCAM_OK);
        opens += fail_each(path, OPEN, opening);
        fail_each(path, FSTAT, sizing);
        reads += fail_each(path, READ, reading);
        dcam_free(path);
    }
    assert_int_equal(opens, 6 * files.count);
    assert_true(reads > 5 * 3 * files.count);
    dcam_names_clear(&files);
}

static void links_that_lead_nowhere(void **state)
{
    char folder[] = "/tmp/dcam-test-look-XXXXXX", path[64];
    dcam_image_size size = before;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/link.png", folder);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(dcam_image_look(path, &size), DCAM_ERROR_IO);
    assert_true(same(&size, &before));
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_fails), cmocka_unit_test(links_that_lead_nowhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
