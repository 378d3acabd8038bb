/* Nothing that a data set's layout means is guessed or passed over without a word: what good images are called, what is
 * left out, what is listed twice. On small trees of files that are never decoded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "tree.h"

static char root[256];
static char warnings[8192], notes[8192]; /* one a line, since the last open */

static void keep(void *user, dcam_log_level level, const char *line)
{
    (void)user;
    char *lines = level == DCAM_LOG_WARNING ? warnings : notes;
    const size_t used = strlen(lines);
    if (level >= DCAM_LOG_INFO) snprintf(lines + used, sizeof warnings - used, "%s\n", line);
}

static int make_root(void **state)
{
    (void)state;
    tree_create(root);
    dcam_set_log(keep, NULL);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    tree_remove(root);
    dcam_set_log(NULL, NULL);
    return dcam_memory_held() == 0 ? 0 : -1;
}

static dcam_status open_it(const char *name, const char *only, dcam_dataset **out)
{
    char path[4096];
    tree_path(root, name, path);
    warnings[0] = notes[0] = '\0';
    return dcam_dataset_open(path, only, out);
}

static void refused(const char *name, const char *word1, const char *word2)
{
    dcam_dataset *d = NULL;
    assert_int_equal(open_it(name, NULL, &d), DCAM_ERROR_DATA);
    if (!strstr(dcam_error_message(), word1)) fail_msg("\"%s\" is not in: %s", word1, dcam_error_message());
    if (!strstr(dcam_error_message(), word2)) fail_msg("\"%s\" is not in: %s", word2, dcam_error_message());
}

static void warned(const char *words)
{
    if (!strstr(warnings, words)) fail_msg("\"%s\" is not in: %s", words, warnings);
}

/* Normal training, normal test, defective training, defective test images: "2 1 0 1". */
static void holds(const char *name, const char *only, const char *wanted)
{
    dcam_dataset *d = NULL;
    if (open_it(name, only, &d) != DCAM_OK) fail_msg("%s", dcam_error_message());
    int n[4] = {0};
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        n[2 * s->defective + (s->split == DCAM_SPLIT_TEST)]++;
        assert_int_equal(s->defective, strcmp(s->label, "good") != 0);
    }
    char text[64];
    snprintf(text, sizeof text, "%d %d %d %d", n[0], n[1], n[2], n[3]);
    assert_string_equal(text, wanted);
    dcam_dataset_destroy(d);
}

static void folders_called_normal(void **state)
{
    (void)state;
    tree_file(root, "c/train/normal/0.png", "x");
    tree_file(root, "c/train/good/1.png", "x");
    tree_file(root, "c/test/normal/0.png", "x");
    tree_file(root, "c/test/bent/0.png", "x");
    tree_file(root, "c/ground_truth/normal/7_mask.png", "x"); /* ignored, as those of good are */
    holds("c", NULL, "2 1 0 1");
    assert_string_equal(warnings, "");
}

static void names_that_only_look_like_good(void **state)
{
    (void)state;
    static const char *const alike[] = {"Good", "GOOD", "Normal", "ok", "OK", "Ok", "good ", " normal "};
    enum { COUNT = sizeof alike / sizeof *alike };
    char name[64], line[128];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "t%d/test/%s/0.png", i, alike[i]);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "t%d", i);
        snprintf(line, sizeof line, "t%d/test/%s: ", i, alike[i]);
        refused(name, line, "rename it to good");
        snprintf(name, sizeof name, "t%d/train/%s/0.png", i + COUNT, alike[i]);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "t%d", i + COUNT);
        refused(name, alike[i], "rename it to good");
        tree_file(root, "a.png", "x");
        snprintf(line, sizeof line, "path,class,split,label\na.png,n,train,%s\n", alike[i]);
        tree_file(root, "list.csv", line);
        refused("list.csv", "line 2", "rename it to good");
    }
    /* Without images the name means nothing; longer ones are of defects. */
    char path[4096];
    tree_file(root, "e/train/good/0.png", "x");
    tree_path(root, "e/test/OK/", path);
    tree_file(root, "e/test/good/0.png", "x");
    tree_file(root, "e/test/goods/0.png", "x");
    tree_file(root, "e/test/abnormal/0.png", "x");
    tree_file(root, "e/test/not_ok/0.png", "x");
    holds("e", NULL, "1 1 0 3");
}

