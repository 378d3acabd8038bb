/* engine.c - the models of a server: loading, and reloading while requests run. A request keeps the model it began
 * with; a file that cannot be loaded leaves the old model in place and says so. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "api/detector.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "base/parallel.h"
#include "serve/internal.h"

/* How often files are looked at. A change counts when two looks agree, so that a file is not read half written. */
#define WATCH_SECONDS 1
/* Seconds until a load that failed by a fault that may pass is tried again; each time twice as many, so that the log is
 * not flooded, up to the longest, so that who mends the fault need not wait for hours. */
#define FIRST_PAUSE 1.0
#define LONGEST_PAUSE 64.0
/* Of each size, behind one that makes what is made once; the fastest counts, because other work only ever slows. */
#define TIMED_RUNS 3
/* The part of its time an image that a doubled batch must save, above what other work on the machine makes of the clock. On
 * one thread bf16 saves 1 to 3 %, f32 3 to 5 %, and everybody's answer takes twice as long. */
#define WORTH_DOUBLING 0.06

/* ---- loading ---- */

/* The caller holds the lock. */
static bool ends(const dcam_server *s) { return s->stopping || s->ending; }

/* The end does not wait for a model that nobody will use: loading is given up before its next step. */
static dcam_status check_wanted(dcam_server *s)
{
    pthread_mutex_lock(&s->lock);
    const bool over = ends(s);
    pthread_mutex_unlock(&s->lock);
    return over ? dcam_fail(DCAM_ERROR_CANCELLED, "the server ends") : DCAM_OK;
}

