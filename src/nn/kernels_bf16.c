/* kernels_bf16.c - sixteen lanes, factors rounded to bf16: maps come and go as f32, and so are the sums, the
 * transforms and what is added at the end. */
#if defined(__x86_64__)
#define LANES 16
#define PRODUCTS_BF16

#include "nn/direct_kernels.h"
#include "nn/gathered_kernels.h"
#include "nn/kernels.h"
#include "nn/stem_kernels.h"
#include "nn/winograd_kernels.h"

const dcam_kernels dcam_kernels_bf16 = {run_winograd, run_stem, run_direct,
                                        transform_gradient, multiply_gradient, gather_rows};
#else
typedef int dcam_kernels_bf16_are_empty;
#endif