static void hints_at_wrong_labels(void **state)
{
    (void)state;
    tree_file(root, "m/nut/train/good/0.png", "x");
    tree_file(root, "m/nut/train/perfect/0.png", "x");
    tree_file(root, "m/nut/train/perfect/1.png", "x");
    tree_file(root, "m/nut/test/perfect/0.png", "x");
    tree_file(root, "m/nut/test/bent/0.png", "x");
    tree_file(root, "m/bolt/train/good/0.png", "x");
    holds("m", "nut", "1 0 2 2");
    warned("class \"nut\": 2 images of its training split are labelled as defects");
    warned("class \"nut\": its test split has 2 defective images and no good one");
    holds("m", "bolt", "1 0 0 0");
    assert_string_equal(warnings, "");
}

static void images_below_a_label(void **state)
{
    (void)state;
    tree_file(root, "c/train/good/0.png", "x");
    tree_file(root, "c/train/good/notes.txt", "x");
    tree_file(root, "c/train/good/more/1.png", "x");
    tree_file(root, "c/train/good/more/deep/2.png", "x");
    tree_file(root, "c/test/good/0.png", "x");
    tree_file(root, "c/test/bent/0.png", "x");
    tree_file(root, "c/test/bent/a/1.png", "x");
    tree_file(root, "c/test/5.png", "x");
    char path[4096];
    tree_path(root, "c/train/good/again", path);
    assert_int_equal(symlink(".", path), 0); /* what is looked at is not left out */
    holds("c", NULL, "1 1 0 1");
    warned("c/train/good: 2 images in folders below it are left out");
    warned("c/test/bent: 1 images in folders below it are left out");
    warned("c/test: 1 images right in it are left out");
    /* Folders without images are not worth a word, and what cannot be counted is no failure. */
    tree_file(root, "d/train/good/0.png", "x");
    tree_file(root, "d/train/good/notes/readme.txt", "x");
    holds("d", NULL, "1 0 0 0");
    assert_string_equal(warnings, "");
    char deep[256] = "d/train/good/";
    for (int i = 0; i < 40; i++) strcat(deep, "d/");
    strcat(deep, "x.png");
    tree_file(root, deep, "x");
    holds("d", NULL, "1 0 0 0");
    warned("folders deep");
    warned("left out");
}

static void files_that_are_no_images(void **state)
{
    (void)state;
    tree_file(root, "c/train/good/0.png", "x");
    tree_file(root, "c/test/good/0.png", "x");
    tree_file(root, "c/test/bent/0.png", "x");
    tree_file(root, "c/test/torn/0.heic", "x");
    tree_file(root, "c/ground_truth/bent/0_mask.gif", "x");
    tree_file(root, "c/ground_truth/bent/1_mask.gif", "x");
    holds("c", NULL, "1 1 0 1");
    warned("c/ground_truth/bent: none of its 2 files is called like an image");
    warned("c/test/torn: none of its 1 files is called like an image");
    tree_file(root, "c/ground_truth/bent/0_mask.png", "x");
    tree_file(root, "c/test/torn/0.png", "x");
    holds("c", NULL, "1 1 0 2");
    assert_null(strstr(warnings, "called like"));
}

static void folder_beside_classes(void **state)
{
    (void)state;
    tree_file(root, "m/nut/train/good/0.png", "x");
    tree_file(root, "m/bolt/good/0.png", "x");
    tree_file(root, "m/bolt/1.png", "x");
    tree_file(root, "m/licence/readme.txt", "x");
    tree_file(root, "m/cover.png", "x");
    holds("m", NULL, "1 0 0 0");
    warned("m/bolt: holds neither train nor test, so it is no class; 2 images below it are left out");
    assert_null(strstr(warnings, "licence"));
    assert_null(strstr(warnings, "cover"));
    holds("m", "nut", "1 0 0 0");
    assert_string_equal(warnings, "");
}

