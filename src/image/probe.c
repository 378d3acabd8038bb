/* probe.c - the size of a picture from its header, and the memory that decoding it takes: a few small reads, so that a
 * hundred thousand files are looked at in seconds. It says nothing of whether the file is sound; that is found by reading
 * it. What the libraries hold is known from their sources: libjpeg keeps all coefficients of a picture of several scans,
 * libtiff a strip or tile, libwebp a picture beside ours where it is lossless. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image.h"

#define HEAD 64
/* What decode_png_fast.c has beside the picture, at most. */
#define FAST_PNG ((uint64_t)64 << 20)
/* More header segments or directory entries than any writer makes. */
#define MOST_SEGMENTS 4096
#define MOST_ENTRIES 4096

typedef struct {
    const char *path;
    int fd;
    dcam_status fault;  /* of the system, while it was read */
    uint64_t size;      /* of the file */
    uint8_t head[HEAD]; /* zeros behind the file's end */
    uint64_t width, height, beside; /* beside: bytes held besides 3 a pixel and the file */
} probe;

/* False behind the file's end, which is the header's fault, and where the system does not read, which is kept: after it
 * nothing that was found counts. */
static bool read_at(probe *p, uint64_t at, uint8_t *to, size_t count)
{
    if (p->fault != DCAM_OK || at > p->size || p->size - at < count) return false;
    p->fault = dcam_read_at(p->fd, p->path, at, to, count);
    return p->fault == DCAM_OK;
}

static uint32_t big_16(const uint8_t *b) { return (uint32_t)b[0] << 8 | b[1]; }
static uint32_t big_32(const uint8_t *b) { return big_16(b) << 16 | big_16(b + 2); }
static uint32_t little_16(const uint8_t *b) { return (uint32_t)b[1] << 8 | b[0]; }
static uint32_t little_32(const uint8_t *b) { return little_16(b + 2) << 16 | little_16(b); }
static uint32_t little_24(const uint8_t *b) { return (uint32_t)b[2] << 16 | little_16(b); }

static uint64_t pixels(const probe *p) { return p->width * p->height; }

static bool probe_png(probe *p)
{
    p->width = big_32(p->head + 16);
    p->height = big_32(p->head + 20);
    /* A fourth channel; or all rows at once, and the packed bytes together. */
    const uint64_t fast = 3 * pixels(p) + p->height + p->size;
    p->beside = pixels(p) + (fast < FAST_PNG ? fast : FAST_PNG);
    return true;
}

static bool probe_bmp(probe *p)
{
    const bool old = little_32(p->head + 14) == 12;
    const int64_t height = old ? (int64_t)little_16(p->head + 20) : (int64_t)(int32_t)little_32(p->head + 22);
    p->width = old ? little_16(p->head + 18) : little_32(p->head + 18);
    p->height = (uint64_t)(height < 0 ? -height : height);
    p->beside = pixels(p);
    return true;
}

static bool probe_webp(probe *p)
{
    const uint8_t *h = p->head;
    if (memcmp(h + 12, "VP8X", 4) == 0) {
        p->width = (uint64_t)little_24(h + 24) + 1;
        p->height = (uint64_t)little_24(h + 27) + 1;
    } else if (memcmp(h + 12, "VP8L", 4) == 0) {
        const uint32_t bits = little_32(h + 21);
        p->width = (bits & 0x3fff) + 1;
        p->height = (bits >> 14 & 0x3fff) + 1;
    } else if (memcmp(h + 12, "VP8 ", 4) == 0) {
        p->width = little_16(h + 26) & 0x3fff;
        p->height = little_16(h + 28) & 0x3fff;
        return true; /* some rows at a time, no alpha */
    } else {
        return false;
    }
    p->beside = 5 * pixels(p); /* alpha, and libwebp's own four bytes */
    return true;
}

