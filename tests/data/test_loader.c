/* The loader: order, threads, cache, bad images, stopping; the cache alone. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include "allocations.h"
#include "base/memory.h"
#include "data/loader.h"
#include "image/image.h"
#include "tree.h"

#define IMAGES 37
#define WIDTH 24
#define HEIGHT 16
#define BYTES (WIDTH * HEIGHT * 3)

static char root[256];

/* A PPM whose pixels tell which one it is; every third has another size. */
static void write_image(int i)
{
    char name[64], header[32];
    int w = i % 3 ? WIDTH : 61 + i, h = i % 3 ? HEIGHT : 47;
    static uint8_t bytes[32 + 200 * 200 * 3];
    int used = snprintf(header, sizeof header, "P6\n%d %d\n255\n", w, h);
    memcpy(bytes, header, (size_t)used);
    for (int k = 0; k < w * h * 3; k++) bytes[used + k] = (uint8_t)(k * 7 + k / 50 + i * 31);
    snprintf(name, sizeof name, "p/%03d.ppm", i);
    tree_bytes(root, name, bytes, (size_t)(used + w * h * 3));
}

static int make_images(void **state)
{
    char path[4096];
    dcam_dataset *d = NULL;
    tree_create(root);
    for (int i = 0; i < IMAGES; i++) write_image(i);
    tree_path(root, "p", path);
    if (dcam_dataset_open(path, NULL, &d) != DCAM_OK) return -1;
    *state = d;
    return 0;
}

static int remove_images(void **state)
{
    dcam_dataset_destroy(*state);
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1;
}

/* Loads everything; all: count records in the order delivered. Returns the number. */
static size_t load_all(const dcam_dataset *d, const uint32_t *order, size_t count, const dcam_loader_options *options,
                       uint8_t *all, uint32_t *samples)
{
    dcam_loader *l;
    dcam_batch b;
    size_t n = 0;
    assert_int_equal(dcam_loader_create(d, order, count, options, &l), DCAM_OK);
    for (;;) {
        if (dcam_loader_next(l, &b) != DCAM_OK) fail_msg("%s", dcam_error_message());
        if (b.count == 0) break;
        assert_true(b.count <= options->batch);
        memcpy(all + n * BYTES, b.rgb, (size_t)b.count * BYTES);
        memcpy(samples + n, b.samples, (size_t)b.count * sizeof *samples);
        for (int i = 0; i < b.count; i++)
            if (!options->images) {
                uint32_t s = b.samples[i];
                assert_int_equal(b.original_width[i], s % 3 ? WIDTH : 61 + s);
                assert_int_equal(b.original_height[i], s % 3 ? HEIGHT : 47);
            }
        n += (size_t)b.count;
    }
    assert_int_equal(dcam_loader_next(l, &b), DCAM_OK); /* the end stays the end */
    assert_int_equal(b.count, 0);
    dcam_loader_destroy(l);
    return n;
}

/* What the loader must give, by the image functions alone. */
static void expect_image(const dcam_dataset *d, uint32_t sample, const uint8_t *rgb)
{
    dcam_image photo, small;
    assert_int_equal(dcam_image_load(d->samples[sample].path, &photo), DCAM_OK);
    assert_int_equal(dcam_image_resize(&photo, WIDTH, HEIGHT, &small), DCAM_OK);
    assert_memory_equal(rgb, small.pixels, BYTES);
    dcam_image_clear(&photo);
    dcam_image_clear(&small);
}

