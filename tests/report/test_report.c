/* The page of an evaluation: its structure, names of any bytes, nothing fetched from elsewhere, the limit of its size,
 * places that cannot be written, and failing memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "comma_locale.h"
#include "formula.h"
#include "report/report.h"
#include "report/html.h"

#define EVIL "<b>&\"'\x01\xff</b>"
#define EVIL_ESCAPED "&lt;b&gt;&amp;&quot;&#39;\xef\xbf\xbd\xef\xbf\xbd&lt;/b&gt;"

static char folder[128];

static int create(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dcam-report.XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int clear(void **state)
{
    char path[200];
    (void)state;
    snprintf(path, sizeof path, "%s/page/index.html", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/page", folder);
    rmdir(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else is left */
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

static void check_escape(const char *text, const char *wanted)
{
    dcam_html t = {0};
    dcam_html_escape(&t, text);
    assert_string_equal(t.bytes ? t.bytes : "", wanted);
    dcam_html_clear(&t);
}

static void any_bytes_are_text(void **state)
{
    (void)state;
    check_escape("", "");
    check_escape("Schraube gr\xc3\xb6\xc3\x9f" "er \xe2\x88\x85 \xf0\x9f\x94\xa9", "Schraube gr\xc3\xb6\xc3\x9f" "er \xe2\x88\x85 \xf0\x9f\x94\xa9");
    check_escape(EVIL, EVIL_ESCAPED);
    check_escape("a\nb\x7f", "a\xef\xbf\xbd" "b\xef\xbf\xbd");
    check_escape("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");                       /* overlong */
    check_escape("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");       /* a surrogate */
    check_escape("x\xe2\x80\xae" "gnp", "x\xef\xbf\xbdgnp");                    /* turns the direction */
    check_escape("\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd");                       /* cut short */
}

static void check_base64(const char *bytes, const char *wanted)
{
    dcam_html t = {0};
    dcam_html_base64(&t, (const uint8_t *)bytes, strlen(bytes));
    assert_string_equal(t.bytes, wanted);
    dcam_html_clear(&t);
}

static void base64_is_that_of_rfc_4648(void **state)
{
    (void)state;
    check_base64("", "");
    check_base64("f", "Zg==");
    check_base64("fo", "Zm8=");
    check_base64("foo", "Zm9v");
    check_base64("foobar", "Zm9vYmFy");
    check_base64("\xff\xfe\xfd", "//79");
}

/* SVG's points need points. */
static void numbers_have_points(void **state)
{
    dcam_html t = {0};
    (void)state;
    comma_locale_begin(",");
    dcam_html_format(&t, "%.1f,%.1f ", 1.5, 2.25);
    dcam_html_number(&t, "%.4f", 0.5);
    comma_locale_end(",");
    assert_string_equal(t.bytes, "1.5,2.2 0.5000");
    dcam_html_clear(&t);
}

/* ---- a page ---- */

enum { SIDE = 300, MAP = 32, SCORES = 6 };

static dcam_status add_pictures(dcam_report *r, int count)
{
    static float map[MAP * MAP];
    dcam_image photo = {SIDE, SIDE / 2, 3, NULL}, mask = {SIDE, SIDE / 2, 1, NULL};
    DCAM_TRY(dcam_alloc(SIDE * SIDE / 2, 3, &photo.pixels));
    dcam_status status = dcam_alloc_zero(SIDE * SIDE / 2, 1, &mask.pixels);
    if (status == DCAM_OK) {
        for (uint32_t i = 0; i < SIDE * SIDE / 2 * 3; i++) photo.pixels[i] = (uint8_t)(128 + 100 * formula_value(1, i));
        for (uint32_t i = 0; i < MAP * MAP; i++) map[i] = formula_value(2, i);
        memset(mask.pixels + 20 * SIDE, 255, 20 * SIDE);
    }
    const dcam_report_picture p = {.path = "dir/" EVIL ".png", .label = EVIL, .verdict = "missed", .score = 0.3, .raw = 1.5,
                                   .photo = &photo, .mask = &mask, .map = map, .map_width = MAP, .map_height = MAP,
                                   .map_median = -0.5f, .map_low = 0, .map_high = 1, .threshold = 0.5};
    for (int i = 0; status == DCAM_OK && i < count; i++) status = dcam_report_picture_add(r, &p);
    dcam_image_clear(&mask);
    dcam_image_clear(&photo);
    return status;
}

