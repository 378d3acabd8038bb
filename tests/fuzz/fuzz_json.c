/* The reader of JSON, against jansson's own: both must judge alike. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fuzz.h"
#include "weights/json_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    dcam_json_error error;
    json_error_t theirs;
    json_t *json = dcam_json_parse((const char *)bytes, count, &error);
    json_t *wanted = json_loadb((const char *)bytes, count, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &theirs);
    /* Our limits of depth and digits are narrower, and jansson takes a zero byte for the end. */
    const bool narrower = !json && (memchr(bytes, 0, count) || error.reason[0] == 'v' || error.reason[0] == 'a');
    if (json && !wanted && theirs.text[0]) abort();
    if (!json && wanted && !narrower) abort();
    if (json && wanted && !json_equal(json, wanted)) abort();
    fuzz_accepted += json != NULL;
    json_decref(json);
    json_decref(wanted);
    if (dcam_memory_held() != 0) abort();
    return 0;
}
