/* recipe.h - what a class of the pre-training's pictures is: a handful of numbers drawn from (seed, class). Every
 * picture of a class follows the same recipe and differs in place, turn, size, colours and light. Internal to
 * src/pretrain. */
#ifndef DCAM_PRETRAIN_RECIPE_H
#define DCAM_PRETRAIN_RECIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "data/synth_scene.h"

/* Patterns that fill the plane: a number, about -1..1, for every place. */
typedef enum {
    FIELD_CLOUD,    /* fractal value noise */
    FIELD_RIDGES,   /* its creases */
    FIELD_FIBRES,   /* noise stretched along one direction */
    FIELD_CELLS,    /* distance to scattered points (Worley) */
    FIELD_CRACKS,   /* borders of their cells */
    FIELD_BANDS,    /* stripes, round or sharp */
    FIELD_CHECKS,   /* two crossed sets of stripes */
    FIELD_WEAVE,    /* threads over and under */
    FIELD_BRICKS,   /* rows of shifted tiles, each of its own brightness */
    FIELD_MAZE,     /* waves of one length from several directions */
    FIELD_CRYSTAL,  /* waves from directions at equal angles */
    FIELD_LATTICE,  /* one outline repeated on a grid */
    FIELD_SCATTER,  /* one outline strewn about */
    FIELD_ARCS,     /* Truchet tiles */
    FIELD_KINDS
} field_kind;

/* An outline in polar form: r(t) = 1 + sum of a_k cos(k t + p_k), or a regular polygon or star. */
#define OUTLINE_WAVES 3
typedef struct {
    int corners;                    /* 0: waves alone */
    float notch;                    /* how deep a star is cut: 0 polygon .. 0.6 */
    float strength[OUTLINE_WAVES], phase[OUTLINE_WAVES];
    int order[OUTLINE_WAVES];
    float stretch;                  /* width to height */
    float hole;                     /* radius of an inner hole, 0: none */
} outline;

typedef struct {
    field_kind kind;
    float period;                   /* pixels, at size 1 */
    float stretch;                  /* of y against x */
    float angle;
    int count;                      /* octaves, directions or rows */
    float shape;                    /* 0..1: duty, gap or roughness, by kind */
    outline form;                   /* of LATTICE and SCATTER */
} field;

/* Things drawn on top of a field. */
typedef enum { MARKS_NONE, MARKS_FRACTAL, MARKS_GLYPHS, MARKS_SHAPES, MARKS_CURVES, MARKS_CONTOURS, MARKS_KINDS } marks_kind;

#define FRACTAL_MAPS 4
#define GLYPHS 4
#define GLYPH_STROKES 4
typedef struct {
    marks_kind kind;
    int count;                      /* things, at most, or maps of the fractal */
    float size;                     /* pixels, at size 1 */
    float line;                     /* width of strokes in pixels; 0: filled */
    float relief;                   /* height against the field's */
    float maps[FRACTAL_MAPS][6];    /* x' = a x + b y + e, y' = c x + d y + f */
    float strokes[GLYPHS][GLYPH_STROKES][4]; /* x0, y0, x1, y1 in -1..1 */
    int stroke_count[GLYPHS];
    outline form;
} marks;

typedef enum { JOIN_NONE, JOIN_ADD, JOIN_MULTIPLY, JOIN_PATCHES, JOIN_KINDS } join_kind;

#define PALETTE 4
typedef struct {
    field base, detail;
    join_kind join;
    float join_weight;
    float warp, warp_period;        /* places are moved by noise: pixels */
    marks marks;
    bool has_object;                /* seen only inside of an outline, on a plain ground */
    outline object;
    float object_size;              /* of the picture */
    synth_colour palette[PALETTE], mark_colour;
    float steps;                    /* 0: colours run into each other .. 1: flat areas */
    float colour_freedom;           /* how far colours differ between pictures, 0..1 */
    float turn_freedom;             /* turns between pictures, radians either way */
    float relief;                   /* light and shadow; 0: flat */
    float gloss;
} recipe;

/* A pure function of its arguments. */
void recipe_draw(uint64_t seed, int class_index, recipe *out);

/* ---- the parts ---- */

float field_at(const field *f, uint32_t seed, float x, float y);
/* Signed distance in radii, about: negative inside. */
float outline_distance(const outline *o, float x, float y);

/* Adds marks to cover (side x side, 0..1). random is a seed; turn and size are the picture's. */
void marks_draw(const marks *m, uint32_t random, float turn, float size, int side, float *cover);

/* A quick generator for the many numbers of one picture. */
static inline uint32_t quick_next(uint32_t *state)
{
    uint32_t x = *state += 0x9e3779b9u;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}
static inline float quick_between(uint32_t *state, float low, float high)
{
    return low + (high - low) * (float)(quick_next(state) >> 8) * (1.0f / 16777216.0f);
}

#endif
