/* detector_graph.c - the detector as an ONNX graph: the same steps as detect/scorer.c and detect/map.c (method.md,
 * Scoring), in f32. Feature maps are N,C,H,W here, as ONNX has them; anomaly maps N,1,H,W up to the last step. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "export/export.h"
#include "net/attention.h"
#include "net/resnet.h"

/* As in detect/map.c. */
#define COSINE_EPSILON 1e-6f
#define TRUNCATE 4

/* ---- the trunk ---- */

static onnx_value relu(onnx_graph *g, onnx_value x) { return onnx_unary(g, "Relu", onnx_name("%s.relu", x.text), x); }

static onnx_value convolve(onnx_graph *g, onnx_value name, onnx_value x, onnx_value weight, const onnx_value *bias,
                           int64_t kernel, int64_t stride)
{
    const int64_t half = kernel / 2;
    const onnx_value *inputs[] = {&x, &weight, bias};
    const size_t begun = onnx_begin(g, "Conv", &name, bias ? 3 : 2, inputs);
    onnx_set_integers(g, "kernel_shape", 2, (int64_t[]){kernel, kernel});
    onnx_set_integers(g, "strides", 2, (int64_t[]){stride, stride});
    onnx_set_integers(g, "pads", 4, (int64_t[]){half, half, half, half});
    onnx_end(g, begun);
    return name;
}

static onnx_value trunk_convolution(onnx_graph *g, const dcam_trunk_weights *w, const char *who, int i, onnx_value x)
{
    const dcam_convolution_shape *s = &w->shapes[i];
    const int64_t channels = s->out_channels, kernel = s->kernel;
    onnx_value weight = onnx_name("%s.%s.weight", who, s->name), bias = onnx_name("%s.%s.bias", who, s->name);
    weight = onnx_floats(g, weight, 4, (int64_t[]){channels, s->in_channels, kernel, kernel}, w->convolutions[i].weight);
    bias = onnx_floats(g, bias, 1, &channels, w->convolutions[i].bias);
    return convolve(g, onnx_name("%s.%s", who, s->name), x, weight, &bias, kernel, s->stride);
}

static onnx_value max_pool(onnx_graph *g, onnx_value name, onnx_value x)
{
    const size_t begun = onnx_begin(g, "MaxPool", &name, 1, (const onnx_value *[]){&x});
    onnx_set_integers(g, "kernel_shape", 2, (int64_t[]){3, 3});
    onnx_set_integers(g, "strides", 2, (int64_t[]){2, 2});
    onnx_set_integers(g, "pads", 4, (int64_t[]){1, 1, 1, 1});
    onnx_end(g, begun);
    return name;
}

/* w: folded. who: "teacher", "student". */
static void trunk(onnx_graph *g, const dcam_trunk_weights *w, const char *who, onnx_value input,
                  onnx_value features[DCAM_STAGES])
{
    onnx_value x = max_pool(g, onnx_name("%s.maxpool", who), relu(g, trunk_convolution(g, w, who, 0, input)));
    int i = 1;
    for (int stage = 0; stage < DCAM_STAGES; stage++) {
        for (int block = 0; block < w->architecture->stage_blocks[stage]; block++) {
            const onnx_value name = onnx_name("%s.layer%d.%d", who, stage + 1, block);
            onnx_value y = relu(g, trunk_convolution(g, w, who, i++, x));
            y = trunk_convolution(g, w, who, i++, y);
            if (i < w->convolution_count && strstr(w->shapes[i].name, "downsample"))
                x = trunk_convolution(g, w, who, i++, x);
            x = relu(g, onnx_binary(g, "Add", name, y, x));
        }
        features[stage] = x;
    }
}

/* ---- reductions ---- */

static onnx_value reduce(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value x, size_t axes,
                         const int64_t *axis, bool keep)
{
    const size_t begun = onnx_begin(g, operator_name, &name, 1, (const onnx_value *[]){&x});
    onnx_set_integers(g, "axes", axes, axis);
    onnx_set_integer(g, "keepdims", keep);
    onnx_end(g, begun);
    return name;
}

/* Of the operators in use ReduceSum alone takes its axes as an input in this opset. */
static onnx_value sum(onnx_graph *g, onnx_value name, onnx_value x, int64_t axis, bool keep)
{
    const onnx_value axes = onnx_integers(g, onnx_name("%s.axes", name.text), 1, &axis);
    const size_t begun = onnx_begin(g, "ReduceSum", &name, 2, (const onnx_value *[]){&x, &axes});
    onnx_set_integer(g, "keepdims", keep);
    onnx_end(g, begun);
    return name;
}

