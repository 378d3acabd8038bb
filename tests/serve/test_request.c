/* What clients send: JSON with tensors in it and the binary extension; forms are in test_form.c. Good requests in every
 * spelling, and what is wrong with bad ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/random.h"
#include "serve/request.h"

#define MAX_PIXELS 10000

static void message(const char *part)
{
    if (!strstr(dcam_error_message(), part)) fail_msg("\"%s\" is not in \"%s\"", part, dcam_error_message());
}

/* A copy without a zero at its end, so that the sanitizer sees a read behind it. */
static dcam_status parse(const char *text, size_t count, long long header, dcam_infer_request *out)
{
    static uint8_t *kept;
    free(kept);
    kept = malloc(count ? count : 1);
    memcpy(kept, text, count);
    return dcam_infer_request_parse(kept, count, header, MAX_PIXELS, out);
}

static void accept(const char *text, dcam_infer_request *out)
{
    if (parse(text, strlen(text), -1, out) != DCAM_OK) fail_msg("%s: %s", text, dcam_error_message());
}

static void refuse(const char *text, const char *why)
{
    dcam_infer_request r;
    const dcam_status status = parse(text, strlen(text), -1, &r);
    if (status != DCAM_ERROR_USAGE) fail_msg("%s: %s", text, dcam_status_name(status));
    if (!strstr(dcam_error_message(), why)) fail_msg("%s: \"%s\" is not in \"%s\"", text, why, dcam_error_message());
}

#define IMAGE "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"data\":[1,2,3,4,5,255]}"

static void json_requests(void **state)
{
    static const char *const spellings[] = {
        "{\"inputs\":[" IMAGE "]}",
        " {\n\"inputs\" : [ {\"shape\":[1,1,2,3] , \"data\" :\t[[[[1 , 2,3],[4,5,255]]]] ,\"name\":\"image\",\"datatype\":\"UINT8\"} ] } ",
        "{\"inputs\":[{\"data\":[[1,2,3],[4,5,255]],\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3]}],\"data\":7}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        dcam_infer_request r;
        uint8_t rgb[6];
        const uint8_t wanted[6] = {1, 2, 3, 4, 5, 255};
        accept(spellings[i], &r);
        assert_int_equal(r.images, 1);
        assert_int_equal(r.height, 1);
        assert_int_equal(r.width, 2);
        assert_false(r.floats);
        assert_null(r.id);
        assert_int_equal(r.output_count, DCAM_OUTPUTS);
        assert_int_equal(dcam_infer_request_rgb(&r, rgb), DCAM_OK);
        assert_memory_equal(rgb, wanted, 6);
        dcam_infer_request_clear(&r);
    }
}

static void options_of_a_request(void **state)
{
    dcam_infer_request r;
    (void)state;
    accept("{\"id\":\"part 7 \\\"x\\\"\",\"parameters\":{\"class\":\"bolt\",\"timeout\":2500,\"binary_data_output\":true},"
           "\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"anomaly_map\"},{\"name\":\"score\",\"parameters\":{\"binary_data\":false}}]}", &r);
    assert_string_equal(r.id, "part 7 \"x\"");
    assert_string_equal(r.class_names[0], "bolt");
    assert_int_equal(r.timeout, 2500);
    assert_int_equal(r.output_count, 2);
    assert_int_equal(r.outputs[0], DCAM_OUTPUT_MAP);
    assert_true(r.output_binary[0]);
    assert_int_equal(r.outputs[1], DCAM_OUTPUT_SCORE);
    assert_false(r.output_binary[1]);
    dcam_infer_request_clear(&r);
    accept("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[2,1,1,3],\"data\":[0,0,0,9,9,9]},"
           "{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a]\\\"\",\"b\"]}]}", &r);
    assert_string_equal(r.class_names[0], "a]\"");
    assert_string_equal(r.class_names[1], "b");
    dcam_infer_request_clear(&r);
    accept("{\"inputs\":[{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"all\"]},"
           "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[2,1,1,3],\"data\":[0,0,0,9,9,9]}]}", &r);
    assert_string_equal(r.class_names[1], "all");
    dcam_infer_request_clear(&r);
}