/* Seconds for comparing runs. Of one thread those that it computed: other work on the machine takes the rest. */
static double seconds_of_work(void)
{
    struct timespec t;
    if (dcam_threads() > 1 || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0) return dcam_seconds();
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Runs every size that requests will meet, so that none of them pays for first times. To find the most that run together,
 * doubling ends when it gains little: whoever runs together waits for all, and all that larger batches then do is to make
 * the slow answers slower. */
static dcam_status try_sizes(dcam_server *s, serve_network *net, int most, bool find)
{
    double best = 0;
    for (int n = 1; n <= most; n *= 2) {
        double least = INFINITY;
        for (int k = 0; k < (find && most > 1 ? 1 + TIMED_RUNS : 1); k++) {
            DCAM_TRY(check_wanted(s));
            const double begun = seconds_of_work();
            DCAM_TRY(dcam_scorer_run(net->scorer, net->rgb, n, NULL, net->maps, net->verdicts));
            const double took = (seconds_of_work() - begun) / n;
            if (took < least) least = took;
        }
        if (find && n > 1 && least > (1 - WORTH_DOUBLING) * best) return DCAM_OK;
        best = least;
        net->together = n;
    }
    if (!find) net->together = most;
    return DCAM_OK;
}

/* On the threads that the caller has now. options: of the one that has the weights; the others have a lender. */
static dcam_status make_network(dcam_server *s, const serve_engine *e, const dcam_scorer_options *options,
                                const serve_network *lender, int most, bool find, serve_network *net)
{
    const size_t images = (size_t)most;
    DCAM_TRY(check_wanted(s));
    if (lender) DCAM_TRY(dcam_scorer_create_borrowing(lender->scorer, most, &net->scorer));
    else DCAM_TRY(dcam_scorer_create(e->model, options, &net->scorer));
    DCAM_TRY(dcam_alloc_zero(images * e->pixels, 3, &net->rgb));
    DCAM_TRY(dcam_alloc(images * e->pixels, sizeof *net->maps, &net->maps));
    DCAM_TRY(dcam_alloc(images, sizeof *net->verdicts, &net->verdicts));
    DCAM_TRY(dcam_alloc(images, sizeof *net->classes, &net->classes));
    DCAM_TRY(try_sizes(s, net, most, find));
    if (net->together > 1) return dcam_alloc((size_t)net->together * e->pixels, 3 * sizeof *net->input, &net->input);
    /* A lone image runs where it lies. */
    dcam_free(net->rgb);
    dcam_free(net->maps);
    net->rgb = NULL;
    net->maps = NULL;
    return DCAM_OK;
}

static void clear_network(serve_network *net)
{
    dcam_free(net->classes);
    dcam_free(net->verdicts);
    dcam_free(net->maps);
    dcam_free(net->input);
    dcam_free(net->rgb);
    dcam_scorer_destroy(net->scorer);
}

/* The lanes run on one thread each. What runs on all threads gets as many images as half of the lanes at most (runner.c). */
static dcam_status make_networks(dcam_server *s, const dcam_scorer_options *options, serve_engine *e)
{
    const int threads = s->options.threads, batch = s->options.batch;
    serve_network *first;
    DCAM_TRY(dcam_alloc_zero((size_t)threads, sizeof *e->lanes, &e->lanes));
    first = &e->lanes[0];
    dcam_set_threads(1);
    e->lane_count = threads;
    DCAM_TRY(make_network(s, e, options, NULL, batch, s->find_batch, first));
    for (int i = 1; i < threads; i++) DCAM_TRY(make_network(s, e, NULL, first, first->together, false, &e->lanes[i]));
    if (threads == 1) return DCAM_OK;
    dcam_set_threads(threads);
    return make_network(s, e, NULL, first, batch < threads / 2 ? batch : threads / 2, s->find_batch, &e->whole);
}

static dcam_status fill_engine(dcam_server *s, const char *path, serve_engine *e)
{
    dcam_scorer_options options = {.batch = s->options.batch};
    DCAM_TRY(dcam_resolve_precision(s->options.precision, &options.precision));
    DCAM_TRY(dcam_model_load(path, &e->model));
    if (e->model->class_count == 0)
        return dcam_fail(DCAM_ERROR_MODEL, "%s: has no calibrated class; run `dcam calibrate` on it", path);
    e->pixels = (size_t)e->model->preprocessing.width * (size_t)e->model->preprocessing.height;
    return make_networks(s, &options, e);
}

typedef struct {
    dcam_server *server;
    const char *path;
    serve_engine *engine;
    dcam_status status;
    char message[1024];
} load_task;

static void *load(void *context)
{
    load_task *task = context;
    task->status = fill_engine(task->server, task->path, task->engine);
    snprintf(task->message, sizeof task->message, "%s", dcam_error_message());
    return NULL;
}

/* On a thread that ends at once: OpenMP keeps helpers for every thread that has computed with them, and where it counts
 * more threads than cores, those of the first lane sleep instead of spin between two loops: 82 switches of threads a request were 13 so. */
dcam_status serve_engine_load(dcam_server *s, const char *path, serve_engine **out)
{
    load_task task = {.server = s, .path = path};
    pthread_t thread;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *task.engine, &task.engine));
    task.engine->references = 1;
    if (dcam_start_thread(&thread, load, &task)) pthread_join(thread, NULL);
    else task.status = dcam_fail(DCAM_ERROR_MEMORY, "%s: the system gives no thread to load it", path);
    if (task.status == DCAM_OK) {
        *out = task.engine;
        return DCAM_OK;
    }
    serve_engine_destroy(task.engine);
    return task.message[0] ? dcam_fail(task.status, "%s", task.message) : task.status;
}

void serve_engine_destroy(serve_engine *e)
{
    if (!e) return;
    clear_network(&e->whole);
    /* The first one has the weights. */
    for (int i = e->lane_count; i-- > 0;) clear_network(&e->lanes[i]);
    dcam_free(e->lanes);
    dcam_model_destroy(e->model);
    dcam_free(e);
}

serve_engine *serve_engine_take(serve_model *model)
{
    model->engine->references++;
    return model->engine;
}

void serve_engine_release(dcam_server *s, serve_engine *e)
{
    if (!e) return;
    pthread_mutex_lock(&s->lock);
    const bool last = --e->references == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) serve_engine_destroy(e);
}

serve_model *serve_model_find(dcam_server *s, const char *name, size_t length)
{
    for (size_t i = 0; i < s->model_count; i++)
        if (strlen(s->models[i].name) == length && memcmp(s->models[i].name, name, length) == 0) return &s->models[i];
    return NULL;
}

static size_t place(const dcam_class_metrics *classes, size_t count, const char *name, size_t in_engine)
{
    if (in_engine < count && strcmp(classes[in_engine].name, name) == 0) return in_engine;
    size_t k = 0;
    while (k < count && strcmp(classes[k].name, name) != 0) k++;
    return k;
}