/* Squeeze, Unsqueeze, Reshape: the second input says how. */
static onnx_value shape_by(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value x, size_t count,
                           const int64_t *values)
{
    const onnx_value how = onnx_integers(g, onnx_name("%s.shape", name.text), count, values);
    return onnx_binary(g, operator_name, name, x, how);
}

static onnx_value with_scalar(onnx_graph *g, const char *operator_name, onnx_value name, onnx_value x, double scalar)
{
    return onnx_binary(g, operator_name, name, x, onnx_scalar(g, onnx_name("%s.value", name.text), (float)scalar));
}

/* ---- attention (net/attention.c) ---- */

/* 1 / (1 + e^-x) and not Sigmoid: ONNX Runtime's is clamped at 18, and a block that has learned to shut a channel off
 * then gives other maps. */
static onnx_value sigmoid(onnx_graph *g, onnx_value name, onnx_value x)
{
    x = onnx_unary(g, "Exp", onnx_name("%s.exp", name.text), onnx_unary(g, "Neg", onnx_name("%s.minus", name.text), x));
    x = with_scalar(g, "Add", onnx_name("%s.sum", name.text), x, 1);
    return onnx_unary(g, "Reciprocal", name, x);
}

static onnx_value attend_channels(onnx_graph *g, int stage, int64_t channels, const float *values, onnx_value s)
{
    const int64_t hidden = (int64_t)dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, (int)channels) / (2 * channels);
    const char *const pools[] = {"GlobalAveragePool", "GlobalMaxPool"};
    const int k = stage + 1;
    const onnx_value w1 = onnx_floats(g, onnx_name("attention.layer%d.w1", k), 4, (int64_t[]){hidden, channels, 1, 1}, values);
    const onnx_value w2 = onnx_floats(g, onnx_name("attention.layer%d.w2", k), 4, (int64_t[]){channels, hidden, 1, 1},
                                      values + hidden * channels);
    onnx_value logits[2];
    for (int i = 0; i < 2; i++) {
        onnx_value x = onnx_unary(g, pools[i], onnx_name("attention.layer%d.pool%d", k, i), s);
        x = relu(g, convolve(g, onnx_name("attention.layer%d.hidden%d", k, i), x, w1, NULL, 1, 1));
        logits[i] = convolve(g, onnx_name("attention.layer%d.logit%d", k, i), x, w2, NULL, 1, 1);
    }
    onnx_value w = onnx_binary(g, "Add", onnx_name("attention.layer%d.logit", k), logits[0], logits[1]);
    w = sigmoid(g, onnx_name("attention.layer%d.channel_weight", k), w);
    return onnx_binary(g, "Mul", onnx_name("attention.layer%d.channel", k), s, w);
}

static onnx_value attend_positions(onnx_graph *g, int stage, const float *values, onnx_value s)
{
    const int64_t axis = 1;
    const int k = stage + 1;
    const onnx_value kernel = onnx_floats(g, onnx_name("attention.layer%d.kernel", k), 4, (int64_t[]){1, 2, 7, 7}, values);
    const onnx_value mean = reduce(g, "ReduceMean", onnx_name("attention.layer%d.mean", k), s, 1, &axis, true);
    const onnx_value most = reduce(g, "ReduceMax", onnx_name("attention.layer%d.maximum", k), s, 1, &axis, true);
    const onnx_value pooled = onnx_name("attention.layer%d.pooled", k);
    const size_t begun = onnx_begin(g, "Concat", &pooled, 2, (const onnx_value *[]){&mean, &most});
    onnx_set_integer(g, "axis", axis);
    onnx_end(g, begun);
    onnx_value w = convolve(g, onnx_name("attention.layer%d.spatial_logit", k), pooled, kernel, NULL, 7, 1);
    w = sigmoid(g, onnx_name("attention.layer%d.spatial_weight", k), w);
    return onnx_binary(g, "Mul", onnx_name("attention.layer%d.spatial", k), s, w);
}

