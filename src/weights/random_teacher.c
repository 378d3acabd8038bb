/* random_teacher.c - a frozen random teacher ("random:SEED") for when there are no trained weights. It starts as the
 * student does (He et al. 2015) and is then calibrated layer by layer on one noise picture, as if batch norm had
 * seen it (data-dependent initialisation, Kraehenbuehl et al. 2016; LSUV, Mishkin and Matas 2016):
 *   - every filter of a layer after the first is made free of its mean, so that it answers to differences between
 *     channels and places and not to the brightness that ReLU leaves in all of them;
 *   - the weights of a layer are scaled so that the deviation of its outputs, over channels and places, is 1;
 *   - each channel's bias takes its mean away, so that about half of the outputs pass the ReLU.
 * Measured on 12 photographs of products at 256x256: deviations from 0.77 to 1.33 in every layer, no dead channel.
 * The picture: three colours at unit deviation with equal energy in each octave (the 1/f amplitude of photographs).
 * The forward pass here is a plain C loop on one 64x64 picture (0.12 GMAC), needed because this layer stands below
 * the network; it must not be used for anything else. Same seed and same build: same bits. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "weights/trunk.h"

#define PICTURE 64
#define STREAM_PICTURE UINT64_C(0x70696374757265) /* "picture" */
/* The noise is the same for every seed: seeds differ in their weights. */
#define PICTURE_SEED 1u
#define COLOURS 3

/* Planes of the widest feature map: 64 channels of 32x32 before pooling. */
#define MAX_VALUES ((size_t)64 * (PICTURE / 2) * (PICTURE / 2))

typedef struct {
    int channels, size; /* square; values: C,H,W */
    float *values;
} feature;

