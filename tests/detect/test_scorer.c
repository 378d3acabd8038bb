/* The scorer against its parts called by hand, and the calibration against what the scorer says about the same images.
 * A random teacher and student are enough: nothing here asks whether the detection is good. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "detect/calibration.h"
#include "formula.h"
#include "net/attention.h"

enum { WIDTH = 96, HEIGHT = 64, PIXELS = WIDTH * HEIGHT, BYTES = 3 * PIXELS, IMAGES = 12, CLASSES = 3 };
static const char *const names[CLASSES] = {"dark", "bright", "striped"};

/* Three looks that the teacher can tell apart, with noise. */
static void make_image(size_t index, uint8_t *rgb)
{
    dcam_random r = dcam_random_make(77, index);
    const size_t kind = index % CLASSES;
    for (size_t i = 0; i < PIXELS; i++) {
        const double base = kind == 0 ? 40 : kind == 1 ? 200 : i % WIDTH / 8 % 2 ? 220 : 20;
        for (size_t c = 0; c < 3; c++) rgb[3 * i + c] = (uint8_t)(base + 20 * dcam_random_uniform(&r));
    }
}

static dcam_model *make_model(dcam_map_kind kind, bool keep)
{
    dcam_model *m;
    assert_int_equal(dcam_model_create(&m), DCAM_OK);
    m->architecture = dcam_architecture_find(NULL);
    assert_int_equal(dcam_copy_string("test", &m->method), DCAM_OK);
    m->preprocessing = dcam_preprocessing_default(WIDTH, HEIGHT);
    assert_int_equal(dcam_trunk_weights_random_teacher(m->architecture, 1, &m->teacher), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 2, &m->student), DCAM_OK);
    m->map = (dcam_map_options){.kind = kind, .smoothing = 1};
    m->attention = DCAM_ATTENTION_CHANNEL;
    m->attention_at_detection = keep;
    for (uint32_t k = 0; k < DCAM_STAGES; k++) {
        m->attention_count[k] = dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, m->architecture->stage_channels[k]);
        assert_int_equal(dcam_alloc(m->attention_count[k], sizeof(float), &m->attention_values[k]), DCAM_OK);
        formula_fill(k, 0.5f, 0, m->attention_values[k], m->attention_count[k]);
    }
    return m;
}

/* ---- a source of images for calibration ---- */

typedef struct {
    int reads[IMAGES], bad, stop_at, fatal;
} source;

static dcam_status read_source(void *user, size_t i, uint8_t *rgb)
{
    source *s = user;
    s->reads[i]++;
    if ((int)i == s->bad) return dcam_fail(DCAM_ERROR_IMAGE, "image %zu is bad", i);
    if ((int)i == s->fatal) return dcam_fail(DCAM_ERROR_MEMORY, "image %zu ends it", i);
    make_image(i, rgb);
    return DCAM_OK;
}

static bool stop_source(void *user, size_t done, size_t total)
{
    const source *s = user;
    assert_true(done <= total);
    return s->stop_at > 0 && (int)done == s->stop_at;
}

static int class_of[IMAGES];

static dcam_calibration_set make_set(source *s, size_t count)
{
    *s = (source){.bad = -1, .fatal = -1};
    for (int i = 0; i < IMAGES; i++) class_of[i] = i % CLASSES;
    return (dcam_calibration_set){.count = count, .classes = class_of, .class_names = names, .class_count = CLASSES,
                                  .false_alarm_rate = 0.2, .read = read_source, .progress = stop_source, .user = s};
}

static void calibrate(dcam_model *m)
{
    source s;
    const dcam_calibration_set set = make_set(&s, IMAGES);
    size_t failed = 99;
    assert_int_equal(dcam_calibrate_model(m, &(dcam_scorer_options){.batch = 5}, &set, &failed), DCAM_OK);
    assert_int_equal(failed, 0);
    for (int i = 0; i < IMAGES; i++) assert_int_equal(s.reads[i], m->map.kind == DCAM_MAP_STANDARD ? 2 : 1);
}

