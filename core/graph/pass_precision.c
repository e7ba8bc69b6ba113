#include <stdlib.h>

#include "core/graph/transform.h"
#include "core/ops/infer.h"

/* Each tensor in up to two forms: as its node makes it (builder.map), and cast to the other
 * type, made where it is first read. */
typedef struct caster {
    graph_builder b;
    dtype type;
    conv2d_compute compute;
    edge_id *cast; /* [src edge_count] */
} caster;

/* Values that no step changes are cast once, on the host. */
static bool is_fixed(const edge *e)
{
    return e->data && (e->kind == EDGE_CONST || (e->kind == EDGE_PARAM && e->frozen));
}

static status cast_fixed(caster *c, edge_id e, const char *name, edge_id *out)
{
    graph *g = c->b.dst;
    *out = graph_edge(g, name, EDGE_CONST, c->type, g->edges[e].shape);
    if (*out == EDGE_NONE) return E_MEMORY;
    const edge *from = &g->edges[e];
    for (int64_t i = 0; i < shape_count(from->shape); i++)
        dtype_store(g->edges[*out].data, c->type, i, dtype_load(from->data, from->type, i));
    return OK;
}

/* The form of a source edge that a reader takes; block: the reader's. */
static status cast_edge(caster *c, edge_id src_edge, bool narrow, int32_t block, edge_id *out)
{
    graph *g = c->b.dst;
    TRY(builder_edge(&c->b, src_edge, out));
    dtype have = g->edges[*out].type, want = narrow ? c->type : DTYPE_F32;
    if ((have != DTYPE_F32 && have != c->type) || have == want) return OK;
    if (c->cast[src_edge] == EDGE_NONE) {
        char *name;
        TRY_ALLOC(name, arena_printf(&g->memory, "%s/%s", g->edges[*out].name, dtype_names[want]));
        if (narrow && is_fixed(&g->edges[*out])) TRY(cast_fixed(c, *out, name, &c->cast[src_edge]));
        else TRY(graph_add(g, &op_cast, name, &(cast_attr){want}, out, 1, block, &c->cast[src_edge]));
    }
    *out = c->cast[src_edge];
    return OK;
}

static status add(caster *c, const node *n, const void *attr)
{
    edge_id in[NODE_MAX_IN], out[NODE_MAX_OUT];
    for (int32_t i = 0; i < n->in_count; i++) {
        in[i] = EDGE_NONE;
        if (n->in[i] != EDGE_NONE) TRY(cast_edge(c, n->in[i], n->op->narrow_in >> i & 1, n->block, &in[i]));
    }
    for (int32_t i = 0; i < n->out_count; i++) {
        out[i] = EDGE_NONE;
        if (n->out[i] == EDGE_NONE) continue;
        if (c->b.src->edges[n->out[i]].kind == EDGE_ACTIVATION) out[i] = EDGE_NEW;
        else TRY(builder_edge(&c->b, n->out[i], &out[i]));
    }
    TRY(graph_add_to(c->b.dst, n->op, n->name, attr, in, n->in_count, n->block, out));
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE) c->b.map[n->out[i]] = out[i];
    return OK;
}

static status step(caster *c, const node *n)
{
    if (c->b.src->edges[n->in[0]].type != DTYPE_F32) return add(c, n, n->attr);
    if (n->op == &op_conv2d) {
        conv2d_attr attr = *(const conv2d_attr *)n->attr;
        if (c->type == DTYPE_F32) attr.compute = c->compute;
        return add(c, n, &attr);
    }
    if (n->op == &op_linear) {
        linear_attr attr = *(const linear_attr *)n->attr;
        if (c->type == DTYPE_F32) attr.compute = c->compute;
        return add(c, n, &attr);
    }
    return add(c, n, n->attr);
}

static status finish(caster *c)
{
    for (int32_t i = 0; i < c->b.src->output_count; i++) {
        edge_id src_edge = c->b.src->outputs[i], e;
        TRY(cast_edge(c, src_edge, c->b.src->edges[src_edge].type != DTYPE_F32, -1, &e));
        TRY(graph_output(c->b.dst, e));
    }
    return OK;
}

status pass_precision(graph *dst, const graph *src, dtype type, conv2d_compute compute)
{
    caster c = {.type = type, .compute = compute};
    status result = OK;
    if (type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16)
        return FAIL(E_INTERNAL, "activations cannot be %s", dtype_name(type));
    TRY_OUT(builder_init(&c.b, dst, src));
    TRY_ALLOC_OUT(c.cast, heap_alloc_array(src->edge_count + 1, sizeof *c.cast));
    for (edge_id e = 0; e < src->edge_count; e++) c.cast[e] = EDGE_NONE;
    for (node_id n = 0; n < src->node_count; n++) TRY_OUT(step(&c, &src->nodes[n]));
    TRY_OUT(finish(&c));
out:
    builder_free(&c.b);
    free(c.cast);
    if (result != OK) graph_free(dst);
    return result;
}
