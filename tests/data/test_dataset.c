/* The layouts, their errors and the fingerprint, on small trees of
 * files that are never decoded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "root_case.h"

/* Opening must fail, with every one of the words in the message. */
static void refused(const char *name, const char *only, dcam_status wanted, const char *word1, const char *word2)
{
    char path[4096];
    dcam_dataset *d = NULL;
    tree_path(root, name, path);
    assert_int_equal(dcam_dataset_open(path, only, &d), wanted);
    assert_null(d);
    if (!strstr(dcam_error_message(), word1)) fail_msg("\"%s\" is not in: %s", word1, dcam_error_message());
    if (!strstr(dcam_error_message(), word2)) fail_msg("\"%s\" is not in: %s", word2, dcam_error_message());
}

static bool ends(const char *text, const char *end)
{
    return text && strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static void mvtec_files(void)
{
    tree_file(root, "m/nut/train/good/001.png", "x");
    tree_file(root, "m/nut/train/good/000.PNG", "x");
    tree_file(root, "m/nut/train/good/notes.txt", "x");
    tree_file(root, "m/nut/train/good/.hidden.png", "x");
    tree_file(root, "m/nut/test/good/000.jpg", "x");
    tree_file(root, "m/nut/test/bent/000.jpg", "x");
    tree_file(root, "m/nut/test/bent/001.jpg", "x");
    tree_file(root, "m/nut/test/bent/002.jpg", "x");
    tree_file(root, "m/nut/ground_truth/bent/000_mask.png", "x");
    tree_file(root, "m/nut/ground_truth/bent/001.bmp", "x");
    tree_file(root, "m/nut/ground_truth/good/777_mask.png", "x");
    tree_file(root, "m/bolt/train/good/a.webp", "x");
    tree_file(root, "m/bolt/test/crack/b.tiff", "x");
    tree_file(root, "m/licence/readme.txt", "x");
}

static void mvtec_layout(void **state)
{
    (void)state;
    mvtec_files();
    dcam_dataset *d = open_below("m", NULL);
    assert_int_equal(d->class_count, 2);
    assert_string_equal(d->class_names[0], "bolt");
    assert_string_equal(d->class_names[1], "nut");
    assert_false(d->class_has_masks[0]);
    assert_true(d->class_has_masks[1]);
    static const struct {
        const char *path, *label, *mask;
        int class_index;
        dcam_split split;
    } wanted[] = {
        {"bolt/train/good/a.webp", "good", NULL, 0, DCAM_SPLIT_TRAIN},
        {"bolt/test/crack/b.tiff", "crack", NULL, 0, DCAM_SPLIT_TEST},
        {"nut/train/good/000.PNG", "good", NULL, 1, DCAM_SPLIT_TRAIN},
        {"nut/train/good/001.png", "good", NULL, 1, DCAM_SPLIT_TRAIN},
        {"nut/test/bent/000.jpg", "bent", "nut/ground_truth/bent/000_mask.png", 1, DCAM_SPLIT_TEST},
        {"nut/test/bent/001.jpg", "bent", "nut/ground_truth/bent/001.bmp", 1, DCAM_SPLIT_TEST},
        {"nut/test/bent/002.jpg", "bent", NULL, 1, DCAM_SPLIT_TEST},
        {"nut/test/good/000.jpg", "good", NULL, 1, DCAM_SPLIT_TEST},
    };
    assert_int_equal(d->sample_count, sizeof wanted / sizeof wanted[0]);
    for (size_t i = 0; i < d->sample_count; i++) {
        const dcam_sample *s = &d->samples[i];
        assert_true(ends(s->path, wanted[i].path));
        assert_string_equal(s->label, wanted[i].label);
        assert_int_equal(s->class_index, wanted[i].class_index);
        assert_int_equal(s->split, wanted[i].split);
        assert_int_equal(s->defective, strcmp(wanted[i].label, "good") != 0);
        if (wanted[i].mask) assert_true(ends(s->mask_path, wanted[i].mask));
        else assert_null(s->mask_path);
    }
    dcam_dataset_destroy(d);
}

static void one_class_folder(void **state)
{
    (void)state;
    mvtec_files();
    dcam_dataset *d = open_below("m/nut/", NULL); /* a slash at the end changes nothing */
    assert_int_equal(d->class_count, 1);
    assert_string_equal(d->class_names[0], "nut");
    assert_int_equal(d->sample_count, 6);
    dcam_dataset_destroy(d);
}

static void class_selection(void **state)
{
    (void)state;
    mvtec_files();
    /* What is wrong in a class that is left out does not matter. */
    tree_file(root, "m/bolt/ground_truth/crack/lonely_mask.png", "x");
    dcam_dataset *d = open_below("m", ",nut,");
    assert_int_equal(d->class_count, 1);
    assert_string_equal(d->class_names[0], "nut");
    assert_int_equal(d->samples[0].class_index, 0);
    dcam_dataset_destroy(d);
    refused("m", "nut,cog", DCAM_ERROR_DATA, "no class \"cog\"", "bolt, nut");
    refused("m", ",", DCAM_ERROR_USAGE, "list of classes is empty", "");
}

static void masks_that_do_not_fit(void **state)
{
    (void)state;
    mvtec_files();
    tree_file(root, "m/bolt/ground_truth/crack/lonely_mask.png", "x");
    refused("m", NULL, DCAM_ERROR_DATA, "bolt/ground_truth/crack/lonely_mask.png", "without its photograph");
    refused("m/bolt", NULL, DCAM_ERROR_DATA, "lonely_mask.png", "test/crack");
    tree_file(root, "k/train/good/0.png", "x");
    tree_file(root, "k/ground_truth/hole/3_mask.png", "x"); /* a label without any photograph */
    refused("k", NULL, DCAM_ERROR_DATA, "hole/3_mask.png", "without its photograph");
    tree_file(root, "two/test/hole/3.png", "x");
    tree_file(root, "two/ground_truth/hole/3_mask.png", "x");
    tree_file(root, "two/ground_truth/hole/3.png", "x");
    refused("two", NULL, DCAM_ERROR_DATA, "two masks", "3_mask.png");
    tree_file(root, "twice/test/hole/3.png", "x");
    tree_file(root, "twice/test/hole/3.jpg", "x");
    tree_file(root, "twice/ground_truth/hole/3_mask.png", "x");
    refused("twice", NULL, DCAM_ERROR_DATA, "could belong to", "3.jpg");
}

/* A photograph may itself be called NAME_mask. */
static void photograph_called_mask(void **state)
{
    (void)state;
    tree_file(root, "c/test/hole/a_mask.png", "x");
    tree_file(root, "c/test/hole/a.png", "x");
    tree_file(root, "c/ground_truth/hole/a_mask.png", "x");
    tree_file(root, "c/ground_truth/hole/a.png", "x");
    dcam_dataset *d = open_below("c", NULL);
    assert_int_equal(d->sample_count, 2);
    assert_true(ends(d->samples[0].path, "/a.png") && ends(d->samples[0].mask_path, "/a.png"));
    assert_true(ends(d->samples[1].path, "/a_mask.png") && ends(d->samples[1].mask_path, "/a_mask.png"));
    dcam_dataset_destroy(d);
}

static void no_data_set(void **state)
{
    (void)state;
    char path[4096];
    tree_file(root, "empty/readme.txt", "x");
    refused("empty", NULL, DCAM_ERROR_DATA, "no images found", "CLASS/train/good");
    refused("missing", NULL, DCAM_ERROR_DATA, "no such folder", "missing");
    tree_file(root, "file.txt", "x");
    refused("file.txt", NULL, DCAM_ERROR_DATA, "is no data set", "manifest");
    tree_path(root, "m/nut/train/good/", path);
    refused("m", NULL, DCAM_ERROR_DATA, "class \"nut\" holds no images", "nut/train/good");
    refused("m/nut", NULL, DCAM_ERROR_DATA, "holds no images", "train/good");
}

static void plain_folder(void **state)
{
    (void)state;
    char path[4096], link_path[4096];
    tree_file(root, "parts/z.jpg", "x");
    tree_file(root, "parts/a/b/\xff\n\x01 name.png", "x"); /* any bytes */
    tree_file(root, "parts/a/readme", "x");
    tree_file(root, "parts/a/png", "x"); /* no ending */
    tree_path(root, "parts/a", path);
    tree_path(root, "parts/a/b/loop", link_path);
    assert_int_equal(symlink(path, link_path), 0);
    tree_path(root, "parts/self", link_path);
    assert_int_equal(symlink(".", link_path), 0);
    tree_path(root, "parts/gone.png", link_path); /* a broken link is a bad image, to be told when it is read */
    assert_int_equal(symlink("nowhere", link_path), 0);
    dcam_dataset *d = open_below("parts", NULL);
    assert_int_equal(d->class_count, 1);
    assert_string_equal(d->class_names[0], "parts");
    assert_int_equal(d->sample_count, 3);
    assert_true(ends(d->samples[0].path, "parts/a/b/\xff\n\x01 name.png"));
    assert_true(ends(d->samples[1].path, "parts/gone.png"));
    assert_true(ends(d->samples[2].path, "parts/z.jpg"));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(d->samples[i].split, DCAM_SPLIT_TRAIN);
        assert_false(d->samples[i].defective);
    }
    dcam_dataset_destroy(d);
}

