/* synth_textures.c - surfaces without a beginning or an end: woven cloth,
 * brushed steel, wood, leather, ceramic tiles. Each is a function of the
 * position and of a few numbers drawn for the photograph. */
#include "data/synth_classes.h"

/* What all textures share: where the piece was cut, and how it lies. */
typedef struct {
    uint32_t seed;
    float shift_x, shift_y, angle, scale, brightness;
} piece;

static piece draw_piece(dcam_random *nature, float turn)
{
    piece p;
    p.seed = dcam_random_u32(nature);
    p.shift_x = synth_between(nature, 0, 40);
    p.shift_y = synth_between(nature, 0, 40);
    p.angle = synth_between(nature, -turn, turn);
    p.scale = synth_between(nature, 0.97f, 1.03f);
    p.brightness = synth_between(nature, 0.94f, 1.06f);
    return p;
}

/* Position on the material, in units of the photograph. */
static void locate(const piece *p, float *x, float *y)
{
    *x -= 0.5f;
    *y -= 0.5f;
    synth_turn(p->angle, x, y);
    *x = *x * p->scale + p->shift_x;
    *y = *y * p->scale + p->shift_y;
}

/* ---- weave ------------------------------------------------------------- */

#define THREADS 20.0f /* a photograph's width */

typedef struct {
    piece p;
    float missing_row, missing_from, missing_to; /* in threads; row -1: none */
    int missing_vertical;
} weave;

static void draw_weave(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    weave *w = instance;
    w->p = draw_piece(nature, 0.03f);
    w->missing_row = -1;
    if (kind != SYNTH_FLAW_MISSING) return;
    float x = synth_between(flaw, 0.25f, 0.75f), y = synth_between(flaw, 0.25f, 0.75f);
    locate(&w->p, &x, &y);
    w->missing_vertical = dcam_random_below(flaw, 2) == 1;
    float across = w->missing_vertical ? x : y, along = w->missing_vertical ? y : x;
    float length = synth_between(flaw, 2.5f, 6.0f);
    w->missing_row = floorf(across * THREADS);
    w->missing_from = along * THREADS - length;
    w->missing_to = along * THREADS + length;
}

/* Round thread: 1 in the middle, -1 where there is none. */
static float thread_profile(float f)
{
    float t = (2 * f - 1) / 0.88f;
    return t * t < 1 ? sqrtf(1 - t * t) : -1;
}

static void weave_surface(const void *instance, float x, float y, synth_surface *out)
{
    static const synth_colour warp_colour = {0.30f, 0.36f, 0.46f}, weft_colour = {0.47f, 0.50f, 0.53f},
                              ground = {0.035f, 0.04f, 0.05f};
    const weave *w = instance;
    locate(&w->p, &x, &y);
    float wave = 0.22f;
    float u = x * THREADS + wave * synth_noise(w->p.seed, x * 5, y * 5);
    float v = y * THREADS + wave * synth_noise(w->p.seed + 1, x * 5, y * 5);
    int i = (int)floorf(u), j = (int)floorf(v);
    float fu = u - (float)i, fv = v - (float)j;
    float side = (i + j) & 1 ? 1.0f : -1.0f;
    float warp = thread_profile(fu), weft = thread_profile(fv);
    if (w->missing_row >= 0) {
        float along = w->missing_vertical ? v : u;
        bool gone = (float)(w->missing_vertical ? i : j) == w->missing_row && along > w->missing_from && along < w->missing_to;
        if (gone && w->missing_vertical) warp = -1;
        if (gone && !w->missing_vertical) weft = -1;
    }
    float warp_height = warp < 0 ? -1 : warp + 0.9f * side * sinf(SYNTH_PI * fv);
    float weft_height = weft < 0 ? -1 : weft - 0.9f * side * sinf(SYNTH_PI * fu);
    bool warp_on_top = warp_height > weft_height;
    float top = warp_on_top ? warp_height : weft_height;
    float along = warp_on_top ? v : u, across = warp_on_top ? u : v;
    int thread = warp_on_top ? i : j + 5000;
    float fibre = synth_noise(w->p.seed + 2, across * 9 + along * 0.8f, along * 1.3f + (float)thread);
    synth_colour c = warp_on_top ? warp_colour : weft_colour;
    float k = 1 + 0.10f * synth_hash(w->p.seed + 3, thread, 7) + 0.16f * fibre;
    float depth = synth_clamp((top + 1.0f) * 0.55f, 0.12f, 1);
    out->colour = top <= -0.99f ? ground : synth_scale(c, k * depth * w->p.brightness);
    out->height = (top < -1 ? -1 : top) * 0.30f / THREADS + 0.02f * fibre / THREADS;
    out->gloss = 0.06f;
    out->part = 1;
}