/* White space and comments, then digits. */
static bool next_number(const uint8_t *text, size_t n, size_t *at, uint64_t *out)
{
    while (*at < n && (text[*at] == ' ' || (text[*at] >= '\t' && text[*at] <= '\r') || text[*at] == '#')) {
        if (text[(*at)++] == '#')
            while (*at < n && text[*at] != '\n' && text[*at] != '\r') ++*at;
    }
    const size_t first = *at;
    uint64_t value = 0;
    for (; *at < n && text[*at] >= '0' && text[*at] <= '9'; ++*at)
        if (value <= DCAM_MAX_IMAGE_SIDE) value = value * 10 + (uint64_t)(text[*at] - '0');
    *out = value;
    return *at > first && *at < n; /* the digits end within what was read */
}

static bool probe_pnm(probe *p)
{
    uint8_t text[4096]; /* comments may be long */
    const size_t n = p->size < sizeof text ? (size_t)p->size : sizeof text;
    size_t at = 2;
    return read_at(p, 0, text, n) && next_number(text, n, &at, &p->width) && next_number(text, n, &at, &p->height);
}

/* ---- JPEG ---- */

/* A frame header's body: 8 bits, height, width, components with their sampling. */
static bool read_frame(probe *p, uint64_t at, uint64_t *coefficients, unsigned *components)
{
    uint8_t b[6 + 3 * 4];
    uint64_t blocks = 0;
    unsigned across = 1, down = 1;
    if (!read_at(p, at, b, 6)) return false;
    p->height = big_16(b + 1);
    p->width = big_16(b + 3);
    *components = b[5];
    if (*components > 4 || !read_at(p, at + 6, b + 6, 3 * (size_t)*components)) return false;
    for (unsigned i = 0; i < *components; i++) {
        const unsigned h = b[7 + 3 * i] >> 4, v = b[7 + 3 * i] & 15;
        across = h > across ? h : across;
        down = v > down ? v : down;
        blocks += h * v;
    }
    const uint64_t units = (p->width / (8 * across) + 1) * (p->height / (8 * down) + 1);
    *coefficients = units * blocks * 64 * sizeof(int16_t);
    return true;
}

static bool probe_jpeg(probe *p)
{
    uint64_t at = 2, coefficients = 0;
    unsigned components = 0;
    bool progressive = false, framed = false;
    uint8_t b[5];
    for (int segment = 0; segment < MOST_SEGMENTS && read_at(p, at, b, sizeof b); segment++) {
        const uint8_t marker = b[1];
        if (b[0] != 0xff) break;
        if (marker == 0xff) {
            at++;
            continue;
        }
        if (marker == 0xda) { /* the first scan: several follow where it has not all components */
            if (framed && (progressive || b[4] < components)) p->beside = coefficients;
            break;
        }
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
            framed = read_frame(p, at + 4, &coefficients, &components);
            progressive = (marker & 3) == 2;
        }
        at += 2 + (uint64_t)big_16(b + 2);
    }
    return framed;
}

/* ---- TIFF ---- */

typedef struct {
    bool little, big; /* byte order; 64-bit offsets */
} tiff_kind;

static uint64_t tiff_number(const tiff_kind *k, const uint8_t *b, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value = value << 8 | b[k->little ? bytes - 1 - i : i];
    return value;
}

/* The first value of an entry; 0 where it is of another type than a whole number, or lies elsewhere and cannot be read. */
static uint64_t tiff_value(probe *p, const tiff_kind *k, const uint8_t *entry)
{
    const uint64_t type = tiff_number(k, entry + 2, 2), count = tiff_number(k, entry + 4, k->big ? 8 : 4);
    const size_t bytes = type == 3 ? 2 : type == 4 ? 4 : type == 16 ? 8 : type == 1 ? 1 : 0, room = k->big ? 8 : 4;
    const uint8_t *value = entry + (k->big ? 12 : 8);
    uint8_t elsewhere[8];
    if (bytes == 0 || count == 0) return 0;
    if (count > room / bytes) {
        if (!read_at(p, tiff_number(k, value, room), elsewhere, bytes)) return 0;
        value = elsewhere;
    }
    return tiff_number(k, value, bytes);
}

static uint64_t at_most(uint64_t value, uint64_t most) { return value < most ? value : most; }

