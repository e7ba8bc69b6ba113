/* 16-bit copies of trained weights. A launch per tensor would cost a step more than the copying. */
#include "core/graph/plan_internal.h"

#include <stdlib.h>

/* The store's entry behind a cast of a parameter from f32 to `type` (DTYPE_COUNT: any 16-bit float), or NULL. */
static const store_entry *cast_weight(const graph *g, const store_layout *l, const node *n, dtype *type)
{
    if (n->op != &op_cast) return NULL;
    const edge *from = &g->edges[n->in[0]], *to = &g->edges[n->out[0]];
    if (from->kind != EDGE_PARAM || from->type != DTYPE_F32 || (to->type != DTYPE_F16 && to->type != DTYPE_BF16))
        return NULL;
    if (*type != DTYPE_COUNT && to->type != *type) return NULL;
    const store_entry *e = store_layout_find(l, from->name);
    if (!e || e->block != BLOCK_WEIGHTS || e->type != DTYPE_F32) return NULL;
    *type = to->type;
    return e;
}

/* From the first to the last of them: what lies between is cast too, and is little. Frozen weights, which
 * need no cast, are mostly in front. */
status plan_narrow_find(plan *p, const store_layout *l, const plan_options *o)
{
    const graph *g = &p->graph;
    plan_narrow *w = &p->narrow;
    int64_t first = INT64_MAX, last = 0;
    w->type = DTYPE_COUNT;
    TRY_ALLOC(w->offset_bytes, ARENA_ARRAY(&p->memory, int64_t, g->edge_count));
    for (edge_id e = 0; e < g->edge_count; e++) w->offset_bytes[e] = -1;
    for (node_id n = 0; n < g->node_count; n++) {
        const store_entry *e = cast_weight(g, l, &g->nodes[n], &w->type);
        if (!e) continue;
        int64_t begin = e->offset_bytes / 4, end = (e->offset_bytes + e->bytes) / 4;
        if (begin < first) first = begin;
        if (end > last) last = end;
        w->offset_bytes[g->nodes[n].out[0]] = 2 * begin;
    }
    if (last == 0) return OK;
    w->first = first;
    w->count = last - first;
    for (edge_id e = 0; e < g->edge_count; e++)
        if (w->offset_bytes[e] >= 0) w->offset_bytes[e] -= 2 * first;
    w->desc = (cast_desc){.count = w->count, .src_type = DTYPE_F32, .dst_type = w->type};
    return kernel_select(&w->kernel, OP_CAST, o->reference ? BACKEND_REF : p->dev->api->kernels, &w->desc, NULL, NULL);
}

int64_t plan_narrow_bytes(const plan *p) { return (2 * p->narrow.count + LIVE_ALIGN - 1) / LIVE_ALIGN * LIVE_ALIGN; }

bool plan_narrow_has(const plan *p, edge_id e) { return e >= 0 && p->narrow.offset_bytes[e] >= 0; }

status plan_narrow_allocate(plan *p)
{
    plan_narrow *w = &p->narrow;
    TRY(buffer_init(&w->block, p->dev, (size_t)plan_narrow_bytes(p), "weights in 16 bits"));
    for (edge_id e = 0; e < p->graph.edge_count; e++)
        if (plan_narrow_has(p, e)) p->edge_data[e] = (char *)w->block.data + w->offset_bytes[e];
    if (w->count == 0) return OK;
    w->call = (kernel_call){.desc = &w->desc,
        .in = {param_store_weights(p->store) + w->first},
        .out = {w->block.data},
        .stream = p->dev->stream};
    return OK;
}

void plan_narrow_free(plan *p) { buffer_free(&p->narrow.block); }

status plan_narrow_run(plan *p)
{
    plan_narrow *w = &p->narrow;
    if (w->count == 0) return OK;
    status result = w->kernel->run(&w->call);
    return result == OK ? OK : FAIL(result, "casting the weights (%s): %s", w->kernel->name, status_message());
}
