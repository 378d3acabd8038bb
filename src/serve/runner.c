/* runner.c - the lanes: as many threads as the network may have, each with a scorer of its own that runs on one thread.
 * A lane takes the next images as soon as it has done its last ones: no lane waits for another one, and none of them
 * keeps the others when the system takes its core away.
 *
 * Where few images are there, lanes would leave cores idle. Then the first lane runs them on all threads and the others
 * wait until it is done. Only the first, so that OpenMP has one team of helpers: where it counts more threads than cores
 * they sleep between two loops. An image never waits for company, unless a delay was asked for. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "serve/internal.h"

#define MAX_TOGETHER 1024 /* of options.batch */

/* ---- the queue; the caller holds the lock ---- */

/* The first lane first: it alone may run on all threads. */
static void wake_one(dcam_server *s)
{
    if (s->whole_runs) return; /* that lane looks again itself */
    for (int i = 0; i < s->lane_count; i++)
        if (s->lanes[i].idle) {
            s->lanes[i].idle = false;
            pthread_cond_signal(&s->lanes[i].wake);
            return;
        }
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
    wake_one(s);
    pthread_mutex_unlock(&s->lock);
}

/* One image is through, or given up. */
static void image_done(serve_request *r)
{
    if (--r->images_left == 0) serve_request_ran(r);
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
    if (r->failed || (now <= r->deadline && !s->refusing)) return r->failed;
    r->failed = true;
    if (s->refusing) {
        serve_count_rejected(s->metrics, "end");
        serve_error(r, 503, "the server ends");
        return true;
    }
    serve_count_rejected(s->metrics, "deadline");
    serve_error(r, 504, "the deadline of this request passed while it waited; fewer requests at a time, or a longer deadline");
    return true;
}

static const serve_network *network_of(const serve_lane *lane, bool whole, const serve_engine *e)
{
    return whole ? &e->whole : &e->lanes[lane->index];
}

/* Takes the images at the head of the queue that can run together: of one engine and one kind, as many as the network takes
 * and at most the lane's share of all that wait. Those whose request has failed or is too late are given up. */
static int gather(const serve_lane *lane, bool whole, serve_image **batch)
{
    dcam_server *s = lane->server;
    const double now = dcam_seconds();
    const int lanes = whole ? 1 : s->options.threads, share = (s->waiting_images + lanes - 1) / lanes;
    int n = 0, most = 1, size = 1;
    while (s->first_image && n < most) {
        serve_image *image = take_image(s);
        serve_request *r = image->request;
        if (is_given_up(s, r, now)) {
            image_done(r);
        } else if (n > 0 && (r->engine != batch[0]->request->engine || !image->rgb != !batch[0]->rgb)) {
            put_back(s, image);
            break;
        } else {
            if (n == 0) most = network_of(lane, whole, r->engine)->together;
            if (most > share) most = share;
            batch[n++] = image;
        }
    }
    /* The network works in parts of 2^k images: those of a second part would only keep the first part's from ending. */
    while (2 * size <= n) size *= 2;
    while (n > size) put_back(s, batch[--n]);
    return n;
}

/* ---- a run ---- */

static dcam_status run_one(const serve_network *net, serve_image *image)
{
    const int *class_index = &image->class_index;
    if (image->rgb) return dcam_scorer_run(net->scorer, image->rgb, 1, class_index, image->map, &image->verdict);
    return dcam_scorer_run_normalised(net->scorer, image->input, 1, class_index, image->map, &image->verdict);
}

static dcam_status run_together(const serve_network *net, serve_image **batch, int n)
{
    const size_t pixels = batch[0]->request->engine->pixels, values = 3 * pixels;
    const bool rgb = batch[0]->rgb != NULL;
    for (int i = 0; i < n; i++) {
        if (rgb) memcpy(net->rgb + (size_t)i * values, batch[i]->rgb, values);
        else memcpy(net->input + (size_t)i * values, batch[i]->input, values * sizeof *net->input);
        net->classes[i] = batch[i]->class_index;
    }
    if (rgb) DCAM_TRY(dcam_scorer_run(net->scorer, net->rgb, n, net->classes, net->maps, net->verdicts));
    else DCAM_TRY(dcam_scorer_run_normalised(net->scorer, net->input, n, net->classes, net->maps, net->verdicts));
    for (int i = 0; i < n; i++) {
        batch[i]->verdict = net->verdicts[i];
        if (batch[i]->map) memcpy(batch[i]->map, net->maps + (size_t)i * pixels, pixels * sizeof *net->maps);
    }
    return DCAM_OK;
}

/* From the first of a request's runs to the last. */
static void note_times(serve_times *t, double begun, double ended)
{
    if (t->run_begun == 0 || begun < t->run_begun) t->run_begun = begun;
    if (ended > t->run_ended) t->run_ended = ended;
}

/* Lets go of the lock while the network runs. A request of several images may be in several lanes: what is its own is
 * written under the lock. */