size_t serve_class_place(const serve_model *m, const char *name, size_t in_engine)
{
    return place(m->classes, m->class_count, name, in_engine);
}

/* Counters for the classes of a model that have none yet. Under metrics->lock, except at the start. */
static dcam_status add_classes(serve_model *m, const serve_engine *e)
{
    const dcam_model *model = e->model;
    const size_t known = m->class_count;
    size_t fresh = 0;
    for (size_t i = 0; i < model->class_count; i++) fresh += place(m->classes, known, model->classes[i].name, i) == known;
    if (fresh > 0) DCAM_TRY(dcam_realloc(known + fresh, sizeof *m->classes, &m->classes));
    for (size_t i = 0; i < model->class_count; i++) {
        const size_t k = place(m->classes, known, model->classes[i].name, i);
        if (k < known) {
            m->classes[k].recent_count = 0; /* scores of another model are not compared with this calibration */
            continue;
        }
        dcam_class_metrics *c = &m->classes[m->class_count];
        *c = (dcam_class_metrics){0};
        DCAM_TRY(dcam_copy_string(model->classes[i].name, &c->name));
        m->class_count++;
    }
    m->newest = e;
    return DCAM_OK;
}

/* ---- opening ---- */

/* Letters, digits and -_. only: the name stands in paths, metrics and log lines. */
static dcam_status check_name(const dcam_server *s, const char *name)
{
    const size_t length = strlen(name);
    if (length == 0 || length > SERVE_MAX_NAME ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != length)
        return dcam_fail(DCAM_ERROR_USAGE, "model name '%s': 1 to %d letters, digits, '-', '_' and '.' are possible; give one as NAME=FILE",
                         name, SERVE_MAX_NAME);
    for (size_t i = 0; i < s->model_count; i++)
        if (strcmp(s->models[i].name, name) == 0)
            return dcam_fail(DCAM_ERROR_USAGE, "two models are called %s; name one otherwise, as NAME=FILE", name);
    return DCAM_OK;
}

static dcam_status name_from_path(const char *path, char **out)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return dcam_format_string(out, "%.*s", (int)(dot && dot > base ? dot - base : (long)strlen(base)), base);
}

void serve_log_model(dcam_server *s, serve_model *m)
{
    pthread_mutex_lock(&s->lock);
    serve_engine *e = serve_engine_take(m);
    pthread_mutex_unlock(&s->lock);
    serve_log_event(s, DCAM_LOG_INFO, "model", "%s: loaded from %s; up to %d images run together on each of %d threads", m->name,
                    m->path, e->lanes[0].together, e->lane_count);
    serve_engine_release(s, e);
}

static dcam_status open_model(dcam_server *s, const dcam_server_model *given)
{
    serve_model m = {0};
    if (!given->path) return dcam_fail(DCAM_ERROR_USAGE, "a model without a file");
    dcam_status status = given->name ? dcam_copy_string(given->name, &m.name) : name_from_path(given->path, &m.name);
    if (status == DCAM_OK) status = check_name(s, m.name);
    if (status == DCAM_OK) status = dcam_copy_string(given->path, &m.path);
    if (status == DCAM_OK) {
        /* Before the file is read: a change in between is then seen later. */
        if (stat(m.path, &m.tried) != 0) m.tried = (struct stat){0};
        m.seen = m.tried;
        status = serve_engine_load(s, m.path, &m.engine);
    }
    if (status == DCAM_OK) status = add_classes(&m, m.engine);
    s->models[s->model_count++] = m; /* closed with the others in either case */
    return status;
}

dcam_status serve_models_open(dcam_server *s)
{
    const dcam_server_options *o = &s->options;
    if (o->model_count < 1 || o->model_count > SERVE_MAX_MODELS)
        return dcam_fail(DCAM_ERROR_USAGE, "%zu models; 1 to %d are possible", o->model_count, SERVE_MAX_MODELS);
    for (size_t i = 0; i < o->model_count; i++) DCAM_TRY(open_model(s, &o->models[i]));
    return DCAM_OK;
}