static void bad_requests(void **state)
{
    (void)state;
    refuse("", "ends early");
    refuse("{", "ends early");
    refuse("]", "was not open");
    refuse("{\"inputs\":[" IMAGE "]", "ends early");
    refuse("{\"inputs\":[" IMAGE "]} x", "not valid JSON");
    refuse("{\"inputs\":[" IMAGE "],\"id\":1 2}", "not valid JSON");
    refuse("{\"inputs\":[" IMAGE "],\"id\":\"a\",\"id\":\"b\"}", "not valid JSON");
    refuse("{\"inputs\":[" IMAGE "],\"id\":\"open}", "does not end");
    refuse("{\"inputs\":[" IMAGE "],\"id\":\"\\", "does not end");
    refuse("[]", "not a JSON object");
    refuse("{\"inputs\":[" IMAGE "],\"id\":7}", "\"id\"");
    refuse("{}", "\"inputs\"");
    refuse("{\"inputs\":[]}", "\"inputs\"");
    refuse("{\"inputs\":[7]}", "no \"name\"");
    refuse("{\"inputs\":[" IMAGE "," IMAGE "]}", "both");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":7}", "not an object");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"timeout\":-1}}", "timeout");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"timeout\":1e99}}", "timeout");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"class\":7}}", "not a string");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"class\":\"\"}}", "1 to 255 bytes");
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"mood\"}]}", "unknown output mood");
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"raw\"},{\"name\":\"raw\"}]}", "twice");
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":{}}", "not an array");
    refuse("{\"inputs\":[{\"name\":\"picture\"}]}", "unknown input picture");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"INT64\"}]}", "must be UINT8, not INT64");
    refuse("{\"inputs\":[{\"name\":\"input\",\"datatype\":\"UINT8\"}]}", "must be FP32");
    refuse("{\"inputs\":[{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}]}", "no tensor \"image\"");
    refuse("{\"inputs\":[" IMAGE ",{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[7]}]}", "not a string");
    refuse("{\"inputs\":[" IMAGE ",{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a\",\"b\"]}]}", "2 names for 1");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"parameters\":{\"shared_memory_region\":\"x\"}}]}",
           "shared memory");
#define CLASS(members) "{\"inputs\":[" IMAGE ",{\"name\":\"class\"," members "}]}"
    refuse(CLASS("\"datatype\":\"UINT8\",\"shape\":[1],\"data\":[\"a\"]"), "must be BYTES");
    refuse(CLASS("\"shape\":[1],\"data\":[\"a\"]"), "must be BYTES");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[65],\"data\":[\"a\"]"), "at most 64 names");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1,1],\"data\":[\"a\"]"), "[N] or [1]");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\",\"b\"]"), "an array of 1 names");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"],\"parameters\":7"), "not an object");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1]"), "no \"data\"");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"],\"parameters\":{\"binary_data_size\":1}"), "has both");
    refuse(CLASS("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]},{\"name\":\"class\""), "twice");
    refuse("{\"inputs\":[" IMAGE ",{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"a\"]}],"
           "\"parameters\":{\"class\":\"b\"}}", "both as input and as parameter");
#undef CLASS
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"raw\",\"parameters\":{\"classification\":1}}]}", "classification");
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"raw\",\"parameters\":{\"binary_data\":1}}]}", "not true or false");
    refuse("{\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"raw\",\"parameters\":[]}]}", "not an object");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"binary_data_output\":\"yes\"}}", "not true or false");
    refuse("{\"inputs\":[" IMAGE "],\"parameters\":{\"timeout\":0.5}}", "timeout");
    refuse("{\"inputs\":{}}", "\"inputs\"");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"data\":[1,2,3,4,5,6],"
           "\"parameters\":{\"normalised\":true}}]}", "\"normalised\" is for");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2.5,3],\"data\":[1]}]}", "shape");
    /* An escaped key must not pass a number of the client's off as one of our indices. */
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"d\\u0061ta\":0}]}", "escape in a key");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"data\":{}}]}", "not an array");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],\"data\"}]}", "no colon");
}

