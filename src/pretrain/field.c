/* field.c - the patterns that fill the plane, each a pure function of the recipe, a seed and a place. Value noise and
 * cells are those of the synthetic photographs (data/synth_scene.h); the waves' sums are quasi-crystals where their
 * directions are at equal angles. */
#include <math.h>

#include "pretrain/recipe.h"

#define TWO_PI (2 * SYNTH_PI)
/* Mean distances of synth_cells and their spread, to bring them to -1..1. */
#define CELL_MIDDLE 0.42f
#define CRACK_MIDDLE 0.3f

float outline_distance(const outline *o, float x, float y)
{
    x /= o->stretch;
    const float r = sqrtf(x * x + y * y), t = atan2f(y, x);
    float edge = 1;
    for (int k = 0; k < OUTLINE_WAVES; k++)
        if (o->strength[k] > 0) edge += o->strength[k] * cosf((float)o->order[k] * t + o->phase[k]);
    if (o->corners > 0) {
        const float sector = TWO_PI / (float)o->corners;
        float a = t / sector;
        a = fabsf(a - floorf(a) - 0.5f); /* 0 at a corner's bisector .. 0.5 between corners */
        edge *= cosf(0.5f * sector) / cosf((0.5f - a) * sector) * (1 - o->notch * (1 - 2 * a));
    }
    if (edge < 0.1f) edge = 0.1f;
    const float outside = r - edge;
    return o->hole > 0 && o->hole * edge - r > outside ? o->hole * edge - r : outside;
}

/* A stripe at phase p: a cosine for shape 0, ever sharper edges up to 1. */
static float stripe(float p, float shape)
{
    const float c = cosf(TWO_PI * p);
    return synth_clamp(c * (1 + 12 * shape * shape), -1, 1);
}

static float ridges(uint32_t seed, float x, float y, int octaves)
{
    float sum = 0, strength = 1;
    for (int k = 0; k < octaves; k++) {
        sum += strength * (1 - 2 * fabsf(1.6f * synth_noise(seed + (uint32_t)k * 57u, x, y)));
        strength *= 0.5f;
        x = 2 * x + 9.1f;
        y = 2 * y + 3.3f;
    }
    return sum * 0.7f;
}

static float waves(const field *f, uint32_t seed, float x, float y, bool equal_angles)
{
    float sum = 0;
    for (int k = 0; k < f->count; k++) {
        const float a = equal_angles ? SYNTH_PI * (float)k / (float)f->count : SYNTH_PI * synth_hash(seed, k, 1);
        sum += cosf(TWO_PI * (x * cosf(a) + y * sinf(a)) + SYNTH_PI * synth_hash(seed, k, 2));
    }
    const float v = sum * 1.6f / sqrtf((float)f->count);
    return synth_clamp(v * (0.5f + 3 * f->shape * f->shape), -1, 1);
}

static float thread(float v) { return 1 - 4 * (v - 0.5f) * (v - 0.5f); }

static float weave(const field *f, float x, float y)
{
    const float fx = floorf(x), fy = floorf(y), u = x - fx, v = y - fy;
    const int i = (int)fx, j = (int)fy, repeat = 2 + f->count % 4;
    const bool over = ((i + j * (1 + f->count % 3)) % repeat + repeat) % repeat == 0;
    const float across = over ? u : v, along = over ? v : u;
    return 2 * thread(across) * (0.55f + 0.45f * thread(along)) - (over ? 0.6f : 1.3f - f->shape);
}

static float bricks(const field *f, uint32_t seed, float x, float y)
{
    const float fy = floorf(y);
    const int j = (int)fy;
    x += 0.5f * (float)(j & 1) * (f->count > 2 ? 1.0f : 0.0f);
    const float fx = floorf(x), gap = 0.02f + 0.10f * f->shape;
    const float d = synth_box(x - fx - 0.5f, (y - fy - 0.5f), 0.5f - gap, 0.5f - gap, gap);
    const float inside = synth_cover(d + 0.04f, 0.04f);
    return synth_mix(-1, 0.35f + 0.6f * synth_hash(seed, (int)fx, j), inside);
}