static onnx_value attend(onnx_graph *g, const dcam_model *m, int stage, onnx_value s)
{
    const int channels = m->architecture->stage_channels[stage];
    const float *values = m->attention_values[stage];
    if (!m->attention_at_detection) return s;
    if (m->attention == DCAM_ATTENTION_CHANNEL || m->attention == DCAM_ATTENTION_CBAM) {
        s = attend_channels(g, stage, channels, values, s);
        values += dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, channels);
    }
    if (m->attention == DCAM_ATTENTION_SPATIAL || m->attention == DCAM_ATTENTION_CBAM)
        s = attend_positions(g, stage, values, s);
    return s;
}

/* ---- stage maps ---- */

static onnx_value cosine_distance(onnx_graph *g, int stage, onnx_value t, onnx_value s)
{
    const int64_t axis = 1;
    const int k = stage + 1;
    onnx_value dot = onnx_binary(g, "Mul", onnx_name("map%d.products", k), t, s);
    dot = sum(g, onnx_name("map%d.dot", k), dot, axis, true);
    const onnx_value t_length = reduce(g, "ReduceL2", onnx_name("map%d.teacher_length", k), t, 1, &axis, true);
    const onnx_value s_length = reduce(g, "ReduceL2", onnx_name("map%d.student_length", k), s, 1, &axis, true);
    onnx_value lengths = onnx_binary(g, "Mul", onnx_name("map%d.lengths", k), t_length, s_length);
    lengths = with_scalar(g, "Add", onnx_name("map%d.divisor", k), lengths, (double)COSINE_EPSILON);
    const onnx_value cosine = onnx_binary(g, "Div", onnx_name("map%d.cosine", k), dot, lengths);
    const onnx_value one = onnx_scalar(g, onnx_name("map%d.one", k), 1);
    return onnx_binary(g, "Sub", onnx_name("map%d.distance", k), one, cosine);
}

/* log of the softmax over positions: N,C,H,W -> N,C,H*W */
static onnx_value log_softmax(onnx_graph *g, const char *who, int stage, onnx_value x, double temperature,
                              const int64_t shape[3])
{
    const int k = stage + 1;
    x = shape_by(g, "Reshape", onnx_name("kd%d.%s.flat", k, who), x, 3, shape);
    if (temperature > 0) x = with_scalar(g, "Mul", onnx_name("kd%d.%s.scaled", k, who), x, 1 / temperature);
    const onnx_value name = onnx_name("kd%d.%s.log", k, who);
    const size_t begun = onnx_begin(g, "LogSoftmax", &name, 1, (const onnx_value *[]){&x});
    onnx_set_integer(g, "axis", 2);
    onnx_end(g, begun);
    return name;
}

/* P (log P - log Q) - P + Q. Where P and Q are nearly equal by its series, as in detect/map.c: the difference would be rounding. */
static onnx_value entropy_share(onnx_graph *g, int k, onnx_value log_p, onnx_value log_q)
{
    static const double series[] = {-1.0 / 5040, 1.0 / 720, -1.0 / 120, 1.0 / 24, -1.0 / 6, 1.0 / 2};
    enum { TERMS = sizeof series / sizeof *series };
    const onnx_value p = onnx_unary(g, "Exp", onnx_name("kd%d.p", k), log_p);
    const onnx_value q = onnx_unary(g, "Exp", onnx_name("kd%d.q", k), log_q);
    const onnx_value d = onnx_binary(g, "Sub", onnx_name("kd%d.ratio", k), log_p, log_q);
    onnx_value plain = onnx_binary(g, "Mul", onnx_name("kd%d.entropy", k), p, d);
    plain = onnx_binary(g, "Add", onnx_name("kd%d.plain", k), plain, onnx_binary(g, "Sub", onnx_name("kd%d.difference", k), q, p));
    onnx_value x = with_scalar(g, "Mul", onnx_name("kd%d.product0", k), d, series[0]);
    for (int i = 1; i < TERMS; i++) {
        x = with_scalar(g, "Add", onnx_name("kd%d.series%d", k, i), x, series[i]);
        x = onnx_binary(g, "Mul", onnx_name("kd%d.product%d", k, i), x, d);
    }
    x = onnx_binary(g, "Mul", onnx_name("kd%d.square", k), x, d);
    x = onnx_binary(g, "Mul", onnx_name("kd%d.small", k), x, p);
    const onnx_value size = onnx_unary(g, "Abs", onnx_name("kd%d.size", k), d);
    const onnx_value is_small = with_scalar(g, "Less", onnx_name("kd%d.is_small", k), size, 0.25);
    const onnx_value name = onnx_name("kd%d.rest", k);
    onnx_end(g, onnx_begin(g, "Where", &name, 3, (const onnx_value *[]){&is_small, &x, &plain}));
    return name;
}

