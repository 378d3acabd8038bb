/* normal_images.c - feeds a data set's normal images to the calibration. */
#include "api/normal_images.h"

#include <string.h>

#include "base/memory.h"
#include "image/image.h"

typedef struct {
    const dcam_dataset *dataset;
    const uint32_t *indices;
    const dcam_preprocessing *preprocessing;
    const dcam_reading *reading;
} source;

static dcam_status read_image(void *user, size_t i, uint8_t *rgb)
{
    const source *s = user;
    const uint32_t sample = s->indices[i];
    const char *path = s->dataset->samples[sample].path;
    dcam_image photo = {0}, resized = {0};
    bool *left_out = &s->reading->left_out[sample];
    if (*left_out) return dcam_fail(DCAM_ERROR_IMAGE, "%s: could not be read before", path);
    dcam_status status = dcam_image_load(path, &photo);
    if (status == DCAM_OK) status = dcam_image_resize(&photo, s->preprocessing->width, s->preprocessing->height, &resized);
    if (status == DCAM_OK)
        memcpy(rgb, resized.pixels, (size_t)resized.width * (size_t)resized.height * 3);
    else if (status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_IO) {
        dcam_log(DCAM_LOG_WARNING, "left out of the calibration: %s", dcam_error_message());
        *left_out = true;
    }
    dcam_image_clear(&resized);
    dcam_image_clear(&photo);
    return status;
}

static bool ask(void *user, size_t done, size_t total)
{
    const source *s = user;
    return s->reading->stop(s->reading->user, done, total);
}

/* The set of these samples; its classes are to be freed. s outlives it. */
static dcam_status open_set(source *s, size_t count, double false_alarm_rate, int **classes, dcam_calibration_set *out)
{
    const dcam_dataset *dataset = s->dataset;
    DCAM_TRY(dcam_alloc(count, sizeof **classes, classes));
    for (size_t i = 0; i < count; i++) (*classes)[i] = dataset->samples[s->indices[i]].class_index;
    *out = (dcam_calibration_set){.count = count,
                                  .classes = *classes,
                                  .class_names = (const char *const *)dataset->class_names,
                                  .class_count = dataset->class_count,
                                  .false_alarm_rate = false_alarm_rate,
                                  .read = read_image,
                                  .progress = s->reading->stop ? ask : NULL,
                                  .user = s};
    return DCAM_OK;
}

dcam_status dcam_calibrate_from(dcam_model *model, const dcam_scorer_options *options, const dcam_dataset *dataset,
                                const uint32_t *indices, size_t count, double false_alarm_rate, const dcam_reading *reading)
{
    /* A copy: the calibration may replace what the model holds. */
    const dcam_preprocessing preprocessing = model->preprocessing;
    source s = {dataset, indices, &preprocessing, reading};
    int *classes = NULL;
    dcam_calibration_set set;
    DCAM_TRY(open_set(&s, count, false_alarm_rate, &classes, &set));
    const dcam_status status = dcam_calibrate_model(model, options, &set, NULL);
    dcam_free(classes);
    return status;
}

dcam_status dcam_measure_ranges_from(dcam_model *model, const dcam_dataset *dataset, const uint32_t *indices,
                                     size_t count, dcam_int8_shift *shift, const dcam_reading *reading)
{
    source s = {dataset, indices, &model->preprocessing, reading};
    int *classes = NULL;
    dcam_calibration_set set;
    DCAM_TRY(open_set(&s, count, 0, &classes, &set));
    dcam_status status = dcam_measure_ranges(model, &set);
    if (status == DCAM_OK && shift) status = dcam_measure_int8_shift(model, &set, shift);
    dcam_free(classes);
    return status;
}

dcam_status dcam_remember_from(dcam_model *model, const dcam_memory_options *options, const dcam_dataset *dataset,
                               const uint32_t *indices, size_t count, const dcam_reading *reading)
{
    const dcam_preprocessing preprocessing = model->preprocessing;
    source s = {dataset, indices, &preprocessing, reading};
    int *classes = NULL;
    dcam_calibration_set set;
    DCAM_TRY(open_set(&s, count, 0, &classes, &set));
    const dcam_status status = dcam_memory_build(model, options, &set);
    dcam_free(classes);
    return status;
}

size_t dcam_left_out_count(const dcam_dataset *dataset, const bool *left_out)
{
    size_t count = 0;
    for (size_t i = 0; i < dataset->sample_count; i++) count += left_out[i];
    return count;
}
