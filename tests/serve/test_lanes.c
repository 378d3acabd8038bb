/* The way of requests through workers and lanes, with one to four threads: every image gets the verdict that a scorer
 * gives it alone, whoever it runs beside; nothing is left behind; and an engine that lacks memory is told and gone.
 * libmicrohttpd is the one function below: the answer of a request is there. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "detect/calibration.h"
#include "serve/internal.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, BYTES = 3 * PIXELS, IMAGES = 12, CLASSES = 2, REQUESTS = 24, MOST_IMAGES = 5 };
static const char *const names[CLASSES] = {"dark", "bright"};
static char path[] = "/tmp/dcam-lanes-XXXXXX";
static dcam_verdict right[IMAGES];
static float right_maps[IMAGES][PIXELS];

static void make_image(size_t index, uint8_t *rgb)
{
    dcam_random r = dcam_random_make(5, index);
    for (size_t i = 0; i < BYTES; i++) rgb[i] = (uint8_t)((index % CLASSES ? 180 : 30) + 40 * dcam_random_uniform(&r));
}

static dcam_status read_image(void *user, size_t i, uint8_t *rgb)
{
    (void)user;
    make_image(i, rgb);
    return DCAM_OK;
}

/* A model in a file, and what a scorer on one thread says of each image by itself. */
static int set_up(void **state)
{
    (void)state;
    static int class_of[IMAGES];
    dcam_model *m;
    dcam_scorer *scorer;
    uint8_t rgb[BYTES];
    for (int i = 0; i < IMAGES; i++) class_of[i] = i % CLASSES;
    const dcam_calibration_set set = {.count = IMAGES, .classes = class_of, .class_names = names, .class_count = CLASSES,
                                      .false_alarm_rate = 0.2, .read = read_image};
    size_t failed;
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    dcam_set_threads(1);
    assert_int_equal(dcam_model_create(&m), DCAM_OK);
    m->architecture = dcam_architecture_find(NULL);
    assert_int_equal(dcam_copy_string("test", &m->method), DCAM_OK);
    m->preprocessing = dcam_preprocessing_default(SIDE, SIDE);
    assert_int_equal(dcam_trunk_weights_random_teacher(m->architecture, 1, &m->teacher), DCAM_OK);
    assert_int_equal(dcam_trunk_weights_random(m->architecture, 2, &m->student), DCAM_OK);
    m->map = (dcam_map_options){.kind = DCAM_MAP_SUM, .smoothing = 1};
    assert_int_equal(dcam_calibrate_model(m, NULL, &set, &failed), DCAM_OK);
    assert_int_equal(dcam_model_save(m, path), DCAM_OK);
    assert_int_equal(dcam_scorer_create(m, &(dcam_scorer_options){.batch = 1}, &scorer), DCAM_OK);
    for (size_t i = 0; i < IMAGES; i++) {
        make_image(i, rgb);
        assert_int_equal(dcam_scorer_run(scorer, rgb, 1, NULL, right_maps[i], &right[i]), DCAM_OK);
    }
    dcam_scorer_destroy(scorer);
    dcam_model_destroy(m);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

/* ---- a server without connections ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static int answers;

void MHD_resume_connection(struct MHD_Connection *connection)
{
    (void)connection;
    pthread_mutex_lock(&lock);
    answers++;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
}

static bool await_for(int count, time_t seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&lock);
    while (answers < count && pthread_cond_timedwait(&answered, &lock, &until) == 0) {}
    const bool all = answers >= count;
    answers = 0;
    pthread_mutex_unlock(&lock);
    return all;
}

static void await(int count)
{
    pthread_mutex_lock(&lock);
    while (answers < count) pthread_cond_wait(&answered, &lock);
    answers = 0;
    pthread_mutex_unlock(&lock);
}

static dcam_server *make_server(int threads, int batch, double delay)
{
    static char name[] = "m";
    static dcam_server_model model = {name, path};
    dcam_server *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    assert_non_null(s);
    s->options = (dcam_server_options){.models = &model, .model_count = 1, .threads = threads, .workers = 2, .precision = DCAM_PRECISION_F32,
                                       .batch = batch ? batch : 8, .batch_delay = delay, .queue = 1000, .deadline = 1000,
                                       .max_pixels = 1 << 20, .no_watch = true};
    s->find_batch = batch == 0;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, &monotonic);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_cond_init(&s->timed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    assert_int_equal(serve_metrics_create(&s->metrics), DCAM_OK);
    return s;
}

static void destroy_server(dcam_server *s)
{
    serve_pool_stop(s);
    serve_models_close(s);
    serve_metrics_destroy(s->metrics);
    pthread_cond_destroy(&s->timed);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* With room for a body. */
static void begin_request(dcam_server *s, serve_endpoint endpoint, size_t body_bytes, serve_request *r)
{
    memset(r, 0, sizeof *r);
    r->server = s;
    r->method = "POST";
    r->endpoint = endpoint;
    r->model = &s->models[0];
    r->body_bytes = body_bytes;
    assert_int_equal(dcam_alloc(r->body_bytes, 1, &r->body), DCAM_OK);
    r->times.begun = r->times.received = dcam_seconds();
    r->deadline = r->times.received + s->options.deadline;
}

/* n images k, k + 1, ... and what is wanted of them, all in binary form. */
static void make_infer(dcam_server *s, size_t k, size_t n, bool floats, const char *outputs, serve_request *r)
{
    const size_t one = floats ? BYTES * sizeof(float) : BYTES;
    char head[512];
    uint8_t rgb[BYTES];
    const int length = snprintf(head, sizeof head, "{\"inputs\":[{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%zu,%s],\"parameters\":{"
                                "\"binary_data_size\":%zu}}],%s}", floats ? "input" : "image", floats ? "FP32" : "UINT8", n,
                                floats ? "3,32,32" : "32,32,3", n * one, outputs);
    begin_request(s, ENDPOINT_INFER, (size_t)length + n * one, r);
    r->header_bytes = length;
    memcpy(r->body, head, (size_t)length);
    for (size_t i = 0; i < n; i++) {
        uint8_t *to = r->body + (size_t)length + i * one;
        make_image((k + i) % IMAGES, rgb);
        if (!floats) memcpy(to, rgb, one);
        for (size_t c = 0; floats && c < 3; c++)
            for (size_t p = 0; p < PIXELS; p++) {
                const float v = (float)rgb[3 * p + c] / 255;
                memcpy(to + (c * PIXELS + p) * sizeof v, &v, sizeof v);
            }
    }
}

#define IN_BINARY "\"parameters\":{\"binary_data_output\":true},"
#define ONLY_RAW IN_BINARY "\"outputs\":[{\"name\":\"raw\"}]"
#define WITH_MAPS IN_BINARY "\"outputs\":[{\"name\":\"raw\"},{\"name\":\"anomaly_map\"}]"

/* With maps or without, every third one as floats. */
static void make_request(dcam_server *s, size_t k, serve_request *r)
{
    make_infer(s, k, 1 + k % MOST_IMAGES, k % 3 == 2, k % 2 ? WITH_MAPS : ONLY_RAW, r);
}

static void submit(dcam_server *s, serve_request *r)
{
    pthread_mutex_lock(&s->lock);
    s->working++;
    pthread_mutex_unlock(&s->lock);
    serve_submit(r);
}

/* Other counts of threads and the company may change the last bits (docs/numerics.md); 1/255 is rounded differently. */
static void check_answer(size_t k, const serve_request *r)
{
    if (r->answer.status != 200) fail_msg("request %zu: %d, %s", k, r->answer.status, r->answer.error);
    const char *raws = r->answer.body.bytes + r->answer.header_bytes;
    const size_t n = (size_t)r->image_count, map_bytes = k % 2 ? n * sizeof right_maps[0] : 0;
    assert_int_equal(r->answer.body.used, (size_t)r->answer.header_bytes + n * sizeof(float) + map_bytes);
    for (size_t i = 0; i < n; i++) {
        const size_t index = (k + i) % IMAGES;
        const dcam_verdict *v = &r->images[i].verdict, *w = &right[index];
        float raw, map[PIXELS];
        memcpy(&raw, raws + i * sizeof raw, sizeof raw);
        assert_true(raw == v->raw && fabsf(raw - w->raw) <= 1e-4f * fabsf(w->raw));
        assert_int_equal(v->class_index, w->class_index);
        if (map_bytes > 0) memcpy(map, raws + n * sizeof raw + i * sizeof map, sizeof map);
        for (size_t p = 0; map_bytes > 0 && p < PIXELS; p++)
            assert_true(fabsf(map[p] - right_maps[index][p]) <= 1e-4f * fabsf(w->raw) + 1e-6f);
    }
    assert_int_equal(r->images_left, 0);
    assert_true(r->times.prepared <= r->times.run_begun && r->times.run_begun <= r->times.run_ended && r->times.run_ended <= r->times.answered);
}

static void clear_request(dcam_server *s, serve_request *r)
{
    serve_request_clear(r);
    serve_engine_release(s, r->engine);
    serve_free_body(r);
}

/* All at a time, then one after the other. */
static void ask(dcam_server *s)
{
    static serve_request requests[REQUESTS];
    for (size_t k = 0; k < REQUESTS; k++) make_request(s, k, &requests[k]);
    for (size_t k = 0; k < REQUESTS; k++) submit(s, &requests[k]);
    await(REQUESTS);
    for (size_t k = 0; k < REQUESTS; k++) {
        check_answer(k, &requests[k]);
        clear_request(s, &requests[k]);
    }
    for (size_t k = 0; k < IMAGES; k++) {
        make_request(s, k, &requests[k]);
        submit(s, &requests[k]);
        await(1);
        check_answer(k, &requests[k]);
        clear_request(s, &requests[k]);
    }
}

static void answers_are_those_of_a_scorer(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads += threads < 3 ? 1 : 2)
        for (int batch = 0; batch <= 4; batch += batch == 0 ? 1 : 3) {
            const size_t held = dcam_memory_held();
            dcam_server *s = make_server(threads, batch, batch == 4 ? 0.002 : 0);
            assert_int_equal(serve_models_open(s), DCAM_OK);
            assert_int_equal(serve_pool_start(s), DCAM_OK);
            ask(s);
            assert_true(s->waiting_images == 0 && s->queued_images == 0 && s->working == 0 && s->running == 0 && !s->first_image);
            assert_int_equal(s->models[0].engine->references, 1);
            destroy_server(s);
            assert_int_equal(dcam_memory_held(), held);
        }
}

