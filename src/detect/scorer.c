/* scorer.c - pixels to verdicts: normalise, teacher and student, attention if it is kept, class, map, image score.
 * All buffers are made once; a call on n images works through them in batches. */
#include "detect/scorer.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "detect/calibration.h"
#include "detect/memory.h"
#include "net/attention.h"

#define DEFAULT_BATCH 8
#define MAX_BATCH 1024

struct dcam_scorer {
    const dcam_model *model;
    int batch;
    dcam_net_precision precision;
    size_t pixels;                          /* of one map */
    dcam_feature_shapes shapes;
    size_t feature_count[DCAM_STAGES];      /* floats of one image */
    dcam_net *teacher, *student;
    dcam_attention_state *attention[DCAM_STAGES]; /* NULL unless kept */
    dcam_mapper *mapper;
    dcam_matcher *matcher;                  /* NULL where the model has no memory */
    float *distances;                       /* of the patches of one image */
    dcam_region_finder *regions;
    float *input;                           /* batch x 3 x height x width */
    dcam_taps teacher_taps, student_taps;   /* f32 unless nothing but the map wants them all */
    void *teacher_features[DCAM_STAGES], *student_features[DCAM_STAGES];
    float *values[DCAM_STAGES];             /* of the teacher's raw features of one image, where something reads f32 */
    float *map, *scratch;                   /* height x width each */
    float *centre;                          /* C_3 */
};

const char *dcam_class_source_name(dcam_class_source source)
{
    switch (source) {
    case DCAM_CLASS_GIVEN: return "given";
    case DCAM_CLASS_INFERRED: return "inferred";
    case DCAM_CLASS_SINGLE: return "single";
    }
    return "unknown";
}

/* ---- creation ---- */

static dcam_status create_stage(dcam_scorer *s, int k)
{
    const dcam_model *m = s->model;
    const int h = s->shapes.height[k], w = s->shapes.width[k], c = s->shapes.channels[k];
    s->feature_count[k] = (size_t)h * (size_t)w * (size_t)c;
    const size_t count = s->feature_count[k] * (size_t)s->batch;
    DCAM_TRY(dcam_alloc(count, dcam_tap_bytes(s->teacher_taps.type), &s->teacher_features[k]));
    DCAM_TRY(dcam_alloc(count, dcam_tap_bytes(s->student_taps.type), &s->student_features[k]));
    /* The memory and the classes' centres look at the later stages. */
    if (k > 0 && s->teacher_taps.type != DCAM_TAP_F32)
        DCAM_TRY(dcam_alloc(s->feature_count[k], sizeof(float), &s->values[k]));
    if (!m->attention_at_detection || m->attention == DCAM_ATTENTION_NONE) return DCAM_OK;
    return dcam_attention_state_create((dcam_attention_kind)m->attention, s->batch, h, w, c, &s->attention[k]);
}

static dcam_status create_matcher(dcam_scorer *s, dcam_net_precision precision)
{
    const dcam_model *m = s->model;
    size_t most = 0;
    if (m->memory.dimensions == 0) return DCAM_OK;
    for (size_t i = 0; i < m->class_count; i++)
        if (m->classes[i].prototype_count > most) most = m->classes[i].prototype_count;
    DCAM_TRY(dcam_matcher_create(m->architecture, m->preprocessing.height, m->preprocessing.width, m->memory.projection,
                                 m->memory.dimensions, most, precision != DCAM_NET_F32, &s->matcher));
    return dcam_alloc(dcam_matcher_positions(s->matcher), sizeof(float), &s->distances);
}

/* Whether the map alone reads all features: the attention and the KD term work on f32. */
static bool map_alone(const dcam_model *m)
{
    return !(m->attention_at_detection && m->attention != DCAM_ATTENTION_NONE) && !(m->map.kd_weight > 0);
}

static dcam_status create_student(dcam_scorer *s, const dcam_scorer_options *o, const dcam_scorer *lender)
{
    const dcam_model *m = s->model;
    const dcam_net_options net = {m->preprocessing.height, m->preprocessing.width, s->batch, o->precision, o->exact,
                                  map_alone(m), m->student_ranges};
    return lender ? dcam_net_create_borrowing(lender->student, s->batch, &s->student)
                  : dcam_net_create(m->student, &net, &s->student);
}

static dcam_status create_teacher(dcam_scorer *s, const dcam_scorer_options *o, const dcam_scorer *lender)
{
    const dcam_model *m = s->model;
    const dcam_net_options net = {m->preprocessing.height, m->preprocessing.width, s->batch, o->precision, o->exact,
                                  map_alone(m), m->teacher_ranges};
    return lender ? dcam_net_create_borrowing(lender->teacher, s->batch, &s->teacher)
                  : dcam_net_create(m->teacher, &net, &s->teacher);
}

