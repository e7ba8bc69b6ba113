/* image_resample.h: separable resampling along the two axes. Private to core/data.
 *
 * An axis says, for each output position, which input positions it is made of and with what weight. Both image_resize
 * and the upright case of image_warp (crops, flips, zooms, shifts) are two axes and one call of image_resample.
 */
#ifndef GRAFT_DATA_IMAGE_RESAMPLE_H
#define GRAFT_DATA_IMAGE_RESAMPLE_H

#include "core/base/arena.h"
#include "core/data/image.h"

enum { WEIGHT_BITS = 14 };

typedef struct axis {
    int32_t count;   /* output positions                                            */
    int32_t taps;    /* weights per position, even; unused ones are 0               */
    int32_t *first;  /* [count], first input position                               */
    int16_t *weight; /* [count, taps], sum 1 << WEIGHT_BITS, or all 0 for "outside" */
    int32_t low, high; /* input positions that are used: [low, high)                */
} axis;

/* Output centre x + 0.5 lies at (x + 0.5) * scale + offset of an input of `length` positions; scale may be negative (a
 * flip). Weights follow Pillow: the filter is stretched by |scale| when that exceeds 1 and cut at the borders. A centre
 * outside [0, length] has no input at all. */
status axis_make(axis *a, arena *memory, int32_t count, int32_t length, double scale, double offset,
    spec_interpolation filter);

/* dst [ay->count, ax->count, channels] is allocated; positions outside the source get `fill`. */
status image_resample(image *dst, const image *src, const axis *ax, const axis *ay, uint8_t fill);

#endif
