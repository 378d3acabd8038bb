/* Masks made by hand: labels of 8 and 16 bits, PBM of every width, lossy ones. test_decode.c makes masks of all its
 * pictures. */
#define _DEFAULT_SOURCE /* mkstemp */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/image.h"

static void load_mask_of(const void *bytes, size_t count, dcam_image *mask)
{
    char path[] = "/tmp/dcam-mask-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    close(fd);
    if (dcam_mask_load(path, mask) != DCAM_OK) fail_msg("%s", dcam_error_message());
    unlink(path);
    assert_int_equal(mask->channels, 1);
}

/* Of three pixels the first is normal and the others are defects. */
static void is_0_255_255(const void *bytes, size_t count)
{
    static const uint8_t wanted[3] = {0, 255, 255};
    dcam_image mask;
    load_mask_of(bytes, count, &mask);
    assert_int_equal(mask.width, 3);
    assert_memory_equal(mask.pixels, wanted, 3);
    dcam_image_clear(&mask);
}

static void any_value_above_zero_is_defect(void **state)
{
    (void)state;
    is_0_255_255("P5 3 1 255\n\0\1\377", 14);
    is_0_255_255("P6 3 1 255\n\0\0\0\0\0\1\3\0\0", 20); /* blue alone */
    is_0_255_255("P5 3 1 65535\n\0\0\0\1\1\0", 19);     /* 16 bits, label 1: its high byte alone would be 0 */
}

/* Labels of 16 bits are no grey values: rounded to 8 bits the small ones would be 0. */
static void wide_labels_of_a_png(void **state)
{
    static const uint8_t grey[] = { /* 0, 1, 256 */
        137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 1, 16, 0, 0, 0, 0, 110, 27,
        151, 43, 0, 0, 0, 15, 73, 68, 65, 84, 120, 218, 99, 96, 96, 96, 96, 100, 100, 0, 0, 0, 12, 0, 3, 124, 4, 122,
        122, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130};
    static const uint8_t rgba[] = { /* (9, 9, 9) that nobody sees, (0, 0, 1), (0, 7, 0) */
        137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 1, 16, 6, 0, 0, 0, 75, 112,
        200, 247, 0, 0, 0, 24, 73, 68, 65, 84, 120, 218, 99, 96, 224, 4, 67, 8, 96, 252, 255, 31, 72, 178, 51, 48, 252,
        255, 15, 0, 24, 104, 4, 32, 206, 252, 16, 194, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130};
    (void)state;
    is_0_255_255(grey, sizeof grey);
    is_0_255_255(rgba, sizeof rgba);
}

/* Rows of a PBM end at whole bytes, which the last of a width that eights divide is already; 1 is black. */
static void bits_of_a_pbm(void **state)
{
    (void)state;
    for (int width = 1; width <= 17; width++) {
        const int row = (width + 7) / 8;
        char file[32];
        dcam_image mask;
        const int head = snprintf(file, sizeof file, "P4 %d 2\n", width);
        for (int i = 0; i < 2 * row; i++) file[head + i] = (char)(i < row ? 0x5a : 0xa6);
        load_mask_of(file, (size_t)(head + 2 * row), &mask);
        assert_int_equal(mask.width, width);
        assert_int_equal(mask.height, 2);
        for (int i = 0; i < 2 * width; i++)
            assert_int_equal(mask.pixels[i], (i < width ? 0x5a : 0xa6) >> (7 - i % width % 8) & 1 ? 0 : 255);
        dcam_image_clear(&mask);
        assert_int_equal(dcam_image_decode((const uint8_t *)file, (size_t)(head + 2 * row - 1), "a", &mask), DCAM_ERROR_IMAGE);
        assert_non_null(strstr(dcam_error_message(), "ends early"));
        assert_int_equal(dcam_image_decode((const uint8_t *)file, (size_t)head - 1, "a", &mask), DCAM_ERROR_IMAGE);
        assert_non_null(strstr(dcam_error_message(), "ends in its header"));
    }
}

