/* Limits of decoding: a caller's own on pixels, those on sides and files, what a decoder library says, libraries that do
 * not start, masks without memory, and headers that are made by hand. test_decode.c has whole pictures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/decode.h"
#include "image/image.h"

#define GOLDEN DCAM_TEST_GOLDEN "/image/"

static void says(const char *part)
{
    if (!strstr(dcam_error_message(), part)) fail_msg("\"%s\" is not in \"%s\"", part, dcam_error_message());
}

/* A grey PNM of w x h, of which only `pixels` bytes follow the header. Returns its length. */
static size_t make_pnm(char *out, size_t room, unsigned w, unsigned h, size_t pixels)
{
    const size_t n = (size_t)snprintf(out, room, "P5 %u %u 255\n", w, h);
    assert_true(n + pixels < room);
    memset(out + n, 9, pixels);
    return n + pixels;
}

static void a_callers_own_limit(void **state)
{
    static const struct {
        unsigned w, h;
        size_t limit, pixels;
        bool read, above;
        const char *why;
    } cases[] = {
        {10, 10, 0, 100, true, false, NULL},
        {10, 10, 100, 100, true, false, NULL},
        {10, 10, 99, 100, false, true, "above the limit of 99 in all"},
        {10, 10, SIZE_MAX, 100, true, false, NULL}, /* never above the library's own */
        {10, 10, 100, 99, false, false, "damaged"},
        {DCAM_MAX_IMAGE_SIDE + 1, 1, 0, 0, false, true, "a side"},
        {1, DCAM_MAX_IMAGE_SIDE + 1, 0, 0, false, true, "a side"},
        {DCAM_MAX_IMAGE_SIDE, DCAM_MAX_IMAGE_SIDE, SIZE_MAX, 0, false, true, "in all"},
        {0, 5, 0, 0, false, false, "damaged"},
        {5, 0, 0, 0, false, false, "damaged"},
    };
    char text[300];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_image image = {-1, -1, -1, NULL};
        bool above = !cases[i].above;
        const size_t n = make_pnm(text, sizeof text, cases[i].w, cases[i].h, cases[i].pixels);
        const dcam_status status = dcam_image_decode_within((const uint8_t *)text, n, "a.pgm", cases[i].limit, &above, &image);
        assert_int_equal(status, cases[i].read ? DCAM_OK : DCAM_ERROR_IMAGE);
        assert_int_equal(above, cases[i].above);
        if (cases[i].why) {
            says(cases[i].why);
            assert_int_equal(image.width, -1);
        } else {
            assert_int_equal(image.pixels[299], 9);
            dcam_image_clear(&image);
        }
        /* Without asking which of the two it was. */
        assert_int_equal(dcam_image_decode_within((const uint8_t *)text, n, "a.pgm", cases[i].limit, NULL, &image), status);
        if (status == DCAM_OK) dcam_image_clear(&image);
    }
    /* A file above the limit is not looked at. */
    dcam_image image = {-1, -1, -1, NULL};
    assert_int_equal(dcam_image_decode((const uint8_t *)text, (size_t)DCAM_MAX_IMAGE_FILE_BYTES + 1, "a", &image), DCAM_ERROR_IMAGE);
    says("above the limit of 1073741824 for an encoded picture");
}

/* What libraries say may be long, of several lines, and end in a full stop. */
static void words_of_libraries_are_one_line(void **state)
{
    const dcam_encoded file = {.name = "a.jpg"};
    char longest[1000];
    (void)state;
    assert_int_equal(dcam_damaged(&file, "JPEG", "first\nsecond . \n"), DCAM_ERROR_IMAGE);
    assert_string_equal(dcam_error_message(), "a.jpg: damaged or truncated JPEG (first second); copy or export it again");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    (void)dcam_damaged(&file, "JPEG", longest);
    assert_int_equal(strspn(strchr(dcam_error_message(), '(') + 1, "x"), 199);
    (void)dcam_damaged(&file, "JPEG", " ..");
    says("JPEG ()");
}

/* ---- libraries that do not start, or say that they lack memory ---- */

