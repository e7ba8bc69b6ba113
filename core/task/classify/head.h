/* head.h: the layer that turns features into one score per class.
 *
 * Two forms are known. A linear layer whose output is the network's (ResNet, MobileNet, VGG): its features are
 * its input. And a 1x1 convolution with a bias whose map is averaged (SqueezeNet, DarkNet): the mean over the map
 * of W x + b is W mean(x) + b, so its features are the mean over its input map. A ReLU between the two breaks
 * that only where it clips: see fit.h.
 *
 *     head_info h;
 *     head_find(&h, &g, 0);
 *     if (h.layer != NODE_NONE) use(g.nodes[h.layer]);
 */
#ifndef GRAFT_TASK_CLASSIFY_HEAD_H
#define GRAFT_TASK_CLASSIFY_HEAD_H

#include "core/graph/graph.h"

typedef struct head_info {
    node_id layer;          /* linear or conv2d behind the output; NODE_NONE: it ends in another way     */
    edge_id weight, bias;   /* bias EDGE_NONE: none                                                             */
    edge_id features;       /* what the layer reads, dropout looked through                                     */
    int64_t feature_count;  /* inputs of one score                                                             */
    bool pooled;            /* the layer works on a map that is averaged behind it                              */
    bool relu;              /* pooled: a ReLU stands in between                                                 */
    bool linear;            /* one of the two forms above: scores are linear in the features (but for relu) */
} head_info;

/* Looks through what keeps channels: reshapes, softmax, activations, pools. */
void head_find(head_info *h, const graph *g, int32_t output);

#endif
