/* synth_parts.c - parts that lie in a fixed direction: a two-coloured medicine
 * capsule with a printed number, and a small circuit board with components. */
#include <stdbool.h>

#include "data/synth_classes.h"

/* ---- capsule -------------------------------------------------------------- */

#define CAPSULE_RADIUS 0.135f
#define CAPSULE_HALF 0.20f /* middle to the centre of a round end */

typedef struct {
    uint32_t seed;
    float x, y, angle, brightness, roll; /* roll: how far the print is turned away */
    float gap, tilt;                     /* of the cap against the body */
    float print_from, print_to;          /* the stretch of the print that failed */
} capsule;

static void draw_capsule(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    capsule *c = instance;
    *c = (capsule){.seed = dcam_random_u32(nature)};
    c->x = synth_between(nature, 0.485f, 0.515f);
    c->y = synth_between(nature, 0.485f, 0.515f);
    c->angle = synth_between(nature, -0.07f, 0.07f) + 0.35f;
    c->brightness = synth_between(nature, 0.96f, 1.04f);
    c->roll = synth_between(nature, -0.010f, 0.010f);
    if (kind == SYNTH_FLAW_MISPLACED) {
        c->gap = synth_between(flaw, 0.085f, 0.115f);
        c->tilt = (dcam_random_below(flaw, 2) ? 1.0f : -1.0f) * synth_between(flaw, 0.06f, 0.16f);
    }
    if (kind == SYNTH_FLAW_PRINT) {
        c->print_from = synth_between(flaw, -0.22f, -0.12f);
        c->print_to = c->print_from + synth_between(flaw, 0.07f, 0.12f);
    }
}

/* One digit of seven strokes, about 0.05 x 0.08, middle at (0, 0). */
static float digit_distance(int strokes, float x, float y)
{
    static const float place[7][3] = {/* x, y, 1 if upright */
                                      {0, -0.038f, 0},     {0.020f, -0.019f, 1},  {0.020f, 0.019f, 1}, {0, 0.038f, 0},
                                      {-0.020f, 0.019f, 1}, {-0.020f, -0.019f, 1}, {0, 0, 0}};
    float best = 9;
    for (int k = 0; k < 7; k++) {
        if (!(strokes >> k & 1)) continue;
        float dx = x - place[k][0], dy = y - place[k][1];
        bool upright = place[k][2] > 0;
        best = fminf(best, synth_box(dx, dy, upright ? 0.0045f : 0.021f, upright ? 0.020f : 0.0045f, 0.004f));
    }
    return best;
}

/* "250" on the body. */
static float capsule_print(const capsule *c, float x, float y)
{
    static const int strokes[3] = {0x5b, 0x6d, 0x3f};
    float d = 9;
    for (int k = 0; k < 3; k++) d = fminf(d, digit_distance(strokes[k], x + 0.205f - 0.068f * (float)k, y - c->roll));
    float print = synth_cover(d, 0.002f) * 0.9f;
    if (c->print_to <= c->print_from) return print;
    float ragged = 0.008f * synth_noise(c->seed + 7, x * 70, y * 70);
    float kept = 1 - synth_step(-0.004f, 0.004f, x + ragged - c->print_from) * (1 - synth_step(-0.004f, 0.004f, x + ragged - c->print_to));
    return print * kept;
}

/* Distance from the axis of a half capsule whose round end is at `end`. */
static float axis_distance(float x, float y, float from, float to)
{
    float dx = x < from ? from - x : x > to ? x - to : 0;
    return sqrtf(dx * dx + y * y);
}

static void lay_half(const capsule *c, synth_colour colour, float radius, float q, float inside, float grain,
                     synth_surface *out)
{
    float k = c->brightness * (1 + 0.015f * grain);
    float t = synth_clamp(q / radius, 0, 1);
    out->colour = synth_blend(out->colour, synth_scale(colour, k * (1 - 0.22f * t * t * t)), inside);
    /* Flatter than a true cylinder: the soft light of a photo box hides its curvature. */
    out->height = synth_mix(out->height, 0.02f + 0.62f * radius * sqrtf(fmaxf(0, 1 - t * t)), inside);
    out->gloss = fmaxf(out->gloss, 0.95f * inside);
    out->part = fmaxf(out->part, inside);
}

