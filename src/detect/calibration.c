/* calibration.c - runs a model over normal images and gathers, class by class and in constant memory, what
 * dcam_class_calibration holds. Where the map is standardised, a first pass finds the statistics that the second
 * pass's maps need. Pixel quantiles come from a histogram over the upper half of each float's bits: bins are at most
 * 1/128 of their value wide, and no pixel is kept. */
#include "detect/calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "metrics/sorted.h"

#define BINS 65536
#define BIN_SHIFT 16
#define QUANTILE_MEDIAN 0.5
#define QUANTILE_HIGH 0.995
/* A stage whose map never changes is not to be divided by zero. */
#define LEAST_DEVIATION 1e-6
/* What rounding to bf16 moves a value near 1 by, at most, and about what it moves the distances of unit vectors by; int8 moves
 * them further (docs/numerics.md). */
#define BF16_SHIFT (1.0 / 512)

typedef struct {
    dcam_model *model;
    const dcam_calibration_set *set;
    dcam_scorer *scorer;
    int batch, width, height;
    size_t positions[DCAM_STAGES], channels;
    uint8_t *rgb;              /* batch images */
    bool *left_out;            /* per image of the set */
    float *stage_maps[DCAM_STAGES], *distances, *map, *centre;
    size_t patches;            /* of an image, for the model's memory; 0: it has none */
    uint64_t *bins;
    float *scores;             /* of the class at hand */
    size_t done, total, failed;
    dcam_class_calibration *fresh; /* one per class of the set */
} collector;

/* What one pass over a class adds up. */
typedef struct {
    double sum[DCAM_STAGES], squares[DCAM_STAGES];
    double memory_sum, memory_squares;
    double *centre;
    size_t images, pixels;
} totals;

/* ---- reading ---- */

/* One image into slot `slot` of the batch; *taken false if it is left out. */
static dcam_status read_image(collector *c, size_t index, int slot, bool *taken)
{
    const dcam_calibration_set *set = c->set;
    *taken = false;
    if (!c->left_out[index]) {
        uint8_t *to = c->rgb + (size_t)slot * (size_t)c->width * (size_t)c->height * 3;
        const dcam_status status = set->read(set->user, index, to);
        if (status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_IO) {
            c->left_out[index] = true;
            c->failed++;
        } else if (status != DCAM_OK) {
            return status;
        } else {
            *taken = true;
        }
    }
    c->done++;
    if (set->progress && set->progress(set->user, c->done, c->total))
        return dcam_fail(DCAM_ERROR_CANCELLED, "the calibration was stopped; the model is as it was");
    return DCAM_OK;
}

typedef dcam_status (*image_step)(collector *c, int i, dcam_class_calibration *calibration, totals *t);

/* Every readable image of the class through the networks, then `step` on each. */
static dcam_status for_each_image(collector *c, int class_index, dcam_class_calibration *calibration, totals *t, image_step step)
{
    int filled = 0;
    for (size_t index = 0; index <= c->set->count; index++) {
        const bool end = index == c->set->count;
        if (!end && c->set->classes[index] == class_index) {
            bool taken;
            DCAM_TRY(read_image(c, index, filled, &taken));
            filled += taken;
        }
        if (filled < c->batch && !(end && filled > 0)) continue;
        DCAM_TRY(dcam_scorer_extract(c->scorer, c->rgb, filled));
        for (int i = 0; i < filled; i++) DCAM_TRY(step(c, i, calibration, t));
        filled = 0;
    }
    return DCAM_OK;
}

/* ---- what is gathered ---- */

static dcam_status take_score(collector *c, int i, dcam_class_calibration *calibration, totals *t)
{
    const size_t pixels = (size_t)c->width * (size_t)c->height;
    c->scores[calibration->score_count] = dcam_scorer_map(c->scorer, i, calibration, c->map);
    for (size_t p = 0; p < pixels; p++) {
        if (!dcam_score_is_finite(c->map[p]))
            return dcam_fail(DCAM_ERROR_NUMERIC, "class \"%s\": the anomaly map of a normal image is not finite; "
                                                 "train again with a lower learning rate", calibration->name);
        c->bins[dcam_score_key(c->map[p]) >> BIN_SHIFT]++;
    }
    calibration->score_count++;
    t->pixels += pixels;
    return DCAM_OK;
}

