/* The size of a picture from its header is that of the decoded one, and decoding holds no more than is said. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/image.h"

/* Decoders' tables and small blocks, and what every block of memory has at its head. */
#define SLACK ((size_t)128 << 10)

/* Whether its header says anything. */
static bool look(const char *path, dcam_image_size *out)
{
    memset(out, 0xff, sizeof *out);
    if (dcam_image_look(path, out) != DCAM_OK) fail_msg("%s", dcam_error_message());
    if (out->bytes == 0) assert_true(out->width == 0 && out->height == 0);
    return out->bytes > 0;
}

static void every_format(void **state)
{
    (void)state;
    dcam_names names;
    size_t read = 0;
    assert_int_equal(dcam_folder_list(DCAM_TEST_GOLDEN "/image", &names), DCAM_OK);
    for (size_t i = 0; i < names.count; i++) {
        char *path;
        dcam_image image;
        dcam_image_size size;
        assert_int_equal(dcam_path_join(DCAM_TEST_GOLDEN "/image", names.names[i], &path), DCAM_OK);
        const size_t held = dcam_memory_held();
        dcam_memory_reset_peak();
        if (dcam_image_load(path, &image) == DCAM_OK) {
            const size_t most = dcam_memory_peak() - held;
            if (!look(path, &size)) fail_msg("%s: its header was not read", names.names[i]);
            if (size.width != image.width || size.height != image.height)
                fail_msg("%s: %d x %d, not %d x %d", names.names[i], size.width, size.height, image.width, image.height);
            if (most > size.bytes + SLACK) fail_msg("%s: %zu held, %zu said", names.names[i], most, size.bytes);
            dcam_image_clear(&image);
            read++;
        }
        dcam_free(path);
    }
    assert_true(read > 50);
    dcam_names_clear(&names);
}

/* So large that what is held shows beside the slack. */
enum { SIDE = 700, PIXELS = SIDE * SIDE };

static void put_32(uint8_t *to, uint32_t v) { memcpy(to, &v, sizeof v); }

/* One strip of grey. */
static size_t make_tiff(uint8_t *out)
{
    static const uint32_t fields[][2] = {{256, SIDE}, {257, SIDE}, {258, 8}, {259, 1}, {262, 1}, {273, 256}, {277, 1}, {278, SIDE}, {279, PIXELS}};
    enum { COUNT = sizeof fields / sizeof *fields };
    memcpy(out, "II*\0\10\0\0\0", 8);
    out[8] = COUNT;
    for (size_t i = 0; i < COUNT; i++) {
        put_32(out + 10 + 12 * i, fields[i][0] | 4 << 16);
        put_32(out + 14 + 12 * i, 1);
        put_32(out + 18 + 12 * i, fields[i][1]);
    }
    return 256 + PIXELS;
}

/* Colours with alpha. */
static size_t make_bmp(uint8_t *out)
{
    enum { FILE_HEADER = 14, V4 = 108, OFFSET = FILE_HEADER + V4 };
    memcpy(out, "BM", 2);
    put_32(out + 10, OFFSET);
    put_32(out + 14, V4);
    put_32(out + 18, SIDE);
    put_32(out + 22, SIDE);
    put_32(out + 26, 1 | 32 << 16);
    put_32(out + 30, 3);
    put_32(out + 54, 0xff0000);
    put_32(out + 58, 0xff00);
    put_32(out + 62, 0xff);
    put_32(out + 66, 0xff000000);
    memset(out + OFFSET, 200, 4 * PIXELS);
    return OFFSET + 4 * PIXELS;
}

