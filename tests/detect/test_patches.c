/* The memory of normal patches: its kernels against plain loops, descriptors and distances against PyTorch and numpy, the
 * choice of prototypes against its definition, and a model with a memory against the map put together by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "detect/memory.h"
#include "detect/nearest.h"
#include "formula.h"
#include "golden_file.h"
#include "outcome.h"

enum { HEIGHT = 64, WIDTH = 96, POSITIONS = HEIGHT / 8 * (WIDTH / 8), DIMENSIONS = 24, PROTOTYPES = 37, ALL = 384 };

static float *random_floats(size_t n, uint64_t seed)
{
    dcam_random r = dcam_random_make(seed, 1);
    float *v = malloc(n * sizeof *v + 1);
    for (size_t i = 0; i < n; i++) v[i] = (float)dcam_random_normal(&r);
    return v;
}

static void assert_near(const char *name, const float *got, const double *wanted, size_t n, double bound)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(wanted[i]));
        worst = fmax(worst, fabs((double)got[i] - wanted[i]));
    }
    if (!(worst <= bound * largest)) fail_msg("%s: %g of %g", name, worst, largest);
}

/* ---- kernels ---- */

static double distance_by_hand(const float *a, const float *b, size_t dimensions)
{
    double sum = 0;
    for (size_t d = 0; d < dimensions; d++) sum += pow((double)a[d] - (double)b[d], 2);
    return sqrt(sum);
}

static void kernels_are_the_plain_loops(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1}, {5, 3, 2}, {6, 16, 64}, {25, 17, 33}, {49, 100, 7}, {130, 33, 24}}; /* rows, columns, dimensions */
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const size_t rows = sizes[k][0], columns = sizes[k][1], dimensions = sizes[k][2];
        float *in = random_floats(rows * dimensions, k), *vectors = random_floats(columns * dimensions, 50 + k);
        float *distance = malloc(rows * sizeof *distance), *alone = malloc(rows * sizeof *alone);
        float *product = malloc(rows * columns * sizeof *product);
        int32_t *index = malloc(rows * sizeof *index);
        dcam_panels p = {0};
        assert_int_equal(dcam_panels_reserve(&p, columns, dimensions), DCAM_OK);
        dcam_panels_fill_rows(&p, vectors, columns, dimensions);
        dcam_panels_nearest(&p, in, rows, distance, index);
        for (size_t i = 0; i < rows; i++) {
            double best = INFINITY;
            for (size_t c = 0; c < columns; c++) best = fmin(best, distance_by_hand(in + i * dimensions, vectors + c * dimensions, dimensions));
            assert_true(fabs((double)distance[i] - best) < 1e-5 * (1 + best) + 2e-3 * (best < 0.01));
            assert_true(fabs(distance_by_hand(in + i * dimensions, vectors + (size_t)index[i] * dimensions, dimensions) - best) < 1e-5 * (1 + best));
            dcam_panels_nearest(&p, in + i * dimensions, 1, alone + i, NULL);
        }
        assert_memory_equal(distance, alone, rows * sizeof *alone);
        dcam_panels_fill_matrix(&p, vectors, dimensions, columns); /* the same numbers as dimensions x columns */
        dcam_panels_multiply(&p, in, rows, product);
        for (size_t i = 0; i < rows; i++)
            for (size_t c = 0; c < columns; c++) {
                double sum = 0;
                for (size_t d = 0; d < dimensions; d++) sum += (double)in[i * dimensions + d] * (double)vectors[d * columns + c];
                assert_true(fabs((double)product[i * columns + c] - sum) < 1e-5 * (1 + fabs(sum)));
            }
        dcam_panels_clear(&p);
        free(index);
        free(product);
        free(alone);
        free(distance);
        free(vectors);
        free(in);
    }
}

/* Which column it is comes from rounded vectors: it may be another one that is as near, up to the rounding; the distance is
 * that to the column. */
