/* loader.h - images from files to uint8 batches, on threads of their own, through
 * a bounded queue, with a capped cache of decoded and resized images. */
#ifndef DCAM_DATA_LOADER_H
#define DCAM_DATA_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"

/* A cache of fixed-size records keyed by (sample index), filled until the cap is reached, then read only
 * for what it holds; thread-safe. The cap includes the table of records. Used for resized images (uint8) and
 * for the teacher's maps (bf16). */
typedef struct dcam_cache dcam_cache;
DCAM_MUST_CHECK dcam_status dcam_cache_create(size_t record_bytes, size_t record_count, size_t max_bytes, dcam_cache **out);
void dcam_cache_destroy(dcam_cache *cache);
/* Copies the record into out and returns true if it is there. */
bool dcam_cache_get(dcam_cache *cache, uint32_t key, void *out);
/* Keeps a copy while there is room; false if not kept. */
bool dcam_cache_put(dcam_cache *cache, uint32_t key, const void *record);
size_t dcam_cache_bytes(const dcam_cache *cache);
/* The cap with which `kept` records of a cache of record_count fit; SIZE_MAX where that is no number of bytes. */
size_t dcam_cache_full_bytes(size_t record_bytes, size_t record_count, size_t kept);

typedef struct {
    int width, height;      /* of the resized image */
    int batch;
    int threads;            /* decoding threads; 0: one a core, at most 4 */
    int queue;              /* batches decoded ahead; 0: 2 */
    bool skip_bad;          /* a bad image is left out and reported instead of ending the run */
    dcam_cache *images;     /* or NULL; record height*width*3 bytes, key = sample index; borrowed */
} dcam_loader_options;

/* One batch: images k * batch .. of the order, those left out by skip_bad taken away. count <= batch; the last
 * one of an epoch may be smaller, and with skip_bad any one. */
typedef struct {
    int count;
    const uint8_t *rgb;        /* count x height x width x 3, valid until the next call */
    const uint32_t *samples;   /* count indices into dataset->samples */
    const int *original_width; /* count; 0 where the image came from the cache and is not known */
    const int *original_height;
} dcam_batch;

typedef struct dcam_loader dcam_loader;

/* Starts to load dataset->samples[order[0..count)] in this order. order is copied; dataset is borrowed. */
DCAM_MUST_CHECK dcam_status dcam_loader_create(const dcam_dataset *dataset, const uint32_t *order, size_t count,
                                               const dcam_loader_options *options, dcam_loader **out);
/* The next batch, in order, whatever the number of threads; out->count == 0 at the end. Memory is bounded by
 * (queue + 1) batches plus one decoded image a thread. The first bad image in the order ends the run (unless
 * skip_bad), whichever thread met one first; so does want of memory, with skip_bad too. Every later call says the same.
 * Called from one thread. */
DCAM_MUST_CHECK dcam_status dcam_loader_next(dcam_loader *loader, dcam_batch *out);
/* With skip_bad: number of images left out so far, and the message of the i-th. */
size_t dcam_loader_bad_count(const dcam_loader *loader);
const char *dcam_loader_bad_message(const dcam_loader *loader, size_t i);
/* Stops the threads. NULL-safe; safe at any time. */
void dcam_loader_destroy(dcam_loader *loader);

#endif
