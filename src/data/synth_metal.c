/* synth_metal.c - turned and stamped parts on a grey table, in any rotation: a
 * hexagon nut, a gear wheel, a crown cap. */
#include <stdbool.h>

#include "data/synth_classes.h"

/* What the round objects share. */
typedef struct {
    uint32_t seed;
    float x, y, angle, scale, brightness;
} pose;

static pose draw_pose(dcam_random *nature)
{
    pose p;
    p.seed = dcam_random_u32(nature);
    p.x = synth_between(nature, 0.485f, 0.515f);
    p.y = synth_between(nature, 0.485f, 0.515f);
    p.angle = synth_between(nature, 0, 2 * SYNTH_PI);
    p.scale = synth_between(nature, 0.985f, 1.015f);
    p.brightness = synth_between(nature, 0.95f, 1.05f);
    return p;
}

/* The table: matt, slightly mottled; darker where the part keeps the light off. */
static void table(const pose *p, float x, float y, float shadow, float tone, synth_surface *out)
{
    float sand = synth_fractal(p->seed + 1, x * 60, y * 60, 3);
    float k = tone * (1 + 0.05f * sand) * (1 - 0.62f * shadow);
    out->colour = (synth_colour){k * 0.97f, k, k * 1.04f};
    out->height = 0.0003f * sand;
}

/* To the part's own frame: centred, turned. */
static void to_part(const pose *p, float *x, float *y)
{
    *x = (*x - p->x) * p->scale;
    *y = (*y - p->y) * p->scale;
    synth_turn(p->angle, x, y);
}

/* A turned face shines in two wedges towards and away from the light, whichever way the part lies. */
static float sheen(const pose *p, float x, float y)
{
    float a = atan2f(y - p->y, x - p->x) + 2.25f;
    float c = cosf(a);
    return c * c * c * c - 0.35f;
}

/* Angle to the nearest multiple of step, in -step/2 .. step/2. */
static float fold(float angle, float step) { return angle - step * floorf(angle / step + 0.5f); }

/* Shadow falls away from the light at the upper left. */
#define SHADOW_X 0.018f
#define SHADOW_Y 0.022f

/* ---- nut ---------------------------------------------------------------- */

#define NUT_FLAT 0.30f /* middle to flat side */
#define NUT_HOLE 0.165f

typedef struct {
    pose p;
    int corner;         /* that is bent or broken off, 0..5 */
    float bend, chip;   /* how far; 0: not */
} nut;

static void draw_nut(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    nut *n = instance;
    *n = (nut){.p = draw_pose(nature)};
    n->corner = (int)dcam_random_below(flaw, 6);
    if (kind == SYNTH_FLAW_BENT) n->bend = synth_between(flaw, 0.05f, 0.085f);
    if (kind == SYNTH_FLAW_CHIP) n->chip = synth_between(flaw, 0.045f, 0.075f);
}

/* Signed distance of the outline in the part's frame. */
static float nut_outline(const nut *n, float x, float y)
{
    float a = atan2f(y, x), r = sqrtf(x * x + y * y);
    float corner_angle = SYNTH_PI / 6 + (float)n->corner * SYNTH_PI / 3;
    float off = fold(a - corner_angle, 2 * SYNTH_PI);
    if (n->bend > 0) {
        /* The corner is pushed in and to one side. */
        float near = expf(-off * off / (2 * 0.20f * 0.20f)) * synth_step(0.17f, 0.32f, r);
        r += n->bend * near;
        a += 0.22f * near;
    }
    float f = fold(a, SYNTH_PI / 3);
    float d = r * cosf(f) - NUT_FLAT;
    /* Corners are not sharp. */
    d = fmaxf(d, r - NUT_FLAT * 1.135f);
    if (n->chip > 0) {
        float across = x * cosf(corner_angle + 0.25f) + y * sinf(corner_angle + 0.25f);
        float ragged = 0.008f * synth_noise(n->p.seed + 8, x * 40, y * 40);
        d = fmaxf(d, across - (NUT_FLAT * 1.12f - n->chip) + ragged);
    }
    return d;
}

