/* picture.h: the part of a training image that its augmentation sees, as u8 pixels, with the map that is still to be
 * applied: what a GPU warps instead of the loader's threads (kernels/descriptors.def, OP_IMAGE_WARP).
 */
#ifndef GRAFT_DATA_PICTURE_H
#define GRAFT_DATA_PICTURE_H

#include "core/data/augment.h"
#include "core/data/image.h"

typedef struct picture {
    int32_t width, height;
    float inverse[9], color[16]; /* augmentation's, for these pixels            */
    float radius[2];             /* x, y: of the antialiasing filter, at least 1 */
    uint8_t fill;
    bool has_color;
} picture;

/* Copies what `a` shows of `im` in an output of width x height to pixels [p->height, p->width, channels]. More than
 * `capacity` bytes are first reduced by image_resize. filter: bilinear or linear. */
status picture_make(picture *p, uint8_t *pixels, size_t capacity, const image *im, const augmentation *a, int32_t width,
    int32_t height, spec_interpolation filter);

#endif