/* ---- the scorer ---- */

/* Features of one image by the networks alone. */
static void features_by_hand(const dcam_model *m, const uint8_t *rgb, float *teacher[DCAM_STAGES], float *student[DCAM_STAGES])
{
    const dcam_net_options options = {HEIGHT, WIDTH, 1, DCAM_NET_F32, 0, 0, NULL};
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(m->architecture, HEIGHT, WIDTH);
    dcam_net *t, *s;
    float *input = malloc(BYTES * sizeof *input);
    dcam_normalise(&m->preprocessing, rgb, 1, input);
    assert_int_equal(dcam_net_create(m->teacher, &options, &t), DCAM_OK);
    assert_int_equal(dcam_net_create(m->student, &options, &s), DCAM_OK);
    for (int k = 0; k < DCAM_STAGES; k++) {
        const size_t count = (size_t)(shapes.height[k] * shapes.width[k] * shapes.channels[k]);
        teacher[k] = malloc(count * sizeof(float));
        student[k] = malloc(count * sizeof(float));
    }
    assert_int_equal(dcam_net_run(t, input, 1, teacher), DCAM_OK);
    assert_int_equal(dcam_net_run(s, input, 1, student), DCAM_OK);
    for (int k = 0; k < DCAM_STAGES && m->attention_at_detection; k++) {
        dcam_attention_state *state;
        assert_int_equal(dcam_attention_state_create(DCAM_ATTENTION_CHANNEL, 1, shapes.height[k], shapes.width[k],
                                                     shapes.channels[k], &state), DCAM_OK);
        dcam_attention_forward(state, m->attention_values[k], student[k], 1, student[k]);
        dcam_attention_state_destroy(state);
    }
    dcam_net_destroy(t);
    dcam_net_destroy(s);
    free(input);
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

/* The map of one image from the parts equals the scorer's, for each kind of map, attention dropped and kept. */
static void maps_are_those_of_the_parts(void **state)
{
    (void)state;
    float *maps[2] = {malloc(PIXELS * sizeof(float)), malloc(PIXELS * sizeof(float))}, *kept = malloc(PIXELS * sizeof(float));
    uint8_t *rgb = malloc(BYTES);
    make_image(4, rgb);
    for (int round = 0; round < 4; round++) {
        dcam_model *m = make_model(round < 3 ? (dcam_map_kind)round : DCAM_MAP_SUM, round == 3);
        calibrate(m);
        float *teacher[DCAM_STAGES], *student[DCAM_STAGES];
        const float *t[DCAM_STAGES], *s[DCAM_STAGES];
        features_by_hand(m, rgb, teacher, student);
        for (int k = 0; k < DCAM_STAGES; k++) {
            t[k] = teacher[k];
            s[k] = student[k];
        }
        dcam_mapper *mapper;
        dcam_scorer *scorer;
        dcam_verdict v;
        assert_int_equal(dcam_mapper_create(m->architecture, HEIGHT, WIDTH, &mapper), DCAM_OK);
        dcam_mapper_run(mapper, &m->map, &m->classes[2].stages, t, s, maps[0]);
        assert_int_equal(dcam_scorer_create(m, NULL, &scorer), DCAM_OK);
        assert_int_equal(dcam_scorer_batch(scorer), 8);
        assert_int_equal(dcam_scorer_run(scorer, rgb, 1, (int[]){2}, maps[1], &v), DCAM_OK);
        const float raw = dcam_image_score(&m->map, maps[0], PIXELS, NULL);
        assert_true(largest_difference(maps[0], maps[1], PIXELS) <= 1e-5 * fabs((double)raw));
        assert_true(fabsf(v.raw - raw) <= 1e-5f * fabsf(raw));
        assert_int_equal(v.class_index, 2);
        assert_int_equal(v.source, DCAM_CLASS_GIVEN);
        assert_true(v.threshold == m->classes[2].threshold && v.score == dcam_calibrated_score(&m->classes[2], (double)v.raw));
        assert_int_equal(v.anomalous, (double)v.raw >= v.threshold);
        if (round == 0) memcpy(kept, maps[1], PIXELS * sizeof *kept);
        if (round == 3) assert_true(largest_difference(kept, maps[1], PIXELS) > 1e-4); /* the block does something */
        for (int k = 0; k < DCAM_STAGES; k++) {
            free(teacher[k]);
            free(student[k]);
        }
        dcam_scorer_destroy(scorer);
        dcam_mapper_destroy(mapper);
        dcam_model_destroy(m);
    }
    free(rgb);
    free(kept);
    free(maps[0]);
    free(maps[1]);
}

static void batches_classes_and_memory(void **state)
{
    (void)state;
    enum { N = 7, BATCH = 3 };
    dcam_model *m = make_model(DCAM_MAP_SUM, false);
    dcam_scorer *scorer, *single;
    uint8_t *rgb = malloc(N * BYTES);
    float *maps = malloc(N * PIXELS * sizeof *maps), *map = malloc(PIXELS * sizeof *map);
    dcam_verdict v[N], one;
    calibrate(m);
    for (size_t i = 0; i < N; i++) make_image(100 + i, rgb + i * BYTES);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = BATCH}, &scorer), DCAM_OK);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = 1}, &single), DCAM_OK);
    assert_int_equal(dcam_scorer_run(scorer, rgb, N, NULL, maps, v), DCAM_OK);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(v[i].class_index, (int)((100 + i) % CLASSES));
        assert_int_equal(v[i].source, DCAM_CLASS_INFERRED);
        assert_int_equal(dcam_scorer_run(single, rgb + i * BYTES, 1, NULL, map, &one), DCAM_OK);
        assert_int_equal(dcam_scorer_nearest_class(single, 0), v[i].class_index);
        assert_true(largest_difference(map, maps + i * PIXELS, PIXELS) <= 1e-5 * (double)one.raw);
        assert_int_equal(one.class_index, v[i].class_index);
    }
    /* a second run: the same bits, and no memory asked for */
    const size_t held = dcam_memory_held();
    dcam_verdict again[N];
    dcam_memory_fail_at(1, true);
    assert_int_equal(dcam_scorer_run(scorer, rgb, N, NULL, NULL, again), DCAM_OK);
    dcam_memory_fail_at(0, false);
    assert_int_equal(dcam_memory_held(), held);
    for (size_t i = 0; i < N; i++) assert_true(again[i].raw == v[i].raw && again[i].score == v[i].score);

    /* normalised input, and an image of another size */
    float *input = malloc(BYTES * sizeof *input);
    dcam_normalise(&m->preprocessing, rgb, 1, input);
    assert_int_equal(dcam_scorer_run_normalised(single, input, 1, (int[]){0}, map, &one), DCAM_OK);
    assert_int_equal(one.class_index, 0);
    assert_int_equal(one.source, DCAM_CLASS_GIVEN);
    free(input);
    dcam_image photo = {.width = WIDTH, .height = HEIGHT, .channels = 3, .pixels = rgb}, large;
    assert_int_equal(dcam_scorer_run_image(single, &photo, -1, map, &one), DCAM_OK);
    assert_true(fabsf(one.raw - v[0].raw) <= 1e-5f * v[0].raw);
    assert_int_equal(dcam_image_resize(&photo, 3 * WIDTH, 2 * HEIGHT, &large), DCAM_OK);
    assert_int_equal(dcam_scorer_run_image(single, &large, -1, map, &one), DCAM_OK);
    assert_int_equal(one.class_index, v[0].class_index);

    /* regions of the photograph */
    one.threshold = (double)one.raw; /* only the highest pixel is left */
    one.anomalous = true;
    dcam_region r[4];
    assert_int_equal(dcam_scorer_regions(single, map, &one, 3 * WIDTH, 2 * HEIGHT, 0, r, 4), 1);
    assert_true(r[0].peak == (double)one.raw && r[0].area == 6 && r[0].width == 3 && r[0].height == 2);
    one.anomalous = false; /* pixels pass what their mean does not: boxes in an image called ok */
    assert_int_equal(dcam_scorer_regions(single, map, &one, 3 * WIDTH, 2 * HEIGHT, 0, r, 4), 0);
    dcam_image_clear(&large);

    assert_int_equal(dcam_scorer_run(scorer, rgb, 1, (int[]){3}, NULL, v), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_scorer_run(scorer, rgb, 1, (int[]){-2}, NULL, v), DCAM_ERROR_USAGE);
    photo.channels = 1;
    assert_int_equal(dcam_scorer_run_image(single, &photo, -1, map, &one), DCAM_ERROR_INTERNAL);
    dcam_scorer_destroy(scorer);
    dcam_scorer_destroy(single);
    dcam_model_destroy(m);
    free(map);
    free(maps);
    free(rgb);
}

