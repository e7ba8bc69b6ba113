/* init.h: first values of a network's parameters, as torchvision draws them.
 *
 *     conv2d     in front of a batchnorm normal with sigma = sqrt(2 / (oc * kh * kw / groups)) (He and others 2015,
 *                eq. 14, fan out), otherwise with sigma = sqrt(2 / (kh * kw * ic / groups)) (eq. 10, fan in), and in
 *                the head (block -1) with sigma = 0.01. The bias is 0. It is 1 where an activation follows in the head,
 *                since features are positive and a ReLU would silence half of SqueezeNet's scores for good. The softmax
 *                ignores what all scores have in common. Scores of a detector that asks for it (op.score_prior) start
 *                at that probability (Lin and others 2017, "Focal Loss for Dense Object Detection", section 4.1).
 *     linear     the last layer is uniform in +-1 / sqrt(fan in), weight and bias. Those before it are normal with
 *                sigma = 0.01 and have a bias of 0.
 *     batchnorm  gamma 1, beta 0 (1 for the second factor of a product), running mean 0, running variance 1
 *
 * Every parameter has its own random stream, keyed by (seed, its name): a layer starts the same
 * whatever else the network has.
 */
#ifndef GRAFT_GRAPH_INIT_H
#define GRAFT_GRAPH_INIT_H

#include "core/graph/graph.h"

/* Fills edge.data of all parameters and running statistics. */
void init_params(graph *g, uint64_t seed);
/* Only those of node n. */
void init_node_params(graph *g, node_id n, uint64_t seed);

#endif