static void bad_shapes(void **state)
{
    static const char *const shapes[] = {"[1,1,2]", "[1,1,2,3,1]", "7", "[1,1,-2,3]", "[1,0,2,3]", "[1.0,1,2,3]", "[1,1,\"2\",3]",
                                         "[1,1,99999999999999999999,3]", "[1,1,9223372036854775807,3]", "[1,40000,2,3]"};
    char text[400];
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        snprintf(text, sizeof text, "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":%s,\"data\":[1]}]}", shapes[i]);
        refuse(text, strstr(shapes[i], "999999") ? "not valid JSON" : "shape");
    }
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,4],\"data\":[1]}]}", "4 channels");
    refuse("{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,1,2,3],\"data\":[1]}]}", "1 channels");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[65,1,1,3],\"data\":[1]}]}", "at most 64");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,101,100,3],\"data\":[1]}]}", "above the limit of 10000");
}

static void check_numbers(const char *data, dcam_status wanted_u8, dcam_status wanted_f32)
{
    const dcam_span span = {(const uint8_t *)data, strlen(data)};
    uint8_t u8[4];
    float f32[4];
    if (dcam_json_numbers_u8(span, 4, u8) != wanted_u8) fail_msg("u8 %s: %s", data, dcam_error_message());
    if (dcam_json_numbers_f32(span, 4, f32) != wanted_f32) fail_msg("f32 %s: %s", data, dcam_error_message());
}

