/* check.h - one operation of the nn layer, as it is chosen on this processor, run once on drawn data and compared with
 * plain C (reference.h) at sampled places. The layer above says which operations a network has. */
#ifndef DCAM_NN_CHECK_H
#define DCAM_NN_CHECK_H

#include "nn/nn.h"

typedef enum { DCAM_NN_CHECK_FORWARD, DCAM_NN_CHECK_BACKWARD_DATA, DCAM_NN_CHECK_BACKWARD_WEIGHTS } dcam_nn_check_part;

typedef struct {
    char kernel[48];  /* name of the implementation */
    double error;     /* the largest deviation, over the root mean square of the right values; of results in bytes in
                         their units; infinite if a result is not finite */
    double bound;     /* what it may be at most */
    double seconds;   /* of the run alone, the first one */
} dcam_nn_check;

/* samples: places that are compared, half of them at borders; every place if there are no more. */
DCAM_MUST_CHECK dcam_status dcam_nn_check_convolution(dcam_nn *nn, const dcam_nn_convolution *c, dcam_nn_check_part part,
                                                      int samples, dcam_nn_check *out);
DCAM_MUST_CHECK dcam_status dcam_nn_check_max_pool(dcam_nn *nn, const dcam_nn_tensor *src, int kernel, int stride,
                                                   int padding, int samples, dcam_nn_check *out);
/* From f32 to src's shape in bytes (to_bytes), or back. */
DCAM_MUST_CHECK dcam_status dcam_nn_check_conversion(dcam_nn *nn, const dcam_nn_tensor *shape, bool to_bytes, int samples,
                                                     dcam_nn_check *out);
/* dst: the same shape in another layout or type. */
DCAM_MUST_CHECK dcam_status dcam_nn_check_reorder(dcam_nn *nn, const dcam_nn_tensor *src, const dcam_nn_tensor *dst,
                                                  int samples, dcam_nn_check *out);

#endif
