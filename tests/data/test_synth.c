/* The synthetic data set: layout, masks, repeatability, refusals. */
#define _GNU_SOURCE /* unshare */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/dataset.h"
#include "data/synth.h"
#include "image/image.h"
#include "tree.h"

static char root[256];

static int make_root(void **state)
{
    (void)state;
    tree_create(root);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    tree_remove(root);
    dcam_set_threads(0);
    return dcam_memory_held() == 0 ? 0 : -1;
}

static void write_set(const char *name, uint64_t seed, int size, int classes, int train, int good, int defective)
{
    char path[4096];
    tree_path(root, name, path);
    dcam_synth_plan p = {path, seed, size, classes, train, good, defective};
    if (dcam_synth_write(&p) != DCAM_OK) fail_msg("%s", dcam_error_message());
}

static dcam_dataset *open_set(const char *name)
{
    char path[4096];
    dcam_dataset *d = NULL;
    tree_path(root, name, path);
    if (dcam_dataset_open(path, NULL, &d) != DCAM_OK) fail_msg("%s", dcam_error_message());
    return d;
}

/* Root mean square difference of two pictures of one size. */
static double distance(const char *a, const char *b)
{
    dcam_image x, y;
    double sum = 0;
    assert_int_equal(dcam_image_load(a, &x), DCAM_OK);
    assert_int_equal(dcam_image_load(b, &y), DCAM_OK);
    assert_int_equal(x.width, y.width);
    size_t count = (size_t)x.width * (size_t)x.height * 3;
    for (size_t i = 0; i < count; i++) sum += (x.pixels[i] - y.pixels[i]) * (x.pixels[i] - y.pixels[i]);
    dcam_image_clear(&x);
    dcam_image_clear(&y);
    return sum / (double)count;
}

static void all_classes_with_masks(void **state)
{
    (void)state;
    write_set("s/deep", 7, 64, 0, 2, 1, 6); /* parents are made */
    dcam_dataset *d = open_set("s/deep");
    assert_int_equal(d->class_count, 10);
    assert_int_equal(d->sample_count, 10 * (2 + 1 + 6));
    for (size_t c = 0; c < 10; c++) assert_true(d->class_has_masks[c]);
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        dcam_image photo, mask;
        assert_int_equal(dcam_image_load(s->path, &photo), DCAM_OK);
        assert_int_equal(photo.width, 64);
        assert_int_equal(photo.height, 64);
        dcam_image_clear(&photo);
        assert_int_equal(s->mask_path != NULL, s->defective);
        if (!s->defective) continue;
        assert_int_equal(dcam_mask_load(s->mask_path, &mask), DCAM_OK);
        assert_int_equal(mask.width, 64);
        int marked = 0;
        for (int k = 0; k < 64 * 64; k++) marked += mask.pixels[k] == 255;
        assert_true(marked >= 4 && marked < 64 * 64 / 4);
        dcam_image_clear(&mask);
    }
    /* Two normal photographs of a class are neither equal nor strangers. */
    for (size_t i = 0; i + 1 < d->sample_count; i++)
        if (d->samples[i].split == DCAM_SPLIT_TRAIN && d->samples[i + 1].split == DCAM_SPLIT_TRAIN &&
            d->samples[i].class_index == d->samples[i + 1].class_index) {
            double apart = distance(d->samples[i].path, d->samples[i + 1].path);
            assert_true(apart > 4 && apart < 6000);
        }
    dcam_dataset_destroy(d);
}

static void fingerprint(const char *name, char out[65])
{
    dcam_dataset *d = open_set(name);
    uint32_t all[512];
    assert_true(d->sample_count <= 512);
    for (uint32_t i = 0; i < d->sample_count; i++) all[i] = i;
    assert_int_equal(dcam_dataset_fingerprint(d, all, d->sample_count, out, NULL), DCAM_OK);
    dcam_dataset_destroy(d);
}

static void seed_gives_the_set(void **state)
{
    (void)state;
    char first[65], second[65];
    dcam_set_threads(1);
    write_set("a", 3, 64, 4, 1, 1, 5);
    fingerprint("a", first);
    dcam_set_threads(3);
    write_set("b", 3, 64, 4, 1, 1, 5);
    fingerprint("b", second);
    assert_string_equal(first, second);
    write_set("c", 4, 64, 4, 1, 1, 5);
    fingerprint("c", second);
    assert_string_not_equal(first, second);
}

