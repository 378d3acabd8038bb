/* The limits of control groups, from made files; and free space against what is needed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/machine_memory.h"
#include "made_groups.h"

#define MIB ((size_t)1 << 20)

static size_t limit_of(const char *groups)
{
    return dcam_group_memory(put_groups(groups), root);
}

/* The least along the way up counts, whichever group sets it. */
static void version_2(void **state)
{
    (void)state;
    assert_int_equal(limit_of("0::/a/b\n"), 0);
    put("a/b/memory.max", "max\n");
    assert_int_equal(limit_of("0::/a/b\n"), 0);
    put("a/memory.max", "536870912\n");
    assert_int_equal(limit_of("0::/a/b\n"), 512 * MIB);
    put("a/b/memory.max", "1073741824\n");
    assert_int_equal(limit_of("0::/a/b\n"), 512 * MIB);
    put("a/b/memory.max", "268435456\n");
    assert_int_equal(limit_of("0::/a/b\n"), 256 * MIB);
    assert_int_equal(limit_of("0::/\n"), 0);
    put("memory.max", "134217728\n"); /* as a container sees its own group */
    assert_int_equal(limit_of("0::/\n"), 128 * MIB);
    assert_int_equal(limit_of("0::/a/b\n"), 128 * MIB);
    assert_int_equal(limit_of("0::/../elsewhere\n"), 128 * MIB);
}

static void version_1(void **state)
{
    (void)state;
    put("memory.max", "max\n");
    put("memory/docker/x/memory.limit_in_bytes", "67108864\n");
    put("memory/docker/memory.limit_in_bytes", "9223372036854771712\n"); /* how version 1 says "none" */
    assert_int_equal(limit_of("12:cpu,cpuacct:/docker/x\n11:memory:/docker/x\n0::/\n"), 64 * MIB);
    assert_int_equal(limit_of("4:hugetlb,memory:/docker/x\n"), 64 * MIB);
    assert_int_equal(limit_of("4:memory_other:/docker/x\n"), 0);
    assert_int_equal(limit_of("11:memory:/docker\n"), 0);
}

static void broken_files(void **state)
{
    static const char *const texts[] = {"", "\n\n", "0:", "0::", "::::", "no colon at all", "0::a", "11:memory:", "0:,,:/a\n"};
    char longest[9000];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) (void)limit_of(texts[i]);
    memset(longest, '/', sizeof longest - 1);
    memcpy(longest, "0::", 3);
    longest[sizeof longest - 1] = '\0';
    (void)limit_of(longest);
    put("bad/memory.max", "-5\n");
    assert_int_equal(limit_of("0::/bad\n"), 0);
    put("bad/memory.max", "99999999999999999999999999\n");
    assert_int_equal(limit_of("0::/bad\n"), 0);
    assert_int_equal(dcam_group_memory("/nowhere/at/all", root), 0);
    assert_true(dcam_machine_memory() > 0);
}

/* What no disk has is refused, and files on one disk are added up; a folder that is not there is no one's disk. */
static void disks(void **state)
{
    char a[512], b[512];
    (void)state;
    snprintf(a, sizeof a, "%s/a.model", root);
    snprintf(b, sizeof b, "%s/b.state", root);
    const dcam_disk_need small[] = {{a, 1}, {b, 1}, {"c", 1}, {"/c", 1}}, half[] = {{a, SIZE_MAX / 4}, {b, SIZE_MAX / 4}};
    assert_int_equal(dcam_disk_check(small, 4), DCAM_OK);
    assert_int_equal(dcam_disk_check(half, 2), DCAM_ERROR_DISK);
    assert_non_null(strstr(dcam_error_message(), "a.model"));
    assert_non_null(strstr(dcam_error_message(), "8796093022208.0 MiB will be needed"));
    const dcam_disk_need nowhere[] = {{"/nowhere/at/all/x", SIZE_MAX / 2}};
    assert_int_equal(dcam_disk_check(nowhere, 1), DCAM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(version_2), cmocka_unit_test(version_1), cmocka_unit_test(broken_files),
                                       cmocka_unit_test(disks)};
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
