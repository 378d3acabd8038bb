/* overlay.c - the anomaly map in colour over the photograph, and boxes.
 *
 * The scale is the caller's (from calibration), so that a good part looks calm.
 * Colours run violet, red, orange, pale yellow with rising lightness (the upper
 * part of matplotlib's "inferno", CC0), so that order shows without a legend
 * and to the colour-blind. Opacity grows with the value as 1 - (1 - t)^2, from
 * nothing at `low`: there is no edge where colour begins. */
#include "image/image.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* The photograph stays visible under the strongest colour. */
#define MOST_OPACITY 0.75f
#define LEVELS 256
/* Boxes on a large photograph must survive being shown small. */
#define SIDE_PER_LINE 400

/* red, green, blue, opacity in 1/255 of each level */
typedef struct {
    float colour[LEVELS][3];
    float opacity[LEVELS];
} colour_map;

static void fill_colour_map(colour_map *m)
{
    static const float anchors[][3] = {
        {66, 10, 104}, {106, 23, 110}, {147, 38, 103}, {188, 55, 84},
        {221, 81, 58}, {243, 120, 25}, {252, 165, 10}, {246, 215, 70}, {252, 255, 164},
    };
    enum { LAST = sizeof anchors / sizeof *anchors - 1 };
    for (int i = 0; i < LEVELS; i++) {
        float t = (float)i / (LEVELS - 1), at = t * LAST;
        int a = (int)at < LAST ? (int)at : LAST - 1;
        for (int c = 0; c < 3; c++)
            m->colour[i][c] = anchors[a][c] + (anchors[a + 1][c] - anchors[a][c]) * (at - (float)a);
        m->opacity[i] = MOST_OPACITY * (1 - (1 - t) * (1 - t));
    }
}

/* Between map samples a and b, at the half-pixel centre of an output position. */
typedef struct {
    int a, b;
    float weight_b;
} sample;

static sample locate(int position, int out, int in)
{
    float at = ((float)position + 0.5f) * (float)in / (float)out - 0.5f;
    if (at < 0) at = 0;
    int a = (int)at;
    if (a > in - 1) a = in - 1;
    return (sample){a, a < in - 1 ? a + 1 : a, at - (float)a};
}

/* 0 at low and below (and for NaN), LEVELS - 1 at high and above; high - low is finite. */
static int level_of(float value, float low, float high)
{
    if (!(value > low)) return 0;
    if (value >= high) return LEVELS - 1;
    return (int)((value - low) / (high - low) * (LEVELS - 1) + 0.5f);
}

/* Whether a value between two columns of the map, and between these two lines, can be above low: then one of the four
 * corners is. NaN counts as low. */
static void find_hot(const float *above, const float *below, int width, float low, uint8_t *hot)
{
    for (int a = 0; a < width; a++) {
        const int b = a < width - 1 ? a + 1 : a;
        hot[a] = above[a] > low || above[b] > low || below[a] > low || below[b] > low;
    }
}

dcam_status dcam_overlay(const dcam_image *photo, const float *map, int map_width, int map_height, float low,
                         float high, dcam_image *out)
{
    if (!isfinite(high - low) || low > high || map_width < 1 || map_height < 1 || photo->channels != 3)
        return dcam_fail(DCAM_ERROR_USAGE, "cannot draw a map of %d x %d values from %g to %g over %d channels",
                         map_width, map_height, (double)low, (double)high, photo->channels);
    dcam_image result = {0, 0, 0, NULL};
    sample *columns = NULL;
    uint8_t *hot = NULL;
    colour_map colours;
    fill_colour_map(&colours);
    size_t n = (size_t)photo->width * (size_t)photo->height;
    dcam_status status = dcam_alloc(n, 3, &result.pixels);
    if (status != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)photo->width, sizeof *columns, &columns)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)map_width, 1, &hot)) != DCAM_OK) goto cleanup;
    for (int x = 0; x < photo->width; x++) columns[x] = locate(x, photo->width, map_width);
    const uint8_t *from = photo->pixels;
    uint8_t *to = result.pixels;
    for (int y = 0; y < photo->height; y++) {
        sample line = locate(y, photo->height, map_height);
        const float *above = map + (size_t)line.a * (size_t)map_width;
        const float *below = map + (size_t)line.b * (size_t)map_width;
        find_hot(above, below, map_width, low, hot);
        /* Most of a photograph stays as it is. */
        memcpy(to, from, 3 * (size_t)photo->width);
        for (int x = 0; x < photo->width; x++, from += 3, to += 3) {
            sample s = columns[x];
            if (!hot[s.a]) continue;
            float top = above[s.a] + (above[s.b] - above[s.a]) * s.weight_b;
            float bottom = below[s.a] + (below[s.b] - below[s.a]) * s.weight_b;
            int level = level_of(top + (bottom - top) * line.weight_b, low, high);
            float opacity = colours.opacity[level];
            for (int c = 0; c < 3; c++) {
                float photo_part = (float)from[c] * (1 - opacity);
                to[c] = (uint8_t)(photo_part + colours.colour[level][c] * opacity + 0.5f);
            }
        }
    }
    *out = (dcam_image){photo->width, photo->height, 3, result.pixels};
    result.pixels = NULL;
cleanup:
    dcam_free(hot);
    dcam_free(columns);
    dcam_image_clear(&result);
    return status;
}

static void fill(dcam_image *image, int64_t left, int64_t top, int64_t right, int64_t bottom, const uint8_t rgb[3])
{
    if (left < 0) left = 0;
    if (top < 0) top = 0;
    if (right > image->width) right = image->width;
    if (bottom > image->height) bottom = image->height;
    for (int64_t y = top; y < bottom; y++)
        for (int64_t x = left; x < right; x++)
            for (int c = 0; c < image->channels; c++)
                image->pixels[(y * image->width + x) * image->channels + c] = rgb[c];
}

void dcam_draw_box(dcam_image *image, int x, int y, int width, int height, const uint8_t rgb[3])
{
    if (width < 1 || height < 1) return;
    int shorter = image->width < image->height ? image->width : image->height;
    int64_t line = 1 + shorter / SIDE_PER_LINE;
    int64_t left = x, top = y, right = left + width, bottom = top + height;
    fill(image, left, top, right, top + line < bottom ? top + line : bottom, rgb);
    fill(image, left, bottom - line > top ? bottom - line : top, right, bottom, rgb);
    fill(image, left, top, left + line < right ? left + line : right, bottom, rgb);
    fill(image, right - line > left ? right - line : left, top, right, bottom, rgb);
}
