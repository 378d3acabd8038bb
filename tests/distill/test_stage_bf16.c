/* test_stage_bf16.c - a stage on bf16 maps against the same stage through attention.h and loss.h, whose results are compared
 * with PyTorch elsewhere, on the same maps in f32. Skipped where the processor has no bf16 maps to train with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocations.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distill/stage_bf16.h"
#include "formula.h"
#include "nn/nn.h"
#include "weights/tensors.h"

#define OK(call) assert_int_equal((call), DCAM_OK)
#define IMAGES 3
#define GAP 7 /* values between the teacher's maps of two images */

typedef struct {
    int height, width, channels;
    bool attention;
    dcam_loss_options losses;
} stage_case;

/* Maps, and what either way makes of them. */
typedef struct {
    size_t positions, map, values;
    uint16_t *t, *s, *d_s;
    float *wide_t, *wide_s, *attended, *d_attended, *d_want;
    float *block, *d_block, *d_block_want;
    dcam_attention_state *state;
    double total, terms[DCAM_LOSS_KINDS], total_want, terms_want[DCAM_LOSS_KINDS];
} maps;

static void round_values(float *wide, uint16_t *rounded, size_t count)
{
    for (size_t i = 0; i < count; i++) wide[i] = dcam_f32_from_bf16(rounded[i] = dcam_bf16_from_f32(wide[i]));
}

/* closeness: how much of the student is the teacher. */
static void open_maps(maps *m, const stage_case *c, float closeness)
{
    memset(m, 0, sizeof *m);
    m->positions = (size_t)(c->height * c->width);
    m->map = m->positions * (size_t)c->channels;
    m->values = c->attention ? dcam_attention_value_count(DCAM_ATTENTION_CHANNEL, c->channels) : 0;
    const size_t count = IMAGES * m->map;
    OK(dcam_alloc(IMAGES * (m->map + GAP), sizeof(uint16_t), &m->t));
    OK(dcam_alloc(count, sizeof(uint16_t), &m->s));
    OK(dcam_alloc(count, sizeof(uint16_t), &m->d_s));
    OK(dcam_alloc(count, sizeof(float), &m->wide_t));
    OK(dcam_alloc(count, sizeof(float), &m->wide_s));
    OK(dcam_alloc(count, sizeof(float), &m->attended));
    OK(dcam_alloc(count, sizeof(float), &m->d_attended));
    OK(dcam_alloc(count, sizeof(float), &m->d_want));
    OK(dcam_alloc_zero(m->values + 1, sizeof(float), &m->block));
    OK(dcam_alloc_zero(m->values + 1, sizeof(float), &m->d_block));
    OK(dcam_alloc_zero(m->values + 1, sizeof(float), &m->d_block_want));
    formula_fill(1, 2, 0.7f, m->wide_t, count);
    formula_fill(2, 2, 0.7f, m->wide_s, count);
    formula_fill(3, 0.5f, 0, m->block, m->values);
    for (size_t i = 0; i < count; i++) m->wide_s[i] = closeness * m->wide_t[i] + (1 - closeness) * m->wide_s[i];
    for (size_t k = 0; k < (size_t)c->channels; k++) m->wide_s[k] = 0; /* positions without a direction */
    if (m->positions > 2)
        for (size_t k = 0; k < (size_t)c->channels; k++)
            m->wide_t[(size_t)c->channels + k] = m->wide_t[m->map + k] = m->wide_s[m->map + k] = 0;
    memset(m->t, 0xff, IMAGES * (m->map + GAP) * sizeof *m->t);
    for (size_t b = 0; b < IMAGES; b++) round_values(m->wide_t + b * m->map, m->t + b * (m->map + GAP), m->map);
    round_values(m->wide_s, m->s, count);
    if (c->attention)
        OK(dcam_attention_state_create(DCAM_ATTENTION_CHANNEL, IMAGES, c->height, c->width, c->channels, &m->state));
}

static void close_maps(maps *m)
{
    dcam_attention_state_destroy(m->state);
    float *const floats[] = {m->wide_t, m->wide_s, m->attended, m->d_attended, m->d_want, m->block, m->d_block, m->d_block_want};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) dcam_free(floats[i]);
    dcam_free(m->t);
    dcam_free(m->s);
    dcam_free(m->d_s);
}

static void run_in_f32(maps *m, const stage_case *c)
{
    dcam_loss_scratch *scratch;
    const int n = (int)m->positions;
    OK(dcam_loss_scratch_create(&c->losses, IMAGES, n, c->channels, &scratch));
    if (c->attention) {
        dcam_attention_forward(m->state, m->block, m->wide_s, IMAGES, m->attended);
        dcam_loss_stage_f32(&c->losses, scratch, m->wide_t, m->attended, IMAGES, n, c->channels, &m->total_want, m->terms_want,
                            m->d_attended);
        dcam_attention_backward(m->state, m->block, m->wide_s, IMAGES, m->d_attended, false, m->d_want, m->d_block_want);
    } else {
        dcam_loss_stage_f32(&c->losses, scratch, m->wide_t, m->wide_s, IMAGES, n, c->channels, &m->total_want, m->terms_want,
                            m->d_want);
    }
    dcam_loss_scratch_destroy(scratch);
}

static void run_in_bf16(maps *m, const stage_case *c)
{
    dcam_bf16_stage *stage;
    OK(dcam_bf16_stage_create(&c->losses, m->state, IMAGES, (int)m->positions, c->channels, &stage));
    dcam_bf16_stage_run(stage, m->block, m->t, m->map + GAP, m->s, IMAGES, &m->total, m->terms, m->d_s, m->d_block);
    dcam_bf16_stage_destroy(stage);
}

