/* pretrainer.c - the run: a batch of drawn pictures, the trunk's forward pass, the classifiers, the trunk's way back,
 * descent. What a step learns from and at which rate are pure functions of the options and the step's number, so that
 * a run that goes on from a checkpoint repeats what it would have done. */
#include "pretrain/pretrainer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distill/sgd.h"
#include "image/image.h"
#include "nn/nn.h"
#include "pretrain/head.h"
#include "pretrain/picture.h"
#include "pretrain/state.h"
#include "pretrain/stock.h"
#include "weights/json_text.h"

#define PI 3.14159265358979323846
/* Running means of loss and accuracy go back about so many steps. */
#define MEAN_STEPS 100

typedef struct {
    const dcam_pretrainer_options *options;
    pretrain_state state;
    int saved;                                              /* step that the checkpoint holds; 0: none of this run */
    dcam_feature_shapes shapes;
    dcam_train_net *net;
    pretrain_head *head;
    float *input;                                           /* batch x 3 x side x side */
    float *gradient;                                        /* as state.velocity */
    float *features[DCAM_STAGES], *d_features[DCAM_STAGES]; /* batch x H x W x C */
    double rate;                                            /* images a second, since this process began */
} run;

dcam_pretrainer_options dcam_pretrainer_defaults(void)
{
    return (dcam_pretrainer_options){.classes = 600, .side = 64, .batch = 32, .steps = DCAM_PRETRAIN_STEPS, .warmup = 200, .falling = 0.3,
                                     .learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-4, .smoothing = 0.1,
                                     .checkpoint_steps = 500};
}

dcam_status dcam_pretrainer_check(const dcam_pretrainer_options *o)
{
    if (o->classes < 2 || o->classes > DCAM_MAX_PICTURE_CLASSES)
        return dcam_fail(DCAM_ERROR_USAGE, "%d classes: 2 to %d are possible", o->classes, DCAM_MAX_PICTURE_CLASSES);
    if (o->side < 32 || o->side > 512 || o->side % 32 != 0)
        return dcam_fail(DCAM_ERROR_USAGE, "a size of %d: it must be a multiple of 32, 32 to 512", o->side);
    if (o->batch < DCAM_MIN_PRETRAIN_BATCH || o->batch > DCAM_MAX_PRETRAIN_BATCH)
        return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d: %d to %d are possible", o->batch, DCAM_MIN_PRETRAIN_BATCH,
                         DCAM_MAX_PRETRAIN_BATCH);
    if (o->steps < 1 || o->steps > DCAM_MAX_PRETRAIN_STEPS)
        return dcam_fail(DCAM_ERROR_USAGE, "%d steps: 1 to %d are possible", o->steps, DCAM_MAX_PRETRAIN_STEPS);
    if (!(o->learning_rate > 0 && o->learning_rate <= 100) || !(o->momentum >= 0 && o->momentum < 1) ||
        !(o->weight_decay >= 0 && o->weight_decay <= 1))
        return dcam_fail(DCAM_ERROR_USAGE, "learning rate %g, momentum %g, weight decay %g: out of range", o->learning_rate, o->momentum,
                         o->weight_decay);
    if (!(o->falling >= 0 && o->falling <= 1) || !(o->smoothing >= 0 && o->smoothing < 1) || o->warmup < 0 || o->checkpoint_steps < 1)
        return dcam_fail(DCAM_ERROR_USAGE, "falling part %g, smoothing %g, warm-up %d, checkpoint every %d steps: out of range", o->falling,
                         o->smoothing, o->warmup, o->checkpoint_steps);
    if (o->resume && !o->checkpoint) return dcam_fail(DCAM_ERROR_USAGE, "resuming needs a checkpoint to resume from");
    return DCAM_OK;
}

int dcam_pretrainer_plateau_end(const dcam_pretrainer_options *o)
{
    return o->steps - (int)(o->falling * o->steps);
}

static double learning_rate(const dcam_pretrainer_options *o, int step)
{
    const int end = dcam_pretrainer_plateau_end(o);
    double rate = o->learning_rate;
    if (step < o->warmup) rate *= (double)(step + 1) / o->warmup;
    if (step >= end) rate *= 0.5 * (1 + cos(PI * (step - end + 1) / (o->steps - end + 1)));
    return rate;
}

/* ---- before the first step ---- */

/* Says what the run will hold, and refuses it if that is too much. */
static dcam_status plan_memory(const dcam_pretrainer_options *o)
{
    size_t planned;
    DCAM_TRY(dcam_pretrainer_check_memory(o, &planned));
    dcam_log(DCAM_LOG_INFO, "pre-training on pictures of %d classes, %dx%d, %d a step; memory: %.0f MiB at most", o->classes, o->side,
             o->side, o->batch, (double)planned / (1024.0 * 1024.0));
    return DCAM_OK;
}

