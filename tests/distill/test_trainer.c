/* Training: ten steps against PyTorch (training.bin); whole runs on small synthetic sets: the same bits with and
 * without a cache, and stopped and resumed; what is refused; what a run holds; what its record tells. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "data/synth.h"
#include "data/tree.h"
#include "distill/data_identity.h"
#include "distill/learner.h"
#include "distill/trainer.h"
#include "net/net_case.h"
#include "nn/nn.h"

#define OK(call)                                                                      \
    do {                                                                              \
        if ((call) != DCAM_OK) fail_msg("%s: %s", #call, dcam_error_message());       \
    } while (0)

static char root[256], checkpoint[4096];
static dcam_dataset *dataset;
static dcam_trunk_weights *teacher;

/* ---- ten steps ---- */

enum { STEPS = 10, BATCH = 4, SIDE = 64 };
#define BF16_BOUND 2e-3
#define BF16_MAPS_BOUND 6e-3

static void start_attention(dcam_learner *l)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        const int c = l->shapes.channels[k], hidden = c / 8;
        const size_t half = (size_t)(c * hidden);
        if (l->attention_count[k] == 0) continue;
        assert_int_equal(l->attention_count[k], 2 * half);
        formula_fill(3000 + 2 * (uint32_t)k, (float)(1 / sqrt(c)), 0, l->attention[k], half);
        formula_fill(3001 + 2 * (uint32_t)k, (float)(1 / sqrt(hidden)), 0, l->attention[k] + half, half);
    }
}

static void fill_records(const dcam_map_layout *layout, uint16_t *records)
{
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t count = layout->count[k];
        float *values;
        OK(dcam_alloc(BATCH, count * sizeof *values, &values));
        formula_fill(2000 + (uint32_t)k, 1, 0.5f, values, BATCH * count);
        for (size_t b = 0; b < BATCH; b++)
            for (size_t i = 0; i < count; i++)
                records[b * layout->total + layout->offset[k] + i] = dcam_bf16_from_f32(values[b * count + i]);
        dcam_free(values);
    }
}

static double relative(double got, double want) { return fabs(got / want - 1); }

static double variance_norm(const dcam_trunk_weights *w)
{
    double sum = 0;
    for (int i = 0; i < w->convolution_count; i++)
        for (int c = 0; c < w->shapes[i].out_channels; c++) {
            const double v = (double)w->convolutions[i].running_variance[c];
            sum += v * v;
        }
    return sqrt(sum);
}

static void follow_pytorch(const char *method, const dcam_loss_kind *kinds, int kind_count, dcam_net_precision precision,
                           double first,
                           double bound)
{
    dcam_trainer_options o;
    dcam_trunk_weights *student;
    dcam_learner *l;
    float *input;
    uint16_t *records;
    char name[64];
    double *want[1 + DCAM_LOSS_KINDS], worst = 0;
    OK(dcam_trainer_preset(method, &o));
    o.width = o.height = SIDE;
    o.batch = BATCH;
    o.precision = precision;
    OK(dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &student));
    case_weights(student);
    OK(dcam_learner_create(student, &o, &l));
    start_attention(l);
    OK(dcam_alloc(BATCH * 3 * SIDE * SIDE, sizeof *input, &input));
    formula_fill(1, 2, 0, input, BATCH * 3 * SIDE * SIDE);
    OK(dcam_alloc(BATCH, l->layout.total * sizeof *records, &records));
    fill_records(&l->layout, records);
    for (int k = 0; k <= kind_count; k++) {
        snprintf(name, sizeof name, "%s.%s", method, k == 0 ? "loss" : dcam_loss_name(kinds[k - 1]));
        want[k] = golden_read("training.bin", name, STEPS);
    }
    snprintf(name, sizeof name, "%s.rate", method);
    double *rate = golden_read("training.bin", name, 1);
    for (int i = 0; i < STEPS; i++) {
        double loss, terms[DCAM_LOSS_KINDS];
        OK(dcam_learner_step(l, input, records, BATCH, *rate, &loss, terms));
        worst = fmax(worst, relative(loss, want[0][i]));
        for (int k = 1; k <= kind_count; k++) worst = fmax(worst, relative(terms[kinds[k - 1]], want[k][i]));
        if (i == 0) assert_true(worst < first);
    }
    snprintf(name, sizeof name, "%s.variance", method);
    double *variance = golden_read("training.bin", name, 1);
    const double drift = relative(variance_norm(student), *variance);
    printf("%s: losses within %.2g, running variances %.2g of PyTorch's\n", method, worst, drift);
    assert_true(worst < bound);
    assert_true(drift < (first > 1e-5 ? bound : 1e-3));
    free(variance);
    free(rate);
    for (int k = 0; k <= kind_count; k++) free(want[k]);
    dcam_free(records);
    dcam_free(input);
    dcam_learner_destroy(l);
}