static uint8_t *read_below(const char *name, size_t *count)
{
    char path[4096];
    uint8_t *bytes = NULL;
    tree_path(root, name, path);
    if (dcam_file_read(path, 1 << 20, &bytes, count) != DCAM_OK) fail_msg("%s", dcam_error_message());
    return bytes;
}

/* A larger set begins with the smaller one. */
static void longer_sets_keep_the_rest(void **state)
{
    (void)state;
    static const char *const files[] = {"weave/train/good/001.png", "hex_nut/test/good/000.png",
                                        "hex_nut/test/bent_corner/000.png", "weave/ground_truth/stain/000_mask.png"};
    write_set("small", 3, 64, 2, 2, 1, 2);
    write_set("large", 3, 64, 3, 4, 2, 9);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[256];
        size_t n, m;
        snprintf(name, sizeof name, "small/%s", files[i]);
        uint8_t *a = read_below(name, &n);
        snprintf(name, sizeof name, "large/%s", files[i]);
        uint8_t *b = read_below(name, &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
        dcam_free(a);
        dcam_free(b);
    }
}

/* Every kind of defect comes out visible, whatever is drawn. */
static void defects_are_always_visible(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 103; seed++) {
        char name[32];
        snprintf(name, sizeof name, "v%d", (int)seed);
        write_set(name, seed, 80, 0, 1, 1, 12);
    }
}

static void refused(const dcam_synth_plan *p, dcam_status wanted, const char *word)
{
    assert_int_equal(dcam_synth_write(p), wanted);
    if (!strstr(dcam_error_message(), word)) fail_msg("\"%s\" is not in: %s", word, dcam_error_message());
}

static void refusals(void **state)
{
    (void)state;
    char path[4096];
    tree_file(root, "full/something", "x");
    tree_path(root, "full", path);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_DATA, "not empty");
    tree_path(root, "full/something", path);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_DATA, "is a file");
    tree_path(root, "new", path);
    refused(&(dcam_synth_plan){.folder = path, .size = 63}, DCAM_ERROR_USAGE, "63");
    refused(&(dcam_synth_plan){.folder = path, .size = 100000}, DCAM_ERROR_USAGE, "100000");
    refused(&(dcam_synth_plan){.folder = path, .classes = 11}, DCAM_ERROR_USAGE, "1 to 10");
    refused(&(dcam_synth_plan){.folder = path, .train = -1}, DCAM_ERROR_USAGE, "-1 images");
    refused(&(dcam_synth_plan){.folder = ""}, DCAM_ERROR_USAGE, "needs a folder");
    refused(&(dcam_synth_plan){.folder = "."}, DCAM_ERROR_USAGE, "name of its own");
    tree_path(root, "full/something/new", path);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_IO, "full/something");
    /* Nothing was left behind, and an empty folder is welcome. */
    dcam_names names;
    assert_int_equal(dcam_folder_list(root, &names), DCAM_OK);
    assert_int_equal(names.count, 1);
    dcam_names_clear(&names);
    tree_path(root, "empty/", path);
    refused(&(dcam_synth_plan){path, 1, 64, 1, 1, 1, 1}, DCAM_OK, "");
    dcam_dataset *d = open_set("empty");
    assert_int_equal(d->sample_count, 3);
    dcam_dataset_destroy(d);
}

static bool is_link(const char *path)
{
    struct stat facts;
    return lstat(path, &facts) == 0 && S_ISLNK(facts.st_mode);
}

/* The plans are of hundreds of large pictures: none of these may begin to draw. */
static void unfit_folders_are_found_at_the_start(void **state)
{
    (void)state;
    char path[4096], target[4096];
    tree_file(root, "hidden/.keep", "x");
    tree_path(root, "hidden", path);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_DATA, "not empty");
    tree_path(root, "to_full", target);
    assert_int_equal(symlink(path, target), 0);
    refused(&(dcam_synth_plan){.folder = target}, DCAM_ERROR_DATA, "not empty");
    tree_path(root, "loose", path);
    assert_int_equal(symlink("nowhere", path), 0);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_DATA, "leads nowhere");
    tree_path(root, "round", path);
    assert_int_equal(symlink("round", path), 0);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_DATA, "leads nowhere");
    dcam_names names;
    assert_int_equal(dcam_folder_list(root, &names), DCAM_OK);
    assert_int_equal(names.count, 4);
    dcam_names_clear(&names);
}

