/* attention.h - the DCAM blocks on one tapped feature map (method.md): channel, spatial, CBAM. Feature maps are
 * f32, B x N x C (channels last, N = H*W). */
#ifndef DCAM_NET_ATTENTION_H
#define DCAM_NET_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "base/status.h"

typedef enum { DCAM_ATTENTION_NONE, DCAM_ATTENTION_CHANNEL, DCAM_ATTENTION_SPATIAL, DCAM_ATTENTION_CBAM } dcam_attention_kind;
const char *dcam_attention_name(dcam_attention_kind kind);

/* Values of one block in this order: channel: W1 (C/8 x C), W2 (C x C/8); spatial: kernel (2 x 7 x 7, mean then max). */
size_t dcam_attention_value_count(dcam_attention_kind kind, int channels);
/* As PyTorch initialises nn.Linear / nn.Conv2d without bias: uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)). */
void dcam_attention_init(dcam_attention_kind kind, int channels, dcam_random *r, float *values);

/* What forward keeps for backward. */
typedef struct dcam_attention_state dcam_attention_state;
DCAM_MUST_CHECK dcam_status dcam_attention_state_create(dcam_attention_kind kind, int batch, int height, int width,
                                                        int channels, dcam_attention_state **out);
void dcam_attention_state_destroy(dcam_attention_state *state);

/* out = A(s). s, out: n x H*W x C; out may be s only if no backward follows. */
void dcam_attention_forward(dcam_attention_state *state, const float *values, const float *s, int n, float *out);
/* From d_out = dL/dA(s): adds dL/ds to d_s (add) or sets d_s to it, and adds dL/dvalues to d_values. s as in the
 * forward. */
void dcam_attention_backward(dcam_attention_state *state, const float *values, const float *s, int n,
                             const float *d_out, bool add, float *d_s, float *d_values);

/* ---- the channel block for one who walks over the maps himself ---- */

/* What it has of an image; arrays of all channels. */
typedef struct {
    double *mean, *maximum;          /* over positions: set before weights */
    int32_t *max_position;           /* where the maximum is first */
    const float *weights;            /* A(s) = s * weights */
    double *column;                  /* dL/dweights, which is the sum of dL/dA(s) * s over positions: set before back */
    const float *d_mean, *d_maximum; /* dL/ds = dL/dA(s) * weights + d_mean, and d_maximum more at max_position */
} dcam_attention_image;
dcam_attention_image dcam_attention_image_at(const dcam_attention_state *state, size_t image);
void dcam_attention_image_weights(dcam_attention_state *state, const float *values, size_t image);
void dcam_attention_image_back(dcam_attention_state *state, const float *values, size_t image);
/* After that of all n images: adds dL/dvalues to d_values. */
void dcam_attention_images_gradient(const dcam_attention_state *state, int n, float *d_values);

#endif
