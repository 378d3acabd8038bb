/* scorer.h - a model at work: teacher, student and (if it is kept) the attention, from RGB pixels to anomaly maps and
 * verdicts. One scorer serves one thread at a time. Nothing is allocated per image once a batch size has been seen. */
#ifndef DCAM_DETECT_SCORER_H
#define DCAM_DETECT_SCORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "detect/model.h"
#include "detect/regions.h"
#include "net/resnet.h"

typedef enum { DCAM_CLASS_GIVEN, DCAM_CLASS_INFERRED, DCAM_CLASS_SINGLE } dcam_class_source;
const char *dcam_class_source_name(dcam_class_source source); /* "given", "inferred", "single" */

typedef struct {
    int batch;                    /* most images together; 0: 8 */
    dcam_net_precision precision;
    int exact;                    /* as in dcam_net_options */
} dcam_scorer_options;

typedef struct {
    int class_index;              /* into model->classes */
    dcam_class_source source;
    float raw;                    /* image score before calibration */
    double score, threshold;      /* 0..1 with 0.5 at the threshold; raw threshold */
    bool anomalous;               /* score >= 0.5, which is raw >= threshold */
} dcam_verdict;

typedef struct dcam_scorer dcam_scorer;
/* model is borrowed and must outlive the scorer; its weights are copied into the networks. options may be NULL. */
DCAM_MUST_CHECK dcam_status dcam_scorer_create(const dcam_model *model, const dcam_scorer_options *options,
                                               dcam_scorer **out);
/* A second scorer of the same model and precision for another thread, with the first one's weights, which must outlive it
 * and may not run during this call. It runs with as many threads as the caller has now (base/parallel.h). batch: as in
 * the options. */
DCAM_MUST_CHECK dcam_status dcam_scorer_create_borrowing(const dcam_scorer *lender, int batch, dcam_scorer **out);
void dcam_scorer_destroy(dcam_scorer *scorer);
int dcam_scorer_batch(const dcam_scorer *scorer);

/* n images (any n), n x height x width x 3, already of the model's input size. classes[i]: index of the class, or -1
 * to have it found (nearest centre of the teacher's layer-3 features; the only one where there is one); NULL: all -1.
 * maps: n x height x width raw maps, or NULL. */
DCAM_MUST_CHECK dcam_status dcam_scorer_run(dcam_scorer *scorer, const uint8_t *rgb, int n, const int *classes,
                                            float *maps, dcam_verdict *verdicts);
/* The same from normalised input, n x 3 x height x width (what `bench` calls the network stage). */
DCAM_MUST_CHECK dcam_status dcam_scorer_run_normalised(dcam_scorer *scorer, const float *input, int n,
                                                       const int *classes, float *maps, dcam_verdict *verdicts);
/* One RGB image of any size: resized, then as above. map: height x width of the model's input, or NULL. */
DCAM_MUST_CHECK dcam_status dcam_scorer_run_image(dcam_scorer *scorer, const dcam_image *image, int class_index,
                                                  float *map, dcam_verdict *verdict);
/* Regions of map at or above the verdict's threshold, in pixels of the original photograph (regions.h); none where it is
 * not anomalous. */
size_t dcam_scorer_regions(dcam_scorer *scorer, const float *map, const dcam_verdict *verdict, int image_width,
                           int image_height, double min_area, dcam_region *out, size_t capacity);

/* ---- the steps of a run: extract at most dcam_scorer_batch images, then ask about each. After a run of at most as
 * many images they may be asked about too ---- */
DCAM_MUST_CHECK dcam_status dcam_scorer_extract(dcam_scorer *scorer, const uint8_t *rgb, int n);
/* Mean of the teacher's layer-3 features of image i over positions; C_3 floats. */
void dcam_scorer_centre(const dcam_scorer *scorer, int i, float *centre);
/* The class whose centre is nearest to that; the model must have one at least. */
int dcam_scorer_nearest_class(dcam_scorer *scorer, int i);
void dcam_scorer_stage_maps(dcam_scorer *scorer, int i, float *const stage_maps[DCAM_STAGES]);
/* Patches of an image, where the model has a memory; else 0. */
size_t dcam_scorer_memory_positions(const dcam_scorer *scorer);
/* Distance of each patch of image i to the class's nearest prototype. Only where the model has a memory. */
void dcam_scorer_memory_map(dcam_scorer *scorer, int i, const dcam_class_calibration *c, float *map);
/* Map of image i by the class's statistics and memory (NULL: without) and its raw score. */
float dcam_scorer_map(dcam_scorer *scorer, int i, const dcam_class_calibration *c, float *map);

#endif
