/* image.h: pixels. Decoding with limits, resizing, warping, drawing, PNG out.
 *
 * An image owns interleaved u8 pixels [height, width, channels], channels 1 or 3 (RGB), row by row without padding.
 * Decoders check sizes before they allocate and never trust a file's name: the first bytes decide the format.
 */
#ifndef GRAFT_DATA_IMAGE_H
#define GRAFT_DATA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"
#include "core/config/spec.h"
#include "core/tensor/preprocess.h"

typedef struct image {
    uint8_t *pixels; /* [height, width, channels] */
    int32_t width, height, channels;
} image;

status image_alloc(image *im, int32_t width, int32_t height, int32_t channels); /* zeroed pixels */
void image_free(image *im);

typedef struct decode_options {
    int32_t channels;             /* 1, 3, or 0: as the file has them (alpha dropped, palette and CMYK to RGB) */
    int64_t max_pixels;
    spec_exif exif;
    /* JPEG may be decoded at 1/2, 1/4, 1/8 as long as both sides stay at least this; 0: full size */
    int32_t min_width, min_height;
} decode_options;

/* JPEG, PNG, BMP, binary PGM and PPM, and, where the build had their libraries: the first frame of GIF and WebP, the
 * first picture of TIFF, the primary one of HEIC and AVIF. 16 bit becomes 8 (high byte rounded). Alpha is dropped, as
 * Pillow's convert("RGB") does. Truncated files are errors. E_DATA with the reason.
 *
 * Memory beside `bytes`: at most twice the decoded size (width x height x the file's channels and bytes a sample, with
 * its alpha) plus 16 MiB, and time follows the bytes and pixels: what the header claims is checked against max_pixels
 * and the length of the file first. */
status image_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options);
/* Width, height (after orientation) and file format ("jpeg", "png", ...) without decoding pixels. */
status image_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height,
    const char **format);
/* The formats that are decoded (built_in) or were left out of this build, for people: "JPEG, PNG, ...". versions: with
 * the libraries' versions, or the packages that a build needs. "" when there are none. */
void image_formats_text(char *text, size_t room, bool built_in, bool versions);

/* Pillow's Image.resize: separable, antialiased when it shrinks, agreement within 1 grey level. `box` in source pixels
 * {x0, y0, x1, y1} or NULL for all. dst is allocated. */
status image_resize(image *dst, const image *src, const float box[4], int32_t width, int32_t height,
    spec_interpolation filter);

/* dst pixel centre (x + 0.5, y + 0.5, 1) * inverse (row-vector 3x3) = src position; bilinear; a position outside the
 * source gives `fill`. Where inverse shrinks, the source is prefiltered by image_resize's `filter`; without rotation
 * and shear the whole map is one such resize. color: row-vector 4x4 on [r g b 1] in 0..1, result clipped (grey: r = g =
 * b, red is kept); NULL: none. dst has its size set by the caller and is allocated, with src's channels. */
status image_warp(image *dst, const image *src, const float inverse[9], const float color[16],
    spec_interpolation filter, uint8_t fill);

/* Which part of a source goes where in the network's input under p->resize. crop: as torchvision's Resize (to crop_size
 * / crop_fraction, longer side cut to an integer) and CenterCrop, and the crop's scaling to the input if it has another
 * size, in one resampling; letterbox: centred. */
typedef struct image_placement {
    float box[4];                /* of the source: x0 y0 x1 y1                  */
    int32_t x, y, width, height; /* of the input, the rest is IMAGE_BORDER grey */
} image_placement;
enum { IMAGE_BORDER = 128 };
image_placement image_place(int32_t src_width, int32_t src_height, const preprocess *p);
/* The same as a matrix for row vectors: [x y 1] * to_input moves a pixel position of the source into the input. */
void image_place_matrix(float to_input[9], int32_t src_width, int32_t src_height, const preprocess *p);

/* Whole preprocessing of one image for evaluation and inference: resize by p->resize, then normalise into
 * dst [height, width, channels] f32. */
status image_preprocess(float *dst, const image *src, const preprocess *p);
/* The last part alone: u8 of the network's size to normalised f32. */
void image_normalise(float *dst, const uint8_t *pixels, const preprocess *p);

status image_write_png(const char *path, const image *im);
status image_encode_png(const image *im, uint8_t **bytes, size_t *count); /* free() */
/* 5x7 text in a filled box; clipped at the borders. scale >= 1. */
void image_draw_text(image *im, int32_t x, int32_t y, const char *text, const uint8_t colour[3], int32_t scale);
void image_draw_rect(image *im, int32_t x0, int32_t y0, int32_t x1, int32_t y1, const uint8_t colour[3], int32_t thick);
void image_paste(image *dst, const image *src, int32_t x, int32_t y);

#endif
