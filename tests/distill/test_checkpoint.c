/* The trainer's checkpoint, of a student of a few hundred values: what is saved comes back to the bit, whatever
 * differs is named, every entry and tensor that is missing, of another kind or out of range is refused, and whatever
 * fails leaves learner and progress as they were. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "allocations.h"
#include "base/file.h"
#include "data/tree.h"
#include "distill/progress.h"
#include "edited_tensors.h"
#include "formula.h"
#include "json_allocations.h"
#include "outcome.h"

enum { EPOCHS = 3, ATTENTION = 5 };
/* The first convolution alone: many tensors more are read and written like its own. */
static const dcam_architecture tiny = {"tiny", {0, 0, 0}, {4, 4, 4}};
static const train_identity of_run = {"tiny", "random:1", "0123"};
static char root[256], good[4096], other[4096];

/* As much of a run as its checkpoint knows of. */
typedef struct {
    dcam_learner learner;
    train_progress progress;
} run;

static size_t trained(const run *r) { return r->learner.student->trainable_count + r->learner.attention_total; }

/* After so many epochs; before the first there is no best one. */
static run make_run(uint32_t seed, int epoch, size_t attention)
{
    run r = {.learner = {.attention_total = attention},
             .progress = {
                 .epoch = epoch, .step = 2, .images = 7, .loss = 1.0 / 3 + seed, .seconds = 0.7, .best_epoch = epoch}};
    OK(dcam_trunk_weights_random(&tiny, seed, &r.learner.student));
    OK(dcam_alloc(attention, sizeof(float), &r.learner.attention_values));
    OK(dcam_alloc(trained(&r), sizeof(float), &r.learner.velocity));
    OK(dcam_alloc_zero(EPOCHS, sizeof(train_epoch), &r.progress.history));
    OK(dcam_trunk_weights_random(&tiny, seed + 50, &r.progress.best));
    OK(dcam_alloc(attention, sizeof(float), &r.progress.best_attention));
    formula_fill(seed, 1, 0, r.learner.attention_values, attention);
    formula_fill(seed + 100, 1, 0, r.learner.velocity, trained(&r));
    formula_fill(seed + 200, 1, 0, r.progress.best_attention, attention);
    for (int i = 0; i < epoch; i++)
        r.progress.history[i] = (train_epoch){.loss = 1.0 / (seed + 3), .validation = i, .seconds = 0.1};
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) r.progress.terms[k] = 0.1 * k + seed;
    return r;
}

static void clear_run(run *r)
{
    dcam_trunk_weights_destroy(r->learner.student);
    dcam_trunk_weights_destroy(r->progress.best);
    dcam_free(r->learner.attention_values);
    dcam_free(r->learner.velocity);
    dcam_free(r->progress.history);
    dcam_free(r->progress.best_attention);
}

/* What is kept: of the history the epochs that are done, of the best nothing before there is one. */
static void assert_same(const run *a, const run *b)
{
    const dcam_learner *l = &a->learner, *m = &b->learner;
    const train_progress *p = &a->progress, *q = &b->progress;
    const size_t attention = l->attention_total * sizeof(float), values = l->student->value_count * sizeof(float);
    assert_memory_equal(l->student->values, m->student->values, values);
    assert_memory_equal(l->velocity, m->velocity, trained(a) * sizeof(float));
    assert_int_equal(p->epoch, q->epoch);
    assert_int_equal(p->step, q->step);
    assert_int_equal(p->best_epoch, q->best_epoch);
    assert_true(p->images == q->images && p->loss == q->loss && p->seconds == q->seconds);
    assert_memory_equal(p->terms, q->terms, sizeof p->terms);
    if (p->epoch) assert_memory_equal(p->history, q->history, (size_t)p->epoch * sizeof *p->history);
    if (p->best_epoch) assert_memory_equal(p->best->values, q->best->values, values);
    if (attention) assert_memory_equal(l->attention_values, m->attention_values, attention);
    if (attention && p->best_epoch) assert_memory_equal(p->best_attention, q->best_attention, attention);
}

