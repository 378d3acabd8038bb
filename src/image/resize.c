/* resize.c - resizing with Pillow's results: the antialiased triangle filter
 * ("bilinear") and nearest neighbour.
 *
 * Output pixel i has its centre at (i + 1/2) * scale in the input, scale = in /
 * out. The triangle max(0, 1 - |d / s|) with s = max(1, scale) weighs the inputs
 * whose centres it covers; weights are normalised and rounded to 22 bits. A row
 * is weighed first across, rounded to 8 bits, then down: the order matters for
 * equality. Only as many rows as one output row needs are kept at a time. */
#include "image/image.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "image/resize_kernel.h"

typedef struct {
    dcam_span *spans; /* one for each output position */
    int32_t *weights, *packed;
    int most_taps;
} filter;

static void filter_clear(filter *f)
{
    dcam_free(f->spans);
    dcam_free(f->packed);
    dcam_free(f->weights);
}

/* Weights of one output position into w (room for f->most_taps); their number. */
static int weigh(int in, double scale, int position, double *w, int *first)
{
    double stretch = scale < 1 ? 1 : scale;
    /* volatile: a product fused into the sums below would round otherwise
     * than Pillow, which is built without. */
    volatile double centre = (position + 0.5) * scale;
    int begin = (int)(centre - stretch + 0.5), end = (int)(centre + stretch + 0.5);
    if (begin < 0) begin = 0;
    if (end > in) end = in;
    double total = 0, inverse = 1.0 / stretch;
    for (int k = 0; k < end - begin; k++) {
        double distance = fabs((k + begin - centre + 0.5) * inverse);
        w[k] = distance < 1 ? 1 - distance : 0;
        total += w[k];
    }
    for (int k = 0; k < end - begin; k++)
        if (total != 0) w[k] /= total;
    *first = begin;
    return end - begin;
}

static dcam_status filter_make(int in, int out, filter *result)
{
    filter f = {NULL, NULL, NULL, 0};
    double *w = NULL;
    double scale = (double)in / out;
    int most = (int)ceil(scale < 1 ? 1 : scale) * 2 + 1;
    const size_t packed = DCAM_PACKED(most);
    size_t room;
    dcam_status status;
    if (!dcam_size_mul((size_t)out, packed, &room))
        return dcam_fail(DCAM_ERROR_MEMORY, "cannot resize %d to %d pixels: too many weights", in, out);
    if ((status = dcam_alloc((size_t)most, sizeof *w, &w)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)out, sizeof *f.spans, &f.spans)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)out * (size_t)most, sizeof *f.weights, &f.weights)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc(room, sizeof *f.packed, &f.packed)) != DCAM_OK) goto cleanup;
    for (int i = 0; i < out; i++) {
        int32_t *to = f.weights + (size_t)i * (size_t)most, *pairs = f.packed + (size_t)i * packed;
        int first, taps = weigh(in, scale, i, w, &first);
        for (int k = 0; k < taps; k++) to[k] = (int32_t)(0.5 + w[k] * (1 << DCAM_WEIGHT_BITS));
        dcam_pack_weights(to, taps, pairs);
        f.spans[i] = (dcam_span){first, taps, to, pairs};
        if (taps > f.most_taps) f.most_taps = taps;
    }
    *result = f;
    f = (filter){NULL, NULL, NULL, 0};
cleanup:
    filter_clear(&f);
    dcam_free(w);
    return status;
}

static dcam_status check_sides(int width, int height)
{
    if (width < 1 || height < 1 || width > DCAM_MAX_IMAGE_SIDE || height > DCAM_MAX_IMAGE_SIDE ||
        (uint64_t)width * (uint64_t)height > DCAM_MAX_IMAGE_PIXELS)
        return dcam_fail(DCAM_ERROR_USAGE, "cannot resize an image to %d x %d pixels: sides are 1 to %d, %u in all",
                         width, height, DCAM_MAX_IMAGE_SIDE, DCAM_MAX_IMAGE_PIXELS);
    return DCAM_OK;
}

static dcam_status make_like(const dcam_image *image, int width, int height, dcam_image *out)
{
    uint8_t *pixels;
    DCAM_TRY(dcam_alloc((size_t)width * (size_t)height, (size_t)image->channels, &pixels));
    *out = (dcam_image){width, height, image->channels, pixels};
    return DCAM_OK;
}

