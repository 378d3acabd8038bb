/* The photograph that takes most memory: of several lists, past headers that say nothing, and never past a file that
 * could not be looked at. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/resource.h>

#include "outcome.h"
#include "root_case.h"

enum { IMAGES = 4 };
static const uint32_t all[IMAGES] = {0, 1, 2, 3};

static dcam_dataset *open_images(void)
{
    tree_file(root, "p/0.ppm", "P6\n30 20\n255\n");
    tree_file(root, "p/1.ppm", "P6\nno numbers\n");
    tree_file(root, "p/2.ppm", "P6\n300 20\n255\n");
    tree_file(root, "p/3.ppm", "");
    dcam_dataset *d = open_below("p", NULL);
    assert_int_equal(d->sample_count, IMAGES);
    return d;
}

static void the_largest_of_several_lists(void **state)
{
    (void)state;
    dcam_dataset *d = open_images();
    dcam_photograph largest = {.path = NULL};
    OK(dcam_dataset_find_largest(d, all + 3, 1, &largest));
    assert_null(largest.path);
    assert_int_equal(largest.bytes, 0);
    OK(dcam_dataset_find_largest(d, all, 2, &largest));
    assert_ptr_equal(largest.path, d->samples[0].path);
    OK(dcam_dataset_find_largest(d, all + 1, 3, &largest));
    assert_ptr_equal(largest.path, d->samples[2].path);
    assert_true(largest.width == 300 && largest.height == 20 && largest.bytes >= 3 * 300 * 20);
    OK(dcam_dataset_find_largest(d, all, 1, &largest));
    assert_ptr_equal(largest.path, d->samples[2].path);
    dcam_dataset_destroy(d);
}

static void what_cannot_be_looked_at_is_an_error(void **state)
{
    (void)state;
    dcam_dataset *d = open_images();
    const char *gone = d->samples[2].path;
    dcam_photograph largest = {.path = "as it was", .bytes = 1};
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, limit.rlim_max}), 0);
    const dcam_status status = dcam_dataset_find_largest(d, all, IMAGES, &largest);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_refused(status, DCAM_ERROR_MEMORY, "cannot open", d->samples[0].path);
    assert_int_equal(unlink(gone), 0);
    assert_int_equal(symlink("nowhere", gone), 0);
    assert_refused(dcam_dataset_find_largest(d, all, IMAGES, &largest), DCAM_ERROR_IO, "cannot open", gone);
    assert_string_equal(largest.path, "as it was");
    assert_int_equal(largest.bytes, 1);
    dcam_dataset_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_largest_of_several_lists, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_cannot_be_looked_at_is_an_error, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
