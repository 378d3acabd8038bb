/* gathered_kernels.h - the rows of gathered.h: what the output positions read, and their gradients, as multiply_gradient
 * takes them: a row is a position, or two where products are of bf16. */
#ifndef DCAM_NN_GATHERED_KERNELS_H
#define DCAM_NN_GATHERED_KERNELS_H

#include "nn/gradient_kernels.h"

LANES_INLINE void copy_values(float *to, const float *from, size_t count)
{
    vec v;
    if (count < LANES) {
        for (size_t c = 0; c < count; c++) to[c] = from[c];
        return;
    }
    for (size_t c = 0; c + LANES <= count; c += LANES) {
        load(&v, from + c);
        store(to + c, &v);
    }
    load(&v, from + count - LANES); /* the rest, with some of what is there */
    store(to + count - LANES, &v);
}

/* depth values. A row of the kernel that lies within the map is one run of values. */
LANES_INLINE void gather_position(const gathered_job *job, size_t position, float *to)
{
    const tiled_map *m = &job->all.src;
    const size_t image = position / (job->height * job->width), before = job->kernel / 2;
    const size_t y = position / job->width % job->height * 2 - before, x = position % job->width * 2 - before;
    const bool inside = x < m->w && x + job->kernel <= m->w;
    for (size_t i = 0; i < job->kernel; i++) {
        if (inside || y + i >= m->h) {
            copy_values(to, y + i < m->h ? channels_at(m, image, y + i, x) : m->zeros, job->kernel * m->c);
            to += job->kernel * m->c;
            continue;
        }
        for (size_t j = 0; j < job->kernel; j++) {
            copy_values(to, channels_at(m, image, y + i, x + j), m->c);
            to += m->c;
        }
    }
}

#ifdef PRODUCTS_BF16
KERNEL static void gather_rows(const gathered_job *job, size_t begin, size_t end)
{
    const gradient_job *all = &job->all;
    float first[GATHERED_MOST], second[GATHERED_MOST];
    vec a, b;
    memset(first, 0, sizeof *first * all->in);
    memset(second, 0, sizeof *second * all->in);
    for (size_t row = begin; row < end; row++) {
        const size_t position = 2 * (all->first + row);
        const bool pair = position + 1 < all->tiles;
        gather_position(job, position, first);
        if (pair) gather_position(job, position + 1, second);
        else memset(second, 0, sizeof *second * all->in);
        for (size_t c = 0; c < all->in; c += LANES) {
            load(&a, first + c);
            load(&b, second + c);
            store_interleaved(all->v + row * all->in + c, &a, &b);
        }
        for (size_t c = 0; c < all->out; c += LANES) {
            load(&a, job->d_dst + position * all->out + c);
            if (pair) load(&b, job->d_dst + (position + 1) * all->out + c);
            else b = (vec){0};
            store_interleaved(dm_of(all, row, c), &a, &b);
        }
    }
}
#else
KERNEL static void gather_rows(const gathered_job *job, size_t begin, size_t end)
{
    const gradient_job *all = &job->all;
    vec v;
    for (size_t row = begin; row < end; row++) {
        const size_t position = all->first + row;
        gather_position(job, position, all->v + row * all->in); /* what is behind a row is not read */
        for (size_t c = 0; c < all->out; c += LANES) {
            load(&v, job->d_dst + position * all->out + c);
            store(dm_of(all, row, c), &v);
        }
    }
}
#endif

#endif
