/* graph.h: one intermediate representation for training, pruning and deployment.
 *
 * Nodes are ops, edges are tensors. Nodes stand in execution order: a node reads only edges made before it, so a graph
 * grows by appending, and every transform walks one graph front to back and appends to another (transform.h).
 * Parameters are edges that any number of nodes may read; their values live with the edge (host memory, our layout),
 * which makes a graph with its parameters a model. Nothing here knows devices or chooses kernels: plan.h does.
 *
 *     graph g;
 *     TRY_OUT(graph_init(&g));
 *     edge_id x = graph_input(&g, "image", DTYPE_F32, shape_4(1, 224, 224, 3));
 *     TRY_OUT(net_conv(&n, &x, "conv1", shape));             // models/parts/layers.h
 *     TRY_OUT(graph_output(&g, x));
 * out:
 *     graph_free(&g);
 *
 * Shapes are static: every edge has its full shape, batch included. graph_resize changes the input's shape and infers
 * the rest. An op is one `const op` row (core/ops/op.h) with every fact about it.
 */
#ifndef GRAFT_GRAPH_GRAPH_H
#define GRAFT_GRAPH_GRAPH_H

#include "core/base/arena.h"
#include "core/base/dtype.h"
#include "core/base/status.h"
#include "core/tensor/shape.h"

typedef int32_t edge_id;
typedef int32_t node_id;
enum { EDGE_NONE = -1, NODE_NONE = -1, EDGE_NEW = -2 };

typedef enum edge_kind {
    EDGE_INPUT,      /* fed by the caller: image, targets, sample keys              */
    EDGE_ACTIVATION, /* made by a node; lives as long as the plan needs it           */
    EDGE_PARAM,      /* trained (unless frozen); values in edge.data                 */
    EDGE_STATE,      /* kept between steps but not trained: running statistics       */
    EDGE_CONST,      /* fixed values in edge.data: scales, class weights             */
    EDGE_GRAD        /* gradient of a parameter: zero before a step, nodes add to it */
} edge_kind;

/* How a parameter stands in a model file (torchvision's layout); here it is always channels last. */
typedef enum param_layout {
    LAYOUT_PLAIN, /* vectors: the same in both                                                                    */
    LAYOUT_OIHW,  /* file [oc, ic, kh, kw], here [oc, kh, kw, ic]                                                 */
    LAYOUT_LINEAR /* file [oc, ic * h * w] in CHW order, here [oc, h, w, ic]; h = w = 1 for a plain linear layer  */
} param_layout;

typedef struct edge {
    /* parameters and state: torchvision's name, "layer1.0.conv1.weight"; else its producer's name */
    const char *name;
    edge_kind kind;
    dtype type;
    shape shape;
    node_id producer;      /* ACTIVATION: the node that makes it; NODE_NONE for all other kinds */
    int32_t producer_slot;
    param_layout layout;   /* parameters and state                                */
    void *data;            /* PARAM, STATE, CONST: values in the graph's arena    */
    bool frozen;           /* PARAM: not trained                                  */
    edge_id grad;          /* PARAM in a training graph: its EDGE_GRAD            */
    float scale;           /* i8, u8: value = integer * scale; 0: not quantised   */
} edge;

enum { NODE_MAX_IN = 8, NODE_MAX_OUT = 6, GRAPH_MAX_INPUTS = 8, GRAPH_MAX_OUTPUTS = 8 };

typedef struct node {
    const struct op *op;
    const char *name; /* "layer1.0.conv1"; unique, printable (text_printable); gradient nodes: "layer1.0.conv1/dsrc" */
    int32_t in_count, out_count;
    edge_id in[NODE_MAX_IN];   /* EDGE_NONE: absent optional input  */
    /* EDGE_NONE: output nobody wants; a STATE or GRAD edge: updated in place, see graph_add_to */
    edge_id out[NODE_MAX_OUT];
    void *attr;                /* op->attr_bytes, in the graph's arena */
    int32_t block;             /* freezing unit: 0 stem, 1.. stages; -1 head */
} node;

