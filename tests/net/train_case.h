/* train_case.h - a trunk in training with the weights, input and cotangents of net_case.h, for the tests of training. */
#ifndef DCAM_TESTS_TRAIN_CASE_H
#define DCAM_TESTS_TRAIN_CASE_H

#include <math.h>

#include "base/memory.h"
#include "net/net_case.h"
#include "net/resnet.h"

#define OK(call) assert_int_equal((call), DCAM_OK)

typedef struct {
    dcam_trunk_weights *weights;
    dcam_train_net *net;
    int batch, height, width;
    float *input, *features[DCAM_STAGES], *d_features[DCAM_STAGES], *gradients;
    size_t counts[DCAM_STAGES]; /* values of one image */
} fixture;

static inline void open_net_in(fixture *f, int batch, int height, int width, int exact, dcam_net_precision precision)
{
    const dcam_train_net_options options = {height, width, batch, precision, exact, false};
    const size_t images = (size_t)batch;
    memset(f, 0, sizeof *f);
    f->batch = batch;
    f->height = height;
    f->width = width;
    OK(dcam_trunk_weights_create(dcam_architecture_find(NULL), false, &f->weights));
    case_weights(f->weights);
    OK(dcam_train_net_create(f->weights, &options, &f->net));
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(f->weights->architecture, height, width);
    OK(dcam_alloc(images * 3 * (size_t)(height * width), sizeof(float), &f->input));
    for (int k = 0; k < DCAM_STAGES; k++) {
        f->counts[k] = (size_t)(shapes.channels[k] * shapes.height[k] * shapes.width[k]);
        OK(dcam_alloc_zero(images * f->counts[k], sizeof(float), &f->features[k]));
        OK(dcam_alloc_zero(images * f->counts[k], sizeof(float), &f->d_features[k]));
    }
    OK(dcam_alloc_zero(f->weights->trainable_count, sizeof(float), &f->gradients));
}

static inline void open_net(fixture *f, int batch, int height, int width, int exact)
{
    open_net_in(f, batch, height, width, exact, DCAM_NET_F32);
}

static inline void close_net(fixture *f)
{
    dcam_free(f->gradients);
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_free(f->d_features[k]);
        dcam_free(f->features[k]);
    }
    dcam_free(f->input);
    dcam_train_net_destroy(f->net);
    dcam_trunk_weights_destroy(f->weights);
}

static inline void fill(fixture *f, uint32_t seed, int n)
{
    formula_fill(seed, 2, 0, f->input, (size_t)n * 3 * (size_t)(f->height * f->width));
    for (uint32_t k = 0; k < DCAM_STAGES; k++) formula_fill(50 + k, 1, 0, f->d_features[k], (size_t)n * f->counts[k]);
}

static inline void both_passes(fixture *f, int n)
{
    OK(dcam_train_net_forward(f->net, f->input, n, f->features));
    OK(dcam_train_net_backward(f->net, (const float *const *)f->d_features, f->gradients));
}

/* A network in training, made anew, on a batch smaller than it was made for. */
static inline dcam_status create_and_run(fixture *f, const dcam_train_net_options *options)
{
    dcam_train_net *net;
    DCAM_TRY(dcam_train_net_create(f->weights, options, &net));
    dcam_status status = dcam_train_net_forward(net, f->input, 1, options->raw ? NULL : f->features);
    if (status == DCAM_OK) status = dcam_train_net_backward(net, options->raw ? NULL : (const float *const *)f->d_features, f->gradients);
    dcam_train_net_destroy(net);
    return status;
}

/* sqrt(sum (a - b)^2 / sum b^2) */
static inline double difference(const float *a, const float *b, size_t count)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = (double)a[i] - (double)b[i];
        sum += d * d;
        square += (double)b[i] * (double)b[i];
    }
    return sqrt(sum / square);
}

#endif
