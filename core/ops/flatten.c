#include "core/graph/transform.h"
#include "core/ops/infer.h"

/* [n, h, w, c] to [n, h * w * c] in our order. Files hold the linear layer behind it in CHW order (LAYOUT_LINEAR):
 * permuting its weight once on reading and writing costs nothing here. */
static status infer(graph *g, node *n)
{
    TRY(infer_rank(g, n, 0, 2, SHAPE_MAX_RANK));
    const edge *x = infer_in(g, n, 0);
    shape s = x->shape;
    float scale = x->scale;
    TRY(infer_out(g, n, 0, x->type, shape_2(s.dim[0], shape_count(s) / s.dim[0])));
    if (n->out[0] != EDGE_NONE) g->edges[n->out[0]].scale = scale;
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    return op_reshape.gradient(a, n, dout);
}

const op op_flatten = {.name = "flatten",
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .alias = true,
    .coupling = COUPLE_FLATTEN,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .gradient = gradient,
    .onnx = &flatten_onnx};
