/* SHA-256 against the examples of FIPS 180-4 / NIST CAVP, and cut in every way. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "base/sha256.h"

static void nist_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *digest;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsm"
         "nopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[DCAM_SHA256_HEX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        dcam_sha256_of(rows[i].text, strlen(rows[i].text), hex);
        assert_string_equal(hex, rows[i].digest);
    }
}

static void a_million_letters(void **state)
{
    (void)state;
    char piece[1000], hex[DCAM_SHA256_HEX];
    memset(piece, 'a', sizeof piece);
    dcam_sha256 hash;
    dcam_sha256_init(&hash);
    for (int i = 0; i < 1000; i++) dcam_sha256_update(&hash, piece, sizeof piece);
    dcam_sha256_final_hex(&hash, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Lengths around the padding's edges, each cut at every place. */
static void pieces_give_the_same(void **state)
{
    (void)state;
    uint8_t bytes[200];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t count = 50; count < sizeof bytes; count++) {
        char whole[DCAM_SHA256_HEX], cut_hex[DCAM_SHA256_HEX];
        dcam_sha256_of(bytes, count, whole);
        for (size_t cut = 0; cut <= count; cut++) {
            dcam_sha256 hash;
            dcam_sha256_init(&hash);
            dcam_sha256_update(&hash, bytes, cut);
            dcam_sha256_update(&hash, NULL, 0);
            dcam_sha256_update(&hash, bytes + cut, count - cut);
            dcam_sha256_final_hex(&hash, cut_hex);
            assert_string_equal(cut_hex, whole);
        }
    }
}

/* The processor's instructions, where it has them, against the portable C. */
static void instructions_agree(void **state)
{
    (void)state;
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * i + 3 * i);
    for (size_t count = 0; count <= sizeof bytes; count += 37) {
        char portable[DCAM_SHA256_HEX], fast[DCAM_SHA256_HEX];
        dcam_sha256_portable(true);
        dcam_sha256_of(bytes, count, portable);
        dcam_sha256_portable(false);
        dcam_sha256_of(bytes, count, fast);
        assert_string_equal(portable, fast);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nist_vectors),
        cmocka_unit_test(a_million_letters),
        cmocka_unit_test(pieces_give_the_same),
        cmocka_unit_test(instructions_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
