/* metrics.c - counters and histograms, and their text in Prometheus' exposition format. */
#define _GNU_SOURCE
#include "serve/metrics.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "serve/internal.h"

/* Seconds: from a header that arrives whole to an image that waits behind a full queue. */
static const double second_bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                       0.1,    0.25,    0.5,    1,     2.5,    5,     10};
#define SECOND_BUCKETS (sizeof second_bounds / sizeof *second_bounds)
#define BATCH_BUCKETS 8 /* 1, 2, 4, ... 128 */
#define REASONS 5
/* Statuses that the server answers with, and room for those of the HTTP library. */
#define MAX_STATUSES 24

typedef struct {
    uint64_t buckets[SECOND_BUCKETS + 1];
    double sum;
} histogram;

/* All are written from the start: an alert on the growth of a series does not see the step with which it appears. */
static const char *const reasons[REASONS] = {"queue", "memory", "deadline", "timeout", "end"};

struct dcam_serve_metrics {
    pthread_mutex_t lock;
    histogram stages[STAGE_COUNT];
    int statuses[MAX_STATUSES];
    uint64_t requests[ENDPOINT_COUNT][MAX_STATUSES];
    uint64_t batches[BATCH_BUCKETS + 1], batch_images, batch_count;
    uint64_t rejected[REASONS];
};

static const char *const stage_names[STAGE_COUNT] = {"receive", "prepare", "queue", "network", "answer", "total"};

dcam_status serve_metrics_create(dcam_serve_metrics **out)
{
    dcam_serve_metrics *m;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *m, &m));
    pthread_mutex_init(&m->lock, NULL);
    *out = m;
    return DCAM_OK;
}

void serve_metrics_destroy(dcam_serve_metrics *m)
{
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    dcam_free(m);
}

void serve_metrics_lock(dcam_serve_metrics *m) { pthread_mutex_lock(&m->lock); }
void serve_metrics_unlock(dcam_serve_metrics *m) { pthread_mutex_unlock(&m->lock); }

void serve_count_request(dcam_serve_metrics *m, int endpoint, int status)
{
    pthread_mutex_lock(&m->lock);
    int k = 0;
    while (k < MAX_STATUSES - 1 && m->statuses[k] != 0 && m->statuses[k] != status) k++;
    m->statuses[k] = status;
    m->requests[endpoint][k]++;
    pthread_mutex_unlock(&m->lock);
}

void serve_count_seconds(dcam_serve_metrics *m, serve_stage stage, double seconds)
{
    size_t k = 0;
    while (k < SECOND_BUCKETS && seconds > second_bounds[k]) k++;
    pthread_mutex_lock(&m->lock);
    m->stages[stage].buckets[k]++;
    m->stages[stage].sum += seconds;
    pthread_mutex_unlock(&m->lock);
}

void serve_count_batch(dcam_serve_metrics *m, int images)
{
    int k = 0;
    while (k < BATCH_BUCKETS && images > 1 << k) k++;
    pthread_mutex_lock(&m->lock);
    m->batches[k]++;
    m->batch_count++;
    m->batch_images += (uint64_t)images;
    pthread_mutex_unlock(&m->lock);
}

