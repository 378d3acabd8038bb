/* What goes from pictures to the network and from maps to files: preprocessing,
 * overlays, boxes, PNG, JPEG and npy. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <turbojpeg.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/image.h"

#define GOLDEN DCAM_TEST_GOLDEN "/image/"

static dcam_image random_image(int width, int height, int channels)
{
    dcam_random r = dcam_random_make(9, (uint64_t)width);
    dcam_image image = {width, height, channels, NULL};
    size_t n = (size_t)width * (size_t)height * (size_t)channels;
    assert_int_equal(dcam_alloc(n, 1, &image.pixels), DCAM_OK);
    for (size_t i = 0; i < n; i++) image.pixels[i] = (uint8_t)dcam_random_u32(&r);
    return image;
}

static void normalised_bits_are_torchvisions(void **state)
{
    (void)state;
    enum { SIDE = 32, N = SIDE * SIDE * 3 };
    uint8_t *golden, rgb[2 * N];
    size_t count;
    static float out[2 * N];
    assert_int_equal(dcam_file_read(GOLDEN "normalise.bin", 1 << 20, &golden, &count), DCAM_OK);
    assert_int_equal(count, N * sizeof(float));
    for (uint32_t i = 0; i < N; i++) { /* noise(), seed 4, of make_images.py */
        uint32_t v = i * 2654435761u + 4 * 40503u;
        v ^= v >> 15;
        v *= 2246822519u;
        v ^= v >> 13;
        rgb[i] = rgb[N + i] = (uint8_t)v;
    }
    dcam_preprocessing p = dcam_preprocessing_default(SIDE, SIDE);
    dcam_normalise(&p, rgb, 2, out);
    assert_memory_equal(out, golden, count);
    assert_memory_equal(out + N, golden, count);
    dcam_free(golden);
}

