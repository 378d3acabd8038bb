/* request.h - what clients send, taken apart. Everything in request*.c is a pure function of the bytes it is given:
 * no clock, no file, no global state, no model; safe on any bytes, memory from dcam_alloc, at most a small multiple of
 * the input. Bodies need no zero at their end and are never changed. DCAM_ERROR_USAGE is the client's fault and its
 * line is written for the client; DCAM_ERROR_MEMORY is ours. Outputs are untouched on failure.
 *
 * The protocol is the Open Inference Protocol, version 2, REST, with the binary tensor data extension:
 *   input "image"  UINT8 [N, H, W, 3]  photographs, RGB, of any size
 *   input "input"  FP32 [N, 3, H, W]   RGB in 0..1, give or take 0.001, at the model's size; with the parameter
 *                                      "normalised": true the network's own input, already normalised
 *   input "class"  BYTES [N] or [1]    optional; the parameter "class" of the request gives one name for all
 *   outputs        score, raw FP32 [N]; anomalous BOOL [N]; class BYTES [N]; anomaly_map FP32 [N, H, W] */
#ifndef DCAM_SERVE_REQUEST_H
#define DCAM_SERVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define DCAM_REQUEST_MAX_JSON (64u * 1024u)   /* bytes of a request's JSON without the numbers of its tensors */
#define DCAM_REQUEST_MAX_INPUTS 8             /* tensors; three have a meaning */
#define DCAM_REQUEST_MAX_IMAGES 64            /* a request; more gain nothing over a second request */
#define DCAM_REQUEST_MAX_JSON_VALUES (1u << 20) /* of maps in a JSON answer: 16 of 256x256, some 12 MB of digits */
#define DCAM_REQUEST_MAX_DEPTH 32             /* of nested JSON */
#define DCAM_REQUEST_MAX_ID 256               /* bytes of "id", which is echoed */
#define DCAM_REQUEST_MAX_SIDE 32768           /* pixels, as of photographs in files */
#define DCAM_REQUEST_MAX_PARTS 16             /* of a multipart body */
#define DCAM_REQUEST_MAX_BOUNDARY 70          /* RFC 2046 */
#define DCAM_REQUEST_MAX_TIMEOUT 3600e6       /* microseconds */

typedef struct {
    const uint8_t *bytes;
    size_t count;
} dcam_span;

/* ---- JSON with large tensors (request_json.c) ---- */

/* A request's JSON with every value of a "data" key of the input objects (object, array, object, "data") taken out: in
 * skeleton it is replaced by its index in data, and white space is gone. So a JSON library sees only what is small. */
typedef struct {
    char *skeleton; /* zero-terminated */
    size_t skeleton_bytes;
    dcam_span data[DCAM_REQUEST_MAX_INPUTS];
    size_t data_count;
} dcam_json_parts;
DCAM_MUST_CHECK dcam_status dcam_json_split(const uint8_t *bytes, size_t count, dcam_json_parts *out);
void dcam_json_parts_clear(dcam_json_parts *parts);

/* Before memory for count numbers is asked for: whether the text is long enough for so many. If not, what is wrong. */
DCAM_MUST_CHECK dcam_status dcam_json_numbers_fit(dcam_span json, size_t count);
/* An array of exactly `count` numbers, flat or nested. Whole numbers 0..255; numbers that fit FP32. */
DCAM_MUST_CHECK dcam_status dcam_json_numbers_u8(dcam_span json, size_t count, uint8_t *out);
DCAM_MUST_CHECK dcam_status dcam_json_numbers_f32(dcam_span json, size_t count, float *out);

/* ---- one inference request (request_infer.c) ---- */

enum { DCAM_OUTPUT_SCORE, DCAM_OUTPUT_RAW, DCAM_OUTPUT_ANOMALOUS, DCAM_OUTPUT_CLASS, DCAM_OUTPUT_MAP, DCAM_OUTPUTS };
extern const char *const dcam_output_names[DCAM_OUTPUTS];     /* "score", ... */
extern const char *const dcam_output_datatypes[DCAM_OUTPUTS]; /* "FP32", ... */

typedef struct {
    char *id;                   /* or NULL */
    int images, height, width;  /* of the tensor */
    bool floats;                /* "input", else "image" */
    bool normalised;            /* of "input" */
    bool binary;                /* data: little-endian values, else JSON */
    dcam_span data;             /* within the body */
    char *class_names[DCAM_REQUEST_MAX_IMAGES]; /* NULL: to be found */
    int outputs[DCAM_OUTPUTS];  /* in the order asked for */
    bool output_binary[DCAM_OUTPUTS]; /* by position in outputs */
    int output_count;
    uint64_t timeout;           /* microseconds; 0: not given */
} dcam_infer_request;

/* header_bytes: the value of Inference-Header-Content-Length, or negative without it. max_pixels: of one image. The
 * request's data point into body. Sizes of binary data are checked here, JSON numbers when they are read; there are never
 * more than the bytes of the body give reason for. */
DCAM_MUST_CHECK dcam_status dcam_infer_request_parse(const uint8_t *body, size_t count, long long header_bytes,
                                                     size_t max_pixels, dcam_infer_request *out);
void dcam_infer_request_clear(dcam_infer_request *request);
/* Whether maps of map_pixels each can be answered as they are asked for. */
DCAM_MUST_CHECK dcam_status dcam_infer_request_check_maps(const dcam_infer_request *request, size_t map_pixels);
/* images x height x width x 3 bytes of "image". */
DCAM_MUST_CHECK dcam_status dcam_infer_request_rgb(const dcam_infer_request *request, uint8_t *out);
/* images x 3 x height x width floats of "input": in 0..1, or, where they are normalised, within 1e4 of 0. */
DCAM_MUST_CHECK dcam_status dcam_infer_request_floats(const dcam_infer_request *request, float *out);

/* ---- forms (request_form.c) ---- */

typedef struct {
    dcam_span image;            /* the first part with a file name or named "image" or "file"; count 0: none */
    char class_name[256];       /* of the part "class"; "": none */
    char model[256];            /* of the part "model" */
} dcam_form;
/* The boundary in a Content-Type header; false where there is none that is valid. */
bool dcam_form_boundary(const char *content_type, char boundary[DCAM_REQUEST_MAX_BOUNDARY + 1]);
DCAM_MUST_CHECK dcam_status dcam_form_parse(const uint8_t *body, size_t count, const char *boundary, dcam_form *out);

/* A whole number of decimal digits alone, as header values have; -1 for anything else or beyond 2^53. */
long long dcam_request_digits(const char *text);

#endif
