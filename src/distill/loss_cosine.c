/* loss_cosine.c - the losses made of angles, one image at a time (method.md, Losses):
 *
 *   cd, l2  over the C channels of each position: d = <t, s>, e = |t||s| + 1e-6,
 *           cd = 1 - d / e,   l2 = 0.5 |t/|t| - s/|s||^2
 *   cds     over the N positions of each channel: 1 - d / e
 *
 * Gradient of 1 - d / e: -t / e + s d |t| / (|s| e^2). A student vector of zeros has no direction: the part along
 * s is left out there (the subgradient of |s| that PyTorch takes), and the gradient of l2, where -t^ would have to be divided by
 * |s|, is 0. */
#include "distill/loss_internal.h"

#include <math.h>

/* d, |t|^2, |s|^2 of one row. */
DCAM_INLINE void products(const float *t, const float *s, size_t channels, double *dot, double *tt, double *ss)
{
    dcam_f64x8 d = {0}, a = {0}, b = {0};
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f64x8 x, y;
        dcam_load8_widened(&x, t + c, lanes);
        dcam_load8_widened(&y, s + c, lanes);
        dcam_add_product8(&d, &x, &y);
        dcam_add_product8(&a, &x, &x);
        dcam_add_product8(&b, &y, &y);
    }
    *dot = dcam_sum8(&d);
    *tt = dcam_sum8(&a);
    *ss = dcam_sum8(&b);
}

/* 1 - cosine, and its gradient as by_t * t + by_s * s. */
DCAM_INLINE double cosine_distance(double dot, double t_length, double s_length, double *by_t, double *by_s)
{
    const double e = t_length * s_length + DCAM_COSINE_EPSILON;
    *by_t = -1 / e;
    *by_s = s_length > 0 ? dot * t_length / (s_length * e * e) : 0;
    return 1 - dot / e;
}

/* 0.5 |t^ - s^|^2 likewise. */
DCAM_INLINE double unit_distance(double dot, double t_length, double s_length, double *by_t, double *by_s)
{
    const double ts = t_length * s_length;
    *by_t = *by_s = 0;
    if (t_length < LOSS_SHORTEST && s_length < LOSS_SHORTEST) return 0;
    if (t_length < LOSS_SHORTEST || s_length < LOSS_SHORTEST) return 0.5;
    *by_t = -1 / ts;
    *by_s = dot / (ts * s_length * s_length);
    return 1 - dot / ts;
}

DCAM_KERNEL void loss_positions(const float *t, const float *s, size_t positions, size_t channels, double cd_scale,
                                double l2_scale, double *cd, double *l2, float *d_s)
{
    double cd_sum = 0, l2_sum = 0;
    for (size_t i = 0; i < positions; i++) {
        const float *t_row = t + i * channels, *s_row = s + i * channels;
        double dot, tt, ss, cd_t, cd_s, l2_t, l2_s;
        products(t_row, s_row, channels, &dot, &tt, &ss);
        const double t_length = sqrt(tt), s_length = sqrt(ss);
        cd_sum += cosine_distance(dot, t_length, s_length, &cd_t, &cd_s);
        l2_sum += unit_distance(dot, t_length, s_length, &l2_t, &l2_s);
        if (!d_s) continue;
        const double by_t = cd_scale * cd_t + l2_scale * l2_t, by_s = cd_scale * cd_s + l2_scale * l2_s;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 x, y;
            dcam_f32x8 d, more;
            dcam_load8_widened(&x, t_row + c, lanes);
            dcam_load8_widened(&y, s_row + c, lanes);
            dcam_load8(&d, d_s + i * channels + c, lanes);
            x.low = x.low * by_t + y.low * by_s; /* in double: the two nearly cancel once the student is close */
            x.high = x.high * by_t + y.high * by_s;
            dcam_narrow8(&more, &x);
            d += more;
            dcam_store8(d_s + i * channels + c, &d, lanes);
        }
    }
    *cd += cd_sum;
    *l2 += l2_sum;
}

/* sums: <t, s>, |t|^2, |s|^2 of each channel over the positions. */
DCAM_KERNEL static void channel_sums(const float *t, const float *s, size_t positions, size_t channels,
                                     double *const sums[3])
{
    for (size_t begin = 0; begin < positions; begin += LOSS_TILE) {
        const size_t end = begin + LOSS_TILE < positions ? begin + LOSS_TILE : positions;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 d = {0}, a = {0}, b = {0};
            if (begin > 0) {
                memcpy(&d, sums[0] + c, sizeof d);
                memcpy(&a, sums[1] + c, sizeof a);
                memcpy(&b, sums[2] + c, sizeof b);
            }
            for (size_t i = begin; i < end; i++) {
                dcam_f64x8 x, y;
                dcam_load8_widened(&x, t + i * channels + c, lanes);
                dcam_load8_widened(&y, s + i * channels + c, lanes);
                dcam_add_product8(&d, &x, &y);
                dcam_add_product8(&a, &x, &x);
                dcam_add_product8(&b, &y, &y);
            }
            memcpy(sums[0] + c, &d, sizeof d);
            memcpy(sums[1] + c, &a, sizeof a);
            memcpy(sums[2] + c, &b, sizeof b);
        }
    }
}

/* d_s += t * by_t[c] + s * by_s[c]. */
DCAM_KERNEL static void add_by_channel(const float *t, const float *s, const double *by_t, const double *by_s,
                                       size_t positions, size_t channels, float *d_s)
{
    for (size_t i = 0; i < positions; i++) {
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 x, y, k, l;
            dcam_f32x8 d, more;
            dcam_load8_widened(&x, t + i * channels + c, lanes);
            dcam_load8_widened(&y, s + i * channels + c, lanes);
            dcam_load8(&d, d_s + i * channels + c, lanes);
            memcpy(&k, by_t + c, sizeof k);
            memcpy(&l, by_s + c, sizeof l);
            x.low = x.low * k.low + y.low * l.low;
            x.high = x.high * k.high + y.high * l.high;
            dcam_narrow8(&more, &x);
            d += more;
            dcam_store8(d_s + i * channels + c, &d, lanes);
        }
    }
}

double loss_channels(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels, double scale,
                     float *d_s)
{
    double sum = 0;
    channel_sums(t, s, positions, channels, slot->sums);
    for (size_t c = 0; c < channels; c++) {
        double by_t, by_s;
        sum += cosine_distance(slot->sums[0][c], sqrt(slot->sums[1][c]), sqrt(slot->sums[2][c]), &by_t, &by_s);
        slot->sums[0][c] = scale * by_t;
        slot->sums[1][c] = scale * by_s;
    }
    if (d_s) add_by_channel(t, s, slot->sums[0], slot->sums[1], positions, channels, d_s);
    return sum;
}
