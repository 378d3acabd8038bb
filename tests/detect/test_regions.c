/* Regions: boxes, areas, peaks, order, bounds, scaling to the photograph. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/random.h"
#include "detect/regions.h"

enum { H = 8, W = 8 };

/* Digits are values, '.' is 0. */
static void draw(const char *picture, float *map)
{
    for (int i = 0; i < H * W; i++) map[i] = picture[i] == '.' ? 0 : (float)(picture[i] - '0');
}

static void check(const dcam_region *r, int x, int y, int width, int height, double area, double peak)
{
    assert_int_equal(r->x, x);
    assert_int_equal(r->y, y);
    assert_int_equal(r->width, width);
    assert_int_equal(r->height, height);
    assert_true(r->area == area);
    assert_true(r->peak == peak);
}

static void boxes_in_order(void **state)
{
    (void)state;
    dcam_region_finder *f;
    dcam_region r[DCAM_MAX_REGIONS];
    float map[H * W];
    assert_int_equal(dcam_region_finder_create(H, W, &f), DCAM_OK);
    draw("........"
         ".34....."
         "..5....."
         "...2..9."
         "........"
         "5......."
         "5......."
         "1......6", map);
    const size_t held = dcam_memory_held();
    assert_int_equal(dcam_find_regions(f, map, 2, W, H, 0, r, DCAM_MAX_REGIONS), 4);
    check(&r[0], 6, 3, 1, 1, 1, 9);
    check(&r[1], 7, 7, 1, 1, 1, 6);
    check(&r[2], 1, 1, 3, 3, 4, 5); /* diagonal neighbours belong together; larger before smaller of equal peak */
    check(&r[3], 0, 5, 1, 2, 2, 5);
    /* at the threshold counts, above all nothing does */
    assert_int_equal(dcam_find_regions(f, map, 9, W, H, 0, r, DCAM_MAX_REGIONS), 1);
    assert_int_equal(dcam_find_regions(f, map, 9.5, W, H, 0, r, DCAM_MAX_REGIONS), 0);
    assert_int_equal(dcam_find_regions(f, map, -1, W, H, 0, r, DCAM_MAX_REGIONS), 1);
    check(&r[0], 0, 0, W, H, 64, 9);
    /* the strongest that fit; small ones left out before that */
    assert_int_equal(dcam_find_regions(f, map, 2, W, H, 0, r, 2), 2);
    check(&r[1], 7, 7, 1, 1, 1, 6);
    assert_int_equal(dcam_find_regions(f, map, 2, W, H, 2, r, 2), 2);
    check(&r[0], 1, 1, 3, 3, 4, 5);
    assert_int_equal(dcam_find_regions(f, map, 2, W, H, 0, r, 0), 0);
    assert_int_equal(dcam_memory_held(), held);
    dcam_region_finder_destroy(f);
}

static void scaled_to_the_photograph(void **state)
{
    (void)state;
    dcam_region_finder *f;
    dcam_region r[4];
    float map[H * W] = {0};
    map[2 * W + 3] = 1;
    assert_int_equal(dcam_region_finder_create(H, W, &f), DCAM_OK);
    assert_int_equal(dcam_find_regions(f, map, 1, 80, 16, 0, r, 4), 1);
    check(&r[0], 30, 4, 10, 2, 20, 1);
    /* not a whole ratio: every pixel touched is inside. 3 * 10 / 8 = 3.75, 4 * 10 / 8 = 5; 2 * 3 / 8 = 0.75, 9 / 8 */
    assert_int_equal(dcam_find_regions(f, map, 1, 10, 3, 0, r, 4), 1);
    check(&r[0], 3, 0, 2, 2, 30.0 / 64, 1);
    /* the largest photograph there can be, and the last pixel: inside the picture */
    memset(map, 0, sizeof map);
    map[H * W - 1] = 1;
    assert_int_equal(dcam_find_regions(f, map, 1, 32768, 8191, 0, r, 4), 1);
    check(&r[0], 28672, 7167, 4096, 1024, 32768.0 * 8191 / 64, 1);
    dcam_region_finder_destroy(f);
}

static void many_parts_are_bounded(void **state)
{
    (void)state;
    enum { SIDE = 128 };
    static float map[SIDE * SIDE];
    dcam_region r[DCAM_MAX_REGIONS];
    dcam_random random = dcam_random_make(1, 1);
    for (int y = 0; y < SIDE; y += 2)
        for (int x = 0; x < SIDE; x += 2) map[y * SIDE + x] = 1 + (float)dcam_random_uniform(&random);
    dcam_region_finder *f;
    assert_int_equal(dcam_region_finder_create(SIDE, SIDE, &f), DCAM_OK);
    assert_int_equal(dcam_find_regions(f, map, 1, SIDE, SIDE, 0, r, DCAM_MAX_REGIONS), DCAM_MAX_REGIONS);
    for (int i = 1; i < DCAM_MAX_REGIONS; i++) assert_true(r[i].peak <= r[i - 1].peak);
    assert_true(r[DCAM_MAX_REGIONS - 1].peak > 1.9); /* 256 of 4096 */
    dcam_region_finder_destroy(f);
}

static void allocations_may_fail(void **state)
{
    (void)state;
    dcam_region_finder *f = NULL;
    EVERY_ALLOCATION(a, dcam_region_finder_create(H, W, &f)) {
        assert_true(a.passed ? a.n > 5 : f == NULL);
        dcam_region_finder_destroy(f);
        f = NULL;
    }
    dcam_region_finder_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_in_order),
        cmocka_unit_test(scaled_to_the_photograph),
        cmocka_unit_test(many_parts_are_bounded),
        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
