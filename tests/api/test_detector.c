/* The public detector: what it refuses, and that file, bytes, pixels and many files give the same verdicts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api_case.h"
#include "image/image.h"

static dcam_detector *detector;

static int create(void **state)
{
    case_create(state);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.threads = 1}, &detector), DCAM_OK);
    return 0;
}

static int destroy(void **state)
{
    dcam_detector_close(detector);
    return case_remove(state);
}

static void opening_refuses(void **state)
{
    dcam_detector *none = NULL;
    (void)state;
    assert_int_equal(dcam_detector_open(NULL, NULL, &none), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detector_open(case_model, NULL, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detector_open(case_path("nothing"), NULL, &none), DCAM_ERROR_IO);
    case_message("nothing");
    tree_file(case_root, "text", "no model at all");
    assert_int_equal(dcam_detector_open(case_path("text"), NULL, &none), DCAM_ERROR_MODEL);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.class_name = "cloud"}, &none), DCAM_ERROR_USAGE);
    case_message("has no class cloud; it knows ");
    case_message(dcam_detector_class_name(detector, 0));
    case_message(dcam_detector_class_name(detector, 1));
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.batch = -1}, &none), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.batch = 1025}, &none), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.threads = -1}, &none), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.threads = 1000000}, &none), DCAM_ERROR_USAGE);
    case_message("1000000 threads");
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.precision = (dcam_precision)9}, &none), DCAM_ERROR_USAGE);
    assert_null(none);
    dcam_detector_close(NULL);
}

static void facts(void **state)
{
    (void)state;
    assert_int_equal(dcam_detector_class_count(detector), CASE_CLASSES);
    assert_non_null(dcam_detector_class_name(detector, CASE_CLASSES - 1));
    assert_null(dcam_detector_class_name(detector, CASE_CLASSES));
    assert_int_equal(dcam_detector_width(detector), CASE_SIDE);
    assert_int_equal(dcam_detector_height(detector), CASE_SIDE);
}

/* A picture of another size than the model's. */
static void make_picture(dcam_image *out)
{
    *out = (dcam_image){.width = 90, .height = 70, .channels = 3};
    assert_int_equal(dcam_alloc(70 * 90, 3, &out->pixels), DCAM_OK);
    for (int i = 0; i < 70 * 90 * 3; i++) out->pixels[i] = (uint8_t)(i * 7 % 251);
}

static void check_same(const dcam_detection *a, const dcam_detection *b)
{
    assert_string_equal(a->class_name, b->class_name);
    assert_string_equal(a->class_source, b->class_source);
    assert_true(a->score == b->score && a->raw == b->raw && a->threshold == b->threshold);
    assert_int_equal(a->anomalous, b->anomalous);
    assert_int_equal(a->region_count, b->region_count);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_memory_equal(a->map, b->map, CASE_SIDE * CASE_SIDE * sizeof(float));
}

static void file_bytes_and_pixels_agree(void **state)
{
    dcam_image picture;
    dcam_detection by_file, by_bytes, by_pixels;
    uint8_t *bytes, *rows;
    size_t count;
    enum { STRIDE = 300 };
    (void)state;
    make_picture(&picture);
    assert_int_equal(dcam_png_write(case_path("picture.png"), &picture), DCAM_OK);
    assert_int_equal(dcam_file_read(case_path("picture.png"), 1 << 20, &bytes, &count), DCAM_OK);
    assert_int_equal(dcam_alloc(70, STRIDE, &rows), DCAM_OK);
    memset(rows, 255, 70 * STRIDE);
    for (size_t y = 0; y < 70; y++) memcpy(rows + y * STRIDE, picture.pixels + y * 270, 270);
    assert_int_equal(dcam_detect_file(detector, case_path("picture.png"), &by_file), DCAM_OK);
    assert_int_equal(dcam_detect_bytes(detector, bytes, count, &by_bytes), DCAM_OK);
    assert_int_equal(dcam_detect_rgb(detector, rows, 90, 70, STRIDE, &by_pixels), DCAM_OK);
    check_same(&by_file, &by_bytes);
    check_same(&by_file, &by_pixels);
    assert_int_equal(by_file.width, 90);
    assert_int_equal(by_file.height, 70);
    assert_int_equal(by_file.map_width, CASE_SIDE);
    assert_string_equal(by_file.class_source, "inferred");
    assert_true(by_file.anomalous == (by_file.raw >= by_file.threshold));
    assert_true(by_file.anomalous == (by_file.score >= 0.5));
    dcam_detection_clear(&by_pixels);
    dcam_detection_clear(&by_pixels);
    assert_int_equal(dcam_detect_rgb(detector, picture.pixels, 90, 70, 0, &by_pixels), DCAM_OK);
    check_same(&by_file, &by_pixels);
    dcam_detection_clear(&by_pixels);
    dcam_detection_clear(&by_bytes);
    dcam_detection_clear(&by_file);
    dcam_detection_clear(NULL);
    dcam_free(rows);
    dcam_free(bytes);
    dcam_image_clear(&picture);
}

