/* amx.c - see amx.h: whether there are tiles. */
#define _DEFAULT_SOURCE /* syscall; the POSIX strerror_r */
#include "base/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/status.h"

/* CPUID leaf 7, EDX: bf16 products, tiles, int8 products. */
#define AMX_BITS (1u << 22 | 1u << 24 | 1u << 25)
/* CPUID leaf 1, ECX: XGETBV tells which states the system saves; those of the tiles are 17 and 18. */
#define XGETBV_BIT (1u << 27)
#define STATES_OF_TILES (1u << 17 | 1u << 18)
/* Linux gives a process the state of the tiles when it asks (arch/x86/include/uapi/asm/prctl.h). */
#define ASK_FOR_STATE 0x1023
#define STATE_OF_TILES 18

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool here, refused;
static char refusal[192];

/* A system that does not save the tiles has none to give. */
static bool system_saves_tiles(void)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & XGETBV_BIT)) return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & STATES_OF_TILES) == STATES_OF_TILES;
}

static bool processor_has_tiles(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & AMX_BITS) != AMX_BITS) return false;
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

/* Asking twice does no harm. */
static void ask_for_tiles(void)
{
    if (!processor_has_tiles() || !system_saves_tiles()) return;
#if defined(__linux__) && defined(SYS_arch_prctl)
    here = syscall(SYS_arch_prctl, ASK_FOR_STATE, STATE_OF_TILES) == 0;
    if (here) return;
    const int error = errno;
    if (error == ENOSPC)
        snprintf(refusal, sizeof refusal, "a thread's signal stack (sigaltstack) is too small for them; "
                 "it needs sysconf(_SC_MINSIGSTKSZ) bytes, %ld here", (long)sysconf(_SC_MINSIGSTKSZ));
    else if (strerror_r(error, refusal, sizeof refusal) != 0) snprintf(refusal, sizeof refusal, "error %d", error);
    refused = true;
    dcam_log(DCAM_LOG_WARNING, "the system refuses the processor's matrix tiles (AMX): %s. AVX-512 is used: slower, with other "
             "last digits, and training by auto is f32", refusal);
#endif
}

bool dcam_amx_here(void)
{
    pthread_once(&once, ask_for_tiles);
    return here;
}

const char *dcam_amx_refusal(void)
{
    pthread_once(&once, ask_for_tiles);
    return refused ? refusal : NULL;
}
#else
bool dcam_amx_here(void) { return false; }
const char *dcam_amx_refusal(void) { return NULL; }
#endif
