/* The pre-training's checkpoint, of a trunk of a few hundred values: what is saved comes back to the bit, options
 * that differ are named, every entry and tensor that is missing, of another kind or out of range is refused, and
 * whatever fails leaves the state as it was. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "allocations.h"
#include "base/file.h"
#include "comma_locale.h"
#include "data/tree.h"
#include "edited_tensors.h"
#include "formula.h"
#include "json_allocations.h"
#include "outcome.h"
#include "pretrain/state.h"

enum { HEAD = 7 };
/* The first convolution alone: many tensors more are read and written like its own. */
static const dcam_architecture tiny = {"tiny", {0, 0, 0}, {4, 4, 4}};
static char root[256], good[4096], other[4096];

static size_t trained(const pretrain_state *s) { return s->trunk->trainable_count + s->head_count; }

static pretrain_state make_state(uint32_t seed)
{
    pretrain_state s = {
        .head_count = HEAD, .step = (int)seed, .loss = 1.0 / 3 + seed, .accuracy = 0.1, .seconds = 1e-9 * seed};
    OK(dcam_trunk_weights_random(&tiny, seed, &s.trunk));
    OK(dcam_alloc(HEAD, sizeof(float), &s.head));
    OK(dcam_alloc(trained(&s), sizeof(float), &s.velocity));
    formula_fill(seed, 1, 0, s.head, HEAD);
    formula_fill(seed + 1000, 1, 0, s.velocity, trained(&s));
    return s;
}

static void clear_state(pretrain_state *s)
{
    dcam_trunk_weights_destroy(s->trunk);
    dcam_free(s->head);
    dcam_free(s->velocity);
}

static void assert_same(const pretrain_state *a, const pretrain_state *b)
{
    assert_memory_equal(a->trunk->values, b->trunk->values, a->trunk->value_count * sizeof(float));
    assert_memory_equal(a->head, b->head, HEAD * sizeof(float));
    assert_memory_equal(a->velocity, b->velocity, trained(a) * sizeof(float));
    assert_int_equal(a->step, b->step);
    assert_true(a->loss == b->loss && a->accuracy == b->accuracy && a->seconds == b->seconds);
}

/* Falling from step 10 on. */
static dcam_pretrainer_options make_options(void)
{
    dcam_pretrainer_options o = dcam_pretrainer_defaults();
    o.steps = 20;
    o.falling = 0.5;
    return o;
}

/* good: the state of step 4. */
static int start(void **state)
{
    (void)state;
    tree_create(root);
    tree_path(root, "good", good);
    tree_path(root, "other", other);
    const dcam_pretrainer_options o = make_options();
    pretrain_state s = make_state(4);
    OK(pretrain_checkpoint_save(good, &o, &s));
    clear_state(&s);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tree_remove(root);
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

/* Nothing of another state changes. */
static void refused(const char *path, const dcam_pretrainer_options *o, dcam_status wanted, const char *says)
{
    pretrain_state mine = make_state(2), same = make_state(2);
    const size_t held = dcam_memory_held();
    const dcam_status status = pretrain_checkpoint_load(path, o, &mine);
    assert_refused(status, wanted, says, path);
    assert_int_equal(dcam_memory_held(), held);
    assert_same(&mine, &same);
    clear_state(&same);
    clear_state(&mine);
}

static void edit_refused(const tensor_edit *e, dcam_status wanted, const char *says)
{
    const dcam_pretrainer_options o = make_options();
    edit_tensors(good, other, e);
    refused(other, &o, wanted, says);
}

static void what_is_saved_comes_back(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        dcam_pretrainer_options o = make_options();
        o.precision = bf16 ? DCAM_NET_BF16 : DCAM_NET_F32;
        pretrain_state saved = make_state(5), mine = make_state(1);
        OK(pretrain_checkpoint_save(other, &o, &saved));
        OK(pretrain_checkpoint_load(other, &o, &mine));
        assert_same(&saved, &mine);
        clear_state(&mine);
        clear_state(&saved);
        o.precision = bf16 ? DCAM_NET_F32 : DCAM_NET_BF16;
        refused(other, &o, DCAM_ERROR_DATA, bf16 ? "precision \"bf16\", this run has \"f32\"" : "precision \"f32\"");
    }
}

