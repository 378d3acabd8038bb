/* TIFF files made by hand: second samples, tiles that reach beyond the picture, strips whose decoder would make pixels
 * up, blocks larger than the file. test_decode.c has whole pictures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/image.h"

#define GOLDEN DCAM_TEST_GOLDEN "/image/"

enum { TIFF_DATA = 160 }; /* after the directory */

/* A little-endian TIFF whose picture is the byte 7, by PackBits in one strip (tile 0) or in a tile of as many bytes. */
static size_t make_tiff(uint8_t *out, uint32_t width, uint32_t height, uint32_t tile, uint32_t samples, uint32_t bytes)
{
    const uint32_t colours = samples >= 3 ? 2 : 1;
    const uint32_t strip[][2] = {{256, width}, {257, height}, {258, 8}, {259, 32773}, {262, colours},
                                 {273, TIFF_DATA}, {277, samples}, {278, height}, {279, bytes}};
    const uint32_t tiles[][2] = {{256, width}, {257, height}, {258, 8}, {259, 32773}, {262, colours},
                                 {277, samples}, {322, tile}, {323, tile}, {324, TIFF_DATA}, {325, bytes}};
    const uint32_t(*fields)[2] = tile ? tiles : strip;
    const size_t count = tile ? sizeof tiles / sizeof *tiles : sizeof strip / sizeof *strip;
    memset(out, 0, TIFF_DATA + bytes);
    memcpy(out, "II*\0\10", 5);
    out[8] = (uint8_t)count;
    uint8_t *to = out + 10;
    for (size_t i = 0; i < count; i++, to += 12) {
        const uint16_t tag_and_type[2] = {(uint16_t)fields[i][0], 4}; /* one number of 32 bits */
        const uint32_t values[2] = {1, fields[i][1]};
        memcpy(to, tag_and_type, 4);
        memcpy(to + 4, values, 8);
    }
    out[TIFF_DATA + 1] = 7;
    return TIFF_DATA + bytes;
}

/* What libtiff's decoders only warn of, or go on behind: pixels that are made up. */
static void damaged_strips_of_a_tiff(void **state)
{
    static const struct { const char *file; size_t place; } files[] = {{"jpeg.tif", 8 + 515 - 30}, {"group4.tif", 8 + 239 - 30}};
    dcam_image image;
    (void)state;
    for (int i = 0; i < 2; i++) {
        char path[1024];
        uint8_t *bytes;
        size_t count;
        snprintf(path, sizeof path, GOLDEN "%s", files[i].file);
        assert_int_equal(dcam_file_read(path, 4096, &bytes, &count), DCAM_OK);
        memset(bytes + files[i].place, 0, 20);
        assert_int_equal(dcam_image_decode(bytes, count, "a", &image), DCAM_ERROR_IMAGE);
        assert_non_null(strstr(dcam_error_message(), "damaged or truncated TIFF"));
        dcam_free(bytes);
    }
    uint8_t packed[TIFF_DATA + 2];
    for (int times = 4; times <= 5; times++) {
        const size_t count = make_tiff(packed, 4, 1, 0, 1, 2);
        packed[TIFF_DATA] = (uint8_t)(1 - times);
        assert_int_equal(dcam_image_decode(packed, count, "a", &image), times == 4 ? DCAM_OK : DCAM_ERROR_IMAGE);
        if (times == 4) dcam_image_clear(&image);
    }
}

