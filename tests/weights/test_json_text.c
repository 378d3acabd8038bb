/* The reader of JSON against jansson's own on texts that both must judge alike, its limits, and what it says when there is
 * no memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "weights/json_text.h"

static const char *const texts[] = {
    "{}", "[]", " { \"a\" : [1, -2, 0, 3.5, 1e3, -0.25E-2, true, false, null, \"x\"] } ", "1", "\"a\"", "",
    "{", "[1,]", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":1,\"a\":2}", "[01]", "[1.]", "[.5]", "[1e]", "[+1]", "[-]",
    "[9223372036854775807]", "[9223372036854775808]", "[1e400]", "[\"\\u0041\\n\\\\\\/\\\"\"]", "[\"\\u00e9\\u20ac\\ud83d\\ude00\"]",
    "[\"\\ud83d\"]", "[\"\\ude00\"]", "[\"\\u0000\"]", "[\"\\x\"]", "[\"\xc3\xa9\"]", "[\"\xc3\"]", "[\"\xc0\x80\"]", "[\"\xed\xa0\x80\"]",
    "[\"\xf0\x9f\x98\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xe0\x80\x80\"]", "[\"\xf5\x80\x80\x80\"]", "[\"tab\there\"]", "[tru]",
    "[nulll]", "{} {}", "[\"open", "[\"\\", "[\"\\u12", "{\"a\":{\"b\":[{\"c\":[]}]}}", "[[[[]]]", "[]]",
};

static void judges_as_jansson(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        json_error_t theirs;
        dcam_json_error mine;
        json_t *wanted = json_loadb(texts[i], strlen(texts[i]), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &theirs);
        json_t *got = dcam_json_parse(texts[i], strlen(texts[i]), &mine);
        if (!wanted != !got || (wanted && !json_equal(wanted, got)))
            fail_msg("%s: jansson %s, here %s", texts[i], wanted ? "reads it" : theirs.text, got ? "another value" : mine.reason);
        if (!got) {
            assert_non_null(mine.reason);
            assert_false(mine.no_memory);
            assert_in_range(mine.position, 0, strlen(texts[i]));
        }
        json_decref(got);
        json_decref(wanted);
    }
    assert_int_equal(dcam_memory_held(), 0);
}

/* One byte of a valid text changed, in every place, to every value: both say the same. */
static void judges_damage_as_jansson(void **state)
{
    (void)state;
    const char text[] = "{\"a\\u00e9\":[1,-2.5e1,true,null],\"\xc3\xa9\":{\"b\":\"\\n\"}}";
    for (size_t at = 0; at < sizeof text - 1; at++) {
        for (int value = 1; value < 256; value++) {
            char changed[sizeof text];
            dcam_json_error error;
            memcpy(changed, text, sizeof text);
            changed[at] = (char)value;
            json_t *wanted = json_loadb(changed, sizeof text - 1, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
            json_t *got = dcam_json_parse(changed, sizeof text - 1, &error);
            if (!wanted != !got || (wanted && !json_equal(wanted, got))) fail_msg("byte %zu as %d: %s", at, value, changed);
            json_decref(got);
            json_decref(wanted);
        }
    }
}

static void depth_is_limited(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    dcam_json_error error;
    char *text = malloc(DEEP);
    memset(text, '[', DEEP);
    assert_null(dcam_json_parse(text, DEEP, &error));
    assert_string_equal(error.reason, "values lie too deep in one another");
    free(text);
}

/* ---- a lack of memory ---- */

static long allocations_left;

static void *few(size_t bytes) { return allocations_left-- > 0 ? malloc(bytes) : NULL; }

/* jansson's own parser reads past a string's end here and calls good texts damaged. */
static void lack_of_memory_is_no_damage(void **state)
{
    (void)state;
    const char text[] = "{\"conv1.weight\":{\"dtype\":\"F32\",\"shape\":[64,3,7,7],\"data_offsets\":[0,37632]},"
                        "\"a much longer string than sixteen bytes, which grows\":\"another one, as long as that, at the least\"}";
    long n = 0;
    json_set_alloc_funcs(few, free);
    for (;; n++) {
        dcam_json_error error;
        allocations_left = n;
        json_t *json = dcam_json_parse(text, sizeof text - 1, &error);
        if (json) {
            json_decref(json);
            break;
        }
        assert_true(error.no_memory);
        dcam_memory_fail_at(1 + (uint64_t)n / 4, false);
        allocations_left = 1000;
        json = dcam_json_parse(text, sizeof text - 1, &error);
        dcam_memory_fail_at(0, false);
        assert_true(json || error.no_memory);
        json_decref(json);
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(n > 10);
    assert_int_equal(dcam_memory_held(), 0);
}

/* Only the one after so many is refused. */
static void *all_but_one(size_t bytes) { return allocations_left-- != 0 ? malloc(bytes) : NULL; }

/* jansson's own json_dumps leaves pieces out where its buffer cannot grow: a model with damaged sums was written. */
static void prints_all_or_nothing(void **state)
{
    (void)state;
    long n = 0;
    char *wanted = NULL, name[32];
    json_t *value = json_object();
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "layer%d.0.conv1.weight", i);
        assert_int_equal(json_object_set_new(value, name, json_pack("[i, s]", i, "a text")), 0);
    }
    assert_int_equal(dcam_json_print(value, JSON_COMPACT, &wanted), DCAM_OK);
    char *theirs = json_dumps(value, JSON_COMPACT);
    assert_string_equal(wanted, theirs);
    free(theirs);
    json_set_alloc_funcs(all_but_one, free);
    for (;; n++) {
        char *text = NULL;
        allocations_left = n;
        const dcam_status status = dcam_json_print(value, JSON_COMPACT, &text);
        if (status == DCAM_OK) assert_string_equal(text, wanted);
        else assert_int_equal(status, DCAM_ERROR_MEMORY);
        if (status != DCAM_OK) assert_null(text);
        dcam_free(text);
        if (allocations_left >= 0) break; /* it did not come to that one */
    }
    json_set_alloc_funcs(malloc, free);
    dcam_free(wanted);
    json_decref(value);
    assert_true(n > 4);
    char *none = NULL;
    assert_int_equal(dcam_json_print(NULL, 0, &none), DCAM_ERROR_MEMORY);
    assert_int_equal(dcam_memory_held(), 0);
}