static void pytorch(void **state)
{
    (void)state;
    follow_pytorch("dcam", (const dcam_loss_kind[]){DCAM_LOSS_CD, DCAM_LOSS_KD}, 2, DCAM_NET_F32, 1e-5, 1e-3);
    follow_pytorch("stfpm", (const dcam_loss_kind[]){DCAM_LOSS_L2}, 1, DCAM_NET_F32, 1e-5, 1e-3);
}

/* With bf16 products on the way back alone the first loss is f32's, so it has f32's bound. */
static void pytorch_bf16(void **state)
{
    (void)state;
    const bool maps = dcam_nn_bf16_maps();
    if (!maps && !dcam_nn_bf16_products()) skip();
    const double first = maps ? BF16_MAPS_BOUND : 1e-5, bound = maps ? BF16_MAPS_BOUND : BF16_BOUND;
    follow_pytorch("dcam", (const dcam_loss_kind[]){DCAM_LOSS_CD, DCAM_LOSS_KD}, 2, DCAM_NET_BF16, first, bound);
    follow_pytorch("stfpm", (const dcam_loss_kind[]){DCAM_LOSS_L2}, 1, DCAM_NET_BF16, first, bound);
}

/* ---- whole runs ---- */

/* What the callback saw, and when it is to stop. */
typedef struct {
    int stop_epoch, stop_step; /* at this step's news; step 0: at the epoch's end; epoch 0: never */
    int calls, epochs_done;
    double last_left;
    bool saw_best;
} watcher;

static bool watch(void *user, const dcam_trainer_progress *p)
{
    watcher *w = user;
    w->calls++;
    assert_in_range(p->epoch, 1, p->epochs);
    assert_in_range(p->step, 1, p->steps);
    assert_true(isfinite(p->loss) && p->loss > 0);
    assert_true(p->images_per_second > 0);
    assert_true(p->seconds_left >= 0);
    assert_int_equal(isnan(p->validation), p->epoch == 1 && !p->epoch_done);
    w->epochs_done += p->epoch_done;
    w->saw_best = w->saw_best || p->best;
    w->last_left = p->seconds_left;
    if (p->epoch != w->stop_epoch) return false;
    return w->stop_step == 0 ? p->epoch_done : !p->epoch_done && p->step == w->stop_step;
}

/* 7 + 7 images to learn from, 1 + 1 to validate: batches of 4, 4, 4, 2. */
static dcam_trainer_options small_run(void)
{
    dcam_trainer_options o;
    OK(dcam_trainer_preset("dcam", &o));
    o.width = o.height = 32;
    o.batch = 4;
    o.epochs = 3;
    o.learning_rate = 0.05;
    o.validation_fraction = 0.1;
    o.schedule = DCAM_SCHEDULE_COSINE;
    o.seed = 11;
    o.threads = 1;
    return o;
}

static dcam_training_result train(const dcam_trainer_options *o)
{
    dcam_training_result result = {0};
    OK(dcam_trainer_run(dataset, teacher, "random:1", o, &result));
    return result;
}

static void assert_same(const dcam_training_result *a, const dcam_training_result *b)
{
    assert_int_equal(a->best_epoch, b->best_epoch);
    assert_memory_equal(&a->best_validation, &b->best_validation, sizeof a->best_validation);
    assert_memory_equal(a->student->values, b->student->values, a->student->value_count * sizeof(float));
    for (int k = 0; k < DCAM_STAGES; k++) {
        assert_int_equal(a->attention_count[k], b->attention_count[k]);
        assert_memory_equal(a->attention_values[k], b->attention_values[k], a->attention_count[k] * sizeof(float));
    }
}

