#include "export/slices.h"

#include <stdlib.h>

#include "core/ops/op.h"

typedef struct node_bytes {
    int64_t weights, activations; /* of one run, all images */
} node_bytes;

static int64_t edge_bytes(const edge *e)
{
    return shape_count(e->shape) * (int64_t)dtype_bytes(e->type);
}

static node_bytes count_bytes(const graph *g, const node *n)
{
    node_bytes b = {0};
    for (int32_t i = 0; i < n->in_count; i++) {
        if (n->in[i] == EDGE_NONE) continue;
        const edge *e = &g->edges[n->in[i]];
        *(e->kind == EDGE_ACTIVATION || e->kind == EDGE_INPUT ? &b.activations : &b.weights) += edge_bytes(e);
    }
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE) b.activations += edge_bytes(&g->edges[n->out[i]]);
    return n->op->alias ? (node_bytes){0} : b;
}

/* Whether the images of a batch stay apart, one after the other, in what the node makes. */
static bool keeps_images(const graph *g, const node *n, int64_t batch)
{
    if (n->op->coupling == COUPLE_FIXED) return false;
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE && g->edges[n->out[i]].shape.dim[0] != batch) return false;
    return true;
}

/* crossing[k]: the only activation of nodes before k that k or a later one reads, through views or
 * not; EDGE_NONE: none or several. */
static status find_crossings(edge_id *crossing, const graph *g)
{
    node_id *last = malloc(((size_t)g->edge_count + 1) * sizeof *last); /* that reads the edge */
    if (!last) return FAIL_MEMORY(g->edge_count * sizeof *last);
    for (edge_id e = 0; e < g->edge_count; e++) last[e] = NODE_NONE;
    for (node_id n = 0; n < g->node_count; n++)
        for (int32_t i = 0; i < g->nodes[n].in_count; i++)
            if (g->nodes[n].in[i] != EDGE_NONE) last[g->nodes[n].in[i]] = n;
    for (int32_t i = 0; i < g->output_count; i++) last[g->outputs[i]] = (node_id)g->node_count;
    for (node_id k = 0; k < g->node_count; k++) {
        int32_t count = 0;
        crossing[k] = EDGE_NONE;
        for (edge_id e = 0; e < g->edge_count && count < 2; e++) {
            const edge *a = &g->edges[e];
            bool earlier = a->kind == EDGE_INPUT || (a->kind == EDGE_ACTIVATION && a->producer < k);
            if (earlier && last[e] != NODE_NONE && last[e] >= k) crossing[k] = e, count++;
        }
        if (count != 1) crossing[k] = EDGE_NONE;
    }
    free(last);
    return OK;
}

/* The cheapest cut for m images at a time. */
static void choose_cut(slices *s, int64_t *least, const graph *g, const edge_id *crossing, int64_t m, int64_t cache)
{
    int64_t batch = g->edges[g->inputs[0]].shape.dim[0], saved = 0, most = 0;
    slices best = {.images = batch};
    for (node_id n = 0; n + 1 < g->node_count && keeps_images(g, &g->nodes[n], batch); n++) {
        node_bytes b = count_bytes(g, &g->nodes[n]);
        bool fits = b.activations / batch * m <= cache && b.activations > cache;
        saved += (fits ? b.activations : 0) - (batch / m - 1) * b.weights;
        edge_id e = crossing[n + 1];
        bool view = e != EDGE_NONE && (g->edges[e].kind != EDGE_ACTIVATION || g->nodes[g->edges[e].producer].op->alias);
        if (e == EDGE_NONE || view || saved <= most) continue;
        most = saved;
        best = (slices){.images = m, .cut = n + 1, .edge = e};
    }
    if (most > *least) *least = most, *s = best;
}

status slices_choose(slices *s, const graph *g, int64_t cache_bytes)
{
    int64_t batch = g->edges[g->inputs[0]].shape.dim[0], saved = 0;
    *s = (slices){.images = batch, .edge = EDGE_NONE};
    if (cache_bytes <= 0 || batch < 2 || g->input_count != 1) return OK;
    edge_id *crossing = malloc(((size_t)g->node_count + 1) * sizeof *crossing);
    if (!crossing) return FAIL_MEMORY(g->node_count * sizeof *crossing);
    status result = find_crossings(crossing, g);
    for (int64_t m = batch / 2; m > 0 && result == OK; m--)
        if (batch % m == 0) choose_cut(s, &saved, g, crossing, m, cache_bytes);
    free(crossing);
    return result;
}