static dcam_status create_parts(run *r)
{
    const dcam_pretrainer_options *o = r->options;
    const dcam_architecture *a = dcam_architecture_find(NULL);
    const dcam_train_net_options net = {.height = o->side, .width = o->side, .batch = o->batch, .precision = o->precision};
    const size_t batch = (size_t)o->batch, pixels = (size_t)o->side * (size_t)o->side;
    pretrain_state *s = &r->state;
    r->shapes = dcam_feature_shapes_at(a, o->side, o->side);
    s->head_count = pretrain_head_count(&r->shapes, o->classes);
    DCAM_TRY(dcam_trunk_weights_random(a, o->seed, &s->trunk));
    const size_t trained = s->trunk->trainable_count + s->head_count;
    DCAM_TRY(dcam_alloc(s->head_count, sizeof *s->head, &s->head));
    DCAM_TRY(dcam_alloc_zero(trained, sizeof *s->velocity, &s->velocity));
    DCAM_TRY(dcam_alloc(trained, sizeof *r->gradient, &r->gradient));
    DCAM_TRY(dcam_alloc(batch, 3 * pixels * sizeof *r->input, &r->input));
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t count = (size_t)r->shapes.channels[k] * (size_t)r->shapes.height[k] * (size_t)r->shapes.width[k];
        DCAM_TRY(dcam_alloc(batch, count * sizeof(float), &r->features[k]));
        DCAM_TRY(dcam_alloc(batch, count * sizeof(float), &r->d_features[k]));
    }
    DCAM_TRY(pretrain_head_create(&r->shapes, o->classes, o->batch, o->smoothing, &r->head));
    pretrain_head_start(r->head, o->seed, s->head);
    return dcam_train_net_create(s->trunk, &net, &r->net);
}

static void clear_run(run *r)
{
    dcam_train_net_destroy(r->net);
    pretrain_head_destroy(r->head);
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_free(r->d_features[k]);
        dcam_free(r->features[k]);
    }
    dcam_free(r->input);
    dcam_free(r->gradient);
    dcam_free(r->state.velocity);
    dcam_free(r->state.head);
    dcam_trunk_weights_destroy(r->state.trunk);
}

/* ---- steps ---- */

static dcam_status not_finite(const run *r, int step, const char *what)
{
    const dcam_pretrainer_options *o = r->options;
    const dcam_status status = dcam_fail(DCAM_ERROR_NUMERIC, "step %d: %s left the finite numbers; try a lower learning rate (--lr, now %g)%s",
                                         step, what, o->learning_rate,
                                         o->precision == DCAM_NET_BF16 ? " or --precision f32 instead of bf16" : "");
    if (r->saved == 0) return status;
    char said[256];
    snprintf(said, sizeof said, "%s", dcam_error_message());
    return dcam_fail(status, "%s; the checkpoint %s holds the state after step %d", said, o->checkpoint, r->saved);
}

static dcam_status learn(run *r, const uint8_t *rgb, const int *labels)
{
    const dcam_pretrainer_options *o = r->options;
    pretrain_state *s = &r->state;
    const dcam_preprocessing preprocessing = dcam_preprocessing_default(o->side, o->side);
    const dcam_sgd sgd = {learning_rate(o, s->step), o->momentum, o->weight_decay};
    const size_t trunk = s->trunk->trainable_count;
    double loss;
    int right;
    dcam_normalise(&preprocessing, rgb, o->batch, r->input);
    DCAM_TRY(dcam_train_net_forward(r->net, r->input, o->batch, r->features));
    pretrain_head_step(r->head, s->head, r->features, labels, o->batch, &loss, &right, r->d_features, r->gradient + trunk);
    if (!isfinite(loss)) return not_finite(r, s->step + 1, "the loss");
    DCAM_TRY(dcam_train_net_backward(r->net, (const float *const *)r->d_features, r->gradient));
    dcam_sgd_step(&sgd, s->trunk->values, r->gradient, s->velocity, trunk);
    dcam_sgd_step(&sgd, s->head, r->gradient + trunk, s->velocity + trunk, s->head_count);
    /* The first steps weigh more: a mean over what there is. */
    const double weight = fmax(1.0 / (s->step + 1), 1.0 / MEAN_STEPS);
    s->loss += weight * (loss - s->loss);
    s->accuracy += weight * ((double)right / o->batch - s->accuracy);
    s->step++;
    return DCAM_OK;
}

/* What cannot be gone on from must not take the place of what can, nor become a teacher. */
static dcam_status check_weights(const run *r)
{
    const pretrain_state *s = &r->state;
    if (dcam_values_are_finite(s->trunk->values, s->trunk->value_count) && dcam_values_are_finite(s->head, s->head_count)) return DCAM_OK;
    return not_finite(r, s->step, "the weights");
}

static dcam_status save(run *r)
{
    DCAM_TRY(check_weights(r));
    DCAM_TRY(pretrain_checkpoint_save(r->options->checkpoint, r->options, &r->state));
    r->saved = r->state.step;
    return DCAM_OK;
}