static bool no_codec;
static const char *words;
void *__real_tjInitDecompress(void);
void *__wrap_tjInitDecompress(void);
void *__wrap_tjInitDecompress(void) { return no_codec ? NULL : __real_tjInitDecompress(); }
char *__real_tjGetErrorStr2(void *handle);
char *__wrap_tjGetErrorStr2(void *handle);
char *__wrap_tjGetErrorStr2(void *handle) { return words ? (char *)(uintptr_t)words : __real_tjGetErrorStr2(handle); }

static void lack_of_memory_in_a_library_is_not_damage(void **state)
{
    static const char *const lacking[] = {"Insufficient memory (case 4)", "tjDecompress2(): Memory allocation failure"};
    static const uint8_t cut[] = {0xff, 0xd8, 0xff, 0xc0, 0, 3, 8};
    dcam_image image = {-1, -1, -1, NULL};
    (void)state;
    no_codec = true;
    assert_int_equal(dcam_image_decode(cut, sizeof cut, "a.jpg", &image), DCAM_ERROR_MEMORY);
    says("a.jpg: cannot start the JPEG decoder");
    no_codec = false;
    for (size_t i = 0; i < 2; i++) {
        words = lacking[i];
        assert_int_equal(dcam_image_decode(cut, sizeof cut, "a.jpg", &image), DCAM_ERROR_MEMORY);
    }
    words = NULL;
    assert_int_equal(dcam_image_decode(cut, sizeof cut, "a.jpg", &image), DCAM_ERROR_IMAGE);
    assert_int_equal(image.width, -1);
}

/* ---- headers by hand ---- */

/* TurboJPEG takes tables without a picture for sound and says no size: that must not be what lay on the stack. */
static void a_jpeg_of_tables_alone_has_no_pixels(void **state)
{
    static const struct { uint8_t bytes[8]; size_t count; } cases[] = {{{0xff, 0xd8, 0xff, 0xd9}, 4}, {{0xff, 0xd8, 0xff, 0xe0, 0, 16}, 6}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        dcam_image image = {-1, -1, -1, NULL};
        assert_int_equal(dcam_image_decode(cases[i].bytes, cases[i].count, "tables.jpg", &image), DCAM_ERROR_IMAGE);
        says("its header says it has no pixels");
        assert_int_equal(image.width, -1);
    }
}

/* A baseline JPEG of 8 x 8 grey whose header says that it is huge: too few bytes for so many pixels, whatever stands
 * before the frame header. Fill bytes before a marker are allowed. */
static void small_files_that_claim_to_be_huge(void **state)
{
    static const char *const before[] = {"", "\xff", "\xff\xff\xff", "\xff\xfe\0\4ab"};
    static const int lengths[] = {0, 1, 3, 6};
    uint8_t *bytes;
    size_t count;
    (void)state;
    dcam_image small = {8, 8, 3, NULL};
    assert_int_equal(dcam_alloc_zero(64, 3, &small.pixels), DCAM_OK);
    assert_int_equal(dcam_jpeg_encode(&small, 90, &bytes, &count), DCAM_OK);
    dcam_image_clear(&small);
    size_t frame = 0;
    for (size_t i = 0; i + 9 < count && !frame; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xc0) frame = i;
    assert_true(frame > 0);
    for (int i = 0; i < 4; i++) bytes[frame + 5 + (size_t)i] = (uint8_t[]){0x3f, 0xff, 0x3f, 0xff}[i]; /* 16383 x 16383 */
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        uint8_t made[2000];
        dcam_image image = {-1, -1, -1, NULL};
        const size_t extra = (size_t)lengths[k];
        assert_true(count + extra < sizeof made);
        memcpy(made, bytes, frame);
        memcpy(made + frame, before[k], extra);
        memcpy(made + frame + extra, bytes + frame, count - frame);
        dcam_memory_reset_peak();
        const size_t held = dcam_memory_held();
        assert_int_equal(dcam_image_decode(made, count + extra, "huge.jpg", &image), DCAM_ERROR_IMAGE);
        says("too short for the size in its header");
        assert_true(dcam_memory_peak() < held + (1u << 20)); /* before the memory of its pixels */
        assert_int_equal(image.width, -1);
    }
    dcam_free(bytes);
}

