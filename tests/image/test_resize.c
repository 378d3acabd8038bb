/* Resizing: bit-equal to Pillow over many shapes, and the fast loops equal to
 * the plain ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "image/image.h"
#include "image/resize_kernel.h"

#define GOLDEN DCAM_TEST_GOLDEN "/image/"

/* The bytes of noise() in tests/golden/make_images.py. */
static dcam_image noise(int width, int height, int channels, unsigned seed)
{
    dcam_image image = {width, height, channels, NULL};
    size_t n = (size_t)width * (size_t)height * (size_t)channels;
    assert_int_equal(dcam_alloc(n, 1, &image.pixels), DCAM_OK);
    for (size_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)i * 2654435761u + seed * 40503u;
        v ^= v >> 15;
        v *= 2246822519u;
        v ^= v >> 13;
        v &= 255;
        image.pixels[i] = (uint8_t)(seed % 2 ? (v > 127 ? 255 : 0) : v);
    }
    return image;
}

static uint64_t fnv(const dcam_image *image)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height * (size_t)image->channels; i++)
        h = (h ^ image->pixels[i]) * 0x100000001b3u;
    return h;
}

static void equal_to_pillow(void **state)
{
    (void)state;
    uint8_t *list;
    size_t length;
    int lines = 0;
    assert_int_equal(dcam_file_read(GOLDEN "resize.txt", 1 << 20, &list, &length), DCAM_OK);
    size_t held = dcam_memory_held();
    for (char *line = strtok((char *)list, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        char filter[16];
        int channels, w, h, ow, oh;
        unsigned seed;
        unsigned long long expected;
        assert_int_equal(sscanf(line, "%15s %d %d %d %d %d %u %llx", filter, &channels, &w, &h, &ow, &oh, &seed,
                                &expected), 8);
        dcam_image in = noise(w, h, channels, seed), out;
        dcam_status status = strcmp(filter, "nearest") == 0 ? dcam_image_resize_nearest(&in, ow, oh, &out)
                                                            : dcam_image_resize(&in, ow, oh, &out);
        assert_int_equal(status, DCAM_OK);
        assert_int_equal(out.width, ow);
        assert_int_equal(out.height, oh);
        assert_int_equal(out.channels, channels);
        if (fnv(&out) != expected) fail_msg("differs from Pillow: %s", line);
        dcam_image_clear(&in);
        dcam_image_clear(&out);
    }
    assert_int_equal(dcam_memory_held(), held);
    assert_true(lines > 300);
    dcam_free(list);
}

/* Weights as resizing makes them: not negative, of a sum of 1 << 22. */
static void random_weights(dcam_random *r, int taps, int32_t *weights)
{
    int32_t left = 1 << DCAM_WEIGHT_BITS;
    for (int k = 0; k < taps; k++) {
        weights[k] = k == taps - 1 ? left : (int32_t)dcam_random_below(r, (uint64_t)left + 1);
        left -= weights[k];
    }
}

static void random_bytes(dcam_random *r, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) bytes[i] = dcam_random_below(r, 4) ? (uint8_t)dcam_random_u32(r) : 255;
}

static void fast_rows_equal_plain_rows(void **state)
{
    (void)state;
    enum { N = 161, TAPS = 12 };
    dcam_random r = dcam_random_make(1, 1);
    for (int round = 0; round < 500; round++) {
        int taps = 1 + (int)dcam_random_below(&r, TAPS);
        size_t n = 1 + (size_t)dcam_random_below(&r, N);
        /* exact blocks, so that a sanitizer sees a read past them */
        uint8_t *rows[TAPS], plain[N + 1], fast[N + 1];
        int32_t weights[TAPS], *packed = malloc(DCAM_PACKED(taps) * sizeof *packed);
        assert_non_null(packed);
        random_weights(&r, taps, weights);
        dcam_pack_weights(weights, taps, packed);
        for (int k = 0; k < taps; k++) {
            assert_non_null(rows[k] = malloc(n));
            random_bytes(&r, rows[k], n);
        }
        plain[n] = 77;
        dcam_weigh_rows_plain((const uint8_t *const *)rows, weights, taps, n, plain);
        for (dcam_resize_isa isa = DCAM_RESIZE_PLAIN; isa <= dcam_resize_isa_here(); isa++) {
            memset(fast, 77, sizeof fast);
            dcam_weigh_rows(isa, (const uint8_t *const *)rows, &(dcam_span){0, taps, weights, packed}, n, fast);
            assert_memory_equal(plain, fast, n + 1);
        }
        for (int k = 0; k < taps; k++) free(rows[k]);
        free(packed);
    }
}

