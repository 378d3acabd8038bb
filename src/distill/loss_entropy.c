/* loss_entropy.c - `kd`, the relative entropy over positions, one image at a time (method.md, Losses): per
 * channel P = softmax(t / T), Q = softmax(s / T),
 *
 *   KL = sum P (log P - log Q) = sum P (t - s) / T - lse(t / T) + lse(s / T),   dKL/ds = (Q - P) / T
 *
 * with lse(x) = top + log sum exp(x - top): by log-softmax, never by the logarithm of a softmax. top is the largest value so
 * far: positions come in tiles, and where a tile brings a larger one the sums are brought down to it. The exponentials are
 * f32 (relative error under 2^-22) and so are their sums over a tile; sums over tiles are double. They are made twice, for
 * the sums and for the gradient: that is cheaper than keeping two maps. */
#include "distill/loss_internal.h"

#include <math.h>

/* exp((x - top) / T) of eight channels. */
DCAM_INLINE void powers(dcam_f32x8 *x, const dcam_f32x8 *top, float inverse_temperature)
{
    *x = (*x - *top) * inverse_temperature;
    dcam_exp8(x);
}

/* The largest value of a tile and, unless it is the first, of what came before. */
DCAM_INLINE void raise_top(dcam_f32x8 *top, const float *x, size_t count, size_t channels, size_t lanes, bool first)
{
    dcam_f32x8 v;
    for (size_t i = 0; i < count; i++) {
        dcam_load8(&v, x + i * channels, lanes);
        if (first && i == 0) *top = v;
        const dcam_i32x8 greater = v > *top;
        dcam_choose8(top, &greater, &v, top);
    }
}

/* exp((before - now) / T) in double. */
DCAM_INLINE void fall(dcam_f64x8 *out, const dcam_f32x8 *before, const dcam_f32x8 *now, float inverse_temperature)
{
    dcam_f32x8 x = *before;
    powers(&x, now, inverse_temperature);
    dcam_widen8(out, &x);
}

DCAM_INLINE void multiply_by(dcam_f64x8 *x, const dcam_f64x8 *y)
{
    x->low *= y->low;
    x->high *= y->high;
}

/* sums: sum exp(t'), sum exp(s'), sum exp(t') (t - s) of each channel. */
DCAM_KERNEL void loss_entropy_add(loss_slot *slot, const float *t, const float *s, size_t count, size_t channels,
                                  double temperature, bool first)
{
    const float inverse = (float)(1 / temperature);
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f64x8 of_t = {0}, of_s = {0}, cross = {0}, more;
        dcam_f32x8 t_before, s_before, t_top, s_top, x, y, p = {0}, q = {0}, r = {0};
        memcpy(&t_before, slot->top[0] + c, sizeof t_before);
        memcpy(&s_before, slot->top[1] + c, sizeof s_before);
        t_top = t_before;
        s_top = s_before;
        raise_top(&t_top, t + c, count, channels, lanes, first);
        raise_top(&s_top, s + c, count, channels, lanes, first);
        for (size_t i = 0; i < count; i++) {
            dcam_load8(&x, t + i * channels + c, lanes);
            dcam_load8(&y, s + i * channels + c, lanes);
            const dcam_f32x8 difference = x - y;
            powers(&x, &t_top, inverse);
            powers(&y, &s_top, inverse);
            p += x;
            q += y;
            r += x * difference;
        }
        if (!first) {
            memcpy(&of_t, slot->sums[0] + c, sizeof of_t);
            memcpy(&of_s, slot->sums[1] + c, sizeof of_s);
            memcpy(&cross, slot->sums[2] + c, sizeof cross);
            fall(&more, &t_before, &t_top, inverse);
            multiply_by(&of_t, &more);
            multiply_by(&cross, &more);
            fall(&more, &s_before, &s_top, inverse);
            multiply_by(&of_s, &more);
        }
        dcam_widen8(&more, &p);
        dcam_add8(&of_t, &more);
        dcam_widen8(&more, &q);
        dcam_add8(&of_s, &more);
        dcam_widen8(&more, &r);
        dcam_add8(&cross, &more);
        memcpy(slot->sums[0] + c, &of_t, sizeof of_t);
        memcpy(slot->sums[1] + c, &of_s, sizeof of_s);
        memcpy(slot->sums[2] + c, &cross, sizeof cross);
        memcpy(slot->top[0] + c, &t_top, sizeof t_top);
        memcpy(slot->top[1] + c, &s_top, sizeof s_top);
    }
}

/* d_s += exp(s') * by_s[c] - exp(t') * by_t[c]. */
DCAM_KERNEL void loss_entropy_gradient(const loss_slot *slot, const float *t, const float *s, size_t count, size_t channels,
                                       double temperature, float *d_s)
{
    const float inverse = (float)(1 / temperature);
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
        for (size_t i = 0; i < count; i++) {
            dcam_f32x8 x, y, d;
            dcam_load8(&x, t + i * channels + c, lanes);
            dcam_load8(&y, s + i * channels + c, lanes);
            dcam_load8(&d, d_s + i * channels + c, lanes);
            powers(&x, &t_top, inverse);
            powers(&y, &s_top, inverse);
            d += y * l - x * k;
            dcam_store8(d_s + i * channels + c, &d, lanes);
        }
    }
}

double loss_entropy_end(loss_slot *slot, size_t channels, double temperature, double scale)
{
    double sum = 0;
    for (size_t c = 0; c < channels; c++) {
        const double of_t = slot->sums[0][c], of_s = slot->sums[1][c];
        const double top = (double)slot->top[1][c] - (double)slot->top[0][c];
        sum += (slot->sums[2][c] / of_t + top) / temperature + log(of_s / of_t);
        slot->sums[0][c] = scale / (temperature * of_t);
        slot->sums[1][c] = scale / (temperature * of_s);
    }
    return sum;
}
