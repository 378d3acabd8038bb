/* overlays.c - a short queue of overlays and the threads that draw them. The queue is bounded: each entry holds a map, and
 * each thread a decoded photograph. The first overlay that cannot be written ends the run, as one line; those that are
 * under way then are still finished, later ones dropped. */
#include "overlays.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "output.h"

/* Encoding is as long as decoding and scoring together: more threads than this only hold memory. */
#define MOST_THREADS 8
#define ROOM 4
#define ERROR_BYTES 2048

typedef struct {
    char *image, *png;
    dcam_detection detection; /* map and regions are ours, the class's name is the detector's */
} task;

struct cli_overlays {
    const dcam_detector *detector;
    pthread_t threads[MOST_THREADS];
    int thread_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    task queue[ROOM];
    size_t first, waiting;
    bool done;
    int code;      /* of the first failure */
    /* Its line, until the main thread has printed it. Not allocated: the failure may be a lack of memory. */
    char message[ERROR_BYTES];
    size_t undrawn; /* whose photographs were not there any more */
    char first_undrawn[ERROR_BYTES];
};

static void free_task(task *t)
{
    free(t->image);
    free(t->png);
    free(t->detection.map);
    free(t->detection.regions);
    *t = (task){0};
}

static void *copy_bytes(const void *from, size_t bytes)
{
    void *to = malloc(bytes > 0 ? bytes : 1);
    if (!to) return NULL;
    if (bytes > 0) memcpy(to, from, bytes);
    return to;
}

static bool make_task(const char *image, const dcam_detection *d, const char *png, task *out)
{
    task t = {.detection = *d};
    t.image = copy_bytes(image, strlen(image) + 1);
    t.png = copy_bytes(png, strlen(png) + 1);
    t.detection.map = copy_bytes(d->map, (size_t)d->map_width * (size_t)d->map_height * sizeof *d->map);
    t.detection.regions = copy_bytes(d->regions, d->region_count * sizeof *d->regions);
    if (t.image && t.png && t.detection.map && t.detection.regions) {
        *out = t;
        return true;
    }
    free_task(&t);
    return false;
}

static void *draw(void *context)
{
    cli_overlays *o = context;
    pthread_mutex_lock(&o->lock);
    for (;;) {
        while (o->waiting == 0 && !o->done) pthread_cond_wait(&o->changed, &o->lock);
        if (o->waiting == 0) break;
        task t = o->queue[o->first];
        o->first = (o->first + 1) % ROOM;
        o->waiting--;
        const bool wanted = o->code == 0;
        pthread_cond_broadcast(&o->changed);
        pthread_mutex_unlock(&o->lock);
        const dcam_status status = wanted ? dcam_overlay_file(o->detector, t.image, &t.detection, t.png) : DCAM_OK;
        free_task(&t);
        pthread_mutex_lock(&o->lock);
        if (status == DCAM_ERROR_IMAGE) {
            /* Who reads the lines may take the photographs away: no reason to leave the others unscored. */
            if (o->undrawn++ == 0) snprintf(o->first_undrawn, sizeof o->first_undrawn, "%s", dcam_error_message());
        } else if (status != DCAM_OK && o->code == 0) {
            o->code = dcam_status_exit_code(status);
            snprintf(o->message, sizeof o->message, "%s", dcam_error_message());
        }
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

static void start(cli_overlays *o, int threads)
{
    while (o->thread_count < threads && dcam_start_thread(&o->threads[o->thread_count], draw, o)) o->thread_count++;
}

int cli_overlays_create(const dcam_detector *detector, int threads, cli_overlays **out)
{
    cli_overlays *o = calloc(1, sizeof *o);
    if (o) {
        o->detector = detector;
        pthread_mutex_init(&o->lock, NULL);
        pthread_cond_init(&o->changed, NULL);
        start(o, threads < MOST_THREADS ? threads : MOST_THREADS);
        if (o->thread_count > 0) {
            *out = o;
            return 0;
        }
        (void)cli_overlays_finish(o, true);
    }
    cli_error("out of memory for the threads that draw overlays; free some and run again");
    return dcam_status_exit_code(DCAM_ERROR_MEMORY);
}

/* The first failure's line, once; whoever ends the run prints, so that there is one line. */
static void say_failure(cli_overlays *o)
{
    if (o->message[0] != '\0') cli_error("%s", o->message);
    o->message[0] = '\0';
}

int cli_overlays_add(cli_overlays *o, const char *image, const dcam_detection *detection, const char *png)
{
    task t;
    if (!make_task(image, detection, png, &t)) {
        cli_error("%s: out of memory for its overlay; free some and run again", cli_printable(image));
        return dcam_status_exit_code(DCAM_ERROR_MEMORY);
    }
    pthread_mutex_lock(&o->lock);
    while (o->waiting == ROOM) pthread_cond_wait(&o->changed, &o->lock);
    o->queue[(o->first + o->waiting) % ROOM] = t;
    o->waiting++;
    const int code = o->code;
    say_failure(o);
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    return code;
}

int cli_overlays_finish(cli_overlays *o, bool silent)
{
    if (!o) return 0;
    pthread_mutex_lock(&o->lock);
    o->done = true;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    for (int i = 0; i < o->thread_count; i++) pthread_join(o->threads[i], NULL);
    if (!silent && o->code == 0 && o->undrawn > 0)
        cli_error("overlays that are missing, because the photograph could not be read any more: %zu; the first: %s", o->undrawn,
                  o->first_undrawn);
    const int code = o->code == 0 && o->undrawn > 0 ? dcam_status_exit_code(DCAM_ERROR_IMAGE) : o->code;
    if (!silent) say_failure(o);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    free(o);
    return code;
}