void serve_count_rejected(dcam_serve_metrics *m, const char *reason)
{
    pthread_mutex_lock(&m->lock);
    int k = 0;
    while (k < REASONS - 1 && strcmp(reasons[k], reason) != 0) k++;
    m->rejected[k]++;
    pthread_mutex_unlock(&m->lock);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double serve_drift(float *recent, size_t n, const float *sorted, size_t count)
{
    if (n == 0 || count == 0) return NAN;
    qsort(recent, n, sizeof *recent, ascending);
    double largest = 0;
    for (size_t i = 0, k = 0; i < n || k < count;) {
        /* Both go past every value that is the smallest left, ties together. */
        const float value = i == n ? sorted[k] : k == count ? recent[i] : recent[i] < sorted[k] ? recent[i] : sorted[k];
        while (i < n && recent[i] <= value) i++;
        while (k < count && sorted[k] <= value) k++;
        const double distance = fabs((double)i / (double)n - (double)k / (double)count);
        if (distance > largest) largest = distance;
    }
    return largest;
}

/* ---- text ---- */

static void head(dcam_text *t, const char *name, const char *type, const char *help)
{
    dcam_text_format(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(dcam_text *t, const char *name, const char *help, double value)
{
    head(t, name, "gauge", help);
    dcam_text_format(t, "%s %.15g\n", name, value);
}

/* A label's value: backslash, quote and line end are escaped. */
static void label(dcam_text *t, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"') dcam_text_bytes(t, "\\", 1);
        if (*value == '\n') dcam_text_add(t, "\\n");
        else dcam_text_bytes(t, value, 1);
    }
}

static void write_requests(const dcam_serve_metrics *m, dcam_text *t)
{
    head(t, "dcam_requests_total", "counter", "Answered requests.");
    for (int e = 0; e < ENDPOINT_COUNT; e++)
        for (int k = 0; k < MAX_STATUSES; k++)
            if (m->requests[e][k] > 0)
                dcam_text_format(t, "dcam_requests_total{endpoint=\"%s\",status=\"%d\"} %llu\n", serve_endpoint_names[e],
                                 m->statuses[k], (unsigned long long)m->requests[e][k]);
    head(t, "dcam_rejected_total", "counter", "Requests and connections that were turned away, by reason.");
    for (int k = 0; k < REASONS; k++)
        dcam_text_format(t, "dcam_rejected_total{reason=\"%s\"} %llu\n", reasons[k], (unsigned long long)m->rejected[k]);
}

static void write_stages(const dcam_serve_metrics *m, dcam_text *t)
{
    head(t, "dcam_request_seconds", "histogram", "Time of detections, by stage.");
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        uint64_t sum = 0;
        for (size_t k = 0; k <= SECOND_BUCKETS; k++) {
            sum += m->stages[stage].buckets[k];
            char bound[32] = "+Inf";
            if (k < SECOND_BUCKETS) dcam_snprintf(bound, sizeof bound, "%g", second_bounds[k]);
            dcam_text_format(t, "dcam_request_seconds_bucket{stage=\"%s\",le=\"%s\"} %llu\n", stage_names[stage], bound,
                             (unsigned long long)sum);
        }
        dcam_text_format(t, "dcam_request_seconds_sum{stage=\"%s\"} %.9g\ndcam_request_seconds_count{stage=\"%s\"} %llu\n",
                         stage_names[stage], m->stages[stage].sum, stage_names[stage], (unsigned long long)sum);
    }
}

static void write_batches(const dcam_serve_metrics *m, dcam_text *t)
{
    uint64_t sum = 0;
    head(t, "dcam_batch_images", "histogram", "Images that ran through the network together.");
    for (int k = 0; k < BATCH_BUCKETS; k++)
        dcam_text_format(t, "dcam_batch_images_bucket{le=\"%d\"} %llu\n", 1 << k, (unsigned long long)(sum += m->batches[k]));
    dcam_text_format(t, "dcam_batch_images_bucket{le=\"+Inf\"} %llu\ndcam_batch_images_sum %llu\ndcam_batch_images_count %llu\n",
                     (unsigned long long)m->batch_count, (unsigned long long)m->batch_images,
                     (unsigned long long)m->batch_count);
}

static void class_labels(dcam_text *t, const char *metric, const serve_model *m, const dcam_class_metrics *c)
{
    dcam_text_format(t, "%s{model=\"%s\",class=\"", metric, m->name);
    label(t, c->name);
    dcam_text_add(t, "\"");
}

/* The numbers of many classes are written while no connection is served: printf would take most of that time. */
static void add_count(dcam_text *t, uint64_t count)
{
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + count % 10);
    while ((count /= 10) > 0);
    dcam_text_bytes(t, digits + at, sizeof digits - at);
}

/* NAME and labels, and what stands behind them up to the number. */
static void line_of(dcam_text *t, const char *name, const dcam_text *labels, const char *rest, uint64_t count)
{
    dcam_text_add(t, name);
    dcam_text_bytes(t, labels->bytes, labels->used);
    dcam_text_add(t, rest);
    add_count(t, count);
    dcam_text_bytes(t, "\n", 1);
}

