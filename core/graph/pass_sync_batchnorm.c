/* Batch normalisation over the batches of all ranks: Ioffe and Szegedy 2015, algorithm 1, with sums that cover every
 * rank's values. What ranks add is what one rank would have summed, so that their results are those of one rank with
 * the whole batch but for rounding; the ranks' batches may differ in size. Gradients of gamma and beta are this rank's
 * part: like every parameter's, ranks add them later. */
#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/internal.h"

enum { GRAD_STATS = 2, GRAD_GAMMA = 1, GRAD_BETA = 2 };

typedef struct sharing {
    graph_builder *b;
    int64_t here, everywhere; /* images */
} sharing;

static bool counts_batch(const node *n)
{
    return n->op == &op_bn_finalise || (n->op == &op_bn_grad_finalise && !((const bn_step_attr *)n->attr)->bn.frozen);
}

/* Values per channel of all ranks: every image has as many. */
static status count_all(const sharing *s, const node *n, bn_step_attr *a)
{
    *a = *(const bn_step_attr *)n->attr;
    int64_t count = (int64_t)a->count;
    if (count % s->here != 0)
        return FAIL(E_INTERNAL, "node '%s': %" PRId64 " values per channel of %" PRId64 " images", n->name, count,
            s->here);
    a->count = (double)(count / s->here) * (double)s->everywhere;
    return OK;
}

static status add_named(const sharing *s, const node *n, const op *o, const char *suffix, const void *attr,
    const edge_id *in, int32_t in_count, edge_id *out)
{
    char *name;
    TRY_ALLOC(name, arena_printf(&s->b->dst->memory, "%s/%s", n->name, suffix));
    return graph_add_to(s->b->dst, o, name, attr, in, in_count, n->block, out);
}

/* Copies the node with other statistics and count. */
static status copy_with(const sharing *s, const node *n, const bn_step_attr *a, const edge_id *in, edge_id *out)
{
    TRY(graph_add_to(s->b->dst, n->op, n->name, a, in, n->in_count, n->block, out));
    for (int32_t i = 0; i < n->out_count; i++)
        if (n->out[i] != EDGE_NONE) s->b->map[n->out[i]] = out[i];
    return OK;
}

static status images(graph_builder *b, const edge_id *from, int32_t count, edge_id *to)
{
    for (int32_t i = 0; i < count; i++) {
        to[i] = EDGE_NONE;
        if (from[i] != EDGE_NONE) TRY(builder_edge(b, from[i], &to[i]));
    }
    return OK;
}

static status share_finalise(const sharing *s, const node *n)
{
    bn_step_attr a;
    edge_id in[NODE_MAX_IN], out[NODE_MAX_OUT] = {EDGE_NEW, EDGE_NEW, EDGE_NONE, EDGE_NONE}, sum[1] = {EDGE_NEW};
    TRY(count_all(s, n, &a));
    TRY(images(s->b, n->in, n->in_count, in));
    TRY(images(s->b, &n->out[2], n->out_count - 2, &out[2])); /* running statistics */
    TRY(add_named(s, n, &op_rank_sum, "sum", NULL, in, 1, sum));
    in[0] = sum[0];
    return copy_with(s, n, &a, in, out);
}

static status share_grad_finalise(const sharing *s, const node *n)
{
    bn_step_attr a;
    edge_id in[NODE_MAX_IN], own[NODE_MAX_OUT] = {EDGE_NEW, EDGE_NONE, EDGE_NONE, EDGE_NONE}, sum[1] = {EDGE_NEW};
    edge_id out[NODE_MAX_OUT] = {EDGE_NEW, EDGE_NONE, EDGE_NONE, EDGE_NONE};
    TRY(count_all(s, n, &a));
    TRY(images(s->b, n->in, n->in_count, in));
    TRY(images(s->b, &n->out[1], 2, &own[1]));
    if (own[GRAD_GAMMA] != EDGE_NONE || own[GRAD_BETA] != EDGE_NONE)
        TRY(add_named(s, n, n->op, "own", &a, in, n->in_count, own));
    TRY(add_named(s, n, &op_rank_sum, "sum", NULL, &in[GRAD_STATS], 1, sum));
    in[GRAD_STATS] = sum[0];
    return copy_with(s, n, &a, in, out);
}

status pass_sync_batchnorm(graph *dst, const graph *src, int64_t here, int64_t everywhere)
{
    graph_builder b = {0};
    const sharing s = {&b, here, everywhere};
    status result = OK;
    if (here < 1 || everywhere < here)
        return FAIL(E_INTERNAL, "a batch of %" PRId64 " of %" PRId64 " images", here, everywhere);
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id id = 0; id < src->node_count; id++) {
        const node *n = &src->nodes[id];
        if (!counts_batch(n)) TRY_OUT(builder_copy_node(&b, id));
        else TRY_OUT(n->op == &op_bn_finalise ? share_finalise(&s, n) : share_grad_finalise(&s, n));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}
