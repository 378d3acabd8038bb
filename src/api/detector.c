/* detector.c - the public detector: opens a model, scores single images, and
 * draws overlays. Many files at once are in detect_paths.c. */
#include "api/detector.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "detect/calibration.h"
#include "nn/nn.h"

/* Each thread of dcam_detect_paths has a batch of its own; a larger one costs memory and was no faster. */
#define DEFAULT_BATCH 1
/* A batch beyond this only costs memory. */
#define MAX_BATCH 1024
/* Where the system has no more threads, OpenMP ends the process. */
#define MAX_THREADS 1024
/* No data set has so many images that a lower one could be told from it. */
#define MIN_FALSE_ALARM_RATE 1e-6

dcam_status dcam_resolve_precision(dcam_precision asked, dcam_net_precision *out)
{
    switch (asked) {
    case DCAM_PRECISION_AUTO:
        *out = dcam_nn_fast_bf16() ? DCAM_NET_BF16 : DCAM_NET_F32;
        return DCAM_OK;
    case DCAM_PRECISION_F32:
        *out = DCAM_NET_F32;
        return DCAM_OK;
    case DCAM_PRECISION_BF16:
        *out = DCAM_NET_BF16;
        return DCAM_OK;
    case DCAM_PRECISION_INT8:
        *out = DCAM_NET_INT8;
        return DCAM_OK;
    }
    return dcam_fail(DCAM_ERROR_USAGE, "precision %d is not known; use auto, f32, bf16 or int8", (int)asked);
}

dcam_status dcam_resolve_training_precision(dcam_precision asked, dcam_net_precision *out)
{
    dcam_precision precision = asked;
    if (asked == DCAM_PRECISION_AUTO) precision = dcam_nn_bf16_maps() ? DCAM_PRECISION_BF16 : DCAM_PRECISION_F32;
    if (asked == DCAM_PRECISION_INT8) return dcam_fail(DCAM_ERROR_USAGE, "int8 is for detection; train with auto, bf16 or f32");
    return dcam_resolve_precision(precision, out);
}

dcam_status dcam_check_ranges(const dcam_model *model, dcam_net_precision precision, const char *path)
{
    if (precision != DCAM_NET_INT8 || model->teacher_ranges) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_MODEL, "%s: has no ranges for int8; measure them with `dcam calibrate DATASET -m %s --int8`",
                     path, path);
}

const char *dcam_net_precision_name(dcam_net_precision precision)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    return names[precision];
}

dcam_status dcam_check_threads(int threads)
{
    if (threads >= 0 && threads <= MAX_THREADS) return dcam_check_team(threads);
    return dcam_fail(DCAM_ERROR_USAGE, "%d threads; 1 to %d are possible, or 0 for all cores", threads, MAX_THREADS);
}

dcam_status dcam_check_false_alarm_rate(double rate)
{
    if (rate == 0 || (rate >= MIN_FALSE_ALARM_RATE && rate < 1)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "false-alarm rate %g is not between %g and 1", rate, MIN_FALSE_ALARM_RATE);
}

static dcam_status unknown_class(const dcam_detector *d, const char *name)
{
    char known[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < d->model->class_count; i++) {
        const char *text = d->model->classes[i].name;
        size_t length = strlen(text);
        if (used + length + 8 > sizeof known) {
            snprintf(known + used, sizeof known - used, ", ...");
            break;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", text);
    }
    return dcam_fail(DCAM_ERROR_USAGE, "%s: has no class %s; it knows %s", d->path, name, known);
}

dcam_status dcam_detector_open(const char *model_path, const dcam_detector_options *options, dcam_detector **out)
{
    static const dcam_detector_options defaults;
    if (!options) options = &defaults;
    if (!model_path || !out) return dcam_fail(DCAM_ERROR_USAGE, "a detector needs a model file");
    if (options->batch < 0 || options->batch > MAX_BATCH)
        return dcam_fail(DCAM_ERROR_USAGE, "batch %d is not in 1..%d", options->batch, MAX_BATCH);
    DCAM_TRY(dcam_check_threads(options->threads));
    dcam_detector *d = NULL;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *d, &d));
    d->class_index = -1;
    d->threads = options->threads > 0 ? options->threads : dcam_available_cores();
    const int threads = dcam_swap_threads(d->threads);
    dcam_scorer_options scorer = {.batch = options->batch ? options->batch : DEFAULT_BATCH};
    dcam_status status = dcam_resolve_precision(options->precision, &scorer.precision);
    if (status == DCAM_OK) status = dcam_copy_string(model_path, &d->path);
    if (status == DCAM_OK) status = dcam_model_load(model_path, &d->model);
    if (status == DCAM_OK && options->class_name) {
        d->class_index = dcam_model_class_index(d->model, options->class_name);
        if (d->class_index < 0) status = unknown_class(d, options->class_name);
    }
    if (status == DCAM_OK) status = dcam_check_ranges(d->model, scorer.precision, model_path);
    if (status == DCAM_OK) status = dcam_scorer_create(d->model, &scorer, &d->scorer);
    dcam_set_threads(threads);
    if (status != DCAM_OK) {
        dcam_detector_close(d);
        return status;
    }
    *out = d;
    return DCAM_OK;
}

