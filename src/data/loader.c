/* loader.c - decoding threads that fill a ring of batches in a fixed order.
 *
 * Image i of the order always goes to place i % batch of batch i / batch, so
 * neither the number of threads nor the cache can change what a batch holds.
 * Threads claim images one by one, which shares one batch between them; they
 * run ahead until the ring is full. The batch given out keeps its slot until
 * the next call. One lock guards the counters; pixels are written outside it,
 * into a place that belongs to the claiming thread until it reports the image
 * done.
 *
 * The threads never start OpenMP work (that would compete with the network's
 * threads) and take no signals (those belong to the program). */
#include "data/loader.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "image/image.h"

/* More decoding threads than this only wait for the disk and for each other. */
#define MAX_THREADS 64
#define DEFAULT_THREADS 4
/* Batches ahead: enough to ride out a slow image, little enough to hold. */
#define DEFAULT_QUEUE 2
#define MAX_QUEUE 64
#define MAX_BATCH 65536

/* What became of one image. */
typedef struct {
    dcam_status status;
    char *message; /* of a failure; NULL: there was no memory for it, and the status says so */
    int original_width, original_height;
} outcome;

/* One batch of the ring. */
typedef struct {
    uint8_t *rgb;
    outcome *outcomes;
    uint32_t *samples;
    int *original_width, *original_height;
    size_t pending; /* images claimed or still to be claimed */
} slot;

struct dcam_loader {
    const dcam_dataset *dataset;
    dcam_loader_options options;
    uint32_t *order;
    size_t count, batch_count, ring;
    size_t image_bytes;
    slot *slots;
    pthread_t threads[MAX_THREADS];
    int thread_count;

    pthread_mutex_t lock;
    pthread_cond_t work; /* a slot became free, or stop */
    pthread_cond_t done; /* a batch became complete */
    size_t next_image;   /* to be claimed */
    size_t released;     /* batches whose slots may be filled again */
    bool stop;

    /* Of the caller's thread only. */
    size_t next_batch;
    bool given_out;
    dcam_status failure;
    char failure_message[DCAM_MESSAGE_BYTES];
    char **bad;
    size_t bad_count, bad_room;
};

static size_t batch_length(const dcam_loader *l, size_t batch)
{
    size_t begin = batch * (size_t)l->options.batch, left = l->count - begin;
    return left < (size_t)l->options.batch ? left : (size_t)l->options.batch;
}

/* Decodes and resizes into place. */
static dcam_status decode_into(const dcam_loader *l, const char *path, uint8_t *place, outcome *o)
{
    dcam_image photo = {0}, small = {0};
    const dcam_image *result = &photo;
    DCAM_TRY(dcam_image_load(path, &photo));
    dcam_status status = DCAM_OK;
    if (photo.width != l->options.width || photo.height != l->options.height) {
        status = dcam_image_resize(&photo, l->options.width, l->options.height, &small);
        result = &small;
    }
    if (status == DCAM_OK) {
        memcpy(place, result->pixels, l->image_bytes);
        o->original_width = photo.width;
        o->original_height = photo.height;
    }
    dcam_image_clear(&small);
    dcam_image_clear(&photo);
    return status;
}

static void load_image(const dcam_loader *l, uint32_t sample, uint8_t *place, outcome *o)
{
    dcam_cache *cache = l->options.images;
    o->status = DCAM_OK;
    o->original_width = o->original_height = 0;
    if (cache && dcam_cache_get(cache, sample, place)) return;
    o->status = decode_into(l, l->dataset->samples[sample].path, place, o);
    if (o->status == DCAM_OK && cache) (void)dcam_cache_put(cache, sample, place);
    /* An image that is left out for being bad must be said to be so, and why. */
    if (o->status != DCAM_OK && dcam_copy_string(dcam_error_message(), &o->message) != DCAM_OK)
        o->status = DCAM_ERROR_MEMORY;
}

/* Waits for an image to load; false when there is none left or at the end. */
static bool claim(dcam_loader *l, size_t *image)
{
    pthread_mutex_lock(&l->lock);
    while (!l->stop && l->next_image < l->count &&
           l->next_image / (size_t)l->options.batch >= l->released + l->ring)
        pthread_cond_wait(&l->work, &l->lock);
    bool found = !l->stop && l->next_image < l->count;
    if (found) *image = l->next_image++;
    pthread_mutex_unlock(&l->lock);
    return found;
}

static void *decode_images(void *loader)
{
    dcam_loader *l = loader;
    size_t image;
    dcam_set_threads(1);
    while (claim(l, &image)) {
        slot *s = &l->slots[image / (size_t)l->options.batch % l->ring];
        size_t place = image % (size_t)l->options.batch;
        load_image(l, l->order[image], s->rgb + place * l->image_bytes, &s->outcomes[place]);
        pthread_mutex_lock(&l->lock);
        if (--s->pending == 0) pthread_cond_signal(&l->done);
        pthread_mutex_unlock(&l->lock);
    }
    return NULL;
}

