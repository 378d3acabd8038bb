/* parallel.h - a loop shared by the cores. It uses the same OpenMP run time
 * as oneDNN, so that the two never compete for the processor. Work is cut in
 * a fixed way: the same thread count gives the same bits. */
#ifndef DCAM_BASE_PARALLEL_H
#define DCAM_BASE_PARALLEL_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cores.h"
#include "base/status.h"

/* Sets the threads for parallel loops and oneDNN calls made by the calling
 * thread; 0 means dcam_available_cores(). */
void dcam_set_threads(int threads);
/* The same; returns what the calling thread had. Functions of dcam.h give the caller's number back, so that neither the
 * program's own loops nor a call further out change their threads. */
int dcam_swap_threads(int threads);
/* What the calling thread has now, at least 1. */
int dcam_threads(void);
/* DCAM_ERROR_USAGE where the calling thread cannot have so many (0: all cores): it has used several, and then has forked
 * this process. Whatever lets oneDNN use the threads asks first; without OpenMP, and with one thread, all is well. */
DCAM_MUST_CHECK dcam_status dcam_check_team(int threads);

/* Calls body(context, begin, end) over [0, n), at most dcam_threads() chunks
 * of near-equal length, chunk k on thread k. n == 0 calls nothing. Where dcam_check_team refuses: on the calling thread. */
void dcam_parallel_for(size_t n, void (*body)(void *context, size_t begin, size_t end), void *context);

/* Threads that are started between the two take no signals: those belong to the program. But for SIGSEGV, SIGBUS, SIGFPE,
 * SIGILL, SIGTRAP and SIGSYS, which are a thread's own. */
void dcam_hold_signals(sigset_t *before);
void dcam_restore_signals(const sigset_t *before);
/* Starts such a thread. False: the system gives none. */
bool dcam_start_thread(pthread_t *thread, void *(*body)(void *context), void *context);

#endif
