/* Decoding: every kind of picture against the RGB that Pillow makes of it, and
 * everything that can be wrong with a file. */
#define _DEFAULT_SOURCE /* mkstemps */
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
#include "base/random.h"
#include "image/decode.h"
#include "image/image.h"

#define GOLDEN DCAM_TEST_GOLDEN "/image/"
/* Larger than any golden picture. */
#define LARGE_FILE (64u << 20)

/* ---- golden files ------------------------------------------------------- */

typedef struct {
    char name[64];
    int width, height, tolerance;
    uint8_t *bytes; /* encoded */
    size_t count;
    const uint8_t *expected;
} golden;

static golden goldens[200];
static size_t golden_count;
static uint8_t *expected_bytes;

static void read_file(const char *name, uint8_t **bytes, size_t *count)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s", GOLDEN, name);
    if (dcam_file_read(path, LARGE_FILE, bytes, count) != DCAM_OK) fail_msg("%s", dcam_error_message());
}

static int read_goldens(void **state)
{
    (void)state;
    uint8_t *list;
    size_t length, left, at = 0;
    read_file("decode.txt", &list, &length);
    read_file("decode.bin", &expected_bytes, &left);
    for (char *line = strtok((char *)list, "\n"); line; line = strtok(NULL, "\n")) {
        golden *g = &goldens[golden_count];
        assert_true(golden_count < sizeof goldens / sizeof *goldens);
        assert_int_equal(sscanf(line, "%63s %d %d %d", g->name, &g->width, &g->height, &g->tolerance), 4);
        g->expected = expected_bytes + at;
        at += 3 * (size_t)g->width * (size_t)g->height;
        assert_true(at <= left);
        golden_count++;
    }
    assert_int_equal(at, left);
    dcam_free(list);
    for (size_t i = 0; i < golden_count; i++) read_file(goldens[i].name, &goldens[i].bytes, &goldens[i].count);
    return 0;
}

static int free_goldens(void **state)
{
    (void)state;
    for (size_t i = 0; i < golden_count; i++) dcam_free(goldens[i].bytes);
    dcam_free(expected_bytes);
    return 0;
}

/* A block of exactly the given length, so that a sanitizer sees a read past it. */
static uint8_t *exact_copy(const uint8_t *bytes, size_t count)
{
    uint8_t *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    if (count) memcpy(copy, bytes, count);
    return copy;
}

static void assert_one_clear_line(const char *name)
{
    const char *line = dcam_error_message();
    if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ':') fail_msg("no file name: '%s'", line);
    for (const char *p = line; *p; p++)
        if ((unsigned char)*p < ' ') fail_msg("not one line: '%s'", line);
    if (strlen(line) < strlen(name) + 10 || line[strlen(line) - 1] == '.') fail_msg("'%s'", line);
}

/* ---- good pictures -------------------------------------------------------- */

static int largest_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    int most = 0;
    for (size_t i = 0; i < n; i++)
        if (abs(a[i] - b[i]) > most) most = abs(a[i] - b[i]);
    return most;
}

static void pictures_equal_pillow(void **state)
{
    (void)state;
    size_t held = dcam_memory_held();
    int worst = 0;
    assert_true(golden_count > 70);
    for (size_t i = 0; i < golden_count; i++) {
        const golden *g = &goldens[i];
        dcam_image image;
        if (dcam_image_decode(g->bytes, g->count, g->name, &image) != DCAM_OK) fail_msg("%s", dcam_error_message());
        assert_int_equal(image.width, g->width);
        assert_int_equal(image.height, g->height);
        assert_int_equal(image.channels, 3);
        int most = largest_difference(image.pixels, g->expected, 3 * (size_t)g->width * (size_t)g->height);
        if (most > g->tolerance) fail_msg("%s: differs by %d levels, allowed %d", g->name, most, g->tolerance);
        if (most > 0) print_message("%s: differs by %d level(s)\n", g->name, most);
        if (most > worst) worst = most;
        dcam_image_clear(&image);
    }
    print_message("%zu pictures, largest difference %d level(s)\n", golden_count, worst);
    assert_int_equal(dcam_memory_held(), held);
}

static void content_decides_not_the_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < golden_count; i += 7) {
        char path[] = "/tmp/dcam-misnamed-XXXXXX.jpg";
        int fd = mkstemps(path, 4);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, goldens[i].bytes, goldens[i].count), (ssize_t)goldens[i].count);
        close(fd);
        dcam_image image;
        assert_int_equal(dcam_image_load(path, &image), DCAM_OK);
        assert_int_equal(image.width, goldens[i].width);
        dcam_image_clear(&image);
        unlink(path);
    }
}