static void nut_surface(const void *instance, float x, float y, synth_surface *out)
{
    const nut *n = instance;
    float sx = x - SHADOW_X, sy = y - SHADOW_Y;
    to_part(&n->p, &sx, &sy);
    float px = x, py = y;
    to_part(&n->p, &px, &py);
    float r = sqrtf(px * px + py * py), d = nut_outline(n, px, py);
    float through = sqrtf(px * px + py * py) - 0.80f * NUT_HOLE;
    float shadow = synth_cover(nut_outline(n, sx, sy), 0.022f);
    table(&n->p, x, y, shadow, 0.115f, out);
    float cover = synth_cover(d, 0.003f);
    if (through < 0) cover = fminf(cover, synth_cover(-through, 0.003f));
    if (cover <= 0) return;
    float turned = synth_noise(n->p.seed + 2, r * 210, 1.5f) + 0.6f * synth_noise(n->p.seed + 3, r * 420, 2.5f);
    float cloud = synth_fractal(n->p.seed + 4, px * 9, py * 9, 3);
    float height = 0.05f - 0.55f * fmaxf(0, r - NUT_FLAT * 0.965f) - 0.9f * fmaxf(0, d + 0.010f);
    float k = (0.37f + 0.13f * sheen(&n->p, x, y) + 0.030f * turned + 0.030f * cloud) * n->p.brightness;
    if (r < NUT_HOLE) {
        /* The thread: ridges one above the other, seen from above as rings. */
        float ring = (NUT_HOLE - r) / (0.20f * NUT_HOLE);
        float wave = sinf(2 * SYNTH_PI * (2.6f * ring + atan2f(py, px) / (2 * SYNTH_PI)));
        height -= 0.020f * ring - 0.0016f * wave;
        k *= 0.62f - 0.22f * ring + 0.20f * wave;
    } else {
        height -= 0.8f * fmaxf(0, NUT_HOLE * 1.12f - r);
    }
    out->colour = synth_blend(out->colour, (synth_colour){k, k * 0.985f, k * 0.95f}, cover);
    out->height = synth_mix(out->height, height + 0.00010f * turned + 0.0006f * cloud, cover);
    out->gloss = 0.62f * cover;
    out->metal = cover;
    out->part = r > NUT_HOLE * 1.08f ? cover : 0;
}

const synth_class synth_nut = {
    .name = "hex_nut",
    .stain = {0.19f, 0.070f, 0.022f},
    .draw = draw_nut,
    .surface = nut_surface,
    .flaws = {{"bent_corner", SYNTH_FLAW_BENT}, {"broken_corner", SYNTH_FLAW_CHIP}, {"rust", SYNTH_FLAW_STAIN},
              {"scratch", SYNTH_FLAW_SCRATCH}},
};

/* ---- gear --------------------------------------------------------------- */

#define TEETH 18
#define GEAR_ROOT 0.325f
#define GEAR_TIP 0.385f

typedef struct {
    pose p;
    int tooth;         /* flawed one, or -1 */
    float left;        /* height of it that is left, 0..1 */
    float lean;        /* radians */
} gear;

static void draw_gear(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    gear *g = instance;
    *g = (gear){.p = draw_pose(nature), .tooth = -1, .left = 1};
    int tooth = (int)dcam_random_below(flaw, TEETH);
    if (kind == SYNTH_FLAW_MISSING || kind == SYNTH_FLAW_BENT) g->tooth = tooth;
    if (kind == SYNTH_FLAW_MISSING) g->left = synth_between(flaw, 0.05f, 0.35f);
    if (kind == SYNTH_FLAW_BENT) g->lean = (dcam_random_below(flaw, 2) ? 1.0f : -1.0f) * synth_between(flaw, 0.09f, 0.14f);
}

static float gear_outline(const gear *g, float x, float y)
{
    const float step = 2 * SYNTH_PI / TEETH;
    float r = sqrtf(x * x + y * y), a = atan2f(y, x);
    float wheel = r - GEAR_ROOT;
    if (r > GEAR_TIP + 0.03f) return r - GEAR_TIP;
    int tooth = (int)floorf(a / step + 0.5f);
    tooth = (tooth % TEETH + TEETH) % TEETH;
    float best = wheel;
    for (int k = -1; k <= 1; k++) {
        int t = (tooth + k + TEETH) % TEETH;
        bool flawed = t == g->tooth;
        float rise = (r - GEAR_ROOT) / (GEAR_TIP - GEAR_ROOT);
        float lean = flawed ? g->lean * synth_clamp(rise, 0, 1.2f) : 0;
        float off = fold(a - (float)t * step - lean, 2 * SYNTH_PI);
        float half = 0.046f - 0.021f * rise; /* a trapezium, nearly an involute */
        float tip = GEAR_ROOT + (GEAR_TIP - GEAR_ROOT) * (flawed ? g->left : 1);
        if (flawed && g->left < 1) tip += 0.006f * synth_noise(g->p.seed + 8, x * 60, y * 60);
        float d = fmaxf(fabsf(off) * r - half, r - tip);
        best = fminf(best, fmaxf(d, GEAR_ROOT - 0.02f - r));
    }
    return best;
}

