/* nearest.h - the two products behind the memory of normal patches (memory.h): rows times a matrix, and the distance of
 * each row to the nearest of many vectors. Both read their right-hand side in panels. */
#ifndef DCAM_DETECT_NEAREST_H
#define DCAM_DETECT_NEAREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Most values of a column: a tile of rows must fit on the stack. */
#define DCAM_PANEL_MAX_DIMENSIONS 1024

/* n columns of `dimensions` values, 16 side by side so that a panel is two vectors wide; what is missing of the last
 * panel is never nearest and gives no output. */
typedef struct {
    size_t columns, dimensions, room; /* room: columns that fit without a new allocation */
    float *values;                    /* ceil(columns / 16) x dimensions x 16 */
    float *half_squares;              /* |column|^2 / 2 */
} dcam_panels;
/* Room for `columns` of that many dimensions; any content is lost. */
DCAM_MUST_CHECK dcam_status dcam_panels_reserve(dcam_panels *panels, size_t columns, size_t dimensions);
void dcam_panels_clear(dcam_panels *panels);
/* vectors: columns x dimensions, a row each (the memory's prototypes). Needs the room. */
void dcam_panels_fill_rows(dcam_panels *panels, const float *vectors, size_t columns, size_t dimensions);
/* matrix: dimensions x columns (a projection). Needs the room. */
void dcam_panels_fill_matrix(dcam_panels *panels, const float *matrix, size_t dimensions, size_t columns);

/* out: rows x columns = in (rows x dimensions) times the panels. */
void dcam_panels_multiply(const dcam_panels *panels, const float *in, size_t rows, float *out);
/* Euclidean distance of each row to the nearest column, and which it is (the lowest of equal ones; index may be NULL).
 * At least one column. Every row is worked out alone: neither threads nor company change its bits. */
void dcam_panels_nearest(const dcam_panels *panels, const float *in, size_t rows, float *distance, int32_t *index);

/* ---- the same from bf16 products, where the processor has AVX512-BF16 or AMX: which column is nearest is told by vectors rounded
 * to bf16, how far it is by the vectors as they are. A distance is at most too large by twice what rounding moves a
 * vector, and that only where another column is as near as that ---- */

bool dcam_bf16_panels_here(void);
typedef struct {
    size_t columns, dimensions;
    const float *vectors;   /* borrowed */
    uint32_t *words;        /* 32 columns side by side, two values a word */
    float *starts;          /* minus half the square of each rounded column */
    bool tiles;             /* by AMX; as reserve finds the processor. Tests may clear it */
} dcam_bf16_panels;
DCAM_MUST_CHECK dcam_status dcam_bf16_panels_reserve(dcam_bf16_panels *panels, size_t columns, size_t dimensions);
void dcam_bf16_panels_clear(dcam_bf16_panels *panels);
/* vectors: columns x dimensions, finite; they must stay. Needs the room. */
void dcam_bf16_panels_fill(dcam_bf16_panels *panels, const float *vectors, size_t columns);
/* As dcam_panels_nearest. Only where dcam_bf16_panels_here(). */
void dcam_bf16_panels_nearest(const dcam_bf16_panels *panels, const float *in, size_t rows, float *distance, int32_t *index);

#endif
