/* loss.c - the distillation losses of method.md: names, scratch, and the sum over the images of a batch. The
 * losses themselves are in loss_cosine.c, loss_entropy.c and loss_affinity.c, one image at a time; images are
 * shared among the threads and their shares added in the order of the images, so the bits do not depend on the
 * number of threads. */
#include "distill/loss.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/number_text.h"
#include "base/parallel.h"
#include "distill/loss_internal.h"
#include "distill/teacher_maps.h"

struct dcam_loss_scratch {
    size_t slot_count;
    loss_slot *slots;   /* one a thread */
    int batch;
    double *shares;     /* batch x DCAM_LOSS_KINDS */
    double *numbers;    /* what the slots' pointers point into */
    float *floats;      /* likewise */
};

const char *dcam_loss_name(dcam_loss_kind kind)
{
    static const char *const names[DCAM_LOSS_KINDS] = {"cd", "cds", "kd", "affinity", "l2"};
    return (unsigned)kind < DCAM_LOSS_KINDS ? names[kind] : "unknown";
}

static int find_name(const char *text, size_t length)
{
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        const char *name = dcam_loss_name((dcam_loss_kind)k);
        if (strlen(name) == length && memcmp(name, text, length) == 0) return k;
    }
    return -1;
}

dcam_status dcam_loss_parse(const char *text, double weight[DCAM_LOSS_KINDS])
{
    double found[DCAM_LOSS_KINDS] = {0};
    bool seen[DCAM_LOSS_KINDS] = {false};
    bool any = false;
    for (const char *p = text;;) {
        const size_t length = strcspn(p, "=,");
        const int kind = find_name(p, length);
        if (kind < 0) {
            return dcam_fail(DCAM_ERROR_USAGE, "loss '%.*s' is not known; there are cd, cds, kd, affinity, l2, "
                             "written as cd=1,kd=0.5", (int)(length < 64 ? length : 64), p);
        }
        if (seen[kind]) return dcam_fail(DCAM_ERROR_USAGE, "loss '%s' is given twice in '%s'", dcam_loss_name((dcam_loss_kind)kind), text);
        seen[kind] = true;
        found[kind] = 1;
        p += length;
        if (*p == '=') {
            char *end;
            found[kind] = dcam_strtod(p + 1, &end);
            if (end == p + 1 || (*end != ',' && *end != '\0') || !isfinite(found[kind]) || found[kind] < 0) {
                return dcam_fail(DCAM_ERROR_USAGE, "loss '%s': its weight must be a number of 0 or more, as in %s=1",
                                 dcam_loss_name((dcam_loss_kind)kind), dcam_loss_name((dcam_loss_kind)kind));
            }
            p = end;
        }
        any = any || found[kind] > 0;
        if (*p == '\0') break;
        p++;
    }
    if (!any) return dcam_fail(DCAM_ERROR_USAGE, "every loss in '%s' has weight 0; nothing would be learned", text);
    memcpy(weight, found, sizeof found);
    return DCAM_OK;
}

