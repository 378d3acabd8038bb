/* answer.c - a worker's second step: from verdicts and maps to the answer that was asked for. */
#include <stdarg.h>
#include <string.h>

#include "api/detector.h"
#include "base/memory.h"
#include "base/number_text.h"
#include "serve/internal.h"

#define JSON_TYPE "application/json"
#define MAP_NUMBER_BYTES 14 /* -1.234567e-38, and a comma */
#define BESIDE_MAPS 4096    /* of an answer with maps; more makes its memory grow */

void serve_text_answer(serve_request *r, int status, const char *content_type)
{
    r->answer.status = status;
    r->answer.content_type = content_type;
}

/* {"error": LINE}, kept for the log too. */
static void set_error(serve_request *r, int status)
{
    dcam_text *body = &r->answer.body;
    dcam_text_clear(body);
    r->answer.header_bytes = 0;
    dcam_text_add(body, "{\"error\":");
    dcam_text_json(body, r->answer.error);
    dcam_text_add(body, "}\n");
    if (body->failed) {
        dcam_text_clear(body);
        r->answer.fixed = "{\"error\":\"not enough memory\"}\n";
        r->answer.fixed_bytes = strlen(r->answer.fixed);
    }
    serve_text_answer(r, status, JSON_TYPE);
}

void serve_error(serve_request *r, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    dcam_vsnprintf(r->answer.error, sizeof r->answer.error, format, args);
    va_end(args);
    set_error(r, status);
}

void serve_fail(serve_request *r, dcam_status status)
{
    int code = 500;
    if (status == DCAM_ERROR_USAGE || status == DCAM_ERROR_IMAGE || status == DCAM_ERROR_DATA) code = 400;
    if (status == DCAM_ERROR_MEMORY) {
        code = 503;
        r->answer.retry_after = 1;
        serve_count_rejected(r->server->metrics, "memory");
    }
    serve_error(r, code, "%s", dcam_error_message());
}

/* ---- inference answers ---- */

static void add_value(dcam_text *t, const serve_request *r, int output, int i, size_t k)
{
    const serve_image *image = &r->images[i];
    switch (output) {
    case DCAM_OUTPUT_SCORE: dcam_text_number(t, image->verdict.score, 9); break;
    case DCAM_OUTPUT_RAW: dcam_text_number(t, (double)image->verdict.raw, 9); break;
    case DCAM_OUTPUT_ANOMALOUS: dcam_text_add(t, image->verdict.anomalous ? "true" : "false"); break;
    case DCAM_OUTPUT_CLASS: dcam_text_json(t, r->engine->model->classes[image->verdict.class_index].name); break;
    default: dcam_text_number(t, (double)image->map[k], 7); break;
    }
}

static void add_json_data(dcam_text *t, const serve_request *r, int output)
{
    const size_t each = output == DCAM_OUTPUT_MAP ? r->engine->pixels : 1;
    dcam_text_add(t, ",\"data\":[");
    for (int i = 0; i < r->image_count; i++)
        for (size_t k = 0; k < each; k++) {
            if (i > 0 || k > 0) dcam_text_bytes(t, ",", 1);
            add_value(t, r, output, i, k);
        }
    dcam_text_add(t, "]");
}

/* Little-endian, as the extension says; this file assumes a little-endian machine, as the model file does. */
static void add_binary_data(dcam_text *t, const serve_request *r, int output)
{
    for (int i = 0; i < r->image_count; i++) {
        const serve_image *image = &r->images[i];
        const float score = (float)image->verdict.score, raw = image->verdict.raw;
        const uint8_t anomalous = image->verdict.anomalous;
        const char *name = r->engine->model->classes[image->verdict.class_index].name;
        const uint32_t length = (uint32_t)strlen(name);
        switch (output) {
        case DCAM_OUTPUT_SCORE: dcam_text_bytes(t, &score, sizeof score); break;
        case DCAM_OUTPUT_RAW: dcam_text_bytes(t, &raw, sizeof raw); break;
        case DCAM_OUTPUT_ANOMALOUS: dcam_text_bytes(t, &anomalous, 1); break;
        case DCAM_OUTPUT_CLASS:
            dcam_text_bytes(t, &length, sizeof length);
            dcam_text_bytes(t, name, length);
            break;
        default: dcam_text_bytes(t, image->map, r->engine->pixels * sizeof(float)); break;
        }
    }
}

