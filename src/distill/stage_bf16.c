/* stage_bf16.c - see stage_bf16.h; the mathematics is that of loss_cosine.c, loss_entropy.c and attention_channel.c. With
 * a = A(s) = s * w, or s itself:
 *   look      largest values of t and s over positions, and the mean of s: so w
 *   measure   of each position the products over channels, so cd and l2; of each channel the sums of exponentials, so kd
 *   descend   dL/da, both parts at once; without a block this is dL/ds, and all
 *   spread    dL/ds = dL/da * w + the mean's part, and the maximum's
 * Maps are walked in tiles of some positions, sixteen channels of all of them at a time, while the next tile is asked for. */
#include "distill/stage_bf16.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distill/loss_internal.h"
#include "weights/tensors.h"

#define HALF 16 /* channels of a vector */
#define TILE LOSS_TILE

/* What a thread needs for its image. */
typedef struct {
    loss_slot sums;      /* sums and top, as loss_entropy_end wants them */
    float *mix[2];       /* of each position: dL/da has so much of t, and of a; N padded to whole tiles */
    float *by[2];        /* of each channel: and so much of exp(t'), and of exp(a') */
    float *d_a;          /* N x C; only with a block */
} thread_slot;

struct dcam_bf16_stage {
    const dcam_loss_options *losses;
    dcam_attention_state *attention; /* or NULL */
    int batch, positions, channels;
    size_t slot_count;
    thread_slot *slots;
    double *shares;                  /* batch x kinds */
    double *doubles;
    float *floats;
};

bool dcam_bf16_stage_fits(const dcam_loss_options *losses, dcam_attention_kind attention)
{
    return (attention == DCAM_ATTENTION_NONE || attention == DCAM_ATTENTION_CHANNEL) && !(losses->weight[DCAM_LOSS_CDS] > 0) &&
           !(losses->weight[DCAM_LOSS_AFFINITY] > 0);
}

static size_t slots_for(int batch) { return dcam_threads() < batch ? (size_t)dcam_threads() : (size_t)batch; }
static size_t padded(size_t positions) { return (positions + TILE - 1) / TILE * TILE; }

/* Of a slot. */
static size_t double_count(size_t channels) { return 3 * channels; }
static size_t float_count(bool attention, size_t positions, size_t channels)
{
    return 2 * padded(positions) + 4 * channels + (attention ? positions * channels : 0);
}

size_t dcam_bf16_stage_bytes(bool attention, int batch, int positions, int channels)
{
    const size_t n = (size_t)positions, c = (size_t)channels;
    return slots_for(batch) * (double_count(c) * sizeof(double) + float_count(attention, n, c) * sizeof(float));
}

dcam_status dcam_bf16_stage_create(const dcam_loss_options *losses, dcam_attention_state *attention, int batch, int positions,
                                   int channels, dcam_bf16_stage **out)
{
    const size_t n = (size_t)positions, c = (size_t)channels, doubles = double_count(c);
    const size_t floats = float_count(attention != NULL, n, c);
    dcam_bf16_stage *stage;
    assert(batch > 0 && positions > 0 && channels > 0 && channels % (2 * HALF) == 0);
    DCAM_TRY(dcam_alloc_zero(1, sizeof *stage, &stage));
    stage->losses = losses;
    stage->attention = attention;
    stage->batch = batch;
    stage->positions = positions;
    stage->channels = channels;
    stage->slot_count = slots_for(batch);
    dcam_status status = dcam_alloc_zero(stage->slot_count, sizeof *stage->slots, &stage->slots);
    if (status == DCAM_OK) status = dcam_alloc_zero((size_t)batch, DCAM_LOSS_KINDS * sizeof(double), &stage->shares);
    if (status == DCAM_OK) status = dcam_alloc_zero(stage->slot_count, doubles * sizeof(double), &stage->doubles);
    if (status == DCAM_OK) status = dcam_alloc_zero(stage->slot_count, floats * sizeof(float), &stage->floats);
    if (status != DCAM_OK) {
        dcam_bf16_stage_destroy(stage);
        return status;
    }
    for (size_t k = 0; k < stage->slot_count; k++) {
        thread_slot *s = &stage->slots[k];
        double *sums = stage->doubles + k * doubles;
        float *p = stage->floats + k * floats;
        for (int i = 0; i < 3; i++, sums += c) s->sums.sums[i] = sums;
        for (int i = 0; i < 2; i++, p += c) s->sums.top[i] = p;
        for (int i = 0; i < 2; i++, p += c) s->by[i] = p;
        for (int i = 0; i < 2; i++, p += padded(n)) s->mix[i] = p;
        s->d_a = attention ? p : NULL;
    }
    *out = stage;
    return DCAM_OK;
}

