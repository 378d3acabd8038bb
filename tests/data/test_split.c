/* test_split.c - the seeded split into training and validation part, and what copies of images do to it: small trees of files
 * that are never decoded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "outcome.h"
#include "root_case.h"

static void split_is_stratified_and_seeded(void **state)
{
    (void)state;
    char name[64];
    for (int i = 0; i < 33; i++) {
        snprintf(name, sizeof name, "s/a/train/good/%03d.png", i);
        tree_file(root, name, "x");
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "s/b/train/good/%03d.png", i);
        tree_file(root, name, "x");
    }
    tree_file(root, "s/b/test/hole/0.png", "x");
    dcam_dataset *d = open_below("s", NULL), *only = open_below("s", "a");
    uint32_t *train, *validation, *train2, *validation2;
    size_t n, v, n2, v2;
    assert_int_equal(dcam_dataset_split(d, NULL, 0.2, 5, &train, &n, &validation, &v), DCAM_OK);
    assert_int_equal(v, 7 + 1); /* round(6.6), at least one */
    assert_int_equal(n, 26 + 1);
    int seen[36] = {0}, later = 0;
    for (size_t i = 0; i < n; i++) seen[train[i]]++;
    for (size_t i = 0; i < v; i++) seen[validation[i]]++;
    for (size_t i = 0; i < d->sample_count; i++) assert_int_equal(seen[i], d->samples[i].split == DCAM_SPLIT_TRAIN);
    for (size_t i = 1; i < n; i++) assert_true(train[i - 1] < train[i]);
    for (size_t i = 1; i < v; i++) assert_true(validation[i - 1] < validation[i]);
    for (size_t i = 0; i < v; i++) later += validation[i] >= 7;
    assert_true(later > 1); /* not simply the first ones */
    /* A class alone is split as in company. */
    assert_int_equal(dcam_dataset_split(only, NULL, 0.2, 5, &train2, &n2, &validation2, &v2), DCAM_OK);
    assert_int_equal(v2, 7);
    assert_memory_equal(validation2, validation, 7 * sizeof *validation);
    dcam_free(train2);
    dcam_free(validation2);
    assert_int_equal(dcam_dataset_split(only, NULL, 0.2, 6, &train2, &n2, &validation2, &v2), DCAM_OK);
    assert_memory_not_equal(validation2, validation, 7 * sizeof *validation);
    dcam_free(train2);
    dcam_free(validation2);
    assert_int_equal(dcam_dataset_split(only, NULL, 0.99, 6, &train2, &n2, &validation2, &v2), DCAM_OK);
    assert_int_equal(n2, 1);
    dcam_free(train2);
    dcam_free(validation2);
    dcam_free(train);
    dcam_free(validation);
    dcam_dataset_destroy(only);
    dcam_dataset_destroy(d);
}

static void split_refuses(void **state)
{
    (void)state;
    uint32_t *train = NULL, *validation = NULL;
    size_t n, v;
    tree_file(root, "s/one/train/good/0.png", "x");
    tree_file(root, "s/none/test/good/0.png", "x");
    dcam_dataset *d = open_below("s", "one");
    assert_int_equal(dcam_dataset_split(d, NULL, 0.2, 1, &train, &n, &validation, &v), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "\"one\" has only 1 normal"));
    assert_int_equal(dcam_dataset_split(d, NULL, 0, 1, &train, &n, &validation, &v), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_dataset_split(d, NULL, 1, 1, &train, &n, &validation, &v), DCAM_ERROR_USAGE);
    dcam_dataset_destroy(d);
    d = open_below("s", NULL);
    assert_int_equal(dcam_dataset_split(d, NULL, 0.2, 1, &train, &n, &validation, &v), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "\"none\" has no normal"));
    assert_null(train);
    assert_null(validation);
    dcam_dataset_destroy(d);
}

static void assert_list(const uint32_t *list, size_t count, const uint32_t *wanted, size_t wanted_count)
{
    assert_int_equal(count, wanted_count);
    for (size_t i = 0; i < count; i++) assert_int_equal(list[i], wanted[i]);
}

static void mark(dcam_content_mark *marks, size_t i, unsigned content)
{
    char text[DCAM_CONTENT_MARK + 1];
    snprintf(text, sizeof text, "%012x", content);
    memcpy(marks[i], text, DCAM_CONTENT_MARK);
}

/* Class a: 20 images, then each again under a name that sorts among them or behind. What is distinct is split as if the copies
 * were not there; without copies the split is that of images of which nothing is known. */
