/* detectors.h: what stands on a backbone instead of its classifier. A head is one file and one line of detectors.def.
 *
 *     const detector_entry *head = detectors_find(&spec.model);      // NULL: a classifier
 *     TRY(head->build(&n, &stages, &spec, class_count));
 */
#ifndef GRAFT_MODELS_DETECTORS_H
#define GRAFT_MODELS_DETECTORS_H

#include "models/models.h"

struct net;

typedef struct detector_entry {
    const char *name;     /* of model.head: "ssd" */
    const char *task;     /* "detection" (core/task/task.h) */
    /* up to the graph's output */
    status (*build)(struct net *n, const model_stages *stages, const spec *s, int64_t classes);
    const char *defaults; /* "section.key=value ...": what differs from spec.def's */
    const char *summary;  /* one line */
} detector_entry;

const detector_entry *detectors_find(const spec_model *options); /* NULL: model.head = none */

/* Liu and others 2016, "SSD: Single Shot MultiBox Detector". The first maps are the backbone's of stride 8 and
 * more; each further one is a 1x1 and a 3x3 convolution of stride 2 behind the one before, until there are six.
 * Two 3x3 convolutions predict from each map, for every anchor of every cell, the offsets of a box and a score
 * for the background and each class. Anchors (section 2.2): of scale s_k of the input's smaller side, width s_k
 * sqrt(a) and height s_k / sqrt(a) for each aspect ratio a, and a square of scale sqrt(s_k s_(k+1)); their
 * centres are those of the cells. */
status ssd_build(struct net *n, const model_stages *stages, const spec *s, int64_t classes);

/* Fu and others 2017, "DSSD: Deconvolutional Single Shot Detector": the maps of SSD, brought to ssd.extra_channels, are
 * made anew from the smallest one up: two convolutions of a map times one of the smaller map, enlarged (section 3.3;
 * nearest pixels and a 3x3 convolution stand for the paper's transposed one). dssd.prediction_channels adds a residual
 * block in front of each map's predictions (section 3.2). */
status dssd_build(struct net *n, const model_stages *stages, const spec *s, int64_t classes);

/* Lin and others 2017, "Focal Loss for Dense Object Detection": a feature pyramid of strides 8 to 128 on the backbone's
 * maps of stride 8, 16 and 32, and a network for boxes and one for classes that all levels share. */
status retinanet_build(struct net *n, const model_stages *stages, const spec *s, int64_t classes);

#endif
