/* bench.c - where the time goes, stage by stage: decode, resize, network
 * (normalised tensor in, full-size anomaly map out), map alone, end to end.
 * The photograph is drawn here, 1024 x 1024, so that the figures need no data. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/detector.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "nn/nn.h"
#include "weights/json_text.h"

#define PHOTO_SIDE 1024
#define MOST_SECONDS 3600
#define DEFAULT_SECONDS 3.0
#define LEAST_RUNS 5
#define MOST_RUNS 20000

typedef struct {
    dcam_detector *detector;
    int batch;
    dcam_image photo;
    uint8_t *png;
    size_t png_bytes;
    uint8_t *rgb;      /* batch x height x width x 3 */
    float *input;      /* batch x 3 x height x width */
    float *maps;
    dcam_verdict *verdicts;
} bench;

static dcam_status run_decode(bench *b)
{
    dcam_image image = {0};
    DCAM_TRY(dcam_image_decode(b->png, b->png_bytes, "benchmark", &image));
    dcam_image_clear(&image);
    return DCAM_OK;
}

static dcam_status run_resize(bench *b)
{
    dcam_image image = {0};
    const dcam_preprocessing *p = &b->detector->model->preprocessing;
    DCAM_TRY(dcam_image_resize(&b->photo, p->width, p->height, &image));
    dcam_image_clear(&image);
    return DCAM_OK;
}

static dcam_status run_network(bench *b)
{
    return dcam_scorer_run_normalised(b->detector->scorer, b->input, b->batch, NULL, b->maps, b->verdicts);
}

/* The features of the last network run are still in the scorer. */
static dcam_status run_map(bench *b)
{
    const dcam_model *m = b->detector->model;
    dcam_scorer_map(b->detector->scorer, 0, m->class_count > 0 ? &m->classes[0] : NULL, b->maps);
    return DCAM_OK;
}

static dcam_status run_end_to_end(bench *b)
{
    dcam_detection detection;
    DCAM_TRY(dcam_detect_bytes(b->detector, b->png, b->png_bytes, &detection));
    dcam_detection_clear(&detection);
    return DCAM_OK;
}

static const struct {
    const char *name;
    dcam_status (*run)(bench *b);
    bool batched; /* one run handles the whole batch, else one image */
} stages[] = {
    {"decode", run_decode, false},     {"resize", run_resize, false}, {"network", run_network, true},
    {"map", run_map, false},           {"end_to_end", run_end_to_end, false},
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
    return sorted[(size_t)(q * (double)(n - 1) + 0.5)];
}

/* *result without precision. */
static dcam_status measure(bench *b, size_t stage, double seconds, double *times, dcam_bench_result *result)
{
    int images = stages[stage].batched ? b->batch : 1;
    size_t n = 0;
    for (int warm = 0; warm < 2; warm++) DCAM_TRY(stages[stage].run(b));
    double start = dcam_seconds(), now = start;
    while (n < LEAST_RUNS || (now - start < seconds && n < MOST_RUNS)) {
        DCAM_TRY(stages[stage].run(b));
        double then = dcam_seconds();
        times[n++] = 1e3 * (then - now) / images;
        now = then;
    }
    const double elapsed = now - start;
    qsort(times, n, sizeof *times, compare_doubles);
    *result = (dcam_bench_result){.stage = stages[stage].name,
                                  .batch = images,
                                  .threads = b->detector->threads,
                                  .images = n * (size_t)images,
                                  .p50 = quantile(times, n, 0.5),
                                  .p95 = quantile(times, n, 0.95),
                                  .p99 = quantile(times, n, 0.99)};
    result->images_per_second = (double)result->images / elapsed;
    return DCAM_OK;
}

static dcam_status draw_photo(dcam_image *photo)
{
    *photo = (dcam_image){.width = PHOTO_SIDE, .height = PHOTO_SIDE, .channels = 3};
    DCAM_TRY(dcam_alloc((size_t)PHOTO_SIDE * PHOTO_SIDE, 3, &photo->pixels));
    dcam_random r = dcam_random_make(1, 1);
    uint8_t *p = photo->pixels;
    for (int y = 0; y < PHOTO_SIDE; y++)
        for (int x = 0; x < PHOTO_SIDE; x++) {
            double wave = 90 + 50 * sin(x * 0.03) * cos(y * 0.05);
            uint32_t noise = dcam_random_u32(&r);
            for (int c = 0; c < 3; c++) *p++ = (uint8_t)(wave + 10 * c + (double)((noise >> (8 * c)) & 15));
        }
    return DCAM_OK;
}