/* ---- bad pictures --------------------------------------------------------- */

static void refused_with_a_reason(void **state)
{
    (void)state;
    uint8_t *list;
    size_t length, seen = 0;
    read_file("refuse.txt", &list, &length);
    char *rest = NULL;
    for (char *line = strtok_r((char *)list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), seen++) {
        char *reason = strchr(line, ' ');
        assert_non_null(reason);
        *reason++ = '\0';
        char path[1024];
        snprintf(path, sizeof path, "%s%s", GOLDEN, line);
        size_t held = dcam_memory_held();
        dcam_memory_reset_peak();
        dcam_image image = {-1, -1, -1, NULL};
        assert_int_equal(dcam_image_load(path, &image), DCAM_ERROR_IMAGE);
        if (!strstr(dcam_error_message(), reason))
            fail_msg("expected '%s', got '%s'", reason, dcam_error_message());
        assert_one_clear_line(path);
        assert_int_equal(image.width, -1);
        assert_int_equal(dcam_memory_held(), held);
        /* Refused before the memory of its pixels was asked for. */
        assert_true(dcam_memory_peak() < held + (1u << 20));
    }
    assert_true(seen > 20);
    dcam_free(list);
}

static void unreadable_files(void **state)
{
    (void)state;
    dcam_image image = {-1, -1, -1, NULL};
    assert_int_equal(dcam_image_load("/nonexistent/picture.png", &image), DCAM_ERROR_IO);
    assert_one_clear_line("/nonexistent/picture.png");
    assert_int_equal(dcam_image_load("/tmp", &image), DCAM_ERROR_IO);
    assert_one_clear_line("/tmp");
    assert_int_equal(dcam_mask_load("/nonexistent/mask.png", &image), DCAM_ERROR_IO);
    assert_int_equal(image.width, -1);
}

/* A BMP of 2 x 2 pixels: header bytes, colours, bits, compression, where its pixels are said to begin. */
static size_t put_bmp(uint8_t to[200], uint32_t header, size_t colours, uint32_t bits, uint32_t compression, uint32_t offset)
{
    memset(to, 0, 200);
    const uint32_t fields[][2] = {{10, offset}, {14, header}, {18, 2}, {22, 2}, {30, compression}};
    memcpy(to, "BM", 2);
    for (size_t i = 0; i < (header == 12 ? 2 : 5); i++)
        for (int k = 0; k < 4; k++) to[fields[i][0] + (size_t)k] = (uint8_t)(fields[i][1] >> 8 * k);
    if (header == 12) to[18] = to[20] = 2;
    to[header == 12 ? 22 : 26] = 1; /* planes */
    to[header == 12 ? 24 : 28] = (uint8_t)bits;
    for (size_t i = 0; i < 16; i++) to[14 + header + 4 * colours + i] = (uint8_t)(10 * i + 5);
    return 14 + header + 4 * colours + 16;
}

