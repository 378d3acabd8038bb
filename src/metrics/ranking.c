/* ranking.c - AUROC, average precision and the best F1 from scores and labels, as scikit-learn defines them:
 *   AUROC = P(anomalous > normal) + P(equal) / 2 over all pairs, which is the area under the trapezoid ROC curve;
 *   AP = sum over thresholds of (R_k - R_k-1) P_k, no interpolation;
 *   F1 = 2 TP / (2 TP + FP + FN), the largest over every distinct score as a threshold.
 * Each changes only at a score that an anomalous item has, so only those are visited. Pairs are counted in integers. */
#include <math.h>

#include "base/memory.h"
#include "metrics/sorted.h"

bool dcam_groups_next(const dcam_sorted_scores *s, dcam_score_group *group)
{
    if (group->first == 0) return false;
    size_t first = group->first, above = group->normal_at_least;
    group->end = first;
    group->key = (uint32_t)(s->defect[--first] >> 32);
    while (first > 0 && (uint32_t)(s->defect[first - 1] >> 32) == group->key) first--;
    group->first = first;
    while (above < s->normal_count && s->normal[s->normal_count - 1 - above] > group->key) above++;
    group->normal_above = above;
    while (above < s->normal_count && s->normal[s->normal_count - 1 - above] == group->key) above++;
    group->normal_at_least = above;
    return true;
}

dcam_ranking_metrics dcam_ranking_of_sorted(const dcam_sorted_scores *s)
{
    dcam_ranking_metrics m = {NAN, NAN, NAN, NAN};
    if (s->normal_count == 0 || s->defect_count == 0) return m;

    const double positives = (double)s->defect_count;
    uint64_t twice_pairs = 0; /* 2 for each pair in the right order, 1 for each tie */
    double ap = 0, f1 = -1;
    dcam_score_group g = dcam_groups_start(s);
    while (dcam_groups_next(s, &g)) {
        const uint64_t here = g.end - g.first, ties = g.normal_at_least - g.normal_above;
        twice_pairs += here * (2 * (uint64_t)(s->normal_count - g.normal_at_least) + ties);
        const double tp = (double)(s->defect_count - g.first), fp = (double)g.normal_at_least;
        ap += (double)here / positives * (tp / (tp + fp));
        const double f = 2 * tp / (tp + fp + positives);
        if (f > f1) {
            f1 = f;
            m.f1max_threshold = (double)dcam_score_of_key(g.key);
        }
    }
    m.auroc = (double)twice_pairs / (2 * positives * (double)s->normal_count);
    m.ap = ap;
    m.f1max = f1;
    return m;
}

dcam_status dcam_ranking(const float *scores, const uint8_t *labels, size_t n, dcam_ranking_metrics *out)
{
    if (n > DCAM_MAX_METRIC_COUNT)
        return dcam_fail(DCAM_ERROR_DATA, "%zu scores are more than the %zu that a metric takes", n, DCAM_MAX_METRIC_COUNT);
    dcam_sorted_scores s = {0};
    uint32_t *scratch = NULL;
    size_t normals = 0;
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i < n; i++) {
        if (!dcam_score_is_finite(scores[i]))
            return dcam_fail(DCAM_ERROR_NUMERIC, "score %zu of %zu is not finite; the model that gave it is broken", i, n);
        normals += labels[i] == 0;
    }
    if ((status = dcam_alloc(normals, sizeof *s.normal, &s.normal)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(normals, sizeof *scratch, &scratch)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(n - normals, sizeof *s.defect, &s.defect)) != DCAM_OK) goto cleanup;
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = dcam_score_key(scores[i]);
        if (labels[i] == 0) s.normal[s.normal_count++] = key;
        else s.defect[s.defect_count++] = (uint64_t)key << 32;
    }
    dcam_sort_keys(s.normal, scratch, s.normal_count);
    dcam_sort_packed(s.defect, s.defect_count);
    *out = dcam_ranking_of_sorted(&s);
cleanup:
    dcam_free(s.defect);
    dcam_free(scratch);
    dcam_free(s.normal);
    return status;
}
