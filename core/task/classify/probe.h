/* probe.h: a linear classifier on fixed features, to its optimum: what the new last layer of a
 * pretrained network starts from.
 *
 * minimises  mean loss(W z + b) + l2 * |W|^2,  z = (x - mean) / scale
 *
 * mean is of each feature; scale is one number for all (the root of their mean variance): the penalty then means the
 * same whatever the features' unit, and a feature that hardly varies in a few hundred images is not blown up to the
 * size of one that does (transfer.probe_scale = each does that). W and b are given back for the features as they are: W
 * / scale and b - W mean / scale, which is exact.
 *
 *     probe_result r;
 *     const probe_data data = {.features = x, .targets = t, .rows = n, .features_each = d, .classes = c};
 *     TRY(probe_fit(weight, bias, &data, &spec, dev, &r));
 *
 * The loss is the spec's (softmax or sigmoid, smoothing, class weights). The same kernels as everywhere compute it, all
 * rows at once; L-BFGS finds the minimum (lbfgs.h): it is convex, so there is nothing to tune and no seed.
 */
#ifndef GRAFT_TASK_CLASSIFY_PROBE_H
#define GRAFT_TASK_CLASSIFY_PROBE_H

#include "core/device/device.h"
#include "core/task/classify/lbfgs.h"

typedef struct probe_data {
    float *features;       /* [rows, features_each]; standardised in place */
    const float *targets;  /* [rows, classes]                              */
    int64_t rows, features_each, classes;
} probe_data;

typedef struct probe_result {
    lbfgs_result search;
    double seconds;
} probe_result;

/* weight [classes, features_each], bias [classes]: written. E_MEMORY. */
status probe_fit(float *weight, float *bias, const probe_data *d, const spec *s, device *dev, probe_result *r);

#endif
