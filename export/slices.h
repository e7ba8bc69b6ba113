/* slices.h: how to cut a batch so that activations stay in the cache.
 *
 * The front of a network for images has large activations and small weights, its back the reverse. So the front
 * runs on a few images at a time, whose activations stay in the cache, and the back on all of them at once, so
 * that its weights are read once.
 *
 * What is minimised is the traffic with memory. With N images, m at a time, a node with W bytes of weights and A bytes
 * of activations, in and out, per image:
 *     front    N / m * W, and N * A where m * A exceeds the cache
 *     back     W, and N * A where N * A does
 */
#ifndef GRAFT_EXPORT_SLICES_H
#define GRAFT_EXPORT_SLICES_H

#include "core/graph/graph.h"

typedef struct slices {
    int64_t images; /* at a time, in nodes [0, cut); divides the batch; the whole batch: it is not cut */
    node_id cut;
    edge_id edge;   /* the one activation that nodes from `cut` on read of earlier ones */
} slices;

/* g: lowered, at the batch that is to run. cache_bytes 0: never cut. The same graph,
 * batch and number give the same cut. */
status slices_choose(slices *s, const graph *g, int64_t cache_bytes);

#endif
