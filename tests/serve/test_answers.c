/* What answers are made of: JSON strings and numbers, base64, and the drift of scores against its definition. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/random.h"
#include "comma_locale.h"
#include "serve/internal.h"
#include "serve/metrics.h"
#include "serve/text.h"

/* Any bytes become a JSON string that jansson reads; where they are UTF-8 it reads the same. */
static void strings(void **state)
{
    dcam_random random = dcam_random_make(3, 1);
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[12] = "";
        const size_t n = dcam_random_below(&random, sizeof text);
        for (size_t k = 0; k < n; k++) {
            const uint64_t kind = dcam_random_below(&random, 3);
            text[k] = (char)(kind == 0 ? 1 + dcam_random_below(&random, 127) : kind == 1 ? 0x80 + dcam_random_below(&random, 64)
                                                                                         : 0xc0 + dcam_random_below(&random, 64));
        }
        dcam_text t = {0};
        dcam_text_json(&t, text);
        json_error_t error;
        json_t *read = json_loadb(t.bytes, t.used, JSON_DECODE_ANY, &error), *direct = json_string(text);
        if (!json_is_string(read)) fail_msg("%s: %s", t.bytes, error.text);
        for (const char *p = t.bytes; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f || (*p == '\xc2' && (unsigned char)p[1] < 0xa0)) fail_msg("a control in %s", t.bytes);
        if (direct) assert_string_equal(json_string_value(read), text);
        else assert_non_null(strstr(json_string_value(read), "\xef\xbf\xbd"));
        json_decref(direct);
        json_decref(read);
        dcam_text_clear(&t);
    }
}

/* What begins a command of a terminal, as a client may send it. */
static void controls(void **state)
{
    dcam_text t = {0};
    (void)state;
    dcam_text_json(&t, "\xc2\x9b" "31m \x7f \xc2\x80 \xc2\xa0 \x9b \x1b");
    assert_string_equal(t.bytes, "\"\\u009B31m \\u007F \\u0080 \xc2\xa0 \xef\xbf\xbd \\u001B\"");
    dcam_text_clear(&t);
}

static void numbers(void **state)
{
    dcam_text t = {0};
    (void)state;
    dcam_text_number(&t, 0.1f, 9);
    dcam_text_add(&t, " ");
    dcam_text_number(&t, NAN, 9);
    dcam_text_add(&t, " ");
    dcam_text_number(&t, -INFINITY, 9);
    dcam_text_add(&t, " ");
    dcam_text_json(&t, NULL);
    assert_string_equal(t.bytes, "0.100000001 null null null");
    dcam_text_clear(&t);
}

/* JSON's point, and that of /metrics and the log, in a program whose decimals have commas. */
static void numbers_of_a_comma_locale(void **state)
{
    dcam_text t = {0};
    (void)state;
    comma_locale_begin(",");
    dcam_text_number(&t, 0.32, 9);
    dcam_text_format(&t, " %.3f le=\"%g\" %.15g", 12.5, 0.0001, 1e-7);
    comma_locale_end(",");
    assert_string_equal(t.bytes, "0.32 12.500 le=\"0.0001\" 1e-07");
    dcam_text_clear(&t);
}

/* RFC 4648, section 10. */
static void base64(void **state)
{
    static const char *const wanted[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    (void)state;
    for (size_t n = 0; n < sizeof wanted / sizeof *wanted; n++) {
        dcam_text t = {0};
        dcam_text_base64(&t, "foobar", n);
        assert_string_equal(t.bytes, wanted[n]);
        dcam_text_clear(&t);
    }
}

static dcam_status write_long(void)
{
    dcam_text t = {0};
    for (int i = 0; i < 1000; i++) {
        dcam_text_json(&t, "a text that makes the buffer grow");
        dcam_text_number(&t, i, 9);
    }
    const dcam_status status = dcam_text_check(&t);
    dcam_text_clear(&t);
    return status;
}

static void lack_of_memory(void **state)
{
    (void)state;
    EVERY_ALLOCATION(a, write_long()) {}
}

/* The definition: the largest difference of the two distribution functions over all points. */
static double plain_drift(const float *a, size_t n, const float *b, size_t m)
{
    double largest = 0;
    for (size_t p = 0; p < n + m; p++) {
        const float x = p < n ? a[p] : b[p - n];
        size_t i = 0, k = 0;
        for (size_t j = 0; j < n; j++) i += a[j] <= x;
        for (size_t j = 0; j < m; j++) k += b[j] <= x;
        largest = fmax(largest, fabs((double)i / (double)n - (double)k / (double)m));
    }
    return largest;
}

static void drift(void **state)
{
    dcam_random random = dcam_random_make(5, 1);
    (void)state;
    for (int i = 0; i < 500; i++) {
        float recent[40], sorted[30], copy[40];
        const size_t n = 1 + dcam_random_below(&random, 40), m = 1 + dcam_random_below(&random, 30);
        /* Few different values: ties within and between. */
        for (size_t k = 0; k < n; k++) copy[k] = recent[k] = (float)dcam_random_below(&random, 12);
        float value = -1;
        for (size_t k = 0; k < m; k++) sorted[k] = value += (float)dcam_random_below(&random, 2);
        assert_true(fabs(serve_drift(recent, n, sorted, m) - plain_drift(copy, n, sorted, m)) < 1e-12);
    }
    float same[3] = {3, 1, 2}, apart[2] = {9, 8};
    const float calibration[3] = {1, 2, 3};
    assert_true(serve_drift(same, 3, calibration, 3) == 0);
    assert_true(serve_drift(apart, 2, calibration, 3) == 1);
    assert_true(isnan(serve_drift(same, 0, calibration, 3)));
}

/* Wherever a model that was loaded later has a class, or has it not. */
static void places_of_classes(void **state)
{
    static char a[] = "a", b[] = "b", c[] = "c";
    dcam_class_metrics classes[3] = {{.name = a}, {.name = b}, {.name = c}};
    const serve_model m = {.classes = classes, .class_count = 3}, none = {0};
    (void)state;
    for (size_t in_engine = 0; in_engine < 5; in_engine++) {
        assert_int_equal(serve_class_place(&m, "a", in_engine), 0);
        assert_int_equal(serve_class_place(&m, "b", in_engine), 1);
        assert_int_equal(serve_class_place(&m, "c", in_engine), 2);
        assert_int_equal(serve_class_place(&m, "d", in_engine), 3);
        assert_int_equal(serve_class_place(&none, "a", in_engine), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings), cmocka_unit_test(controls), cmocka_unit_test(numbers), cmocka_unit_test(numbers_of_a_comma_locale), cmocka_unit_test(base64),
        cmocka_unit_test(lack_of_memory), cmocka_unit_test(drift),
        cmocka_unit_test(places_of_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
