/* request_infer.c - an inference request of the Open Inference Protocol, from JSON or from JSON and binary tensors, as
 * one plain struct. Everything a client can get wrong about names, shapes, datatypes and sizes is said here. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "serve/request.h"
#include "weights/json_text.h"

const char *const dcam_output_names[DCAM_OUTPUTS] = {"score", "raw", "anomalous", "class", "anomaly_map"};
const char *const dcam_output_datatypes[DCAM_OUTPUTS] = {"FP32", "FP32", "BOOL", "BYTES", "FP32"};

/* Values that came from [0, 1] through a resize may lie this far outside. */
#define RANGE_SLACK 1e-3f
/* Far beyond what (rgb - mean) / deviation gives, and such that no activation of a network of that size overflows. */
#define MAX_NORMALISED 1e4f

typedef struct {
    const dcam_json_parts *parts; /* of the JSON */
    dcam_span binary;             /* what follows it; not taken yet */
    size_t max_pixels;
    int class_count;              /* of the input "class"; 0: none */
    dcam_infer_request r;
} reader;

#define refuse(...) dcam_fail(DCAM_ERROR_USAGE, __VA_ARGS__)

/* Long names from a client are cut in messages. */
#define NAME "%.60s"

long long dcam_request_digits(const char *text)
{
    long long value = 0;
    if (text[0] == '\0') return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > (INT64_C(1) << 53) / 10) return -1;
        value = 10 * value + (*text - '0');
    }
    return value;
}

/* A good request must not be called wrong because memory was short. */
static dcam_status parse_json(const char *text, size_t count, const char *what, json_t **out)
{
    dcam_json_error error;
    *out = dcam_json_parse(text, count, &error);
    if (*out) return DCAM_OK;
    if (error.no_memory) return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: %s cannot be read", what);
    return refuse("%s is not valid JSON: %s", what, error.reason);
}

static dcam_status optional_object(const json_t *parent, const char *key, json_t **out)
{
    json_t *value = json_object_get(parent, key);
    if (value && !json_is_object(value)) return refuse("\"%s\" is not an object", key);
    *out = value;
    return DCAM_OK;
}

/* A parameter that is true or false; false where it is not given. */
static dcam_status flag(const json_t *parameters, const char *key, bool otherwise, bool *out)
{
    const json_t *value = json_object_get(parameters, key);
    if (value && !json_is_boolean(value)) return refuse("the parameter \"%s\" is not true or false", key);
    *out = value ? json_is_true(value) : otherwise;
    return DCAM_OK;
}

/* ---- tensors ---- */

/* The input's data: its array in the JSON, or its share of the binary part. */
static dcam_status take_data(reader *q, const json_t *input, const char *name, const json_t *parameters, dcam_span *data,
                             bool *binary)
{
    const json_t *size = json_object_get(parameters, "binary_data_size"), *index = json_object_get(input, "data");
    if (json_object_get(parameters, "shared_memory_region"))
        return refuse("input " NAME ": shared memory is not supported; send the data", name);
    if (size && index) return refuse("input " NAME ": has both \"data\" and \"binary_data_size\"", name);
    if (!size && !index) return refuse("input " NAME ": has no \"data\" and no \"binary_data_size\"", name);
    if (index) {
        const json_int_t k = json_integer_value(index);
        if (!json_is_integer(index) || k < 0 || (size_t)k >= q->parts->data_count)
            return refuse("input " NAME ": its \"data\" cannot be told", name);
        *data = q->parts->data[k];
        *binary = false;
        return DCAM_OK;
    }
    const json_int_t bytes = json_integer_value(size);
    if (!json_is_integer(size) || bytes < 0 || (uint64_t)bytes > q->binary.count)
        return refuse("input " NAME ": \"binary_data_size\" is not within the %zu bytes that follow the JSON; is "
                      "Inference-Header-Content-Length right?", name, q->binary.count);
    *data = (dcam_span){q->binary.bytes, (size_t)bytes};
    *binary = true;
    q->binary.bytes += bytes;
    q->binary.count -= (size_t)bytes;
    return DCAM_OK;
}

static dcam_status read_shape(const json_t *input, const char *name, size_t rank, const char *wanted, int *shape)
{
    const json_t *list = json_object_get(input, "shape");
    if (!json_is_array(list) || json_array_size(list) != rank)
        return refuse("input " NAME ": its shape must be %s", name, wanted);
    for (size_t i = 0; i < rank; i++) {
        const json_t *side = json_array_get(list, i);
        const json_int_t value = json_integer_value(side);
        if (!json_is_integer(side) || value < 1 || value > DCAM_REQUEST_MAX_SIDE)
            return refuse("input " NAME ": each number of its shape must be 1 to %d; it must be %s", name,
                          DCAM_REQUEST_MAX_SIDE, wanted);
        shape[i] = (int)value;
    }
    return DCAM_OK;
}

