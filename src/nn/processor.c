/* processor.c - what the processor and oneDNN's library are, and what follows for the choice of types and layouts. */
#include <stdio.h>

#include "base/parallel.h"
#include "nn/isa.h"
#include "nn/op.h"

/* oneDNN's values are sets of bits: a processor has a set if it has all of its bits. */
static bool has_isa(dnnl_cpu_isa_t set)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)set) == (unsigned)set;
}

bool dcam_nn_fast_bf16(void) { return has_isa(dnnl_cpu_isa_avx512_core_bf16); }

bool dcam_nn_bf16_products(void)
{
    return dcam_nn_isa_here() >= DCAM_NN_ISA_AVX512_BF16 && !has_isa(dnnl_cpu_isa_avx512_core_amx);
}

bool dcam_nn_bf16_maps(void)
{
    return dcam_nn_isa_here() >= DCAM_NN_ISA_AMX && has_isa(dnnl_cpu_isa_avx512_core_amx);
}

int dcam_nn_int8_weight_limit(void)
{
    /* 2 products of an unsigned byte: 2 * 255 * 64 < 2^15. */
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni) ? 127 : 64;
}

const char *dcam_nn_library_isa(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_amx)    ? "AMX"
           : has_isa(dnnl_cpu_isa_avx512_core_bf16) ? "AVX-512 BF16"
           : has_isa(dnnl_cpu_isa_avx512_core_vnni) ? "AVX-512 VNNI"
           : has_isa(dnnl_cpu_isa_avx512_core)      ? "AVX-512"
           : has_isa(dnnl_cpu_isa_avx2)             ? "AVX2"
           : has_isa(dnnl_cpu_isa_sse41)            ? "SSE4.1"
                                                    : "generic";
}

const char *dcam_nn_own_isa(void)
{
    static const char *const names[] = {"none", "AVX2", "AVX-512", "AVX-512 BF16", "AMX"};
    return names[dcam_nn_isa_here()];
}

const char *dcam_nn_library_threading(void)
{
    switch (dnnl_version()->cpu_runtime) {
    case DNNL_RUNTIME_OMP: return "OpenMP";
    case DNNL_RUNTIME_TBB: return "TBB";
    case DNNL_RUNTIME_SEQ: return "sequential";
    case DNNL_RUNTIME_SYCL: return "SYCL";
    default: return "thread pool";
    }
}

const char *dcam_nn_library_version(char *text, size_t capacity)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, capacity, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

const char *dcam_nn_describe(char *text, size_t capacity)
{
    char version[48];
    snprintf(text, capacity, "oneDNN %s, %s, %s, %d thread%s", dcam_nn_library_version(version, sizeof version),
             dcam_nn_library_threading(), dcam_nn_library_isa(), dcam_threads(), dcam_threads() == 1 ? "" : "s");
    return text;
}

dcam_nn_layout dcam_nn_best_layout(dcam_nn_type type)
{
    /* Our own kernels want channels last. oneDNN's Winograd exists in the blocked layout only; its bf16 kernels and all
     * others are at least as fast channels last. */
    return type == DCAM_NN_F32 && dcam_nn_isa_here() == DCAM_NN_ISA_NONE && has_isa(dnnl_cpu_isa_avx512_core)
               ? DCAM_NN_BLOCKED16
               : DCAM_NN_NHWC;
}