static json_t *parse(const char *record)
{
    json_t *json = json_loads(record, 0, NULL);
    assert_non_null(json);
    return json;
}

static double epoch_number(const json_t *record, size_t epoch, const char *key)
{
    const json_t *value = json_object_get(json_array_get(json_object_get(record, "epochs"), epoch), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void learns_and_tells(void **state)
{
    (void)state;
    watcher w = {0};
    dcam_trainer_options o = small_run();
    o.progress = watch;
    o.user = &w;
    o.epochs = 6;
    dcam_training_result r = train(&o);
    assert_int_equal(r.train_count, 14);
    assert_int_equal(r.validation_count, 2);
    assert_int_equal(w.calls, 6 * (4 + 1));
    assert_int_equal(w.epochs_done, 6);
    assert_true(w.saw_best);
    assert_true(w.last_left == 0);
    assert_true(r.attention_count[0] > 0);
    json_t *record = parse(r.record);
    assert_int_equal(json_array_size(json_object_get(record, "epochs")), 6);
    assert_true(epoch_number(record, 5, "loss") < 0.9 * epoch_number(record, 0, "loss"));
    const double sum = epoch_number(record, 2, "cd") + epoch_number(record, 2, "kd");
    assert_true(relative(sum, epoch_number(record, 2, "loss")) < 1e-9);
    double lowest = INFINITY;
    for (size_t i = 0; i < 6; i++) lowest = fmin(lowest, epoch_number(record, i, "validation"));
    assert_true(lowest == r.best_validation);
    assert_true(epoch_number(record, (size_t)r.best_epoch - 1, "validation") == lowest);
    json_decref(record);
    dcam_training_result again = train(&o);
    assert_same(&r, &again);
    o.seed++;
    dcam_training_result other = train(&o);
    assert_memory_not_equal(r.student->values, other.student->values, 1000 * sizeof(float));
    dcam_training_result_clear(&other);
    dcam_training_result_clear(&again);
    dcam_training_result_clear(&r);
}

static void caches_change_nothing(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    dcam_training_result full = train(&o);
    /* Off; images and some of the teacher's maps (14336 bytes each); some images only. */
    const size_t caps[] = {0, 16 * (3 * 32 * 32 + 128) + 100000, 20000};
    for (size_t i = 0; i < 3; i++) {
        o.cache_bytes = caps[i];
        dcam_training_result r = train(&o);
        assert_same(&full, &r);
        dcam_training_result_clear(&r);
    }
    dcam_training_result_clear(&full);
}

/* Stopped at (epoch, step) and resumed. */
static void stop_and_go(const dcam_training_result *whole, dcam_net_precision precision, int epoch, int step)
{
    watcher w = {.stop_epoch = epoch, .stop_step = step};
    dcam_trainer_options o = small_run();
    dcam_training_result r = {0};
    o.precision = precision;
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
    dcam_trainer_options o = small_run();
    dcam_training_result whole = train(&o);
    stop_and_go(&whole, DCAM_NET_F32, 1, 2); /* before there is a best epoch */
    stop_and_go(&whole, DCAM_NET_F32, 2, 3);
    stop_and_go(&whole, DCAM_NET_F32, 2, 4); /* between the last step and the validation */
    stop_and_go(&whole, DCAM_NET_F32, 2, 0);
    dcam_training_result_clear(&whole);
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
    if (!dcam_nn_bf16_products() && !dcam_nn_bf16_maps()) skip();
    dcam_trainer_options o = small_run();
    o.precision = DCAM_NET_BF16;
    dcam_training_result whole = train(&o);
    stop_and_go(&whole, DCAM_NET_BF16, 2, 3);
    dcam_training_result_clear(&whole);
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

static void refuse(const dcam_trainer_options *o, dcam_status status, const char *part)
{
    dcam_training_result r = {0};
    const size_t held = dcam_memory_held();
    const dcam_status got = dcam_trainer_run(dataset, teacher, "random:1", o, &r);
    if (got != status || !strstr(dcam_error_message(), part))
        fail_msg("%s with '%s' was wanted; %s: %s", dcam_status_name(status), part, dcam_status_name(got), dcam_error_message());
    assert_null(r.student);
    assert_int_equal(dcam_memory_held(), held);
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

/* The callback spoils the rate after the second epoch's first step, and may stop after the second. */
typedef struct {
    dcam_trainer_options *options;
    bool stop;
} spoiler;

static bool spoil(void *user, const dcam_trainer_progress *p)
{
    const spoiler *s = user;
    if (p->epoch != 2 || p->epoch_done) return false;
    if (p->step == 1) s->options->learning_rate = 1e300;
    return s->stop && p->step == 2;
}

/* Broken weights are never written over a good checkpoint, the error names it, and it can be gone on from. */
static void leaves_the_last_good_checkpoint(bool stop, const char *what)
{
    char wanted[4200];
    dcam_trainer_options o = small_run();
    spoiler s = {&o, stop};
    dcam_training_result whole = train(&o), r = {0};
    o.checkpoint = checkpoint;
    o.progress = spoil;
    o.user = &s;
    refuse(&o, DCAM_ERROR_NUMERIC, what);
    snprintf(wanted, sizeof wanted, "the checkpoint %s holds the state after epoch 1", checkpoint);
    assert_non_null(strstr(dcam_error_message(), wanted));
    assert_non_null(strstr(dcam_error_message(), "lower learning rate"));
    o.learning_rate = small_run().learning_rate;
    o.progress = NULL;
    o.resume = true;
    OK(dcam_trainer_run(dataset, teacher, "random:1", &o, &r));
    assert_same(&whole, &r);
    dcam_training_result_clear(&r);
    dcam_training_result_clear(&whole);
    remove(checkpoint);
}

static void broken_weights_are_not_kept(void **state)
{
    (void)state;
    leaves_the_last_good_checkpoint(true, "epoch 2, step 2: the weights left the finite numbers");
    leaves_the_last_good_checkpoint(false, "epoch 2, step 3: the loss left the finite numbers");
}

static void options_are_checked(void **state)
{
    (void)state;
    const dcam_trainer_options fine = small_run();
    dcam_trainer_options o;
    OK(dcam_trainer_check(&fine));
#define REFUSED(change, part)                                                                    \
    do {                                                                                         \
        o = fine;                                                                                \
        change;                                                                                  \
        refuse(&o, DCAM_ERROR_USAGE, part);                                                      \
    } while (0)
    REFUSED(o.width = 100, "width must be a multiple of 32, not 100; 96 and 128 are near");
    REFUSED(o.height = 8192, "height must be from 32 to 4096");
    REFUSED(o.epochs = 0, "epochs must be from 1");
    REFUSED(o.batch = -1, "the batch must be from 1");
    REFUSED(o.learning_rate = 0, "learning rate must be above 0");
    REFUSED(o.learning_rate = (double)NAN, "learning rate");
    REFUSED(o.momentum = 1, "momentum");
    REFUSED(o.weight_decay = -1, "weight decay");
    REFUSED(o.validation_fraction = 1, "validation part");
    REFUSED(o.loss.weight[DCAM_LOSS_CD] = -1, "loss's weight");
    REFUSED(o.loss.weight[DCAM_LOSS_CD] = o.loss.weight[DCAM_LOSS_KD] = 0, "nothing would be learned");
    REFUSED(o.loss.kd_temperature = 0, "temperature of kd");
    REFUSED((o.loss.weight[DCAM_LOSS_KD] = 0, o.loss.kd_temperature = -1), "temperature of kd");
    REFUSED(o.map.smoothing = 100, "smoothing");
    REFUSED(o.resume = true, "name the checkpoint");
    REFUSED(o.batch = 1, "batch norm too few");
    REFUSED((o.attention = DCAM_ATTENTION_NONE, o.attention_at_detection = true), "attention is none");
    REFUSED((o.reads = DCAM_READS_RAW, o.attention_at_detection = true), "read the raw maps");
#undef REFUSED
    assert_int_equal(dcam_trainer_preset("pca", &o), DCAM_ERROR_USAGE);
}

/* Everything that has another path through the learner or the validation runs and gives finite numbers. */
static void every_way_runs(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    o.width = 64;
    o.epochs = 1;
    o.attention = DCAM_ATTENTION_CBAM;
    o.attention_at_detection = true;
    o.reads = DCAM_READS_BOTH;
    o.map.kind = DCAM_MAP_STANDARD;
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) o.loss.weight[k] = 0.5;
    dcam_training_result r = train(&o);
    assert_true(isfinite(r.best_validation));
    dcam_training_result_clear(&r);
    o.attention_at_detection = false;
    o.reads = DCAM_READS_RAW;
    o.batch = 100; /* more than there are */
    o.threads = 0;
    r = train(&o);
    assert_true(isfinite(r.best_validation));
    dcam_training_result_clear(&r);
}

static void memory_is_as_planned(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    size_t planned;
    o.width = o.height = 128;
    o.batch = 8;
    o.epochs = 2;
    OK(dcam_trainer_plan_bytes(teacher->architecture, &o, 16, &planned));
    /* Decoded photographs are counted as large as they may be; here they are small. */
    const int cores = dcam_available_cores();
    const double photographs = 12e6 * (cores < 4 ? cores : 4);
    const size_t held = dcam_memory_held();
    dcam_memory_reset_peak();
    dcam_training_result r = train(&o);
    const double most = (double)(dcam_memory_peak() - held), part = most / ((double)planned - photographs);
    printf("planned %.1f MiB, held %.1f MiB: %.3f\n", ((double)planned - photographs) / 1048576, most / 1048576, part);
    assert_true(part > 0.9 && part <= 1.02);
    dcam_training_result_clear(&r);
    o.max_bytes = planned / 2;
    refuse(&o, DCAM_ERROR_MEMORY, "--batch");
}

static void memory_failures(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    dcam_training_result r = {0};
    o.epochs = 1;
    SOME_ALLOCATIONS(a, 400, dcam_trainer_run(dataset, teacher, "random:1", &o, &r)) {
        assert_true(a.n > 30 || !a.passed);
        if (a.passed) dcam_training_result_clear(&r);
    }
}

/* ---- what a later calibration may use ---- */

static void unseen_images(void **state)
{
    (void)state;
    dcam_trainer_options o = small_run();
    uint32_t *some;
    size_t count, known;
    o.epochs = 1;
    dcam_training_result r = train(&o);
    OK(dcam_unseen_images(dataset, r.record, &some, &count, &known));
    assert_int_equal(known, 2);
    assert_int_equal(count, r.validation_count);
    assert_memory_equal(some, r.validation, count * sizeof *some);
    dcam_free(some);
    /* One class of the two: still recognised. */
    dcam_dataset *one;
    OK(dcam_dataset_open(dataset->root, dataset->class_names[1], &one));
    OK(dcam_unseen_images(one, r.record, &some, &count, &known));
    assert_int_equal(known, 1);
    assert_int_equal(count, 1);
    assert_string_equal(one->samples[some[0]].path, dataset->samples[r.validation[1]].path);
    dcam_free(some);
    dcam_dataset_destroy(one);
    /* Neither a copy of a learned image nor a new one beside them changes what is known of the others. */
    char path[4096], name[600], copy[600];
    uint8_t *bytes;
    size_t size;
    OK(dcam_file_read(dataset->samples[r.train[0]].path, 1 << 20, &bytes, &size));
    snprintf(copy, sizeof copy, "data/%s/train/good/copy.png", dataset->class_names[1]);
    tree_bytes(root, copy, bytes, size);
    snprintf(name, sizeof name, "data/%s/train/good/zzz.png", dataset->class_names[0]);
    tree_bytes(root, name, bytes, size - 1);
    dcam_free(bytes);
    OK(dcam_dataset_open(dataset->root, NULL, &one));
    OK(dcam_unseen_images(one, r.record, &some, &count, &known));
    assert_int_equal(known, 2);
    assert_int_equal(count, r.validation_count + 1);
    bool found = false;
    for (size_t i = 0; i < count; i++) found = found || strstr(one->samples[some[i]].path, "zzz.png");
    assert_true(found);
    dcam_free(some);
    OK(dcam_new_images(one, 0, r.record, &some, &count, &known));
    assert_int_equal(known, 8);
    assert_int_equal(count, 1);
    assert_non_null(strstr(one->samples[some[0]].path, "zzz.png"));
    dcam_free(some);
    OK(dcam_new_images(one, 1, r.record, &some, &count, &known));
    assert_int_equal(known, 9);
    assert_int_equal(count, 0);
    dcam_free(some);
    /* A class's folder alone, so that all paths are others. */
    dcam_dataset *folder;
    snprintf(path, sizeof path, "%s/%s", dataset->root, dataset->class_names[1]);
    OK(dcam_dataset_open(path, NULL, &folder));
    OK(dcam_unseen_images(folder, r.record, &some, &count, &known));
    assert_int_equal(known, 1);
    assert_int_equal(count, 1);
    dcam_free(some);
    dcam_dataset_destroy(folder);
    /* No record, or one of something else. */
    const char *const nothing[] = {NULL, "{}", "no JSON", "{\"data\": {\"learned\": \"0123456789abc\", \"validated\": 7}}"};
    for (size_t i = 0; i < 4; i++) {
        OK(dcam_unseen_images(one, nothing[i], &some, &count, &known));
        assert_int_equal(known, 0);
        assert_int_equal(count, 9 + 9);
        dcam_free(some);
    }
    dcam_dataset_destroy(one);
    tree_path(root, name, path);
    remove(path);
    tree_path(root, copy, path);
    remove(path);
    dcam_training_result_clear(&r);
}

static void bad_image_ends_the_run(void **state)
{
    (void)state;
    dcam_dataset *spoilt;
    dcam_training_result r = {0};
    dcam_trainer_options o = small_run();
    char name[600], path[4096];
    snprintf(name, sizeof name, "data/%s/train/good/000bad.png", dataset->class_names[0]);
    tree_bytes(root, name, "no image", 8);
    OK(dcam_dataset_open(dataset->root, NULL, &spoilt));
    assert_int_equal(dcam_trainer_run(spoilt, teacher, "random:1", &o, &r), DCAM_ERROR_IMAGE);
    assert_non_null(strstr(dcam_error_message(), "000bad.png"));
    dcam_dataset_destroy(spoilt);
    tree_path(root, name, path);
    remove(path);
}

static int start(void **state)
{
    (void)state;
    char path[4096];
    tree_create(root);
    tree_path(root, "data", path);
    tree_path(root, "state", checkpoint);
    const dcam_synth_plan plan = {.folder = path, .seed = 2, .size = 64, .classes = 2, .train = 8, .test_good = 1,
                                  .test_defective = 1};
    if (dcam_synth_write(&plan) != DCAM_OK || dcam_dataset_open(path, NULL, &dataset) != DCAM_OK) return -1;
    dcam_set_threads(0);
    return dcam_trunk_weights_random_teacher(dcam_architecture_find(NULL), 1, &teacher) == DCAM_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    dcam_trunk_weights_destroy(teacher);
    dcam_dataset_destroy(dataset);
    tree_remove(root);
    return dcam_memory_held() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pytorch),
        cmocka_unit_test(pytorch_bf16),
        cmocka_unit_test(learns_and_tells),
        cmocka_unit_test(caches_change_nothing),
        cmocka_unit_test(resumes_to_the_same_bits),
        cmocka_unit_test(a_stop_at_the_end_keeps_the_result),
        cmocka_unit_test(bf16_resumes),
        cmocka_unit_test(attention_none_resumes),
        cmocka_unit_test(refuses_other_checkpoints),
        cmocka_unit_test(nan_is_told),
        cmocka_unit_test(broken_weights_are_not_kept),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(every_way_runs),
        cmocka_unit_test(memory_is_as_planned),
        cmocka_unit_test(memory_failures),
        cmocka_unit_test(unseen_images),
        cmocka_unit_test(bad_image_ends_the_run),
    };
    return cmocka_run_group_tests(tests, start, end);
}
