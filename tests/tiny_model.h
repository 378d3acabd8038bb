/* tiny_model.h - a whole model of a few thousand values: attention, memory, ranges and classes as in a large one, on
 * trunks of the first convolution alone, so that it is written and read in a fraction of a millisecond. For a test of
 * reading it CMakeLists.txt puts __wrap_dcam_architecture_find in the place of the library's table:
 * DEFINE_TINY_ARCHITECTURE. */
#ifndef DCAM_TESTS_TINY_MODEL_H
#define DCAM_TESTS_TINY_MODEL_H

#include "base/memory.h"
#include "detect/calibration.h"
#include "detect/model.h"
#include "formula.h"
#include "net/attention.h"
#include "outcome.h"

enum { TINY_CHANNELS = 8, TINY_CLASSES = 2, TINY_DIMENSIONS = 3 };
static const dcam_architecture tiny = {"tiny", {0, 0, 0}, {TINY_CHANNELS, TINY_CHANNELS, TINY_CHANNELS}};

#define DEFINE_TINY_ARCHITECTURE                                                                                       \
    const dcam_architecture *__wrap_dcam_architecture_find(const char *);                                              \
    const dcam_architecture *__wrap_dcam_architecture_find(const char *name)                                           \
    {                                                                                                                  \
        return strcmp(name, "tiny") == 0 ? &tiny : NULL;                                                               \
    }

static inline float *tiny_values(uint32_t seed, size_t count)
{
    float *values;
    OK(dcam_alloc(count, sizeof *values, &values));
    formula_fill(seed, 1, 0, values, count);
    return values;
}

static inline dcam_class_calibration tiny_class(uint32_t i, bool memory)
{
    dcam_class_calibration c = {.score_count = 3 + i, .pixel_median = 0.1f, .pixel_high = 0.7f};
    OK(dcam_format_string(&c.name, "class \"%u\"", i));
    OK(dcam_alloc(c.score_count, sizeof(float), &c.scores));
    for (size_t s = 0; s < c.score_count; s++) c.scores[s] = (float)s / 3;
    c.centre = tiny_values(100 + i, TINY_CHANNELS);
    if (memory) {
        c.prototype_count = 4 - i; /* not the same number in each */
        c.prototypes = tiny_values(200 + i, c.prototype_count * TINY_DIMENSIONS);
        c.memory_mean = 0.3f;
        c.memory_deviation = 0.2f + (float)i;
    }
    dcam_class_set_threshold(&c, 2.0 / 3 + i, DCAM_RULE_ORDER, 0.01);
    for (int k = 0; k < DCAM_STAGES; k++) {
        c.stages.mean[k] = -0.1f * (float)(k + 1);
        c.stages.deviation[k] = 1.0f / (float)(k + 3);
    }
    return c;
}

static inline dcam_model *tiny_model(dcam_attention_kind attention, bool memory)
{
    dcam_model *m;
    dcam_trunk_weights *teacher;
    OK(dcam_model_create(&m));
    m->architecture = &tiny;
    OK(dcam_copy_string("dcam", &m->method));
    OK(dcam_copy_string("random:3", &m->teacher_description));
    OK(dcam_copy_string("{\"epochs\": 3}", &m->training_record));
    m->preprocessing = dcam_preprocessing_default(32, 32);
    OK(dcam_trunk_weights_random(&tiny, 3, &teacher));
    OK(dcam_trunk_weights_fold(teacher, &m->teacher));
    dcam_trunk_weights_destroy(teacher);
    OK(dcam_trunk_weights_random(&tiny, 4, &m->student));
    m->attention = (int)attention;
    m->attention_at_detection = attention != DCAM_ATTENTION_NONE;
    for (uint32_t k = 0; k < DCAM_STAGES && attention != DCAM_ATTENTION_NONE; k++) {
        m->attention_count[k] = dcam_attention_value_count(attention, TINY_CHANNELS);
        m->attention_values[k] = tiny_values(k, m->attention_count[k]);
    }
    OK(dcam_alloc(1, sizeof(float), &m->teacher_ranges));
    OK(dcam_alloc(1, sizeof(float), &m->student_ranges));
    m->teacher_ranges[0] = 1.5f;
    m->student_ranges[0] = 2.5f;
    m->map = (dcam_map_options){DCAM_MAP_STANDARD, 0.1, 2, 1, 10};
    if (memory) m->memory = (dcam_memory){TINY_DIMENSIONS, 2.5, tiny_values(90, 2 * TINY_CHANNELS * TINY_DIMENSIONS)};
    OK(dcam_alloc_zero(TINY_CLASSES, sizeof *m->classes, &m->classes));
    for (; m->class_count < TINY_CLASSES; m->class_count++)
        m->classes[m->class_count] = tiny_class((uint32_t)m->class_count, memory);
    return m;
}

#endif
