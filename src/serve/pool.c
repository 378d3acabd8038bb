/* pool.c - the threads that work: workers, which parse, decode and build answers; the start and the end of all. */
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "serve/internal.h"

/* Answers up to this are not counted: a client that wants only scores is served beside those that hold large ones. */
#define SMALL_ANSWER (64 * 1024)

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
    /* Before its next look the watchdog knows of no deadline that comes sooner. */
    if (!s->to_prepare.first && s->options.deadline < SERVE_WATCH_SECONDS) pthread_cond_broadcast(&s->timed);
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

bool serve_hold(serve_request *r, size_t bytes)
{
    dcam_server *s = r->server;
    if (bytes <= SMALL_ANSWER) bytes = 0;
    pthread_mutex_lock(&s->lock);
    const size_t others = s->answer_memory - r->held;
    const bool fits = bytes <= r->held || others == 0 || (others < SERVE_ANSWER_MEMORY && bytes <= SERVE_ANSWER_MEMORY - others);
    if (fits) {
        s->answer_memory = others + bytes;
        r->held = bytes;
    }
    pthread_mutex_unlock(&s->lock);
    if (fits) return true;
    serve_count_rejected(s->metrics, "memory");
    serve_error(r, 503, "too many large answers at a time; try again later");
    r->answer.retry_after = 1;
    return false;
}

/* ---- workers ---- */

/* The request no longer counts in the queue. Its pixels go now, not when the last byte of the answer is sent. */
static void leave_queue(serve_request *r)
{
    dcam_server *s = r->server;
    for (int i = 0; i < r->image_count; i++) {
        dcam_free(r->images[i].own);
        dcam_free(r->images[i].input);
        r->images[i].own = NULL;
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

/* What the answer was made of goes now, not when the client has taken the last byte of it. */
static void let_go(serve_request *r)
{
    for (int i = 0; i < r->image_count; i++) {
        dcam_free(r->images[i].map);
        r->images[i].map = NULL;
    }
    dcam_image_clear(&r->photo);
    dcam_infer_request_clear(&r->infer);
    serve_free_body(r);
    if (!serve_hold(r, r->answer.body.capacity)) serve_hold(r, 0);
}

static void answer(serve_request *r)
{
    leave_queue(r);
    const bool counted = r->answer.status == 0;
    if (r->answer.status == 0) serve_build_answer(r);
    let_go(r);
    r->times.answered = dcam_seconds();
    if (counted) count_times(r);
    serve_finish(r);
}

/* Workers that are behind do not decode what nobody waits for any more. */
static bool is_given_up(serve_request *r)
{
    dcam_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    const bool over = s->refusing;
    pthread_mutex_unlock(&s->lock);
    if (!over && dcam_seconds() < r->deadline) return false;
    serve_count_rejected(s->metrics, over ? "end" : "deadline");
    if (over) serve_error(r, 503, "the server ends");
    else serve_error(r, 504, "the deadline of this request passed before it was looked at; fewer requests at a time, or a longer deadline");
    return true;
}

static void prepare(serve_request *r)
{
    const bool go_on = !is_given_up(r) && serve_prepare(r);
    r->times.prepared = dcam_seconds();
    if (go_on) serve_enqueue(r);
    else answer(r);
}

/* All have the same time, so that the first one's deadline is the next. It never comes back: prepare() gives them up. */
void serve_give_up_waiting(dcam_server *s)
{
    while (s->to_prepare.first && (s->refusing || dcam_seconds() >= s->to_prepare.first->deadline)) {
        serve_request *r = take(&s->to_prepare);
        pthread_mutex_unlock(&s->lock);
        prepare(r);
        pthread_mutex_lock(&s->lock);
    }
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

void serve_request_ran(serve_request *r)
{
    append(&r->server->to_answer, r);
    pthread_cond_signal(&r->server->work);
}

/* ---- start and end ---- */

dcam_status serve_thread_start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    if (dcam_start_thread(thread, body, argument)) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_MEMORY, "the system gives no thread for the server");
}

dcam_status serve_pool_start(dcam_server *s)
{
    DCAM_TRY(dcam_alloc((size_t)s->options.workers, sizeof *s->workers, &s->workers));
    for (; s->worker_count < s->options.workers; s->worker_count++) DCAM_TRY(serve_thread_start(&s->workers[s->worker_count], work, s));
    DCAM_TRY(serve_lanes_start(s));
    DCAM_TRY(serve_thread_start(&s->watchdog, serve_watchdog, s));
    s->watchdog_there = true;
    DCAM_TRY(serve_thread_start(&s->keeper, serve_keeper, s));
    s->keeper_there = true;
    return DCAM_OK;
}

void serve_pool_stop(dcam_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_broadcast(&s->work);
    serve_lanes_wake(s);
    pthread_cond_broadcast(&s->changed);
    pthread_cond_broadcast(&s->timed);
    pthread_mutex_unlock(&s->lock);
    serve_lanes_join(s);
    for (int i = 0; i < s->worker_count; i++) pthread_join(s->workers[i], NULL);
    if (s->watchdog_there) pthread_join(s->watchdog, NULL);
    if (s->keeper_there) pthread_join(s->keeper, NULL);
    dcam_free(s->workers);
    s->workers = NULL;
}
