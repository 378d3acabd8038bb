/* decode_pnm.c - binary PBM, PGM and PPM (P4, P5, P6). A few lines of text and
 * then plain samples: read here, because stb_image knows no P4, ignores the
 * maximum value, takes 16-bit samples in the wrong byte order and reads what
 * is missing as zero. The ASCII kinds (P1 to P3) are refused. */
#include "image/decode.h"

#include "base/memory.h"

/* Beyond every limit that a header's number is compared with. */
#define NUMBER_CAP 1000000000u

typedef struct {
    const dcam_encoded *file;
    size_t at;
} text;

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* White space and comments, then digits; false where there are none. */
static bool read_number(text *t, uint32_t *out)
{
    const uint8_t *b = t->file->bytes;
    size_t n = t->file->count;
    while (t->at < n && (is_space(b[t->at]) || b[t->at] == '#')) {
        if (b[t->at++] == '#')
            while (t->at < n && b[t->at] != '\n' && b[t->at] != '\r') t->at++;
    }
    size_t first = t->at;
    uint64_t value = 0; /* ten times the cap is more than 32 bits hold */
    for (; t->at < n && b[t->at] >= '0' && b[t->at] <= '9'; t->at++) {
        value = value * 10 + (uint64_t)(b[t->at] - '0');
        if (value > NUMBER_CAP) value = NUMBER_CAP;
    }
    *out = (uint32_t)value;
    return t->at > first;
}

static uint8_t scale(uint32_t value, uint32_t maximum, bool mask)
{
    if (value > maximum) value = maximum;
    uint32_t scaled = maximum == 65535 ? value >> 8 : (value * 255 + maximum / 2) / maximum;
    return mask && value > 0 && scaled == 0 ? 1 : (uint8_t)scaled;
}

static void unpack_bits(const uint8_t *from, dcam_image *image)
{
    size_t w = (size_t)image->width, h = (size_t)image->height, stride = (w + 7) / 8;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            uint8_t black = (uint8_t)(from[y * stride + x / 8] >> (7 - x % 8)) & 1;
            uint8_t *to = image->pixels + 3 * (y * w + x);
            to[0] = to[1] = to[2] = black ? 0 : 255;
        }
}

static void unpack_samples(const uint8_t *from, uint32_t maximum, bool colour, bool mask, dcam_image *image)
{
    size_t n = (size_t)image->width * (size_t)image->height, wide = maximum > 255;
    uint8_t table[256];
    if (!wide)
        for (uint32_t v = 0; v < 256; v++) table[v] = scale(v, maximum, mask);
    for (size_t i = 0; i < 3 * n; i++) {
        const uint8_t *p = from + (colour ? i : i / 3) * (wide ? 2u : 1u);
        image->pixels[i] = wide ? scale((uint32_t)(p[0] << 8 | p[1]), maximum, mask) : table[p[0]];
    }
}

dcam_status dcam_decode_pnm(const dcam_encoded *file, dcam_image *out)
{
    uint8_t kind = file->bytes[1];
    if (kind <= '3')
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: is an ASCII PNM (P%c), which is not read; save it as binary (P%c)",
                         file->name, kind, kind + 3);
    text t = {file, 2};
    uint32_t width, height, maximum = 1;
    if (!read_number(&t, &width) || !read_number(&t, &height) || (kind != '4' && !read_number(&t, &maximum)) ||
        t.at >= file->count || !is_space(file->bytes[t.at]))
        return dcam_damaged(file, "PNM", "it ends in its header");
    t.at++; /* one white space, then samples */
    if (maximum == 0 || maximum > 65535) return dcam_damaged(file, "PNM", "its maximum value is not 1 to 65535");
    DCAM_TRY(dcam_check_sides(file, "PNM", width, height));
    size_t row = kind == '4' ? (width + 7) / 8 : (size_t)width * (kind == '6' ? 3 : 1) * (maximum > 255 ? 2 : 1);
    if (row * height > file->count - t.at) return dcam_damaged(file, "PNM", "it ends early");
    dcam_image image;
    DCAM_TRY(dcam_image_make((int)width, (int)height, 3, &image));
    if (kind == '4') unpack_bits(file->bytes + t.at, &image);
    else unpack_samples(file->bytes + t.at, maximum, kind == '6', file->mask, &image);
    *out = image;
    return DCAM_OK;
}
