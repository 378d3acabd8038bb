/* stock.h - batches of pictures, drawn by a thread of their own while the network learns from the one before.
 * Internal to src/pretrain. */
#ifndef DCAM_PRETRAIN_STOCK_H
#define DCAM_PRETRAIN_STOCK_H

#include <stdint.h>

#include "base/status.h"

typedef struct pretrain_stock pretrain_stock;

typedef struct {
    uint64_t seed;
    int classes, side, batch;
    int first, end; /* steps; what a step's batch holds depends on nothing but these numbers and the step */
} pretrain_stock_options;

DCAM_MUST_CHECK dcam_status pretrain_stock_create(const pretrain_stock_options *options, pretrain_stock **out);
void pretrain_stock_destroy(pretrain_stock *stock);
/* Bytes that it holds. */
size_t pretrain_stock_bytes(const pretrain_stock_options *options);
/* The next step's: batch x side x side x 3 and their classes, good until the next call. At most end - first calls. */
void pretrain_stock_next(pretrain_stock *stock, const uint8_t **rgb, const int **labels);

#endif