const synth_class synth_weave = {
    .name = "weave",
    .stain = {0.10f, 0.055f, 0.03f},
    .draw = draw_weave,
    .surface = weave_surface,
    .flaws = {{"missing_thread", SYNTH_FLAW_MISSING}, {"stain", SYNTH_FLAW_STAIN}, {"hole", SYNTH_FLAW_HOLE},
              {"foreign_fibre", SYNTH_FLAW_FIBRE}},
};

/* ---- brushed steel ------------------------------------------------------ */

static void draw_brushed(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    (void)kind;
    (void)flaw;
    *(piece *)instance = draw_piece(nature, 0.02f);
}

static void brushed_surface(const void *instance, float x, float y, synth_surface *out)
{
    const piece *p = instance;
    locate(p, &x, &y);
    float broad = synth_noise(p->seed, x * 2.0f, y * 60);
    float middle = synth_noise(p->seed + 1, x * 5.0f, y * 150);
    float fine = synth_noise(p->seed + 2, x * 14.0f, y * 340);
    float cloud = synth_fractal(p->seed + 3, x * 2, y * 2, 2);
    float streak = 0.45f * broad + 0.35f * middle + 0.35f * fine;
    float k = (0.50f + 0.085f * streak + 0.03f * cloud) * p->brightness;
    out->colour = (synth_colour){k * 0.98f, k, k * 1.03f};
    out->height = 0.00016f * streak + 0.002f * cloud;
    out->gloss = 0.55f;
    out->metal = 1;
    out->part = 1;
}

const synth_class synth_brushed = {
    .name = "brushed_steel",
    .stain = {0.20f, 0.085f, 0.03f},
    .draw = draw_brushed,
    .surface = brushed_surface,
    .flaws = {{"scratch", SYNTH_FLAW_SCRATCH}, {"dent", SYNTH_FLAW_DENT}, {"rust", SYNTH_FLAW_STAIN},
              {"debris", SYNTH_FLAW_DEBRIS}},
};

/* ---- wood --------------------------------------------------------------- */

static void draw_wood(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    (void)kind;
    (void)flaw;
    *(piece *)instance = draw_piece(nature, 0.04f);
}

static void wood_surface(const void *instance, float x, float y, synth_surface *out)
{
    static const synth_colour early = {0.55f, 0.34f, 0.17f}, late = {0.33f, 0.165f, 0.07f};
    const piece *p = instance;
    locate(p, &x, &y);
    float bend = synth_fractal(p->seed, x * 1.6f, y * 0.55f, 3);
    float t = x * 10 + 2.4f * bend + 0.10f * synth_noise(p->seed + 1, x * 30, y * 3);
    float ring = t - floorf(t);
    /* Late wood darkens slowly and ends at once, as year rings do. */
    float dark = synth_step(0.30f, 0.92f, ring) * (1 - synth_step(0.93f, 1.0f, ring));
    dark *= 0.75f + 0.25f * synth_hash(p->seed + 2, (int)floorf(t), 3);
    float fibre = synth_noise(p->seed + 3, x * 120, y * 5);
    float pore = synth_step(0.55f, 0.85f, synth_noise(p->seed + 4, x * 170, y * 9));
    float k = p->brightness * (1 + 0.11f * fibre) * (1 - 0.35f * pore);
    out->colour = synth_scale(synth_blend(early, late, dark), k);
    out->height = 0.0004f * fibre - 0.0009f * pore - 0.0006f * dark;
    out->gloss = 0.10f;
    out->part = 1;
}

