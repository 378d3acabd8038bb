/* bench_network.c - the networks and the map. The weights are random: the speed does not depend on what they hold, as
 * long as no value becomes denormal. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench.h"
#include "detect/scorer.h"
#include "nn/nn.h"

/* One made setup: the last asked for. */
static struct {
    dcam_net_precision precision;
    int batch;
    dcam_model *model;
    dcam_scorer *scorer;
    float *input, *maps;
    dcam_verdict *verdicts;
} made;

static dcam_status make_class(dcam_model *m)
{
    const size_t channels = (size_t)m->architecture->stage_channels[DCAM_STAGES - 1];
    dcam_class_calibration *c;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *c, &m->classes));
    m->class_count = 1;
    c = m->classes;
    c->threshold = 1;
    c->score_count = 1;
    DCAM_TRY(dcam_copy_string("bench", &c->name));
    DCAM_TRY(dcam_alloc_zero(1, sizeof *c->scores, &c->scores));
    return dcam_alloc_zero(channels, sizeof *c->centre, &c->centre);
}

/* For int8: any will do. */
static dcam_status make_ranges(int count, float **out)
{
    DCAM_TRY(dcam_alloc((size_t)count, sizeof **out, out));
    for (int i = 0; i < count; i++) (*out)[i] = 8;
    return DCAM_OK;
}

static dcam_status make_model(dcam_model **out)
{
    dcam_model *m;
    DCAM_TRY(dcam_model_create(&m));
    *out = m;
    m->architecture = dcam_architecture_find(NULL);
    m->preprocessing = dcam_preprocessing_default(BENCH_SIDE, BENCH_SIDE);
    m->map = (dcam_map_options){.kind = DCAM_MAP_SUM};
    DCAM_TRY(dcam_copy_string("dcam", &m->method));
    DCAM_TRY(dcam_trunk_weights_random_teacher(m->architecture, 1, &m->teacher));
    DCAM_TRY(dcam_trunk_weights_random(m->architecture, 2, &m->student));
    DCAM_TRY(make_ranges(m->teacher->convolution_count, &m->teacher_ranges));
    DCAM_TRY(make_ranges(m->teacher->convolution_count, &m->student_ranges));
    return make_class(m);
}

void bench_network_clear(void)
{
    dcam_scorer_destroy(made.scorer);
    dcam_model_destroy(made.model);
    dcam_free(made.input);
    dcam_free(made.maps);
    dcam_free(made.verdicts);
    memset(&made, 0, sizeof made);
}

static dcam_status run_once(void)
{
    return dcam_scorer_run_normalised(made.scorer, made.input, made.batch, NULL, made.maps, made.verdicts);
}

static dcam_status make(dcam_net_precision precision, int batch)
{
    const size_t pixels = (size_t)batch * BENCH_SIDE * BENCH_SIDE;
    const dcam_scorer_options options = {.batch = batch, .precision = precision};
    dcam_random r = dcam_random_make(1, 1);
    if (made.scorer && made.precision == precision && made.batch == batch) return DCAM_OK;
    if (batch < 1 || batch > 1024) return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d images", batch);
    bench_network_clear();
    made.precision = precision;
    made.batch = batch;
    DCAM_TRY(make_model(&made.model));
    DCAM_TRY(dcam_alloc(3 * pixels, sizeof(float), &made.input));
    DCAM_TRY(dcam_alloc(pixels, sizeof(float), &made.maps));
    DCAM_TRY(dcam_alloc((size_t)batch, sizeof *made.verdicts, &made.verdicts));
    for (size_t i = 0; i < 3 * pixels; i++) made.input[i] = (float)(4 * dcam_random_uniform(&r) - 2);
    dcam_scorer *scorer;
    DCAM_TRY(dcam_scorer_create(made.model, &options, &scorer));
    made.scorer = scorer;
    return run_once();
}

dcam_status bench_network(dcam_net_precision precision, int batch, int repeats, double *milliseconds)
{
    DCAM_TRY(make(precision, batch));
    for (int i = 0; i < repeats; i++) {
        const double start = dcam_seconds();
        DCAM_TRY(run_once());
        milliseconds[i] = 1e3 * (dcam_seconds() - start);
    }
    return DCAM_OK;
}

dcam_status bench_map(int repeats, double *milliseconds)
{
    DCAM_TRY(make(DCAM_NET_F32, 1));
    for (int i = 0; i < repeats; i++) {
        const double start = dcam_seconds();
        (void)dcam_scorer_map(made.scorer, 0, NULL, made.maps);
        milliseconds[i] = 1e3 * (dcam_seconds() - start);
    }
    return DCAM_OK;
}

/* ---- layer by layer ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Zeroed memory for one argument. */
static dcam_status bind_zero(dcam_nn_op *op, dcam_nn_argument which, void **memory)
{
    *memory = NULL;
    const size_t bytes = dcam_nn_op_bytes(op, which);
    if (bytes == 0) return DCAM_OK;
    DCAM_TRY(dcam_alloc_zero(1, bytes, memory));
    return dcam_nn_op_bind(op, which, *memory);
}

