/* image_codecs.h: what image.c asks of the file formats. Private to core/data.
 *
 * A format that is decoded is one codec in a file of its own; where its library was absent at build, image_x_absent.c
 * takes the place of image_x.c and has a codec without functions. Decoders are given bytes that start with the format's
 * signature (image_format.c). They check what the header says against options->max_pixels, and against what so many
 * bytes can hold, before they allocate, and leave a freshly allocated image of the wanted channel count, upright. All
 * are safe to call from many threads.
 */
#ifndef GRAFT_DATA_IMAGE_CODECS_H
#define GRAFT_DATA_IMAGE_CODECS_H

#include <stdbool.h>

#include "core/data/image.h"

typedef struct image_codec {
    const char *name;    /* "png": what image_probe answers                                            */
    const char *label;   /* "PNG": in sentences                                                        */
    const char *package; /* what to install before building, where decode is NULL: "libwebp-dev"       */
    status (*decode)(
        image *im, const uint8_t *bytes, size_t count, const decode_options *options); /* NULL: built without */
    status (*probe)(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height);
    void (*version)(char *text, size_t room); /* the library's name and version; NULL: our own code */
} image_codec;

extern const image_codec codec_jpeg, codec_png, codec_bmp, codec_pnm, codec_gif, codec_webp, codec_tiff, codec_heif;

/* One kind of image file, known by its first bytes. */
typedef struct image_format {
    const char *label;        /* "JPEG XL"                                        */
    const image_codec *codec; /* NULL: there is none, files are refused by name   */
} image_format;

/* What the first bytes of a file are, or NULL: no image that is known. IMAGE_HEAD_BYTES are enough, fewer are fine. */
enum { IMAGE_HEAD_BYTES = 512 };
const image_format *image_format_of(const uint8_t *bytes, size_t count);
/* Has the name the ending of an image, also of a kind that cannot be decoded? Not for hidden files (".x.jpg"). */
bool image_name_is_known(const char *name);

/* E_DATA unless 1 <= width * height <= options->max_pixels. */
status image_check_size(int64_t width, int64_t height, const decode_options *options);
/* E_DATA: no file of `count` bytes holds so many pixels at up to `most_per_byte` pixels a byte (a bound that the
 * format's compression cannot pass). Small pictures pass. */
status image_check_density(int64_t width, int64_t height, size_t count, int64_t most_per_byte);

/* Orientation to apply (1 to 8) of a stored one under options->exif. E_DATA: not upright, and exif = error. */
status image_choose_orientation(int *orientation, int stored, const decode_options *options);
/* Turns stored pixels upright: orientation 1 to 8 as EXIF numbers them. */
status image_orient(image *im, int orientation);
/* Width and height after orientation. */
void image_oriented_size(int32_t *width, int32_t *height, int64_t stored_width, int64_t stored_height, int orientation);

/* As image_alloc, but the pixels are not set: for those who write them all, row by row, while other memory is given
 * back. */
status image_alloc_unset(image *im, int32_t width, int32_t height, int32_t channels);

/* To 1 or 3 channels (0: as they are); needs no more memory than the larger of the two and one third more. */
status image_convert_channels(image *im, int32_t channels);

/* ITU-R 601 luma as Pillow's convert("L") rounds it. */
static inline uint8_t image_luma(uint8_t red, uint8_t green, uint8_t blue)
{
    return (uint8_t)((red * 19595u + green * 38470u + blue * 7471u + 0x8000u) >> 16);
}

/* (255 - ink) * (255 - black) / 255, rounded as Pillow does it. */
static inline uint8_t image_ink_to_light(unsigned ink, unsigned black)
{
    unsigned product = ink * (255 - black) + 128;
    return (uint8_t)(255 - black - (((product >> 8) + product) >> 8));
}

#endif
