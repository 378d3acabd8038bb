/* loss_internal.h - what the files of the losses share: one image's piece of each loss. Every function works on
 * one image (t, s, d_s: N x C, channels last), returns the image's share of the unweighted loss summed over its
 * own positions or channels (the caller divides), and adds `scale` times that sum's gradient to d_s where d_s is
 * not NULL. */
#ifndef DCAM_DISTILL_LOSS_INTERNAL_H
#define DCAM_DISTILL_LOSS_INTERNAL_H

#include <stddef.h>

#include "base/vector.h"
#include "distill/loss.h"

/* Positions handled together, so that a tile's rows are still in the cache when the next channels are read. */
#define LOSS_TILE 32

/* Sums over positions, one number a channel (padded to whole vectors); and the Gram matrices of `affinity`. */
typedef struct {
    double *sums[3];          /* C each */
    float *top[2];            /* C each: maxima of t and s (kd) */
    double *gram[3];          /* C x padded each: s s', s t', t t' (affinity only) */
    double *rows;             /* scratch of the Gram products: 2 x 4 x padded */
} loss_slot;

/* sum over i of 1 - cosine over channels (cd), and of 0.5 |t^ - s^|^2 (l2), in one pass. */
void loss_positions(const float *t, const float *s, size_t positions, size_t channels, double cd_scale, double l2_scale,
                    double *cd, double *l2, float *d_s);
/* sum over c of 1 - cosine over positions. */
double loss_channels(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s);
/* sum over c of KL(P to Q). */
double loss_entropy(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels,
                    double temperature, double scale, float *d_s);
/* sqrt(sum (A_s - A_t)^2) / N. */
double loss_affinity(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s);

#endif
