/* route.c - which endpoint a request is for, whether it may use it, and the answers that need no body. Names from a
 * client are only ever compared with those that the server was started with. */
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "base/sha256.h"
#include "serve/internal.h"
#include "serve/page.h"

#define JSON_TYPE "application/json"
#define PAGE_POLICY                                                                                                  \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "      \
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const char *header(const serve_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static const char *argument(const serve_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* ---- who may ---- */

/* Digests are compared, every byte of them: the time says nothing about where two tokens differ, nor how long. */
static bool same_token(const char *given, const char *wanted)
{
    uint8_t a[DCAM_SHA256_BYTES], b[DCAM_SHA256_BYTES];
    dcam_sha256 hash;
    dcam_sha256_init(&hash);
    dcam_sha256_update(&hash, given, strlen(given));
    dcam_sha256_final(&hash, a);
    dcam_sha256_init(&hash);
    dcam_sha256_update(&hash, wanted, strlen(wanted));
    dcam_sha256_final(&hash, b);
    volatile unsigned difference = 0;
    for (size_t i = 0; i < sizeof a; i++) difference |= (unsigned)(a[i] ^ b[i]);
    return difference == 0;
}

/* Where being on this machine is all that a client needs, a page from elsewhere must not be taken for one: a name of its
 * own that leads to 127.0.0.1 makes the browser think that it asks its own server (DNS rebinding). The Host header tells. */
static bool is_meant(serve_request *r)
{
    const char *host = header(r, "Host");
    if (!r->server->loopback || r->server->token || !host || serve_is_local_host(host)) return true;
    serve_error(r, 421, "the host %.60s is not this server, which is for this machine alone: ask for localhost or 127.0.0.1; a proxy "
                        "needs a token file, or sends that as Host", host);
    return false;
}

/* Health is for probes and the page holds nothing: both are open. */
static bool is_allowed(serve_request *r)
{
    const char *token = r->server->token, *given = header(r, "Authorization");
    if (!token || r->endpoint == ENDPOINT_HEALTH || r->endpoint == ENDPOINT_PAGE) return true;
    if (given && dcam_ascii_ncasecmp(given, "Bearer ", 7) == 0 && same_token(given + 7 + strspn(given + 7, " "), token)) return true;
    serve_error(r, 401, given ? "wrong token" : "a token is needed: Authorization: Bearer TOKEN");
    return false;
}

static bool is_method(serve_request *r, const char *wanted)
{
    if (strcmp(r->method, wanted) == 0) return true;
    if (strcmp(wanted, "GET") == 0 && r->head_only) return true;
    serve_error(r, 405, "the method %s is not for this path; use %s", r->method, wanted);
    r->answer.allow = strcmp(wanted, "GET") == 0 ? "GET, HEAD" : wanted;
    return false;
}

/* ---- answers without a body ---- */

/* Of the server, or of a model, whose answer has its name too. */
static void answer_ready(serve_request *r, const char *what, bool yes)
{
    dcam_text_add(&r->answer.body, "{");
    if (r->model) dcam_text_format(&r->answer.body, "\"name\":\"%s\",", r->model->name);
    dcam_text_format(&r->answer.body, "\"%s\":%s}\n", what, yes ? "true" : "false");
    serve_text_answer(r, yes ? 200 : 503, JSON_TYPE);
}

static bool is_ready(dcam_server *s)
{
    pthread_mutex_lock(&s->lock);
    const bool ready = s->ready;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

static void answer_server(serve_request *r)
{
    dcam_text_format(&r->answer.body, "{\"name\":\"dcam\",\"version\":\"%s\",\"extensions\":[\"binary_tensor_data\"]}\n", dcam_version());
    serve_text_answer(r, 200, JSON_TYPE);
}

/* Not part of the protocol: which models there are, for the page and for people. */
static void answer_models(serve_request *r)
{
    dcam_server *s = r->server;
    dcam_text *t = &r->answer.body;
    dcam_text_add(t, "{\"models\":[");
    for (size_t i = 0; i < s->model_count; i++) {
        pthread_mutex_lock(&s->lock);
        serve_engine *e = serve_engine_take(&s->models[i]);
        pthread_mutex_unlock(&s->lock);
        dcam_text_format(t, "%s{\"name\":\"%s\",\"width\":%d,\"height\":%d,\"classes\":[", i ? "," : "", s->models[i].name,
                         e->model->preprocessing.width, e->model->preprocessing.height);
        for (size_t k = 0; k < e->model->class_count; k++) {
            if (k > 0) dcam_text_add(t, ",");
            dcam_text_json(t, e->model->classes[k].name);
        }
        dcam_text_add(t, "]}");
        serve_engine_release(s, e);
    }
    dcam_text_add(t, "]}\n");
    serve_text_answer(r, 200, JSON_TYPE);
}

static void answer_model(serve_request *r)
{
    dcam_server *s = r->server;
    dcam_text *t = &r->answer.body;
    pthread_mutex_lock(&s->lock);
    serve_engine *e = serve_engine_take(r->model);
    pthread_mutex_unlock(&s->lock);
    const dcam_preprocessing *p = &e->model->preprocessing;
    dcam_text_format(t, "{\"name\":\"%s\",\"versions\":[\"1\"],\"platform\":\"dcam\",\"inputs\":["
                        "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[-1,-1,-1,3]},"
                        "{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[-1,3,%d,%d]},"
                        "{\"name\":\"class\",\"datatype\":\"BYTES\",\"shape\":[-1]}],\"outputs\":[",
                     r->model->name, p->height, p->width);
    for (int k = 0; k < DCAM_OUTPUTS; k++) {
        dcam_text_format(t, "%s{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[-1", k ? "," : "", dcam_output_names[k],
                         dcam_output_datatypes[k]);
        if (k == DCAM_OUTPUT_MAP) dcam_text_format(t, ",%d,%d", p->height, p->width);
        dcam_text_add(t, "]}");
    }
    dcam_text_add(t, "],\"classes\":[");
    for (size_t k = 0; k < e->model->class_count; k++) {
        if (k > 0) dcam_text_add(t, ",");
        dcam_text_json(t, e->model->classes[k].name);
    }
    dcam_text_add(t, "]}\n");
    serve_engine_release(s, e);
    serve_text_answer(r, 200, JSON_TYPE);
}

static void answer_metrics(serve_request *r)
{
    serve_metrics_write(r->server, &r->answer.body);
    serve_text_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8");
}

static bool answer_page(serve_request *r, const char *url)
{
    for (size_t i = 0; i < serve_page_file_count; i++) {
        const serve_page_file *file = &serve_page_files[i];
        if (strcmp(url, file->path) != 0) continue;
        r->endpoint = ENDPOINT_PAGE;
        if (!is_method(r, "GET")) return true;
        r->answer.fixed = (const char *)file->bytes;
        r->answer.fixed_bytes = file->count;
        r->answer.policy = PAGE_POLICY;
        serve_text_answer(r, 200, file->content_type);
        return true;
    }
    return false;
}

/* ---- requests with a body ---- */

/* "image/png; q=1" is of type "image/png". */
static bool is_type(const char *value, const char *type)
{
    const size_t length = strlen(type);
    return dcam_ascii_ncasecmp(value, type, length) == 0 && (value[length] == '\0' || value[length] == ';' || value[length] == ' ');
}

/* The weight that an Accept header gives to a type by its name, in thousandths; -1: it does not name it. */
static int weight_of(const char *accept, const char *type)
{
    const size_t length = strlen(type);
    for (const char *at = accept; *at; at += *at == ',') {
        at += strspn(at, " \t");
        const char *end = at + strcspn(at, ",");
        const bool is_named = strcspn(at, ",; \t") == length && dcam_ascii_ncasecmp(at, type, length) == 0;
        int weight = 1000;
        for (const char *p = at; is_named && p < end; p++) {
            if (*p != ';') continue;
            p += 1 + strspn(p + 1, " \t");
            if ((*p != 'q' && *p != 'Q') || p[1] != '=') continue;
            weight = p[2] == '1' ? 1000 : 0;
            for (int unit = 100, k = 4; p[2] == '0' && p[3] == '.' && unit > 0 && p[k] >= '0' && p[k] <= '9'; unit /= 10, k++)
                weight += unit * (p[k] - '0');
        }
        if (is_named) return weight;
        at = end;
    }
    return -1;
}

static bool check_encoding(serve_request *r)
{
    const char *encoding = header(r, "Content-Encoding");
    if (!encoding || dcam_ascii_casecmp(encoding, "identity") == 0) return true;
    serve_error(r, 415, "Content-Encoding %.40s is not supported; send the bytes as they are", encoding);
    return false;
}

static void route_infer(serve_request *r)
{
    const char *type = header(r, "Content-Type"), *length = header(r, "Inference-Header-Content-Length");
    if (type && !is_type(type, JSON_TYPE) && !is_type(type, "application/octet-stream")) {
        serve_error(r, 415, "Content-Type must be application/json or application/octet-stream, not %.60s", type);
        return;
    }
    if (length && (r->header_bytes = dcam_request_digits(length)) < 0) {
        serve_error(r, 400, "Inference-Header-Content-Length is not a number");
        return;
    }
    check_encoding(r);
}

static bool copy_word(serve_request *r, const char *what, const char *value, char *out, size_t capacity)
{
    if (strlen(value) < capacity) {
        memcpy(out, value, strlen(value) + 1);
        return true;
    }
    serve_error(r, 400, "%s is longer than %zu bytes", what, capacity - 1);
    return false;
}

static void route_detect(serve_request *r)
{
    const char *type = header(r, "Content-Type"), *accept = header(r, "Accept");
    const char *class_name = argument(r, "class"), *model = argument(r, "model"), *map = argument(r, "map");
    r->model = &r->server->models[0];
    if (model && !(r->model = serve_model_find(r->server, model, strlen(model)))) {
        serve_error(r, 404, "no model '%.63s' here; see /v2/models", model);
        return;
    }
    if (class_name && !copy_word(r, "class", class_name, r->class_name, sizeof r->class_name)) return;
    if (map && strcmp(map, "float32") != 0) {
        serve_error(r, 400, "map=%.40s is not known; map=float32 gives the raw map in base64", map);
        return;
    }
    r->wants_map = map != NULL;
    const int png = accept ? weight_of(accept, "image/png") : 0;
    r->wants_png = png > 0 && png >= weight_of(accept, JSON_TYPE);
    if (!type || !(dcam_ascii_ncasecmp(type, "image/", 6) == 0 || is_type(type, "application/octet-stream") ||
                   is_type(type, "multipart/form-data"))) {
        serve_error(r, 415, "Content-Type must be that of a photograph (image/jpeg, ...), application/octet-stream or "
                            "multipart/form-data, not %.60s", type ? type : "missing");
        return;
    }
    if (is_type(type, "multipart/form-data") && !dcam_form_boundary(type, r->boundary)) {
        serve_error(r, 400, "Content-Type names no valid boundary of the form");
        return;
    }
    check_encoding(r);
}

/* ---- paths ---- */

/* /v2/models/NAME[/versions/1][/ready|/infer]; rest begins behind "/v2/models/". */
static void route_model(serve_request *r, const char *rest)
{
    const size_t length = strcspn(rest, "/");
    const char *tail = rest + length;
    r->endpoint = ENDPOINT_METADATA;
    r->model = serve_model_find(r->server, rest, length);
    const bool version_wrong = strncmp(tail, "/versions/", 10) == 0 && !(tail[10] == '1' && (tail[11] == '/' || tail[11] == '\0'));
    if (strncmp(tail, "/versions/", 10) == 0) tail += 10 + strcspn(tail + 10, "/");
    if (strcmp(tail, "/infer") == 0) r->endpoint = ENDPOINT_INFER;
    else if (strcmp(tail, "/ready") == 0) r->endpoint = ENDPOINT_HEALTH;
    if (!is_allowed(r)) return;
    if (!r->model) {
        serve_error(r, 404, "no model '%.*s' here; see /v2/models", (int)(length > SERVE_MAX_NAME ? SERVE_MAX_NAME : length), rest);
    } else if (version_wrong) {
        serve_error(r, 404, "model %s has version 1 only", r->model->name);
    } else if (r->endpoint == ENDPOINT_INFER) {
        if (is_method(r, "POST")) route_infer(r);
    } else if (r->endpoint == ENDPOINT_HEALTH) {
        if (is_method(r, "GET")) answer_ready(r, "ready", is_ready(r->server));
    } else if (tail[0] == '\0') {
        if (is_method(r, "GET")) answer_model(r);
    } else {
        serve_error(r, 404, "nothing at this path; see /v2/models/%s", r->model->name);
    }
}

static void route_rest(serve_request *r, const char *url)
{
    static const struct { const char *path; serve_endpoint endpoint; void (*answer)(serve_request *r); } plain[] = {
        {"/v2", ENDPOINT_METADATA, answer_server},
        {"/v2/models", ENDPOINT_METADATA, answer_models},
        {"/metrics", ENDPOINT_METRICS, answer_metrics},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strcmp(url, plain[i].path) != 0) continue;
        r->endpoint = plain[i].endpoint;
        if (is_allowed(r) && is_method(r, "GET")) plain[i].answer(r);
        return;
    }
    const bool live = strcmp(url, "/v2/health/live") == 0;
    if (live || strcmp(url, "/v2/health/ready") == 0) {
        r->endpoint = ENDPOINT_HEALTH;
        if (is_method(r, "GET")) answer_ready(r, live ? "live" : "ready", live || is_ready(r->server));
    } else if (strcmp(url, "/detect") == 0) {
        r->endpoint = ENDPOINT_DETECT;
        if (is_allowed(r) && is_method(r, "POST")) route_detect(r);
    } else if (is_allowed(r)) {
        serve_error(r, 404, "nothing at this path; docs: / is the page, /v2 the protocol, /detect takes photographs, /metrics counts");
    }
}

void serve_route(serve_request *r, const char *url, const char *method)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    r->method = "OTHER";
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(method, methods[i]) == 0) r->method = methods[i];
    r->head_only = strcmp(method, "HEAD") == 0;
    if (r->answer.status != 0 || !is_meant(r)) return;
    if (strncmp(url, "/v2/models/", 11) == 0 && url[11] != '\0') route_model(r, url + 11);
    else if (!answer_page(r, url)) route_rest(r, url);
    if (dcam_text_check(&r->answer.body) != DCAM_OK) serve_fail(r, DCAM_ERROR_MEMORY);
}