static dcam_status set_images(reader *q, const char *name, const int shape[4], bool floats)
{
    dcam_infer_request *r = &q->r;
    const int channels = floats ? shape[1] : shape[3];
    r->images = shape[0];
    r->height = floats ? shape[2] : shape[1];
    r->width = floats ? shape[3] : shape[2];
    if (channels != 3) return refuse("input " NAME ": %d channels; it must have 3 (RGB)", name, channels);
    if (r->images > DCAM_REQUEST_MAX_IMAGES)
        return refuse("input " NAME ": %d images; at most %d in one request", name, r->images, DCAM_REQUEST_MAX_IMAGES);
    if ((size_t)r->height * (size_t)r->width > q->max_pixels)
        return refuse("input " NAME ": %d x %d pixels, above the limit of %zu", name, r->width, r->height, q->max_pixels);
    return DCAM_OK;
}

static size_t value_count(const dcam_infer_request *r)
{
    /* 64 x 2^15 x 2^15 x 3 is far below 2^63. */
    return (size_t)r->images * (size_t)r->height * (size_t)r->width * 3;
}

static dcam_status read_image(reader *q, const json_t *input, const char *name, const json_t *parameters)
{
    dcam_infer_request *r = &q->r;
    const char *datatype = json_string_value(json_object_get(input, "datatype"));
    int shape[4];
    if (r->images > 0) return refuse("both \"image\" and \"input\"; give one of them");
    r->floats = strcmp(name, "input") == 0;
    const char *wanted = r->floats ? "FP32" : "UINT8";
    if (!datatype || strcmp(datatype, wanted) != 0)
        return refuse("input %s: its datatype must be %s, not " NAME, name, wanted, datatype ? datatype : "missing");
    DCAM_TRY(read_shape(input, name, 4, r->floats ? "[N, 3, H, W]" : "[N, H, W, 3]", shape));
    DCAM_TRY(set_images(q, name, shape, r->floats));
    DCAM_TRY(flag(parameters, "normalised", false, &r->normalised));
    if (r->normalised && !r->floats) return refuse("input image: \"normalised\" is for the input \"input\" only");
    DCAM_TRY(take_data(q, input, name, parameters, &r->data, &r->binary));
    if (!r->binary) return dcam_json_numbers_fit(r->data, value_count(r));
    const size_t bytes = value_count(r) * (r->floats ? 4 : 1);
    if (r->data.count != bytes)
        return refuse("input %s: its shape needs %zu bytes of data, binary_data_size is %zu", name, bytes, r->data.count);
    return DCAM_OK;
}

/* ---- classes ---- */

static dcam_status set_class(reader *q, int i, const char *name, size_t length)
{
    if (length == 0 || length > 255 || memchr(name, 0, length)) return refuse("input class: a name of 1 to 255 bytes is needed");
    char *copy;
    DCAM_TRY(dcam_alloc(length + 1, 1, &copy));
    memcpy(copy, name, length);
    copy[length] = '\0';
    q->r.class_names[i] = copy;
    return DCAM_OK;
}

/* BYTES in binary form: for each element its length in four bytes, little-endian, and its bytes. */
static dcam_status read_binary_classes(reader *q, dcam_span data)
{
    for (int i = 0; i < q->class_count; i++) {
        if (data.count < 4) return refuse("input class: the data end before element %d", i);
        const uint8_t *b = data.bytes;
        const size_t length = (size_t)b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
        if (length > data.count - 4) return refuse("input class: the data end within element %d", i);
        DCAM_TRY(set_class(q, i, (const char *)b + 4, length));
        data.bytes += 4 + length;
        data.count -= 4 + length;
    }
    return data.count == 0 ? DCAM_OK : refuse("input class: more data than its shape has elements");
}

static dcam_status read_json_classes(reader *q, dcam_span data)
{
    if (data.count > DCAM_REQUEST_MAX_JSON) return refuse("input class: its data are too long");
    json_t *list;
    dcam_status status = parse_json((const char *)data.bytes, data.count, "\"data\" of the input class", &list);
    if (status != DCAM_OK) return status;
    if (!json_is_array(list) || json_array_size(list) != (size_t)q->class_count)
        status = refuse("input class: \"data\" must be an array of %d names", q->class_count);
    for (int i = 0; status == DCAM_OK && i < q->class_count; i++) {
        const json_t *name = json_array_get(list, (size_t)i);
        if (!json_is_string(name)) status = refuse("input class: element %d is not a string", i);
        else status = set_class(q, i, json_string_value(name), json_string_length(name));
    }
    json_decref(list);
    return status;
}

