/* Files, folders, disks and limits when the system's calls fail: each call in turn, with each reason. The linker leads the
 * calls of the library through failing_calls.h (--wrap in CMakeLists.txt); tests/fault does the same to the whole
 * tool. What must hold: the right status, outputs untouched, the old file or the whole new one, nothing left behind. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <wchar.h>

#include "allocations.h"
#include "base/control_group.h"
#include "base/disk.h"
#include "base/file.h"
#include "base/machine_memory.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "failing_calls.h"

/* ---- a folder to work in ---- */

static char root[] = "/tmp/dcam-test-faults-XXXXXX";
static char target[64], deep[96];
static size_t held;

static dcam_status status_of(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return DCAM_ERROR_DISK;
    case ENOMEM:
    case EMFILE:
    case ENFILE: return DCAM_ERROR_MEMORY;
    default: return DCAM_ERROR_IO;
    }
}

/* Seen by the system itself, past what is tested. */
static size_t entries_of(const char *path)
{
    size_t n = 0;
    DIR *d = __real_opendir(path);
    while (d && __real_readdir(d)) n++;
    if (d) closedir(d);
    return n - 2;
}

static size_t content(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* ---- writing ---- */

enum { HEAD = 100, BODY = 150000 };
static char body[BODY], written[HEAD + BODY + 500], wanted[HEAD + BODY + 500];
static size_t wanted_count;

/* A small piece, text, text that is too long to be formatted in place, and a piece that is larger than the writer's buffer. */
static dcam_status write_all(void)
{
    dcam_writer *w;
    DCAM_TRY(dcam_writer_open(target, &w));
    dcam_status status = dcam_writer_write(w, body, HEAD);
    if (status == DCAM_OK) status = dcam_writer_printf(w, "%d %s\n", 17, "words");
    if (status == DCAM_OK) status = dcam_writer_printf(w, "%300d\n", 5);
    if (status == DCAM_OK) status = dcam_writer_write(w, body, BODY);
    if (status == DCAM_OK) return dcam_writer_commit(w);
    dcam_writer_abort(w);
    return status;
}

static void old_or_new(const char *what, dcam_status status, bool may_be_new)
{
    const size_t n = content(target, written, sizeof written);
    const bool new = n == wanted_count && memcmp(written, wanted, n) == 0, old = n == 3 && memcmp(written, "old", 3) == 0;
    if (status == DCAM_OK ? !new : !old && !(may_be_new && new)) fail_msg("%s: neither the old file nor the whole new one, as it should be", what);
    assert_int_equal(entries_of(root), 1);
    assert_int_equal(dcam_memory_held(), held);
}

static void each_call_of_a_write_fails(void **state)
{
    static const struct { int call, errors[9]; } faults[] = {
        {CREATE, {EIO, ENOSPC, EDQUOT, EROFS, EMFILE, EACCES, EINTR, EEXIST}}, /* EEXIST: the next name */
        {WRITE, {EIO, ENOSPC, EDQUOT, EFBIG, EINTR, SHORT}},
        {FSYNC, {EIO, ENOSPC, EINTR, EINVAL, EROFS}},
        {CLOSE, {EIO, ENOSPC, EINTR}},
        {RENAME, {EIO, ENOSPC, EACCES, EINTR, LOST}},
        {OPEN, {EIO, ENOMEM, EINTR, EACCES}}, /* of the folder, to sync it */
        {STAT, {EIO, EACCES, ENOENT}},        /* of what may be there already */
    };
    long calls[CALLS], tried = 0;
    (void)state;
    put(target, "old");
    plan_none();
    assert_int_equal(write_all(), DCAM_OK);
    memcpy(calls, counts, sizeof calls);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const int call = faults[i].call;
        assert_true(calls[call] > 0);
        for (long at = 1; at <= calls[call]; at++)
            for (int e = 0; faults[i].errors[e]; e++, tried++) {
                const int error = faults[i].errors[e];
                /* Waited out; file systems that cannot sync; a file that is closed although it was interrupted. */
                const bool harmless = error == EINTR || error == SHORT || error == LOST || error == EEXIST || (call == FSYNC && (error == EINVAL || error == EROFS)) || (call == OPEN && error == EACCES) || error == ENOENT;
                /* The second close is the folder's, after all is done and synced. */
                const bool over = call == CLOSE && at > 1;
                char what[64];
                put(target, "old");
                snprintf(what, sizeof what, "%s %ld, error %d", names[call], at, error);
                plan_failure(call, at, error);
                const dcam_status status = write_all();
                plan_none();
                if (status != (harmless || over ? DCAM_OK : status_of(error))) fail_msg("%s: %s; %s", what, dcam_status_name(status), dcam_error_message());
                if (status != DCAM_OK && !strstr(dcam_error_message(), target)) fail_msg("%s: does not name the file: %s", what, dcam_error_message());
                /* The folder's sync comes after the rename. */
                old_or_new(what, status, call == FSYNC && at == 2);
            }
    }
    assert_true(tried > 30);
    unlink(target);
}