static void models_that_cannot_score(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_SUM, false);
    dcam_scorer *scorer = NULL;
    uint8_t *rgb = malloc(BYTES);
    dcam_verdict v;
    make_image(0, rgb);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = -1}, &scorer), DCAM_ERROR_USAGE);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = 1 << 20}, &scorer), DCAM_ERROR_USAGE);
    assert_null(scorer);
    assert_int_equal(dcam_scorer_create(m, NULL, &scorer), DCAM_OK);
    assert_int_equal(dcam_scorer_run(scorer, rgb, 1, NULL, NULL, &v), DCAM_ERROR_MODEL); /* not calibrated */
    assert_non_null(strstr(dcam_error_message(), "calibrate"));
    dcam_scorer_destroy(scorer);

    /* a student whose features overflow */
    calibrate(m);
    dcam_convolution_weights *first = &m->student->convolutions[0];
    for (int i = 0; i < m->student->shapes[0].out_channels; i++) first->gamma[i] = 3e38f;
    assert_int_equal(dcam_scorer_create(m, NULL, &scorer), DCAM_OK);
    assert_int_equal(dcam_scorer_run(scorer, rgb, 1, NULL, NULL, &v), DCAM_ERROR_MODEL);
    assert_non_null(strstr(dcam_error_message(), "not finite"));
    dcam_scorer_destroy(scorer);
    dcam_scorer_destroy(NULL);
    dcam_model_destroy(m);
    free(rgb);
}