/* What compression leaves beside an edge is no defect. The files are JPEG of 16 x 16 pixels (Pillow, quality 75, grey). */
static void lossy_masks(void **state)
{
    (void)state;
    static const uint8_t edge[] = {
        255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 8, 6, 6, 7,
        6, 5, 8, 7, 7, 7, 9, 9, 8, 10, 12, 20, 13, 12, 11, 11, 12, 25, 18, 19, 15, 20, 29, 26, 31, 30, 29, 26,
        28, 28, 32, 36, 46, 39, 32, 34, 44, 35, 28, 28, 40, 55, 41, 44, 48, 49, 52, 52, 52, 31, 39, 57, 61, 56,
        50, 60, 46, 51, 52, 50, 255, 192, 0, 11, 8, 0, 16, 0, 16, 1, 1, 17, 0, 255, 196, 0, 21, 0, 1, 1, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 5, 255, 196, 0, 26, 16, 0, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 3, 5, 8, 55, 117, 179, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 191, 99, 177, 228, 126, 213, 124,
        154, 24, 4, 253, 142, 199, 145, 251, 85, 242, 104, 96, 63, 255, 217};
    static const uint8_t faint[] = {
        255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 8, 6, 6, 7,
        6, 5, 8, 7, 7, 7, 9, 9, 8, 10, 12, 20, 13, 12, 11, 11, 12, 25, 18, 19, 15, 20, 29, 26, 31, 30, 29, 26,
        28, 28, 32, 36, 46, 39, 32, 34, 44, 35, 28, 28, 40, 55, 41, 44, 48, 49, 52, 52, 52, 31, 39, 57, 61, 56,
        50, 60, 46, 51, 52, 50, 255, 192, 0, 11, 8, 0, 16, 0, 16, 1, 1, 17, 0, 255, 196, 0, 21, 0, 1, 1, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 7, 255, 196, 0, 26, 16, 0, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 1, 2, 5, 52, 114, 177, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 140, 91, 98, 199, 117, 198, 12, 51,
        109, 139, 29, 215, 24, 49, 255, 217};
    static const uint8_t black[] = {
        255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 8, 6, 6, 7,
        6, 5, 8, 7, 7, 7, 9, 9, 8, 10, 12, 20, 13, 12, 11, 11, 12, 25, 18, 19, 15, 20, 29, 26, 31, 30, 29, 26,
        28, 28, 32, 36, 46, 39, 32, 34, 44, 35, 28, 28, 40, 55, 41, 44, 48, 49, 52, 52, 52, 31, 39, 57, 61, 56,
        50, 60, 46, 51, 52, 50, 255, 192, 0, 11, 8, 0, 16, 0, 16, 1, 1, 17, 0, 255, 196, 0, 21, 0, 1, 1, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 255, 196, 0, 20, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 159, 192, 127, 255, 217};
    dcam_image mask, decoded;
    /* Columns 0 to 4 are white, the others black; decoded, some of the black ones are not 0. */
    load_mask_of(edge, sizeof edge, &mask);
    assert_int_equal(dcam_image_decode(edge, sizeof edge, "edge", &decoded), DCAM_OK);
    size_t rings = 0;
    for (size_t i = 0; i < 256; i++) {
        assert_int_equal(mask.pixels[i], i % 16 < 5 ? 255 : 0);
        rings += i % 16 >= 5 && decoded.pixels[3 * i] > 0;
    }
    assert_true(rings > 16);
    dcam_image_clear(&decoded);
    dcam_image_clear(&mask);
    load_mask_of(black, sizeof black, &mask);
    for (size_t i = 0; i < 256; i++) assert_int_equal(mask.pixels[i], 0);
    dcam_image_clear(&mask);
    /* Columns 0 to 4 are 40: labels of small numbers cannot be told from what the compression left. */
    char path[] = "/tmp/dcam-mask-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, faint, sizeof faint), (ssize_t)sizeof faint);
    close(fd);
    const dcam_status status = dcam_mask_load(path, &mask);
    unlink(path);
    assert_int_equal(status, DCAM_ERROR_IMAGE);
    assert_non_null(strstr(dcam_error_message(), path));
    assert_non_null(strstr(dcam_error_message(), "lossy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value_above_zero_is_defect),
        cmocka_unit_test(wide_labels_of_a_png),
        cmocka_unit_test(bits_of_a_pbm),
        cmocka_unit_test(lossy_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