/* Every folder has two links to the next one: 2^12 ways to the last, and each is walked once. */
static void links_do_not_multiply(void **state)
{
    (void)state;
    char name[64], path[4096], target[64];
    for (int i = 0; i < 12; i++) {
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "web/%02d/%d", i, k);
            snprintf(target, sizeof target, "../%02d", i + 1);
            tree_path(root, name, path);
            assert_int_equal(symlink(target, path), 0);
        }
        snprintf(name, sizeof name, "web/%02d/x.png", i);
        tree_file(root, name, "x");
    }
    tree_file(root, "web/12/x.png", "x");
    dcam_dataset *d = open_below("web", NULL);
    assert_int_equal(d->sample_count, 13);
    /* Under the first way that is met. */
    size_t found = 0;
    for (size_t i = 0; i < 13; i++) found += ends(d->samples[i].path, "web/00/0/0/x.png");
    assert_int_equal(found, 1);
    dcam_dataset_destroy(d);

    /* More folders than the set of those walked has room for at first, and a second way to each. */
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "wide/%03d/%03d.png", i, i);
        tree_file(root, name, "x");
        snprintf(name, sizeof name, "wide/way%03d", i);
        snprintf(target, sizeof target, "%03d", i);
        tree_path(root, name, path);
        assert_int_equal(symlink(target, path), 0);
    }
    d = open_below("wide", NULL);
    assert_int_equal(d->sample_count, 300);
    for (size_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "wide/%03zu/%03zu.png", i, i);
        assert_true(ends(d->samples[i].path, name));
    }
    dcam_dataset_destroy(d);
}

