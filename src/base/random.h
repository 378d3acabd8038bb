/* random.h - counter-based random numbers (Philox 4x32-10; Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A draw is a pure
 * function of (seed, stream, counter): the same on every machine and in every
 * order, and its whole state is the counter, so that a checkpoint can keep it. */
#ifndef DCAM_BASE_RANDOM_H
#define DCAM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t seed;
    uint64_t stream;  /* separates uses of one seed: weights, split, order, ... */
    uint64_t counter; /* draws made so far */
} dcam_random;

static inline dcam_random dcam_random_make(uint64_t seed, uint64_t stream)
{
    return (dcam_random){seed, stream, 0};
}

/* A stream from a name (FNV-1a): what is drawn for a class does not depend on which other classes there are. */
uint64_t dcam_random_stream(const char *name);

uint32_t dcam_random_u32(dcam_random *r);
uint64_t dcam_random_u64(dcam_random *r);
/* Uniform in [0, 1), 53 bits. */
double dcam_random_uniform(dcam_random *r);
/* Uniform in 0 .. n-1 without bias; n >= 1. */
uint64_t dcam_random_below(dcam_random *r, uint64_t n);
/* Standard normal (Box-Muller, two draws each). */
double dcam_random_normal(dcam_random *r);
/* Fisher-Yates on n numbers. */
void dcam_random_shuffle(dcam_random *r, uint32_t *items, size_t n);

#endif
