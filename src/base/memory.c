/* memory.c - the library's allocator: a header of one cache line before each
 * block keeps its size, so that what is held can be counted and stated. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine_memory.h"
#include "base/number_text.h"

/* Every machine has as much, so that small runs need not ask the system. */
#define SURELY_THERE ((size_t)256 << 20)

static _Atomic size_t held;
static _Atomic size_t most; /* 0: not asked yet */
static _Atomic size_t peak;
static _Atomic uint64_t fail_countdown;
static _Atomic bool fail_later;
static _Atomic bool refused;

bool dcam_size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool dcam_size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

void dcam_memory_fail_at(uint64_t n, bool and_later)
{
    atomic_store(&fail_later, and_later);
    atomic_store(&refused, false);
    atomic_store(&fail_countdown, n);
}

bool dcam_memory_refused(void) { return atomic_load(&refused); }

static bool must_fail(void)
{
    uint64_t n = atomic_load(&fail_countdown);
    while (n > 0) {
        if (n > 1 || !atomic_load(&fail_later)) {
            if (!atomic_compare_exchange_weak(&fail_countdown, &n, n - 1)) continue;
            if (n > 1) return false;
        }
        atomic_store(&refused, true);
        return true;
    }
    return false;
}

void dcam_memory_set_most(size_t bytes) { atomic_store(&most, bytes); }

static size_t most_held(void)
{
    size_t limit = atomic_load(&most);
    if (limit > 0) return limit;
    limit = dcam_machine_memory();
    if (limit == 0) limit = SIZE_MAX;
    atomic_store(&most, limit);
    return limit;
}

/* Counts a block in before it is made; false, and nothing counted: it would be too much. now: what is then held. */
static bool count_in(size_t bytes, size_t *now)
{
    size_t before = atomic_load(&held);
    do {
        if (!dcam_size_add(before, bytes, now)) return false;
        if ((*now > SURELY_THERE || atomic_load(&most) > 0) && *now > most_held()) return false;
    } while (!atomic_compare_exchange_weak(&held, &before, *now));
    return true;
}

static void note_peak(size_t now)
{
    size_t top = atomic_load(&peak);
    while (now > top && !atomic_compare_exchange_weak(&peak, &top, now)) {}
}

/* The block behind a user pointer starts one cache line earlier. */
static unsigned char *header_of(void *pointer) { return (unsigned char *)pointer - DCAM_ALIGNMENT; }

static size_t size_of(void *pointer)
{
    size_t size;
    memcpy(&size, header_of(pointer), sizeof size);
    return size;
}

static void *allocate(size_t bytes)
{
    size_t total, now;
    if (!dcam_size_add(bytes, 2 * DCAM_ALIGNMENT - 1, &total)) return NULL;
    total &= ~(size_t)(DCAM_ALIGNMENT - 1);
    if (must_fail() || !count_in(bytes, &now)) return NULL;
    unsigned char *block = aligned_alloc(DCAM_ALIGNMENT, total);
    if (!block) {
        atomic_fetch_sub(&held, bytes);
        return NULL;
    }
    memcpy(block, &bytes, sizeof bytes);
    note_peak(now);
    return block + DCAM_ALIGNMENT;
}

static dcam_status no_memory(size_t count, size_t size)
{
    return dcam_fail(DCAM_ERROR_MEMORY, "out of memory: %zu x %zu bytes were asked for; %zu MiB are held", count, size,
                     dcam_memory_held() >> 20);
}

dcam_status dcam_alloc(size_t count, size_t size, void *out_pointer)
{
    size_t bytes;
    if (!dcam_size_mul(count, size, &bytes)) return no_memory(count, size);
    void *p = allocate(bytes);
    if (!p) return no_memory(count, size);
    memcpy(out_pointer, &p, sizeof p);
    return DCAM_OK;
}

dcam_status dcam_alloc_zero(size_t count, size_t size, void *out_pointer)
{
    void *p;
    DCAM_TRY(dcam_alloc(count, size, &p));
    memset(p, 0, count * size);
    memcpy(out_pointer, &p, sizeof p);
    return DCAM_OK;
}

dcam_status dcam_realloc(size_t count, size_t size, void *pointer_to_pointer)
{
    void *old, *fresh;
    memcpy(&old, pointer_to_pointer, sizeof old);
    DCAM_TRY(dcam_alloc(count, size, &fresh));
    if (old) {
        size_t keep = size_of(old), bytes = count * size;
        memcpy(fresh, old, keep < bytes ? keep : bytes);
        dcam_free(old);
    }
    memcpy(pointer_to_pointer, &fresh, sizeof fresh);
    return DCAM_OK;
}

void dcam_free(void *pointer)
{
    if (!pointer) return;
    atomic_fetch_sub(&held, size_of(pointer));
    free(header_of(pointer));
}

dcam_status dcam_copy_string(const char *text, char **out)
{
    size_t bytes = strlen(text) + 1;
    char *copy;
    DCAM_TRY(dcam_alloc(bytes, 1, &copy));
    memcpy(copy, text, bytes);
    *out = copy;
    return DCAM_OK;
}

dcam_status dcam_format_string(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = dcam_vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return dcam_fail(DCAM_ERROR_INTERNAL, "cannot format a string");
    char *text;
    DCAM_TRY(dcam_alloc((size_t)length + 1, 1, &text));
    va_start(args, format);
    dcam_vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    *out = text;
    return DCAM_OK;
}

size_t dcam_memory_held(void) { return atomic_load(&held); }
size_t dcam_memory_peak(void) { return atomic_load(&peak); }
void dcam_memory_reset_peak(void) { atomic_store(&peak, atomic_load(&held)); }
