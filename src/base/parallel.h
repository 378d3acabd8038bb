/* parallel.h - a loop shared by the cores. It uses the same OpenMP run time
 * as oneDNN, so that the two never compete for the processor. Work is cut in
 * a fixed way: the same thread count gives the same bits. */
#ifndef DCAM_BASE_PARALLEL_H
#define DCAM_BASE_PARALLEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Sets the threads for parallel loops and oneDNN calls made by the calling
 * thread; 0 means all available cores (the affinity mask, not the machine). */
void dcam_set_threads(int threads);
/* The same; returns what the calling thread had. Functions of dcam.h give the caller's number back, so that neither the
 * program's own loops nor a call further out change their threads. */
int dcam_swap_threads(int threads);
/* What the calling thread has now, at least 1. */
int dcam_threads(void);
/* Cores that this process may use. */
int dcam_available_cores(void);

/* Calls body(context, begin, end) over [0, n), at most dcam_threads() chunks
 * of near-equal length, chunk k on thread k. n == 0 calls nothing. */
void dcam_parallel_for(size_t n, void (*body)(void *context, size_t begin, size_t end), void *context);

/* Starts a thread that takes no signals: those belong to the program. False: the system gives none. */
bool dcam_start_thread(pthread_t *thread, void *(*body)(void *context), void *context);

#endif
