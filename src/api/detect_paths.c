/* detect_paths.c - many files through one detector. Each thread takes the next files and does all of an image's work:
 * reading, decoding, resizing, network, map, regions. So no thread waits for another one within an image, and a lone
 * image never waits for company; the calling thread reports in order. Where there are fewer files than threads, or more
 * threads than MOST_WORKERS, the threads are shared out among the workers and run within an image.
 *
 * Memory: a worker holds a batch of the network's maps and one photograph at a time, the weights are held once, and
 * results wait for their turn in a ring. */
#include <pthread.h>
#include <string.h>

#include "api/detector.h"
#include "api/paths.h"
#include "base/memory.h"
#include "base/parallel.h"

/* So many photographs may be in memory at once, and they can be large. */
enum { MOST_WORKERS = 8 };
/* Batches that a worker may be ahead of the report. */
enum { BATCHES_AHEAD = 2 };

typedef enum { SLOT_EMPTY, SLOT_GOOD, SLOT_BAD, SLOT_FATAL } slot_state;

/* What became of one file. */
typedef struct {
    slot_state state;
    dcam_status status;       /* of an image that is bad, or of what ends the run */
    char *error;              /* its line; NULL: there was no memory for it, and the status says so */
    dcam_detection detection; /* SLOT_GOOD */
} slot;

typedef struct {
    dcam_detector *detector;
    dcam_names files;
    size_t image_bytes, batch;
    int threads;              /* of each worker */
    size_t slot_count;
    slot *slots;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;              /* file to be taken by a worker */
    size_t consumed;          /* files that are reported */
    int starting;             /* workers that have no scorer yet */
    dcam_status start_status; /* of the first one that could not get it */
    char *start_error;
    bool stop;
} pipeline;

/* One worker's own. */
typedef struct {
    dcam_scorer *scorer;
    uint8_t *rgb;             /* batch x height x width x 3: the good images of a batch, side by side */
    float *maps;
    int *classes;
    dcam_verdict *verdicts;
    struct { int width, height; double milliseconds; } *photos;
} worker;

static slot failed_slot(dcam_status status, bool fatal)
{
    slot s = {.status = status};
    if (dcam_copy_string(dcam_error_message(), &s.error) != DCAM_OK) s.status = DCAM_ERROR_MEMORY;
    s.state = fatal || s.status == DCAM_ERROR_MEMORY ? SLOT_FATAL : SLOT_BAD;
    return s;
}

static void clear_slot(slot *s)
{
    dcam_free(s->error);
    dcam_detection_clear(&s->detection);
    *s = (slot){.state = SLOT_EMPTY};
}

static void clear_worker(worker *w)
{
    dcam_free(w->photos);
    dcam_free(w->verdicts);
    dcam_free(w->classes);
    dcam_free(w->maps);
    dcam_free(w->rgb);
    dcam_scorer_destroy(w->scorer);
}

static dcam_status make_worker(const pipeline *p, worker *w)
{
    dcam_set_threads(p->threads);
    DCAM_TRY(dcam_scorer_create_borrowing(p->detector->scorer, (int)p->batch, &w->scorer));
    DCAM_TRY(dcam_alloc(p->batch, p->image_bytes, &w->rgb));
    DCAM_TRY(dcam_alloc(p->batch, p->image_bytes / 3 * sizeof *w->maps, &w->maps));
    DCAM_TRY(dcam_alloc(p->batch, sizeof *w->classes, &w->classes));
    DCAM_TRY(dcam_alloc(p->batch, sizeof *w->verdicts, &w->verdicts));
    DCAM_TRY(dcam_alloc(p->batch, sizeof *w->photos, &w->photos));
    for (size_t i = 0; i < p->batch; i++) w->classes[i] = p->detector->class_index;
    return DCAM_OK;
}

/* A file's pixels at the model's input size into place k of the batch. */
static dcam_status prepare(const pipeline *p, worker *w, const char *path, size_t k)
{
    const dcam_preprocessing *size = &p->detector->model->preprocessing;
    const double start = dcam_seconds();
    dcam_image photo = {0}, resized = {0};
    DCAM_TRY(dcam_image_load(path, &photo));
    dcam_status status = dcam_image_resize(&photo, size->width, size->height, &resized);
    if (status == DCAM_OK) memcpy(w->rgb + k * p->image_bytes, resized.pixels, p->image_bytes);
    w->photos[k].width = photo.width;
    w->photos[k].height = photo.height;
    w->photos[k].milliseconds = 1e3 * (dcam_seconds() - start);
    dcam_image_clear(&resized);
    dcam_image_clear(&photo);
    return status;
}

