/* transform.h: graph to graph. A pass walks the source front to back and appends to a new graph; `map`
 * says what became of each edge.
 *
 *     graph_builder b;
 *     TRY_OUT(builder_init(&b, &dst, &src));
 *     for (node_id i = 0; i < src.node_count; i++) TRY_OUT(i == victim ? my_rewrite(&b, i) : builder_copy_node(&b, i));
 *     TRY_OUT(builder_finish(&b));        // outputs
 */
#ifndef GRAFT_GRAPH_TRANSFORM_H
#define GRAFT_GRAPH_TRANSFORM_H

#include "core/graph/graph.h"
#include "core/ops/op.h"

typedef struct graph_builder {
    graph *dst;
    const graph *src;
    edge_id *map;  /* [src->edge_count]: edge of dst, EDGE_NONE while unknown */
    bool training; /* lowering: batch statistics, or running ones             */
} graph_builder;

/* dst is initialised with src's inputs; parameters, state and constants are copied when first used. After any failure:
 * builder_free, and graph_free(dst). */
status builder_init(graph_builder *b, graph *dst, const graph *src);
void builder_free(graph_builder *b);
/* its image, copying parameters on demand */
status builder_edge(graph_builder *b, edge_id src_edge, edge_id *dst_edge);
status builder_copy_node(graph_builder *b, node_id n);
/* the same for an edited copy of a node of src: its edges are src's */
status builder_copy(graph_builder *b, const node *n);
status builder_finish(graph_builder *b);
/* g becomes what a pass made of it, `next`; after a failure of the pass (made) g stays, and its code is the result. */
status graph_replace(graph *g, graph *next, status made);
/* a copy without nodes of `o`: input 0 stands for output 0 */
status graph_bypass(graph *dst, const graph *src, const op *o);

typedef status pass_fn(graph *dst, const graph *src);
status graph_apply(graph *g, pass_fn *pass); /* g becomes pass(g); after a failure it stays */

/* The passes. Each initialises dst; on failure dst is empty. Their order (pruning: drop_auxiliary alone):
 *     training      [fuse_training] lower(true) [precision] graph_backward [sync_batchnorm]
 *                   [fuse_statistics fuse_transforms]
 *     evaluation    inference [fuse_training] lower(false) [precision] [fuse_transforms]
 *     deployment    inference remove_fake_quant fold_batchnorm replace_batchnorm fuse_epilogues [precision]
 *                   fold_constants remove_dead
 */
/* nodes that no output needs */
status pass_remove_dead(graph *dst, const graph *src);
/* auxiliary outputs, and what only they need */
status pass_drop_auxiliary(graph *dst, const graph *src);
/* the same; drops dropout, and inputs only it reads */
status pass_inference(graph *dst, const graph *src);
/* what quantisation-aware training put in */
status pass_remove_fake_quant(graph *dst, const graph *src);
bool graph_has_fake_quant(const graph *g);
/* the same in place */
status graph_remove_fake_quant(graph *g);
/* batchnorm + add + activation into one node */
status pass_fuse_training(graph *dst, const graph *src);
/* batchnorm into statistics, finalise, apply */
status pass_lower(graph *dst, const graph *src, bool training);
/* with batch statistics */
status pass_lower_training(graph *dst, const graph *src);
/* with running ones */
status pass_lower_inference(graph *dst, const graph *src);
/* into the conv2d or linear before it: new weights, bias */
status pass_fold_batchnorm(graph *dst, const graph *src);
/* one of an image that no layer took in: a depthwise 1x1 conv2d */
status pass_replace_batchnorm(graph *dst, const graph *src);
/* conv2d (+ add) (+ activation) into one node */
status pass_fuse_epilogues(graph *dst, const graph *src);
/* Activations, and weights as products read them, become `type` (f16, bf16; f32: as they are): casts stand where
 * tensors enter and leave, at the inputs of ops that run in f32 only, and behind parameters, whose values and
 * gradients stay f32. Frozen parameters and constants are cast here and now. Outputs keep their types. compute:
 * of the products of f32 tensors. */
status pass_precision(graph *dst, const graph *src, dtype type, conv2d_compute compute);
/* After graph_backward, for a rank whose batch is `here` images of `everywhere`: batch statistics and their
 * gradients are summed over the ranks before they are used. Every rank runs the same nodes in the same order. A plan
 * for it needs plan_options.sums. */