typedef struct graph {
    arena memory;
    node *nodes; /* [node_count], execution order */
    int64_t node_count, node_capacity;
    edge *edges; /* [edge_count] */
    int64_t edge_count, edge_capacity;
    edge_id inputs[GRAPH_MAX_INPUTS];
    int32_t input_count;
    edge_id outputs[GRAPH_MAX_OUTPUTS];
    int32_t output_count;
    int32_t auxiliary_count; /* the last so many outputs: heads that only training uses (pass_drop_auxiliary) */
} graph;

status graph_init(graph *g);
void graph_free(graph *g); /* accepts a zeroed graph */

/* New edges. Names are copied. data is allocated zeroed for PARAM, STATE and CONST. Dimensions lie in [1, 2^31),
 * elements at most 2^40. EDGE_NONE when that does not hold or memory is out (status_message says which); who gives a
 * valid shape passes E_MEMORY on. */
edge_id graph_input(graph *g, const char *name, dtype type, shape s);
edge_id graph_edge(graph *g, const char *name, edge_kind kind, dtype type, shape s);
status graph_output(graph *g, edge_id e);
status graph_output_auxiliary(graph *g, edge_id e); /* behind the others */

/* Appends a node: copies attr, makes its output edges (op->out_min of them; the rest is optional), infers their shapes
 * and types, checks attributes and inputs. *first_out: edge of output 0 (may be NULL). E_MODEL naming the node when
 * something does not fit; the graph is then as before. */
status graph_add(graph *g, const struct op *op, const char *name, const void *attr, const edge_id *in, int32_t in_count,
    int32_t block, edge_id *first_out);

/* The same with every output stated. out[op->out_count] on entry: EDGE_NEW makes an edge, EDGE_NONE leaves the
 * output out, and an existing STATE or GRAD edge of the right shape is updated in place: running statistics,
 * gradients that kernels add to. Such an edge has no producer; every node that reads or updates it does so in
 * node order. On return: the edges. */
status graph_add_to(graph *g, const struct op *op, const char *name, const void *attr, const edge_id *in,
    int32_t in_count, int32_t block, edge_id *out);

/* Makes optional output `slot` of an existing node unless it is there (edge ids need not follow node order). */
status graph_want_output(graph *g, node_id n, int32_t slot, edge_id *e);

edge_id graph_find_edge(const graph *g, const char *name); /* parameters, state, constants, inputs by name */
node_id graph_find_node(const graph *g, const char *name);

/* Gives input `e` another shape and infers every other shape again. E_MODEL when the graph does not admit it: nothing
 * is changed. Gradient nodes keep the shapes that they were made for: resize first, then graph_backward. */
status graph_resize(graph *g, edge_id e, shape s);
/* The same for the first dimension of every input: images and the keys of their dropout. */
status graph_resize_batch(graph *g, int64_t batch);

/* A deep copy, values included. dst is initialised by the call. */
status graph_copy(graph *dst, const graph *src);

/* Structural check for graphs that come from files: order, arities, shapes, types, finite attributes. E_MODEL. */
status graph_check(const graph *g);

int64_t graph_param_count(const graph *g);          /* elements of all PARAM edges          */
int64_t graph_macs(const graph *g);                 /* multiply-adds at the present shape: conv2d and linear */
/* The edges where the network's predictions stand before they are turned into results: of an output made by a
 * node that says so (op.head_in) those inputs of it, else the output itself. Returns how many; auxiliary
 * outputs stand last, as in outputs. */
int32_t graph_heads(const graph *g, edge_id heads[GRAPH_MAX_OUTPUTS]);
/* Number of the last block; the blocks of the head are -1. */
int32_t graph_last_block(const graph *g);
int32_t graph_consumers(const graph *g, edge_id e); /* nodes that read e, + 1 if an output  */

#endif
