/* decode_webp.c - still WebP, lossy and lossless, through libwebp. Animations
 * are refused: which of their pictures is meant cannot be known. */
#include "image/decode.h"

#include <string.h>
#include <webp/decode.h>

#include "base/memory.h"

static dcam_status library_failure(const dcam_encoded *file, VP8StatusCode code)
{
    static const char *const reasons[] = {
        [VP8_STATUS_INVALID_PARAM] = "its parts do not fit together",
        [VP8_STATUS_BITSTREAM_ERROR] = "its compressed data is wrong",
        [VP8_STATUS_UNSUPPORTED_FEATURE] = "a feature that is not supported",
        [VP8_STATUS_SUSPENDED] = "it ends early",
        [VP8_STATUS_USER_ABORT] = "it ends early",
        [VP8_STATUS_NOT_ENOUGH_DATA] = "it ends early",
    };
    size_t i = (size_t)code;
    bool known = i < sizeof reasons / sizeof *reasons && reasons[i];
    return dcam_damaged(file, "WebP", known ? reasons[i] : "unknown fault");
}

static uint32_t u24(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16; }

/* The canvas of an extended file, because libwebp calls a huge one damaged. */
static dcam_status check_canvas(const dcam_encoded *file)
{
    const uint8_t *b = file->bytes;
    if (file->count < 30 || memcmp(b + 12, "VP8X", 4) != 0) return DCAM_OK;
    return dcam_check_sides(file, "WebP", (uint64_t)u24(b + 24) + 1, (uint64_t)u24(b + 27) + 1);
}

static dcam_status check_header(const dcam_encoded *file, WebPBitstreamFeatures *features)
{
    DCAM_TRY(check_canvas(file));
    VP8StatusCode code = WebPGetFeatures(file->bytes, file->count, features);
    if (code != VP8_STATUS_OK) return library_failure(file, code); /* it asks for no memory */
    DCAM_TRY(dcam_check_sides(file, "WebP", (uint64_t)features->width, (uint64_t)features->height));
    if (features->has_animation)
        return dcam_fail(DCAM_ERROR_IMAGE, "%s: is an animated WebP; save the one picture that is meant", file->name);
    /* libwebp reads missing bytes as zero when only a few are missing; the
     * length in the container tells. The 12 bytes are there: features came. */
    const uint8_t *b = file->bytes;
    uint64_t length = (uint64_t)u24(b + 4) | (uint64_t)b[7] << 24;
    if (length + 8 > file->count) return library_failure(file, VP8_STATUS_NOT_ENOUGH_DATA);
    return DCAM_OK;
}

dcam_status dcam_decode_webp(const dcam_encoded *file, dcam_image *out)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return dcam_fail(DCAM_ERROR_INTERNAL, "%s: libwebp is not the version that dcam was built with", file->name);
    DCAM_TRY(check_header(file, &config.input));
    if (file->lossy) *file->lossy = config.input.format != 2; /* 2: lossless */
    int width = config.input.width, height = config.input.height, channels = config.input.has_alpha ? 4 : 3;
    dcam_image image;
    DCAM_TRY(dcam_image_make(width, height, channels, &image));
    /* Where it is lossless, its own four bytes a pixel; alpha. */
    const dcam_status room = dcam_library_begin(file, 5 * (uint64_t)width * (uint64_t)height + DCAM_LIBRARY_TABLES);
    if (room != DCAM_OK) {
        dcam_image_clear(&image);
        return room;
    }
    config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image.pixels;
    config.output.u.RGBA.stride = width * channels;
    config.output.u.RGBA.size = (size_t)width * (size_t)height * (size_t)channels;
    VP8StatusCode code = WebPDecode(file->bytes, file->count, &config);
    const bool lacked = code == VP8_STATUS_OUT_OF_MEMORY || dcam_library_lacked_memory();
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK) {
        dcam_image_clear(&image);
        return lacked ? dcam_no_memory(file) : library_failure(file, code);
    }
    if (channels == 4) {
        dcam_take_rgba(file, image.pixels, width, height, out);
        return DCAM_OK;
    }
    *out = image;
    return DCAM_OK;
}
