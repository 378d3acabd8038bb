/* memory.h - allocation that is aligned, counted, bounded and can be made to
 * fail, and arithmetic on sizes that reports overflow. All memory of the
 * library comes from here. */
#ifndef DCAM_BASE_MEMORY_H
#define DCAM_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* One cache line and one AVX-512 register: what oneDNN and our kernels want. */
#define DCAM_ALIGNMENT 64

/* count * size bytes, aligned to 64, not cleared / cleared. A request of 0
 * bytes gives a pointer that may be freed. On failure *out is untouched and
 * the message names the size asked for. It fails as well where more would be
 * held than dcam_machine_memory(): Linux promises such memory, and ends the
 * process without a word once it is written to. */
DCAM_MUST_CHECK dcam_status dcam_alloc(size_t count, size_t size, void *out_pointer);
DCAM_MUST_CHECK dcam_status dcam_alloc_zero(size_t count, size_t size, void *out_pointer);

/* Grows or shrinks *pointer (from dcam_alloc, or NULL) to count * size bytes,
 * keeping the content. On failure the old block stays valid. */
DCAM_MUST_CHECK dcam_status dcam_realloc(size_t count, size_t size, void *pointer_to_pointer);

/* NULL-safe. */
void dcam_free(void *pointer);

DCAM_MUST_CHECK dcam_status dcam_copy_string(const char *text, char **out);
/* printf into a fresh string. */
DCAM_MUST_CHECK dcam_status dcam_format_string(char **out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes now held and the most ever held through these functions. */
size_t dcam_memory_held(void);
size_t dcam_memory_peak(void);
void dcam_memory_reset_peak(void);

/* Tests: the most that may be held, instead of dcam_machine_memory(); 0: that
 * again. */
void dcam_memory_set_most(size_t bytes);

/* Tests: the n-th allocation from now on (1 = the next) fails, and if
 * `and_later` every one after it. 0 switches it off. */
void dcam_memory_fail_at(uint64_t n, bool and_later);
/* Tests: whether an allocation has failed by that since. */
bool dcam_memory_refused(void);

/* Overflow-checked sizes: false on overflow, *out untouched. */
bool dcam_size_mul(size_t a, size_t b, size_t *out);
bool dcam_size_add(size_t a, size_t b, size_t *out);

#endif
