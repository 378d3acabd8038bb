/* teacher_maps.h - the teacher's maps, rounded to bf16 and kept up to a cap. An image's maps are computed alone and
 * rounded whether they are kept or not, so that neither the cap nor the company in a batch changes a bit. */
#ifndef DCAM_DISTILL_TEACHER_MAPS_H
#define DCAM_DISTILL_TEACHER_MAPS_H

#include <stddef.h>
#include <stdint.h>

#include "data/loader.h"
#include "net/resnet.h"

/* The record of one image: stage 1, 2, 3, each positions x channels. */
typedef struct {
    size_t offset[DCAM_STAGES]; /* values before this stage */
    size_t count[DCAM_STAGES];  /* positions x channels */
    size_t total;
} dcam_map_layout;
dcam_map_layout dcam_map_layout_of(const dcam_feature_shapes *shapes);

typedef struct dcam_teacher_maps dcam_teacher_maps;
/* cache: of records of layout.total bf16 values keyed by sample, or NULL; borrowed. */
DCAM_MUST_CHECK dcam_status dcam_teacher_maps_create(const dcam_trunk_weights *teacher, const dcam_net_options *options,
                                                     dcam_cache *cache, dcam_teacher_maps **out);
void dcam_teacher_maps_destroy(dcam_teacher_maps *maps);
size_t dcam_teacher_maps_bytes(const dcam_teacher_maps *maps);
/* Maps of n images into records: n x layout.total. input: n x 3 x height x width, normalised; keys: n sample
 * indices. */
DCAM_MUST_CHECK dcam_status dcam_teacher_maps_get(dcam_teacher_maps *maps, const float *input, const uint32_t *keys,
                                                  int n, uint16_t *records);
/* count values of a record as f32. */
void dcam_teacher_maps_widen(const uint16_t *from, size_t count, float *to);
/* One stage of n records, widened: n x layout.count[stage]. */
void dcam_teacher_maps_stage(const dcam_map_layout *layout, const uint16_t *records, int n, int stage, float *out);

#endif
