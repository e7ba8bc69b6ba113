#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

static status infer(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 1, SHAPE_MAX_RANK));
    const edge *x = infer_in(g, n, 0);
    return infer_out(g, n, 0, x->type, x->shape);
}

static void fill(const graph *g, const node *n, kernel_binding *b, kernel_op o)
{
    const edge *x = infer_in(g, n, 0);
    b->op = o;
    b->desc.softmax.classes = x->shape.dim[x->shape.rank - 1];
    b->desc.softmax.rows = shape_count(x->shape) / b->desc.softmax.classes;
    b->desc.softmax.type = x->type;
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, OP_SOFTMAX_FORWARD);
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    if (!autodiff_wants(a, n->in[0])) return OK;
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_softmax_backward, "dsrc", NULL, (edge_id[]){dout[0], n->out[0]}, 2, out));
    return autodiff_add(a, n->in[0], out[0]);
}

static status infer_backward(graph *g, node *n)
{
    TRY(infer(g, n));
    const edge *ddst = infer_in(g, n, 0);
    return infer_is(g, n, 1, ddst->type, ddst->shape);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, OP_SOFTMAX_BACKWARD);
    b->in[1] = n->in[1];
    return OK;
}

const op op_softmax = {.name = "softmax",
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &softmax_onnx};
const op op_softmax_backward = {.name = "softmax_backward",
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = -1,
    .infer = infer_backward,
    .describe = describe_backward};