/* Rows `first` and up to three more, weighed across into the ring, row y in slot y % slots; returns how many. */
static int resize_across(const dcam_image *image, const filter *across, dcam_resize_isa isa, int first, int width,
                         uint8_t *ring, int slots)
{
    const size_t in_stride = (size_t)image->width * (size_t)image->channels;
    const size_t out_stride = (size_t)width * (size_t)image->channels;
    const int left = image->height - first, count = left < DCAM_ROWS_TOGETHER ? left : DCAM_ROWS_TOGETHER;
    const uint8_t *from[DCAM_ROWS_TOGETHER];
    uint8_t *to[DCAM_ROWS_TOGETHER];
    for (int i = 0; i < count; i++) {
        from[i] = image->pixels + (size_t)(first + i) * in_stride;
        to[i] = ring + (size_t)((first + i) % slots) * out_stride;
    }
    dcam_weigh_pixels(isa, from, count, image->width, image->channels, across->spans, width, to);
    return count;
}

static void resize_rows(const dcam_image *image, const filter *across, const filter *down, uint8_t *ring, int slots,
                        const uint8_t **rows, dcam_image *result)
{
    const dcam_resize_isa isa = dcam_resize_isa_here();
    const size_t out_stride = (size_t)result->width * (size_t)image->channels;
    int done = 0;
    for (int y = 0; y < result->height; y++) {
        const dcam_span *span = &down->spans[y];
        if (done < span->first) done = span->first;
        while (done < span->first + span->taps)
            done += resize_across(image, across, isa, done, result->width, ring, slots);
        for (int k = 0; k < span->taps; k++) rows[k] = ring + (size_t)((span->first + k) % slots) * out_stride;
        dcam_weigh_rows(isa, rows, span, out_stride, result->pixels + (size_t)y * out_stride);
    }
}

dcam_status dcam_image_resize(const dcam_image *image, int width, int height, dcam_image *out)
{
    filter across = {NULL, NULL, NULL, 0}, down = across;
    dcam_image result = {0, 0, 0, NULL};
    uint8_t *ring = NULL;
    const uint8_t **rows = NULL;
    DCAM_TRY(check_sides(width, height));
    dcam_status status = make_like(image, width, height, &result);
    if (status != DCAM_OK) goto cleanup;
    if (width == image->width && height == image->height) {
        memcpy(result.pixels, image->pixels, (size_t)width * (size_t)height * (size_t)image->channels);
    } else {
        if ((status = filter_make(image->width, width, &across)) != DCAM_OK) goto cleanup;
        if ((status = filter_make(image->height, height, &down)) != DCAM_OK) goto cleanup;
        /* Those of one output row, and what is made together with the last. */
        const int slots = down.most_taps + DCAM_ROWS_TOGETHER - 1;
        status = dcam_alloc((size_t)slots * (size_t)width, (size_t)image->channels, &ring);
        if (status != DCAM_OK) goto cleanup;
        if ((status = dcam_alloc((size_t)down.most_taps, sizeof *rows, &rows)) != DCAM_OK) goto cleanup;
        resize_rows(image, &across, &down, ring, slots, rows, &result);
    }
    *out = result;
    result.pixels = NULL;
cleanup:
    dcam_free(rows);
    dcam_free(ring);
    dcam_image_clear(&result);
    filter_clear(&down);
    filter_clear(&across);
    return status;
}

/* The input position of each output position. The step is added up, as Pillow
 * does, because (i + 1/2) * scale can round to the other side. */
static void nearest_positions(int in, int out, int *positions)
{
    double step = (double)in / out, at = step * 0.5;
    for (int i = 0; i < out; i++) {
        int p = (int)at;
        positions[i] = p < in ? p : in - 1;
        at += step;
    }
}

dcam_status dcam_image_resize_nearest(const dcam_image *image, int width, int height, dcam_image *out)
{
    dcam_image result = {0, 0, 0, NULL};
    int *columns = NULL, *lines = NULL;
    DCAM_TRY(check_sides(width, height));
    dcam_status status = make_like(image, width, height, &result);
    if (status != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)width, sizeof *columns, &columns)) != DCAM_OK) goto cleanup;
    if ((status = dcam_alloc((size_t)height, sizeof *lines, &lines)) != DCAM_OK) goto cleanup;
    nearest_positions(image->width, width, columns);
    nearest_positions(image->height, height, lines);
    size_t channels = (size_t)image->channels;
    uint8_t *to = result.pixels;
    for (int y = 0; y < height; y++) {
        const uint8_t *row = image->pixels + (size_t)lines[y] * (size_t)image->width * channels;
        for (int x = 0; x < width; x++, to += channels)
            for (size_t c = 0; c < channels; c++) to[c] = row[(size_t)columns[x] * channels + c];
    }
    *out = result;
    result.pixels = NULL;
cleanup:
    dcam_image_clear(&result);
    dcam_free(lines);
    dcam_free(columns);
    return status;
}
