/* quantise.h: from a fused float graph and scales to a graph with integer products.
 *
 * Everything is symmetric and signed: activations one scale per tensor, weights one per output channel with values in
 * [-127, 127], bias in units of the accumulator, rounded as for the int32 of other programs, kept in f32. A convolution
 * or linear layer computes, in this order (kernels.h),
 *
 *     (acc + round(bias[oc] / (s_in s_w[oc]))) * (s_in s_w[oc] / s_out), + add * (s_add / s_out), activation,
 *     half to even, saturate
 *
 * (between scales that are powers of two, steps s_w of weights have 6 binary digits: all of it is
 * exact in f32 then, in any order)
 *
 * and stores i8, or f32 (s_out = 1) when nobody reads its result as integers. Integers pass through maximum pooling
 * with their scale; add and concat read each input with that input's own scale. Whatever else there is (global average,
 * softmax) runs in float between dequantise and quantise. The network's input is quantised once; outputs are float.
 *
 *     bool wanted[g.edge_count];                             // arena memory in real code
 *     quantise_wanted(&g, wanted);                           // tensors that need a scale
 *     TRY(quantise_graph(&q, &g, scale, keep_float));
 */
#ifndef GRAFT_EXPORT_QUANTISE_H
#define GRAFT_EXPORT_QUANTISE_H

#include "core/graph/graph.h"

/* Layers with integer products: conv2d and linear whose weights are constant values of the graph. */
bool quantise_is_layer(const graph *g, node_id n);

/* wanted[edge]: float activations and inputs that some integer layer reads, directly or
 * through ops that keep integers. */
status quantise_wanted(const graph *g, bool *wanted);

/* Integers go through this node unchanged: its result has its input's scale. */
bool quantise_passes(const node *p);

/* One tensor per maximum pooling: what goes in takes the scale of what comes out when nothing else reads it, so that
 * the values that are kept decide. */
void quantise_share_scales(const graph *g, float *scale);

/* Every scale above 0 becomes the power of two whose ratio to it is nearest to 1. */
void quantise_round_scales(const graph *g, float *scale);
bool quantise_is_power_of_two(float scale);

/* scale: [src->edge_count], 0 for tensors that stay float. keep_float: [src->node_count] layers that stay float, or
 * NULL. dst is initialised by the call; its integer nodes keep their names. */
status quantise_graph(graph *dst, const graph *src, const float *scale, const bool *keep_float);

/* src as it is, and beside every layer an integer twin "NAME/int8" that reads the same float tensors, quantised, and
 * stores f32: what quantising this layer alone costs. */
status quantise_probe_graph(graph *dst, const graph *src, const float *scale);

#endif