/* The bore with its keyway, and five round windows: positive inside the metal. */
static float gear_openings(float x, float y)
{
    float r = sqrtf(x * x + y * y), a = atan2f(y, x);
    float bore = r - 0.072f, key = synth_box(x - 0.075f, y, 0.022f, 0.020f, 0.002f);
    float f = fold(a, 2 * SYNTH_PI / 5), wx = r * cosf(f) - 0.195f, wy = r * sinf(f);
    return fminf(fminf(bore, key), sqrtf(wx * wx + wy * wy) - 0.052f);
}

static void gear_surface(const void *instance, float x, float y, synth_surface *out)
{
    const gear *g = instance;
    float sx = x - SHADOW_X, sy = y - SHADOW_Y;
    to_part(&g->p, &sx, &sy);
    float px = x, py = y;
    to_part(&g->p, &px, &py);
    float r = sqrtf(px * px + py * py);
    float open = gear_openings(px, py), d = fmaxf(gear_outline(g, px, py), -open);
    float shadow = synth_cover(fmaxf(gear_outline(g, sx, sy), -gear_openings(sx, sy)), 0.016f);
    table(&g->p, x, y, shadow, 0.33f, out);
    float cover = synth_cover(d, 0.003f);
    if (cover <= 0) return;
    float turned = synth_noise(g->p.seed + 2, r * 190, 0.5f) + 0.6f * synth_noise(g->p.seed + 3, r * 400, 7.5f);
    float cloud = synth_fractal(g->p.seed + 4, px * 10, py * 10, 3);
    /* Rim and hub stand above the web. */
    float web = synth_step(0.108f, 0.122f, r) * (1 - synth_step(0.268f, 0.282f, r));
    float height = 0.040f - 0.014f * web - 0.8f * fmaxf(0, d + 0.008f);
    float k = (0.27f + 0.11f * sheen(&g->p, x, y) * (1 - 0.6f * web) + 0.028f * turned * (1 - 0.5f * web) + 0.03f * cloud -
               0.06f * web) * g->p.brightness;
    out->colour = synth_blend(out->colour, (synth_colour){k * 0.96f, k * 0.98f, k}, cover);
    out->height = synth_mix(out->height, height + 0.0001f * turned + 0.0005f * cloud, cover);
    out->gloss = 0.55f * cover;
    out->metal = cover;
    out->part = cover;
}

const synth_class synth_gear = {
    .name = "gear",
    .stain = {0.035f, 0.028f, 0.020f},
    .draw = draw_gear,
    .surface = gear_surface,
    .flaws = {{"broken_tooth", SYNTH_FLAW_MISSING}, {"bent_tooth", SYNTH_FLAW_BENT}, {"crack", SYNTH_FLAW_CRACK},
              {"debris", SYNTH_FLAW_DEBRIS}},
};

/* ---- crown cap ----------------------------------------------------------- */

#define FLUTES 21
#define CAP_TOP 0.275f
#define CAP_EDGE 0.365f

typedef struct {
    pose p;
    float bent_angle, bent_depth;       /* a dented stretch of the skirt */
    float gap_angle, gap_width;         /* of the print that is missing */
} cap;

static void draw_cap(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    cap *c = instance;
    *c = (cap){.p = draw_pose(nature)};
    float angle = synth_between(flaw, -SYNTH_PI, SYNTH_PI);
    if (kind == SYNTH_FLAW_BENT) {
        c->bent_angle = angle;
        c->bent_depth = synth_between(flaw, 0.035f, 0.06f);
    }
    if (kind == SYNTH_FLAW_PRINT) {
        c->gap_angle = angle;
        c->gap_width = synth_between(flaw, 0.35f, 0.75f);
    }
}

