/* amx.h - matrix tiles of AMX for our own kernels: eight registers of at most 16 rows of 64 bytes.
 *
 * A function that uses tiles is an AMX_KERNEL, runs only where dcam_amx_here(), loads its shapes
 * itself (amx_configure) and gives the tiles back before it returns (amx_release): they belong to a thread, and
 * oneDNN sets them as it likes. Registers are named by a literal number, since an instruction holds it.
 *
 *   amx_multiply_bf16(c, a, b)   c[i][j] += sum over pairs k of a[i][2k] b[k][2j] + a[i][2k+1] b[k][2j+1]
 *     a: rows x 32 bf16; b: 16 rows of 16 columns, two values of neighbouring k side by side (words); c: rows x 16 f32
 *   amx_multiply_u8s8(c, a, b)   the same with four bytes a word: a: rows x 64 unsigned, b: signed, c: int32
 *
 * Instead of immintrin.h's macros, which in gcc 12 do not say that they read memory: the compiler could move the stores
 * that fill a buffer behind them. */
#ifndef DCAM_BASE_AMX_H
#define DCAM_BASE_AMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the processor has tiles with bf16 and int8 products, and the AVX-512 that an AMX_KERNEL may use besides, and the
 * system gives them to this process: it is asked once, for all threads. A refusal is logged, once. */
bool dcam_amx_here(void);
/* Why the system did not give the tiles that the processor has and the system knows: one phrase. NULL otherwise. */
const char *dcam_amx_refusal(void);

#define AMX_ROWS 16
#define AMX_ROW_BYTES 64
#define AMX_BYTES (AMX_ROWS * AMX_ROW_BYTES)

/* What LDTILECFG reads. Zeros but for the palette: a register that is not used. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_shapes;

#if defined(__x86_64__)
#define AMX_KERNEL __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")))
#define AMX_INLINE AMX_KERNEL static inline __attribute__((always_inline))

AMX_INLINE amx_shapes amx_whole_tiles(void)
{
    amx_shapes shapes = {.palette = 1};
    for (int k = 0; k < 8; k++) {
        shapes.row_bytes[k] = AMX_ROW_BYTES;
        shapes.rows[k] = AMX_ROWS;
    }
    return shapes;
}

AMX_INLINE void amx_configure(const amx_shapes *shapes) { __asm__ volatile("ldtilecfg %0" ::"m"(*shapes)); }
AMX_INLINE void amx_release(void) { __asm__ volatile("tilerelease"); }

#define amx_zero(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
/* stride: bytes from row to row. What is read has no length that can be named: gcc takes an array without one, clang is told
 * that any memory may be touched. */
#ifdef __clang__
#define amx_load(tile, from, stride)                                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)(stride)) : "memory")
#else
#define amx_load(tile, from, stride)                                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"((long)(stride)), "m"(*(const char(*)[])(from)))
#endif
#define amx_store(tile, to, stride)                                                                                     \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"((long)(stride)) : "memory")
#define amx_multiply_bf16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define amx_multiply_u8s8(c, a, b) __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

/* ---- four sums at a time: tiles 0 and 1 above 2 and 3 ----
 * right, down: values from a sum to the one beside it and to the one below; stride: bytes from row to row. */

AMX_INLINE void amx_zero_four(void)
{
    amx_zero(0);
    amx_zero(1);
    amx_zero(2);
    amx_zero(3);
}

AMX_INLINE void amx_load_four(const float *from, size_t right, size_t down, long stride)
{
    amx_load(0, from, stride);
    amx_load(1, from + right, stride);
    amx_load(2, from + down, stride);
    amx_load(3, from + down + right, stride);
}

AMX_INLINE void amx_store_four(float *to, size_t right, size_t down, long stride)
{
    amx_store(0, to, stride);
    amx_store(1, to + right, stride);
    amx_store(2, to + down, stride);
    amx_store(3, to + down + right, stride);
}

/* Adds the products of a0 (the upper sums') and a1 with b0 (the left sums') and b1, through tiles 4 to 7. */
AMX_INLINE void amx_multiply_four_bf16(const void *a0, const void *a1, long a_stride, const void *b0, const void *b1,
                                       long b_stride)
{
    amx_load(4, a0, a_stride);
    amx_load(6, b0, b_stride);
    amx_load(7, b1, b_stride);
    amx_load(5, a1, a_stride);
    amx_multiply_bf16(0, 4, 6);
    amx_multiply_bf16(1, 4, 7);
    amx_multiply_bf16(2, 5, 6);
    amx_multiply_bf16(3, 5, 7);
}
#endif

#endif