typedef struct {
    const dcam_scorer *lender;
    const uint8_t *rgb;
    dcam_verdict verdict;
    dcam_status status;
} borrower;

static void *score_borrowing(void *context)
{
    borrower *b = context;
    dcam_scorer *scorer;
    dcam_set_threads(1);
    b->status = dcam_scorer_create_borrowing(b->lender, 1, &scorer);
    if (b->status != DCAM_OK) return NULL;
    for (int i = 0; i < 5 && b->status == DCAM_OK; i++)
        b->status = dcam_scorer_run(scorer, b->rgb, 1, NULL, NULL, &b->verdict);
    dcam_scorer_destroy(scorer);
    return NULL;
}

/* In every precision: the lender's bits, from two threads at once, for little memory. */
static void weights_are_borrowed(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_SUM, true);
    source s;
    dcam_calibration_set set = make_set(&s, IMAGES);
    uint8_t *rgb = malloc(BYTES);
    calibrate(m);
    assert_int_equal(dcam_measure_ranges(m, &set), DCAM_OK);
    make_image(100, rgb);
    for (int precision = DCAM_NET_F32; precision <= DCAM_NET_INT8; precision++) {
        dcam_scorer *lender, *other = NULL;
        dcam_verdict v;
        const size_t before = dcam_memory_held();
        assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = 1, .precision = (dcam_net_precision)precision},
                                            &lender), DCAM_OK);
        const size_t held = dcam_memory_held();
        assert_int_equal(dcam_scorer_run(lender, rgb, 1, NULL, NULL, &v), DCAM_OK);
        borrower borrowers[2];
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            borrowers[i] = (borrower){.lender = lender, .rgb = rgb};
            assert_int_equal(pthread_create(&threads[i], NULL, score_borrowing, &borrowers[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(borrowers[i].status, DCAM_OK);
            assert_true(borrowers[i].verdict.raw == v.raw && borrowers[i].verdict.class_index == v.class_index);
        }
        EVERY_ALLOCATION(a, dcam_scorer_create_borrowing(lender, 1, &other)) {
            assert_true(a.passed == (other != NULL));
            assert_true(dcam_memory_held() - held < (held - before) / 4);
            dcam_scorer_destroy(other);
            other = NULL;
        }
        dcam_scorer_destroy(lender);
        assert_int_equal(dcam_memory_held(), before);
    }
    free(rgb);
    dcam_model_destroy(m);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_STANDARD, true);
    const size_t held = dcam_memory_held();
    dcam_scorer *scorer = NULL;
    /* A model from outside may ask for any size: more than the machine has is refused before anything is written to. */
    dcam_memory_set_most(held + 100000);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = 2}, &scorer), DCAM_ERROR_MEMORY);
    dcam_memory_set_most(0);
    assert_non_null(strstr(dcam_error_message(), "a batch of 2 at the model's input of "));
    assert_int_equal(dcam_memory_held(), held);
    SOME_ALLOCATIONS(a, 15, dcam_scorer_create(m, &(dcam_scorer_options){.batch = 2}, &scorer)) {
        assert_true(a.passed ? a.n > 20 : scorer == NULL);
        dcam_scorer_destroy(scorer);
        scorer = NULL;
    }
    source s;
    const dcam_calibration_set set = make_set(&s, IMAGES);
    dcam_int8_shift shift;
    calibrate(m);
    assert_int_equal(dcam_measure_ranges(m, &set), DCAM_OK);
    SOME_ALLOCATIONS(a, 80, dcam_calibrate_model(m, &(dcam_scorer_options){.batch = 5}, &set, NULL)) {}
    SOME_ALLOCATIONS(a, 80, dcam_measure_ranges(m, &set)) {}
    SOME_ALLOCATIONS(a, 80, dcam_measure_int8_shift(m, &set, &shift)) {}
    dcam_model_destroy(m);
}