static void pixels_are_refused(void **state)
{
    const uint8_t pixel[3] = {1, 2, 3};
    dcam_detection out, before;
    (void)state;
    memset(&out, 7, sizeof out);
    memcpy(&before, &out, sizeof out);
    assert_int_equal(dcam_detect_rgb(detector, NULL, 1, 1, 0, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, 1, 1, 0, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, 0, 1, 0, &out), DCAM_ERROR_IMAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, 1, -1, 0, &out), DCAM_ERROR_IMAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, DCAM_MAX_IMAGE_SIDE + 1, 1, 0, &out), DCAM_ERROR_IMAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, DCAM_MAX_IMAGE_SIDE, DCAM_MAX_IMAGE_SIDE, 0, &out), DCAM_ERROR_IMAGE);
    assert_int_equal(dcam_detect_rgb(detector, pixel, 1, 1, 2, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_bytes(detector, "GIF89a", 6, &out), DCAM_ERROR_IMAGE);
    assert_int_equal(dcam_detect_bytes(detector, NULL, 6, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_file(detector, case_path("no.png"), &out), DCAM_ERROR_IO);
    assert_memory_equal(&out, &before, sizeof out);
}

static void a_given_class_is_used(void **state)
{
    dcam_detector *d;
    dcam_detection out;
    const uint8_t pixel[3] = {1, 2, 3};
    (void)state;
    for (size_t i = 0; i < CASE_CLASSES; i++) {
        const char *name = dcam_detector_class_name(detector, i);
        assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.class_name = name, .batch = 1, .threads = 1}, &d), DCAM_OK);
        assert_int_equal(dcam_detect_rgb(d, pixel, 1, 1, 0, &out), DCAM_OK);
        assert_string_equal(out.class_name, name);
        assert_string_equal(out.class_source, "given");
        dcam_detection_clear(&out);
        dcam_detector_close(d);
    }
}

static void overlay_and_map_are_written(void **state)
{
    dcam_image picture, overlay = {0};
    dcam_detection out;
    uint8_t *bytes;
    size_t count;
    (void)state;
    make_picture(&picture);
    assert_int_equal(dcam_png_write(case_path("picture.png"), &picture), DCAM_OK);
    assert_int_equal(dcam_detect_file(detector, case_path("picture.png"), &out), DCAM_OK);
    assert_int_equal(dcam_overlay_file(detector, case_path("picture.png"), &out, case_path("overlay.png")), DCAM_OK);
    assert_int_equal(dcam_image_load(case_path("overlay.png"), &overlay), DCAM_OK);
    assert_int_equal(overlay.width, 90);
    assert_int_equal(overlay.height, 70);
    assert_int_equal(dcam_map_write_npy(&out, case_path("map.npy")), DCAM_OK);
    assert_int_equal(dcam_file_read(case_path("map.npy"), 1 << 20, &bytes, &count), DCAM_OK);
    const size_t values = CASE_SIDE * CASE_SIDE * sizeof(float);
    assert_true(count > values);
    assert_memory_equal(bytes + (count - values), out.map, values);
    dcam_detection without = out;
    without.map = NULL;
    assert_int_equal(dcam_overlay_file(detector, case_path("picture.png"), &without, case_path("o.png")), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_map_write_npy(&without, case_path("m.npy")), DCAM_ERROR_USAGE);
    without = out;
    without.class_name = "cloud";
    assert_int_equal(dcam_overlay_file(detector, case_path("picture.png"), &without, case_path("o.png")), DCAM_ERROR_USAGE);
    assert_false(dcam_path_exists(case_path("o.png")));
    dcam_free(bytes);
    dcam_image_clear(&overlay);
    dcam_detection_clear(&out);
    dcam_image_clear(&picture);
}

/* ---- many files ---- */

typedef struct {
    size_t calls, errors, stop_after;
    bool sorted, same;
    char last[600];
} seen;

static bool note(void *user, const char *path, const dcam_detection *detection, const char *error)
{
    seen *s = user;
    dcam_detection alone;
    s->calls++;
    s->sorted = s->sorted && strcmp(s->last, path) < 0;
    snprintf(s->last, sizeof s->last, "%.599s", path);
    if (detection) {
        assert_null(error);
        assert_int_equal(dcam_detect_file(detector, path, &alone), DCAM_OK);
        s->same = s->same && strcmp(alone.class_name, detection->class_name) == 0 && alone.anomalous == detection->anomalous &&
                  alone.raw - detection->raw < 1e-4 && detection->raw - alone.raw < 1e-4;
        dcam_detection_clear(&alone);
    } else {
        assert_non_null(strstr(error, path));
        s->errors++;
    }
    return s->calls == s->stop_after;
}

static dcam_status detect_all(int batch, const char *path, seen *s, size_t *failed)
{
    dcam_detector *d;
    assert_int_equal(dcam_detector_open(case_model, &(dcam_detector_options){.batch = batch}, &d), DCAM_OK);
    const dcam_status status = dcam_detect_paths(d, &path, 1, note, s, failed);
    dcam_detector_close(d);
    return status;
}