static void bmp_headers(void **state)
{
    (void)state;
    static const struct {
        uint32_t header, colours, bits, compression, offset;
        const char *why; /* NULL: it is read */
    } cases[] = {
        {40, 0, 24, 0, 54, NULL},
        {12, 0, 24, 0, 26, NULL}, /* OS/2 */
        {12, 0, 8, 0, 26, "an OS/2 palette"},
        {64, 0, 24, 0, 78, "a header of an unusual kind"},
        {40, 0, 24, 3, 66, "bit fields at a wrong bit depth"},
        {40, 0, 24, 1, 54, "compressed pixels"},
        {40, 0, 2, 0, 54, "an unusual bit depth"},
        {40, 0, 8, 0, 54, "it has no palette"},
        {40, 1, 8, 0, 58, "names a colour beyond the palette"},
        {40, 1, 24, 0, 58, "a gap before its pixels"},
        {40, 0, 24, 0, 50, "its pixels begin inside its header"},
        {40, 0, 24, 0, 60, "it ends early"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[200];
        dcam_image image = {-1, -1, -1, NULL};
        const size_t count = put_bmp(bytes, cases[i].header, cases[i].colours, cases[i].bits, cases[i].compression, cases[i].offset);
        uint8_t *copy = exact_copy(bytes, count);
        const dcam_status status = dcam_image_decode(copy, count, "made.bmp", &image);
        free(copy);
        assert_int_equal(status, cases[i].why ? DCAM_ERROR_IMAGE : DCAM_OK);
        if (cases[i].why) {
            assert_one_clear_line("made.bmp");
            if (!strstr(dcam_error_message(), cases[i].why)) fail_msg("%s: %s", cases[i].why, dcam_error_message());
            continue;
        }
        /* The lowest row comes first, each pixel as blue, green, red, each row filled up to 8 bytes. */
        const uint8_t wanted[12] = {105, 95, 85, 135, 125, 115, 25, 15, 5, 55, 45, 35};
        assert_int_equal(image.width, 2);
        assert_memory_equal(image.pixels, wanted, sizeof wanted);
        dcam_image_clear(&image);
    }
}

/* Bytes at the end that hold nothing of the picture: a PNG's last checksum, a
 * TIFF's offset of the next page or that page, what was appended to a JPEG. */
static size_t spare_bytes(const golden *g)
{
    if (strcmp(g->name, "trailing.jpg") == 0) return strlen("appended by something else");
    if (strcmp(g->name, "two-pages.tif") == 0) return g->count / 2;
    return strstr(g->name, ".png") || strstr(g->name, ".tif") ? 4 : 0;
}

static void truncated_at_every_length(void **state)
{
    (void)state;
    size_t cuts = 0;
    for (size_t i = 0; i < golden_count; i++) {
        const golden *g = &goldens[i];
        size_t step = 1 + g->count / 400;
        for (size_t count = 0; count < g->count; count += g->count - count <= 64 ? 1 : step, cuts++) {
            uint8_t *copy = exact_copy(g->bytes, count);
            dcam_image image = {-1, -1, -1, NULL};
            dcam_status status = dcam_image_decode(copy, count, g->name, &image);
            free(copy);
            if (status == DCAM_OK) {
                if (count + spare_bytes(g) < g->count) fail_msg("%s cut to %zu of %zu bytes was read", g->name, count, g->count);
                size_t n = 3 * (size_t)g->width * (size_t)g->height;
                assert_true(largest_difference(image.pixels, g->expected, n) <= g->tolerance);
                dcam_image_clear(&image);
            } else {
                assert_int_equal(status, DCAM_ERROR_IMAGE);
                assert_one_clear_line(g->name);
                assert_int_equal(image.width, -1);
            }
        }
    }
    assert_true(cuts > 10000);
}

/* One to eight bytes changed: anything but a crash, a leak or a half-made result. */
static void changed_bytes(void **state)
{
    (void)state;
    enum { ROUNDS = 60 };
    dcam_random r = dcam_random_make(3, 1);
    size_t held = dcam_memory_held(), refused = 0;
    for (size_t i = 0; i < golden_count; i++)
        for (int round = 0; round < ROUNDS; round++) {
            const golden *g = &goldens[i];
            uint8_t *copy = exact_copy(g->bytes, g->count);
            /* Every second time near the start, where the headers are. */
            uint64_t reach = round % 2 && g->count > 160 ? 160 : g->count;
            for (uint64_t k = dcam_random_below(&r, 8) + 1; k > 0; k--) {
                uint64_t at = dcam_random_below(&r, reach);
                if (round % 4 < 2) copy[at] ^= (uint8_t)(1u << dcam_random_below(&r, 8));
                else copy[at] = (uint8_t)dcam_random_u32(&r);
            }
            dcam_image image = {-1, -1, -1, NULL};
            dcam_status status = dcam_image_decode(copy, g->count, g->name, &image);
            free(copy);
            if (status == DCAM_OK) {
                assert_int_equal(image.channels, 3);
                assert_true(image.width > 0 && image.height > 0);
                /* Every pixel is there. */
                volatile uint8_t last = image.pixels[3 * (size_t)image.width * (size_t)image.height - 1];
                (void)last;
                dcam_image_clear(&image);
            } else {
                assert_true(status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_MEMORY);
                assert_one_clear_line(g->name);
                assert_int_equal(image.width, -1);
                refused++;
            }
        }
    print_message("%zu of %zu changed files refused\n", refused, golden_count * ROUNDS);
    assert_true(refused > golden_count * ROUNDS / 4);
    assert_int_equal(dcam_memory_held(), held);
}

static void garbage_after_a_magic(void **state)
{
    (void)state;
    static const struct {
        size_t length;
        const char *bytes;
    } magics[] = {{0, ""}, {3, "\xff\xd8\xff"}, {8, "\x89PNG\r\n\x1a\n"}, {12, "RIFF\xff\xff\0\0WEBP"},
                  {4, "II*\0"}, {4, "MM\0*"}, {4, "II+\0"}, {4, "MM\0+"}, {2, "BM"}, {2, "P4"}, {2, "P5"}, {2, "P6"}};
    dcam_random r = dcam_random_make(4, 1);
    for (size_t m = 0; m < sizeof magics / sizeof *magics; m++)
        for (int round = 0; round < 200; round++) {
            size_t count = magics[m].length + dcam_random_below(&r, 300);
            uint8_t *bytes = malloc(count ? count : 1);
            assert_non_null(bytes);
            for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)dcam_random_u32(&r);
            memcpy(bytes, magics[m].bytes, magics[m].length);
            dcam_image image;
            assert_int_equal(dcam_image_decode(bytes, count, "noise", &image), DCAM_ERROR_IMAGE);
            assert_one_clear_line("noise");
            free(bytes);
        }
}

