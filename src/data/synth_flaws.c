/* synth_flaws.c - flaws that any surface may have: scratch, crack, dent, stain,
 * hole, particles, a fibre. Each changes height, colour and gloss of the
 * samples near it, and only where there is product; what can be seen of it is
 * for the renderer to say. */
#include <stdbool.h>

#include "data/synth_classes.h"

#define MAX_POINTS 26
#define MAX_SPECKS 9

/* A line of points with a width at each. */
typedef struct {
    int count;
    float x[MAX_POINTS], y[MAX_POINTS], width[MAX_POINTS];
} path;

typedef struct {
    synth_flaw_kind kind;
    synth_colour stain;
    float strength;
    uint32_t seed;
    float x, y, angle, size, stretch;
    path line, branch;
    int speck_count;
    float speck_x[MAX_SPECKS], speck_y[MAX_SPECKS], speck_size[MAX_SPECKS];
    synth_colour paint;
    float low_x, low_y, high_x, high_y; /* box that holds the flaw */
} flaw_shape;

/* A place with product all around it. */
static void find_place(const synth_scene *scene, dcam_random *r, float reach, float *x, float *y)
{
    for (int attempt = 0; attempt < 400; attempt++) {
        float margin = 0.08f + 0.3f * reach;
        float cx = synth_between(r, margin, 1 - margin), cy = synth_between(r, margin, 1 - margin);
        /* After many attempts a smaller surrounding will do. */
        float ring = reach * (1 - (float)attempt / 400);
        bool good = synth_scene_at(scene, cx, cy)->part > 0.9f;
        for (int k = 0; k < 8 && good; k++) {
            float a = (float)k * SYNTH_PI / 4;
            good = synth_scene_at(scene, cx + ring * cosf(a), cy + ring * sinf(a))->part > 0.9f;
        }
        *x = cx;
        *y = cy;
        if (good) return;
    }
}

/* A walk from (x, y): each step turns by at most `bend`; widths taper to the ends. */
static void walk_path(dcam_random *r, float x, float y, float angle, float length, float bend, float width, int points,
                      path *out)
{
    float step = length / (float)(points - 1), drift = 0;
    out->count = points;
    for (int i = 0; i < points; i++) {
        float t = (float)i / (float)(points - 1);
        out->x[i] = x;
        out->y[i] = y;
        out->width[i] = width * (0.35f + 0.65f * sinf(SYNTH_PI * synth_clamp(t, 0.04f, 0.96f))) * synth_between(r, 0.75f, 1.25f);
        drift = 0.6f * drift + synth_between(r, -bend, bend);
        x += step * cosf(angle + drift);
        y += step * sinf(angle + drift);
    }
}

/* Distance to the line, less its half width there. */
static float path_distance(const path *p, float x, float y)
{
    float best = 9;
    for (int i = 0; i + 1 < p->count; i++) {
        float ax = p->x[i], ay = p->y[i], dx = p->x[i + 1] - ax, dy = p->y[i + 1] - ay;
        float t = synth_clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-12f), 0, 1);
        float ex = ax + t * dx - x, ey = ay + t * dy - y;
        float d = sqrtf(ex * ex + ey * ey) - synth_mix(p->width[i], p->width[i + 1], t);
        if (d < best) best = d;
    }
    return best;
}

static void box_around(flaw_shape *f, float x, float y, float reach)
{
    if (x - reach < f->low_x) f->low_x = x - reach;
    if (y - reach < f->low_y) f->low_y = y - reach;
    if (x + reach > f->high_x) f->high_x = x + reach;
    if (y + reach > f->high_y) f->high_y = y + reach;
}

