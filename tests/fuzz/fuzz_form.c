/* A multipart form: the first line is the Content-Type header, the rest the body. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fuzz.h"
#include "serve/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char header[512], boundary[DCAM_REQUEST_MAX_BOUNDARY + 1];
    const uint8_t *end = count > 0 ? memchr(bytes, '\n', count) : NULL;
    const size_t length = end ? (size_t)(end - bytes) : 0;
    dcam_form form;
    if (!end || length >= sizeof header) return 0;
    memcpy(header, bytes, length);
    header[length] = '\0';
    if (!dcam_form_boundary(header, boundary) || strlen(boundary) == 0) return 0;
    if (dcam_form_parse(end + 1, count - length - 1, boundary, &form) == DCAM_OK) {
        fuzz_accepted++;
        if (memchr(form.class_name, 0, sizeof form.class_name) == NULL || memchr(form.model, 0, sizeof form.model) == NULL) abort();
        if (form.image.count > 0 && (form.image.bytes <= end || form.image.bytes + form.image.count > bytes + count)) abort();
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
