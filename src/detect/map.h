/* map.h - from teacher and student features to the anomaly map and the image score (method.md, Scoring). Features
 * f32, channels last. Maps f32, row-major. */
#ifndef DCAM_DETECT_MAP_H
#define DCAM_DETECT_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "net/resnet.h"
#include "weights/trunk.h"

/* A wider smoothing would blur away every defect of a 256-pixel map; the bound keeps the kernel on the stack. */
#define DCAM_MAX_SMOOTHING 32 /* pixels */

typedef enum { DCAM_MAP_SUM, DCAM_MAP_PRODUCT, DCAM_MAP_STANDARD } dcam_map_kind;
const char *dcam_map_kind_name(dcam_map_kind kind); /* "sum", "product", "standard" */

typedef struct {
    dcam_map_kind kind;
    double kd_weight;      /* 0: none; weight of the KD term per stage (added before combination) */
    double kd_temperature; /* of the KD term; 0: 1 */
    double smoothing;      /* Gaussian sigma in input pixels; 0: none; at most DCAM_MAX_SMOOTHING */
    double top_percent;    /* 0: maximum; else mean of the top p per cent of pixels */
} dcam_map_options;

/* Mean and deviation of the stage maps over the normal validation images of one class: what DCAM_MAP_STANDARD
 * divides out. They belong to a class (dcam_class_calibration), not to the model. */
typedef struct {
    float mean[DCAM_STAGES], deviation[DCAM_STAGES];
} dcam_stage_statistics;

/* Ranges of the options above. */
DCAM_MUST_CHECK dcam_status dcam_map_options_check(const dcam_map_options *options);

/* d(i) = 1 - cosine(t_i, s_i), epsilon 1e-6 as in the loss; positions x channels -> positions. */
void dcam_cosine_map(const float *t, const float *s, int positions, int channels, float *out);
/* The same of features as a network keeps them: BF16 or U8, whose scales' product is `scale`. Sums are f32: a distance is
 * off by up to about 1e-6. */
void dcam_cosine_map_raw(dcam_tap_type type, const void *t, const void *s, int positions, int channels, double scale,
                         float *out);
/* Adds weight * k(i) to map: the share of position i in the spatial relative entropy kd,
 *   k(i) = T^2 N/C * sum over c of P log(P/Q) - P + Q,   P, Q = softmax over the N positions of t/T, s/T per channel.
 * Each summand is >= 0, and as P and Q both sum to 1 the mean of k over positions is exactly the loss (scale
 * "mean"). scratch: 4 * channels values. */
void dcam_kd_map_add(const float *t, const float *s, int positions, int channels, double temperature, double weight,
                     double *scratch, float *map);
/* Bilinear, half-pixel centres, align_corners = false, edges clamped (PyTorch's interpolate). */
void dcam_upsample_bilinear(const float *in, int in_h, int in_w, float *out, int out_h, int out_w);
/* Separable Gaussian, truncated at 4 sigma, reflected edges (scipy.ndimage.gaussian_filter, mode reflect).
 * sigma <= DCAM_MAX_SMOOTHING. scratch: h*w floats. */
void dcam_gaussian_smooth(float *map, int h, int w, double sigma, float *scratch);

typedef struct dcam_mapper dcam_mapper;
DCAM_MUST_CHECK dcam_status dcam_mapper_create(const dcam_architecture *a, int height, int width, dcam_mapper **out);
void dcam_mapper_destroy(dcam_mapper *mapper);
/* One image. teacher[k], student[k]: H_k*W_k x C_k; map: height x width. statistics: used by DCAM_MAP_STANDARD
 * only, NULL: the stages are added as they are. Allocates nothing. */
void dcam_mapper_run(dcam_mapper *mapper, const dcam_map_options *options, const dcam_stage_statistics *statistics,
                     const float *const teacher[DCAM_STAGES], const float *const student[DCAM_STAGES], float *map);
/* A further map, standardised and weighted, that is added to the stages' before the up-sampling to the image. */
typedef struct {
    const float *map;  /* height x width */
    int height, width;
    float mean, factor; /* (value - mean) * factor is added */
} dcam_added_map;
/* The features of one image: at[k]: H_k*W_k x C_k of taps.type. Raw ones (not F32) have no KD term. */
typedef struct {
    dcam_taps taps;
    const void *at[DCAM_STAGES];
} dcam_map_source;
/* As dcam_mapper_run, for a sum or a standardised map; teacher and student of one type; added may be NULL. */
void dcam_mapper_run_with(dcam_mapper *mapper, const dcam_map_options *options, const dcam_stage_statistics *statistics,
                          const dcam_map_source *teacher, const dcam_map_source *student, const dcam_added_map *added,
                          float *map);
/* Per-stage maps only (before combination), for the statistics: stage_maps[k]: H_k*W_k. */
void dcam_mapper_stages(dcam_mapper *mapper, const dcam_map_options *options, const dcam_map_source *teacher,
                        const dcam_map_source *student, float *const stage_maps[DCAM_STAGES]);
/* Maximum, or mean of the top p per cent (floor(p/100 * count), at least 1 pixel). scratch: count floats (only used
 * for top p). */
float dcam_image_score(const dcam_map_options *options, const float *map, size_t count, float *scratch);

/* Whether every value is. */
bool dcam_map_is_finite(const float *map, size_t count);

#endif
