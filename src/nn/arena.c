/* arena.c - greedy by size, as in Pisarchyk and Lee, "Efficient memory management for deep neural net inference"
 * (2020), section 5.2: the largest tensor first, each at the lowest offset that no tensor placed before it and alive
 * at the same time covers. Quadratic in the number of tensors, of which a network has under a hundred. */
#include "nn/arena.h"

#include "base/memory.h"

static int overlap(const dcam_arena_item *a, const dcam_arena_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset for item; placed holds the indices of those before it, by rising offset. */
static size_t find_offset(const dcam_arena_item *items, const size_t *placed, size_t count,
                          const dcam_arena_item *item)
{
    size_t at = 0;
    for (size_t k = 0; k < count; k++) {
        const dcam_arena_item *other = &items[placed[k]];
        if (!overlap(other, item)) continue;
        if (other->offset >= at && other->offset - at >= item->bytes) break;
        if (other->offset + other->bytes > at) at = other->offset + other->bytes;
    }
    return at;
}

dcam_status dcam_arena_plan(dcam_arena_item *items, size_t count, size_t *out_bytes)
{
    size_t *by_size, *placed, total = 0;
    DCAM_TRY(dcam_alloc(2 * count + 1, sizeof *by_size, &by_size));
    placed = by_size + count;
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        size_t rounded;
        if (!dcam_size_add(items[i].bytes, DCAM_ALIGNMENT - 1, &rounded) ||
            !dcam_size_add(sum, rounded &= ~(size_t)(DCAM_ALIGNMENT - 1), &sum)) {
            dcam_free(by_size);
            return dcam_fail(DCAM_ERROR_MEMORY, "the network's tensors do not fit into the address space");
        }
        items[i].bytes = rounded;
        size_t k = i;
        for (; k > 0 && items[by_size[k - 1]].bytes < rounded; k--) by_size[k] = by_size[k - 1];
        by_size[k] = i;
    }
    for (size_t i = 0; i < count; i++) {
        dcam_arena_item *item = &items[by_size[i]];
        item->offset = find_offset(items, placed, i, item);
        if (item->offset + item->bytes > total) total = item->offset + item->bytes;
        size_t k = i;
        for (; k > 0 && items[placed[k - 1]].offset > item->offset; k--) placed[k] = placed[k - 1];
        placed[k] = by_size[i];
    }
    dcam_free(by_size);
    *out_bytes = total;
    return DCAM_OK;
}