static void same_for_any_threads_queue_and_cache(void **state)
{
    const dcam_dataset *d = *state;
    static uint8_t first[IMAGES * 2 * BYTES], other[IMAGES * 2 * BYTES];
    uint32_t order[IMAGES * 2], samples[IMAGES * 2];
    for (uint32_t i = 0; i < IMAGES * 2; i++) order[i] = (i * 11 + 5) % IMAGES; /* each twice, mixed */
    dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 5, .threads = 1};
    assert_int_equal(load_all(d, order, IMAGES * 2, &o, first, samples), IMAGES * 2);
    assert_memory_equal(samples, order, sizeof order);
    for (size_t i = 0; i < IMAGES * 2; i++) expect_image(d, order[i], first + i * BYTES);
    static const int threads[] = {0, 2, 3, 8}, queues[] = {1, 0, 7}, batches[] = {1, 5, 32, 1000};
    for (int t = 0; t < 4; t++)
        for (int q = 0; q < 3; q++)
            for (int b = 0; b < 4; b++) {
                size_t cap = (size_t)(t + q + b) * 9000; /* from none to all */
                dcam_cache *cache;
                assert_int_equal(dcam_cache_create(BYTES, d->sample_count, cap, &cache), DCAM_OK);
                o = (dcam_loader_options){.width = WIDTH, .height = HEIGHT, .batch = batches[b], .threads = threads[t],
                                          .queue = queues[q], .images = (t + b) % 2 ? cache : NULL};
                memset(other, 0, sizeof other);
                assert_int_equal(load_all(d, order, IMAGES * 2, &o, other, samples), IMAGES * 2);
                assert_memory_equal(samples, order, sizeof order);
                assert_memory_equal(other, first, sizeof first);
                assert_true(dcam_cache_bytes(cache) <= cap);
                dcam_cache_destroy(cache);
            }
}

/* With the files gone, everything comes from the cache. */
static void cache_serves_without_files(void **state)
{
    const dcam_dataset *d = *state;
    static uint8_t first[IMAGES * BYTES], other[IMAGES * BYTES];
    uint32_t order[IMAGES], samples[IMAGES];
    dcam_cache *cache;
    for (uint32_t i = 0; i < IMAGES; i++) order[i] = i;
    assert_int_equal(dcam_cache_create(BYTES, d->sample_count, 1 << 20, &cache), DCAM_OK);
    dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 8, .threads = 3, .images = cache};
    assert_int_equal(load_all(d, order, IMAGES, &o, first, samples), IMAGES);
    for (int i = 0; i < IMAGES; i++) unlink(d->samples[i].path);
    assert_int_equal(load_all(d, order, IMAGES, &o, other, samples), IMAGES);
    assert_memory_equal(first, other, sizeof first);
    dcam_cache_destroy(cache);
}

static void spoil(const dcam_dataset *d, uint32_t sample, const char *content)
{
    FILE *f = fopen(d->samples[sample].path, "wb");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

static void bad_image_ends_the_run(void **state)
{
    const dcam_dataset *d = *state;
    uint32_t order[IMAGES];
    for (uint32_t i = 0; i < IMAGES; i++) order[i] = i;
    spoil(d, 13, "P6\n24 16\n255\nshort");
    unlink(d->samples[11].path);
    for (int threads = 1; threads <= 8; threads++) {
        dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 4, .threads = threads, .queue = 3};
        dcam_loader *l;
        dcam_batch b = {.count = 77};
        dcam_status status = DCAM_OK;
        int good = 0;
        assert_int_equal(dcam_loader_create(d, order, IMAGES, &o, &l), DCAM_OK);
        while ((status = dcam_loader_next(l, &b)) == DCAM_OK && b.count > 0) good += b.count;
        assert_int_equal(good, 8);
        for (int again = 0; again < 2; again++) {
            /* The first in the order, whichever thread was first. */
            assert_int_equal(status, DCAM_ERROR_IO);
            assert_non_null(strstr(dcam_error_message(), "011.ppm"));
            status = dcam_loader_next(l, &b);
        }
        dcam_loader_destroy(l);
    }
}

