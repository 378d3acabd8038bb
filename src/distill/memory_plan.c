/* memory_plan.c - what a run will hold and write, before it does. The networks are asked: the one for training has a plan of
 * its own, the one for scoring is made of zeros for a moment and measured. */
#include "distill/memory_plan.h"

#include <math.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "distill/progress.h"
#include "distill/validation.h"

/* As loader.c: decoding threads, and batches held. */
#define DECODERS 4
#define RING 3
/* Names, shapes and sums of a file's tensors, options; the numbers of an epoch in the record. */
#define HEADER ((size_t)64 << 10)
#define EPOCH_TEXT 256
/* Photographs that are such a part of all are named where all is too much. */
#define NOTABLE_PART 8

int train_batch_of(const dcam_trainer_options *o, size_t train_count)
{
    return train_count > 0 && train_count < (size_t)o->batch ? (int)train_count : o->batch;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

train_caches train_caches_of(const dcam_architecture *a, const dcam_trainer_options *o, size_t images, size_t samples)
{
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, o->height, o->width);
    train_caches c = {.image_record = (size_t)3 * (size_t)o->height * (size_t)o->width,
                      .map_record = dcam_map_layout_of(&shapes).total * sizeof(uint16_t)};
    c.images = smaller(o->cache_bytes, dcam_cache_full_bytes(c.image_record, samples, images));
    c.maps = smaller(o->cache_bytes - c.images, dcam_cache_full_bytes(c.map_record, samples, images));
    return c;
}

static dcam_status scoring_net_bytes(const dcam_architecture *a, const dcam_trainer_options *o, size_t *out)
{
    const dcam_net_options options = {.height = o->height, .width = o->width, .batch = 1};
    dcam_trunk_weights *zeros;
    dcam_net *net = NULL;
    DCAM_TRY(dcam_trunk_weights_create(a, true, &zeros));
    const dcam_status status = dcam_net_create(zeros, &options, &net);
    if (status == DCAM_OK) *out = dcam_net_bytes(net);
    dcam_net_destroy(net);
    dcam_trunk_weights_destroy(zeros);
    return status;
}

static size_t attention_values(const dcam_architecture *a, const dcam_trainer_options *o)
{
    size_t total = 0;
    for (int k = 0; k < DCAM_STAGES; k++) total += dcam_attention_value_count(o->attention, a->stage_channels[k]);
    return total;
}

/* As many photographs are decoded at once. */
static size_t decoders(void)
{
    const int cores = dcam_available_cores();
    return (size_t)(cores < DECODERS ? cores : DECODERS);
}

/* Photographs that are decoded and resized, batches ahead, and the batch that is learned from. */
static size_t loading_bytes(const dcam_trainer_options *o, const train_caches *c, size_t batch, size_t train, size_t photograph)
{
    const size_t batches = (train + batch - 1) / batch, pixels = (size_t)o->height * (size_t)o->width;
    return decoders() * (photograph + c->image_record) + smaller(RING, batches) * batch * c->image_record +
           batch * (3 * pixels * sizeof(float) + c->map_record);
}

void dcam_trainer_file_bytes(const dcam_architecture *a, const dcam_trainer_options *o, size_t *student, size_t *checkpoint)
{
    size_t values, trained;
    dcam_architecture_values(a, &trained, &values);
    const size_t attention = attention_values(a, o), text = HEADER + (size_t)o->epochs * EPOCH_TEXT;
    *student = sizeof(float) * (values + attention) + text;
    *checkpoint = sizeof(float) * (2 * values + trained + 3 * attention) + text;
}

dcam_status dcam_trainer_plan_bytes(const dcam_architecture *a, const dcam_trainer_options *o, size_t images,
                                    size_t photograph, size_t *out_bytes)
{
    size_t learner, net, values, trained;
    if (images < 2) return dcam_fail(DCAM_ERROR_DATA, "a training of %zu images; at least 2 are needed", images);
    const size_t train = images - 1 - (size_t)((double)(images - 2) * o->validation_fraction);
    const train_caches caches = train_caches_of(a, o, images, images);
    dcam_trainer_options clipped = *o;
    clipped.batch = train_batch_of(o, train);
    DCAM_TRY(dcam_learner_plan_bytes(a, &clipped, &learner));
    DCAM_TRY(scoring_net_bytes(a, o, &net));
    dcam_architecture_values(a, &trained, &values);
    const size_t attention = attention_values(a, o);
    const size_t best = sizeof(float) * (values + attention);
    /* The teacher's network and, at an epoch's end, the student's; the teacher's maps of one image. */
    const size_t scoring = 2 * net + caches.map_record / sizeof(uint16_t) * sizeof(float) + dcam_validation_plan_bytes(a, o);
    const size_t history = (size_t)o->epochs * sizeof(train_epoch);
    const size_t held = learner + best + scoring + history + loading_bytes(o, &caches, (size_t)clipped.batch, train, photograph);
    const size_t cache = caches.images + caches.maps;
    /* A checkpoint is there twice while it is read: the file, and what was found in it. Nothing is cached yet. Counted where
     * one is kept, so that a run which may start may also go on. */
    const size_t reading = o->checkpoint ? 2 * sizeof(float) * (2 * values + trained + 3 * attention) : 0;
    if (!dcam_size_add(held, cache > reading ? cache : reading, out_bytes)) {
        return dcam_fail(DCAM_ERROR_MEMORY, "a cache of %zu bytes does not fit into any memory", o->cache_bytes);
    }
    return DCAM_OK;
}

dcam_status dcam_trainer_check_memory(const dcam_architecture *a, const dcam_trainer_options *o, size_t images,
                                      const dcam_photograph *largest, size_t *out_bytes)
{
    const double mib = 1024.0 * 1024.0;
    size_t bytes;
    DCAM_TRY(dcam_trainer_plan_bytes(a, o, images, largest->bytes, &bytes));
    *out_bytes = bytes;
    if (o->max_bytes == 0 || bytes <= o->max_bytes) return DCAM_OK;
    const double held = (double)bytes / mib, limit = (double)o->max_bytes / mib;
    const size_t photographs = decoders() * largest->bytes;
    if (largest->path && photographs > bytes / NOTABLE_PART)
        return dcam_fail(DCAM_ERROR_MEMORY, "this training would hold %.0f MiB, the limit is %.0f MiB; take a smaller batch "
                         "(--batch), smaller images (--size), a smaller cache (--cache-memory) or smaller photographs: %.0f MiB "
                         "are for %zu at once like %s (%d x %d)", held, limit, (double)photographs / mib, decoders(), largest->path,
                         largest->width, largest->height);
    return dcam_fail(DCAM_ERROR_MEMORY, "this training would hold %.0f MiB, the limit is %.0f MiB; take a smaller batch "
                     "(--batch), smaller images (--size) or a smaller cache (--cache-memory)", held, limit);
}
