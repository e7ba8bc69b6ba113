/* Which edges share memory, and until when each block is needed. */
#include "core/graph/plan_internal.h"

int64_t plan_edge_bytes(const graph *g, edge_id e)
{
    return shape_count(g->edges[e].shape) * (int64_t)dtype_bytes(g->edges[e].type);
}


/* A view shares its source's memory, whatever that is. */
static void find_roots(plan *p, int32_t *last_use)
{
    const graph *g = &p->graph;
    for (edge_id e = 0; e < g->edge_count; e++) {
        p->edge_root[e] = e;
        last_use[e] = -1;
    }
    for (node_id n = 0; n < g->node_count; n++) {
        const node *d = &g->nodes[n];
        if (d->op->alias && d->out[0] >= 0) p->edge_root[d->out[0]] = p->edge_root[d->in[0]];
        for (int32_t i = 0; i < d->in_count; i++)
            if (d->in[i] >= 0) last_use[p->edge_root[d->in[i]]] = n;
    }
    for (int32_t i = 0; i < g->output_count; i++)
        last_use[p->edge_root[g->outputs[i]]] = (int32_t)g->node_count;
}

/* The input whose memory output 0 may take: declared by the op, or a convolution's residual. */
static edge_id inplace_candidate(const plan *p, node_id n, const kernel_binding *b)
{
    const node *d = &p->graph.nodes[n];
    if (b->op == OP_CONV2D_FORWARD && b->desc.conv2d.epilogue.has_add) return b->in[CONV2D_ADD];
    return d->op->inplace_in >= 0 && d->op->inplace_in < d->in_count ? d->in[d->op->inplace_in] : EDGE_NONE;
}

static bool may_take(const plan *p, node_id n, edge_id candidate, const int32_t *last_use)
{
    const graph *g = &p->graph;
    const node *d = &g->nodes[n];
    if (p->keep_activations || candidate < 0 || d->out[0] < 0) return false;
    edge_id root = p->edge_root[candidate];
    if (g->edges[root].kind != EDGE_ACTIVATION || last_use[root] != n || plan_narrow_has(p, root)) return false;
    if (dtype_bytes(g->edges[candidate].type) != dtype_bytes(g->edges[d->out[0]].type)) return false;
    if (plan_edge_bytes(g, candidate) != plan_edge_bytes(g, d->out[0])) return false;
    int32_t readers = 0;
    for (int32_t i = 0; i < d->in_count; i++) readers += d->in[i] >= 0 && p->edge_root[d->in[i]] == root;
    return readers == 1;
}

static int32_t new_block(plan *p, int64_t bytes, int32_t first, int32_t last)
{
    p->blocks[p->block_count] = (live_block){.bytes = bytes, .first = first, .last = last};
    return (int32_t)p->block_count++;
}

/* Inputs keep their values from run to run, so their memory is nobody else's. Where the plan begins in mid-graph, what
 * it reads of earlier nodes is an input too. */
static void place_inputs(plan *p)
{
    const graph *g = &p->graph;
    int32_t last = (int32_t)g->node_count;
    for (edge_id e = 0; e < g->edge_count && p->first_node == 0; e++)
        if (g->edges[e].kind == EDGE_INPUT) p->edge_block[e] = new_block(p, plan_edge_bytes(g, e), 0, last);
    for (node_id n = p->first_node; n < p->end_node && p->first_node > 0; n++)
        for (int32_t i = 0; i < g->nodes[n].in_count; i++) {
            edge_id e = g->nodes[n].in[i];
            if (e < 0) continue;
            e = p->edge_root[e];
            bool earlier = g->edges[e].kind == EDGE_INPUT ||
                           (g->edges[e].kind == EDGE_ACTIVATION && g->edges[e].producer < p->first_node);
            if (earlier && p->edge_block[e] < 0) p->edge_block[e] = new_block(p, plan_edge_bytes(g, e), 0, last);
        }
}

static void place_outputs(plan *p, const plan_step *s, const int32_t *last_use)
{
    const graph *g = &p->graph;
    const node *d = &g->nodes[s->node];
    edge_id taken = inplace_candidate(p, s->node, &s->binding);
    for (int32_t i = 0; i < d->out_count; i++) {
        edge_id e = d->out[i];
        if (e < 0 || g->edges[e].kind != EDGE_ACTIVATION) continue;
        int32_t last = last_use[e] > s->node ? last_use[e] : s->node;
        if (p->keep_activations) last = (int32_t)g->node_count;
        if (i == 0 && may_take(p, s->node, taken, last_use)) {
            p->edge_block[e] = p->edge_block[p->edge_root[taken]];
            p->blocks[p->edge_block[e]].last = last;
        } else {
            p->edge_block[e] = new_block(p, plan_edge_bytes(g, e), s->node, last);
        }
    }
}

status plan_place_edges(plan *p)
{
    const graph *g = &p->graph;
    int32_t *last_use = ARENA_ARRAY(&p->memory, int32_t, g->edge_count);
    p->edge_root = ARENA_ARRAY(&p->memory, edge_id, g->edge_count);
    p->edge_block = ARENA_ARRAY(&p->memory, int32_t, g->edge_count);
    p->blocks = ARENA_ARRAY(&p->memory, live_block, g->edge_count + p->step_count);
    if (!last_use || !p->edge_root || !p->edge_block || !p->blocks)
        return E_MEMORY;
    find_roots(p, last_use);
    for (edge_id e = 0; e < g->edge_count; e++) p->edge_block[e] = -1;
    place_inputs(p);
    for (int64_t i = 0; i < p->step_count; i++) place_outputs(p, &p->steps[i], last_use);
    for (edge_id e = 0; e < g->edge_count; e++) p->edge_block[e] = p->edge_block[p->edge_root[e]];

    live_result edges, all;
    TRY(liveness_assign(p->blocks, p->block_count, &edges));
    for (int64_t i = 0; i < p->block_count; i++) p->blocks[i].placed = true;
    for (int64_t i = 0; i < p->step_count; i++) {
        plan_step *s = &p->steps[i];
        s->scratch_block = new_block(p, (int64_t)s->scratch_bytes, s->node, s->node);
    }
    TRY(liveness_assign(p->blocks, p->block_count, &all));
    p->use.activation_bytes = edges.end;
    p->use.activation_sum_bytes = edges.sum;
    p->use.activation_bound_bytes = edges.bound;
    p->use.scratch_bytes = all.end - edges.end;
    return OK;
}
