/* formula_weights.h - weights of a trunk by formula, and the .pth that torchvision would write of them. */
#ifndef DCAM_TESTS_WEIGHTS_FORMULA_WEIGHTS_H
#define DCAM_TESTS_WEIGHTS_FORMULA_WEIGHTS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formula.h"
#include "weights/pth_builder.h"
#include "weights/trunk.h"

/* Weights that a trained network could have: formula values, variances from 0.5 to 1.5. */
static dcam_trunk_weights *formula_weights(bool folded)
{
    dcam_trunk_weights *w;
    assert_int_equal(dcam_trunk_weights_create(dcam_architecture_find(NULL), folded, &w), DCAM_OK);
    formula_fill(1, 0.5f, 0, w->values, w->value_count);
    for (int i = 0; i < w->convolution_count && !folded; i++)
        formula_fill(100 + (uint32_t)i, 0.5f, 1, w->convolutions[i].running_variance, (size_t)w->shapes[i].out_channels);
    return w;
}

typedef struct {
    built_tensor tensors[160];
    size_t count;
} built;

static void add(built *b, const char *name, const char *leaf, int rank, const size_t *shape, const float *values)
{
    built_tensor *t = &b->tensors[b->count++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s.%s", name, leaf);
    t->rank = rank;
    memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    t->values = values;
}

/* All tensors of w as torchvision writes them, and some of a whole ResNet that are to be ignored. */
static built build(const dcam_trunk_weights *w)
{
    static const float rest[4] = {1, 2, 3, NAN};
    built b = {.count = 0};
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_shape *s = &w->shapes[i];
        const dcam_convolution_weights *c = &w->convolutions[i];
        size_t shape[4] = {(size_t)s->out_channels, (size_t)s->in_channels, (size_t)s->kernel, (size_t)s->kernel};
        add(&b, s->name, "weight", 4, shape, c->weight);
        if (w->folded) {
            add(&b, s->name, "bias", 1, shape, c->bias);
            continue;
        }
        add(&b, s->norm_name, "weight", 1, shape, c->gamma);
        add(&b, s->norm_name, "bias", 1, shape, c->beta);
        add(&b, s->norm_name, "running_mean", 1, shape, c->running_mean);
        add(&b, s->norm_name, "running_var", 1, shape, c->running_variance);
        add(&b, s->norm_name, "num_batches_tracked", 0, shape, rest);
    }
    add(&b, "layer4.0.conv1", "weight", 1, (size_t[]){4}, rest);
    add(&b, "fc", "bias", 1, (size_t[]){4}, rest);
    return b;
}

#endif
