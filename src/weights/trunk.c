/* trunk.c - the table of trunks, their weights in memory, and the two starts without a file: the student's (as
 * torchvision's: He et al. 2015, "Delving deep into rectifiers", fan out) and the folding of batch norm,
 *   y = gamma (conv(x) - mean) / sqrt(variance + eps) + beta  =  conv'(x) + bias'.
 * Knows nothing of files' formats and computes no forward pass (see random_teacher.c for the frozen random one). */
#include "weights/trunk.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

/* Sets the draws of the student's start apart from other uses of the same seed. */
#define STREAM_STUDENT UINT64_C(0x73747564656e74) /* "student" */

static const dcam_architecture architectures[] = {
    {"resnet18", {2, 2, 2}, {64, 128, 256}},
    {"resnet34", {3, 4, 6}, {64, 128, 256}},
};

const dcam_architecture *dcam_architecture_find(const char *name)
{
    if (!name) return &architectures[0];
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++)
        if (strcmp(architectures[i].name, name) == 0) return &architectures[i];
    return NULL;
}

static void set_shape(dcam_convolution_shape *s, int out_channels, int in_channels, int kernel, int stride)
{
    s->out_channels = out_channels;
    s->in_channels = in_channels;
    s->kernel = kernel;
    s->stride = stride;
    s->padding = kernel / 2;
    s->weight_count = (size_t)out_channels * (size_t)in_channels * (size_t)kernel * (size_t)kernel;
}

int dcam_architecture_convolutions(const dcam_architecture *a, dcam_convolution_shape out[DCAM_MAX_CONVOLUTIONS])
{
    int n = 0, channels = a->stage_channels[0];
    set_shape(&out[n], channels, 3, 7, 2);
    snprintf(out[n].name, sizeof out[n].name, "conv1");
    snprintf(out[n++].norm_name, sizeof out[0].norm_name, "bn1");
    for (int stage = 0; stage < DCAM_STAGES; stage++) {
        for (int block = 0; block < a->stage_blocks[stage]; block++) {
            int to = a->stage_channels[stage], stride = stage > 0 && block == 0 ? 2 : 1;
            assert(n + 3 <= DCAM_MAX_CONVOLUTIONS);
            for (int k = 1; k <= 2; k++, n++) {
                set_shape(&out[n], to, k == 1 ? channels : to, 3, k == 1 ? stride : 1);
                snprintf(out[n].name, sizeof out[n].name, "layer%d.%d.conv%d", stage + 1, block, k);
                snprintf(out[n].norm_name, sizeof out[n].norm_name, "layer%d.%d.bn%d", stage + 1, block, k);
            }
            if (stride != 1 || channels != to) {
                set_shape(&out[n], to, channels, 1, stride);
                snprintf(out[n].name, sizeof out[n].name, "layer%d.%d.downsample.0", stage + 1, block);
                snprintf(out[n].norm_name, sizeof out[n].norm_name, "layer%d.%d.downsample.1", stage + 1, block);
                n++;
            }
            channels = to;
        }
    }
    return n;
}

/* The table is ours and small: these sums stay below 2^25. */
static void count_values(const dcam_convolution_shape *shapes, int count, bool folded, size_t *trained, size_t *all)
{
    size_t statistics = 0;
    *trained = 0;
    for (int i = 0; i < count; i++) {
        const size_t channels = (size_t)shapes[i].out_channels;
        *trained += shapes[i].weight_count + (folded ? 1 : 2) * channels;
        if (!folded) statistics += 2 * channels;
    }
    *all = *trained + statistics;
}

void dcam_architecture_values(const dcam_architecture *a, size_t *trained, size_t *all)
{
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    const int count = dcam_architecture_convolutions(a, shapes);
    count_values(shapes, count, false, trained, all);
}

