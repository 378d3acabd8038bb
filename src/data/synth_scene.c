/* synth_scene.c - noise, lighting and the camera of the synthetic photographs.
 * Shading: Lambert for the diffuse part; Blinn-Phong-like highlight and a
 * plain environment (bright above, dark below) for the reflected part. Not
 * physics, but the same surface always gives the same picture, and a change of
 * height, colour or gloss changes it as a defect would. */
#include "data/synth_scene.h"

#include <string.h>

#include "base/memory.h"

#define GAMMA 2.2f
/* Standard deviation of the sensor's noise in grey levels: dark part and growth with the light. */
#define NOISE_DARK 1.0f
#define NOISE_LIGHT 1.2f

dcam_status synth_scene_create(int pixels, synth_scene *out)
{
    synth_scene s = {.side = pixels * SYNTH_SAMPLES};
    DCAM_TRY(dcam_alloc((size_t)s.side * (size_t)s.side, sizeof *s.samples, &s.samples));
    *out = s;
    return DCAM_OK;
}

void synth_scene_clear(synth_scene *scene)
{
    dcam_free(scene->samples);
    scene->samples = NULL;
}

void synth_scene_fill(synth_scene *scene, synth_surface_function surface, const void *instance)
{
    float unit = 1.0f / (float)scene->side;
    for (int y = 0; y < scene->side; y++)
        for (int x = 0; x < scene->side; x++) {
            synth_surface *s = &scene->samples[(size_t)y * (size_t)scene->side + (size_t)x];
            memset(s, 0, sizeof *s);
            surface(instance, ((float)x + 0.5f) * unit, ((float)y + 0.5f) * unit, s);
        }
}

const synth_surface *synth_scene_at(const synth_scene *scene, float x, float y)
{
    int last = scene->side - 1;
    int i = (int)(synth_clamp(x, 0, 1) * (float)last), j = (int)(synth_clamp(y, 0, 1) * (float)last);
    return &scene->samples[(size_t)j * (size_t)scene->side + (size_t)i];
}

synth_light synth_light_draw(dcam_random *nature)
{
    synth_light l;
    l.azimuth = synth_between(nature, -2.45f, -2.05f); /* from the upper left */
    l.elevation = synth_between(nature, 0.84f, 0.96f);
    l.intensity = synth_between(nature, 0.93f, 1.07f);
    l.warmth = synth_between(nature, -0.025f, 0.025f);
    l.vignette = synth_between(nature, 0.08f, 0.16f);
    l.noise_seed = dcam_random_u32(nature);
    return l;
}

typedef struct {
    float x, y, z;
} vector;

static vector normal_at(const synth_scene *s, int x, int y)
{
    int last = s->side - 1;
    size_t row = (size_t)y * (size_t)s->side;
    size_t left = row + (size_t)(x > 0 ? x - 1 : 0), right = row + (size_t)(x < last ? x + 1 : last);
    size_t up = (size_t)(y > 0 ? y - 1 : 0) * (size_t)s->side + (size_t)x;
    size_t down = (size_t)(y < last ? y + 1 : last) * (size_t)s->side + (size_t)x;
    float k = 0.5f * (float)s->side;
    float dx = (s->samples[right].height - s->samples[left].height) * k;
    float dy = (s->samples[down].height - s->samples[up].height) * k;
    /* Walls would be black lines; a camera's blur shows them as steep slopes. */
    dx = synth_clamp(dx, -2.0f, 2.0f);
    dy = synth_clamp(dy, -2.0f, 2.0f);
    float length = 1 / sqrtf(dx * dx + dy * dy + 1);
    return (vector){-dx * length, -dy * length, length};
}

static synth_colour shade(const synth_surface *s, vector n, vector light)
{
    float diffuse = n.x * light.x + n.y * light.y + n.z * light.z;
    if (diffuse < 0) diffuse = 0;
    /* The view (0, 0, 1) mirrored at the surface. */
    vector r = {2 * n.z * n.x, 2 * n.z * n.y, 2 * n.z * n.z - 1};
    float towards = r.x * light.x + r.y * light.y + r.z * light.z;
    float sky = 0.5f + 0.5f * towards;
    float spot = towards > 0 ? towards * towards : 0;
    spot *= spot;
    spot *= spot;
    spot *= spot; /* to the 16th */
    float mirrored = 0.15f + 0.75f * sky * sky + 0.9f * spot * spot;
    float body = (0.28f + 0.85f * diffuse) * (1 - 0.75f * s->metal * s->gloss);
    float reflected = s->gloss * (s->metal > 0 ? synth_mix(0.35f * spot, mirrored, s->metal) : 0.35f * spot);
    return (synth_colour){s->colour.r * body + reflected * synth_mix(1, s->colour.r, s->metal),
                          s->colour.g * body + reflected * synth_mix(1, s->colour.g, s->metal),
                          s->colour.b * body + reflected * synth_mix(1, s->colour.b, s->metal)};
}

static float to_level(float linear) { return 255.0f * powf(synth_clamp(linear, 0, 1), 1 / GAMMA); }