static void bf16_finds_the_nearest(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1}, {5, 3, 2}, {12, 32, 64}, {25, 33, 31}, {49, 100, 7}, {130, 70, 64}, {40, 90, 96}};
    if (!dcam_bf16_panels_here()) skip();
    for (size_t round = 0; round < 2 * (sizeof sizes / sizeof *sizes); round++) {
        const size_t k = round / 2, rows = sizes[k][0], columns = sizes[k][1], dimensions = sizes[k][2];
        float *in = random_floats(rows * dimensions, k), *vectors = random_floats(columns * dimensions, 50 + k);
        float *distance = malloc(rows * sizeof *distance), *alone = malloc(rows * sizeof *alone);
        int32_t *index = malloc(rows * sizeof *index);
        const size_t held = dcam_memory_held();
        dcam_bf16_panels p = {0};
        assert_int_equal(dcam_bf16_panels_reserve(&p, columns + 5, dimensions), DCAM_OK);
        if (round % 2) p.tiles = false;
        dcam_bf16_panels_fill(&p, vectors, columns);
        dcam_bf16_panels_nearest(&p, in, rows, distance, index);
        for (size_t i = 0; i < rows; i++) {
            double best = INFINITY;
            for (size_t c = 0; c < columns; c++) best = fmin(best, distance_by_hand(in + i * dimensions, vectors + c * dimensions, dimensions));
            assert_true(index[i] >= 0 && (size_t)index[i] < columns);
            const double found = distance_by_hand(in + i * dimensions, vectors + (size_t)index[i] * dimensions, dimensions);
            assert_true(fabs((double)distance[i] - found) <= 1e-6 * (1 + found));
            /* both vectors move by at most 2^-9 of their lengths, of about the root of the dimensions */
            assert_true(found <= best + 4.0 / 512 * 2 * sqrt((double)dimensions));
            dcam_bf16_panels_nearest(&p, in + i * dimensions, 1, alone + i, NULL);
        }
        assert_memory_equal(distance, alone, rows * sizeof *alone);
        dcam_bf16_panels_fill(&p, in, 1); /* a column is at no distance from itself, however many there are */
        dcam_bf16_panels_nearest(&p, in, 1, distance, index);
        assert_true(distance[0] == 0 && index[0] == 0);
        /* Vectors of a hostile model: no column that is there looks nearer than one that is not, but for its number. */
        for (size_t i = 0; i < columns * dimensions; i++) vectors[i] = copysignf(1e16f + 1e30f * (float)(i % 2), vectors[i]);
        dcam_bf16_panels_fill(&p, vectors, columns);
        dcam_bf16_panels_nearest(&p, in, rows, distance, index);
        for (size_t i = 0; i < rows; i++) assert_true(index[i] >= 0 && (size_t)index[i] < columns);
        dcam_bf16_panels_clear(&p);
        assert_int_equal(dcam_memory_held(), held);
        free(index);
        free(alone);
        free(distance);
        free(vectors);
        free(in);
    }
}

/* ---- descriptors ---- */

static float *stage(uint32_t seed, int stride, int channels)
{
    const size_t n = (size_t)(HEIGHT / stride * (WIDTH / stride) * channels);
    float *v = malloc(n * sizeof *v);
    formula_fill(seed, 1, 0.25f, v, n);
    for (size_t i = 0; i < n; i++) v[i] = fmaxf(v[i], 0);
    return v;
}

static void descriptors_are_pytorchs(void **state)
{
    (void)state;
    float *fine = stage(81, 8, 128), *coarse = stage(82, 16, 256), *raw = malloc(POSITIONS * ALL * sizeof *raw);
    const float *const teacher[DCAM_STAGES] = {NULL, fine, coarse};
    static float projection[ALL * DIMENSIONS], prototypes[PROTOTYPES * DIMENSIONS];
    static float embedded[POSITIONS * DIMENSIONS], map[POSITIONS], again[POSITIONS], picked[POSITIONS * ALL];
    dcam_matcher *m;
    formula_fill(83, 0.125f, 0, projection, ALL * DIMENSIONS);
    formula_fill(84, 0.5f, 0, prototypes, PROTOTYPES * DIMENSIONS);
    assert_int_equal(dcam_matcher_create(dcam_architecture_find(NULL), HEIGHT, WIDTH, projection, DIMENSIONS, PROTOTYPES, false, &m), DCAM_OK);
    assert_int_equal(dcam_matcher_positions(m), POSITIONS);
    assert_int_equal(dcam_matcher_channels(m), ALL);
    const size_t held = dcam_memory_held();
    dcam_matcher_describe(m, teacher, raw);
    dcam_matcher_embed(m, teacher, embedded);
    dcam_matcher_distances(m, teacher, prototypes, PROTOTYPES, map);
    assert_int_equal(dcam_memory_held(), held);
    size_t n = 0;
    for (size_t i = 0; i < POSITIONS; i += 7)
        for (size_t c = 0; c < ALL; c += 5) picked[n++] = raw[i * ALL + c];
    double *wanted = golden_read("memory.bin", "raw", n);
    assert_near("raw", picked, wanted, n, 2e-6);
    free(wanted);
    wanted = golden_read("memory.bin", "embedded", POSITIONS * DIMENSIONS);
    assert_near("embedded", embedded, wanted, POSITIONS * DIMENSIONS, 2e-6);
    free(wanted);
    wanted = golden_read("memory.bin", "distances", POSITIONS);
    assert_near("distances", map, wanted, POSITIONS, 5e-6);
    free(wanted);
    dcam_set_threads(1);
    dcam_matcher_distances(m, teacher, prototypes, PROTOTYPES, again);
    dcam_set_threads(0);
    assert_memory_equal(map, again, sizeof map);
    dcam_matcher_destroy(m);
    free(raw);
    free(coarse);
    free(fine);
}

