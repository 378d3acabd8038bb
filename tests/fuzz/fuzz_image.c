/* The decoder of one format, or of whichever the bytes look like: FUZZ_DECODER is the function's name. Limits of size are
 * checked by the decoders; most inputs are decoded under a low one, since claims of large pictures would take nearly all
 * of the time. */
#include <stdlib.h>

#include "base/memory.h"
#include "fuzz.h"
#include "image/decode.h"
#include "image/image.h"

/* A picture of so many bytes takes long to fill and shows nothing new. */
#define LARGE ((size_t)64 << 20)
#define LOW_LIMIT ((size_t)1 << 16) /* pixels */
#define LOW_LIMITS_OF 256           /* inputs one has only the limit of image.h */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count < 12) return 0; /* decoders are called for bytes whose beginning was recognised */
    /* FNV-1a: which one it is must not be handed on from an input to its changed copies. */
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 16777619u;
    const size_t limit = hash % LOW_LIMITS_OF == 0 ? 0 : LOW_LIMIT;
    for (int mask = 0; mask < 2; mask++) {
        const dcam_encoded file = {.bytes = bytes, .count = count, .name = "fuzz", .mask = mask, .max_pixels = limit};
        dcam_image image = {0};
        dcam_memory_reset_peak();
        if (FUZZ_DECODER(&file, &image) == DCAM_OK) {
            fuzz_accepted++;
            /* Every pixel is there. */
            volatile uint8_t last = image.pixels[(size_t)image.width * (size_t)image.height * (size_t)image.channels - 1];
            (void)last;
            dcam_image_clear(&image);
        }
        if (dcam_memory_held() != 0) abort();
        if (dcam_memory_peak() > LARGE) return -1;
    }
    return 0;
}