static void png_round_trip(void **state)
{
    (void)state;
    static const int sizes[][3] = {{1, 1, 3}, {1, 1, 1}, {37, 5, 3}, {5, 37, 1}, {300, 200, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        dcam_image image = random_image(sizes[i][0], sizes[i][1], sizes[i][2]), back;
        char path[] = "/tmp/dcam-png-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(dcam_png_write(path, &image), DCAM_OK);
        assert_int_equal(dcam_image_load(path, &back), DCAM_OK);
        unlink(path);
        assert_int_equal(back.width, image.width);
        assert_int_equal(back.height, image.height);
        for (size_t k = 0; k < 3 * (size_t)image.width * (size_t)image.height; k++)
            assert_int_equal(back.pixels[k], image.pixels[image.channels == 3 ? k : k / 3]);
        dcam_image_clear(&image);
        dcam_image_clear(&back);
    }
}

static void png_refusals_and_memory(void **state)
{
    (void)state;
    dcam_image image = random_image(40, 30, 3);
    uint8_t *bytes = NULL;
    size_t count = 0;
    dcam_image two_channels = image;
    two_channels.channels = 2;
    assert_int_equal(dcam_png_encode(&two_channels, &bytes, &count), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_png_write("/nonexistent/x.png", &image), DCAM_ERROR_IO);
    assert_non_null(strstr(dcam_error_message(), "/nonexistent/x.png"));
    EVERY_ALLOCATION(a, dcam_png_encode(&image, &bytes, &count)) {
        assert_true(a.passed == (bytes != NULL));
        dcam_free(bytes);
        bytes = NULL;
    }
    dcam_image_clear(&image);
}

/* A side or a channel that is not there, codec libraries that do not start: an error, and no bytes. */
static bool no_codec, no_memory_in_codec;
void *__real_tjInitCompress(void);
void *__wrap_tjInitCompress(void);
void *__wrap_tjInitCompress(void) { return no_codec ? NULL : __real_tjInitCompress(); }

typedef unsigned char byte;
int __real_tjCompress2(tjhandle handle, const byte *from, int width, int pitch, int height, int format, byte **to,
                       unsigned long *count, int sampling, int quality, int flags);
int __wrap_tjCompress2(tjhandle handle, const byte *from, int width, int pitch, int height, int format, byte **to,
                       unsigned long *count, int sampling, int quality, int flags);
int __wrap_tjCompress2(tjhandle handle, const byte *from, int width, int pitch, int height, int format, byte **to,
                       unsigned long *count, int sampling, int quality, int flags)
{
    return no_memory_in_codec ? -1
                              : __real_tjCompress2(handle, from, width, pitch, height, format, to, count, sampling, quality, flags);
}

#if defined(DCAM_LIBDEFLATE)
struct libdeflate_compressor *__real_libdeflate_alloc_compressor(int level);
/* Seen from outside: libtiff calls it too. */
__attribute__((visibility("default"))) struct libdeflate_compressor *__wrap_libdeflate_alloc_compressor(int level);
struct libdeflate_compressor *__wrap_libdeflate_alloc_compressor(int level)
{
    return no_codec ? NULL : __real_libdeflate_alloc_compressor(level);
}
#endif

/* Above 64 MiB libspng writes, row by row, on every machine. */
static void png_of_a_very_large_picture(void **state)
{
    (void)state;
    enum { SIDE = 4736 };
    const size_t n = (size_t)3 * SIDE * SIDE, held = dcam_memory_held();
    dcam_image image = {SIDE, SIDE, 3, NULL}, back;
    uint8_t *bytes = NULL;
    size_t count = 0;
    assert_int_equal(dcam_alloc_zero(n, 1, &image.pixels), DCAM_OK);
    for (size_t i = 0; i < n; i += 99991) image.pixels[i] = (uint8_t)(1 + i % 255);
    EVERY_ALLOCATION(a, dcam_png_encode(&image, &bytes, &count)) {
        assert_true(a.passed ? a.n > 5 : bytes == NULL);
        dcam_free(bytes);
        bytes = NULL;
    }
    assert_int_equal(dcam_png_encode(&image, &bytes, &count), DCAM_OK);
    assert_int_equal(dcam_image_decode(bytes, count, "large.png", &back), DCAM_OK);
    assert_true(back.width == SIDE && back.height == SIDE);
    assert_memory_equal(back.pixels, image.pixels, n);
    dcam_image_clear(&back);
    dcam_image_clear(&image);
    dcam_free(bytes);
    assert_int_equal(dcam_memory_held(), held);
}

static void sides_of_pictures(void **state)
{
    (void)state;
    static const int bad[][3] = {{0, 5, 3}, {5, 0, 3}, {-1, 5, 3}, {5, 5, 2}, {5, 5, 4}, {5, 5, 0}};
    uint8_t pixels[100] = {0}, *bytes = (uint8_t *)1;
    size_t count = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const dcam_image image = {bad[i][0], bad[i][1], bad[i][2], pixels};
        assert_int_equal(dcam_png_encode(&image, &bytes, &count), DCAM_ERROR_USAGE);
        assert_int_equal(dcam_jpeg_encode(&image, 90, &bytes, &count), DCAM_ERROR_USAGE);
    }
    const dcam_image grey = {5, 5, 1, pixels}, image = {5, 5, 3, pixels};
    assert_int_equal(dcam_jpeg_encode(&grey, 90, &bytes, &count), DCAM_ERROR_USAGE);
    const dcam_image broad = {65501, 1, 3, pixels}, high = {1, 65501, 3, pixels};
    assert_int_equal(dcam_jpeg_encode(&broad, 90, &bytes, &count), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_jpeg_encode(&high, 90, &bytes, &count), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_jpeg_encode(&image, 101, &bytes, &count), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_jpeg_encode(&image, 0, &bytes, &count), DCAM_ERROR_USAGE);
    assert_non_null(strstr(dcam_error_message(), "1 to 100"));
    assert_int_equal(dcam_png_write("/nonexistent/x.png", &(dcam_image){0, 5, 3, pixels}), DCAM_ERROR_USAGE);
    assert_non_null(strstr(dcam_error_message(), "/nonexistent/x.png: "));
    const size_t held = dcam_memory_held();
    no_codec = true;
    assert_int_equal(dcam_jpeg_encode(&image, 90, &bytes, &count), DCAM_ERROR_MEMORY);
#if defined(DCAM_LIBDEFLATE)
    assert_int_equal(dcam_png_encode(&image, &bytes, &count), DCAM_ERROR_MEMORY);
#endif
    no_codec = false;
    no_memory_in_codec = true;
    assert_int_equal(dcam_jpeg_encode(&image, 90, &bytes, &count), DCAM_ERROR_MEMORY);
    no_memory_in_codec = false;
    EVERY_ALLOCATION(a, dcam_jpeg_encode(&image, 90, &bytes, &count)) {
        assert_true(a.passed || (bytes == (uint8_t *)1 && count == 77));
        if (a.passed) dcam_free(bytes);
        bytes = (uint8_t *)1;
        count = 77;
    }
    assert_int_equal(dcam_memory_held(), held);
    assert_true(bytes == (uint8_t *)1 && count == 77);
}