/* The owner is the tests' own. */
static void permissions_are_those_of_the_old_file(void **state)
{
    struct stat facts;
    (void)state;
    put(target, "old");
    assert_int_equal(chmod(target, 0604), 0);
    assert_int_equal(write_all(), DCAM_OK);
    assert_int_equal(__real_stat(target, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0604);
    if (geteuid() == 0) {
        assert_int_equal(chown(target, 12345, 54321), 0);
        assert_int_equal(write_all(), DCAM_OK);
        assert_int_equal(__real_stat(target, &facts), 0);
        assert_true(facts.st_uid == 12345 && facts.st_gid == 54321);
        assert_int_equal(facts.st_mode & 07777, 0604);
    }
    unlink(target);
}

/* Files get the permissions that the mask leaves, and the mask is not touched: other threads create files meanwhile. */
static void permissions_are_those_of_the_mask(void **state)
{
    (void)state;
    struct stat facts;
    const mode_t before = __real_umask(027);
    masked = 0;
    assert_int_equal(write_all(), DCAM_OK);
    assert_int_equal(__real_umask(before), 027);
    assert_int_equal(masked, 0);
    assert_int_equal(__real_stat(target, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0640);
    /* Names that are taken, without an end. */
    plan_failure(CREATE, 1, EEXIST);
    plan.from = true;
    assert_int_equal(write_all(), DCAM_ERROR_IO);
    assert_int_equal(counts[CREATE], 100);
    plan_none();
    unlink(target);
}

static void each_allocation_of_a_write_fails(void **state)
{
    (void)state;
    put(target, "old");
    EVERY_ALLOCATION(a, write_all()) {
        old_or_new("allocation", a.passed ? DCAM_OK : DCAM_ERROR_MEMORY, false);
        assert_true(a.n == 5 || !a.passed);
        put(target, "old");
    }
    unlink(target);
}

static void a_write_in_one_call_cleans_up(void **state)
{
    (void)state;
    put(target, "old");
    plan_failure(WRITE, 1, ENOSPC); /* more than the buffer: while it is written, not at its end */
    assert_int_equal(dcam_file_write(target, body, BODY), DCAM_ERROR_DISK);
    plan_none();
    old_or_new("whole", DCAM_ERROR_DISK, false);
    assert_non_null(strstr(dcam_error_message(), "no space left"));
    plan_failure(CREATE, 1, EACCES);
    assert_int_equal(dcam_file_write(target, body, BODY), DCAM_ERROR_IO);
    plan_none();
    old_or_new("whole", DCAM_ERROR_IO, false);
    unlink(target);
}

/* A path without a folder lies in the working folder, which is the one that is synced. */
static void a_bare_name_is_in_the_working_folder(void **state)
{
    char before[PATH_MAX], back[8];
    (void)state;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(root), 0);
    plan_none();
    assert_int_equal(dcam_file_write("bare", "x", 1), DCAM_OK);
    assert_int_equal(counts[FSYNC], 2);
    assert_int_equal(content("bare", back, sizeof back), 1);
    assert_int_equal(unlink("bare"), 0);
    assert_int_equal(chdir(before), 0);
}

/* A character that the locale cannot write: the text is not cut short without a word. */
static void text_that_cannot_be_formatted(void **state)
{
    dcam_writer *w;
    char *text = (char *)1;
    const wchar_t bad[] = {L'a', 0x7ffffff0, 0};
    (void)state;
    assert_int_equal(dcam_writer_open(target, &w), DCAM_OK);
    assert_int_equal(dcam_writer_printf(w, "%ls", bad), DCAM_ERROR_INTERNAL);
    dcam_writer_abort(w);
    dcam_writer_abort(NULL);
    assert_int_equal(dcam_format_string(&text, "%ls", bad), DCAM_ERROR_INTERNAL);
    assert_ptr_equal(text, (char *)1);
    assert_int_equal(entries_of(root), 0);
    assert_int_equal(dcam_memory_held(), held);
}

/* ---- reading ---- */

static void each_call_of_a_read_fails(void **state)
{
    static const struct { int call, errors[6]; } faults[] = {
        {OPEN, {EIO, EACCES, EMFILE, EINTR}}, {FSTAT, {EIO, ENOMEM}}, {READ, {EIO, EINTR, SHORT, NOTHING}}, {CLOSE, {EIO}}};
    (void)state;
    put(target, "some text");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (int e = 0; e < 6 && faults[i].errors[e]; e++) {
            const int error = faults[i].errors[e];
            const bool harmless = error == EINTR || error == SHORT || faults[i].call == CLOSE;
            uint8_t *bytes = (uint8_t *)1;
            size_t count = 77;
            plan_failure(faults[i].call, 1, error);
            const dcam_status status = dcam_file_read(target, 100, &bytes, &count);
            plan_none();
            if (status != (harmless ? DCAM_OK : status_of(error))) fail_msg("%s: error %d: %s", names[faults[i].call], error, dcam_error_message());
            if (status == DCAM_OK) {
                assert_int_equal(count, 9);
                assert_string_equal((char *)bytes, "some text");
                dcam_free(bytes);
            } else {
                assert_true(bytes == (uint8_t *)1 && count == 77);
                assert_non_null(strstr(dcam_error_message(), target));
            }
            assert_int_equal(dcam_memory_held(), held);
        }
    uint8_t *bytes = (uint8_t *)1;
    size_t count = 77;
    plan_failure(READ, 1, NOTHING);
    assert_int_equal(dcam_file_read(target, 100, &bytes, &count), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), "became shorter"));
    plan_none();
    EVERY_ALLOCATION(a, dcam_file_read(target, 100, &bytes, &count)) {
        assert_true(a.passed ? count == 9 : bytes == (uint8_t *)1 && count == 77);
        if (a.passed) dcam_free(bytes);
        bytes = (uint8_t *)1;
        count = 77;
    }
    unlink(target);
}

