/* internal.h - inside the serve layer only: a server, the models it holds, and a request on its way through it.
 *
 *   HTTP thread (http.c)          reads a request, suspends its connection
 *     -> worker (pool.c)          parses, decodes, resizes (prepare_*.c)
 *       -> lane (runner.c)        the network, on whatever images are waiting
 *         -> worker               builds the answer (answer_*.c)
 *   -> HTTP thread                resumes the connection and sends
 *
 * One mutex, server->lock, guards the lists, counters and states below; nothing slow happens under it. A request
 * belongs to the thread of the step that it is in. */
#ifndef DCAM_SERVE_INTERNAL_H
#define DCAM_SERVE_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "dcam.h"
#include "detect/scorer.h"
#include "serve/metrics.h"
#include "serve/request.h"
#include "serve/text.h"

#define SERVE_ID_BYTES 65           /* of a request id, with its zero */
#define SERVE_MAX_MODELS 64
#define SERVE_MAX_NAME 63           /* bytes of a model's name */
/* How often connections and deadlines are looked at, at least. */
#define SERVE_WATCH_SECONDS 0.25
/* All large answers and the photographs for them, until they are sent; beyond, one that is not alone is put off. */
#define SERVE_ANSWER_MEMORY ((size_t)1 << 30)

typedef struct serve_request serve_request;

/* ---- models (engine.c) ---- */

/* A scorer and what its runs need; one thread's at a time. */
typedef struct {
    dcam_scorer *scorer;
    int together;                   /* most images of one run */
    uint8_t *rgb;                   /* of so many images, to gather them in: NULL where it is one */
    float *input, *maps;
    dcam_verdict *verdicts;
    int *classes;
} serve_network;

/* One loaded model. Requests hold a reference, so that a reload lets them end on the model that they began with. */
typedef struct {
    dcam_model *model;
    serve_network *lanes;           /* each on one thread; the first has the weights of all */
    int lane_count;                 /* options.threads */
    serve_network whole;            /* on all threads; empty where there is one */
    size_t pixels;                  /* of the model's input */
    int references;                 /* under server->lock */
} serve_engine;

typedef struct {
    char *name, *path;
    serve_engine *engine;           /* under server->lock; never NULL once started */
    dcam_class_metrics *classes;    /* by name, kept over reloads; under metrics->lock */
    const serve_engine *newest;     /* whose scores the drift is about; under metrics->lock, compared only */
    size_t class_count;
    struct stat tried, seen;        /* of the file: what was loaded, or could not be, last; what the last look found */
    double pause, next_try;         /* after a fault that may pass: seconds to the next try, or 0; on dcam_seconds() */
    uint64_t reloads, reload_failures;
} serve_model;

/* ---- one request ---- */

typedef enum { ENDPOINT_OTHER, ENDPOINT_PAGE, ENDPOINT_HEALTH, ENDPOINT_METADATA, ENDPOINT_METRICS, ENDPOINT_INFER,
               ENDPOINT_DETECT, ENDPOINT_COUNT } serve_endpoint;
extern const char *const serve_endpoint_names[ENDPOINT_COUNT];

/* One image of a request on its way to a lane. */
typedef struct serve_image {
    struct serve_image *next;       /* in the lanes' queue */
    serve_request *request;
    int class_index;                /* or -1 */
    const uint8_t *rgb;             /* of the model's size: own, or in the request's body; or */
    float *input;                   /* normalised; one of the two */
    uint8_t *own;
    float *map;                     /* where the answer needs it; filled by the lane */
    dcam_verdict verdict;
} serve_image;

typedef enum { STEP_READING, STEP_WORKING, STEP_DONE } serve_step;

/* Seconds on dcam_seconds(), a monotonic clock, at which the steps of a request ended. */
typedef struct { double begun, received, prepared, run_begun, run_ended, answered; } serve_times;

typedef struct {
    int status;                     /* of HTTP */
    const char *content_type;
    dcam_text body;
    const char *fixed;              /* or this, which lives for ever, instead of body */
    size_t fixed_bytes;
    long long header_bytes;         /* Inference-Header-Content-Length; 0: none */
    int retry_after;                /* seconds; 0: none */
    const char *allow;              /* of 405 */
    const char *policy;             /* Content-Security-Policy; NULL: that of plain data */
    char error[512];                /* the line of an error, for the log */
} serve_answer;

