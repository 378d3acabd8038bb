/* memory_build.c - makes the memory of normal patches (memory.h) in two passes over the images: the first learns the
 * projection from a sample of all images, the second gathers each class's descriptors and thins them to prototypes.
 * Memory and time are bounded by the limits below, whatever the number of images. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/vector.h"
#include "detect/memory.h"

/* Images and places of each that the projection is learned from: 32,768 descriptors tell 64 directions apart. Where there
 * are more images they are drawn over all, so a class has its share of them, and a small one among large ones may have
 * none; its prototypes are its own all the same. */
#define PROJECTION_IMAGES 512
#define PROJECTION_PLACES 64
#define MOST_BATCH 8
/* Apart from other uses of the seed. */
#define STREAM_IMAGES UINT64_C(0x6d656d6f72690000) /* "memori" */
#define STREAM_PLACES UINT64_C(0x6d656d6f72700000) /* "memorp" */

typedef struct {
    const dcam_model *model;
    const dcam_calibration_set *set;
    dcam_net *net;
    dcam_matcher *matcher;
    int width, height, batch;
    size_t positions, channels, dimensions, feature_count[DCAM_STAGES];
    uint64_t seed;
    uint8_t *rgb;                /* batch images */
    float *input, *features[DCAM_STAGES], *descriptors;
    size_t *order;               /* images of the pass at hand, by number in the set */
    double *covariance, *mean;   /* of the raw descriptors */
    size_t described;
    float *projection, *pool;
    size_t pooled, places;       /* places: taken of each image */
    size_t done, total;
} builder;

typedef dcam_status (*image_step)(builder *b, size_t image, const float *const teacher[DCAM_STAGES]);

/* ---- images through the teacher ---- */

static dcam_status run_batch(builder *b, const size_t *images, int n, image_step step)
{
    dcam_normalise(&b->model->preprocessing, b->rgb, n, b->input);
    DCAM_TRY(dcam_net_run(b->net, b->input, n, b->features));
    for (int i = 0; i < n; i++) {
        const float *teacher[DCAM_STAGES];
        for (int k = 0; k < DCAM_STAGES; k++) teacher[k] = b->features[k] + (size_t)i * b->feature_count[k];
        DCAM_TRY(step(b, images[i], teacher));
    }
    return DCAM_OK;
}

static dcam_status for_each_image(builder *b, size_t count, image_step step)
{
    const size_t bytes = (size_t)b->width * (size_t)b->height * 3;
    size_t images[MOST_BATCH];
    int filled = 0;
    for (size_t i = 0; i < count; i++) {
        const dcam_status status = b->set->read(b->set->user, b->order[i], b->rgb + (size_t)filled * bytes);
        if (status == DCAM_OK) images[filled++] = b->order[i];
        else if (status != DCAM_ERROR_IMAGE && status != DCAM_ERROR_IO) return status;
        if (b->set->progress && b->set->progress(b->set->user, ++b->done, b->total))
            return dcam_fail(DCAM_ERROR_CANCELLED, "stopped while the memory was made; the model is as it was");
        if (filled == 0 || (filled < b->batch && i + 1 < count)) continue;
        DCAM_TRY(run_batch(b, images, filled, step));
        filled = 0;
    }
    return DCAM_OK;
}