static void capsule_surface(const void *instance, float x, float y, synth_surface *out)
{
    static const synth_colour body = {0.74f, 0.68f, 0.55f}, lid = {0.55f, 0.15f, 0.022f}, ink = {0.05f, 0.06f, 0.09f};
    const capsule *c = instance;
    float px = x - c->x, py = y - c->y;
    synth_turn(c->angle, &px, &py);
    /* The lid in its own frame: pulled off by the gap, tilted about the seam. */
    float lx = px - c->gap, ly = py;
    synth_turn(c->tilt, &lx, &ly);
    float sx = px - 0.022f, sy = py - 0.026f;
    float cloth = synth_fractal(c->seed + 1, x * 46, y * 46, 3);
    float shadow = synth_cover(axis_distance(sx, sy, -CAPSULE_HALF, CAPSULE_HALF + c->gap) - CAPSULE_RADIUS, 0.05f);
    float k = 0.30f * (1 + 0.04f * cloth) * (1 - 0.55f * shadow);
    out->colour = (synth_colour){k * 0.88f, k, k * 1.12f};
    out->height = 0.0004f * cloth;
    float grain = synth_fractal(c->seed + 2, px * 30, py * 30, 2);
    float q = axis_distance(px, py, -CAPSULE_HALF, 1);
    /* The body goes on under the lid for a while, so that a gap shows it. */
    float in_body = synth_cover(q - CAPSULE_RADIUS * 0.96f, 0.0025f) * synth_cover(px - 0.11f, 0.002f);
    if (in_body > 0) {
        synth_colour printed = synth_blend(body, ink, capsule_print(c, px, py));
        lay_half(c, printed, CAPSULE_RADIUS * 0.96f, q, in_body, grain, out);
    }
    float ql = axis_distance(lx, ly, -1, CAPSULE_HALF);
    float in_lid = synth_cover(ql - CAPSULE_RADIUS, 0.0025f) * synth_cover(-lx + 0.02f, 0.002f);
    if (in_lid > 0) {
        /* The locking groove. */
        float groove = expf(-(lx - 0.075f) * (lx - 0.075f) / (0.006f * 0.006f));
        lay_half(c, synth_scale(lid, 1 - 0.22f * groove), CAPSULE_RADIUS, ql, in_lid, grain, out);
        out->height -= 0.004f * groove * in_lid;
    }
}

const synth_class synth_capsule = {
    .name = "capsule",
    .stain = {0.10f, 0.07f, 0.05f},
    .draw = draw_capsule,
    .surface = capsule_surface,
    .flaws = {{"misprint", SYNTH_FLAW_PRINT}, {"open", SYNTH_FLAW_MISPLACED}, {"crack", SYNTH_FLAW_CRACK},
              {"dent", SYNTH_FLAW_DENT}, {"specks", SYNTH_FLAW_DEBRIS}},
};

/* ---- board ---------------------------------------------------------------- */

typedef enum { PART_CHIP, PART_RESISTOR, PART_CAPACITOR, PART_CAN } part_kind;

typedef struct {
    part_kind kind;
    float x, y, half_x, half_y; /* from the board's middle; of the body */
    bool upright;               /* contacts above and below instead of left and right */
    int pins;                   /* a side, of chips */
} component;

static const component components[] = {
    {PART_CHIP, 0.02f, -0.04f, 0.105f, 0.105f, false, 7},
    {PART_CHIP, -0.27f, 0.10f, 0.055f, 0.075f, false, 4},
    {PART_CHIP, 0.22f, 0.26f, 0.080f, 0.050f, true, 5},
    {PART_CAN, -0.28f, -0.25f, 0.082f, 0.082f, false, 0},
    {PART_CAN, 0.31f, 0.05f, 0.062f, 0.062f, false, 0},
    {PART_RESISTOR, -0.08f, 0.20f, 0.034f, 0.018f, false, 0},
    {PART_RESISTOR, -0.08f, 0.26f, 0.034f, 0.018f, false, 0},
    {PART_RESISTOR, -0.08f, 0.32f, 0.034f, 0.018f, false, 0},
    {PART_RESISTOR, 0.14f, -0.29f, 0.018f, 0.034f, true, 0},
    {PART_RESISTOR, 0.20f, -0.29f, 0.018f, 0.034f, true, 0},
    {PART_CAPACITOR, 0.29f, -0.27f, 0.022f, 0.038f, true, 0},
    {PART_CAPACITOR, -0.06f, -0.28f, 0.038f, 0.022f, false, 0},
    {PART_CAPACITOR, 0.29f, -0.13f, 0.038f, 0.022f, false, 0},
    {PART_CAPACITOR, -0.28f, 0.29f, 0.038f, 0.022f, false, 0},
};
#define COMPONENTS ((int)(sizeof components / sizeof components[0]))
#define FIRST_SMALL 5 /* those from here on can be missing or crooked */