static size_t binary_bytes(const serve_request *r, int output)
{
    const size_t n = (size_t)r->image_count;
    size_t names = 0;
    switch (output) {
    case DCAM_OUTPUT_ANOMALOUS: return n;
    case DCAM_OUTPUT_CLASS:
        for (size_t i = 0; i < n; i++) names += 4 + strlen(r->engine->model->classes[r->images[i].verdict.class_index].name);
        return names;
    case DCAM_OUTPUT_MAP: return n * r->engine->pixels * sizeof(float);
    default: return n * sizeof(float);
    }
}

static void add_output(dcam_text *json, const serve_request *r, int position)
{
    const int output = r->infer.outputs[position];
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    if (position > 0) dcam_text_add(json, ",");
    dcam_text_format(json, "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%d", dcam_output_names[output],
                     dcam_output_datatypes[output], r->image_count);
    if (output == DCAM_OUTPUT_MAP) dcam_text_format(json, ",%d,%d", p->height, p->width);
    dcam_text_add(json, "]");
    if (r->infer.output_binary[position])
        dcam_text_format(json, ",\"parameters\":{\"binary_data_size\":%zu}", binary_bytes(r, output));
    else
        add_json_data(json, r, output);
    dcam_text_add(json, "}");
}

static void answer_infer(serve_request *r)
{
    const dcam_infer_request *q = &r->infer;
    dcam_text *json = &r->answer.body;
    dcam_text_format(json, "{\"model_name\":\"%s\",\"model_version\":\"1\"", r->model->name);
    if (q->id) {
        dcam_text_add(json, ",\"id\":");
        dcam_text_json(json, q->id);
    }
    dcam_text_add(json, ",\"outputs\":[");
    for (int i = 0; i < q->output_count; i++) add_output(json, r, i);
    dcam_text_add(json, "]}");
    const size_t json_bytes = json->used;
    for (int i = 0; i < q->output_count; i++)
        if (q->output_binary[i]) add_binary_data(json, r, q->outputs[i]);
    const bool binary = json->used > json_bytes;
    if (binary) r->answer.header_bytes = (long long)json_bytes;
    serve_text_answer(r, 200, binary ? "application/octet-stream" : JSON_TYPE);
}

/* ---- photographs ---- */

static void add_region(dcam_text *t, const dcam_region *region, bool first)
{
    dcam_text_format(t, "%s{\"x\":%d,\"y\":%d,\"width\":%d,\"height\":%d,\"area\":", first ? "" : ",", region->x, region->y,
                     region->width, region->height);
    dcam_text_number(t, region->area, 9);
    dcam_text_add(t, ",\"peak\":");
    dcam_text_number(t, region->peak, 9);
    dcam_text_add(t, "}");
}

/* The raw map with its fixed scale, for a client that draws it. */
static void add_map(dcam_text *t, const serve_request *r, const dcam_class_calibration *c)
{
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    dcam_text_format(t, "{\"width\":%d,\"height\":%d,\"low\":", p->width, p->height);
    dcam_text_number(t, (double)c->map_low, 9);
    dcam_text_add(t, ",\"high\":");
    dcam_text_number(t, (double)c->map_high, 9);
    dcam_text_add(t, ",\"float32\":\"");
    dcam_text_base64(t, r->images[0].map, r->engine->pixels * sizeof(float));
    dcam_text_add(t, "\"}");
}

static void answer_json(serve_request *r, const dcam_region *regions, size_t count)
{
    dcam_text *t = &r->answer.body;
    const dcam_verdict *v = &r->images[0].verdict;
    const dcam_class_calibration *c = &r->engine->model->classes[v->class_index];
    dcam_text_add(t, "{\"path\":null,\"class\":");
    dcam_text_json(t, c->name);
    dcam_text_format(t, ",\"class_source\":\"%s\",\"score\":", dcam_class_source_name(v->source));
    dcam_text_number(t, v->score, 12);
    dcam_text_add(t, ",\"raw\":");
    dcam_text_number(t, (double)v->raw, 12);
    dcam_text_add(t, ",\"threshold\":");
    dcam_text_number(t, v->threshold, 12);
    dcam_text_format(t, ",\"anomalous\":%s,\"regions\":[", v->anomalous ? "true" : "false");
    for (size_t i = 0; i < count; i++) add_region(t, &regions[i], i == 0);
    dcam_text_add(t, "],\"map\":");
    if (r->wants_map) add_map(t, r, c);
    else dcam_text_add(t, "null");
    dcam_text_format(t, ",\"milliseconds\":%.3f,\"model\":\"%s\",\"width\":%d,\"height\":%d}\n",
                     1e3 * (r->times.run_ended - r->times.received), r->model->name, r->photo_width, r->photo_height);
    serve_text_answer(r, 200, JSON_TYPE);
}