/* A copy from which a longer run can go on. */
static dcam_status save_plateau(const run *r)
{
    char *path;
    DCAM_TRY(check_weights(r));
    DCAM_TRY(dcam_format_string(&path, "%s.plateau", r->options->checkpoint));
    const dcam_status status = pretrain_checkpoint_save(path, r->options, &r->state);
    dcam_free(path);
    return status;
}

static dcam_status keep(run *r)
{
    const dcam_pretrainer_options *o = r->options;
    const int step = r->state.step;
    if (!o->checkpoint) return step == o->steps ? check_weights(r) : DCAM_OK;
    if (step == dcam_pretrainer_plateau_end(o) && step < o->steps) DCAM_TRY(save_plateau(r));
    return step % o->checkpoint_steps == 0 || step == o->steps ? save(r) : DCAM_OK;
}

static dcam_status stop(run *r)
{
    const dcam_pretrainer_options *o = r->options;
    if (!o->checkpoint)
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after step %d of %d; nothing was kept: with a checkpoint (--checkpoint FILE) a "
                         "pre-training can be resumed", r->state.step, o->steps);
    DCAM_TRY(save(r));
    return dcam_fail(DCAM_ERROR_CANCELLED, "%s: stopped after step %d of %d; to go on from here, run the same again with --resume",
                     o->checkpoint, r->state.step, o->steps);
}

static bool tell(const run *r)
{
    const dcam_pretrainer_options *o = r->options;
    const pretrain_state *s = &r->state;
    if (!o->progress) return false;
    const dcam_pretrainer_progress news = {
        .step = s->step, .steps = o->steps, .loss = s->loss, .accuracy = s->accuracy, .images_per_second = r->rate,
        .seconds_left = r->rate > 0 ? (double)(o->steps - s->step) * o->batch / r->rate : 0};
    return o->progress(o->user, &news);
}

static dcam_status run_steps(run *r)
{
    const dcam_pretrainer_options *o = r->options;
    pretrain_state *s = &r->state;
    const int first = s->step;
    const double start = dcam_seconds(), before = s->seconds;
    const pretrain_stock_options options = {o->seed, o->classes, o->side, o->batch, first, o->steps};
    pretrain_stock *stock;
    DCAM_TRY(pretrain_stock_create(&options, &stock));
    dcam_status status = DCAM_OK;
    while (status == DCAM_OK && s->step < o->steps) {
        const uint8_t *rgb;
        const int *labels;
        pretrain_stock_next(stock, &rgb, &labels);
        status = learn(r, rgb, labels);
        if (status != DCAM_OK) break;
        s->seconds = before + dcam_seconds() - start;
        r->rate = (double)(s->step - first) * o->batch / (s->seconds - before);
        status = keep(r);
        if (status == DCAM_OK && tell(r) && s->step < o->steps) status = stop(r);
    }
    pretrain_stock_destroy(stock);
    return status;
}

/* ---- the result ---- */

static dcam_status write_record(const run *r, char **out)
{
    pretrain_option described[PRETRAIN_OPTIONS];
    char engine[160];
    const pretrain_state *s = &r->state;
    json_t *options = json_object();
    bool whole = options != NULL;
    pretrain_options_describe(r->options, described);
    for (int i = 0; i < PRETRAIN_OPTIONS; i++) {
        dcam_json_error error;
        const char *value = described[i].value;
        json_t *parsed = dcam_json_parse(value, strlen(value), &error);
        if (!parsed && !error.no_memory) parsed = json_string(value); /* a seed above what JSON numbers hold here */
        whole &= json_object_set_new(options, described[i].name, parsed) == 0;
    }
    json_t *record = json_pack("{s:s, s:s, s:s, s:i, s:o, s:f, s:f, s:f}", "dcam_version", DCAM_VERSION, "engine",
                               dcam_nn_describe(engine, sizeof engine), "architecture", s->trunk->architecture->name, "threads",
                               dcam_threads(), "options", options, "loss", s->loss, "accuracy", s->accuracy, "seconds", s->seconds);
    if (!whole) {
        json_decref(record);
        record = NULL;
    }
    return dcam_json_text(record, "the record of the pre-training", out);
}

dcam_status dcam_pretrainer_run(const dcam_pretrainer_options *options, dcam_trunk_weights **out, char **record)
{
    run r = {.options = options};
    DCAM_TRY(dcam_pretrainer_check(options));
    DCAM_TRY(plan_memory(options));
    dcam_status status = create_parts(&r);
    if (status == DCAM_OK && options->resume) {
        status = pretrain_checkpoint_load(options->checkpoint, options, &r.state);
        if (status == DCAM_OK) dcam_log(DCAM_LOG_INFO, "%s: going on after step %d", options->checkpoint, r.state.step);
        r.saved = r.state.step;
    }
    if (status == DCAM_OK) status = run_steps(&r);
    if (status == DCAM_OK) status = write_record(&r, record);
    if (status == DCAM_OK) {
        *out = r.state.trunk;
        r.state.trunk = NULL;
    }
    clear_run(&r);
    return status;
}
