/* ranges.c - see ranges.h. Magnitudes are counted in bins over the upper bits of their floats: a bin is at most 1/128 of
 * its value wide, fine enough to choose an end and far finer than the steps of a byte at the upper end. */
#include "net/ranges.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "weights/trunk.h"

/* Sign bit off, 8 bits of exponent, 7 of the fraction. */
#define BIN_SHIFT 16
#define BINS 32768
#define FIRST_INFINITE 0x7f80
/* An activation is 0..255 after a ReLU, else -127..127. */
#define STEPS 255.0
#define SIGNED_STEPS 127.0
/* Ends that are tried, from the largest value downwards, each a hundredth lower than the one before. */
#define ENDS 250
#define LOWER 0.99

struct dcam_range_meter {
    float largest[DCAM_MAX_CONVOLUTIONS];
    bool negative[DCAM_MAX_CONVOLUTIONS]; /* some value was */
    uint64_t *bins; /* BINS a convolution */
};

dcam_status dcam_range_meter_create(int convolutions, dcam_range_meter **out)
{
    dcam_range_meter *m;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *m, &m));
    const dcam_status status = dcam_alloc_zero((size_t)convolutions * BINS, sizeof *m->bins, &m->bins);
    if (status == DCAM_OK) *out = m;
    else dcam_free(m);
    return status;
}

void dcam_range_meter_destroy(dcam_range_meter *m)
{
    if (!m) return;
    dcam_free(m->bins);
    dcam_free(m);
}

void dcam_range_meter_see(void *user, int convolution, const float *values, size_t count)
{
    dcam_range_meter *m = user;
    uint64_t *bins = m->bins + (size_t)convolution * BINS;
    float largest = m->largest[convolution];
    bool negative = m->negative[convolution];
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        const uint32_t bin = (bits & 0x7fffffff) >> BIN_SHIFT;
        if (bin >= FIRST_INFINITE) continue;
        bins[bin]++;
        const float magnitude = fabsf(values[i]);
        if (magnitude > largest) largest = magnitude;
        negative |= values[i] < 0;
    }
    m->largest[convolution] = largest;
    m->negative[convolution] = negative;
}

/* The middle of a bin. */
static double middle(uint32_t bin)
{
    const uint32_t bits = (bin << BIN_SHIFT) + (1u << (BIN_SHIFT - 1));
    float value;
    memcpy(&value, &bits, sizeof value);
    return bin == 0 ? 0 : (double)value;
}

/* Squared error of all values if the range ends there: what rounds to nothing loses itself, what is rounded a third of
 * half a step squared on average, what is beyond the distance to the end. */
static double error_at(const uint64_t *bins, double end, double steps)
{
    const double step = end / steps;
    double error = 0;
    for (uint32_t bin = 0; bin < FIRST_INFINITE; bin++) {
        if (bins[bin] == 0) continue;
        const double v = middle(bin), beyond = v - end;
        const double e = beyond > 0 ? beyond * beyond : v < step / 2 ? v * v : step * step / 12;
        error += (double)bins[bin] * e;
    }
    return error;
}

static double least_error_end(const uint64_t *bins, double largest, double steps)
{
    double end = largest, best = largest, least = INFINITY;
    for (int i = 0; i < ENDS; i++) {
        const double error = error_at(bins, end, steps);
        if (error < least) {
            least = error;
            best = end;
        }
        end *= LOWER;
    }
    return best;
}

float dcam_range_meter_result(const dcam_range_meter *m, int convolution, dcam_range_rule rule)
{
    double end = (double)m->largest[convolution];
    if (rule == DCAM_RANGE_LEAST_ERROR)
        end = least_error_end(m->bins + (size_t)convolution * BINS, end, m->negative[convolution] ? SIGNED_STEPS : STEPS);
    return fminf(fmaxf((float)end, DCAM_LEAST_RANGE), DCAM_LARGEST_RANGE);
}
