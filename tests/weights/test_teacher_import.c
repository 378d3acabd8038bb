/* Teachers as files: what import writes and open reads, with its sum, where it learnt from, by name, and the real one. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/formula_weights.h"

static char folder[] = "/tmp/dcam-test-teachers-XXXXXX";

static char *in_folder(const char *name)
{
    char *path;
    assert_int_equal(dcam_path_join(folder, name, &path), DCAM_OK);
    return path;
}

static void import_and_open(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    char *from = in_folder("from.pth"), *to = in_folder("to.safetensors"), description[256];
    dcam_trunk_weights *w = formula_weights(false), *folded, *opened;
    built b = build(w);
    buffer file = build_pth(b.tensors, b.count);
    assert_int_equal(dcam_file_write(from, file.bytes, file.count), DCAM_OK);
    free(file.bytes);
    assert_int_equal(dcam_trunk_weights_fold(w, &folded), DCAM_OK);

    assert_int_equal(dcam_teacher_import_file(from, to), DCAM_OK);
    assert_int_equal(dcam_teacher_open(to, &opened, description), DCAM_OK);
    assert_true(opened->folded);
    assert_false(opened->no_photographs);
    assert_memory_equal(opened->values, folded->values, folded->value_count * sizeof(float));
    assert_int_equal(strncmp(description, "to.safetensors sha256:", 22), 0);
    assert_int_equal(strlen(description), 22 + 64);
    dcam_trunk_weights_destroy(opened);

    /* Names of other bytes, and longer than is told: UTF-8 all the same, and the digits whole. */
    char shown[181] = "x", longer[4 + 100 * 2 + 1] = "x";
    for (int i = 0; i < 100; i++) memcpy(longer + 1 + 2 * i, "\xc3\xa4", 3);
    memcpy(shown, longer, 179);
    const struct {
        const char *name, *told;
    } names[] = {{"te\xff\xc3\n", "te\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, {longer, shown}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *odd = in_folder(names[i].name);
        const size_t told = strlen(names[i].told);
        assert_int_equal(rename(to, odd), 0);
        assert_int_equal(dcam_teacher_open(odd, &opened, description), DCAM_OK);
        assert_memory_equal(description, names[i].told, told);
        assert_int_equal(strncmp(description + told, " sha256:", 8), 0);
        assert_int_equal(strlen(description), told + 8 + 64);
        dcam_trunk_weights_destroy(opened);
        assert_int_equal(rename(odd, to), 0);
        dcam_free(odd);
    }
    assert_int_equal(dcam_teacher_open(from, &opened, description), DCAM_OK);
    assert_memory_equal(opened->values, folded->values, folded->value_count * sizeof(float));
    dcam_trunk_weights_destroy(opened);

    dcam_tensors *t;
    assert_int_equal(dcam_tensors_open(to, &t), DCAM_OK);
    assert_string_equal(dcam_tensors_metadata(t, "dcam"), "teacher");
    assert_string_equal(dcam_tensors_metadata(t, "arch"), "resnet18");
    assert_string_equal(dcam_tensors_metadata(t, "source"), description);
    dcam_tensors_destroy(t);

    /* With its sum: the same file, of the same source; with another, and of a file that is none, nothing. */
    char *summed = in_folder("summed.safetensors"), other[65];
    const char *sum = strstr(description, " sha256:") + 8;
    bool is_other = true;
    assert_int_equal(dcam_teacher_import_summed(from, sum, summed, &is_other), DCAM_OK);
    assert_false(is_other);
    uint8_t *bytes[2];
    size_t counts[2];
    assert_int_equal(dcam_file_read(to, 1 << 30, &bytes[0], &counts[0]), DCAM_OK);
    assert_int_equal(dcam_file_read(summed, 1 << 30, &bytes[1], &counts[1]), DCAM_OK);
    assert_int_equal(counts[0], counts[1]);
    assert_memory_equal(bytes[0], bytes[1], counts[0]);
    dcam_free(bytes[0]);
    dcam_free(bytes[1]);
    unlink(summed);
    /* Of a teacher file the source that it states, as import_file does: the memory's weight hangs on it. */
    char *again = in_folder("again.safetensors"), digits[65], stated[256];
    dcam_trunk_weights *drawn;
    assert_int_equal(dcam_teacher_import_file("random:3", again), DCAM_OK);
    assert_int_equal(dcam_teacher_open(again, &drawn, stated), DCAM_OK);
    dcam_trunk_weights_destroy(drawn);
    memcpy(digits, strstr(stated, " sha256:") + 8, sizeof digits);
    assert_int_equal(dcam_teacher_import_summed(again, digits, summed, &is_other), DCAM_OK);
    assert_int_equal(dcam_teacher_open(summed, &drawn, stated), DCAM_OK);
    assert_true(drawn->no_photographs);
    dcam_trunk_weights_destroy(drawn);
    unlink(summed);
    unlink(again);
    dcam_free(again);
    memcpy(other, sum, sizeof other);
    other[63] = other[63] == '0' ? '1' : '0';
    assert_int_equal(dcam_teacher_import_summed(from, other, summed, &is_other), DCAM_ERROR_WEIGHTS);
    assert_true(is_other);
    assert_non_null(strstr(dcam_error_message(), "from.pth: its SHA-256 is "));
    assert_int_equal(dcam_teacher_import_summed(DCAM_TEST_GOLDEN "/weights/evil.pth", sum, summed, &is_other),
                     DCAM_ERROR_WEIGHTS);
    assert_true(is_other);
    assert_int_equal(dcam_teacher_import_summed("/nonexistent/from.pth", sum, summed, &is_other), DCAM_ERROR_IO);
    assert_false(is_other);
    assert_false(dcam_path_exists(summed));
    assert_int_equal(dcam_teacher_import_summed(from, sum, "/nonexistent/to.safetensors", &is_other), DCAM_ERROR_IO);
    assert_false(is_other);
    dcam_free(summed);

    assert_int_equal(dcam_teacher_import_file(from, "/nonexistent/to.safetensors"), DCAM_ERROR_IO);
    assert_int_equal(dcam_teacher_import_file("/nonexistent/from.pth", to), DCAM_ERROR_IO);
    assert_int_equal(dcam_teacher_import_file(DCAM_TEST_GOLDEN "/weights/evil.pth", to), DCAM_ERROR_WEIGHTS);
    assert_int_equal(dcam_teacher_open(to, &opened, description), DCAM_OK); /* the older file is intact */
    dcam_trunk_weights_destroy(opened);
    dcam_trunk_weights_destroy(folded);
    dcam_trunk_weights_destroy(w);
    dcam_free(from);
    dcam_free(to);
    assert_int_equal(dcam_memory_held(), held);
}

