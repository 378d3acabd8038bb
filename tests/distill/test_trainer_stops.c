/* Trainings that are stopped, by the callback or by numbers that are not finite: they go on to the same bits, with one
 * thread and with two; the error names the cause and the checkpoint to go back to. */
#include <float.h>

#include "distill/trainer_case.h"

static bool has_bf16(void) { return dcam_nn_bf16_products() || dcam_nn_bf16_maps(); }

static dcam_trainer_options run_of(dcam_net_precision precision, int threads)
{
    dcam_trainer_options o = small_run();
    o.precision = precision;
    o.threads = threads;
    return o;
}

/* The promise that all of this file builds upon. */
static void same_threads_same_bits(void **state)
{
    (void)state;
    static const char *const methods[] = {"dcam", "hybrid"};
    for (int i = 0; i < 4; i++) {
        const dcam_net_precision precision = i & 1 ? DCAM_NET_BF16 : DCAM_NET_F32;
        dcam_trainer_options o = run_of(precision, 2), preset;
        if (precision == DCAM_NET_BF16 && !has_bf16()) continue;
        OK(dcam_trainer_preset(methods[i >> 1 & 1], &preset));
        o.method = preset.method;
        o.attention = preset.attention;
        o.map = preset.map;
        o.loss = preset.loss;
        o.width = 64;
        dcam_training_result first = train(&o), second = train(&o);
        assert_same(&first, &second);
        dcam_training_result_clear(&second);
        dcam_training_result_clear(&first);
    }
}

/* Stopped at (epoch, step) and resumed. */
static void stop_and_go(const dcam_training_result *whole, dcam_net_precision precision, int threads, int epoch, int step)
{
    watcher w = {.stop_epoch = epoch, .stop_step = step};
    dcam_trainer_options o = run_of(precision, threads);
    dcam_training_result r = {0};
    o.checkpoint = checkpoint;
    o.progress = watch;
    o.user = &w;
    assert_int_equal(dcam_trainer_run(dataset, teacher, "random:1", &o, &r), DCAM_ERROR_CANCELLED);
    assert_non_null(strstr(dcam_error_message(), checkpoint));
    assert_non_null(strstr(dcam_error_message(), "--resume"));
    assert_null(r.student);
    o.resume = true;
    w = (watcher){0};
    OK(dcam_trainer_run(dataset, teacher, "random:1", &o, &r));
    const int steps_left = (o.epochs - epoch) * 4 + (step > 0 ? 4 - step : 0);
    assert_int_equal(w.calls, steps_left + o.epochs - epoch + (step > 0));
    assert_same(whole, &r);
    /* The checkpoint of the end gives the result at once. */
    dcam_training_result end = {0};
    w = (watcher){0};
    OK(dcam_trainer_run(dataset, teacher, "random:1", &o, &end));
    assert_int_equal(w.calls, 0);
    assert_same(whole, &end);
    json_t *a = parse(whole->record), *b = parse(r.record);
    for (size_t i = 0; i < 3; i++) assert_true(epoch_number(a, i, "loss") == epoch_number(b, i, "loss"));
    json_decref(b);
    json_decref(a);
    dcam_training_result_clear(&end);
    dcam_training_result_clear(&r);
    remove(checkpoint);
}

static void resumes_to_the_same_bits(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        const dcam_trainer_options o = run_of(DCAM_NET_F32, threads);
        dcam_training_result whole = train(&o);
        stop_and_go(&whole, DCAM_NET_F32, threads, 1, 2); /* before there is a best epoch */
        stop_and_go(&whole, DCAM_NET_F32, threads, 2, 3);
        stop_and_go(&whole, DCAM_NET_F32, threads, 2, 4); /* between the last step and the validation */
        stop_and_go(&whole, DCAM_NET_F32, threads, 2, 0);
        dcam_training_result_clear(&whole);
    }
}

/* With the last epoch's news nothing is left to stop: the result is that of an undisturbed run, and what is told too. */
static void a_stop_at_the_end_keeps_the_result(void **state)
{
    (void)state;
    watcher w = {.stop_epoch = 3, .stop_step = 0};
    dcam_trainer_options o = small_run();
    dcam_training_result whole = train(&o);
    o.progress = watch;
    o.user = &w;
    dcam_training_result r = train(&o);
    assert_int_equal(w.calls, 3 * (4 + 1));
    assert_int_equal(w.epochs_done, 3);
    assert_same(&whole, &r);
    dcam_training_result_clear(&r);
    dcam_training_result_clear(&whole);
}

