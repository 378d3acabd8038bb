/* sgd.h - stochastic gradient descent with momentum and weight decay, as torch.optim.SGD takes its step. */
#ifndef DCAM_DISTILL_SGD_H
#define DCAM_DISTILL_SGD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    double learning_rate, momentum, weight_decay;
} dcam_sgd;

/* One step over a flat array. velocity: zeros before the first step. */
void dcam_sgd_step(const dcam_sgd *sgd, float *values, const float *gradient, float *velocity, size_t count);

/* No value is infinite or NaN: what cannot be gone on from must not take the place of what can. */
bool dcam_values_are_finite(const float *values, size_t count);

#endif