static dcam_status run_unlocked(dcam_server *s, const serve_network *net, serve_image **batch, int n)
{
    pthread_mutex_unlock(&s->lock);
    const double begun = dcam_seconds();
    const dcam_status status = n == 1 ? run_one(net, batch[0]) : run_together(net, batch, n);
    const double ended = dcam_seconds();
    serve_count_batch(s->metrics, n);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; status == DCAM_OK && i < n; i++) note_times(&batch[i]->request->times, begun, ended);
    return status;
}

/* What one client sent may fail on its way through the network, and then all that ran beside it: each is run alone, and
 * only the one at fault fails. All hold the engine, so that it is there for the last of them. */
static void run_batch(const serve_lane *lane, const serve_network *net, serve_image **batch, int n)
{
    dcam_server *s = lane->server;
    const bool together = n > 1 && run_unlocked(s, net, batch, n) == DCAM_OK;
    for (int i = 0; i < n; i++) {
        serve_request *r = batch[i]->request;
        const dcam_status status = together || r->failed ? DCAM_OK : run_unlocked(s, net, &batch[i], 1);
        if (status != DCAM_OK && !r->failed) {
            r->failed = true;
            serve_fail(r, status);
        }
        image_done(r);
    }
}

static void run(const serve_lane *lane, bool whole, serve_image **batch, int n)
{
    dcam_server *s = lane->server;
    s->running++;
    s->whole_runs = whole;
    if (lane->index == 0) dcam_set_threads(whole ? s->options.threads : 1);
    run_batch(lane, network_of(lane, whole, batch[0]->request->engine), batch, n);
    s->whole_runs = false;
    s->running--;
}

/* ---- the threads; the caller holds the lock ---- */

/* With a delay: until there is a full run for each lane, the first image has waited that long or is too late, or the end
 * comes. */
static bool has_company(const dcam_server *s, struct timespec *until)
{
    if (!(s->options.batch_delay > 0) || s->ending || s->refusing) return true;
    const serve_request *first = s->first_image->request;
    const double delayed = first->times.prepared + s->options.batch_delay, end = delayed < first->deadline ? delayed : first->deadline;
    *until = (struct timespec){(time_t)end, (long)(1e9 * fmod(end, 1))};
    return s->waiting_images >= s->options.threads * first->engine->lanes[0].together || dcam_seconds() >= end;
}

/* Too few images for half of the lanes, and nothing else runs: they are done sooner on all threads. */
static bool are_few(const dcam_server *s)
{
    return s->options.threads > 1 && s->running == 0 && 2 * s->waiting_images <= s->options.threads;
}

/* Until there is something for this lane; false at the end. */
static bool wait_for_images(serve_lane *lane, bool *whole)
{
    dcam_server *s = lane->server;
    struct timespec until;
    while (s->first_image || !s->ending) {
        const bool may_run = s->first_image && !s->whole_runs, waits_for_others = may_run && !has_company(s, &until);
        *whole = are_few(s);
        if (may_run && !waits_for_others && (lane->index == 0 || !*whole)) return true;
        lane->idle = true;
        if (waits_for_others) pthread_cond_timedwait(&lane->wake, &s->lock, &until);
        else pthread_cond_wait(&lane->wake, &s->lock);
        lane->idle = false;
    }
    return false;
}

static void *run_lane(void *context)
{
    serve_lane *lane = context;
    dcam_server *s = lane->server;
    serve_image *batch[MAX_TOGETHER];
    bool whole;
    dcam_set_threads(1);
    pthread_mutex_lock(&s->lock);
    while (wait_for_images(lane, &whole)) {
        const int n = gather(lane, whole, batch);
        if (s->first_image && !whole) wake_one(s);
        if (n > 0) run(lane, whole, batch, n);
    }
    serve_lanes_wake(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void serve_lanes_wake(dcam_server *s)
{
    for (int i = 0; i < s->lane_count; i++) pthread_cond_signal(&s->lanes[i].wake);
}

dcam_status serve_lanes_start(dcam_server *s)
{
    dcam_status status = DCAM_OK;
    pthread_condattr_t monotonic;
    DCAM_TRY(dcam_alloc_zero((size_t)s->options.threads, sizeof *s->lanes, &s->lanes));
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; status == DCAM_OK && i < s->options.threads; i++) {
        serve_lane *lane = &s->lanes[i];
        lane->server = s;
        lane->index = i;
        pthread_cond_init(&lane->wake, &monotonic);
        status = serve_thread_start(&lane->thread, run_lane, lane);
        if (status == DCAM_OK) s->lane_count++;
        else pthread_cond_destroy(&lane->wake);
    }
    pthread_mutex_unlock(&s->lock);
    pthread_condattr_destroy(&monotonic);
    return status;
}

void serve_lanes_join(dcam_server *s)
{
    for (int i = 0; i < s->lane_count; i++) pthread_join(s->lanes[i].thread, NULL);
    for (int i = 0; i < s->lane_count; i++) pthread_cond_destroy(&s->lanes[i].wake);
    dcam_free(s->lanes);
    s->lanes = NULL;
    s->lane_count = 0;
}
