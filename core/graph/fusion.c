#include "core/graph/transform.h"

static bool fuse_activation(fusion *f, activation act, float alpha, float beta, bool recoverable_only)
{
    if (recoverable_only && !activation_recoverable(act, alpha)) return false;
    f->act = act, f->alpha = alpha, f->beta = beta;
    return true;
}

static bool takes_addend(const graph *g, const node *root, node_id reader, edge_id out, edge_id *other)
{
    const node *add = &g->nodes[reader];
    if (root->op == &op_linear || add->op != &op_add) return false;
    int32_t slot = root->op == &op_batchnorm ? 5 : 3;
    if (slot < root->in_count && root->in[slot] != EDGE_NONE) return false;
    *other = add->in[add->in[0] == out ? 1 : 0];
    return true;
}

/* Follows the single readers of root's output as far as they fit. */
static fusion follow(const graph *g, const edge_uses *u, node_id root, bool recoverable_only)
{
    fusion f = {.root = root, .last = root, .add = EDGE_NONE};
    edge_id out = g->nodes[root].out[0], other;
    node_id reader = edge_only_reader(u, out);
    if (reader != NODE_NONE && takes_addend(g, &g->nodes[root], reader, out, &other)) {
        const binary_attr *a = g->nodes[reader].attr;
        if (!fuse_activation(&f, a->act, a->alpha, a->beta, recoverable_only)) return f;
        f.add = other, f.last = reader;
        if (f.act != ACT_NONE) return f;
        reader = edge_only_reader(u, g->nodes[reader].out[0]);
    }
    if (reader == NODE_NONE || g->nodes[reader].op != &op_activation) return f;
    const activation_attr *a = g->nodes[reader].attr;
    if (fuse_activation(&f, a->act, a->alpha, a->beta, recoverable_only)) f.last = reader;
    return f;
}

static activation own_activation(const node *n)
{
    if (n->op == &op_batchnorm) return ((const batchnorm_attr *)n->attr)->act;
    if (n->op == &op_linear) return ((const linear_attr *)n->attr)->act;
    return ((const conv2d_attr *)n->attr)->act;
}

status fusion_find(const graph *g, const op *root, bool recoverable_only, fusion *fused, bool *inside)
{
    edge_uses u;
    TRY(edge_uses_init(&u, g));
    for (node_id n = 0; n < g->node_count; n++) {
        fused[n].root = NODE_NONE;
        inside[n] = false;
    }
    for (node_id n = 0; n < g->node_count; n++) {
        const node *item = &g->nodes[n];
        if (item->op != root || item->out[1] != EDGE_NONE) continue; /* statistics are of what the convolution stores */
        if (own_activation(item) != ACT_NONE || !dtype_is_float(g->edges[item->in[0]].type)) continue;
        fusion f = follow(g, &u, n, recoverable_only);
        if (f.last != n) fused[f.last] = f; /* a later root replaces an earlier one */
    }
    for (node_id n = 0; n < g->node_count; n++) {
        if (fused[n].root == NODE_NONE) continue;
        for (node_id at = fused[n].root; at != n; at = u.reader[g->nodes[at].out[0]]) inside[at] = true;
    }
    edge_uses_free(&u);
    return OK;
}
