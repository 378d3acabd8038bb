/* prepare.c - a worker's first step: from the bytes of a request to images of the model's input size. Decoding and
 * resizing are those of image/, so that a photograph means the same here as everywhere. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "serve/internal.h"

#define RETRY_SECONDS 1

static bool fail(serve_request *r, dcam_status status)
{
    serve_fail(r, status);
    return false;
}

static bool make_images(serve_request *r, int n, bool maps)
{
    if (!serve_reserve_images(r, n)) {
        serve_count_rejected(r->server->metrics, "queue");
        serve_error(r, 503, "the queue is full (%d images); try again later", r->server->options.queue);
        r->answer.retry_after = RETRY_SECONDS;
        return false;
    }
    const dcam_status status = dcam_alloc_zero((size_t)n, sizeof *r->images, &r->images);
    if (status != DCAM_OK) return fail(r, status);
    r->image_count = n;
    for (int i = 0; i < n; i++) {
        serve_image *image = &r->images[i];
        image->request = r;
        image->class_index = -1;
        if (!maps) continue;
        const dcam_status got = dcam_alloc(r->engine->pixels, sizeof *image->map, &image->map);
        if (got != DCAM_OK) return fail(r, got);
    }
    return true;
}

static bool find_class(serve_request *r, const char *name, int *index)
{
    *index = dcam_model_class_index(r->engine->model, name);
    if (*index >= 0) return true;
    serve_error(r, 400, "model %s has no class '%.60s'; leave the class away to have it found, or see /v2/models/%s",
                r->model->name, name, r->model->name);
    return false;
}

/* A photograph of any size to the model's. stays: its pixels are there until the request ends. */
static dcam_status fit(const serve_request *r, const dcam_image *photo, bool stays, serve_image *image)
{
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    if (photo->width != p->width || photo->height != p->height) {
        dcam_image resized = {0};
        DCAM_TRY(dcam_image_resize(photo, p->width, p->height, &resized));
        image->own = resized.pixels;
    } else if (!stays) {
        DCAM_TRY(dcam_alloc(r->engine->pixels, 3, &image->own));
        memcpy(image->own, photo->pixels, 3 * r->engine->pixels);
    }
    image->rgb = image->own ? image->own : photo->pixels;
    return DCAM_OK;
}

/* ---- inference requests ---- */

static dcam_status take_rgb(serve_request *r)
{
    const dcam_infer_request *q = &r->infer;
    const size_t one = (size_t)q->height * (size_t)q->width * 3;
    uint8_t *numbers = NULL;
    if (!q->binary) {
        DCAM_TRY(dcam_alloc((size_t)q->images, one, &numbers));
        const dcam_status status = dcam_infer_request_rgb(q, numbers);
        if (status != DCAM_OK) {
            dcam_free(numbers);
            return status;
        }
    }
    dcam_status status = DCAM_OK;
    for (int i = 0; status == DCAM_OK && i < q->images; i++) {
        /* Only read; dcam_image has no const form. */
        uint8_t *pixels = q->binary ? (uint8_t *)(uintptr_t)q->data.bytes : numbers;
        status = fit(r, &(dcam_image){q->width, q->height, 3, pixels + (size_t)i * one}, q->binary, &r->images[i]);
    }
    dcam_free(numbers);
    return status;
}

static dcam_status take_floats(serve_request *r)
{
    const dcam_infer_request *q = &r->infer;
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    const size_t pixels = r->engine->pixels;
    float *numbers;
    DCAM_TRY(dcam_alloc((size_t)q->images * 3 * pixels, sizeof *numbers, &numbers));
    dcam_status status = dcam_infer_request_floats(q, numbers);
    for (int i = 0; status == DCAM_OK && i < q->images; i++) {
        const float *from = numbers + (size_t)i * 3 * pixels;
        status = dcam_alloc(3 * pixels, sizeof(float), &r->images[i].input);
        for (size_t c = 0; status == DCAM_OK && c < 3; c++)
            for (size_t k = 0; k < pixels; k++) {
                const float v = from[c * pixels + k];
                r->images[i].input[c * pixels + k] = q->normalised ? v : (v - p->mean[c]) / p->deviation[c];
            }
    }
    dcam_free(numbers);
    return status;
}

static bool wants_output(const dcam_infer_request *q, int output)
{
    for (int i = 0; i < q->output_count; i++)
        if (q->outputs[i] == output) return true;
    return false;
}