static void bf16_resumes(void **state)
{
    (void)state;
    if (!has_bf16()) skip();
    for (int threads = 1; threads <= 2; threads++) {
        const dcam_trainer_options o = run_of(DCAM_NET_BF16, threads);
        dcam_training_result whole = train(&o);
        stop_and_go(&whole, DCAM_NET_BF16, threads, 2, 3);
        dcam_training_result_clear(&whole);
    }
}

static void attention_none_resumes(void **state)
{
    (void)state;
    watcher w = {.stop_epoch = 1, .stop_step = 0};
    dcam_trainer_options o = small_run();
    dcam_training_result r = {0};
    o.attention = DCAM_ATTENTION_NONE;
    dcam_training_result whole = train(&o);
    o.checkpoint = checkpoint;
    o.progress = watch;
    o.user = &w;
    assert_int_equal(dcam_trainer_run(dataset, teacher, "random:1", &o, &r), DCAM_ERROR_CANCELLED);
    o.resume = true;
    w = (watcher){0};
    OK(dcam_trainer_run(dataset, teacher, "random:1", &o, &r));
    assert_same(&whole, &r);
    dcam_training_result_clear(&whole);
    dcam_training_result_clear(&r);
    remove(checkpoint);
}

static void refuses_other_checkpoints(void **state)
{
    (void)state;
    watcher w = {.stop_epoch = 1, .stop_step = 1};
    dcam_trainer_options o = small_run();
    o.checkpoint = checkpoint;
    o.resume = true;
    refuse(&o, DCAM_ERROR_DATA, "no such checkpoint");
    o.resume = false;
    o.progress = watch;
    o.user = &w;
    refuse(&o, DCAM_ERROR_CANCELLED, "stopped after epoch 0 of 3 and 1 steps");
    o.resume = true;
    o.learning_rate = 0.06;
    refuse(&o, DCAM_ERROR_DATA, "learning_rate 0.05, this run has 0.06");
    o.learning_rate = 0.05;
    o.epochs = 4;
    refuse(&o, DCAM_ERROR_DATA, "epochs 3, this run has 4");
    o.epochs = 3;
    o.cache_bytes = 0; /* changes nothing, so it may differ */
    w = (watcher){.stop_epoch = 1, .stop_step = 2};
    refuse(&o, DCAM_ERROR_CANCELLED, "stopped after epoch 0 of 3 and 2 steps");
    remove(checkpoint);
}

static void nan_is_told(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    o.learning_rate = 100;
    o.momentum = 0.9;
    o.weight_decay = 1;
    o.epochs = 100;
    o.schedule = DCAM_SCHEDULE_CONSTANT;
    refuse(&o, DCAM_ERROR_NUMERIC, "--lr, now 100");
}

/* The callback spoils the rate after a step, and may stop after another one. */
typedef struct {
    dcam_trainer_options *options;
    int epoch, step, stop; /* stop: a step of the same epoch; 0: never */
} spoiler;

static bool spoil(void *user, const dcam_trainer_progress *p)
{
    const spoiler *s = user;
    if (p->epoch != s->epoch || p->epoch_done) return false;
    if (p->step == s->step) s->options->learning_rate = 1e300;
    return s->stop && p->step == s->stop;
}

/* Goes on from the checkpoint to the bits of a sound run. */
static void goes_on(dcam_trainer_options *o, const dcam_training_result *whole)
{
    dcam_training_result r = {0};
    o->learning_rate = small_run().learning_rate;
    o->progress = NULL;
    o->resume = true;
    OK(dcam_trainer_run(dataset, teacher, "random:1", o, &r));
    assert_same(whole, &r);
    dcam_training_result_clear(&r);
    remove(checkpoint);
}

static void names_the_checkpoint(const char *state)
{
    char wanted[4300];
    snprintf(wanted, sizeof wanted, "the checkpoint %s holds the state after %s", checkpoint, state);
    const size_t length = strlen(dcam_error_message()), end = strlen(wanted);
    if (length < end || strcmp(dcam_error_message() + length - end, wanted) != 0)
        fail_msg("'%s' was wanted at the end of: %s", wanted, dcam_error_message());
}