/* How far the skirt is pushed in at this angle. */
static float cap_push(const cap *c, float a)
{
    float off = fold(a - c->bent_angle, 2 * SYNTH_PI);
    return c->bent_depth * expf(-off * off / (2 * 0.19f * 0.19f));
}

static float cap_outline(const cap *c, float x, float y)
{
    float r = sqrtf(x * x + y * y), a = atan2f(y, x);
    return r + cap_push(c, a) - (CAP_EDGE + 0.011f * cosf(FLUTES * a));
}

/* A ring and a five-pointed star, with a gap where the print failed. */
static float cap_print(const cap *c, float r, float a)
{
    float ring = synth_cover(fabsf(r - 0.215f) - 0.011f, 0.0025f);
    float f = fabsf(fold(a, 2 * SYNTH_PI / 5));
    /* The edge of a star's arm as a line from (0.165, 0) to the notch at 36 degrees. */
    float x = r * cosf(f), y = r * sinf(f);
    const float nx = 0.072f * 0.809017f, ny = 0.072f * 0.587785f, tx = 0.165f;
    float ex = nx - tx, ey = ny, length = sqrtf(ex * ex + ey * ey);
    float star = synth_cover(((x - tx) * ey - y * ex) / length, 0.0025f);
    float print = fmaxf(ring, star);
    if (c->gap_width <= 0) return print;
    float off = fabsf(fold(a - c->gap_angle, 2 * SYNTH_PI)) - c->gap_width;
    off += 0.12f * synth_noise(c->p.seed + 8, r * 60, a * 9);
    return print * synth_step(-0.03f, 0.03f, off);
}

static void cap_surface(const void *instance, float x, float y, synth_surface *out)
{
    static const synth_colour enamel = {0.42f, 0.028f, 0.030f}, ink = {0.80f, 0.74f, 0.58f};
    const cap *c = instance;
    float sx = x - SHADOW_X, sy = y - SHADOW_Y;
    to_part(&c->p, &sx, &sy);
    float px = x, py = y;
    to_part(&c->p, &px, &py);
    float r = sqrtf(px * px + py * py), a = atan2f(py, px), d = cap_outline(c, px, py);
    table(&c->p, x, y, synth_cover(cap_outline(c, sx, sy), 0.02f), 0.42f, out);
    float cover = synth_cover(d, 0.003f);
    if (cover <= 0) return;
    float pushed = r + cap_push(c, a) * synth_step(0.20f, 0.30f, r);
    float down = synth_clamp((pushed - CAP_TOP) / (CAP_EDGE - CAP_TOP), 0, 1.1f);
    float flute = cosf(FLUTES * a) * synth_step(0.05f, 0.7f, down);
    float height = 0.055f - 0.25f * r * r - 0.055f * down * down + 0.009f * flute;
    float orange = synth_fractal(c->p.seed + 2, px * 26, py * 26, 2);
    float k = c->p.brightness * (1 + 0.03f * orange) * (1 - 0.15f * down);
    float print = pushed < CAP_TOP ? cap_print(c, r, a) : 0;
    synth_colour paint = synth_scale(synth_blend(enamel, ink, print), k);
    /* Worn to bare metal along the cut edge. */
    float bare = synth_step(-0.010f, -0.002f, d);
    paint = synth_blend(paint, (synth_colour){0.50f, 0.50f, 0.50f}, 0.7f * bare);
    out->colour = synth_blend(out->colour, paint, cover);
    out->height = synth_mix(out->height, height + 0.0007f * orange, cover);
    out->gloss = 0.75f * cover;
    out->part = cover;
}

const synth_class synth_cap = {
    .name = "bottle_cap",
    .stain = {0.17f, 0.075f, 0.025f},
    .draw = draw_cap,
    .surface = cap_surface,
    .flaws = {{"bent_edge", SYNTH_FLAW_BENT}, {"dent", SYNTH_FLAW_DENT}, {"misprint", SYNTH_FLAW_PRINT},
              {"scratch", SYNTH_FLAW_SCRATCH}},
};

_Static_assert(sizeof(nut) <= SYNTH_INSTANCE_BYTES && sizeof(gear) <= SYNTH_INSTANCE_BYTES &&
               sizeof(cap) <= SYNTH_INSTANCE_BYTES, "instance too large");