/* distance + weight * k(i) of map.h: T^2 N/C * sum over c of P (log P - log Q) - P + Q */
static onnx_value add_entropy(onnx_graph *g, const dcam_model *m, int stage, const dcam_feature_shapes *shapes,
                              onnx_value t, onnx_value s, onnx_value distance)
{
    const int64_t h = shapes->height[stage], w = shapes->width[stage], channels = shapes->channels[stage];
    const double temperature = m->map.kd_temperature > 0 ? m->map.kd_temperature : 1;
    const double scale = m->map.kd_weight * temperature * temperature * (double)(h * w) / (double)channels;
    const int64_t flat[3] = {0, channels, h * w}; /* 0: the batch, as it is */
    const int k = stage + 1;
    const onnx_value log_p = log_softmax(g, "teacher", stage, t, m->map.kd_temperature, flat);
    const onnx_value log_q = log_softmax(g, "student", stage, s, m->map.kd_temperature, flat);
    onnx_value x = entropy_share(g, k, log_p, log_q);
    x = sum(g, onnx_name("kd%d.sum", k), x, 1, true);
    x = with_scalar(g, "Mul", onnx_name("kd%d.weighted", k), x, scale);
    x = shape_by(g, "Reshape", onnx_name("kd%d.map", k), x, 4, (int64_t[]){0, 1, h, w});
    return onnx_binary(g, "Add", onnx_name("map%d.with_kd", k), distance, x);
}

/* ---- the class (detect/scorer.c: the nearest centre of the teacher's layer-3 features) ---- */

typedef struct {
    const dcam_class_calibration *classes; /* those that the graph chooses from */
    size_t count;
    onnx_value position;                   /* N: which of them */
} class_choice;

static onnx_value choose_one(onnx_graph *g, const class_choice *c, onnx_value name, const float *values)
{
    const int64_t count = (int64_t)c->count;
    const onnx_value all = onnx_floats(g, onnx_name("%s.all", name.text), 1, &count, values);
    return onnx_binary(g, "Gather", name, all, c->position);
}

/* centres: count x channels. With one class the same nodes choose it. */
static class_choice choose_class(onnx_graph *g, const dcam_class_calibration *classes, size_t count,
                                 const float *centres, int64_t channels, onnx_value teacher_features)
{
    class_choice c = {.classes = classes, .count = count};
    const onnx_value known = onnx_floats(g, onnx_name("class.centres"), 2, (int64_t[]){(int64_t)count, channels}, centres);
    onnx_value x = onnx_unary(g, "GlobalAveragePool", onnx_name("class.mean"), teacher_features);
    x = shape_by(g, "Reshape", onnx_name("class.centre"), x, 3, (int64_t[]){0, 1, channels});
    x = onnx_binary(g, "Sub", onnx_name("class.differences"), x, known); /* N,K,C */
    x = onnx_binary(g, "Mul", onnx_name("class.squares"), x, x);
    x = sum(g, onnx_name("class.distances"), x, 2, false);
    c.position = onnx_name("class.nearest");
    const size_t begun = onnx_begin(g, "ArgMin", &c.position, 1, (const onnx_value *[]){&x});
    onnx_set_integer(g, "axis", 1);
    onnx_set_integer(g, "keepdims", 0);
    onnx_end(g, begun);
    return c;
}

/* score >= threshold must mean the same for a float threshold: the next float upwards. */
static float upward(double threshold)
{
    const float nearest = (float)threshold;
    return (double)nearest < threshold ? nextafterf(nearest, INFINITY) : nearest;
}

/* (map - mean) * factor, both of the image's class. */
static onnx_value standardise(onnx_graph *g, const class_choice *c, const char *who, const float *mean, const float *factor,
                              onnx_value map)
{
    const int64_t to_maps[] = {1, 2, 3};
    onnx_value m = choose_one(g, c, onnx_name("%s.class_mean", who), mean);
    onnx_value f = choose_one(g, c, onnx_name("%s.class_factor", who), factor);
    m = shape_by(g, "Unsqueeze", onnx_name("%s.normal_mean", who), m, 3, to_maps);
    f = shape_by(g, "Unsqueeze", onnx_name("%s.factor", who), f, 3, to_maps);
    return onnx_binary(g, "Mul", onnx_name("%s.standard", who), onnx_binary(g, "Sub", onnx_name("%s.centred", who), map, m), f);
}