static void bad_images_are_left_out(void **state)
{
    const dcam_dataset *d = *state;
    static uint8_t all[IMAGES * BYTES];
    uint32_t order[IMAGES];
    for (uint32_t i = 0; i < IMAGES; i++) order[i] = IMAGES - 1 - i;
    spoil(d, 30, "");
    spoil(d, 20, "no picture at all");
    for (uint32_t i = 8; i < 13; i++) unlink(d->samples[i].path); /* 8..11 are a whole batch of 4 */
    for (int threads = 1; threads <= 5; threads += 2) {
        dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 4, .threads = threads, .skip_bad = true};
        dcam_loader *l;
        dcam_batch b;
        size_t n = 0;
        assert_int_equal(dcam_loader_create(d, order, IMAGES, &o, &l), DCAM_OK);
        uint32_t previous = IMAGES;
        for (;;) {
            assert_int_equal(dcam_loader_next(l, &b), DCAM_OK);
            if (b.count == 0) break;
            memcpy(all + n * BYTES, b.rgb, (size_t)b.count * BYTES);
            for (int i = 0; i < b.count; i++, n++) {
                assert_true(b.samples[i] < previous);
                previous = b.samples[i];
                assert_true(previous != 30 && previous != 20 && (previous < 8 || previous > 12));
                expect_image(d, previous, all + n * BYTES);
            }
        }
        assert_int_equal(n, IMAGES - 7);
        assert_int_equal(dcam_loader_bad_count(l), 7);
        assert_non_null(strstr(dcam_loader_bad_message(l, 0), "030.ppm"));
        assert_non_null(strstr(dcam_loader_bad_message(l, 1), "020.ppm"));
        assert_non_null(strstr(dcam_loader_bad_message(l, 6), "008.ppm"));
        assert_string_equal(dcam_loader_bad_message(l, 7), "");
        dcam_loader_destroy(l);
    }
}

static void nothing_left(void **state)
{
    const dcam_dataset *d = *state;
    uint32_t order[IMAGES];
    dcam_loader *l;
    dcam_batch b;
    for (uint32_t i = 0; i < IMAGES; i++) {
        order[i] = i;
        unlink(d->samples[i].path);
    }
    dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 4, .skip_bad = true};
    assert_int_equal(dcam_loader_create(d, order, IMAGES, &o, &l), DCAM_OK);
    assert_int_equal(dcam_loader_next(l, &b), DCAM_OK);
    assert_int_equal(b.count, 0);
    assert_int_equal(dcam_loader_bad_count(l), IMAGES);
    dcam_loader_destroy(l);
    assert_int_equal(dcam_loader_create(d, order, 0, &o, &l), DCAM_OK);
    assert_int_equal(dcam_loader_next(l, &b), DCAM_OK);
    assert_int_equal(b.count, 0);
    dcam_loader_destroy(l);
}

static void destroyed_at_any_time(void **state)
{
    const dcam_dataset *d = *state;
    uint32_t order[IMAGES];
    for (uint32_t i = 0; i < IMAGES; i++) order[i] = i;
    for (int calls = 0; calls <= 10; calls++)
        for (int threads = 1; threads <= 6; threads++) {
            dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 4, .threads = threads,
                                     .queue = 1 + calls % 3};
            dcam_loader *l;
            dcam_batch b;
            assert_int_equal(dcam_loader_create(d, order, IMAGES, &o, &l), DCAM_OK);
            for (int i = 0; i < calls; i++) assert_int_equal(dcam_loader_next(l, &b), DCAM_OK);
            dcam_loader_destroy(l);
        }
    dcam_loader_destroy(NULL);
}

static void memory_is_bounded(void **state)
{
    const dcam_dataset *d = *state;
    enum { MANY = 400, SIDE = 256, BATCH = 4, QUEUE = 2, THREADS = 2 };
    uint32_t order[MANY];
    dcam_loader *l;
    dcam_batch b;
    size_t before = dcam_memory_held();
    for (uint32_t i = 0; i < MANY; i++) order[i] = i % IMAGES;
    dcam_loader_options o = {.width = SIDE, .height = SIDE, .batch = BATCH, .queue = QUEUE, .threads = THREADS};
    dcam_memory_reset_peak();
    assert_int_equal(dcam_loader_create(d, order, MANY, &o, &l), DCAM_OK);
    do assert_int_equal(dcam_loader_next(l, &b), DCAM_OK);
    while (b.count > 0);
    dcam_loader_destroy(l);
    /* Beside the ring: a thread's file, photograph, intermediate and resized image. */
    size_t bound = (QUEUE + 1) * BATCH * SIDE * SIDE * 3 + THREADS * (SIDE * SIDE * 3 * 3 + 200000) + 100000;
    assert_true(dcam_memory_peak() - before <= bound);
}