static dcam_status check_options(const dcam_dataset *dataset, const uint32_t *order, size_t count,
                                 const dcam_loader_options *o)
{
    if (o->width < 1 || o->height < 1 || o->width > DCAM_MAX_IMAGE_SIDE || o->height > DCAM_MAX_IMAGE_SIDE)
        return dcam_fail(DCAM_ERROR_USAGE, "image size %dx%d; sides from 1 to %d are possible", o->width, o->height,
                         DCAM_MAX_IMAGE_SIDE);
    if (o->batch < 1 || o->batch > MAX_BATCH)
        return dcam_fail(DCAM_ERROR_USAGE, "batch of %d images; 1 to %d are possible", o->batch, MAX_BATCH);
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return dcam_fail(DCAM_ERROR_USAGE, "%d decoding threads; up to %d are possible", o->threads, MAX_THREADS);
    if (o->queue < 0 || o->queue > MAX_QUEUE)
        return dcam_fail(DCAM_ERROR_USAGE, "%d batches ahead; up to %d are possible", o->queue, MAX_QUEUE);
    for (size_t i = 0; i < count; i++)
        if (order[i] >= dataset->sample_count)
            return dcam_fail(DCAM_ERROR_INTERNAL, "sample %u of %zu was asked for", order[i], dataset->sample_count);
    return DCAM_OK;
}

static dcam_status create_slot(const dcam_loader *l, slot *s)
{
    size_t batch = (size_t)l->options.batch;
    DCAM_TRY(dcam_alloc(batch, l->image_bytes, &s->rgb));
    DCAM_TRY(dcam_alloc_zero(batch, sizeof *s->outcomes, &s->outcomes));
    DCAM_TRY(dcam_alloc(batch, sizeof *s->samples, &s->samples));
    DCAM_TRY(dcam_alloc(batch, sizeof *s->original_width, &s->original_width));
    return dcam_alloc(batch, sizeof *s->original_height, &s->original_height);
}

static void clear_messages(slot *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dcam_free(s->outcomes[i].message);
        s->outcomes[i].message = NULL;
    }
}

static void clear_slot(const dcam_loader *l, slot *s)
{
    if (s->outcomes) clear_messages(s, (size_t)l->options.batch);
    dcam_free(s->original_height);
    dcam_free(s->original_width);
    dcam_free(s->samples);
    dcam_free(s->outcomes);
    dcam_free(s->rgb);
}

static dcam_status create_buffers(dcam_loader *l, const uint32_t *order)
{
    DCAM_TRY(dcam_alloc(l->count, sizeof *l->order, &l->order));
    if (l->count > 0) memcpy(l->order, order, l->count * sizeof *order);
    DCAM_TRY(dcam_alloc_zero(l->ring, sizeof *l->slots, &l->slots));
    for (size_t i = 0; i < l->ring; i++) DCAM_TRY(create_slot(l, &l->slots[i]));
    for (size_t b = 0; b < l->ring && b < l->batch_count; b++) l->slots[b].pending = batch_length(l, b);
    return DCAM_OK;
}

static dcam_status create_locks(dcam_loader *l)
{
    if (pthread_mutex_init(&l->lock, NULL) == 0) {
        if (pthread_cond_init(&l->work, NULL) == 0) {
            if (pthread_cond_init(&l->done, NULL) == 0) return DCAM_OK;
            pthread_cond_destroy(&l->work);
        }
        pthread_mutex_destroy(&l->lock);
    }
    return dcam_fail(DCAM_ERROR_MEMORY, "cannot make the locks of the image loader");
}

/* One thread suffices where the system gives no more. */
static dcam_status start_threads(dcam_loader *l)
{
    size_t wanted = (size_t)l->options.threads;
    if (wanted > l->count) wanted = l->count;
    while ((size_t)l->thread_count < wanted && dcam_start_thread(&l->threads[l->thread_count], decode_images, l))
        l->thread_count++;
    if (l->thread_count == 0 && wanted > 0) return dcam_fail(DCAM_ERROR_MEMORY, "cannot start a thread to load images");
    return DCAM_OK;
}

static void free_loader(dcam_loader *l)
{
    if (l->slots)
        for (size_t i = 0; i < l->ring; i++) clear_slot(l, &l->slots[i]);
    dcam_free(l->slots);
    dcam_free(l->order);
    for (size_t i = 0; i < l->bad_count; i++) dcam_free(l->bad[i]);
    dcam_free(l->bad);
    dcam_free(l);
}