/* Every allocation of every decoder fails. */
static void memory_runs_out(void **state)
{
    (void)state;
    dcam_image image = {.width = -1};
    for (size_t i = 0; i < golden_count; i++) {
        const golden *g = &goldens[i];
        /* Without memory for the fast decoder of PNG the usual one does it. */
        NEEDED_ALLOCATIONS(a, 1, dcam_image_decode(g->bytes, g->count, g->name, &image)) {
            const size_t n = 3 * (size_t)g->width * (size_t)g->height;
            assert_true(a.passed ? largest_difference(image.pixels, g->expected, n) <= g->tolerance : image.width == -1);
            if (a.passed) dcam_image_clear(&image);
            image.width = -1;
        }
    }
}

/* ---- masks: test_masks.c has those made by hand ---- */

/* Wherever a picture is not black its mask is 255, in every format; wherever it is dark it is 0 in the lossy ones. */
static void masks_of_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        const golden *g = &goldens[i];
        char path[1024];
        snprintf(path, sizeof path, "%s%.63s", GOLDEN, g->name);
        dcam_image mask;
        if (strcmp(g->name, "one-pixel.jpg") == 0) { /* of value 46 */
            assert_int_equal(dcam_mask_load(path, &mask), DCAM_ERROR_IMAGE);
            continue;
        }
        if (dcam_mask_load(path, &mask) != DCAM_OK) fail_msg("%s", dcam_error_message());
        const bool lossy = strstr(g->name, ".jpg") || strncmp(g->name, "lossy", 5) == 0 || strcmp(g->name, "jpeg.tif") == 0;
        const int dark = lossy ? 127 : 0;
        assert_int_equal(mask.width, g->width);
        assert_int_equal(mask.height, g->height);
        assert_int_equal(mask.channels, 1);
        for (size_t k = 0; k < (size_t)g->width * (size_t)g->height; k++) {
            const uint8_t *p = g->expected + 3 * k;
            assert_true(mask.pixels[k] == 0 || mask.pixels[k] == 255);
            const int value = p[0] > p[1] ? (p[0] > p[2] ? p[0] : p[2]) : p[1] > p[2] ? p[1] : p[2];
            if (value > dark + g->tolerance) assert_int_equal(mask.pixels[k], 255);
            if (lossy && value <= dark - g->tolerance) assert_int_equal(mask.pixels[k], 0);
        }
        dcam_image_clear(&mask);
    }
}

/* ---- the fast way of plain PNG ------------------------------------------- */

static uint32_t crc_of(const uint8_t *bytes, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> (24 - 8 * i));
}

static size_t put_chunk(uint8_t *to, const char *name, const uint8_t *data, size_t n)
{
    put_32(to, (uint32_t)n);
    memcpy(to + 4, name, 4);
    if (n > 0) memcpy(to + 8, data, n);
    put_32(to + 8 + n, crc_of(to + 4, n + 4));
    return n + 12;
}

/* What a filter of the PNG specification takes off a byte; left, above, corner: 0 outside. */
static int predict(int filter, int left, int above, int corner)
{
    const int p = left + above - corner, a = abs(p - left), b = abs(p - above), c = abs(p - corner);
    switch (filter) {
    case 1: return left;
    case 2: return above;
    case 3: return (left + above) / 2;
    case 4: return a <= b && a <= c ? left : b <= c ? above : corner;
    default: return 0;
    }
}