static void grammar_of_numbers(void **state)
{
    const dcam_status bad = DCAM_ERROR_USAGE;
    (void)state;
    check_numbers("[0,1,2,255]", DCAM_OK, DCAM_OK);
    check_numbers(" [ [0 ,1],\n[2,255] ] ", DCAM_OK, DCAM_OK);
    check_numbers("[[],0,1,2,3]", DCAM_OK, DCAM_OK);
    check_numbers("[0,1,2,256]", bad, DCAM_OK);
    check_numbers("[0,1,2,-3]", bad, DCAM_OK);
    check_numbers("[0,1,2,3.5e-1]", bad, DCAM_OK);
    check_numbers("[0,1,2,-0.0E+2]", bad, DCAM_OK);
    static const char *const wrong[] = {
        "", "0,1,2,3", "[0,1,2]", "[0,1,2,3,4]", "[0,1,2,3", "[0,1,2,3]]", "[0,1,2,3],[1]", "[0,1,2,]", "[,0,1,2,3]", "[0 1,2,3]",
        "[0,1,2,03]", "[0,1,2,+3]", "[0,1,2,.5]", "[0,1,2,3.]", "[0,1,2,1e]", "[0,1,2,NaN]", "[0,1,2,Infinity]", "[0,1,2,1e39]",
        "[0,1,2,-1e999999999999]", "[0,1,2,\"3\"]", "[0,1,2,null]", "[0,1,2,0x3]", "[0][1,2,3]", "[0,[1,2,3]", "[0,1,2,3}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) check_numbers(wrong[i], bad, bad);
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    check_numbers(deep, bad, bad);
}

/* The C library's own reader is the oracle. */
static void numbers_as_strtod(void **state)
{
    dcam_random random = dcam_random_make(1, 2);
    char text[80];
    (void)state;
    for (int i = 0; i < 20000; i++) {
        const int digits = 1 + (int)dcam_random_below(&random, 24), power = (int)dcam_random_below(&random, 90) - 50;
        size_t n = (size_t)snprintf(text, sizeof text, "%s%llu", i % 2 ? "-" : "", (unsigned long long)dcam_random_below(&random, 10));
        if (i % 3) text[n++] = '.';
        for (int k = 0; i % 3 && k < digits; k++) text[n++] = (char)('0' + dcam_random_below(&random, 10));
        if (i % 5) n += (size_t)snprintf(text + n, sizeof text - n, "e%d", power);
        text[n] = '\0';
        char array[90];
        float got, wanted = (float)strtod(text, NULL);
        const int length = snprintf(array, sizeof array, "[%s]", text);
        const dcam_status status = dcam_json_numbers_f32((dcam_span){(const uint8_t *)array, (size_t)length}, 1, &got);
        if (!isfinite(wanted)) {
            assert_int_equal(status, DCAM_ERROR_USAGE);
            continue;
        }
        assert_int_equal(status, DCAM_OK);
        if (fabsf(got - wanted) > 1.2e-7f * fabsf(wanted) + 1.5e-45f) fail_msg("%s: %.9g, not %.9g", text, (double)got, (double)wanted);
    }
}

static size_t binary_request(char *out, size_t capacity, const char *json, const void *data, size_t bytes)
{
    const size_t length = strlen(json);
    assert_true(length + bytes <= capacity);
    memcpy(out, json, length);
    memcpy(out + length, data, bytes);
    return length + bytes;
}

#define FLOATS "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,1,2],\"parameters\":{\"binary_data_size\":24%s}}]}"

static dcam_status parse_floats(const float values[6], bool normalised, float out[6])
{
    char json[300], body[600];
    dcam_infer_request r;
    snprintf(json, sizeof json, FLOATS, normalised ? ",\"normalised\":true" : "");
    const size_t count = binary_request(body, sizeof body, json, values, 24);
    assert_int_equal(parse(body, count, (long long)strlen(json), &r), DCAM_OK);
    assert_true(r.binary && r.floats && r.normalised == normalised);
    const dcam_status status = dcam_infer_request_floats(&r, out);
    dcam_infer_request_clear(&r);
    return status;
}

static void binary_floats(void **state)
{
    const float good[6] = {0, 0.25f, 1, 0.5f, 0.75f, 1}, wide[6] = {0, -2.1f, 1, 0, 0, 0}, nan_there[6] = {0, 0, 0, 0, NAN, 0},
                infinite[6] = {0, INFINITY, 0, 0, 0, 0}, far[6] = {1e4f, -1e4f, 0, 0, 0, 0}, beyond[6] = {0, 0, 0, -10001, 0, 0};
    float out[6];
    (void)state;
    assert_int_equal(parse_floats(good, false, out), DCAM_OK);
    assert_memory_equal(out, good, sizeof good);
    assert_int_equal(parse_floats(wide, false, out), DCAM_ERROR_USAGE);
    message("value 1 is -2.1; RGB in 0..1");
    assert_int_equal(parse_floats(wide, true, out), DCAM_OK);
    assert_int_equal(parse_floats(nan_there, true, out), DCAM_ERROR_USAGE);
    message("value 4 is not a finite number");
    assert_int_equal(parse_floats(infinite, true, out), DCAM_ERROR_USAGE);
    assert_int_equal(parse_floats(far, true, out), DCAM_OK);
    assert_int_equal(parse_floats(beyond, true, out), DCAM_ERROR_USAGE);
    message("value 3 is -10001; what is normalised lies within -10000..10000");
}

static void binary_sizes(void **state)
{
    static const uint8_t pixels[12] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0};
    static const struct { int size; size_t sent; long long header; const char *why; } cases[] = {
        {6, 6, 0, NULL},       {6, 5, 0, "not within the 5 bytes"}, {6, 7, 0, "1 bytes behind"}, {7, 7, 0, "needs 6 bytes of data"},
        {-1, 6, 0, "binary_data_size"}, {6, 6, 1, "body has"},       {6, 6, -1, "not valid JSON"},
    };
    char json[300], body[600];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_infer_request r;
        snprintf(json, sizeof json, "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,2,3],"
                                    "\"parameters\":{\"binary_data_size\":%d}}]}", cases[i].size);
        const size_t count = binary_request(body, sizeof body, json, pixels, cases[i].sent);
        const long long header = cases[i].header == 1 ? 1000000 : (long long)strlen(json) + cases[i].header;
        const dcam_status status = parse(body, count, header, &r);
        if (cases[i].why) {
            assert_int_equal(status, DCAM_ERROR_USAGE);
            if (cases[i].header >= 0) message(cases[i].why);
        } else {
            uint8_t rgb[6];
            assert_int_equal(status, DCAM_OK);
            assert_int_equal(dcam_infer_request_rgb(&r, rgb), DCAM_OK);
            assert_memory_equal(rgb, pixels, 6);
            dcam_infer_request_clear(&r);
        }
    }
    dcam_infer_request r;
    assert_int_equal(parse("{}", 2, 0, &r), DCAM_ERROR_USAGE);
    message("is 0");
}

