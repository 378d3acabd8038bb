/* What is written replaces nothing that is read, and nothing else that is written: by whatever name it is called. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/places.h"

static char folder[] = "/tmp/dcam-test-places-XXXXXX";

static dcam_status of_two(const char *written, const char *other, bool both_written)
{
    const dcam_place places[] = {{"model", written}, {"checkpoint", other}};
    return both_written ? dcam_check_places(places, 2, NULL, 0) : dcam_check_places(places, 1, places + 1, 1);
}

static void apart(const char *a, const char *b)
{
    assert_int_equal(of_two(a, b, true), DCAM_OK);
    assert_int_equal(of_two(a, b, false), DCAM_OK);
}

static void what_is_there(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0777), 0);
    assert_int_equal(dcam_file_write("a", "a", 1), DCAM_OK);
    assert_int_equal(dcam_file_write("b", "a", 1), DCAM_OK);
    assert_int_equal(dcam_file_write("d/a", "a", 1), DCAM_OK);
    assert_int_equal(symlink("../a", "d/link"), 0);
    assert_int_equal(link("a", "hard"), 0);
    char *whole;
    assert_int_equal(dcam_path_join(folder, "a", &whole), DCAM_OK);
    const char *const names[] = {"a", "./a", ".//a", "d/../a", "d/link", "hard", whole};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(of_two("a", names[i], true), DCAM_ERROR_USAGE);
        assert_int_equal(of_two(names[i], "a", false), DCAM_ERROR_USAGE);
        assert_non_null(strstr(dcam_error_message(), "the model would replace the checkpoint"));
        apart("b", names[i]);
        apart("d/a", names[i]);
    }
    /* Read twice is fine, and a file that is not asked for is none. */
    const dcam_place twice[] = {{"model", "a"}, {"image", "a"}}, none = {"checkpoint", NULL};
    assert_int_equal(dcam_check_places(&none, 1, twice, 2), DCAM_OK);
    assert_int_equal(dcam_check_places(twice, 1, &none, 1), DCAM_OK);
    apart("d", "d"); /* a folder is not replaced */
    dcam_free(whole);
}

static void what_is_not_there(void **state)
{
    (void)state;
    char *whole;
    assert_int_equal(dcam_path_join(folder, "new", &whole), DCAM_OK);
    assert_int_equal(symlink("d", "e"), 0);
    const char *const same[][2] = {{"new", "./new"},          {"new", "d/../new"}, {"d/new", "e/new"}, {"new", whole},
                                   {"no/where/x", "no/./where//x"}, {"d/no/x", "e/no/x"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(of_two(same[i][0], same[i][1], true), DCAM_ERROR_USAGE);
        assert_int_equal(of_two(same[i][0], same[i][1], false), DCAM_OK); /* what is not there is not replaced */
    }
    apart("new", "d/new");
    apart("no/where/x", "no/here/x");
    apart("no/where/x", "no/where");
    apart("/dcam-new", "new");
    dcam_free(whole);
}

static void without_memory(void **state)
{
    (void)state;
    const size_t held = dcam_memory_held();
    for (uint64_t n = 1;; n++) {
        dcam_memory_fail_at(n, false);
        const dcam_status status = of_two("no/where/x", "no/here/x", true);
        const bool refused = dcam_memory_refused();
        dcam_memory_fail_at(0, false);
        assert_int_equal(dcam_memory_held(), held);
        assert_int_equal(status, refused ? DCAM_ERROR_MEMORY : DCAM_OK);
        if (!refused) break;
    }
}

static int enter(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : 1;
}

static int leave(void **state)
{
    (void)state;
    static const char *const files[] = {"d/a", "d/link", "hard", "a", "b", "e"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(files[i]);
    rmdir("d");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_there), cmocka_unit_test(what_is_not_there),
                                       cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, enter, leave);
}
