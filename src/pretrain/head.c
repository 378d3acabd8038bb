/* head.c - pooling, linear classifier, cross-entropy with smoothed labels (Szegedy et al. 2016), and their way back:
 *     p = softmax(W^T mean(map) + b),  L = - sum_j q_j log p_j,  q = (1 - s) onehot + s / K,  dL/dlogit = p - q.
 * Weights lie channels x classes, so that every inner loop runs along the classes. */
#include "pretrain/head.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "base/vector.h"

#define STREAM_HEAD UINT64_C(0x6865616400000000) /* "head" */
#define START_DEVIATION 0.01

/* The last stage's classifier is the task; the earlier ones make their stages useful by themselves. */
static const double stage_weight[DCAM_STAGES] = {0.3, 0.5, 1.0};

struct pretrain_head {
    dcam_feature_shapes shapes;
    int classes, batch;
    double smoothing;
    float *pooled;   /* batch x channels of one stage */
    float *logits;   /* batch x classes; then dL/dlogit */
    double *losses;  /* batch */
    bool *right;     /* batch: the image's class has the highest logit */
};

typedef struct {
    pretrain_head *head;
    int stage, n;
    const float *weights, *biases, *map;
    const int *labels;
    float *d_map, *d_weights;
} job;

size_t pretrain_head_count(const dcam_feature_shapes *shapes, int classes)
{
    size_t count = 0;
    for (int k = 0; k < DCAM_STAGES; k++) count += ((size_t)shapes->channels[k] + 1) * (size_t)classes;
    return count;
}

static size_t most_channels(const dcam_feature_shapes *shapes)
{
    size_t most = 0;
    for (int k = 0; k < DCAM_STAGES; k++) most = (size_t)shapes->channels[k] > most ? (size_t)shapes->channels[k] : most;
    return most;
}

size_t pretrain_head_bytes(const dcam_feature_shapes *shapes, int classes, int batch)
{
    return (size_t)batch * (sizeof(float) * (most_channels(shapes) + (size_t)classes) + sizeof(double) + sizeof(bool));
}

dcam_status pretrain_head_create(const dcam_feature_shapes *shapes, int classes, int batch, double smoothing, pretrain_head **out)
{
    pretrain_head *h;
    const size_t most = most_channels(shapes);
    DCAM_TRY(dcam_alloc_zero(1, sizeof *h, &h));
    h->shapes = *shapes;
    h->classes = classes;
    h->batch = batch;
    h->smoothing = smoothing;
    dcam_status status = dcam_alloc((size_t)batch, most * sizeof *h->pooled, &h->pooled);
    if (status == DCAM_OK) status = dcam_alloc((size_t)batch, (size_t)classes * sizeof *h->logits, &h->logits);
    if (status == DCAM_OK) status = dcam_alloc((size_t)batch, sizeof *h->losses, &h->losses);
    if (status == DCAM_OK) status = dcam_alloc((size_t)batch, sizeof *h->right, &h->right);
    if (status != DCAM_OK) {
        pretrain_head_destroy(h);
        return status;
    }
    *out = h;
    return DCAM_OK;
}

void pretrain_head_destroy(pretrain_head *h)
{
    if (!h) return;
    dcam_free(h->right);
    dcam_free(h->losses);
    dcam_free(h->logits);
    dcam_free(h->pooled);
    dcam_free(h);
}

void pretrain_head_start(const pretrain_head *h, uint64_t seed, float *values)
{
    dcam_random r = dcam_random_make(seed, STREAM_HEAD);
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t weights = (size_t)h->shapes.channels[k] * (size_t)h->classes;
        for (size_t i = 0; i < weights; i++) values[i] = (float)(START_DEVIATION * dcam_random_normal(&r));
        memset(values + weights, 0, (size_t)h->classes * sizeof *values);
        values += weights + (size_t)h->classes;
    }
}

/* to += k * from */
DCAM_INLINE void add_scaled(float *to, float k, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(i, n);
        dcam_f32x8 a, b;
        dcam_load8(&a, to + i, lanes);
        dcam_load8(&b, from + i, lanes);
        a += k * b;
        dcam_store8(to + i, &a, lanes);
    }
}

