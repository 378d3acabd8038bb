/* loss.h - the distillation losses of method.md on one stage, each with its analytic gradient. Maps are f32,
 * B x N x C (channels last). Sums are taken in double. */
#ifndef DCAM_DISTILL_LOSS_H
#define DCAM_DISTILL_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define DCAM_COSINE_EPSILON 1e-6

typedef enum { DCAM_LOSS_CD, DCAM_LOSS_CDS, DCAM_LOSS_KD, DCAM_LOSS_AFFINITY, DCAM_LOSS_L2, DCAM_LOSS_KINDS } dcam_loss_kind;
typedef enum { DCAM_KD_MEAN, DCAM_KD_SUM } dcam_kd_scale;

typedef struct {
    double weight[DCAM_LOSS_KINDS]; /* 0: not used */
    double kd_temperature;          /* > 0 */
    dcam_kd_scale kd_scale;
} dcam_loss_options;

/* "cd=1,kd=0.5" -> weights; an unknown name is refused with the list of those there are. */
DCAM_MUST_CHECK dcam_status dcam_loss_parse(const char *text, double weight[DCAM_LOSS_KINDS]);
const char *dcam_loss_name(dcam_loss_kind kind);

/* Scratch that all losses of one stage share (sizes for the largest batch). */
typedef struct dcam_loss_scratch dcam_loss_scratch;
DCAM_MUST_CHECK dcam_status dcam_loss_scratch_create(const dcam_loss_options *options, int batch, int positions, int channels,
                                                     dcam_loss_scratch **out);
void dcam_loss_scratch_destroy(dcam_loss_scratch *scratch);

/* One stage: adds the weighted losses to *total and each unweighted one to terms[kind] (NULL allowed), and sets d_s (NULL:
 * no gradient) to the sum of weight * dL/ds. t, s, d_s: b x positions x channels. t: bf16; an image's map begins t_step
 * values behind the one before. */
void dcam_loss_stage(const dcam_loss_options *options, dcam_loss_scratch *scratch, const uint16_t *t, size_t t_step,
                     const float *s, int b, int positions, int channels, double *total, double terms[DCAM_LOSS_KINDS],
                     float *d_s);
/* The same with t in f32, b x positions x channels. */
void dcam_loss_stage_f32(const dcam_loss_options *options, dcam_loss_scratch *scratch, const float *t, const float *s, int b,
                         int positions, int channels, double *total, double terms[DCAM_LOSS_KINDS], float *d_s);

#endif