static onnx_value standardise_stage(onnx_graph *g, const class_choice *c, int stage, onnx_value distance)
{
    float mean[DCAM_MAX_CLASSES], factor[DCAM_MAX_CLASSES];
    for (size_t i = 0; i < c->count; i++) {
        mean[i] = c->classes[i].stages.mean[stage];
        factor[i] = 1 / c->classes[i].stages.deviation[stage];
    }
    return standardise(g, c, onnx_name("map%d", stage + 1).text, mean, factor, distance);
}

/* ---- from stage maps to the whole ---- */

static onnx_value upsample(onnx_graph *g, onnx_value name, onnx_value x, float factor)
{
    const int64_t four = 4;
    const onnx_value scales = onnx_floats(g, onnx_name("%s.scales", name.text), 1, &four, (float[]){1, 1, factor, factor});
    const onnx_value none = {""}; /* the region of interest, which this mode has not */
    const size_t begun = onnx_begin(g, "Resize", &name, 3, (const onnx_value *[]){&x, &none, &scales});
    onnx_set_text(g, "mode", "linear");
    onnx_set_text(g, "coordinate_transformation_mode", "half_pixel");
    onnx_end(g, begun);
    return name;
}

/* ---- the memory of normal patches (detect/memory.c) ---- */

/* Stages 2 and 3, averaged over 3x3, at unit length, projected: N,D,H,W of that stage. */
static onnx_value describe(onnx_graph *g, const dcam_model *m, int part, onnx_value features)
{
    const int64_t axis = 1, channels = m->architecture->stage_channels[1 + part], dimensions = m->memory.dimensions;
    const float *from = m->memory.projection + (part ? (size_t)m->architecture->stage_channels[1] * (size_t)dimensions : 0);
    float *turned = NULL; /* dimensions x channels */
    if (g->nodes.status == DCAM_OK)
        g->nodes.status = dcam_alloc((size_t)channels, (size_t)dimensions * sizeof *turned, &turned);
    if (g->nodes.status != DCAM_OK) return features;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t d = 0; d < dimensions; d++) turned[d * channels + c] = from[c * dimensions + d];
    const onnx_value w = onnx_floats(g, onnx_name("memory.projection%d", part + 2), 4, (int64_t[]){dimensions, channels, 1, 1}, turned);
    dcam_free(turned);
    const onnx_value mean = onnx_name("memory.mean%d", part + 2);
    const size_t begun = onnx_begin(g, "AveragePool", &mean, 1, (const onnx_value *[]){&features});
    onnx_set_integers(g, "kernel_shape", 2, (int64_t[]){3, 3});
    onnx_set_integers(g, "pads", 4, (int64_t[]){1, 1, 1, 1});
    onnx_set_integer(g, "count_include_pad", 1); /* only the direction counts */
    onnx_end(g, begun);
    onnx_value length = reduce(g, "ReduceL2", onnx_name("memory.length%d", part + 2), mean, 1, &axis, true);
    length = with_scalar(g, "Max", onnx_name("memory.divisor%d", part + 2), length, 1e-12);
    const onnx_value unit = onnx_binary(g, "Div", onnx_name("memory.unit%d", part + 2), mean, length);
    return convolve(g, onnx_name("memory.projected%d", part + 2), unit, w, NULL, 1, 1);
}

