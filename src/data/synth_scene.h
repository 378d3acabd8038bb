/* synth_scene.h - a small renderer for synthetic product photographs: a
 * surface (height, colour, gloss) seen from straight above under one soft
 * light. Internal to src/data, but for its noise, cells and small helpers, which
 * src/pretrain uses as well.
 *
 * Coordinates: x to the right, y downwards, both 0..1 over the photograph;
 * heights in the same unit, towards the camera. Colours are linear light. */
#ifndef DCAM_DATA_SYNTH_SCENE_H
#define DCAM_DATA_SYNTH_SCENE_H

#include <math.h>
#include <stdint.h>

#include "base/random.h"
#include "base/status.h"

#define SYNTH_PI 3.14159265f
/* Samples a pixel in each direction: edges are smoothed by averaging them. */
#define SYNTH_SAMPLES 2

typedef struct {
    float r, g, b;
} synth_colour;

/* What one sample of the surface is like. */
typedef struct {
    float height;
    synth_colour colour;
    float gloss; /* 0 matt .. 1 mirror-like */
    float metal; /* 1: reflections take the colour of the surface */
    float part;  /* 1 on the product, 0 on what lies behind it */
} synth_surface;

typedef struct {
    int side; /* samples a row: SYNTH_SAMPLES times the pixels */
    synth_surface *samples; /* side x side */
} synth_scene;

/* Fills in one sample; *out starts as all zero. */
typedef void (*synth_surface_function)(const void *instance, float x, float y, synth_surface *out);

DCAM_MUST_CHECK dcam_status synth_scene_create(int pixels, synth_scene *out);
void synth_scene_clear(synth_scene *scene);
void synth_scene_fill(synth_scene *scene, synth_surface_function surface, const void *instance);
const synth_surface *synth_scene_at(const synth_scene *scene, float x, float y);

/* How one photograph differs from the next although the product is the same. */
typedef struct {
    float azimuth, elevation; /* of the light */
    float intensity, warmth;
    float vignette;
    uint32_t noise_seed;
} synth_light;

synth_light synth_light_draw(dcam_random *nature);
/* pixels x pixels x 3, 0..255 after gamma, before the sensor's noise. */
void synth_render(const synth_scene *scene, const synth_light *light, float *rgb);
/* Adds the sensor's noise and rounds. */
void synth_expose(const float *rgb, int pixels, const synth_light *light, uint8_t *out);

/* ---- noise and shapes -------------------------------------------------- */

/* -1..1, a pure function of the lattice point. */
float synth_hash(uint32_t seed, int x, int y);
/* Smooth value noise with one lattice point a unit, -1..1. */
float synth_noise(uint32_t seed, float x, float y);
/* Octaves of it, each of half the size and half the strength; about -1..1. */
float synth_fractal(uint32_t seed, float x, float y, int octaves);
/* Cells of about one unit: distances to the nearest and second nearest point. */
void synth_cells(uint32_t seed, float x, float y, float *nearest, float *second);

static inline float synth_clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }
static inline float synth_mix(float a, float b, float t) { return a + (b - a) * t; }
static inline synth_colour synth_blend(synth_colour a, synth_colour b, float t)
{
    return (synth_colour){synth_mix(a.r, b.r, t), synth_mix(a.g, b.g, t), synth_mix(a.b, b.b, t)};
}
static inline synth_colour synth_scale(synth_colour c, float k) { return (synth_colour){c.r * k, c.g * k, c.b * k}; }
/* 0 below low, 1 above high, smooth between. */
static inline float synth_step(float low, float high, float v)
{
    float t = synth_clamp((v - low) / (high - low), 0, 1);
    return t * t * (3 - 2 * t);
}
/* Coverage of a shape at signed distance d (negative inside), edge softness s. */
static inline float synth_cover(float d, float s) { return 1 - synth_step(-s, s, d); }
/* Signed distance of a box of half sides a, b with rounded corners. */
static inline float synth_box(float x, float y, float a, float b, float corner)
{
    float dx = fabsf(x) - a + corner, dy = fabsf(y) - b + corner;
    float ox = dx > 0 ? dx : 0, oy = dy > 0 ? dy : 0;
    float in = dx > dy ? dx : dy;
    return sqrtf(ox * ox + oy * oy) + (in < 0 ? in : 0) - corner;
}
static inline void synth_turn(float angle, float *x, float *y)
{
    float c = cosf(angle), s = sinf(angle), u = c * *x + s * *y;
    *y = c * *y - s * *x;
    *x = u;
}
static inline float synth_between(dcam_random *r, float low, float high)
{
    return low + (high - low) * (float)dcam_random_uniform(r);
}

#endif