/* ---- making it ---- */

static void directions_catch_the_variance(void **state)
{
    (void)state;
    enum { CHANNELS = 40, DIRECTIONS = 7 };
    double *covariance = golden_read("memory.bin", "covariance", CHANNELS * CHANNELS), caught = 0;
    double *best = golden_read("memory.bin", "caught", 1);
    float q[CHANNELS * CHANNELS];
    assert_int_equal(dcam_principal_directions(covariance, CHANNELS, DIRECTIONS, q), DCAM_OK);
    for (size_t a = 0; a < DIRECTIONS; a++)
        for (size_t b = 0; b < DIRECTIONS; b++) {
            double dot = 0;
            for (size_t i = 0; i < CHANNELS; i++) {
                dot += (double)q[i * DIRECTIONS + a] * (double)q[i * DIRECTIONS + b];
                for (size_t j = 0; a == b && j < CHANNELS; j++)
                    caught += (double)q[i * DIRECTIONS + a] * covariance[i * CHANNELS + j] * (double)q[j * DIRECTIONS + a];
            }
            assert_true(fabs(dot - (a == b)) < 1e-5);
        }
    assert_true(caught > 0.995 * *best && caught < 1.00001 * *best);
    memset(covariance, 0, CHANNELS * CHANNELS * sizeof *covariance); /* no variance at all: still orthonormal */
    assert_int_equal(dcam_principal_directions(covariance, CHANNELS, CHANNELS, q), DCAM_OK);
    for (size_t i = 0; i < CHANNELS * CHANNELS; i++) assert_true(isfinite(q[i]));
    assert_int_equal(dcam_principal_directions(covariance, CHANNELS, CHANNELS + 1, q), DCAM_ERROR_INTERNAL);
    free(best);
    free(covariance);
}

static void coresets_are_greedy(void **state)
{
    (void)state;
    enum { N = 200, D = 5, K = 20 };
    float *v = random_floats(N * D, 9);
    size_t chosen[N + 5], count = K;
    assert_int_equal(dcam_choose_coreset(v, N, D, &count, chosen), DCAM_OK);
    assert_int_equal(count, K);
    for (size_t k = 1; k < K; k++) { /* each is the farthest from those before it */
        double farthest = 0, own = INFINITY;
        for (size_t i = 0; i < N; i++) {
            double nearest = INFINITY;
            for (size_t j = 0; j < k; j++) nearest = fmin(nearest, distance_by_hand(v + i * D, v + chosen[j] * D, D));
            farthest = fmax(farthest, nearest);
        }
        for (size_t j = 0; j < k; j++) own = fmin(own, distance_by_hand(v + chosen[k] * D, v + chosen[j] * D, D));
        assert_true(fabs(own - farthest) < 1e-5);
    }
    for (size_t i = 3; i < N; i++) memcpy(v + i * D, v + i % 3 * D, D * sizeof *v); /* three kinds only */
    count = K;
    assert_int_equal(dcam_choose_coreset(v, N, D, &count, chosen), DCAM_OK);
    assert_int_equal(count, 3);

    count = 2; /* the first is the farthest from the mean, 7.5 */
    assert_int_equal(dcam_choose_coreset((const float[]){0, 9, 10, 11}, 4, 1, &count, chosen), DCAM_OK);
    assert_true(count == 2 && chosen[0] == 0 && chosen[1] == 3);

    const float line[6] = {0, 1, 2, 10, 11, 15};
    float ends[3] = {1.5f, 11, 99};
    assert_int_equal(dcam_average_cells(line, 6, 1, ends, 3), DCAM_OK);
    assert_true(ends[0] == 1 && ends[1] == 12 && ends[2] == 99);
    free(v);
}

/* ---- a model with a memory ---- */

enum { SIDE = 64, IMAGES = 9, BYTES = SIDE * SIDE * 3 };