static void a_link_is_followed(void **state)
{
    (void)state;
    char path[4096], link[4096];
    tree_path(root, "disk/empty/", path);
    tree_path(root, "link", link);
    assert_int_equal(symlink("disk/empty", link), 0);
    write_set("link", 1, 64, 1, 1, 1, 1);
    assert_true(is_link(link));
    dcam_dataset *d = open_set("disk/empty");
    assert_int_equal(d->sample_count, 3);
    dcam_dataset_destroy(d);
    dcam_names names;
    tree_path(root, "disk", path);
    assert_int_equal(dcam_folder_list(path, &names), DCAM_OK);
    assert_int_equal(names.count, 1);
    dcam_names_clear(&names);
}

/* In a container the next run has the same number as the one that was killed. And a name as long as they may be. */
static void what_a_kill_left_is_in_nobodys_way(void **state)
{
    (void)state;
    char name[300], path[4096];
    snprintf(name, sizeof name, "set.partial-%ld/", (long)getpid());
    tree_path(root, name, path);
    write_set("set", 1, 64, 1, 1, 1, 1);
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    write_set(name, 1, 64, 1, 1, 1, 1);
    dcam_names names;
    assert_int_equal(dcam_folder_list(root, &names), DCAM_OK);
    assert_int_equal(names.count, 3);
    dcam_names_clear(&names);
}

/* In a name space of its own, where the system gives one. */
enum { MOUNT_REFUSED = 10, MOUNT_OTHERWISE, MOUNT_IMPOSSIBLE };

static int write_to_mount_point(const char *path)
{
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return MOUNT_IMPOSSIBLE;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount(path, path, NULL, MS_BIND, NULL) != 0) return MOUNT_IMPOSSIBLE;
    dcam_set_threads(1);
    const dcam_status status = dcam_synth_write(&(dcam_synth_plan){path, 1, 64, 1, 1, 1, 1});
    return status == DCAM_ERROR_DATA && strstr(dcam_error_message(), "mounted there") ? MOUNT_REFUSED : MOUNT_OTHERWISE;
}

static void mount_points_are_refused(void **state)
{
    (void)state;
    char path[4096];
    int result;
    tree_path(root, "volume/", path);
    tree_path(root, "volume", path);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(write_to_mount_point(path));
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    if (WEXITSTATUS(result) == MOUNT_IMPOSSIBLE) {
        print_message("SKIPPED: nothing can be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(result), MOUNT_REFUSED);
    dcam_names names;
    assert_int_equal(dcam_folder_list(root, &names), DCAM_OK);
    assert_int_equal(names.count, 1);
    dcam_names_clear(&names);
}

/* A failure in the middle leaves no folder of either name. */
static void failures_leave_nothing(void **state)
{
    (void)state;
    char path[4096];
    tree_path(root, "set", path);
    dcam_set_threads(2);
    const dcam_synth_plan p = {path, 1, 64, 2, 2, 1, 2};
    SOME_ALLOCATIONS(a, 48, dcam_synth_write(&p)) {
        dcam_names names;
        assert_true(a.n > 12 || !a.passed);
        assert_int_equal(dcam_folder_list(root, &names), DCAM_OK);
        /* Without memory the clean-up itself may have to leave the partial
         * folder, but never one of the wanted name. */
        for (size_t i = 0; i < names.count; i++) {
            char left[4096];
            if (!a.passed) assert_non_null(strstr(names.names[i], "set.partial-"));
            tree_path(root, names.names[i], left);
            tree_remove(left);
        }
        dcam_names_clear(&names);
    }
}

/* Where the folder above takes no more writing. */
static void unwritable_folder(void **state)
{
    (void)state;
    char path[4096];
    if (geteuid() == 0) {
        print_message("SKIPPED: root may write everywhere\n");
        skip();
    }
    tree_path(root, "closed/set", path);
    tree_path(root, "closed", path);
    assert_int_equal(chmod(path, 0500), 0);
    tree_path(root, "closed/set", path);
    refused(&(dcam_synth_plan){.folder = path}, DCAM_ERROR_IO, "closed");
    tree_path(root, "closed", path);
    assert_int_equal(chmod(path, 0700), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_classes_with_masks),     TEST(seed_gives_the_set), TEST(longer_sets_keep_the_rest),
        TEST(defects_are_always_visible), TEST(refusals),           TEST(failures_leave_nothing),
        TEST(unwritable_folder),          TEST(unfit_folders_are_found_at_the_start),
        TEST(a_link_is_followed),         TEST(what_a_kill_left_is_in_nobodys_way),
        TEST(mount_points_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
