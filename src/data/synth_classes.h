/* synth_classes.h - the products of the synthetic data set and their flaws.
 * Internal to src/data. */
#ifndef DCAM_DATA_SYNTH_CLASSES_H
#define DCAM_DATA_SYNTH_CLASSES_H

#include <stddef.h>

#include "data/synth_scene.h"

typedef enum {
    SYNTH_FLAW_NONE,
    /* Drawn on any surface (synth_flaws.c). */
    SYNTH_FLAW_SCRATCH,
    SYNTH_FLAW_CRACK,
    SYNTH_FLAW_DENT,
    SYNTH_FLAW_STAIN,
    SYNTH_FLAW_HOLE,
    SYNTH_FLAW_DEBRIS, /* foreign particles */
    SYNTH_FLAW_FIBRE,  /* a hair or thread lying on it */
    /* Of the product itself: its draw function knows them. */
    SYNTH_FLAW_MISSING,
    SYNTH_FLAW_BENT,
    SYNTH_FLAW_MISPLACED,
    SYNTH_FLAW_PRINT,
    SYNTH_FLAW_CHIP,
    SYNTH_FLAW_SOLDER
} synth_flaw_kind;

typedef struct {
    const char *name; /* of the folder */
    synth_flaw_kind kind;
} synth_flaw;

#define SYNTH_MAX_FLAWS 5
/* Room for what a class draws for one photograph. */
#define SYNTH_INSTANCE_BYTES 1024

typedef struct {
    const char *name;
    synth_colour stain; /* what a stain looks like on it */
    /* Draws one good product from nature; a flaw of its own kind is put in with numbers from flaw_random
     * alone, so that the product is otherwise the same. kind may be SYNTH_FLAW_NONE or one of any surface,
     * which changes nothing here. */
    void (*draw)(dcam_random *nature, synth_flaw_kind kind, dcam_random *flaw_random, void *instance);
    synth_surface_function surface;
    synth_flaw flaws[SYNTH_MAX_FLAWS]; /* ends with a NULL name */
} synth_class;

/* Textures and objects in turn, so that any first few hold both. */
extern const synth_class *const synth_classes[];
extern const size_t synth_class_count;

extern const synth_class synth_weave, synth_brushed, synth_wood, synth_leather, synth_tiles;
extern const synth_class synth_nut, synth_gear, synth_cap, synth_capsule, synth_board;

/* Changes the surface of a finished scene. strength 1 is the usual size and depth. */
void synth_flaw_apply(synth_scene *scene, synth_flaw_kind kind, synth_colour stain, float strength, dcam_random *random);

#endif