dcam_status dcam_loss_scratch_create(const dcam_loss_options *options, int batch, int positions, int channels,
                                     dcam_loss_scratch **out)
{
    assert(batch > 0 && positions > 0 && channels > 0);
    const size_t map = (size_t)positions * (size_t)channels;
    const bool all = options->weight[DCAM_LOSS_CDS] > 0 || options->weight[DCAM_LOSS_AFFINITY] > 0;
    const size_t padded = ((size_t)channels + DCAM_LANES - 1) / DCAM_LANES * DCAM_LANES;
    const size_t gram = options->weight[DCAM_LOSS_AFFINITY] > 0 ? (size_t)channels * padded : 0;
    const size_t floats = 2 * padded + LOSS_TILE * (size_t)channels + (all ? map : 0);
    const size_t numbers = 3 * padded + 3 * gram + (gram ? 8 * padded : 0);
    dcam_loss_scratch *scratch;
    DCAM_TRY(dcam_alloc_zero(1, sizeof *scratch, &scratch));
    scratch->batch = batch;
    scratch->slot_count = (size_t)dcam_threads() < (size_t)batch ? (size_t)dcam_threads() : (size_t)batch;
    dcam_status status = dcam_alloc_zero(scratch->slot_count, sizeof *scratch->slots, &scratch->slots);
    if (status == DCAM_OK) status = dcam_alloc_zero((size_t)batch, DCAM_LOSS_KINDS * sizeof(double), &scratch->shares);
    if (status == DCAM_OK) status = dcam_alloc_zero(scratch->slot_count, numbers * sizeof(double), &scratch->numbers);
    if (status == DCAM_OK) status = dcam_alloc_zero(scratch->slot_count, floats * sizeof(float), &scratch->floats);
    if (status != DCAM_OK) {
        dcam_loss_scratch_destroy(scratch);
        return status;
    }
    for (size_t k = 0; k < scratch->slot_count; k++) {
        loss_slot *slot = &scratch->slots[k];
        double *p = scratch->numbers + k * numbers;
        for (int i = 0; i < 3; i++, p += padded) slot->sums[i] = p;
        for (int i = 0; i < 3; i++, p += gram) slot->gram[i] = p;
        slot->rows = p;
        slot->top[0] = scratch->floats + k * floats;
        slot->top[1] = slot->top[0] + padded;
        slot->tile = slot->top[1] + padded;
        slot->whole = slot->tile + LOSS_TILE * (size_t)channels;
    }
    *out = scratch;
    return DCAM_OK;
}

void dcam_loss_scratch_destroy(dcam_loss_scratch *scratch)
{
    if (!scratch) return;
    dcam_free(scratch->floats);
    dcam_free(scratch->numbers);
    dcam_free(scratch->shares);
    dcam_free(scratch->slots);
    dcam_free(scratch);
}

typedef struct {
    const dcam_loss_options *options;
    dcam_loss_scratch *scratch;
    const float *t;             /* one of the two */
    const uint16_t *t_rounded;
    const float *s;
    size_t t_step, batch, positions, channels, slots;
    double divisor[DCAM_LOSS_KINDS]; /* of the sum over the batch */
    float *d_s;
} job;

/* `count` values of image b's t from `at` on; to: where they go if they have to be made. */
static const float *teacher(const job *j, size_t b, size_t at, size_t count, float *to)
{
    if (j->t) return j->t + b * j->t_step + at;
    dcam_teacher_maps_widen(j->t_rounded + b * j->t_step + at, count, to);
    return to;
}

/* Tile by tile, so that what one loss has read is in the cache for the next. */
static void one_image(const job *j, loss_slot *slot, size_t b)
{
    const double *weight = j->options->weight, temperature = j->options->kd_temperature;
    const size_t map = j->positions * j->channels, n = j->positions, c = j->channels;
    const bool entropy = weight[DCAM_LOSS_KD] > 0;
    const float *s = j->s + b * map;
    float *d_s = j->d_s ? j->d_s + b * map : NULL;
    double *share = j->scratch->shares + b * DCAM_LOSS_KINDS, scale[DCAM_LOSS_KINDS];
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        share[k] = 0;
        scale[k] = weight[k] / j->divisor[k];
    }
    for (size_t begin = 0; begin < n; begin += LOSS_TILE) {
        const size_t count = n - begin < LOSS_TILE ? n - begin : LOSS_TILE, at = begin * c;
        const float *t = teacher(j, b, at, count * c, slot->tile);
        float *d = d_s ? d_s + at : NULL;
        if (d) memset(d, 0, count * c * sizeof *d);
        if (weight[DCAM_LOSS_CD] > 0 || weight[DCAM_LOSS_L2] > 0)
            loss_positions(t, s + at, count, c, scale[DCAM_LOSS_CD], scale[DCAM_LOSS_L2], &share[DCAM_LOSS_CD],
                           &share[DCAM_LOSS_L2], d);
        if (entropy) loss_entropy_add(slot, t, s + at, count, c, temperature, begin == 0);
    }
    if (entropy) share[DCAM_LOSS_KD] = loss_entropy_end(slot, c, temperature, scale[DCAM_LOSS_KD]);
    for (size_t begin = 0; begin < n && entropy && d_s; begin += LOSS_TILE) {
        const size_t count = n - begin < LOSS_TILE ? n - begin : LOSS_TILE, at = begin * c;
        loss_entropy_gradient(slot, teacher(j, b, at, count * c, slot->tile), s + at, count, c, temperature, d_s + at);
    }
    if (!(weight[DCAM_LOSS_CDS] > 0) && !(weight[DCAM_LOSS_AFFINITY] > 0)) return;
    const float *t = teacher(j, b, 0, map, slot->whole);
    if (weight[DCAM_LOSS_CDS] > 0) share[DCAM_LOSS_CDS] = loss_channels(slot, t, s, n, c, scale[DCAM_LOSS_CDS], d_s);
    if (weight[DCAM_LOSS_AFFINITY] > 0)
        share[DCAM_LOSS_AFFINITY] = loss_affinity(slot, t, s, n, c, scale[DCAM_LOSS_AFFINITY], d_s);
}