static void binary_classes(void **state)
{
    static const char json[] = "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[2,1,1,3],\"data\":[0,0,0,1,1,1]},"
                               "{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[2],\"parameters\":{\"binary_data_size\":%d}}]}";
    static const struct { const char *data; int size; const char *why; } cases[] = {
        {"\2\0\0\0ab\1\0\0\0c", 11, NULL},        {"\2\0\0\0ab\2\0\0\0c", 11, "within element 1"},
        {"\2\0\0\0ab\1\0\0", 9, "before element 1"}, {"\377\377\377\377ab\1\0\0\0c", 11, "within element 0"},
        {"\2\0\0\0ab\1\0\0\0cd", 12, "more data"},  {"\2\0\0\0a\0\1\0\0\0c", 11, "1 to 255"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400], body[600];
        dcam_infer_request r;
        snprintf(text, sizeof text, json, cases[i].size);
        const size_t count = binary_request(body, sizeof body, text, cases[i].data, (size_t)cases[i].size);
        const dcam_status status = parse(body, count, (long long)strlen(text), &r);
        assert_int_equal(status, cases[i].why ? DCAM_ERROR_USAGE : DCAM_OK);
        if (cases[i].why) {
            message(cases[i].why);
            continue;
        }
        assert_string_equal(r.class_names[0], "ab");
        assert_string_equal(r.class_names[1], "c");
        dcam_infer_request_clear(&r);
    }
}

/* Each limit of request.h, at it and one beyond. */
static void limits(void **state)
{
    static char text[2 * DCAM_REQUEST_MAX_JSON];
    dcam_infer_request r;
    size_t n = 0;
    (void)state;
    /* Tensors: the ninth is one too many, before any is looked at. */
    for (int tensors = DCAM_REQUEST_MAX_INPUTS; tensors <= DCAM_REQUEST_MAX_INPUTS + 1; tensors++) {
        n = (size_t)snprintf(text, sizeof text, "{\"inputs\":[");
        for (int i = 0; i < tensors; i++) n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"data\":[1]}", i ? "," : "");
        snprintf(text + n, sizeof text - n, "]}");
        refuse(text, tensors > DCAM_REQUEST_MAX_INPUTS ? "more than 8 tensors" : "input 0 has no \"name\"");
    }
    /* Nesting, in the request and in a tensor. */
    memset(text, '[', DCAM_REQUEST_MAX_DEPTH);
    text[DCAM_REQUEST_MAX_DEPTH] = '\0';
    refuse(text, "ends early");
    strcat(text, "[");
    refuse(text, "too deeply nested");
    for (int depth = DCAM_REQUEST_MAX_DEPTH; depth <= DCAM_REQUEST_MAX_DEPTH + 1; depth++) {
        n = (size_t)snprintf(text, sizeof text, "{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":");
        memset(text + n, '[', (size_t)depth);
        n += (size_t)depth;
        n += (size_t)snprintf(text + n, sizeof text - n, "1,2,3");
        memset(text + n, ']', (size_t)depth);
        snprintf(text + n + depth, sizeof text - n - (size_t)depth, "}]}");
        if (depth > DCAM_REQUEST_MAX_DEPTH) {
            refuse(text, "too deeply nested");
            continue;
        }
        accept(text, &r);
        uint8_t rgb[3];
        assert_int_equal(dcam_infer_request_rgb(&r, rgb), DCAM_OK);
        assert_int_equal(rgb[2], 3);
        dcam_infer_request_clear(&r);
    }
    /* The text apart from tensors. */
    n = (size_t)snprintf(text, sizeof text, "{\"x\":\"");
    memset(text + n, 'x', DCAM_REQUEST_MAX_JSON);
    snprintf(text + n + DCAM_REQUEST_MAX_JSON, sizeof text - n - DCAM_REQUEST_MAX_JSON, "\"}");
    refuse(text, "above the limit of 65536 bytes");
    /* An id of 256 bytes is echoed, a longer one is not. */
    for (int length = DCAM_REQUEST_MAX_ID; length <= DCAM_REQUEST_MAX_ID + 1; length++) {
        snprintf(text, sizeof text, "{\"id\":\"%0*d\",\"inputs\":[" IMAGE "]}", length, 7);
        if (length > DCAM_REQUEST_MAX_ID) {
            refuse(text, "at most 256 bytes");
            continue;
        }
        accept(text, &r);
        assert_int_equal(strlen(r.id), DCAM_REQUEST_MAX_ID);
        dcam_infer_request_clear(&r);
    }
}