/* ---- calibration ---- */

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Scores, quantiles, thresholds and statistics as the scorer and a sort give them. */
static void calibration_is_what_the_images_say(void **state)
{
    (void)state;
    for (int kind = DCAM_MAP_SUM; kind <= DCAM_MAP_STANDARD; kind++) {
        dcam_model *m = make_model((dcam_map_kind)kind, false);
        calibrate(m);
        assert_int_equal(m->class_count, CLASSES);
        dcam_scorer *scorer;
        assert_int_equal(dcam_scorer_create(m, NULL, &scorer), DCAM_OK);
        uint8_t *rgb = malloc(BYTES);
        float *pixels = malloc(IMAGES / CLASSES * PIXELS * sizeof *pixels);
        float *stage[DCAM_STAGES];
        for (int k = 0; k < DCAM_STAGES; k++) stage[k] = malloc(PIXELS * sizeof(float));
        for (int c = 0; c < CLASSES; c++) {
            const dcam_class_calibration *class = &m->classes[c];
            assert_string_equal(class->name, names[c]);
            float scores[IMAGES];
            size_t n = 0;
            double sum = 0, squares = 0, count = 0, mean_centre = 0;
            for (size_t i = 0; i < IMAGES; i++) {
                if (class_of[i] != c) continue;
                dcam_verdict v;
                float centre[256];
                make_image(i, rgb);
                assert_int_equal(dcam_scorer_run(scorer, rgb, 1, &c, pixels + n * PIXELS, &v), DCAM_OK);
                scores[n++] = v.raw;
                dcam_scorer_centre(scorer, 0, centre);
                mean_centre += (double)centre[17];
                dcam_scorer_stage_maps(scorer, 0, stage);
                for (int p = 0; p < PIXELS / 64; p++) {
                    sum += (double)stage[1][p];
                    squares += (double)stage[1][p] * (double)stage[1][p];
                    count++;
                }
            }
            qsort(scores, n, sizeof *scores, rising);
            assert_int_equal(class->score_count, n);
            for (size_t i = 0; i < n; i++) assert_true(fabsf(class->scores[i] - scores[i]) <= 1e-4f * fabsf(scores[i]));
            dcam_normal_scores all[CLASSES];
            for (size_t k = 0; k < CLASSES; k++)
                all[k] = (dcam_normal_scores){.scores = m->classes[k].scores, .count = m->classes[k].score_count};
            assert_int_equal(dcam_thresholds_from_normal(all, CLASSES, 0.2), DCAM_OK);
            assert_true(class->threshold == all[c].threshold && class->rule == all[c].rule && class->false_alarm_rate == 0.2);
            const double mean = sum / count, deviation = sqrt(squares / count - mean * mean);
            assert_true(fabs((double)class->stages.mean[1] - mean) < 1e-5 * mean);
            assert_true(fabs((double)class->stages.deviation[1] - deviation) < 1e-3 * deviation);
            assert_true(fabs((double)class->centre[17] - mean_centre / (double)n) <= 1e-4 * fabs(mean_centre));
            qsort(pixels, n * PIXELS, sizeof *pixels, rising);
            const float median = pixels[n * PIXELS / 2], high = pixels[n * PIXELS * 995 / 1000];
            assert_true(fabsf(class->pixel_median - median) <= 0.008f * fabsf(median) + 1e-6f);
            assert_true(fabsf(class->pixel_high - high) <= 0.008f * fabsf(high) + 1e-6f);
            assert_true(class->map_low < class->map_high && (double)class->map_high > class->threshold);
        }
        for (int k = 0; k < DCAM_STAGES; k++) free(stage[k]);
        free(pixels);
        free(rgb);
        dcam_scorer_destroy(scorer);
        dcam_model_destroy(m);
    }
}