/* Four pixels of grey with alpha that is not laid over black yet, of 8 bits. */
static dcam_status decode_grey_alpha(uint32_t photometric, uint32_t sample_format, dcam_image *out)
{
    static const uint8_t samples[] = {200, 255, 200, 128, 200, 0, 0, 255};
    const uint32_t fields[][4] = {{256, 3, 1, 4}, {257, 3, 1, 1}, {258, 3, 2, 8 | 8 << 16}, {259, 3, 1, 1}, {262, 3, 1, photometric},
                                  {273, 4, 1, TIFF_DATA}, {277, 3, 1, 2}, {278, 3, 1, 1}, {279, 4, 1, sizeof samples},
                                  {338, 3, 1, 2}, {339, 3, 2, sample_format | sample_format << 16}};
    enum { FIELDS = sizeof fields / sizeof *fields };
    uint8_t bytes[TIFF_DATA + sizeof samples] = {'I', 'I', 42, 0, 8, 0, 0, 0, FIELDS, 0};
    for (size_t i = 0; i < FIELDS; i++) {
        const uint16_t tag = (uint16_t)fields[i][0], type = (uint16_t)fields[i][1];
        memcpy(bytes + 10 + 12 * i, &tag, 2);
        memcpy(bytes + 12 + 12 * i, &type, 2);
        memcpy(bytes + 14 + 12 * i, &fields[i][2], 4);
        memcpy(bytes + 18 + 12 * i, &fields[i][3], 4);
    }
    memcpy(bytes + TIFF_DATA, samples, sizeof samples);
    return dcam_image_decode(bytes, sizeof bytes, "a", out);
}

/* Those of 16 bits are among the golden pictures. */
static void grey_with_alpha_is_laid_over_black(void **state)
{
    (void)state;
    static const uint8_t black_is_zero[] = {200, 100, 0, 0}, white_is_zero[] = {55, 28, 0, 255};
    for (uint32_t photometric = 0; photometric < 2; photometric++) {
        dcam_image image;
        assert_int_equal(decode_grey_alpha(photometric, 1, &image), DCAM_OK);
        for (size_t i = 0; i < 12; i++)
            assert_int_equal(image.pixels[i], (photometric ? black_is_zero : white_is_zero)[i / 3]);
        dcam_image_clear(&image);
    }
}

/* As numbers without one -1 would be white. */
static void samples_with_a_sign_are_refused(void **state)
{
    (void)state;
    dcam_image image;
    assert_int_equal(decode_grey_alpha(1, 2, &image), DCAM_ERROR_IMAGE);
    assert_non_null(strstr(dcam_error_message(), "a: is a TIFF of numbers with a sign"));
}

/* 20 x 2 pixels in two tiles of 16 x 16, two samples each: 12 x + y and an alpha of 128, in 16 bits 257 times that.
 * photometric 3: a palette, 255 - v of v. */
static dcam_status decode_two_tiles(uint32_t photometric, uint32_t extra, uint32_t planes, uint32_t bits, dcam_image *out)
{
    enum { PIXELS = 256, LISTS = 192, MAP = LISTS + 16, FIRST = MAP + 6 * 256, ALL = FIRST + 2 * 4 * PIXELS };
    const uint32_t width = bits / 8, tile = 2 * width * PIXELS;
    const uint32_t fields[][4] = {{256, 3, 1, 20}, {257, 3, 1, 2}, {258, 3, 2, bits | bits << 16}, {259, 3, 1, 1}, {262, 3, 1, photometric},
                                  {277, 3, 1, 2}, {284, 3, 1, planes}, {320, 3, 768, MAP}, {322, 3, 1, 16}, {323, 3, 1, 16},
                                  {324, 4, 2, LISTS}, {325, 4, 2, LISTS + 8}, {338, 3, 1, extra}};
    enum { FIELDS = sizeof fields / sizeof *fields };
    static uint8_t bytes[ALL];
    memcpy(bytes, (const uint8_t[]){'I', 'I', 42, 0, 8, 0, 0, 0, FIELDS, 0}, 10);
    _Static_assert(10 + 12 * FIELDS + 4 <= LISTS, "the directory has room");
    for (size_t i = 0; i < FIELDS; i++) {
        const uint16_t head[2] = {(uint16_t)fields[i][0], (uint16_t)fields[i][1]};
        memcpy(bytes + 10 + 12 * i, head, 4);
        memcpy(bytes + 14 + 12 * i, &fields[i][2], 8);
    }
    memcpy(bytes + LISTS, (const uint32_t[]){FIRST, FIRST + tile, tile, tile}, 16);
    for (uint32_t i = 0; i < 768; i++) bytes[MAP + 2 * i + 1] = (uint8_t)(255 - i % 256);
    for (uint32_t i = 0; i < 2 * PIXELS; i++) { /* of both tiles; the bytes of a sample are the same */
        memset(bytes + FIRST + 2 * width * i, (int)(12 * (i % 16 + i / PIXELS * 16) + i % PIXELS / 16) & 255, width);
        memset(bytes + FIRST + 2 * width * i + width, 128, width);
    }
    return dcam_image_decode(bytes, FIRST + 2 * tile, "a", out);
}

