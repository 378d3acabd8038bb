/* bench.h - what the parts of net_bench share. Each command measures one thing and gives the milliseconds of each
 * repeat; what it measures is made on its first call and kept, so that a driver can alternate with another program
 * without paying for the preparation again. */
#ifndef DCAM_BENCH_BENCH_H
#define DCAM_BENCH_BENCH_H

#include <stddef.h>

#include "base/status.h"
#include "net/resnet.h"

enum { BENCH_SIDE = 256, BENCH_MAX_REPEATS = 10000 };

/* The network: normalised tensor in, full-size anomaly map out (teacher, student, map, image score). */
DCAM_MUST_CHECK dcam_status bench_network(dcam_net_precision precision, int batch, int repeats, double *milliseconds);
/* The map alone, of features that are there. */
DCAM_MUST_CHECK dcam_status bench_map(int repeats, double *milliseconds);
/* One trunk's convolutions, each alone: prints a line of JSON for each. */
DCAM_MUST_CHECK dcam_status bench_layers(dcam_net_precision precision, int batch, int repeats);
void bench_network_clear(void);

/* One step of training (method dcam), the teacher's maps given. */
DCAM_MUST_CHECK dcam_status bench_train(dcam_net_precision precision, int batch, int repeats, double *milliseconds);
void bench_train_clear(void);

/* All pixel metrics of one class of so many maps; *bytes: the most held meanwhile beyond the maps themselves. */
DCAM_MUST_CHECK dcam_status bench_aupro(int maps, double *milliseconds, double *bytes);

/* Most f32 operations a second that all threads together reach in registers (a product and a sum are two). */
double bench_peak_gflops(void);

#endif