/* On two threads each network has its own (dcam_net_run_both). */
static dcam_status create_networks(dcam_scorer *s, const dcam_scorer_options *o, const dcam_scorer *lender)
{
    const int threads = dcam_threads();
    if (threads == 2) dcam_set_threads(1);
    dcam_status status = create_teacher(s, o, lender);
    if (status == DCAM_OK) status = create_student(s, o, lender);
    if (threads == 2) dcam_set_threads(threads);
    if (status != DCAM_OK) return status;
    s->teacher_taps = dcam_net_taps(s->teacher);
    s->student_taps = dcam_net_taps(s->student);
    return DCAM_OK;
}

/* lender: whose networks' weights are used, or NULL. */
static dcam_status fill_scorer(dcam_scorer *s, const dcam_scorer_options *o, const dcam_scorer *lender)
{
    const dcam_model *m = s->model;
    const int height = m->preprocessing.height, width = m->preprocessing.width;
    s->pixels = (size_t)height * (size_t)width;
    s->shapes = dcam_feature_shapes_at(m->architecture, height, width);
    DCAM_TRY(create_networks(s, o, lender));
    DCAM_TRY(dcam_mapper_create(m->architecture, height, width, &s->mapper));
    DCAM_TRY(create_matcher(s, o->precision));
    DCAM_TRY(dcam_region_finder_create(height, width, &s->regions));
    for (int k = 0; k < DCAM_STAGES; k++) DCAM_TRY(create_stage(s, k));
    DCAM_TRY(dcam_alloc((size_t)s->batch * 3 * s->pixels, sizeof(float), &s->input));
    DCAM_TRY(dcam_alloc(s->pixels, sizeof(float), &s->map));
    DCAM_TRY(dcam_alloc(s->pixels, sizeof(float), &s->scratch));
    return dcam_alloc((size_t)s->shapes.channels[DCAM_STAGES - 1], sizeof(float), &s->centre);
}

static dcam_status create(const dcam_model *model, const dcam_scorer_options *o, const dcam_scorer *lender,
                          dcam_scorer **out)
{
    dcam_scorer *s;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *s, &s));
    s->model = model;
    s->batch = o->batch ? o->batch : DEFAULT_BATCH;
    s->precision = o->precision;
    dcam_status status = fill_scorer(s, o, lender);
    if (status == DCAM_ERROR_MEMORY)
        status = dcam_fail_prefix(status, "a batch of %d at the model's input of %d x %d does not fit%s", s->batch,
                                  model->preprocessing.width, model->preprocessing.height, s->batch > 1 ? ", a smaller one may" : "");
    if (status != DCAM_OK) dcam_scorer_destroy(s);
    else *out = s;
    return status;
}

dcam_status dcam_scorer_create(const dcam_model *model, const dcam_scorer_options *options, dcam_scorer **out)
{
    const dcam_scorer_options none = {0};
    const dcam_scorer_options *o = options ? options : &none;
    if (o->batch < 0 || o->batch > MAX_BATCH)
        return dcam_fail(DCAM_ERROR_USAGE, "a batch of %d images: it must be 1 to %d", o->batch, MAX_BATCH);
    DCAM_TRY(dcam_map_options_check(&model->map));
    if (o->precision == DCAM_NET_INT8 && !model->teacher_ranges)
        return dcam_fail(DCAM_ERROR_MODEL, "an int8 scorer of a model without int8 ranges; measure them with `dcam calibrate --int8`");
    return create(model, o, NULL, out);
}

dcam_status dcam_scorer_create_borrowing(const dcam_scorer *lender, int batch, dcam_scorer **out)
{
    const dcam_scorer_options o = {.batch = batch, .precision = lender->precision};
    return create(lender->model, &o, lender, out);
}

void dcam_scorer_destroy(dcam_scorer *s)
{
    if (!s) return;
    dcam_free(s->centre);
    dcam_free(s->scratch);
    dcam_free(s->map);
    dcam_free(s->input);
    for (int k = 0; k < DCAM_STAGES; k++) {
        dcam_attention_state_destroy(s->attention[k]);
        dcam_free(s->values[k]);
        dcam_free(s->student_features[k]);
        dcam_free(s->teacher_features[k]);
    }
    dcam_region_finder_destroy(s->regions);
    dcam_free(s->distances);
    dcam_matcher_destroy(s->matcher);
    dcam_mapper_destroy(s->mapper);
    dcam_net_destroy(s->student);
    dcam_net_destroy(s->teacher);
    dcam_free(s);
}