/* One request at a time, until it is answered. */
static void answer_one(dcam_server *s, serve_request *r)
{
    submit(s, r);
    await(1);
}

/* A photograph, for /detect, with Accept: image/png. */
static void make_photograph(dcam_server *s, serve_request *r)
{
    static const char head[] = "P6\n32 32\n255\n";
    begin_request(s, ENDPOINT_DETECT, sizeof head - 1 + BYTES, r);
    r->wants_png = true;
    memcpy(r->body, head, sizeof head - 1);
    make_image(0, r->body + sizeof head - 1);
}

static dcam_server *open_server(int threads, int batch, double delay)
{
    dcam_server *s = make_server(threads, batch, delay);
    assert_int_equal(serve_models_open(s), DCAM_OK);
    assert_int_equal(serve_pool_start(s), DCAM_OK);
    return s;
}

/* While a client takes its answer, nothing is held but the answer: no body, map, photograph or tensor. */
static void an_answer_is_all_that_is_held(void **state)
{
    (void)state;
    serve_request r;
    dcam_server *s = open_server(1, 1, 0);
    const size_t before = dcam_memory_held();
    for (int k = 0; k < 3; k++) {
        if (k == 0) make_photograph(s, &r);
        else make_infer(s, 0, 64, k == 1, k == 1 ? WITH_MAPS : "\"outputs\":[{\"name\":\"anomaly_map\"}]", &r);
        answer_one(s, &r);
        assert_int_equal(r.answer.status, 200);
        assert_true(dcam_memory_held() <= before + r.answer.body.capacity + (size_t)r.image_count * sizeof *r.images);
        assert_true(r.answer.body.capacity <= r.answer.body.used + r.answer.body.used / 4 + 1);
        if (k > 0) assert_int_equal(s->answer_memory, r.answer.body.capacity);
        clear_request(s, &r);
        assert_int_equal(s->answer_memory, 0);
        assert_int_equal(dcam_memory_held(), before);
    }
    destroy_server(s);
}

