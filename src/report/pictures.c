/* pictures.c - the gallery: photograph with the outline of the truth, anomaly map, overlay with the outline of what was
 * found, as JPEG inside the page. Outlines are drawn dark and light, so that they show on any photograph. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/inside.h"

#define QUALITY 82

void dcam_report_group(dcam_report *r, const char *heading)
{
    if (r->group_open) dcam_html_put(&r->classes, "</div>\n");
    dcam_html_format(&r->classes, "<h3>%s</h3>\n<div class=\"pictures\">\n", heading);
    r->group_open = true;
}

/* ---- outlines ---- */

typedef struct {
    int width, height;
    uint8_t *inside; /* height x width */
} shape;

static bool is_inside(const shape *s, int x, int y)
{
    return x >= 0 && y >= 0 && x < s->width && y < s->height && s->inside[(size_t)y * (size_t)s->width + (size_t)x];
}

/* A pixel inside with a neighbour outside is of the line, its outer neighbours of the dark edge. */
static void draw_outline(dcam_image *image, const shape *s, const uint8_t line[3])
{
    static const int step[4][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    static const uint8_t edge[3] = {0, 0, 0};
    for (int y = 0; y < s->height; y++)
        for (int x = 0; x < s->width; x++) {
            const bool in = is_inside(s, x, y);
            bool differs = false;
            for (int k = 0; k < 4; k++) differs |= is_inside(s, x + step[k][0], y + step[k][1]) != in;
            if (differs) memcpy(image->pixels + ((size_t)y * (size_t)s->width + (size_t)x) * 3, in ? line : edge, 3);
        }
}

/* Where the part of `in` pixels begins that pixel i of `out` shows. */
static size_t begin_of(int i, int out, int in) { return (size_t)((int64_t)i * in / out); }

static size_t end_of(int i, int out, int in)
{
    const size_t begin = begin_of(i, out, in), end = begin_of(i + 1, out, in);
    return end > begin ? end : begin + 1;
}

/* The outline of what is not 0 in from (height x width). Where that is finer than the image, every pixel of it is shown by
 * one of the image's: what is as thin as a scratch must not fall between two of them. */
static dcam_status outline(dcam_image *image, const uint8_t *from, int width, int height, const uint8_t line[3])
{
    shape s = {image->width, image->height, NULL};
    DCAM_TRY(dcam_alloc_zero((size_t)s.width * (size_t)s.height, 1, &s.inside));
    for (int y = 0; y < s.height; y++)
        for (size_t row = begin_of(y, s.height, height); row < end_of(y, s.height, height); row++)
            for (int x = 0; x < s.width; x++) {
                const uint8_t *at = from + row * (size_t)width;
                for (size_t k = begin_of(x, s.width, width); k < end_of(x, s.width, width); k++)
                    if (at[k]) s.inside[(size_t)y * (size_t)s.width + (size_t)x] = 1;
            }
    draw_outline(image, &s, line);
    dcam_free(s.inside);
    return DCAM_OK;
}

static dcam_status outline_found(dcam_image *image, const dcam_report_picture *p)
{
    static const uint8_t white[3] = {255, 255, 255};
    const size_t n = (size_t)p->map_width * (size_t)p->map_height;
    uint8_t *found;
    DCAM_TRY(dcam_alloc(n, 1, &found));
    for (size_t i = 0; i < n; i++) found[i] = (double)p->map[i] >= p->threshold;
    const dcam_status status = outline(image, found, p->map_width, p->map_height, white);
    dcam_free(found);
    return status;
}

/* ---- one picture ---- */

static dcam_status scale(const dcam_image *photo, dcam_image *out)
{
    const int longer = photo->width > photo->height ? photo->width : photo->height;
    const double factor = fmin(1, (double)DCAM_REPORT_SIDE / longer);
    const int width = (int)fmax(1, round(photo->width * factor)), height = (int)fmax(1, round(photo->height * factor));
    return dcam_image_resize(photo, width, height, out);
}

static dcam_status put_image(dcam_report *r, const dcam_image *image, const char *what)
{
    uint8_t *bytes;
    size_t count;
    DCAM_TRY(dcam_jpeg_encode(image, QUALITY, &bytes, &count));
    dcam_html_format(&r->classes, "<img width=\"%d\" height=\"%d\" alt=\"%s\" src=\"data:image/jpeg;base64,", image->width, image->height, what);
    dcam_html_base64(&r->classes, bytes, count);
    dcam_html_put(&r->classes, "\">");
    r->picture_bytes += count;
    dcam_free(bytes);
    return DCAM_OK;
}

/* photo: scaled; drawn on at the end. */
static dcam_status put_views(dcam_report *r, const dcam_report_picture *p, dcam_image *photo)
{
    static const uint8_t cyan[3] = {64, 255, 255};
    dcam_image black = {photo->width, photo->height, 3, NULL}, map = {0}, overlay = {0};
    dcam_status status = dcam_alloc_zero((size_t)photo->width * (size_t)photo->height, 3, &black.pixels);
    if (status == DCAM_OK) status = dcam_overlay(&black, p->map, p->map_width, p->map_height, fminf(p->map_median, p->map_low), p->map_high, &map);
    if (status == DCAM_OK) status = dcam_overlay(photo, p->map, p->map_width, p->map_height, p->map_low, p->map_high, &overlay);
    if (status == DCAM_OK) status = outline_found(&overlay, p);
    if (status == DCAM_OK && p->mask) status = outline(photo, p->mask->pixels, p->mask->width, p->mask->height, cyan);
    if (status == DCAM_OK) status = put_image(r, photo, p->mask ? "photograph, true defect outlined" : "photograph");
    if (status == DCAM_OK) status = put_image(r, &map, "anomaly map");
    if (status == DCAM_OK) status = put_image(r, &overlay, "photograph under the map, found regions outlined");
    dcam_image_clear(&overlay);
    dcam_image_clear(&map);
    dcam_image_clear(&black);
    return status;
}

dcam_status dcam_report_picture_add(dcam_report *r, const dcam_report_picture *p)
{
    dcam_image photo = {0};
    if (r->picture_bytes >= DCAM_REPORT_MAX_PICTURE_BYTES) {
        r->left_out++;
        return DCAM_OK;
    }
    DCAM_TRY(scale(p->photo, &photo));
    dcam_html_put(&r->classes, "<figure class=\"picture\"><div class=\"views\">");
    const dcam_status status = put_views(r, p, &photo);
    dcam_html_put(&r->classes, "</div><figcaption>");
    dcam_html_format(&r->classes, "%s, score %.3f (raw %.4g), ", p->verdict, p->score, p->raw);
    dcam_html_escape(&r->classes, p->label);
    dcam_html_put(&r->classes, ": <span class=\"path\">");
    dcam_html_escape(&r->classes, p->path);
    dcam_html_put(&r->classes, "</span></figcaption></figure>\n");
    dcam_image_clear(&photo);
    return status;
}
