/* isa.c - see isa.h. Other processors than x86-64 run the kernels of eight lanes as the compiler makes them. */
#define _GNU_SOURCE
#include "nn/isa.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static dcam_nn_isa limit = DCAM_NN_ISA_MOST;

#if defined(__x86_64__)
/* CPUID leaf 7, EDX: bf16 products, tiles, int8 products. */
#define AMX_BITS (1u << 22 | 1u << 24 | 1u << 25)
/* Linux gives a process the state of the tiles when it asks (arch/x86/include/uapi/asm/prctl.h). */
#define ASK_FOR_STATE 0x1023
#define STATE_OF_TILES 18

/* Asking twice does no harm; a kernel that knows no tiles refuses. */
static bool ask_for_tiles(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & AMX_BITS) != AMX_BITS) return false;
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, STATE_OF_TILES) == 0;
#else
    return false;
#endif
}

/* The answer holds for all threads of the process. */
static bool has_tiles(void)
{
    static atomic_int known; /* 0: not asked; 1: no; 2: yes */
    int answer = atomic_load(&known);
    if (answer == 0) atomic_store(&known, answer = ask_for_tiles() ? 2 : 1);
    return answer == 2;
}
#endif

static dcam_nn_isa processor(void)
{
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
        return __builtin_cpu_supports("avx512vnni") && has_tiles() ? DCAM_NN_ISA_AMX : DCAM_NN_ISA_AVX512_BF16;
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
