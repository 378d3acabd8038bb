/* loss_affinity.c - `affinity`, one image at a time (method.md, Losses): with F the C x N map, each channel at
 * unit length, and A = F' F (N x N),
 *
 *   L = sqrt(sum (A_s - A_t)^2) / N
 *
 * A is never made: the trace of a product of two N x N affinities is that of two C x C Gram matrices,
 *
 *   sum A_s A_t = |F_s F_t'|^2,  so  sum (A_s - A_t)^2 = |G_ss|^2 - 2 |G_st|^2 + |G_tt|^2,  G_xy = F_x F_y',
 *   dL/dF_s = 4 F_s (A_s - A_t) / (2 N sqrt(sum)) = (2 / (N sqrt(sum))) (G_ss F_s - G_st F_t)
 *
 * which costs N C^2 in place of N^2 C and a few C x C matrices in place of several N x N. The difference of
 * squares is taken in double, where it keeps 8 digits down to L of 1e-4 of |A| / N. Through the unit
 * length, r_c = sum over i of dF_ci F_ci = (G_ss G_ss)_cc - (G_st G_st')_cc in closed form, and
 * dL/ds_c = (dF_c - r_c F_c) / |s_c|. Where L is 0 the gradient is 0; a channel of zeros stays 0. */
#include "distill/loss_internal.h"

#include <math.h>

/* Rows of the Gram product taken together: each load and store of a Gram row serves four products. */
#define ROWS 4

static size_t padded_of(size_t channels) { return (channels + DCAM_LANES - 1) / DCAM_LANES * DCAM_LANES; }

/* x: `rows` rows of C floats -> ROWS rows of doubles, zeros beyond. */
DCAM_INLINE void widen_rows(const float *x, size_t rows, size_t channels, size_t padded, double *out)
{
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            dcam_f64x8 v = {0};
            if (r < rows) dcam_load8_widened(&v, x + r * channels + c, dcam_lanes_at(c, channels));
            memcpy(out + r * padded + c, &v, sizeof v);
        }
    }
}

/* gram[c][j] += sum over the rows r of a[r][c] b[r][j]. */
DCAM_INLINE void add_outer(const double *a, const double *b, size_t channels, size_t padded, double *gram)
{
    for (size_t c = 0; c < channels; c++) {
        const double a0 = a[c], a1 = a[padded + c], a2 = a[2 * padded + c], a3 = a[3 * padded + c];
        for (size_t j = 0; j < padded; j += DCAM_LANES) {
            dcam_f64x8 sum, b0, b1, b2, b3;
            memcpy(&sum, gram + c * padded + j, sizeof sum);
            memcpy(&b0, b + j, sizeof b0);
            memcpy(&b1, b + padded + j, sizeof b1);
            memcpy(&b2, b + 2 * padded + j, sizeof b2);
            memcpy(&b3, b + 3 * padded + j, sizeof b3);
            dcam_add_scaled8(&sum, &b0, a0);
            dcam_add_scaled8(&sum, &b1, a1);
            dcam_add_scaled8(&sum, &b2, a2);
            dcam_add_scaled8(&sum, &b3, a3);
            memcpy(gram + c * padded + j, &sum, sizeof sum);
        }
    }
}

/* gram: s s', s t', t t' of the raw maps. */
DCAM_KERNEL static void raw_grams(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels)
{
    const size_t padded = (channels + DCAM_LANES - 1) / DCAM_LANES * DCAM_LANES;
    double *s_rows = slot->rows, *t_rows = slot->rows + ROWS * padded;
    for (int k = 0; k < 3; k++) memset(slot->gram[k], 0, channels * padded * sizeof(double));
    for (size_t i = 0; i < positions; i += ROWS) {
        const size_t rows = positions - i < ROWS ? positions - i : ROWS;
        widen_rows(s + i * channels, rows, channels, padded, s_rows);
        widen_rows(t + i * channels, rows, channels, padded, t_rows);
        add_outer(s_rows, s_rows, channels, padded, slot->gram[0]);
        add_outer(s_rows, t_rows, channels, padded, slot->gram[1]);
        add_outer(t_rows, t_rows, channels, padded, slot->gram[2]);
    }
}

static double inverse_length(double square) { return square > 0 ? 1 / sqrt(square) : 0; }