static float arcs(const field *f, uint32_t seed, float x, float y)
{
    const float fx = floorf(x), fy = floorf(y);
    float u = x - fx;
    const float v = y - fy;
    if (synth_hash(seed, (int)fx, (int)fy) > 0) u = 1 - u;
    const float a = fabsf(sqrtf(u * u + v * v) - 0.5f), b = fabsf(sqrtf((1 - u) * (1 - u) + (1 - v) * (1 - v)) - 0.5f);
    const float d = a < b ? a : b, width = 0.08f + 0.2f * f->shape;
    return 1 - 2 * synth_step(width - 0.07f, width + 0.07f, d);
}

/* One outline in each cell; strewn: moved, turned, of different size, and sometimes not there. */
static float outlines(const field *f, uint32_t seed, float x, float y, bool strewn)
{
    if (!strewn && f->count > 2) x += 0.5f * (float)((int)floorf(y) & 1);
    const float fx = floorf(x), fy = floorf(y);
    float u = x - fx - 0.5f, v = y - fy - 0.5f, radius = 0.30f + 0.14f * f->shape;
    if (strewn) {
        const int i = (int)fx, j = (int)fy;
        if (synth_hash(seed + 4, i, j) > 0.4f) return -1;
        radius *= 0.8f + 0.25f * synth_hash(seed, i, j);
        u -= (0.48f - radius) * synth_hash(seed + 1, i, j);
        v -= (0.48f - radius) * synth_hash(seed + 2, i, j);
        synth_turn(SYNTH_PI * synth_hash(seed + 3, i, j), &u, &v);
    }
    const float d = outline_distance(&f->form, u / radius, v / radius);
    return 1 - 2 * synth_step(-0.12f, 0.12f, d) - 0.5f * synth_clamp(1 + d, 0, 1);
}

float field_at(const field *f, uint32_t seed, float x, float y)
{
    float near, next;
    synth_turn(f->angle, &x, &y);
    x /= f->period;
    y /= f->period * f->stretch;
    switch (f->kind) {
    case FIELD_CLOUD: return 1.5f * synth_fractal(seed, x, y, f->count);
    case FIELD_RIDGES: return ridges(seed, x, y, f->count);
    case FIELD_FIBRES: return 0.8f * synth_noise(seed, 3 * x, 0.25f * y) + 0.6f * synth_noise(seed + 1, 7 * x, 0.5f * y);
    case FIELD_CELLS:
        synth_cells(seed, x, y, &near, &next);
        return 2.4f * (near - CELL_MIDDLE);
    case FIELD_CRACKS:
        synth_cells(seed, x, y, &near, &next);
        return synth_clamp((next - near - CRACK_MIDDLE * (0.2f + f->shape)) * (2 + 6 * f->shape), -1, 1);
    case FIELD_BANDS: return stripe(x + 0.15f * synth_noise(seed, x, y), f->shape);
    case FIELD_CHECKS: return 0.5f * (stripe(x, f->shape) + stripe(y, f->shape)) + (f->count > 2 ? 0.5f * stripe(x + 0.5f, 1) * stripe(y, 1) : 0);
    case FIELD_WEAVE: return weave(f, x, y);
    case FIELD_BRICKS: return bricks(f, seed, x, y);
    case FIELD_MAZE: return waves(f, seed, x, y, false);
    case FIELD_CRYSTAL: return waves(f, seed, x, y, true);
    case FIELD_LATTICE: return outlines(f, seed, x, y, false);
    case FIELD_SCATTER: return outlines(f, seed, x, y, true);
    case FIELD_ARCS: return arcs(f, seed, x, y);
    case FIELD_KINDS: break;
    }
    return 0;
}