static void wrong_options(void **state)
{
    const dcam_dataset *d = *state;
    uint32_t order[1] = {IMAGES};
    dcam_loader *l = NULL;
    dcam_loader_options good = {.width = WIDTH, .height = HEIGHT, .batch = 4}, o = good;
    assert_int_equal(dcam_loader_create(d, order, 1, &o, &l), DCAM_ERROR_INTERNAL);
    order[0] = 0;
    o.width = 0;
    assert_int_equal(dcam_loader_create(d, order, 1, &o, &l), DCAM_ERROR_USAGE);
    o = good;
    o.batch = 0;
    assert_int_equal(dcam_loader_create(d, order, 1, &o, &l), DCAM_ERROR_USAGE);
    o = good;
    o.threads = 65;
    assert_int_equal(dcam_loader_create(d, order, 1, &o, &l), DCAM_ERROR_USAGE);
    o = good;
    o.queue = -1;
    assert_int_equal(dcam_loader_create(d, order, 1, &o, &l), DCAM_ERROR_USAGE);
    assert_null(l);
}

static dcam_status try_to_load(const dcam_dataset *d, const dcam_loader_options *o, size_t *n)
{
    static const uint32_t order[6] = {0, 1, 2, 3, 4, 5};
    dcam_loader *l = NULL;
    dcam_batch b = {.count = 1};
    dcam_status status = dcam_loader_create(d, order, 6, o, &l);
    *n = 0;
    while (status == DCAM_OK && b.count > 0) {
        status = dcam_loader_next(l, &b);
        if (status == DCAM_OK) *n += (size_t)b.count;
    }
    dcam_loader_destroy(l);
    return status;
}

/* Want of memory is never taken for a bad image. */
static void allocations_fail(void **state)
{
    const dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 2, .threads = 1, .skip_bad = true};
    size_t n;
    EVERY_ALLOCATION(a, try_to_load(*state, &o, &n)) assert_true(!a.passed || (n == 6 && a.n > 20));
}

/* Image 1 is bad. That is said, with its name; or that memory is wanting. DCAM_OK: all is as without want. */
static dcam_status try_to_load_a_bad_one(const dcam_dataset *d, bool skip_bad)
{
    static const uint32_t order[3] = {0, 1, 2};
    const dcam_loader_options o = {.width = WIDTH, .height = HEIGHT, .batch = 2, .threads = 1, .skip_bad = skip_bad};
    dcam_loader *l;
    dcam_batch b = {.count = 1};
    dcam_status status = DCAM_OK;
    /* Where the bad one ends it nothing comes behind, whose want of memory nobody would be told of. */
    DCAM_TRY(dcam_loader_create(d, order, skip_bad ? 3 : 2, &o, &l));
    while (status == DCAM_OK && b.count > 0) status = dcam_loader_next(l, &b);
    for (int again = 0; again < 2 && status != DCAM_OK; again++) {
        const char *part = status == DCAM_ERROR_MEMORY ? "out of memory" : "001.ppm: damaged";
        if (!strstr(dcam_error_message(), part)) fail_msg("%s: %s", dcam_status_name(status), dcam_error_message());
        assert_int_equal(dcam_loader_next(l, &b), status);
    }
    if (skip_bad && status == DCAM_OK) {
        assert_int_equal(dcam_loader_bad_count(l), 1);
        if (!strstr(dcam_loader_bad_message(l, 0), "001.ppm: damaged")) fail_msg("%s", dcam_loader_bad_message(l, 0));
    }
    dcam_loader_destroy(l);
    return !skip_bad && status == DCAM_ERROR_IMAGE ? DCAM_OK : status;
}