static void fast_pixels_equal_plain_pixels(void **state)
{
    (void)state;
    enum { W = 40, OUT = 9, ROWS = DCAM_ROWS_TOGETHER };
    dcam_random r = dcam_random_make(2, 1);
    for (int round = 0; round < 600; round++) {
        int channels = round % 4 ? 3 : 1, width = 1 + (int)dcam_random_below(&r, W), count = 1 + round % ROWS;
        size_t n = (size_t)width * (size_t)channels;
        uint8_t *rows[ROWS], plain[ROWS][3 * OUT + 1], fast[ROWS][3 * OUT + 1];
        uint8_t *const to_plain[ROWS] = {plain[0], plain[1], plain[2], plain[3]};
        uint8_t *const to_fast[ROWS] = {fast[0], fast[1], fast[2], fast[3]};
        int32_t weights[OUT][W], *packed[OUT];
        dcam_span spans[OUT];
        for (int k = 0; k < count; k++) {
            assert_non_null(rows[k] = malloc(n));
            random_bytes(&r, rows[k], n);
        }
        for (int i = 0; i < OUT; i++) {
            int first = (int)dcam_random_below(&r, (uint64_t)width);
            int taps = 1 + (int)dcam_random_below(&r, (uint64_t)(width - first));
            assert_non_null(packed[i] = malloc(DCAM_PACKED(taps) * sizeof *packed[i]));
            random_weights(&r, taps, weights[i]);
            dcam_pack_weights(weights[i], taps, packed[i]);
            spans[i] = (dcam_span){first, taps, weights[i], packed[i]};
        }
        memset(plain, 77, sizeof plain);
        dcam_weigh_pixels_plain((const uint8_t *const *)rows, count, width, channels, spans, OUT, to_plain);
        for (dcam_resize_isa isa = DCAM_RESIZE_PLAIN; isa <= dcam_resize_isa_here(); isa++) {
            memset(fast, 77, sizeof fast);
            dcam_weigh_pixels(isa, (const uint8_t *const *)rows, count, width, channels, spans, OUT, to_fast);
            assert_memory_equal(plain, fast, sizeof plain);
        }
        for (int i = 0; i < OUT; i++) free(packed[i]);
        for (int k = 0; k < count; k++) free(rows[k]);
    }
}

static void impossible_sizes(void **state)
{
    (void)state;
    static const int bad[][2] = {{0, 5}, {5, 0}, {-1, 5}, {32769, 1}, {32768, 32768}};
    dcam_image in = noise(4, 4, 3, 0), out = {-1, -1, -1, NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(dcam_image_resize(&in, bad[i][0], bad[i][1], &out), DCAM_ERROR_USAGE);
        assert_int_equal(dcam_image_resize_nearest(&in, bad[i][0], bad[i][1], &out), DCAM_ERROR_USAGE);
        assert_int_equal(out.width, -1);
    }
    dcam_image_clear(&in);
}

static void memory_runs_out(void **state)
{
    (void)state;
    dcam_image in = noise(20, 20, 3, 0);
    dcam_image out = {.width = -1};
    for (int nearest = 0; nearest < 2; nearest++)
        EVERY_ALLOCATION(a, nearest ? dcam_image_resize_nearest(&in, 7, 30, &out) : dcam_image_resize(&in, 7, 30, &out)) {
            assert_true(a.passed ? a.n > 3 : out.width == -1);
            if (a.passed) dcam_image_clear(&out);
            out.width = -1;
        }
    dcam_image_clear(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_pillow),
        cmocka_unit_test(fast_rows_equal_plain_rows),
        cmocka_unit_test(fast_pixels_equal_plain_pixels),
        cmocka_unit_test(impossible_sizes),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