static void large_ones(void **state)
{
    size_t (*const make[])(uint8_t *) = {make_tiff, make_bmp};
    uint8_t *bytes = calloc(1, 256 + 4 * PIXELS);
    (void)state;
    assert_non_null(bytes);
    for (int i = 0; i < 2; i++) {
        char path[] = "/tmp/dcam-test-look-XXXXXX";
        dcam_image image;
        dcam_image_size size;
        const int fd = mkstemp(path);
        const size_t count = make[i](bytes), held = dcam_memory_held();
        assert_true(fd >= 0 && write(fd, bytes, count) == (ssize_t)count);
        dcam_memory_reset_peak();
        if (dcam_image_load(path, &image) != DCAM_OK) fail_msg("%s", dcam_error_message());
        const size_t most = dcam_memory_peak() - held;
        assert_true(look(path, &size));
        if (most > size.bytes + SLACK) fail_msg("%s: %zu held, %zu said", i ? "BMP" : "TIFF", most, size.bytes);
        dcam_image_clear(&image);
        close(fd);
        unlink(path);
    }
    free(bytes);
}

static bool look_at_bytes(const void *bytes, size_t count, dcam_image_size *out)
{
    char path[] = "/tmp/dcam-test-look-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, bytes, count) == (ssize_t)count);
    const bool found = look(path, out);
    close(fd);
    unlink(path);
    return found;
}

#define LOOK(bytes, out) look_at_bytes(bytes, sizeof(bytes) - 1, out)

/* What cannot be decoded is left to the decoder; headers that lie are held to the limits. */
static void others(void **state)
{
    (void)state;
    dcam_image_size size;
    assert_false(look("/tmp", &size));
    assert_false(LOOK("GIF89a", &size));
    assert_false(LOOK("P6", &size));
    assert_false(LOOK("P6 100 100", &size)); /* the digits may go on */
    assert_false(LOOK("P6 0 100 255\n", &size));
    assert_false(LOOK("P5 4294967300 4 255\n", &size));
    assert_false(LOOK("P5 32768 32768 255\n", &size));
    assert_false(LOOK("P3 10 10 255\n", &size));
    assert_true(LOOK("P4\n# made by hand\n6000 5999\n", &size));
    assert_int_equal(size.width, 6000);
    assert_int_equal(size.height, 5999);
    assert_int_equal(size.bytes, 3 * 6000 * 5999 + 28);
    assert_false(LOOK("\xff\xd8\xff\xe0", &size));
    assert_false(LOOK("\xff\xd8\xff\xff\xff\xff\xff\xff", &size));
    /* One component of 10 x 20; progressive; three components of which the scan has one. */
    assert_true(LOOK("\xff\xd8\xff\xc0\x00\x0b\x08\x00\x14\x00\x0a\x01\x01\x11\x00\xff\xda\x00\x08\x01", &size));
    assert_true(size.width == 10 && size.height == 20);
    const size_t baseline = size.bytes;
    assert_true(LOOK("\xff\xd8\xff\xc2\x00\x0b\x08\x00\x14\x00\x0a\x01\x01\x11\x00\xff\xda\x00\x08\x01", &size));
    assert_int_equal(size.bytes, baseline + 2 * 64 * 2 * 3);
    /* A TIFF whose directory lies behind its end; one in a tile of 1024 x 1024 words. */
    assert_false(LOOK("II*\0\xff\xff\0\0", &size));
    static const char tiled[] = "MM\0*\0\0\0\x08\0\x05" "\x01\0\0\x03\0\0\0\x01\0\x10\0\0" "\x01\x01\0\x03\0\0\0\x01\0\x08\0\0"
                                "\x01\x02\0\x03\0\0\0\x01\0\x10\0\0" "\x01\x42\0\x03\0\0\0\x01\x04\0\0\0" "\x01\x43\0\x03\0\0\0\x01\x04\0\0\0";
    assert_true(LOOK(tiled, &size));
    assert_true(size.width == 16 && size.height == 8);
    assert_int_equal(size.bytes, sizeof tiled - 1 + 4 * 16 * 8 + 2 * 1024 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_format), cmocka_unit_test(large_ones), cmocka_unit_test(others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
