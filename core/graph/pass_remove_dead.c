#include <stdlib.h>

#include "core/graph/transform.h"

/* A node lives when something alive reads it, or when it updates state or a gradient in place. */
static void mark(const graph *g, bool *needed, bool *alive)
{
    for (int32_t i = 0; i < g->output_count; i++) needed[g->outputs[i]] = true;
    for (node_id id = (node_id)g->node_count - 1; id >= 0; id--) {
        const node *n = &g->nodes[id];
        for (int32_t i = 0; i < n->out_count; i++)
            if (n->out[i] != EDGE_NONE)
                alive[id] = alive[id] || needed[n->out[i]] || g->edges[n->out[i]].kind != EDGE_ACTIVATION;
        for (int32_t i = 0; alive[id] && i < n->in_count; i++)
            if (n->in[i] != EDGE_NONE) needed[n->in[i]] = true;
    }
}

static status copy_alive(graph_builder *b, const bool *needed, node_id id)
{
    node n = b->src->nodes[id];
    for (int32_t i = n.op->out_min; i < n.out_count; i++)
        if (n.out[i] != EDGE_NONE && b->src->edges[n.out[i]].kind == EDGE_ACTIVATION && !needed[n.out[i]])
            n.out[i] = EDGE_NONE;
    return builder_copy(b, &n);
}

/* The nodes that the outputs of `view` need; view has src's nodes and edges. */
static status copy_needed(graph *dst, const graph *view)
{
    graph_builder b = {0};
    status result = OK;
    bool *needed = heap_alloc_array(view->edge_count + 1, sizeof *needed),
         *alive = heap_alloc_array(view->node_count + 1, sizeof *alive);
    TRY_OUT(builder_init(&b, dst, view));
    if (!needed || !alive) TRY_OUT(E_MEMORY);
    mark(view, needed, alive);
    for (node_id n = 0; n < view->node_count; n++)
        if (alive[n]) TRY_OUT(copy_alive(&b, needed, n));
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    free(needed);
    free(alive);
    if (result != OK) graph_free(dst);
    return result;
}

status pass_remove_dead(graph *dst, const graph *src) { return copy_needed(dst, src); }

static bool reads(const node *n, edge_id e)
{
    for (int32_t i = 0; i < n->in_count; i++)
        if (n->in[i] == e) return true;
    return false;
}

/* Without inputs whose every reader serves auxiliary outputs only (keys of a dropout there). */
static void keep_inputs(graph *view, const graph *src, const bool *alive)
{
    view->input_count = 0;
    for (int32_t k = 0; k < src->input_count; k++) {
        bool live = false, dead = false;
        for (node_id n = 0; n < src->node_count; n++) {
            if (!reads(&src->nodes[n], src->inputs[k])) continue;
            if (alive[n]) live = true;
            else dead = true;
        }
        if (live || !dead) view->inputs[view->input_count++] = src->inputs[k];
    }
}

status pass_drop_auxiliary(graph *dst, const graph *src)
{
    graph view = *src; /* borrows all of src */
    view.output_count -= src->auxiliary_count;
    view.auxiliary_count = 0;
    bool *needed = heap_alloc_array(src->edge_count + 1, sizeof *needed),
         *alive = heap_alloc_array(src->node_count + 1, sizeof *alive);
    *dst = (graph){0};
    status result = OK;
    if (!needed || !alive) TRY_OUT(E_MEMORY);
    mark(&view, needed, alive);
    keep_inputs(&view, src, alive);
    TRY_OUT(copy_needed(dst, &view));
out:
    free(needed);
    free(alive);
    return result;
}
