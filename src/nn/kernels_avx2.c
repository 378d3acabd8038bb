/* kernels_avx2.c - eight lanes: AVX2, and what the compiler makes of them on other processors than x86-64. */
#define LANES 8

#include "nn/direct_kernels.h"
#include "nn/gathered_kernels.h"
#include "nn/kernels.h"
#include "nn/stem_kernels.h"
#include "nn/winograd_kernels.h"

const dcam_kernels dcam_kernels_avx2 = {run_winograd, run_stem, run_direct,
                                        transform_gradient, multiply_gradient, gather_rows};