/* Broken weights are never written over a good checkpoint, the error names it, and it can be gone on from. */
static void leaves_the_last_good_checkpoint(int stop, const char *what)
{
    dcam_trainer_options o = small_run();
    spoiler s = {&o, 2, 1, stop};
    dcam_training_result whole = train(&o);
    o.checkpoint = checkpoint;
    o.progress = spoil;
    o.user = &s;
    refuse(&o, DCAM_ERROR_NUMERIC, what);
    names_the_checkpoint("epoch 1");
    assert_non_null(strstr(dcam_error_message(), "try a lower learning rate (--lr, now 1e+300);"));
    goes_on(&o, &whole);
    dcam_training_result_clear(&whole);
}

static void broken_weights_are_not_kept(void **state)
{
    (void)state;
    leaves_the_last_good_checkpoint(2, "epoch 2, step 2: the weights left the finite numbers");
    leaves_the_last_good_checkpoint(0, "epoch 2, step 3: the loss left the finite numbers");
}

/* Stopped within an epoch, gone on with, broken in the same epoch: the checkpoint holds the steps before the stop, also where
 * no epoch is whole yet. */
static void a_checkpoint_within_an_epoch_is_named(int epoch, const char *kept)
{
    watcher w = {.stop_epoch = epoch, .stop_step = 2};
    dcam_trainer_options o = small_run();
    dcam_training_result whole = train(&o);
    o.checkpoint = checkpoint;
    o.progress = watch;
    o.user = &w;
    refuse(&o, DCAM_ERROR_CANCELLED, "--resume");
    spoiler s = {&o, epoch, 3, 0};
    o.resume = true;
    o.progress = spoil;
    o.user = &s;
    refuse(&o, DCAM_ERROR_NUMERIC, "step 4: the student's values left the finite numbers");
    names_the_checkpoint(kept);
    goes_on(&o, &whole);
    dcam_training_result_clear(&whole);
}

static void what_was_kept_is_named(void **state)
{
    (void)state;
    a_checkpoint_within_an_epoch_is_named(1, "step 2 of epoch 1");
    a_checkpoint_within_an_epoch_is_named(2, "step 2 of epoch 2");
    /* Nothing is kept before the first epoch's end, and an older file of that name is not this run's. */
    dcam_trainer_options o = small_run();
    spoiler s = {&o, 1, 1, 0};
    OK(dcam_file_write(checkpoint, "of another run", 14));
    o.checkpoint = checkpoint;
    o.progress = spoil;
    o.user = &s;
    refuse(&o, DCAM_ERROR_NUMERIC, "epoch 1, step 3: the loss");
    assert_null(strstr(dcam_error_message(), "checkpoint"));
    remove(checkpoint);
}

/* Not always the learning rate. */
static void the_likely_cause_is_named(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    dcam_training_result r = {0};
    dcam_trunk_weights *broken;
    OK(dcam_trunk_weights_copy(teacher, &broken));
    for (int i = 0; i < broken->shapes[0].out_channels; i++) broken->convolutions[0].bias[i] = FLT_MAX;
    assert_int_equal(dcam_trainer_run(dataset, broken, "random:1", &o, &r), DCAM_ERROR_NUMERIC);
    if (!strstr(dcam_error_message(), "the teacher's maps are not finite") || strstr(dcam_error_message(), "--lr"))
        fail_msg("%s", dcam_error_message());
    dcam_trunk_weights_destroy(broken);
    if (!has_bf16()) return;
    spoiler s = {&o, 1, 1, 0};
    o.precision = DCAM_NET_BF16;
    o.progress = spoil;
    o.user = &s;
    refuse(&o, DCAM_ERROR_NUMERIC, "try a lower learning rate (--lr, now 1e+300) or --precision f32 instead of bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_threads_same_bits),
        cmocka_unit_test(resumes_to_the_same_bits),
        cmocka_unit_test(a_stop_at_the_end_keeps_the_result),
        cmocka_unit_test(bf16_resumes),
        cmocka_unit_test(attention_none_resumes),
        cmocka_unit_test(refuses_other_checkpoints),
        cmocka_unit_test(nan_is_told),
        cmocka_unit_test(broken_weights_are_not_kept),
        cmocka_unit_test(what_was_kept_is_named),
        cmocka_unit_test(the_likely_cause_is_named),
    };
    return cmocka_run_group_tests(tests, start, end);
}
