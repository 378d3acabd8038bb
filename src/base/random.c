/* random.c - Philox 4x32-10 and what is drawn from it. */
#include "base/random.h"

#include <math.h>

static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t dcam_random_stream(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) hash = (hash ^ *c) * 0x100000001b3u;
    return hash;
}

/* One block of four words a draw; only the words needed are used, so that the
 * counter counts draws. */
static void draw(dcam_random *r, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32),
                                 (uint32_t)r->stream, (uint32_t)(r->stream >> 32)};
    const uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    philox(counter, key, out);
    r->counter++;
}

uint32_t dcam_random_u32(dcam_random *r)
{
    uint32_t w[4];
    draw(r, w);
    return w[0];
}

uint64_t dcam_random_u64(dcam_random *r)
{
    uint32_t w[4];
    draw(r, w);
    return ((uint64_t)w[0] << 32) | w[1];
}

double dcam_random_uniform(dcam_random *r)
{
    return (double)(dcam_random_u64(r) >> 11) * 0x1.0p-53;
}

uint64_t dcam_random_below(dcam_random *r, uint64_t n)
{
    /* Rejects the few values at the top that would favour small results. */
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t v;
    do v = dcam_random_u64(r);
    while (v >= limit);
    return v % n;
}

double dcam_random_normal(dcam_random *r)
{
    double u = 1.0 - dcam_random_uniform(r); /* (0, 1]: log is finite */
    double v = dcam_random_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

void dcam_random_shuffle(dcam_random *r, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)dcam_random_below(r, i);
        uint32_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
