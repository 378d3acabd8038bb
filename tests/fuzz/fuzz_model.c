/* The model file behind its container: metadata, JSON, ranges, memory, attention, classes, as lines (model_lines.h). */
#include <stdlib.h>

#include "detect/calibration.h"
#include "fuzz.h"
#include "model_lines.h"

/* What the check let through must make sense. */
static void use(const dcam_model *m)
{
    fuzz_accepted++;
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
    fuzz_model_lines(bytes, count, use);
    return 0;
}
