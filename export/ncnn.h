/* ncnn.h: scales as ncnn's tools want them (ncnn2int8), one line a layer:
 *
 *     conv1_param_0 301.5 288.25 ...     weights: 127 / greatest magnitude, one per output channel (per group of a
 *                                        depthwise layer)
 *     conv1 62.9                         input:   127 / clipping point
 *
 * ncnn multiplies by these to get integers; ours (and TensorRT's) are the reciprocals. A layer that
 * stays in float has its lines behind '#', as ncnn's own documentation tells people to do by hand.
 * Layers are called as in the ONNX file. */
#ifndef GRAFT_EXPORT_NCNN_H
#define GRAFT_EXPORT_NCNN_H

#include "export/engine.h"
#include "export/export.h"

/* m: the model that s was made for; e: its INT8 engine, which says what stays in float. All weights' lines
 * first, then the inputs'. Atomic. */
status ncnn_write_table(const char *path, const model *m, const export_scales *s, const engine *e);

#endif
