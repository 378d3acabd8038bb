/* An inference request: the first line is the value of Inference-Header-Content-Length ("-" for none), the rest the
 * body. Whatever is accepted is read to its last value. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fuzz.h"
#include "serve/request.h"

#define MAX_PIXELS 4096

static void read_values(const dcam_infer_request *r)
{
    const size_t count = (size_t)r->images * (size_t)r->height * (size_t)r->width * 3;
    void *values;
    if (dcam_alloc(count, r->floats ? sizeof(float) : 1, &values) != DCAM_OK) abort();
    const dcam_status status = r->floats ? dcam_infer_request_floats(r, values) : dcam_infer_request_rgb(r, values);
    if (r->binary && !r->floats && status != DCAM_OK) abort();
    dcam_free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char header[24];
    const uint8_t *end = count > 0 ? memchr(bytes, '\n', count) : NULL;
    const size_t length = end ? (size_t)(end - bytes) : 0;
    if (!end || length >= sizeof header) return 0;
    memcpy(header, bytes, length);
    header[length] = '\0';
    dcam_infer_request r;
    if (dcam_infer_request_parse(end + 1, count - length - 1, dcam_request_digits(header), MAX_PIXELS, &r) == DCAM_OK) {
        if (r.images < 1 || r.output_count < 1 || (size_t)r.height * (size_t)r.width > MAX_PIXELS) abort();
        fuzz_accepted++;
        read_values(&r);
        dcam_infer_request_clear(&r);
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
