/* calibrate.h: the ranges of activations, from images.
 *
 * Two passes over the same images: the first finds the greatest magnitude of every tensor that may become an
 * integer, the second counts magnitudes in 2048 equal bins up to it. Images go through the network one at a time,
 * and only maxima and integer counts are kept, so that the result depends on the set of images alone: not on
 * their order, not on the size of the batches they come in. A method then turns each histogram into a clipping
 * point; the scale is clip / 127.
 *
 *     calibration c;
 *     TRY_OUT(calibration_run(&c, &g, dev, &data));
 *     calibration_scales(&c, CALIBRATOR_ENTROPY, 0, scale);   // scale[edge], 0: not an integer's place
 * out:
 *     calibration_free(&c);
 */
#ifndef GRAFT_EXPORT_CALIBRATE_H
#define GRAFT_EXPORT_CALIBRATE_H

#include "core/device/device.h"
#include "core/graph/graph.h"

enum { CALIBRATION_BINS = 2048 };

/* Magnitudes of one tensor over all images. A zeroed range is empty. */
typedef struct tensor_range {
    float amax;    /* greatest |x|; 0 when everything is zero                                                */
    int64_t count; /* values seen                                                                            */
    /* [CALIBRATION_BINS]: |x| in [i, i + 1) * amax / CALIBRATION_BINS, amax in the last one; NULL: not wanted */
    int64_t *bin;
} tensor_range;

/* Where preprocessed images come from; the same ones after every rewind, in any order. */
typedef struct calibration_data {
    void *context;
    status (*rewind)(void *context);
    /* *images: [*count, h, w, c], valid until the next call; *count = 0 at the end. */
    status (*next)(void *context, const float **images, int64_t *count);
} calibration_data;

typedef struct calibration {
    arena memory;
    tensor_range *range; /* [edge_count], by edge of the graph */
    int64_t edge_count;
    int64_t images;      /* seen in each pass                  */
} calibration;

/* g: fused, in float (export_float_graph), batch 1. c is initialised by the call. E_DATA: no images, or other images in
 * the second pass. E_MODEL: a tensor holds NaN or infinity, by name. */
status calibration_run(calibration *c, const graph *g, device *dev, const calibration_data *data);
void calibration_free(calibration *c); /* accepts a zeroed one */

/* The clipping point in [0, amax] that `method` (not auto) chooses.
 *   entropy     least Kullback-Leibler divergence between the clipped distribution and its 128-level quantisation,
 *               zeros left out: what TensorRT's entropy calibrator 2 does (Migacz, "8-bit inference with TensorRT",
 *               GTC 2017)
 *   minmax      amax
 *   percentile  least bin edge below which `percentile` per cent of the values lie
 *   mse         least mean square error of the bins' centres */
float range_clip(const tensor_range *r, spec_calibrator method, double percentile);

/* What part of its range the tensor keeps that is clipped hardest by these scales: 1 where none is
 * clipped, and then *e is EDGE_NONE. */
double calibration_least_kept(const calibration *c, const float *scale, edge_id *e);

/* scale[edge] = clip / 127, and 0 where no range was wanted. A tensor that is always zero gets 1. */
void calibration_scales(const calibration *c, spec_calibrator method, double percentile, float *scale);

const char *calibrator_name(spec_calibrator method); /* "entropy" */

#endif