dcam_status dcam_loader_create(const dcam_dataset *dataset, const uint32_t *order, size_t count,
                               const dcam_loader_options *options, dcam_loader **out)
{
    dcam_loader *l;
    DCAM_TRY(check_options(dataset, order, count, options));
    DCAM_TRY(dcam_alloc_zero(1, sizeof *l, &l));
    l->dataset = dataset;
    l->options = *options;
    l->count = count;
    l->image_bytes = (size_t)options->width * (size_t)options->height * 3;
    if (l->options.threads == 0) {
        int cores = dcam_available_cores();
        l->options.threads = cores < DEFAULT_THREADS ? cores : DEFAULT_THREADS;
    }
    if (l->options.queue == 0) l->options.queue = DEFAULT_QUEUE;
    /* A batch longer than the whole order would only hold memory. */
    if ((size_t)l->options.batch > count && count > 0) l->options.batch = (int)count;
    l->batch_count = (count + (size_t)l->options.batch - 1) / (size_t)l->options.batch;
    l->ring = (size_t)l->options.queue + 1; /* and the one given out */
    if (l->ring > l->batch_count) l->ring = l->batch_count;
    dcam_status status = create_buffers(l, order);
    if (status == DCAM_OK) status = create_locks(l);
    if (status != DCAM_OK) {
        free_loader(l);
        return status;
    }
    if ((status = start_threads(l)) != DCAM_OK) {
        dcam_loader_destroy(l);
        return status;
    }
    *out = l;
    return DCAM_OK;
}

/* Gives the slot of the batch last given out back to the threads. */
static void release_batch(dcam_loader *l)
{
    size_t batch = l->next_batch - 1, again = batch + l->ring;
    slot *s = &l->slots[batch % l->ring];
    clear_messages(s, batch_length(l, batch));
    pthread_mutex_lock(&l->lock);
    if (again < l->batch_count) s->pending = batch_length(l, again);
    l->released++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    l->given_out = false;
}

/* An image may be left out for what it is, not for want of memory. */
static bool may_be_left_out(dcam_status status)
{
    return status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_IO || status == DCAM_ERROR_DATA;
}

/* Takes the outcome's message. */
static dcam_status note_bad(dcam_loader *l, outcome *o)
{
    if (l->bad_count == l->bad_room) {
        size_t room = l->bad_room ? 2 * l->bad_room : 16;
        DCAM_TRY(dcam_realloc(room, sizeof *l->bad, &l->bad));
        l->bad_room = room;
    }
    l->bad[l->bad_count++] = o->message;
    o->message = NULL;
    return DCAM_OK;
}

static dcam_status say_outcome(const dcam_loader *l, size_t image, const outcome *o)
{
    if (o->message) return dcam_fail(o->status, "%s", o->message);
    return dcam_fail(o->status, "%s: out of memory while it was loaded; free some and run again",
                     l->dataset->samples[l->order[image]].path);
}

/* Keeps a failure that was just said, so that every later call tells it again. */
static dcam_status keep_failure(dcam_loader *l, dcam_status status)
{
    l->failure = status;
    snprintf(l->failure_message, sizeof l->failure_message, "%s", dcam_error_message());
    return status;
}

/* Moves the good images of a complete batch together, in order. */
static dcam_status gather(dcam_loader *l, size_t batch, slot *s, int *kept)
{
    size_t length = batch_length(l, batch), first = batch * (size_t)l->options.batch, n = 0;
    for (size_t i = 0; i < length; i++) {
        outcome *o = &s->outcomes[i];
        if (o->status != DCAM_OK) {
            const bool left_out = l->options.skip_bad && may_be_left_out(o->status);
            const dcam_status status = left_out ? note_bad(l, o) : say_outcome(l, first + i, o);
            if (status != DCAM_OK) return keep_failure(l, status);
            continue;
        }
        if (n != i) memcpy(s->rgb + n * l->image_bytes, s->rgb + i * l->image_bytes, l->image_bytes);
        s->samples[n] = l->order[first + i];
        s->original_width[n] = o->original_width;
        s->original_height[n] = o->original_height;
        n++;
    }
    *kept = (int)n;
    return DCAM_OK;
}

dcam_status dcam_loader_next(dcam_loader *l, dcam_batch *out)
{
    int kept = 0;
    slot *s = NULL;
    if (l->failure != DCAM_OK) return dcam_fail(l->failure, "%s", l->failure_message);
    /* A batch of which nothing is left is passed over: count 0 means the end. */
    while (kept == 0) {
        if (l->given_out) release_batch(l);
        if (l->next_batch == l->batch_count) {
            *out = (dcam_batch){0};
            return DCAM_OK;
        }
        s = &l->slots[l->next_batch % l->ring];
        pthread_mutex_lock(&l->lock);
        while (s->pending > 0) pthread_cond_wait(&l->done, &l->lock);
        pthread_mutex_unlock(&l->lock);
        DCAM_TRY(gather(l, l->next_batch, s, &kept));
        l->next_batch++;
        l->given_out = true;
    }
    *out = (dcam_batch){kept, s->rgb, s->samples, s->original_width, s->original_height};
    return DCAM_OK;
}

size_t dcam_loader_bad_count(const dcam_loader *l) { return l->bad_count; }

const char *dcam_loader_bad_message(const dcam_loader *l, size_t i)
{
    return i < l->bad_count ? l->bad[i] : "";
}

void dcam_loader_destroy(dcam_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->thread_count; i++) pthread_join(l->threads[i], NULL);
    pthread_cond_destroy(&l->done);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free_loader(l);
}
