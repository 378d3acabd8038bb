/* net_case.h - a trunk with weights by formula, as tests/golden/make_net.py sets them, and comparison with its
 * samples. */
#ifndef DCAM_TESTS_NET_CASE_H
#define DCAM_TESTS_NET_CASE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "formula.h"
#include "golden_file.h"
#include "weights/trunk.h"

static inline void case_weights(dcam_trunk_weights *w)
{
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_shape *s = &w->shapes[i];
        dcam_convolution_weights *c = &w->convolutions[i];
        size_t channels = (size_t)s->out_channels;
        uint32_t seed = 100 + 10 * (uint32_t)i;
        float scale = (float)sqrt(6.0 / (s->out_channels * s->kernel * s->kernel));
        formula_fill(seed, scale, 0, c->weight, s->weight_count);
        formula_fill(seed + 1, 0.25f, 1, c->gamma, channels);
        formula_fill(seed + 2, 0.25f, 0, c->beta, channels);
        formula_fill(seed + 3, 0.25f, 0, c->running_mean, channels);
        formula_fill(seed + 4, 0.5f, 1, c->running_variance, channels);
    }
}

static inline size_t case_sample(size_t k, size_t count)
{
    return (size_t)((uint64_t)k * UINT64_C(2654435761) % count);
}

/* sqrt(sum (got - want)^2 / sum want^2) and the largest difference over the samples of got. */
static inline double case_error(const float *got, size_t count, const double *want, size_t samples, double *largest)
{
    double difference = 0, square = 0;
    *largest = 0;
    for (size_t k = 0; k < samples; k++) {
        double d = fabs((double)got[case_sample(k, count)] - want[k]);
        difference += d * d;
        square += want[k] * want[k];
        if (!(d <= *largest)) *largest = d;
    }
    return sqrt(difference / (square + 1e-60));
}

#endif
