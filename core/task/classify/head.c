#include "core/task/classify/head.h"

#include <string.h>

#include "core/graph/init.h"
#include "core/ops/op.h"
#include "core/task/classify/classify.h"
#include "core/task/rows.h"

static bool averages_the_map(const graph *g, const node *n)
{
    const pool_attr *a = n->attr;
    shape in = g->edges[n->in[0]].shape, out = g->edges[n->out[0]].shape;
    if (a->kind != POOL_AVERAGE || out.dim[1] != 1 || out.dim[2] != 1) return false;
    if (a->global || a->adaptive[0] == 1) return true;
    bool padded = a->pad[0] || a->pad[1] || a->pad[2] || a->pad[3];
    return !padded && a->kernel[0] == in.dim[1] && a->kernel[1] == in.dim[2];
}

static bool is_unit_conv(const graph *g, const node *n)
{
    const conv2d_attr *a = n->attr;
    shape w = g->edges[n->in[1]].shape;
    bool unit = w.dim[1] == 1 && w.dim[2] == 1 && a->stride[0] == 1 && a->stride[1] == 1 && a->groups == 1;
    return unit && !a->pad[0] && !a->pad[1] && !a->pad[2] && !a->pad[3];
}

/* Whether the walk from the output may go on through n, noting what it met. */
static bool step_back(const graph *g, const node *n, head_info *h)
{
    if (n->op == &op_reshape || n->op == &op_flatten) return true;
    if (n->op == &op_softmax) {
        h->linear = false;
        return true;
    }
    if (n->op == &op_activation) {
        const activation_attr *a = n->attr;
        if (a->act == ACT_RELU && h->pooled && !h->relu) h->relu = true;
        else if (a->act != ACT_NONE) h->linear = false;
        return true;
    }
    if (n->op != &op_pool) return false;
    if (h->pooled || !averages_the_map(g, n)) h->linear = false;
    h->pooled = true;
    return true;
}

static bool ends_here(const graph *g, const node *n, head_info *h)
{
    if (n->op == &op_linear) {
        h->linear = h->linear && !h->pooled && ((const linear_attr *)n->attr)->act == ACT_NONE;
        return true;
    }
    if (n->op != &op_conv2d) return false;
    shape in = g->edges[n->in[0]].shape;
    bool added = n->in_count > 3 && n->in[3] != EDGE_NONE;
    bool single = in.dim[1] == 1 && in.dim[2] == 1;
    h->linear = h->linear && is_unit_conv(g, n) && (h->pooled || single) && !added &&
               ((const conv2d_attr *)n->attr)->act == ACT_NONE;
    return true;
}

void head_find(head_info *h, const graph *g, int32_t output)
{
    *h = (head_info){.layer = NODE_NONE, .weight = EDGE_NONE, .bias = EDGE_NONE, .features = EDGE_NONE, .linear = true};
    edge_id e = output < g->output_count ? g->outputs[output] : EDGE_NONE;
    while (e != EDGE_NONE && g->edges[e].producer != NODE_NONE) {
        const node *n = &g->nodes[g->edges[e].producer];
        if (ends_here(g, n, h)) {
            h->layer = g->edges[e].producer;
            break;
        }
        if (!step_back(g, n, h)) return;
        e = n->in[0];
    }
    if (h->layer == NODE_NONE) return;
    const node *n = &g->nodes[h->layer];
    h->weight = n->in[1];
    h->bias = n->in_count > 2 ? n->in[2] : EDGE_NONE;
    h->features = n->in[0];
    h->linear = h->linear && g->edges[h->weight].kind == EDGE_PARAM; /* not a rounded copy of it */
    h->feature_count = shape_count(g->edges[h->weight].shape) / g->edges[h->weight].shape.dim[0];
    while (g->edges[h->features].producer != NODE_NONE && g->nodes[g->edges[h->features].producer].op == &op_dropout)
        h->features = g->nodes[g->edges[h->features].producer].in[0];
}

status classify_fresh_head(graph *g, int64_t classes, uint64_t seed)
{
    for (int32_t k = 0; k < g->output_count; k++) {
        head_info h;
        head_find(&h, g, k);
        if (h.layer == NODE_NONE)
            return FAIL(E_MODEL, "the network ends in no linear layer or convolution: its classes cannot be changed");
        TRY(rows_resize(g, h.weight, classes));
        if (h.bias != EDGE_NONE) TRY(rows_resize(g, h.bias, classes));
        init_node_params(g, h.layer, seed);
    }
    edge_id input = graph_find_edge(g, "image");
    if (input == EDGE_NONE) return FAIL(E_MODEL, "the graph has no input \"image\"");
    return graph_resize(g, input, g->edges[input].shape);
}

bool classify_is_head(const graph *g, int32_t output, const char *name)
{
    head_info h;
    head_find(&h, g, output);
    if (h.layer == NODE_NONE) return false;
    return strcmp(g->edges[h.weight].name, name) == 0 ||
           (h.bias != EDGE_NONE && strcmp(g->edges[h.bias].name, name) == 0);
}

status classify_order_head(graph *g, const int64_t *place)
{
    for (int32_t k = 0; k < g->output_count; k++) {
        head_info h;
        head_find(&h, g, k);
        if (h.layer == NODE_NONE) continue;
        TRY(rows_order(g, h.weight, place));
        if (h.bias != EDGE_NONE) TRY(rows_order(g, h.bias, place));
    }
    return OK;
}
