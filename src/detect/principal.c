/* principal.c - the directions of largest variance by orthogonal iteration (Golub and Van Loan, "Matrix computations",
 * 8.2.4). What counts is the space that they span together: that is what distances are measured in, and it settles in
 * far fewer rounds than directions of nearly equal variance do one by one. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "detect/memory.h"

#define ROUNDS 40
/* A direction without variance left: an orthonormal one is made up. */
#define NO_LENGTH 1e-12

/* Rows of q (dimensions x channels) made orthonormal one after the other; twice is enough (Kahan, Parlett). */
static void orthonormalise(double *q, size_t dimensions, size_t channels, dcam_random *random)
{
    for (size_t i = 0; i < dimensions; i++) {
        double *row = q + i * channels, before = 0, after = 0;
        for (size_t c = 0; c < channels; c++) before += row[c] * row[c];
        for (int pass = 0; pass < 2; pass++)
            for (size_t k = 0; k < i; k++) {
                const double *other = q + k * channels;
                double dot = 0;
                for (size_t c = 0; c < channels; c++) dot += row[c] * other[c];
                for (size_t c = 0; c < channels; c++) row[c] -= dot * other[c];
            }
        for (size_t c = 0; c < channels; c++) after += row[c] * row[c];
        if (!(after > NO_LENGTH * NO_LENGTH) || !(after > NO_LENGTH * before)) {
            for (size_t c = 0; c < channels; c++) row[c] = dcam_random_normal(random);
            i--; /* this row again; a random one lies outside the span of fewer rows than channels */
            continue;
        }
        const double factor = 1 / sqrt(after);
        for (size_t c = 0; c < channels; c++) row[c] *= factor;
    }
}

/* next = q times covariance, which is symmetric. */
static void multiply(const double *q, const double *covariance, size_t dimensions, size_t channels, double *next)
{
    memset(next, 0, dimensions * channels * sizeof *next);
    for (size_t i = 0; i < dimensions; i++)
        for (size_t k = 0; k < channels; k++) {
            const double factor = q[i * channels + k], *row = covariance + k * channels;
            for (size_t c = 0; c < channels; c++) next[i * channels + c] += factor * row[c];
        }
}

dcam_status dcam_principal_directions(const double *covariance, size_t channels, size_t dimensions, float *out)
{
    double *q, *next = NULL;
    dcam_random random = dcam_random_make(0, 0); /* where it starts does not matter, so it is no option */
    if (dimensions < 1 || dimensions > channels)
        return dcam_fail(DCAM_ERROR_INTERNAL, "%zu directions in %zu dimensions", dimensions, channels);
    DCAM_TRY(dcam_alloc(dimensions, channels * sizeof *q, &q));
    const dcam_status status = dcam_alloc(dimensions, channels * sizeof *next, &next);
    if (status == DCAM_OK) {
        for (size_t i = 0; i < dimensions * channels; i++) q[i] = dcam_random_normal(&random);
        orthonormalise(q, dimensions, channels, &random);
        for (int round = 0; round < ROUNDS; round++) {
            multiply(q, covariance, dimensions, channels, next);
            double *swap = q;
            q = next;
            next = swap;
            orthonormalise(q, dimensions, channels, &random);
        }
        for (size_t i = 0; i < dimensions; i++)
            for (size_t c = 0; c < channels; c++) out[c * dimensions + i] = (float)q[i * channels + c];
    }
    dcam_free(next);
    dcam_free(q);
    return status;
}
