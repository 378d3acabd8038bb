/* Whole reads with a cap, atomic writes, folders: what is there afterwards, and what is not. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

static char folder[] = "/tmp/dcam-test-file-XXXXXX";

static char *in_folder(const char *name)
{
    char *path;
    assert_int_equal(dcam_path_join(folder, name, &path), DCAM_OK);
    return path;
}

static size_t entries(void)
{
    dcam_names names;
    assert_int_equal(dcam_folder_list(folder, &names), DCAM_OK);
    size_t n = names.count;
    dcam_names_clear(&names);
    return n;
}

static void write_then_read(void **state)
{
    (void)state;
    char *path = in_folder("a.bin");
    enum { N = 200001 }; /* more than the writer's buffer */
    uint8_t *bytes = malloc(N);
    for (size_t i = 0; i < N; i++) bytes[i] = (uint8_t)(i * 7);
    assert_int_equal(dcam_file_write(path, bytes, N), DCAM_OK);
    assert_int_equal(entries(), 1);
    uint8_t *back;
    size_t count;
    assert_int_equal(dcam_file_read(path, N, &back, &count), DCAM_OK);
    assert_int_equal(count, N);
    assert_memory_equal(back, bytes, N);
    assert_int_equal(back[N], 0);
    dcam_free(back);
    /* One byte too many for the cap: refused by name, output untouched. */
    back = (uint8_t *)1;
    assert_int_equal(dcam_file_read(path, N - 1, &back, &count), DCAM_ERROR_IO);
    assert_ptr_equal(back, (uint8_t *)1);
    assert_non_null(strstr(dcam_error_message(), path));
    assert_non_null(strstr(dcam_error_message(), "200000"));
    unlink(path);
    dcam_free(path);
    free(bytes);
}

static void abort_leaves_the_old_file(void **state)
{
    (void)state;
    char *path = in_folder("b.txt");
    assert_int_equal(dcam_file_write(path, "old", 3), DCAM_OK);
    dcam_writer *w;
    assert_int_equal(dcam_writer_open(path, &w), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "%s %d", "new", 7), DCAM_OK);
    dcam_writer_abort(w);
    uint8_t *back;
    size_t count;
    assert_int_equal(dcam_file_read(path, 100, &back, &count), DCAM_OK);
    assert_string_equal((char *)back, "old");
    dcam_free(back);
    assert_int_equal(entries(), 1);
    unlink(path);
    dcam_free(path);
}

static void commit_over_a_folder_fails_clean(void **state)
{
    (void)state;
    char *path = in_folder("taken");
    assert_int_equal(dcam_make_folders(path), DCAM_OK);
    assert_int_equal(dcam_file_write(path, "x", 1), DCAM_ERROR_IO);
    assert_int_equal(entries(), 1); /* only the folder: no temporary file stays */
    rmdir(path);
    dcam_free(path);
}

/* A device or a pipe of that name is not replaced by a file; a link is, and what it led to stays. */
static void what_is_no_file_is_not_replaced(void **state)
{
    struct stat facts;
    (void)state;
    char *fifo = in_folder("fifo"), *link = in_folder("link"), *file = in_folder("file");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(dcam_file_write(fifo, "x", 1), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), fifo));
    assert_int_equal(dcam_check_writable(fifo), DCAM_ERROR_IO);
    assert_true(lstat(fifo, &facts) == 0 && S_ISFIFO(facts.st_mode));
    assert_int_equal(symlink("fifo", link), 0);
    assert_int_equal(dcam_file_write(link, "x", 1), DCAM_ERROR_IO);
    assert_true(lstat(link, &facts) == 0 && S_ISLNK(facts.st_mode));
    assert_int_equal(dcam_file_write("/dev/null", "x", 1), DCAM_ERROR_IO);
    unlink(link);
    assert_int_equal(dcam_file_write(file, "old", 3), DCAM_OK);
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(dcam_file_write(link, "x", 1), DCAM_OK);
    assert_true(lstat(link, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size == 1);
    assert_true(lstat(file, &facts) == 0 && facts.st_size == 3);
    assert_int_equal(entries(), 3);
    unlink(link);
    assert_int_equal(symlink("nowhere", link), 0);
    assert_int_equal(dcam_check_writable(link), DCAM_OK);
    assert_int_equal(dcam_file_write(link, "x", 1), DCAM_OK);
    unlink(link);
    unlink(file);
    unlink(fifo);
    dcam_free(file);
    dcam_free(link);
    dcam_free(fifo);
}

/* The longest name that a file can have: its temporary name has to fit too. */
static void names_may_be_as_long_as_they_can(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', 255);
    for (size_t length = 245; length <= 255; length++) {
        name[length] = '\0';
        char *path = in_folder(name);
        assert_int_equal(dcam_file_write(path, "x", 1), DCAM_OK);
        assert_int_equal(entries(), 1);
        assert_int_equal(unlink(path), 0);
        dcam_free(path);
        name[length] = 'n';
    }
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    uint8_t *back;
    size_t count;
    assert_int_equal(dcam_file_read(folder, 100, &back, &count), DCAM_ERROR_IO);
    char *fifo = in_folder("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(dcam_file_read(fifo, 100, &back, &count), DCAM_ERROR_IO); /* and does not hang */
    assert_non_null(strstr(dcam_error_message(), "regular"));
    unlink(fifo);
    dcam_free(fifo);
    char *none = in_folder("none");
    assert_int_equal(dcam_file_read(none, 100, &back, &count), DCAM_ERROR_IO);
    dcam_free(none);
}

/* Beside no name a temporary file could be made all the same, and below no folder there is the root. */
static void what_has_no_name_is_not_written(void **state)
{
    (void)state;
    assert_int_equal(dcam_check_writable(""), DCAM_ERROR_USAGE);
    assert_non_null(strstr(dcam_error_message(), "empty"));
    assert_int_equal(dcam_file_write("", "x", 1), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_make_folders(""), DCAM_ERROR_USAGE);
    assert_non_null(strstr(dcam_error_message(), "empty"));
}

static void folders_are_made_and_listed_in_order(void **state)
{
    (void)state;
    char *deep = in_folder("x/y//z");
    assert_int_equal(dcam_make_folders(deep), DCAM_OK);
    assert_int_equal(dcam_make_folders(deep), DCAM_OK);
    assert_true(dcam_path_is_folder(deep));
    char *file = in_folder("x/file");
    assert_int_equal(dcam_file_write(file, "", 0), DCAM_OK);
    char *below = in_folder("x/file/sub");
    assert_int_equal(dcam_make_folders(below), DCAM_ERROR_IO);
    char *x = in_folder("x");
    dcam_names names;
    assert_int_equal(dcam_folder_list(x, &names), DCAM_OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[0], "file");
    assert_string_equal(names.names[1], "y");
    dcam_names_clear(&names);
    char command[200];
    snprintf(command, sizeof command, "rm -r %s/x", folder);
    assert_int_equal(system(command), 0);
    dcam_free(deep);
    dcam_free(file);
    dcam_free(below);
    dcam_free(x);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails if a test left something behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(abort_leaves_the_old_file),
        cmocka_unit_test(commit_over_a_folder_fails_clean),
        cmocka_unit_test(what_is_no_file_is_not_replaced),
        cmocka_unit_test(names_may_be_as_long_as_they_can),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(what_has_no_name_is_not_written),
        cmocka_unit_test(folders_are_made_and_listed_in_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