static void defects_in_a_plain_folder(void **state)
{
    (void)state;
    tree_file(root, "c/train/good/0.png", "x");
    tree_file(root, "c/test/good/0.png", "x");
    tree_file(root, "c/test/bent/0.png", "x");
    refused("c/test", "holds images in good beside images in bent", "c/test/good");
    tree_file(root, "line/2/OK/0.png", "x");
    tree_file(root, "line/2/NG/tray/0.png", "x");
    refused("line/2", "holds images in OK beside images in NG", "line/2/OK");
    refused("line", "holds images in OK beside images in NG", "line/2/OK"); /* at any depth */
    /* A data set further down, or a part of one. */
    tree_file(root, "d/all/nut/train/good/0.png", "x");
    refused("d", "d/all/nut: looks like a class in MVTec layout", "give the folder right above");
    tree_file(root, "e/bolt/photographs/0.png", "x");
    tree_file(root, "e/bolt/ground_truth/bent/0.png", "x");
    refused("e", "e/bolt: looks like a part of a data set with defects", "ground_truth");
    tree_file(root, "f/box/0.png", "x");
    tree_file(root, "f/box/split_csv/1cls.csv", "x");
    refused("f", "f/box: looks like a part of a data set with defects", "split_csv");
    /* Normal ones alone, under whatever names. */
    tree_file(root, "p/good/0.png", "x");
    tree_file(root, "p/OK/1.png", "x");
    tree_file(root, "p/2.png", "x");
    tree_file(root, "p/notes/readme.txt", "x");
    tree_file(root, "p/bent", "x");
    holds("p", NULL, "3 0 0 0");
    tree_file(root, "q/monday/0.png", "x");
    tree_file(root, "q/tuesday/0.png", "x");
    holds("q", NULL, "2 0 0 0");
    assert_non_null(strstr(notes, "q: a plain folder: all 2 images in it and in the folders below it are taken for normal ones of one class, q\n"));
    holds("q/", NULL, "2 0 0 0");
    assert_non_null(strstr(notes, "all 2 images"));
    holds("q/monday", NULL, "1 0 0 0"); /* nothing that could be meant otherwise */
    assert_string_equal(notes, "");
    assert_string_equal(warnings, "");
}

/* Their defects were learnt as normal, or not seen. */
static void parts_in_letters_of_another_case(void **state)
{
    (void)state;
    static const char *const plain[] = {"Train", "TRAIN", "Test", "TEST", "Ground_Truth"};
    char name[64], line[128];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "p%d/nut/%s/bent/0.png", i, plain[i]);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "p%d", i);
        snprintf(line, sizeof line, "nut/%s: the folder's name must be spelt", plain[i]);
        refused(name, line, "rename it");
        snprintf(name, sizeof name, "p%d/nut", i);
        refused(name, line, "rename it");
    }
    tree_file(root, "m/nut/train/good/0.png", "x");
    tree_file(root, "m/nut/test/bent/0.png", "x");
    tree_file(root, "m/nut/TEST/notes.txt", "x"); /* no images */
    tree_file(root, "m/bolt/train/good/0.png", "x");
    holds("m", NULL, "2 0 0 1");
    tree_file(root, "m/nut/Ground_truth/bent/0.png", "x");
    refused("m", "nut/Ground_truth: the folder's name must be spelt ground_truth", "rename it");
    holds("m", "bolt", "1 0 0 0");
    tree_file(root, "m/bolt/Test/bent/0.png", "x");
    refused("m/bolt", "bolt/Test: the folder's name must be spelt test", "rename it");
    /* The folder itself may be called anything. */
    holds("m/bolt/Test", NULL, "1 0 0 0");
}

static void class_names_with_commas(void **state)
{
    (void)state;
    dcam_dataset *d = NULL;
    tree_file(root, "m/screw 3,5x40/train/good/0.png", "x");
    tree_file(root, "m/3/train/good/0.png", "x");
    tree_file(root, "m/3/train/good/1.png", "x");
    tree_file(root, "m/40/test/good/0.png", "x");
    holds("m", "screw 3,5x40", "1 0 0 0");
    holds("m", "40,screw 3,5x40", "1 1 0 0");
    holds("m", ",screw 3,5x40,,3,", "3 0 0 0");
    holds("m", "3,40", "2 1 0 0");
    static const char *const wrong[] = {"screw 3", "5x40", "3,5x40", "screw 3,40", "3,screw 3,5x4", "40, 3"};
    static const char *const named[] = {"\"screw 3\"", "\"5x40\"", "\"5x40\"", "\"screw 3\"", "\"screw 3\"", "\" 3\""};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(open_it("m", wrong[i], &d), DCAM_ERROR_DATA);
        if (!strstr(dcam_error_message(), named[i])) fail_msg("%s: %s", named[i], dcam_error_message());
    }
    assert_int_equal(open_it("m", ",,", &d), DCAM_ERROR_USAGE);
}

