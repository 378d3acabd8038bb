/* training.c - how a model came about: curves over the epochs, and the record as a table. It takes the JSON of
 * `dcam info` as it comes: a key that a later version adds is shown without a change here. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "report/inside.h"
#include "report/svg.h"
#include "weights/json_text.h"

/* A record has three levels; deeper JSON is not ours. */
#define MAX_DEPTH 8
#define PATH_BYTES 512

/* ---- curves ---- */

static void put_curve(dcam_html *t, const char *title, const char *label, const char *description, const dcam_curve_point *points,
                      size_t count, double best)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        low = fmin(low, points[i].y);
        high = fmax(high, points[i].y);
    }
    if (!(high > low)) high = low + fmax(fabs(low), 1e-9);
    const dcam_chart chart = {.title = title, .x_label = "epoch", .y_label = label, .description = description,
                              .x_low = 1, .x_high = fmax(2, points[count - 1].x), .y_low = low > 0 && low < high / 2 ? 0 : low, .y_high = high,
                              .lines = {{"each epoch", points, count}}, .limit = best, .limit_name = "epoch kept"};
    dcam_chart_write(t, &chart);
}

static dcam_status put_key(dcam_html *t, const json_t *epochs, const char *key, const char *title, const char *description, double best)
{
    const size_t count = json_array_size(epochs);
    dcam_curve_point *points;
    size_t n = 0;
    DCAM_TRY(dcam_alloc(count, sizeof *points, &points));
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(json_array_get(epochs, i), key);
        if (json_is_number(value)) points[n++] = (dcam_curve_point){(double)(i + 1), json_number_value(value)};
    }
    if (n > 1) put_curve(t, title, title, description, points, n, best);
    dcam_free(points);
    return DCAM_OK;
}

/* ---- the record ---- */

static void put_row(dcam_html *t, const char *path, const json_t *value)
{
    char *text = NULL;
    if (!json_is_string(value) && t->status == DCAM_OK)
        t->status = dcam_json_print(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7), &text);
    dcam_html_put(t, "<tr><th scope=\"row\">");
    dcam_html_escape(t, path);
    dcam_html_put(t, "</th><td>");
    dcam_html_escape(t, text ? text : json_is_string(value) ? json_string_value(value) : "-");
    dcam_html_put(t, "</td></tr>\n");
    dcam_free(text);
}

static void put_rows(dcam_html *t, const char *prefix, json_t *object, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        char path[PATH_BYTES];
        if (strcmp(key, "epochs") == 0 && json_is_array(value)) continue; /* the curves */
        if (depth == 0 && strcmp(key, "classes") == 0) continue;          /* the sections above */
        const int length = *prefix ? snprintf(path, sizeof path, "%s, %s", prefix, key) : snprintf(path, sizeof path, "%s", key);
        if (length < 0) continue; /* a longer one is cut */
        if (json_is_object(value) && depth < MAX_DEPTH) put_rows(t, path, value, depth + 1);
        else put_row(t, path, value);
    }
}

dcam_status dcam_report_model(dcam_report *r, const char *name, const char *text)
{
    dcam_html *t = &r->models;
    dcam_json_error error;
    json_t *info = dcam_json_parse(text, strlen(text), &error);
    if (!info && error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: the record of a model");
    if (!info) return dcam_fail(DCAM_ERROR_INTERNAL, "what is said of a model is not JSON");
    const json_t *training = json_object_get(info, "training"), *epochs = json_object_get(training, "epochs");
    const json_t *best = json_object_get(training, "best_epoch");
    const double kept = json_is_number(best) ? json_number_value(best) : (double)NAN;
    if (t->count == 0) dcam_html_put(t, "<h2 id=\"training\">Training</h2>\n");
    dcam_html_put(t, "<section>\n");
    if (name) {
        dcam_html_put(t, "<h3>");
        dcam_html_escape(t, name);
        dcam_html_put(t, "</h3>\n");
    }
    dcam_html_put(t, "<div class=\"charts\">\n");
    dcam_status status = put_key(t, epochs, "loss", "training loss", "mean loss of each epoch", kept);
    if (status == DCAM_OK)
        status = put_key(t, epochs, "validation", "validation map", "mean of the anomaly map over the validation images after each epoch", kept);
    dcam_html_put(t, "</div>\n");
    if (!json_is_object(training)) dcam_html_put(t, "<p class=\"note\">The model file keeps no record of its training.</p>\n");
    dcam_html_put(t, "<details open><summary>Record of the model</summary>\n<div class=\"scroll record\"><table><tbody>\n");
    put_rows(t, "", info, 0);
    dcam_html_put(t, "</tbody></table></div></details>\n</section>\n");
    json_decref(info);
    return status;
}
