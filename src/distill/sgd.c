/* sgd.c - one fused pass over all parameters: d = g + decay w; v = momentum v + d; w -= lr v. Weight decay takes
 * every parameter, batch norm's too, as torch.optim.SGD(model.parameters()) does. PyTorch starts v as the first d,
 * which is what zeros give. */
#include "distill/sgd.h"

#include <math.h>

#include "base/parallel.h"
#include "base/vector.h"

typedef struct {
    float rate, momentum, decay;
    float *values, *velocity;
    const float *gradient;
} job;

DCAM_KERNEL static void some_values(void *context, size_t begin, size_t end)
{
    const job *j = context;
    for (size_t i = begin; i < end; i += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(i, end);
        dcam_f32x8 w, g, v;
        dcam_load8(&w, j->values + i, lanes);
        dcam_load8(&g, j->gradient + i, lanes);
        dcam_load8(&v, j->velocity + i, lanes);
        v = j->momentum * v + (g + j->decay * w);
        w -= j->rate * v;
        dcam_store8(j->velocity + i, &v, lanes);
        dcam_store8(j->values + i, &w, lanes);
    }
}

void dcam_sgd_step(const dcam_sgd *sgd, float *values, const float *gradient, float *velocity, size_t count)
{
    job j = {.rate = (float)sgd->learning_rate, .momentum = (float)sgd->momentum, .decay = (float)sgd->weight_decay,
             .values = values, .velocity = velocity, .gradient = gradient};
    dcam_parallel_for(count, some_values, &j);
}

bool dcam_values_are_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}
