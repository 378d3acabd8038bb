/* What becomes of a file's owner and permissions, of a temporary folder and of names when the system refuses: the calls
 * below go through these functions (--wrap in CMakeLists.txt). */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/places.h"

static char folder[] = "/tmp/dcam-test-refused-XXXXXX";
/* The error that a call ends with; 0: none. Of stat only from the so many-th on; of mkdir so many times. */
static int owner_error, group_error, mode_error, folder_error, folder_times, stat_error, stat_from;

int __real_fchown(int fd, uid_t owner, gid_t group);
int __wrap_fchown(int fd, uid_t owner, gid_t group);
int __wrap_fchown(int fd, uid_t owner, gid_t group)
{
    errno = owner == (uid_t)-1 ? group_error : owner_error;
    return errno ? -1 : __real_fchown(fd, owner, group);
}

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
    errno = mode_error;
    return mode_error ? -1 : __real_fchmod(fd, mode);
}

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    if (folder_error == 0 || folder_times-- <= 0) return __real_mkdir(path, mode);
    errno = folder_error;
    return -1;
}

int __real_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out);
int __wrap_stat(const char *path, struct stat *out)
{
    if (stat_error == 0 || --stat_from > 0) return __real_stat(path, out);
    errno = stat_error;
    return -1;
}

static void has(const char *path, const char *text)
{
    uint8_t *bytes;
    size_t count;
    assert_int_equal(dcam_file_read(path, 100, &bytes, &count), DCAM_OK);
    assert_int_equal(count, strlen(text));
    assert_memory_equal(bytes, text, count);
    dcam_free(bytes);
}

static void only_file(const char *name)
{
    dcam_names names;
    assert_int_equal(dcam_folder_list(".", &names), DCAM_OK);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.names[0], name);
    dcam_names_clear(&names);
}

/* A file system without owners gets the file all the same; one that fails keeps the old file. */
static void owner_and_permissions(void **state)
{
    static const int passed_over[] = {EPERM, EINVAL, ENOTSUP, ENOSYS}, serious[] = {EIO, EROFS};
    int *const errors[] = {&owner_error, &mode_error};
    (void)state;
    for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
        for (size_t i = 0; i < sizeof passed_over / sizeof *passed_over; i++) {
            assert_int_equal(dcam_file_write("file", "old", 3), DCAM_OK);
            *errors[k] = passed_over[i];
            const dcam_status status = dcam_file_write("file", "newer", 5);
            *errors[k] = 0;
            assert_int_equal(status, DCAM_OK);
            has("file", "newer");
        }
        for (size_t i = 0; i < sizeof serious / sizeof *serious; i++) {
            assert_int_equal(dcam_file_write("file", "old", 3), DCAM_OK);
            *errors[k] = serious[i];
            const dcam_status status = dcam_file_write("file", "newer", 5);
            *errors[k] = 0;
            assert_int_equal(status, DCAM_ERROR_IO);
            assert_non_null(strstr(dcam_error_message(), k == 0 ? "owner" : "permissions"));
            has("file", "old");
            only_file("file");
        }
    }
    assert_int_equal(remove("file"), 0);
}

/* Where the file cannot stay its owner's, as for a process that is not root: its group keeps it, or no other group gets it. */
static void no_other_group_gets_it(void **state)
{
    static const struct {
        mode_t old, without_group;
    } modes[] = {{0660, 0600}, {0664, 0644}, {0640, 0600}};
    struct stat facts;
    (void)state;
    if (geteuid() != 0) skip(); /* a file of others is needed */
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        for (int k = 0; k < 3; k++) {
            const gid_t group = k == 2 ? getegid() : 2000;
            assert_int_equal(dcam_file_write("file", "old", 3), DCAM_OK);
            assert_int_equal(chown("file", 1000, group), 0);
            assert_int_equal(chmod("file", modes[i].old), 0);
            owner_error = EPERM;
            group_error = k > 0 ? EPERM : 0;
            const dcam_status status = dcam_file_write("file", "newer", 5);
            owner_error = group_error = 0;
            assert_int_equal(status, DCAM_OK);
            assert_int_equal(__real_stat("file", &facts), 0);
            assert_int_equal(facts.st_uid, geteuid());
            assert_int_equal(facts.st_gid, k == 1 ? getegid() : group);
            assert_int_equal(facts.st_mode & 07777, k == 1 ? modes[i].without_group : modes[i].old);
            assert_int_equal(remove("file"), 0);
        }
}

static int make_folder(int error, int times)
{
    char name[] = "part-XXXXXX";
    folder_error = error;
    folder_times = times;
    const int result = dcam_create_temporary_folder(name);
    const int left = errno;
    folder_error = 0;
    if (result == 0) assert_int_equal(rmdir(name), 0);
    errno = left;
    return result;
}

/* Another name where one is taken, again where a signal came; not for ever. */
static void temporary_folder(void **state)
{
    (void)state;
    assert_int_equal(make_folder(0, 0), 0);
    assert_int_equal(make_folder(EEXIST, 3), 0);
    assert_int_equal(make_folder(EINTR, 3), 0);
    assert_int_equal(make_folder(EACCES, 1), -1);
    assert_int_equal(errno, EACCES);
    assert_int_equal(make_folder(EEXIST, 1 << 30), -1);
    assert_int_equal(errno, EEXIST);
}

static dcam_status check(const char *written, const char *read)
{
    const dcam_place out = {"model", written}, in = {"image", read};
    return dcam_check_places(&out, 1, &in, 1);
}

/* A name under which nothing can be is not there; one that cannot be looked at may be anything. */
static void places_that_cannot_be_looked_at(void **state)
{
    char long_name[400] = "";
    memset(long_name, 'n', sizeof long_name - 1);
    (void)state;
    assert_int_equal(dcam_file_write("file", "old", 3), DCAM_OK);
    assert_int_equal(symlink("loop", "loop"), 0);
    const char *const nowhere[] = {"none", "file/below", "loop", "loop/below", long_name};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_int_equal(check(nowhere[i], "file"), DCAM_OK);
        assert_int_equal(check("file", nowhere[i]), DCAM_OK);
        const dcam_place twice[] = {{"model", nowhere[i]}, {"checkpoint", nowhere[i]}};
        assert_int_equal(dcam_check_places(twice, 2, NULL, 0), DCAM_ERROR_USAGE);
    }
    for (int from = 1; from <= 2; from++) { /* of the one that is written, of the one that is read */
        stat_error = EACCES;
        stat_from = from;
        assert_int_equal(check("file", "file"), DCAM_ERROR_IO);
        assert_non_null(strstr(dcam_error_message(), "look at"));
    }
    stat_error = ENOENT; /* of the folder that this is, which was removed */
    stat_from = 1;
    assert_int_equal(check("none", "file"), DCAM_ERROR_IO);
    stat_error = 0;
    assert_int_equal(remove("loop"), 0);
    assert_int_equal(remove("file"), 0);
}

static int create(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int destroy(void **state)
{
    (void)state;
    assert_int_equal(dcam_memory_held(), 0);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_and_permissions),
        cmocka_unit_test(no_other_group_gets_it),
        cmocka_unit_test(temporary_folder),
        cmocka_unit_test(places_that_cannot_be_looked_at),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