void synth_render(const synth_scene *scene, const synth_light *l, float *rgb)
{
    int pixels = scene->side / SYNTH_SAMPLES;
    const float share = 1.0f / (SYNTH_SAMPLES * SYNTH_SAMPLES);
    vector light = {cosf(l->elevation) * cosf(l->azimuth), cosf(l->elevation) * sinf(l->azimuth), sinf(l->elevation)};
    for (int y = 0; y < pixels; y++)
        for (int x = 0; x < pixels; x++) {
            synth_colour sum = {0, 0, 0};
            for (int k = 0; k < SYNTH_SAMPLES * SYNTH_SAMPLES; k++) {
                int sx = x * SYNTH_SAMPLES + k % SYNTH_SAMPLES, sy = y * SYNTH_SAMPLES + k / SYNTH_SAMPLES;
                const synth_surface *s = &scene->samples[(size_t)sy * (size_t)scene->side + (size_t)sx];
                synth_colour c = shade(s, normal_at(scene, sx, sy), light);
                /* One sample never outshines the pixel: no sparkle. */
                sum.r += c.r < 1 ? c.r : 1;
                sum.g += c.g < 1 ? c.g : 1;
                sum.b += c.b < 1 ? c.b : 1;
            }
            float u = ((float)x + 0.5f) / (float)pixels - 0.5f, v = ((float)y + 0.5f) / (float)pixels - 0.5f;
            float k = share * l->intensity * (1 - 2 * l->vignette * (u * u + v * v));
            float *out = rgb + ((size_t)y * (size_t)pixels + (size_t)x) * 3;
            out[0] = to_level(sum.r * k * (1 + l->warmth));
            out[1] = to_level(sum.g * k);
            out[2] = to_level(sum.b * k * (1 - l->warmth));
        }
}

static inline uint32_t scramble(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    h *= 0x846ca68bu;
    return h ^ (h >> 16);
}

/* Sum of four bytes: near enough to normal for a sensor; unit deviation. */
static float bell(uint32_t h)
{
    float sum = (float)(h & 255) + (float)(h >> 8 & 255) + (float)(h >> 16 & 255) + (float)(h >> 24);
    return (sum - 510.0f) * (1 / 147.8f);
}

void synth_expose(const float *rgb, int pixels, const synth_light *l, uint8_t *out)
{
    size_t count = (size_t)pixels * (size_t)pixels * 3;
    for (size_t i = 0; i < count; i++) {
        /* Most of the noise is common to the three channels, as after demosaicing. */
        float common = bell(scramble((uint32_t)(i / 3) ^ l->noise_seed));
        float own = bell(scramble((uint32_t)i * 2654435761u ^ l->noise_seed ^ 0x5bd1e995u));
        float deviation = NOISE_DARK + NOISE_LIGHT * rgb[i] / 255.0f;
        float v = rgb[i] + deviation * (0.8f * common + 0.6f * own);
        out[i] = (uint8_t)(synth_clamp(v, 0, 255) + 0.5f);
    }
}

/* The row's part of a lattice point's hash, shared by its points. */
static inline uint32_t hash_row(uint32_t seed, int y) { return scramble((uint32_t)y * 0x85ebca77u ^ seed); }

static inline float hash_point(uint32_t row, int x)
{
    return (float)(int32_t)(scramble((uint32_t)x * 0x9e3779b1u ^ row) >> 8) * (2.0f / 16777216.0f) - 1;
}

float synth_hash(uint32_t seed, int x, int y) { return hash_point(hash_row(seed, y), x); }

float synth_noise(uint32_t seed, float x, float y)
{
    float fx = floorf(x), fy = floorf(y), u = x - fx, v = y - fy;
    int i = (int)fx, j = (int)fy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    uint32_t above = hash_row(seed, j), below = hash_row(seed, j + 1);
    float top = synth_mix(hash_point(above, i), hash_point(above, i + 1), u);
    float bottom = synth_mix(hash_point(below, i), hash_point(below, i + 1), u);
    return synth_mix(top, bottom, v);
}

float synth_fractal(uint32_t seed, float x, float y, int octaves)
{
    float sum = 0, strength = 0.6f;
    for (int k = 0; k < octaves; k++) {
        sum += strength * synth_noise(seed + (uint32_t)k * 101u, x, y);
        strength *= 0.5f;
        x = 2 * x + 17.3f; /* shifted, so that lattices do not line up */
        y = 2 * y + 5.7f;
    }
    return sum;
}

void synth_cells(uint32_t seed, float x, float y, float *nearest, float *second)
{
    int i = (int)floorf(x), j = (int)floorf(y);
    float first = 9, next = 9;
    for (int b = j - 1; b <= j + 1; b++)
        for (int a = i - 1; a <= i + 1; a++) {
            float dx = (float)a + 0.5f + 0.42f * synth_hash(seed, a, b) - x;
            float dy = (float)b + 0.5f + 0.42f * synth_hash(seed ^ 0xabcdefu, a, b) - y;
            float d = dx * dx + dy * dy;
            if (d < first) {
                next = first;
                first = d;
            } else if (d < next) {
                next = d;
            }
        }
    *nearest = sqrtf(first);
    *second = sqrtf(next);
}
