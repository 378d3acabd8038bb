/* loss_internal.h - what the files of the losses share: one image's piece of each loss. Every function works on
 * one image (t, s, d_s: N x C, channels last), returns the image's share of the unweighted loss summed over its
 * own positions or channels (the caller divides), and adds `scale` times that sum's gradient to d_s where d_s is
 * not NULL. */
#ifndef DCAM_DISTILL_LOSS_INTERNAL_H
#define DCAM_DISTILL_LOSS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/vector.h"
#include "distill/loss.h"

/* Positions handled together, so that a tile's rows are still in the cache when the next channels are read. */
#define LOSS_TILE 32

/* Under this length a vector counts as zero for l2 (torch.nn.functional.normalize's epsilon). */
#define LOSS_SHORTEST 1e-12

/* Sums over positions, one number a channel (padded to whole vectors); and the Gram matrices of `affinity`. */
typedef struct {
    double *sums[3];          /* C each */
    float *top[2];            /* C each: maxima of t and s (kd) */
    double *gram[3];          /* C x padded each: s s', s t', t t' (affinity only) */
    float *tile, *whole;      /* a tile of t; all of it (only if cds or affinity ask for it) */
    double *rows;             /* scratch of the Gram products: 2 x 4 x padded */
} loss_slot;

/* What the sums over a batch of b images are divided by. */
void loss_divisors(const dcam_loss_options *options, int b, int positions, int channels, double divisor[DCAM_LOSS_KINDS]);
/* Adds to *total and terms (or NULL) as dcam_loss_stage does, from the shares of b images. */
void loss_add_up(const dcam_loss_options *options, const double *shares, int b, const double divisor[DCAM_LOSS_KINDS],
                 double *total, double terms[DCAM_LOSS_KINDS]);

/* Adds sum over i of 1 - cosine over channels to *cd, and of 0.5 |t^ - s^|^2 to *l2, in one pass. */
void loss_positions(const float *t, const float *s, size_t positions, size_t channels, double cd_scale, double l2_scale,
                    double *cd, double *l2, float *d_s);
/* sum over c of 1 - cosine over positions. */
double loss_channels(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s);
/* Sum over c of KL(P to Q), tile by tile: the tiles' sums are added up (first: from nothing), end returns the share and
 * makes of the sums what gradient, once more tile by tile, needs. count: positions of a tile, at most LOSS_TILE. */
void loss_entropy_add(loss_slot *slot, const float *t, const float *s, size_t count, size_t channels, double temperature,
                      bool first);
double loss_entropy_end(loss_slot *slot, size_t channels, double temperature, double scale);
void loss_entropy_gradient(const loss_slot *slot, const float *t, const float *s, size_t count, size_t channels,
                           double temperature, float *d_s);
/* sqrt(sum (A_s - A_t)^2) / N. */
double loss_affinity(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s);

#endif