static dcam_status time_op(dcam_nn_op *op, int repeats, double *median)
{
    void *memory[DCAM_NN_ARGUMENTS] = {NULL};
    double *times = NULL;
    dcam_status status = dcam_nn_op_prepare(op);
    for (int i = 0; i < DCAM_NN_ARGUMENTS && status == DCAM_OK; i++)
        status = bind_zero(op, (dcam_nn_argument)i, &memory[i]);
    if (status == DCAM_OK) status = dcam_alloc((size_t)repeats, sizeof *times, &times);
    if (status == DCAM_OK) status = dcam_nn_op_run(op);
    for (int i = 0; i < repeats && status == DCAM_OK; i++) {
        const double start = dcam_seconds();
        status = dcam_nn_op_run(op);
        times[i] = 1e3 * (dcam_seconds() - start);
    }
    if (status == DCAM_OK) {
        qsort(times, (size_t)repeats, sizeof *times, by_value);
        *median = times[repeats / 2];
    }
    for (int i = 0; i < DCAM_NN_ARGUMENTS; i++) dcam_free(memory[i]);
    dcam_free(times);
    return status;
}

typedef dcam_status maker(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_op **out);

static dcam_status time_convolution(dcam_nn *nn, maker *make_op, const dcam_nn_convolution *c, const char *name,
                                    const char *part, int repeats)
{
    dcam_nn_op *op;
    double median = 0;
    DCAM_TRY(make_op(nn, c, &op));
    const dcam_status status = time_op(op, repeats, &median);
    const dcam_nn_tensor d = dcam_nn_convolution_dst(c);
    const double macs = (double)d.n * d.h * d.w * d.c * c->src.c * c->kernel * c->kernel;
    if (status == DCAM_OK)
        printf("{\"layer\": \"%s\", \"part\": \"%s\", \"implementation\": \"%s\", \"milliseconds\": %.4f, "
               "\"mmac\": %.1f, \"gflops\": %.1f}\n",
               name, part, dcam_nn_op_implementation(op), median, macs / 1e6, 2e-6 * macs / median);
    dcam_nn_op_destroy(op);
    return status;
}

/* Forward as detection runs it, and the three parts of a training step. */
static dcam_status time_layer(dcam_nn *nn, const dcam_nn_convolution *c, const char *name, bool stem, int repeats)
{
    dcam_nn_convolution training = *c;
    training.training = true;
    training.bias = training.relu = false;
    DCAM_TRY(time_convolution(nn, dcam_nn_convolution_forward, c, name, "detection", repeats));
    DCAM_TRY(time_convolution(nn, dcam_nn_convolution_forward, &training, name, "forward", repeats));
    if (!stem)
        DCAM_TRY(time_convolution(nn, dcam_nn_convolution_backward_data, &training, name, "backward data", repeats));
    return time_convolution(nn, dcam_nn_convolution_backward_weights, &training, name, "backward weights", repeats);
}

#define MOST_CHANNELS 256 /* of the trunk's convolutions */

static dcam_status time_layers(dcam_nn *nn, dcam_net_precision precision, int batch, int repeats)
{
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    const int count = dcam_architecture_convolutions(dcam_architecture_find(NULL), shapes);
    const bool products = precision == DCAM_NET_BF16 && dcam_nn_bf16_products();
    const dcam_nn_type type = precision == DCAM_NET_BF16 && !products ? DCAM_NN_BF16 : DCAM_NN_F32;
    const dcam_nn_layout layout = dcam_nn_best_layout(type);
    int side = BENCH_SIDE, before = BENCH_SIDE; /* of the present map, and of the block's input */
    float scales[MOST_CHANNELS];
    for (int i = 0; i < MOST_CHANNELS; i++) scales[i] = 1;
    for (int i = 0; i < count; i++) {
        const dcam_convolution_shape *s = &shapes[i];
        const bool stem = i == 0, int8 = precision == DCAM_NET_INT8;
        const int from = strstr(s->name, "downsample") ? before : side;
        dcam_nn_convolution c = {
            .src = {batch, s->in_channels, from, from, type, stem && layout == DCAM_NN_BLOCKED16 ? DCAM_NN_NCHW : layout},
            .out_channels = s->out_channels, .kernel = s->kernel, .stride = s->stride, .padding = s->padding,
            .dst_type = type, .dst_layout = layout, .bias = true, .relu = true, .bf16_products = products};
        if (int8 && !stem) {
            c.src.type = c.dst_type = DCAM_NN_U8;
            c.scales = scales;
        }
        if (int8) DCAM_TRY(time_convolution(nn, dcam_nn_convolution_forward, &c, s->name, "detection", repeats));
        else DCAM_TRY(time_layer(nn, &c, s->name, stem, repeats));
        if (strstr(s->name, "conv1")) before = side;
        if (!strstr(s->name, "downsample")) side = dcam_nn_convolution_dst(&c).h;
        if (stem) side = before = BENCH_SIDE / 4;
    }
    printf("{\"layers\": %d}\n", count);
    return DCAM_OK;
}

dcam_status bench_layers(dcam_net_precision precision, int batch, int repeats)
{
    dcam_nn *nn;
    DCAM_TRY(dcam_nn_create(&nn));
    const dcam_status status = time_layers(nn, precision, batch, repeats);
    dcam_nn_destroy(nn);
    return status;
}