#define JSON_FLOATS(data) "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,1,1],\"data\":" data "}]}"
#define PIXEL "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":[1,2,3]}"
#define CLASS(shape, data) "{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[" shape "],\"data\":" data "}"

/* Sixteen maps of 256x256 in JSON are given, more are not; in binary form any number, and where none is wanted. */
static void maps_in_json(void **state)
{
    static const struct { const char *rest; int images; dcam_status status; } cases[] = {
        {"", 1, DCAM_OK}, {"", 16, DCAM_OK}, {"", 17, DCAM_ERROR_USAGE}, {"", 64, DCAM_ERROR_USAGE},
        {",\"parameters\":{\"binary_data_output\":true}", 64, DCAM_OK},
        {",\"outputs\":[{\"name\":\"anomaly_map\"}]", 17, DCAM_ERROR_USAGE},
        {",\"outputs\":[{\"name\":\"anomaly_map\",\"parameters\":{\"binary_data\":true}}]", 64, DCAM_OK},
        {",\"outputs\":[{\"name\":\"score\"}]", 64, DCAM_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_infer_request r;
        char text[400];
        snprintf(text, sizeof text, "{\"inputs\":[" IMAGE "]%s}", cases[i].rest);
        accept(text, &r);
        r.images = cases[i].images;
        assert_int_equal(dcam_infer_request_check_maps(&r, 256 * 256), cases[i].status);
        if (cases[i].status != DCAM_OK) message("binary_data");
        dcam_infer_request_clear(&r);
    }
}

/* Shapes that promise more than the text holds are refused before anybody asks for their memory. */
static void promises_in_json(void **state)
{
    (void)state;
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[64,100,100,3],\"data\":[0]}]}", "1 values in the tensor's data, its shape has 1920000");
    refuse("{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,1,1],\"data\":[0,1]}]}", "2 values in the tensor's data, its shape has 3");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":[]}]}", "0 values");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":[\"1\"]}]}", "not a number");
    /* The shortest spelling of as many as there must be. */
    dcam_infer_request r;
    uint8_t rgb[3] = {7, 7, 7};
    accept("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":[1,2,3]}]}", &r);
    assert_int_equal(r.data.count, 7);
    assert_int_equal(dcam_infer_request_rgb(&r, rgb), DCAM_OK);
    assert_true(rgb[0] == 1 && rgb[1] == 2 && rgb[2] == 3);
    dcam_infer_request_clear(&r);
}

