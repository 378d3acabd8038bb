/* learner.c - one training step (method.md, DCAM and Losses): the student's forward pass, then stage by stage the
 * attention block, the losses and their way back, then the student's backward pass and the descent. The blocks hang
 * off the trunk: the next stage reads the raw map s, so that dropping a block changes nothing else. */
#include "distill/learner.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

#define STREAM_ATTENTION UINT64_C(0x617474656e74) /* "attent" */

static size_t attention_counts(dcam_attention_kind kind, const dcam_feature_shapes *shapes, size_t counts[DCAM_STAGES])
{
    size_t total = 0;
    for (int k = 0; k < DCAM_STAGES; k++) {
        counts[k] = dcam_attention_value_count(kind, shapes->channels[k]);
        total += counts[k];
    }
    return total;
}

static bool attends(const dcam_trainer_options *o)
{
    return o->attention != DCAM_ATTENTION_NONE && o->reads != DCAM_READS_RAW;
}

static size_t largest(const dcam_map_layout *l)
{
    size_t most = 0;
    for (int k = 0; k < DCAM_STAGES; k++) most = l->count[k] > most ? l->count[k] : most;
    return most;
}

/* Whether the losses read the network's own bf16 maps. */
static bool reads_raw_maps(const dcam_trainer_options *o)
{
    return dcam_train_net_raw_here(o->precision) && !(attends(o) && o->reads == DCAM_READS_BOTH) &&
           dcam_bf16_stage_fits(&o->loss, attends(o) ? o->attention : DCAM_ATTENTION_NONE);
}

static dcam_train_net_options net_options(const dcam_trainer_options *o)
{
    return (dcam_train_net_options){.height = o->height, .width = o->width, .batch = o->batch, .precision = o->precision,
                                    .raw = reads_raw_maps(o)};
}

/* Values of all arrays made by allocate_arrays but the student's own. */
static dcam_status array_values(const dcam_architecture *a, const dcam_trainer_options *o, size_t trainable, size_t *out)
{
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, o->height, o->width);
    const dcam_map_layout l = dcam_map_layout_of(&shapes);
    size_t counts[DCAM_STAGES], maps;
    const size_t attention = attention_counts(o->attention, &shapes, counts);
    const size_t single = 2 * l.total + largest(&l) * (attends(o) ? 2 : 0);
    if (reads_raw_maps(o)) {
        size_t bytes = 0;
        for (int k = 0; k < DCAM_STAGES; k++)
            bytes += dcam_bf16_stage_bytes(attends(o), o->batch, shapes.height[k] * shapes.width[k], shapes.channels[k]);
        maps = bytes / sizeof(float);
    } else if (!dcam_size_mul(single, (size_t)o->batch, &maps)) {
        return dcam_fail(DCAM_ERROR_MEMORY, "a batch of %d images of %dx%d does not fit into any memory", o->batch, o->width, o->height);
    }
    *out = maps + 2 * trainable + 3 * attention;
    return DCAM_OK;
}

dcam_status dcam_learner_plan_bytes(const dcam_architecture *a, const dcam_trainer_options *o, size_t *out_bytes)
{
    const dcam_train_net_options net = net_options(o);
    size_t trainable, all, values, net_bytes;
    dcam_architecture_values(a, &trainable, &all);
    DCAM_TRY(array_values(a, o, trainable, &values));
    DCAM_TRY(dcam_train_net_plan(a, &net, &net_bytes));
    *out_bytes = net_bytes + sizeof(float) * (values + all);
    return DCAM_OK;
}

static dcam_status allocate_arrays(dcam_learner *l)
{
    const size_t batch = (size_t)l->options->batch, trained = l->student->trainable_count + l->attention_total;
    const size_t most = batch * largest(&l->layout);
    DCAM_TRY(dcam_alloc_zero(trained, sizeof(float), &l->velocity));
    DCAM_TRY(dcam_alloc_zero(trained, sizeof(float), &l->gradient));
    DCAM_TRY(dcam_alloc_zero(l->attention_total, sizeof(float), &l->attention_values));
    if (reads_raw_maps(l->options)) return DCAM_OK;
    for (int k = 0; k < DCAM_STAGES; k++) {
        DCAM_TRY(dcam_alloc(batch, l->layout.count[k] * sizeof(float), &l->features[k]));
        DCAM_TRY(dcam_alloc(batch, l->layout.count[k] * sizeof(float), &l->d_features[k]));
    }
    if (attends(l->options)) {
        DCAM_TRY(dcam_alloc(most, sizeof(float), &l->attended));
        DCAM_TRY(dcam_alloc(most, sizeof(float), &l->d_attended));
    }
    return DCAM_OK;
}

static dcam_status allocate_states(dcam_learner *l)
{
    const dcam_trainer_options *o = l->options;
    for (int k = 0; k < DCAM_STAGES; k++) {
        const int h = l->shapes.height[k], w = l->shapes.width[k], c = l->shapes.channels[k];
        if (attends(o)) DCAM_TRY(dcam_attention_state_create(o->attention, o->batch, h, w, c, &l->states[k]));
        if (reads_raw_maps(o)) DCAM_TRY(dcam_bf16_stage_create(&o->loss, l->states[k], o->batch, h * w, c, &l->stages[k]));
        else DCAM_TRY(dcam_loss_scratch_create(&o->loss, o->batch, h * w, c, &l->scratches[k]));
    }
    return DCAM_OK;
}