/* A random choice of `wanted` of n numbers into order[0..wanted). */
static void choose(dcam_random *random, size_t *order, size_t n, size_t wanted)
{
    for (size_t i = 0; i < wanted && i + 1 < n; i++) {
        const size_t j = i + dcam_random_below(random, n - i);
        const size_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

/* ---- the projection ---- */

/* The lower half of x x'. */
DCAM_KERNEL static void add_products(const float *x, size_t channels, double *sums, double *products)
{
    for (size_t i = 0; i < channels; i++) {
        const double v = (double)x[i];
        double *row = products + i * channels;
        sums[i] += v;
        for (size_t j = 0; j <= i; j++) row[j] += v * (double)x[j];
    }
}

static dcam_status add_covariance(builder *b, size_t image, const float *const teacher[DCAM_STAGES])
{
    dcam_random random = dcam_random_make(b->seed, STREAM_PLACES + image);
    dcam_matcher_describe(b->matcher, teacher, b->descriptors);
    for (size_t n = 0; n < PROJECTION_PLACES; n++) {
        const float *x = b->descriptors + dcam_random_below(&random, b->positions) * b->channels;
        add_products(x, b->channels, b->mean, b->covariance);
        b->described++;
    }
    return DCAM_OK;
}

static dcam_status learn_projection(builder *b)
{
    const size_t count = b->set->count, wanted = count < PROJECTION_IMAGES ? count : PROJECTION_IMAGES;
    dcam_random random = dcam_random_make(b->seed, STREAM_IMAGES);
    for (size_t i = 0; i < count; i++) b->order[i] = i;
    choose(&random, b->order, count, wanted);
    DCAM_TRY(for_each_image(b, wanted, add_covariance));
    if (b->described == 0) return dcam_fail(DCAM_ERROR_DATA, "no normal image could be read to make the memory of");
    const double n = (double)b->described;
    for (size_t i = 0; i < b->channels; i++)
        for (size_t j = 0; j <= i; j++) {
            double *value = &b->covariance[i * b->channels + j];
            *value = *value / n - b->mean[i] / n * (b->mean[j] / n);
            b->covariance[j * b->channels + i] = *value;
        }
    return dcam_principal_directions(b->covariance, b->channels, b->dimensions, b->projection);
}

/* ---- prototypes ---- */

static dcam_status add_to_pool(builder *b, size_t image, const float *const teacher[DCAM_STAGES])
{
    dcam_random random = dcam_random_make(b->seed, STREAM_PLACES + image);
    dcam_matcher_embed(b->matcher, teacher, b->descriptors);
    /* Selection sampling: each place with the chance that leaves the wanted number at the end. */
    size_t wanted = b->places;
    for (size_t p = 0; p < b->positions && wanted > 0; p++) {
        if (dcam_random_below(&random, b->positions - p) >= wanted) continue;
        memcpy(b->pool + b->pooled++ * b->dimensions, b->descriptors + p * b->dimensions, b->dimensions * sizeof *b->pool);
        wanted--;
    }
    return DCAM_OK;
}

static dcam_status remember_class(builder *b, int class_index, size_t most, dcam_class_calibration *out)
{
    const char *name = b->set->class_names[class_index];
    size_t images = 0, count = most;
    size_t *chosen = NULL;
    dcam_random random = dcam_random_make(b->seed, STREAM_IMAGES + 1 + (uint64_t)class_index);
    for (size_t i = 0; i < b->set->count; i++)
        if (b->set->classes[i] == class_index) b->order[images++] = i;
    if (images > DCAM_MEMORY_POOL) choose(&random, b->order, images, DCAM_MEMORY_POOL);
    if (images > DCAM_MEMORY_POOL) images = DCAM_MEMORY_POOL;
    b->places = images == 0 || DCAM_MEMORY_POOL / images > b->positions ? b->positions : DCAM_MEMORY_POOL / images;
    b->pooled = 0;
    DCAM_TRY(for_each_image(b, images, add_to_pool));
    if (b->pooled == 0)
        return dcam_fail(DCAM_ERROR_DATA, "class \"%s\": no normal image could be read to make its memory of", name);
    DCAM_TRY(dcam_alloc(most, sizeof *chosen, &chosen));
    dcam_status status = dcam_choose_coreset(b->pool, b->pooled, b->dimensions, &count, chosen);
    if (status == DCAM_OK) status = dcam_alloc(count, b->dimensions * sizeof(float), &out->prototypes);
    for (size_t i = 0; status == DCAM_OK && i < count; i++)
        memcpy(out->prototypes + i * b->dimensions, b->pool + chosen[i] * b->dimensions, b->dimensions * sizeof(float));
    if (status == DCAM_OK) status = dcam_average_cells(b->pool, b->pooled, b->dimensions, out->prototypes, count);
    if (status == DCAM_OK) out->prototype_count = count;
    if (status == DCAM_OK) status = dcam_copy_string(name, &out->name);
    dcam_free(chosen);
    return status;
}

/* ---- the whole ---- */

static dcam_status open_builder(builder *b, const dcam_memory_options *o)
{
    const dcam_architecture *a = b->model->architecture;
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, b->height, b->width);
    const dcam_net_options net = {.height = b->height, .width = b->width, .batch = b->batch, .precision = o->precision};
    const size_t pixels = (size_t)b->width * (size_t)b->height, batch = (size_t)b->batch;
    DCAM_TRY(dcam_net_create(b->model->teacher, &net, &b->net));
    DCAM_TRY(dcam_matcher_create(a, b->height, b->width, NULL, 0, 0, false, &b->matcher));
    b->positions = dcam_matcher_positions(b->matcher);
    b->channels = dcam_matcher_channels(b->matcher);
    for (int k = 0; k < DCAM_STAGES; k++) {
        b->feature_count[k] = (size_t)shapes.height[k] * (size_t)shapes.width[k] * (size_t)shapes.channels[k];
        DCAM_TRY(dcam_alloc(b->feature_count[k], batch * sizeof(float), &b->features[k]));
    }
    DCAM_TRY(dcam_alloc(batch, 3 * pixels, &b->rgb));
    DCAM_TRY(dcam_alloc(batch, 3 * pixels * sizeof(float), &b->input));
    DCAM_TRY(dcam_alloc(b->positions, b->channels * sizeof(float), &b->descriptors));
    DCAM_TRY(dcam_alloc(b->set->count, sizeof *b->order, &b->order));
    DCAM_TRY(dcam_alloc_zero(b->channels, b->channels * sizeof(double), &b->covariance));
    DCAM_TRY(dcam_alloc_zero(b->channels, sizeof(double), &b->mean));
    DCAM_TRY(dcam_alloc(b->channels, b->dimensions * sizeof(float), &b->projection));
    DCAM_TRY(dcam_alloc(DCAM_MEMORY_POOL, b->dimensions * sizeof(float), &b->pool));
    b->total = b->set->count + (b->set->count < PROJECTION_IMAGES ? b->set->count : PROJECTION_IMAGES);
    return DCAM_OK;
}

static void close_builder(builder *b)
{
    dcam_free(b->pool);
    dcam_free(b->projection);
    dcam_free(b->mean);
    dcam_free(b->covariance);
    dcam_free(b->order);
    dcam_free(b->descriptors);
    dcam_free(b->input);
    dcam_free(b->rgb);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(b->features[k]);
    dcam_matcher_destroy(b->matcher);
    dcam_net_destroy(b->net);
}

dcam_status dcam_memory_options_check(const dcam_memory_options *o, const dcam_architecture *a)
{
    const int channels = a->stage_channels[1] + a->stage_channels[2];
    if (o->dimensions < 0 || o->dimensions > channels)
        return dcam_fail(DCAM_ERROR_USAGE, "a memory of %d dimensions: it must be 1 to %d", o->dimensions, channels);
    if (o->prototypes < 0 || o->prototypes > DCAM_MAX_PROTOTYPES)
        return dcam_fail(DCAM_ERROR_USAGE, "%d prototypes a class: they must be 1 to %d", o->prototypes, DCAM_MAX_PROTOTYPES);
    if (!(o->weight >= 0 && o->weight <= DCAM_MAX_MEMORY_WEIGHT))
        return dcam_fail(DCAM_ERROR_USAGE, "a weight of the memory of %g: it must be above 0 and at most %g", o->weight,
                         DCAM_MAX_MEMORY_WEIGHT);
    return DCAM_OK;
}

/* Moves what was made into the model: a fresh list of classes, in which known ones keep their calibration. */
static dcam_status install(builder *b, dcam_model *m, double weight, dcam_class_calibration *fresh)
{
    dcam_class_calibration *classes;
    size_t added = 0;
    for (size_t i = 0; i < b->set->class_count; i++) added += dcam_model_class_index(m, fresh[i].name) < 0;
    if (m->class_count + added > DCAM_MAX_CLASSES)
        return dcam_fail(DCAM_ERROR_DATA, "%zu classes, more than the %d that a model holds; train several models",
                         m->class_count + added, DCAM_MAX_CLASSES);
    DCAM_TRY(dcam_alloc_zero(m->class_count + added, sizeof *classes, &classes));
    if (m->class_count) memcpy(classes, m->classes, m->class_count * sizeof *classes);
    dcam_free(m->classes);
    m->classes = classes;
    for (size_t i = 0; i < b->set->class_count; i++) {
        const int old = dcam_model_class_index(m, fresh[i].name);
        if (old < 0) {
            classes[m->class_count++] = fresh[i];
            fresh[i] = (dcam_class_calibration){0};
            continue;
        }
        dcam_free(classes[old].prototypes);
        classes[old].prototypes = fresh[i].prototypes;
        classes[old].prototype_count = fresh[i].prototype_count;
        fresh[i].prototypes = NULL;
    }
    dcam_free(m->memory.projection);
    m->memory = (dcam_memory){.dimensions = (int)b->dimensions, .weight = weight, .projection = b->projection};
    b->projection = NULL;
    return DCAM_OK;
}

dcam_status dcam_memory_build(dcam_model *model, const dcam_memory_options *o, const dcam_calibration_set *set)
{
    builder b = {.model = model, .set = set, .width = model->preprocessing.width, .height = model->preprocessing.height,
                 .dimensions = (size_t)(o->dimensions ? o->dimensions : DCAM_DEFAULT_MEMORY_DIMENSIONS), .seed = o->seed,
                 .batch = o->batch > 0 && o->batch < MOST_BATCH ? o->batch : MOST_BATCH};
    const size_t most = (size_t)(o->prototypes ? o->prototypes : DCAM_DEFAULT_MEMORY_PROTOTYPES);
    dcam_class_calibration *fresh = NULL;
    DCAM_TRY(dcam_calibration_set_check(set));
    DCAM_TRY(dcam_memory_options_check(o, model->architecture));
    dcam_status status = open_builder(&b, o);
    if (status == DCAM_OK) status = dcam_alloc_zero(set->class_count, sizeof *fresh, &fresh);
    if (status == DCAM_OK) status = learn_projection(&b);
    dcam_matcher_destroy(b.matcher);
    b.matcher = NULL;
    if (status == DCAM_OK)
        status = dcam_matcher_create(model->architecture, b.height, b.width, b.projection, (int)b.dimensions, 0, false, &b.matcher);
    for (size_t i = 0; i < set->class_count && status == DCAM_OK; i++) status = remember_class(&b, (int)i, most, &fresh[i]);
    if (status == DCAM_OK) status = install(&b, model, o->weight > 0 ? o->weight : DCAM_DEFAULT_MEMORY_WEIGHT, fresh);
    for (size_t i = 0; fresh && i < set->class_count; i++) dcam_class_calibration_clear(&fresh[i]);
    dcam_free(fresh);
    close_builder(&b);
    return status;
}