static void write_scores(const serve_model *m, const dcam_class_metrics *c, dcam_text *t)
{
    static const char *const bounds[] = {",le=\"0.05\"} ", ",le=\"0.1\"} ", ",le=\"0.15\"} ", ",le=\"0.2\"} ", ",le=\"0.25\"} ",
                                         ",le=\"0.3\"} ",  ",le=\"0.35\"} ", ",le=\"0.4\"} ", ",le=\"0.45\"} ", ",le=\"0.5\"} ",
                                         ",le=\"0.55\"} ", ",le=\"0.6\"} ", ",le=\"0.65\"} ", ",le=\"0.7\"} ", ",le=\"0.75\"} ",
                                         ",le=\"0.8\"} ",  ",le=\"0.85\"} ", ",le=\"0.9\"} ", ",le=\"0.95\"} ", ",le=\"1\"} "};
    dcam_text labels = {0};
    uint64_t sum = 0;
    class_labels(&labels, "", m, c);
    if (labels.failed) t->failed = true;
    for (size_t k = 0; !t->failed && k < sizeof bounds / sizeof *bounds; k++)
        line_of(t, "dcam_score_bucket", &labels, bounds[k], sum += c->score_buckets[k]);
    if (!t->failed) {
        line_of(t, "dcam_score_bucket", &labels, ",le=\"+Inf\"} ", sum);
        dcam_text_format(t, "dcam_score_sum%s} %.9g\n", labels.bytes, c->score_sum);
        line_of(t, "dcam_score_count", &labels, "} ", sum);
    }
    dcam_text_clear(&labels);
}

static size_t recent_size(const dcam_class_metrics *c)
{
    return c->recent_count < DCAM_DRIFT_WINDOW ? (size_t)c->recent_count : DCAM_DRIFT_WINDOW;
}

/* k: the class' place among m->classes. */
static void write_drift(const serve_model *m, const serve_engine *e, size_t k, dcam_text *t)
{
    const dcam_class_metrics *c = &m->classes[k];
    float recent[DCAM_DRIFT_WINDOW];
    const size_t n = recent_size(c);
    if (n == 0) return;
    const bool same_place = k < e->model->class_count && strcmp(e->model->classes[k].name, c->name) == 0;
    const int index = same_place ? (int)k : dcam_model_class_index(e->model, c->name);
    if (index < 0) return;
    memcpy(recent, c->recent, n * sizeof *recent);
    const dcam_class_calibration *calibration = &e->model->classes[index];
    class_labels(t, "dcam_score_drift", m, c);
    dcam_text_format(t, "} %.6g\n", serve_drift(recent, n, calibration->scores, calibration->score_count));
}

/* engines: one reference for each model, in their order. The caller holds m->lock. */
static void write_classes(dcam_server *s, serve_engine *const *engines, dcam_text *t)
{
    head(t, "dcam_verdicts_total", "counter", "Verdicts on images.");
    for (size_t i = 0; i < s->model_count; i++)
        for (size_t k = 0; k < s->models[i].class_count; k++) {
            const dcam_class_metrics *c = &s->models[i].classes[k];
            class_labels(t, "dcam_verdicts_total", &s->models[i], c);
            dcam_text_format(t, ",verdict=\"good\"} %llu\n", (unsigned long long)c->good);
            class_labels(t, "dcam_verdicts_total", &s->models[i], c);
            dcam_text_format(t, ",verdict=\"anomalous\"} %llu\n", (unsigned long long)c->anomalous);
        }
    head(t, "dcam_score", "histogram", "Calibrated scores; 0.5 is the threshold.");
    for (size_t i = 0; i < s->model_count; i++)
        for (size_t k = 0; k < s->models[i].class_count; k++) write_scores(&s->models[i], &s->models[i].classes[k], t);
    head(t, "dcam_score_drift", "gauge",
         "Kolmogorov-Smirnov distance between the last raw scores and the normal ones of the calibration, 0 to 1.");
    for (size_t i = 0; i < s->model_count; i++)
        for (size_t k = 0; engines[i] && k < s->models[i].class_count; k++)
            write_drift(&s->models[i], engines[i], k, t);
    head(t, "dcam_score_drift_images", "gauge", "Images that dcam_score_drift is about, at most 256.");
    for (size_t i = 0; i < s->model_count; i++)
        for (size_t k = 0; k < s->models[i].class_count; k++) {
            class_labels(t, "dcam_score_drift_images", &s->models[i], &s->models[i].classes[k]);
            dcam_text_format(t, "} %zu\n", recent_size(&s->models[i].classes[k]));
        }
}