/* A PNG of these pixels, each row by one of the filters, drawn at random, deflate blocks stored, the data cut into two chunks. */
static size_t make_png(dcam_random *r, const int filters[5], const uint8_t *pixels, size_t w, size_t h, uint8_t *file)
{
    static uint8_t rows[1 << 16], packed[1 << 17];
    uint8_t header[13] = {0};
    size_t n = 0, at = 8;
    uint32_t a = 1, b = 0;
    for (size_t y = 0; y < h; y++) {
        const int filter = filters[dcam_random_below(r, 5)];
        rows[n++] = (uint8_t)filter;
        for (size_t i = 0; i < 3 * w; i++) {
            const uint8_t *p = pixels + y * 3 * w + i;
            rows[n++] = (uint8_t)(*p - predict(filter, i >= 3 ? p[-3] : 0, y ? p[-3 * (ptrdiff_t)w] : 0,
                                               i >= 3 && y ? p[-3 * (ptrdiff_t)w - 3] : 0));
        }
    }
    assert_true(n < 65535);
    for (size_t i = 0; i < n; i++) {
        a = (a + rows[i]) % 65521;
        b = (b + a) % 65521;
    }
    memcpy(packed, (uint8_t[]){0x78, 1, 1, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8)}, 7);
    memcpy(packed + 7, rows, n);
    put_32(packed + 7 + n, b << 16 | a);
    memcpy(file, "\x89PNG\r\n\x1a\n", 8);
    put_32(header, (uint32_t)w);
    put_32(header + 4, (uint32_t)h);
    header[8] = 8;
    header[9] = 2;
    at += put_chunk(file + at, "IHDR", header, 13);
    at += put_chunk(file + at, "tEXt", (const uint8_t *)"a\0b", 3);
    at += put_chunk(file + at, "IDAT", packed, n / 2);
    at += put_chunk(file + at, "IDAT", packed + n / 2, n + 11 - n / 2);
    return at + put_chunk(file + at, "IEND", NULL, 0);
}

static void plain_png_by_every_filter(void **state)
{
    static uint8_t pixels[60000], file[1 << 17];
    dcam_random r = dcam_random_make(5, 1);
    (void)state;
    /* Of every kind, and those that are undone four rows at a time. */
    static const int filters[2][5] = {{0, 1, 2, 3, 4}, {4, 4, 4, 2, 1}};
    for (int round = 0; round < 120; round++) {
        const size_t w = 1 + dcam_random_below(&r, 70), h = 1 + dcam_random_below(&r, 70);
        dcam_image image = {0}, again = {0};
        for (size_t i = 0; i < 3 * w * h; i++) pixels[i] = (uint8_t)dcam_random_below(&r, round % 2 ? 256 : 6);
        const size_t count = make_png(&r, filters[round / 2 % 2], pixels, w, h, file);
        assert_int_equal(dcam_image_decode(file, count, "drawn.png", &image), DCAM_OK);
        assert_memory_equal(image.pixels, pixels, 3 * w * h);
        const dcam_encoded encoded = {.bytes = file, .count = count, .name = "drawn.png"};
        const bool fast = dcam_decode_png_fast(&encoded, (uint32_t)w, (uint32_t)h, &again);
#if defined(DCAM_LIBDEFLATE)
        assert_true(fast);
        assert_memory_equal(again.pixels, pixels, 3 * w * h);
        const dcam_encoded cut = {.bytes = file, .count = count - 1 - dcam_random_below(&r, count - 40), .name = "cut.png"};
        dcam_image none = {0};
        assert_false(dcam_decode_png_fast(&cut, (uint32_t)w, (uint32_t)h, &none));
        file[count - 20] ^= 1; /* the checksum of the data or of its chunk */
        assert_false(dcam_decode_png_fast(&encoded, (uint32_t)w, (uint32_t)h, &none));
        assert_null(none.pixels);
#else
        assert_false(fast);
#endif
        dcam_image_clear(&again);
        dcam_image_clear(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_equal_pillow),     cmocka_unit_test(content_decides_not_the_name),
        cmocka_unit_test(refused_with_a_reason),     cmocka_unit_test(unreadable_files),
        cmocka_unit_test(truncated_at_every_length), cmocka_unit_test(changed_bytes),
        cmocka_unit_test(garbage_after_a_magic),     cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(masks_of_every_format),
        cmocka_unit_test(plain_png_by_every_filter), cmocka_unit_test(bmp_headers),
    };
    return cmocka_run_group_tests(tests, read_goldens, free_goldens);
}