/* Of each class turned, K x D x P, the shorter ones filled up with their first; and their squared lengths, K x 1 x P. */
static dcam_status gather_prototypes(onnx_graph *g, const dcam_model *m, const class_choice *c, onnx_value *turned,
                                     onnx_value *squares)
{
    const size_t d = (size_t)m->memory.dimensions;
    size_t most = 0, room;
    float *all = NULL, *lengths = NULL;
    for (size_t i = 0; i < c->count; i++)
        if (c->classes[i].prototype_count > most) most = c->classes[i].prototype_count;
    if (!dcam_size_mul(c->count * d, most, &room)) return dcam_fail(DCAM_ERROR_MEMORY, "too many prototypes to export");
    dcam_status status = dcam_alloc(room, sizeof *all, &all);
    if (status == DCAM_OK) status = dcam_alloc_zero(c->count * most, sizeof *lengths, &lengths);
    for (size_t i = 0; status == DCAM_OK && i < c->count; i++)
        for (size_t p = 0; p < most; p++) {
            const float *from = c->classes[i].prototypes + (p < c->classes[i].prototype_count ? p : 0) * d;
            double square = 0;
            for (size_t k = 0; k < d; k++) {
                all[(i * d + k) * most + p] = from[k];
                square += (double)from[k] * (double)from[k];
            }
            lengths[i * most + p] = (float)square;
        }
    if (status == DCAM_OK) {
        const int64_t shape[3] = {(int64_t)c->count, (int64_t)d, (int64_t)most};
        const onnx_value known = onnx_floats(g, onnx_name("memory.prototypes.all"), 3, shape, all);
        const onnx_value known_squares =
            onnx_floats(g, onnx_name("memory.squares.all"), 3, (int64_t[]){shape[0], 1, shape[2]}, lengths);
        *turned = onnx_binary(g, "Gather", onnx_name("memory.prototypes"), known, c->position);
        *squares = onnx_binary(g, "Gather", onnx_name("memory.squares"), known_squares, c->position);
    }
    dcam_free(lengths);
    dcam_free(all);
    return status;
}

/* Distance of each patch to the nearest prototype, standardised and weighted, at the first stage's size:
 * |e - p|^2 = |e|^2 + |p|^2 - 2 e p. */
static dcam_status add_memory(onnx_graph *g, const dcam_model *m, const class_choice *c, const dcam_feature_shapes *shapes,
                              const onnx_value teacher[DCAM_STAGES], onnx_value *map)
{
    const int64_t h = shapes->height[1], w = shapes->width[1], d = m->memory.dimensions, last = 2;
    float mean[DCAM_MAX_CLASSES], factor[DCAM_MAX_CLASSES];
    onnx_value prototypes, squares;
    DCAM_TRY(gather_prototypes(g, m, c, &prototypes, &squares));
    onnx_value e = upsample(g, onnx_name("memory.coarse"), describe(g, m, 1, teacher[2]), 2);
    e = onnx_binary(g, "Add", onnx_name("memory.sum"), describe(g, m, 0, teacher[1]), e);
    e = shape_by(g, "Reshape", onnx_name("memory.flat"), e, 3, (int64_t[]){0, d, h * w});
    const onnx_value patches = onnx_name("memory.patches");
    const size_t begun = onnx_begin(g, "Transpose", &patches, 1, (const onnx_value *[]){&e});
    onnx_set_integers(g, "perm", 3, (int64_t[]){0, 2, 1});
    onnx_end(g, begun);
    onnx_value x = onnx_binary(g, "MatMul", onnx_name("memory.dot"), patches, prototypes); /* N,H*W,P */
    x = with_scalar(g, "Mul", onnx_name("memory.twice"), x, -2);
    x = onnx_binary(g, "Add", onnx_name("memory.partial"), x, squares);
    x = reduce(g, "ReduceMin", onnx_name("memory.nearest"), x, 1, &last, true);
    const onnx_value own = sum(g, onnx_name("memory.own"), onnx_binary(g, "Mul", onnx_name("memory.own_squares"), patches, patches), 2, true);
    x = with_scalar(g, "Max", onnx_name("memory.square"), onnx_binary(g, "Add", onnx_name("memory.rounded"), x, own), 0);
    x = onnx_unary(g, "Sqrt", onnx_name("memory.distance"), x);
    x = shape_by(g, "Reshape", onnx_name("memory.grid"), x, 4, (int64_t[]){0, 1, h, w});
    x = upsample(g, onnx_name("memory.upsampled"), x, 2);
    for (size_t i = 0; i < c->count; i++) {
        mean[i] = c->classes[i].memory_mean;
        factor[i] = (float)(m->memory.weight / (double)c->classes[i].memory_deviation);
    }
    x = standardise(g, c, "memory", mean, factor, x);
    *map = onnx_binary(g, "Add", onnx_name("map.with_memory"), *map, x);
    return DCAM_OK;
}

/* Reflected edges: d c b a | a b c d | d c b a */
static size_t reflect(long i, long n)
{
    const long period = 2 * n;
    i = (i % period + period) % period;
    return (size_t)(i < n ? i : period - 1 - i);
}

