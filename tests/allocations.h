/* allocations.h - each allocation of a subject is refused, the n-th for n = 1, 2, ... until the subject passes, in two ways:
 * the n-th alone, and the n-th with all that follow.
 *
 *     dcam_net *net = NULL;
 *     EVERY_ALLOCATION(a, dcam_net_create(w, &options, &net)) {
 *         assert_true(a.passed == (net != NULL));   // optional: what a failure must leave untouched
 *         dcam_net_destroy(net);                    // what was made is given back
 *         net = NULL;
 *     }
 *
 * The call is evaluated anew each time; the body follows each time, with memory again. Checked are: DCAM_ERROR_MEMORY where
 * an allocation was refused and DCAM_OK where none was, what is held after the body, and that anything was refused at all.
 *
 * SOME_ALLOCATIONS(a, step, call) takes the first 8 and then every step-th, for subjects that take long. DCAM_TEST_EVERY=N
 * in the environment is the largest step (1: each allocation), and lets each subject say what was refused:
 * scripts/check-allocations.
 * NEEDED_ALLOCATIONS(a, step, call) is for subjects that can do without some: they may pass although one was refused. */
#ifndef DCAM_TESTS_ALLOCATIONS_H
#define DCAM_TESTS_ALLOCATIONS_H

#include <stdlib.h>

#include "base/memory.h"

typedef struct {
    const char *name;
    size_t held;
    uint64_t step, n, refused[2]; /* alone, with all that follow */
    bool spares, and_later, passed, done;
} allocations;

/* Sets up the next try; false: there is none. */
static inline bool allocations_next(allocations *a)
{
    const char *every = getenv("DCAM_TEST_EVERY");
    const uint64_t most = every ? strtoull(every, NULL, 10) : UINT64_MAX;
    if (dcam_memory_held() != a->held)
        fail_msg("after allocation %d%s, %s, %zu bytes are held instead of %zu", (int)a->n, a->and_later ? " and later" : "",
                 a->passed ? "passed" : "failed", dcam_memory_held(), a->held);
    if (a->done && a->and_later) {
        assert_true(a->refused[0] > 0);
        if (every)
            print_message("allocations: %s: %d alone, %d with all that follow, last try %d\n", a->name, (int)a->refused[0], (int)a->refused[1], (int)a->n);
        return false;
    }
    if (a->done) {
        a->and_later = true;
        a->n = 0;
    }
    a->n += a->n < 8 ? 1 : a->step < most ? a->step : most;
    dcam_memory_fail_at(a->n, a->and_later);
    return true;
}

static inline bool allocations_tried(allocations *a, dcam_status status)
{
    const bool refused = dcam_memory_refused();
    dcam_memory_fail_at(0, false);
    if (status != (refused ? DCAM_ERROR_MEMORY : DCAM_OK) && !(a->spares && status == DCAM_OK))
        fail_msg("allocation %d%s was %s: %s, %s", (int)a->n, a->and_later ? " and later" : "", refused ? "refused" : "not reached",
                 dcam_status_name(status), dcam_error_message());
    a->refused[a->and_later] += refused;
    a->passed = status == DCAM_OK;
    a->done = !refused;
    return true;
}

#define ALLOCATIONS(a, stride, may_spare, call)                                                                   \
    for (allocations a = {.name = __func__, .held = dcam_memory_held(), .step = (stride), .spares = (may_spare)}; \
         allocations_next(&a) && allocations_tried(&a, (call));)
#define EVERY_ALLOCATION(a, call) ALLOCATIONS(a, 1, false, call)
#define SOME_ALLOCATIONS(a, step, call) ALLOCATIONS(a, step, false, call)
#define NEEDED_ALLOCATIONS(a, step, call) ALLOCATIONS(a, step, true, call)

#endif
