/* noise.h: signal-to-quantisation-noise ratios, in dB: 10 log10(sum x^2 / sum (x - q)^2) over images. */
#ifndef GRAFT_EXPORT_NOISE_H
#define GRAFT_EXPORT_NOISE_H

#include "export/calibrate.h"

enum { NOISE_IMAGES = 32 }; /* enough for tenths of a dB */

/* db[node of g]: of every layer alone, its input and weights quantised and nothing else. 0 for
 * other nodes. g: float, batch 1. */
status noise_layers(double *db, const graph *g, const float *scale, device *dev, const calibration_data *data);

/* Of the whole network: output 0 of `quantised` against that of `g`. Both batch 1. */
status noise_network(double *db, const graph *g, const graph *quantised, device *dev, const calibration_data *data);

#endif
