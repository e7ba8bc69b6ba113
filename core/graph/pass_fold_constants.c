#include <stdlib.h>
#include <string.h>

#include "core/graph/transform.h"

typedef struct folder {
    graph_builder b;
    arena memory;
    void **value; /* [src edge_count] of folded edges: computed here; of parameters, state, constants: theirs */
} folder;

static bool foldable(const folder *f, const node *n)
{
    if (!n->op->describe && !n->op->alias) return false;
    for (int32_t i = 0; i < n->in_count; i++)
        if (n->in[i] != EDGE_NONE && !f->value[n->in[i]]) return false;
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE && f->b.src->edges[n->out[i]].kind != EDGE_ACTIVATION) return false;
    return true;
}

static status run_kernel(folder *f, const kernel *k, kernel_call *call)
{
    size_t scratch = k->scratch_bytes ? k->scratch_bytes(call->desc, call->state) : 0;
    size_t packed = k->packed_bytes ? k->packed_bytes(call->desc, call->state) : 0;
    call->scratch = arena_alloc(&f->memory, scratch);
    call->packed = arena_alloc(&f->memory, packed);
    if (!call->scratch || !call->packed) return E_MEMORY;
    if (packed > 0) TRY(k->pack(call));
    return k->run(call);
}

static status compute(folder *f, const node *n)
{
    const graph *src = f->b.src;
    kernel_binding b = {.weight_in = -1};
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) b.in[i] = EDGE_NONE;
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) b.out[i] = EDGE_NONE;
    TRY(n->op->describe(src, n, &b));
    kernel_call call = {.desc = &b.desc};
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++)
        if (b.in[i] != EDGE_NONE) call.in[i] = f->value[b.in[i]];
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) {
        if (b.out[i] == EDGE_NONE) continue;
        const edge *e = &src->edges[b.out[i]];
        size_t bytes = (size_t)shape_count(e->shape) * dtype_bytes(e->type);
        call.out[i] = f->value[b.out[i]] = arena_alloc(&f->memory, bytes);
        if (!call.out[i]) return E_MEMORY;
    }
    const kernel *k;
    TRY(kernel_select(&k, b.op, BACKEND_REF, &b.desc, NULL, NULL));
    if (k->create) TRY(k->create(&b.desc, &call.state));
    status s = run_kernel(f, k, &call);
    if (k->destroy && call.state) k->destroy(call.state);
    return s;
}

/* A folded edge becomes a constant when something that stays reads it. */
static status need(folder *f, edge_id e)
{
    graph_builder *b = &f->b;
    if (e == EDGE_NONE || b->map[e] != EDGE_NONE || !f->value[e] || b->src->edges[e].kind != EDGE_ACTIVATION) return OK;
    const edge *old = &b->src->edges[e];
    edge_id made = graph_edge(b->dst, old->name, EDGE_CONST, old->type, old->shape);
    if (made == EDGE_NONE) return E_MEMORY;
    b->dst->edges[made].scale = old->scale;
    memcpy(b->dst->edges[made].data, f->value[e], (size_t)shape_count(old->shape) * dtype_bytes(old->type));
    b->map[e] = made;
    return OK;
}

static status step(folder *f, node_id id)
{
    const node *n = &f->b.src->nodes[id];
    if (foldable(f, n)) {
        if (!n->op->alias) return compute(f, n);
        f->value[n->out[0]] = f->value[n->in[0]];
        return OK;
    }
    for (int32_t i = 0; i < n->in_count; i++) TRY(need(f, n->in[i]));
    return builder_copy_node(&f->b, id);
}

status pass_fold_constants(graph *dst, const graph *src)
{
    folder f = {0};
    status result = OK;
    TRY_OUT(builder_init(&f.b, dst, src));
    TRY_ALLOC_OUT(f.value, heap_alloc_array(src->edge_count + 1, sizeof *f.value));
    for (edge_id e = 0; e < src->edge_count; e++) f.value[e] = src->edges[e].data;
    for (node_id n = 0; n < src->node_count; n++) TRY_OUT(step(&f, n));
    for (int32_t i = 0; i < src->output_count; i++) TRY_OUT(need(&f, src->outputs[i]));
    TRY_OUT(builder_finish(&f.b));
out:
    builder_free(&f.b);
    arena_free(&f.memory);
    free(f.value);
    if (result != OK) graph_free(dst);
    return result;
}