/* Ranges make an int8 scorer whose maps are near the f32 ones, and the shift says how near the scores are. */
static void int8_scores_are_near(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_SUM, false);
    const dcam_scorer_options f32 = {.batch = 1}, int8 = {.batch = 1, .precision = DCAM_NET_INT8};
    dcam_scorer *exact, *rough = NULL;
    dcam_int8_shift shift;
    source s;
    calibrate(m);
    assert_int_equal(dcam_scorer_create(m, &int8, &rough), DCAM_ERROR_MODEL);
    assert_non_null(strstr(dcam_error_message(), "calibrate --int8"));
    assert_null(rough);
    dcam_calibration_set set = make_set(&s, IMAGES);
    s.bad = 4;
    const double before = m->classes[1].threshold;
    assert_int_equal(dcam_measure_ranges(m, &set), DCAM_OK);
    assert_int_equal(dcam_measure_int8_shift(m, &set, &shift), DCAM_OK);
    assert_int_equal(shift.images, IMAGES - 1);
    assert_true(m->classes[1].threshold == before);
    assert_int_equal(dcam_scorer_create(m, &f32, &exact), DCAM_OK);
    assert_int_equal(dcam_scorer_create(m, &int8, &rough), DCAM_OK);
    float *want = malloc(PIXELS * sizeof *want), *got = malloc(PIXELS * sizeof *got);
    uint8_t *rgb = malloc(BYTES);
    double largest = 0;
    for (size_t i = 0; i < IMAGES; i++) {
        const int class_index = (int)(i % CLASSES);
        dcam_verdict v, w;
        if ((int)i == s.bad) continue;
        make_image(i, rgb);
        assert_int_equal(dcam_scorer_run(exact, rgb, 1, &class_index, want, &v), DCAM_OK);
        assert_int_equal(dcam_scorer_run(rough, rgb, 1, &class_index, got, &w), DCAM_OK);
        largest = fmax(largest, fabs((double)w.raw - (double)v.raw) / v.threshold);
        for (int p = 0; p < PIXELS; p++) assert_true(fabsf(got[p] - want[p]) < 0.03f * v.raw);
    }
    assert_true(fabs(shift.largest - largest) < 1e-3 && shift.median <= shift.largest && shift.largest < 0.02);
    free(rgb);
    free(got);
    free(want);
    dcam_scorer_destroy(rough);
    dcam_scorer_destroy(exact);
    set.count = 0;
    const float old = m->teacher_ranges[0];
    assert_int_equal(dcam_measure_ranges(m, &set), DCAM_ERROR_DATA);
    set.count = IMAGES;
    s.fatal = 3;
    assert_int_equal(dcam_measure_ranges(m, &set), DCAM_ERROR_MEMORY);
    assert_true(m->teacher_ranges[0] == old);
    dcam_model_destroy(m);
}

