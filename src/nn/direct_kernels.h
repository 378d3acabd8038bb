/* direct_kernels.h - convolutions of stride 2 as products: the inputs of a block of output positions are gathered into
 * rows, small enough together to stay in a core's cache, and multiplied with the weights. */
#ifndef DCAM_NN_DIRECT_KERNELS_H
#define DCAM_NN_DIRECT_KERNELS_H

#include "nn/kernels.h"
#include "nn/multiply_kernel.h"
#include "nn/winograd_tile.h"

/* `count` rows of kernel x kernel x in words, from position `first` on. */
KERNEL static void gather(const direct_job *job, size_t first, size_t count, float *to)
{
    const size_t before = job->kernel / 2;
    for (size_t p = 0; p < count; p++) {
        const size_t position = first + p, image = position / (job->height * job->width);
        const size_t y = position / job->width % job->height * 2, x = position % job->width * 2;
        for (size_t i = 0; i < job->kernel; i++)
            for (size_t j = 0; j < job->kernel; j++) {
                const float *from = channels_at(&job->from, image, y + i - before, x + j - before);
                for (size_t c = 0; c < job->in; c += LANES) {
                    vec v;
                    load(&v, from + c);
                    store_words(to, &v);
                    to += LANES / VALUES_A_WORD;
                }
            }
    }
}

/* m: count x out sums. */
KERNEL static void finish_block(const direct_job *job, size_t first, size_t count, const float *m)
{
    for (size_t c = 0; c < job->out; c += LANES) {
        vec bias = {0}, y;
        if (job->bias) load(&bias, job->bias + c);
        for (size_t p = 0; p < count; p++) {
            load(&y, m + p * job->out + c);
            finish_values(&bias, job->sum, job->relu, job->to + (first + p) * job->out + c, &y);
        }
    }
}

static void run_direct(const direct_job *job, size_t part)
{
    const size_t begin = job->positions * part / job->parts, end = job->positions * (part + 1) / job->parts;
    const size_t blocks = (end - begin + job->block - 1) / job->block;
    float *rows = job->scratch + part * job->part_scratch, *m = rows + job->block * job->depth;
    const product p = {.v = rows, .v_stride = job->depth, .u = job->weights, .panel_size = job->depth * PANEL,
                       .words = job->depth, .m = m, .m_stride = job->out};
    for (size_t k = 0; k < blocks; k++) {
        const size_t first = begin + (end - begin) * k / blocks;
        const size_t count = begin + (end - begin) * (k + 1) / blocks - first;
        gather(job, first, count, rows);
        multiply_panels(count, job->out / PANEL, &p);
        finish_block(job, first, count, m);
    }
}

#endif
