/* synth_mask.c - a pixel belongs to the defect when any channel differs by
 * more than the camera's noise could; gaps of a pixel or two and small
 * enclosed holes are closed and crumbs dropped, as a person with a brush would do it. */
#include "data/synth_mask.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* Grey levels of 255; the noise has a deviation of about 2. */
#define VISIBLE 10.0f
/* Mean difference within the mask below which a defect is too faint to be fair. */
#define CLEAR 22.0f
/* Marked share of the photograph. */
#define SMALLEST 0.0012f
#define LARGEST 0.12f
/* Crumbs: connected parts below this share (7 pixels at 256 x 256). */
#define CRUMB 0.000115f
/* Holes: what is enclosed and below this share belongs to the defect, as the
 * middle of a dent does where its slope happens to face as before. */
#define ENCLOSED 0.004f

dcam_status synth_mask_create(int side, synth_mask *out)
{
    size_t count = (size_t)side * (size_t)side;
    synth_mask m = {.side = side};
    dcam_status status = dcam_alloc(count, 1, &m.pixels);
    if (status == DCAM_OK) status = dcam_alloc(count, 1, &m.scratch);
    if (status == DCAM_OK) status = dcam_alloc(count, sizeof *m.stack, &m.stack);
    if (status == DCAM_OK) *out = m;
    else synth_mask_clear(&m);
    return status;
}

void synth_mask_clear(synth_mask *m)
{
    dcam_free(m->pixels);
    dcam_free(m->scratch);
    dcam_free(m->stack);
    *m = (synth_mask){0};
}

/* to = the highest (grow) or lowest value of from in the 3 x 3 around; beyond
 * the border nothing counts. */
static void morph(const synth_mask *m, const uint8_t *from, uint8_t *to, bool grow)
{
    for (int y = 0; y < m->side; y++)
        for (int x = 0; x < m->side; x++) {
            uint8_t v = grow ? 0 : 255;
            for (int b = y > 0 ? y - 1 : 0; b <= y + 1 && b < m->side; b++)
                for (int a = x > 0 ? x - 1 : 0; a <= x + 1 && a < m->side; a++) {
                    uint8_t p = from[b * m->side + a];
                    if (grow ? p > v : p < v) v = p;
                }
            to[y * m->side + x] = v;
        }
}

/* Closes gaps of up to 2 * radius pixels. */
static void close_gaps(synth_mask *m)
{
    int radius = m->side / 160 > 1 ? m->side / 160 : 1;
    for (int pass = 0; pass < 2 * radius; pass++) {
        morph(m, m->pixels, m->scratch, pass < radius);
        uint8_t *swap = m->pixels;
        m->pixels = m->scratch;
        m->scratch = swap;
    }
}

/* Collects the connected part (8 neighbours for marked pixels, 4 for the
 * others) of a start pixel on the stack and notes it in scratch; *open: it
 * reaches the border. */
static size_t collect(synth_mask *m, uint32_t start, bool *open)
{
    size_t count = 1;
    uint32_t side = (uint32_t)m->side;
    uint8_t value = m->pixels[start];
    *open = false;
    m->stack[0] = start;
    m->scratch[start] = 1;
    for (size_t next = 0; next < count; next++) {
        uint32_t x = m->stack[next] % side, y = m->stack[next] / side;
        if (x == 0 || y == 0 || x == side - 1 || y == side - 1) *open = true;
        for (uint32_t b = y > 0 ? y - 1 : 0; b <= y + 1 && b < side; b++)
            for (uint32_t a = x > 0 ? x - 1 : 0; a <= x + 1 && a < side; a++) {
                uint32_t i = b * side + a;
                if (m->pixels[i] != value || m->scratch[i] || (!value && a != x && b != y)) continue;
                m->scratch[i] = 1;
                m->stack[count++] = i;
            }
    }
    return count;
}

/* Turns the connected parts of this value that are smaller than the share,
 * and if `enclosed` do not reach the border, into the other value. */
static void drop_parts(synth_mask *m, uint8_t value, float share, bool enclosed)
{
    size_t total = (size_t)m->side * (size_t)m->side;
    size_t least = (size_t)(share * (float)total) + 1;
    memset(m->scratch, 0, total);
    for (uint32_t i = 0; i < total; i++) {
        bool open;
        if (m->pixels[i] != value || m->scratch[i]) continue;
        size_t count = collect(m, i, &open);
        if (count >= least || (enclosed && open)) continue;
        for (size_t k = 0; k < count; k++) m->pixels[m->stack[k]] = (uint8_t)(255 - value);
    }
}

static float difference(const float *a, const float *b)
{
    float r = fabsf(a[0] - b[0]), g = fabsf(a[1] - b[1]), c = fabsf(a[2] - b[2]);
    return fmaxf(r, fmaxf(g, c));
}

bool synth_mask_compare(synth_mask *m, const float *clean, const float *flawed)
{
    size_t total = (size_t)m->side * (size_t)m->side, marked = 0;
    double sum = 0;
    for (size_t i = 0; i < total; i++) m->pixels[i] = difference(clean + 3 * i, flawed + 3 * i) > VISIBLE ? 255 : 0;
    close_gaps(m);
    drop_parts(m, 255, CRUMB, false);
    drop_parts(m, 0, ENCLOSED, true);
    for (size_t i = 0; i < total; i++) {
        if (!m->pixels[i]) continue;
        marked++;
        sum += (double)difference(clean + 3 * i, flawed + 3 * i);
    }
    return (float)marked >= SMALLEST * (float)total && (float)marked <= LARGEST * (float)total &&
           sum >= (double)CLEAR * (double)marked;
}
