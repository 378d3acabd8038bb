/* model.h - the model file: teacher, student, attention, calibration, preprocessing and training record in one
 * safetensors file (cli.md, Model file). One file is a whole detector. */
#ifndef DCAM_DETECT_MODEL_H
#define DCAM_DETECT_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "detect/map.h"
#include "image/image.h"
#include "weights/trunk.h"

#define DCAM_MODEL_FORMAT 3             /* the newest; a file is written as the oldest that holds it */
#define DCAM_MAX_CLASSES 4096
#define DCAM_MAX_CLASS_NAME 255      /* bytes; it is a folder's name in the data set */
#define DCAM_MAX_CLASS_SCORES 1000000
#define DCAM_MAX_INPUT_SIDE 4096     /* pixels of the network's input */
#define DCAM_MAX_PROTOTYPES 65536    /* of a class's memory; 16 MiB and tens of milliseconds an image */
#define DCAM_MAX_MEMORY_WEIGHT 1e6

/* How a class's threshold came about (calibration.h). */
typedef enum {
    DCAM_RULE_ORDER,  /* an order statistic of the normal scores: the rate is guaranteed */
    DCAM_RULE_TAIL,   /* too few scores for the rate: extrapolated by an exponential tail */
    DCAM_RULE_SINGLE, /* one score only: a guess */
    DCAM_RULE_F1,     /* the best F1 on labelled images */
    DCAM_RULE_POOLED  /* from the scores of all classes together */
} dcam_threshold_rule;
#define DCAM_RULES 5

/* What calibration keeps for one class. */
typedef struct {
    char *name;
    size_t score_count;
    float *scores;        /* raw scores of normal validation images, ascending; at least 1 */
    double threshold;     /* raw; anomalous means score >= threshold */
    double false_alarm_rate; /* asked for when the threshold was set; with DCAM_RULE_F1 the one measured then */
    dcam_threshold_rule rule;
    float pixel_median, pixel_high; /* 50 % and 99.5 % quantile of the map's pixels on normal validation images */
    float map_low, map_high; /* fixed colour scale of overlays: raw map values */
    dcam_stage_statistics stages; /* of the stage maps on normal validation images */
    float *prototypes;    /* prototype_count x memory.dimensions; NULL where the model has no memory */
    size_t prototype_count;
    float memory_mean, memory_deviation; /* of the distances to them, on normal validation images */
    float *centre;        /* mean of the teacher's layer-3 features over positions and images, C_3 values */
} dcam_class_calibration;

/* The memory of normal patches (memory.h); every class has its prototypes. */
typedef struct {
    int dimensions;       /* 0: the model has none */
    double weight;        /* of its standardised map beside the sum of the stages' */
    float *projection;    /* (C_2 + C_3) x dimensions */
} dcam_memory;

typedef struct {
    const dcam_architecture *architecture;
    char *method;                 /* "dcam", "stfpm", ... */
    dcam_preprocessing preprocessing;
    dcam_trunk_weights *teacher;  /* folded */
    dcam_trunk_weights *student;  /* not folded */
    int attention;                /* dcam_attention_kind as a number; 0 none */
    bool attention_at_detection;  /* keep */
    float *attention_values[DCAM_STAGES];
    size_t attention_count[DCAM_STAGES];
    dcam_map_options map;
    /* Of each convolution's result on normal images, for int8 (net/ranges.h); both or neither. */
    float *teacher_ranges, *student_ranges;
    dcam_memory memory;
    dcam_class_calibration *classes;
    size_t class_count;
    char *training_record;        /* JSON text, or NULL */
    char *teacher_description;
} dcam_model;

DCAM_MUST_CHECK dcam_status dcam_model_create(dcam_model **out); /* empty, zeroed */
void dcam_model_destroy(dcam_model *model);
/* What dcam_model_save writes. Everything in the file is checked: names, shapes, ranges, finite values, counts; what
 * does not belong there is named and refused. A file of a newer format is DCAM_ERROR_MODEL_VERSION. */
DCAM_MUST_CHECK dcam_status dcam_model_load(const char *path, dcam_model **out);
DCAM_MUST_CHECK dcam_status dcam_model_save(const dcam_model *model, const char *path);
/* The format that it is written as: 3 with a pooled threshold, else 2 with a memory, else 1. */
int dcam_model_format(const dcam_model *model);
int dcam_model_class_index(const dcam_model *model, const char *name); /* -1 if unknown */
/* A class's name goes into JSON, file names and pages: UTF-8 without control characters and '/', not empty, at most
 * DCAM_MAX_CLASS_NAME bytes. DCAM_ERROR_DATA with a line that says why not; worth asking before a long training. */
DCAM_MUST_CHECK dcam_status dcam_class_name_check(const char *name);
/* Frees what one class holds and zeroes it. */
void dcam_class_calibration_clear(dcam_class_calibration *c);

#endif
