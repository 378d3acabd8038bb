/* picture.c - one picture from its class's recipe: the pattern and what lies on it, seen under a light of its own,
 * then through a camera of its own (place, turn, size, colours, blur, noise). What differs between two pictures of a
 * class is what the network learns to overlook; what differs between classes is what it learns to see. */
#include "pretrain/picture.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "pretrain/recipe.h"

#define STREAM_PICTURE UINT64_C(0x7069637475726500) /* "picture" */
/* Fine structure of plain grounds, grey levels of linear light. */
#define GROUND_GRAIN 0.02f

struct dcam_painter {
    uint64_t seed;
    int classes, side;
    recipe *recipes;
    synth_colour *colours; /* side x side each, below */
    float *heights, *cover, *blurred;
};

/* What is drawn anew for each picture. */
typedef struct {
    uint32_t random;
    float turn, size, x, y, aspect;
    synth_colour palette[PALETTE], mark, ground, gain;
    float light_x, light_y, light_z, ambient, vignette, brightness, gamma, noise;
    float object_x, object_y, object_size, object_turn, ground_slope;
    int blur;
    bool grey;
} instance;

dcam_status dcam_painter_create(uint64_t seed, int classes, int side, dcam_painter **out)
{
    dcam_painter *p;
    if (classes < 1 || classes > DCAM_MAX_PICTURE_CLASSES || side < 32 || side > 512)
        return dcam_fail(DCAM_ERROR_USAGE, "%d classes of pictures of %d pixels: 1 to %d classes and 32 to 512 pixels are possible",
                         classes, side, DCAM_MAX_PICTURE_CLASSES);
    DCAM_TRY(dcam_alloc_zero(1, sizeof *p, &p));
    const size_t pixels = (size_t)side * (size_t)side;
    p->seed = seed;
    p->classes = classes;
    p->side = side;
    dcam_status status = dcam_alloc((size_t)classes, sizeof *p->recipes, &p->recipes);
    if (status == DCAM_OK) status = dcam_alloc(pixels, sizeof *p->colours, &p->colours);
    if (status == DCAM_OK) status = dcam_alloc(pixels, sizeof *p->heights, &p->heights);
    if (status == DCAM_OK) status = dcam_alloc(pixels, sizeof *p->cover, &p->cover);
    if (status == DCAM_OK) status = dcam_alloc(pixels, 3 * sizeof *p->blurred, &p->blurred);
    if (status != DCAM_OK) {
        dcam_painter_destroy(p);
        return status;
    }
    for (int i = 0; i < classes; i++) recipe_draw(seed, i, &p->recipes[i]);
    *out = p;
    return DCAM_OK;
}

size_t dcam_painter_bytes(int classes, int side)
{
    const size_t pixel = sizeof(synth_colour) + 5 * sizeof(float);
    return (size_t)classes * sizeof(recipe) + (size_t)side * (size_t)side * pixel;
}

void dcam_painter_destroy(dcam_painter *p)
{
    if (!p) return;
    dcam_free(p->blurred);
    dcam_free(p->cover);
    dcam_free(p->heights);
    dcam_free(p->colours);
    dcam_free(p->recipes);
    dcam_free(p);
}

/* ---- what differs between pictures -------------------------------------- */

static synth_colour vary(uint32_t *r, synth_colour c, float freedom)
{
    const synth_colour any = {quick_between(r, 0, 1), quick_between(r, 0, 1), quick_between(r, 0, 1)};
    return synth_blend(c, any, 0.55f * freedom * quick_between(r, 0, 1));
}

static void draw_camera(uint32_t *r, instance *i)
{
    i->gain = (synth_colour){quick_between(r, 0.88f, 1.12f), quick_between(r, 0.92f, 1.08f), quick_between(r, 0.88f, 1.12f)};
    i->brightness = quick_between(r, 0.65f, 1.25f);
    i->gamma = quick_between(r, 0.75f, 1.35f);
    i->noise = quick_between(r, 0, 1) < 0.5f ? quick_between(r, 0, 3) : quick_between(r, 2, 9);
    i->blur = quick_between(r, 0, 1) < 0.6f ? 0 : 1 + (int)(quick_next(r) % 2);
    i->grey = quick_between(r, 0, 1) < 0.12f;
}

