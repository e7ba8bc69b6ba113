#include <inttypes.h>
#include <stdlib.h>

#include "core/graph/transform.h"

/* Forward edges are those that stood before: gradients never get gradients. */
bool autodiff_wants(const autodiff *a, edge_id e)
{
    return e >= 0 && e < a->forward_edges && a->wants[e];
}

status autodiff_node(autodiff *a, const node *n, const op *o, const char *suffix, const void *attr, const edge_id *in,
    int32_t in_count, edge_id *out)
{
    char *name;
    TRY_ALLOC(name, arena_printf(&a->g->memory, "%s/%s", n->name, suffix));
    return graph_add_to(a->g, o, name, attr, in, in_count, n->block, out);
}

status autodiff_add(autodiff *a, edge_id e, edge_id gradient)
{
    graph *g = a->g;
    const edge *x = &g->edges[e], *dx = &g->edges[gradient];
    if (x->type != dx->type || !shape_equal(x->shape, dx->shape))
        return FAIL(E_INTERNAL, "gradient '%s' has another type or shape than '%s'", dx->name, x->name);
    if (a->grad[e] == EDGE_NONE) {
        a->grad[e] = gradient;
        return OK;
    }
    binary_attr attr = {0};
    edge_id sum;
    int32_t block = x->producer == NODE_NONE ? 0 : g->nodes[x->producer].block;
    char *name;
    TRY_ALLOC(name, arena_printf(&g->memory, "%s/sum%" PRId64, x->name, a->sums++));
    TRY(graph_add(g, &op_add, name, &attr, (edge_id[]){a->grad[e], gradient}, 2, block, &sum));
    a->grad[e] = sum;
    return OK;
}

/* The parameter that an edge stands for: itself, or what it was cast or fake-quantised from. */
static edge_id param_behind(const graph *g, edge_id e)
{
    while (g->edges[e].kind == EDGE_ACTIVATION && g->nodes[g->edges[e].producer].op->straight_through)
        e = g->nodes[g->edges[e].producer].in[0];
    return e;
}

status autodiff_param_grad(autodiff *a, edge_id param, edge_id *grad)
{
    *grad = EDGE_NONE;
    if (!autodiff_wants(a, param)) return OK;
    graph *g = a->g;
    param = param_behind(g, param);
    edge p = g->edges[param];
    if (p.kind != EDGE_PARAM)
        return FAIL(E_INTERNAL, "'%s' is used as a weight, but is no parameter: no gradient", p.name);
    if (p.grad == EDGE_NONE) {
        edge_id made = graph_edge(g, p.name, EDGE_GRAD, p.type, p.shape);
        if (made == EDGE_NONE) return E_MEMORY;
        g->edges[made].layout = p.layout;
        g->edges[param].grad = made;
    }
    *grad = g->edges[param].grad;
    return OK;
}

/* A parameter read like any tensor (a factor of mul): its collected gradient is added to its EDGE_GRAD. */
static status collect_params(autodiff *a)
{
    graph *g = a->g;
    binary_attr attr = {0};
    for (edge_id e = 0; e < a->forward_edges; e++) {
        edge_id grad;
        if (g->edges[e].kind != EDGE_PARAM || !a->wants[e]) continue;
        TRY(autodiff_param_grad(a, e, &grad));
        if (a->grad[e] == EDGE_NONE) continue;
        edge_id out[] = {grad};
        char *name;
        TRY_ALLOC(name, arena_printf(&g->memory, "%s/accumulate", g->edges[e].name));
        TRY(graph_add_to(g, &op_add, name, &attr, (edge_id[]){grad, a->grad[e]}, 2, 0, out));
    }
    return OK;
}