static void floats_in_json(void **state)
{
    static const struct { const char *text; dcam_status status; const char *why; } cases[] = {
        {JSON_FLOATS("[0,0.5,1]"), DCAM_OK, NULL},
        {JSON_FLOATS("[0,0.5,2]"), DCAM_ERROR_USAGE, "value 2 is 2"},
        {JSON_FLOATS("[0,0.5]"), DCAM_ERROR_USAGE, ""},
        {JSON_FLOATS("[0,0.5,\"1\"]"), DCAM_ERROR_USAGE, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_infer_request r;
        float v[3] = {7, 7, 7};
        accept(cases[i].text, &r);
        assert_true(r.floats && !r.binary);
        assert_int_equal(dcam_infer_request_floats(&r, v), cases[i].status);
        if (cases[i].why) message(cases[i].why);
        else assert_true(v[0] == 0 && v[1] == 0.5f && v[2] == 1);
        dcam_infer_request_clear(&r);
    }
    /* More digits than 64 bits hold count as zeros. */
    float f;
    assert_int_equal(dcam_json_numbers_f32((dcam_span){(const uint8_t *)"[12345678901234567890123456]", 28}, 1, &f), DCAM_OK);
    assert_true(fabsf(f / 1.2345679e25f - 1) < 1e-6f);
    assert_int_equal(dcam_json_numbers_f32((dcam_span){(const uint8_t *)"[1e+2]", 6}, 1, &f), DCAM_OK);
    assert_true(f == 100);
}

/* Values of the wrong kind where a name, a flag, a number or a list is due. */
static void wrong_kinds(void **state)
{
    (void)state;
    refuse("[1]", "is not a JSON object");
    refuse("{\"id\":7,\"inputs\":[" PIXEL "]}", "\"id\" is not a string");
    refuse("{\"parameters\":7,\"inputs\":[" PIXEL "]}", "\"parameters\" is not an object");
    refuse("{\"parameters\":{\"class\":7},\"inputs\":[" PIXEL "]}", "\"class\" is not a string");
    refuse("{\"parameters\":{\"timeout\":0},\"inputs\":[" PIXEL "]}", "\"timeout\"");
    refuse("{\"parameters\":{\"timeout\":4000000000},\"inputs\":[" PIXEL "]}", "\"timeout\"");
    refuse("{\"parameters\":{\"timeout\":1.5},\"inputs\":[" PIXEL "]}", "\"timeout\"");
    refuse("{\"parameters\":{\"binary_data_output\":1},\"inputs\":[" PIXEL "]}", "not true or false");
    refuse("{\"outputs\":7,\"inputs\":[" PIXEL "]}", "\"outputs\" is not an array");
    refuse("{\"outputs\":[{\"name\":\"raw\",\"parameters\":[]}],\"inputs\":[" PIXEL "]}", "\"parameters\" is not an object");
    refuse("{\"outputs\":[{\"name\":\"raw\",\"parameters\":{\"classification\":2}}],\"inputs\":[" PIXEL "]}", "not supported");
    refuse("{\"outputs\":[{\"name\":\"raw\",\"parameters\":{\"shared_memory_region\":\"a\"}}],\"inputs\":[" PIXEL "]}", "not supported");
    refuse("{\"outputs\":[{\"name\":\"raw\"},{\"name\":\"raw\"}],\"inputs\":[" PIXEL "]}", "twice");
    refuse("{\"inputs\":[{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"parameters\":{\"binary_data_size\":\"3\"}}]}",
           "binary_data_size");
    refuse("{\"inputs\":[" PIXEL "," CLASS("1", "[7]") "]}", "element 0 is not a string");
    refuse("{\"inputs\":[" PIXEL "," CLASS("1", "[\"a\",\"b\"]") "]}", "an array of 1 names");
    refuse("{\"inputs\":[" PIXEL "," CLASS("2", "[\"a\",\"b\"]") "]}", "2 names for 1 images");
    refuse("{\"inputs\":[" PIXEL "," CLASS("65", "[]") "]}", "at most 64 names");
    refuse("{\"inputs\":[" PIXEL "," CLASS("1", "[\"a\"]") "," CLASS("1", "[\"a\"]") "]}", "twice");
    refuse("{\"parameters\":{\"class\":\"a\"},\"inputs\":[" PIXEL "," CLASS("1", "[\"a\"]") "]}", "both as input and as parameter");
    refuse("{\"inputs\":[" CLASS("1", "[\"a\"]") "]}", "no tensor");
}

/* Every prefix, and random changes, of good requests: any answer but a crash, a leak or a read outside. */
static void damaged_requests(void **state)
{
    static const char good[] = "{\"id\":\"x\",\"parameters\":{\"class\":\"b\"},\"inputs\":[" IMAGE "],\"outputs\":[{\"name\":\"raw\"}]}";
    dcam_random random = dcam_random_make(7, 1);
    char text[sizeof good];
    (void)state;
    for (size_t n = 0; n + 1 < sizeof good; n++) {
        dcam_infer_request r;
        assert_int_equal(parse(good, n, -1, &r), DCAM_ERROR_USAGE);
    }
    for (int i = 0; i < 20000; i++) {
        dcam_infer_request r;
        memcpy(text, good, sizeof good);
        for (int k = 0; k < 1 + i % 3; k++)
            text[dcam_random_below(&random, sizeof good - 1)] = "{}[]\",:\\0 9dn"[dcam_random_below(&random, 13)];
        if (parse(text, sizeof good - 1, -1, &r) == DCAM_OK) {
            uint8_t rgb[MAX_PIXELS * 3];
            if ((size_t)r.images * (size_t)r.width * (size_t)r.height <= MAX_PIXELS && !r.floats &&
                dcam_infer_request_rgb(&r, rgb) != DCAM_OK)
                assert_true(dcam_error_message()[0] != '\0');
            dcam_infer_request_clear(&r);
        }
    }
}

static void lack_of_memory(void **state)
{
    static const char good[] = "{\"id\":\"x\",\"parameters\":{\"class\":\"b\"},\"inputs\":[" IMAGE "]}";
    dcam_infer_request r;
    (void)state;
    EVERY_ALLOCATION(a, parse(good, sizeof good - 1, -1, &r)) {
        if (a.passed) dcam_infer_request_clear(&r);
    }
}

static long allocations_left;

static void *few(size_t bytes) { return allocations_left-- > 0 ? malloc(bytes) : NULL; }

/* jansson's own: a good request is never called wrong for want of memory. */
static void lack_of_memory_is_no_fault_of_the_client(void **state)
{
    static const char good[] = "{\"id\":\"a name of more than sixteen bytes\",\"inputs\":[" IMAGE ",{\"name\":\"class\",\"datatype\":\"BYTES\","
                               "\"shape\":[1],\"data\":[\"another name of more than sixteen bytes\"]}]}";
    dcam_status status = DCAM_ERROR_MEMORY;
    long n = 0;
    (void)state;
    json_set_alloc_funcs(few, free);
    for (; status != DCAM_OK && n < 1000; n++) {
        dcam_infer_request r;
        allocations_left = n;
        status = parse(good, sizeof good - 1, -1, &r);
        if (status == DCAM_OK) dcam_infer_request_clear(&r);
        else if (status != DCAM_ERROR_MEMORY) break;
    }
    json_set_alloc_funcs(malloc, free);
    if (status != DCAM_OK) fail_msg("allocation %ld: %s, %s", n, dcam_status_name(status), dcam_error_message());
    assert_true(n > 20);
}

static void digits(void **state)
{
    (void)state;
    assert_int_equal(dcam_request_digits("0"), 0);
    assert_int_equal(dcam_request_digits("65536"), 65536);
    assert_int_equal(dcam_request_digits(""), -1);
    assert_int_equal(dcam_request_digits("-1"), -1);
    assert_int_equal(dcam_request_digits("1 "), -1);
    assert_int_equal(dcam_request_digits("99999999999999999999999999"), -1);
}

static int no_leak(void **state)
{
    (void)state;
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(json_requests, no_leak),    cmocka_unit_test_teardown(options_of_a_request, no_leak),
        cmocka_unit_test_teardown(bad_requests, no_leak),     cmocka_unit_test_teardown(bad_shapes, no_leak),
        cmocka_unit_test(grammar_of_numbers),                 cmocka_unit_test(numbers_as_strtod),
        cmocka_unit_test_teardown(binary_floats, no_leak),    cmocka_unit_test_teardown(binary_sizes, no_leak),
        cmocka_unit_test_teardown(binary_classes, no_leak),   cmocka_unit_test_teardown(damaged_requests, no_leak),
        cmocka_unit_test_teardown(lack_of_memory, no_leak),   cmocka_unit_test(digits),
        cmocka_unit_test_teardown(lack_of_memory_is_no_fault_of_the_client, no_leak),
        cmocka_unit_test_teardown(limits, no_leak),           cmocka_unit_test_teardown(floats_in_json, no_leak),
        cmocka_unit_test_teardown(wrong_kinds, no_leak),      cmocka_unit_test_teardown(maps_in_json, no_leak),
        cmocka_unit_test_teardown(promises_in_json, no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