static dcam_status read_picture(void *user, size_t i, uint8_t *rgb)
{
    const size_t *bad = user;
    dcam_random r = dcam_random_make(5, i);
    if (bad && *bad == i) return dcam_fail(DCAM_ERROR_IMAGE, "picture %zu is bad", i);
    for (size_t k = 0; k < BYTES; k++) rgb[k] = (uint8_t)((i % 2 ? k / 3 % SIDE * 3 : 90) + dcam_random_below(&r, 30));
    return DCAM_OK;
}

static const int class_of[IMAGES] = {0, 1, 0, 1, 0, 1, 0, 1, 0};
static const char *const names[] = {"even", "odd"};

static dcam_calibration_set pictures(size_t *bad)
{
    return (dcam_calibration_set){.count = IMAGES, .classes = class_of, .class_names = names, .class_count = 2,
                                  .false_alarm_rate = 0.2, .read = read_picture, .user = bad};
}

static dcam_model *model_of(const dcam_memory_options *o, size_t *bad)
{
    dcam_model *m;
    const dcam_calibration_set set = pictures(bad);
    assert_int_equal(dcam_model_create(&m), DCAM_OK);
    m->architecture = dcam_architecture_find(NULL);
    assert_int_equal(dcam_copy_string("hybrid", &m->method), DCAM_OK);
    m->preprocessing = dcam_preprocessing_default(SIDE, SIDE);
    m->map = (dcam_map_options){.kind = DCAM_MAP_STANDARD};
    assert_int_equal(dcam_trunk_weights_random_teacher(m->architecture, 1, &m->teacher), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 2, &m->student), DCAM_OK);
    assert_int_equal(dcam_memory_build(m, o, &set), DCAM_OK);
    return m;
}

static void built_alike_with_any_threads(void **state)
{
    (void)state;
    const dcam_memory_options o = {.dimensions = 12, .prototypes = 50, .seed = 3};
    size_t bad = 4;
    dcam_model *a = model_of(&o, NULL), *c = model_of(&o, &bad);
    dcam_set_threads(1);
    dcam_model *b = model_of(&o, NULL);
    dcam_set_threads(0);
    assert_int_equal(a->memory.dimensions, 12);
    assert_true(a->memory.weight == DCAM_DEFAULT_MEMORY_WEIGHT);
    assert_int_equal(a->class_count, 2);
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(a->classes[k].prototype_count, 50);
        assert_memory_equal(a->classes[k].prototypes, b->classes[k].prototypes, 50 * 12 * sizeof(float));
    }
    assert_memory_equal(a->memory.projection, b->memory.projection, ALL * 12 * sizeof(float));
    assert_memory_not_equal(a->classes[0].prototypes, c->classes[0].prototypes, 50 * 12 * sizeof(float));
    dcam_model_destroy(c);
    dcam_model_destroy(b);
    dcam_model_destroy(a);
}

/* The fused map is the student's plus the weighted, standardised distances, and calibrating keeps the memory. */
static void scored_with_its_memory(void **state)
{
    (void)state;
    const size_t held = dcam_memory_held();
    const dcam_memory_options o = {.dimensions = 12, .prototypes = 30, .weight = 1.5};
    dcam_model *m = model_of(&o, NULL);
    const dcam_calibration_set set = pictures(NULL);
    dcam_scorer *scorer;
    static uint8_t rgb[BYTES];
    static float whole[SIDE * SIDE], student[SIDE * SIDE], distances[SIDE * SIDE / 64], large[SIDE * SIDE / 16], added[SIDE * SIDE];
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, NULL), DCAM_OK);
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, NULL), DCAM_OK);
    assert_int_equal(m->classes[1].prototype_count, 30);
    assert_int_equal(dcam_scorer_create(m, NULL, &scorer), DCAM_OK);
    assert_int_equal(dcam_scorer_memory_positions(scorer), SIDE * SIDE / 64);
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 1; i < IMAGES; i += 2) {
        assert_int_equal(read_picture(NULL, i, rgb), DCAM_OK);
        assert_int_equal(dcam_scorer_extract(scorer, rgb, 1), DCAM_OK);
        dcam_scorer_memory_map(scorer, 0, &m->classes[1], distances);
        for (size_t p = 0; p < SIDE * SIDE / 64; p++, n++) {
            sum += (double)distances[p];
            squares += (double)distances[p] * (double)distances[p];
        }
    }
    assert_true(fabs((double)m->classes[1].memory_mean - sum / n) < 1e-6);
    assert_true(fabs((double)m->classes[1].memory_deviation - sqrt(squares / n - sum / n * sum / n)) < 1e-5);

    dcam_class_calibration forgetful = m->classes[1];
    forgetful.prototypes = NULL;
    dcam_scorer_map(scorer, 0, &m->classes[1], whole);
    dcam_scorer_map(scorer, 0, &forgetful, student);
    for (size_t p = 0; p < SIDE * SIDE / 64; p++)
        distances[p] = (distances[p] - m->classes[1].memory_mean) / m->classes[1].memory_deviation * 1.5f;
    dcam_upsample_bilinear(distances, SIDE / 8, SIDE / 8, large, SIDE / 4, SIDE / 4);
    dcam_upsample_bilinear(large, SIDE / 4, SIDE / 4, added, SIDE, SIDE);
    for (size_t p = 0; p < SIDE * SIDE; p++) assert_true(fabsf(whole[p] - student[p] - added[p]) < 1e-4f);
    dcam_scorer_destroy(scorer);

    /* A class that the memory knows nothing of cannot be calibrated, and nothing has changed then. */
    const char *const other[] = {"even", "third"};
    dcam_calibration_set strange = pictures(NULL);
    strange.class_names = other;
    assert_int_equal(dcam_calibrate_model(m, NULL, &strange, NULL), DCAM_ERROR_DATA);
    assert_non_null(strstr(dcam_error_message(), "third"));
    assert_int_equal(m->class_count, 2);
    assert_int_equal(m->classes[0].prototype_count, 30);
    dcam_model_destroy(m);
    assert_int_equal(dcam_memory_held(), held);
}

