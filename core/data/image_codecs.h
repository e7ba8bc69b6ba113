/* image_codecs.h: what image.c asks of the file formats. Private to core/data.
 *
 * Each decoder is given bytes that start with its signature. It checks the size in the header against
 * options->max_pixels before it allocates, and leaves a freshly allocated image of the wanted channel count.
 */
#ifndef GRAFT_DATA_IMAGE_CODECS_H
#define GRAFT_DATA_IMAGE_CODECS_H

#include "core/data/image.h"

status jpeg_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options);
status jpeg_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height);

status stb_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options);
status stb_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height);

status pnm_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options);
status pnm_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height);

/* E_DATA unless 1 <= width * height <= options->max_pixels. */
status image_check_size(int64_t width, int64_t height, const decode_options *options);

/* Turns stored pixels upright: orientation 1 to 8 as EXIF numbers them. */
status image_orient(image *im, int orientation);

/* ITU-R 601 luma as Pillow's convert("L") rounds it. */
static inline uint8_t image_luma(uint8_t red, uint8_t green, uint8_t blue)
{
    return (uint8_t)((red * 19595u + green * 38470u + blue * 7471u + 0x8000u) >> 16);
}

#endif