void dcam_detector_close(dcam_detector *d)
{
    if (!d) return;
    dcam_scorer_destroy(d->scorer);
    dcam_model_destroy(d->model);
    dcam_free(d->path);
    dcam_free(d);
}

size_t dcam_detector_class_count(const dcam_detector *d) { return d->model->class_count; }

const char *dcam_detector_class_name(const dcam_detector *d, size_t index)
{
    return index < d->model->class_count ? d->model->classes[index].name : NULL;
}

int dcam_detector_width(const dcam_detector *d) { return d->model->preprocessing.width; }
int dcam_detector_height(const dcam_detector *d) { return d->model->preprocessing.height; }

dcam_status dcam_detection_fill(const dcam_detector *d, dcam_scorer *scorer, const dcam_verdict *verdict, const float *map,
                                int width, int height, double milliseconds, dcam_detection *out)
{
    dcam_detection r = {.class_name = d->model->classes[verdict->class_index].name,
                        .class_source = dcam_class_source_name(verdict->source),
                        .score = verdict->score,
                        .raw = (double)verdict->raw,
                        .threshold = verdict->threshold,
                        .anomalous = verdict->anomalous,
                        .map_width = d->model->preprocessing.width,
                        .map_height = d->model->preprocessing.height,
                        .width = width,
                        .height = height,
                        .milliseconds = milliseconds};
    size_t pixels = (size_t)r.map_width * (size_t)r.map_height;
    dcam_region regions[DCAM_MAX_REGIONS];
    r.region_count = dcam_scorer_regions(scorer, map, verdict, width, height, 0, regions, DCAM_MAX_REGIONS);
    dcam_status status = dcam_alloc(pixels, sizeof *r.map, &r.map);
    if (status == DCAM_OK) status = dcam_alloc(r.region_count, sizeof *r.regions, &r.regions);
    if (status != DCAM_OK) {
        dcam_detection_clear(&r);
        return status;
    }
    memcpy(r.map, map, pixels * sizeof *map);
    if (r.region_count > 0) memcpy(r.regions, regions, r.region_count * sizeof *regions);
    *out = r;
    return DCAM_OK;
}

static dcam_status detect_image(dcam_detector *d, const dcam_image *image, dcam_detection *out)
{
    size_t pixels = (size_t)d->model->preprocessing.width * (size_t)d->model->preprocessing.height;
    float *map = NULL;
    dcam_verdict verdict;
    DCAM_TRY(dcam_check_team(d->threads));
    DCAM_TRY(dcam_alloc(pixels, sizeof *map, &map));
    const int threads = dcam_swap_threads(d->threads);
    double start = dcam_seconds();
    dcam_status status = dcam_scorer_run_image(d->scorer, image, d->class_index, map, &verdict);
    double milliseconds = 1e3 * (dcam_seconds() - start);
    if (status == DCAM_OK) status = dcam_detection_fill(d, d->scorer, &verdict, map, image->width, image->height, milliseconds, out);
    dcam_set_threads(threads);
    dcam_free(map);
    return status;
}