/* Of a program whose decimals have commas, for one whose have not, and the other way round. */
static void a_comma_locale_changes_nothing(void **state)
{
    (void)state;
    const dcam_pretrainer_options o = make_options();
    pretrain_state saved = make_state(5), mine = make_state(1);
    comma_locale_begin(",");
    OK(pretrain_checkpoint_load(good, &o, &mine));
    OK(pretrain_checkpoint_save(other, &o, &saved));
    comma_locale_end(",");
    assert_int_equal(mine.step, 4);
    OK(pretrain_checkpoint_load(other, &o, &mine));
    assert_same(&saved, &mine);
    clear_state(&mine);
    clear_state(&saved);
}

static void other_options_are_named(void **state)
{
    (void)state;
    const dcam_pretrainer_options fine = make_options();
    dcam_pretrainer_options o;
#define OTHER(change, says)                     \
    do {                                        \
        o = fine;                               \
        change;                                 \
        refused(good, &o, DCAM_ERROR_DATA, says); \
    } while (0)
    OTHER(o.classes = 3, "classes");
    OTHER(o.side = 32, "size");
    OTHER(o.batch = 3, "batch");
    OTHER(o.warmup = 77, "warmup");
    OTHER(o.learning_rate = 0.25, "this run has 0.25: give the same options");
    OTHER(o.momentum = 0.25, "momentum");
    OTHER(o.weight_decay = 0.25, "weight_decay");
    OTHER(o.smoothing = 0.25, "smoothing");
    OTHER(o.seed = 99, "this run has 99");
    OTHER(o.steps = 3, "4 steps are done already, this run has 3");
    OTHER(o.falling = 1, "falling 0.5, this run has 1, and after step 4 the learning rate"); /* this run's falls */
    OTHER((o.steps = 6, o.falling = 0.9), "steps 20, this run has 6, and after step 4");
#undef OTHER
    refused("/nowhere/c", &fine, DCAM_ERROR_DATA, "no such checkpoint");
}

/* What is still ahead may change, up to the step at which the rate falls in one of the two. */
static void a_plan_may_change_on_the_plateau(void **state)
{
    (void)state;
    static const int steps[] = {4, 10, 11};
    for (int i = 0; i < 3; i++) {
        dcam_pretrainer_options o = make_options();
        pretrain_state saved = make_state(3), mine = make_state(1);
        saved.step = steps[i];
        OK(pretrain_checkpoint_save(other, &o, &saved));
        o.steps = 100;
        o.falling = 0.25;
        if (steps[i] <= 10) {
            OK(pretrain_checkpoint_load(other, &o, &mine));
            assert_same(&saved, &mine);
        } else {
            refused(other, &o, DCAM_ERROR_DATA,
                    "after step 11 the learning rate of one of the two falls"); /* the file's */
        }
        clear_state(&mine);
        clear_state(&saved);
    }
}

static void every_entry_is_checked(void **state)
{
    (void)state;
    static const char *const options[] = {"classes",  "size",         "batch",     "warmup", "learning_rate",
                                          "momentum", "weight_decay", "smoothing", "seed",   "precision"};
    static const char *const numbers[] = {"steps_done", "steps", "falling"};
    static const char *const bad[] = {NULL, "", "x", "4x", "-1", "nan", "inf", "1e99"};
    char says[200];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        snprintf(says, sizeof says, "made with %s (not stated)", options[i]);
        edit_refused(&(tensor_edit){.key = options[i]}, DCAM_ERROR_DATA, says);
        snprintf(says, sizeof says, "made with %s other", options[i]);
        edit_refused(&(tensor_edit){.key = options[i], .value = "other"}, DCAM_ERROR_DATA, says);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            snprintf(says, sizeof says, "damaged checkpoint: %s;", numbers[i]);
            edit_refused(&(tensor_edit){.key = numbers[i], .value = bad[k]}, DCAM_ERROR_DATA, says);
        }
    edit_refused(&(tensor_edit){.key = "steps_done", .value = "2.5"}, DCAM_ERROR_DATA, "damaged checkpoint: steps_done;");
    edit_refused(&(tensor_edit){.key = "steps", .value = "9.5"}, DCAM_ERROR_DATA, "damaged checkpoint: steps;");
    edit_refused(&(tensor_edit){.key = "falling", .value = "1.1"}, DCAM_ERROR_DATA, "damaged checkpoint: falling;");
    edit_refused(&(tensor_edit){.key = "steps_done", .value = "21"}, DCAM_ERROR_DATA, "21 steps are done already");
    edit_refused(&(tensor_edit){.key = "format"}, DCAM_ERROR_DATA, "not a checkpoint of dcam pretrain");
    edit_refused(&(tensor_edit){.key = "format", .value = "dcam-pretraining-2"}, DCAM_ERROR_DATA,
                 "not a checkpoint of dcam pretrain");
}