static void answer_png(serve_request *r, const dcam_region *regions, size_t count)
{
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    const dcam_class_calibration *c = &r->engine->model->classes[r->images[0].verdict.class_index];
    dcam_image overlay = {0};
    uint8_t *png;
    size_t bytes;
    dcam_status status = dcam_overlay_draw(c, &r->photo, r->images[0].map, p->width, p->height, regions, count, &overlay);
    if (status == DCAM_OK) status = dcam_png_encode(&overlay, &png, &bytes);
    dcam_image_clear(&overlay);
    if (status == DCAM_OK) {
        /* The encoder's buffer has room for pixels that cannot be packed. */
        status = dcam_realloc(bytes, 1, &png);
        if (status != DCAM_OK) dcam_free(png);
    }
    if (status != DCAM_OK) {
        serve_fail(r, status);
        return;
    }
    r->answer.body = (dcam_text){.bytes = (char *)png, .used = bytes, .capacity = bytes};
    serve_text_answer(r, 200, "image/png");
}

static void answer_detect(serve_request *r)
{
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    dcam_region regions[DCAM_MAX_REGIONS];
    dcam_region_finder *finder = NULL;
    size_t count = 0;
    /* As dcam_scorer_regions has it: an image that is not anomalous has none. */
    if (r->images[0].verdict.anomalous) {
        const dcam_status status = dcam_region_finder_create(p->height, p->width, &finder);
        if (status != DCAM_OK) {
            serve_fail(r, status);
            return;
        }
    }
    if (finder)
        count = dcam_find_regions(finder, r->images[0].map, r->images[0].verdict.threshold, r->photo_width, r->photo_height,
                                  0, regions, DCAM_MAX_REGIONS);
    dcam_region_finder_destroy(finder);
    if (r->wants_png) answer_png(r, regions, count);
    else answer_json(r, regions, count);
}

static void count_verdicts(const serve_request *r)
{
    serve_model *m = r->model;
    serve_metrics_lock(r->server->metrics);
    for (int i = 0; i < r->image_count; i++) {
        const dcam_verdict *v = &r->images[i].verdict;
        const size_t k = serve_class_place(m, r->engine->model->classes[v->class_index].name, (size_t)v->class_index);
        if (k == m->class_count) continue;
        dcam_class_metrics *c = &m->classes[k];
        int bucket = (int)(v->score * 20);
        /* A bucket holds its upper bound. */
        if (bucket > 0 && v->score <= 0.05 * bucket) bucket--;
        c->score_buckets[bucket < 0 ? 0 : bucket > 19 ? 19 : bucket]++;
        c->score_sum += v->score;
        if (v->anomalous) c->anomalous++;
        else c->good++;
        /* A request may have begun on a model that has been replaced since. */
        if (r->engine == m->newest) c->recent[c->recent_count++ % DCAM_DRIFT_WINDOW] = v->raw;
    }
    serve_metrics_unlock(r->server->metrics);
}

size_t serve_map_bytes(const serve_request *r)
{
    const size_t values = (size_t)r->infer.images * r->engine->pixels;
    if (r->endpoint == ENDPOINT_DETECT) return r->wants_map && !r->wants_png ? 4 * r->engine->pixels * sizeof(float) / 3 : 0;
    for (int i = 0; i < r->infer.output_count; i++)
        if (r->infer.outputs[i] == DCAM_OUTPUT_MAP) return values * (r->infer.output_binary[i] ? sizeof(float) : MAP_NUMBER_BYTES);
    return 0;
}

void serve_build_answer(serve_request *r)
{
    const size_t map_bytes = serve_map_bytes(r);
    count_verdicts(r);
    if (map_bytes > 0) dcam_text_reserve(&r->answer.body, map_bytes + BESIDE_MAPS);
    if (r->endpoint == ENDPOINT_INFER) answer_infer(r);
    else answer_detect(r);
    if (dcam_text_check(&r->answer.body) != DCAM_OK) serve_fail(r, DCAM_ERROR_MEMORY);
    else if (map_bytes > 0) dcam_text_trim(&r->answer.body);
}