static void plain_folder_limits(void **state)
{
    (void)state;
    char name[256] = "deep/";
    for (int i = 0; i < 40; i++) strcat(name, "d/");
    strcat(name, "x.png");
    tree_file(root, name, "x");
    refused("deep", NULL, DCAM_ERROR_DATA, "folders deep", "32");
    /* A data set one level too high would be learnt with its defects. */
    tree_file(root, "up/m/nut/train/good/0.png", "x");
    tree_file(root, "up/m/nut/test/bent/0.png", "x");
    refused("up", NULL, DCAM_ERROR_DATA, "MVTec", "right above");
}

static void visa_layout(void **state)
{
    (void)state;
    tree_file(root, "v/split_csv/1cls.csv",
              "object,split,label,image,mask\r\n"
              "candle,train,normal,candle/Data/Images/Normal/0.JPG,\r\n"
              "candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png\r\n"
              "capsules,train,normal,capsules/0.JPG,\r\n");
    tree_file(root, "v/candle/Data/Images/Normal/0.JPG", "x");
    tree_file(root, "v/candle/Data/Images/Anomaly/0.JPG", "x");
    tree_file(root, "v/candle/Data/Masks/Anomaly/0.png", "x");
    refused("v", NULL, DCAM_ERROR_DATA, "line 4", "capsules/0.JPG");
    dcam_dataset *d = open_below("v", "candle");
    assert_int_equal(d->class_count, 1);
    assert_int_equal(d->sample_count, 2);
    assert_string_equal(d->samples[0].label, "good");
    assert_string_equal(d->samples[1].label, "anomaly");
    assert_true(d->samples[1].defective);
    assert_true(ends(d->samples[1].mask_path, "v/candle/Data/Masks/Anomaly/0.png"));
    assert_true(d->class_has_masks[0]);
    dcam_dataset_destroy(d);
    /* Downloaded tables do not lead out of their folder. */
    tree_file(root, "v/split_csv/1cls.csv", "object,split,label,image,mask\nc,train,normal,candle/../../x.JPG,\n");
    tree_file(root, "x.JPG", "x");
    refused("v", NULL, DCAM_ERROR_DATA, "line 2", "leads out");
    tree_file(root, "v/split_csv/1cls.csv", "object,split,label,image,mask\nc,train,normal,/etc/passwd,\n");
    refused("v", NULL, DCAM_ERROR_DATA, "line 2", "leads out");
    tree_file(root, "v/split_csv/1cls.csv", "a,b\n1,2\n");
    refused("v", NULL, DCAM_ERROR_DATA, "1cls.csv", "must name the columns image, object");
}

