/* preprocess.h: what happens to pixels before the network sees them. Part of every model and engine file, so that a
 * deployed model cannot be fed differently from how it was validated.
 *
 *     y[c] = (x[channel_order c] - mean[c]) / std[c],  x in 0 .. 255
 */
#ifndef GRAFT_TENSOR_PREPROCESS_H
#define GRAFT_TENSOR_PREPROCESS_H

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/config/spec.h"

typedef struct preprocess {
    int32_t width, height, channels; /* network input */
    bool bgr;                        /* blue first */
    float mean[3], std[3];           /* of pixels 0-255, in the network's channel order; grey uses [0] */
    spec_resize resize;
    spec_interpolation interpolation;
    float crop_fraction;
    int32_t crop_size; /* shorter side of the crop before it is scaled to the input; 0: the input's */
} preprocess;

/* Mode constants: torch (123.675 116.28 103.53 / 58.395 57.12 57.375), caffe (BGR, 103.939 116.779 123.68; grey
 * 117.3786), tf (127.5 / 127.5). E_USAGE when a custom list has not one value per channel. */
status preprocess_from_spec(preprocess *p, const spec_model *model, const spec_data *data);

void preprocess_write(const preprocess *p, json_writer *w);          /* one JSON object */
status preprocess_read(preprocess *p, const json *object);           /* E_MODEL, all fields checked */

#endif
