#include <math.h>

#include "core/graph/transform.h"

enum { X, GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR, ADD };

/* An image, and everything else constant. */
static bool replaceable(const graph *g, const node *n)
{
    const edge *x = &g->edges[n->in[X]];
    if (n->op != &op_batchnorm || x->shape.rank != 4 || (x->type != DTYPE_F32 && x->type != DTYPE_F64)) return false;
    for (int32_t i = GAMMA; i <= RUNNING_VAR; i++)
        if (!g->edges[n->in[i]].data) return false;
    return true;
}

static status new_param(
    graph_builder *b, const node *n, const char *suffix, shape s, param_layout layout, dtype type, edge_id *e)
{
    char *name;
    TRY_ALLOC(name, arena_printf(&b->dst->memory, "%s.%s", n->name, suffix));
    *e = graph_edge(b->dst, name, EDGE_PARAM, type, s);
    if (*e == EDGE_NONE) return E_MEMORY;
    b->dst->edges[*e].layout = layout;
    return OK;
}

static double value(const graph *g, const node *n, int32_t i, int64_t c)
{
    const edge *e = &g->edges[n->in[i]];
    return dtype_load(e->data, e->type, c);
}

static status replace(graph_builder *b, const node *n)
{
    const graph *g = b->src;
    const batchnorm_attr *attr = n->attr;
    dtype type = g->edges[n->in[X]].type;
    int64_t channels = g->edges[n->in[X]].shape.dim[3];
    edge_id in[4] = {EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE};
    bool adds = n->in_count > ADD && n->in[ADD] != EDGE_NONE;
    TRY(builder_edge(b, n->in[X], &in[0]));
    if (adds) TRY(builder_edge(b, n->in[ADD], &in[3]));
    TRY(new_param(b, n, "factor", shape_4(channels, 1, 1, 1), LAYOUT_OIHW, type, &in[1]));
    TRY(new_param(b, n, "offset", shape_1(channels), LAYOUT_PLAIN, type, &in[2]));
    for (int64_t c = 0; c < channels; c++) {
        double a = value(g, n, GAMMA, c) / sqrt(value(g, n, RUNNING_VAR, c) + (double)attr->epsilon);
        dtype_store(b->dst->edges[in[1]].data, type, c, a);
        dtype_store(b->dst->edges[in[2]].data, type, c, value(g, n, BETA, c) - value(g, n, RUNNING_MEAN, c) * a);
    }
    conv2d_attr conv = {.stride = {1, 1}, .dilation = {1, 1}, .groups = (int32_t)channels,
        .act = attr->act, .alpha = attr->alpha, .beta = attr->beta};
    return graph_add(b->dst, &op_conv2d, n->name, &conv, in, adds ? 4 : 3, n->block, &b->map[n->out[0]]);
}

status pass_replace_batchnorm(graph *dst, const graph *src)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id n = 0; n < src->node_count; n++)
        TRY_OUT(replaceable(src, &src->nodes[n]) ? replace(&b, &src->nodes[n]) : builder_copy_node(&b, n));
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}
