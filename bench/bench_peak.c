/* bench_peak.c - what the processor can do at most: sums of products in registers, on every thread. The figure is the
 * ceiling that docs/performance.md compares with. */
#include "base/file.h"
#include "base/parallel.h"
#include "base/vector.h"
#include "bench.h"

typedef float wide __attribute__((vector_size(64)));

/* Independent sums: enough to hide the latency of either instruction set, few enough for its registers. */
enum { SUMS_32 = 12, SUMS_64 = 24, ROUNDS = 20000000 };

#define SPIN(vector, sums)                                                                                          \
    vector sum[sums], factor = {0}, more = {0};                                                                     \
    for (int k = 0; k < (sums); k++) sum[k] = (vector){0} + (float)k;                                                \
    factor += 0.999f;                                                                                               \
    more += 0.001f;                                                                                                 \
    for (int i = 0; i < ROUNDS; i++) {                                                                              \
        _Pragma("GCC unroll 24") for (int k = 0; k < (sums); k++) sum[k] = sum[k] * factor + more;                   \
    }                                                                                                               \
    for (int k = 1; k < (sums); k++) sum[0] += sum[k];                                                               \
    *out = sum[0][0];                                                                                               \
    return 2.0 * ROUNDS * (sums) * (double)(sizeof(vector) / sizeof(float));

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double spin_avx512(volatile float *out) { SPIN(wide, SUMS_64) }
__attribute__((target("avx2,fma"))) static double spin_avx2(volatile float *out) { SPIN(dcam_f32x8, SUMS_32) }
#endif
static double spin_plain(volatile float *out) { SPIN(dcam_f32x8, SUMS_32) }

typedef struct {
    double operations;
    volatile float keep;
} thread_result;

static void spin_body(void *context, size_t begin, size_t end)
{
    thread_result *results = context;
    for (size_t k = begin; k < end; k++) {
#if defined(__x86_64__)
        results[k].operations = __builtin_cpu_supports("avx512f") ? spin_avx512(&results[k].keep)
                                : __builtin_cpu_supports("fma")   ? spin_avx2(&results[k].keep)
                                                                  : spin_plain(&results[k].keep);
#else
        results[k].operations = spin_plain(&results[k].keep);
#endif
    }
}

double bench_peak_gflops(void)
{
    enum { MOST_THREADS = 256, TRIES = 3 };
    static thread_result results[MOST_THREADS];
    size_t threads = (size_t)dcam_threads();
    double best = 0;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    for (int i = 0; i < TRIES; i++) {
        double operations = 0;
        const double start = dcam_seconds();
        dcam_parallel_for(threads, spin_body, results);
        const double seconds = dcam_seconds() - start;
        for (size_t k = 0; k < threads; k++) operations += results[k].operations;
        best = operations / seconds > best ? operations / seconds : best;
    }
    return best / 1e9;
}
