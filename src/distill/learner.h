/* learner.h - what is trained: the student, its attention blocks and the optimiser's state, one step at a time. */
#ifndef DCAM_DISTILL_LEARNER_H
#define DCAM_DISTILL_LEARNER_H

#include <stddef.h>
#include <stdint.h>

#include "distill/loss.h"
#include "distill/sgd.h"
#include "distill/stage_bf16.h"
#include "distill/teacher_maps.h"
#include "distill/trainer.h"

typedef struct {
    dcam_trunk_weights *student;  /* owned; its values change with every step */
    float *attention[DCAM_STAGES]; /* into attention_values */
    size_t attention_count[DCAM_STAGES];
    float *attention_values;      /* all stages, one after the other */
    size_t attention_total;
    float *velocity;              /* student->trainable_count, then attention_total */
    dcam_feature_shapes shapes;
    dcam_map_layout layout;
    size_t bytes;                 /* of the maps and states below */

    /* Inside. */
    const dcam_trainer_options *options; /* borrowed */
    dcam_train_net *net;
    float *gradient;              /* as velocity */
    dcam_attention_state *states[DCAM_STAGES];
    dcam_bf16_stage *stages[DCAM_STAGES]; /* read the network's own bf16 maps; or NULL, and in their place: */
    float *features[DCAM_STAGES], *d_features[DCAM_STAGES]; /* batch x count[k] */
    float *attended, *d_attended; /* likewise; NULL where the losses read s */
    dcam_loss_scratch *scratches[DCAM_STAGES];
} dcam_learner;

/* student: taken, also on failure. attention starts from options->seed. */
DCAM_MUST_CHECK dcam_status dcam_learner_create(dcam_trunk_weights *student, const dcam_trainer_options *options,
                                                dcam_learner **out);
void dcam_learner_destroy(dcam_learner *learner);

/* One step on n images: forward, losses, backward, descent. input: n x 3 x height x width; maps: n records of the
 * teacher. *loss and terms are set to this batch's; where the loss is not finite nothing is learned. */
DCAM_MUST_CHECK dcam_status dcam_learner_step(dcam_learner *learner, const float *input, const uint16_t *maps, int n,
                                              double learning_rate, double *loss, double terms[DCAM_LOSS_KINDS]);

/* Bytes of a learner that is not made yet. */
DCAM_MUST_CHECK dcam_status dcam_learner_plan_bytes(const dcam_architecture *architecture,
                                                    const dcam_trainer_options *options, size_t *out_bytes);

#endif
