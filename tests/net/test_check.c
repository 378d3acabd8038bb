/* test_check.c - the check of the kernels: right ones pass in every precision of this processor, one that does nothing is
 * found, whichever it is, and the quick check before long work refuses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "net/check.h"
#include "nn/nn.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define MAX_KERNELS 32

typedef struct {
    char names[MAX_KERNELS][48];
    size_t count, wrong_of[MAX_KERNELS], worst_shown;
} kernels;

static void remember(void *user, const net_check_result *r)
{
    kernels *k = user;
    size_t i = 0;
    while (i < k->count && strcmp(k->names[i], r->kernel) != 0) i++;
    assert_true(i < MAX_KERNELS);
    if (i == k->count) memcpy(k->names[k->count++], r->kernel, sizeof r->kernel);
    k->wrong_of[i] += !r->right;
    print_message("%s %s %s, %s: %s: %.1e of %.1e\n", r->pass, r->precision, r->part, r->shape, r->kernel, r->error,
                  r->bound);
}

static net_check small(kernels *k)
{
    memset(k, 0, sizeof *k);
    return (net_check){.height = 64, .width = 96, .samples = 200, .see = remember, .user = k};
}

static void check_all(net_check *c)
{
    OK(net_check_detection(c, DCAM_NET_F32));
    OK(net_check_detection(c, DCAM_NET_INT8));
    OK(net_check_training(c, DCAM_NET_F32));
    if (!dcam_nn_fast_bf16()) return;
    OK(net_check_detection(c, DCAM_NET_BF16));
    if (dcam_nn_bf16_products()) OK(net_check_training(c, DCAM_NET_BF16));
}

static void test_right_kernels_pass(void **state)
{
    (void)state;
    kernels k;
    for (int isa = DCAM_NN_ISA_NONE; isa <= DCAM_NN_ISA_MOST; isa++) {
        dcam_nn_limit_isa((dcam_nn_isa)isa);
        net_check c = small(&k);
        check_all(&c);
        assert_true(c.checks > 30);
        assert_int_equal(c.wrong, 0);
        assert_string_equal(c.first_wrong, "");
        OK(net_check_before_detection(DCAM_NET_F32));
        OK(net_check_before_training(DCAM_NET_F32));
    }
}

static void test_each_broken_kernel_is_found(void **state)
{
    (void)state;
    kernels all, k;
    net_check c = small(&all);
    check_all(&c);
    assert_true(all.count >= 3);
    for (size_t i = 0; i < all.count; i++) {
        dcam_nn_break(all.names[i]);
        c = small(&k);
        check_all(&c);
        dcam_nn_break(NULL);
        assert_true(c.wrong > 0);
        for (size_t j = 0; j < k.count; j++)
            if (strcmp(k.names[j], all.names[i]) == 0) assert_true(k.wrong_of[j] > 0);
    }
}

static void test_the_quick_check_refuses(void **state)
{
    (void)state;
    OK(net_check_before_detection(DCAM_NET_INT8));
    const double start = dcam_seconds();
    OK(net_check_before_detection(DCAM_NET_F32));
    const double middle = dcam_seconds();
    OK(net_check_before_training(DCAM_NET_F32));
    print_message("before detection %.1f ms, before training %.1f ms\n", 1e3 * (middle - start),
                  1e3 * (dcam_seconds() - middle));
    dcam_nn_break("");
    assert_int_equal(net_check_before_detection(DCAM_NET_F32), DCAM_ERROR_KERNEL);
    assert_non_null(strstr(dcam_error_message(), "f32"));
    assert_non_null(strstr(dcam_error_message(), "dcam doctor"));
    assert_int_equal(net_check_before_detection(DCAM_NET_INT8), DCAM_ERROR_KERNEL);
    assert_int_equal(net_check_before_training(DCAM_NET_F32), DCAM_ERROR_KERNEL);
    dcam_nn_break(NULL);
    OK(net_check_before_training(DCAM_NET_F32));
}

static void test_memory(void **state)
{
    (void)state;
    SOME_ALLOCATIONS(a, 5, net_check_before_detection(DCAM_NET_INT8)) {}
    SOME_ALLOCATIONS(a, 5, net_check_before_training(DCAM_NET_F32)) {}
}

int main(void)
{
    dcam_set_threads(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_kernels_pass), cmocka_unit_test(test_each_broken_kernel_is_found),
        cmocka_unit_test(test_the_quick_check_refuses), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
