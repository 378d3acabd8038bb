/* sorted.h - scores in order, split by label: what every ranking metric walks over.
 *
 * Between two defect scores a curve of true against false positives is a straight horizontal line, so the metrics need
 * the normal scores only as counts at each distinct defect score. Normal scores are kept as 32-bit keys; defect scores
 * as 64 bits, the key above a payload (the region of the pixel). */
#ifndef DCAM_METRICS_SORTED_H
#define DCAM_METRICS_SORTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "metrics/metrics.h"

typedef struct {
    uint32_t *normal;  /* keys, ascending after sorting */
    uint64_t *defect;  /* key << 32 | payload, ascending by key after sorting */
    size_t normal_count, defect_count;
} dcam_sorted_scores;

/* A key orders as its float does; -0 and +0 share one. Only for finite floats. */
static inline uint32_t dcam_score_key(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    if (bits == 0x80000000u) bits = 0;
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}

static inline float dcam_score_of_key(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Infinite or NaN: all bits of the exponent set. */
static inline bool dcam_score_is_finite(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

/* keys[n] ascending; scratch: n elements. */
void dcam_sort_keys(uint32_t *keys, uint32_t *scratch, size_t n);
/* items[n] ascending by their upper 32 bits, in place. */
void dcam_sort_packed(uint64_t *items, size_t n);

/* Walks the distinct defect scores downwards. */
typedef struct {
    uint32_t key;
    size_t first, end;      /* its items in defect[] */
    size_t normal_above;    /* normal scores > key */
    size_t normal_at_least; /* normal scores >= key */
} dcam_score_group;

static inline dcam_score_group dcam_groups_start(const dcam_sorted_scores *s)
{
    return (dcam_score_group){0, s->defect_count, s->defect_count, 0, 0};
}

/* false after the lowest group. */
bool dcam_groups_next(const dcam_sorted_scores *s, dcam_score_group *group);

/* AUROC, AP and F1-max of sorted scores. */
dcam_ranking_metrics dcam_ranking_of_sorted(const dcam_sorted_scores *s);

#endif
