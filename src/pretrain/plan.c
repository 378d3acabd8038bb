/* plan.c - what a pre-training will hold and write, before it does: the networks' own plans, and what pretrainer.c allocates. */
#include "base/memory.h"
#include "pretrain/head.h"
#include "pretrain/state.h"
#include "pretrain/stock.h"

/* Names, shapes and sums of a file's tensors, options, the record. */
#define HEADER ((size_t)64 << 10)

/* Weights, classifiers and velocity: what a checkpoint is made of. */
static size_t state_bytes(const dcam_pretrainer_options *o)
{
    const dcam_architecture *a = dcam_architecture_find(NULL);
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, o->side, o->side);
    const size_t head = pretrain_head_count(&shapes, o->classes);
    size_t values, trained;
    dcam_architecture_values(a, &trained, &values);
    return sizeof(float) * (values + head + trained + head);
}

void dcam_pretrainer_file_bytes(const dcam_pretrainer_options *o, size_t *teacher, size_t *checkpoint)
{
    size_t values, trained;
    dcam_architecture_values(dcam_architecture_find(NULL), &trained, &values);
    *teacher = values * sizeof(uint16_t) + HEADER;
    *checkpoint = state_bytes(o) + HEADER;
}

dcam_status dcam_pretrainer_plan_bytes(const dcam_pretrainer_options *o, size_t *out_bytes)
{
    const dcam_architecture *a = dcam_architecture_find(NULL);
    const dcam_train_net_options options = {.height = o->side, .width = o->side, .batch = o->batch, .precision = o->precision};
    const pretrain_stock_options pictures = {.classes = o->classes, .side = o->side, .batch = o->batch};
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, o->side, o->side);
    const size_t batch = (size_t)o->batch, head = pretrain_head_count(&shapes, o->classes);
    size_t net, values, trained, maps = 3 * (size_t)o->side * (size_t)o->side;
    DCAM_TRY(dcam_train_net_plan(a, &options, &net));
    dcam_architecture_values(a, &trained, &values);
    for (int k = 0; k < DCAM_STAGES; k++)
        maps += 2 * (size_t)shapes.channels[k] * (size_t)shapes.height[k] * (size_t)shapes.width[k];
    const size_t held = net + state_bytes(o) + sizeof(float) * (trained + head + batch * maps) +
                        pretrain_head_bytes(&shapes, o->classes, o->batch);
    /* A checkpoint is there twice while it is read: the file, and what was found in it. Nothing is drawn yet. Counted where
     * one is kept, so that a run which may start may also go on. */
    const size_t reading = o->checkpoint ? 2 * state_bytes(o) : 0, stock = pretrain_stock_bytes(&pictures);
    *out_bytes = held + (stock > reading ? stock : reading);
    return DCAM_OK;
}

/* The largest batch below o->batch that the limit has room for; 0: none. */
static dcam_status find_batch(const dcam_pretrainer_options *o, int *out)
{
    dcam_pretrainer_options smaller = *o;
    int fits = DCAM_MIN_PRETRAIN_BATCH, above = o->batch;
    size_t bytes;
    smaller.batch = fits;
    DCAM_TRY(dcam_pretrainer_plan_bytes(&smaller, &bytes));
    if (bytes > o->max_bytes) fits = 0;
    while (fits > 0 && above - fits > 1) {
        smaller.batch = (fits + above) / 2;
        DCAM_TRY(dcam_pretrainer_plan_bytes(&smaller, &bytes));
        if (bytes > o->max_bytes) above = smaller.batch;
        else fits = smaller.batch;
    }
    *out = fits;
    return DCAM_OK;
}

dcam_status dcam_pretrainer_check_memory(const dcam_pretrainer_options *o, size_t *out_bytes)
{
    const double mib = 1024.0 * 1024.0;
    size_t bytes;
    int batch;
    DCAM_TRY(dcam_pretrainer_plan_bytes(o, &bytes));
    *out_bytes = bytes;
    if (o->max_bytes == 0 || bytes <= o->max_bytes) return DCAM_OK;
    DCAM_TRY(find_batch(o, &batch));
    if (batch == 0)
        return dcam_fail(DCAM_ERROR_MEMORY, "this pre-training would hold %.0f MiB, the limit is %.0f MiB, and no batch would fit; take "
                         "smaller pictures (--size) or fewer classes (--classes)", (double)bytes / mib, (double)o->max_bytes / mib);
    return dcam_fail(DCAM_ERROR_MEMORY, "this pre-training would hold %.0f MiB, the limit is %.0f MiB; a batch of %d would fit (--batch), "
                     "or smaller pictures (--size)", (double)bytes / mib, (double)o->max_bytes / mib, batch);
}
