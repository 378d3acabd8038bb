/* int8.c - what a model needs to run in int8: the ranges of its activations, measured on normal images, and how far its
 * scores move then. Thresholds are raw scores: they were set with another precision, so the shift is told. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "detect/calibration.h"
#include "net/ranges.h"

/* ---- the images ---- */

typedef dcam_status image_step(void *context, const uint8_t *rgb, int class_index);

/* step on at most DCAM_RANGE_IMAGES readable images of the set. */
static dcam_status for_some_images(const dcam_model *model, const dcam_calibration_set *set, image_step *step, void *context)
{
    const dcam_preprocessing *p = &model->preprocessing;
    const size_t wanted = set->count < DCAM_RANGE_IMAGES ? set->count : DCAM_RANGE_IMAGES;
    size_t read = 0;
    uint8_t *rgb;
    DCAM_TRY(dcam_alloc((size_t)p->width * (size_t)p->height, 3, &rgb));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i < wanted && status == DCAM_OK; i++) {
        const size_t index = i * set->count / wanted;
        status = set->read(set->user, index, rgb);
        if (status == DCAM_OK) {
            status = step(context, rgb, set->classes[index]);
            read += status == DCAM_OK;
        } else if (status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_IO) {
            status = DCAM_OK;
        }
        if (status == DCAM_OK && set->progress && set->progress(set->user, i + 1, wanted))
            status = dcam_fail(DCAM_ERROR_CANCELLED, "stopped while int8 was measured; the model is as it was");
    }
    dcam_free(rgb);
    if (status == DCAM_OK && read == 0) status = dcam_fail(DCAM_ERROR_DATA, "no normal image to measure int8 ranges with");
    return status;
}

/* ---- ranges ---- */

typedef struct {
    const dcam_preprocessing *preprocessing;
    dcam_net *nets[2]; /* teacher, student */
    dcam_range_meter *meters[2];
    float *input, *features[DCAM_STAGES];
} range_run;

static dcam_status open_range_run(const dcam_model *m, range_run *r)
{
    const dcam_preprocessing *p = &m->preprocessing;
    const dcam_net_options options = {.height = p->height, .width = p->width, .batch = 1, .precision = DCAM_NET_F32};
    const dcam_trunk_weights *const weights[2] = {m->teacher, m->student};
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(m->architecture, p->height, p->width);
    r->preprocessing = p;
    for (int k = 0; k < 2; k++) {
        DCAM_TRY(dcam_net_create(weights[k], &options, &r->nets[k]));
        DCAM_TRY(dcam_range_meter_create(weights[k]->convolution_count, &r->meters[k]));
    }
    for (int k = 0; k < DCAM_STAGES; k++)
        DCAM_TRY(dcam_alloc((size_t)shapes.channels[k] * (size_t)shapes.height[k] * (size_t)shapes.width[k],
                            sizeof(float), &r->features[k]));
    return dcam_alloc((size_t)p->height * (size_t)p->width * 3, sizeof(float), &r->input);
}

static void close_range_run(range_run *r)
{
    dcam_free(r->input);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(r->features[k]);
    for (int k = 0; k < 2; k++) {
        dcam_range_meter_destroy(r->meters[k]);
        dcam_net_destroy(r->nets[k]);
    }
}

static dcam_status observe_image(void *context, const uint8_t *rgb, int class_index)
{
    range_run *r = context;
    (void)class_index;
    dcam_normalise(r->preprocessing, rgb, 1, r->input);
    for (int k = 0; k < 2; k++)
        DCAM_TRY(dcam_net_observe(r->nets[k], r->input, 1, r->features, dcam_range_meter_see, r->meters[k]));
    return DCAM_OK;
}

dcam_status dcam_measure_ranges(dcam_model *m, const dcam_calibration_set *set)
{
    const size_t count = (size_t)m->teacher->convolution_count;
    range_run r = {0};
    float *ranges[2] = {NULL, NULL};
    dcam_status status = open_range_run(m, &r);
    if (status == DCAM_OK) status = for_some_images(m, set, observe_image, &r);
    for (int k = 0; k < 2 && status == DCAM_OK; k++) status = dcam_alloc(count, sizeof(float), &ranges[k]);
    if (status == DCAM_OK) {
        for (int k = 0; k < 2; k++)
            for (size_t i = 0; i < count; i++)
                ranges[k][i] = dcam_range_meter_result(r.meters[k], (int)i, DCAM_RANGE_LEAST_ERROR);
        dcam_free(m->teacher_ranges);
        dcam_free(m->student_ranges);
        m->teacher_ranges = ranges[0];
        m->student_ranges = ranges[1];
        ranges[0] = ranges[1] = NULL;
    }
    dcam_free(ranges[0]);
    dcam_free(ranges[1]);
    close_range_run(&r);
    return status;
}

/* ---- the shift ---- */

typedef struct {
    const dcam_model *model;
    const dcam_calibration_set *set;
    dcam_scorer *f32, *int8;
    double shifts[DCAM_RANGE_IMAGES];
    size_t count;
} shift_run;

static dcam_status compare_image(void *context, const uint8_t *rgb, int class_index)
{
    shift_run *r = context;
    const int known = dcam_model_class_index(r->model, r->set->class_names[class_index]);
    dcam_verdict exact, rough;
    if (known < 0) return dcam_fail(DCAM_ERROR_DATA, "the model has no class %s", r->set->class_names[class_index]);
    DCAM_TRY(dcam_scorer_run(r->f32, rgb, 1, &known, NULL, &exact));
    DCAM_TRY(dcam_scorer_run(r->int8, rgb, 1, &known, NULL, &rough));
    r->shifts[r->count++] = fabs((double)rough.raw - (double)exact.raw) / fmax(fabs(exact.threshold), 1e-30);
    return DCAM_OK;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

dcam_status dcam_measure_int8_shift(const dcam_model *model, const dcam_calibration_set *set, dcam_int8_shift *out)
{
    const dcam_scorer_options f32 = {.batch = 1}, int8 = {.batch = 1, .precision = DCAM_NET_INT8};
    shift_run r = {.model = model, .set = set};
    dcam_status status = dcam_scorer_create(model, &f32, &r.f32);
    if (status == DCAM_OK) status = dcam_scorer_create(model, &int8, &r.int8);
    if (status == DCAM_OK) status = for_some_images(model, set, compare_image, &r);
    if (status == DCAM_OK) {
        qsort(r.shifts, r.count, sizeof *r.shifts, rising);
        *out = (dcam_int8_shift){r.count, r.shifts[r.count / 2], r.shifts[r.count - 1]};
    }
    dcam_scorer_destroy(r.int8);
    dcam_scorer_destroy(r.f32);
    return status;
}