struct serve_request {
    dcam_server *server;
    struct MHD_Connection *connection;
    struct serve_connection *link;
    serve_request *next;            /* in a list of the workers */
    char id[SERVE_ID_BYTES];
    char remote[64];
    const char *method;             /* of a short list, else "OTHER" */
    serve_endpoint endpoint;
    serve_step step;
    bool head_only, counted;        /* counted: in server->working */
    bool close;                     /* the connection ends with the answer */
    bool sent;                      /* the answer was given to libmicrohttpd */
    uint8_t *body;
    size_t body_bytes, body_capacity, dropped_bytes;
    bool drop_body;                 /* the answer is there already, the body is read and forgotten */
    /* what the headers said */
    long long header_bytes;         /* Inference-Header-Content-Length, or -1 */
    char boundary[DCAM_REQUEST_MAX_BOUNDARY + 1];
    char class_name[256];           /* of /detect */
    bool wants_png, wants_map;
    serve_model *model;
    serve_engine *engine;           /* a reference */
    /* what was made of it */
    dcam_infer_request infer;
    dcam_image photo;               /* of /detect */
    int photo_width, photo_height;
    serve_image *images;
    int image_count, images_left;   /* images_left: not yet through a lane; under server->lock */
    int images_reserved;            /* in the queue's count */
    size_t held;                    /* in the server's answer_memory */
    bool failed;                    /* answered before all images were run; under server->lock */
    double deadline;                /* on dcam_seconds() */
    serve_times times;
    serve_answer answer;
};

/* ---- connections (http.c) ---- */

/* WAIT_FIRST: for the end of the headers; WAIT_NEXT: for a request line on a connection that was kept. */
typedef enum { WAIT_FIRST, WAIT_NEXT, WAIT_BODY, WAIT_NONE, WAIT_SENT } serve_wait;
typedef struct serve_connection {
    struct serve_connection *previous, *next;
    int socket;
    serve_wait wait;
    double since;
} serve_connection;

/* ---- the server ---- */

typedef struct { serve_request *first, *last; } request_list;

/* One of the threads that run the network (runner.c). */
typedef struct {
    struct dcam_server *server;
    int index;
    pthread_t thread;
    pthread_cond_t wake;
    bool idle;                      /* waits, and nobody has woken it yet; under server->lock */
} serve_lane;

struct dcam_server {
    dcam_server_options options;    /* with the defaults filled in */
    serve_model models[SERVE_MAX_MODELS];
    size_t model_count;
    char *token;                    /* NULL: none is asked for */
    uint8_t *certificate, *key;     /* PEM text */
    char url[96];
    int port;
    bool loopback;                  /* it listens for this machine alone */
    struct MHD_Daemon *daemon;
    int listener;                   /* taken from the daemon at the end; else -1 */
    dcam_serve_metrics *metrics;
    pthread_mutex_t lock;
    pthread_cond_t work;            /* for workers */
    pthread_cond_t changed;         /* for who waits for the end */
    pthread_cond_t timed;           /* for keeper and watchdog, which look again after a time in any case */
    request_list to_prepare, to_answer;
    serve_image *first_image, *last_image;
    int waiting_images;             /* in this list */
    int running;                    /* lanes that are in the network */
    bool whole_runs;                /* one of them on all threads */
    int queued_images;              /* reserved: from parsing to the end of the run */
    int working;                    /* requests handed to the workers and not yet answered */
    int handing_back;               /* answered ones that libmicrohttpd is being told of */
    int open_requests;              /* requests of which headers were read, until they are sent */
    size_t body_memory;             /* bytes held by bodies */
    size_t answer_memory;           /* bytes promised to answers, and held by them and by photographs to be drawn on */
    serve_connection *connections;
    int connection_count;
    bool find_batch;                /* no size was asked for: each engine has its own */
    bool ready, stopping;           /* stopping: answers close their connections, no model is loaded any more */
    bool refusing, ending;          /* refusing: nothing new for the workers; ending: threads leave */
    bool reload_wanted;
    pthread_t *workers;
    int worker_count;
    serve_lane *lanes;
    int lane_count;                 /* that have been started */
    pthread_t watchdog, keeper;
    bool watchdog_there, keeper_there;
    atomic_ullong next_id;
    uint64_t id_start;
    double started;
};