static dcam_trainer_options make_options(void)
{
    dcam_trainer_options o;
    OK(dcam_trainer_preset("dcam", &o));
    o.epochs = EPOCHS;
    return o;
}

static dcam_status save(const char *path, const run *r)
{
    const dcam_trainer_options o = make_options();
    return train_checkpoint_save(path, &o, &of_run, &r->learner, &r->progress);
}

static dcam_status load(const char *path, run *r)
{
    const dcam_trainer_options o = make_options();
    return train_checkpoint_load(path, &o, &of_run, &r->learner, &r->progress);
}

/* good: a run of two epochs and two steps. */
static int start(void **state)
{
    (void)state;
    tree_create(root);
    tree_path(root, "good", good);
    tree_path(root, "other", other);
    run r = make_run(4, 2, ATTENTION);
    OK(save(good, &r));
    clear_run(&r);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tree_remove(root);
    assert_int_equal(dcam_memory_held(), 0);
    return 0;
}

/* Nothing of another run changes. */
static void refused_by(const char *path, const dcam_trainer_options *o, const train_identity *identity,
                       dcam_status wanted, const char *says)
{
    run mine = make_run(2, 1, ATTENTION), same = make_run(2, 1, ATTENTION);
    const size_t held = dcam_memory_held();
    const dcam_status status = train_checkpoint_load(path, o, identity, &mine.learner, &mine.progress);
    assert_refused(status, wanted, says, path);
    assert_int_equal(dcam_memory_held(), held);
    assert_same(&mine, &same);
    clear_run(&same);
    clear_run(&mine);
}

static void refused(const char *path, dcam_status wanted, const char *says)
{
    const dcam_trainer_options o = make_options();
    refused_by(path, &o, &of_run, wanted, says);
}

static void edit_refused(const tensor_edit *e, dcam_status wanted, const char *says)
{
    edit_tensors(good, other, e);
    refused(other, wanted, says);
}

static void what_is_saved_comes_back(void **state)
{
    (void)state;
    for (int epoch = 0; epoch <= EPOCHS; epoch++)
        for (size_t attention = 0; attention <= ATTENTION; attention += ATTENTION) {
            run saved = make_run(5, epoch, attention), mine = make_run(1, 1, attention);
            OK(save(other, &saved));
            OK(load(other, &mine));
            assert_same(&saved, &mine);
            clear_run(&mine);
            clear_run(&saved);
        }
}

