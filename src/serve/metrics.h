/* metrics.h - what the server counts, and its text for Prometheus. All calls may come from any thread. */
#ifndef DCAM_SERVE_METRICS_H
#define DCAM_SERVE_METRICS_H

#include <stdint.h>

#include "base/status.h"
#include "detect/model.h"
#include "serve/text.h"

typedef enum { STAGE_RECEIVE, STAGE_PREPARE, STAGE_QUEUE, STAGE_NETWORK, STAGE_ANSWER, STAGE_TOTAL, STAGE_COUNT } serve_stage;

/* Recent raw scores of a class, to compare with those of its calibration. */
#define DCAM_DRIFT_WINDOW 256

typedef struct {
    char *name;
    uint64_t good, anomalous;
    uint64_t score_buckets[20];     /* of 0.05 */
    double score_sum;
    float recent[DCAM_DRIFT_WINDOW];
    uint64_t recent_count;          /* ever; the ring's place is its remainder */
} dcam_class_metrics;

typedef struct dcam_serve_metrics dcam_serve_metrics;
struct dcam_server;

DCAM_MUST_CHECK dcam_status serve_metrics_create(dcam_serve_metrics **out);
void serve_metrics_destroy(dcam_serve_metrics *m);
void serve_count_request(dcam_serve_metrics *m, int endpoint, int status);
void serve_count_seconds(dcam_serve_metrics *m, serve_stage stage, double seconds);
void serve_count_batch(dcam_serve_metrics *m, int images);
void serve_count_rejected(dcam_serve_metrics *m, const char *reason); /* "queue", "memory", "deadline", "timeout" */
/* Largest distance between the distribution of n recent scores and that of the calibration (Kolmogorov and Smirnov's
 * statistic): 0 the same, 1 apart. recent is sorted in place. */
double serve_drift(float *recent, size_t n, const float *sorted, size_t count);
/* The counters of a model's classes are in the model; this is their lock. */
void serve_metrics_lock(dcam_serve_metrics *m);
void serve_metrics_unlock(dcam_serve_metrics *m);
void serve_metrics_write(struct dcam_server *s, dcam_text *out);

#endif
