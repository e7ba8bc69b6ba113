/* What a step of a normalised network moves most is activations that are read again only to be summed or normalised (transform.h). Both passes
 * apply where the kernel that the convolution gets anyway can do the extra work in passing. */
#include "core/graph/transform.h"
#include "core/ops/internal.h"

enum { CONV_X = 0, CONV_TRANSFORM = 5, APPLY_X = 0, APPLY_COEF = 1, APPLY_ADD = 2 };

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    *b = (kernel_binding){.weight_in = -1};
    for (int i = 0; i < KERNEL_MAX_IN; i++) b->in[i] = EDGE_NONE;
    for (int i = 0; i < KERNEL_MAX_OUT; i++) b->out[i] = EDGE_NONE;
    return n->op->describe(g, n, b);
}

/* Whether `changed` is done by the kernel that does `plain`: a slower one would cost more than is saved. */
static bool same_kernel(backend b, const conv2d_desc *plain, const conv2d_desc *changed)
{
    const kernel *before, *after;
    return kernel_select(&before, OP_CONV2D_FORWARD, b, plain, NULL, NULL) == OK &&
           kernel_select(&after, OP_CONV2D_FORWARD, b, changed, NULL, NULL) == OK && before == after;
}

static int64_t edge_bytes(const graph *g, edge_id e)
{
    return shape_count(g->edges[e].shape) * (int64_t)dtype_bytes(g->edges[e].type);
}

/* ------------------------------------------------------------------------------------------------ statistics */

/* The bn_stats that reads convolution `id`'s result, if it can go into it; else NODE_NONE. */
static node_id statistics_of(const graph *g, node_id id, backend b)
{
    const node *conv = &g->nodes[id];
    kernel_binding plain, with;
    if (conv->op != &op_conv2d || conv->out[1] != EDGE_NONE || !dtype_is_float(g->edges[conv->out[0]].type)) return NODE_NONE;
    node_id found = NODE_NONE;
    for (node_id n = id + 1; n < g->node_count && found == NODE_NONE; n++)
        if (g->nodes[n].op == &op_bn_stats && g->nodes[n].in[0] == conv->out[0]) found = n;
    if (found == NODE_NONE || describe(g, conv, &plain) != OK) return NODE_NONE;
    with = plain;
    with.desc.conv2d.epilogue.stats = true;
    return same_kernel(b, &plain.desc.conv2d, &with.desc.conv2d) ? found : NODE_NONE;
}

static status add_with_statistics(graph_builder *b, const node *conv, const node *stats)
{
    edge_id in[NODE_MAX_IN], out[2] = {EDGE_NEW, EDGE_NEW};
    for (int32_t i = 0; i < conv->in_count; i++) {
        in[i] = EDGE_NONE;
        if (conv->in[i] != EDGE_NONE) TRY(builder_edge(b, conv->in[i], &in[i]));
    }
    TRY(graph_add_to(b->dst, conv->op, conv->name, conv->attr, in, conv->in_count, conv->block, out));
    b->map[conv->out[0]] = out[0];
    b->map[stats->out[0]] = out[1];
    return OK;
}

status pass_fuse_statistics(graph *dst, const graph *src, backend which, fused_traffic *saved)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id n = 0; n < src->node_count; n++) {
        const node *item = &src->nodes[n];
        if (item->op == &op_bn_stats && b.map[item->out[0]] != EDGE_NONE) continue; /* came with the convolution */
        node_id stats = statistics_of(src, n, which);
        if (stats == NODE_NONE) {
            TRY_OUT(builder_copy_node(&b, n));
            continue;
        }
        TRY_OUT(add_with_statistics(&b, item, &src->nodes[stats]));
        saved->statistics++;
        saved->bytes += edge_bytes(src, item->out[0]);
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}

/* ------------------------------------------------------------------------------------------------ input transforms */

/* The convolution, as it would be with the normalisation in front of it inside: its attributes in *attr, its edges (of src) in n. */
static bool take_transform(const graph *g, const edge_uses *u, node_id id, backend b, node *n, conv2d_attr *attr, node_id *apply)
{
    kernel_binding plain, with;
    *n = g->nodes[id];
    if (n->op != &op_conv2d || (n->in_count > CONV_TRANSFORM && n->in[CONV_TRANSFORM] != EDGE_NONE)) return false;
    *apply = g->edges[n->in[CONV_X]].producer;
    if (*apply == NODE_NONE || edge_only_reader(u, n->in[CONV_X]) != id) return false;
    const node *bn = &g->nodes[*apply];
    if (bn->op != &op_bn_apply || (bn->in_count > APPLY_ADD && bn->in[APPLY_ADD] != EDGE_NONE)) return false;
    const batchnorm_attr *a = &((const bn_step_attr *)bn->attr)->bn;
    if (describe(g, n, &plain) != OK) return false;
    with = plain;
    with.desc.conv2d.transform = (conv2d_transform){true, a->act, a->alpha, a->beta};
    if (!same_kernel(b, &plain.desc.conv2d, &with.desc.conv2d)) return false;
    *attr = *(const conv2d_attr *)n->attr;
    attr->transform = with.desc.conv2d.transform;
    for (int32_t i = n->in_count; i < CONV_TRANSFORM; i++) n->in[i] = EDGE_NONE;
    n->in[CONV_X] = bn->in[APPLY_X];
    n->in[CONV_TRANSFORM] = bn->in[APPLY_COEF];
    n->in_count = CONV_TRANSFORM + 1;
    n->attr = attr;
    return true;
}

static bool is_taken(const graph *g, const edge_uses *u, node_id id, backend b)
{
    node n;
    conv2d_attr attr;
    node_id apply, reader;
    if (g->nodes[id].op != &op_bn_apply) return false;
    reader = edge_only_reader(u, g->nodes[id].out[0]);
    return reader != NODE_NONE && take_transform(g, u, reader, b, &n, &attr, &apply) && apply == id;
}

status pass_fuse_transforms(graph *dst, const graph *src, backend which, fused_traffic *saved)
{
    graph_builder b = {0};
    edge_uses u = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    TRY_OUT(edge_uses_init(&u, src));
    for (node_id id = 0; id < src->node_count; id++) {
        node n;
        conv2d_attr attr;
        node_id apply;
        if (is_taken(src, &u, id, which)) continue;
        if (!take_transform(src, &u, id, which, &n, &attr, &apply)) {
            TRY_OUT(builder_copy_node(&b, id));
            continue;
        }
        TRY_OUT(builder_copy(&b, &n));
        saved->transforms++;
        saved->bytes += 2 * edge_bytes(src, src->nodes[apply].out[0]);
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    edge_uses_free(&u);
    if (result != OK) graph_free(dst);
    return result;
}
