/* checkpoint.c - a pre-training as a safetensors file: weights, classifiers, velocity, and the options in the
 * metadata. Every difference in options is an error that names it, but for the length of the run while the learning
 * rate is still on its plateau. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "pretrain/state.h"
#include "weights/unfinished.h"

#define FORMAT "dcam-pretraining-1"
#define SUMS 3

void pretrain_options_describe(const dcam_pretrainer_options *o, pretrain_option out[PRETRAIN_OPTIONS])
{
    pretrain_option *at = out;
#define ADD(the_name, is_plan, ...)                                     \
    do {                                                                \
        at->name = the_name;                                            \
        at->plan = is_plan;                                             \
        dcam_snprintf((at++)->value, sizeof out->value, __VA_ARGS__);        \
    } while (0)
    ADD("steps", true, "%d", o->steps);
    ADD("falling", true, "%.17g", o->falling);
    ADD("classes", false, "%d", o->classes);
    ADD("size", false, "%d", o->side);
    ADD("batch", false, "%d", o->batch);
    ADD("warmup", false, "%d", o->warmup);
    ADD("learning_rate", false, "%.17g", o->learning_rate);
    ADD("momentum", false, "%.17g", o->momentum);
    ADD("weight_decay", false, "%.17g", o->weight_decay);
    ADD("smoothing", false, "%.17g", o->smoothing);
    ADD("seed", false, "%llu", (unsigned long long)o->seed);
    ADD("precision", false, "%s", o->precision == DCAM_NET_BF16 ? "\"bf16\"" : "\"f32\"");
#undef ADD
}

static dcam_status add_metadata(dcam_tensor_writer *w, const dcam_pretrainer_options *options, const pretrain_state *state)
{
    pretrain_option described[PRETRAIN_OPTIONS];
    char step[16];
    snprintf(step, sizeof step, "%d", state->step);
    DCAM_TRY(dcam_tensor_writer_metadata(w, "format", FORMAT));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "dcam", "checkpoint"));
    DCAM_TRY(dcam_tensor_writer_metadata(w, "steps_done", step));
    pretrain_options_describe(options, described);
    for (int i = 0; i < PRETRAIN_OPTIONS; i++) DCAM_TRY(dcam_tensor_writer_metadata(w, described[i].name, described[i].value));
    return DCAM_OK;
}

dcam_status pretrain_checkpoint_save(const char *path, const dcam_pretrainer_options *options, const pretrain_state *state)
{
    const size_t trained = state->trunk->trainable_count + state->head_count, sum_count = SUMS;
    const double sums[SUMS] = {state->loss, state->accuracy, state->seconds};
    dcam_tensor_writer *w = NULL;
    dcam_status status = dcam_tensor_writer_create(&w);
    if (status == DCAM_OK) status = add_metadata(w, options, state);
    if (status == DCAM_OK) status = dcam_trunk_weights_add(state->trunk, "trunk.", w);
    if (status == DCAM_OK) status = dcam_tensor_writer_add(w, "head", DCAM_F32, 1, &state->head_count, state->head);
    if (status == DCAM_OK) status = dcam_tensor_writer_add(w, "velocity", DCAM_F32, 1, &trained, state->velocity);
    if (status == DCAM_OK) status = dcam_tensor_writer_add(w, "sums", DCAM_F64, 1, &sum_count, sums);
    if (status == DCAM_OK) status = dcam_tensor_writer_save(w, path);
    dcam_tensor_writer_destroy(w);
    return status;
}

/* ---- reading ---- */

static dcam_status damaged(const dcam_tensors *file, const char *what)
{
    return dcam_fail(DCAM_ERROR_DATA, "%s: damaged checkpoint: %s; " DCAM_START_ANEW, dcam_tensors_path(file), what);
}

static dcam_status read_number(const dcam_tensors *file, const char *key, double high, double *out)
{
    const char *text = dcam_tensors_metadata(file, key);
    char *end = NULL;
    const double value = text ? dcam_strtod(text, &end) : -1;
    if (!text || end == text || *end != '\0' || !(value >= 0 && value <= high)) return damaged(file, key);
    *out = value;
    return DCAM_OK;
}

static dcam_status read_steps(const dcam_tensors *file, const char *key, int *out)
{
    double value;
    DCAM_TRY(read_number(file, key, DCAM_MAX_PRETRAIN_STEPS, &value));
    if (value != floor(value)) return damaged(file, key);
    *out = (int)value;
    return DCAM_OK;
}

