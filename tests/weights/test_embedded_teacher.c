/* The teacher that is part of the library: it is the file that docs/teacher.md describes, it is small, it loads, and it
 * is what a training without a teacher's name gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "weights/trunk.h"

/* Also in docs/teacher.md. */
#define ASSET_SHA256 "b08a03ca12914c163e04e3e8d4b1a71ee640ca59f3bfca03730c5a2e618cd6d6"
#define MOST_BYTES 6000000

static void it_is_the_file(void **state)
{
    (void)state;
    char digits[DCAM_SHA256_HEX];
    size_t bytes;
    const uint8_t *asset = dcam_embedded_teacher(&bytes);
    assert_in_range(bytes, 5000000, MOST_BYTES);
    dcam_sha256_of(asset, bytes, digits);
    assert_string_equal(digits, ASSET_SHA256);
}

static void it_says_how_it_was_made(void **state)
{
    (void)state;
    size_t bytes;
    const uint8_t *asset = dcam_embedded_teacher(&bytes);
    dcam_tensors *tensors;
    assert_int_equal(dcam_safetensors_parse(asset, bytes, "asset", &tensors), DCAM_OK);
    assert_string_equal(dcam_tensors_metadata(tensors, "dcam"), "teacher");
    assert_non_null(strstr(dcam_tensors_metadata(tensors, "source"), "drawn pictures only"));
    assert_non_null(strstr(dcam_tensors_metadata(tensors, "record"), "\"seed\":1"));
    dcam_tensors_destroy(tensors);
}

/* No filter is dead and none repeats another, as in a network that was never trained or badly read. */
static void it_is_trained(void **state)
{
    (void)state;
    dcam_trunk_weights *w, *again;
    char said[256], said_again[256];
    assert_int_equal(dcam_teacher_open(NULL, &w, said), DCAM_OK);
    assert_int_equal(dcam_teacher_open("procedural", &again, said_again), DCAM_OK);
    assert_string_equal(said, "procedural sha256:" ASSET_SHA256);
    assert_string_equal(said, said_again);
    assert_memory_equal(w->values, again->values, w->value_count * sizeof *w->values);
    assert_true(w->folded);
    assert_true(w->no_photographs);
    int weak = 0;
    for (int i = 0; i < w->convolution_count; i++) {
        const size_t each = w->shapes[i].weight_count / (size_t)w->shapes[i].out_channels;
        for (int c = 0; c < w->shapes[i].out_channels; c++) {
            double square = 0;
            for (size_t k = 0; k < each; k++) {
                const float v = w->convolutions[i].weight[(size_t)c * each + k];
                assert_true(isfinite(v));
                square += (double)v * (double)v;
            }
            weak += square < 1e-8;
        }
    }
    assert_int_equal(weak, 0);
    dcam_trunk_weights_destroy(again);
    dcam_trunk_weights_destroy(w);
}

static void memory_runs_out(void **state)
{
    dcam_trunk_weights *w = NULL;
    char said[256] = "untouched";
    (void)state;
    EVERY_ALLOCATION(a, dcam_teacher_open(NULL, &w, said)) {
        assert_true(a.passed ? a.n > 5 : w == NULL && strcmp(said, "untouched") == 0);
        dcam_trunk_weights_destroy(w);
        w = NULL;
        strcpy(said, "untouched");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_the_file), cmocka_unit_test(it_says_how_it_was_made),
                                       cmocka_unit_test(it_is_trained), cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
