/* preprocess.c - pixels to the network's input, (v / 255 - mean) / deviation,
 * planes instead of interleaved colours. A byte has 256 values, so that each
 * channel is a table; the table is filled with torchvision's order of
 * operations and gives its bits. The only preprocessing of the project. */
#include "image/image.h"

dcam_preprocessing dcam_preprocessing_default(int width, int height)
{
    return (dcam_preprocessing){width, height, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
}

/* rgb: n,h,w,3 u8 -> out: n,3,h,w f32 */
void dcam_normalise(const dcam_preprocessing *p, const uint8_t *rgb, int n, float *out)
{
    float table[3][256];
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) table[c][v] = ((float)v / 255.0f - p->mean[c]) / p->deviation[c];
    size_t plane = (size_t)p->width * (size_t)p->height;
    for (int i = 0; i < n; i++, rgb += 3 * plane, out += 3 * plane)
        for (size_t k = 0; k < plane; k++) {
            out[k] = table[0][rgb[3 * k]];
            out[plane + k] = table[1][rgb[3 * k + 1]];
            out[2 * plane + k] = table[2][rgb[3 * k + 2]];
        }
}