/* Nor does a bad image lose its name, or why it is bad, for want of memory. */
static void allocations_fail_beside_a_bad_image(void **state)
{
    const dcam_dataset *d = *state;
    spoil(d, 1, "P6\n24 16\n255\nshort");
    EVERY_ALLOCATION(a, try_to_load_a_bad_one(d, true)) assert_true(!a.passed || a.n > 20);
    EVERY_ALLOCATION(b, try_to_load_a_bad_one(d, false)) assert_true(!b.passed || b.n > 15);
}

static void cache_keeps_to_its_cap(void **state)
{
    (void)state;
    dcam_cache *c;
    uint8_t record[1000], back[1000];
    assert_int_equal(dcam_cache_create(sizeof record, 10, 10 * 8 + 3 * (1000 + 128) + 5, &c), DCAM_OK);
    for (uint32_t k = 0; k < 10; k++) {
        memset(record, (int)k + 1, sizeof record);
        assert_int_equal(dcam_cache_put(c, k, record), k < 3);
    }
    memset(record, 99, sizeof record);
    assert_true(dcam_cache_put(c, 1, record)); /* there already; the first stays */
    for (uint32_t k = 0; k < 10; k++) {
        assert_int_equal(dcam_cache_get(c, k, back), k < 3);
        if (k < 3) assert_int_equal(back[999], k + 1);
    }
    assert_false(dcam_cache_get(c, 10, back));
    assert_false(dcam_cache_put(c, UINT32_MAX, back));
    assert_int_equal(dcam_cache_bytes(c), 10 * 8 + 3 * (1000 + 128));
    dcam_cache_destroy(c);
    assert_int_equal(dcam_cache_create(sizeof record, 10, 0, &c), DCAM_OK); /* no cache */
    assert_false(dcam_cache_put(c, 0, record));
    assert_false(dcam_cache_get(c, 0, record));
    assert_int_equal(dcam_cache_bytes(c), 0);
    dcam_cache_destroy(c);
    dcam_cache_destroy(NULL);
    assert_int_equal(dcam_cache_create(SIZE_MAX, SIZE_MAX, SIZE_MAX, &c), DCAM_OK);
    assert_false(dcam_cache_put(c, 0, record));
    dcam_cache_destroy(c);
}

static void *hammer(void *cache)
{
    uint8_t record[512], back[512];
    uintptr_t wrong = 0;
    for (uint32_t round = 0; round < 200; round++)
        for (uint32_t k = 0; k < 20; k++) {
            memset(record, (int)k, sizeof record);
            (void)dcam_cache_put(cache, k, record);
            if (dcam_cache_get(cache, k, back) && memcmp(record, back, sizeof back) != 0) wrong++;
        }
    return (void *)wrong;
}

static void cache_from_many_threads(void **state)
{
    (void)state;
    dcam_cache *c;
    pthread_t threads[6];
    size_t cap = 20 * 8 + 15 * (512 + 128);
    assert_int_equal(dcam_cache_create(512, 20, cap, &c), DCAM_OK);
    for (int i = 0; i < 6; i++) assert_int_equal(pthread_create(&threads[i], NULL, hammer, c), 0);
    for (int i = 0; i < 6; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_true(dcam_cache_bytes(c) <= cap);
    dcam_cache_destroy(c);
    assert_int_equal(dcam_memory_held(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_images, remove_images)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(same_for_any_threads_queue_and_cache),
        TEST(cache_serves_without_files),
        TEST(bad_image_ends_the_run),
        TEST(bad_images_are_left_out),
        TEST(nothing_left),
        TEST(destroyed_at_any_time),
        TEST(memory_is_bounded),
        TEST(wrong_options),
        TEST(allocations_fail),
        TEST(allocations_fail_beside_a_bad_image),
        cmocka_unit_test(cache_keeps_to_its_cap),
        cmocka_unit_test(cache_from_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
