/* log.c - one JSON object a line for each request and event, to the callback of the options. */
#include <stdarg.h>
#include <time.h>

#include "base/number_text.h"
#include "serve/internal.h"

const char *const serve_endpoint_names[ENDPOINT_COUNT] = {"other", "page", "health", "metadata", "metrics", "infer", "detect"};

static void begin(dcam_text *t, const char *level, const char *event)
{
    struct timespec now;
    struct tm utc;
    char date[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    dcam_text_format(t, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"event\":\"%s\"", date, now.tv_nsec / 1000000, level, event);
}

static void end(const dcam_server *s, dcam_text *t, dcam_log_level level)
{
    dcam_text_add(t, "}");
    if (!t->failed) s->options.log(s->options.user, level, t->bytes);
    dcam_text_clear(t);
}

static void milliseconds(dcam_text *t, const char *name, double from, double to)
{
    if (from > 0 && to >= from) dcam_text_format(t, ",\"%s_ms\":%.3f", name, 1e3 * (to - from));
}

void serve_log_request(const serve_request *r)
{
    const dcam_server *s = r->server;
    const serve_answer *a = &r->answer;
    const serve_times *x = &r->times;
    dcam_text t = {0};
    if (!s->options.log) return;
    begin(&t, a->status >= 500 ? "error" : a->status >= 400 ? "warning" : "info", "request");
    dcam_text_format(&t, ",\"id\":\"%s\",\"remote\":\"%s\",\"method\":\"%s\",\"endpoint\":\"%s\"", r->id, r->remote, r->method,
                     serve_endpoint_names[r->endpoint]);
    if (r->model) dcam_text_format(&t, ",\"model\":\"%s\"", r->model->name);
    dcam_text_format(&t, ",\"status\":%d,\"bytes_in\":%zu,\"bytes_out\":%zu", a->status, r->body_bytes + r->dropped_bytes,
                     r->head_only || !r->sent ? 0 : a->fixed ? a->fixed_bytes : a->body.used);
    if (r->image_count > 0) dcam_text_format(&t, ",\"images\":%d", r->image_count);
    milliseconds(&t, "receive", x->begun, x->received);
    milliseconds(&t, "prepare", x->received, x->prepared);
    milliseconds(&t, "queue", x->prepared, x->run_begun);
    milliseconds(&t, "network", x->run_begun, x->run_ended);
    milliseconds(&t, "answer", x->run_ended, x->answered);
    milliseconds(&t, "total", x->begun, x->answered);
    if (a->error[0] != '\0') {
        dcam_text_add(&t, ",\"error\":");
        dcam_text_json(&t, a->error);
    }
    end(s, &t, a->status >= 400 ? DCAM_LOG_WARNING : DCAM_LOG_INFO);
}

void serve_log_event(const dcam_server *s, dcam_log_level level, const char *event, const char *format, ...)
{
    char line[1024];
    dcam_text t = {0};
    if (!s->options.log) return;
    va_list args;
    va_start(args, format);
    dcam_vsnprintf(line, sizeof line, format, args);
    va_end(args);
    static const char *const names[] = {"debug", "info", "error"};
    begin(&t, names[level], event);
    dcam_text_add(&t, ",\"message\":");
    dcam_text_json(&t, line);
    end(s, &t, level);
}