dcam_status dcam_trunk_weights_create(const dcam_architecture *a, bool folded, dcam_trunk_weights **out)
{
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *w, &w));
    w->architecture = a;
    w->folded = folded;
    w->convolution_count = dcam_architecture_convolutions(a, w->shapes);
    count_values(w->shapes, w->convolution_count, folded, &w->trainable_count, &w->value_count);
    dcam_status status = dcam_alloc_zero(w->value_count, sizeof *w->values, &w->values);
    if (status != DCAM_OK) {
        dcam_free(w);
        return status;
    }
    float *next = w->values, *statistics = w->values + w->trainable_count;
    for (int i = 0; i < w->convolution_count; i++) {
        dcam_convolution_weights *c = &w->convolutions[i];
        size_t channels = (size_t)w->shapes[i].out_channels;
        c->weight = next;
        next += w->shapes[i].weight_count;
        if (folded) {
            c->bias = next;
            next += channels;
        } else {
            c->gamma = next;
            c->beta = next + channels;
            next += 2 * channels;
            c->running_mean = statistics;
            c->running_variance = statistics + channels;
            statistics += 2 * channels;
        }
    }
    assert(next == w->values + w->trainable_count);
    *out = w;
    return DCAM_OK;
}

void dcam_trunk_weights_destroy(dcam_trunk_weights *w)
{
    if (!w) return;
    dcam_free(w->values);
    dcam_free(w);
}

dcam_status dcam_trunk_weights_copy(const dcam_trunk_weights *from, dcam_trunk_weights **out)
{
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_trunk_weights_create(from->architecture, from->folded, &w));
    memcpy(w->values, from->values, from->value_count * sizeof *w->values);
    *out = w;
    return DCAM_OK;
}

/* To float, or notes that the value does not fit. */
static float narrow(double value, bool *finite)
{
    if (fabs(value) <= (double)FLT_MAX) return (float)value;
    *finite = false;
    return 0;
}

dcam_status dcam_trunk_weights_fold(const dcam_trunk_weights *from, dcam_trunk_weights **out)
{
    if (from->folded) return dcam_trunk_weights_copy(from, out);
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_trunk_weights_create(from->architecture, true, &w));
    bool finite = true;
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_weights *f = &from->convolutions[i];
        dcam_convolution_weights *t = &w->convolutions[i];
        size_t channels = (size_t)w->shapes[i].out_channels, each = w->shapes[i].weight_count / channels;
        for (size_t c = 0; c < channels; c++) {
            /* In double: one rounding a value, so that folding stays within 1e-6 of the unfolded network. */
            double scale = (double)f->gamma[c] /
                           sqrt((double)f->running_variance[c] + (double)DCAM_BATCH_NORM_EPSILON);
            for (size_t k = 0; k < each; k++)
                t->weight[c * each + k] = narrow(scale * (double)f->weight[c * each + k], &finite);
            t->bias[c] = narrow((double)f->beta[c] - scale * (double)f->running_mean[c], &finite);
        }
        if (!finite) {
            dcam_trunk_weights_destroy(w);
            return dcam_fail(DCAM_ERROR_WEIGHTS, "folding %s into %s gives values that are not finite",
                             from->shapes[i].norm_name, from->shapes[i].name);
        }
    }
    *out = w;
    return DCAM_OK;
}

dcam_status dcam_trunk_weights_random(const dcam_architecture *a, uint64_t seed, dcam_trunk_weights **out)
{
    dcam_trunk_weights *w = NULL;
    DCAM_TRY(dcam_trunk_weights_create(a, false, &w));
    dcam_random r = dcam_random_make(seed, STREAM_STUDENT);
    for (int i = 0; i < w->convolution_count; i++) {
        const dcam_convolution_shape *s = &w->shapes[i];
        dcam_convolution_weights *c = &w->convolutions[i];
        double deviation = sqrt(2.0 / ((double)s->out_channels * s->kernel * s->kernel));
        for (size_t k = 0; k < s->weight_count; k++) c->weight[k] = (float)(deviation * dcam_random_normal(&r));
        for (int k = 0; k < s->out_channels; k++) c->gamma[k] = c->running_variance[k] = 1.0f;
    }
    *out = w;
    return DCAM_OK;
}