int dcam_scorer_batch(const dcam_scorer *s) { return s->batch; }

/* ---- the steps ---- */

static dcam_status extract(dcam_scorer *s, const float *input, int n)
{
    DCAM_TRY(dcam_net_run_both(s->teacher, s->student, input, n, s->teacher_features, s->student_features));
    for (int k = 0; k < DCAM_STAGES; k++)
        if (s->attention[k])
            dcam_attention_forward(s->attention[k], s->model->attention_values[k], s->student_features[k], n,
                                   s->student_features[k]);
    return DCAM_OK;
}

dcam_status dcam_scorer_extract(dcam_scorer *s, const uint8_t *rgb, int n)
{
    if (n < 1 || n > s->batch) return dcam_fail(DCAM_ERROR_INTERNAL, "%d images in a batch of %d", n, s->batch);
    dcam_normalise(&s->model->preprocessing, rgb, n, s->input);
    return extract(s, s->input, n);
}

/* Features of image i of the batch. */
static dcam_map_source source_of(const dcam_scorer *s, const dcam_taps *taps, void *const features[DCAM_STAGES], int i)
{
    dcam_map_source source = {.taps = *taps};
    for (int k = 0; k < DCAM_STAGES; k++)
        source.at[k] = (const char *)features[k] + dcam_tap_bytes(taps->type) * (size_t)i * s->feature_count[k];
    return source;
}

static dcam_map_source teacher_of(const dcam_scorer *s, int i) { return source_of(s, &s->teacher_taps, s->teacher_features, i); }
static dcam_map_source student_of(const dcam_scorer *s, int i) { return source_of(s, &s->student_taps, s->student_features, i); }

/* The teacher's features of a stage but the first, as f32. */
static const float *values_of(const dcam_scorer *s, int i, int stage)
{
    const dcam_map_source teacher = teacher_of(s, i);
    if (teacher.taps.type == DCAM_TAP_F32) return teacher.at[stage];
    dcam_tap_values(&teacher.taps, stage, teacher.at[stage], s->feature_count[stage], s->values[stage]);
    return s->values[stage];
}

void dcam_scorer_centre(const dcam_scorer *s, int i, float *centre)
{
    const int last = DCAM_STAGES - 1;
    const size_t channels = (size_t)s->shapes.channels[last], positions = s->feature_count[last] / channels;
    const float *features = values_of(s, i, last);
    memset(centre, 0, channels * sizeof *centre);
    for (size_t p = 0; p < positions; p++)
        for (size_t c = 0; c < channels; c++) centre[c] += features[p * channels + c];
    for (size_t c = 0; c < channels; c++) centre[c] /= (float)positions;
}

void dcam_scorer_stage_maps(dcam_scorer *s, int i, float *const stage_maps[DCAM_STAGES])
{
    const dcam_map_source teacher = teacher_of(s, i), student = student_of(s, i);
    dcam_mapper_stages(s->mapper, &s->model->map, &teacher, &student, stage_maps);
}

size_t dcam_scorer_memory_positions(const dcam_scorer *s) { return s->matcher ? dcam_matcher_positions(s->matcher) : 0; }

void dcam_scorer_memory_map(dcam_scorer *s, int i, const dcam_class_calibration *c, float *map)
{
    const float *const teacher[DCAM_STAGES] = {NULL, values_of(s, i, 1), values_of(s, i, 2)};
    dcam_matcher_distances(s->matcher, teacher, c->prototypes, c->prototype_count, map);
}

float dcam_scorer_map(dcam_scorer *s, int i, const dcam_class_calibration *c, float *map)
{
    const dcam_map_source teacher = teacher_of(s, i), student = student_of(s, i);
    const dcam_memory *memory = &s->model->memory;
    dcam_added_map added = {.map = s->distances, .height = s->shapes.height[1], .width = s->shapes.width[1]};
    const bool remembers = s->matcher && c && c->prototypes;
    if (remembers) {
        dcam_scorer_memory_map(s, i, c, s->distances);
        added.mean = c->memory_mean;
        added.factor = (float)(memory->weight / (double)c->memory_deviation);
    }
    dcam_mapper_run_with(s->mapper, &s->model->map, c ? &c->stages : NULL, &teacher, &student, remembers ? &added : NULL, map);
    return dcam_image_score(&s->model->map, map, s->pixels, s->scratch);
}

/* ---- verdicts ---- */