/* The second number of the line, in pages. */
static double resident_bytes(void)
{
    char line[256], *end;
    const char *second = dcam_system_text("/proc/self/statm", line, sizeof line) ? strchr(line, ' ') : NULL;
    if (!second) return NAN;
    const unsigned long long resident = strtoull(second, &end, 10);
    return end != second ? (double)resident * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static double open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) return NAN;
    int n = -3; /* ".", ".." and the folder itself */
    while (readdir(folder)) n++;
    closedir(folder);
    return n;
}

static void write_process(const dcam_server *s, dcam_text *t)
{
    gauge(t, "dcam_memory_held_bytes", "Memory that the library holds through its own allocator.", (double)dcam_memory_held());
    gauge(t, "process_resident_memory_bytes", "Resident memory of the process.", resident_bytes());
    gauge(t, "process_open_fds", "Open file descriptors of the process.", open_descriptors());
    gauge(t, "dcam_uptime_seconds", "Seconds since the start.", dcam_seconds() - s->started);
    head(t, "dcam_build_info", "gauge", "Version of the library.");
    dcam_text_format(t, "dcam_build_info{version=\"%s\"} 1\n", dcam_version());
}

typedef struct { int queued, working, connections, ready; uint64_t reloads[SERVE_MAX_MODELS], failures[SERVE_MAX_MODELS]; } server_state;

static void write_state(const dcam_server *s, const server_state *now, dcam_text *t)
{
    gauge(t, "dcam_ready", "1 when requests are taken.", now->ready);
    gauge(t, "dcam_queue_images", "Images that wait for the network or are in it.", now->queued);
    gauge(t, "dcam_queue_capacity_images", "Images that the queue holds.", s->options.queue);
    gauge(t, "dcam_requests_in_flight", "Detections that were received and not yet answered.", now->working);
    gauge(t, "dcam_connections", "Open connections.", now->connections);
    head(t, "dcam_model_reloads_total", "counter", "Reloads of a model, by result.");
    for (size_t i = 0; i < s->model_count; i++)
        dcam_text_format(t, "dcam_model_reloads_total{model=\"%s\",result=\"done\"} %llu\n"
                            "dcam_model_reloads_total{model=\"%s\",result=\"failed\"} %llu\n",
                         s->models[i].name, (unsigned long long)now->reloads[i], s->models[i].name,
                         (unsigned long long)now->failures[i]);
}

void serve_metrics_write(dcam_server *s, dcam_text *t)
{
    serve_engine *engines[SERVE_MAX_MODELS] = {NULL};
    server_state now;
    pthread_mutex_lock(&s->lock);
    now = (server_state){.queued = s->queued_images, .working = s->working, .connections = s->connection_count, .ready = s->ready};
    for (size_t i = 0; i < s->model_count; i++) {
        engines[i] = serve_engine_take(&s->models[i]);
        now.reloads[i] = s->models[i].reloads;
        now.failures[i] = s->models[i].reload_failures;
    }
    pthread_mutex_unlock(&s->lock);
    write_state(s, &now, t);
    serve_metrics_lock(s->metrics);
    write_requests(s->metrics, t);
    write_stages(s->metrics, t);
    write_batches(s->metrics, t);
    write_classes(s, engines, t);
    serve_metrics_unlock(s->metrics);
    write_process(s, t);
    for (size_t i = 0; i < s->model_count; i++) serve_engine_release(s, engines[i]);
}