dcam_status dcam_detect_file(dcam_detector *d, const char *path, dcam_detection *out)
{
    dcam_image image = {0};
    if (!d || !path || !out) return dcam_fail(DCAM_ERROR_USAGE, "detect: needs a detector, an image file and a place for the result");
    DCAM_TRY(dcam_image_load(path, &image));
    dcam_status status = detect_image(d, &image, out);
    dcam_image_clear(&image);
    return status;
}

dcam_status dcam_detect_bytes(dcam_detector *d, const void *bytes, size_t count, dcam_detection *out)
{
    dcam_image image = {0};
    if (!d || !bytes || !out) return dcam_fail(DCAM_ERROR_USAGE, "detect: needs a detector, an image's bytes and a place for the result");
    DCAM_TRY(dcam_image_decode(bytes, count, "image", &image));
    dcam_status status = detect_image(d, &image, out);
    dcam_image_clear(&image);
    return status;
}

dcam_status dcam_detect_rgb(dcam_detector *d, const uint8_t *rgb, int width, int height, size_t stride,
                            dcam_detection *out)
{
    if (!d || !rgb || !out) return dcam_fail(DCAM_ERROR_USAGE, "detect: needs a detector, pixels and a place for the result");
    if (width < 1 || height < 1 || width > DCAM_MAX_IMAGE_SIDE || height > DCAM_MAX_IMAGE_SIDE ||
        (size_t)width * (size_t)height > DCAM_MAX_IMAGE_PIXELS)
        return dcam_fail(DCAM_ERROR_IMAGE, "image: %d x %d is not a size that can be read", width, height);
    size_t row = 3 * (size_t)width;
    if (stride == 0) stride = row;
    if (stride < row) return dcam_fail(DCAM_ERROR_USAGE, "image: rows of %zu bytes cannot hold %d RGB pixels", stride, width);
    dcam_image image = {.width = width, .height = height, .channels = 3};
    DCAM_TRY(dcam_alloc((size_t)height, row, &image.pixels));
    for (int y = 0; y < height; y++) memcpy(image.pixels + (size_t)y * row, rgb + (size_t)y * stride, row);
    dcam_status status = detect_image(d, &image, out);
    dcam_image_clear(&image);
    return status;
}

void dcam_detection_clear(dcam_detection *detection)
{
    if (!detection) return;
    dcam_free(detection->map);
    dcam_free(detection->regions);
    detection->map = NULL;
    detection->regions = NULL;
    detection->region_count = 0;
}

dcam_status dcam_overlay_draw(const dcam_class_calibration *c, const dcam_image *photo, const float *map, int map_width,
                              int map_height, const dcam_region *regions, size_t region_count, dcam_image *out)
{
    static const uint8_t outline[3] = {255, 255, 255};
    DCAM_TRY(dcam_overlay(photo, map, map_width, map_height, c->map_low, c->map_high, out));
    for (size_t i = 0; i < region_count; i++)
        dcam_draw_box(out, regions[i].x, regions[i].y, regions[i].width, regions[i].height, outline);
    return DCAM_OK;
}

dcam_status dcam_overlay_file(const dcam_detector *d, const char *image_path, const dcam_detection *detection,
                              const char *png_path)
{
    if (!d || !image_path || !png_path || !detection || !detection->map || !detection->class_name)
        return dcam_fail(DCAM_ERROR_USAGE, "overlay: needs a photograph, a detection with a map and a file name");
    int index = dcam_model_class_index(d->model, detection->class_name);
    if (index < 0) return unknown_class(d, detection->class_name);
    dcam_image photo = {0}, overlay = {0};
    dcam_status status = dcam_image_load(image_path, &photo);
    if (status == DCAM_ERROR_IO) status = DCAM_ERROR_IMAGE; /* what cannot be written is another matter */
    if (status == DCAM_OK)
        status = dcam_overlay_draw(&d->model->classes[index], &photo, detection->map, detection->map_width,
                                   detection->map_height, detection->regions, detection->region_count, &overlay);
    if (status == DCAM_OK) status = dcam_png_write(png_path, &overlay);
    dcam_image_clear(&overlay);
    dcam_image_clear(&photo);
    return status;
}