static void expect_answer(dcam_server *s, serve_request *r, int status, const char *error)
{
    answer_one(s, r);
    if (r->answer.status != status || !strstr(r->answer.error, error)) fail_msg("%d: %s", r->answer.status, r->answer.error);
    clear_request(s, r);
}

/* What a client's tensor does to the network is its own affair: whoever ran beside it is answered. The values are beyond
 * what a request may hold, lest the test depend on which ones a network bears. */
static void one_at_fault_fails_alone(void **state)
{
    enum { BESIDE = 4 };
    (void)state;
    static serve_request requests[BESIDE];
    dcam_server *s = open_server(1, BESIDE, 5);
    for (size_t k = 0; k < BESIDE; k++) {
        make_infer(s, k, 1, true, ONLY_RAW, &requests[k]);
        requests[k].engine = s->models[0].engine;
        s->models[0].engine->references++;
        assert_int_equal(dcam_infer_request_parse(requests[k].body, requests[k].body_bytes, requests[k].header_bytes, 1 << 20,
                                                  &requests[k].infer), DCAM_OK);
        assert_int_equal(dcam_alloc_zero(1, sizeof *requests[k].images, &requests[k].images), DCAM_OK);
        requests[k].image_count = 1;
        serve_image *image = &requests[k].images[0];
        *image = (serve_image){.request = &requests[k], .class_index = (int)k % CLASSES};
        assert_int_equal(dcam_alloc(BYTES, sizeof *image->input, &image->input), DCAM_OK);
        for (size_t i = 0; i < BYTES; i++) image->input[i] = k == 1 ? 3e38f : (float)(i % 7) - 3;
        requests[k].times.prepared = dcam_seconds();
    }
    s->working = BESIDE;
    for (size_t k = 0; k < BESIDE; k++) serve_enqueue(&requests[k]); /* one batch: the lane waits for so many */
    await(BESIDE);
    for (size_t k = 0; k < BESIDE; k++) {
        if (requests[k].answer.status != (k == 1 ? 500 : 200)) fail_msg("%zu: %d %s", k, requests[k].answer.status, requests[k].answer.error);
        clear_request(s, &requests[k]);
    }
    assert_true(s->working == 0 && s->running == 0 && !s->first_image);
    destroy_server(s);
}

