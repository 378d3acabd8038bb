/* head.h - the classifiers of the pre-training: one on each stage's map, averaged over its positions. They teach the
 * trunk and are thrown away after it. A classifier on every stage, because detection reads every stage. */
#ifndef DCAM_PRETRAIN_HEAD_H
#define DCAM_PRETRAIN_HEAD_H

#include "net/resnet.h"

typedef struct pretrain_head pretrain_head;

/* smoothing: the part of a label that is spread over all classes, 0 .. 1. */
DCAM_MUST_CHECK dcam_status pretrain_head_create(const dcam_feature_shapes *shapes, int classes, int batch, double smoothing,
                                                 pretrain_head **out);
void pretrain_head_destroy(pretrain_head *head);
/* Trainable values: per stage the weights, channels x classes, then the biases. */
size_t pretrain_head_count(const dcam_feature_shapes *shapes, int classes);
/* Of what it holds beside them. */
size_t pretrain_head_bytes(const dcam_feature_shapes *shapes, int classes, int batch);
void pretrain_head_start(const pretrain_head *head, uint64_t seed, float *values);

/* Sum over the stages of weight x mean cross-entropy over n images; features[k]: n x H x W x C. Overwrites
 * d_features (the same shapes) and gradient (as values). *right: images whose class the last stage finds. */
void pretrain_head_step(pretrain_head *head, const float *values, float *const features[DCAM_STAGES], const int *labels, int n,
                        double *loss, int *right, float *const d_features[DCAM_STAGES], float *gradient);

#endif