void serve_models_close(dcam_server *s)
{
    for (size_t i = 0; i < s->model_count; i++) {
        serve_model *m = &s->models[i];
        serve_engine_destroy(m->engine);
        for (size_t k = 0; k < m->class_count; k++) dcam_free(m->classes[k].name);
        dcam_free(m->classes);
        dcam_free(m->path);
        dcam_free(m->name);
    }
    s->model_count = 0;
}

/* ---- reloading ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Each load runs on a thread of its own, for which glibc keeps what it freed beside what other threads have freed: after
 * twenty reloads the process had four times the memory that it used. */
static void give_back_memory(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* Memory, descriptors and disks may come back; a file that is bad is so until it is another one. */
static double next_pause(const dcam_server *s, const serve_model *m, dcam_status status)
{
    const bool may_pass = status == DCAM_ERROR_MEMORY || status == DCAM_ERROR_IO;
    if (!may_pass || s->options.no_watch) return 0;
    return m->pause > 0 ? fmin(2 * m->pause, LONGEST_PAUSE) : FIRST_PAUSE;
}

static void log_failed_reload(const dcam_server *s, const serve_model *m, dcam_status status)
{
    char later[64] = "";
    if (m->pause > 0) dcam_snprintf(later, sizeof later, "; tried again in %.0f s", m->pause);
    serve_log_event(s, status == DCAM_ERROR_CANCELLED ? DCAM_LOG_INFO : DCAM_LOG_WARNING, "reload",
                    "%s: keeps the model it has: %s%s", m->name, dcam_error_message(), later);
}

static void reload(dcam_server *s, serve_model *m)
{
    serve_engine *fresh = NULL, *old = NULL;
    struct stat now;
    if (stat(m->path, &now) == 0) m->tried = m->seen = now;
    dcam_status status = serve_engine_load(s, m->path, &fresh);
    if (fresh) {
        serve_metrics_lock(s->metrics);
        status = add_classes(m, fresh);
        serve_metrics_unlock(s->metrics);
    }
    pthread_mutex_lock(&s->lock);
    if (status == DCAM_OK) {
        old = m->engine;
        m->engine = fresh;
        m->reloads++;
    } else if (status != DCAM_ERROR_CANCELLED) {
        m->reload_failures++;
    }
    pthread_mutex_unlock(&s->lock);
    m->pause = next_pause(s, m, status);
    if (status == DCAM_OK) {
        serve_engine_release(s, old);
        serve_log_model(s, m);
    } else {
        log_failed_reload(s, m, status);
        serve_engine_destroy(fresh);
    }
    give_back_memory();
    m->next_try = dcam_seconds() + m->pause;
}

/* Whether the file is another one now, and has been for two looks. */
static bool has_settled(serve_model *m)
{
    struct stat now;
    if (stat(m->path, &now) != 0 || same_file(&now, &m->tried)) return false;
    const bool settled = same_file(&now, &m->seen);
    m->seen = now;
    return settled;
}

/* Whether the file that could not be loaded is there, still the same, and its pause is over. */
static bool is_due_again(const serve_model *m)
{
    struct stat now;
    return m->pause > 0 && dcam_seconds() >= m->next_try && stat(m->path, &now) == 0 && same_file(&now, &m->tried);
}

static bool wants_loading(serve_model *m)
{
    if (!has_settled(m)) return is_due_again(m);
    m->pause = 0; /* another file: what the last one met says nothing of it */
    return true;
}

/* Until the next look is due: the whole time between two, whoever else is told of something meanwhile. The caller holds the
 * lock. */
static void wait_for_look(dcam_server *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WATCH_SECONDS;
    while (!ends(s) && !s->reload_wanted && pthread_cond_timedwait(&s->timed, &s->lock, &until) == 0) {}
}

void *serve_keeper(void *server)
{
    dcam_server *s = server;
    pthread_mutex_lock(&s->lock);
    while (!ends(s)) {
        const bool all = s->reload_wanted;
        s->reload_wanted = false;
        pthread_mutex_unlock(&s->lock);
        for (size_t i = 0; i < s->model_count; i++)
            if (all || (!s->options.no_watch && wants_loading(&s->models[i]))) reload(s, &s->models[i]);
        pthread_mutex_lock(&s->lock);
        wait_for_look(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