static dcam_status take_statistics(collector *c, int i, dcam_class_calibration *calibration, totals *t)
{
    dcam_scorer_centre(c->scorer, i, c->centre);
    for (size_t k = 0; k < c->channels; k++) t->centre[k] += (double)c->centre[k];
    dcam_scorer_stage_maps(c->scorer, i, c->stage_maps);
    for (int k = 0; k < DCAM_STAGES; k++)
        for (size_t p = 0; p < c->positions[k]; p++) {
            const double v = (double)c->stage_maps[k][p];
            t->sum[k] += v;
            t->squares[k] += v * v;
        }
    if (c->patches > 0) dcam_scorer_memory_map(c->scorer, i, calibration, c->distances);
    for (size_t p = 0; p < c->patches; p++) {
        const double v = (double)c->distances[p];
        t->memory_sum += v;
        t->memory_squares += v * v;
    }
    t->images++;
    /* Only a standardised map has to wait for the statistics. */
    return c->model->map.kind == DCAM_MAP_STANDARD ? DCAM_OK : take_score(c, i, calibration, t);
}

static void mean_and_deviation(double sum, double squares, double n, float *mean_out, float *deviation)
{
    const double mean = sum / n, variance = squares / n - mean * mean, least = fmax(LEAST_DEVIATION * fabs(mean), 1e-12);
    *mean_out = (float)mean;
    *deviation = (float)fmax(sqrt(fmax(variance, 0)), least);
}

static void finish_statistics(const collector *c, const totals *t, dcam_class_calibration *calibration)
{
    const double images = (double)t->images;
    for (int k = 0; k < DCAM_STAGES; k++)
        mean_and_deviation(t->sum[k], t->squares[k], images * (double)c->positions[k], &calibration->stages.mean[k],
                           &calibration->stages.deviation[k]);
    if (c->patches > 0)
        mean_and_deviation(t->memory_sum, t->memory_squares, images * (double)c->patches, &calibration->memory_mean,
                           &calibration->memory_deviation);
    for (size_t k = 0; k < c->channels; k++) calibration->centre[k] = (float)(t->centre[k] / images);
}

/* Such statistics take what another precision rounds otherwise for a defect. */
static void warn_of_narrow(const collector *c, const dcam_class_calibration *calibration)
{
    double least = c->patches > 0 ? (double)calibration->memory_deviation : (double)INFINITY;
    for (int k = 0; k < DCAM_STAGES && c->model->map.kind == DCAM_MAP_STANDARD; k++)
        least = fmin(least, (double)calibration->stages.deviation[k]);
    if (least < BF16_SHIFT)
        dcam_log(DCAM_LOG_WARNING, "class \"%s\": its normal images are nearly equal (a distance strays by %.2g; bf16 moves it by %.2g, "
                 "int8 by more): the threshold holds in the precision of this calibration alone; add normal images that differ, "
                 "or calibrate in the precision of the detection (dcam calibrate --precision)", calibration->name, least, BF16_SHIFT);
}

/* The value with a share q of the pixels below it, linear within its bin. */
static float quantile(const uint64_t *bins, size_t pixels, double q)
{
    const double rank = q * (double)pixels;
    double below = 0;
    uint32_t bin = 0;
    while (bin < BINS - 1 && below + (double)bins[bin] < rank) below += (double)bins[bin++];
    const float low = dcam_score_of_key(bin << BIN_SHIFT);
    const float high = bin < BINS - 1 ? dcam_score_of_key((bin + 1) << BIN_SHIFT) : low;
    if (bins[bin] == 0 || !dcam_score_is_finite(high)) return low;
    return (float)((double)low + ((double)high - (double)low) * (rank - below) / (double)bins[bin]);
}

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static dcam_status finish_scores(collector *c, const totals *t, dcam_class_calibration *calibration)
{
    const size_t n = calibration->score_count;
    qsort(c->scores, n, sizeof *c->scores, rising);
    DCAM_TRY(dcam_alloc(n, sizeof *calibration->scores, &calibration->scores));
    memcpy(calibration->scores, c->scores, n * sizeof *c->scores);
    calibration->pixel_median = quantile(c->bins, t->pixels, QUANTILE_MEDIAN);
    calibration->pixel_high = quantile(c->bins, t->pixels, QUANTILE_HIGH);
    return DCAM_OK;
}