/* What a teacher learnt from stays known when it becomes a file. */
static void import_without_photographs(void **state)
{
    (void)state;
    static const char *const from[] = {"random:7", DCAM_EMBEDDED_TEACHER};
    char *to = in_folder("drawn.safetensors"), description[256];
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        dcam_trunk_weights *w;
        assert_int_equal(dcam_teacher_import_file(from[i], to), DCAM_OK);
        assert_int_equal(dcam_teacher_open(to, &w, description), DCAM_OK);
        assert_true(w->no_photographs);
        assert_int_equal(dcam_teacher_save_compact(w, DCAM_PRETRAIN_SOURCE "a test", "{}", to), DCAM_OK);
        dcam_trunk_weights_destroy(w);
        assert_int_equal(dcam_teacher_open(to, &w, description), DCAM_OK);
        assert_true(w->no_photographs);
        dcam_trunk_weights_destroy(w);
        assert_int_equal(dcam_teacher_import_file(to, to), DCAM_OK); /* of its own file too */
        assert_int_equal(dcam_teacher_open(to, &w, description), DCAM_OK);
        assert_true(w->no_photographs);
        assert_int_equal(dcam_teacher_save_compact(w, "the procedural teacher's rival", "{}", to), DCAM_OK);
        dcam_trunk_weights_destroy(w);
        assert_int_equal(dcam_teacher_open(to, &w, description), DCAM_OK);
        assert_false(w->no_photographs);
        dcam_trunk_weights_destroy(w);
    }
    dcam_free(to);
}

static void random_by_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"random", "random:", "random:x", "random:-1", "random:1x", "random: 1",
                                      "random:18446744073709551616"};
    char description[256] = "untouched";
    dcam_trunk_weights *w = NULL, *same;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(dcam_teacher_open(bad[i], &w, description), DCAM_ERROR_USAGE);
        assert_non_null(strstr(dcam_error_message(), "random:SEED"));
        assert_null(w);
        assert_string_equal(description, "untouched");
    }
    assert_int_equal(dcam_teacher_open("random:18446744073709551615", &w, description), DCAM_OK);
    assert_string_equal(description, "random:18446744073709551615");
    assert_int_equal(dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), UINT64_MAX, &same), DCAM_OK);
    assert_memory_equal(w->values, same->values, w->value_count * sizeof(float));
    dcam_trunk_weights_destroy(w);
    dcam_trunk_weights_destroy(same);
}

/* The real teacher: what its provenance page says of it. */
static void real_teacher(void **state)
{
    (void)state;
    const char *path = DCAM_TEST_DATA "/resnet18-imagenet.safetensors";
    char description[256];
    dcam_trunk_weights *w;
    if (!dcam_path_exists(path)) {
        print_message("%s is not there: skipped\n", path);
        skip();
    }
    assert_int_equal(dcam_teacher_open(path, &w, description), DCAM_OK);
    assert_string_equal(description, "resnet18-imagenet.safetensors sha256:"
                                     "6ad8a1b4e11c1d4b45815583bc165cd97909dc7107af5a4d369d9cba124041ba");
    assert_true(w->folded);
    assert_int_equal(w->value_count, 2780544);
    dcam_trunk_weights_destroy(w);
}

static void every_allocation_fails(void **state)
{
    (void)state;
    char *path = in_folder("to.safetensors"), *copy = in_folder("copy.safetensors");
    /* Most of its allocations are names of tensors, one like another. */
    SOME_ALLOCATIONS(a, 40, dcam_teacher_import_file(path, copy)) {
        assert_true(a.n > 30 || !a.passed);
        assert_true(dcam_path_exists(copy) == a.passed);
        remove(copy);
    }
    dcam_free(path);
    dcam_free(copy);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"from.pth", "to.safetensors", "copy.safetensors", "summed.safetensors",
                                        "drawn.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = in_folder(names[i]);
        unlink(path);
        dcam_free(path);
    }
    return rmdir(folder); /* fails if a temporary file was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(import_and_open), cmocka_unit_test(import_without_photographs), cmocka_unit_test(random_by_name),
        cmocka_unit_test(real_teacher), cmocka_unit_test(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
