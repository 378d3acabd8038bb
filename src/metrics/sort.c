/* sort.c - radix sorts of score keys. Keys alone are sorted least digit first with a second buffer, which is the
 * fastest; packed items, of which there are few but in the worst case all pixels, in place, most digit first
 * (American flag sort; McIlroy, Bostic, McIlroy, "Engineering radix sort", 1993), so that memory stays at 8 bytes
 * a pixel whatever the share of defects. */
#include "metrics/sorted.h"

#define DIGIT_BITS 8
#define DIGITS (32 / DIGIT_BITS)
#define BINS (1u << DIGIT_BITS)
/* Below this an insertion sort beats the counting of 256 bins. */
#define SMALL 48

static unsigned digit_of(uint32_t key, int digit) { return (key >> (digit * DIGIT_BITS)) & (BINS - 1); }

void dcam_sort_keys(uint32_t *keys, uint32_t *scratch, size_t n)
{
    size_t counts[DIGITS][BINS] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < DIGITS; d++) counts[d][digit_of(keys[i], d)]++;

    uint32_t *from = keys, *to = scratch;
    for (int d = 0; d < DIGITS; d++) {
        if (n > 0 && counts[d][digit_of(from[0], d)] == n) continue; /* the same digit everywhere */
        size_t offset[BINS], sum = 0;
        for (unsigned b = 0; b < BINS; b++) {
            offset[b] = sum;
            sum += counts[d][b];
        }
        for (size_t i = 0; i < n; i++) to[offset[digit_of(from[i], d)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) memcpy(keys, from, n * sizeof *keys);
}

static void insertion_sort(uint64_t *items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t item = items[i];
        size_t j = i;
        for (; j > 0 && items[j - 1] > item; j--) items[j] = items[j - 1];
        items[j] = item;
    }
}

/* Sorts by digit and those below it; recursion is DIGITS deep at most. */
static void flag_sort(uint64_t *items, size_t n, int digit)
{
    if (n < SMALL) {
        insertion_sort(items, n);
        return;
    }
    size_t next[BINS], end[BINS], counts[BINS] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++) counts[digit_of((uint32_t)(items[i] >> 32), digit)]++;
    for (unsigned b = 0; b < BINS; b++) {
        next[b] = sum;
        sum += counts[b];
        end[b] = sum;
    }
    for (unsigned b = 0; b < BINS; b++) {
        while (next[b] < end[b]) {
            uint64_t item = items[next[b]];
            unsigned bin;
            while ((bin = digit_of((uint32_t)(item >> 32), digit)) != b) {
                uint64_t displaced = items[next[bin]];
                items[next[bin]++] = item;
                item = displaced;
            }
            items[next[b]++] = item;
        }
    }
    if (digit == 0) return;
    for (unsigned b = 0; b < BINS; b++)
        if (counts[b] > 1) flag_sort(items + end[b] - counts[b], counts[b], digit - 1);
}

void dcam_sort_packed(uint64_t *items, size_t n) { flag_sort(items, n, DIGITS - 1); }