static void what_differs_is_named(void **state)
{
    (void)state;
    const dcam_trainer_options fine = make_options();
    dcam_trainer_options o = fine;
    o.epochs = 4;
    refused_by(good, &o, &of_run, DCAM_ERROR_DATA, "made with epochs 3, this run has 4: give the same again");
    o.epochs = 40; /* not 4e+01 */
    refused_by(good, &o, &of_run, DCAM_ERROR_DATA, "made with epochs 3, this run has 40: give the same again");
    o = fine;
    o.loss.weight[DCAM_LOSS_L2] = 0.5;
    refused_by(good, &o, &of_run, DCAM_ERROR_DATA, "made with loss cd=1,kd=1, this run has cd=1,kd=1,l2=0.5");
    train_identity mine = of_run;
    mine.architecture = "small";
    refused_by(good, &fine, &mine, DCAM_ERROR_DATA, "made with a student tiny, this run has small");
    mine = of_run;
    mine.teacher = "random:1 sha256:00ff";
    refused_by(good, &fine, &mine, DCAM_ERROR_DATA, "made with the teacher random:1, this run has random:1 sha256:00ff");
    mine.teacher = "random:2";
    refused_by(good, &fine, &mine, DCAM_ERROR_DATA, "made with the teacher random:1, this run has random:2");
    mine = of_run;
    mine.data = "4567";
    refused_by(good, &fine, &mine, DCAM_ERROR_DATA, "made with images of fingerprint 0123, this run has 4567");
    refused("/nowhere/c", DCAM_ERROR_DATA, "no such checkpoint");
    char longest[5000]; /* a name that the system does not even look for */
    memset(longest, 'n', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    run untouched = make_run(1, 1, ATTENTION);
    assert_int_equal(load(longest, &untouched), DCAM_ERROR_DATA);
    clear_run(&untouched);
}

/* As files say it that were written before. */
static void numbers_spelt_otherwise(void **state)
{
    (void)state;
    run mine = make_run(1, 1, ATTENTION);
    edit_tensors(good, other, &(tensor_edit){.key = "epochs", .value = "3e+00"});
    OK(load(other, &mine));
    clear_run(&mine);
    edit_refused(&(tensor_edit){.key = "epochs", .value = "3e+01"}, DCAM_ERROR_DATA, "made with epochs 3e+01, this run has 3");
    edit_refused(&(tensor_edit){.key = "epochs", .value = "3 "}, DCAM_ERROR_DATA, "made with epochs 3 , this run has 3");
}

static void every_entry_is_checked(void **state)
{
    (void)state;
    static const char *const numbers[] = {"epochs_done", "steps_done", "best_epoch"};
    static const char *const bad[] = {NULL, "", "x", "1x", "1.5", "-1", "99999999999999999999"};
    train_option described[TRAIN_OPTIONS];
    const dcam_trainer_options o = make_options();
    char says[200];
    train_options_describe(&o, described);
    for (int i = 0; i < TRAIN_OPTIONS; i++) {
        snprintf(says, sizeof says, "made with %s (not stated), this run has %s", described[i].name,
                 described[i].value);
        edit_refused(&(tensor_edit){.key = described[i].name}, DCAM_ERROR_DATA, says);
        snprintf(says, sizeof says, "made with %s other, this run has", described[i].name);
        edit_refused(&(tensor_edit){.key = described[i].name, .value = "other"}, DCAM_ERROR_DATA, says);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            snprintf(says, sizeof says, "damaged checkpoint: %s;", numbers[i]);
            edit_refused(&(tensor_edit){.key = numbers[i], .value = bad[k]}, DCAM_ERROR_DATA, says);
        }
    /* More epochs than the run has; a best one that is not over, or none although one is over; other than what is
     * there. */
    edit_refused(&(tensor_edit){.key = "epochs_done", .value = "4"}, DCAM_ERROR_DATA,
                 "damaged checkpoint: epochs_done;");
    edit_refused(&(tensor_edit){.key = "best_epoch", .value = "3"}, DCAM_ERROR_DATA, "damaged checkpoint: best_epoch;");
    edit_refused(&(tensor_edit){.key = "best_epoch", .value = "0"}, DCAM_ERROR_DATA, "damaged checkpoint: best_epoch;");
    edit_refused(&(tensor_edit){.key = "epochs_done", .value = "3"}, DCAM_ERROR_DATA, "damaged checkpoint: history;");
    static const char *const identity[] = {"architecture", "teacher", "data"};
    for (size_t i = 0; i < 3; i++) edit_refused(&(tensor_edit){.key = identity[i]}, DCAM_ERROR_DATA, "(not stated)");
    edit_refused(&(tensor_edit){.key = "format"}, DCAM_ERROR_DATA, "not a checkpoint of this version");
    edit_refused(&(tensor_edit){.key = "format", .value = "dcam-checkpoint-2"}, DCAM_ERROR_DATA,
                 "not a checkpoint of this version");
}

static void every_tensor_is_checked(void **state)
{
    (void)state;
    static const char *const floats[] = {"attention", "velocity", "best_attention", "student.conv1.weight",
                                         "best.bn1.running_var"};
    static const struct {
        const char *name;
        size_t count;
    } doubles[] = {{"sums", 3 + DCAM_LOSS_KINDS}, {"history", 2 * TRAIN_EPOCH_VALUES}};
    double values[2 * TRAIN_EPOCH_VALUES] = {0};
    char says[100];
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        edit_refused(&(tensor_edit){.tensor = floats[i]}, DCAM_ERROR_WEIGHTS, floats[i]);
        edit_refused(&(tensor_edit){.tensor = floats[i], .data = values, .rank = 1, .shape = {2}}, DCAM_ERROR_WEIGHTS,
                     floats[i]);
    }
    const float broken[ATTENTION] = {0, NAN};
    edit_refused(&(tensor_edit){.tensor = "best_attention", .data = broken, .rank = 1, .shape = {ATTENTION}},
                 DCAM_ERROR_WEIGHTS, "best_attention");
    for (int i = 0; i < 2; i++) {
        tensor_edit e = {.tensor = doubles[i].name};
        snprintf(says, sizeof says, "damaged checkpoint: %s;", e.tensor);
        edit_refused(&e, DCAM_ERROR_DATA, says);
        e = (tensor_edit){.tensor = e.tensor, .data = values, .type = DCAM_I64, .rank = 1, .shape = {doubles[i].count}};
        edit_refused(&e, DCAM_ERROR_DATA, says);
        e.type = DCAM_F64;
        e.shape[0]--;
        edit_refused(&e, DCAM_ERROR_DATA, says);
        e.shape[0]++;
        values[3] = (double)INFINITY;
        edit_refused(&e, DCAM_ERROR_DATA, says);
        values[3] = 0;
    }
}