/* Appends a marker and its segment. */
static uint8_t *put(uint8_t *to, int marker, const uint8_t *bytes, size_t count)
{
    *to++ = 0xff;
    *to++ = (uint8_t)marker;
    *to++ = (uint8_t)((count + 2) >> 8);
    *to++ = (uint8_t)((count + 2) & 0xff);
    memcpy(to, bytes, count);
    return to + count;
}

enum { RUN_OF_16384 = 0xe0 };

/* A sound progressive grey JPEG: one scan of DC, the others each of one coefficient's next bit, without any that is not 0.
 * All codes are zero bits: one a block in the first scan, 15 a run of 16,384 blocks in the others. A segment that looks
 * like scans, fill bytes and a picture behind the end are no scans. */
static size_t make_progressive(int side, size_t scans, uint8_t **out)
{
    const size_t blocks = (size_t)side / 8 * ((size_t)side / 8), runs = (15 * (blocks / 16384) + 7) / 8;
    uint8_t *bytes = calloc(1, 2000 + blocks / 8 + scans * (10 + runs)), *to = bytes + 2, table[65] = {0};
    assert_non_null(bytes);
    memcpy(bytes, "\xff\xd8", 2);
    to = put(to, 0xfe, (const uint8_t *)"\xff\xda\0\2\xff\xda\0\2", 8);
    memset(table + 1, 1, 64);
    to = put(to, 0xdb, table, sizeof table);
    to = put(to, 0xc2, (const uint8_t[]){8, (uint8_t)(side >> 8), (uint8_t)side, (uint8_t)(side >> 8), (uint8_t)side, 1, 1, 0x11, 0}, 9);
    to = put(to, 0xc4, (const uint8_t[18]){0, 1}, 18);
    to = put(to, 0xc4, (const uint8_t[18]){0x10, 1, [17] = RUN_OF_16384}, 18);
    to = put(to, 0xda, (const uint8_t[]){1, 1, 0, 0, 0, 0}, 6);
    to += blocks / 8;
    for (size_t i = 0; i + 1 < scans; i++) {
        const uint8_t k = (uint8_t)(1 + i / 14), low = (uint8_t)(13 - i % 14), high = i % 14 ? (uint8_t)(low + 1) : 0;
        *to++ = 0xff; /* fill */
        to = put(to, 0xda, (const uint8_t[]){1, 1, 0, k, k, (uint8_t)(high << 4 | low)}, 6);
        to += runs;
    }
    memcpy(to, "\xff\xd9\xff\xda\0\2\xff\xda\0\2", 10);
    *out = bytes;
    return (size_t)(to - bytes) + 10;
}

/* The same as the one strip of a TIFF. */
static size_t make_tiff_of_jpeg(int side, size_t scans, uint8_t **out)
{
    enum { DATA = 200 };
    uint8_t *jpeg;
    const size_t n = make_progressive(side, scans, &jpeg);
    const uint32_t sides = (uint32_t)side;
    const uint32_t fields[][2] = {{256, sides}, {257, sides}, {258, 8}, {259, 7}, {262, 1}, {273, DATA}, {277, 1},
                                  {278, sides}, {279, (uint32_t)n}};
    uint8_t *bytes = calloc(1, DATA + n), *to = bytes + 10;
    assert_non_null(bytes);
    memcpy(bytes, "II*\0\10\0\0\0\11", 9);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++, to += 12) {
        const uint16_t tag_and_type[2] = {(uint16_t)fields[i][0], 4}; /* one number of 32 bits */
        const uint32_t values[2] = {1, fields[i][1]};
        memcpy(to, tag_and_type, 4);
        memcpy(to + 4, values, 8);
    }
    memcpy(bytes + DATA, jpeg, n);
    free(jpeg);
    *out = bytes;
    return DATA + n;
}

