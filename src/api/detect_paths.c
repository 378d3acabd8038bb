/* detect_paths.c - many files through one detector: threads decode and resize
 * ahead into a ring of slots, the calling thread runs whatever consecutive
 * slots are ready as one batch (a lone image never waits for company) and
 * reports in order. Memory: the ring, one decoded photograph a thread. */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "api/detector.h"
#include "api/paths.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/parallel.h"

typedef enum { SLOT_EMPTY, SLOT_READY, SLOT_BAD } slot_state;

typedef struct {
    slot_state state;
    int width, height; /* of the original image */
    double milliseconds;
    char *error;       /* SLOT_BAD */
    dcam_status status;
} slot;

typedef struct {
    dcam_names files;
    dcam_preprocessing preprocessing;
    size_t slot_count;
    slot *slots;
    uint8_t *rgb;      /* slot_count x height x width x 3 */
    size_t image_bytes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next;       /* file to be taken by a thread */
    size_t consumed;   /* files that are reported */
    bool stop;
} pipeline;

static dcam_status prepare(const pipeline *p, const char *path, uint8_t *rgb, slot *s)
{
    dcam_image photo = {0}, resized = {0};
    double start = dcam_seconds();
    DCAM_TRY(dcam_image_load(path, &photo));
    s->width = photo.width;
    s->height = photo.height;
    dcam_status status = dcam_image_resize(&photo, p->preprocessing.width, p->preprocessing.height, &resized);
    if (status == DCAM_OK) memcpy(rgb, resized.pixels, p->image_bytes);
    dcam_image_clear(&resized);
    dcam_image_clear(&photo);
    s->milliseconds = 1e3 * (dcam_seconds() - start);
    return status;
}

static void *decode_ahead(void *context)
{
    pipeline *p = context;
    dcam_set_threads(1);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->next < p->files.count && p->next >= p->consumed + p->slot_count)
            pthread_cond_wait(&p->changed, &p->lock);
        if (p->stop || p->next >= p->files.count) break;
        size_t file = p->next++, k = file % p->slot_count;
        pthread_mutex_unlock(&p->lock);
        slot filled = {.state = SLOT_READY};
        filled.status = prepare(p, p->files.names[file], p->rgb + k * p->image_bytes, &filled);
        if (filled.status != DCAM_OK) {
            filled.state = SLOT_BAD;
            /* Without memory for the line the path alone is reported. */
            if (dcam_copy_string(dcam_error_message(), &filled.error) != DCAM_OK) filled.error = NULL;
        }
        pthread_mutex_lock(&p->lock);
        p->slots[k] = filled;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Waits for the next file; returns how many consecutive ones are ready, at most `most`. */
static size_t wait_ready(pipeline *p, size_t most)
{
    size_t n = 0;
    pthread_mutex_lock(&p->lock);
    while (p->slots[p->consumed % p->slot_count].state == SLOT_EMPTY) pthread_cond_wait(&p->changed, &p->lock);
    while (n < most && p->consumed + n < p->files.count && p->slots[(p->consumed + n) % p->slot_count].state != SLOT_EMPTY)
        n++;
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void release(pipeline *p, size_t n)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        slot *s = &p->slots[(p->consumed + i) % p->slot_count];
        dcam_free(s->error);
        *s = (slot){.state = SLOT_EMPTY};
    }
    p->consumed += n;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

typedef struct {
    dcam_detector *detector;
    dcam_detect_callback on_result;
    void *user;
    size_t failed;
    uint8_t *rgb;          /* batch x image: the good images of a group, side by side */
    float *maps;
    int *classes;
    dcam_verdict *verdicts;
} consumer;

