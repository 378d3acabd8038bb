/* test_amx.c - the tiles of amx.h against plain sums, and transpose.h. Skipped where the processor or the system has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/amx.h"
#include "nn/isa.h"
#include "nn/round.h"
#include "nn/transpose.h"

enum { DEPTH = 32, BYTES = 64, COLUMNS = 16 };

#if defined(__x86_64__)
static uint32_t state = 1;
static int draw(int below)
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)below);
}

AMX_KERNEL static void multiply_bf16(int rows, const uint16_t *a, const uint16_t *b, float *c)
{
    amx_shapes shapes = amx_whole_tiles();
    shapes.rows[0] = shapes.rows[1] = (uint8_t)rows;
    amx_configure(&shapes);
    amx_load(0, c, AMX_ROW_BYTES);
    amx_load(1, a, AMX_ROW_BYTES);
    amx_load(2, b, AMX_ROW_BYTES);
    amx_multiply_bf16(0, 1, 2);
    amx_store(0, c, AMX_ROW_BYTES);
    amx_release();
}

AMX_KERNEL static void multiply_bytes(const uint8_t *a, const int8_t *b, int32_t *c)
{
    const amx_shapes shapes = amx_whole_tiles();
    amx_configure(&shapes);
    amx_zero(7);
    amx_load(6, a, AMX_ROW_BYTES);
    amx_load(5, b, AMX_ROW_BYTES);
    amx_multiply_u8s8(7, 6, 5);
    amx_store(7, c, AMX_ROW_BYTES);
    amx_release();
}

/* 2 x 2 tiles of whole matrices; twice, so that the second call adds to what was stored. */
AMX_KERNEL static void multiply_four(const uint16_t *a, const uint16_t *b, float *c)
{
    const amx_shapes shapes = amx_whole_tiles();
    amx_configure(&shapes);
    for (int k = 0; k < 2; k++) {
        if (k == 0) amx_zero_four();
        else amx_load_four(c, COLUMNS, AMX_ROWS * 2 * COLUMNS, 2 * COLUMNS * sizeof *c);
        amx_multiply_four_bf16(a, a + AMX_ROWS * DEPTH, BYTES, b, b + 2 * COLUMNS, 2 * BYTES);
        amx_store_four(c, COLUMNS, AMX_ROWS * 2 * COLUMNS, 2 * COLUMNS * sizeof *c);
    }
    amx_release();
}

AMX_KERNEL static void turn_round(const uint32_t *from, uint32_t *to)
{
    __m512i rows[16];
    for (int k = 0; k < 16; k++) rows[k] = _mm512_loadu_si512(from + k * 16);
    transpose_words(rows);
    for (int k = 0; k < 16; k++) _mm512_storeu_si512(to + k * 16, rows[k]);
}

/* Whole numbers that are small enough for exact sums. */
static void test_bf16(void **unused)
{
    (void)unused;
    if (dcam_nn_isa_here() < DCAM_NN_ISA_AMX) skip();
    for (int rows = 1; rows <= AMX_ROWS; rows += 5) {
        static uint16_t a[AMX_ROWS * DEPTH], b[DEPTH * COLUMNS];
        static float left[AMX_ROWS][DEPTH], right[DEPTH][COLUMNS], c[AMX_ROWS][COLUMNS];
        for (int i = 0; i < AMX_ROWS; i++)
            for (int k = 0; k < DEPTH; k++) a[i * DEPTH + k] = dcam_round_bf16(left[i][k] = (float)(draw(255) - 127));
        for (int k = 0; k < DEPTH; k++)
            for (int j = 0; j < COLUMNS; j++)
                b[k / 2 * 2 * COLUMNS + j * 2 + k % 2] = dcam_round_bf16(right[k][j] = (float)(draw(255) - 127));
        for (int i = 0; i < AMX_ROWS; i++)
            for (int j = 0; j < COLUMNS; j++) c[i][j] = (float)i;
        multiply_bf16(rows, a, b, c[0]);
        for (int i = 0; i < AMX_ROWS; i++)
            for (int j = 0; j < COLUMNS; j++) {
                float want = (float)i;
                for (int k = 0; k < DEPTH && i < rows; k++) want += left[i][k] * right[k][j];
                assert_true(c[i][j] == want);
            }
    }
}

static void test_four(void **unused)
{
    (void)unused;
    if (dcam_nn_isa_here() < DCAM_NN_ISA_AMX) skip();
    static uint16_t a[2 * AMX_ROWS * DEPTH], b[DEPTH * 2 * COLUMNS];
    static float left[2 * AMX_ROWS][DEPTH], right[DEPTH][2 * COLUMNS], c[2 * AMX_ROWS][2 * COLUMNS];
    for (int i = 0; i < 2 * AMX_ROWS; i++)
        for (int k = 0; k < DEPTH; k++) a[i * DEPTH + k] = dcam_round_bf16(left[i][k] = (float)(draw(255) - 127));
    for (int k = 0; k < DEPTH; k++)
        for (int j = 0; j < 2 * COLUMNS; j++)
            b[k / 2 * 4 * COLUMNS + j * 2 + k % 2] = dcam_round_bf16(right[k][j] = (float)(draw(255) - 127));
    multiply_four(a, b, c[0]);
    for (int i = 0; i < 2 * AMX_ROWS; i++)
        for (int j = 0; j < 2 * COLUMNS; j++) {
            float want = 0;
            for (int k = 0; k < DEPTH; k++) want += left[i][k] * right[k][j];
            assert_true(c[i][j] == 2 * want);
        }
}

static void test_transpose(void **unused)
{
    (void)unused;
    if (dcam_nn_isa_here() < DCAM_NN_ISA_AMX) skip();
    static uint32_t from[16][16], to[16][16];
    for (uint32_t i = 0; i < 16; i++)
        for (uint32_t j = 0; j < 16; j++) from[i][j] = 16 * i + j;
    turn_round(from[0], to[0]);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) assert_int_equal(to[i][j], from[j][i]);
}

static void test_bytes(void **unused)
{
    (void)unused;
    if (dcam_nn_isa_here() < DCAM_NN_ISA_AMX) skip();
    static uint8_t a[AMX_ROWS][BYTES];
    static int8_t right[BYTES][COLUMNS], b[BYTES * COLUMNS];
    static int32_t c[AMX_ROWS][COLUMNS];
    for (int i = 0; i < AMX_ROWS; i++)
        for (int k = 0; k < BYTES; k++) a[i][k] = (uint8_t)draw(256);
    for (int k = 0; k < BYTES; k++)
        for (int j = 0; j < COLUMNS; j++) b[k / 4 * 4 * COLUMNS + j * 4 + k % 4] = right[k][j] = (int8_t)(draw(256) - 128);
    multiply_bytes(a[0], b, c[0]);
    for (int i = 0; i < AMX_ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            int32_t want = 0;
            for (int k = 0; k < BYTES; k++) want += a[i][k] * right[k][j];
            assert_int_equal(c[i][j], want);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bf16), cmocka_unit_test(test_bytes), cmocka_unit_test(test_four),
                                       cmocka_unit_test(test_transpose)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) { return 0; }
#endif
