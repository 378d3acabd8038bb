/* state.h - what a pre-training consists of between two steps, which is what its checkpoint keeps. Internal to
 * src/pretrain. */
#ifndef DCAM_PRETRAIN_STATE_H
#define DCAM_PRETRAIN_STATE_H

#include "pretrain/pretrainer.h"

typedef struct {
    dcam_trunk_weights *trunk;
    float *head;            /* head_count */
    float *velocity;        /* trunk->trainable_count, then head_count */
    size_t head_count;
    int step;               /* steps done */
    double loss, accuracy;  /* running means */
    double seconds;         /* of all steps */
} pretrain_state;

/* An option as checkpoint and record name it. */
#define PRETRAIN_OPTIONS 12
typedef struct {
    const char *name;
    char value[40];
    bool plan;              /* may differ on the plateau: steps, falling */
} pretrain_option;
void pretrain_options_describe(const dcam_pretrainer_options *options, pretrain_option out[PRETRAIN_OPTIONS]);

DCAM_MUST_CHECK dcam_status pretrain_checkpoint_save(const char *path, const dcam_pretrainer_options *options,
                                                     const pretrain_state *state);
/* Fills the state; it is untouched on failure. */
DCAM_MUST_CHECK dcam_status pretrain_checkpoint_load(const char *path, const dcam_pretrainer_options *options,
                                                     pretrain_state *state);

#endif