/* Files first .. first + n - 1 into results[0 .. n - 1]. */
static void work_through(const pipeline *p, worker *w, size_t first, size_t n, slot *results)
{
    size_t good = 0, g = 0;
    for (size_t i = 0; i < n; i++) {
        const dcam_status status = prepare(p, w, p->files.names[first + i], good);
        results[i] = (slot){.state = SLOT_GOOD};
        if (status == DCAM_OK) good++;
        else results[i] = failed_slot(status, false);
    }
    if (good == 0) return;
    const double start = dcam_seconds();
    const dcam_status status = dcam_scorer_run(w->scorer, w->rgb, (int)good, w->classes, w->maps, w->verdicts);
    const double share = 1e3 * (dcam_seconds() - start) / (double)good;
    for (size_t i = 0; i < n; i++) {
        if (results[i].state != SLOT_GOOD) continue;
        dcam_status filled = status;
        if (filled == DCAM_OK)
            filled = dcam_detection_fill(p->detector, w->scorer, &w->verdicts[g], w->maps + g * (p->image_bytes / 3),
                                         w->photos[g].width, w->photos[g].height, w->photos[g].milliseconds + share,
                                         &results[i].detection);
        if (filled != DCAM_OK) results[i] = failed_slot(filled, true);
        g++;
    }
}

static bool may_take(const pipeline *p)
{
    return p->next < p->files.count && p->next + p->batch <= p->consumed + p->slot_count;
}

/* Takes batches until there are none; called with the lock held. */
static void take_batches(pipeline *p, worker *w, slot *results)
{
    for (;;) {
        while (!p->stop && p->next < p->files.count && !may_take(p)) pthread_cond_wait(&p->changed, &p->lock);
        if (p->stop || p->next >= p->files.count) return;
        const size_t first = p->next, left = p->files.count - first, n = left < p->batch ? left : p->batch;
        p->next += n;
        pthread_mutex_unlock(&p->lock);
        work_through(p, w, first, n, results);
        pthread_mutex_lock(&p->lock);
        for (size_t i = 0; i < n; i++) p->slots[(first + i) % p->slot_count] = results[i];
        pthread_cond_broadcast(&p->changed);
    }
}

static void *work(void *context)
{
    pipeline *p = context;
    worker w = {0};
    slot *results = NULL;
    dcam_status status = make_worker(p, &w);
    if (status == DCAM_OK) status = dcam_alloc(p->batch, sizeof *results, &results);
    pthread_mutex_lock(&p->lock);
    if (status != DCAM_OK && p->start_status == DCAM_OK) {
        const bool said = dcam_copy_string(dcam_error_message(), &p->start_error) == DCAM_OK;
        p->start_status = said ? status : DCAM_ERROR_MEMORY;
    }
    p->starting--;
    pthread_cond_broadcast(&p->changed);
    /* The callback, which comes after, may run the detector itself: no scorer may be borrowing from it then. */
    while (p->starting > 0 && !p->stop) pthread_cond_wait(&p->changed, &p->lock);
    if (p->start_status == DCAM_OK) take_batches(p, &w, results);
    pthread_mutex_unlock(&p->lock);
    dcam_free(results);
    clear_worker(&w);
    return NULL;
}

/* Waits for the next file's result, which stays in its slot; NULL and *status where the workers could not start. */
static slot *wait_for_next(pipeline *p, dcam_status *status)
{
    slot *s = &p->slots[p->consumed % p->slot_count];
    pthread_mutex_lock(&p->lock);
    while (p->start_status == DCAM_OK && s->state == SLOT_EMPTY) pthread_cond_wait(&p->changed, &p->lock);
    const dcam_status started = p->start_status;
    pthread_mutex_unlock(&p->lock);
    if (started == DCAM_OK) return s;
    *status = dcam_fail(started, "%s", p->start_error ? p->start_error : "out of memory");
    return NULL;
}