const synth_class synth_wood = {
    .name = "wood",
    .stain = {0.05f, 0.045f, 0.06f},
    .draw = draw_wood,
    .surface = wood_surface,
    .flaws = {{"scratch", SYNTH_FLAW_SCRATCH}, {"crack", SYNTH_FLAW_CRACK}, {"hole", SYNTH_FLAW_HOLE},
              {"ink", SYNTH_FLAW_STAIN}},
};

/* ---- leather ------------------------------------------------------------ */

static void draw_leather(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    (void)kind;
    (void)flaw;
    *(piece *)instance = draw_piece(nature, 3.2f);
}

static void leather_surface(const void *instance, float x, float y, synth_surface *out)
{
    const piece *p = instance;
    float nearest, second;
    locate(p, &x, &y);
    float wx = x + 0.012f * synth_noise(p->seed, x * 14, y * 14), wy = y + 0.012f * synth_noise(p->seed + 1, x * 14, y * 14);
    synth_cells(p->seed + 2, wx * 34, wy * 34, &nearest, &second);
    float crease = synth_step(0.0f, 0.30f, second - nearest);
    float bump = crease * (1 - 0.35f * nearest * nearest);
    float cloud = synth_fractal(p->seed + 3, x * 3, y * 3, 3);
    float grain = synth_noise(p->seed + 4, x * 190, y * 190);
    float k = p->brightness * (0.55f + 0.45f * crease) * (1 + 0.10f * cloud + 0.07f * grain);
    out->colour = (synth_colour){0.27f * k, 0.105f * k, 0.045f * k};
    out->height = 0.0042f * bump + 0.0003f * grain + 0.004f * cloud;
    out->gloss = 0.30f * crease;
    out->part = 1;
}

const synth_class synth_leather = {
    .name = "leather",
    .stain = {0.62f, 0.60f, 0.52f},
    .draw = draw_leather,
    .surface = leather_surface,
    .flaws = {{"cut", SYNTH_FLAW_CRACK}, {"hole", SYNTH_FLAW_HOLE}, {"fold", SYNTH_FLAW_DENT},
              {"paint", SYNTH_FLAW_STAIN}},
};

/* ---- tiles --------------------------------------------------------------- */

#define TILES 3.6f /* a photograph's width */

typedef struct {
    piece p;
    int flaw_i, flaw_j;      /* the tile that is chipped or crooked */
    float turn, move_x, move_y;
    float chip_x, chip_y, chip_size; /* relative to the tile's middle; size 0: none */
} tiles;

static void draw_tiles(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw, void *instance)
{
    tiles *t = instance;
    *t = (tiles){.p = draw_piece(nature, 0.012f)};
    float x = 0.5f, y = 0.5f;
    locate(&t->p, &x, &y);
    t->flaw_i = (int)floorf(x * TILES) - (int)dcam_random_below(flaw, 2);
    t->flaw_j = (int)floorf(y * TILES) - (int)dcam_random_below(flaw, 2);
    float sign = dcam_random_below(flaw, 2) ? 1.0f : -1.0f;
    if (kind == SYNTH_FLAW_MISPLACED) {
        t->turn = sign * synth_between(flaw, 0.06f, 0.13f);
        t->move_x = synth_between(flaw, -0.05f, 0.05f);
        t->move_y = synth_between(flaw, -0.05f, 0.05f);
    }
    if (kind == SYNTH_FLAW_CHIP) {
        t->chip_x = sign * synth_between(flaw, 0.36f, 0.44f);
        t->chip_y = (dcam_random_below(flaw, 2) ? 1.0f : -1.0f) * synth_between(flaw, 0.30f, 0.44f);
        t->chip_size = synth_between(flaw, 0.14f, 0.24f);
    }
}