static float largest(const float *v, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(v[i]));
    return most;
}

static void compare(const maps *m)
{
    const size_t count = IMAGES * m->map;
    /* Rounded to bf16, half a unit of eight bits; and f32 sums, where parts cancel. */
    const float unit = 0x1p-8f, least = 3e-6f * largest(m->d_want, count), block = 2e-5f * largest(m->d_block_want, m->values);
    assert_true(fabs(m->total - m->total_want) <= 3e-6 * fabs(m->total_want) + 1e-7);
    for (int k = 0; k < DCAM_LOSS_KINDS; k++)
        assert_true(fabs(m->terms[k] - m->terms_want[k]) <= 3e-6 * fabs(m->terms_want[k]) + 1e-7);
    for (size_t i = 0; i < count; i++)
        assert_true(fabsf(dcam_f32_from_bf16(m->d_s[i]) - m->d_want[i]) <= unit * fabsf(m->d_want[i]) + least);
    for (size_t i = 0; i < m->values; i++) assert_true(fabsf(m->d_block[i] - m->d_block_want[i]) <= block);
}

/* Whole and cut tiles, one position, either kind of groups of channels; each loss alone and all together. */
static void like_f32_maps(void **unused)
{
    (void)unused;
    static const int shapes[][3] = {{1, 1, 32}, {2, 2, 64}, {3, 5, 96}, {4, 4, 128}, {6, 8, 64}, {5, 13, 256}, {16, 16, 64}};
    static const double weights[][DCAM_LOSS_KINDS] = {
        [0] = {[DCAM_LOSS_CD] = 1, [DCAM_LOSS_KD] = 1}, [1] = {[DCAM_LOSS_CD] = 2}, [2] = {[DCAM_LOSS_KD] = 2},
        [3] = {[DCAM_LOSS_L2] = 1}, [4] = {[DCAM_LOSS_CD] = 0.5, [DCAM_LOSS_KD] = 3, [DCAM_LOSS_L2] = 0.25}};
    if (!dcam_nn_bf16_maps()) skip();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t k = 0; k < sizeof weights / sizeof *weights; k++)
            for (int attention = 0; attention < 2; attention++) {
                stage_case c = {shapes[i][0], shapes[i][1], shapes[i][2], attention == 1, {.kd_temperature = k == 4 ? 4 : 1}};
                maps m;
                memcpy(c.losses.weight, weights[k], sizeof weights[k]);
                c.losses.kd_scale = k == 2 ? DCAM_KD_SUM : DCAM_KD_MEAN;
                open_maps(&m, &c, i % 2 == 0 ? 0 : 0.9f);
                run_in_f32(&m, &c);
                run_in_bf16(&m, &c);
                compare(&m);
                close_maps(&m);
            }
}

static const stage_case usual = {6, 7, 64, true, {.weight = {[DCAM_LOSS_CD] = 1, [DCAM_LOSS_KD] = 1}, .kd_temperature = 1}};

static void bits_do_not_depend_on_threads(void **unused)
{
    (void)unused;
    maps one, three;
    if (!dcam_nn_bf16_maps()) skip();
    open_maps(&one, &usual, 0);
    open_maps(&three, &usual, 0);
    dcam_set_threads(1);
    run_in_bf16(&one, &usual);
    dcam_set_threads(3);
    run_in_bf16(&three, &usual);
    dcam_set_threads(0);
    assert_true(one.total == three.total);
    assert_memory_equal(one.d_s, three.d_s, IMAGES * one.map * sizeof *one.d_s);
    assert_memory_equal(one.d_block, three.d_block, one.values * sizeof *one.d_block);
    close_maps(&one);
    close_maps(&three);
}

/* In the student's map, at any place, with any loss. */
static void not_a_number_is_not_hidden(void **unused)
{
    (void)unused;
    static const uint16_t bad[] = {0x7fc0, 0xffc0, 0x7f80, 0xff80}; /* no numbers; infinities */
    static const dcam_loss_kind kinds[] = {DCAM_LOSS_CD, DCAM_LOSS_KD, DCAM_LOSS_L2};
    if (!dcam_nn_bf16_maps()) skip();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            for (int attention = 0; attention < 2; attention++) {
                stage_case c = {6, 7, 64, attention == 1, {.kd_temperature = 1}};
                maps m;
                c.losses.weight[kinds[k]] = 1;
                open_maps(&m, &c, 0);
                m.s[m.map + (size_t)(13 + 29 * (int)i) * 64 / 3] = bad[i];
                run_in_bf16(&m, &c);
                assert_true(!isfinite(m.total));
                close_maps(&m);
            }
}

static void memory_failures(void **unused)
{
    (void)unused;
    dcam_bf16_stage *stage = NULL;
    EVERY_ALLOCATION(a, dcam_bf16_stage_create(&usual.losses, NULL, 2, 4, 64, &stage)) {
        assert_true(a.passed ? a.n > 5 : stage == NULL);
        dcam_bf16_stage_destroy(stage);
        stage = NULL;
    }
}

static void what_it_serves(void **unused)
{
    (void)unused;
    dcam_loss_options losses = usual.losses;
    assert_true(dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_NONE) && dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_CHANNEL));
    assert_false(dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_SPATIAL) || dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_CBAM));
    losses.weight[DCAM_LOSS_CDS] = 1;
    assert_false(dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_NONE));
    losses.weight[DCAM_LOSS_CDS] = 0;
    losses.weight[DCAM_LOSS_AFFINITY] = 1;
    assert_false(dcam_bf16_stage_fits(&losses, DCAM_ATTENTION_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_f32_maps),       cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(not_a_number_is_not_hidden), cmocka_unit_test(memory_failures),
        cmocka_unit_test(what_it_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
