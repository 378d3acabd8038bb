/* PyTorch's .pth: the zip archive, the pickle, the gathering of views. */
#include <stdlib.h>

#include "base/memory.h"
#include "fuzz.h"
#include "weights/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    dcam_tensors *t;
    if (dcam_pth_parse(bytes, count, "fuzz", &t) == DCAM_OK) {
        fuzz_accepted++;
        dcam_tensors_destroy(t);
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