/* Runs and reports n consecutive slots, of which some may be bad. */
static dcam_status consume(pipeline *p, consumer *c, size_t n)
{
    size_t pixels = p->image_bytes / 3;
    int good = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = (p->consumed + i) % p->slot_count;
        if (p->slots[k].state != SLOT_READY) continue;
        memcpy(c->rgb + (size_t)good * p->image_bytes, p->rgb + k * p->image_bytes, p->image_bytes);
        c->classes[good++] = c->detector->class_index;
    }
    double start = dcam_seconds();
    if (good > 0) DCAM_TRY(dcam_scorer_run(c->detector->scorer, c->rgb, good, c->classes, c->maps, c->verdicts));
    double share = good > 0 ? 1e3 * (dcam_seconds() - start) / good : 0;
    int g = 0;
    for (size_t i = 0; i < n; i++) {
        const slot *s = &p->slots[(p->consumed + i) % p->slot_count];
        const char *path = p->files.names[p->consumed + i];
        bool stop;
        if (s->state == SLOT_BAD) {
            if (s->status == DCAM_ERROR_MEMORY) return dcam_fail(s->status, "%s", s->error ? s->error : path);
            c->failed++;
            stop = c->on_result(c->user, path, NULL, s->error ? s->error : path);
        } else {
            dcam_detection detection;
            DCAM_TRY(dcam_detection_fill(c->detector, &c->verdicts[g], c->maps + (size_t)g * pixels, s->width, s->height,
                                         s->milliseconds + share, &detection));
            g++;
            stop = c->on_result(c->user, path, &detection, NULL);
            dcam_detection_clear(&detection);
        }
        if (stop) return dcam_fail(DCAM_ERROR_CANCELLED, "stopped after %s", path);
    }
    return DCAM_OK;
}

enum { MOST_THREADS = 4 };

/* Returns how many run. They take no signals: those belong to the program. */
static int start_threads(pipeline *p, pthread_t threads[MOST_THREADS])
{
    int wanted = dcam_available_cores() < MOST_THREADS ? dcam_available_cores() : MOST_THREADS, started = 0;
    sigset_t all, old;
    if ((size_t)wanted > p->files.count) wanted = (int)p->files.count;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    while (started < wanted && pthread_create(&threads[started], NULL, decode_ahead, p) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

static dcam_status run_pipeline(pipeline *p, consumer *c, size_t batch)
{
    pthread_t threads[MOST_THREADS];
    const int started = start_threads(p, threads);
    dcam_status status = DCAM_OK;
    if (started == 0) status = dcam_fail(DCAM_ERROR_MEMORY, "cannot start a thread to decode images");
    while (status == DCAM_OK && p->consumed < p->files.count) {
        size_t n = wait_ready(p, batch);
        status = consume(p, c, n);
        release(p, n);
    }
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return status;
}

dcam_status dcam_detect_paths(dcam_detector *detector, const char *const *paths, size_t count,
                              dcam_detect_callback on_result, void *user, size_t *failed)
{
    if (!detector || !on_result || !paths || count == 0) return dcam_fail(DCAM_ERROR_USAGE, "detect: needs files or folders");
    dcam_set_threads(detector->threads);
    size_t batch = (size_t)dcam_scorer_batch(detector->scorer);
    pipeline p = {.preprocessing = detector->model->preprocessing, .slot_count = 2 * batch};
    consumer c = {.detector = detector, .on_result = on_result, .user = user};
    p.image_bytes = 3 * (size_t)p.preprocessing.width * (size_t)p.preprocessing.height;
    DCAM_TRY(dcam_paths_expand(paths, count, &p.files));
    if (p.files.count < batch) batch = p.files.count;
    if (p.slot_count > p.files.count) p.slot_count = p.files.count;
    dcam_status status = dcam_alloc_zero(p.slot_count, sizeof *p.slots, &p.slots);
    if (status == DCAM_OK) status = dcam_alloc(p.slot_count, p.image_bytes, &p.rgb);
    if (status == DCAM_OK) status = dcam_alloc(batch, p.image_bytes, &c.rgb);
    if (status == DCAM_OK) status = dcam_alloc(batch, p.image_bytes / 3 * sizeof *c.maps, &c.maps);
    if (status == DCAM_OK) status = dcam_alloc(batch, sizeof *c.classes, &c.classes);
    if (status == DCAM_OK) status = dcam_alloc(batch, sizeof *c.verdicts, &c.verdicts);
    if (status == DCAM_OK) {
        pthread_mutex_init(&p.lock, NULL);
        pthread_cond_init(&p.changed, NULL);
        status = run_pipeline(&p, &c, batch);
        pthread_cond_destroy(&p.changed);
        pthread_mutex_destroy(&p.lock);
        for (size_t i = 0; i < p.slot_count; i++) dcam_free(p.slots[i].error);
    }
    if (failed) *failed = c.failed;
    dcam_free(c.verdicts);
    dcam_free(c.classes);
    dcam_free(c.maps);
    dcam_free(c.rgb);
    dcam_free(p.rgb);
    dcam_free(p.slots);
    dcam_names_clear(&p.files);
    return status;
}