static void manifest_layout(void **state)
{
    (void)state;
    char text[8192];
    tree_file(root, "pics/with, comma and \"quote\".png", "x");
    tree_file(root, "pics/b.png", "x");
    tree_file(root, "pics/b mask.png", "x");
    tree_file(root, "elsewhere.png", "x");
    snprintf(text, sizeof text,
             "\xEF\xBB\xBFnote,mask,label,split,class,path\n"
             "\"two\nlines\",,good,train,nut,\"pics/with, comma and \"\"quote\"\".png\"\r\n"
             "\n"
             ",pics/b mask.png,bent,test,nut,pics/b.png\n"
             ",,normal,train,bolt,%s/elsewhere.png",
             root);
    tree_file(root, "list.csv", text);
    dcam_dataset *d = open_below("list.csv", NULL);
    assert_string_equal(d->root, root);
    assert_int_equal(d->class_count, 2);
    assert_int_equal(d->sample_count, 3);
    assert_true(ends(d->samples[0].path, "/elsewhere.png"));
    assert_string_equal(d->samples[0].label, "good");
    assert_true(ends(d->samples[1].path, "pics/with, comma and \"quote\".png"));
    assert_string_equal(d->samples[2].label, "bent");
    assert_true(ends(d->samples[2].mask_path, "pics/b mask.png"));
    dcam_dataset_destroy(d);
}

/* Each bad table with the words its message must have. */
static void manifest_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word1, *word2;
    } rows[] = {
        {"", "first line must name", "path"},
        {"path,class,split\na.png,n,train\n", "first line must name", "label"},
        {"a.png,n,train,good\n", "first line must name", "class"},
        {"path;class;split;label\na.png;n;train;good\n", "first line must name", "with commas between"}, /* spreadsheets */
        {"path,class,split,label,Mask\na.png,n,test,bent,a.png\n", "a column \"Mask\"", "spelt mask"},
        {"path, class, split, label\na.png,n,train,good\n", "a column \" class\"", "without blanks"},
        {"path,class,split,label\n", "lists no images", "list.csv"},
        {"path,class,split,label\na.png,n,train\n", "line 2", "3 fields, the header has 4"},
        {"path,class,split,label\na.png,n,train,good,x\n", "line 2", "5 fields"},
        {"path,class,split,label\na.png,n,validate,good\n", "line 2", "\"validate\""},
        {"path,class,split,label\na.png,,train,good\n", "line 2", "class is empty"},
        {"path,class,split,label\na.png,../n,train,good\n", "line 2", "plain name"},
        {"path,class,split,label\na.png,n,train,\n", "line 2", "label is empty"},
        {"path,class,split,label\n\nno.png,n,train,good\n", "line 3", "no such image"},
        {"path,class,split,label,mask\n,n,test,bent,a.png\n", "line 2", "without its photograph"},
        {"path,class,split,label,mask\n,n,test,bent,\n", "line 2", "image is empty"},
        {"path,class,split,label,mask\na.png,n,test,bent,no.png\n", "line 2", "no such mask"},
        {"path,class,split,label,mask\na.png,n,test,good,a.png\n", "line 2", "mask on a normal image"},
        {"path,class,split,label\na.png,n,train,good\na.png,n,test,good\n", "a.png", "listed twice"},
        {"path,class,split,label\n\"a.png,n,train,good\n", "line 2", "not closed"},
        {"path,class,split,label\n\"a.png\"x,n,train,good\n", "line 2", "closing quote"},
        {"path,class,split,label\na\"b.png,n,train,good\n", "line 2", "quote inside"},
        {"path,class,split,label\ra.png,n,train,good\r", "line 1", "carriage return"},
    };
    tree_file(root, "a.png", "x");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tree_file(root, "list.csv", rows[i].text);
        refused("list.csv", NULL, DCAM_ERROR_DATA, rows[i].word1, rows[i].word2);
    }
    tree_bytes(root, "list.csv", "path\0,class", 11);
    refused("list.csv", NULL, DCAM_ERROR_DATA, "NUL byte", "list.csv");
    char wide[400] = "path,class,split,label";
    for (int i = 0; i < 61; i++) strcat(wide, ",c");
    tree_file(root, "list.csv", wide);
    refused("list.csv", NULL, DCAM_ERROR_DATA, "more than 64 columns", "list.csv");
}

