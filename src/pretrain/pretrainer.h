/* pretrainer.h - trains a trunk to tell classes of drawn pictures apart, so that it can be a teacher. */
#ifndef DCAM_PRETRAIN_PRETRAINER_H
#define DCAM_PRETRAIN_PRETRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/resnet.h"

/* Of the whole run, by default. */
#define DCAM_PRETRAIN_STEPS 20000
#define DCAM_MAX_PRETRAIN_STEPS 10000000
#define DCAM_MAX_PRETRAIN_BATCH 1024
/* Batch norm needs more than one value a channel. */
#define DCAM_MIN_PRETRAIN_BATCH 2

typedef struct {
    int step, steps;
    double loss, accuracy; /* over about the last 100 steps; every picture is new to the network when it is counted */
    double images_per_second, seconds_left;
} dcam_pretrainer_progress;

/* The learning rate: a linear start, a plateau, and down to 0 along a cosine over the last part. What happens on the
 * plateau does not depend on `steps`, so that a run can be made longer or shorter while it is there. */
typedef struct {
    int classes, side, batch, steps;
    int warmup;                 /* steps */
    double falling;             /* the last part of the steps, 0..1 */
    double learning_rate, momentum, weight_decay, smoothing;
    uint64_t seed;
    dcam_net_precision precision;
    size_t max_bytes;           /* refuses to start a run that would hold more; 0: no limit */
    const char *checkpoint;     /* or NULL */
    int checkpoint_steps;       /* between two of them */
    bool resume;
    bool (*progress)(void *user, const dcam_pretrainer_progress *progress); /* true: stop; may be NULL */
    void *user;
} dcam_pretrainer_options;

dcam_pretrainer_options dcam_pretrainer_defaults(void);
DCAM_MUST_CHECK dcam_status dcam_pretrainer_check(const dcam_pretrainer_options *options);
/* The first step at which the learning rate falls. */
int dcam_pretrainer_plateau_end(const dcam_pretrainer_options *options);

/* Bytes of one run: everything held from its first step to its last. */
DCAM_MUST_CHECK dcam_status dcam_pretrainer_plan_bytes(const dcam_pretrainer_options *options, size_t *out_bytes);
/* The same, and refused with DCAM_ERROR_MEMORY where it is more than options->max_bytes; the error names the batch that would
 * fit. */
DCAM_MUST_CHECK dcam_status dcam_pretrainer_check_memory(const dcam_pretrainer_options *options, size_t *out_bytes);
/* Bytes of the files: the teacher as dcam_teacher_save_compact writes it, and a checkpoint. Upper bounds, text included. */
void dcam_pretrainer_file_bytes(const dcam_pretrainer_options *options, size_t *teacher, size_t *checkpoint);

/* *out: the trunk, batch norm not folded. *record: JSON text (dcam_free). */
DCAM_MUST_CHECK dcam_status dcam_pretrainer_run(const dcam_pretrainer_options *options, dcam_trunk_weights **out, char **record);

#endif
