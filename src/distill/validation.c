/* validation.c - see validation.h. Works image by image as detection does, so that its memory is small beside a
 * training step's; the network is made afresh from the weights of now. Must not touch the learner. */
#include "distill/validation.h"

#include <string.h>

#include "base/memory.h"

/* Images decoded together. */
#define LOADER_BATCH 8

struct dcam_validation {
    dcam_validation_data data;
    const dcam_trainer_options *options;
    dcam_map_options map_options;
    dcam_mapper *mapper;
    dcam_map_layout layout;
    size_t input_count, map_count;
    dcam_attention_state *states[DCAM_STAGES];
    float *input;                   /* 1 x 3 x height x width */
    uint16_t *record;
    float *teacher[DCAM_STAGES], *student[DCAM_STAGES]; /* into one block each */
    float *map;
};

static bool keeps_attention(const dcam_trainer_options *o)
{
    return o->attention_at_detection && o->attention != DCAM_ATTENTION_NONE;
}

static dcam_status allocate(dcam_validation *v, const dcam_architecture *a)
{
    const dcam_trainer_options *o = v->options;
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(a, o->height, o->width);
    v->layout = dcam_map_layout_of(&shapes);
    v->map_count = (size_t)o->height * (size_t)o->width;
    v->input_count = 3 * v->map_count;
    DCAM_TRY(dcam_mapper_create(a, o->height, o->width, &v->mapper));
    DCAM_TRY(dcam_alloc(v->input_count, sizeof(float), &v->input));
    DCAM_TRY(dcam_alloc(v->layout.total, sizeof(uint16_t), &v->record));
    DCAM_TRY(dcam_alloc(v->layout.total, sizeof(float), &v->teacher[0]));
    DCAM_TRY(dcam_alloc(v->layout.total, sizeof(float), &v->student[0]));
    DCAM_TRY(dcam_alloc(v->map_count, sizeof(float), &v->map));
    for (int k = 0; k < DCAM_STAGES; k++) {
        v->teacher[k] = v->teacher[0] + v->layout.offset[k];
        v->student[k] = v->student[0] + v->layout.offset[k];
        if (!keeps_attention(o)) continue;
        DCAM_TRY(dcam_attention_state_create(o->attention, 1, shapes.height[k], shapes.width[k], shapes.channels[k],
                                             &v->states[k]));
    }
    return DCAM_OK;
}

dcam_status dcam_validation_create(const dcam_validation_data *data, const dcam_trainer_options *options,
                                   const dcam_architecture *architecture, dcam_validation **out)
{
    dcam_validation *v;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *v, &v));
    v->data = *data;
    v->options = options;
    v->map_options = options->map;
    v->map_options.smoothing = 0;
    v->map_options.top_percent = 0;
    dcam_status status = allocate(v, architecture);
    if (status != DCAM_OK) {
        dcam_validation_destroy(v);
        return status;
    }
    *out = v;
    return DCAM_OK;
}

void dcam_validation_destroy(dcam_validation *v)
{
    if (!v) return;
    for (int k = 0; k < DCAM_STAGES; k++) dcam_attention_state_destroy(v->states[k]);
    dcam_free(v->map);
    dcam_free(v->student[0]);
    dcam_free(v->teacher[0]);
    dcam_free(v->record);
    dcam_free(v->input);
    dcam_mapper_destroy(v->mapper);
    dcam_free(v);
}

/* Mean of one image's map. */
static dcam_status score_image(dcam_validation *v, dcam_net *net, const dcam_learner *learner, const uint8_t *rgb,
                               uint32_t sample, double *mean)
{
    double sum = 0;
    dcam_normalise(&v->data.preprocessing, rgb, 1, v->input);
    DCAM_TRY(dcam_teacher_maps_get(v->data.teacher, v->input, &sample, 1, v->record));
    DCAM_TRY(dcam_net_run(net, v->input, 1, v->student));
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_teacher_maps_stage(&v->layout, v->record, 1, k, v->teacher[k]);
        if (v->states[k]) {
            dcam_attention_forward(v->states[k], learner->attention[k], v->student[k], 1, v->student[k]);
        }
    }
    dcam_mapper_run(v->mapper, &v->map_options, NULL, (const float *const *)v->teacher,
                    (const float *const *)v->student, v->map);
    for (size_t i = 0; i < v->map_count; i++) sum += (double)v->map[i];
    *mean = sum / (double)v->map_count;
    return DCAM_OK;
}

static dcam_status score_batch(dcam_validation *v, dcam_net *net, const dcam_learner *learner, const dcam_batch *batch,
                               double *sum)
{
    for (size_t i = 0; i < (size_t)batch->count; i++) {
        double mean;
        DCAM_TRY(score_image(v, net, learner, batch->rgb + i * v->input_count, batch->samples[i], &mean));
        *sum += mean;
    }
    return DCAM_OK;
}

dcam_status dcam_validation_run(dcam_validation *v, const dcam_learner *learner, double *out)
{
    const dcam_trainer_options *o = v->options;
    const dcam_net_options net_options = {.height = o->height, .width = o->width, .batch = 1};
    const dcam_loader_options loader_options = {.width = o->width, .height = o->height, .batch = LOADER_BATCH, .images = v->data.images};
    dcam_net *net = NULL;
    dcam_loader *loader = NULL;
    dcam_batch batch;
    double sum = 0;
    dcam_status status = dcam_net_create(learner->student, &net_options, &net);
    if (status == DCAM_OK) {
        status = dcam_loader_create(v->data.dataset, v->data.indices, v->data.count, &loader_options, &loader);
    }
    if (status != DCAM_OK) goto cleanup;
    while ((status = dcam_loader_next(loader, &batch)) == DCAM_OK && batch.count > 0) {
        if ((status = score_batch(v, net, learner, &batch, &sum)) != DCAM_OK) goto cleanup;
    }
    if (status == DCAM_OK) *out = sum / (double)v->data.count;
cleanup:
    dcam_loader_destroy(loader);
    dcam_net_destroy(net);
    return status;
}

size_t dcam_validation_plan_bytes(const dcam_architecture *architecture, const dcam_trainer_options *o)
{
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(architecture, o->height, o->width);
    const dcam_map_layout layout = dcam_map_layout_of(&shapes);
    const size_t pixels = (size_t)o->height * (size_t)o->width;
    /* The mapper's: what it smooths with, each stage's map, and two more of the first. */
    size_t mapper = pixels + 2 * (size_t)shapes.height[0] * (size_t)shapes.width[0];
    for (int k = 0; k < DCAM_STAGES; k++) mapper += (size_t)shapes.height[k] * (size_t)shapes.width[k];
    return layout.total * (2 * sizeof(float) + sizeof(uint16_t)) + mapper * sizeof(float) +
           pixels * (4 * sizeof(float) + 3 * LOADER_BATCH * 3);
}
