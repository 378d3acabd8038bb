/* Comparing without regard to case: as the "C" locale's strcasecmp does, for every pair of bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <strings.h>

#include "base/ascii.h"

static void every_pair_of_bytes(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            const char one[] = {'t', (char)a, 'F', 0}, other[] = {'T', (char)b, 'f', 0};
            if ((dcam_ascii_casecmp(one, other) == 0) != (strcasecmp(one, other) == 0)) fail_msg("%02x %02x", a, b);
            for (size_t n = 0; n < 5; n++)
                if ((dcam_ascii_ncasecmp(one, other, n) == 0) != (strncasecmp(one, other, n) == 0)) fail_msg("%02x %02x %zu", a, b, n);
        }
    assert_int_not_equal(dcam_ascii_casecmp("tif", "tiff"), 0);
    assert_int_not_equal(dcam_ascii_casecmp("TIFF", "tif"), 0);
    assert_int_equal(dcam_ascii_ncasecmp("Bearer x", "bearer y", 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_pair_of_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