void dcam_bf16_stage_destroy(dcam_bf16_stage *stage)
{
    if (!stage) return;
    dcam_free(stage->floats);
    dcam_free(stage->doubles);
    dcam_free(stage->shares);
    dcam_free(stage->slots);
    dcam_free(stage);
}

#if defined(__x86_64__)
/* NOLINTBEGIN(bugprone-macro-parentheses): they declare their first parameter */
#define EACH_TILE(begin, positions) for (size_t begin = 0; begin < (positions); begin += TILE)
#define EACH_HALF(c, channels) for (size_t c = 0; c < (channels); c += HALF)
/* NOLINTEND(bugprone-macro-parentheses) */

/* One image. */
typedef struct {
    const uint16_t *t, *s;
    size_t positions, channels;
    const float *w; /* or NULL: a = s */
    thread_slot *slot;
} image;

static size_t tile_count(const image *m, size_t begin)
{
    return m->positions - begin < TILE ? m->positions - begin : TILE;
}

/* The same place of the next tile. */
BF16_INLINE void foresee(const uint16_t *p, size_t c, size_t channels)
{
    if (c % (2 * HALF) == 0) _mm_prefetch((const char *)(p + TILE * channels), _MM_HINT_T0);
}

/* a of sixteen channels from c on. weighted is a constant where this is called. */
BF16_INLINE __m512 attended(const image *m, const uint16_t *s, size_t c, bool weighted)
{
    return weighted ? _mm512_mul_ps(bf16_load(s), _mm512_loadu_ps(m->w + c)) : bf16_load(s);
}

