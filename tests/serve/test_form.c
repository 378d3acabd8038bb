/* Forms that clients send (multipart/form-data): good ones in several spellings, every prefix, each limit, boundaries. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/request.h"

static void message(const char *part)
{
    if (!strstr(dcam_error_message(), part)) fail_msg("\"%s\" is not in \"%s\"", part, dcam_error_message());
}

#define FORM "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"../../etc/passwd\"\r\nContent-Type: image/png\r\n\r\n" \
             "\x89PNG\r\n--\r\n--Bx\r\n--B\r\ncontent-disposition: form-data; name=\"class\"\r\n\r\nbolt\r\n--B--\r\n"

static void forms(void **state)
{
    dcam_form f;
    (void)state;
    assert_int_equal(dcam_form_parse((const uint8_t *)FORM, sizeof FORM - 1, "B", &f), DCAM_ERROR_USAGE);
    message("no line end"); /* "--Bx" is not the boundary, but it is at a line's begin: no photograph may hold that */
    static const char good[] = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a;b.png\"\r\n\r\n"
                               "\x89PNG\r\n--A\r\n\r\n--B\r\nContent-Disposition: form-data; name=class\r\n\r\nbolt\r\n"
                               "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\r\n--B\r\n\r\nno name\r\n--B--";
    assert_int_equal(dcam_form_parse((const uint8_t *)good, sizeof good - 1, "B", &f), DCAM_OK);
    assert_int_equal(f.image.count, 11);
    assert_memory_equal(f.image.bytes, "\x89PNG\r\n--A\r\n", 11);
    assert_string_equal(f.class_name, "bolt");
    assert_string_equal(f.model, "");
    for (size_t n = 0; n + 1 < sizeof good; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, good, n);
        assert_int_equal(dcam_form_parse(copy, n, "B", &f), DCAM_ERROR_USAGE);
        free(copy);
    }
    static const char two[] = "--B\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; name=a; "
                              "filename=f\r\n\r\ny\r\n--B--";
    assert_int_equal(dcam_form_parse((const uint8_t *)two, sizeof two - 1, "B", &f), DCAM_ERROR_USAGE);
    message("more than one photograph");
    static const char encoded[] = "--B\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--B--";
    assert_int_equal(dcam_form_parse((const uint8_t *)encoded, sizeof encoded - 1, "B", &f), DCAM_ERROR_USAGE);
    message("encoded");
    static const char plain[] = "--B\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n--B\r\ncontent-transfer-encoding:BINARY \r\n\r\nx\r\n"
                                "--B\r\nContent-Transfer-Encoding: 8Bit\r\nContent-Disposition: form-data; name=class\r\n\r\nbolt\r\n--B--";
    assert_int_equal(dcam_form_parse((const uint8_t *)plain, sizeof plain - 1, "B", &f), DCAM_OK);
    assert_string_equal(f.class_name, "bolt");
}

#define PART(header, content) "--B\r\n" header "\r\n\r\n" content "\r\n"
#define NAMED(name, content) PART("Content-Disposition: form-data; name=" name, content)

static dcam_status form(const char *text, size_t count, dcam_form *out)
{
    uint8_t *copy = malloc(count);
    memcpy(copy, text, count);
    const dcam_status status = dcam_form_parse(copy, count, "B", out);
    out->image.bytes = NULL; /* of the copy */
    free(copy);
    return status;
}

static void limits_of_forms(void **state)
{
    static const char zero[] = NAMED("class", "a\0b") "--B--", eight[] = PART("Content-Transfer-Encoding: 8bit", "x") "--B--",
                      binary[] = PART("CONTENT-TRANSFER-ENCODING: binary", "x") "--B--",
                      unnamed[] = PART("Content-Disposition: form-data; filename=f", "abc") "--B--",
                      other[] = NAMED("comment", "x") NAMED("\"image\"", "abcd") "--B--";
    static char text[3 * 4096];
    dcam_form f;
    size_t n;
    (void)state;
    assert_int_equal(form(zero, sizeof zero - 1, &f), DCAM_ERROR_USAGE);
    message("a zero byte in class");
    /* An encoding that changes nothing is none; a part of another name is passed over, one with a file is the photograph. */
    assert_int_equal(form(eight, sizeof eight - 1, &f), DCAM_OK);
    assert_int_equal(f.image.count, 0);
    assert_int_equal(form(binary, sizeof binary - 1, &f), DCAM_OK);
    assert_int_equal(form(unnamed, sizeof unnamed - 1, &f), DCAM_OK);
    assert_int_equal(f.image.count, 3);
    assert_int_equal(form(other, sizeof other - 1, &f), DCAM_OK);
    assert_int_equal(f.image.count, 4);
    for (int length = (int)sizeof f.class_name - 1; length <= (int)sizeof f.class_name; length++) {
        n = (size_t)snprintf(text, sizeof text, NAMED("class", "%0*d") "--B--", length, 7);
        assert_int_equal(form(text, n, &f), length < (int)sizeof f.class_name ? DCAM_OK : DCAM_ERROR_USAGE);
        if (length == (int)sizeof f.class_name) message("class is longer than");
        else assert_int_equal(strlen(f.class_name), (size_t)length);
    }
    n = (size_t)snprintf(text, sizeof text, PART("X: %05000d", "x") "--B--", 7);
    assert_int_equal(form(text, n, &f), DCAM_ERROR_USAGE);
    message("above the limit of 4096 bytes");
    for (int parts = DCAM_REQUEST_MAX_PARTS; parts <= DCAM_REQUEST_MAX_PARTS + 1; parts++) {
        n = 0;
        for (int i = 0; i < parts; i++) n += (size_t)snprintf(text + n, sizeof text - n, NAMED("x", "y"));
        n += (size_t)snprintf(text + n, sizeof text - n, "--B--");
        assert_int_equal(form(text, n, &f), parts > DCAM_REQUEST_MAX_PARTS ? DCAM_ERROR_USAGE : DCAM_OK);
    }
    message("more than 16 parts");
    /* A name longer than any that has a meaning is none of them. */
    n = (size_t)snprintf(text, sizeof text, NAMED("%0100d", "x") "--B--", 7);
    assert_int_equal(form(text, n, &f), DCAM_OK);
    assert_int_equal(f.image.count, 0);
}

static void boundaries(void **state)
{
    char b[DCAM_REQUEST_MAX_BOUNDARY + 1];
    (void)state;
    assert_true(dcam_form_boundary("multipart/form-data; boundary=abc", b));
    assert_string_equal(b, "abc");
    assert_true(dcam_form_boundary("multipart/form-data;charset=utf-8; BOUNDARY=\"a b\"", b));
    assert_string_equal(b, "a b");
    assert_false(dcam_form_boundary("multipart/form-data", b));
    assert_false(dcam_form_boundary("multipart/form-data; boundary=", b));
    assert_false(dcam_form_boundary("multipart/form-data; boundary=\"a", b));
    assert_false(dcam_form_boundary("multipart/form-data; boundary=a\x01", b));
    assert_false(dcam_form_boundary("multipart/form-data; boundary="
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(limits_of_forms), cmocka_unit_test(boundaries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