/* ---- looking, listing, making ---- */

static void what_cannot_be_looked_at_is_not_absent(void **state)
{
    static const int absent[] = {ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG}, hidden[] = {EACCES, EIO, ENOMEM};
    dcam_path_kind kind;
    (void)state;
    put(target, "x");
    assert_int_equal(dcam_path_look(target, &kind), DCAM_OK);
    assert_int_equal(kind, DCAM_PATH_FILE);
    assert_int_equal(dcam_path_look(root, &kind), DCAM_OK);
    assert_int_equal(kind, DCAM_PATH_FOLDER);
    assert_true(dcam_path_exists(target) && dcam_path_exists(root) && !dcam_path_is_folder(target));
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        plan_failure(STAT, 1, absent[i]);
        assert_int_equal(dcam_path_look(target, &kind), DCAM_OK);
        assert_int_equal(kind, DCAM_PATH_ABSENT);
    }
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        kind = (dcam_path_kind)77;
        plan_failure(STAT, 1, hidden[i]);
        assert_int_equal(dcam_path_look(target, &kind), status_of(hidden[i]));
        assert_int_equal(kind, 77);
    }
    plan_none();
    unlink(target);
    assert_false(dcam_path_exists(target));
    assert_int_equal(dcam_path_look(target, &kind), DCAM_OK);
    assert_int_equal(kind, DCAM_PATH_ABSENT);
    /* A link round in a circle. */
    assert_int_equal(symlink(target, target), 0);
    assert_int_equal(dcam_path_look(target, &kind), DCAM_OK);
    assert_int_equal(kind, DCAM_PATH_ABSENT);
    unlink(target);
}

enum { NAMES = 150 }; /* more than the first room for names */