/* Workers do not decode what comes too late: it is not even found out that this is no request. */
static void what_is_late_is_not_looked_at(void **state)
{
    (void)state;
    serve_request r;
    dcam_text text = {0};
    dcam_server *s = open_server(1, 1, 0);
    make_infer(s, 0, 1, false, "\"outputs\":7", &r);
    r.deadline = r.times.received - 1;
    expect_answer(s, &r, 504, "deadline");
    make_infer(s, 0, 1, false, "\"outputs\":7", &r);
    expect_answer(s, &r, 400, "not an array");
    serve_metrics_write(s, &text);
    assert_non_null(strstr(text.bytes, "dcam_rejected_total{reason=\"deadline\"} 1\n"));
    dcam_text_clear(&text);
    destroy_server(s);
}

/* All workers are busy: there is none. What waits for one is answered all the same when its time is over, and at the end. */
static void what_waits_for_a_worker_is_answered(void **state)
{
    enum { WAITING = 3 };
    (void)state;
    static serve_request requests[WAITING];
    static const double seconds[WAITING] = {0.3, 0.35, 1000};
    for (int brief = 0; brief < 2; brief++) {
        dcam_server *s = make_server(1, 1, 0);
        if (brief) s->options.deadline = 0.01; /* less than the time between two looks of the watchdog */
        assert_int_equal(serve_thread_start(&s->watchdog, serve_watchdog, s), DCAM_OK);
        s->watchdog_there = true;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        for (size_t k = 0; k < WAITING; k++) {
            make_infer(s, k, 1, false, ONLY_RAW, &requests[k]);
            requests[k].deadline = requests[k].times.received + (brief && k < 2 ? s->options.deadline : seconds[k]);
            submit(s, &requests[k]);
        }
        if (!await_for(2, 20)) fail_msg("nobody answers what waits");
        pthread_mutex_lock(&s->lock);
        assert_true(s->working == 1 && s->to_prepare.first == &requests[2] && s->to_prepare.last == &requests[2]);
        for (size_t k = 0; k < 2; k++) {
            const serve_request *r = &requests[k];
            assert_int_equal(r->answer.status, 504);
            assert_true(r->times.answered >= r->deadline && r->times.answered < r->deadline + 5);
            assert_null(r->body);
        }
        s->refusing = true;
        serve_give_up_waiting(s);
        assert_true(s->working == 0 && !s->to_prepare.first && !s->to_prepare.last);
        pthread_mutex_unlock(&s->lock);
        if (!await_for(1, 20)) fail_msg("nobody answers at the end");
        assert_int_equal(requests[2].answer.status, 503);
        for (size_t k = 0; k < WAITING; k++) clear_request(s, &requests[k]);
        destroy_server(s);
    }
}