static dcam_status report(const pipeline *p, const slot *s, dcam_detect_callback on_result, void *user, size_t *failed)
{
    const char *path = p->files.names[p->consumed];
    const bool bad = s->state == SLOT_BAD;
    if (s->state == SLOT_FATAL && s->error) return dcam_fail(s->status, "%s", s->error);
    if (s->state == SLOT_FATAL)
        return dcam_fail(s->status, "%s: out of memory while it was scored; free some and run again", path);
    *failed += bad;
    if (on_result(user, path, bad ? NULL : &s->detection, bad ? s->error : NULL))
        return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after %s", path);
    return DCAM_OK;
}

/* Returns how many run. */
static int start_workers(pipeline *p, pthread_t threads[MOST_WORKERS], int wanted)
{
    int started = 0;
    pthread_mutex_lock(&p->lock);
    while (started < wanted && dcam_start_thread(&threads[started], work, p)) started++;
    p->starting = started;
    pthread_mutex_unlock(&p->lock);
    return started;
}

static dcam_status run_pipeline(pipeline *p, int workers, dcam_detect_callback on_result, void *user, size_t *failed)
{
    pthread_t threads[MOST_WORKERS];
    const int started = start_workers(p, threads, workers);
    dcam_status status = DCAM_OK;
    if (started == 0) status = dcam_fail(DCAM_ERROR_MEMORY, "cannot start a thread to score images");
    while (status == DCAM_OK && p->consumed < p->files.count) {
        slot *s = wait_for_next(p, &status);
        if (!s) break;
        status = report(p, s, on_result, user, failed);
        pthread_mutex_lock(&p->lock);
        clear_slot(s);
        p->consumed++;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < p->slot_count; i++) clear_slot(&p->slots[i]);
    return status;
}

/* A lone file needs neither a second scorer nor a second thread. */
static dcam_status run_alone(const pipeline *p, dcam_detect_callback on_result, void *user, size_t *failed)
{
    slot s = {.state = SLOT_GOOD};
    const double start = dcam_seconds();
    dcam_status status = dcam_detect_file(p->detector, p->files.names[0], &s.detection);
    if (status == DCAM_OK) s.detection.milliseconds = 1e3 * (dcam_seconds() - start); /* with the reading, as of many */
    /* What is wrong with the network would be wrong with every image. */
    if (status != DCAM_OK) s = failed_slot(status, status != DCAM_ERROR_IMAGE && status != DCAM_ERROR_IO);
    status = report(p, &s, on_result, user, failed);
    clear_slot(&s);
    return status;
}

static dcam_status run_many(pipeline *p, dcam_detect_callback on_result, void *user, size_t *failed)
{
    const dcam_preprocessing *size = &p->detector->model->preprocessing;
    int workers = p->detector->threads < MOST_WORKERS ? p->detector->threads : MOST_WORKERS;
    if ((size_t)workers > p->files.count) workers = (int)p->files.count;
    /* Few files are shared out evenly. */
    const size_t share = (p->files.count + (size_t)workers - 1) / (size_t)workers;
    p->batch = (size_t)dcam_scorer_batch(p->detector->scorer);
    if (p->batch > share) p->batch = share;
    p->threads = p->detector->threads / workers;
    p->image_bytes = 3 * (size_t)size->width * (size_t)size->height;
    p->slot_count = (1 + BATCHES_AHEAD) * (size_t)workers * p->batch;
    DCAM_TRY(dcam_alloc_zero(p->slot_count, sizeof *p->slots, &p->slots));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    const dcam_status status = run_pipeline(p, workers, on_result, user, failed);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    dcam_free(p->start_error);
    dcam_free(p->slots);
    return status;
}

dcam_status dcam_detect_paths(dcam_detector *detector, const char *const *paths, size_t count,
                              dcam_detect_callback on_result, void *user, size_t *failed)
{
    size_t bad = 0;
    if (!detector || !on_result || !paths || count == 0)
        return dcam_fail(DCAM_ERROR_USAGE, "detect: needs files or folders");
    DCAM_TRY(dcam_check_team(detector->threads));
    pipeline p = {.detector = detector};
    DCAM_TRY(dcam_paths_expand(paths, count, &p.files));
    const bool alone = p.files.count == 1;
    const dcam_status status = alone ? run_alone(&p, on_result, user, &bad) : run_many(&p, on_result, user, &bad);
    if (failed) *failed = bad;
    dcam_names_clear(&p.files);
    return status;
}
