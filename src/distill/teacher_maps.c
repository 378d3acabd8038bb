/* teacher_maps.c - see teacher_maps.h. Must not batch images: the last bits of a convolution may depend on how many
 * images share a call. */
#include "distill/teacher_maps.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/vector.h"

struct dcam_teacher_maps {
    dcam_net *net; /* of one image */
    dcam_cache *cache;
    dcam_map_layout layout;
    size_t input_count;
    float *features[DCAM_STAGES]; /* into one block */
};

dcam_map_layout dcam_map_layout_of(const dcam_feature_shapes *shapes)
{
    dcam_map_layout l = {.total = 0};
    for (int k = 0; k < DCAM_STAGES; k++) {
        l.offset[k] = l.total;
        l.count[k] = (size_t)shapes->channels[k] * (size_t)shapes->height[k] * (size_t)shapes->width[k];
        l.total += l.count[k];
    }
    return l;
}

dcam_status dcam_teacher_maps_create(const dcam_trunk_weights *teacher, const dcam_net_options *options,
                                     dcam_cache *cache, dcam_teacher_maps **out)
{
    dcam_teacher_maps *m;
    dcam_net_options one = *options;
    one.batch = 1;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *m, &m));
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(teacher->architecture, one.height, one.width);
    m->cache = cache;
    m->layout = dcam_map_layout_of(&shapes);
    m->input_count = (size_t)3 * (size_t)one.height * (size_t)one.width;
    dcam_status status = dcam_alloc(m->layout.total, sizeof(float), &m->features[0]);
    if (status == DCAM_OK) {
        for (int k = 1; k < DCAM_STAGES; k++) m->features[k] = m->features[0] + m->layout.offset[k];
        status = dcam_net_create(teacher, &one, &m->net);
    }
    if (status != DCAM_OK) {
        dcam_teacher_maps_destroy(m);
        return status;
    }
    *out = m;
    return DCAM_OK;
}

void dcam_teacher_maps_destroy(dcam_teacher_maps *m)
{
    if (!m) return;
    dcam_net_destroy(m->net);
    dcam_free(m->features[0]);
    dcam_free(m);
}

size_t dcam_teacher_maps_bytes(const dcam_teacher_maps *m)
{
    return m->layout.total * sizeof(float) + dcam_net_bytes(m->net);
}

typedef struct {
    const float *from;
    uint16_t *to;
} rounding;

static void round_values(void *context, size_t begin, size_t end)
{
    const rounding *r = context;
    for (size_t i = begin; i < end; i++) r->to[i] = dcam_bf16_from_f32(r->from[i]);
}

dcam_status dcam_teacher_maps_get(dcam_teacher_maps *m, const float *input, const uint32_t *keys, int n,
                                  uint16_t *records)
{
    for (size_t i = 0; i < (size_t)n; i++) {
        uint16_t *record = records + i * m->layout.total;
        if (m->cache && dcam_cache_get(m->cache, keys[i], record)) continue;
        DCAM_TRY(dcam_net_run(m->net, input + i * m->input_count, 1, m->features));
        rounding r = {m->features[0], record};
        dcam_parallel_for(m->layout.total, round_values, &r);
        if (m->cache) (void)dcam_cache_put(m->cache, keys[i], record);
    }
    return DCAM_OK;
}

typedef struct {
    const dcam_map_layout *layout;
    const uint16_t *records;
    int stage;
    float *out;
} widening;

typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x8 __attribute__((vector_size(32)));

DCAM_KERNEL static void widen(const uint16_t *from, size_t count, float *to)
{
    size_t i = 0;
    for (; i + DCAM_LANES <= count; i += DCAM_LANES) {
        u16x8 half;
        memcpy(&half, from + i, sizeof half);
        const u32x8 whole = __builtin_convertvector(half, u32x8) << 16;
        memcpy(to + i, &whole, sizeof whole);
    }
    for (; i < count; i++) to[i] = dcam_f32_from_bf16(from[i]);
}

void dcam_teacher_maps_widen(const uint16_t *from, size_t count, float *to) { widen(from, count, to); }

static void widen_images(void *context, size_t begin, size_t end)
{
    const widening *w = context;
    const size_t count = w->layout->count[w->stage];
    for (size_t b = begin; b < end; b++)
        widen(w->records + b * w->layout->total + w->layout->offset[w->stage], count, w->out + b * count);
}

void dcam_teacher_maps_stage(const dcam_map_layout *layout, const uint16_t *records, int n, int stage, float *out)
{
    widening w = {layout, records, stage, out};
    dcam_parallel_for((size_t)n, widen_images, &w);
}
