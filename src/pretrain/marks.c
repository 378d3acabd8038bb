/* marks.c - what is drawn on top of a pattern: iterated function systems by the chaos game (Barnsley 1988), strokes
 * of an invented script, outlines, hairs and scratches, nested contours. All of it is a coverage in 0..1 a pixel. */
#include <math.h>

#include "pretrain/recipe.h"

/* Half the softness of an edge, pixels. */
#define SOFT 0.7f
/* The first points of the chaos game are not on the attractor yet. */
#define FRACTAL_SKIP 20
#define CURVE_STEPS 24

typedef struct {
    int side;
    float *cover;
} canvas;

static void put(const canvas *c, int x, int y, float value)
{
    float *at = &c->cover[y * c->side + x];
    if (value > *at) *at = value;
}

static int clip(float v, int side) { return v < 0 ? 0 : v >= (float)side ? side - 1 : (int)v; }

static void draw_segment(const canvas *c, float x0, float y0, float x1, float y1, float half)
{
    const float reach = half + SOFT, dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy + 1e-6f;
    if (fmaxf(x0, x1) + reach < 0 || fmaxf(y0, y1) + reach < 0) return;
    if (fminf(x0, x1) - reach >= (float)c->side || fminf(y0, y1) - reach >= (float)c->side) return;
    const int left = clip(fminf(x0, x1) - reach, c->side), right = clip(fmaxf(x0, x1) + reach, c->side);
    const int top = clip(fminf(y0, y1) - reach, c->side), bottom = clip(fmaxf(y0, y1) + reach, c->side);
    for (int y = top; y <= bottom; y++)
        for (int x = left; x <= right; x++) {
            const float px = (float)x - x0, py = (float)y - y0;
            const float t = synth_clamp((px * dx + py * dy) / squared, 0, 1);
            const float ex = px - t * dx, ey = py - t * dy;
            put(c, x, y, synth_cover(sqrtf(ex * ex + ey * ey) - half, SOFT));
        }
}

/* The attractor's points come in any scale: a first round finds their bounds. */
static void draw_fractal(const marks *m, uint32_t random, float turn, float size, const canvas *c)
{
    const float middle = 0.5f * (float)c->side;
    float low[2] = {1e9f, 1e9f}, high[2] = {-1e9f, -1e9f}, scale = 0, cx = 0, cy = 0;
    const float sine = sinf(turn), cosine = cosf(turn);
    const float ox = quick_between(&random, -0.15f, 0.15f) * (float)c->side, oy = quick_between(&random, -0.15f, 0.15f) * (float)c->side;
    const int bounds = 200, points = bounds + c->side * c->side;
    float x = 0, y = 0;
    for (int i = 0; i < points; i++) {
        const float *t = m->maps[quick_next(&random) % (uint32_t)m->count];
        const float u = t[0] * x + t[1] * y + t[4], v = t[2] * x + t[3] * y + t[5];
        x = u;
        y = v;
        if (i < FRACTAL_SKIP) continue;
        if (i < bounds) {
            low[0] = fminf(low[0], x);
            high[0] = fmaxf(high[0], x);
            low[1] = fminf(low[1], y);
            high[1] = fmaxf(high[1], y);
            continue;
        }
        if (i == bounds) {
            const float extent = fmaxf(high[0] - low[0], high[1] - low[1]);
            scale = 0.9f * size * (float)c->side / fmaxf(extent, 1e-3f);
            cx = 0.5f * (low[0] + high[0]);
            cy = 0.5f * (low[1] + high[1]);
        }
        const float px = (x - cx) * scale, py = (y - cy) * scale;
        const float qx = middle + ox + cosine * px - sine * py, qy = middle + oy + sine * px + cosine * py;
        if (qx < 0 || qy < 0 || qx >= (float)c->side || qy >= (float)c->side) continue;
        float *at = &c->cover[(int)qy * c->side + (int)qx];
        *at += 0.45f * (1 - *at);
    }
}

static void draw_glyph(const marks *m, int glyph, float x, float y, float turn, float size, const canvas *c)
{
    const float sine = sinf(turn) * size, cosine = cosf(turn) * size;
    for (int k = 0; k < m->stroke_count[glyph]; k++) {
        const float *s = m->strokes[glyph][k];
        draw_segment(c, x + cosine * s[0] - sine * s[1], y + sine * s[0] + cosine * s[1], x + cosine * s[2] - sine * s[3],
                     y + sine * s[2] + cosine * s[3], 0.5f * m->line);
    }
}