static dcam_status check_options(const dcam_tensors *file, const dcam_pretrainer_options *options, int step)
{
    pretrain_option described[PRETRAIN_OPTIONS];
    dcam_pretrainer_options theirs = *options;
    double falling;
    DCAM_TRY(read_steps(file, "steps", &theirs.steps));
    DCAM_TRY(read_number(file, "falling", 1, &falling));
    theirs.falling = falling;
    const bool on_plateau = step <= dcam_pretrainer_plateau_end(&theirs) && step <= dcam_pretrainer_plateau_end(options);
    pretrain_options_describe(options, described);
    for (int i = 0; i < PRETRAIN_OPTIONS; i++) {
        const char *text = dcam_tensors_metadata(file, described[i].name);
        if (text && strcmp(text, described[i].value) == 0) continue;
        if (described[i].plan && on_plateau) continue;
        if (!text) text = "(not stated)";
        if (described[i].plan)
            return dcam_fail(DCAM_ERROR_DATA, "%s: made with %s %s, this run has %s, and after step %d the learning rate of one of the "
                             "two falls already: take the checkpoint from before that (its name ends in .plateau)",
                             dcam_tensors_path(file), described[i].name, text, described[i].value, step);
        return dcam_fail(DCAM_ERROR_DATA, "%s: made with %s %s, this run has %s: give the same options; " DCAM_START_ANEW, dcam_tensors_path(file), described[i].name, text, described[i].value);
    }
    return DCAM_OK;
}

/* What a file holds, before it replaces anything. */
typedef struct {
    dcam_trunk_weights *trunk;
    float *head, *velocity;
    double sums[SUMS];
} content;

static dcam_status read_content(const dcam_tensors *file, const pretrain_state *state, content *c)
{
    const size_t trained = state->trunk->trainable_count + state->head_count;
    const dcam_tensor *sums = dcam_tensors_find(file, "sums");
    DCAM_TRY(dcam_alloc(state->head_count, sizeof *c->head, &c->head));
    DCAM_TRY(dcam_alloc(trained, sizeof *c->velocity, &c->velocity));
    DCAM_TRY(dcam_tensors_read_f32(file, "head", 1, &state->head_count, c->head));
    DCAM_TRY(dcam_tensors_read_f32(file, "velocity", 1, &trained, c->velocity));
    DCAM_TRY(dcam_trunk_weights_read(file, "trunk.", state->trunk->architecture, &c->trunk));
    if (c->trunk->folded) return damaged(file, "the trunk's batch norm is folded");
    /* Doubles are not converted: they must come back to the bit. */
    if (!sums || sums->type != DCAM_F64 || sums->count != SUMS) return damaged(file, "sums");
    memcpy(c->sums, sums->data, sizeof c->sums);
    for (int i = 0; i < SUMS; i++)
        if (!isfinite(c->sums[i])) return damaged(file, "sums");
    return DCAM_OK;
}

static void apply(const content *c, int step, pretrain_state *state)
{
    memcpy(state->trunk->values, c->trunk->values, state->trunk->value_count * sizeof(float));
    memcpy(state->head, c->head, state->head_count * sizeof(float));
    memcpy(state->velocity, c->velocity, (state->trunk->trainable_count + state->head_count) * sizeof(float));
    state->step = step;
    state->loss = c->sums[0];
    state->accuracy = c->sums[1];
    state->seconds = c->sums[2];
}

static dcam_status check(const dcam_tensors *file, const dcam_pretrainer_options *options, int *step)
{
    const char *format = dcam_tensors_metadata(file, "format");
    if (!format || strcmp(format, FORMAT) != 0)
        return dcam_fail(DCAM_ERROR_DATA, "%s: not a checkpoint of dcam pretrain (%s); " DCAM_START_ANEW,
                         dcam_tensors_path(file), FORMAT);
    DCAM_TRY(read_steps(file, "steps_done", step));
    if (*step > options->steps)
        return dcam_fail(DCAM_ERROR_DATA, "%s: %d steps are done already, this run has %d; raise --steps", dcam_tensors_path(file),
                         *step, options->steps);
    return check_options(file, options, *step);
}

dcam_status pretrain_checkpoint_load(const char *path, const dcam_pretrainer_options *options, pretrain_state *state)
{
    dcam_tensors *file = NULL;
    content c = {0};
    int step = 0;
    dcam_path_kind kind;
    DCAM_TRY(dcam_path_look(path, &kind));
    if (kind == DCAM_PATH_ABSENT)
        return dcam_fail(DCAM_ERROR_DATA, "%s: there is no such checkpoint to resume from; leave out --resume to start anew", path);
    dcam_status status = dcam_tensors_open(path, &file);
    if (status == DCAM_OK) status = check(file, options, &step);
    if (status == DCAM_OK) status = read_content(file, state, &c);
    if (status == DCAM_OK) apply(&c, step, state);
    dcam_trunk_weights_destroy(c.trunk);
    dcam_free(c.velocity);
    dcam_free(c.head);
    dcam_tensors_destroy(file);
    return status;
}