static void every_file_once_in_order(void **state)
{
    static const char truncated[] = "\x89PNG\r\n\x1a\n";
    (void)state;
    tree_file(case_root, "data/a.png", "no picture");
    tree_file(case_root, "data/z.png", truncated);
    tree_file(case_root, "data/notes.txt", "not looked at");
    const size_t images = CASE_CLASSES * (CASE_TRAIN + CASE_GOOD + 2 * CASE_DEFECTIVE); /* the masks too */
    for (int batch = 1; batch <= 49; batch *= 7) {
        seen s = {.sorted = true, .same = true};
        size_t failed = 99;
        assert_int_equal(detect_all(batch, case_data, &s, &failed), DCAM_OK);
        assert_int_equal(s.calls, images + 2);
        assert_int_equal(s.errors, 2);
        assert_int_equal(failed, 2);
        assert_true(s.sorted);
        assert_true(s.same);
    }
    assert_int_equal(remove(case_path("data/a.png")), 0);
    assert_int_equal(remove(case_path("data/z.png")), 0);
}

static void stopping_and_refusing(void **state)
{
    (void)state;
    seen s = {.sorted = true, .same = true, .stop_after = 3};
    assert_int_equal(detect_all(4, case_data, &s, NULL), DCAM_ERROR_CANCELLED);
    assert_int_equal(s.calls, 3);
    s = (seen){0};
    assert_int_equal(detect_all(4, case_path("nowhere"), &s, NULL), DCAM_ERROR_DATA);
    tree_file(case_root, "empty/notes.txt", "no image");
    assert_int_equal(detect_all(4, case_path("empty"), &s, NULL), DCAM_ERROR_DATA);
    case_message("holds no image");
    assert_int_equal(dcam_detect_paths(detector, NULL, 1, note, &s, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_paths(detector, (const char *[]){NULL}, 1, note, &s, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_detect_paths(detector, (const char *[]){case_data}, 0, note, &s, NULL), DCAM_ERROR_USAGE);
    assert_int_equal(s.calls, 0);
}

/* Other links are followed; the depth is bounded. */
static void loops_of_links_are_passed_over(void **state)
{
    char deep[200] = "links/";
    dcam_image picture;
    (void)state;
    make_picture(&picture);
    tree_file(case_root, "links/a/notes.txt", "");
    tree_file(case_root, "elsewhere/notes.txt", "");
    assert_int_equal(dcam_png_write(case_path("links/a/1.png"), &picture), DCAM_OK);
    assert_int_equal(dcam_png_write(case_path("elsewhere/2.PNG"), &picture), DCAM_OK);
    dcam_image_clear(&picture);
    assert_int_equal(symlink("..", case_path("links/a/up")), 0);
    assert_int_equal(symlink(".", case_path("links/a/here")), 0);
    assert_int_equal(symlink("../elsewhere", case_path("links/there")), 0);
    /* Two ways from each folder to the next: each folder is walked once. */
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 2; k++) {
            char name[64], target[64], path[4096];
            snprintf(name, sizeof name, "links/web/%d/%d", i, k);
            snprintf(target, sizeof target, "../%d", i + 1);
            tree_path(case_root, name, path);
            assert_int_equal(symlink(i < 7 ? target : "../../a", path), 0);
        }
    seen s = {.sorted = true, .same = true};
    assert_int_equal(detect_all(4, case_path("links"), &s, NULL), DCAM_OK);
    assert_int_equal(s.calls, 2);
    for (int i = 0; i < 33; i++) strcat(deep, "d/");
    strcat(deep, "x.png");
    tree_file(case_root, deep, "");
    assert_int_equal(detect_all(4, case_path("links"), &s, NULL), DCAM_ERROR_DATA);
    case_message("more than 32 folders deep");
}

static void a_sum_of_a_file(void **state)
{
    char digits[65] = "as it was";
    (void)state;
    tree_file(case_root, "abc", "abc");
    assert_int_equal(dcam_file_sha256(case_path("nowhere"), digits), DCAM_ERROR_IO);
    assert_int_equal(dcam_file_sha256(NULL, digits), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_file_sha256(case_path("abc"), NULL), DCAM_ERROR_USAGE);
    assert_string_equal(digits, "as it was");
    assert_int_equal(dcam_file_sha256(case_path("abc"), digits), DCAM_OK);
    assert_string_equal(digits, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_refuses), cmocka_unit_test(facts), cmocka_unit_test(file_bytes_and_pixels_agree),
        cmocka_unit_test(pixels_are_refused), cmocka_unit_test(a_given_class_is_used),
        cmocka_unit_test(overlay_and_map_are_written), cmocka_unit_test(every_file_once_in_order),
        cmocka_unit_test(stopping_and_refusing), cmocka_unit_test(loops_of_links_are_passed_over),
        cmocka_unit_test(a_sum_of_a_file),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