/* listen.c */
DCAM_MUST_CHECK dcam_status serve_listen(const char *text, int *socket_out, bool *loopback, char *url, size_t url_bytes,
                                         bool tls, int *port);
/* Whether a Host header means this machine by its loopback: localhost, 127.x.x.x or [::1], with a port or without. */
bool serve_is_local_host(const char *host);
/* engine.c: all or nothing; then a trial run, so that no request pays for first times. DCAM_ERROR_CANCELLED: the server
 * stops. */
DCAM_MUST_CHECK dcam_status serve_engine_load(dcam_server *s, const char *path, serve_engine **out);
void serve_engine_destroy(serve_engine *engine);
serve_engine *serve_engine_take(serve_model *model);                 /* the caller holds the lock */
void serve_engine_release(dcam_server *s, serve_engine *engine);     /* takes the lock */
DCAM_MUST_CHECK dcam_status serve_models_open(dcam_server *s);
void serve_models_close(dcam_server *s);
void serve_log_model(dcam_server *s, serve_model *m);                /* that it is loaded */
void *serve_keeper(void *server);                                    /* thread: reloads */
serve_model *serve_model_find(dcam_server *s, const char *name, size_t length);
/* Place of a class among m->classes, or class_count. Their order is that of the first engine with them: place in an engine
 * is looked at first, so that many classes do not cost the square of their number. Under metrics->lock. */
size_t serve_class_place(const serve_model *m, const char *name, size_t in_engine);
/* http.c */
DCAM_MUST_CHECK dcam_status serve_http_start(dcam_server *s, int listener);
void serve_http_stop_listening(dcam_server *s);
void serve_http_stop(dcam_server *s);                                /* no request is with the workers any more */
void *serve_watchdog(void *server);                                  /* thread: ends slow connections, answers what waits too long */
void serve_finish(serve_request *r);                                 /* any thread: the answer is there */
void serve_free_body(serve_request *r);
/* route.c: decides by method and path; fills r->endpoint and, unless the body is needed, r->answer. Where there is an
 * answer already only the method is noted. */
void serve_route(serve_request *r, const char *url, const char *method);
/* pool.c */
DCAM_MUST_CHECK dcam_status serve_pool_start(dcam_server *s);
void serve_pool_stop(dcam_server *s);
void serve_submit(serve_request *r);                                 /* the body is complete */
/* Answers what no worker has got to by its deadline: 504; with refusing set all that waits for one: 503. The caller holds
 * the lock, which is let go of meanwhile. */
void serve_give_up_waiting(dcam_server *s);
/* Takes room for n images in the queue; false when there is none. */
bool serve_reserve_images(serve_request *r, int n);
/* Makes the request's share of answer_memory `bytes`; little is not counted. False: there is no room, r->answer is filled. */
bool serve_hold(serve_request *r, size_t bytes);
void serve_request_ran(serve_request *r);                            /* all images are through; the caller holds the lock */
DCAM_MUST_CHECK dcam_status serve_thread_start(pthread_t *thread, void *(*body)(void *), void *argument);
/* runner.c */
DCAM_MUST_CHECK dcam_status serve_lanes_start(dcam_server *s);
void serve_lanes_wake(dcam_server *s);                               /* all of them; the caller holds the lock */
void serve_lanes_join(dcam_server *s);
void serve_enqueue(serve_request *r);                                /* r->images are ready for the network */
/* prepare.c and answer.c: a worker's steps. True: on to the lanes; false: r->answer is filled. */
bool serve_prepare(serve_request *r);
void serve_build_answer(serve_request *r);
size_t serve_map_bytes(const serve_request *r);                      /* of the maps in r's answer, at most */
void serve_request_clear(serve_request *r);                          /* images, photograph, tensors, answer; not the engine */
/* answer.c */
void serve_error(serve_request *r, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The library's line for the last failed call, with the HTTP status that fits it. */
void serve_fail(serve_request *r, dcam_status status);
void serve_text_answer(serve_request *r, int status, const char *content_type);
/* log.c */
void serve_log_request(const serve_request *r);
void serve_log_event(const dcam_server *s, dcam_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
