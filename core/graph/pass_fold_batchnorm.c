#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/transform.h"

enum { X, WEIGHT, BIAS, ADD };                             /* conv2d, linear */
enum { GAMMA = 1, BETA, RUNNING_MEAN, RUNNING_VAR, BN_ADD };

/* The convolution or linear layer whose only reader is batchnorm n, or NODE_NONE. */
static node_id foldable(const graph *g, const edge_uses *u, const node *bn)
{
    edge_id x = bn->in[0];
    node_id producer = g->edges[x].producer;
    if (bn->op != &op_batchnorm || producer == NODE_NONE || edge_only_reader(u, x) == NODE_NONE) return NODE_NONE;
    const node *p = &g->nodes[producer];
    bool adds = bn->in_count > BN_ADD && bn->in[BN_ADD] != EDGE_NONE;
    if (p->in[WEIGHT] == EDGE_NONE || !g->edges[p->in[WEIGHT]].data) return NODE_NONE;
    if (g->edges[x].type != DTYPE_F32 && g->edges[x].type != DTYPE_F64) return NODE_NONE;
    for (int32_t i = ADD; i < p->in_count; i++)
        if (p->in[i] != EDGE_NONE) return NODE_NONE;
    if (p->op == &op_linear) return !adds && ((const linear_attr *)p->attr)->act == ACT_NONE ? producer : NODE_NONE;
    if (p->op != &op_conv2d || ((const conv2d_attr *)p->attr)->act != ACT_NONE || p->out[1] != EDGE_NONE)
        return NODE_NONE;
    return producer;
}

static double value(const graph *g, edge_id e, int64_t i)
{
    return e == EDGE_NONE ? 0.0 : dtype_load(g->edges[e].data, g->edges[e].type, i);
}

/* A new parameter; a weight that several layers share cannot keep its name. */
static status new_param(graph_builder *b, const node *n, const char *suffix, const char *keep, const edge *like,
    dtype type, shape s, edge_id *made)
{
    char *name = keep ? arena_strdup(&b->dst->memory, keep) : arena_printf(&b->dst->memory, "%s.%s", n->name, suffix);
    if (!name) return E_MEMORY;
    *made = graph_edge(b->dst, name, EDGE_PARAM, type, s);
    if (*made == EDGE_NONE) return E_MEMORY;
    if (like) b->dst->edges[*made].layout = like->layout;
    return OK;
}

/* w' = w gamma rstd, b' = (b - mean) gamma rstd + beta, in double. */
static void fold_values(const graph *g, const node *layer, const node *bn, edge *weight, edge *bias)
{
    const batchnorm_attr *attr = bn->attr;
    int64_t oc = weight->shape.dim[0], per_channel = shape_count(weight->shape) / oc;
    for (int64_t c = 0; c < oc; c++) {
        double a = value(g, bn->in[GAMMA], c) / sqrt(value(g, bn->in[RUNNING_VAR], c) + (double)attr->epsilon);
        double shifted = value(g, layer->in[BIAS], c) - value(g, bn->in[RUNNING_MEAN], c);
        dtype_store(bias->data, bias->type, c, shifted * a + value(g, bn->in[BETA], c));
        for (int64_t i = c * per_channel; i < (c + 1) * per_channel; i++)
            dtype_store(weight->data, weight->type, i, value(g, layer->in[WEIGHT], i) * a);
    }
}

static status fold(graph_builder *b, const edge_uses *u, const node *layer, const node *bn)
{
    const graph *src = b->src;
    const batchnorm_attr *attr = bn->attr;
    edge_id old_bias = layer->in[BIAS], weight, bias, in[4];
    const edge *w = &src->edges[layer->in[WEIGHT]], *ob = old_bias == EDGE_NONE ? NULL : &src->edges[old_bias];
    bool shared = u->count[layer->in[WEIGHT]] > 1, shared_bias = ob && u->count[old_bias] > 1;
    TRY(new_param(
        b, layer, shared ? "folded_weight" : "weight", shared ? NULL : w->name, w, w->type, w->shape, &weight));
    TRY(new_param(b, layer, shared_bias ? "folded_bias" : "bias", ob && !shared_bias ? ob->name : NULL, NULL,
        w->type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32, shape_1(w->shape.dim[0]), &bias));
    fold_values(src, layer, bn, &b->dst->edges[weight], &b->dst->edges[bias]);
    TRY(builder_edge(b, layer->in[X], &in[X]));
    in[WEIGHT] = weight, in[BIAS] = bias, in[ADD] = EDGE_NONE;
    bool adds = bn->in_count > BN_ADD && bn->in[BN_ADD] != EDGE_NONE;
    if (adds) TRY(builder_edge(b, bn->in[BN_ADD], &in[ADD]));
    conv2d_attr conv = {0};
    linear_attr linear = {0};
    if (layer->op == &op_conv2d) {
        conv = *(const conv2d_attr *)layer->attr;
        conv.act = attr->act, conv.alpha = attr->alpha, conv.beta = attr->beta;
    } else {
        linear = *(const linear_attr *)layer->attr;
        linear.act = attr->act, linear.alpha = attr->alpha, linear.beta = attr->beta;
    }
    const void *new_attr = layer->op == &op_conv2d ? (const void *)&conv : &linear;
    return graph_add(b->dst, layer->op, layer->name, new_attr, in, adds ? 4 : 3, layer->block, &b->map[bn->out[0]]);
}

status pass_fold_batchnorm(graph *dst, const graph *src)
{
    graph_builder b = {0};
    edge_uses u = {0};
    status result = OK;
    bool *folded = heap_alloc_array(src->node_count + 1, sizeof *folded);
    TRY_OUT(builder_init(&b, dst, src));
    if (!folded) TRY_OUT(E_MEMORY);
    TRY_OUT(edge_uses_init(&u, src));
    for (node_id n = 0; n < src->node_count; n++) {
        node_id layer = foldable(src, &u, &src->nodes[n]);
        if (layer != NODE_NONE) folded[layer] = true;
    }
    for (node_id n = 0; n < src->node_count; n++) {
        if (folded[n]) continue;
        node_id layer = foldable(src, &u, &src->nodes[n]);
        TRY_OUT(layer == NODE_NONE ? builder_copy_node(&b, n) : fold(&b, &u, &src->nodes[layer], &src->nodes[n]));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    edge_uses_free(&u);
    free(folded);
    if (result != OK) graph_free(dst);
    return result;
}