/* A scan of nothing costs 46 bytes, and decoding it a walk through the whole picture. */
static void scans_of_a_jpeg_are_bounded(void **state)
{
    static const struct { bool tiff; int side; size_t scans; const char *why; } cases[] = {
        {false, 4096, 64, NULL}, {false, 4096, 65, "a: JPEG of 4096 x 4096 pixels in 65 scans, above the limit of 64 for it"},
        {false, 4096, 490, "in 490 scans"}, {false, 1024, 400, NULL}, {false, 8192, 32, NULL},
        {false, 8192, 33, "above the limit of 32 for it"}, {true, 4096, 64, NULL}, {true, 1024, 99, NULL},
        {true, 4096, 65, "a: TIFF of 4096 x 4096 pixels in JPEG scans of together more than 1073741824"},
        {true, 8192, 33, "together more than 2147483648"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *bytes = NULL;
        dcam_image image = {-1, -1, -1, NULL};
        const size_t n = (cases[i].tiff ? make_tiff_of_jpeg : make_progressive)(cases[i].side, cases[i].scans, &bytes);
        dcam_memory_reset_peak();
        const size_t held = dcam_memory_held();
        const dcam_status status = dcam_image_decode(bytes, n, "a", &image);
        if (cases[i].why) {
            assert_int_equal(status, DCAM_ERROR_IMAGE);
            says(cases[i].why);
            assert_true(dcam_memory_peak() < held + (1u << 20)); /* nothing was begun */
            assert_int_equal(image.width, -1);
        } else {
            if (status != DCAM_OK) fail_msg("%zu: %s", i, dcam_error_message());
            assert_int_equal(image.pixels[0], 128);
            dcam_image_clear(&image);
        }
        free(bytes);
    }
}

/* Ten times a number near the cap does not fit 32 bits: 4294967300 must not read as 4. */
static void numbers_of_a_pnm_do_not_wrap(void **state)
{
    static const char *const cases[] = {
        "P5 4294967300 1 255\nabcd", "P5 1 4294967300 255\nabcd", "P5 2 2 4294967551\nabcd",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dcam_image image = {-1, -1, -1, NULL};
        const dcam_encoded file = {.bytes = (const uint8_t *)cases[i], .count = strlen(cases[i]), .name = "a.pgm"};
        assert_int_equal(dcam_decode_pnm(&file, &image), DCAM_ERROR_IMAGE);
        says(i < 2 ? "above the limit of 32768 a side" : "its maximum value is not 1 to 65535");
        assert_int_equal(image.width, -1);
    }
}

/* One unit of 32 x 16 grey pixels with a colour sample for 4 x 2 (4:1:0), which TurboJPEG has no name for. */
static void unusual_subsampling_of_a_jpeg(void **state)
{
    (void)state;
    /* Ten blocks: no difference, no coefficients, by the usual Huffman codes (00 1010; colours 00 00). */
    static const uint8_t blocks[] = {0x28, 0xa2, 0x8a, 0x28, 0xa2, 0x8a, 0x00, 0xff, 0xd9}, scan[] = {0xff, 0xda, 0, 12};
    enum { FLAT = 3 * 32 * 16 };
    uint8_t grey[FLAT], *bytes, *at;
    size_t count;
    dcam_image image = {32, 16, 3, grey};
    memset(grey, 128, FLAT);
    assert_int_equal(dcam_jpeg_encode(&image, 90, &bytes, &count), DCAM_OK);
    for (at = bytes; memcmp(at, "\xff\xc0", 2) != 0; at++) assert_true(at + sizeof blocks < bytes + count);
    assert_int_equal(at[11], 0x22);
    at[11] = 0x42;
    for (; memcmp(at, scan, sizeof scan) != 0; at++) assert_true(at + sizeof blocks < bytes + count);
    at += 14;
    uint8_t file[4096];
    assert_true((size_t)(at - bytes) + sizeof blocks <= sizeof file);
    memcpy(file, bytes, (size_t)(at - bytes));
    memcpy(file + (at - bytes), blocks, sizeof blocks);
    if (dcam_image_decode(file, (size_t)(at - bytes) + sizeof blocks, "a", &image) != DCAM_OK) fail_msg("%s", dcam_error_message());
    assert_int_equal(image.width, 32);
    assert_int_equal(image.height, 16);
    assert_memory_equal(image.pixels, grey, FLAT);
    dcam_image_clear(&image);
    dcam_free(bytes);
}

/* Of a mask the three channels become one; every allocation on the way may fail. */
static void masks_without_memory(void **state)
{
    dcam_image mask = {-1, -1, -1, NULL};
    char path[] = "/tmp/dcam-mask-XXXXXX", text[400];
    const int fd = mkstemp(path);
    const size_t n = make_pnm(text, sizeof text, 17, 13, 17 * 13);
    (void)state;
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    EVERY_ALLOCATION(a, dcam_mask_load(path, &mask)) {
        assert_true(a.passed ? a.n > 3 : mask.width == -1);
        if (a.passed) dcam_image_clear(&mask);
        mask.width = -1;
    }
    assert_int_equal(dcam_mask_load(path, &mask), DCAM_OK);
    assert_int_equal(mask.channels, 1);
    for (size_t i = 0; i < 17 * 13; i++) assert_int_equal(mask.pixels[i], 255);
    dcam_image_clear(&mask);
    unlink(path);
}

/* Every length from the signature on: the fast way says no, and the slow one why. */
static void short_pngs(void **state)
{
    uint8_t *bytes;
    size_t count;
    dcam_image image = {3, 3, 3, (uint8_t[27]){1}};
    (void)state;
    assert_int_equal(dcam_png_encode(&image, &bytes, &count), DCAM_OK);
    for (size_t n = 8; n < count; n++) {
        dcam_image out = {-1, -1, -1, NULL};
        uint8_t *copy = malloc(n);
        memcpy(copy, bytes, n);
        const dcam_encoded file = {.bytes = copy, .count = n, .name = "cut.png"};
        assert_false(dcam_decode_png_fast(&file, 3, 3, &out));
        assert_int_equal(out.width, -1);
        free(copy);
    }
    /* Another size than its header's, and one above what the fast way takes, is not for it. */
    const dcam_encoded file = {.bytes = bytes, .count = count, .name = "a.png"};
    dcam_image out = {-1, -1, -1, NULL};
    assert_false(dcam_decode_png_fast(&file, 3, 4, &out));
    assert_false(dcam_decode_png_fast(&file, 4, 3, &out));
    assert_false(dcam_decode_png_fast(&file, DCAM_MAX_IMAGE_SIDE, DCAM_MAX_IMAGE_SIDE, &out));
    assert_int_equal(out.width, -1);
    dcam_free(bytes);
}

/* Sides that cannot be resized to. */
static void sides_of_a_resize(void **state)
{
    static const int bad[][2] = {{0, 5}, {5, 0}, {-1, 5}, {5, DCAM_MAX_IMAGE_SIDE + 1}, {DCAM_MAX_IMAGE_SIDE + 1, 5}};
    uint8_t pixels[27] = {0};
    const dcam_image image = {3, 3, 3, pixels};
    dcam_image out = {-1, -1, -1, NULL};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(dcam_image_resize(&image, bad[i][0], bad[i][1], &out), DCAM_OK);
        assert_int_not_equal(dcam_image_resize_nearest(&image, bad[i][0], bad[i][1], &out), DCAM_OK);
        assert_int_equal(out.width, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callers_own_limit),
        cmocka_unit_test(words_of_libraries_are_one_line),
        cmocka_unit_test(lack_of_memory_in_a_library_is_not_damage),
        cmocka_unit_test(a_jpeg_of_tables_alone_has_no_pixels),
        cmocka_unit_test(small_files_that_claim_to_be_huge),
        cmocka_unit_test(numbers_of_a_pnm_do_not_wrap),
        cmocka_unit_test(unusual_subsampling_of_a_jpeg),
        cmocka_unit_test(masks_without_memory),
        cmocka_unit_test(short_pngs),
        cmocka_unit_test(sides_of_a_resize),
        cmocka_unit_test(scans_of_a_jpeg_are_bounded), /* last: it needs memory, and others look at the most there ever was */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
