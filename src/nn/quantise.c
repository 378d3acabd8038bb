/* quantise.c - see quantise.h. Rounds to the nearest, halves to even, as oneDNN does. */
#include "nn/quantise.h"

#include "base/parallel.h"
#include "base/vector.h"

/* Values that a thread takes at least: a shorter share costs more than it saves. */
#define BLOCK 4096

typedef uint8_t u8x8 __attribute__((vector_size(8)));

typedef struct {
    const dcam_quantise *q;
    const void *src;
    void *dst;
} quantise_job;

/* 1.5 * 2^23: adding it leaves the rounded integer in the low bits. Saturation comes first, so that it fits. */
#define MAGIC 12582912.0f

DCAM_INLINE void to_bytes8(const dcam_f32x8 *v, float inverse, uint8_t *out)
{
    const dcam_f32x8 zero = {0}, top = zero + 255.0f;
    dcam_f32x8 x = *v * inverse;
    const dcam_i32x8 above = x > top, below = ~(x > zero);
    dcam_choose8(&x, &above, &top, &x);
    dcam_choose8(&x, &below, &zero, &x);
    const dcam_i32x8 bits = (dcam_i32x8)(x + MAGIC) & 0xff;
    const u8x8 bytes = __builtin_convertvector(bits, u8x8);
    memcpy(out, &bytes, sizeof bytes);
}

DCAM_KERNEL static void to_bytes(const float *src, uint8_t *dst, size_t count, float inverse)
{
    size_t i = 0;
    for (; i + DCAM_LANES <= count; i += DCAM_LANES) {
        dcam_f32x8 v;
        dcam_load8(&v, src + i, DCAM_LANES);
        to_bytes8(&v, inverse, dst + i);
    }
    if (i < count) {
        dcam_f32x8 v;
        uint8_t rest[DCAM_LANES];
        dcam_load8(&v, src + i, count - i);
        to_bytes8(&v, inverse, rest);
        memcpy(dst + i, rest, count - i);
    }
}

DCAM_KERNEL static void to_floats(const uint8_t *src, float *dst, size_t count, float scale)
{
    for (size_t i = 0; i < count; i++) dst[i] = (float)src[i] * scale;
}

static void run_blocks(void *context, size_t begin, size_t end)
{
    const quantise_job *job = context;
    const dcam_quantise *q = job->q;
    const size_t first = begin * BLOCK, last = end * BLOCK < q->count ? end * BLOCK : q->count;
    if (q->back) to_floats((const uint8_t *)job->src + first, (float *)job->dst + first, last - first, q->scale);
    else to_bytes((const float *)job->src + first, (uint8_t *)job->dst + first, last - first, 1 / q->scale);
}

size_t dcam_quantise_bytes(const dcam_quantise *q, dcam_nn_argument which)
{
    if (which != DCAM_NN_SRC && which != DCAM_NN_DST) return 0;
    return (which == DCAM_NN_SRC) == q->back ? q->count : q->count * sizeof(float);
}

void dcam_quantise_run(const dcam_quantise *q, void *const memory[DCAM_NN_ARGUMENTS])
{
    quantise_job job = {q, memory[DCAM_NN_SRC], memory[DCAM_NN_DST]};
    dcam_parallel_for((q->count + BLOCK - 1) / BLOCK, run_blocks, &job);
}
