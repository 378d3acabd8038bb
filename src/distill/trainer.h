/* trainer.h - trains one student (and its attention blocks) to answer as the teacher does on the normal images of a
 * data set (method.md, Training). */
#ifndef DCAM_DISTILL_TRAINER_H
#define DCAM_DISTILL_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"
#include "detect/map.h"
#include "distill/loss.h"
#include "net/attention.h"
#include "net/resnet.h"
#include "weights/trunk.h"

/* Ranges of the options: wide enough for any use, narrow enough that a slip of the finger is told. */
#define DCAM_MAX_EPOCHS 100000
#define DCAM_MAX_BATCH 4096
#define DCAM_MIN_SIDE 32
#define DCAM_MAX_SIDE 4096

/* What the losses compare with the teacher's map: the attended map A(s), the raw map s, or both (the mean of the two
 * losses). */
typedef enum { DCAM_READS_ATTENDED, DCAM_READS_RAW, DCAM_READS_BOTH } dcam_loss_reads;
typedef enum { DCAM_SCHEDULE_CONSTANT, DCAM_SCHEDULE_COSINE } dcam_schedule;
const char *dcam_loss_reads_name(dcam_loss_reads reads);    /* "attended", "raw", "both" */
const char *dcam_schedule_name(dcam_schedule schedule);     /* "constant", "cosine" */

/* One step's news. Losses are means over the epoch so far; validation is NAN before the first epoch's end. */
typedef struct {
    int epoch, epochs; /* 1-based */
    int step, steps;   /* of this epoch, 1-based */
    double loss, terms[DCAM_LOSS_KINDS];
    double validation; /* mean of the anomaly map over the validation part, after the last whole epoch */
    bool epoch_done;   /* this epoch's validation is in, and the checkpoint written */
    bool best;         /* with epoch_done: the lowest validation so far */
    double images_per_second, seconds_left;
} dcam_trainer_progress;
/* Returns true to stop; with the last epoch's end the training is done, and is kept. */
typedef bool (*dcam_trainer_callback)(void *user, const dcam_trainer_progress *progress);

/* Every field counts: start from dcam_trainer_preset. */
typedef struct {
    const char *method;            /* for the record */
    dcam_attention_kind attention;
    bool attention_at_detection;   /* validation scores A(s) and not s */
    dcam_loss_options loss;
    dcam_loss_reads reads;
    dcam_map_options map;          /* of the validation; its smoothing and top_percent change no mean and are not used */
    int width, height;             /* multiples of 32 */
    int epochs, batch;
    double learning_rate, momentum, weight_decay;
    dcam_schedule schedule;        /* cosine: from learning_rate to 0, step by step */
    double validation_fraction;
    uint64_t seed;
    dcam_net_precision precision;  /* of the gradients: F32 or BF16; all else is f32 */
    int threads;                   /* 0: what the calling thread has (dcam_set_threads) */
    size_t cache_bytes;            /* cap of the kept images (uint8) and teacher's maps (bf16); 0: none */
    size_t max_bytes;              /* refuses to start a run that would hold more; 0: no limit */
    const char *checkpoint;        /* written after every epoch and when stopped; NULL: none */
    bool resume;                   /* go on from it; it must be of the same options, data and teacher */
    dcam_trainer_callback progress;
    void *user;
} dcam_trainer_options;

/* The defaults of "hybrid" (cd + kd of weight 2, lr 0.4 down a cosine, standardised and smoothed map, batch 16, 40 epochs),
 * "dcam" (channel attention, cd + kd, lr 0.1, sum) or "stfpm" (l2, lr 0.4, product); the last two with batch 32 and 100
 * epochs, all at 256x256. An unknown method is refused. */
DCAM_MUST_CHECK dcam_status dcam_trainer_preset(const char *method, dcam_trainer_options *out);
/* Ranges and combinations; each line names the option and its range. */
DCAM_MUST_CHECK dcam_status dcam_trainer_check(const dcam_trainer_options *options);

typedef struct {
    dcam_trunk_weights *student; /* of the best epoch, not folded */
    float *attention_values[DCAM_STAGES];
    size_t attention_count[DCAM_STAGES];
    int best_epoch;
    double best_validation;
    char *record;                /* the training record, JSON text */
    uint32_t *train, *validation; /* the split, into dataset->samples */
    size_t train_count, validation_count;
} dcam_training_result;
void dcam_training_result_clear(dcam_training_result *result);

/* Bytes of one run: everything held from its first step to its last, the cap of the cache included (as far as the
 * images fill it). photograph: what decoding the largest of them takes (dcam_dataset_find_largest); counted once a
 * decoding thread. */
DCAM_MUST_CHECK dcam_status dcam_trainer_plan_bytes(const dcam_architecture *architecture,
                                                    const dcam_trainer_options *options, size_t images,
                                                    size_t photograph, size_t *out_bytes);

/* The same, and refused with DCAM_ERROR_MEMORY where it is more than options->max_bytes. */
DCAM_MUST_CHECK dcam_status dcam_trainer_check_memory(const dcam_architecture *architecture, const dcam_trainer_options *options,
                                                      size_t images, const dcam_photograph *largest,
                                                      size_t *out_bytes);

/* Bytes of the files: of the student with its attention, as part of a model; of a checkpoint. Upper bounds, text
 * included. */
void dcam_trainer_file_bytes(const dcam_architecture *architecture, const dcam_trainer_options *options, size_t *student,
                             size_t *checkpoint);

/* Trains on every class of dataset. teacher: frozen, borrowed; description goes into the record and the checkpoint
 * (dcam_teacher_open's). Two runs with the same options, data, teacher and thread count give the same bits, with
 * or without a cache, stopped and resumed or not.
 * DCAM_ERROR_NUMERIC: the loss left the numbers; DCAM_ERROR_CANCELLED: the callback stopped it (the message says how
 * to go on). */
DCAM_MUST_CHECK dcam_status dcam_trainer_run(const dcam_dataset *dataset, const dcam_trunk_weights *teacher,
                                             const char *teacher_description, const dcam_trainer_options *options,
                                             dcam_training_result *out);

#endif