static bool prepare_infer(serve_request *r)
{
    dcam_infer_request *q = &r->infer;
    const dcam_preprocessing *p = &r->engine->model->preprocessing;
    dcam_status status = dcam_infer_request_parse(r->body, r->body_bytes, r->header_bytes, r->server->options.max_pixels, q);
    if (status != DCAM_OK) return fail(r, status);
    if (q->floats && (q->width != p->width || q->height != p->height)) {
        serve_error(r, 400, "input input: its shape must be [N, 3, %d, %d] for model %s; photographs of any size go into \"image\"",
                    p->height, p->width, r->model->name);
        return false;
    }
    if (q->timeout > 0) {
        const double deadline = r->times.received + 1e-6 * (double)q->timeout;
        if (deadline < r->deadline) r->deadline = deadline;
    }
    status = dcam_infer_request_check_maps(q, r->engine->pixels);
    if (status != DCAM_OK) return fail(r, status);
    if (!serve_hold(r, serve_map_bytes(r))) return false;
    if (!make_images(r, q->images, wants_output(q, DCAM_OUTPUT_MAP))) return false;
    for (int i = 0; i < q->images; i++)
        if (q->class_names[i] && !find_class(r, q->class_names[i], &r->images[i].class_index)) return false;
    status = q->floats ? take_floats(r) : take_rgb(r);
    return status == DCAM_OK ? true : fail(r, status);
}

/* ---- photographs ---- */

static bool take_form(serve_request *r, dcam_span *image)
{
    dcam_form form;
    const dcam_status status = dcam_form_parse(r->body, r->body_bytes, r->boundary, &form);
    if (status != DCAM_OK) return fail(r, status);
    if (form.image.count == 0) {
        serve_error(r, 400, "form: no photograph in it; name its part \"image\"");
        return false;
    }
    if (form.class_name[0] != '\0') memcpy(r->class_name, form.class_name, sizeof r->class_name);
    if (form.model[0] != '\0') {
        serve_model *model = serve_model_find(r->server, form.model, strlen(form.model));
        if (!model) {
            serve_error(r, 404, "no model '%.63s' here; see /v2/models", form.model);
            return false;
        }
        if (model != r->model) {
            serve_engine_release(r->server, r->engine);
            r->model = model;
            pthread_mutex_lock(&r->server->lock);
            r->engine = serve_engine_take(model);
            pthread_mutex_unlock(&r->server->lock);
        }
    }
    *image = form.image;
    return true;
}

static bool prepare_detect(serve_request *r)
{
    dcam_span image = {r->body, r->body_bytes};
    if (r->boundary[0] != '\0' && !take_form(r, &image)) return false;
    if (!make_images(r, 1, true)) return false;
    if (r->class_name[0] != '\0' && !find_class(r, r->class_name, &r->images[0].class_index)) return false;
    bool above_limit;
    dcam_status status = dcam_image_decode_within(image.bytes, image.count, "image", r->server->options.max_pixels,
                                                  &above_limit, &r->photo);
    if (status != DCAM_OK && above_limit) {
        serve_error(r, 413, "%s", dcam_error_message());
        return false;
    }
    if (status != DCAM_OK) return fail(r, status);
    r->photo_width = r->photo.width;
    r->photo_height = r->photo.height;
    status = fit(r, &r->photo, r->wants_png, &r->images[0]);
    if (!r->wants_png) dcam_image_clear(&r->photo);
    if (status != DCAM_OK) return fail(r, status);
    return serve_hold(r, r->wants_png ? (size_t)r->photo_width * (size_t)r->photo_height * 3 : serve_map_bytes(r));
}

bool serve_prepare(serve_request *r)
{
    dcam_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    r->engine = serve_engine_take(r->model);
    pthread_mutex_unlock(&s->lock);
    if (r->body_bytes == 0) {
        serve_error(r, 400, "the body is empty; %s", r->endpoint == ENDPOINT_INFER ? "it must be an inference request" :
                    "it must be a photograph or a form with one");
        return false;
    }
    return r->endpoint == ENDPOINT_INFER ? prepare_infer(r) : prepare_detect(r);
}

void serve_request_clear(serve_request *r)
{
    for (int i = 0; i < r->image_count; i++) {
        dcam_free(r->images[i].own);
        dcam_free(r->images[i].input);
        dcam_free(r->images[i].map);
    }
    dcam_free(r->images);
    dcam_image_clear(&r->photo);
    dcam_infer_request_clear(&r->infer);
    dcam_text_clear(&r->answer.body);
    serve_hold(r, 0);
}
