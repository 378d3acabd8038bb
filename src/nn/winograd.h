/* winograd.h - 3x3 convolutions of stride 1 and padding 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2016, "Fast
 * algorithms for convolutional neural networks"), f32, channels last, for processors where oneDNN has it not. Internal
 * to src/nn. Every value is summed in an order that depends on neither the number of threads nor the batch. */
#ifndef DCAM_NN_WINOGRAD_H
#define DCAM_NN_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

#include "nn/isa.h"

typedef enum {
    DCAM_WINOGRAD_NONE,
    DCAM_WINOGRAD_FORWARD,
    DCAM_WINOGRAD_BACKWARD_DATA,    /* a forward pass from dst to src with turned weights */
    DCAM_WINOGRAD_BACKWARD_WEIGHTS,
    DCAM_WINOGRAD_WEIGHTS_IN,       /* plain OIHW to the format of `of` */
    DCAM_WINOGRAD_WEIGHTS_OUT       /* and the gradient's way back */
} dcam_winograd_part;

typedef struct {
    dcam_winograd_part part, of;
    int n, h, w, in, out;           /* in, out: channels of the forward convolution */
    bool bias, sum, relu;
    bool bf16;                      /* factors are rounded to bf16 */
    int threads;
    dcam_nn_isa isa;
} dcam_winograd;

/* Whether this convolution can run here. */
bool dcam_winograd_fits(const dcam_nn_convolution *c);
/* Bytes of an argument; 0: there is none. */
size_t dcam_winograd_bytes(const dcam_winograd *w, dcam_nn_argument which);
/* memory: of every argument that has bytes. */
void dcam_winograd_run(const dcam_winograd *w, void *const memory[DCAM_NN_ARGUMENTS]);

/* ---- between the files ---- */
size_t dcam_winograd_forward_scratch(const dcam_winograd *w);  /* floats */
size_t dcam_winograd_gradient_scratch(const dcam_winograd *w);
void dcam_winograd_forward(const dcam_winograd *w, void *const *memory); /* and backward data */
void dcam_winograd_gradient(const dcam_winograd *w, void *const *memory);
void dcam_winograd_weights_in(const dcam_winograd *w, void *const *memory);
void dcam_winograd_weights_out(const dcam_winograd *w, void *const *memory);

#endif
