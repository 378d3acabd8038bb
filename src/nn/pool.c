/* pool.c - see pool.h. What lies outside the map takes no part. */
#include "nn/pool.h"

#include "base/parallel.h"
#include "base/vector.h"

bool dcam_pool_fits(const dcam_nn_tensor *src)
{
    return src->type == DCAM_NN_F32 && src->layout == DCAM_NN_NHWC;
}

dcam_nn_tensor dcam_pool_dst(const dcam_pool *pool)
{
    dcam_nn_tensor dst = pool->src;
    dst.h = dcam_nn_output_size(dst.h, pool->kernel, pool->stride, pool->padding);
    dst.w = dcam_nn_output_size(dst.w, pool->kernel, pool->stride, pool->padding);
    return dst;
}

typedef struct {
    const dcam_pool *pool;
    dcam_nn_tensor to;
    const float *src;
    float *dst;
} pool_job;

/* First and one-past-last input of output `at` along a side of `size`. */
typedef struct { int first, end; } window;

DCAM_INLINE window window_at(const dcam_pool *p, int at, int size)
{
    const int first = at * p->stride - p->padding, end = first + p->kernel;
    return (window){first < 0 ? 0 : first, end > size ? size : end};
}

/* The largest of one window, all channels. row: of the window's first line, image and all. */
DCAM_INLINE void pool_position(const pool_job *job, const float *row, int rows, window columns, float *out)
{
    const size_t channels = (size_t)job->to.c, line = (size_t)job->pool->src.w * channels;
    for (size_t c = 0; c < channels; c += DCAM_LANES) {
        const size_t lanes = dcam_lanes_at(c, channels);
        dcam_f32x8 top, v;
        dcam_load8(&top, row + (size_t)columns.first * channels + c, lanes);
        for (int y = 0; y < rows; y++)
            for (int x = columns.first; x < columns.end; x++) {
                dcam_load8(&v, row + (size_t)y * line + (size_t)x * channels + c, lanes);
                const dcam_i32x8 greater = v > top;
                dcam_choose8(&top, &greater, &v, &top);
            }
        dcam_store8(out + c, &top, lanes);
    }
}

/* Lines of the output, over all images. */
DCAM_KERNEL static void pool_lines(const pool_job *job, size_t begin, size_t end)
{
    const dcam_nn_tensor *from = &job->pool->src, *to = &job->to;
    const size_t channels = (size_t)to->c;
    for (size_t line = begin; line < end; line++) {
        const size_t image = line / (size_t)to->h;
        const window rows = window_at(job->pool, (int)(line % (size_t)to->h), from->h);
        const float *row = job->src + (image * (size_t)from->h + (size_t)rows.first) * (size_t)from->w * channels;
        for (int x = 0; x < to->w; x++)
            pool_position(job, row, rows.end - rows.first, window_at(job->pool, x, from->w),
                          job->dst + (line * (size_t)to->w + (size_t)x) * channels);
    }
}

static void pool_body(void *context, size_t begin, size_t end) { pool_lines(context, begin, end); }

void dcam_pool_run(const dcam_pool *pool, const float *src, float *dst)
{
    pool_job job = {pool, dcam_pool_dst(pool), src, dst};
    dcam_parallel_for((size_t)job.to.n * (size_t)job.to.h, pool_body, &job);
}
