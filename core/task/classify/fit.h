/* fit.h: from pretrained weights and a fresh last layer to a network worth fine-tuning (spec section [transfer]).
 *
 * First the last layer is trained alone, on features that the rest of the network, as it came, gives for every
 * training image: computed once in evaluation mode, of each image as it is validated, of others of its views
 * (transfer.probe_crops, probe_stretch) and, where augment.hflip allows, of the mirror images of all. See probe.h.
 * Only then are all layers trained, the front ones at lower rates: a random last layer would first spoil the
 * features that it is fed (Kumar and others, Fine-tuning can distort pretrained features and underperform
 * out-of-distribution, ICLR 2022: LP-FT).
 *
 *     const head_images images = {.data = &train, .batch_size = 32, .log = log};
 *     TRY(classify_fit_head(&model, &setting, &images, dev, &fitted));
 *
 * A 1x1 convolution under a ReLU and an average (SqueezeNet) is fitted as if the ReLU were not there; then its biases
 * are raised by one number, the same for all classes, so that no training image falls below zero anywhere, with a tenth
 * to spare. A softmax does not see that number: the network's scores are those of the fit.
 */
#ifndef GRAFT_TASK_CLASSIFY_FIT_H
#define GRAFT_TASK_CLASSIFY_FIT_H

#include "core/graph/graph.h"
#include "core/task/classify/classify.h"

/* Forward up to the last layer, in evaluation mode, for so many images: the only output is what the layer's scores are
 * made of, [rows, 1, 1, n] or [rows, n] (head.h); or, before_relu, the layer's own output, before anything that
 * follows. E_MODEL when the network has no such layer. */
status feature_graph_build(graph *g, const graph *source, int64_t rows, bool before_relu);

#endif