static void normalise(float *values, size_t n)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += (double)values[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += ((double)values[i] - mean) * ((double)values[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++) values[i] = (float)(((double)values[i] - mean) / sqrt(square));
}

/* Adds one octave: random values on a grid of `cell` pixels, bilinear between them. */
static void add_octave(dcam_random *r, int cell, float weight, float *plane)
{
    float grid[PICTURE + 1][PICTURE + 1];
    int n = PICTURE / cell;
    for (int y = 0; y <= n; y++)
        for (int x = 0; x <= n; x++) grid[y][x] = (float)dcam_random_normal(r) * weight;
    for (int y = 0; y < PICTURE; y++) {
        for (int x = 0; x < PICTURE; x++) {
            int i = y / cell, j = x / cell;
            float v = (float)(y % cell) / (float)cell, u = (float)(x % cell) / (float)cell;
            float upper = grid[i][j] + u * (grid[i][j + 1] - grid[i][j]);
            float lower = grid[i + 1][j] + u * (grid[i + 1][j + 1] - grid[i + 1][j]);
            plane[y * PICTURE + x] += upper + v * (lower - upper);
        }
    }
}

static void draw_picture(feature *f)
{
    dcam_random r = dcam_random_make(PICTURE_SEED, STREAM_PICTURE);
    size_t pixels = (size_t)PICTURE * PICTURE;
    f->channels = COLOURS;
    f->size = PICTURE;
    memset(f->values, 0, COLOURS * pixels * sizeof *f->values);
    for (int cell = 1; cell < PICTURE; cell *= 2) {
        add_octave(&r, cell, 1.0f, f->values);
        /* Colours of photographs mostly move together: a third of the amplitude each on their own. */
        add_octave(&r, cell, 0.33f, f->values + pixels);
        add_octave(&r, cell, 0.33f, f->values + 2 * pixels);
    }
    for (int c = 1; c < COLOURS; c++)
        for (size_t i = 0; i < pixels; i++) f->values[(size_t)c * pixels + i] += f->values[i];
    for (int c = 0; c < COLOURS; c++) normalise(f->values + (size_t)c * pixels, pixels);
}

/* out += the part of the convolution that one kernel tap contributes to one output row. */
static void add_tap(const dcam_convolution_shape *s, const float *in_row, int size, int kx, float weight, float *out_row,
                    int out_size)
{
    /* x_in = stride x - padding + kx must lie in [0, size). */
    int shift = kx - s->padding, begin = 0, end = out_size;
    while (begin * s->stride + shift < 0) begin++;
    while (end > begin && (end - 1) * s->stride + shift >= size) end--;
    if (s->stride == 1)
        for (int x = begin; x < end; x++) out_row[x] += weight * in_row[x + shift];
    else
        for (int x = begin; x < end; x++) out_row[x] += weight * in_row[x * s->stride + shift];
}

static void convolve(const dcam_convolution_shape *s, const float *weight, const feature *in, feature *out)
{
    out->channels = s->out_channels;
    out->size = (in->size + 2 * s->padding - s->kernel) / s->stride + 1;
    size_t in_plane = (size_t)in->size * (size_t)in->size, out_plane = (size_t)out->size * (size_t)out->size;
    memset(out->values, 0, (size_t)out->channels * out_plane * sizeof *out->values);
    for (int o = 0; o < s->out_channels; o++) {
        for (int c = 0; c < s->in_channels; c++) {
            for (int ky = 0; ky < s->kernel; ky++, weight += s->kernel) {
                for (int y = 0; y < out->size; y++) {
                    int from = y * s->stride + ky - s->padding;
                    if (from < 0 || from >= in->size) continue;
                    const float *in_row = in->values + (size_t)c * in_plane + (size_t)from * (size_t)in->size;
                    float *out_row = out->values + (size_t)o * out_plane + (size_t)y * (size_t)out->size;
                    for (int kx = 0; kx < s->kernel; kx++)
                        add_tap(s, in_row, in->size, kx, weight[kx], out_row, out->size);
                }
            }
        }
    }
}

static void remove_filter_means(const dcam_convolution_shape *s, float *weight)
{
    size_t each = s->weight_count / (size_t)s->out_channels;
    for (int o = 0; o < s->out_channels; o++, weight += each) {
        double mean = 0;
        for (size_t k = 0; k < each; k++) mean += (double)weight[k] / (double)each;
        for (size_t k = 0; k < each; k++) weight[k] = (float)((double)weight[k] - mean);
    }
}

/* Sets the scale and biases of a layer from its output, and the output to what it is with them. */
static void calibrate(const dcam_convolution_shape *s, dcam_convolution_weights *w, feature *out)
{
    size_t plane = (size_t)out->size * (size_t)out->size, channels = (size_t)out->channels;
    double square = 0;
    for (size_t c = 0; c < channels; c++) {
        float *v = out->values + c * plane;
        double mean = 0;
        for (size_t i = 0; i < plane; i++) mean += (double)v[i] / (double)plane;
        for (size_t i = 0; i < plane; i++) {
            v[i] = (float)((double)v[i] - mean);
            square += (double)v[i] * (double)v[i] / (double)(plane * channels);
        }
        w->bias[c] = (float)-mean;
    }
    float scale = (float)(1.0 / sqrt(square));
    for (size_t i = 0; i < s->weight_count; i++) w->weight[i] *= scale;
    for (size_t c = 0; c < channels; c++) w->bias[c] *= scale;
    for (size_t i = 0; i < plane * channels; i++) out->values[i] *= scale;
}

static void rectify(feature *f)
{
    size_t n = (size_t)f->channels * (size_t)f->size * (size_t)f->size;
    for (size_t i = 0; i < n; i++) f->values[i] = f->values[i] > 0 ? f->values[i] : 0;
}

/* 3x3, stride 2, padding 1, of values from 0 on. */
static void pool(const feature *in, feature *out)
{
    out->channels = in->channels;
    out->size = in->size / 2;
    for (int c = 0; c < in->channels; c++) {
        const float *plane = in->values + (size_t)c * (size_t)in->size * (size_t)in->size;
        for (int y = 0; y < out->size; y++) {
            for (int x = 0; x < out->size; x++) {
                float top = 0;
                for (int j = y ? 2 * y - 1 : 0; j <= 2 * y + 1; j++)
                    for (int i = x ? 2 * x - 1 : 0; i <= 2 * x + 1; i++)
                        top = fmaxf(top, plane[j * in->size + i]);
                out->values[((size_t)c * (size_t)out->size + (size_t)y) * (size_t)out->size + (size_t)x] = top;
            }
        }
    }
}

static void run_layer(dcam_trunk_weights *w, int i, const feature *in, feature *out)
{
    if (i > 0) remove_filter_means(&w->shapes[i], w->convolutions[i].weight);
    convolve(&w->shapes[i], w->convolutions[i].weight, in, out);
    calibrate(&w->shapes[i], &w->convolutions[i], out);
}

/* f[0] holds the block's input and gets its output; f[1] to f[3] are room. Returns the next layer. */
static int run_block(dcam_trunk_weights *w, int i, feature f[4])
{
    run_layer(w, i, &f[0], &f[1]);
    rectify(&f[1]);
    run_layer(w, i + 1, &f[1], &f[2]);
    int next = i + 2;
    const feature *identity = &f[0];
    if (next < w->convolution_count && w->shapes[next].kernel == 1) {
        run_layer(w, next++, &f[0], &f[3]);
        identity = &f[3];
    }
    size_t n = (size_t)f[2].channels * (size_t)f[2].size * (size_t)f[2].size;
    for (size_t k = 0; k < n; k++) f[2].values[k] += identity->values[k];
    rectify(&f[2]);
    feature swap = f[0];
    f[0] = f[2];
    f[2] = swap;
    return next;
}

dcam_status dcam_trunk_weights_random_teacher(const dcam_architecture *a, uint64_t seed, dcam_trunk_weights **out)
{
    dcam_trunk_weights *start = NULL, *w = NULL;
    float *room = NULL;
    dcam_status status = dcam_trunk_weights_random(a, seed, &start);
    if (status != DCAM_OK) goto cleanup;
    if ((status = dcam_trunk_weights_create(a, true, &w)) != DCAM_OK) goto cleanup;
    for (int i = 0; i < w->convolution_count; i++)
        memcpy(w->convolutions[i].weight, start->convolutions[i].weight,
               w->shapes[i].weight_count * sizeof *w->convolutions[i].weight);
    if ((status = dcam_alloc(4 * MAX_VALUES, sizeof *room, &room)) != DCAM_OK) goto cleanup;
    feature f[4];
    for (size_t k = 0; k < 4; k++) f[k] = (feature){0, 0, room + k * MAX_VALUES};
    draw_picture(&f[1]);
    run_layer(w, 0, &f[1], &f[2]);
    rectify(&f[2]);
    pool(&f[2], &f[0]);
    for (int i = 1; i < w->convolution_count;) i = run_block(w, i, f);
    *out = w;
    w = NULL;
cleanup:
    dcam_free(room);
    dcam_trunk_weights_destroy(w);
    dcam_trunk_weights_destroy(start);
    return status;
}
