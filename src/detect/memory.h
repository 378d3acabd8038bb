/* memory.h - the memory of normal patches: what the teacher's features of normal images look like, class by class, as
 * a few prototypes, and how far the patches of an image are from them (method.md, Memory of normal patches).
 *
 * A patch is a place of the second stage's grid (stride 8). Its descriptor: the teacher's features of the second stage
 * and of the third (bilinear to that grid), each averaged over 3x3 and then at unit length, projected to a few
 * dimensions by one matrix for all classes. After Roth et al., "Towards Total Recall in Industrial Anomaly Detection"
 * (PatchCore, CVPR 2022); unit length and the learned projection are ours. */
#ifndef DCAM_DETECT_MEMORY_H
#define DCAM_DETECT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "detect/calibration.h"
#include "detect/model.h"
#include "weights/trunk.h"

#define DCAM_DEFAULT_MEMORY_DIMENSIONS 64
#define DCAM_DEFAULT_MEMORY_PROTOTYPES 1000
/* Descriptors of a class from which its prototypes are chosen: no class has more, whatever is asked for. */
#define DCAM_MEMORY_POOL 40960
#define DCAM_DEFAULT_MEMORY_WEIGHT 2.0
/* Where the teacher never saw a photograph: what its student finds is little, and mostly in the way (docs/teacher.md). */
#define DCAM_DEFAULT_MEMORY_WEIGHT_NO_PHOTOGRAPHS 8.0

/* ---- at work: one image at a time ---- */

typedef struct dcam_matcher dcam_matcher;
/* For inputs of height x width. projection: (C_2 + C_3) x dimensions, copied; NULL: the matcher tells raw descriptors
 * only. most_prototypes: of any class that will be asked about. rounded: prototypes may be found by bf16 products, where
 * the processor has them. */
DCAM_MUST_CHECK dcam_status dcam_matcher_create(const dcam_architecture *a, int height, int width, const float *projection,
                                                int dimensions, size_t most_prototypes, bool rounded, dcam_matcher **out);
void dcam_matcher_destroy(dcam_matcher *matcher);
/* Patches of an image: height / 8 x width / 8, and values of a raw descriptor, C_2 + C_3. */
size_t dcam_matcher_positions(const dcam_matcher *matcher);
size_t dcam_matcher_channels(const dcam_matcher *matcher);
/* Descriptors before the projection: positions x channels. teacher[k]: H_k*W_k x C_k. */
void dcam_matcher_describe(dcam_matcher *matcher, const float *const teacher[DCAM_STAGES], float *out);
/* Descriptors: positions x dimensions. The projection comes before the up-sampling, which it may: both are linear. */
void dcam_matcher_embed(dcam_matcher *matcher, const float *const teacher[DCAM_STAGES], float *out);
/* Euclidean distance of each patch to the nearest of the prototypes (count x dimensions): `positions` values. The
 * prototypes of the last call are remembered by their address and must not change. */
void dcam_matcher_distances(dcam_matcher *matcher, const float *const teacher[DCAM_STAGES], const float *prototypes,
                            size_t count, float *map);

/* ---- made from normal images ---- */

typedef struct {
    int dimensions;  /* 0: DCAM_DEFAULT_MEMORY_DIMENSIONS */
    int prototypes;  /* most a class; 0: DCAM_DEFAULT_MEMORY_PROTOTYPES */
    double weight;   /* of the memory's standardised map beside the sum of the stages'; 0: DCAM_DEFAULT_MEMORY_WEIGHT */
    uint64_t seed;
    dcam_net_precision precision; /* of the teacher; as it will score */
    int batch;       /* most images through the teacher together; 0: 8 */
} dcam_memory_options;
DCAM_MUST_CHECK dcam_status dcam_memory_options_check(const dcam_memory_options *options, const dcam_architecture *a);

/* Gives the model a memory of the set's images, which should be those that the student learns from: what is calibrated
 * afterwards must not be in it. Classes that the model does not have are appended, without scores. The same set and
 * seed give the same bits with any number of threads. The model is untouched on failure. */
DCAM_MUST_CHECK dcam_status dcam_memory_build(dcam_model *model, const dcam_memory_options *options,
                                              const dcam_calibration_set *set);

/* ---- its parts ---- */

/* The `dimensions` directions of largest variance: covariance is channels x channels, symmetric; out: channels x
 * dimensions, columns orthonormal, by orthogonal iteration. */
DCAM_MUST_CHECK dcam_status dcam_principal_directions(const double *covariance, size_t channels, size_t dimensions,
                                                      float *out);
/* Greedy k-center: the vector farthest from the mean, then again and again the one farthest from all that are chosen.
 * vectors: n x dimensions; chosen: indices, *count on entry how many are wanted, on exit how many there are (fewer where
 * the rest are copies). */
DCAM_MUST_CHECK dcam_status dcam_choose_coreset(const float *vectors, size_t n, size_t dimensions, size_t *count,
                                                size_t *chosen);
/* Moves each of the prototypes (count x dimensions) to the mean of the vectors that it is the nearest to; one of none
 * stays. */
DCAM_MUST_CHECK dcam_status dcam_average_cells(const float *vectors, size_t n, size_t dimensions, float *prototypes,
                                               size_t count);

#endif