DCAM_INLINE float product(const float *a, const float *b, size_t n)
{
    dcam_f32x8 sum = {0};
    for (size_t i = 0; i < n; i += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(i, n);
        dcam_f32x8 u, v;
        dcam_load8(&u, a + i, lanes);
        dcam_load8(&v, b + i, lanes);
        sum += u * v;
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static bool is_highest(const float *logits, int label, int classes)
{
    for (int j = 0; j < classes; j++)
        if (j != label && logits[j] >= logits[label]) return false;
    return true;
}

/* Loss of one image from its logits, which become scale x dL/dlogit. */
static double cross_entropy(const pretrain_head *h, float *logits, int label, double scale)
{
    const double off = h->smoothing / h->classes, on = off + 1 - h->smoothing;
    double top = (double)logits[0], sum = 0, loss = 0;
    for (int j = 1; j < h->classes; j++) top = (double)logits[j] > top ? (double)logits[j] : top;
    for (int j = 0; j < h->classes; j++) sum += exp((double)logits[j] - top);
    const double log_sum = top + log(sum);
    for (int j = 0; j < h->classes; j++) {
        const double q = j == label ? on : off, log_p = (double)logits[j] - log_sum;
        loss -= q * log_p;
        logits[j] = (float)(scale * (exp(log_p) - q));
    }
    return loss;
}

/* Pools, classifies and comes back as far as the map. */
DCAM_KERNEL static void some_images(void *context, size_t begin, size_t end)
{
    const job *j = context;
    pretrain_head *h = j->head;
    const size_t channels = (size_t)h->shapes.channels[j->stage], classes = (size_t)h->classes;
    const size_t positions = (size_t)h->shapes.height[j->stage] * (size_t)h->shapes.width[j->stage];
    const float share = 1.0f / (float)positions;
    for (size_t i = begin; i < end; i++) {
        const float *map = j->map + i * positions * channels;
        float *d_map = j->d_map + i * positions * channels, *pooled = h->pooled + i * channels, *logits = h->logits + i * classes;
        memset(pooled, 0, channels * sizeof *pooled);
        for (size_t p = 0; p < positions; p++) add_scaled(pooled, share, map + p * channels, channels);
        memcpy(logits, j->biases, classes * sizeof *logits);
        for (size_t c = 0; c < channels; c++) add_scaled(logits, pooled[c], j->weights + c * classes, classes);
        h->right[i] = is_highest(logits, j->labels[i], h->classes);
        h->losses[i] = cross_entropy(h, logits, j->labels[i], stage_weight[j->stage] / j->n);
        for (size_t c = 0; c < channels; c++) d_map[c] = share * product(j->weights + c * classes, logits, classes);
        for (size_t p = 1; p < positions; p++) memcpy(d_map + p * channels, d_map, channels * sizeof *d_map);
    }
}

/* Rows of the weights' gradient; the row after the last is the biases'. */
DCAM_KERNEL static void some_channels(void *context, size_t begin, size_t end)
{
    const job *j = context;
    const pretrain_head *h = j->head;
    const size_t channels = (size_t)h->shapes.channels[j->stage], classes = (size_t)h->classes;
    for (size_t c = begin; c < end; c++) {
        float *row = j->d_weights + c * classes;
        memset(row, 0, classes * sizeof *row);
        for (size_t i = 0; i < (size_t)j->n; i++)
            add_scaled(row, c < channels ? h->pooled[i * channels + c] : 1.0f, h->logits + i * classes, classes);
    }
}

void pretrain_head_step(pretrain_head *h, const float *values, float *const features[DCAM_STAGES], const int *labels, int n,
                        double *loss, int *right, float *const d_features[DCAM_STAGES], float *gradient)
{
    double total = 0;
    int found = 0; /* of the last stage, in the end */
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t channels = (size_t)h->shapes.channels[k], weights = channels * (size_t)h->classes;
        job j = {.head = h, .stage = k, .n = n, .weights = values, .biases = values + weights, .map = features[k],
                 .labels = labels, .d_map = d_features[k], .d_weights = gradient};
        dcam_parallel_for((size_t)n, some_images, &j);
        dcam_parallel_for(channels + 1, some_channels, &j);
        found = 0;
        for (int i = 0; i < n; i++) {
            total += stage_weight[k] * h->losses[i] / n;
            found += h->right[i];
        }
        values += weights + (size_t)h->classes;
        gradient += weights + (size_t)h->classes;
    }
    *loss = total;
    *right = found;
}
