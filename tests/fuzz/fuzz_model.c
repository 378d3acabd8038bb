/* The model file behind its container: metadata, JSON, ranges, memory, attention, classes, as lines (model_lines.h). */
#include <stdlib.h>

#include "base/memory.h"
#include "detect/calibration.h"
#include "fuzz.h"
#include "model_lines.h"

/* What the check let through must make sense. */
static void use(const dcam_model *m)
{
    for (size_t i = 0; i < m->class_count; i++) {
        const dcam_class_calibration *c = &m->classes[i];
        const double at = dcam_calibrated_score(c, c->threshold), low = dcam_calibrated_score(c, -1e30),
                     high = dcam_calibrated_score(c, 1e30);
        if (!(at >= 0.5 && low >= 0 && low <= at && at <= high && high <= 1)) abort();
        if (dcam_model_class_index(m, c->name) != (int)i) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static size_t before;
    dcam_model *m;
    /* The trunks stay. */
    if (before == 0 && model_from_lines(NULL, 0, &m)) abort();
    before = dcam_memory_held();
    if (model_from_lines(bytes, count, &m)) {
        fuzz_accepted++;
        use(m);
        dcam_model_destroy(m);
    }
    if (dcam_memory_held() != before) abort();
    return 0;
}