static void many_classes_are_refused(void **state)
{
    (void)state;
    static char text[200000] = "path,class,split,label\n";
    size_t used = strlen(text);
    tree_file(root, "a.png", "x");
    for (int i = 0; i < 5000; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "a.png,c%d,train,good\n", i);
    tree_file(root, "list.csv", text);
    refused("list.csv", NULL, DCAM_ERROR_DATA, "more than 4096 classes", "list.csv");
}

static void selection(void **state)
{
    (void)state;
    mvtec_files();
    dcam_dataset *d = open_below("m", NULL);
    uint32_t *list;
    size_t count;
    assert_int_equal(dcam_dataset_select(d, -1, DCAM_SPLIT_TEST, false, &list, &count), DCAM_OK);
    assert_int_equal(count, 5);
    assert_int_equal(list[0], 1);
    assert_int_equal(list[4], 7);
    dcam_free(list);
    assert_int_equal(dcam_dataset_select(d, 1, DCAM_SPLIT_TEST, true, &list, &count), DCAM_OK);
    assert_int_equal(count, 1);
    assert_int_equal(list[0], 7);
    dcam_free(list);
    assert_int_equal(dcam_dataset_select(d, 2, DCAM_SPLIT_TEST, true, &list, &count), DCAM_ERROR_INTERNAL);
    dcam_dataset_destroy(d);
}

static void fingerprint_of(const char *name, char out[65])
{
    dcam_dataset *d = open_below(name, NULL);
    uint32_t *list;
    size_t count;
    assert_int_equal(dcam_dataset_select(d, -1, DCAM_SPLIT_TRAIN, true, &list, &count), DCAM_OK);
    assert_int_equal(dcam_dataset_fingerprint(d, list, count, out, NULL), DCAM_OK);
    dcam_free(list);
    dcam_dataset_destroy(d);
}

static void fingerprint(void **state)
{
    (void)state;
    char first[65], second[65];
    tree_file(root, "p/a.png", "one");
    tree_file(root, "p/b.png", "two");
    tree_file(root, "q/a.png", "one");
    tree_file(root, "q/b.png", "two");
    fingerprint_of("p", first);
    assert_int_equal(strlen(first), 64);
    /* sha256sum of name and content, each behind its length in eight bytes, the content as its own sum:
     * "\5\0\0\0\0\0\0\0a.png\3\0\0\0\0\0\0\0" SHA256("one") "\5\0\0\0\0\0\0\0b.png\3\0\0\0\0\0\0\0" SHA256("two") */
    assert_string_equal(first, "c51dc62afadaa94c19a8d3c57bbfd2997058f140a7c2853286339114f02e58c6");
    fingerprint_of("q", second); /* where the folder lies does not matter */
    assert_string_equal(first, second);
    tree_file(root, "q/b.png", "twO");
    fingerprint_of("q", second);
    assert_string_not_equal(first, second);
    tree_file(root, "q/b.png", "two");
    tree_file(root, "q/c.png", "");
    fingerprint_of("q", second);
    assert_string_not_equal(first, second);
    dcam_dataset *d = open_below("q", NULL);
    uint32_t zero = 0;
    dcam_content_mark mark;
    assert_int_equal(dcam_dataset_fingerprint(d, &zero, 1, second, &mark), DCAM_OK);
    assert_memory_equal(mark, "7692c3ad3540", sizeof mark); /* sha256sum of "one" */
    tree_remove(d->samples[0].path);
    assert_int_equal(dcam_dataset_fingerprint(d, &zero, 1, second, NULL), DCAM_ERROR_IO);
    dcam_dataset_destroy(d);
}

