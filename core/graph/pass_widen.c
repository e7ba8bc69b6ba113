#include "core/graph/transform.h"

static bool is_narrow(dtype type) { return type == DTYPE_F16 || type == DTYPE_BF16; }

bool graph_has_narrow_floats(const graph *g)
{
    for (edge_id e = 0; e < g->edge_count; e++)
        if (is_narrow(g->edges[e].type)) return true;
    return false;
}

static status widen_values(graph_builder *b, edge_id src_edge)
{
    const edge *from = &b->src->edges[src_edge];
    edge_id made = graph_edge(b->dst, from->name, from->kind, DTYPE_F32, from->shape);
    if (made == EDGE_NONE) return E_MEMORY;
    edge *to = &b->dst->edges[made];
    to->layout = from->layout;
    to->frozen = from->frozen;
    for (int64_t i = 0; i < shape_count(from->shape); i++)
        dtype_store(to->data, DTYPE_F32, i, dtype_load(from->data, from->type, i));
    b->map[src_edge] = made;
    return OK;
}

/* A cast between floats has nothing left to do. */
static status step(graph_builder *b, node_id id)
{
    const node *n = &b->src->nodes[id];
    for (int32_t i = 0; i < n->in_count; i++) {
        if (n->in[i] == EDGE_NONE || b->map[n->in[i]] != EDGE_NONE) continue;
        const edge *e = &b->src->edges[n->in[i]];
        if (is_narrow(e->type) && e->data) TRY(widen_values(b, n->in[i]));
    }
    dtype from = b->src->edges[n->in[0]].type, to = b->src->edges[n->out[0]].type;
    bool idle = n->op == &op_cast && (is_narrow(from) || is_narrow(to)) && dtype_is_float(from) && dtype_is_float(to);
    return idle ? builder_edge(b, n->in[0], &b->map[n->out[0]]) : builder_copy_node(b, id);
}

status pass_widen(graph *dst, const graph *src)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id n = 0; n < src->node_count; n++) TRY_OUT(step(&b, n));
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}