static void each_call_of_a_listing_fails(void **state)
{
    static const struct { int call, error; long at; } faults[] = {
        {OPENDIR, EACCES, 1}, {OPENDIR, EMFILE, 1}, {OPENDIR, ENOMEM, 1}, {READDIR, EIO, 1}, {READDIR, EIO, 100}};
    char path[128];
    dcam_names list = {NULL, 77};
    (void)state;
    for (int i = NAMES; i-- > 0;) {
        snprintf(path, sizeof path, "%s/%03d", root, i);
        put(path, "");
    }
    snprintf(path, sizeof path, "%s/.hidden", root);
    put(path, "");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        plan_failure(faults[i].call, faults[i].at, faults[i].error);
        assert_int_equal(dcam_folder_list(root, &list), status_of(faults[i].error));
        plan_none();
        assert_int_equal(list.count, 77);
        assert_non_null(strstr(dcam_error_message(), root));
        assert_int_equal(dcam_memory_held(), held);
    }
    EVERY_ALLOCATION(a, dcam_folder_list(root, &list)) {
        assert_int_equal(list.count, a.passed ? NAMES : 77);
        assert_true(!a.passed || a.n == NAMES + 3 + 1); /* a name each, and rooms for 64, 128 and 256 */
        if (a.passed) dcam_names_clear(&list);
        list.count = 77;
    }
    assert_int_equal(dcam_folder_list(root, &list), DCAM_OK);
    assert_int_equal(list.count, NAMES);
    for (size_t i = 0; i < NAMES; i++) {
        snprintf(path, sizeof path, "%03d", (int)i);
        assert_string_equal(list.names[i], path);
        snprintf(path, sizeof path, "%s/%03d", root, (int)i);
        unlink(path);
    }
    dcam_names_clear(&list);
    assert_int_equal(dcam_folder_list(root, &list), DCAM_OK); /* what is hidden is not listed */
    assert_int_equal(list.count, 0);
    dcam_names_clear(&list);
    snprintf(path, sizeof path, "%s/.hidden", root);
    unlink(path);
}

static void folders_that_cannot_be_made(void **state)
{
    static const int errors[] = {ENOSPC, EACCES, EROFS, EIO};
    char above[72];
    (void)state;
    snprintf(above, sizeof above, "%s/a", root);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        plan_failure(MKDIR, 3, errors[i]); /* /tmp, root, and then the first that is new */
        assert_int_equal(dcam_make_folders(deep), status_of(errors[i]));
        plan_none();
        assert_non_null(strstr(dcam_error_message(), root));
        if (errors[i] == EACCES) assert_non_null(strstr(dcam_error_message(), strerror(EACCES)));
        assert_int_equal(entries_of(root), 0);
    }
    EVERY_ALLOCATION(a, dcam_make_folders(deep)) {
        if (a.passed) assert_int_equal(rmdir(deep), 0);
        assert_int_equal(rmdir(above), a.passed ? 0 : -1);
    }
}

static void paths_are_joined(void **state)
{
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "/b"}, {"/", "b", "/b"}};
    char *path;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dcam_path_join(cases[i][0], cases[i][1], &path), DCAM_OK);
        assert_string_equal(path, cases[i][2]);
        dcam_free(path);
    }
    const double start = dcam_seconds();
    assert_true(dcam_seconds() >= start);
}

/* ---- the machine ---- */

