/* augment.h: the random changes of one training image, as one 3x3 spatial and one 4x4 colour matrix.
 *
 * Row vectors: [x y 1] * forward moves a point of the source image (pixels, origin at the top left corner of the
 * first pixel) into the network's input; boxes and polygons are moved with it. inverse is what image_warp takes. [r g
 * b 1] * color, channels 0 to 1. Spatial order: crop and scale, flip, rotation, shear, zoom, translation; colour: hue
 * and saturation, contrast, shift.
 *
 *     rng r = rng_make(seed, RNG_AUGMENT, key);
 *     augmentation a;
 *     augment_draw(&a, augment, &p, source.width, source.height, &r);
 *     TRY(image_warp(&dst, &source, a.inverse, a.has_color ? a.color : NULL, p.interpolation, a.fill));
 */
#ifndef GRAFT_DATA_AUGMENT_H
#define GRAFT_DATA_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/rng.h"
#include "core/config/spec.h"
#include "core/tensor/preprocess.h"

/* What was drawn; the neutral values are 0, and 1 for zoom and saturation. */
typedef struct augment_params {
    float box[4];                /* of the source: x0 y0 x1 y1 ...             */
    int32_t x, y, width, height; /* ... goes to this rectangle of the input    */
    bool hflip, vflip;
    float rotate, shear;         /* radians, about the centre of the input     */
    float zoom, zoom_x, zoom_y;  /* zoom_x, zoom_y: corner that goes to (0, 0) */
    float shift_x, shift_y;      /* pixels of the input                        */
    float hue;                   /* radians                                    */
    float saturation;            /* factor                                     */
    float contrast, contrast_center;
    float color_shift[3];        /* added, brightness included                 */
} augment_params;

typedef struct augmentation {
    augment_params params;
    float forward[9], inverse[9], color[16];
    bool has_color; /* color is not the identity         */
    uint8_t fill;   /* grey level of what lies outside   */
} augmentation;

/* The matrices of given parameters, for an input of width x height. */
void augment_build(augmentation *a, int32_t width, int32_t height);

/* Draws the parameters from `r` and builds. Without random_resized_crop the image is placed
 * as for evaluation (image_place). */
void augment_draw(
    augmentation *a, const spec_augment *augment, const preprocess *p, int32_t src_width, int32_t src_height, rng *r);

/* out = a * b, 3x3 or 4x4, row-major. */
void matrix_multiply(float *out, const float *a, const float *b, int32_t n);
/* Moves a point. */
void matrix_apply(const float m[9], float x, float y, float *out_x, float *out_y);
/* false when singular. */
bool matrix_invert(float out[9], const float m[9]);

/* Source size at which the image may be decoded so that what is drawn loses no detail: the factor by which both sides
 * may shrink is at most the one of the crop. Uses params.box and zoom. */
void augment_least_size(const augmentation *a, int32_t src_width, int32_t src_height, int32_t *width, int32_t *height);

#endif