static instance draw_instance(const dcam_painter *p, int class_index, uint64_t number)
{
    const recipe *c = &p->recipes[class_index];
    dcam_random seed = {p->seed, STREAM_PICTURE + (uint64_t)class_index, number};
    instance i = {.random = dcam_random_u32(&seed)};
    uint32_t *r = &i.random;
    i.turn = c->turn_freedom * quick_between(r, -1, 1);
    i.size = expf(quick_between(r, -0.35f, 0.35f));
    i.aspect = expf(quick_between(r, -0.15f, 0.15f));
    i.x = quick_between(r, -900, 900);
    i.y = quick_between(r, -900, 900);
    for (int k = 0; k < PALETTE; k++) i.palette[k] = vary(r, c->palette[k], c->colour_freedom);
    i.mark = vary(r, c->mark_colour, c->colour_freedom);
    i.ground = vary(r, (synth_colour){0.5f, 0.5f, 0.5f}, 1.6f);
    i.ground_slope = quick_between(r, -0.25f, 0.25f);
    const float azimuth = quick_between(r, -SYNTH_PI, SYNTH_PI), elevation = quick_between(r, 0.6f, 1.3f);
    i.light_x = cosf(elevation) * cosf(azimuth);
    i.light_y = cosf(elevation) * sinf(azimuth);
    i.light_z = sinf(elevation);
    i.ambient = quick_between(r, 0.15f, 0.5f);
    i.vignette = quick_between(r, 0, 0.5f);
    i.object_x = quick_between(r, 0.3f, 0.7f) * (float)p->side;
    i.object_y = quick_between(r, 0.3f, 0.7f) * (float)p->side;
    i.object_size = c->object_size * (float)p->side * i.size;
    i.object_turn = i.turn + quick_between(r, -0.15f, 0.15f);
    draw_camera(r, &i);
    return i;
}

/* ---- the scene ----------------------------------------------------------- */

static float pattern_at(const recipe *c, uint32_t seed, float x, float y)
{
    if (c->warp > 0) {
        const float u = x / c->warp_period, v = y / c->warp_period;
        x += c->warp * synth_noise(seed + 71, u, v);
        y += c->warp * synth_noise(seed + 72, u, v);
    }
    const float base = field_at(&c->base, seed, x, y);
    if (c->join == JOIN_NONE) return base;
    const float detail = field_at(&c->detail, seed + 1000, x, y);
    switch (c->join) {
    case JOIN_ADD: return (base + c->join_weight * detail) / (0.6f + 0.6f * c->join_weight);
    case JOIN_MULTIPLY: return synth_mix(base, base * detail, c->join_weight);
    default: return synth_mix(base, detail, synth_step(-0.08f, 0.08f, synth_noise(seed + 73, x * 0.035f, y * 0.035f)));
    }
}

static synth_colour palette_at(const recipe *c, const instance *i, float v)
{
    const float t = synth_clamp(0.5f + 0.5f * v, 0, 0.9999f) * (PALETTE - 1);
    const int k = (int)t;
    const float half = 0.5f * (1 - c->steps);
    return synth_blend(i->palette[k], i->palette[k + 1], synth_clamp((t - (float)k - 0.5f) / (2 * half) + 0.5f, 0, 1));
}

/* What lies outside of an object: a plain ground with the object's shadow. */
static void add_ground(const dcam_painter *p, const recipe *c, const instance *i, int x, int y, size_t at)
{
    float u = ((float)x - i->object_x) / i->object_size, v = ((float)y - i->object_y) / i->object_size;
    const float softness = 1.2f / i->object_size;
    const float su = u + 0.12f * i->light_x, sv = v + 0.12f * i->light_y;
    float tu = u, tv = v;
    synth_turn(i->object_turn, &tu, &tv);
    const float d = outline_distance(&c->object, tu, tv), inside = synth_cover(d, softness);
    p->heights[at] = p->heights[at] * inside + (c->relief > 0 ? 5.0f : 0) * synth_step(0, 0.25f, -d);
    if (inside >= 1) return;
    tu = su;
    tv = sv;
    synth_turn(i->object_turn, &tu, &tv);
    const float shadow = c->relief > 0 ? 1 - 0.5f * synth_cover(outline_distance(&c->object, tu, tv), 0.12f) : 1;
    const float k = shadow * (1 + i->ground_slope * (u + v)) + GROUND_GRAIN * synth_hash(i->random, x, y);
    p->colours[at] = synth_blend(synth_scale(i->ground, k), p->colours[at], inside);
}

