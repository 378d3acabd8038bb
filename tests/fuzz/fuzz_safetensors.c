/* The safetensors reader: header, metadata, offsets, checksums; then every value as f32. */
#include <stdlib.h>

#include "base/memory.h"
#include "fuzz.h"
#include "weights/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    dcam_tensors *t;
    if (dcam_safetensors_parse(bytes, count, "fuzz", &t) == DCAM_OK) {
        fuzz_accepted++;
        for (size_t i = 0; i < dcam_tensors_count(t); i++) {
            const dcam_tensor *tensor = dcam_tensors_at(t, i);
            float *values;
            if (tensor->count > count || dcam_alloc(tensor->count, sizeof *values, &values) != DCAM_OK) continue;
            (void)!dcam_tensors_read_f32(t, tensor->name, tensor->rank, tensor->shape, values);
            dcam_free(values);
        }
        dcam_tensors_destroy(t);
    }
    if (dcam_memory_held() != 0) abort();
    return 0;
}