static void shape_line(const synth_scene *scene, flaw_shape *f, dcam_random *r)
{
    bool crack = f->kind == SYNTH_FLAW_CRACK, fibre = f->kind == SYNTH_FLAW_FIBRE;
    float k = f->strength;
    float length = crack ? synth_between(r, 0.20f, 0.36f) : fibre ? synth_between(r, 0.22f, 0.36f) : synth_between(r, 0.16f, 0.34f);
    float bend = crack ? 0.75f : fibre ? 0.45f : 0.06f;
    float width = (crack ? 0.0042f : fibre ? 0.0044f : 0.0034f) * (0.7f + 0.3f * k);
    int points = crack ? MAX_POINTS : fibre ? 20 : 8;
    find_place(scene, r, 0.10f, &f->x, &f->y);
    f->angle = synth_between(r, -SYNTH_PI, SYNTH_PI);
    /* Starts half a length before the place, so that the place is its middle. */
    float sx = f->x - 0.5f * length * cosf(f->angle), sy = f->y - 0.5f * length * sinf(f->angle);
    walk_path(r, sx, sy, f->angle, length, bend, width, points, &f->line);
    if (crack) {
        int from = points / 3 + (int)dcam_random_below(r, 8);
        float side = dcam_random_below(r, 2) ? 0.8f : -0.8f;
        walk_path(r, f->line.x[from], f->line.y[from], f->angle + side, length * 0.35f, bend, width * 0.7f, 9, &f->branch);
    } else if (!fibre && dcam_random_below(r, 2)) {
        /* A second stroke beside the first, as a slipped tool leaves it. */
        float off = synth_between(r, 0.010f, 0.022f);
        walk_path(r, sx - off * sinf(f->angle), sy + off * cosf(f->angle), f->angle + synth_between(r, -0.08f, 0.08f),
                  length * 0.7f, bend, width * 0.8f, points, &f->branch);
    }
    for (int i = 0; i < f->line.count; i++) box_around(f, f->line.x[i], f->line.y[i], 0.03f);
    for (int i = 0; i < f->branch.count; i++) box_around(f, f->branch.x[i], f->branch.y[i], 0.03f);
}

static void shape_blob(const synth_scene *scene, flaw_shape *f, dcam_random *r)
{
    switch (f->kind) {
    case SYNTH_FLAW_DENT: f->size = synth_between(r, 0.055f, 0.085f); break;
    case SYNTH_FLAW_HOLE: f->size = synth_between(r, 0.020f, 0.036f); break;
    default: f->size = synth_between(r, 0.042f, 0.080f); break;
    }
    f->size *= 0.8f + 0.2f * f->strength;
    f->stretch = f->kind == SYNTH_FLAW_HOLE ? synth_between(r, 0.85f, 1.15f) : synth_between(r, 0.7f, 1.4f);
    f->angle = synth_between(r, -SYNTH_PI, SYNTH_PI);
    find_place(scene, r, f->size * 0.9f, &f->x, &f->y);
    box_around(f, f->x, f->y, f->size * (f->kind == SYNTH_FLAW_DENT ? 4.0f : 2.6f));
}

static void shape_specks(const synth_scene *scene, flaw_shape *f, dcam_random *r)
{
    static const synth_colour colours[] = {{0.03f, 0.03f, 0.035f}, {0.75f, 0.72f, 0.66f}, {0.06f, 0.13f, 0.42f},
                                           {0.50f, 0.07f, 0.05f}};
    find_place(scene, r, 0.06f, &f->x, &f->y);
    f->paint = colours[dcam_random_below(r, 4)];
    f->speck_count = 3 + (int)dcam_random_below(r, MAX_SPECKS - 2);
    for (int i = 0; i < f->speck_count; i++) {
        f->speck_x[i] = f->x + 0.045f * (float)dcam_random_normal(r);
        f->speck_y[i] = f->y + 0.045f * (float)dcam_random_normal(r);
        f->speck_size[i] = synth_between(r, 0.007f, 0.015f) * (0.8f + 0.2f * f->strength);
        box_around(f, f->speck_x[i], f->speck_y[i], 0.04f);
    }
}

static void tint(synth_surface *s, synth_colour c, float cover) { s->colour = synth_blend(s->colour, c, cover); }