/* The last tile reaches beyond the picture. */
static void second_samples_in_tiles(void **state)
{
    (void)state;
    for (uint32_t bits = 8; bits <= 16; bits += 8)
        for (uint32_t photometric = 0; photometric <= (bits == 8 ? 3 : 1); photometric += photometric == 1 ? 2 : 1)
            for (uint32_t extra = 0; extra < 3; extra++) {
                dcam_image image;
                assert_int_equal(decode_two_tiles(photometric, extra, 1, bits, &image), DCAM_OK);
                for (int i = 0; i < 3 * 40; i++) {
                    const int raw = 12 * (i / 3 % 20) + i / 60, value = photometric == 1 ? raw : 255 - raw;
                    assert_int_equal(image.pixels[i], extra == 2 ? (value * 128 + 127) / 255 : value);
                }
                dcam_image_clear(&image);
            }
    /* In planes of their own libtiff gives the negative. */
    dcam_image none = {0};
    assert_int_equal(decode_two_tiles(0, 2, 2, 8, &none), DCAM_ERROR_IMAGE);
    assert_non_null(strstr(dcam_error_message(), "0 is white"));
}

static long peak_kib(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* libtiff clears a whole tile or strip before it looks whether the file has it. From 100 MB on it compares the size with
 * a thousand times the bytes that there are, so that 2 MB of file would do for 2 GiB. */
static void small_tiffs_that_ask_for_large_blocks(void **state)
{
    enum { MOST_BYTES = 300000 };
    static const struct {
        uint32_t width, height, tile, samples, bytes;
        size_t limit;
        const char *why; /* NULL: read */
    } cases[] = {
        {1, 1, 0, 1, 2, 0, NULL},
        {1, 1, 4096, 1, 2, 0, "damaged or truncated TIFF"}, /* 16 MiB are allowed, but the file has not so many */
        {1, 1, 4112, 1, 2, 0, "TIFF of 1 x 1 pixels in tiles of 16908544 bytes, above the limit of 16777216 for it"},
        {1, 1, 8192, 1, 2, 0, "tiles of 67108864 bytes"},
        {1, 1, 2048, 20, 2, 0, "tiles of 83886080 bytes"},
        {1, 1, 16384, 1, MOST_BYTES, 0, "tiles of 268435456 bytes"},
        {4096, 1, 0, 60000, MOST_BYTES, 0, "strips of 245760000 bytes, above the limit of 16777216"},
        {4000, 4000, 16384, 1, MOST_BYTES, 16000000, "tiles of 268435456 bytes, above the limit of 128000000 for it"},
        {1, 1, 32784, 1, 2, 0, "tiles of 32784 x 32784 pixels, above the limit of 32768 a side"},
    };
    uint8_t *bytes = malloc(TIFF_DATA + MOST_BYTES);
    const long before = peak_kib();
    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_image image = {-1, -1, -1, NULL};
        const size_t n =
            make_tiff(bytes, cases[i].width, cases[i].height, cases[i].tile, cases[i].samples, cases[i].bytes);
        const dcam_status status = dcam_image_decode_within(bytes, n, "a.tif", cases[i].limit, NULL, &image);
        if (cases[i].why) {
            assert_int_equal(status, DCAM_ERROR_IMAGE);
            assert_non_null(strstr(dcam_error_message(), cases[i].why));
            assert_int_equal(image.width, -1);
        } else {
            assert_int_equal(status, DCAM_OK);
            assert_int_equal(image.pixels[0], 7);
            dcam_image_clear(&image);
        }
    }
    free(bytes);
    assert_true(peak_kib() - before < 48 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_strips_of_a_tiff),
        cmocka_unit_test(grey_with_alpha_is_laid_over_black),
        cmocka_unit_test(samples_with_a_sign_are_refused),
        cmocka_unit_test(second_samples_in_tiles),
        cmocka_unit_test(small_tiffs_that_ask_for_large_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