/* Copper tracks under the paint: from, to. */
static const float tracks[][4] = {
    {-0.38f, -0.12f, -0.16f, -0.12f}, {-0.16f, -0.12f, -0.12f, -0.08f}, {-0.38f, -0.09f, -0.20f, -0.09f},
    {-0.20f, -0.09f, -0.16f, -0.05f}, {-0.16f, -0.05f, -0.13f, -0.05f}, {-0.20f, 0.05f, -0.16f, 0.01f},
    {-0.16f, 0.01f, -0.13f, 0.01f},   {-0.20f, 0.05f, -0.20f, 0.38f},   {-0.13f, 0.20f, -0.18f, 0.15f},
    {-0.13f, 0.26f, -0.16f, 0.23f},   {-0.16f, 0.23f, -0.16f, 0.10f},   {-0.03f, 0.20f, 0.03f, 0.20f},
    {0.03f, 0.20f, 0.10f, 0.27f},     {-0.03f, 0.26f, 0.03f, 0.32f},    {0.03f, 0.32f, 0.10f, 0.32f},
    {-0.03f, 0.32f, 0.02f, 0.37f},    {0.02f, 0.37f, 0.38f, 0.37f},     {0.16f, 0.00f, 0.20f, 0.04f},
    {0.20f, 0.04f, 0.20f, 0.17f},     {0.16f, -0.06f, 0.22f, -0.06f},   {0.22f, -0.06f, 0.26f, -0.10f},
    {0.14f, -0.22f, 0.14f, -0.16f},   {0.20f, -0.22f, 0.20f, -0.12f},   {0.20f, -0.12f, 0.16f, -0.09f},
    {-0.12f, -0.28f, -0.17f, -0.28f}, {0.00f, -0.28f, 0.08f, -0.36f},   {0.08f, -0.36f, 0.36f, -0.36f},
    {-0.34f, 0.29f, -0.38f, 0.25f},   {-0.38f, 0.25f, -0.38f, 0.00f},   {0.31f, 0.12f, 0.36f, 0.17f},
    {0.36f, 0.17f, 0.36f, 0.34f},
};
#define TRACKS ((int)(sizeof tracks / sizeof tracks[0]))

static const float vias[][2] = {{-0.38f, -0.12f}, {-0.38f, -0.09f}, {-0.20f, 0.38f}, {0.38f, 0.37f},  {0.20f, 0.17f},
                                {0.36f, -0.36f},  {-0.38f, 0.00f},  {0.36f, 0.34f},  {0.08f, -0.36f}, {-0.16f, 0.10f}};
#define VIAS ((int)(sizeof vias / sizeof vias[0]))

typedef struct {
    uint32_t seed;
    float x, y, angle, brightness;
    float shift[COMPONENTS][3]; /* x, y, angle of each component */
    int missing;                /* or -1 */
    float solder_x, solder_y, solder_size; /* a blob; size 0: none */
} board;