static void copies_are_split_as_one(void **state)
{
    (void)state;
    char name[64];
    dcam_content_mark marks[40];
    dcam_copy_kind kinds[40];
    uint32_t *train[3], *validation[3], first[40];
    size_t n[3], v[3], at[40], met = 0;
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "plain/a/train/good/%02d.png", i);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "doubled/a/train/good/%02d.png", i);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "doubled/a/train/good/%s%02d.png", i % 2 ? "z" : "", i % 2 ? i : i + 100);
        tree_file(root, name, "x");
    }
    dcam_dataset *plain = open_below("plain", NULL), *doubled = open_below("doubled", NULL);
    assert_int_equal(doubled->sample_count, 40);
    for (unsigned i = 0; i < 20; i++) mark(marks, i, 1000 - i);
    OK(dcam_dataset_find_copies(plain, marks, kinds));
    for (int i = 0; i < 20; i++) assert_int_equal(kinds[i], DCAM_NO_COPY);
    OK(dcam_dataset_split(plain, NULL, 0.2, 5, &train[0], &n[0], &validation[0], &v[0]));
    OK(dcam_dataset_split(plain, kinds, 0.2, 5, &train[1], &n[1], &validation[1], &v[1]));
    assert_int_equal(v[0], 4);
    assert_list(train[1], n[1], train[0], n[0]);
    assert_list(validation[1], v[1], validation[0], v[0]);
    for (size_t i = 0; i < 40; i++) {
        unsigned number;
        const char *base = strrchr(doubled->samples[i].path, '/') + 1;
        assert_int_equal(sscanf(base, base[0] == 'z' ? "z%u" : "%u", &number), 1);
        mark(marks, i, number % 100);
    }
    OK(dcam_first_of_mark(marks, 40, first));
    OK(dcam_dataset_find_copies(doubled, marks, kinds));
    for (size_t i = 0; i < 40; i++) {
        size_t lowest = 0;
        while (memcmp(marks[lowest], marks[i], sizeof marks[i]) != 0) lowest++;
        assert_int_equal(first[i], lowest);
        assert_int_equal(kinds[i], lowest == i ? DCAM_NO_COPY : DCAM_COPY_OF_ITS_CLASS);
        if (lowest == i) at[met++] = i;
    }
    assert_int_equal(met, 20);
    OK(dcam_dataset_split(doubled, kinds, 0.2, 5, &train[2], &n[2], &validation[2], &v[2]));
    assert_int_equal(n[2], n[0]);
    assert_int_equal(v[2], v[0]);
    for (size_t i = 0; i < n[0]; i++) assert_int_equal(train[2][i], at[train[0][i]]);
    for (size_t i = 0; i < v[0]; i++) assert_int_equal(validation[2][i], at[validation[0][i]]);
    for (int k = 0; k < 3; k++) {
        dcam_free(train[k]);
        dcam_free(validation[k]);
    }
    dcam_dataset_destroy(doubled);
    dcam_dataset_destroy(plain);
}

/* a: 0 1 2 3 4 4, b: 0 5 6 6, where 0 is in both. */
static void shared_images_are_never_held_out(void **state)
{
    (void)state;
    static const unsigned contents[] = {0, 1, 2, 3, 4, 4, 0, 5, 6, 6};
    static const dcam_copy_kind wanted[] = {DCAM_IN_ANOTHER_CLASS, DCAM_NO_COPY, DCAM_NO_COPY, DCAM_NO_COPY, DCAM_NO_COPY,
                                            DCAM_COPY_OF_ITS_CLASS, DCAM_IN_ANOTHER_CLASS, DCAM_NO_COPY, DCAM_NO_COPY,
                                            DCAM_COPY_OF_ITS_CLASS};
    char name[64];
    dcam_content_mark marks[10];
    dcam_copy_kind kinds[10];
    uint32_t *train, *validation;
    size_t n, v;
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "s/%c/train/good/%d.png", i < 6 ? 'a' : 'b', i);
        tree_file(root, name, "x");
        mark(marks, (size_t)i, contents[i]);
    }
    dcam_dataset *d = open_below("s", NULL);
    OK(dcam_dataset_find_copies(d, marks, kinds));
    for (int i = 0; i < 10; i++) assert_int_equal(kinds[i], wanted[i]);
    for (uint64_t seed = 0; seed < 50; seed++) {
        OK(dcam_dataset_split(d, kinds, 0.99, seed, &train, &n, &validation, &v));
        assert_list(validation, v, (const uint32_t[]){1, 2, 3, 4, 7, 8}, 6);
        assert_list(train, n, (const uint32_t[]){0, 6}, 2);
        dcam_free(train);
        dcam_free(validation);
    }
    EVERY_ALLOCATION(a, dcam_dataset_find_copies(d, marks, kinds)) assert_true(a.passed ? a.n > 4 : a.n < 9);
    dcam_dataset_destroy(d);
}

static void split_refuses_copies(void **state)
{
    (void)state;
    uint32_t *train = NULL, *validation = NULL;
    size_t n, v;
    dcam_content_mark marks[5];
    dcam_copy_kind kinds[5];
    tree_file(root, "s/a/train/good/0.png", "x");
    tree_file(root, "s/a/train/good/1.png", "x");
    tree_file(root, "s/b/train/good/0.png", "x");
    tree_file(root, "s/b/train/good/1.png", "x");
    tree_file(root, "s/b/train/good/2.png", "x");
    dcam_dataset *d = open_below("s", NULL);
    for (size_t i = 0; i < 5; i++) mark(marks, i, i == 1 ? 0 : (unsigned)i);
    OK(dcam_dataset_find_copies(d, marks, kinds));
    assert_int_equal(dcam_dataset_split(d, kinds, 0.2, 1, &train, &n, &validation, &v), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "the 2 normal training images of class \"a\" are copies of one"));
    for (size_t i = 0; i < 5; i++) mark(marks, i, (unsigned)(i % 2)); /* b has nothing of its own, and a nothing either */
    mark(marks, 4, 7);
    OK(dcam_dataset_find_copies(d, marks, kinds));
    assert_int_equal(dcam_dataset_split(d, kinds, 0.2, 1, &train, &n, &validation, &v), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "each normal training image of class \"a\" is a copy of one of another class"));
    assert_null(train);
    assert_null(validation);
    dcam_dataset_destroy(d);
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(split_is_stratified_and_seeded),
        TEST(split_refuses),
        TEST(copies_are_split_as_one),
        TEST(shared_images_are_never_held_out),
        TEST(split_refuses_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