static dcam_status add_class(dcam_report *r, int pictures)
{
    static const float scores[SCORES] = {1, 2, 3, 2.5f, 4, 5};
    static const uint8_t labels[SCORES] = {0, 0, 0, 1, 1, 1};
    dcam_report_class c = {.name = EVIL, .scores = scores, .labels = labels, .images = SCORES, .defective = 3, .threshold = 2.7};
    DCAM_TRY(dcam_image_curves(scores, labels, SCORES, &c.image));
    dcam_report_class_begin(r, &c);
    dcam_curves_clear(&c.image);
    dcam_report_group(r, "Worst misses");
    DCAM_TRY(add_pictures(r, pictures));
    dcam_report_class_end(r);
    return DCAM_OK;
}

static const char record[] = "{\"kind\": \"model\", \"method\": \"" "<i>\", \"classes\": [{\"name\": \"unlisted\"}], \"training\": {\"best_epoch\": 2, "
                             "\"options\": {\"seed\": 7}, \"epochs\": [{\"loss\": 3.0, \"validation\": 1.0}, {\"loss\": 2.0, \"validation\": 0.5}]}}";

static dcam_status make_page(const char *where, int pictures)
{
    dcam_class_result result = {.name = (char *)(uintptr_t)EVIL, .images = SCORES, .defective = 3,
                                .metrics = {0.5, 0.25, 1, NAN, NAN, NAN, NAN, NAN, 0, 1}, .low = {0.1, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                                .high = {0.9, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}};
    const dcam_evaluation e = {.classes = &result, .class_count = 1, .mean = result.metrics, .mean_low = result.low,
                               .mean_high = result.high, .resamples = 123, .class_inferred_right = NAN, .seconds = 1};
    const dcam_report_summary summary = {.model = EVIL, .dataset = EVIL, .evaluation = &e};
    dcam_report *r;
    DCAM_TRY(dcam_report_create(where, &r));
    dcam_status status = add_class(r, pictures);
    if (status == DCAM_OK) status = dcam_report_model(r, EVIL, record);
    if (status == DCAM_OK) status = dcam_report_finish(r, &summary);
    dcam_report_destroy(r);
    return status;
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

/* Every element that is opened is closed, in order. */
static void check_nesting(const char *page)
{
    static const char *const empty[] = {"meta", "img", "path", "rect", "polyline"};
    char stack[64][16];
    size_t depth = 0;
    for (const char *p = strstr(page, "<html"); p; p = strchr(p + 1, '<')) {
        char name[16];
        const bool closing = p[1] == '/';
        size_t n = 0;
        for (const char *q = p + 1 + closing; (isalnum((unsigned char)*q)) && n < sizeof name - 1; q++) name[n++] = *q;
        name[n] = '\0';
        if (n == 0) fail_msg("a bare < at %.40s", p);
        bool none = false;
        for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) none |= strcmp(name, empty[i]) == 0;
        if (none) continue;
        if (!closing) {
            assert_true(depth < 64);
            strcpy(stack[depth++], name);
        } else {
            if (depth == 0 || strcmp(stack[depth - 1], name) != 0) fail_msg("</%s> closes <%s>", name, depth ? stack[depth - 1] : "nothing");
            depth--;
        }
    }
    assert_int_equal(depth, 0);
}

static char *read_page(size_t *count)
{
    char path[200];
    static uint8_t *bytes;
    snprintf(path, sizeof path, "%s/page/index.html", folder);
    assert_int_equal(dcam_file_read(path, (size_t)1 << 30, &bytes, count), DCAM_OK);
    return (char *)bytes;
}

static void the_page_stands_alone(void **state)
{
    char where[200];
    size_t count;
    (void)state;
    snprintf(where, sizeof where, "%s/page", folder);
    assert_int_equal(make_page(where, 2), DCAM_OK);
    char *page = read_page(&count);
    assert_int_equal(strlen(page), count);
    assert_memory_equal(page, "<!DOCTYPE html>", 15);
    check_nesting(page);
    /* nothing from outside gets through as markup, and nothing is fetched or run */
    assert_null(strstr(page, "<b>"));
    assert_null(strstr(page, "<i>"));
    assert_true(count_of(page, EVIL_ESCAPED) >= 8);
    assert_null(strstr(page, "http:"));
    assert_null(strstr(page, "https:"));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<link"));
    assert_null(strstr(page, "@import"));
    assert_null(strstr(page, "url("));
    assert_int_equal(count_of(page, "src=\""), count_of(page, "src=\"data:image/jpeg;base64,"));
    assert_int_equal(count_of(page, "href=\""), count_of(page, "href=\"#"));
    assert_non_null(strstr(page, "max-height")); /* of a tall part's pictures, which are as wide as any */
    /* what must be there */
    assert_int_equal(count_of(page, "<img "), 6);
    assert_int_equal(count_of(page, "<img "), count_of(page, " alt=\""));
    assert_int_equal(count_of(page, "<h1"), 1);
    assert_int_equal(count_of(page, "<svg "), count_of(page, "role=\"img\" aria-label=\""));
    assert_int_equal(count_of(page, "<svg "), 5); /* scores, ROC, precision; loss, validation */
    assert_non_null(strstr(page, "0.5000<small>0.100\xe2\x80\x93" "0.900</small>"));
    assert_non_null(strstr(page, "123 resamples"));
    assert_non_null(strstr(page, "2 of 3 defective images at or above"));
    assert_non_null(strstr(page, "training, options, seed</th><td>7<"));
    assert_null(strstr(page, "unlisted"));
    assert_null(strstr(page, "left out"));
    dcam_free(page);
}

/* Photographs of noise are the largest there are; the page stays below the limit and says what it left out. */
static void the_size_is_bounded(void **state)
{
    char where[200];
    size_t count;
    (void)state;
    snprintf(where, sizeof where, "%s/page", folder);
    assert_int_equal(make_page(where, 1200), DCAM_OK);
    char *page = read_page(&count);
    assert_true(count < DCAM_REPORT_MAX_PICTURE_BYTES * 4 / 3 + ((size_t)2 << 20));
    assert_true(count > DCAM_REPORT_MAX_PICTURE_BYTES);
    assert_non_null(strstr(page, " pictures were left out: the page holds 24 MiB"));
    dcam_free(page);
}

static void a_place_that_cannot_be_written(void **state)
{
    char path[200];
    dcam_report *r;
    (void)state;
    snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(dcam_file_write(path, "x", 1), DCAM_OK);
    assert_int_equal(dcam_report_create(path, &r), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), path));
    assert_int_equal(unlink(path), 0);
    if (geteuid() != 0) {
        assert_int_equal(chmod(folder, 0500), 0);
        snprintf(path, sizeof path, "%s/page2", folder);
        assert_int_equal(dcam_report_create(path, &r), DCAM_ERROR_IO);
        assert_int_equal(chmod(folder, 0700), 0);
    }
}

