/* cache.c - records kept until a cap is reached. A record never moves and
 * never changes once it is in, so that readers copy it outside the lock. What
 * does not fit is simply not kept: the cap changes speed, never results. */
#include "data/loader.h"

#include <pthread.h>
#include <string.h>

#include "base/memory.h"

/* What one allocation costs beside its own bytes (memory.h's header, rounded). */
#define RECORD_OVERHEAD (2 * DCAM_ALIGNMENT)

struct dcam_cache {
    pthread_mutex_t lock;
    size_t record_bytes, record_count, max_bytes;
    size_t used_bytes;  /* the table of pointers included */
    uint8_t **records;  /* record_count, NULL where nothing is kept; NULL if the cap leaves no room for it */
};

dcam_status dcam_cache_create(size_t record_bytes, size_t record_count, size_t max_bytes, dcam_cache **out)
{
    dcam_cache *c;
    size_t table;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *c, &c));
    c->record_bytes = record_bytes;
    c->record_count = record_count;
    c->max_bytes = max_bytes;
    if (dcam_size_mul(record_count, sizeof *c->records, &table) && table < max_bytes) {
        dcam_status status = dcam_alloc_zero(record_count, sizeof *c->records, &c->records);
        if (status != DCAM_OK) {
            dcam_free(c);
            return status;
        }
        c->used_bytes = table;
    }
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        dcam_free(c->records);
        dcam_free(c);
        return dcam_fail(DCAM_ERROR_MEMORY, "cannot make a lock for the cache");
    }
    *out = c;
    return DCAM_OK;
}

void dcam_cache_destroy(dcam_cache *c)
{
    if (!c) return;
    if (c->records)
        for (size_t i = 0; i < c->record_count; i++) dcam_free(c->records[i]);
    dcam_free(c->records);
    pthread_mutex_destroy(&c->lock);
    dcam_free(c);
}

bool dcam_cache_get(dcam_cache *c, uint32_t key, void *out)
{
    if (!c->records || key >= c->record_count) return false;
    pthread_mutex_lock(&c->lock);
    const uint8_t *record = c->records[key];
    pthread_mutex_unlock(&c->lock);
    if (record) memcpy(out, record, c->record_bytes);
    return record != NULL;
}

/* Sets room aside; true if the record has to be made. *there: it is kept already. */
static bool reserve(dcam_cache *c, uint32_t key, size_t cost, bool *there)
{
    pthread_mutex_lock(&c->lock);
    *there = c->records[key] != NULL;
    bool room = !*there && cost <= c->max_bytes - c->used_bytes;
    if (room) c->used_bytes += cost;
    pthread_mutex_unlock(&c->lock);
    return room;
}

bool dcam_cache_put(dcam_cache *c, uint32_t key, const void *record)
{
    uint8_t *copy = NULL;
    size_t cost;
    bool there;
    if (!c->records || key >= c->record_count || !dcam_size_add(c->record_bytes, RECORD_OVERHEAD, &cost)) return false;
    if (!reserve(c, key, cost, &there)) return there;
    bool made = dcam_alloc(c->record_bytes, 1, &copy) == DCAM_OK;
    if (made) memcpy(copy, record, c->record_bytes);
    pthread_mutex_lock(&c->lock);
    /* Another thread may have kept the same record meanwhile. */
    bool keep = made && !c->records[key];
    if (keep) c->records[key] = copy;
    else c->used_bytes -= cost;
    there = c->records[key] != NULL;
    pthread_mutex_unlock(&c->lock);
    if (!keep) dcam_free(copy);
    return there;
}

size_t dcam_cache_bytes(const dcam_cache *c)
{
    /* The lock is not part of what const promises. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock;
    pthread_mutex_lock(lock);
    size_t bytes = c->used_bytes;
    pthread_mutex_unlock(lock);
    return bytes;
}

size_t dcam_cache_full_bytes(size_t record_bytes, size_t record_count, size_t kept)
{
    size_t cost, records, table, all;
    const bool fits = dcam_size_add(record_bytes, RECORD_OVERHEAD, &cost) && dcam_size_mul(cost, kept, &records) &&
                      dcam_size_mul(record_count, sizeof(uint8_t *), &table) && dcam_size_add(records, table, &all) &&
                      dcam_size_add(all, 1, &all); /* dcam_cache_create wants more than the table */
    return fits ? all : SIZE_MAX;
}
