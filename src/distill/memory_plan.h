/* memory_plan.h - internal to src/distill: how a run shares its memory out. */
#ifndef DCAM_DISTILL_MEMORY_PLAN_H
#define DCAM_DISTILL_MEMORY_PLAN_H

#include "distill/learner.h"

/* Images of one step: a batch is never larger than what there is to learn from. */
int train_batch_of(const dcam_trainer_options *options, size_t train_count);

/* The cap of options->cache_bytes, shared out. Resized images come first: a byte of theirs saves more time than a
 * byte of the teacher's maps. samples: of the whole data set, which is what records are keyed by. */
typedef struct {
    size_t image_record, map_record; /* bytes of a record */
    size_t images, maps;             /* caps, at most what all images fill */
} train_caches;
train_caches train_caches_of(const dcam_architecture *architecture, const dcam_trainer_options *options, size_t images,
                             size_t samples);

#endif
