/* recipe.c - draws what a class is. The ranges are chosen by eye: patterns from a few pixels to half a picture, flat
 * and shaded, grey and coloured, strict and irregular, so that telling the classes apart takes edges, corners,
 * textures and colours of many kinds. */
#include "pretrain/recipe.h"

#include <math.h>

#define STREAM_RECIPE UINT64_C(0x7265636970650000) /* "recipe" */

static float between(dcam_random *r, float low, float high) { return synth_between(r, low, high); }
static bool chance(dcam_random *r, double p) { return dcam_random_uniform(r) < p; }
static int below(dcam_random *r, int n) { return (int)dcam_random_below(r, (uint64_t)n); }
/* Equally likely to double as to halve. */
static float between_log(dcam_random *r, float low, float high) { return low * powf(high / low, between(r, 0, 1)); }

static outline draw_form(dcam_random *r)
{
    outline o = {.stretch = chance(r, 0.6) ? 1 : between(r, 0.5f, 1.8f)};
    if (chance(r, 0.6)) o.corners = 3 + below(r, 6);
    if (o.corners > 0 && chance(r, 0.45)) o.notch = between(r, 0.2f, 0.6f);
    for (int k = 0; k < OUTLINE_WAVES; k++) {
        o.order[k] = 2 + below(r, 8);
        o.phase[k] = between(r, -SYNTH_PI, SYNTH_PI);
        if (chance(r, o.corners > 0 ? 0.2 : 0.6)) o.strength[k] = between(r, 0.05f, 0.3f);
    }
    if (chance(r, 0.3)) o.hole = between(r, 0.3f, 0.75f);
    return o;
}

static field draw_field(dcam_random *r)
{
    field f = {.kind = (field_kind)below(r, FIELD_KINDS), .stretch = chance(r, 0.65) ? 1 : between_log(r, 0.35f, 2.8f),
               .angle = between(r, -SYNTH_PI, SYNTH_PI), .count = 1 + below(r, 5), .shape = between(r, 0, 1)};
    f.period = between_log(r, 4, 30);
    switch (f.kind) {
    case FIELD_CLOUD:
    case FIELD_RIDGES: f.period = between_log(r, 6, 40); break;
    case FIELD_FIBRES: f.period = between_log(r, 6, 30); break;
    case FIELD_CELLS:
    case FIELD_CRACKS: f.period = between_log(r, 6, 28); break;
    case FIELD_WEAVE: f.period = between_log(r, 4, 14); break;
    case FIELD_MAZE: f.count = 6 + below(r, 5); break;
    case FIELD_CRYSTAL: f.count = 3 + below(r, 5); break;
    case FIELD_LATTICE:
    case FIELD_SCATTER: f.period = between_log(r, 8, 32); break;
    default: break;
    }
    f.form = draw_form(r);
    return f;
}

/* Contracting maps, not so strongly that the attractor is a dot. */
static void draw_maps(dcam_random *r, marks *m)
{
    m->count = 2 + below(r, FRACTAL_MAPS - 1);
    for (int k = 0; k < m->count; k++) {
        const float a = between(r, -SYNTH_PI, SYNTH_PI), b = between(r, -SYNTH_PI, SYNTH_PI);
        const float s = between(r, 0.45f, 0.85f), t = between(r, 0.3f, 0.85f);
        float *map = m->maps[k];
        map[0] = s * cosf(a);
        map[1] = -t * sinf(b);
        map[2] = s * sinf(a);
        map[3] = t * cosf(b);
        /* Shear can still stretch: |A| is bounded by its Frobenius norm, here held below 1. */
        const float norm = sqrtf(map[0] * map[0] + map[1] * map[1] + map[2] * map[2] + map[3] * map[3]);
        for (int i = 0; i < 4 && norm > 0.95f; i++) map[i] *= 0.95f / norm;
        map[4] = between(r, -1, 1);
        map[5] = between(r, -1, 1);
    }
}