/* Students that cannot be trained on. */
static void folded_trunks_are_refused(void **state)
{
    (void)state;
    run r = make_run(4, 1, ATTENTION);
    dcam_trunk_weights *folded, *student = r.learner.student, *best = r.progress.best;
    OK(dcam_trunk_weights_fold(student, &folded));
    folded->trainable_count = student->trainable_count; /* of the velocity */
    r.learner.student = folded;
    OK(save(other, &r));
    refused(other, DCAM_ERROR_DATA, "damaged checkpoint: the student's batch norm is folded");
    r.learner.student = student;
    r.progress.best = folded;
    OK(save(other, &r));
    refused(other, DCAM_ERROR_DATA, "damaged checkpoint: the best student's batch norm is folded");
    r.progress.best = best;
    dcam_trunk_weights_destroy(folded);
    clear_run(&r);
}

static void rubbish_is_refused(void **state)
{
    (void)state;
    OK(dcam_file_write(other, "rubbish", 7));
    refused(other, DCAM_ERROR_WEIGHTS, "");
    remove(other);
    assert_int_equal(symlink(other, other), 0); /* leads nowhere */
    refused(other, DCAM_ERROR_DATA, "no such checkpoint");
    remove(other);
}

/* Nothing is left behind of a file that is not whole. */
static void memory_runs_out_while_it_saves(void **state)
{
    (void)state;
    run r = make_run(4, 2, ATTENTION);
    EVERY_ALLOCATION(a, save(other, &r)) {
        assert_int_equal(dcam_path_exists(other), a.passed);
        remove(other);
    }
    clear_run(&r);
}

static void memory_runs_out_while_it_loads(void **state)
{
    (void)state;
    run saved = make_run(4, 2, ATTENTION), mine = make_run(2, 1, ATTENTION), untouched = make_run(2, 1, ATTENTION);
    EVERY_ALLOCATION(a, load(good, &mine)) {
        assert_same(&mine, a.passed ? &saved : &untouched);
        clear_run(&mine);
        mine = make_run(2, 1, ATTENTION);
    }
    clear_run(&untouched);
    clear_run(&mine);
    clear_run(&saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_comes_back),
        cmocka_unit_test(what_differs_is_named),
        cmocka_unit_test(numbers_spelt_otherwise),
        cmocka_unit_test(every_entry_is_checked),
        cmocka_unit_test(every_tensor_is_checked),
        cmocka_unit_test(folded_trunks_are_refused),
        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_saves, count_json, count_json_no_more),
        cmocka_unit_test_setup_teardown(memory_runs_out_while_it_loads, count_json, count_json_no_more),
    };
    return cmocka_run_group_tests(tests, start, end);
}
