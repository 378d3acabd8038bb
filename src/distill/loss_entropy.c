/* loss_entropy.c - `kd`, the relative entropy over positions, one image at a time (method.md, Losses): per
 * channel P = softmax(t / T), Q = softmax(s / T),
 *
 *   KL = sum P (log P - log Q) = sum P (t - s) / T - lse(t / T) + lse(s / T),   dKL/ds = (Q - P) / T
 *
 * with lse(x) = max x + log sum exp(x - max x): by log-softmax, never by the logarithm of a softmax. The
 * exponentials are f32 (relative error under 2^-22), their sums double. They are made twice, for the sums and
 * for the gradient: that is cheaper than keeping two maps. */
#include "distill/loss_internal.h"

#include <math.h>

/* Largest value of each channel. */
DCAM_KERNEL static void channel_maxima(const float *x, size_t positions, size_t channels, float *top)
{
    for (size_t i = 0; i < positions; i++) {
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f32x8 v, m;
            dcam_load8(&v, x + i * channels + c, lanes);
            if (i == 0) {
                m = v;
            } else {
                memcpy(&m, top + c, sizeof m);
                const dcam_i32x8 greater = v > m;
                dcam_choose8(&m, &greater, &v, &m);
            }
            memcpy(top + c, &m, sizeof m);
        }
    }
}

/* exp((x - top) / T) of eight channels. */
DCAM_INLINE void powers(dcam_f32x8 *x, const dcam_f32x8 *top, float inverse_temperature)
{
    *x = (*x - *top) * inverse_temperature;
    dcam_exp8(x);
}

/* sums: sum exp(t'), sum exp(s'), sum exp(t') (t - s) of each channel. */
DCAM_KERNEL static void entropy_sums(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels,
                                     float inverse_temperature)
{
    for (size_t begin = 0; begin < positions; begin += LOSS_TILE) {
        const size_t end = begin + LOSS_TILE < positions ? begin + LOSS_TILE : positions;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 of_t = {0}, of_s = {0}, cross = {0}, p, q, difference;
            dcam_f32x8 t_top, s_top;
            memcpy(&t_top, slot->top[0] + c, sizeof t_top);
            memcpy(&s_top, slot->top[1] + c, sizeof s_top);
            if (begin > 0) {
                memcpy(&of_t, slot->sums[0] + c, sizeof of_t);
                memcpy(&of_s, slot->sums[1] + c, sizeof of_s);
                memcpy(&cross, slot->sums[2] + c, sizeof cross);
            }
            for (size_t i = begin; i < end; i++) {
                dcam_f32x8 x, y;
                dcam_load8(&x, t + i * channels + c, lanes);
                dcam_load8(&y, s + i * channels + c, lanes);
                dcam_widen8(&difference, &x);
                dcam_widen8(&q, &y);
                difference.low -= q.low;
                difference.high -= q.high;
                powers(&x, &t_top, inverse_temperature);
                powers(&y, &s_top, inverse_temperature);
                dcam_widen8(&p, &x);
                dcam_widen8(&q, &y);
                dcam_add8(&of_t, &p);
                dcam_add8(&of_s, &q);
                dcam_add_product8(&cross, &p, &difference);
            }
            memcpy(slot->sums[0] + c, &of_t, sizeof of_t);
            memcpy(slot->sums[1] + c, &of_s, sizeof of_s);
            memcpy(slot->sums[2] + c, &cross, sizeof cross);
        }
    }
}

/* d_s += exp(s') * by_s[c] - exp(t') * by_t[c]. */
DCAM_KERNEL static void add_gradient(const loss_slot *slot, const float *t, const float *s, size_t positions,
                                     size_t channels, float inverse_temperature, float *d_s)
{
    for (size_t begin = 0; begin < positions; begin += LOSS_TILE) {
        const size_t end = begin + LOSS_TILE < positions ? begin + LOSS_TILE : positions;
        for (size_t c = 0; c < channels; c += DCAM_LANES) {
            const size_t lanes = dcam_lanes_at(c, channels);
            dcam_f64x8 by_t, by_s;
            dcam_f32x8 t_top, s_top, k, l;
            memcpy(&t_top, slot->top[0] + c, sizeof t_top);
            memcpy(&s_top, slot->top[1] + c, sizeof s_top);
            memcpy(&by_t, slot->sums[0] + c, sizeof by_t);
            memcpy(&by_s, slot->sums[1] + c, sizeof by_s);
            dcam_narrow8(&k, &by_t);
            dcam_narrow8(&l, &by_s);
            for (size_t i = begin; i < end; i++) {
                dcam_f32x8 x, y, d;
                dcam_load8(&x, t + i * channels + c, lanes);
                dcam_load8(&y, s + i * channels + c, lanes);
                dcam_load8(&d, d_s + i * channels + c, lanes);
                powers(&x, &t_top, inverse_temperature);
                powers(&y, &s_top, inverse_temperature);
                d += y * l - x * k;
                dcam_store8(d_s + i * channels + c, &d, lanes);
            }
        }
    }
}

double loss_entropy(loss_slot *slot, const float *t, const float *s, size_t positions, size_t channels,
                    double temperature, double scale, float *d_s)
{
    const float inverse = (float)(1 / temperature);
    double sum = 0;
    channel_maxima(t, positions, channels, slot->top[0]);
    channel_maxima(s, positions, channels, slot->top[1]);
    entropy_sums(slot, t, s, positions, channels, inverse);
    for (size_t c = 0; c < channels; c++) {
        const double of_t = slot->sums[0][c], of_s = slot->sums[1][c];
        const double top = (double)slot->top[1][c] - (double)slot->top[0][c];
        sum += (slot->sums[2][c] / of_t + top) / temperature + log(of_s / of_t);
        slot->sums[0][c] = scale / (temperature * of_t);
        slot->sums[1][c] = scale / (temperature * of_s);
    }
    if (d_s) add_gradient(slot, t, s, positions, channels, inverse, d_s);
    return sum;
}