/* The Gaussian along one side as a matrix, out = M in, since ONNX has no padding that reflects like this. n x n; for
 * transposed the matrix stands on the other side. */
static dcam_status gaussian_matrix(int n, double sigma, bool transposed, float **out)
{
    const long radius = (long)(TRUNCATE * sigma + 0.5);
    float *m = NULL;
    double total = 0;
    for (long j = -radius; j <= radius; j++) total += exp(-0.5 * (double)j * (double)j / (sigma * sigma));
    DCAM_TRY(dcam_alloc_zero((size_t)n * (size_t)n, sizeof *m, &m));
    for (long i = 0; i < n; i++)
        for (long j = -radius; j <= radius; j++) {
            const size_t from = reflect(i + j, n), to = (size_t)i;
            const double weight = exp(-0.5 * (double)j * (double)j / (sigma * sigma)) / total;
            m[transposed ? from * (size_t)n + to : to * (size_t)n + from] += (float)weight;
        }
    *out = m;
    return DCAM_OK;
}

static dcam_status smooth(onnx_graph *g, const dcam_model *m, onnx_value *x)
{
    const int64_t h = m->preprocessing.height, w = m->preprocessing.width;
    float *down = NULL, *across = NULL;
    dcam_status status = gaussian_matrix((int)h, m->map.smoothing, false, &down);
    if (status == DCAM_OK) status = gaussian_matrix((int)w, m->map.smoothing, true, &across);
    if (status == DCAM_OK) {
        const onnx_value left = onnx_floats(g, onnx_name("smoothing.down"), 2, (int64_t[]){h, h}, down);
        const onnx_value right = onnx_floats(g, onnx_name("smoothing.across"), 2, (int64_t[]){w, w}, across);
        *x = onnx_binary(g, "MatMul", onnx_name("map.smoothed_down"), left, *x);
        *x = onnx_binary(g, "MatMul", onnx_name("map.smoothed"), *x, right);
    }
    dcam_free(across);
    dcam_free(down);
    return status;
}

/* Maximum, or mean of the largest values, of N,1,H,W. */
static void image_score(onnx_graph *g, const dcam_model *m, onnx_value map)
{
    const int64_t pixels = (int64_t)m->preprocessing.height * m->preprocessing.width, last = 1;
    if (m->map.top_percent <= 0) {
        reduce(g, "ReduceMax", onnx_name("score"), map, 3, (int64_t[]){1, 2, 3}, false);
        return;
    }
    int64_t k = (int64_t)(m->map.top_percent / 100 * (double)pixels);
    k = k < 1 ? 1 : k > pixels ? pixels : k;
    const onnx_value flat = shape_by(g, "Reshape", onnx_name("score.pixels"), map, 2, (int64_t[]){0, pixels});
    const onnx_value count = onnx_integers(g, onnx_name("score.count"), 1, &k);
    const onnx_value largest = onnx_name("score.largest"), places = onnx_name("score.places");
    const size_t begun = onnx_begin(g, "TopK", &largest, 2, (const onnx_value *[]){&flat, &count});
    onnx_add_output(g, &places);
    onnx_set_integer(g, "axis", 1);
    onnx_end(g, begun);
    reduce(g, "ReduceMean", onnx_name("score"), largest, 1, &last, false);
}

static onnx_value normalised_input(onnx_graph *g, const dcam_model *m, bool rgb)
{
    const dcam_preprocessing *p = &m->preprocessing;
    const int64_t h = p->height, w = p->width, planes[4] = {1, 3, 1, 1};
    if (!rgb) return onnx_input(g, "input", ONNX_F32, 4, (int64_t[]){3, h, w});
    const onnx_value in = onnx_input(g, "input", ONNX_U8, 4, (int64_t[]){h, w, 3});
    const onnx_value floats = onnx_name("input.floats"), turned = onnx_name("input.planes");
    size_t begun = onnx_begin(g, "Cast", &floats, 1, (const onnx_value *[]){&in});
    onnx_set_integer(g, "to", ONNX_F32);
    onnx_end(g, begun);
    begun = onnx_begin(g, "Transpose", &turned, 1, (const onnx_value *[]){&floats});
    onnx_set_integers(g, "perm", 4, (int64_t[]){0, 3, 1, 2});
    onnx_end(g, begun);
    const onnx_value mean = onnx_floats(g, onnx_name("input.mean"), 4, planes, p->mean);
    const onnx_value deviation = onnx_floats(g, onnx_name("input.deviation"), 4, planes, p->deviation);
    onnx_value x = with_scalar(g, "Div", onnx_name("input.fraction"), turned, 255);
    x = onnx_binary(g, "Sub", onnx_name("input.centred"), x, mean);
    return onnx_binary(g, "Div", onnx_name("input.normalised"), x, deviation);
}