static void memory_may_fail(void **state)
{
    char where[200], path[240];
    int wholes = 0;
    size_t count;
    char *page;
    (void)state;
    snprintf(where, sizeof where, "%s/page", folder);
    snprintf(path, sizeof path, "%s/index.html", where);
    unlink(path);
    EVERY_ALLOCATION(a, make_page(where, 1)) {
        assert_true(a.n > 15 || !a.passed);
        /* whole or not at all: the last failure may come after the file has its name */
        if (!dcam_path_exists(path)) continue;
        page = read_page(&count);
        assert_string_equal(page + count - 8, "</html>\n");
        dcam_free(page);
        unlink(path);
        wholes++;
    }
    assert_in_range(wholes, 2, 4);
}

/* The base64 text of a picture, as an image. */
static void read_picture(const char *text, dcam_image *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static uint8_t bytes[1 << 16];
    size_t n = 0;
    uint32_t group = 0;
    for (size_t i = 0; text[i] != '"' && text[i] != '='; i++) {
        group = group << 6 | (uint32_t)(strchr(digits, text[i]) - digits);
        assert_true(n + 3 < sizeof bytes);
        if (i % 4) bytes[n++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    assert_int_equal(dcam_image_decode(bytes, n, "picture", out), DCAM_OK);
}

/* The darkest and the brightest green of the 5 x 5 pixels around the middle. */
static int contrast_in_the_middle(const dcam_image *image)
{
    int darkest = 255, brightest = 0;
    for (int y = image->height / 2 - 2; y <= image->height / 2 + 2; y++)
        for (int x = image->width / 2 - 2; x <= image->width / 2 + 2; x++) {
            const int green = image->pixels[3 * (y * image->width + x) + 1];
            darkest = green < darkest ? green : darkest;
            brightest = green > brightest ? green : brightest;
        }
    return brightest - darkest;
}

/* One pixel of the mask and one of the map, both finer than the picture in the page. */
static void small_defects_are_outlined(void **state)
{
    enum { LARGE = 1000, FINE = 448, MIDDLE = FINE / 2 * (FINE + 1) };
    static const char begin[] = "base64,";
    static float map[FINE * FINE];
    dcam_report *r;
    char path[200];
    (void)state;
    snprintf(path, sizeof path, "%s/page", folder);
    for (int shift = 0; shift < 4; shift++) {
        dcam_image photo = {LARGE, LARGE, 3, NULL}, mask = {LARGE, LARGE, 1, NULL};
        size_t count;
        assert_int_equal(dcam_alloc(LARGE * LARGE, 3, &photo.pixels), DCAM_OK);
        assert_int_equal(dcam_alloc_zero(LARGE * LARGE, 1, &mask.pixels), DCAM_OK);
        memset(photo.pixels, 128, 3 * LARGE * LARGE);
        mask.pixels[(LARGE / 2 + shift) * (LARGE + 1)] = 255;
        memset(map, 0, sizeof map);
        map[MIDDLE + shift % 2 * (FINE + 1)] = 1;
        const dcam_report_picture p = {.path = "a", .label = "a", .verdict = "found", .photo = &photo, .mask = &mask, .map = map, .map_width = FINE,
                                       .map_height = FINE, .map_low = 2, .map_high = 3, .map_median = 2, .threshold = 1};
        dcam_report_class c = {.name = "a"};
        dcam_report_summary summary = {.model = "a", .dataset = "a", .evaluation = &(dcam_evaluation){0}};
        assert_int_equal(dcam_report_create(path, &r), DCAM_OK);
        dcam_report_class_begin(r, &c);
        dcam_report_group(r, "found");
        assert_int_equal(dcam_report_picture_add(r, &p), DCAM_OK);
        dcam_report_class_end(r);
        assert_int_equal(dcam_report_finish(r, &summary), DCAM_OK);
        dcam_report_destroy(r);
        char *page = read_page(&count), *at = page;
        for (int i = 0; i < 3; i++) {
            dcam_image shown;
            at = strstr(at, begin) + strlen(begin);
            read_picture(at, &shown);
            if (i != 1 && contrast_in_the_middle(&shown) <= 50) fail_msg("picture %d of shift %d: %d", i, shift, contrast_in_the_middle(&shown)); /* the map is black */
            dcam_image_clear(&shown);
        }
        dcam_free(page);
        dcam_image_clear(&mask);
        dcam_image_clear(&photo);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_are_text),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(numbers_have_points),
        cmocka_unit_test(the_page_stands_alone),
        cmocka_unit_test(the_size_is_bounded),
        cmocka_unit_test(small_defects_are_outlined),
        cmocka_unit_test(a_place_that_cannot_be_written),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, create, clear);
}