static void draw_board(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    board *b = instance;
    *b = (board){.seed = dcam_random_u32(nature), .missing = -1};
    b->x = synth_between(nature, 0.490f, 0.510f);
    b->y = synth_between(nature, 0.490f, 0.510f);
    b->angle = synth_between(nature, -0.018f, 0.018f);
    b->brightness = synth_between(nature, 0.95f, 1.05f);
    for (int i = 0; i < COMPONENTS; i++) {
        b->shift[i][0] = synth_between(nature, -0.0022f, 0.0022f);
        b->shift[i][1] = synth_between(nature, -0.0022f, 0.0022f);
        b->shift[i][2] = synth_between(nature, -0.018f, 0.018f);
    }
    int which = FIRST_SMALL + (int)dcam_random_below(flaw, (uint64_t)(COMPONENTS - FIRST_SMALL));
    if (kind == SYNTH_FLAW_MISSING) b->missing = which;
    if (kind == SYNTH_FLAW_MISPLACED) {
        b->shift[which][0] += synth_between(flaw, -0.014f, 0.014f);
        b->shift[which][1] += synth_between(flaw, -0.014f, 0.014f);
        b->shift[which][2] += (dcam_random_below(flaw, 2) ? 1.0f : -1.0f) * synth_between(flaw, 0.35f, 0.85f);
    }
    if (kind == SYNTH_FLAW_SOLDER) {
        const component *chip = &components[0];
        b->solder_x = chip->x + (dcam_random_below(flaw, 2) ? 1.0f : -1.0f) * (chip->half_x + 0.020f);
        b->solder_y = chip->y + synth_between(flaw, -0.7f, 0.7f) * chip->half_y;
        b->solder_size = synth_between(flaw, 0.018f, 0.028f);
    }
}

static float segment_distance(const float s[4], float x, float y)
{
    float dx = s[2] - s[0], dy = s[3] - s[1];
    float t = synth_clamp(((x - s[0]) * dx + (y - s[1]) * dy) / (dx * dx + dy * dy), 0, 1);
    float ex = s[0] + t * dx - x, ey = s[1] + t * dy - y;
    return sqrtf(ex * ex + ey * ey);
}

static void lay(synth_surface *s, synth_colour c, float height, float gloss, float metal, float cover)
{
    if (cover <= 0) return;
    s->colour = synth_blend(s->colour, c, cover);
    s->height = synth_mix(s->height, height, cover);
    s->gloss = synth_mix(s->gloss, gloss, cover);
    s->metal = synth_mix(s->metal, metal, cover);
}

static const synth_colour tin = {0.52f, 0.52f, 0.50f}, gold = {0.58f, 0.42f, 0.16f};

static void bare_board(const board *b, float x, float y, synth_surface *s)
{
    static const synth_colour paint = {0.012f, 0.105f, 0.040f}, over_copper = {0.030f, 0.190f, 0.070f};
    float grain = synth_fractal(b->seed + 2, x * 60, y * 60, 2), d = 9, hole = 9;
    for (int i = 0; i < TRACKS; i++) d = fminf(d, segment_distance(tracks[i], x, y));
    float copper = synth_cover(d - 0.0055f, 0.002f);
    float k = b->brightness * (1 + 0.05f * grain);
    lay(s, synth_scale(synth_blend(paint, over_copper, copper), k), 0.012f + 0.0012f * copper, 0.5f, 0, 1);
    for (int i = 0; i < VIAS; i++) {
        float dx = x - vias[i][0], dy = y - vias[i][1];
        hole = fminf(hole, sqrtf(dx * dx + dy * dy));
    }
    lay(s, gold, 0.0125f, 0.6f, 1, synth_cover(hole - 0.013f, 0.002f));
    lay(s, (synth_colour){0.01f, 0.01f, 0.01f}, 0.008f, 0, 0, synth_cover(hole - 0.006f, 0.002f));
}

/* White outline printed around a component. */
static void silk_screen(const component *p, float x, float y, synth_surface *s)
{
    float d = p->kind == PART_CAN ? sqrtf(x * x + y * y) - p->half_x - 0.014f
                                  : synth_box(x, y, p->half_x + (p->upright ? 0.010f : 0.032f),
                                              p->half_y + (p->upright ? 0.032f : 0.010f), 0.003f);
    if (p->kind == PART_CHIP) return; /* its pins are in the way */
    lay(s, (synth_colour){0.62f, 0.64f, 0.60f}, s->height + 0.0003f, 0.1f, 0, 0.85f * synth_cover(fabsf(d) - 0.0022f, 0.0018f));
}

