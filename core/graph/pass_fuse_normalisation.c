/* What a step of a normalised network moves most is activations that are read again only to be summed
 * or normalised (transform.h). Both passes apply where the kernel that the convolution gets anyway
 * can do the extra work in passing. */
#include "core/graph/transform.h"

#include <math.h>
#include <stdlib.h>

#include "core/ops/internal.h"

enum { APPLY_X = 0, APPLY_COEF = 1, APPLY_ADD = 2 };

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    *b = (kernel_binding){.weight_in = -1};
    for (int i = 0; i < KERNEL_MAX_IN; i++) b->in[i] = EDGE_NONE;
    for (int i = 0; i < KERNEL_MAX_OUT; i++) b->out[i] = EDGE_NONE;
    return n->op->describe(g, n, b);
}

/* Whether `changed` is done by the kernel that does `original`: a slower one would cost more than is saved. */
static bool same_kernel(backend b, const kernel_binding *original, const kernel_binding *changed)
{
    const kernel *before, *after;
    return kernel_select(&before, original->op, b, &original->desc, NULL, NULL) == OK &&
           kernel_select(&after, changed->op, b, &changed->desc, NULL, NULL) == OK && before == after;
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
    kernel_binding original, with;
    if (conv->op != &op_conv2d || conv->out[1] != EDGE_NONE || !dtype_is_float(g->edges[conv->out[0]].type))
        return NODE_NONE;
    node_id found = NODE_NONE;
    for (node_id n = id + 1; n < g->node_count && found == NODE_NONE; n++)
        if (g->nodes[n].op == &op_bn_stats && g->nodes[n].in[0] == conv->out[0]) found = n;
    if (found == NODE_NONE || describe(g, conv, &original) != OK) return NODE_NONE;
    with = original;
    with.desc.conv2d.epilogue.stats = true;
    return same_kernel(b, &original, &with) ? found : NODE_NONE;
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

/* Who can do without a stored act(bn(x)): where it reads that, and where it takes x's coefficients. */
static const struct reader_kind {
    const op *op;
    int32_t slot, coef;
    bool masks; /* reads x anyway, and the activation's slope from what was stored */
} reader_kinds[] = {
    {&op_conv2d, 0, 5, false},
    {&op_conv2d_dweight, 0, 2, false},
    {&op_bn_grad_stats, 2, 3, true},
    {&op_bn_grad_apply, 3, 4, true},
};

static const struct reader_kind *kind_of(const node *n)
{
    for (size_t i = 0; i < sizeof reader_kinds / sizeof *reader_kinds; i++)
        if (n->op == reader_kinds[i].op) return &reader_kinds[i];
    return NULL;
}

typedef union changed_attr {
    conv2d_attr conv;
    conv2d_grad_attr grad;
} changed_attr;

/* The reader (a copy; its edges are g's) as it would be without `apply`; false: it cannot be. */
static bool without(const node *apply, node *n, changed_attr *attr)
{
    const struct reader_kind *kind = kind_of(n);
    const batchnorm_attr *a = &((const bn_step_attr *)apply->attr)->bn;
    const conv2d_transform transform = {true, a->act, a->alpha, a->beta};
    int32_t reads = 0;
    for (int32_t i = 0; i < n->in_count; i++) reads += n->in[i] == apply->out[0];
    if (!kind || reads != 1 || n->in_count <= kind->slot || n->in[kind->slot] != apply->out[0]) return false;
    if (n->in_count > kind->coef && n->in[kind->coef] != EDGE_NONE) return false;
    if (kind->masks && n->in[1] != apply->in[APPLY_X]) return false;
    for (int32_t i = n->in_count; i < kind->coef; i++) n->in[i] = EDGE_NONE;
    if (n->in_count <= kind->coef) n->in_count = kind->coef + 1;
    n->in[kind->slot] = kind->masks ? EDGE_NONE : apply->in[APPLY_X];
    n->in[kind->coef] = apply->in[APPLY_COEF];
    if (n->op == &op_conv2d)
        attr->conv = *(const conv2d_attr *)n->attr, attr->conv.transform = transform, n->attr = attr;
    if (n->op == &op_conv2d_dweight)
        attr->grad = *(const conv2d_grad_attr *)n->attr, attr->grad.conv.transform = transform, n->attr = attr;
    return true;
}

/* How often a convolution multiplies an element of its input. */
static double products_per_element(const conv2d_desc *d)
{
    double products = (double)d->oh * (double)d->ow * (double)d->oc * d->kh * d->kw * (double)(d->ic / d->groups);
    return products / ((double)d->ih * (double)d->iw * (double)d->ic);
}

static bool reader_can(const graph *g, const node *reader, const node *apply, backend b, double most_products)
{
    kernel_binding original, with;
    changed_attr attr;
    node n = *reader;
    if (!without(apply, &n, &attr) || describe(g, reader, &original) != OK || describe(g, &n, &with) != OK)
        return false;
    const conv2d_desc *d = &original.desc.conv2d;
    bool through_registers =
        original.op == OP_CONV2D_FORWARD && d->src_type == DTYPE_F32 && d->compute == COMPUTE_F32; /* in any case */
    if (n.op == &op_conv2d &&
        products_per_element(d) > (through_registers && most_products > 0 ? INFINITY : most_products))
        return false;
    return same_kernel(b, &original, &with);
}

/* Whether all who read what bn_apply `id` makes can do without, a convolution among them.
 * Bytes that are then not moved. */
static bool can_go(const graph *g, const edge_uses *u, node_id id, backend b, double most_products, int64_t *bytes)
{
    const node *apply = &g->nodes[id];
    if (apply->op != &op_bn_apply || (apply->in_count > APPLY_ADD && apply->in[APPLY_ADD] != EDGE_NONE)) return false;
    edge_id z = apply->out[0];
    int32_t readers = 0, convolutions = 0, masks = 0;
    for (node_id n = id + 1; n < g->node_count && n <= u->reader[z]; n++) {
        const node *reader = &g->nodes[n];
        bool reads = false;
        for (int32_t i = 0; i < reader->in_count; i++) reads = reads || reader->in[i] == z;
        if (!reads) continue;
        if (!reader_can(g, reader, apply, b, most_products)) return false;
        readers++;
        convolutions += reader->op == &op_conv2d;
        masks += kind_of(reader)->masks;
    }
    *bytes = (2 + masks) * edge_bytes(g, z);
    return convolutions > 0 && readers == u->count[z]; /* else it is an output too */
}

static status copy_reader(graph_builder *b, const bool *gone, node_id id)
{
    const graph *g = b->src;
    const struct reader_kind *kind = kind_of(&g->nodes[id]);
    node n = g->nodes[id];
    changed_attr attr;
    edge_id z = kind && n.in_count > kind->slot ? n.in[kind->slot] : EDGE_NONE;
    node_id apply = z == EDGE_NONE ? NODE_NONE : g->edges[z].producer;
    if (apply != NODE_NONE && gone[apply]) (void)without(&g->nodes[apply], &n, &attr);
    return builder_copy(b, &n);
}

status pass_fuse_transforms(graph *dst, const graph *src, backend which, double most_products, fused_traffic *saved)
{
    graph_builder b = {0};
    edge_uses u = {0};
    status result = OK;
    bool *gone = heap_alloc_array(src->node_count + 1, sizeof *gone);
    TRY_OUT(builder_init(&b, dst, src));
    TRY_OUT(edge_uses_init(&u, src));
    if (!gone) TRY_OUT(E_MEMORY);
    for (node_id id = 0; id < src->node_count; id++) {
        int64_t bytes;
        gone[id] = can_go(src, &u, id, which, most_products, &bytes);
        if (!gone[id]) TRY_OUT(copy_reader(&b, gone, id));
        else saved->transforms++, saved->bytes += bytes;
    }
    TRY_OUT(builder_finish(&b));
out:
    free(gone);
    builder_free(&b);
    edge_uses_free(&u);
    if (result != OK) graph_free(dst);
    return result;
}
