/* Philox against the known-answer vectors of Random123, and the draws. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include "base/random.h"

static void known_answers(void **state)
{
    (void)state;
    /* Random123 kat_vectors, philox4x32-10: all-zero counter and key. */
    dcam_random zero = dcam_random_make(0, 0);
    assert_int_equal(dcam_random_u32(&zero), 0x6627e8d5u);
    /* all ones */
    dcam_random ones = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    assert_int_equal(dcam_random_u32(&ones), 0x408f276du);
    /* counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 */
    dcam_random pi = {0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u};
    assert_int_equal(dcam_random_u32(&pi), 0xd16cfe09u);
}

static void normal_has_unit_moments(void **state)
{
    (void)state;
    dcam_random r = dcam_random_make(7, 1);
    double sum = 0, square = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double x = dcam_random_normal(&r);
        sum += x;
        square += x * x;
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(square / N - 1) < 0.02);
}

/* With a range of 2^63 + 1 nearly half of all draws are refused, and each value that is given is the next one that was not. */
static void a_range_that_refuses_every_other_draw(void **state)
{
    (void)state;
    const uint64_t n = (UINT64_C(1) << 63) + 1;
    dcam_random r = dcam_random_make(11, 2), drawn = r;
    int low = 0, refused = 0;
    enum { N = 4000 };
    for (int i = 0; i < N; i++) {
        const uint64_t v = dcam_random_below(&r, n);
        uint64_t raw = dcam_random_u64(&drawn);
        for (; raw >= n; refused++) raw = dcam_random_u64(&drawn);
        assert_int_equal(v, raw);
        low += v < n / 2;
    }
    assert_true(refused > N / 2 && refused < 2 * N); /* N expected */
    assert_true(abs(low - N / 2) < 200);             /* six standard deviations */
}

static void shuffle_is_a_permutation(void **state)
{
    (void)state;
    uint32_t items[100];
    int seen[100] = {0}, moved = 0;
    for (uint32_t i = 0; i < 100; i++) items[i] = i;
    dcam_random r = dcam_random_make(3, 2);
    dcam_random_shuffle(&r, items, 100);
    for (uint32_t i = 0; i < 100; i++) {
        seen[items[i]]++;
        moved += items[i] != i;
    }
    for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
}

/* FNV-1a's published 64-bit sums (draft-eastlake-fnv), bytes above 127 too. */
static void streams_of_names(void **state)
{
    (void)state;
    assert_true(dcam_random_stream("") == UINT64_C(0xcbf29ce484222325));
    assert_true(dcam_random_stream("a") == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(dcam_random_stream("foobar") == UINT64_C(0x85944171f73967e8));
    assert_true(dcam_random_stream("\xc3\xa4") != dcam_random_stream("\x43\x24"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(normal_has_unit_moments),
        cmocka_unit_test(a_range_that_refuses_every_other_draw),
        cmocka_unit_test(streams_of_names),
        cmocka_unit_test(shuffle_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