/* Mean difference of a picture from what comes back of its JPEG; the file's size in *count. */
static double jpeg_loss(const dcam_image *image, int quality, size_t *count)
{
    uint8_t *bytes;
    dcam_image back;
    double sum = 0;
    assert_int_equal(dcam_jpeg_encode(image, quality, &bytes, count), DCAM_OK);
    assert_true(*count > 100 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[*count - 2] == 0xff && bytes[*count - 1] == 0xd9);
    assert_int_equal(dcam_image_decode(bytes, *count, "back.jpg", &back), DCAM_OK);
    assert_true(back.width == image->width && back.height == image->height && back.channels == 3);
    const size_t n = 3 * (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < n; i++) sum += abs(back.pixels[i] - image->pixels[i]);
    dcam_image_clear(&back);
    dcam_free(bytes);
    return sum / (double)n;
}

/* A smooth picture with all its colours in place comes back nearly as it was; more so, in a larger file, with a higher
 * quality; the same pixels give the same file. Sides that are no multiples of 16. */
static void jpeg_round_trip(void **state)
{
    (void)state;
    static const int sides[][2] = {{64, 48}, {37, 23}, {1, 1}};
    for (size_t k = 0; k < 3; k++) {
        const int w = sides[k][0], h = sides[k][1];
        dcam_image image = {w, h, 3, NULL};
        size_t fine, coarse, again;
        assert_int_equal(dcam_alloc((size_t)(w * h), 3, &image.pixels), DCAM_OK);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                uint8_t *p = image.pixels + 3 * (y * w + x);
                p[0] = (uint8_t)(40 + 2 * x);
                p[1] = (uint8_t)(220 - 3 * y);
                p[2] = (uint8_t)(60 + x + y);
            }
        const double loss = jpeg_loss(&image, 95, &fine), more = jpeg_loss(&image, 20, &coarse);
        if (loss > 2) fail_msg("%d x %d: %g levels are lost", w, h, loss);
        if (k == 0) assert_true(more > loss && coarse < fine);
        assert_true(jpeg_loss(&image, 95, &again) == loss && again == fine);
        dcam_image_clear(&image);
    }
}

/* A name, and a version that begins with a number and has a point; never more of them than there is room for. */
static void codecs_say_their_versions(void **state)
{
    (void)state;
    dcam_image_library all[8] = {{0}}, two[3] = {{.name = "kept"}, {.name = "kept"}, {.name = "kept"}};
    const int n = dcam_image_libraries(all, 8);
    assert_true(n >= 4 && n <= 8);
    for (int i = 0; i < n; i++) {
        if (all[i].version[0] < '0' || all[i].version[0] > '9' || !strchr(all[i].version, '.') || strchr(all[i].version, '\n'))
            fail_msg("%s: '%s'", all[i].name, all[i].version);
        for (int k = 0; k < i; k++) assert_string_not_equal(all[i].name, all[k].name);
    }
    assert_int_equal(dcam_image_libraries(two, 2), 2);
    assert_string_equal(two[1].name, all[1].name);
    assert_string_equal(two[2].name, "kept");
}

static void npy_bytes_are_numpys(void **state)
{
    (void)state;
    float values[6];
    uint8_t *ours, *golden;
    size_t count, golden_count;
    char path[] = "/tmp/dcam-npy-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int i = 0; i < 6; i++) values[i] = (float)i / 4 - 1;
    assert_int_equal(dcam_npy_write(path, values, 2, 3), DCAM_OK);
    assert_int_equal(dcam_file_read(path, 4096, &ours, &count), DCAM_OK);
    unlink(path);
    assert_int_equal(dcam_file_read(GOLDEN "map.npy", 4096, &golden, &golden_count), DCAM_OK);
    assert_int_equal(count, golden_count);
    assert_memory_equal(ours, golden, count);
    assert_int_equal(dcam_npy_write("/nonexistent/x.npy", values, 2, 3), DCAM_ERROR_IO);
    dcam_free(ours);
    dcam_free(golden);
}

