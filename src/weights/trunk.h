/* trunk.h - the shape of the ResNet trunk as a table, and its weights in memory under torchvision's names.
 * ResNet-18 to layer3; ResNet-34 is one more row. */
#ifndef DCAM_WEIGHTS_TRUNK_H
#define DCAM_WEIGHTS_TRUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "weights/tensors.h"

#define DCAM_STAGES 3
#define DCAM_MAX_CONVOLUTIONS 64
#define DCAM_BATCH_NORM_EPSILON 1e-5f

typedef struct {
    const char *name;             /* "resnet18" */
    int stage_blocks[DCAM_STAGES];
    int stage_channels[DCAM_STAGES];
} dcam_architecture;

/* By name; NULL is the default, resnet18. NULL result if unknown. */
const dcam_architecture *dcam_architecture_find(const char *name);

/* One convolution followed by batch norm. */
typedef struct {
    char name[48];       /* "conv1", "layer1.0.conv2", "layer2.0.downsample.0" */
    char norm_name[48];  /* "bn1",   "layer1.0.bn2",   "layer2.0.downsample.1" */
    int out_channels, in_channels, kernel, stride, padding;
    size_t weight_count; /* out x in x kernel x kernel */
} dcam_convolution_shape;

/* In forward order (conv1; per block conv1, conv2, downsample). Returns the count. */
int dcam_architecture_convolutions(const dcam_architecture *a, dcam_convolution_shape out[DCAM_MAX_CONVOLUTIONS]);
/* Values of a trunk that is not folded: those that are trained, and all, with the running statistics of batch norm. */
void dcam_architecture_values(const dcam_architecture *a, size_t *trained, size_t *all);

/* Weights of one trunk, all in one flat array; pointers below point into it.
 * Per convolution: weight OIHW; folded: bias[out]; else gamma, beta, running mean and variance [out]. */
typedef struct {
    float *weight;
    float *bias;                  /* folded only, else NULL */
    float *gamma, *beta;          /* not folded only, else NULL */
    float *running_mean, *running_variance;
} dcam_convolution_weights;

typedef struct {
    const dcam_architecture *architecture;
    bool folded;
    bool no_photographs;          /* of a teacher that dcam_teacher_open read: it learnt from drawn pictures, or nothing */
    int convolution_count;
    dcam_convolution_shape shapes[DCAM_MAX_CONVOLUTIONS];
    dcam_convolution_weights convolutions[DCAM_MAX_CONVOLUTIONS];
    float *values;                /* trainable values first (weight, gamma, beta or weight, bias), then statistics */
    size_t trainable_count;
    size_t value_count;
} dcam_trunk_weights;

/* Allocates, all zero. */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_create(const dcam_architecture *a, bool folded, dcam_trunk_weights **out);
void dcam_trunk_weights_destroy(dcam_trunk_weights *w);
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_copy(const dcam_trunk_weights *from, dcam_trunk_weights **out);
/* Folds batch norm into weight and bias (evaluation mode); a folded one is copied. */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_fold(const dcam_trunk_weights *from, dcam_trunk_weights **out);

/* Student start as torchvision's: convolutions Kaiming-normal (fan out, ReLU), gamma 1, beta 0, mean 0, variance 1. */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_random(const dcam_architecture *a, uint64_t seed, dcam_trunk_weights **out);
/* A frozen random teacher ("random:SEED"): the above, folded, each layer's bias and gain set so that activations
 * keep unit scale on natural-like input (stated in the comment of the .c file). */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_random_teacher(const dcam_architecture *a, uint64_t seed, dcam_trunk_weights **out);

/* Reads tensors PREFIX + torchvision name. Batch norm separate or folded (conv bias present) is detected.
 * layer4.*, fc.*, *.num_batches_tracked are ignored; any other extra tensor is named and refused, as are missing,
 * misshapen, non-finite ones. prefix "" for a teacher file, "teacher." / "student." in a model file (then tensors
 * with other prefixes are not extra). */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_read(const dcam_tensors *tensors, const char *prefix,
                                                    const dcam_architecture *a, dcam_trunk_weights **out);
/* Adds all tensors to the writer (borrowed). */
DCAM_MUST_CHECK dcam_status dcam_trunk_weights_add(const dcam_trunk_weights *w, const char *prefix, dcam_tensor_writer *writer);

/* The file that is part of the library: a teacher trained by `dcam pretrain`. */
const uint8_t *dcam_embedded_teacher(size_t *bytes);
#define DCAM_EMBEDDED_TEACHER "procedural"
/* How the metadata entry "source" of `dcam pretrain`'s files begins. */
#define DCAM_PRETRAIN_SOURCE "dcam pretrain: "

/* A teacher as given on the command line: a file, "random:SEED", or NULL or "procedural" for the embedded one.
 * description (>= 256 bytes) gets what to write into the training record (name and SHA-256, or random:SEED). */
DCAM_MUST_CHECK dcam_status dcam_teacher_open(const char *name, dcam_trunk_weights **out, char description[256]);
/* A teacher file of half the size: folded if it is not, kernels as bf16. source, record (JSON text): metadata. */
DCAM_MUST_CHECK dcam_status dcam_teacher_save_compact(const dcam_trunk_weights *w, const char *source, const char *record,
                                                      const char *path);
/* `dcam teacher import`: reads, checks, folds and writes a teacher file (safetensors, with metadata). */
DCAM_MUST_CHECK dcam_status dcam_teacher_import_file(const char *from, const char *to);
/* The same of a file that must have this sum (64 digits in lower case): it is read once, so that what is imported is
 * what was summed, whoever else may write to the file. *is_other: whether it has another, which is an error. */
DCAM_MUST_CHECK dcam_status dcam_teacher_import_summed(const char *from, const char *sha256, const char *to,
                                                       bool *is_other);

#endif