/* Class "even": one picture, each time with another byte a step brighter. */
static dcam_status read_nearly_equal(void *user, size_t i, uint8_t *rgb)
{
    if (i % 2 == 1) return read_picture(user, i, rgb);
    DCAM_TRY(read_picture(user, 0, rgb));
    rgb[i] = (uint8_t)(rgb[i] < 255 ? rgb[i] + 1 : 254);
    return DCAM_OK;
}

typedef struct {
    int lines, of_even;
} heard;

static void hear(void *user, dcam_log_level level, const char *line)
{
    heard *h = user;
    if (level != DCAM_LOG_WARNING || !strstr(line, "nearly equal")) return;
    h->lines++;
    h->of_even += strstr(line, "class \"even\"") != NULL;
}

/* As many prototypes as an image has patches: they are all that there is in one class, and few of the other's. */
static void nearly_equal_images_are_told(void **state)
{
    (void)state;
    const dcam_memory_options o = {.dimensions = 12, .prototypes = SIDE * SIDE / 64, .weight = 1.5};
    heard h = {0};
    dcam_model *m = model_of(&o, NULL);
    dcam_calibration_set set = pictures(NULL);
    dcam_set_log(hear, &h);
    OK(dcam_calibrate_model(m, NULL, &set, NULL));
    assert_int_equal(h.lines, 0);
    set.read = read_nearly_equal;
    OK(dcam_memory_build(m, &o, &set));
    OK(dcam_calibrate_model(m, NULL, &set, NULL));
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.of_even, 1);
    dcam_set_log(NULL, NULL);
    dcam_model_destroy(m);
}

static void refusals_and_failures(void **state)
{
    (void)state;
    const dcam_memory_options good = {.dimensions = 8, .prototypes = 10};
    dcam_model *m = model_of(&good, NULL);
    const dcam_calibration_set set = pictures(NULL);
    dcam_memory_options o = {.dimensions = ALL + 1};
    assert_int_equal(dcam_memory_build(m, &o, &set), DCAM_ERROR_USAGE);
    o = (dcam_memory_options){.prototypes = DCAM_MAX_PROTOTYPES + 1};
    assert_int_equal(dcam_memory_build(m, &o, &set), DCAM_ERROR_USAGE);
    o = (dcam_memory_options){.weight = -1};
    assert_int_equal(dcam_memory_build(m, &o, &set), DCAM_ERROR_USAGE);
    SOME_ALLOCATIONS(a, 25, dcam_memory_build(m, &good, &set)) assert_true(a.n > 30 || !a.passed);
    assert_int_equal(m->classes[1].prototype_count, 10);
    dcam_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_the_plain_loops), cmocka_unit_test(bf16_finds_the_nearest),
        cmocka_unit_test(descriptors_are_pytorchs),
        cmocka_unit_test(directions_catch_the_variance), cmocka_unit_test(coresets_are_greedy),
        cmocka_unit_test(built_alike_with_any_threads),  cmocka_unit_test(scored_with_its_memory),
        cmocka_unit_test(nearly_equal_images_are_told), cmocka_unit_test(refusals_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