/* The two pads of a small component, which show when it is missing. */
static void pads(const component *p, float x, float y, synth_surface *s)
{
    float u = p->upright ? y : x, v = p->upright ? x : y, a = p->upright ? p->half_y : p->half_x;
    float d = synth_box(fabsf(u) - a - 0.002f, v, 0.016f, 0.020f, 0.003f);
    lay(s, tin, 0.0135f, 0.55f, 1, synth_cover(d, 0.002f));
}

static void chip(const board *b, const component *p, float x, float y, synth_surface *s)
{
    float u = p->upright ? x : y, v = p->upright ? y : x, a = p->upright ? p->half_x : p->half_y, c = p->upright ? p->half_y : p->half_x;
    float pitch = 2 * a / (float)p->pins;
    float along = u - pitch * (floorf((u + a) / pitch) + 0.5f) + a;
    if (fabsf(u) < a) {
        float pin = synth_box(along, fabsf(v) - c - 0.014f, 0.22f * pitch, 0.020f, 0.002f);
        lay(s, tin, 0.026f - 0.45f * fmaxf(0, fabsf(v) - c - 0.006f), 0.6f, 1, synth_cover(pin, 0.0018f));
    }
    float d = synth_box(x, y, p->half_x, p->half_y, 0.004f);
    float dot = sqrtf((x + p->half_x * 0.72f) * (x + p->half_x * 0.72f) + (y + p->half_y * 0.72f) * (y + p->half_y * 0.72f)) - 0.010f;
    float grain = synth_noise(b->seed + 4, x * 140, y * 140);
    float k = 0.030f * (1 + 0.12f * grain);
    /* Two lines of lettering, of strokes too small to read. */
    float row = fminf(fabsf(y + 0.015f), fabsf(y - 0.018f)) - 0.0075f;
    float letter = synth_hash(77, (int)floorf(x * 150), (int)floorf(y * 30)) > 0.1f ? 0.11f : 0;
    float text = row < 0 && fabsf(x) < p->half_x * 0.65f ? letter : 0;
    synth_colour body = {k + text, k + text, k * 1.05f + text};
    lay(s, body, 0.045f - 0.8f * fmaxf(0, d + 0.008f) - 0.0015f * synth_cover(dot, 0.002f), 0.28f, 0, synth_cover(d, 0.002f));
}

static void small_part(const component *p, float x, float y, synth_surface *s)
{
    float u = p->upright ? y : x, a = p->upright ? p->half_y : p->half_x;
    bool resistor = p->kind == PART_RESISTOR;
    float d = synth_box(x, y, p->half_x, p->half_y, 0.003f);
    float end = synth_step(-0.002f, 0.002f, fabsf(u) - (a - 0.013f));
    synth_colour body = resistor ? (synth_colour){0.028f, 0.028f, 0.032f} : (synth_colour){0.33f, 0.20f, 0.10f};
    float mark = resistor && fabsf(u) < 0.012f && fabsf(p->upright ? x : y) < 0.008f ? 0.30f : 0;
    synth_colour c = synth_blend((synth_colour){body.r + mark, body.g + mark, body.b + mark}, tin, end);
    lay(s, c, 0.030f - 0.7f * fmaxf(0, d + 0.006f), synth_mix(0.35f, 0.6f, end), end, synth_cover(d, 0.002f));
    /* The fillet of solder before each end. */
    float fillet = synth_box(fabsf(u) - a - 0.005f, p->upright ? x : y, 0.007f, 0.014f, 0.004f);
    lay(s, tin, 0.018f, 0.7f, 1, synth_cover(fillet, 0.002f) * (1 - synth_cover(d, 0.002f)));
}

static void can(const component *p, float x, float y, synth_surface *s)
{
    float r = sqrtf(x * x + y * y), d = r - p->half_x;
    float dark = synth_cover(x + 0.55f * p->half_x, 0.002f) * synth_cover(d + 0.008f, 0.002f);
    float slot = fminf(synth_box(x, y, 0.0018f, p->half_x * 0.6f, 0.001f), synth_box(x, y, p->half_x * 0.6f, 0.0018f, 0.001f));
    float height = 0.075f - 0.9f * fmaxf(0, d + 0.010f) - 0.002f * synth_cover(slot, 0.002f);
    synth_colour c = synth_blend((synth_colour){0.50f, 0.51f, 0.52f}, (synth_colour){0.03f, 0.03f, 0.04f}, dark);
    lay(s, synth_scale(c, 1 - 0.35f * synth_cover(slot, 0.002f)), height, 0.6f, 1 - dark, synth_cover(d, 0.002f));
}

