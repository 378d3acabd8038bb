/* The small teacher file: kernels rounded to bf16, all else as it was; what goes wrong leaves the older file. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "formula.h"
#include "weights/trunk.h"

static char path[] = "/tmp/dcam-test-teacher-XXXXXX";

static dcam_trunk_weights *folded_weights(void)
{
    dcam_trunk_weights *w;
    assert_int_equal(dcam_trunk_weights_create(dcam_architecture_find(NULL), true, &w), DCAM_OK);
    formula_fill(1, 0.5f, 0, w->values, w->value_count);
    return w;
}

/* The nearest number with 8 significant bits, by arithmetic instead of bits. */
static float rounded(float x)
{
    int exponent;
    const double fraction = frexp((double)x, &exponent);
    return (float)ldexp(nearbyint(fraction * 256), exponent - 8);
}

static void compact_file(void **state)
{
    (void)state;
    const size_t held = dcam_memory_held();
    dcam_trunk_weights *w = folded_weights(), *read;
    char description[256];
    assert_int_equal(dcam_teacher_save_compact(w, "a test", "{\"steps\":3}", path), DCAM_OK);
    assert_int_equal(dcam_teacher_open(path, &read, description), DCAM_OK);
    assert_true(read->folded);
    for (int i = 0; i < w->convolution_count; i++) {
        for (size_t k = 0; k < w->shapes[i].weight_count; k++)
            assert_true(read->convolutions[i].weight[k] == rounded(w->convolutions[i].weight[k]));
        assert_memory_equal(read->convolutions[i].bias, w->convolutions[i].bias,
                            (size_t)w->shapes[i].out_channels * sizeof(float));
    }
    dcam_tensors *t;
    assert_int_equal(dcam_tensors_open(path, &t), DCAM_OK);
    assert_string_equal(dcam_tensors_metadata(t, "source"), "a test");
    assert_string_equal(dcam_tensors_metadata(t, "record"), "{\"steps\":3}");
    assert_int_equal(dcam_tensors_find(t, "conv1.weight")->type, DCAM_BF16);
    assert_int_equal(dcam_tensors_find(t, "conv1.bias")->type, DCAM_F32);
    dcam_tensors_destroy(t);
    dcam_trunk_weights_destroy(read);
    dcam_trunk_weights_destroy(w);
    assert_int_equal(dcam_memory_held(), held);
}

static void failures(void **state)
{
    (void)state;
    dcam_trunk_weights *w = folded_weights();
    assert_int_equal(dcam_teacher_save_compact(w, "a test", "{}", "/nonexistent/teacher"), DCAM_ERROR_IO);
    assert_int_equal(dcam_file_write(path, "old", 3), DCAM_OK);
    EVERY_ALLOCATION(a, dcam_teacher_save_compact(w, "a test", "{}", path)) {
        uint8_t *bytes;
        size_t count;
        assert_int_equal(dcam_file_read(path, SIZE_MAX, &bytes, &count), DCAM_OK);
        assert_true((count > 3) == a.passed);
        dcam_free(bytes);
        assert_int_equal(dcam_file_write(path, "old", 3), DCAM_OK);
    }
    dcam_trunk_weights_destroy(w);
}

static int make_path(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact_file),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