static void scratch(const flaw_shape *f, float x, float y, synth_surface *s)
{
    float d = path_distance(&f->line, x, y), other = path_distance(&f->branch, x, y);
    if (f->branch.count > 0 && other < d) d = other;
    float cover = synth_cover(d, 0.0018f) * s->part;
    float rim = synth_cover(d - 0.0022f, 0.002f) * s->part - cover;
    /* Bare, bright material in the groove. */
    synth_colour bare = synth_scale(s->colour, s->metal > 0 ? 1.5f : 1.7f);
    bare.r += 0.10f * f->strength;
    bare.g += 0.10f * f->strength;
    bare.b += 0.10f * f->strength;
    tint(s, bare, cover * synth_clamp(0.75f * f->strength, 0, 1));
    s->height += (-0.0030f * cover + 0.0016f * rim) * f->strength;
}

static void crack(const flaw_shape *f, float x, float y, synth_surface *s)
{
    float d = path_distance(&f->line, x, y), other = path_distance(&f->branch, x, y);
    if (f->branch.count > 0 && other < d) d = other;
    d += 0.0022f * synth_noise(f->seed, x * 110, y * 110);
    float cover = synth_cover(d, 0.0016f) * s->part;
    tint(s, synth_scale(s->colour, 0.10f), cover);
    s->gloss *= 1 - cover;
    s->height -= 0.004f * cover * f->strength;
    /* The edges stand up a little. */
    s->height += 0.0008f * synth_cover(d - 0.005f, 0.005f) * (1 - cover) * s->part;
}

static void fibre(const flaw_shape *f, float x, float y, synth_surface *s)
{
    static const synth_colour colours[] = {{0.62f, 0.06f, 0.05f}, {0.85f, 0.80f, 0.62f}, {0.02f, 0.02f, 0.02f}};
    float d = path_distance(&f->line, x, y);
    float cover = synth_cover(d, 0.0015f) * s->part;
    float round = synth_clamp(-d / 0.0044f, 0, 1);
    float shadow = synth_cover(path_distance(&f->line, x - 0.004f, y - 0.005f), 0.004f) * s->part;
    tint(s, synth_scale(s->colour, 0.55f), shadow * (1 - cover) * 0.8f);
    tint(s, synth_scale(colours[f->seed % 3], 0.7f + 0.4f * round), cover);
    s->gloss *= 1 - cover;
    s->height = synth_mix(s->height, s->height + 0.004f * round, cover);
}

static void dent(const flaw_shape *f, float dx, float dy, synth_surface *s)
{
    float q = (dx * dx + dy * dy) / (f->size * f->size);
    float bowl = expf(-1.6f * q), ring = expf(-2.2f * (sqrtf(q) - 1.25f) * (sqrtf(q) - 1.25f));
    s->height += f->strength * s->part * f->size * (-0.36f * bowl + 0.02f * ring);
}

static void hole(const flaw_shape *f, float dx, float dy, float x, float y, synth_surface *s)
{
    float r = sqrtf(dx * dx + dy * dy), edge = 0.22f * synth_fractal(f->seed, x * 42, y * 42, 3);
    float d = r - f->size * (1 + edge);
    float cover = synth_cover(d, 0.003f) * s->part, rim = synth_cover(d - 0.006f, 0.006f) * s->part - cover;
    float fray = 0.5f + 0.5f * synth_noise(f->seed + 5, x * 160, y * 160);
    tint(s, synth_scale(s->colour, 1.25f), rim * 0.5f * fray);
    s->height += 0.0030f * rim * fray;
    tint(s, (synth_colour){0.012f, 0.011f, 0.012f}, cover);
    s->gloss *= 1 - cover;
    s->height -= 0.012f * cover;
}

