/* parallel.c - the only file that knows OpenMP; without it loops run serially. */
#define _GNU_SOURCE
#include "base/parallel.h"

#include <sched.h>
#include <signal.h>

#ifdef _OPENMP
#include <omp.h>
#endif

int dcam_available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

void dcam_set_threads(int threads)
{
    if (threads <= 0) threads = dcam_available_cores();
#ifdef _OPENMP
    omp_set_num_threads(threads);
#endif
}

int dcam_swap_threads(int threads)
{
    const int before = dcam_threads();
    dcam_set_threads(threads);
    return before;
}

int dcam_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void dcam_parallel_for(size_t n, void (*body)(void *, size_t, size_t), void *context)
{
    if (n == 0) return;
    size_t chunks = (size_t)dcam_threads();
    if (chunks > n) chunks = n;
    if (chunks == 1) {
        body(context, 0, n);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads((int)chunks)
#endif
    for (size_t k = 0; k < chunks; k++) body(context, n * k / chunks, n * (k + 1) / chunks);
}

bool dcam_start_thread(pthread_t *thread, void *(*body)(void *), void *context)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    const bool started = pthread_create(thread, NULL, body, context) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}
