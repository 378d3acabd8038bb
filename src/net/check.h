/* check.h - every kind of operation that a network on this processor is made of, run once and compared with plain C
 * (nn/check.h). */
#ifndef DCAM_NET_CHECK_H
#define DCAM_NET_CHECK_H

#include "net/resnet.h"

typedef struct {
    const char *pass;      /* "detection" or "training" */
    const char *precision; /* "f32", "bf16", "int8" */
    const char *part;      /* "forward", "backward data", "backward weights", "pooling", "to bytes", ... */
    char shape[64];        /* "64 -> 128, 3 x 3 / 2, 64 x 64" */
    char kernel[48];       /* name of the implementation */
    double error, bound, seconds; /* nn/check.h */
    bool right;
} net_check_result;

typedef struct {
    int height, width;     /* of the input */
    int samples;           /* places that are compared of each result */
    /* Called after each; may be NULL. */
    void (*see)(void *user, const net_check_result *result);
    void *user;
    size_t checks, wrong;  /* counted up */
    char first_wrong[192]; /* what failed first, for an error line; "" before */
} net_check;

/* The operations of detection in that precision, batch 1. bf16 and int8 need not be there: DCAM_ERROR_DEVICE. */
DCAM_MUST_CHECK dcam_status net_check_detection(net_check *check, dcam_net_precision precision);
/* Those of training, forward and backward, batch 2; f32 or bf16. */
DCAM_MUST_CHECK dcam_status net_check_training(net_check *check, dcam_net_precision precision);

/* The same on an input so small that it costs some milliseconds, before work that may run for years: DCAM_ERROR_KERNEL
 * if anything is wrong. */
DCAM_MUST_CHECK dcam_status net_check_before_detection(dcam_net_precision precision);
DCAM_MUST_CHECK dcam_status net_check_before_training(dcam_net_precision precision);

#endif
