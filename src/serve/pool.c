/* pool.c - the threads that work: workers parse, decode and build answers; the runner gives whatever images are
 * waiting to the network as one batch. A lone image never waits for company, unless a delay was asked for. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "serve/internal.h"

static void append(request_list *list, serve_request *r)
{
    r->next = NULL;
    if (list->last) list->last->next = r;
    else list->first = r;
    list->last = r;
}

static serve_request *take(request_list *list)
{
    serve_request *r = list->first;
    if (!r) return NULL;
    list->first = r->next;
    if (!list->first) list->last = NULL;
    return r;
}

void serve_submit(serve_request *r)
{
    dcam_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    append(&s->to_prepare, r);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

bool serve_reserve_images(serve_request *r, int n)
{
    dcam_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    /* A request that is alone may be larger than a small queue. */
    const bool fits = s->queued_images + n <= s->options.queue || s->queued_images == 0;
    if (fits) {
        s->queued_images += n;
        r->images_reserved = n;
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

void serve_enqueue(serve_request *r)
{
    dcam_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    r->images_left = r->image_count;
    for (int i = 0; i < r->image_count; i++) {
        serve_image *image = &r->images[i];
        image->next = NULL;
        if (s->last_image) s->last_image->next = image;
        else s->first_image = image;
        s->last_image = image;
    }
    s->waiting_images += r->image_count;
    pthread_cond_signal(&s->images);
    pthread_mutex_unlock(&s->lock);
}

/* ---- workers ---- */

/* The request no longer counts in the queue. Its pixels go now, not when the last byte of the answer is sent. */
static void leave_queue(serve_request *r)
{
    dcam_server *s = r->server;
    for (int i = 0; i < r->image_count; i++) {
        dcam_free(r->images[i].rgb);
        dcam_free(r->images[i].input);
        r->images[i].rgb = NULL;
        r->images[i].input = NULL;
    }
    pthread_mutex_lock(&s->lock);
    s->queued_images -= r->images_reserved;
    r->images_reserved = 0;
    pthread_mutex_unlock(&s->lock);
}

static void count_times(const serve_request *r)
{
    dcam_serve_metrics *m = r->server->metrics;
    const serve_times *t = &r->times;
    serve_count_seconds(m, STAGE_RECEIVE, t->received - t->begun);
    serve_count_seconds(m, STAGE_PREPARE, t->prepared - t->received);
    serve_count_seconds(m, STAGE_QUEUE, t->run_begun - t->prepared);
    serve_count_seconds(m, STAGE_NETWORK, t->run_ended - t->run_begun);
    serve_count_seconds(m, STAGE_ANSWER, t->answered - t->run_ended);
    serve_count_seconds(m, STAGE_TOTAL, t->answered - t->begun);
}

static void answer(serve_request *r)
{
    leave_queue(r);
    const bool counted = r->answer.status == 0;
    if (r->answer.status == 0) serve_build_answer(r);
    r->times.answered = dcam_seconds();
    if (counted) count_times(r);
    serve_finish(r);
}

static void prepare(serve_request *r)
{
    const bool go_on = serve_prepare(r);
    r->times.prepared = dcam_seconds();
    if (go_on) serve_enqueue(r);
    else answer(r);
}

static void *work(void *server)
{
    dcam_server *s = server;
    dcam_set_threads(1);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        serve_request *done = take(&s->to_answer), *fresh = done ? NULL : take(&s->to_prepare);
        if (!done && !fresh) {
            if (s->ending) break;
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        if (done) answer(done);
        else prepare(fresh);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the runner ---- */

/* One image is through, or given up. The caller holds the lock. */
static void image_done(dcam_server *s, serve_request *r)
{
    if (--r->images_left > 0) return;
    append(&s->to_answer, r);
    pthread_cond_signal(&s->work);
}

static serve_image *take_image(dcam_server *s)
{
    serve_image *image = s->first_image;
    s->first_image = image->next;
    if (!s->first_image) s->last_image = NULL;
    s->waiting_images--;
    return image;
}

static void put_back(dcam_server *s, serve_image *image)
{
    image->next = s->first_image;
    s->first_image = image;
    if (!image->next) s->last_image = image;
    s->waiting_images++;
}

static bool is_given_up(dcam_server *s, serve_request *r, double now)
{
    if (r->failed || now <= r->deadline) return r->failed;
    r->failed = true;
    serve_count_rejected(s->metrics, "deadline");
    serve_error(r, 504, "the deadline of this request passed while it waited; fewer requests at a time, or a longer deadline");
    return true;
}

/* Takes the images at the head of the queue that can run together: of one engine and one kind, as many as this engine runs
 * at a time. Those whose request has failed or is too late are given up. The caller holds the lock. */
static int gather(dcam_server *s, serve_image **batch)
{
    const double now = dcam_seconds();
    int n = 0, size = 1;
    while (s->first_image && (n == 0 || n < batch[0]->request->engine->together)) {
        serve_image *image = take_image(s);
        serve_request *r = image->request;
        if (is_given_up(s, r, now)) {
            image_done(s, r);
        } else if (n > 0 && (r->engine != batch[0]->request->engine || !image->rgb != !batch[0]->rgb)) {
            put_back(s, image);
            break;
        } else {
            batch[n++] = image;
        }
    }
    /* The network works in parts of 2^k images: those of a second part would only keep the first part's from ending. */
    while (2 * size <= n) size *= 2;
    while (n > size) put_back(s, batch[--n]);
    return n;
}

static dcam_status run_batch(serve_image **batch, int n)
{
    const serve_engine *e = batch[0]->request->engine;
    const size_t values = 3 * e->pixels;
    const uint8_t *rgb = batch[0]->rgb;
    const float *input = batch[0]->input;
    /* A lone image runs where it lies. */
    for (int i = 0; n > 1 && i < n; i++) {
        if (rgb) memcpy(e->rgb + (size_t)i * values, batch[i]->rgb, values);
        else memcpy(e->input + (size_t)i * values, batch[i]->input, values * sizeof *input);
    }
    for (int i = 0; i < n; i++) e->classes[i] = batch[i]->class_index;
    if (rgb) return dcam_scorer_run(e->scorer, n > 1 ? e->rgb : rgb, n, e->classes, e->maps, e->verdicts);
    return dcam_scorer_run_normalised(e->scorer, n > 1 ? e->input : input, n, e->classes, e->maps, e->verdicts);
}

static void keep_results(serve_image **batch, int n, double begun, double ended)
{
    for (int i = 0; i < n; i++) {
        serve_image *image = batch[i];
        const serve_engine *e = image->request->engine;
        image->verdict = e->verdicts[i];
        if (image->map) memcpy(image->map, e->maps + (size_t)i * e->pixels, e->pixels * sizeof *image->map);
        serve_times *t = &image->request->times;
        if (t->run_begun == 0) t->run_begun = begun;
        t->run_ended = ended;
    }
}

static void run(dcam_server *s, serve_image **batch, int n)
{
    const double begun = dcam_seconds();
    const dcam_status status = run_batch(batch, n);
    const double ended = dcam_seconds();
    serve_count_batch(s->metrics, n);
    if (status == DCAM_OK) keep_results(batch, n, begun, ended);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < n; i++) {
        serve_request *r = batch[i]->request;
        if (status != DCAM_OK && !r->failed) {
            r->failed = true;
            serve_fail(r, status);
        }
        image_done(s, r);
    }
    pthread_mutex_unlock(&s->lock);
}

/* With a delay: until a batch is full, the first image has waited that long, or the end comes. The caller holds the lock. */
static void wait_for_company(dcam_server *s)
{
    if (!(s->options.batch_delay > 0)) return;
    const double end = s->first_image->request->times.prepared + s->options.batch_delay;
    const struct timespec until = {(time_t)end, (long)(1e9 * fmod(end, 1))};
    while (!s->ending && s->waiting_images < s->first_image->request->engine->together)
        if (pthread_cond_timedwait(&s->images, &s->lock, &until) != 0) return;
}

static void *run_all(void *server)
{
    dcam_server *s = server;
    serve_image *batch[1024];
    dcam_set_threads(s->options.threads);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first_image && !s->ending) pthread_cond_wait(&s->images, &s->lock);
        if (!s->first_image) break;
        wait_for_company(s);
        const int n = gather(s, batch);
        pthread_mutex_unlock(&s->lock);
        if (n > 0) run(s, batch, n);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- start and end ---- */

static dcam_status start(pthread_t *thread, void *(*body)(void *), dcam_server *s)
{
    if (pthread_create(thread, NULL, body, s) == 0) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_MEMORY, "the system gives no thread for the server");
}

dcam_status serve_pool_start(dcam_server *s)
{
    DCAM_TRY(dcam_alloc((size_t)s->options.workers, sizeof *s->workers, &s->workers));
    for (; s->worker_count < s->options.workers; s->worker_count++) DCAM_TRY(start(&s->workers[s->worker_count], work, s));
    DCAM_TRY(start(&s->runner, run_all, s));
    s->runner_there = true;
    DCAM_TRY(start(&s->watchdog, serve_watchdog, s));
    s->watchdog_there = true;
    DCAM_TRY(start(&s->keeper, serve_keeper, s));
    s->keeper_there = true;
    return DCAM_OK;
}

void serve_pool_stop(dcam_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_broadcast(&s->work);
    pthread_cond_broadcast(&s->images);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->runner_there) pthread_join(s->runner, NULL);
    for (int i = 0; i < s->worker_count; i++) pthread_join(s->workers[i], NULL);
    if (s->watchdog_there) pthread_join(s->watchdog, NULL);
    if (s->keeper_there) pthread_join(s->keeper, NULL);
    dcam_free(s->workers);
    s->workers = NULL;
}
