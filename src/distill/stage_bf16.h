/* stage_bf16.h - the losses of one stage on bf16 maps, with the attention's channel block around them where there is one:
 * what attention.h and loss.h do of f32 maps, each map after the other, done image by image in three or four walks over maps
 * that stay in a core's cache. For the losses cd, l2 and kd; the gradient is rounded to bf16 once, at its end. Sums over
 * channels are f32, over positions double. */
#ifndef DCAM_DISTILL_STAGE_BF16_H
#define DCAM_DISTILL_STAGE_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "distill/loss.h"
#include "net/attention.h"

/* Whether it serves these losses, of maps that have gone through such a block. Maps are those of dcam_train_net_raw. */
bool dcam_bf16_stage_fits(const dcam_loss_options *losses, dcam_attention_kind attention);

typedef struct dcam_bf16_stage dcam_bf16_stage;
/* losses: borrowed. attention: borrowed state of a channel block, or NULL: the losses read the map itself. channels: a
 * multiple of 32. */
DCAM_MUST_CHECK dcam_status dcam_bf16_stage_create(const dcam_loss_options *losses, dcam_attention_state *attention, int batch,
                                                   int positions, int channels, dcam_bf16_stage **out);
/* NULL-safe. */
void dcam_bf16_stage_destroy(dcam_bf16_stage *stage);
/* Bytes of such a stage for the present number of threads. */
size_t dcam_bf16_stage_bytes(bool attention, int batch, int positions, int channels);

/* Adds the weighted losses to *total and each unweighted one to terms[kind], sets d_s to the gradient, and adds that of the
 * block's values to d_values. t: the teacher's map; an image's begins t_step values behind the one before. s, d_s: n x
 * positions x channels. */
void dcam_bf16_stage_run(dcam_bf16_stage *stage, const float *values, const uint16_t *t, size_t t_step, const uint16_t *s,
                         int n, double *total, double terms[DCAM_LOSS_KINDS], uint16_t *d_s, float *d_values);

#endif
