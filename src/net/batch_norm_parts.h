/* batch_norm_parts.h - internal to batch_norm*.c: the functions of batch_norm.h for one type of maps, and what both types
 * make of their sums. */
#ifndef DCAM_NET_BATCH_NORM_PARTS_H
#define DCAM_NET_BATCH_NORM_PARTS_H

#include "net/batch_norm.h"

/* The most that a normalisation may have. */
#define NET_NORM_CHANNELS 1024

/* Each as its namesake in batch_norm.h. */
typedef struct {
    size_t (*scratch)(const dcam_nn_tensor *map);
    void (*statistics)(net_norm *norm, const dcam_nn_tensor *map, const void *y, double *scratch);
    void (*add_relu)(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const net_norm *shortcut_norm,
                     const void *shortcut, void *out);
    void (*relu_pool)(const net_norm *norm, const dcam_nn_tensor *map, const void *y, const dcam_nn_tensor *pooled_map,
                      void *pooled, uint8_t *which, void *top);
    void (*join)(const dcam_nn_tensor *map, const void *const parts[3], const void *out, void *g, net_norm *const norms[2],
                 const void *const y[2], float *const d_gamma[2], float *const d_beta[2], double *scratch);
    void (*backward)(const net_norm *norm, const dcam_nn_tensor *map, const void *g, void *y);
    void (*relu_backward)(net_norm *norm, const dcam_nn_tensor *map, const void *d_z, void *y, float *d_gamma,
                          float *d_beta, double *scratch);
    void (*pool_backward)(net_norm *norm, const dcam_nn_tensor *map, const dcam_nn_tensor *pooled_map, const void *g,
                          const uint8_t *which, const void *top, void *y, float *d_gamma, float *d_beta,
                          double *scratch);
} net_norm_functions;

extern const net_norm_functions net_norm_f32, net_norm_bf16;

/* Channel c, of count values whose sum over y - centre, and over its square, are these. */
void net_norm_set_statistics(net_norm *norm, size_t c, double centre, double sum, double square, double count);
/* Channel c, from the sum of g and of g (y - mean) over count values. */
void net_norm_set_backward(net_norm *norm, size_t c, double sum, double product, double count, float *d_gamma,
                           float *d_beta);

/* The stem's pooling: the window of pooled row or column p covers 2p - 1 .. 2p + 1, cut to 0 .. size - 1. */
static inline size_t net_window_first(size_t p) { return p == 0 ? 0 : 2 * p - 1; }
static inline size_t net_window_last(size_t p, size_t size) { return 2 * p + 1 < size ? 2 * p + 1 : size - 1; }

/* f(j, parts, norms, ...) with the two counts of j as constants, so that f's loops ask nothing. */
#define WITH_COUNTS(f, j, ...)                                  \
    switch ((j)->norm_count * 3 + (j)->part_count - 1) {        \
    case 0: f(j, 1, 0, __VA_ARGS__); break;                     \
    case 1: f(j, 2, 0, __VA_ARGS__); break;                     \
    case 2: f(j, 3, 0, __VA_ARGS__); break;                     \
    case 3: f(j, 1, 1, __VA_ARGS__); break;                     \
    case 4: f(j, 2, 1, __VA_ARGS__); break;                     \
    case 5: f(j, 3, 1, __VA_ARGS__); break;                     \
    case 6: f(j, 1, 2, __VA_ARGS__); break;                     \
    case 7: f(j, 2, 2, __VA_ARGS__); break;                     \
    default: f(j, 3, 2, __VA_ARGS__); break;                    \
    }

#endif
