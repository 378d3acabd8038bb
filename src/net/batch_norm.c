/* batch_norm.c - see batch_norm.h: one normalisation, and which functions serve its maps. */
#include "net/batch_norm_parts.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

#define MOMENTUM 0.1
/* Channels are handled in such groups. */
#define GROUP 32

dcam_status net_norm_create(const dcam_convolution_shape *shape, const dcam_convolution_weights *weights, net_norm *out)
{
    const size_t c = (size_t)shape->out_channels;
    float *values;
    if (c % GROUP != 0 || c > NET_NORM_CHANNELS)
        return dcam_fail(DCAM_ERROR_INTERNAL, "%s: %zu channels are no multiple of 32, or too many", shape->name, c);
    DCAM_TRY(dcam_alloc_zero(6 * c, sizeof *values, &values));
    *out = (net_norm){c, weights->gamma, weights->beta, weights->running_mean, weights->running_variance, values,
                      values + c, values + 2 * c, values + 3 * c, values + 4 * c, values + 5 * c};
    return DCAM_OK;
}

void net_norm_clear(net_norm *norm)
{
    dcam_free(norm->mean);
    memset(norm, 0, sizeof *norm);
}

void net_norm_set_statistics(net_norm *n, size_t c, double centre, double sum, double square, double count)
{
    const double from_centre = sum / count, mean = centre + from_centre;
    const double difference = square / count - from_centre * from_centre;
    const double variance = difference < 0 ? 0 : difference; /* not fmax, which would make 0 of NaN */
    const double inverse = 1 / sqrt(variance + (double)DCAM_BATCH_NORM_EPSILON);
    n->mean[c] = (float)mean;
    n->inverse[c] = (float)inverse;
    n->scale[c] = (float)((double)n->gamma[c] * inverse);
    n->shift[c] = (float)((double)n->beta[c] - mean * (double)n->gamma[c] * inverse);
    n->running_mean[c] = (float)((1 - MOMENTUM) * (double)n->running_mean[c] + MOMENTUM * mean);
    n->running_variance[c] =
        (float)((1 - MOMENTUM) * (double)n->running_variance[c] + MOMENTUM * variance * count / (count - 1));
}

/* With M values a channel, S = sum of g, P = sum of g (y - mean):
 *   dgamma = P inverse, dbeta = S, dy = gamma inverse (g - S / M - (y - mean) inverse^2 P / M). */
void net_norm_set_backward(net_norm *n, size_t c, double sum, double product, double count, float *d_gamma, float *d_beta)
{
    const double inverse = (double)n->inverse[c], scale = (double)n->gamma[c] * inverse;
    d_gamma[c] = (float)(product * inverse);
    d_beta[c] = (float)sum;
    n->offset[c] = (float)(scale * sum / count);
    n->slope[c] = (float)(scale * inverse * inverse * product / count);
}

static const net_norm_functions *functions_for(const dcam_nn_tensor *map)
{
    return map->type == DCAM_NN_BF16 ? &net_norm_bf16 : &net_norm_f32;
}

size_t net_norm_scratch(const dcam_nn_tensor *map) { return functions_for(map)->scratch(map); }

void net_norm_statistics(net_norm *norm, const dcam_nn_tensor *map, const void *y, double *scratch)
{
    functions_for(map)->statistics(norm, map, y, scratch);
}

void net_norm_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y, void *out)
{
    functions_for(map)->add_relu(norm, map, y, NULL, NULL, out);
}

void net_norm_add_relu(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const net_norm *shortcut_norm,
                       const void *shortcut, void *out)
{
    functions_for(map)->add_relu(norm, map, y, shortcut_norm, shortcut, out);
}

void net_norm_relu_pool(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const dcam_nn_tensor *pooled_map,
                        void *pooled, uint8_t *which, void *top)
{
    functions_for(map)->relu_pool(norm, map, y, pooled_map, pooled, which, top);
}

void net_norm_join(const dcam_nn_tensor *map, const void *const parts[3], const void *out, void *g,
                   net_norm *const norms[2], const void *const y[2], float *const d_gamma[2], float *const d_beta[2],
                   double *scratch)
{
    functions_for(map)->join(map, parts, out, g, norms, y, d_gamma, d_beta, scratch);
}

void net_norm_backward(const net_norm *norm, const dcam_nn_tensor *map, const void *g, void *y)
{
    functions_for(map)->backward(norm, map, g, y);
}

void net_norm_relu_backward(net_norm *norm, const dcam_nn_tensor *map, const void *d_z, void *y, float *d_gamma,
                            float *d_beta, double *scratch)
{
    functions_for(map)->relu_backward(norm, map, d_z, y, d_gamma, d_beta, scratch);
}

void net_norm_pool_backward(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map, const void *g,
                            const uint8_t *which, const void *top, void *y, float *d_gamma, float *d_beta, double *scratch)
{
    functions_for(map)->pool_backward(norm, map, pooled_map, g, which, top, y, d_gamma, d_beta, scratch);
}