/* Once the drain time is over nothing goes through the network any more. */
static void the_end_refuses_what_is_late(void **state)
{
    (void)state;
    serve_request r;
    dcam_server *s = open_server(2, 1, 0);
    s->refusing = true;
    make_infer(s, 0, 1, false, ONLY_RAW, &r);
    expect_answer(s, &r, 503, "the server ends");
    /* Its decoding was under way. */
    make_infer(s, 0, 1, false, ONLY_RAW, &r);
    serve_image image = {.request = &r, .class_index = -1};
    assert_int_equal(dcam_alloc_zero(1, sizeof *r.images, &r.images), DCAM_OK);
    *r.images = image;
    r.image_count = 1;
    s->working = 1;
    serve_enqueue(&r);
    await(1);
    assert_int_equal(r.answer.status, 503);
    clear_request(s, &r);
    destroy_server(s);
}

/* ---- files of models ---- */

static int looks;
int __real_stat(const char *name, struct stat *out);
int __wrap_stat(const char *name, struct stat *out);
int __wrap_stat(const char *name, struct stat *out)
{
    if (strcmp(name, path) == 0) {
        pthread_mutex_lock(&lock);
        looks++;
        pthread_mutex_unlock(&lock);
    }
    return __real_stat(name, out);
}

/* A file that is being written must not look settled because two looks come one after the other: between them lies a
 * second, whatever happens meanwhile. */
static void files_are_looked_at_once_a_second(void **state)
{
    (void)state;
    dcam_server *s = make_server(1, 1, 0);
    s->options.no_watch = false;
    assert_int_equal(serve_models_open(s), DCAM_OK);
    looks = 0;
    const double begun = dcam_seconds();
    assert_int_equal(serve_pool_start(s), DCAM_OK);
    while (dcam_seconds() < begun + 1.2) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->changed); /* as each request does that ends */
        pthread_cond_broadcast(&s->timed);
        pthread_mutex_unlock(&s->lock);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    pthread_mutex_lock(&lock);
    const int count = looks;
    const double most = 1 + dcam_seconds() - begun;
    pthread_mutex_unlock(&lock);
    if (count < 1 || count > most) fail_msg("%d looks", count);
    destroy_server(s);
}