/* Rows of glyphs, as writing is. */
static void draw_glyphs(const marks *m, uint32_t random, float turn, float size, const canvas *c)
{
    const float half = 0.5f * m->size * size, pitch = 2.5f * half, side = (float)c->side;
    const int rows = 1 + (int)(quick_next(&random) % 3), columns = 2 + (int)(side / pitch);
    const float sine = sinf(turn), cosine = cosf(turn);
    const float ox = quick_between(&random, 0.2f, 0.8f) * side, oy = quick_between(&random, 0.2f, 0.8f) * side;
    for (int j = 0; j < rows; j++)
        for (int i = 0; i < columns; i++) {
            const float u = ((float)i - 0.5f * (float)columns) * pitch, v = ((float)j - 0.5f * (float)rows) * 1.2f * pitch;
            const int glyph = (int)(quick_next(&random) % GLYPHS);
            draw_glyph(m, glyph, ox + cosine * u - sine * v, oy + sine * u + cosine * v, turn, half, c);
        }
}

static void draw_outline(const marks *m, float x, float y, float turn, float radius, int rings, const canvas *c)
{
    const float reach = 1.9f * radius * fmaxf(1, m->form.stretch) + 2;
    const float sine = sinf(turn) / radius, cosine = cosf(turn) / radius, half = 0.5f * m->line;
    if (x + reach < 0 || y + reach < 0 || x - reach >= (float)c->side || y - reach >= (float)c->side) return;
    const int left = clip(x - reach, c->side), right = clip(x + reach, c->side);
    const int top = clip(y - reach, c->side), bottom = clip(y + reach, c->side);
    for (int j = top; j <= bottom; j++)
        for (int i = left; i <= right; i++) {
            const float px = (float)i - x, py = (float)j - y;
            float d = outline_distance(&m->form, cosine * px + sine * py, cosine * py - sine * px) * radius;
            if (rings > 1 && d < 0.2f * radius) { /* nested: the same outline again and again inwards */
                const float pitch = radius / (float)rings, k = d / pitch;
                d = fabsf(k - floorf(k + 0.5f)) * pitch;
            } else if (m->line > 0) {
                d = fabsf(d);
            }
            put(c, i, j, synth_cover(m->line > 0 || rings > 1 ? d - half : d, SOFT));
        }
}

static void draw_shapes(const marks *m, uint32_t random, float turn, float size, const canvas *c)
{
    const int count = 1 + (int)(quick_next(&random) % (uint32_t)m->count);
    for (int k = 0; k < count; k++) {
        const float x = quick_between(&random, 0, (float)c->side), y = quick_between(&random, 0, (float)c->side);
        const float radius = 0.5f * m->size * size * quick_between(&random, 0.75f, 1.3f);
        draw_outline(m, x, y, turn + quick_between(&random, -0.5f, 0.5f), radius, 1, c);
    }
}

/* Hairs: the direction changes by a drawn amount that itself wanders. */
static void draw_curves(const marks *m, uint32_t random, float turn, float size, const canvas *c)
{
    for (int k = 0; k < m->count; k++) {
        float x = quick_between(&random, 0, (float)c->side), y = quick_between(&random, 0, (float)c->side);
        float direction = turn + quick_between(&random, -1, 1) * m->form.phase[0], bend = 0;
        const float step = 2 * m->size * size / CURVE_STEPS;
        for (int i = 0; i < CURVE_STEPS; i++) {
            bend = 0.8f * bend + quick_between(&random, -1, 1) * m->form.strength[0];
            direction += bend;
            const float u = x + step * cosf(direction), v = y + step * sinf(direction);
            draw_segment(c, x, y, u, v, 0.5f * m->line);
            x = u;
            y = v;
        }
    }
}

void marks_draw(const marks *m, uint32_t random, float turn, float size, int side, float *cover)
{
    const canvas c = {side, cover};
    const float x = quick_between(&random, 0.3f, 0.7f) * (float)side, y = quick_between(&random, 0.3f, 0.7f) * (float)side;
    switch (m->kind) {
    case MARKS_FRACTAL: draw_fractal(m, random, turn, size, &c); return;
    case MARKS_GLYPHS: draw_glyphs(m, random, turn, size, &c); return;
    case MARKS_SHAPES: draw_shapes(m, random, turn, size, &c); return;
    case MARKS_CURVES: draw_curves(m, random, turn, size, &c); return;
    case MARKS_CONTOURS: draw_outline(m, x, y, turn, 1.4f * m->size * size, m->count, &c); return;
    case MARKS_NONE:
    case MARKS_KINDS: return;
    }
}
