/* parallel.c - the only file that knows OpenMP; without it loops run serially. */
#define _GNU_SOURCE
#include "base/parallel.h"

#include <stdatomic.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* A thread that forks leaves its team of OpenMP threads behind: GNU OpenMP waits for ever, in the child, for those that are
 * not there. Other threads of the child get teams of their own. */
static _Thread_local bool lost_team;

#ifdef _OPENMP
static _Thread_local bool has_team;

static void in_child(void) { lost_team |= has_team; }

/* Before the first loop of several threads. The system forgets in_child when the library is closed. */
static void note_team(void)
{
    static atomic_bool registered;
    has_team = true;
    if (atomic_load(&registered) || atomic_exchange(&registered, true)) return;
    if (pthread_atfork(NULL, NULL, in_child) != 0) atomic_store(&registered, false); /* no memory: again with the next loop */
}
#else
static void note_team(void) {}
#endif

dcam_status dcam_check_team(int threads)
{
    if (!lost_team) return DCAM_OK;
    const int wanted = threads > 0 ? threads : dcam_available_cores();
    if (wanted == 1) return DCAM_OK;
    return dcam_fail(DCAM_ERROR_USAGE, "%d threads after a fork: this thread had others, which stayed in the parent process; "
                     "in the child use one thread, another thread that calls, or exec", wanted);
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
    if (dcam_threads() > 1) note_team();
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
    /* The same chunks, one after the other: the same bits. */
    if (lost_team) {
        for (size_t k = 0; k < chunks; k++) body(context, n * k / chunks, n * (k + 1) / chunks);
        return;
    }
    note_team();
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads((int)chunks)
#endif
    for (size_t k = 0; k < chunks; k++) body(context, n * k / chunks, n * (k + 1) / chunks);
}

/* Faults of the thread itself stay as they are: blocked, they would end the process without the program's own handler. */
void dcam_hold_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t held;
    sigfillset(&held);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&held, faults[i]);
    pthread_sigmask(SIG_BLOCK, &held, before);
}

void dcam_restore_signals(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

bool dcam_start_thread(pthread_t *thread, void *(*body)(void *), void *context)
{
    sigset_t before;
    dcam_hold_signals(&before);
    const bool started = pthread_create(thread, NULL, body, context) == 0;
    dcam_restore_signals(&before);
    return started;
}
