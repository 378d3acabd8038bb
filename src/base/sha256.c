/* sha256.c - SHA-256 as in FIPS 180-4, sections 4.1.2, 5.1.1 and 6.2.2: portable C, and x86's SHA instructions where the
 * processor has them, because every model is summed while it is loaded. */
#include "base/sha256.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const _Alignas(16) uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static uint32_t load_big_endian(const uint8_t *p)
{
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}

static void store_big_endian(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static void compress_portable(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++) w[t] = load_big_endian(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >> 3);
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(s, state, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t e = s[4], a = s[0];
        uint32_t choose = (e & s[5]) ^ (~e & s[6]);
        uint32_t majority = (a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]);
        uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choose + round_constants[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

#if defined(__x86_64__)
/* Four rounds a step; the schedule of four words behind it, w[t] from w[t-16], w[t-15], w[t-7] and w[t-2]. */
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_x86(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);
    const __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
    for (; blocks > 0; blocks--, bytes += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(bytes + 16 * i)), swap);
        for (int i = 0; i < 16; i++) {
            __m128i added = _mm_add_epi32(w[i & 3], _mm_load_si128((const __m128i *)(const void *)(round_constants + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            added = _mm_shuffle_epi32(added, 0x0e);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, added);
            if (i >= 12) continue;
            const __m128i last = w[(i + 3) & 3];
            __m128i next = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
            next = _mm_add_epi32(next, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
            w[i & 3] = _mm_sha256msg2_epu32(next, last);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static bool has_instructions(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) && __builtin_cpu_supports("sse4.1") &&
           __builtin_cpu_supports("ssse3");
}
#endif

/* 0: not asked yet; 1: portable; 2: the instructions. */
static _Atomic int way;

void dcam_sha256_portable(bool only) { atomic_store(&way, only ? 1 : 0); /* 0: asked again */ }

bool dcam_sha256_accelerated(void)
{
#if defined(__x86_64__)
    int chosen = atomic_load_explicit(&way, memory_order_relaxed);
    if (chosen == 0) atomic_store_explicit(&way, chosen = has_instructions() ? 2 : 1, memory_order_relaxed);
    return chosen == 2;
#else
    return false;
#endif
}

static void compress(uint32_t state[8], const uint8_t *bytes, size_t blocks)
{
#if defined(__x86_64__)
    if (dcam_sha256_accelerated()) {
        compress_x86(state, bytes, blocks);
        return;
    }
#endif
    for (; blocks > 0; blocks--, bytes += 64) compress_portable(state, bytes);
}

void dcam_sha256_init(dcam_sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof start);
    hash->length = 0;
}

void dcam_sha256_update(dcam_sha256 *hash, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    size_t used = (size_t)(hash->length % sizeof hash->block);
    hash->length += count;
    while (count > 0) {
        if (used == 0 && count >= sizeof hash->block) {
            const size_t blocks = count / sizeof hash->block;
            compress(hash->state, p, blocks);
            p += blocks * sizeof hash->block;
            count -= blocks * sizeof hash->block;
            continue;
        }
        size_t take = sizeof hash->block - used;
        if (take > count) take = count;
        memcpy(hash->block + used, p, take);
        p += take;
        count -= take;
        used += take;
        if (used == sizeof hash->block) {
            compress(hash->state, hash->block, 1);
            used = 0;
        }
    }
}

void dcam_sha256_final(dcam_sha256 *hash, uint8_t out[DCAM_SHA256_BYTES])
{
    /* A one bit, zeros up to 56 modulo 64, then the length in bits. */
    static const uint8_t padding[64] = {0x80};
    uint8_t length[8];
    uint64_t bits = hash->length * 8;
    size_t used = (size_t)(hash->length % 64);
    store_big_endian(length, (uint32_t)(bits >> 32));
    store_big_endian(length + 4, (uint32_t)bits);
    dcam_sha256_update(hash, padding, used < 56 ? 56 - used : 120 - used);
    dcam_sha256_update(hash, length, sizeof length);
    for (int i = 0; i < 8; i++) store_big_endian(out + 4 * i, hash->state[i]);
}

void dcam_sha256_final_hex(dcam_sha256 *hash, char out[DCAM_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[DCAM_SHA256_BYTES];
    dcam_sha256_final(hash, sum);
    for (int i = 0; i < DCAM_SHA256_BYTES; i++) {
        out[2 * i] = digits[sum[i] >> 4];
        out[2 * i + 1] = digits[sum[i] & 15];
    }
    out[2 * DCAM_SHA256_BYTES] = '\0';
}

void dcam_sha256_of(const void *bytes, size_t count, char out[DCAM_SHA256_HEX])
{
    dcam_sha256 hash;
    dcam_sha256_init(&hash);
    dcam_sha256_update(&hash, bytes, count);
    dcam_sha256_final_hex(&hash, out);
}