int dcam_scorer_nearest_class(dcam_scorer *s, int i)
{
    const size_t channels = (size_t)s->shapes.channels[DCAM_STAGES - 1];
    double best = INFINITY;
    int nearest = 0;
    dcam_scorer_centre(s, i, s->centre);
    for (size_t k = 0; k < s->model->class_count; k++) {
        const float *centre = s->model->classes[k].centre;
        double distance = 0;
        for (size_t c = 0; c < channels; c++) {
            const double d = (double)s->centre[c] - (double)centre[c];
            distance += d * d;
        }
        if (distance < best) {
            best = distance;
            nearest = (int)k;
        }
    }
    return nearest;
}

static dcam_status judge(dcam_scorer *s, int i, int class_index, float *map, dcam_verdict *out)
{
    const dcam_model *m = s->model;
    dcam_verdict v = {.class_index = class_index, .source = DCAM_CLASS_GIVEN};
    if (class_index < 0) {
        v.source = m->class_count == 1 ? DCAM_CLASS_SINGLE : DCAM_CLASS_INFERRED;
        v.class_index = m->class_count == 1 ? 0 : dcam_scorer_nearest_class(s, i);
    }
    const dcam_class_calibration *c = &m->classes[v.class_index];
    v.raw = dcam_scorer_map(s, i, c, map);
    if (!dcam_map_is_finite(map, s->pixels))
        return dcam_fail(DCAM_ERROR_MODEL, "the model gives an anomaly map that is not finite; train it again");
    v.threshold = c->threshold;
    v.score = dcam_calibrated_score(c, (double)v.raw);
    v.anomalous = v.score >= 0.5;
    *out = v;
    return DCAM_OK;
}

static dcam_status check_request(const dcam_scorer *s, int n, const int *classes)
{
    const size_t count = s->model->class_count;
    if (n < 0) return dcam_fail(DCAM_ERROR_INTERNAL, "%d images to score", n);
    if (count == 0) return dcam_fail(DCAM_ERROR_MODEL, "the model has no calibrated class; run `dcam calibrate` on it");
    for (int i = 0; classes && i < n; i++)
        if (classes[i] < -1 || (classes[i] >= 0 && (size_t)classes[i] >= count))
            return dcam_fail(DCAM_ERROR_USAGE, "class number %d: the model has %zu", classes[i], count);
    return DCAM_OK;
}

/* Exactly one of rgb and input is given. */
static dcam_status run(dcam_scorer *s, const uint8_t *rgb, const float *input, int n, const int *classes, float *maps,
                       dcam_verdict *verdicts)
{
    DCAM_TRY(check_request(s, n, classes));
    for (int done = 0; done < n;) {
        const int now = n - done < s->batch ? n - done : s->batch;
        const size_t offset = (size_t)done * 3 * s->pixels;
        if (rgb) DCAM_TRY(dcam_scorer_extract(s, rgb + offset, now));
        else DCAM_TRY(extract(s, input + offset, now));
        for (int i = 0; i < now; i++, done++)
            DCAM_TRY(judge(s, i, classes ? classes[done] : -1, maps ? maps + (size_t)done * s->pixels : s->map,
                           &verdicts[done]));
    }
    return DCAM_OK;
}

dcam_status dcam_scorer_run(dcam_scorer *s, const uint8_t *rgb, int n, const int *classes, float *maps, dcam_verdict *verdicts)
{
    return run(s, rgb, NULL, n, classes, maps, verdicts);
}

dcam_status dcam_scorer_run_normalised(dcam_scorer *s, const float *input, int n, const int *classes, float *maps,
                                       dcam_verdict *verdicts)
{
    return run(s, NULL, input, n, classes, maps, verdicts);
}

dcam_status dcam_scorer_run_image(dcam_scorer *s, const dcam_image *image, int class_index, float *map, dcam_verdict *verdict)
{
    const dcam_preprocessing *p = &s->model->preprocessing;
    dcam_image resized = {0};
    if (image->channels != 3) return dcam_fail(DCAM_ERROR_INTERNAL, "an image of %d channels to score", image->channels);
    if (image->width == p->width && image->height == p->height)
        return dcam_scorer_run(s, image->pixels, 1, &class_index, map, verdict);
    DCAM_TRY(dcam_image_resize(image, p->width, p->height, &resized));
    const dcam_status status = dcam_scorer_run(s, resized.pixels, 1, &class_index, map, verdict);
    dcam_image_clear(&resized);
    return status;
}

size_t dcam_scorer_regions(dcam_scorer *s, const float *map, const dcam_verdict *verdict, int image_width,
                           int image_height, double min_area, dcam_region *out, size_t capacity)
{
    if (!verdict->anomalous) return 0; /* single pixels may pass a threshold that their mean (top_percent) does not */
    return dcam_find_regions(s->regions, map, verdict->threshold, image_width, image_height, min_area, out, capacity);
}