static void every_tensor_is_checked(void **state)
{
    (void)state;
    static const char *const tensors[] = {"head", "velocity", "trunk.conv1.weight", "trunk.bn1.running_var"};
    static const double zeros[4], numbers[] = {1, NAN, 3}, floats[] = {1, 2, 3};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        edit_refused(&(tensor_edit){.tensor = tensors[i]}, DCAM_ERROR_WEIGHTS, tensors[i]);
        edit_refused(&(tensor_edit){.tensor = tensors[i], .data = zeros, .rank = 1, .shape = {2}},
                     DCAM_ERROR_WEIGHTS, tensors[i]);
    }
    const float broken[HEAD] = {0, 0, INFINITY};
    edit_refused(&(tensor_edit){.tensor = "head", .data = broken, .rank = 1, .shape = {HEAD}}, DCAM_ERROR_WEIGHTS,
                 "head");
    edit_refused(&(tensor_edit){.tensor = "sums"}, DCAM_ERROR_DATA, "damaged checkpoint: sums");
    edit_refused(&(tensor_edit){.tensor = "sums", .data = floats, .type = DCAM_I64, .rank = 1, .shape = {3}},
                 DCAM_ERROR_DATA, "damaged checkpoint: sums");
    edit_refused(&(tensor_edit){.tensor = "sums", .data = floats, .type = DCAM_F64, .rank = 1, .shape = {2}},
                 DCAM_ERROR_DATA, "damaged checkpoint: sums");
    edit_refused(&(tensor_edit){.tensor = "sums", .data = numbers, .type = DCAM_F64, .rank = 1, .shape = {3}},
                 DCAM_ERROR_DATA, "damaged checkpoint: sums");
}

/* A teacher's trunk in the place of one that can be trained on. */
static void a_folded_trunk_is_refused(void **state)
{
    (void)state;
    const dcam_pretrainer_options o = make_options();
    pretrain_state s = make_state(4);
    dcam_trunk_weights *folded, *whole = s.trunk;
    OK(dcam_trunk_weights_fold(whole, &folded));
    s.trunk = folded;
    s.trunk->trainable_count = whole->trainable_count; /* of the velocity */
    OK(pretrain_checkpoint_save(other, &o, &s));
    refused(other, &o, DCAM_ERROR_DATA, "the trunk's batch norm is folded");
    s.trunk = whole;
    clear_state(&s);
    dcam_trunk_weights_destroy(folded);
}

static void rubbish_is_refused(void **state)
{
    (void)state;
    const dcam_pretrainer_options o = make_options();
    OK(dcam_file_write(other, "rubbish", 7));
    refused(other, &o, DCAM_ERROR_WEIGHTS, "");
}

/* Nothing is left behind of a file that is not whole. */
static void memory_runs_out_while_it_saves(void **state)
{
    (void)state;
    const dcam_pretrainer_options o = make_options();
    pretrain_state s = make_state(4);
    remove(other);
    EVERY_ALLOCATION(a, pretrain_checkpoint_save(other, &o, &s)) {
        assert_int_equal(dcam_path_exists(other), a.passed);
        remove(other);
    }
    clear_state(&s);
}

static void memory_runs_out_while_it_loads(void **state)
{
    (void)state;
    const dcam_pretrainer_options o = make_options();
    pretrain_state saved = make_state(4), mine = make_state(2), untouched = make_state(2);
    EVERY_ALLOCATION(a, pretrain_checkpoint_load(good, &o, &mine)) {
        assert_same(&mine, a.passed ? &saved : &untouched);
        clear_state(&mine);
        mine = make_state(2);
    }
    clear_state(&untouched);
    clear_state(&mine);
    clear_state(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_comes_back),
        cmocka_unit_test(a_comma_locale_changes_nothing),
        cmocka_unit_test(other_options_are_named),
        cmocka_unit_test(a_plan_may_change_on_the_plateau),
        cmocka_unit_test(every_entry_is_checked),
        cmocka_unit_test(every_tensor_is_checked),
        cmocka_unit_test(a_folded_trunk_is_refused),
        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_saves, count_json, count_json_no_more),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_loads, count_json, count_json_no_more),
    };
    return cmocka_run_group_tests(tests, start, end);
}
