#include "core/graph/transform.h"

#include <stdlib.h>
#include <string.h>

status builder_init(graph_builder *b, graph *dst, const graph *src)
{
    TRY(graph_init(dst));
    *b = (graph_builder){.dst = dst, .src = src};
    TRY_ALLOC(b->map, heap_alloc_array(src->edge_count + 1, sizeof *b->map));
    for (edge_id e = 0; e < src->edge_count; e++) b->map[e] = EDGE_NONE;
    for (int32_t i = 0; i < src->input_count; i++) {
        const edge *e = &src->edges[src->inputs[i]];
        edge_id made = graph_input(dst, e->name, e->type, e->shape);
        if (made == EDGE_NONE) return E_MEMORY;
        dst->edges[made].scale = e->scale;
        b->map[src->inputs[i]] = made;
    }
    return OK;
}

void builder_free(graph_builder *b)
{
    free(b->map);
    b->map = NULL;
}

static status copy_valued(graph_builder *b, edge_id src_edge)
{
    const edge *e = &b->src->edges[src_edge];
    edge_id made = graph_edge(b->dst, e->name, e->kind, e->type, e->shape);
    if (made == EDGE_NONE) return E_MEMORY;
    edge *copy = &b->dst->edges[made];
    copy->layout = e->layout;
    copy->frozen = e->frozen;
    copy->scale = e->scale;
    if (e->data) memcpy(copy->data, e->data, (size_t)shape_count(e->shape) * dtype_bytes(e->type));
    b->map[src_edge] = made;
    if (e->grad == EDGE_NONE) return OK;
    edge_id grad;
    TRY(builder_edge(b, e->grad, &grad));
    b->dst->edges[made].grad = grad;
    return OK;
}

status builder_edge(graph_builder *b, edge_id src_edge, edge_id *dst_edge)
{
    if (b->map[src_edge] == EDGE_NONE) {
        const edge *e = &b->src->edges[src_edge];
        if (e->kind == EDGE_ACTIVATION || e->kind == EDGE_INPUT)
            return FAIL(E_INTERNAL, "edge '%s' is read before it stands in the new graph", e->name);
        TRY(copy_valued(b, src_edge));
    }
    *dst_edge = b->map[src_edge];
    return OK;
}

status builder_copy_node(graph_builder *b, node_id id)
{
    return builder_copy(b, &b->src->nodes[id]);
}

status builder_copy(graph_builder *b, const node *n)
{
    edge_id in[NODE_MAX_IN], out[NODE_MAX_OUT];
    for (int32_t i = 0; i < n->in_count; i++) {
        in[i] = EDGE_NONE;
        if (n->in[i] != EDGE_NONE) TRY(builder_edge(b, n->in[i], &in[i]));
    }
    for (int32_t i = 0; i < n->out_count; i++) {
        out[i] = EDGE_NONE;
        if (n->out[i] == EDGE_NONE) continue;
        if (b->src->edges[n->out[i]].kind == EDGE_ACTIVATION) out[i] = EDGE_NEW;
        else TRY(builder_edge(b, n->out[i], &out[i]));
    }
    TRY(graph_add_to(b->dst, n->op, n->name, n->attr, in, n->in_count, n->block, out));
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE) b->map[n->out[i]] = out[i];
    return OK;
}

status builder_finish(graph_builder *b)
{
    for (int32_t i = 0; i < b->src->output_count; i++) {
        edge_id e;
        TRY(builder_edge(b, b->src->outputs[i], &e));
        TRY(graph_output(b->dst, e));
    }
    b->dst->auxiliary_count = b->src->auxiliary_count;
    return OK;
}

status graph_replace(graph *g, graph *next, status made)
{
    if (made != OK) {
        graph_free(next);
        return made;
    }
    graph_free(g);
    *g = *next;
    return OK;
}

status graph_apply(graph *g, pass_fn *pass)
{
    graph next = {0};
    return graph_replace(g, &next, pass(&next, g));
}

status graph_bypass(graph *dst, const graph *src, const op *o)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id n = 0; n < src->node_count; n++) {
        const node *item = &src->nodes[n];
        if (item->op != o) TRY_OUT(builder_copy_node(&b, n));
        else TRY_OUT(builder_edge(&b, item->in[0], &b.map[item->out[0]]));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}

status edge_uses_init(edge_uses *u, const graph *g)
{
    int64_t count = g->edge_count + 1;
    *u = (edge_uses){
        .count = heap_alloc_array(count, sizeof *u->count), .reader = heap_alloc_array(count, sizeof *u->reader)};
    if (!u->count || !u->reader) {
        edge_uses_free(u);
        return E_MEMORY;
    }
    for (edge_id e = 0; e < g->edge_count; e++) u->reader[e] = NODE_NONE;
    for (node_id n = 0; n < g->node_count; n++) {
        for (int32_t i = 0; i < g->nodes[n].in_count; i++) {
            edge_id e = g->nodes[n].in[i];
            if (e != EDGE_NONE) u->count[e]++, u->reader[e] = n;
        }
    }
    for (int32_t i = 0; i < g->output_count; i++) u->count[g->outputs[i]]++;
    return OK;
}

void edge_uses_free(edge_uses *u)
{
    free(u->count);
    free(u->reader);
    *u = (edge_uses){0};
}

node_id edge_only_reader(const edge_uses *u, edge_id e)
{
    return u->count[e] == 1 ? u->reader[e] : NODE_NONE;
}