static dcam_status prepare(bench *b)
{
    const dcam_preprocessing *p = &b->detector->model->preprocessing;
    size_t pixels = (size_t)p->width * (size_t)p->height, batch = (size_t)b->batch;
    dcam_image resized = {0};
    DCAM_TRY(draw_photo(&b->photo));
    DCAM_TRY(dcam_png_encode(&b->photo, &b->png, &b->png_bytes));
    DCAM_TRY(dcam_alloc(batch * pixels, 3, &b->rgb));
    DCAM_TRY(dcam_alloc(batch * pixels, 3 * sizeof *b->input, &b->input));
    DCAM_TRY(dcam_alloc(batch * pixels, sizeof *b->maps, &b->maps));
    DCAM_TRY(dcam_alloc(batch, sizeof *b->verdicts, &b->verdicts));
    DCAM_TRY(dcam_image_resize(&b->photo, p->width, p->height, &resized));
    for (size_t i = 0; i < batch; i++) memcpy(b->rgb + i * pixels * 3, resized.pixels, pixels * 3);
    dcam_image_clear(&resized);
    dcam_normalise(p, b->rgb, b->batch, b->input);
    return DCAM_OK;
}

static void clear(bench *b)
{
    dcam_image_clear(&b->photo);
    dcam_free(b->png);
    dcam_free(b->rgb);
    dcam_free(b->input);
    dcam_free(b->maps);
    dcam_free(b->verdicts);
    dcam_detector_close(b->detector);
}

static dcam_status bench_batch(const dcam_bench_options *o, int batch, bool all_stages, double *times,
                               void (*on_result)(void *, const dcam_bench_result *), void *user)
{
    bench b = {.batch = batch};
    const dcam_detector_options options = {.threads = o->threads, .precision = o->precision, .batch = batch};
    dcam_net_precision precision;
    dcam_status status = dcam_resolve_precision(o->precision, &precision);
    if (status == DCAM_OK) status = dcam_detector_open(o->model, &options, &b.detector);
    if (status == DCAM_OK) status = prepare(&b);
    for (size_t i = 0; status == DCAM_OK && i < sizeof stages / sizeof *stages; i++) {
        if (!all_stages && !stages[i].batched) continue;
        dcam_bench_result result;
        status = measure(&b, i, o->seconds > 0 ? o->seconds : DEFAULT_SECONDS, times, &result);
        if (status != DCAM_OK) break;
        result.precision = dcam_net_precision_name(precision);
        on_result(user, &result);
    }
    clear(&b);
    return status;
}

static dcam_status describe_machine(int threads, char **out)
{
    char text[512];
    dcam_nn_describe(text, sizeof text);
    json_t *machine = json_pack("{s:s, s:i, s:i, s:s}", "compute", text, "threads", threads, "cores",
                                dcam_available_cores(), "dcam", dcam_version());
    return dcam_json_text(machine, "the description of the machine", out);
}

dcam_status dcam_bench(const dcam_bench_options *options, void (*on_result)(void *, const dcam_bench_result *),
                       void *user, char **machine)
{
    if (!options || !options->model || !on_result) return dcam_fail(DCAM_ERROR_USAGE, "bench: needs a model");
    if (options->batch < 0) return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d images", options->batch);
    DCAM_TRY(dcam_check_threads(options->threads));
    if (!(options->seconds >= 0 && options->seconds <= MOST_SECONDS))
        return dcam_fail(DCAM_ERROR_USAGE, "bench: %g seconds a stage; 0 to %d are possible", options->seconds, MOST_SECONDS);
    double *times = NULL;
    DCAM_TRY(dcam_alloc(MOST_RUNS, sizeof *times, &times));
    const int threads = options->threads > 0 ? options->threads : dcam_available_cores(), before = dcam_swap_threads(threads);
    dcam_status status = bench_batch(options, options->batch ? options->batch : 1, true, times, on_result, user);
    if (status == DCAM_OK && options->batch == 0) status = bench_batch(options, 8, false, times, on_result, user);
    if (status == DCAM_OK && machine) status = describe_machine(threads, machine);
    dcam_set_threads(before);
    dcam_free(times);
    return status;
}
