/* kernels.c - which table of kernels serves. */
#include "nn/kernels.h"

const dcam_kernels *dcam_kernels_for(dcam_nn_isa isa, bool bf16)
{
#if defined(__x86_64__)
    if (bf16) return &dcam_kernels_bf16;
    if (isa >= DCAM_NN_ISA_AVX512) return &dcam_kernels_avx512;
#else
    (void)isa;
    (void)bf16;
#endif
    return &dcam_kernels_avx2;
}