static void classes_are_replaced_and_appended(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_SUM, false);
    source s;
    calibrate(m);
    const double old_dark = m->classes[0].threshold, old_striped = m->classes[2].threshold;
    dcam_calibration_set set = make_set(&s, 4);
    set.class_names = (const char *const[]){"new", "bright", "newer"};
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, NULL), DCAM_OK);
    assert_int_equal(m->class_count, 5);
    assert_string_equal(m->classes[1].name, "bright");
    assert_int_equal(m->classes[1].score_count, 1);
    assert_string_equal(m->classes[3].name, "new");
    assert_int_equal(m->classes[3].score_count, 2);
    assert_string_equal(m->classes[4].name, "newer");
    assert_true(m->classes[0].threshold == old_dark && m->classes[2].threshold == old_striped);
    dcam_model_destroy(m);
}

static void failures_leave_the_model_alone(void **state)
{
    (void)state;
    dcam_model *m = make_model(DCAM_MAP_STANDARD, false);
    calibrate(m);
    const double before = m->classes[0].threshold;
    const size_t held = dcam_memory_held();
    source s;
    size_t failed = 99;
    dcam_calibration_set set = make_set(&s, IMAGES);

    s.fatal = 9;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_MEMORY);
    set = make_set(&s, IMAGES);
    s.stop_at = 20;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_CANCELLED);
    set = make_set(&s, 3); /* one image a class, one of them bad */
    s.bad = 1;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "bright"));
    set = make_set(&s, 2); /* no image of the third */
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_DATA);
    set = make_set(&s, 0);
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_DATA);
    set = make_set(&s, IMAGES);
    set.class_names = (const char *const[]){"a", "b", "a"};
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_DATA);
    set.class_names = (const char *const[]){"a", "b", "c/d"};
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_DATA);
    set = make_set(&s, IMAGES);
    set.false_alarm_rate = 2;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_USAGE);
    class_of[5] = CLASSES;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_ERROR_INTERNAL);
    assert_int_equal(failed, 99);
    assert_int_equal(m->class_count, CLASSES);
    assert_true(m->classes[0].threshold == before);
    assert_int_equal(dcam_memory_held(), held);

    /* a bad image among several is left out, and not asked for again in the second pass */
    set = make_set(&s, IMAGES);
    s.bad = 4;
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_OK);
    assert_int_equal(failed, 1);
    assert_int_equal(s.reads[4], 1);
    assert_int_equal(s.reads[7], 2);
    assert_int_equal(m->classes[1].score_count, IMAGES / CLASSES - 1);
    assert_int_equal(m->classes[0].score_count, IMAGES / CLASSES);
    dcam_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_those_of_the_parts),
        cmocka_unit_test(batches_classes_and_memory),
        cmocka_unit_test(models_that_cannot_score),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(weights_are_borrowed),
        cmocka_unit_test(calibration_is_what_the_images_say),
        cmocka_unit_test(int8_scores_are_near),
        cmocka_unit_test(classes_are_replaced_and_appended),
        cmocka_unit_test(failures_leave_the_model_alone),
    };
    /* The maps are tiny: on a busy machine the cores would do little but wait for each other. */
    dcam_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
