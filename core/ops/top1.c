#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* How many rows of scores are right: what training reports beside its loss. */

static status infer(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 2, 2));
    shape s = infer_in(g, n, 0)->shape;
    TRY(infer_is(g, n, 1, DTYPE_F32, s));
    return infer_out(g, n, 0, DTYPE_F64, shape_1(1));
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const edge *x = infer_in(g, n, 0);
    b->op = OP_TOP1;
    b->desc.softmax = (softmax_desc){.rows = x->shape.dim[0], .classes = x->shape.dim[1], .type = x->type};
    b->in[0] = n->in[0], b->in[1] = n->in[1];
    b->out[0] = n->out[0];
    return OK;
}

const op op_top1 = {.name = "top1",
    .internal = true,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe};