static void grout(const tiles *t, float x, float y, synth_surface *out)
{
    float sand = synth_fractal(t->p.seed + 1, x * 150, y * 150, 2);
    float k = (0.21f + 0.05f * sand) * t->p.brightness;
    out->colour = (synth_colour){k, k * 0.97f, k * 0.92f};
    out->height = 0.0015f * sand - 0.010f;
    out->gloss = 0;
}

static void tiles_surface(const void *instance, float x, float y, synth_surface *out)
{
    static const synth_colour clay = {0.42f, 0.20f, 0.12f};
    const tiles *t = instance;
    locate(&t->p, &x, &y);
    float u = x * TILES, v = y * TILES;
    int i = (int)floorf(u), j = (int)floorf(v);
    float a = u - (float)i - 0.5f, b = v - (float)j - 0.5f;
    bool flawed = i == t->flaw_i && j == t->flaw_j;
    /* No two tiles are laid quite alike. */
    a += 0.010f * synth_hash(t->p.seed + 2, i, j) - (flawed ? t->move_x : 0);
    b += 0.010f * synth_hash(t->p.seed + 3, i, j) - (flawed ? t->move_y : 0);
    synth_turn(0.006f * synth_hash(t->p.seed + 4, i, j) + (flawed ? t->turn : 0), &a, &b);
    grout(t, x, y, out);
    out->part = 1;
    float d = synth_box(a, b, 0.462f, 0.462f, 0.035f);
    float edge = synth_fractal(t->p.seed + 7, u * 14, v * 14, 3);
    float inside = synth_cover(d, 0.006f);
    if (inside <= 0) return;
    float cloud = synth_fractal(t->p.seed + 5, u * 2.2f, v * 2.2f, 4);
    float speck = synth_step(0.62f, 0.8f, synth_noise(t->p.seed + 6, u * 38, v * 38));
    float k = t->p.brightness * (0.52f + 0.035f * synth_hash(t->p.seed + 8, i, j) + 0.05f * cloud) * (1 - 0.25f * speck);
    synth_colour c = {k * 0.90f, k * 0.99f, k * 0.97f};
    float height = 0.004f - 0.010f * synth_step(-0.06f, 0.0f, d) + 0.0008f * cloud, gloss = 0.9f;
    if (flawed && t->chip_size > 0) {
        float dx = a - t->chip_x, dy = b - t->chip_y;
        float chip = synth_cover(sqrtf(dx * dx + dy * dy) - t->chip_size * (1 + 0.5f * edge), 0.012f);
        c = synth_blend(c, synth_scale(clay, 1 + 0.35f * edge), chip);
        height -= chip * (0.010f + 0.006f * edge);
        gloss *= 1 - chip;
    }
    out->colour = synth_blend(out->colour, c, inside);
    out->height = synth_mix(out->height, height, inside);
    out->gloss = gloss * inside;
}

const synth_class synth_tiles = {
    .name = "tiles",
    .stain = {0.16f, 0.11f, 0.05f},
    .draw = draw_tiles,
    .surface = tiles_surface,
    .flaws = {{"crack", SYNTH_FLAW_CRACK}, {"chip", SYNTH_FLAW_CHIP}, {"stain", SYNTH_FLAW_STAIN},
              {"crooked", SYNTH_FLAW_MISPLACED}},
};

_Static_assert(sizeof(weave) <= SYNTH_INSTANCE_BYTES && sizeof(tiles) <= SYNTH_INSTANCE_BYTES, "instance too large");
