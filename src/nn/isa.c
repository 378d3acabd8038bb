/* isa.c - see isa.h. Other processors than x86-64 run the kernels of eight lanes as the compiler makes them. */
#include "nn/isa.h"

#include "base/amx.h"

static dcam_nn_isa limit = DCAM_NN_ISA_MOST;

static dcam_nn_isa processor(void)
{
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
        return dcam_amx_here() ? DCAM_NN_ISA_AMX : DCAM_NN_ISA_AVX512_BF16;
    return avx512 ? DCAM_NN_ISA_AVX512 : avx2 ? DCAM_NN_ISA_AVX2 : DCAM_NN_ISA_NONE;
#elif defined(__aarch64__)
    return DCAM_NN_ISA_AVX2;
#else
    return DCAM_NN_ISA_NONE;
#endif
}

void dcam_nn_limit_isa(dcam_nn_isa most) { limit = most; }

dcam_nn_isa dcam_nn_isa_here(void)
{
    const dcam_nn_isa here = processor();
    return here < limit ? here : limit;
}
