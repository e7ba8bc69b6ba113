#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const op_field fields[] = {
    FIELDS_ACTIVATION(binary_attr),
    {"out_scale", FIELD_FLOAT, offsetof(binary_attr, out_scale), 1, 0, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

/* b is as a, or holds one value per sample and channel: [n, 1, 1, c] or [n, c] against [n, h, w, c]. */
static bool broadcasts(shape a, shape b)
{
    int64_t an, ap, ac, bn, bp, bc;
    shape_split(a, &an, &ap, &ac);
    shape_split(b, &bn, &bp, &bc);
    return a.rank > 1 && b.rank > 1 && an == bn && ac == bc && bp == 1;
}

static status infer(graph *g, node *n)
{
    const binary_attr *attr = n->attr;
    TRY(infer_is_float(g, n, 0));
    const edge *a = infer_in(g, n, 0), *b = infer_in(g, n, 1);
    if (attr->act != ACT_NONE) return infer_fail(n, "no activation can be fused here");
    if (!broadcasts(a->shape, b->shape)) TRY(infer_is(g, n, 1, a->type, a->shape));
    if (a->type != b->type) return infer_fail(n, "inputs are %s and %s", dtype_name(a->type), dtype_name(b->type));
    return infer_out(g, n, 0, a->type, a->shape);
}

static void fill(const graph *g, const node *n, kernel_binding *b, shape a_shape, bool broadcast)
{
    binary_desc *d = &b->desc.binary;
    shape_split(a_shape, &d->n, &d->pixels, &d->channels);
    d->type = g->edges[n->in[0]].type;
    d->a_scale = d->b_scale = 1.0f;
    d->b_broadcast = broadcast;
    b->in[0] = n->in[0];
    b->in[1] = n->in[1];
    b->out[0] = n->out[0];
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    shape a = infer_in(g, n, 0)->shape;
    b->op = OP_MUL;
    fill(g, n, b, a, !shape_equal(a, infer_in(g, n, 1)->shape));
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    binary_attr attr = {0};
    shape sa = a->g->edges[n->in[0]].shape, sb = a->g->edges[n->in[1]].shape;
    if (autodiff_wants(a, n->in[0])) {
        edge_id out[] = {EDGE_NEW};
        TRY(autodiff_node(a, n, &op_mul, "da", &attr, (edge_id[]){dout[0], n->in[1]}, 2, out));
        TRY(autodiff_add(a, n->in[0], out[0]));
    }
    if (!autodiff_wants(a, n->in[1])) return OK;
    edge_id out[] = {EDGE_NEW};
    if (shape_equal(sa, sb)) TRY(autodiff_node(a, n, &op_mul, "db", &attr, (edge_id[]){dout[0], n->in[0]}, 2, out));
    else TRY(autodiff_node(a, n, &op_mul_reduce, "db", &(mul_reduce_attr){sb}, (edge_id[]){dout[0], n->in[0]}, 2, out));
    return autodiff_add(a, n->in[1], out[0]);
}

static status infer_reduce(graph *g, node *n)
{
    const mul_reduce_attr *a = n->attr;
    TRY(infer_is_float(g, n, 0));
    const edge *ddst = infer_in(g, n, 0);
    TRY(infer_is(g, n, 1, ddst->type, ddst->shape));
    if (!broadcasts(ddst->shape, a->b)) return infer_fail(n, "the output's shape does not fit");
    return infer_out(g, n, 0, ddst->type, a->b);
}

static status describe_reduce(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_MUL_REDUCE;
    fill(g, n, b, infer_in(g, n, 0)->shape, true);
    return OK;
}

/* Pruning: a channel of the product dies with the channel of either factor. */
const op op_mul = {.name = "mul",
    .attr_bytes = sizeof(binary_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .narrow_in = 1 | 2,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &mul_onnx};
const op op_mul_reduce = {.name = "mul_reduce",
    .attr_bytes = sizeof(mul_reduce_attr),
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer_reduce,
    .describe = describe_reduce};