status pass_sync_batchnorm(graph *dst, const graph *src, int64_t here, int64_t everywhere);
/* Normalisation inside the convolutions around it, for kernels of backend `b`, on a finished graph (after
 * graph_backward). Statistics: sums are taken while the convolution stores what bn_stats would read. Transforms:
 * act(bn(x)) is computed while convolutions, their weight gradients and its own gradients read x, and never stored,
 * where nobody else reads it. The results are those of the nodes replaced, but for rounding. most_products: only for
 * convolutions that multiply an element of their input at most so often: loading takes longer with a transform, which
 * counts where products, not memory, take the time. INFINITY: all. */
typedef struct fused_traffic {
    int32_t statistics, transforms;
    int64_t bytes; /* that a run no longer moves: activations written or read */
} fused_traffic;
status pass_fuse_statistics(graph *dst, const graph *src, backend b, fused_traffic *saved); /* adds to *saved */
status pass_fuse_transforms(graph *dst, const graph *src, backend b, double most_products, fused_traffic *saved);
/* The way back, for a device that is slow in 16 bits: everything f32, values kept, casts
 * gone. Input edges must be f32. */
status pass_widen(graph *dst, const graph *src);
bool graph_has_narrow_floats(const graph *g);
/* Nodes that read only parameters, state and constants, by reference kernels: for
 * deployment, where none of these changes. */
status pass_fold_constants(graph *dst, const graph *src);

/* For passes: who reads an edge. */
typedef struct edge_uses {
    int32_t *count;  /* [edge_count] reads by nodes (x + x: two), + 1 per output */
    node_id *reader; /* [edge_count] last node that reads it, or NODE_NONE       */
} edge_uses;
status edge_uses_init(edge_uses *u, const graph *g);
void edge_uses_free(edge_uses *u);
node_id edge_only_reader(const edge_uses *u, edge_id e); /* NODE_NONE unless exactly one node reads e, once */

/* A batchnorm or conv2d and what can run inside it: root, then an addition, then an activation (each may be absent).
 * The fused node takes the place of the last one, where all its inputs stand. When both operands of an addition
 * could take it, the later node does. */
typedef struct fusion {
    node_id root, last;
    edge_id add; /* other operand, or EDGE_NONE */
    activation act;
    float alpha, beta;
} fusion;
/* fused[n]: the fusion that node n ends (root NODE_NONE: none); inside[n]: n disappears into a
 * later node. [node_count], caller's. */
status fusion_find(const graph *g, const op *root, bool recoverable_only, fusion *fused, bool *inside);

/* Reverse mode. Appends to g the nodes that compute the gradient of the sum of the scalar edges `losses` with respect
 * to every PARAM that is not frozen (its edge.grad is set); a loss op weighs its own by grad_scale and of wants[i]
 * (inputs, for checks; may be NULL): dwant[i]. Fan-out is summed by op_add. Nothing is appended for what needs no
 * gradient: a frozen front part costs nothing. g must be lowered. */
status graph_backward(
    graph *g, const edge_id *losses, int32_t loss_count, const edge_id *wants, int32_t want_count, edge_id *dwant);

/* For op->gradient. */
typedef struct autodiff {
    graph *g;
    edge_id *grad;         /* gradient collected so far, by forward edge; EDGE_NONE: none          */
    bool *wants;           /* by forward edge                                                      */
    int64_t forward_edges;
    edge_id seed;          /* CONST [1] = 1: gradient of a loss by itself; loss ops accept no other */
    int64_t sums;          /* makes names unique                                                   */
} autodiff;
bool autodiff_wants(const autodiff *a, edge_id e); /* false for EDGE_NONE */
status autodiff_add(autodiff *a, edge_id e, edge_id gradient);
/* Appends the gradient node "NAME/suffix" of forward node n; arguments as graph_add_to. Edge and node pointers into g
 * do not survive it (the forward node that op->gradient gets is a copy). */
status autodiff_node(autodiff *a, const node *n, const op *o, const char *suffix, const void *attr, const edge_id *in,
    int32_t in_count, edge_id *out);
/* The EDGE_GRAD of a parameter or of one that was cast, made on first use; kernels accumulate into it.
 * *grad = EDGE_NONE if it wants none. */
status autodiff_param_grad(autodiff *a, edge_id param, edge_id *grad);

#endif