static double scale_and_square(double *gram, const double *row_scale, const double *column_scale, size_t channels,
                               size_t padded)
{
    double sum = 0;
    for (size_t c = 0; c < channels; c++) {
        for (size_t j = 0; j < channels; j++) {
            const double g = gram[c * padded + j] * row_scale[c] * column_scale[j];
            gram[c * padded + j] = g;
            sum += g * g;
        }
    }
    return sum;
}

/* One position: d_s[c] += sum over j of by_s[c][j] s[j] - by_t[c][j] t[j], both matrices transposed (j rows). */
DCAM_KERNEL static void add_gradient(const double *by_s, const double *by_t, const float *t, const float *s,
                                     size_t positions, size_t channels, double *rows, float *d_s)
{
    const size_t padded = (channels + DCAM_LANES - 1) / DCAM_LANES * DCAM_LANES;
    for (size_t i = 0; i < positions; i += ROWS) {
        const size_t count = positions - i < ROWS ? positions - i : ROWS;
        memset(rows, 0, ROWS * padded * sizeof *rows);
        for (size_t j = 0; j < channels; j++) {
            double x[ROWS] = {0}, y[ROWS] = {0};
            for (size_t r = 0; r < count; r++) {
                x[r] = (double)s[(i + r) * channels + j];
                y[r] = (double)t[(i + r) * channels + j];
            }
            for (size_t c = 0; c < padded; c += DCAM_LANES) {
                dcam_f64x8 ms, mt;
                memcpy(&ms, by_s + j * padded + c, sizeof ms);
                memcpy(&mt, by_t + j * padded + c, sizeof mt);
                for (size_t r = 0; r < ROWS; r++) {
                    dcam_f64x8 sum;
                    memcpy(&sum, rows + r * padded + c, sizeof sum);
                    dcam_add_scaled8(&sum, &ms, x[r]);
                    dcam_add_scaled8(&sum, &mt, -y[r]);
                    memcpy(rows + r * padded + c, &sum, sizeof sum);
                }
            }
        }
        for (size_t r = 0; r < count; r++) {
            for (size_t c = 0; c < channels; c++) {
                const size_t at = (i + r) * channels + c;
                d_s[at] = (float)((double)d_s[at] + rows[r * padded + c]);
            }
        }
    }
}

/* Turns the Gram matrices into the two matrices of add_gradient, in gram[0] and gram[2] (transposed). */
static void gradient_matrices(loss_slot *slot, size_t channels, size_t padded, double factor)
{
    const double *s_scale = slot->sums[0], *t_scale = slot->sums[1];
    double *along = slot->sums[2]; /* r_c */
    double *ss = slot->gram[0], *st = slot->gram[1], *out = slot->gram[2];
    for (size_t c = 0; c < channels; c++) {
        double sum = 0;
        for (size_t j = 0; j < channels; j++) {
            sum += ss[c * padded + j] * ss[c * padded + j] - st[c * padded + j] * st[c * padded + j];
        }
        along[c] = sum;
    }
    for (size_t j = 0; j < channels; j++) {
        for (size_t c = 0; c < channels; c++) {
            out[j * padded + c] = factor * s_scale[c] * st[c * padded + j] * t_scale[j];
        }
    }
    /* G_ss is symmetric, so its transpose can be scaled in place. */
    for (size_t j = 0; j < channels; j++) {
        for (size_t c = 0; c < channels; c++) {
            const double g = ss[j * padded + c] - (c == j ? along[c] : 0);
            ss[j * padded + c] = factor * s_scale[c] * g * s_scale[j];
        }
    }
}

double loss_affinity(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s)
{
    const size_t padded = padded_of(channels);
    double *s_scale = slot->sums[0], *t_scale = slot->sums[1];
    raw_grams(slot, t, s, positions, channels);
    for (size_t c = 0; c < channels; c++) {
        s_scale[c] = inverse_length(slot->gram[0][c * padded + c]);
        t_scale[c] = inverse_length(slot->gram[2][c * padded + c]);
    }
    const double ss = scale_and_square(slot->gram[0], s_scale, s_scale, channels, padded);
    const double st = scale_and_square(slot->gram[1], s_scale, t_scale, channels, padded);
    const double tt = scale_and_square(slot->gram[2], t_scale, t_scale, channels, padded);
    const double square = (ss - st) + (tt - st);
    if (!(square > 0)) return square == square ? 0 : square;
    const double root = sqrt(square);
    if (d_s) {
        gradient_matrices(slot, channels, padded, 2 * scale / ((double)positions * root));
        add_gradient(slot->gram[0], slot->gram[2], t, s, positions, channels, slot->rows, d_s);
    }
    return root / (double)positions;
}
