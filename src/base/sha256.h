/* sha256.h - SHA-256 (FIPS 180-4), for fingerprints of data and weights. */
#ifndef DCAM_BASE_SHA256_H
#define DCAM_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DCAM_SHA256_BYTES 32
#define DCAM_SHA256_HEX 65 /* 64 digits and a NUL */

typedef struct {
    uint32_t state[8];
    uint64_t length; /* bytes taken so far */
    uint8_t block[64];
} dcam_sha256;

void dcam_sha256_init(dcam_sha256 *hash);
/* Any number of calls; bytes may be NULL when count is 0. */
void dcam_sha256_update(dcam_sha256 *hash, const void *bytes, size_t count);
/* Ends the message; the hash must be initialised again before another use. */
void dcam_sha256_final(dcam_sha256 *hash, uint8_t out[DCAM_SHA256_BYTES]);
void dcam_sha256_final_hex(dcam_sha256 *hash, char out[DCAM_SHA256_HEX]);

/* Whether the processor's own instructions are used. */
bool dcam_sha256_accelerated(void);
/* Tests: only the portable C (true), or what the processor has (false, the start). */
void dcam_sha256_portable(bool only);

/* The whole of it in one call, as lower-case hex digits. */
void dcam_sha256_of(const void *bytes, size_t count, char out[DCAM_SHA256_HEX]);

#endif