static dcam_status read_class(reader *q, const json_t *input, const json_t *parameters)
{
    const char *datatype = json_string_value(json_object_get(input, "datatype"));
    dcam_span data;
    bool binary;
    if (q->class_count > 0) return refuse("the input \"class\" twice");
    if (!datatype || strcmp(datatype, "BYTES") != 0) return refuse("input class: its datatype must be BYTES");
    int count;
    DCAM_TRY(read_shape(input, "class", 1, "[N] or [1]", &count));
    if (count > DCAM_REQUEST_MAX_IMAGES) return refuse("input class: at most %d names", DCAM_REQUEST_MAX_IMAGES);
    q->class_count = count;
    DCAM_TRY(take_data(q, input, "class", parameters, &data, &binary));
    return binary ? read_binary_classes(q, data) : read_json_classes(q, data);
}

/* One name stands for all images. */
static dcam_status spread_classes(reader *q)
{
    dcam_infer_request *r = &q->r;
    if (q->class_count == 0 || q->class_count == r->images) return DCAM_OK;
    if (q->class_count != 1) return refuse("input class: %d names for %d images", q->class_count, r->images);
    for (int i = 1; i < r->images; i++) DCAM_TRY(set_class(q, i, r->class_names[0], strlen(r->class_names[0])));
    return DCAM_OK;
}

/* ---- the request ---- */

static dcam_status read_inputs(reader *q, const json_t *root)
{
    const json_t *inputs = json_object_get(root, "inputs");
    if (!json_is_array(inputs) || json_array_size(inputs) == 0)
        return refuse("\"inputs\" must be an array with the tensor \"image\" or \"input\"");
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        const json_t *input = json_array_get(inputs, i);
        const char *name = json_string_value(json_object_get(input, "name"));
        json_t *parameters;
        if (!name) return refuse("input %zu has no \"name\"", i);
        DCAM_TRY(optional_object(input, "parameters", &parameters));
        if (strcmp(name, "class") == 0) DCAM_TRY(read_class(q, input, parameters));
        else if (strcmp(name, "image") == 0 || strcmp(name, "input") == 0) DCAM_TRY(read_image(q, input, name, parameters));
        else return refuse("unknown input " NAME "; there are image, input and class", name);
    }
    if (q->r.images == 0) return refuse("no tensor \"image\" and no \"input\" among the inputs");
    if (q->binary.count > 0) return refuse("%zu bytes behind the last tensor", q->binary.count);
    return spread_classes(q);
}

static dcam_status read_outputs(reader *q, const json_t *root, bool all_binary)
{
    const json_t *outputs = json_object_get(root, "outputs");
    dcam_infer_request *r = &q->r;
    if (outputs && !json_is_array(outputs)) return refuse("\"outputs\" is not an array");
    if (json_array_size(outputs) == 0) {
        r->output_count = DCAM_OUTPUTS;
        for (int k = 0; k < DCAM_OUTPUTS; k++) {
            r->outputs[k] = k;
            r->output_binary[k] = all_binary;
        }
        return DCAM_OK;
    }
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const json_t *output = json_array_get(outputs, i);
        const char *name = json_string_value(json_object_get(output, "name"));
        json_t *parameters;
        int k = 0;
        if (!name) return refuse("output %zu has no \"name\"", i);
        while (k < DCAM_OUTPUTS && strcmp(name, dcam_output_names[k]) != 0) k++;
        if (k == DCAM_OUTPUTS)
            return refuse("unknown output " NAME "; there are score, raw, anomalous, class and anomaly_map", name);
        for (int before = 0; before < r->output_count; before++)
            if (r->outputs[before] == k) return refuse("the output %s twice", name);
        DCAM_TRY(optional_object(output, "parameters", &parameters));
        if (json_object_get(parameters, "shared_memory_region") || json_object_get(parameters, "classification"))
            return refuse("output %s: shared memory and classification are not supported", name);
        r->outputs[r->output_count] = k;
        DCAM_TRY(flag(parameters, "binary_data", all_binary, &r->output_binary[r->output_count]));
        r->output_count++;
    }
    return DCAM_OK;
}

static dcam_status read_parameters(reader *q, const json_t *parameters, const char **class_name)
{
    const json_t *timeout = json_object_get(parameters, "timeout"), *name = json_object_get(parameters, "class");
    if (timeout) {
        const double microseconds = json_number_value(timeout);
        if (!json_is_integer(timeout) || !(microseconds >= 1 && microseconds <= DCAM_REQUEST_MAX_TIMEOUT))
            return refuse("the parameter \"timeout\" is not a whole number of microseconds from 1 to %.0f",
                          DCAM_REQUEST_MAX_TIMEOUT);
        q->r.timeout = (uint64_t)microseconds;
    }
    if (name && !json_is_string(name)) return refuse("the parameter \"class\" is not a string");
    *class_name = json_string_value(name);
    return DCAM_OK;
}

