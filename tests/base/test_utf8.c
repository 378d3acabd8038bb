/* UTF-8: every character of Unicode is read as it was written after RFC 3629, nothing else is taken for one, and what a
 * terminal would take for a command is told apart. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/utf8.h"

/* RFC 3629, section 3: the number of bytes by the range of the value. */
static size_t written(uint32_t c, char out[5])
{
    const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    memset(out, 0, 5);
    if (n == 1) out[0] = (char)c;
    for (size_t i = n; n > 1 && i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 63));
    if (n > 1) out[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

static void every_character(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x120000; c++) {
        char text[5];
        uint32_t read = 0;
        const size_t n = written(c, text);
        const bool fine = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        if (dcam_utf8_character(text, &read) != (fine ? n : 0) || (fine && read != c) || dcam_utf8_is_valid(text) != fine)
            fail_msg("U+%04X", (unsigned)c);
    }
}

/* Of all texts of up to three bytes, and of some leads with four, exactly as many are one character as there are
 * characters of that length; so none has a second form. */
static void nothing_else(void **state)
{
    size_t count[5] = {0};
    uint32_t code, wrong = 0;
    (void)state;
    for (uint32_t v = 1; v < 1u << 24; v++) {
        const char text[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), 0};
        if (!(v & 0xff) || (v >> 8 && !(v >> 8 & 0xff))) continue; /* ended before its last byte */
        const size_t n = dcam_utf8_character(text, &code);
        if (n == strlen(text)) count[n]++;
        if (n > strlen(text)) wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(count[1], 0x7f);
    assert_int_equal(count[2], 0x800 - 0x80);
    assert_int_equal(count[3], 0x10000 - 0x800 - 0x800);
    for (uint32_t lead = 0xf0; lead < 0x100; lead++)
        for (uint32_t v = 0; v < 1u << 16; v++) { /* the last byte is a right one */
            const char text[5] = {(char)lead, (char)v, (char)(v >> 8), (char)0x80, 0};
            count[4] += dcam_utf8_character(text, &code) == 4;
        }
    assert_int_equal(count[4], (0x110000 - 0x10000) / 64);
}

static void check_next(const char *text, size_t wanted, bool misleading)
{
    bool misleads;
    const size_t n = dcam_utf8_next(text, &misleads);
    if (n != wanted || misleads != misleading) fail_msg("%zu bytes, %d, of %02x", n, misleads, (unsigned char)text[0]);
}

static void what_misleads(void **state)
{
    (void)state;
    check_next("a", 1, false);
    check_next("\x1b[", 1, true);
    check_next("\x7f", 1, true);
    check_next("\xc2\x80", 2, true);
    check_next("\xc2\x9f", 2, true);
    check_next("\xc2\xa0", 2, false);
    check_next("\xc3\x84", 2, false);
    check_next("\xe2\x82\xac", 3, false);
    check_next("\xe2\x80\xa9", 3, false); /* U+2029 */
    check_next("\xe2\x80\xaa", 3, true);
    check_next("\xe2\x80\xae", 3, true);
    check_next("\xe2\x80\xaf", 3, false);
    check_next("\xe2\x81\xa5", 3, false);
    check_next("\xe2\x81\xa6", 3, true);
    check_next("\xe2\x81\xa9", 3, true);
    check_next("\xe2\x81\xaa", 3, false);
    check_next("\xf0\x9f\x94\xa9", 4, false);
    check_next("\x9b", 1, true); /* alone: of a terminal of 8-bit characters */
    check_next("\xe9t\xe9", 1, false);
    check_next("\xc2", 1, false);
    check_next("\xff", 1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character),
        cmocka_unit_test(nothing_else),
        cmocka_unit_test(what_misleads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
