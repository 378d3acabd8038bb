/* kernels_avx512.c - sixteen lanes. */
#if defined(__x86_64__)
#define LANES 16

#include "nn/direct_kernels.h"
#include "nn/gathered_kernels.h"
#include "nn/kernels.h"
#include "nn/stem_kernels.h"
#include "nn/winograd_kernels.h"

const dcam_kernels dcam_kernels_avx512 = {run_winograd, run_stem, run_direct,
                                          transform_gradient, multiply_gradient, gather_rows};
#else
typedef int dcam_kernels_avx512_are_empty;
#endif
