/* stem_shape.h - the numbers of the stem's Winograd, shared by stem.c and stem_kernels.h. */
#ifndef DCAM_NN_STEM_SHAPE_H
#define DCAM_NN_STEM_SHAPE_H

#define COLORS 3
#define TAPS 4           /* of a phase, along one side */
#define OUTPUTS 3        /* of a tile, along one side: OUTPUTS + TAPS - 1 = SPAN */
#define STEM_DEPTH 12    /* channels of the phases: (row phase * 2 + column phase) * 3 + color */
#define STEM_WIDTH 16    /* and with zeros to whole vectors */
#define BEFORE 2         /* phase rows and columns that a tile reads before its first output */
#define STEM_BLOCK 24    /* tiles; V and M of a block stay in a core's cache */

#endif