static void add_outputs(onnx_graph *g, const dcam_model *m, const class_choice *c, onnx_value map)
{
    const int64_t h = m->preprocessing.height, w = m->preprocessing.width, planes = 1;
    int64_t indices[DCAM_MAX_CLASSES];
    float thresholds[DCAM_MAX_CLASSES];
    const onnx_value names[] = {onnx_name("map"), onnx_name("score"), onnx_name("class"), onnx_name("threshold")};
    for (size_t i = 0; i < c->count; i++) {
        indices[i] = (int64_t)(&c->classes[i] - m->classes);
        thresholds[i] = upward(c->classes[i].threshold);
    }
    image_score(g, m, map);
    shape_by(g, "Squeeze", names[0], map, 1, &planes);
    const onnx_value all = onnx_integers(g, onnx_name("class.all"), c->count, indices);
    onnx_binary(g, "Gather", names[2], all, c->position);
    choose_one(g, c, names[3], thresholds);
    onnx_output(g, &names[0], ONNX_F32, 3, (int64_t[]){h, w});
    onnx_output(g, &names[1], ONNX_F32, 1, NULL);
    onnx_output(g, &names[2], ONNX_I64, 1, NULL);
    onnx_output(g, &names[3], ONNX_F32, 1, NULL);
}

dcam_status dcam_class_centres(const dcam_class_calibration *classes, size_t count, size_t channels, float **out)
{
    float *centres = NULL;
    DCAM_TRY(dcam_alloc(count * channels, sizeof *centres, &centres)); /* at most 4096 x 256 */
    for (size_t i = 0; i < count; i++) memcpy(centres + i * channels, classes[i].centre, channels * sizeof *centres);
    *out = centres;
    return DCAM_OK;
}

dcam_status dcam_detector_graph(onnx_graph *g, const dcam_model *m, const dcam_trunk_weights *student,
                                const dcam_onnx_options *options)
{
    const bool all = options->class_index < 0;
    const dcam_class_calibration *classes = all ? m->classes : &m->classes[options->class_index];
    const size_t count = all ? m->class_count : 1;
    const size_t channels = (size_t)m->architecture->stage_channels[DCAM_STAGES - 1];
    const dcam_feature_shapes shapes =
        dcam_feature_shapes_at(m->architecture, m->preprocessing.height, m->preprocessing.width);
    onnx_value t[DCAM_STAGES], s[DCAM_STAGES], map = {""};
    float *centres = NULL;
    DCAM_TRY(dcam_class_centres(classes, count, channels, &centres));
    const onnx_value input = normalised_input(g, m, options->rgb);
    trunk(g, m->teacher, "teacher", input, t);
    trunk(g, student, "student", input, s);
    const class_choice chosen = choose_class(g, classes, count, centres, (int64_t)channels, t[DCAM_STAGES - 1]);
    dcam_free(centres);
    for (int k = 0; k < DCAM_STAGES; k++) {
        const onnx_value attended = attend(g, m, k, s[k]);
        onnx_value d = cosine_distance(g, k, t[k], attended);
        if (m->map.kd_weight > 0) d = add_entropy(g, m, k, &shapes, t[k], attended, d);
        if (m->map.kind == DCAM_MAP_STANDARD) d = standardise_stage(g, &chosen, k, d);
        if (k > 0) d = upsample(g, onnx_name("map%d.upsampled", k + 1), d, (float)(1 << k));
        const char *combine = m->map.kind == DCAM_MAP_PRODUCT ? "Mul" : "Add";
        map = k == 0 ? d : onnx_binary(g, combine, onnx_name("map.stages%d", k + 1), map, d);
    }
    if (m->memory.dimensions > 0) DCAM_TRY(add_memory(g, m, &chosen, &shapes, t, &map));
    map = upsample(g, onnx_name("map.upsampled"), map, 4);
    if (m->map.smoothing > 0) DCAM_TRY(smooth(g, m, &map));
    add_outputs(g, m, &chosen, map);
    return DCAM_OK;
}