static void some_slots(void *context, size_t begin, size_t end)
{
    const job *j = context;
    for (size_t k = begin; k < end; k++) {
        for (size_t b = j->batch * k / j->slots; b < j->batch * (k + 1) / j->slots; b++) {
            one_image(j, &j->scratch->slots[k], b);
        }
    }
}

void loss_divisors(const dcam_loss_options *o, int b, int positions, int channels, double divisor[DCAM_LOSS_KINDS])
{
    const double images = b, n = positions, c = channels, temperature = o->kd_temperature;
    divisor[DCAM_LOSS_CD] = divisor[DCAM_LOSS_L2] = images * n;
    divisor[DCAM_LOSS_CDS] = images * c;
    divisor[DCAM_LOSS_KD] = o->kd_scale == DCAM_KD_SUM ? images : images * c / (temperature * temperature);
    divisor[DCAM_LOSS_AFFINITY] = images;
}

void loss_add_up(const dcam_loss_options *options, const double *shares, int b, const double divisor[DCAM_LOSS_KINDS],
                 double *total, double terms[DCAM_LOSS_KINDS])
{
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) {
        if (!(options->weight[k] > 0)) continue;
        double sum = 0;
        for (int i = 0; i < b; i++) sum += shares[i * DCAM_LOSS_KINDS + k];
        sum /= divisor[k];
        *total += options->weight[k] * sum;
        if (terms) terms[k] += sum;
    }
}

static void run(job *j, int b, int positions, int channels, double *total, double terms[DCAM_LOSS_KINDS])
{
    const dcam_loss_scratch *scratch = j->scratch;
    assert(b > 0 && b <= scratch->batch);
    j->batch = (size_t)b;
    j->positions = (size_t)positions;
    j->channels = (size_t)channels;
    j->slots = scratch->slot_count < j->batch ? scratch->slot_count : j->batch;
    loss_divisors(j->options, b, positions, channels, j->divisor);
    dcam_parallel_for(j->slots, some_slots, j);
    loss_add_up(j->options, scratch->shares, b, j->divisor, total, terms);
}

void dcam_loss_stage(const dcam_loss_options *options, dcam_loss_scratch *scratch, const uint16_t *t, size_t t_step,
                     const float *s, int b, int positions, int channels, double *total, double terms[DCAM_LOSS_KINDS],
                     float *d_s)
{
    job j = {.options = options, .scratch = scratch, .t_rounded = t, .t_step = t_step, .s = s, .d_s = d_s};
    run(&j, b, positions, channels, total, terms);
}

void dcam_loss_stage_f32(const dcam_loss_options *options, dcam_loss_scratch *scratch, const float *t, const float *s, int b,
                         int positions, int channels, double *total, double terms[DCAM_LOSS_KINDS], float *d_s)
{
    job j = {.options = options, .scratch = scratch, .t = t, .t_step = (size_t)positions * (size_t)channels, .s = s,
             .d_s = d_s};
    run(&j, b, positions, channels, total, terms);
}