dcam_status dcam_learner_create(dcam_trunk_weights *student, const dcam_trainer_options *o, dcam_learner **out)
{
    dcam_learner *l;
    dcam_status status = dcam_alloc_zero(1, sizeof *l, &l);
    if (status != DCAM_OK) {
        dcam_trunk_weights_destroy(student);
        return status;
    }
    const dcam_train_net_options net = net_options(o);
    l->student = student;
    l->options = o;
    l->shapes = dcam_feature_shapes_at(student->architecture, o->height, o->width);
    l->layout = dcam_map_layout_of(&l->shapes);
    l->attention_total = attention_counts(o->attention, &l->shapes, l->attention_count);
    status = array_values(student->architecture, o, student->trainable_count, &l->bytes);
    if (status == DCAM_OK) status = allocate_arrays(l);
    if (status == DCAM_OK) status = allocate_states(l);
    if (status == DCAM_OK) status = dcam_train_net_create(student, &net, &l->net);
    if (status != DCAM_OK) {
        dcam_learner_destroy(l);
        return status;
    }
    l->bytes = (l->bytes + student->value_count) * sizeof(float) + dcam_train_net_bytes(l->net);
    dcam_random r = dcam_random_make(o->seed, STREAM_ATTENTION);
    float *values = l->attention_values;
    for (int k = 0; k < DCAM_STAGES; k++) {
        l->attention[k] = values;
        dcam_attention_init(o->attention, l->shapes.channels[k], &r, values);
        values += l->attention_count[k];
    }
    *out = l;
    return DCAM_OK;
}

void dcam_learner_destroy(dcam_learner *l)
{
    if (!l) return;
    dcam_train_net_destroy(l->net);
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_loss_scratch_destroy(l->scratches[k]);
        dcam_bf16_stage_destroy(l->stages[k]);
        dcam_attention_state_destroy(l->states[k]);
        dcam_free(l->d_features[k]);
        dcam_free(l->features[k]);
    }
    dcam_free(l->d_attended);
    dcam_free(l->attended);
    dcam_free(l->attention_values);
    dcam_free(l->gradient);
    dcam_free(l->velocity);
    dcam_trunk_weights_destroy(l->student);
    dcam_free(l);
}

/* The losses of one stage and dL/ds into the network's map of it; the block's gradient is added to d_attention. */
static void raw_stage_losses(dcam_learner *l, int k, const uint16_t *maps, int n, double *loss,
                             double terms[DCAM_LOSS_KINDS], float *d_attention)
{
    const dcam_raw_features raw = dcam_train_net_raw(l->net, k);
    dcam_bf16_stage_run(l->stages[k], l->attention[k], maps + l->layout.offset[k], l->layout.total, raw.map, n, loss, terms,
                        raw.gradient, d_attention);
}

/* Likewise from features[k] into d_features[k] (overwritten). */
static void stage_losses(dcam_learner *l, int k, const uint16_t *maps, int n, double *loss,
                         double terms[DCAM_LOSS_KINDS], float *d_attention)
{
    const dcam_trainer_options *o = l->options;
    const int positions = l->shapes.height[k] * l->shapes.width[k], channels = l->shapes.channels[k];
    const uint16_t *t = maps + l->layout.offset[k];
    const bool raw = !attends(o) || o->reads == DCAM_READS_BOTH, both = attends(o) && o->reads == DCAM_READS_BOTH;
    dcam_loss_options options = o->loss;
    double found[DCAM_LOSS_KINDS] = {0};
    if (both) {
        for (int i = 0; i < DCAM_LOSS_KINDS; i++) options.weight[i] *= 0.5;
    }
    if (raw) {
        dcam_loss_stage(&options, l->scratches[k], t, l->layout.total, l->features[k], n, positions, channels, loss, found,
                        l->d_features[k]);
    }
    if (attends(o)) {
        dcam_attention_forward(l->states[k], l->attention[k], l->features[k], n, l->attended);
        dcam_loss_stage(&options, l->scratches[k], t, l->layout.total, l->attended, n, positions, channels, loss, found,
                        l->d_attended);
        dcam_attention_backward(l->states[k], l->attention[k], l->features[k], n, l->d_attended, raw, l->d_features[k],
                                d_attention);
    }
    for (int i = 0; i < DCAM_LOSS_KINDS; i++) terms[i] += both ? found[i] / 2 : found[i];
}

dcam_status dcam_learner_step(dcam_learner *l, const float *input, const uint16_t *maps, int n, double learning_rate,
                              double *loss, double terms[DCAM_LOSS_KINDS])
{
    assert(n > 0 && n <= l->options->batch);
    const size_t trainable = l->student->trainable_count;
    const dcam_sgd sgd = {learning_rate, l->options->momentum, l->options->weight_decay};
    float *d_attention = l->gradient + trainable;
    double total = 0, found[DCAM_LOSS_KINDS] = {0};
    const bool raw = l->stages[0] != NULL;
    DCAM_TRY(dcam_train_net_forward(l->net, input, n, raw ? NULL : l->features));
    memset(d_attention, 0, l->attention_total * sizeof *d_attention);
    for (int k = 0; k < DCAM_STAGES; k++) {
        (raw ? raw_stage_losses : stage_losses)(l, k, maps, n, &total, found, d_attention);
        d_attention += l->attention_count[k];
    }
    *loss = total;
    memcpy(terms, found, sizeof found);
    if (!isfinite(total)) return DCAM_OK;
    DCAM_TRY(dcam_train_net_backward(l->net, raw ? NULL : (const float *const *)l->d_features, l->gradient));
    dcam_sgd_step(&sgd, l->student->values, l->gradient, l->velocity, trainable);
    dcam_sgd_step(&sgd, l->attention_values, l->gradient + trainable, l->velocity + trainable, l->attention_total);
    return DCAM_OK;
}