/* What the system does not tell is not refused; what it tells is counted in its own blocks, without wrapping. */
static void disks_of_every_kind(void **state)
{
    const dcam_disk_need need[] = {{target, 1 << 20}}, most[] = {{target, SIZE_MAX / 2}};
    (void)state;
    made_disk.on = true;
    made_disk.facts = (struct statvfs){.f_blocks = 100, .f_bavail = 8, .f_frsize = 4096, .f_bsize = 1 << 20};
    assert_int_equal(dcam_disk_check(need, 1), DCAM_ERROR_DISK); /* 32 KiB: the size of a block is f_frsize */
    made_disk.facts.f_frsize = 0; /* then f_bsize: 8 MiB */
    assert_int_equal(dcam_disk_check(need, 1), DCAM_OK);
    made_disk.facts.f_bsize = 0;
    assert_int_equal(dcam_disk_check(need, 1), DCAM_ERROR_DISK);
    made_disk.facts = (struct statvfs){.f_blocks = 1, .f_bavail = ULONG_MAX / 2, .f_frsize = 1 << 20};
    assert_int_equal(dcam_disk_check(most, 1), DCAM_OK);
    made_disk.facts = (struct statvfs){.f_blocks = 0}; /* like /proc */
    assert_int_equal(dcam_disk_check(most, 1), DCAM_OK);
    made_disk.facts = (struct statvfs){.f_blocks = 1};
    assert_int_equal(dcam_disk_check(need, 1), DCAM_ERROR_DISK);
    made_disk.fails = true;
    assert_int_equal(dcam_disk_check(most, 1), DCAM_OK);
    made_disk.fails = made_disk.on = false;
    plan_failure(STAT, 1, EACCES);
    assert_int_equal(dcam_disk_check(most, 1), DCAM_OK);
    plan_none();
    made_disk.on = true;
    made_disk.facts = (struct statvfs){.f_blocks = 1, .f_bavail = 100, .f_frsize = 1 << 20};
    EVERY_ALLOCATION(a, dcam_disk_check(need, 1)) assert_true(!a.passed || a.n == 3);
    made_disk.on = false;
}

static void memory_of_every_machine(void **state)
{
    (void)state;
    made_memory.on = true;
    made_memory.pages = 1000;
    made_memory.page = 4096;
    assert_int_equal(dcam_physical_memory(), 4096000);
    made_memory.pages = -1; /* not known */
    assert_int_equal(dcam_physical_memory(), 0);
    assert_int_equal(dcam_machine_memory(), dcam_memory_limit());
    made_memory.pages = 1000;
    made_memory.page = -1;
    assert_int_equal(dcam_physical_memory(), 0);
    made_memory.pages = made_memory.page = LONG_MAX; /* nonsense must not wrap to little */
    assert_int_equal(dcam_physical_memory(), 0);
    made_memory.on = false;
    plan_failure(AFFINITY, 1, EPERM);
    assert_int_equal(dcam_available_cores(), 1);
    plan_failure(AFFINITY, 1, EINVAL);
    plan.from = true;
    assert_int_equal(dcam_available_cores(), 1);
    plan_none();
    assert_true(dcam_available_cores() >= 1);
    /* A set of 1,024 processors is too small for more. */
    const int quota = dcam_group_cores(DCAM_GROUPS, DCAM_GROUP_ROOT);
    const size_t machines[] = {1, 1024, 1025, 5000, 2000000};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        made_processors = machines[i];
        const int cores = machines[i] > 1 << 20 ? 1 : (int)machines[i];
        assert_int_equal(dcam_available_cores(), quota > 0 && quota < cores ? quota : cores);
    }
    made_processors = 5000;
    dcam_memory_fail_at(1, true);
    assert_int_equal(dcam_available_cores(), 1);
    dcam_memory_fail_at(0, false);
    made_processors = 0;
}

static int make_root(void **state)
{
    (void)state;
    if (!mkdtemp(root)) return -1;
    snprintf(target, sizeof target, "%s/target", root);
    snprintf(deep, sizeof deep, "%s/a/b", root);
    for (size_t i = 0; i < BODY; i++) body[i] = (char)(i * 7 + i / 256);
    memcpy(wanted, body, HEAD);
    wanted_count = HEAD + (size_t)sprintf(wanted + HEAD, "17 words\n%300d\n", 5);
    memcpy(wanted + wanted_count, body, BODY);
    wanted_count += BODY;
    held = dcam_memory_held();
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    return rmdir(root); /* fails if a test left something behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_a_write_fails),
        cmocka_unit_test(permissions_are_those_of_the_mask),
        cmocka_unit_test(permissions_are_those_of_the_old_file),
        cmocka_unit_test(each_allocation_of_a_write_fails),
        cmocka_unit_test(a_write_in_one_call_cleans_up),
        cmocka_unit_test(a_bare_name_is_in_the_working_folder),
        cmocka_unit_test(text_that_cannot_be_formatted),
        cmocka_unit_test(each_call_of_a_read_fails),
        cmocka_unit_test(what_cannot_be_looked_at_is_not_absent),
        cmocka_unit_test(each_call_of_a_listing_fails),
        cmocka_unit_test(folders_that_cannot_be_made),
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(disks_of_every_kind),
        cmocka_unit_test(memory_of_every_machine),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