static void stain(const flaw_shape *f, float dx, float dy, float x, float y, synth_surface *s)
{
    float r = sqrtf(dx * dx + dy * dy);
    float edge = 0.55f * synth_fractal(f->seed, x * 17, y * 17, 4);
    float d = r - f->size * (1 + edge);
    float body = synth_cover(d, 0.007f) * s->part;
    /* Liquids leave more at their rim. */
    float rim = expf(-(d + 0.006f) * (d + 0.006f) / (0.005f * 0.005f));
    float patch = 0.72f + 0.22f * synth_fractal(f->seed + 9, x * 30, y * 30, 2) + 0.2f * rim;
    float cover = synth_clamp(body * patch * (0.55f + 0.35f * f->strength), 0, 0.97f);
    /* The relief below still shades it. */
    tint(s, f->stain, cover);
    s->gloss *= 1 - 0.7f * cover;
    s->height += 0.0006f * body * f->strength;
}

static void specks(const flaw_shape *f, float x, float y, synth_surface *s)
{
    for (int i = 0; i < f->speck_count; i++) {
        float dx = x - f->speck_x[i], dy = y - f->speck_y[i], size = f->speck_size[i];
        float wobble = 0.30f * synth_noise(f->seed + (uint32_t)i, x * 90, y * 90);
        float d = sqrtf(dx * dx + dy * dy) - size * (1 + wobble);
        float ex = dx - 0.004f, ey = dy - 0.005f;
        float shadow = synth_cover(sqrtf(ex * ex + ey * ey) - size, 0.005f) * s->part;
        float cover = synth_cover(d, 0.002f) * s->part;
        float q = synth_clamp(-d / size, 0, 1);
        tint(s, synth_scale(s->colour, 0.6f), shadow * (1 - cover) * 0.8f);
        tint(s, f->paint, cover);
        s->metal *= 1 - cover;
        s->gloss = synth_mix(s->gloss, 0.25f, cover);
        s->height = synth_mix(s->height, s->height + 0.6f * size * sqrtf(q), cover);
    }
}

static void change(const flaw_shape *f, float x, float y, synth_surface *s)
{
    float dx = x - f->x, dy = y - f->y;
    synth_turn(f->angle, &dx, &dy);
    dx *= f->stretch;
    dy /= f->stretch;
    switch (f->kind) {
    case SYNTH_FLAW_SCRATCH: scratch(f, x, y, s); break;
    case SYNTH_FLAW_CRACK: crack(f, x, y, s); break;
    case SYNTH_FLAW_FIBRE: fibre(f, x, y, s); break;
    case SYNTH_FLAW_DENT: dent(f, dx, dy, s); break;
    case SYNTH_FLAW_HOLE: hole(f, dx, dy, x, y, s); break;
    case SYNTH_FLAW_STAIN: stain(f, dx, dy, x, y, s); break;
    case SYNTH_FLAW_DEBRIS: specks(f, x, y, s); break;
    default: break;
    }
}

void synth_flaw_apply(synth_scene *scene, synth_flaw_kind kind, synth_colour stain_colour, float strength,
                      dcam_random *random)
{
    flaw_shape f = {.kind = kind, .stain = stain_colour, .strength = strength, .seed = dcam_random_u32(random),
                    .low_x = 2, .low_y = 2, .high_x = -1, .high_y = -1};
    switch (kind) {
    case SYNTH_FLAW_SCRATCH:
    case SYNTH_FLAW_CRACK:
    case SYNTH_FLAW_FIBRE: shape_line(scene, &f, random); break;
    case SYNTH_FLAW_DENT:
    case SYNTH_FLAW_HOLE:
    case SYNTH_FLAW_STAIN: shape_blob(scene, &f, random); break;
    case SYNTH_FLAW_DEBRIS: shape_specks(scene, &f, random); break;
    default: return; /* of the product itself: drawn with it */
    }
    float side = (float)scene->side;
    int x0 = (int)(synth_clamp(f.low_x, 0, 1) * side), x1 = (int)(synth_clamp(f.high_x, 0, 1) * side);
    int y0 = (int)(synth_clamp(f.low_y, 0, 1) * side), y1 = (int)(synth_clamp(f.high_y, 0, 1) * side);
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
            change(&f, ((float)x + 0.5f) / side, ((float)y + 0.5f) / side,
                   &scene->samples[(size_t)y * (size_t)scene->side + (size_t)x]);
}
