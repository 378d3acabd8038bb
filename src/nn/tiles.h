/* tiles.h - how maps are cut into the tiles of winograd_tile.h, whatever the width of the vectors. */
#ifndef DCAM_NN_TILES_H
#define DCAM_NN_TILES_H

#include <stddef.h>

#include "base/vector.h"

#define TILE 4
#define SPAN 6             /* TILE + 3 - 1 */
#define PLACES (SPAN * SPAN)
#define PANEL 16           /* output channels that lie side by side in U */
/* Keeps the 36 matrices off each other's cache sets. */
#define PLACE_PADDING 16

/* The points of winograd_tile.h. */
#define POINT_A 0.70710678118654752f
#define POINT_B 1.41421356237309505f
#define A_CUBED 0.35355339059327376f
#define B_CUBED 2.82842712474619010f

/* A map of n images, h x w x c, cut into tiles. */
typedef struct {
    const float *map;
    const float *zeros;    /* c of them: what lies outside */
    size_t h, w, c, tiles_y, tiles_x;
} tiled_map;

DCAM_INLINE tiled_map tile_map(const float *map, const float *zeros, int h, int w, int c)
{
    return (tiled_map){map, zeros, (size_t)h, (size_t)w, (size_t)c, ((size_t)h + TILE - 1) / TILE,
                       ((size_t)w + TILE - 1) / TILE};
}

/* First row and column of a tile's outputs, and its image. */
typedef struct { size_t image, y, x; } tile_place;

DCAM_INLINE tile_place place_of(const tiled_map *m, size_t tile)
{
    const size_t a_map = m->tiles_y * m->tiles_x, inside = tile % a_map;
    return (tile_place){tile / a_map, inside / m->tiles_x * TILE, inside % m->tiles_x * TILE};
}

/* Channels of position (y, x) of a tile's image; unsigned, so that -1 lies outside too. */
DCAM_INLINE const float *channels_at(const tiled_map *m, size_t image, size_t y, size_t x)
{
    return y < m->h && x < m->w ? m->map + ((image * m->h + y) * m->w + x) * m->c : m->zeros;
}

#endif