static void fill_scene(const dcam_painter *p, const recipe *c, const instance *i)
{
    const float middle = 0.5f * (float)p->side, sine = sinf(i->turn) / i->size, cosine = cosf(i->turn) / i->size;
    memset(p->cover, 0, (size_t)p->side * (size_t)p->side * sizeof *p->cover);
    marks_draw(&c->marks, i->random, i->turn, i->size, p->side, p->cover);
    for (int y = 0; y < p->side; y++)
        for (int x = 0; x < p->side; x++) {
            const size_t at = (size_t)y * (size_t)p->side + (size_t)x;
            const float u = ((float)x - middle) * i->aspect, v = ((float)y - middle) / i->aspect, cover = p->cover[at];
            const float value = pattern_at(c, i->random, cosine * u + sine * v + i->x, cosine * v - sine * u + i->y);
            p->colours[at] = synth_blend(palette_at(c, i, value), i->mark, cover);
            p->heights[at] = c->relief * (value * (1 - 0.7f * cover) + c->marks.relief * cover);
            if (c->has_object) add_ground(p, c, i, x, y, at);
        }
}

/* ---- light and camera ---------------------------------------------------- */

static void shade(const dcam_painter *p, const recipe *c, const instance *i)
{
    const int side = p->side, last = side - 1;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const size_t row = (size_t)y * (size_t)side, at = row + (size_t)x;
            const float *h = p->heights;
            float k = 1, shine = 0;
            if (c->relief > 0) {
                const float dx = 0.5f * (h[row + (size_t)(x < last ? x + 1 : x)] - h[row + (size_t)(x > 0 ? x - 1 : x)]);
                const float dy = 0.5f * (h[y < last ? at + (size_t)side : at] - h[y > 0 ? at - (size_t)side : at]);
                const float length = 1 / sqrtf(dx * dx + dy * dy + 1);
                const float towards = synth_clamp((i->light_z - dx * i->light_x - dy * i->light_y) * length, 0, 1);
                const float s = towards * towards, t = s * s, w = t * t;
                k = i->ambient + (1.25f - i->ambient) * towards;
                shine = c->gloss * 0.8f * w * w;
            }
            const float u = ((float)x / (float)side - 0.5f), v = ((float)y / (float)side - 0.5f);
            k *= 1 + i->vignette * (u * i->light_x + v * i->light_y - u * u - v * v);
            float *out = p->blurred + 3 * at;
            out[0] = p->colours[at].r * k + shine;
            out[1] = p->colours[at].g * k + shine;
            out[2] = p->colours[at].b * k + shine;
        }
}

/* 1 2 1 along both directions, `times` times; borders repeat. In place: each line is written behind where it is
 * read. */
static void blur(float *rgb, int side, int times)
{
    for (int k = 0; k < times; k++)
        for (int pass = 0; pass < 2; pass++) {
            const size_t step = pass ? 3 * (size_t)side : 3, line = pass ? 3 : 3 * (size_t)side;
            for (int j = 0; j < side; j++)
                for (size_t c = 0; c < 3; c++) {
                    float *at = rgb + (size_t)j * line + c, before = *at;
                    for (int i = 0; i < side; i++, at += step) {
                        const float now = *at, after = i + 1 < side ? at[step] : now;
                        *at = 0.25f * (before + after) + 0.5f * now;
                        before = now;
                    }
                }
        }
}

static uint8_t to_level(float linear, float gamma, float noise)
{
    /* The square root stands for the usual 1/2.2. */
    return (uint8_t)(synth_clamp(255 * powf(synth_clamp(linear, 0, 1), 0.5f * gamma) + noise, 0, 254.9f) + 0.5f);
}

static void expose(const dcam_painter *p, instance *i, uint8_t *rgb)
{
    const size_t pixels = (size_t)p->side * (size_t)p->side;
    for (size_t at = 0; at < pixels; at++) {
        const float *in = p->blurred + 3 * at;
        float v[3] = {in[0] * i->gain.r * i->brightness, in[1] * i->gain.g * i->brightness, in[2] * i->gain.b * i->brightness};
        if (i->grey) v[0] = v[1] = v[2] = 0.3f * v[0] + 0.6f * v[1] + 0.1f * v[2];
        const float common = i->noise * (quick_between(&i->random, -1, 1) + quick_between(&i->random, -1, 1));
        for (size_t c = 0; c < 3; c++) {
            const float own = i->grey ? 0 : i->noise * quick_between(&i->random, -0.8f, 0.8f);
            rgb[3 * at + c] = to_level(v[c], i->gamma, common + own);
        }
    }
}

void dcam_painter_draw(dcam_painter *p, int class_index, uint64_t number, uint8_t *rgb)
{
    const recipe *c = &p->recipes[class_index];
    instance i = draw_instance(p, class_index, number);
    fill_scene(p, c, &i);
    shade(p, c, &i);
    blur(p->blurred, p->side, i.blur);
    expose(p, &i, rgb);
}