/* 2^x for x <= 0, relative error under 2^-22: Taylor's polynomial of degree 6 over half a unit to both sides. */
BF16_INLINE __m512 power_of_two(__m512 x)
{
/* Without optimisation gcc 12's intrinsic is a macro that turns -1 into a mask. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = _mm512_sub_ps(x, whole);
#pragma GCC diagnostic pop
    __m512 p = _mm512_set1_ps(1.5403530e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3333558e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
}

/* exp((x - top) / T); rate: log2(e) / T. */
BF16_INLINE __m512 power(__m512 x, __m512 top, __m512 rate)
{
    return power_of_two(_mm512_mul_ps(_mm512_sub_ps(x, top), rate));
}

static float rate_of(const dcam_loss_options *o) { return (float)(1.4426950408889634 / o->kd_temperature); }

/* ---- look --------------------------------------------------------------- */

/* Largest values of t and s into top. block: or NULL; else also the sums of s over positions, into mean, and where its
 * largest value is first. */
BF16_KERNEL static void look(const image *m, const dcam_attention_image *block)
{
    const size_t channels = m->channels;
    float *const t_top = m->slot->sums.top[0], *const s_top = m->slot->sums.top[1];
    if (block) memset(block->mean, 0, channels * sizeof *block->mean);
    EACH_TILE(begin, m->positions)
        EACH_HALF(c, channels)
        {
            const uint16_t *t = m->t + begin * channels + c, *s = m->s + begin * channels + c;
            const size_t count = tile_count(m, begin);
            __m512 highest_t = begin == 0 ? bf16_load(t) : _mm512_loadu_ps(t_top + c), sum = _mm512_setzero_ps();
            __m512 highest_s = begin == 0 ? bf16_load(s) : _mm512_loadu_ps(s_top + c);
            __m512i place = begin == 0 || !block ? _mm512_setzero_si512() : _mm512_loadu_si512(block->max_position + c);
            for (size_t i = 0; i < count; i++, t += channels, s += channels) {
                const __m512 y = bf16_load(s);
                const __mmask16 higher = _mm512_cmp_ps_mask(y, highest_s, _CMP_GT_OQ);
                foresee(t, c, channels);
                foresee(s, c, channels);
                highest_t = _mm512_max_ps(bf16_load(t), highest_t);
                highest_s = _mm512_mask_mov_ps(highest_s, higher, y);
                place = _mm512_mask_mov_epi32(place, higher, _mm512_set1_epi32((int)(begin + i)));
                sum = _mm512_add_ps(sum, y);
            }
            _mm512_storeu_ps(t_top + c, highest_t);
            _mm512_storeu_ps(s_top + c, highest_s);
            if (!block) continue;
            _mm512_storeu_si512(block->max_position + c, place);
            bf16_add_run(block->mean + c, sum);
        }
}

/* ---- measure ------------------------------------------------------------ */

/* Sums of sixteen rows. */
BF16_INLINE __m512 row_sums(const float rows[HALF][HALF])
{
    __m512 of_two[8], of_four[4], of_eight[2];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        const __m512 a = _mm512_load_ps(rows[2 * k]), b = _mm512_load_ps(rows[2 * k + 1]);
        of_two[k] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512d a = _mm512_castps_pd(of_two[2 * k]), b = _mm512_castps_pd(of_two[2 * k + 1]);
        of_four[k] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++)
        of_eight[k] = _mm512_add_ps(_mm512_shuffle_f32x4(of_four[2 * k], of_four[2 * k + 1], 0x88),
                                    _mm512_shuffle_f32x4(of_four[2 * k], of_four[2 * k + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(of_eight[0], of_eight[1], 0x88),
                         _mm512_shuffle_f32x4(of_eight[0], of_eight[1], 0xdd));
}

/* Of sixteen positions <t, a>, |t|^2, |a|^2. */
typedef struct { __m512 dot, tt, aa; } products;

BF16_INLINE products products_of(const image *m, size_t begin, size_t count, bool weighted)
{
    _Alignas(64) float rows[3][HALF][HALF];
    if (count < HALF) memset(rows, 0, sizeof rows);
    for (size_t i = 0; i < count; i++) {
        const uint16_t *t = m->t + (begin + i) * m->channels, *s = m->s + (begin + i) * m->channels;
        __m512 dot = _mm512_setzero_ps(), tt = dot, aa = dot;
        EACH_HALF(c, m->channels)
        {
            const __m512 x = bf16_load(t + c), a = attended(m, s + c, c, weighted);
            dot = _mm512_fmadd_ps(x, a, dot);
            tt = _mm512_fmadd_ps(x, x, tt);
            aa = _mm512_fmadd_ps(a, a, aa);
        }
        _mm512_store_ps(rows[0][i], dot);
        _mm512_store_ps(rows[1][i], tt);
        _mm512_store_ps(rows[2][i], aa);
    }
    return (products){row_sums(rows[0]), row_sums(rows[1]), row_sums(rows[2])};
}

/* Scales of the losses of positions; their sums over positions. */
typedef struct { float cd_scale, l2_scale; double cd, l2; } position_losses;

/* Of the positions of mask: adds the losses, and gives what their gradients have of t and of a. */
BF16_INLINE void add_positions(position_losses *l, const products *p, __mmask16 mask, float *mix_t, float *mix_a)
{
    const __m512 one = _mm512_set1_ps(1), zero = _mm512_setzero_ps(), shortest = _mm512_set1_ps((float)LOSS_SHORTEST);
    const __m512 t_length = _mm512_sqrt_ps(p->tt), a_length = _mm512_sqrt_ps(p->aa);
    const __m512 e = _mm512_fmadd_ps(t_length, a_length, _mm512_set1_ps((float)DCAM_COSINE_EPSILON));
    const __m512 cosine = _mm512_div_ps(p->dot, e), scale = _mm512_set1_ps(l->cd_scale);
    const __mmask16 directed = _mm512_cmp_ps_mask(a_length, zero, _CMP_NEQ_UQ); /* what is no number goes on */
    __m512 of_t = _mm512_div_ps(_mm512_sub_ps(zero, scale), e);
    __m512 of_a = _mm512_maskz_div_ps(directed, _mm512_mul_ps(_mm512_mul_ps(scale, cosine), t_length), _mm512_mul_ps(a_length, e));
    l->cd += (double)_mm512_mask_reduce_add_ps(mask, _mm512_sub_ps(one, cosine));
    if (l->l2_scale > 0) {
        const __mmask16 t_short = _mm512_cmp_ps_mask(t_length, shortest, _CMP_LT_OQ);
        const __mmask16 a_short = _mm512_cmp_ps_mask(a_length, shortest, _CMP_LT_OQ), both = t_short & a_short;
        const __mmask16 none = (__mmask16)~(t_short | a_short);
        const __m512 factor = _mm512_set1_ps(l->l2_scale), whole = _mm512_mul_ps(t_length, a_length);
        const __m512 unit = _mm512_maskz_div_ps(none, p->dot, whole);
        __m512 loss = _mm512_mask_sub_ps(_mm512_set1_ps(0.5f), none, one, unit);
        loss = _mm512_maskz_mov_ps((__mmask16)~both, loss);
        of_t = _mm512_mask_sub_ps(of_t, none, of_t, _mm512_div_ps(factor, whole));
        of_a = _mm512_mask_add_ps(of_a, none, of_a, _mm512_div_ps(_mm512_mul_ps(factor, unit), p->aa));
        l->l2 += (double)_mm512_mask_reduce_add_ps(mask, loss);
    }
    _mm512_storeu_ps(mix_t, of_t);
    _mm512_storeu_ps(mix_a, of_a);
}

/* A tile's part of the sums of exp(t'), exp(a') and exp(t') (t - a). */
BF16_INLINE void add_powers(const image *m, size_t begin, size_t count, __m512 rate, bool weighted)
{
    const loss_slot *sums = &m->slot->sums;
    EACH_HALF(c, m->channels)
    {
        const uint16_t *t = m->t + begin * m->channels + c, *s = m->s + begin * m->channels + c;
        const __m512 t_top = _mm512_loadu_ps(sums->top[0] + c), a_top = _mm512_loadu_ps(sums->top[1] + c);
        __m512 of_t = _mm512_setzero_ps(), of_a = of_t, cross = of_t;
        for (size_t i = 0; i < count; i++, t += m->channels, s += m->channels) {
            const __m512 x = bf16_load(t), a = attended(m, s, c, weighted), p = power(x, t_top, rate);
            of_t = _mm512_add_ps(of_t, p);
            of_a = _mm512_add_ps(of_a, power(a, a_top, rate));
            cross = _mm512_fmadd_ps(p, _mm512_sub_ps(x, a), cross);
        }
        bf16_add_run(sums->sums[0] + c, of_t);
        bf16_add_run(sums->sums[1] + c, of_a);
        bf16_add_run(sums->sums[2] + c, cross);
    }
}

BF16_INLINE void measure_as(const image *m, position_losses *l, bool entropy, float rate, bool weighted)
{
    EACH_TILE(begin, m->positions)
    {
        const size_t count = tile_count(m, begin);
        for (size_t i = 0; i < count; i += HALF) {
            const size_t some = count - i < HALF ? count - i : HALF;
            const products p = products_of(m, begin + i, some, weighted);
            add_positions(l, &p, (__mmask16)((1u << some) - 1), m->slot->mix[0] + begin + i, m->slot->mix[1] + begin + i);
        }
        if (entropy) add_powers(m, begin, count, _mm512_set1_ps(rate), weighted);
    }
}

BF16_KERNEL static void measure(const image *m, position_losses *l, bool entropy, float rate)
{
    if (m->w) measure_as(m, l, entropy, rate, true);
    else measure_as(m, l, entropy, rate, false);
}

/* ---- descend ------------------------------------------------------------ */

/* column: of a block; sums of dL/da * s are added. */
BF16_INLINE void descend_as(const image *m, bool entropy, float rate_, uint16_t *d_s, double *column, bool weighted)
{
    const thread_slot *slot = m->slot;
    const __m512 rate = _mm512_set1_ps(rate_);
    EACH_TILE(begin, m->positions)
        EACH_HALF(c, m->channels)
        {
            const size_t count = tile_count(m, begin);
            const __m512 t_top = _mm512_loadu_ps(slot->sums.top[0] + c), a_top = _mm512_loadu_ps(slot->sums.top[1] + c);
            const __m512 by_t = _mm512_loadu_ps(slot->by[0] + c), by_a = _mm512_loadu_ps(slot->by[1] + c);
            __m512 sum = _mm512_setzero_ps();
            for (size_t i = begin; i < begin + count; i++) {
                const size_t at = i * m->channels + c;
                const __m512 x = bf16_load(m->t + at), y = bf16_load(m->s + at);
                const __m512 a = weighted ? _mm512_mul_ps(y, _mm512_loadu_ps(m->w + c)) : y;
                __m512 d = _mm512_mul_ps(x, _mm512_set1_ps(slot->mix[0][i]));
                d = _mm512_fmadd_ps(a, _mm512_set1_ps(slot->mix[1][i]), d);
                if (entropy) {
                    d = _mm512_fmadd_ps(power(a, a_top, rate), by_a, d);
                    d = _mm512_fnmadd_ps(power(x, t_top, rate), by_t, d);
                }
                if (weighted) {
                    _mm512_storeu_ps(slot->d_a + at, d);
                    sum = _mm512_fmadd_ps(d, y, sum);
                } else {
                    bf16_store(d_s + at, d);
                }
            }
            if (weighted) bf16_add_run(column + c, sum);
        }
}

BF16_KERNEL static void descend(const image *m, bool entropy, float rate, uint16_t *d_s, double *column)
{
    if (m->w) descend_as(m, entropy, rate, d_s, column, true);
    else descend_as(m, entropy, rate, d_s, column, false);
}

/* ---- spread ------------------------------------------------------------- */

BF16_KERNEL static void spread(const image *m, const dcam_attention_image *block, uint16_t *d_s)
{
    const float *d_a = m->slot->d_a;
    for (size_t at = 0; at < m->positions * m->channels; at += m->channels)
        EACH_HALF(c, m->channels)
            bf16_store(d_s + at + c, _mm512_fmadd_ps(_mm512_loadu_ps(d_a + at + c), _mm512_loadu_ps(block->weights + c),
                                                     _mm512_loadu_ps(block->d_mean + c)));
    for (size_t c = 0; c < m->channels; c++) {
        const size_t at = (size_t)block->max_position[c] * m->channels + c;
        d_s[at] = dcam_bf16_from_f32(d_a[at] * block->weights[c] + block->d_mean[c] + block->d_maximum[c]);
    }
}

/* ---- a stage ------------------------------------------------------------ */

typedef struct {
    dcam_bf16_stage *stage;
    const float *values;
    const uint16_t *t, *s;
    size_t t_step, images, slots;
    double divisor[DCAM_LOSS_KINDS];
    uint16_t *d_s;
} job;

static void one_image(const job *j, thread_slot *slot, size_t b)
{
    const dcam_bf16_stage *stage = j->stage;
    const dcam_loss_options *losses = stage->losses;
    const size_t n = (size_t)stage->positions, c = (size_t)stage->channels, map = n * c;
    const bool entropy = losses->weight[DCAM_LOSS_KD] > 0;
    const float rate = rate_of(losses);
    image m = {j->t + b * j->t_step, j->s + b * map, n, c, NULL, slot};
    double *share = stage->shares + b * DCAM_LOSS_KINDS, scale[DCAM_LOSS_KINDS];
    dcam_attention_image block = {0};
    for (int k = 0; k < DCAM_LOSS_KINDS; k++) scale[k] = losses->weight[k] / j->divisor[k];
    memset(slot->sums.sums[0], 0, 3 * c * sizeof(double));
    if (stage->attention) {
        block = dcam_attention_image_at(stage->attention, b);
        look(&m, &block);
        for (size_t k = 0; k < c; k++) {
            block.mean[k] /= (double)n;
            block.maximum[k] = (double)slot->sums.top[1][k];
        }
        dcam_attention_image_weights(stage->attention, j->values, b);
        m.w = block.weights;
        for (size_t k = 0; k < c; k++) slot->sums.top[1][k] *= m.w[k]; /* weights are positive */
        memset(block.column, 0, c * sizeof *block.column);
    } else if (entropy) {
        look(&m, NULL);
    }
    position_losses l = {(float)scale[DCAM_LOSS_CD], (float)scale[DCAM_LOSS_L2], 0, 0};
    measure(&m, &l, entropy, rate);
    share[DCAM_LOSS_CD] = l.cd;
    share[DCAM_LOSS_L2] = l.l2;
    if (entropy) share[DCAM_LOSS_KD] = loss_entropy_end(&slot->sums, c, losses->kd_temperature, scale[DCAM_LOSS_KD]);
    for (size_t k = 0; k < c; k++)
        for (int i = 0; i < 2; i++) slot->by[i][k] = (float)slot->sums.sums[i][k];
    descend(&m, entropy, rate, j->d_s + b * map, block.column);
    if (!stage->attention) return;
    dcam_attention_image_back(stage->attention, j->values, b);
    spread(&m, &block, j->d_s + b * map);
}

static void some_slots(void *context, size_t begin, size_t end)
{
    const job *j = context;
    for (size_t k = begin; k < end; k++)
        for (size_t b = j->images * k / j->slots; b < j->images * (k + 1) / j->slots; b++) one_image(j, &j->stage->slots[k], b);
}

void dcam_bf16_stage_run(dcam_bf16_stage *stage, const float *values, const uint16_t *t, size_t t_step, const uint16_t *s,
                         int n, double *total, double terms[DCAM_LOSS_KINDS], uint16_t *d_s, float *d_values)
{
    job j = {.stage = stage, .values = values, .t = t, .s = s, .t_step = t_step, .images = (size_t)n, .d_s = d_s};
    assert(n > 0 && n <= stage->batch);
    j.slots = stage->slot_count < j.images ? stage->slot_count : j.images;
    loss_divisors(stage->losses, n, stage->positions, stage->channels, j.divisor);
    dcam_parallel_for(j.slots, some_slots, &j);
    loss_add_up(stage->losses, stage->shares, n, j.divisor, total, terms);
    if (stage->attention) dcam_attention_images_gradient(stage->attention, n, d_values);
}
#else
/* Never called: there are no such maps. */
void dcam_bf16_stage_run(dcam_bf16_stage *stage, const float *values, const uint16_t *t, size_t t_step, const uint16_t *s,
                         int n, double *total, double terms[DCAM_LOSS_KINDS], uint16_t *d_s, float *d_values)
{
    (void)stage, (void)values, (void)t, (void)t_step, (void)s, (void)n, (void)total, (void)terms, (void)d_s, (void)d_values;
}
#endif