/* ---- overlay ------------------------------------------------------------------ */

static double lightness(const uint8_t *p) { return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; }

static void calm_where_the_map_is_low(void **state)
{
    (void)state;
    dcam_image photo = random_image(33, 17, 3), out;
    float map[12];
    for (int i = 0; i < 12; i++) map[i] = i % 2 ? 0.5f : -3.0f;
    assert_int_equal(dcam_overlay(&photo, map, 4, 3, 0.5f, 1.0f, &out), DCAM_OK);
    assert_memory_equal(out.pixels, photo.pixels, 3 * 33 * 17);
    dcam_image_clear(&out);
    for (int i = 0; i < 12; i++) map[i] = NAN;
    assert_int_equal(dcam_overlay(&photo, map, 4, 3, 0.5f, 1.0f, &out), DCAM_OK);
    assert_memory_equal(out.pixels, photo.pixels, 3 * 33 * 17);
    dcam_image_clear(&out);
    dcam_image_clear(&photo);
}

/* The same value looks the same whatever else is in the map. */
static void scale_is_fixed(void **state)
{
    (void)state;
    dcam_image photo = random_image(8, 8, 3), alone, beside_peak;
    float quiet[4] = {0.6f, 0.6f, 0.6f, 0.6f}, loud[4] = {0.6f, 900.0f, 0.6f, 900.0f};
    assert_int_equal(dcam_overlay(&photo, quiet, 2, 2, 0.2f, 1.0f, &alone), DCAM_OK);
    assert_int_equal(dcam_overlay(&photo, loud, 2, 2, 0.2f, 1.0f, &beside_peak), DCAM_OK);
    for (int y = 0; y < 8; y++) assert_memory_equal(alone.pixels + 24 * y, beside_peak.pixels + 24 * y, 6);
    assert_memory_not_equal(alone.pixels, photo.pixels, 6);
    dcam_image_clear(&alone);
    dcam_image_clear(&beside_peak);
    dcam_image_clear(&photo);
}

/* A ramp over black: each step is lighter; at and above the top nothing changes. */
static void lighter_with_the_value(void **state)
{
    (void)state;
    enum { N = 64 };
    float map[N];
    dcam_image photo = {N, 1, 3, NULL}, out;
    assert_int_equal(dcam_alloc_zero(N, 3, &photo.pixels), DCAM_OK);
    for (int i = 0; i < N; i++) map[i] = (float)i / (N - 4);
    assert_int_equal(dcam_overlay(&photo, map, N, 1, 0.0f, 1.0f, &out), DCAM_OK);
    for (int i = 1; i < N; i++) {
        double before = lightness(out.pixels + 3 * (i - 1)), now = lightness(out.pixels + 3 * i);
        if (i <= N - 4) assert_true(now > before);
        else assert_memory_equal(out.pixels + 3 * i, out.pixels + 3 * (i - 1), 3);
    }
    /* 3/4 of the colour map's last entry (252, 255, 164) */
    static const uint8_t top[3] = {189, 191, 123};
    assert_memory_equal(out.pixels + 3 * (N - 1), top, 3);
    dcam_image_clear(&out);
    dcam_image_clear(&photo);
}

/* Half-pixel centres: two map samples over four columns weigh 0, 1/4, 3/4, 1. */
static void map_is_enlarged_bilinearly(void **state)
{
    (void)state;
    const float map[2] = {0.2f, 1.0f}, enlarged[4] = {0.2f, 0.4f, 0.8f, 1.0f};
    dcam_image photo = random_image(4, 3, 3), small, large;
    assert_int_equal(dcam_overlay(&photo, map, 2, 1, 0.0f, 1.0f, &small), DCAM_OK);
    assert_int_equal(dcam_overlay(&photo, enlarged, 4, 1, 0.0f, 1.0f, &large), DCAM_OK);
    for (int i = 0; i < 36; i++) assert_true(abs(small.pixels[i] - large.pixels[i]) <= 1);
    dcam_image_clear(&small);
    dcam_image_clear(&large);
    dcam_image_clear(&photo);
}

