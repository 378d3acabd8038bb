/* A whole request as it comes from libmicrohttpd, on its way to the network: the endpoint, headers and arguments, then the
 * body to images of the model's size. Lines: METHOD, PATH, then "?NAME=VALUE" and "NAME: VALUE"; an empty line; the
 * body. The server has one model of two classes and no thread; libmicrohttpd is the two functions below. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "fuzz.h"
#include "serve/internal.h"

enum { MAX_LINES = 24, MAX_HEAD = 4096, MODEL_SIDE = 32 };

typedef struct {
    enum MHD_ValueKind kind;
    const char *name, *value;
} fact;

static fact facts[MAX_LINES];
static int fact_count;

const char *MHD_lookup_connection_value(struct MHD_Connection *connection, enum MHD_ValueKind kind, const char *name)
{
    (void)connection;
    for (int i = 0; i < fact_count; i++)
        if (facts[i].kind == kind && strcasecmp(facts[i].name, name) == 0) return facts[i].value;
    return NULL;
}

/* The lines of the head; false where it is none. */
static bool split_head(char *head, const char **method, const char **path)
{
    char *rest = head, *line = strsep(&rest, "\n");
    *method = line;
    *path = strsep(&rest, "\n");
    fact_count = 0;
    while (rest && fact_count < MAX_LINES) {
        line = strsep(&rest, "\n");
        const bool argument = line[0] == '?';
        char *separator = strchr(line, argument ? '=' : ':');
        if (!separator) continue;
        *separator = '\0';
        const char *value = separator + 1 + (argument ? 0 : strspn(separator + 1, " "));
        facts[fact_count++] = (fact){argument ? MHD_GET_ARGUMENT_KIND : MHD_HEADER_KIND, line + argument, value};
    }
    return *path && (*path)[0] == '/';
}

static dcam_server server;

static void start(void)
{
    static char name[] = "m";
    static dcam_model model;
    static serve_engine engine;
    static char bolt[] = "bolt", weave[] = "we\"ave";
    static dcam_class_calibration classes[2] = {{.name = bolt}, {.name = weave}};
    model = (dcam_model){.classes = classes, .class_count = 2, .preprocessing = dcam_preprocessing_default(MODEL_SIDE, MODEL_SIDE)};
    engine = (serve_engine){.model = &model, .pixels = MODEL_SIDE * MODEL_SIDE, .references = 1};
    server = (dcam_server){.options = {.queue = 128, .max_pixels = 1 << 16, .batch = 8, .deadline = 10}, .model_count = 1,
                           .ready = true, .token = NULL};
    server.models[0] = (serve_model){.name = name, .path = name, .engine = &engine};
    if (pthread_mutex_init(&server.lock, NULL) != 0 || serve_metrics_create(&server.metrics) != DCAM_OK) abort();
}

static void clear(serve_request *r)
{
    serve_request_clear(r);
    serve_engine_release(&server, r->engine);
    server.queued_images -= r->images_reserved;
}

/* Every pixel of every image is there. */
static void check_images(const serve_request *r)
{
    if (r->image_count < 1 || r->image_count > DCAM_REQUEST_MAX_IMAGES) abort();
    for (int i = 0; i < r->image_count; i++) {
        const serve_image *image = &r->images[i];
        if (!image->rgb == !image->input || image->class_index < -1 || image->class_index > 1) abort();
        volatile uint8_t last = image->rgb ? image->rgb[3 * MODEL_SIDE * MODEL_SIDE - 1] : 0;
        volatile float last_input = image->input ? image->input[3 * MODEL_SIDE * MODEL_SIDE - 1] : 0;
        (void)last, (void)last_input;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static size_t before;
    char head[MAX_HEAD];
    const char *method, *path;
    if (!server.metrics) {
        start();
        before = dcam_memory_held();
    }
    size_t end = 0;
    while (end + 1 < count && !(bytes[end] == '\n' && bytes[end + 1] == '\n')) end++;
    if (end + 1 >= count || end >= sizeof head || memchr(bytes, 0, end)) return 0;
    memcpy(head, bytes, end);
    head[end] = '\0';
    if (!split_head(head, &method, &path)) return 0;
    serve_request r = {.server = &server, .header_bytes = -1, .body = (uint8_t *)(uintptr_t)(bytes + end + 2), .body_bytes = count - end - 2};
    serve_route(&r, path, method);
    if (r.answer.status == 0) {
        if (r.endpoint != ENDPOINT_INFER && r.endpoint != ENDPOINT_DETECT) abort();
        if (serve_prepare(&r)) fuzz_accepted++, check_images(&r);
        else if (r.answer.status < 400) abort();
    }
    clear(&r);
    if (dcam_memory_held() != before || server.models[0].engine->references != 1) abort();
    return 0;
}
