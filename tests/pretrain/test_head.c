/* The classifiers of the pre-training against PyTorch in double (pretrain.bin), and their gradients against finite
 * differences of their own loss. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "formula.h"
#include "golden_file.h"
#include "pretrain/head.h"

enum { N = 3, CLASSES = 11, VALUES = (17 + 1 + 9 + 1 + 24 + 1) * CLASSES, MAP = N * 17 * 12 };
/* As make_pretrain.py. */
static const dcam_feature_shapes shapes = {.channels = {17, 9, 24}, .height = {4, 2, 1}, .width = {3, 2, 2}};
static const int labels[N] = {4, 0, 10};
static const double smoothing = 0.1;

typedef struct {
    float values[VALUES], gradient[VALUES], maps[DCAM_STAGES][MAP], d_maps[DCAM_STAGES][MAP];
    double loss;
    int right;
} task;

static size_t map_count(int k) { return (size_t)(N * shapes.channels[k] * shapes.height[k] * shapes.width[k]); }

static void fill(task *t)
{
    formula_fill(40, 0.5f, 0, t->values, VALUES);
    for (int k = 0; k < DCAM_STAGES; k++) formula_fill((uint32_t)(41 + k), 2.0f, 0.5f, t->maps[k], map_count(k));
}

static void run(task *t)
{
    pretrain_head *head;
    assert_int_equal(pretrain_head_create(&shapes, CLASSES, N, smoothing, &head), DCAM_OK);
    assert_int_equal(pretrain_head_count(&shapes, CLASSES), VALUES);
    float *const features[] = {t->maps[0], t->maps[1], t->maps[2]}, *const d_features[] = {t->d_maps[0], t->d_maps[1], t->d_maps[2]};
    pretrain_head_step(head, t->values, features, labels, N, &t->loss, &t->right, d_features, t->gradient);
    pretrain_head_destroy(head);
}

static void compare(const char *name, const float *got, size_t count)
{
    double *want = golden_read("pretrain.bin", name, count), error = 0, scale = 0;
    for (size_t i = 0; i < count; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        scale = fmax(scale, fabs(want[i]));
    }
    printf("%-12s relative error %.2g\n", name, error / scale);
    assert_true(error <= 2e-6 * scale);
    free(want);
}

static void pytorch(void **state)
{
    (void)state;
    static task t;
    fill(&t);
    run(&t);
    double *loss = golden_read("pretrain.bin", "loss", 1), *right = golden_read("pretrain.bin", "right", 1);
    assert_true(fabs(t.loss - *loss) <= 1e-6 * *loss);
    assert_true(t.right == (int)*right);
    compare("gradient", t.gradient, VALUES);
    compare("d_features0", t.d_maps[0], map_count(0));
    compare("d_features1", t.d_maps[1], map_count(1));
    compare("d_features2", t.d_maps[2], map_count(2));
    free(right);
    free(loss);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static task one, two;
    fill(&one);
    fill(&two);
    dcam_set_threads(1);
    run(&one);
    dcam_set_threads(2);
    run(&two);
    assert_memory_equal(one.gradient, two.gradient, sizeof one.gradient);
    assert_true(one.loss == two.loss);
}

static void finite_differences(void **state)
{
    (void)state;
    static task t, moved;
    const float step = 1e-2f;
    fill(&t);
    run(&t);
    for (size_t i = 0; i < VALUES; i += 37) {
        double at[2];
        for (int side = 0; side < 2; side++) {
            moved = t;
            moved.values[i] += side ? step : -step;
            run(&moved);
            at[side] = moved.loss;
        }
        assert_true(fabs((at[1] - at[0]) / (2 * (double)step) - (double)t.gradient[i]) < 1e-4);
    }
}

/* A label's own probability of 1 is the least loss only without smoothing. */
static void right_answers_are_counted(void **state)
{
    (void)state;
    static task t;
    fill(&t);
    float *biases = t.values + VALUES - CLASSES;
    for (int i = 0; i < CLASSES; i++) biases[i] = i == 10 ? 1000 : 0;
    run(&t);
    assert_int_equal(t.right, 1);
    assert_true(isfinite(t.loss));
    memset(t.values, 0, sizeof t.values); /* all classes alike: none is found */
    run(&t);
    assert_int_equal(t.right, 0);
    assert_true(fabs(t.loss - 1.8 * log(CLASSES)) < 1e-6);
}

static void memory_runs_out(void **state)
{
    (void)state;
    pretrain_head *head = NULL;
    EVERY_ALLOCATION(a, pretrain_head_create(&shapes, CLASSES, N, 0, &head)) {
        assert_true(a.passed ? a.n > 4 : head == NULL);
        pretrain_head_destroy(head);
        head = NULL;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pytorch), cmocka_unit_test(threads_change_nothing),
                                       cmocka_unit_test(finite_differences), cmocka_unit_test(right_answers_are_counted),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
