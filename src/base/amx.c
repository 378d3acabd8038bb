/* amx.c - see amx.h: whether there are tiles. */
#define _GNU_SOURCE
#include "base/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("fma"))
        return false;
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, STATE_OF_TILES) == 0;
#else
    return false;
#endif
}

bool dcam_amx_here(void)
{
    static atomic_int known; /* 0: not asked; 1: no; 2: yes */
    int answer = atomic_load(&known);
    if (answer == 0) atomic_store(&known, answer = ask_for_tiles() ? 2 : 1);
    return answer == 2;
}
#else
bool dcam_amx_here(void) { return false; }
#endif
