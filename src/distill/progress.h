/* progress.h - internal to src/distill: where a run stands, which is what a checkpoint keeps and the training
 * record tells, and the options as text. */
#ifndef DCAM_DISTILL_PROGRESS_H
#define DCAM_DISTILL_PROGRESS_H

#include "distill/data_identity.h"
#include "distill/learner.h"

/* One finished epoch. Doubles only: it is kept in a checkpoint as an array of them. */
typedef struct {
    double loss, terms[DCAM_LOSS_KINDS]; /* means over the images of the epoch */
    double validation;
    double seconds;
} train_epoch;
#define TRAIN_EPOCH_VALUES (sizeof(train_epoch) / sizeof(double))

typedef struct {
    int epoch;                 /* whole epochs done */
    int step;                  /* steps done of the next one */
    double images;             /* in those steps */
    double loss, terms[DCAM_LOSS_KINDS]; /* sums over those images */
    double seconds;            /* in those steps */
    train_epoch *history;      /* options->epochs; the first `epoch` are filled */
    dcam_trunk_weights *best;  /* values of the best epoch; not meaningful while best_epoch is 0 */
    float *best_attention;     /* learner->attention_total */
    int best_epoch;            /* 1-based; 0: none yet */
} train_progress;

/* An option as the checkpoint and the record name it. */
#define TRAIN_OPTIONS 21
typedef struct {
    const char *name;
    char value[120];
    bool is_text; /* else a JSON number, true or false */
} train_option;
/* All options that the result depends on, in a fixed order. */
void train_options_describe(const dcam_trainer_options *options, train_option out[TRAIN_OPTIONS]);

/* What a run is of, beside its options. */
typedef struct {
    const char *architecture, *teacher, *data; /* data: dcam_data_identity.all */
} train_identity;

DCAM_MUST_CHECK dcam_status train_checkpoint_save(const char *path, const dcam_trainer_options *options,
                                                  const train_identity *identity, const dcam_learner *learner,
                                                  const train_progress *progress);
/* Fills learner and progress from the file; both are untouched on failure. Every difference in options, data or
 * teacher is an error that names it. */
DCAM_MUST_CHECK dcam_status train_checkpoint_load(const char *path, const dcam_trainer_options *options,
                                                  const train_identity *identity, dcam_learner *learner,
                                                  train_progress *progress);

typedef struct {
    const dcam_dataset *dataset;
    const train_identity *identity;
    const dcam_data_identity *data;
    const uint32_t *train, *validation; /* indices of samples */
    size_t train_count, validation_count;
    int threads;
    size_t planned_bytes;
} train_facts;
/* JSON text (dcam_free). */
DCAM_MUST_CHECK dcam_status train_record_write(const dcam_trainer_options *options, const train_facts *facts,
                                               const train_progress *progress, char **out);

#endif