/* They are read by another rule (tests/image): said once, with their number. */
static void masks_that_are_jpeg(void **state)
{
    (void)state;
    tree_file(root, "m/nut/test/good/0.jpg", "x");
    tree_file(root, "m/nut/test/bent/0.jpg", "x");
    tree_file(root, "m/nut/ground_truth/bent/0_mask.png", "x");
    holds("m", NULL, "0 1 0 1");
    assert_string_equal(warnings, "");
    tree_file(root, "m/bolt/test/good/0.jpg", "x");
    tree_file(root, "m/bolt/test/bent/0.jpg", "x");
    tree_file(root, "m/bolt/ground_truth/bent/0_mask.JPG", "x");
    tree_file(root, "m/cog/test/good/0.jpg", "x");
    tree_file(root, "m/cog/test/bent/0.jpg", "x");
    tree_file(root, "m/cog/ground_truth/bent/0.jpeg", "x");
    holds("m", NULL, "0 3 0 3");
    warned("m: 2 masks are JPEG files; of these, values of 128 and more are defect");
    assert_int_equal(strlen(warnings), strcspn(warnings, "\n") + 1);
}

/* A table whose second row has this path. */
static void write_table(const char *path)
{
    char text[512];
    snprintf(text, sizeof text, "path,class,split,label\npics/a.png,n,train,good\n%s,n,test,good\npics/b.png,n,test,bent\n", path);
    tree_file(root, "list.csv", text);
}

static void one_file_in_two_rows(void **state)
{
    (void)state;
    char path[4096], target[4096];
    tree_file(root, "pics/a.png", "x");
    tree_file(root, "pics/b.png", "x");
    tree_file(root, "pics/c.png", "x");
    tree_path(root, "pics/link.png", path);
    assert_int_equal(symlink("a.png", path), 0);
    tree_path(root, "way", path);
    assert_int_equal(symlink("pics", path), 0);
    tree_path(root, "pics/a.png", target);
    tree_path(root, "hard.png", path);
    assert_int_equal(link(target, path), 0);
    static const char *const same[] = {"pics/a.png", "./pics/a.png", "pics//a.png", "pics/../pics/a.png", "pics/link.png",
                                       "way/a.png", "hard.png"};
    for (int i = 0; i < 7; i++) {
        write_table(same[i]);
        refused("list.csv", "listed twice", same[i]);
    }
    write_table(target);
    refused("list.csv", "listed twice", target);
    write_table("way/c.png");
    holds("list.csv", NULL, "1 1 0 1");
    /* In folders links are the user's own. */
    tree_path(root, "c/train/good/", path);
    tree_file(root, "c/train/good/0.png", "x");
    tree_path(root, "c/train/good/1.png", path);
    assert_int_equal(symlink("0.png", path), 0);
    holds("c", NULL, "2 0 0 0");
}

/* Memory that runs out while images are counted is no matter for a warning. */
static void allocations_fail(void **state)
{
    (void)state;
    char path[4096];
    tree_file(root, "m/nut/train/good/0.png", "x");
    tree_file(root, "m/nut/train/good/more/1.png", "x");
    tree_file(root, "m/bolt/1.png", "x");
    tree_file(root, "p/good/0.png", "x");
    tree_file(root, "p/OK/1.png", "x");
    tree_file(root, "list.csv", "path,class,split,label\np/good/0.png,n,train,good\np/OK/1.png,n,test,good\n");
    tree_file(root, "v/nut/Test/bent/0.png", "x");
    tree_file(root, "q/monday/0.png", "x");
    static const char *const names[] = {"m", "p", "list.csv", "q"};
    for (int k = 0; k < 4; k++) {
        dcam_dataset *d = NULL;
        tree_path(root, names[k], path);
        EVERY_ALLOCATION(a, dcam_dataset_open(path, NULL, &d)) {
            assert_true(a.passed ? a.n > 10 : d == NULL);
            dcam_dataset_destroy(d);
            d = NULL;
        }
    }
    dcam_dataset *d = NULL;
    dcam_status status = DCAM_ERROR_MEMORY;
    tree_path(root, "v", path);
    for (uint64_t n = 1; status == DCAM_ERROR_MEMORY; n++) {
        dcam_memory_fail_at(n, false);
        status = dcam_dataset_open(path, NULL, &d);
        dcam_memory_fail_at(0, false);
    }
    assert_int_equal(status, DCAM_ERROR_DATA);
    assert_null(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(folders_called_normal),
        TEST(names_that_only_look_like_good),
        TEST(hints_at_wrong_labels),
        TEST(images_below_a_label),
        TEST(files_that_are_no_images),
        TEST(folder_beside_classes),
        TEST(defects_in_a_plain_folder),
        TEST(parts_in_letters_of_another_case),
        TEST(class_names_with_commas),
        TEST(masks_that_are_jpeg),
        TEST(one_file_in_two_rows),
        TEST(allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