/* Who ends does not wait for a model to be loaded. */
static void a_load_is_given_up_at_the_end(void **state)
{
    (void)state;
    dcam_server *s = make_server(2, 0, 0);
    serve_engine *e = NULL;
    const size_t held = dcam_memory_held();
    s->stopping = true;
    assert_int_equal(serve_engine_load(s, path, &e), DCAM_ERROR_CANCELLED);
    assert_null(e);
    assert_int_equal(dcam_memory_held(), held);
    s->stopping = false;
    assert_int_equal(serve_engine_load(s, path, &e), DCAM_OK);
    serve_engine_destroy(e);
    destroy_server(s);
}

/* Beside answers that fill their share of the memory a large one is put off, a small one is given. */
static void answers_are_bounded(void **state)
{
    (void)state;
    serve_request r;
    dcam_server *s = open_server(1, 1, 0);
    s->answer_memory = SERVE_ANSWER_MEMORY;
    make_infer(s, 0, 64, false, WITH_MAPS, &r);
    answer_one(s, &r);
    assert_int_equal(r.answer.retry_after, 1);
    assert_int_equal(r.image_count, 0); /* before any work */
    assert_int_equal(r.answer.status, 503);
    clear_request(s, &r);
    make_infer(s, 0, 64, false, ONLY_RAW, &r);
    expect_answer(s, &r, 200, "");
    assert_int_equal(s->answer_memory, SERVE_ANSWER_MEMORY);
    s->answer_memory = SERVE_ANSWER_MEMORY - 64 * PIXELS * sizeof(float);
    make_infer(s, 0, 64, false, WITH_MAPS, &r);
    answer_one(s, &r);
    assert_int_equal(r.answer.status, 503); /* by its head, too large in the end */
    assert_int_equal(r.answer.header_bytes, 0);
    clear_request(s, &r);
    s->answer_memory = 0;
    make_infer(s, 0, 64, false, WITH_MAPS, &r);
    expect_answer(s, &r, 200, "");
    /* A model of 1024x1024 would give as many numbers in two maps; it is looked at before anything is made. */
    const size_t pixels = s->models[0].engine->pixels;
    s->models[0].engine->pixels = DCAM_REQUEST_MAX_JSON_VALUES;
    make_infer(s, 0, 2, false, "\"id\":\"default outputs\"", &r);
    expect_answer(s, &r, 400, "binary_data");
    s->models[0].engine->pixels = pixels;
    destroy_server(s);
}

static dcam_status start_and_stop(dcam_server *s)
{
    const dcam_status status = serve_pool_start(s);
    serve_pool_stop(s);
    s->ending = s->watchdog_there = s->keeper_there = false;
    s->worker_count = 0;
    return status;
}

/* An engine with several lanes; the threads of a server. */
static void lack_of_memory(void **state)
{
    (void)state;
    dcam_server *s = make_server(3, 2, 0);
    serve_engine *e = NULL;
    SOME_ALLOCATIONS(a, 100, serve_engine_load(s, path, &e)) {
        assert_true(a.passed ? e->lane_count == 3 : e == NULL);
        serve_engine_destroy(e);
        e = NULL;
    }
    EVERY_ALLOCATION(a, start_and_stop(s)) {}
    destroy_server(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_a_scorer), cmocka_unit_test(an_answer_is_all_that_is_held),
        cmocka_unit_test(one_at_fault_fails_alone), cmocka_unit_test(what_is_late_is_not_looked_at),
        cmocka_unit_test(what_waits_for_a_worker_is_answered), cmocka_unit_test(the_end_refuses_what_is_late),
        cmocka_unit_test(files_are_looked_at_once_a_second), cmocka_unit_test(a_load_is_given_up_at_the_end),
        cmocka_unit_test(answers_are_bounded), cmocka_unit_test(lack_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