/* The class's prototypes pass to its new calibration: borrowed until the calibration is installed. */
static dcam_status borrow_prototypes(const collector *c, dcam_class_calibration *calibration)
{
    const dcam_model *m = c->model;
    if (m->memory.dimensions == 0) return DCAM_OK;
    const int known = dcam_model_class_index(m, calibration->name);
    if (known < 0 || !m->classes[known].prototypes)
        return dcam_fail(DCAM_ERROR_DATA, "class \"%s\": the model's memory has nothing of it; train with it", calibration->name);
    calibration->prototypes = m->classes[known].prototypes;
    calibration->prototype_count = m->classes[known].prototype_count;
    return DCAM_OK;
}

static dcam_status calibrate_class(collector *c, int class_index, dcam_class_calibration *calibration)
{
    totals t = {0};
    memset(c->bins, 0, BINS * sizeof *c->bins);
    DCAM_TRY(dcam_copy_string(c->set->class_names[class_index], &calibration->name));
    DCAM_TRY(dcam_alloc(c->channels, sizeof *calibration->centre, &calibration->centre));
    DCAM_TRY(dcam_alloc_zero(c->channels, sizeof *t.centre, &t.centre));
    dcam_status status = borrow_prototypes(c, calibration);
    if (status == DCAM_OK) status = for_each_image(c, class_index, calibration, &t, take_statistics);
    if (status == DCAM_OK && t.images == 0)
        status = dcam_fail(DCAM_ERROR_DATA, "class \"%s\": no normal image could be read to calibrate with", calibration->name);
    if (status == DCAM_OK) finish_statistics(c, &t, calibration);
    if (status == DCAM_OK) warn_of_narrow(c, calibration);
    if (status == DCAM_OK && c->model->map.kind == DCAM_MAP_STANDARD)
        status = for_each_image(c, class_index, calibration, &t, take_score);
    if (status == DCAM_OK && calibration->score_count == 0) /* all gone since the first pass */
        status = dcam_fail(DCAM_ERROR_DATA, "class \"%s\": its images could not be read a second time", calibration->name);
    if (status == DCAM_OK) status = finish_scores(c, &t, calibration);
    dcam_free(t.centre);
    return status;
}

/* ---- thresholds ---- */

static bool is_fresh(const collector *c, const char *name)
{
    for (size_t i = 0; i < c->set->class_count; i++)
        if (strcmp(c->fresh[i].name, name) == 0) return true;
    return false;
}

/* Of the fresh classes; those that the model has beside them lend their scores. */
static dcam_status set_thresholds(collector *c)
{
    const dcam_model *m = c->model;
    const double rate = c->set->false_alarm_rate > 0 ? c->set->false_alarm_rate : DCAM_DEFAULT_FALSE_ALARM_RATE;
    const size_t fresh = c->set->class_count;
    size_t n = fresh;
    dcam_normal_scores *all;
    DCAM_TRY(dcam_alloc(fresh + m->class_count, sizeof *all, &all));
    for (size_t i = 0; i < fresh; i++) all[i] = (dcam_normal_scores){.scores = c->fresh[i].scores, .count = c->fresh[i].score_count};
    for (size_t i = 0; i < m->class_count; i++)
        if (m->classes[i].score_count > 0 && !is_fresh(c, m->classes[i].name))
            all[n++] = (dcam_normal_scores){.scores = m->classes[i].scores, .count = m->classes[i].score_count};
    const dcam_status status = dcam_thresholds_from_normal(all, n, rate);
    for (size_t i = 0; status == DCAM_OK && i < fresh; i++)
        dcam_class_set_threshold(&c->fresh[i], all[i].threshold, all[i].rule, rate);
    dcam_free(all);
    return status;
}

/* ---- the whole ---- */

dcam_status dcam_calibration_set_check(const dcam_calibration_set *set)
{
    if (set->count == 0 || set->class_count == 0)
        return dcam_fail(DCAM_ERROR_DATA, "no normal images to calibrate with");
    for (size_t i = 0; i < set->class_count; i++) {
        DCAM_TRY(dcam_class_name_check(set->class_names[i]));
        for (size_t k = 0; k < i; k++)
            if (strcmp(set->class_names[i], set->class_names[k]) == 0)
                return dcam_fail(DCAM_ERROR_DATA, "class \"%s\" is there twice", set->class_names[i]);
    }
    for (size_t i = 0; i < set->count; i++)
        if (set->classes[i] < 0 || (size_t)set->classes[i] >= set->class_count)
            return dcam_fail(DCAM_ERROR_INTERNAL, "image %zu of class number %d of %zu", i, set->classes[i], set->class_count);
    return DCAM_OK;
}