static dcam_status read_request(reader *q, const json_t *root)
{
    const json_t *id = json_object_get(root, "id");
    const char *class_name = NULL;
    json_t *parameters;
    bool all_binary;
    if (id && (!json_is_string(id) || json_string_length(id) > DCAM_REQUEST_MAX_ID))
        return refuse("\"id\" is not a string of at most %d bytes", DCAM_REQUEST_MAX_ID);
    if (id) DCAM_TRY(dcam_copy_string(json_string_value(id), &q->r.id));
    DCAM_TRY(optional_object(root, "parameters", &parameters));
    DCAM_TRY(flag(parameters, "binary_data_output", false, &all_binary));
    DCAM_TRY(read_parameters(q, parameters, &class_name));
    DCAM_TRY(read_outputs(q, root, all_binary));
    DCAM_TRY(read_inputs(q, root));
    if (!class_name) return DCAM_OK;
    if (q->class_count > 0) return refuse("the class both as input and as parameter");
    q->class_count = 1;
    DCAM_TRY(set_class(q, 0, class_name, strlen(class_name)));
    return spread_classes(q);
}

dcam_status dcam_infer_request_parse(const uint8_t *body, size_t count, long long header_bytes, size_t max_pixels,
                                     dcam_infer_request *out)
{
    if (header_bytes > 0 && (unsigned long long)header_bytes > count)
        return refuse("Inference-Header-Content-Length is %lld, the body has %zu bytes", header_bytes, count);
    if (header_bytes == 0) return refuse("Inference-Header-Content-Length is 0; the JSON must come first");
    const size_t json_bytes = header_bytes < 0 ? count : (size_t)header_bytes;
    dcam_json_parts parts = {0};
    DCAM_TRY(dcam_json_split(body, json_bytes, &parts));
    reader q = {.parts = &parts, .binary = {body + json_bytes, count - json_bytes}, .max_pixels = max_pixels};
    json_t *root;
    dcam_status status = parse_json(parts.skeleton, parts.skeleton_bytes, "the request", &root);
    if (status == DCAM_OK) status = json_is_object(root) ? read_request(&q, root) : refuse("the request is not a JSON object");
    json_decref(root);
    dcam_json_parts_clear(&parts);
    if (status == DCAM_OK) *out = q.r;
    else dcam_infer_request_clear(&q.r);
    return status;
}

void dcam_infer_request_clear(dcam_infer_request *r)
{
    dcam_free(r->id);
    for (int i = 0; i < DCAM_REQUEST_MAX_IMAGES; i++) dcam_free(r->class_names[i]);
    *r = (dcam_infer_request){0};
}

dcam_status dcam_infer_request_check_maps(const dcam_infer_request *r, size_t map_pixels)
{
    const size_t images = (size_t)r->images;
    for (int k = 0; k < r->output_count; k++)
        if (r->outputs[k] == DCAM_OUTPUT_MAP && !r->output_binary[k] && map_pixels > DCAM_REQUEST_MAX_JSON_VALUES / images)
            return refuse("output anomaly_map: %zu x %zu numbers in JSON are above the limit of %u; ask for it with \"binary_data\": "
                          "true, for fewer images at a time, or name other \"outputs\"", images, map_pixels,
                          DCAM_REQUEST_MAX_JSON_VALUES);
    return DCAM_OK;
}

dcam_status dcam_infer_request_rgb(const dcam_infer_request *r, uint8_t *out)
{
    const size_t count = value_count(r);
    if (!r->binary) return dcam_json_numbers_u8(r->data, count, out);
    memcpy(out, r->data.bytes, count);
    return DCAM_OK;
}

static dcam_status check_floats(const dcam_infer_request *r, const float *v, size_t count)
{
    const float low = r->normalised ? -MAX_NORMALISED : -RANGE_SLACK, high = r->normalised ? MAX_NORMALISED : 1 + RANGE_SLACK;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(v[i])) return refuse("input input: value %zu is not a finite number", i);
        if (r->normalised && (v[i] < low || v[i] > high))
            return refuse("input input: value %zu is %g; what is normalised lies within -%g..%g", i, (double)v[i],
                          (double)MAX_NORMALISED, (double)MAX_NORMALISED);
        if (v[i] < low || v[i] > high)
            return refuse("input input: value %zu is %g; RGB in 0..1 is expected (for what is normalised already set "
                          "the parameter \"normalised\": true)", i, (double)v[i]);
    }
    return DCAM_OK;
}

dcam_status dcam_infer_request_floats(const dcam_infer_request *r, float *out)
{
    const size_t count = value_count(r);
    if (!r->binary) {
        DCAM_TRY(dcam_json_numbers_f32(r->data, count, out));
        return check_floats(r, out, count);
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *b = r->data.bytes + 4 * i;
        const uint32_t bits = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&out[i], &bits, sizeof bits);
    }
    return check_floats(r, out, count);
}