static bool probe_tiff(probe *p)
{
    const tiff_kind k = {.little = p->head[0] == 'I', .big = p->head[2] + p->head[3] == '+'};
    const uint64_t at = k.big ? tiff_number(&k, p->head + 8, 8) : tiff_number(&k, p->head + 4, 4);
    const size_t count_bytes = k.big ? 8 : 2, entry_bytes = k.big ? 20 : 12;
    uint64_t bits = 1, samples = 1, rows = 0, across = 0, down = 0;
    uint8_t b[20];
    if (!read_at(p, at, b, count_bytes)) return false;
    const uint64_t entries = tiff_number(&k, b, count_bytes);
    for (uint64_t i = 0; i < at_most(entries, MOST_ENTRIES); i++) {
        if (!read_at(p, at + count_bytes + i * entry_bytes, b, entry_bytes)) return false;
        const uint64_t value = tiff_value(p, &k, b);
        switch (tiff_number(&k, b, 2)) {
        case 256: p->width = value; break;
        case 257: p->height = value; break;
        case 258: bits = at_most(value, 64); break;
        case 277: samples = at_most(value, 64); break;
        case 278: rows = value; break;
        case 322: across = at_most(value, DCAM_MAX_IMAGE_SIDE); break;
        case 323: down = at_most(value, DCAM_MAX_IMAGE_SIDE); break;
        default: break;
        }
    }
    if (p->width > DCAM_MAX_IMAGE_SIDE || p->height > DCAM_MAX_IMAGE_SIDE) return false;
    const bool tiled = across > 0 && down > 0;
    const uint64_t strip = p->width * (rows > 0 && rows < p->height ? rows : p->height);
    p->beside = pixels(p) + (tiled ? across * down : strip) * ((samples * bits + 7) / 8);
    return true;
}

/* ---- all of them ---- */

static bool probe_any(probe *p)
{
    const uint8_t *h = p->head;
    if (memcmp(h, "\xff\xd8\xff", 3) == 0) return probe_jpeg(p);
    if (memcmp(h, "\x89PNG\r\n\x1a\n", 8) == 0) return probe_png(p);
    if (memcmp(h, "RIFF", 4) == 0 && memcmp(h + 8, "WEBP", 4) == 0) return probe_webp(p);
    if (memcmp(h, "II*\0", 4) == 0 || memcmp(h, "MM\0*", 4) == 0 || memcmp(h, "II+\0", 4) == 0 || memcmp(h, "MM\0+", 4) == 0)
        return probe_tiff(p);
    if (memcmp(h, "BM", 2) == 0) return probe_bmp(p);
    return h[0] == 'P' && h[1] >= '4' && h[1] <= '6' && probe_pnm(p);
}

/* Beyond the limits nothing is decoded. */
static bool would_be_decoded(const probe *p)
{
    return p->width > 0 && p->height > 0 && p->width <= DCAM_MAX_IMAGE_SIDE && p->height <= DCAM_MAX_IMAGE_SIDE &&
           pixels(p) <= DCAM_MAX_IMAGE_PIXELS;
}

static dcam_status look(probe *p, dcam_image_size *out)
{
    struct stat info;
    dcam_image_size size = {0};
    if (fstat(p->fd, &info) != 0) return dcam_system_failure("read", p->path);
    if (S_ISREG(info.st_mode) && info.st_size > 0 && (uint64_t)info.st_size <= DCAM_MAX_IMAGE_FILE_BYTES) {
        p->size = (uint64_t)info.st_size;
        const bool found = read_at(p, 0, p->head, p->size < HEAD ? (size_t)p->size : HEAD) && probe_any(p);
        if (p->fault != DCAM_OK) return p->fault;
        if (found && would_be_decoded(p))
            size = (dcam_image_size){(int)p->width, (int)p->height, (size_t)(p->size + 3 * pixels(p) + p->beside)};
    }
    *out = size;
    return DCAM_OK;
}

dcam_status dcam_image_look(const char *path, dcam_image_size *out)
{
    probe p = {.path = path, .fd = dcam_open_file(path, O_RDONLY | O_NONBLOCK)};
    if (p.fd < 0) return dcam_system_failure("open", path);
    const dcam_status status = look(&p, out);
    close(p.fd);
    return status;
}