/* Nothing of a text can steer a terminal or turn its direction, and it reads back the same. */
static void what_misleads_is_escaped(void **state)
{
    (void)state;
    char *text;
    dcam_json_error error;
    json_t *value = json_pack("{s:s}", "k\x7f", "\xc2\x80 \xc2\x9b" "2J \xc2\x9f \xc2\xa0 \xc3\x84 \xe2\x82\xac \x1b \x7f");
    assert_int_equal(dcam_json_print(value, JSON_COMPACT, &text), DCAM_OK);
    assert_string_equal(text, "{\"k\\u007F\":\"\\u0080 \\u009B2J \\u009F \xc2\xa0 \xc3\x84 \xe2\x82\xac \\u001B \\u007F\"}");
    json_t *read = dcam_json_parse(text, strlen(text), &error);
    assert_true(json_equal(read, value));
    json_decref(read);
    dcam_free(text);
    json_t *marks = json_pack("[s]", "\xe2\x80\xa9 \xe2\x80\xaa \xe2\x80\xae" "gnp \xe2\x80\xaf "
                                     "\xe2\x81\xa6 \xe2\x81\xa9 \xe2\x81\xaa");
    assert_int_equal(dcam_json_print(marks, JSON_INDENT(1), &text), DCAM_OK);
    assert_string_equal(text, "[\n \"\xe2\x80\xa9 \\u202A \\u202Egnp \xe2\x80\xaf \\u2066 \\u2069 \xe2\x81\xaa\"\n]");
    read = dcam_json_parse(text, strlen(text), &error);
    assert_true(json_equal(read, marks));
    json_decref(read);
    json_decref(marks);
    dcam_free(text);
    text = NULL;
    dcam_memory_fail_at(2, false); /* the block for the longer text */
    assert_int_equal(dcam_json_print(value, JSON_COMPACT, &text), DCAM_ERROR_MEMORY);
    dcam_memory_fail_at(0, false);
    assert_null(text);
    json_decref(value);
    assert_int_equal(dcam_memory_held(), 0);
}

static void check_any_text(const char *text, const char *wanted)
{
    json_t *json = dcam_json_any_text(text);
    assert_string_equal(json_string_value(json), wanted);
    json_decref(json);
}

/* Unicode 15, section 3.9: a sequence that is not one is a U+FFFD for each of its bytes here. */
static void any_bytes_become_a_string(void **state)
{
    (void)state;
    check_any_text("", "");
    check_any_text("a/\xc3\x84.png", "a/\xc3\x84.png");
    check_any_text("\xe9t\xe9\xc3\x84", "\xef\xbf\xbdt\xef\xbf\xbd\xc3\x84");
    check_any_text("\xed\xa0\x80\xc0\x80\xf0\x9f\x94", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    dcam_memory_fail_at(1, false);
    assert_null(dcam_json_any_text("\xff"));
    dcam_memory_fail_at(0, false);
    assert_int_equal(dcam_memory_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_as_jansson),
        cmocka_unit_test(judges_damage_as_jansson),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(lack_of_memory_is_no_damage),
        cmocka_unit_test(prints_all_or_nothing),
        cmocka_unit_test(what_misleads_is_escaped),
        cmocka_unit_test(any_bytes_become_a_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