static void allocations_fail(void **state)
{
    (void)state;
    char path[4096];
    mvtec_files();
    tree_file(root, "list.csv", "path,class,split,label,mask\nm/nut/test/bent/000.jpg,n,test,bent,m/nut/test/bent/001.jpg\n");
    static const char *const names[] = {"m", "list.csv", "m/nut/train/good"};
    for (int k = 0; k < 3; k++) {
        dcam_dataset *d = NULL;
        tree_path(root, names[k], path);
        EVERY_ALLOCATION(a, dcam_dataset_open(path, k == 0 ? "nut" : NULL, &d)) {
            assert_true(a.passed ? a.n > 10 : d == NULL);
            dcam_dataset_destroy(d);
            d = NULL;
        }
    }
}

static void real_classes(void **state)
{
    (void)state;
    dcam_dataset *d;
    if (dcam_dataset_open(DCAM_TEST_DATA "/realads", NULL, &d) != DCAM_OK) {
        print_message("SKIPPED: %s\n", dcam_error_message());
        skip();
    }
    assert_int_equal(d->class_count, 8);
    static const struct {
        const char *name;
        size_t train, good, defective;
        bool masks;
    } wanted[] = {
        {"alien_toy", 38, 20, 40, false}, {"ball_screw", 126, 56, 55, true}, {"commutator", 140, 56, 30, true},
        {"lens", 33, 27, 30, true},       {"metal_nut", 130, 50, 48, false}, {"pavement", 83, 42, 49, true},
        {"screw", 140, 41, 67, true},     {"solar_mono", 120, 50, 50, false},
    };
    for (int c = 0; c < 8; c++) {
        uint32_t *list;
        size_t train, good, all;
        assert_string_equal(d->class_names[c], wanted[c].name);
        assert_int_equal(d->class_has_masks[c], wanted[c].masks);
        assert_int_equal(dcam_dataset_select(d, c, DCAM_SPLIT_TRAIN, true, &list, &train), DCAM_OK);
        dcam_free(list);
        assert_int_equal(dcam_dataset_select(d, c, DCAM_SPLIT_TEST, true, &list, &good), DCAM_OK);
        dcam_free(list);
        assert_int_equal(dcam_dataset_select(d, c, DCAM_SPLIT_TEST, false, &list, &all), DCAM_OK);
        for (size_t i = 0; i < all; i++) {
            const dcam_sample *s = &d->samples[list[i]];
            assert_int_equal(s->mask_path != NULL, s->defective && wanted[c].masks);
        }
        dcam_free(list);
        assert_int_equal(train, wanted[c].train);
        assert_int_equal(good, wanted[c].good);
        assert_int_equal(all - good, wanted[c].defective);
    }
    dcam_dataset_destroy(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mvtec_layout),
        TEST(one_class_folder),
        TEST(class_selection),
        TEST(masks_that_do_not_fit),
        TEST(photograph_called_mask),
        TEST(no_data_set),
        TEST(plain_folder),
        TEST(links_do_not_multiply),
        TEST(plain_folder_limits),
        TEST(visa_layout),
        TEST(manifest_layout),
        TEST(manifest_errors),
        TEST(many_classes_are_refused),
        TEST(selection),
        TEST(fingerprint),
        TEST(allocations_fail),
        TEST(real_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