static void place_component(const board *b, int i, float x, float y, synth_surface *s)
{
    const component *p = &components[i];
    float px = x - p->x, py = y - p->y, reach = (p->half_x > p->half_y ? p->half_x : p->half_y) * 1.45f + 0.06f;
    if (fabsf(px) > reach || fabsf(py) > reach) return;
    silk_screen(p, px, py, s);
    if (p->kind == PART_RESISTOR || p->kind == PART_CAPACITOR) pads(p, px, py, s);
    if (i == b->missing) return;
    px -= b->shift[i][0];
    py -= b->shift[i][1];
    synth_turn(b->shift[i][2], &px, &py);
    /* A shadow, away from the light. */
    float thick = p->kind == PART_CAN ? 0.020f : 0.010f, sx = px - thick, sy = py - thick;
    float d = p->kind == PART_CAN ? sqrtf(sx * sx + sy * sy) - p->half_x : synth_box(sx, sy, p->half_x, p->half_y, 0.004f);
    s->colour = synth_scale(s->colour, 1 - 0.5f * synth_cover(d, 0.008f));
    switch (p->kind) {
    case PART_CHIP: chip(b, p, px, py, s); break;
    case PART_CAN: can(p, px, py, s); break;
    default: small_part(p, px, py, s); break;
    }
}

static void board_surface(const void *instance, float x, float y, synth_surface *out)
{
    const board *b = instance;
    float px = x - b->x, py = y - b->y;
    synth_turn(b->angle, &px, &py);
    float cloth = synth_fractal(b->seed + 1, x * 50, y * 50, 3);
    float d = synth_box(px, py, 0.44f, 0.44f, 0.03f);
    float corner_x = fabsf(px) - 0.395f, corner_y = fabsf(py) - 0.395f;
    float screw = sqrtf(corner_x * corner_x + corner_y * corner_y);
    float shadow = synth_cover(synth_box(px - 0.012f, py - 0.014f, 0.44f, 0.44f, 0.03f), 0.015f);
    float k = 0.36f * (1 + 0.04f * cloth) * (1 - 0.5f * shadow);
    out->colour = (synth_colour){k, k, k * 0.98f};
    float cover = synth_cover(d, 0.002f) * synth_cover(0.020f - screw, 0.002f);
    if (cover <= 0) return;
    synth_surface s = {.part = 1};
    bare_board(b, px, py, &s);
    lay(&s, gold, 0.0125f, 0.6f, 1, synth_cover(screw - 0.034f, 0.002f));
    for (int i = 0; i < COMPONENTS; i++) place_component(b, i, px, py, &s);
    if (b->solder_size > 0) {
        float dx = (px - b->solder_x) * 1.25f, dy = py - b->solder_y, r = sqrtf(dx * dx + dy * dy);
        float blob = r - b->solder_size * (1 + 0.25f * synth_noise(b->seed + 9, px * 55, py * 55));
        float dome = sqrtf(synth_clamp(-blob / b->solder_size, 0, 1));
        lay(&s, (synth_colour){0.60f, 0.60f, 0.60f}, 0.022f + 0.016f * dome, 0.8f, 1, synth_cover(blob, 0.002f));
    }
    lay(out, s.colour, s.height, s.gloss, s.metal, cover);
    out->part = cover;
}

const synth_class synth_board = {
    .name = "circuit_board",
    .stain = {0.30f, 0.26f, 0.15f},
    .draw = draw_board,
    .surface = board_surface,
    .flaws = {{"missing_part", SYNTH_FLAW_MISSING}, {"crooked_part", SYNTH_FLAW_MISPLACED},
              {"solder_bridge", SYNTH_FLAW_SOLDER}, {"scratch", SYNTH_FLAW_SCRATCH}},
};

_Static_assert(sizeof(capsule) <= SYNTH_INSTANCE_BYTES && sizeof(board) <= SYNTH_INSTANCE_BYTES, "instance too large");
