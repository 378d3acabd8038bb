/* A model file that was let through at work: scorer, classes, memory, maps, regions and overlay of images of noise. The
 * bytes are those of fuzz_model.c (model_lines.h). The networks' place is taken by noise as well (the linker puts the
 * functions below in the place of theirs), in each type that features can have, because what a model can ask of the
 * rest depends on them little and they would take nearly all the time. */
#include <stdlib.h>

#include "base/memory.h"
#include "detect/scorer.h"
#include "fuzz.h"
#include "image/image.h"
#include "model_lines.h"

enum { MAX_PIXELS = 128 * 128, IMAGES = 3, BATCH = 2, REGIONS = 4, PHOTO_WIDTH = 50, PHOTO_HEIGHT = 35 };

struct dcam_net {
    dcam_taps taps;
    size_t count[DCAM_STAGES]; /* values of one image */
    uint64_t state;
};

dcam_status __wrap_dcam_net_create(const dcam_trunk_weights *weights, const dcam_net_options *o, dcam_net **out);
dcam_status __wrap_dcam_net_create(const dcam_trunk_weights *weights, const dcam_net_options *o, dcam_net **out)
{
    static const dcam_tap_type types[] = {[DCAM_NET_F32] = DCAM_TAP_F32, [DCAM_NET_BF16] = DCAM_TAP_BF16, [DCAM_NET_INT8] = DCAM_TAP_U8};
    const dcam_feature_shapes shapes = dcam_feature_shapes_at(dcam_architecture_find(NULL), o->height, o->width);
    (void)weights;
    DCAM_TRY(dcam_alloc_zero(1, sizeof **out, out));
    (*out)->taps.type = o->raw ? types[o->precision] : DCAM_TAP_F32;
    for (int k = 0; k < DCAM_STAGES; k++) {
        (*out)->count[k] = (size_t)shapes.channels[k] * (size_t)shapes.height[k] * (size_t)shapes.width[k];
        (*out)->taps.scale[k] = (*out)->taps.type != DCAM_TAP_U8 ? 1.0F : o->ranges[k] > 0 ? o->ranges[k] / 255 : 1.0F / 255;
    }
    return DCAM_OK;
}

void __wrap_dcam_net_destroy(dcam_net *net);
void __wrap_dcam_net_destroy(dcam_net *net) { dcam_free(net); }

dcam_taps __wrap_dcam_net_taps(const dcam_net *net);
dcam_taps __wrap_dcam_net_taps(const dcam_net *net) { return net->taps; }

static uint32_t noise(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static void fill_features(dcam_net *net, int n, void *const features[DCAM_STAGES])
{
    for (int k = 0; k < DCAM_STAGES; k++)
        for (size_t i = 0; i < (size_t)n * net->count[k]; i++) {
            const uint32_t value = noise(&net->state);
            if (net->taps.type == DCAM_TAP_U8) ((uint8_t *)features[k])[i] = (uint8_t)value;
            /* 0x3c00 to 0x3fff: 0.008 to 2 */
            else if (net->taps.type == DCAM_TAP_BF16) ((uint16_t *)features[k])[i] = (uint16_t)(0x3c00 | (value & 0x3ff));
            else ((float *)features[k])[i] = (float)(value & 0xffff) / 65536;
        }
}

dcam_status __wrap_dcam_net_run_both(dcam_net *a, dcam_net *b, const float *input, int n, void *const a_features[DCAM_STAGES],
                                     void *const b_features[DCAM_STAGES]);
dcam_status __wrap_dcam_net_run_both(dcam_net *a, dcam_net *b, const float *input, int n, void *const a_features[DCAM_STAGES],
                                     void *const b_features[DCAM_STAGES])
{
    (void)input;
    a->state = 1, b->state = 2;
    fill_features(a, n, a_features);
    fill_features(b, n, b_features);
    return DCAM_OK;
}

static void check_regions(dcam_scorer *s, const dcam_model *m, const float *map, const dcam_verdict *v)
{
    static uint8_t pixels[PHOTO_HEIGHT * PHOTO_WIDTH * 3];
    const dcam_image photo = {PHOTO_WIDTH, PHOTO_HEIGHT, 3, pixels};
    const dcam_class_calibration *c = &m->classes[v->class_index];
    dcam_region regions[REGIONS];
    dcam_image overlay = {0};
    const size_t n = dcam_scorer_regions(s, map, v, PHOTO_WIDTH, PHOTO_HEIGHT, 1, regions, REGIONS);
    if (n > REGIONS) abort();
    for (size_t i = 0; i < n; i++) {
        const dcam_region *r = &regions[i];
        if (!(r->x >= 0 && r->y >= 0 && r->width >= 1 && r->height >= 1 && r->x + r->width <= PHOTO_WIDTH &&
              r->y + r->height <= PHOTO_HEIGHT && r->area >= 1 && r->peak >= v->threshold))
            abort();
    }
    if (dcam_overlay(&photo, map, m->preprocessing.width, m->preprocessing.height, c->map_low, c->map_high, &overlay) == DCAM_OK)
        dcam_image_clear(&overlay);
}

static void score(const dcam_model *m, dcam_net_precision precision)
{
    static uint8_t rgb[IMAGES * 3 * MAX_PIXELS];
    static float maps[IMAGES * MAX_PIXELS];
    const size_t pixels = (size_t)m->preprocessing.width * (size_t)m->preprocessing.height;
    const int classes[IMAGES] = {-1, 0, (int)m->class_count - 1};
    dcam_verdict verdicts[IMAGES];
    dcam_scorer *s;
    uint64_t state = 3;
    for (size_t i = 0; i < IMAGES * 3 * pixels; i++) rgb[i] = (uint8_t)noise(&state);
    if (dcam_scorer_create(m, &(dcam_scorer_options){.batch = BATCH, .precision = precision}, &s) != DCAM_OK) return;
    if (dcam_scorer_run(s, rgb, IMAGES, classes, maps, verdicts) == DCAM_OK)
        for (int i = 0; i < IMAGES; i++) {
            const dcam_verdict *v = &verdicts[i];
            fuzz_accepted++;
            if (!(v->class_index >= 0 && (size_t)v->class_index < m->class_count && v->score >= 0 && v->score <= 1 &&
                  v->anomalous == (v->score >= 0.5) && v->anomalous == ((double)v->raw >= v->threshold)))
                abort();
            check_regions(s, m, maps + (size_t)i * pixels, v);
        }
    dcam_scorer_destroy(s);
}

static void use(const dcam_model *m)
{
    if (m->preprocessing.width * m->preprocessing.height > MAX_PIXELS) return;
    score(m, DCAM_NET_F32);
    score(m, DCAM_NET_BF16);
    if (m->teacher_ranges) score(m, DCAM_NET_INT8);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    fuzz_model_lines(bytes, count, use);
    return 0;
}
