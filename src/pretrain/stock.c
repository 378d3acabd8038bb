/* stock.c - two batches: one that is learned from, one that is drawn. */
#include "pretrain/stock.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "pretrain/picture.h"

#define STREAM_ORDER UINT64_C(0x70726f7264657200) /* "prorder" */
#define SLOTS 2

struct pretrain_stock {
    pretrain_stock_options options;
    dcam_painter *painter;
    uint8_t *rgb[SLOTS];
    int *labels[SLOTS];
    int drawn, taken;      /* steps, counted from options.first */
    bool stop, started, ready;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
};

static void draw_batch(pretrain_stock *s, int step, int slot)
{
    const pretrain_stock_options *o = &s->options;
    const size_t bytes = 3 * (size_t)o->side * (size_t)o->side;
    dcam_random r = dcam_random_make(o->seed, STREAM_ORDER + (uint64_t)step);
    for (int i = 0; i < o->batch; i++) {
        const int label = (int)dcam_random_below(&r, (uint64_t)o->classes);
        s->labels[slot][i] = label;
        dcam_painter_draw(s->painter, label, (uint64_t)step * (uint64_t)o->batch + (uint64_t)i, s->rgb[slot] + (size_t)i * bytes);
    }
}

/* A slot is free again once its batch's successor was asked for. */
static void *draw_all(void *context)
{
    pretrain_stock *s = context;
    const int count = s->options.end - s->options.first;
    for (int k = 0; k < count; k++) {
        pthread_mutex_lock(&s->mutex);
        while (!s->stop && k > s->taken) pthread_cond_wait(&s->changed, &s->mutex);
        const bool stop = s->stop;
        pthread_mutex_unlock(&s->mutex);
        if (stop) return NULL;
        draw_batch(s, s->options.first + k, k % SLOTS);
        pthread_mutex_lock(&s->mutex);
        s->drawn = k + 1;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
    }
    return NULL;
}

size_t pretrain_stock_bytes(const pretrain_stock_options *o)
{
    return SLOTS * (size_t)o->batch * (3 * (size_t)o->side * (size_t)o->side + sizeof(int)) + dcam_painter_bytes(o->classes, o->side);
}

dcam_status pretrain_stock_create(const pretrain_stock_options *options, pretrain_stock **out)
{
    pretrain_stock *s;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *s, &s));
    s->options = *options;
    const size_t bytes = 3 * (size_t)options->side * (size_t)options->side;
    dcam_status status = dcam_painter_create(options->seed, options->classes, options->side, &s->painter);
    for (int i = 0; i < SLOTS && status == DCAM_OK; i++) {
        status = dcam_alloc((size_t)options->batch, bytes, &s->rgb[i]);
        if (status == DCAM_OK) status = dcam_alloc((size_t)options->batch, sizeof *s->labels[i], &s->labels[i]);
    }
    if (status == DCAM_OK) {
        pthread_mutex_init(&s->mutex, NULL);
        pthread_cond_init(&s->changed, NULL);
        s->ready = true;
        s->started = dcam_start_thread(&s->thread, draw_all, s);
        if (!s->started) status = dcam_fail(DCAM_ERROR_MEMORY, "cannot start a thread that draws pictures");
    }
    if (status != DCAM_OK) {
        pretrain_stock_destroy(s);
        return status;
    }
    *out = s;
    return DCAM_OK;
}

void pretrain_stock_destroy(pretrain_stock *s)
{
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->mutex);
        s->stop = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->thread, NULL);
    }
    if (s->ready) {
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->mutex);
    }
    for (int i = 0; i < SLOTS; i++) {
        dcam_free(s->labels[i]);
        dcam_free(s->rgb[i]);
    }
    dcam_painter_destroy(s->painter);
    dcam_free(s);
}

void pretrain_stock_next(pretrain_stock *s, const uint8_t **rgb, const int **labels)
{
    pthread_mutex_lock(&s->mutex);
    const int k = s->taken++;
    assert(k < s->options.end - s->options.first);
    pthread_cond_broadcast(&s->changed);
    while (s->drawn <= k) pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    *rgb = s->rgb[k % SLOTS];
    *labels = s->labels[k % SLOTS];
}