static void mark_wanted(autodiff *a, int64_t forward_nodes, const edge_id *wants, int32_t want_count)
{
    const graph *g = a->g;
    for (edge_id e = 0; e < a->forward_edges; e++) {
        a->grad[e] = EDGE_NONE;
        a->wants[e] = g->edges[e].kind == EDGE_PARAM && !g->edges[e].frozen;
    }
    for (int32_t i = 0; i < want_count; i++) a->wants[wants[i]] = true;
    for (node_id n = 0; n < forward_nodes; n++) {
        const node *item = &g->nodes[n];
        bool any = false;
        for (int32_t i = 0; i < item->in_count; i++) any = any || autodiff_wants(a, item->in[i]);
        for (int32_t i = 0; any && i < item->out_count; i++)
            if (item->out[i] != EDGE_NONE && g->edges[item->out[i]].kind == EDGE_ACTIVATION)
                a->wants[item->out[i]] = true;
    }
}

static status backward_node(autodiff *a, node_id id)
{
    const node n = a->g->nodes[id]; /* a copy: the array grows */
    edge_id dout[NODE_MAX_OUT];
    bool reached = false, wanted = false;
    for (int32_t i = 0; i < NODE_MAX_OUT; i++) {
        dout[i] = i < n.out_count && n.out[i] >= 0 && n.out[i] < a->forward_edges ? a->grad[n.out[i]] : EDGE_NONE;
        reached = reached || dout[i] != EDGE_NONE;
    }
    for (int32_t i = 0; i < n.in_count; i++) wanted = wanted || autodiff_wants(a, n.in[i]);
    if (!reached || !wanted) return OK;
    if (!n.op->gradient)
        return FAIL(E_INTERNAL, "node '%s' (%s) lies between the loss and a trained parameter, but has no gradient%s",
            n.name, n.op->name, n.op->lower ? ": lower the graph first" : "");
    return n.op->gradient(a, &n, dout);
}

static status seed(autodiff *a, edge_id loss)
{
    const edge *l = &a->g->edges[loss];
    dtype type = l->type;
    if (shape_count(l->shape) != 1) return FAIL(E_INTERNAL, "graph_backward: '%s' is no scalar", l->name);
    if (a->seed != EDGE_NONE &&
        (a->g->edges[a->seed].type != type || !shape_equal(a->g->edges[a->seed].shape, l->shape)))
        return FAIL(E_INTERNAL, "graph_backward: '%s' has another type or shape than the first loss", l->name);
    if (a->seed != EDGE_NONE) return autodiff_add(a, loss, a->seed);
    char *name;
    TRY_ALLOC(name, arena_printf(&a->g->memory, "%s/seed", l->name));
    a->seed = graph_edge(a->g, name, EDGE_CONST, type, l->shape);
    if (a->seed == EDGE_NONE) return E_MEMORY;
    dtype_store(a->g->edges[a->seed].data, type, 0, 1.0);
    a->grad[loss] = a->seed;
    return OK;
}

status graph_backward(
    graph *g, const edge_id *losses, int32_t loss_count, const edge_id *wants, int32_t want_count, edge_id *dwant)
{
    int64_t forward_nodes = g->node_count;
    autodiff a = {.g = g, .forward_edges = g->edge_count, .seed = EDGE_NONE};
    for (int32_t i = 0; i < loss_count; i++)
        if (losses[i] < 0 || losses[i] >= g->edge_count)
            return FAIL(E_INTERNAL, "graph_backward: there is no edge %d", losses[i]);
    for (int32_t i = 0; i < want_count; i++)
        if (wants[i] < 0 || wants[i] >= g->edge_count)
            return FAIL(E_INTERNAL, "graph_backward: there is no edge %d", wants[i]);
    a.grad = heap_alloc_array(g->edge_count, sizeof *a.grad);
    a.wants = heap_alloc_array(g->edge_count, sizeof *a.wants);
    status result = OK;
    if (!a.grad || !a.wants) TRY_OUT(E_MEMORY);
    mark_wanted(&a, forward_nodes, wants, want_count);
    for (int32_t i = 0; i < loss_count; i++)
        if (a.wants[losses[i]]) TRY_OUT(seed(&a, losses[i]));
    for (node_id n = (node_id)forward_nodes - 1; n >= 0; n--) TRY_OUT(backward_node(&a, n));
    TRY_OUT(collect_params(&a));
    for (int32_t i = 0; i < want_count; i++) dwant[i] = a.grad[wants[i]];
out:
    free(a.grad);
    free(a.wants);
    return result;
}