static dcam_status open_collector(collector *c, const dcam_scorer_options *options)
{
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(c->model->architecture, c->height, c->width);
    const size_t pixels = (size_t)c->width * (size_t)c->height;
    DCAM_TRY(dcam_scorer_create(c->model, options, &c->scorer));
    c->batch = dcam_scorer_batch(c->scorer);
    c->channels = (size_t)shapes.channels[DCAM_STAGES - 1];
    for (int k = 0; k < DCAM_STAGES; k++) {
        c->positions[k] = (size_t)shapes.height[k] * (size_t)shapes.width[k];
        DCAM_TRY(dcam_alloc(c->positions[k], sizeof(float), &c->stage_maps[k]));
    }
    c->patches = dcam_scorer_memory_positions(c->scorer);
    DCAM_TRY(dcam_alloc(c->patches, sizeof *c->distances, &c->distances));
    DCAM_TRY(dcam_alloc((size_t)c->batch * pixels * 3, 1, &c->rgb));
    DCAM_TRY(dcam_alloc(pixels, sizeof *c->map, &c->map));
    DCAM_TRY(dcam_alloc(c->channels, sizeof *c->centre, &c->centre));
    DCAM_TRY(dcam_alloc(BINS, sizeof *c->bins, &c->bins));
    DCAM_TRY(dcam_alloc(c->set->count, sizeof *c->scores, &c->scores));
    DCAM_TRY(dcam_alloc_zero(c->set->count, sizeof *c->left_out, &c->left_out));
    DCAM_TRY(dcam_alloc_zero(c->set->class_count, sizeof *c->fresh, &c->fresh));
    c->total = c->set->count * (c->model->map.kind == DCAM_MAP_STANDARD ? 2 : 1);
    return DCAM_OK;
}

static void close_collector(collector *c)
{
    for (size_t i = 0; c->fresh && i < c->set->class_count; i++) c->fresh[i].prototypes = NULL; /* borrowed */
    for (size_t i = 0; c->fresh && i < c->set->class_count; i++) dcam_class_calibration_clear(&c->fresh[i]);
    dcam_free(c->fresh);
    dcam_free(c->left_out);
    dcam_free(c->scores);
    dcam_free(c->bins);
    dcam_free(c->centre);
    dcam_free(c->map);
    dcam_free(c->distances);
    dcam_free(c->rgb);
    for (int k = 0; k < DCAM_STAGES; k++) dcam_free(c->stage_maps[k]);
    dcam_scorer_destroy(c->scorer);
}

/* Moves the fresh classes into the model; the only fallible step comes before the first change. */
static dcam_status install(collector *c)
{
    dcam_model *m = c->model;
    size_t added = 0;
    for (size_t i = 0; i < c->set->class_count; i++) added += dcam_model_class_index(m, c->fresh[i].name) < 0;
    if (m->class_count + added > DCAM_MAX_CLASSES)
        return dcam_fail(DCAM_ERROR_DATA, "%zu classes, more than the %d that a model holds; train several models",
                         m->class_count + added, DCAM_MAX_CLASSES);
    dcam_class_calibration *classes;
    DCAM_TRY(dcam_alloc_zero(m->class_count + added, sizeof *classes, &classes));
    if (m->class_count) memcpy(classes, m->classes, m->class_count * sizeof *classes);
    dcam_free(m->classes);
    m->classes = classes;
    for (size_t i = 0; i < c->set->class_count; i++) {
        const int old = dcam_model_class_index(m, c->fresh[i].name);
        if (old >= 0) {
            classes[old].prototypes = NULL; /* the fresh one has them */
            dcam_class_calibration_clear(&classes[old]);
        }
        classes[old >= 0 ? (size_t)old : m->class_count++] = c->fresh[i];
        c->fresh[i] = (dcam_class_calibration){0};
    }
    return DCAM_OK;
}

dcam_status dcam_calibrate_model(dcam_model *model, const dcam_scorer_options *options, const dcam_calibration_set *set,
                                 size_t *failed)
{
    DCAM_TRY(dcam_calibration_set_check(set));
    collector c = {.model = model, .set = set, .width = model->preprocessing.width, .height = model->preprocessing.height};
    dcam_status status = open_collector(&c, options);
    for (size_t i = 0; i < set->class_count && status == DCAM_OK; i++) status = calibrate_class(&c, (int)i, &c.fresh[i]);
    if (status == DCAM_OK) status = set_thresholds(&c);
    if (status == DCAM_OK) status = install(&c);
    if (status == DCAM_OK && failed) *failed = c.failed;
    close_collector(&c);
    return status;
}