static void overlay_refusals_and_memory(void **state)
{
    (void)state;
    dcam_image photo = random_image(6, 6, 3), out = {-1, -1, -1, NULL};
    const float map[1] = {1};
    assert_int_equal(dcam_overlay(&photo, map, 1, 1, 1.0f, 0.0f, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_overlay(&photo, map, 1, 1, NAN, 1.0f, &out), DCAM_ERROR_USAGE);
    /* Ends whose distance is no number: a level worked out with it would be none either. */
    assert_int_equal(dcam_overlay(&photo, map, 1, 1, -FLT_MAX, FLT_MAX, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_overlay(&photo, map, 0, 1, 0.0f, 1.0f, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_overlay(&photo, map, 1, 0, 0.0f, 1.0f, &out), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_overlay(&photo, map, 1, 1, 0.0f, INFINITY, &out), DCAM_ERROR_USAGE);
    dcam_image grey = photo;
    grey.channels = 1;
    assert_int_equal(dcam_overlay(&grey, map, 1, 1, 0.0f, 1.0f, &out), DCAM_ERROR_USAGE);
    EVERY_ALLOCATION(a, dcam_overlay(&photo, map, 1, 1, 0.0f, 1.0f, &out)) {
        assert_true(a.passed ? a.n > 3 : out.width == -1);
        if (a.passed) dcam_image_clear(&out);
        out.width = -1;
    }
    /* low == high: a step */
    assert_int_equal(dcam_overlay(&photo, map, 1, 1, 0.5f, 0.5f, &out), DCAM_OK);
    assert_memory_not_equal(out.pixels, photo.pixels, 108);
    dcam_image_clear(&out);
    dcam_image_clear(&photo);
}

static void boxes_are_clipped_outlines(void **state)
{
    (void)state;
    static const uint8_t red[3] = {255, 0, 0};
    enum { W = 12, H = 10 };
    static const int boxes[][4] = {{2, 3, 5, 4}, {-3, -3, 6, 6}, {9, 8, 50, 50}, {4, 4, 1, 1},
                                   {INT32_MAX, 1, INT32_MAX, 3}, {INT32_MIN, 0, 5, 5}, {0, 0, 0, 4}, {-5, 4, 100, 2}};
    for (size_t b = 0; b < sizeof boxes / sizeof *boxes; b++) {
        dcam_image image = {W, H, 3, NULL};
        assert_int_equal(dcam_alloc_zero(W * H, 3, &image.pixels), DCAM_OK);
        int64_t x = boxes[b][0], y = boxes[b][1], w = boxes[b][2], h = boxes[b][3];
        dcam_draw_box(&image, boxes[b][0], boxes[b][1], boxes[b][2], boxes[b][3], red);
        for (int j = 0; j < H; j++)
            for (int i = 0; i < W; i++) {
                bool inside = i >= x && i < x + w && j >= y && j < y + h;
                bool edge = inside && (i == x || i == x + w - 1 || j == y || j == y + h - 1);
                assert_int_equal(image.pixels[3 * (j * W + i)], edge ? 255 : 0);
                assert_int_equal(image.pixels[3 * (j * W + i) + 1], 0);
            }
        dcam_image_clear(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalised_bits_are_torchvisions), cmocka_unit_test(png_round_trip),
        cmocka_unit_test(png_refusals_and_memory),          cmocka_unit_test(sides_of_pictures),
        cmocka_unit_test(png_of_a_very_large_picture),
        cmocka_unit_test(jpeg_round_trip),                  cmocka_unit_test(codecs_say_their_versions),
        cmocka_unit_test(npy_bytes_are_numpys),
        cmocka_unit_test(calm_where_the_map_is_low),        cmocka_unit_test(scale_is_fixed),
        cmocka_unit_test(lighter_with_the_value),           cmocka_unit_test(map_is_enlarged_bilinearly),
        cmocka_unit_test(overlay_refusals_and_memory),      cmocka_unit_test(boxes_are_clipped_outlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