static void draw_strokes(dcam_random *r, marks *m)
{
    for (int g = 0; g < GLYPHS; g++) {
        m->stroke_count[g] = 2 + below(r, GLYPH_STROKES - 1);
        for (int k = 0; k < GLYPH_STROKES; k++)
            for (int i = 0; i < 4; i++) m->strokes[g][k][i] = 0.5f * (float)(below(r, 5) - 2);
        /* Most letters have a stem. */
        if (chance(r, 0.5)) {
            m->strokes[g][0][0] = m->strokes[g][0][2];
            m->strokes[g][0][1] = -1;
            m->strokes[g][0][3] = 1;
        }
    }
}

static marks draw_marks(dcam_random *r)
{
    marks m = {.kind = (marks_kind)below(r, MARKS_KINDS), .line = between(r, 0.8f, 3.5f), .relief = between(r, -2, 3)};
    m.count = 2 + below(r, 6);
    m.size = between_log(r, 10, 40);
    m.form = draw_form(r);
    switch (m.kind) {
    case MARKS_FRACTAL: draw_maps(r, &m); break;
    case MARKS_GLYPHS:
        m.size = between_log(r, 8, 22);
        draw_strokes(r, &m);
        break;
    case MARKS_SHAPES:
        if (chance(r, 0.5)) m.line = 0;
        break;
    case MARKS_CURVES:
        m.size = between_log(r, 25, 90);
        m.form.phase[0] = chance(r, 0.5) ? 0.3f : SYNTH_PI;
        m.form.strength[0] = between(r, 0, 0.35f);
        m.line = between(r, 0.6f, 2.0f);
        m.count = 2 + below(r, 14);
        break;
    case MARKS_CONTOURS:
        m.size = between(r, 24, 44);
        m.count = 3 + below(r, 7);
        m.form.hole = 0;
        break;
    default: break;
    }
    return m;
}

/* h and s in 0..1. */
static synth_colour colour_of(float h, float s, float v)
{
    const float third = 2 * SYNTH_PI / 3, a = 2 * SYNTH_PI * h;
    return (synth_colour){v * (1 - s * (0.5f - 0.5f * cosf(a))), v * (1 - s * (0.5f - 0.5f * cosf(a - third))),
                          v * (1 - s * (0.5f - 0.5f * cosf(a + third)))};
}

static void draw_palette(dcam_random *r, recipe *c)
{
    const float hue = between(r, 0, 1), spread = chance(r, 0.3) ? 0.5f : 0.08f;
    const float saturation = chance(r, 0.45) ? between(r, 0, 0.15f) : between(r, 0.2f, 0.95f);
    float value = between(r, 0.05f, 1);
    for (int k = 0; k < PALETTE; k++) {
        c->palette[k] = colour_of(hue + between(r, -spread, spread), saturation, value);
        /* The next is never of nearly the same brightness. */
        value += 0.18f + between(r, 0, 0.62f);
        if (value > 1) value -= 0.95f;
    }
    c->mark_colour = colour_of(chance(r, 0.5) ? hue : between(r, 0, 1), chance(r, 0.5) ? saturation : between(r, 0, 0.9f),
                               chance(r, 0.5) ? between(r, 0, 0.25f) : between(r, 0.7f, 1));
}

void recipe_draw(uint64_t seed, int class_index, recipe *out)
{
    dcam_random random = dcam_random_make(seed, STREAM_RECIPE + (uint64_t)class_index), *r = &random;
    recipe c = {.base = draw_field(r), .detail = draw_field(r)};
    c.join = (join_kind)below(r, JOIN_KINDS);
    c.join_weight = between(r, 0.3f, 0.8f);
    if (chance(r, 0.3)) c.warp = between(r, 1, 6);
    c.warp_period = between(r, 12, 40);
    if (chance(r, 0.55)) c.marks = draw_marks(r);
    c.has_object = chance(r, 0.35);
    c.object = draw_form(r);
    c.object_size = between(r, 0.28f, 0.5f);
    draw_palette(r, &c);
    c.steps = chance(r, 0.4) ? between(r, 0.6f, 0.95f) : between(r, 0, 0.4f);
    c.colour_freedom = chance(r, 0.3) ? 1 : between(r, 0.1f, 0.5f);
    c.turn_freedom = chance(r, 0.5) ? SYNTH_PI : 0.25f;
    if (chance(r, 0.6)) c.relief = between_log(r, 0.3f, 3);
    c.gloss = chance(r, 0.4) ? between(r, 0.2f, 1) : 0;
    *out = c;
}
